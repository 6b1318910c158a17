//! Entries as rows: what is put is read again, cleared values alone get in, and rows go when their time is over.

use std::time::Duration;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::model::Stamp;
use crate::privacy::intake::{Treatment, clear};
use crate::store::{Settings, Store, Upkeep};

const NOW: Stamp = Stamp { wall_ms: 1_790_000_000_000, mono_ms: 5 };
const DAY_MS: i64 = 86_400_000;

fn open(dir: &std::path::Path) -> Store {
    let settings = Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 0,
        group_window: Duration::ZERO,
        retention: Duration::from_secs(3600),
        promises: crate::store::room::Promises::of(64 << 20),
    };
    Store::open(settings, [7; 32], NOW).expect("the store opens")
}

fn field(metric: &str, value: Value, quality: Quality) -> Field {
    let reading =
        Reading { series: SeriesKey(0), value, time_ms: 1, received_ms: 2, device_time: true, quality };
    let cleared = clear(Some(&Treatment::Keep), reading).expect("kept");
    Field::of(metric.parse().expect("a metric"), "keep", &cleared)
}

fn entry(request: &str, state: State, entered_ms: i64) -> Entry {
    Entry {
        id: 0,
        request: request.into(),
        collect: "C-010".parse().expect("a line"),
        device: "clinic".parse().expect("a device"),
        at_ms: NOW.wall_ms,
        entered_ms,
        author: "王医生".into(),
        role: "doctor".into(),
        reason: "日报".into(),
        fields: vec![field("fever_cases", Value::Number(Decimal::new(30, 1)), Quality::Good)],
        state,
        checked: None,
        corrects: None,
        readings: None,
    }
}

fn add(store: &mut Store, entry: &Entry) -> u64 {
    let mut txn = store.begin().expect("a transaction");
    let id = txn.add_entry(entry).expect("added");
    txn.commit().expect("committed");
    id
}

fn find(store: &mut Store, id: u64) -> Option<Entry> {
    store.begin().expect("a transaction").entry(id).expect("a question")
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (any::<i64>(), 0_u32..28).prop_map(|(number, scale)| Value::Number(Decimal::new(number, scale))),
        any::<bool>().prop_map(Value::Flag),
        prop_oneof![Just("\"',\n\\ 楼\u{0}".to_owned()), ".{0,20}"].prop_map(|text| Value::Text(text.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_put_is_read_as_it_was(
        values in prop::collection::vec(any_value(), 0..4), words in prop::collection::vec("[^\u{0}]{0,12}", 4),
        at_ms in -1_000_000_i64..1_000_000, corrects in prop::option::of(1_u64..1000), checked: bool,
        readings in prop::option::of((1_i64..100, 100_i64..200)),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = open(dir.path());
        let fields = values.into_iter().enumerate();
        let mut put = Entry {
            at_ms,
            author: words[0].as_str().into(),
            role: words[1].as_str().into(),
            reason: words[2].as_str().into(),
            fields: fields.map(|(at, value)| field(&format!("f{at}"), value, Quality::Good)).collect(),
            corrects,
            ..entry("r-1", State::Waiting, NOW.wall_ms)
        };
        put.id = add(&mut store, &put);
        prop_assert_eq!(find(&mut store, put.id), Some(put.clone()));
        put.state = State::Stored;
        put.readings = readings;
        put.checked = checked.then(|| Checked {
            by: words[3].as_str().into(),
            role: words[1].as_str().into(),
            at_ms,
            reason: words[0].as_str().into(),
        });
        let mut txn = store.begin().expect("a transaction");
        txn.set_entry(&put).expect("set");
        prop_assert_eq!(txn.entry_of("r-1").expect("a question"), Some(put));
    }
}

#[test]
fn an_entry_gives_back_readings_of_its_own_time() {
    let mut entry = entry("r-1", State::Waiting, NOW.wall_ms);
    entry.fields.push(field("place", Value::Text("B3".into()), Quality::OutOfRange));
    let series = |metric: &Metric| (metric.as_str() != "gone").then_some(SeriesKey(4));
    for (late_ms, quality) in [(0, Quality::Good), (DAY_MS, Quality::Good), (DAY_MS + 1, Quality::Retained)] {
        let readings = entry.readings_at(NOW.wall_ms + late_ms, series).expect("known");
        let told: Vec<_> = readings.iter().map(|reading| reading.get().clone()).collect();
        assert_eq!((told[0].quality, told[1].quality), (quality, Quality::OutOfRange), "{late_ms}");
        assert_eq!((told[0].time_ms, told[0].received_ms), (NOW.wall_ms, NOW.wall_ms + late_ms));
        assert!(told[0].series == SeriesKey(4) && told[0].device_time);
    }
    entry.fields.push(field("gone", Value::Flag(true), Quality::Good));
    assert_eq!(entry.readings_at(NOW.wall_ms, series), None);
    let shown = format!("{entry:?}");
    assert!(!shown.contains("B3") && !shown.contains("王医生") && !shown.contains("日报"), "{shown}");
}

#[test]
fn entries_go_with_the_readings_of_their_time_and_numbers_are_never_given_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let old_ms = NOW.wall_ms - 2 * 3_600_000;
    let rows = [
        entry("stored", State::Stored, old_ms),
        entry("refused", State::Refused, old_ms),
        entry("waits", State::Waiting, old_ms),
        entry("forgotten", State::Waiting, NOW.wall_ms - HISTORY_MAX_MS - 1),
        entry("new", State::Stored, NOW.wall_ms),
        entry("last", State::Corrected, old_ms),
    ];
    let ids = rows.map(|entry| add(&mut store, &entry));
    assert_eq!(store.begin().expect("a transaction").entries_waiting().expect("a count"), 2);
    let upkeep =
        Upkeep { acked: [None; crate::model::Lane::ALL.len()], expire_before_ms: NOW.wall_ms - 3_600_000 };
    store.tidy(&upkeep).expect("tidied");
    let left = ids.map(|id| find(&mut store, id).is_some());
    assert_eq!(left, [false, false, true, false, true, false]);
    assert_eq!(store.tally("entries_expired").expect("a tally"), 1, "what nobody looked at is counted");
    assert_eq!(add(&mut store, &entry("stored", State::Stored, NOW.wall_ms)), ids[5] + 1);
}
