use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"
rules = ["a.toml", "../b.toml"]
gateway = { zone = "+08:00" }

[[case]]
name = "whole"
start = "2026-03-02T22:30:00+08:00"
alarms = ["door-*"]
steps = [
  { at = "1m", device = "door-1", volume = 1.10, "energy.forward" = -3, open = true, kind = "门" },
  { at = "0s", device = "door-1", online = false },
  { at = "23:00", order = "close", alarm = "held", device = "door-1", reason = "关门" },
  { at = "1d 05:00:30", maintain = "lift-*", for = "2h" },
  { at = "2d", restart = true },
  { at = "2d", device = "door-1", open = true, retained = true, time = "10s" },
]
until = "2d 1h"
expect = [
  { at = "30m", alarm = "held", device = "door-1", step = "closed" },
  { at = "2d", lost = "out_of_range", device = "door-1", metric = "volume" },
  { at = "2d", refused = "confirm", alarm = "held", device = "door-1" },
]
expect_notices = [{ at = "0s", recipient = "property", alarm = "held", step = "raised" }]
expect_runs = []

[[case]]
name = "bare"
"#;

#[test]
fn a_case_is_read_whole() {
    let file = File::read(Path::new("dir/x.test.toml"), GOOD.to_owned()).expect("good");
    assert_eq!(file.rules, [PathBuf::from("dir/a.toml"), PathBuf::from("dir/../b.toml")]);
    let [whole, bare] = file.cases.as_slice() else { panic!("two cases") };
    assert_eq!((whole.name.as_str(), whole.line, whole.start_ms), ("whole", 5, 1_772_461_800_000));
    let at: Vec<u64> = whole.steps.iter().map(|doing| doing.at_ms).collect();
    let day = 86_400_000;
    assert_eq!(at, [0, 60_000, 1_800_000, 23_430_000, 2 * day, 2 * day], "in the order of time");
    let Deed::Say { values, retained: false, time_ms: None, .. } = &whole.steps[1].deed else {
        panic!("said")
    };
    let names: Vec<&str> = values.iter().map(|(metric, _)| metric.as_str()).collect();
    assert_eq!(names, ["volume", "energy.forward", "open", "kind"], "in the order as written");
    assert_eq!(values[0].1, Value::Number(Decimal::new(110, 2)));
    assert!(matches!(&whole.steps[5].deed, Deed::Say { retained: true, time_ms: Some(10_000), .. }));
    assert_eq!(whole.until_ms, 2 * day + 3_600_000);
    let shown: Vec<String> = whole.expect.iter().map(ToString::to_string).collect();
    let lines = [
        "30m      held  door-1  closed",
        "2d       lost out_of_range  door-1  volume",
        "2d       refused  held  door-1  confirmed",
    ];
    assert_eq!(shown, lines);
    assert_eq!(whole.notices.as_ref().map(Vec::len), Some(1));
    assert_eq!(whole.runs.as_ref().map(Vec::len), Some(0), "asked for, and none");
    assert!(bare.steps.is_empty() && bare.runs.is_none() && bare.until_ms == 0);
}

#[test]
fn every_fault_has_its_place() {
    let case = |inner: &str| format!("[[case]]\nname = \"x\"\n{inner}\n");
    let cases: Vec<(String, usize, usize, &str)> = vec![
        ("x = 1".into(), 1, 1, "no cases"),
        ("case = 3".into(), 1, 8, "no list of cases"),
        ("[[case]]\nname = 7".into(), 2, 8, "`name` is no text"),
        ("[[case]]".into(), 1, 1, "missing key `name`"),
        (case("expct = []"), 3, 1, "unknown key `expct` in [[case]]"),
        (case("start = \"monday\""), 3, 9, "start: no moment in RFC 3339"),
        (case("steps = 3"), 3, 9, "`steps` is no list"),
        (case("steps = [3]"), 3, 10, "no table"),
        (case("steps = [{ device = \"d\" }]"), 3, 10, "missing key `at`"),
        (case("steps = [{ at = \"5 sec\", device = \"d\" }]"), 3, 17, "at: "),
        (case("steps = [{ at = \"08:00\", device = \"d\" }]"), 3, 17, "at: \"08:00\" is before the start"),
        (case("steps = [{ at = \"25:00\", device = \"d\" }]"), 3, 17, "at: "),
        (
            case("steps = [{ at = \"400d\", device = \"d\" }]"),
            3,
            17,
            "at: \"400d\" is no moment within a year",
        ),
        (case("steps = [{ at = \"0s\", device = \"d\", Open = true }]"), 3, 37, ""),
        (case("steps = [{ at = \"0s\", device = \"d\", open = [] }]"), 3, 44, "no value of a device"),
        (case("steps = [{ at = \"0s\", device = \"d\", online = 1 }]"), 3, 46, "no flag"),
        (
            case("steps = [{ at = \"0s\", order = \"shut\", alarm = \"a\", device = \"d\" }]"),
            3,
            31,
            "order: an order is",
        ),
        (
            case("expect = [{ at = \"0s\", alarm = \"a\", device = \"d\", step = \"gone\" }]"),
            3,
            58,
            "step: \"gone\" is no step",
        ),
        (
            case("expect = [{ at = \"0s\", alarm = \"a\", device = \"d\", step = \"raised\", by = \"x\" }]"),
            3,
            68,
            "unknown key `by`",
        ),
        (
            case("expect_runs = [{ at = \"0s\", command = \"a\", stage = \"on\" }]"),
            3,
            52,
            "stage: no such stage",
        ),
        ("[[case]\nname = \"x\"".into(), 1, 0, ""),
    ];
    for (text, line, column, message) in cases {
        let faults = File::read(Path::new("x.test.toml"), text.clone()).expect_err(&text);
        let first = &faults[0];
        // Where the reader of TOML sees a broken text is its own matter: column 0.
        let at = if column == 0 { 0 } else { first.column };
        assert_eq!((first.line, at), (line, column), "{text}: {}", first.message);
        assert!(first.message.starts_with(message), "{text}: {}", first.message);
    }
}

#[test]
fn moments_are_exact() {
    let begin = Begin::read("2026-03-02T22:30:00+08:00").expect("a moment");
    for (text, ms) in [
        ("0s", 0),
        ("1h 30m 5s 7ms", 5_405_007),
        ("22:30", 0),
        ("22:30:01", 1_000),
        ("1d 00:30", 7_200_000),
        ("1d 22:29:59", 86_399_000),
    ] {
        assert_eq!(begin.moment(text), Ok(ms), "{text}");
    }
    for text in
        ["", " ", "1", "-1s", "22:29", "22:30 23:30", "24:00", "1:2:3:4", "366d 1s", "99999999999999d"]
    {
        assert!(begin.moment(text).is_err(), "{text}");
    }
    for (ms, text) in [(0, "0s"), (5_405_007, "1h 30m 5s 7ms"), (86_400_000, "1d"), (-61_000, "-1m 1s")] {
        assert_eq!(span(ms), text);
    }
}

proptest! {
    #[test]
    fn a_span_is_read_as_it_is_shown(ms in 0_u64..=LENGTH_MAX_MS) {
        let begin = Begin::read(START).expect("a moment");
        prop_assert_eq!(begin.moment(&span(ms.cast_signed())), Ok(ms));
    }

    /// Whatever stands in a file: cases or faults with places, never a panic.
    #[test]
    fn a_mutated_file_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\"'=#.,\n0-9a-z门:]{0,3}"), 1..6),
    ) {
        let mut text = GOOD.to_owned();
        for (at, stray) in changes {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary((at + 2).min(text.len()));
            text.replace_range(at..end.max(at), &stray);
        }
        if let Err(faults) = File::read(Path::new("x.test.toml"), text) {
            prop_assert!(!faults.is_empty() && faults.iter().all(|fault| fault.line >= 1 && fault.column >= 1));
        }
    }
}
