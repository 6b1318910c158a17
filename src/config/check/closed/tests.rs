//! What contradicts itself in the four lists, each told at its place.

use std::path::PathBuf;

use super::lines::fraction;
use crate::config::{Config, Faults};

const GOOD: &str = r#"
[gateway]
id = "gw-1"
division_code = "310115013007"
compound_code = "C-1"
[store]
dir = "data"
[mqtt]
anonymous = true
[[mapping]]
topic = "x/{device}"
[[template]]
name = "thermometer"
[[template.point]]
metric = "temperature"
unit = "Cel"
json = "/t"
[[template.point]]
metric = "humidity"
unit = "%"
json = "/h"
[[device]]
id = "t-1"
template = "thermometer"
[[alarm]]
id = "hot"
when = "temperature > 60"
severity = "info"
[[demand]]
id = "D-1"
requester = "spiffe://brain.example/city"
purpose = "climate"
wants = ["S-1"]
status = "approved"
[[collect]]
id = "C-1"
templates = ["thermometer"]
purpose = "climate"
fields = { temperature = "keep", humidity = "keep" }
public = true
serves = ["D-1"]
retention = { raw = "7d", sealed = "400d" }
[[share]]
id = "S-1"
purpose = "climate"
lane = "alarm"
consumers = ["spiffe://brain.example/city"]
metrics = ["temperature"]
carries = ["hot"]
approval = "2026-1"
class = "unconditional"
from = ["C-1"]
demand = ["D-1"]
level = 4
[[share]]
id = "X-1"
class = "forbidden"
metrics = ["trajectory"]
reason = "never"
[[governance]]
id = "G-1"
triggers = ["hot", "temperature"]
owner = "property"
sla = { accept = "5m", close = "1h" }
feedback_from = ["city"]
closes = ["D-1"]
[share_server]
loopback = { listen = "127.0.0.1:50051", consumer = "spiffe://brain.example/city" }
"#;

fn load(text: &str) -> Result<Config, Faults> {
    Config::of_texts(vec![(PathBuf::from("smallbrain.toml"), text.to_owned())], &[], 1_795_190_400_000)
}

#[test]
fn a_closed_loop_loads_without_a_word() {
    let config = load(GOOD).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.warnings, vec![]);
    let lists = &config.plan.lists;
    assert_eq!((lists.demands.len(), lists.shares.len(), lists.items.len()), (1, 2, 5));
    // What is forbidden is in the lists, and no line of the door.
    assert_eq!(config.plan.shares.len(), 1);
    assert_eq!(lists.points[0].treatment, "keep");
    let body = &lists.items.iter().find(|item| item.id.as_str() == "X-1").expect("the line").body;
    assert_eq!(body, r#"{"class":"forbidden","id":"X-1","metrics":["trajectory"],"reason":"never"}"#);
}

#[test]
fn what_contradicts_itself_is_told_at_its_line() {
    for (from, to, at, message) in [
        ("wants = [\"S-1\"]", "wants = [\"S-2\"]", "S-2", "unknown share line \"S-2\""),
        ("serves = [\"D-1\"]", "serves = [\"D-2\"]", "D-2", "unknown demand line \"D-2\""),
        ("from = [\"C-1\"]", "from = [\"C-2\"]", "C-2", "unknown collect line \"C-2\""),
        ("closes = [\"D-1\"]", "closes = [\"D-1\", \"D-1\"]", "closes", "demand D-1 stands twice"),
        ("triggers = [\"hot\"", "triggers = [\"hat\"", "hat", "unknown alarm or metric \"hat\""),
        ("status = \"approved\"", "status = \"refused\"", "status", "refused without a reason"),
        ("wants = [\"S-1\"]", "wants = [\"S-1\", \"X-1\"]", "wants", "approved, but X-1 is never shared"),
        ("reason = \"never\"", "reason = \" \"", "reason", "forbidden without a reason"),
        (
            "reason = \"never\"",
            "reason = \"never\"\nlane = \"bulk\"",
            "lane = \"bulk\"",
            "lane on a line that is never shared",
        ),
        (
            "[\"trajectory\"]",
            "[\"temperature\"]",
            "metrics = [\"temperature\"]",
            "temperature is never shared: X-1 forbids it",
        ),
        (
            "[\"trajectory\"]",
            "[\"humidity\"]\ncarries = [\"hot\"]",
            "carries = [\"hot\"]",
            "hot is never shared: X-1 forbids it",
        ),
        ("level = 4", "level = 5", "level", "level = 5 is out of range"),
        ("accept = \"5m\"", "accept = \"2h\"", "accept", "taken up later than closed"),
        ("\"unconditional\"", "\"open\"", "class", "unknown word \"open\""),
        ("public = true", "public = true\nsensitivity = \"S5\"", "S5", "unknown word \"S5\""),
        (
            "approval = \"2026-1\"\nclass = \"unconditional\"",
            "approval = \"\"\nclass = \"conditional\"",
            "class = \"cond",
            "conditional without an approval",
        ),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let faults = load(&text).map(|_| ()).expect_err(to).faults;
        let fault = faults.iter().find(|fault| fault.message.contains(message));
        let fault = fault.unwrap_or_else(|| panic!("{message}: {faults:#?}"));
        assert!(fault.text.contains(at), "{message}: {}", fault.text);
    }
}

/// An alarm that reads what is never shared would tell of it under another name.
#[test]
fn an_alarm_does_not_carry_what_is_forbidden() {
    let text = GOOD.replacen("\"temperature > 60\"", "\"temperature > 60 && humidity < 20\"", 1).replacen(
        "[\"trajectory\"]",
        "[\"humidity\"]",
        1,
    );
    let faults = load(&text).map(|_| ()).expect_err("a fault").faults;
    assert_eq!(faults.len(), 1, "{faults:#?}");
    let message = &faults[0].message;
    assert!(message.starts_with("hot tells of humidity, which X-1 forbids to share"), "{message}");
}

#[test]
fn an_open_loop_is_one_warning() {
    let text = GOOD.replacen("closes = [\"D-1\"]", "closes = []", 1).replacen("public = true\n", "", 1);
    let config = load(&text).unwrap_or_else(|faults| panic!("{faults}"));
    let told: Vec<&str> = config.warnings.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(told, ["3 open ends in the four lists"]);
}

#[test]
fn fractions() {
    for (text, expected) in [
        ("1/2", Some((1, 2))),
        ("2", Some((2, 1))),
        ("0.25", Some((25, 100))),
        ("1/0", None),
        ("-1", None),
        ("x", None),
    ] {
        assert_eq!(fraction(text), expected, "{text}");
    }
}
