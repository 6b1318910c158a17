//! Entries through the spine of a real store: what becomes a reading, when, and what the trail says of it.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rust_decimal::Decimal;

use super::*;
use crate::aggregate::Pace;
use crate::aggregate::blocks::Bounds;
use crate::ingest::Plan;
use crate::ingest::entry::Field as FormField;
use crate::model::{Lane, Quality, Seq};
use crate::normalise::{BEHIND_MAX_MS, Outside, Rule};
use crate::privacy::intake::Treatment;
use crate::privacy::release::ShareLine;
use crate::rules::rate::Rate;
use crate::rules::{plausible, thinning};
use crate::store::{Settings, Store};
use crate::wire::{Gateway, body_json, v1};

const NOW: Stamp = Stamp { wall_ms: 1_790_000_000_000, mono_ms: 5_000 };

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

fn later(ms: i64) -> Stamp {
    Stamp { wall_ms: NOW.wall_ms + ms, mono_ms: NOW.mono_ms + ms.unsigned_abs() }
}

/// Fields of the form, with what the list does to each.
fn fields() -> [(&'static str, Kind, Option<Treatment>, &'static str); 4] {
    [
        ("cases", Kind::Number, Some(Treatment::Keep), "keep"),
        ("place", Kind::Text, Some(Treatment::Keep), "keep"),
        ("name", Kind::Text, Some(Treatment::Drop), "drop"),
        ("face", Kind::Text, Some(Treatment::Refuse), "refuse"),
    ]
}

fn plan(second_check: bool) -> Plan {
    let rule = |kind| Rule {
        kind,
        scale: Decimal::ONE,
        offset: Decimal::ZERO,
        range: (kind == Kind::Number).then(|| (Decimal::ZERO, Decimal::from(1000))),
        outside: Outside::Drop,
    };
    let point = |(metric, kind, treatment, _)| {
        Some(Point {
            building: id("-"),
            device: id("clinic"),
            class: "report".into(),
            metric: id(metric),
            unit: String::new(),
            rule: rule(kind),
            plausible: plausible::Rule::default(),
            thinning: thinning::Rule::default(),
            pace: Pace::default(),
            manual: true,
            treatment,
            aggregates: vec![],
        })
    };
    let field = |(metric, kind, _, how)| FormField {
        metric: id(metric),
        title: String::new(),
        kind,
        unit: String::new(),
        range: rule(kind).range,
        how,
    };
    let sheet = Sheet {
        template: id("report"),
        title: String::new(),
        fields: fields().map(field).into(),
        devices: vec![id("clinic")],
    };
    Plan {
        gateway: Gateway::default(),
        lists_digest: [1; 32],
        points: fields().map(point).into(),
        rules: Default::default(),
        aggregates: vec![],
        shares: vec![ShareLine {
            id: id("S-bulk"),
            purpose: "health".into(),
            lane: Lane::Bulk,
            consumers: vec![id("spiffe://city.example/test")],
            metrics: vec![id("cases")],
            devices: true,
            places: false,
            carries: vec![],
            approval: "test".into(),
            tier: None,
            protect: None,
            granted: vec![],
            until_ms: None,
        }],
        rate: Rate { per_second: 1, burst: 1 },
        silence: HashMap::new(),
        block: Bounds { rows_max: 1, age_max_ms: 1000 },
        approval: Default::default(),
        lists: Default::default(),
        budgets: vec![],
        emergency: vec![],
        forms: vec![Form {
            line: id("C-010"),
            title: String::new(),
            purpose: "health".into(),
            second_check,
            sheets: vec![sheet],
        }],
    }
}

struct Rig {
    store: Store,
    spine: Spine,
}

impl Rig {
    fn open(dir: &Path, plan: Plan, now: Stamp) -> Self {
        let settings = Settings {
            dir: dir.to_owned(),
            bytes_max: 64 << 20,
            reserve_bytes: 0,
            group_window: Duration::ZERO,
            retention: Duration::from_secs(3600),
            promises: crate::store::room::Promises::of(64 << 20),
        };
        let mut store = Store::open(settings, [7; 32], now).expect("the store opens");
        let spine = Spine::open(plan, &mut store, now).expect("the spine opens");
        Self { store, spine }
    }

    fn act(&mut self, act: &act::Act, now: Stamp) -> Result<Entered, Refused> {
        let mut txn = self.store.begin().expect("a transaction");
        let done = self.spine.act(&mut txn, act, now).expect("done");
        let ledger = self.spine.finish(&mut txn).expect("finished");
        assert!(ledger.holds(), "{ledger:?}");
        txn.commit().expect("committed");
        match done {
            Ok(Done::Entry(entered)) => Ok(*entered),
            Err(act::Refused::Entry(refused)) => Err(refused),
            other => panic!("{other:?}"),
        }
    }

    fn enter(&mut self, submission: Submission, now: Stamp) -> Result<Entered, Refused> {
        self.act(&act::Act::Enter(Box::new(submission)), now)
    }

    fn check(&mut self, entry: u64, by: &str, agree: bool, now: Stamp) -> Result<Entered, Refused> {
        let (role, reason) = ("head".into(), if agree { "" } else { "wrong" }.into());
        self.act(&act::Act::Check(Check { entry, by: by.into(), role, agree, reason }), now)
    }

    /// Values of the log's readings, with time and quality.
    fn readings(&self) -> Vec<(Value, i64, Quality)> {
        let mut readings = Vec::new();
        let key = |_| Some(SeriesKey(0));
        self.store
            .replay(0, key, |row| {
                let reading = row.reading.expect("known").get().clone();
                readings.push((reading.value, reading.time_ms, reading.quality));
            })
            .expect("a log");
        readings
    }

    fn state(&mut self, entry: u64) -> State {
        let txn = self.store.begin().expect("a transaction");
        txn.entry(entry).expect("a question").expect("an entry").state
    }
}

fn report(request: &str, values: &[(&str, &str)]) -> Submission {
    Submission {
        request: request.into(),
        line: id("C-010"),
        device: None,
        values: values.iter().map(|(name, text)| ((*name).into(), Value::Text((*text).into()))).collect(),
        at_ms: None,
        author: "王医生".into(),
        role: "doctor".into(),
        reason: "日报".into(),
        corrects: None,
    }
}

fn number(number: i64) -> Value {
    Value::Number(Decimal::from(number))
}

#[test]
fn a_report_becomes_readings_once_and_what_the_list_drops_is_told_and_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rig = Rig::open(dir.path(), plan(false), NOW);
    let submission = report("r-1", &[("cases", " 3 "), ("place", "B3"), ("name", "张三丰")]);
    let done = rig.enter(submission.clone(), NOW).expect("entered");
    assert_eq!((done.entry.id, done.entry.state, done.duplicate), (1, State::Stored, false));
    let lost: Vec<_> =
        done.fates.iter().filter_map(|fate| fate.loss.map(|loss| (&*fate.field, loss))).collect();
    assert_eq!(lost, [("name", Loss::Policy)]);
    assert_eq!(done.entry.readings, Some((1, 2)));
    let text = Value::Text("B3".into());
    assert_eq!(rig.readings(), [(number(3), NOW.wall_ms, Quality::Good), (text, NOW.wall_ms, Quality::Good)]);
    let again = rig.enter(submission.clone(), later(1000)).expect("the same");
    assert_eq!((again.entry, again.duplicate), (done.entry, true));
    assert_eq!(rig.readings().len(), 2, "once");
    let other = Submission { line: id("C-011"), ..submission };
    assert_eq!(rig.enter(other, NOW), Err(Refused::Request(1)));
    // The same values of the same time under another request are another report.
    assert_eq!(rig.enter(report("r-2", &[("cases", "3")]), NOW).expect("entered").entry.id, 2);
    assert_eq!(rig.readings().len(), 3);
}

#[test]
fn a_report_with_a_wrong_field_is_refused_whole_and_says_which() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rig = Rig::open(dir.path(), plan(false), NOW);
    let at = |at_ms| Submission { at_ms: Some(at_ms), ..report("r", &[("cases", "3")]) };
    for (submission, word) in [
        (report("r", &[("cases", "three"), ("place", "B3")]), "cases: not of the field's kind"),
        (report("r", &[("cases", "1001")]), "cases: outside of the field's range"),
        (report("r", &[("cases", "3"), ("phone", "13800138000")]), "phone: the form has no such field"),
        (report("r", &[("cases", "3"), ("face", "x")]), "face: the collection list never takes it"),
        (report("r", &[("name", "张三丰")]), "name: the collection list leaves it out"),
        (report("r", &[]), "no field is given"),
        (Submission { line: id("C-001"), ..report("r", &[("cases", "3")]) }, "known: C-010"),
        (Submission { device: Some(id("door-1")), ..report("r", &[("cases", "3")]) }, "known: clinic"),
        (Submission { corrects: Some(9), ..report("r", &[("cases", "3")]) }, "no entry 9"),
        (at(NOW.wall_ms + AHEAD_MAX_MS + 1), "later than the gateway's clock"),
        (at(NOW.wall_ms - HISTORY_MAX_MS - 1), "31 days"),
    ] {
        let refused = rig.enter(submission, NOW).expect_err(word).to_string();
        assert!(refused.contains(word), "{refused}");
        assert!(!refused.contains("13800138000") && !refused.contains("张三丰"), "{refused}");
    }
    assert!(rig.readings().is_empty());
    let head = rig.store.begin().expect("a transaction").audit_head().seq;
    assert_eq!(head, 10, "every refusal under a form leaves a row");
}

#[test]
fn what_waits_becomes_a_reading_by_another_person_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rig = Rig::open(dir.path(), plan(true), NOW);
    for request in ["r-1", "r-2", "r-3"] {
        let done = rig.enter(report(request, &[("cases", "3")]), NOW).expect("entered");
        assert_eq!((done.entry.state, done.entry.readings), (State::Waiting, None));
    }
    assert!(rig.readings().is_empty(), "it counts for nothing yet");
    drop(rig);
    let mut rig = Rig::open(dir.path(), plan(true), later(60_000));
    assert_eq!(rig.check(1, " 王 医生", true, later(60_000)), Err(Refused::Same(1)));
    let done = rig.check(1, "李医生", true, later(60_000)).expect("confirmed");
    assert_eq!((done.entry.state, done.entry.readings), (State::Stored, Some((1, 1))));
    assert_eq!(rig.readings(), [(number(3), NOW.wall_ms, Quality::Good)], "of the time it was so");
    assert!(rig.check(1, "李医生", true, later(61_000)).expect("the same").duplicate);
    assert_eq!(rig.check(1, "赵医生", false, NOW), Err(Refused::NotWaiting(1, State::Stored)));
    let done = rig.check(2, "李医生", false, later(61_000)).expect("refused");
    assert_eq!(done.entry.checked.expect("checked").reason, "wrong".into());
    assert_eq!((rig.state(2), rig.readings().len()), (State::Refused, 1));
    assert_eq!(rig.check(2, "赵医生", true, NOW), Err(Refused::NotWaiting(2, State::Refused)));
    assert_eq!(rig.check(7, "赵医生", true, NOW), Err(Refused::Unknown(7)));
    let old = later(HISTORY_MAX_MS + 1);
    assert_eq!(rig.check(3, "李医生", true, old), Err(Refused::Past));
    let late = rig.check(3, "李医生", true, later(BEHIND_MAX_MS + 1)).expect("confirmed");
    assert_eq!(late.entry.state, State::Stored);
    assert_eq!(rig.readings()[1].2, Quality::Retained, "what is of the past tells nothing of now");
}

#[test]
fn what_was_cleared_for_another_treatment_is_not_counted_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rig = Rig::open(dir.path(), plan(true), NOW);
    rig.enter(report("r-1", &[("place", "B3")]), NOW).expect("entered");
    drop(rig);
    let mut other = plan(true);
    other.forms[0].sheets[0].fields[1].how = "drop";
    let mut rig = Rig::open(dir.path(), other, NOW);
    assert_eq!(rig.check(1, "李医生", true, NOW), Err(Refused::Changed(1, id("place"))));
    assert!(rig.readings().is_empty());
    rig.check(1, "李医生", false, NOW).expect("it can be refused");
}

#[test]
fn a_correction_is_a_reading_of_the_same_time_and_is_shared_behind_what_it_corrects() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut rig = Rig::open(dir.path(), plan(false), NOW);
    rig.enter(report("r-1", &[("cases", "30")]), NOW).expect("entered");
    let correction =
        |request, cases, of| Submission { corrects: Some(of), ..report(request, &[("cases", cases)]) };
    let done = rig.enter(correction("r-2", "3", 1), later(60_000)).expect("corrected");
    assert_eq!((done.entry.corrects, done.entry.at_ms), (Some(1), NOW.wall_ms));
    assert_eq!((rig.state(1), rig.state(2)), (State::Corrected, State::Stored));
    assert_eq!(
        rig.enter(correction("r-3", "4", 1), later(60_000)),
        Err(Refused::NotStored(1, State::Corrected)),
        "the newest is corrected, not the first"
    );
    // Back to the value of the first: no repetition of it.
    rig.enter(correction("r-4", "30", 2), later(120_000)).expect("corrected");
    let page = rig.store.page(Lane::Bulk, Seq(0), 100, 1 << 20).expect("a page");
    let told: Vec<_> = page
        .records
        .iter()
        .map(|record| {
            let body = <v1::RecordBody as prost::Message>::decode(record.body.clone()).expect("a body");
            let row = &body_json(&body)["readings"][0];
            (row["value"].as_str().expect("text").to_owned(), row["time"].clone(), row["manual"].clone())
        })
        .collect();
    let values: Vec<&str> = told.iter().map(|(value, ..)| value.as_str()).collect();
    assert_eq!(values, ["30", "3", "30"]);
    assert!(told.iter().all(|(_, time, manual)| *time == told[0].1 && *manual == true), "{told:?}");
}
