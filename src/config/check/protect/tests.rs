//! Protection from the text of a file.

use super::*;
use crate::config::source::{Source, Sources};
use crate::config::{Config, Faults};

/// Meters of households in two buildings, and doors.
const START: &str = "
[gateway]
id = 'gw'
division_code = '310115013007'
compound_code = 'C1'
[store]
dir = 'data'
[[template]]
name = 'meter'
point = [{ metric = 'water', unit = 'm3', class = 'household', monotonic = true, json = '/w' }, { metric = 'heat', json = '/h' }]
[[device]]
ids = ['m-1', 'm-2']
template = 'meter'
place = 'B1/2/301'
[[device]]
id = 'm-3'
template = 'meter'
[[collect]]
id = 'C'
templates = ['meter']
purpose = 'x'
fields = { water = 'keep', heat = 'keep' }
[[budget]]
id = 'B'
epsilon = '2'
";

fn load(more: &str) -> Result<Config, Faults> {
    let files = vec![Source { path: "gw.toml".into(), text: format!("{START}{more}") }];
    Config::of(Sources { files, ..Sources::default() }, Report::default(), 1_795_190_400_000, None)
}

/// An aggregate of water with these lines besides.
fn aggregate(id: &str, size: &str, lines: &str) -> String {
    let metrics = if lines.contains("metrics") { "" } else { "metrics = ['water']\n" };
    let by = if lines.contains("by = ") { "" } else { "by = 'building'\n" };
    let told = if lines.contains("statistics") { "" } else { "statistics = ['count', 'sum', 'delta']\n" };
    format!("[[aggregate]]\nid = '{id}'\nsize = '{size}'\n{metrics}{by}{told}{lines}\n")
}

fn share(id: &str, carries: &str, protect: &str) -> String {
    let protect = if protect.is_empty() { String::new() } else { format!("protect = {{ {protect} }}\n") };
    format!(
        "[[share]]\nid = '{id}'\npurpose = 'x'\nlane = 'aggregate'\nconsumers = ['spiffe://x/y']\nmetrics = ['water']\n\
         carries = [{carries}]\napproval = '1'\n{protect}"
    )
}

const SDC: &str = "mode = 'sdc'";
const DP: &str = "mode = 'dp', epsilon = '1/2', contribution = 1, budget = 'B'";

#[test]
fn what_is_protected_knows_its_cells_and_its_parts() {
    let text = [
        aggregate("H", "1h", ""),
        aggregate("D", "1d", ""),
        share("S-1", "'H', 'D'", SDC),
        share("S-2", "'H', 'D'", "mode = 'sdc', k = 5, subjects = 'device', zero = 'hidden'"),
    ];
    let config = load(&text.concat()).unwrap_or_else(|faults| panic!("{faults}"));
    let rule = Sdc { k: 5, subjects: Subjects::Device, dominance: None, zero_public: false };
    assert!(config.plan.shares.iter().all(|share| share.protect == Some(Protect::Sdc(rule.clone()))));
    let crowds: Vec<&Crowds> = config
        .plan
        .aggregates
        .iter()
        .map(|aggregate| aggregate.crowds.as_ref().expect("protected"))
        .collect();
    let places: Vec<&str> =
        crowds[0].cells.iter().map(|cell| cell.place.as_ref().map_or("", Place::as_str)).collect();
    assert_eq!(places, ["", "-", "B1"]);
    assert_eq!((crowds[0].part_ms, crowds[1].part_ms), (None, Some(3_600_000)));
    assert_eq!((crowds[0].cells == crowds[1].cells, crowds[0].by_value), (true, false));
}

#[test]
fn faults() {
    let hour = || aggregate("H", "1h", "");
    let count = || aggregate("H", "1h", "statistics = ['count']");
    let line = |protect: &str| share("S", "'H'", protect);
    let whole = |by: &str| aggregate("H", "1h", &format!("by = '{by}'\nstatistics = ['count', 'sum']"));
    for (text, expected) in [
        (hour() + &line(""), "water of single buildings tells how few households live"),
        (whole("device") + &line(SDC), "H is by device, the line leaves devices out"),
        (hour() + &line("k = 5"), "missing key `mode`"),
        (hour() + &line("mode = 'sdc', epsilon = '1'"), "epsilon in the other mode"),
        (count() + &line("mode = 'dp', epsilon = '0.5', contribution = 1, budget = 'B'"), "epsilon \"0.5\""),
        (
            count() + &line("mode = 'dp', epsilon = '1', contribution = 1, budget = 'C'"),
            "unknown budget \"C\"",
        ),
        (hour() + &line("mode = 'sdc', k = 1"), "k = 1 is out of range"),
        (hour() + &line("mode = 'sdc', dominance = '0.5'"), "dominance \"0.5\""),
        (count() + &line("mode = 'sdc', dominance = '50%'"), "dominance without a sum: H tells none"),
        (hour() + &line(DP), "sum, delta of H under protection"),
        (
            aggregate("H", "1h", "statistics = ['count', 'max', 'p50']") + &line(SDC),
            "max, p50 of H under protection",
        ),
        (hour() + &line("mode = 'sdc', subjects = 'water'"), "water is not collected as a keyed name"),
        (
            hour() + &line("mode = 'sdc', subjects = 'heat'"),
            "heat are the subjects of H, which is about something else too",
        ),
        (
            aggregate("H", "1h", "metrics = ['water', 'heat']\nstatistics = ['count']") + &line(DP),
            "noise on 2 metrics of H",
        ),
        (hour() + &line(SDC) + &share("T", "'H'", "mode = 'sdc', k = 10"), "H is protected in two ways"),
        (hour() + &line(SDC) + &share("T", "'H'", ""), "water is shared here as it is, and protected by S"),
        (
            hour() + &aggregate("Q", "15m", "by = 'compound'") + &share("S", "'H', 'Q'", SDC),
            "water in the windows of Q and of H: their cells differ",
        ),
        (
            hour() + &aggregate("D", "1d", "devices = ['m-1']") + &share("S", "'H', 'D'", SDC),
            "water in the windows of H and of D: their devices differ",
        ),
        (
            aggregate("M", "1m", "") + &aggregate("D", "1d", "") + &share("S", "'M', 'D'", SDC),
            "water in the windows of M and of D: one has more than 128 of the other",
        ),
        (
            aggregate("H", "1h", "lateness = '5m'")
                + &aggregate("D", "1d", "")
                + &share("S", "'H', 'D'", SDC),
            "water in the windows of H and of D: the longer one would close first: its lateness is less",
        ),
        (
            hour()
                + &aggregate("D", "1d", "")
                + &aggregate("Q", "15m", "")
                + &share("S", "'H', 'D', 'Q'", SDC),
            "water in the windows of Q and of H: there are more than two",
        ),
    ] {
        let faults = load(&text).map(drop).expect_err(expected).faults;
        let told: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert!(told.iter().any(|told| told.starts_with(expected)), "{expected}: {told:?}");
    }
}

#[test]
fn warnings() {
    let day = aggregate("H", "1d", "by = 'compound'\nstatistics = ['count']");
    let hour = aggregate("H", "1h", "statistics = ['count']");
    for (text, expected) in [
        (day.clone() + &share("S", "'H'", ""), Some("water of households goes without protection")),
        (day.clone() + &share("S", "'H'", SDC), None),
        (day + &share("S", "'H'", DP), None),
        (hour + &share("S", "'H'", DP), Some("B of H has 24 windows in a period")),
    ] {
        let config = load(&text).unwrap_or_else(|faults| panic!("{faults}"));
        let told: Vec<&str> = config.warnings.iter().map(|fault| fault.message.as_str()).collect();
        let told: Vec<&&str> =
            told.iter().filter(|message| message.contains("water") || message.contains("window")).collect();
        assert_eq!(told.first().map(|told| told.split(" (see").next().unwrap_or("")), expected, "{text}");
    }
}
