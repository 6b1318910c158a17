//! What configurations come to, and whether the constants are those of records as they are.

use std::path::PathBuf;

use super::*;
use crate::audit::Action;
use crate::model::{SeriesKey, TrailDigest, Value};
use crate::privacy::intake::{Treatment, clear};
use crate::wire;

fn config(lists: &str) -> Config {
    let text = format!(
        "{}{lists}",
        r#"
[gateway]
id = "gw-1"
division_code = "310115013007"
compound_code = "C-1"
[store]
dir = "data"
size_max = "116 MiB"
reserve = "16 MiB"
lanes = { bulk = "10 MiB", aggregate = "10 MiB" }
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
[[device]]
id = "t-1"
template = "thermometer"
[[device]]
id = "t-2"
template = "thermometer"
[[collect]]
id = "C-1"
templates = ["thermometer"]
purpose = "climate"
fields = { temperature = "keep" }
"#
    );
    let texts = vec![(PathBuf::from("smallbrain.toml"), text)];
    Config::of_texts(texts, &[], 1_795_190_400_000).unwrap_or_else(|faults| panic!("{faults}"))
}

fn share(lane: &str, more: &str) -> String {
    format!(
        "[[share]]\nid = \"S-{lane}\"\npurpose = \"climate\"\nlane = \"{lane}\"\n\
         consumers = [\"spiffe://brain.example/city\"]\napproval = \"AP-1\"\n{more}\n"
    )
}

#[test]
fn without_a_share_list_nothing_is_owed() {
    let outage = Outage::of(&config(""));
    assert_eq!((outage.lasts(), outage.short().count(), outage.assumed), (None, 0, 2));
    assert_eq!(outage.history_a_day, 2 * 1440 * LOG_BYTES);
    assert_eq!(outage.promise, Duration::from_secs(7 * 86_400));
    assert!(outage.lanes.iter().all(|load| load.lasts().is_none()));
}

#[test]
fn what_fills_a_lane_is_reckoned_from_its_lines() {
    let aggregate = "[[aggregate]]\nid = \"A-1\"\nmetrics = [\"temperature\"]\nsize = \"15m\"\nby = \"device\"\n\
                     statistics = [\"count\", \"mean\"]\n";
    let carries = format!(
        "{aggregate}{}",
        share("aggregate", "devices = true\nmetrics = [\"temperature\"]\ncarries = [\"A-1\"]")
    );
    for (lists, lane, least, most) in [
        // 2 × 1440 readings, nearly each in a record of its own.
        (share("bulk", "devices = true\nmetrics = [\"temperature\"]"), Lane::Bulk, 2880 * 250, 2880 * 400),
        (
            share("bulk", "devices = true\nmetrics = [\"temperature\"]\nsample = \"1h\""),
            Lane::Bulk,
            48 * 250,
            52 * 400,
        ),
        // 96 windows of 2 cells of 2 figures.
        (carries, Lane::Aggregate, 96 * (4 * 80 + 250), 98 * (4 * 90 + 320)),
        (share("audit", ""), Lane::Audit, 24 * 700, 26 * 1000),
    ] {
        let outage = Outage::of(&config(&lists));
        let load = outage.lanes[lane.index()];
        assert!((least..=most).contains(&load.a_day), "{lists}: {load:?}");
        let event = outage.lanes[Lane::Event.index()];
        assert_eq!((load.lines, event.lines), (1, 1), "every line hears of its changes");
        assert!(outage.lasts().is_some());
    }
}

#[test]
fn a_lane_that_is_too_small_says_what_would_do() {
    let bulk = share("bulk", "devices = true\nmetrics = [\"temperature\"]");
    let mut config = config(&bulk);
    assert_eq!(Outage::of(&config).complaints().count(), 0);
    config.store.promises.bytes[Lane::Bulk.index()] = 2 << 20;
    let told: Vec<String> = Outage::of(&config).complaints().collect();
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("lane bulk gets about ") && told[0].contains("store.lanes.bulk = "),
        "{told:?}"
    );
    config.store.promises.lasts = Duration::from_secs(86_400);
    assert_eq!(Outage::of(&config).short().count(), 0, "for a day it is enough");
}

/// The constants are no guesses: records as they are sealed are about as long, and rather shorter.
#[test]
fn records_are_as_long_as_they_are_reckoned() {
    let bulk = config(&share("bulk", "devices = true\nmetrics = [\"temperature\"]"));
    let line = &bulk.plan.shares[0];
    let point = bulk.plan.points[0].as_ref().expect("a point");
    let rows = |count: i64| -> u64 {
        let reading = |row: i64| {
            let reading = crate::model::Reading {
                series: SeriesKey(0),
                value: Value::Number(rust_decimal::Decimal::new(2150 + row, 2)),
                time_ms: 1_795_190_400_000 + row * 60_000,
                received_ms: 1_795_190_400_000 + row * 60_000,
                device_time: true,
                quality: crate::model::Quality::Good,
            };
            clear(Some(&Treatment::Keep), reading).expect("kept")
        };
        let rows: Vec<_> = (0..count).map(reading).collect();
        let column =
            wire::Column { device: &point.device, metric: &point.metric, unit: &point.unit, manual: false };
        let sealed = wire::readings(&bulk.gateway, line, 1, &rows, |_| Some(column), 1_795_190_400_000);
        sealed.iter().map(|sealed| sealed.body().len() as u64).sum()
    };
    let one = rows(1);
    let bound = HEAD_BYTES + SERIES_BYTES + READING_BYTES;
    assert!((bound / 3..=bound).contains(&one), "{one} of {bound}");
    let each = (rows(1000) - one) / 999;
    assert!((READING_BYTES / 2..=READING_BYTES).contains(&each), "{each} of {READING_BYTES}");

    let audit = config(&share("audit", ""));
    let counts = Action::ALL.iter().take(20).map(|action| (action.as_str().to_owned(), 1000)).collect();
    let digest = TrailDigest {
        origin: format!("smallbrain/{}", "0a".repeat(16)),
        size: 1_000_000,
        head: [7; 32],
        signature: vec![7; 64],
        at_ms: 1_795_190_400_000,
        counts,
    };
    let line = &audit.plan.shares[0];
    let cleared = line.digest(&digest, 1_795_190_400_000).expect("open");
    let one = wire::digest(&audit.gateway, line, 1, &cleared, 1_795_190_400_000).body().len() as u64;
    let bound = HEAD_BYTES + DIGEST_BYTES;
    assert!((bound / 2..=bound).contains(&one), "{one} of {bound}");
}
