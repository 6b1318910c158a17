//! Commands of the city on the real binary: ordered over the loopback listener, agreed to on the spot, sent to a device of
//! MQTT, told in lane result; what is repeated, refused, killed in between, and taken away by a reload.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::device::Device;
use super::gateway::{Gateway, Said, Site, example, smallbrain, until};

const CITY: &str = "spiffe://brain.example/city/310115/brain/yiwangtongguan";
const DOWN: &str = "compound/lamp-1/down";

/// A lamp that says how bright it is, and what the city may have done with it.
const LAMP: &str = r#"
[[template]]
name = "lamp"
[[template.point]]
metric = "brightness"
kind = "text"
json = "/brightness"

[[mapping]]
topic = "compound/{device}/up"
template = "lamp"

[[device]]
id = "lamp-1"
template = "lamp"

[[collect]]
id = "C-900"
templates = ["lamp"]
purpose = "lighting.state"
fields = { brightness = "keep" }

[[command]]
id = "lamp"
device = "lamp-1"
publish = { topic = "compound/lamp-1/down", payload = '{"level":"{level}"}' }
arguments = { level = ["low", "high"] }
state = "brightness"
expect = 'brightness == "high"'
expires = "5m"
level = 1

[[command]]
id = "blink"
device = "lamp-1"
publish = { topic = "compound/lamp-1/down", payload = "blink" }
interlock = 'brightness != "off"'
unattended = true

[[command]]
id = "of-others"
device = "lamp-1"
publish = { topic = "compound/lamp-1/down", payload = "of others" }
level = 1
"#;

fn lines() -> String {
    let line = |id: &str, consumer: &str, carries: &str| {
        format!(
            "\n[[share]]\nid = \"{id}\"\npurpose = \"lighting\"\nlane = \"result\"\nconsumers = [\"{consumer}\"]\n\
             carries = [{carries}]\napproval = \"2026-020\"\n"
        )
    };
    line("S-020", CITY, "\"lamp\", \"blink\"") + &line("S-021", "spiffe://else.example/b", "\"of-others\"")
}

fn order(gateway: &Gateway, command: &str, more: &[&str]) -> Said {
    let url = gateway.url();
    until("the gateway hears as many orders", || {
        let said = smallbrain(&[&["order", "--gateway", &url, command], more].concat());
        (!said.err.contains("more than 10 a second")).then_some(said)
    })
}

fn taken(gateway: &Gateway, command: &str, more: &[&str]) -> Value {
    let said = order(gateway, command, more);
    assert_eq!(said.code(), Some(0), "{said:?}\n{}", gateway.log.text());
    said.json().remove(0)
}

fn refused(said: &Said, code: i32, why: &str) {
    assert!(said.code() == Some(code) && said.err.contains(why), "{code} {why}: {said:?}");
}

fn says(gateway: &Gateway, brightness: &str) {
    let mut lamp = Device::of(gateway.mqtt, "lamp-says");
    lamp.publish("compound/lamp-1/up", format!(r#"{{"brightness":"{brightness}"}}"#));
}

/// Every result: request, status, detail.
fn results(gateway: &Gateway) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let records = gateway.pull("result");
    let results = records.iter().map(|record| record["body"]["result"].clone());
    results
        .map(|result| (text(&result["request_id"]), text(&result["status"]), text(&result["detail"])))
        .collect()
}

fn approve(gateway: &Gateway, run: &str) {
    let said = gateway.ask(&["commands", "approve", run, "--by", "值班经理"]);
    assert_eq!(said.code(), Some(0), "{said:?}");
}

#[test]
fn the_city_has_a_lamp_lit_and_learns_what_became_of_it() {
    let site = Site::new(&[example().as_str(), LAMP, &lines()].concat());
    let gateway = site.start();
    let mut lamp = Device::of(gateway.mqtt, "lamp");
    lamp.subscribe(DOWN, 1);
    says(&gateway, "low");

    let high = ["--arg", "level=high", "--not-after", "1h", "--request-id", "q-eins"];
    let valid = taken(&gateway, "lamp", &[&high[..], &["--expect", "low", "--validate"]].concat());
    assert_eq!((&valid["status"], &valid["command_id"]), (&json!("valid"), &json!("")));
    let first = taken(&gateway, "lamp", &[&high[..], &["--expect", "low"]].concat());
    assert_eq!((&first["status"], &first["duplicate"]), (&json!("waiting"), &json!(false)));
    let (run, not_after) = (first["command_id"].as_str().expect("a number"), first["not_after"].as_str());
    let not_after = not_after.expect("a time");
    let again = ["--not-after", not_after, "--request-id", "q-eins", "--expect", "low"];
    let repeated = |level: &str| order(&gateway, "lamp", &[&["--arg", level], &again[..]].concat());
    let told = repeated("level=high").json().remove(0);
    assert_eq!((&told["command_id"], &told["duplicate"]), (&json!(run), &json!(true)));
    refused(&repeated("level=low"), 1, "request_id was used for another request");

    for (command, more, code, why) in [
        ("lamp", &["--arg", "level=up", "--not-after", "1h"][..], 1, "level = low | high"),
        ("lamp", &["--not-after", "1h"], 1, "level = low | high"),
        ("lamp", &["--arg", "level=low", "--not-after", "8d"], 1, "more than 7 days"),
        ("lamp", &["--arg", "level=low", "--not-after", "2020-01-01T00:00:00Z"], 1, "not_after of the order"),
        (
            "lamp",
            &["--arg", "level=low", "--not-after", "1h", "--expect", "off"],
            1,
            "not in the expected state",
        ),
        ("of-others", &["--not-after", "1h"], 77, "no line of the share list"),
        ("siren", &["--not-after", "1h"], 1, "no command siren"),
    ] {
        refused(&order(&gateway, command, more), code, why);
    }
    let waits = gateway.ask(&["commands", "--json"]).json();
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert_eq!(
        (&waits[0]["consumer"], &waits[0]["request"], &waits[0]["arguments"]),
        (&json!(CITY), &json!("q-eins"), &json!({ "level": "high" }))
    );

    approve(&gateway, run);
    assert_eq!(
        lamp.delivery(),
        (DOWN.to_owned(), br#"{"level":"high"}"#.to_vec()),
        "sent once, after the word"
    );
    says(&gateway, "high");
    let end =
        |request: &str, status: &str, why: &str| (request.to_owned(), status.to_owned(), why.to_owned());
    let done = end("q-eins", "done", "the expected state is there");
    until("the result", || (results(&gateway) == [done.clone()]).then_some(()));
    let told = repeated("level=high").json().remove(0);
    assert_eq!((&told["command_id"], &told["duplicate"]), (&json!(run), &json!(true)), "also after its end");

    // One that nobody has to agree to, to its end.
    let blink = ["--not-after", "1h", "--request-id", "q-zwei", "--wait"];
    let told = taken(&gateway, "blink", &blink);
    assert_eq!((&told["status"], &told["detail"]), (&json!("done"), &json!("the device has it")));
    assert_eq!(lamp.delivery().1, b"blink");
    says(&gateway, "off");
    refused(&order(&gateway, "blink", &["--not-after", "1h"]), 1, "the interlock of blink does not hold");

    let cursors = site.path("cursors").display().to_string();
    let url = gateway.url();
    let pulled = smallbrain(&["pull", "--gateway", &url, "--lane", "result", "--ack", "--state", &cursors]);
    assert_eq!((pulled.code(), pulled.json().len()), (Some(0), 2), "{pulled:?}");
    assert!(!pulled.out.contains("值班经理"), "who agreed stays in the compound: {}", pulled.out);
    assert!(!gateway.log.text().contains("值班经理") && !gateway.log.text().contains("q-eins"));
    for reason in ["request_reused", "command_unknown", "command_late", "state_differs", "interlock"] {
        let name = format!("smallbrain_share_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(gateway.metric(&name), 1, "{reason}");
    }
}

#[test]
fn an_order_outlives_a_kill_and_one_that_a_reload_takes_away_fails() {
    let whole = [example().as_str(), LAMP, &lines()].concat();
    let site = Site::new(&whole);
    let gateway = site.start();
    says(&gateway, "low");
    let high = |request| ["--arg", "level=high", "--not-after", "1h", "--request-id", request];
    let first = taken(&gateway, "lamp", &high("q-eins"));
    assert_eq!(first["status"], "waiting");
    assert_eq!(gateway.stop(Signal::KILL), None);

    let gateway = site.start();
    let mut lamp = Device::of(gateway.mqtt, "lamp");
    lamp.subscribe(DOWN, 1);
    let not_after = first["not_after"].as_str().expect("a time");
    let again = ["--arg", "level=high", "--not-after", not_after, "--request-id", "q-eins"];
    assert_eq!(taken(&gateway, "lamp", &again)["duplicate"], true, "it is known after the kill");
    approve(&gateway, "1");
    assert_eq!(lamp.delivery().1, br#"{"level":"high"}"#);
    says(&gateway, "high");
    until("the result", || (results(&gateway).len() == 1).then_some(()));

    says(&gateway, "low");
    taken(&gateway, "lamp", &high("q-zwei"));
    site.swap(&[example().as_str(), LAMP].concat());
    gateway.log.wait("new configuration in force", 1);
    refused(&order(&gateway, "lamp", &high("q-drei")), 77, "no line of the share list");
    site.swap(&whole);
    gateway.log.wait("new configuration in force", 2);
    let ends: Vec<_> =
        results(&gateway).into_iter().map(|(request, status, _)| format!("{request} {status}")).collect();
    assert_eq!(ends, ["q-eins done", "q-zwei failed"], "each once, under its line");
    assert_eq!(gateway.ask(&["commands", "--json"]).json(), Vec::<Value>::new(), "nothing waits");
}
