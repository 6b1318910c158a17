//! A crowd of devices, one of which floods, and a subscriber that never reads: the others do not notice, and what those two
//! cost is bounded and counted. benches/crowd.sh is the same with ten times as many, and measures.

use std::sync::Arc;
use std::time::Duration;

use smallbrain::simulate::load::{self, Report, Settings};
use tokio_util::sync::CancellationToken;

use super::gateway::{Gateway, PATIENCE, Site};

/// Devices; the one after the last is the one that floods.
const DEVICES: u32 = 200;
/// Resident memory, kilobytes.
const MEMORY_KB: u64 = 64 << 10;

/// benches/load.toml with every listener on a free port, and the limits of MQTT that everybody has.
fn site() -> Site {
    let text = include_str!("../../benches/load.toml");
    let mut config: toml::Table = text.parse().expect("it is TOML");
    let more = r#"
        store = { dir = "smallbrain-data" }
        mqtt = { listen = "127.0.0.1:0", anonymous = true }
        share_server = { loopback = { listen = "127.0.0.1:0", consumer = "spiffe://city.example/bench" } }
        telemetry = { listen = "127.0.0.1:0" }
    "#;
    config.extend(more.parse::<toml::Table>().expect("it is TOML"));
    config["device"][0]["ids"] = toml::Value::Array(vec![format!("load-{{1..{}}}", DEVICES + 1).into()]);
    Site::new(&config.to_string())
}

async fn crowd(gateway: &Gateway) -> Report {
    let settings = Settings {
        server: gateway.mqtt.to_string(),
        connections: DEVICES,
        rate: Some(f64::from(DEVICES)),
        duration: Some(Duration::from_secs(3)),
        flood: 1,
        deaf: 1,
        drain: PATIENCE,
        ..Settings::default()
    };
    load::run(settings, Arc::default(), CancellationToken::new()).await.expect("the gateway takes them")
}

/// The highest resident memory of a process so far (`proc_pid_status(5)`), kilobytes.
fn peak_kb(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}

#[tokio::test]
async fn one_that_floods_and_one_that_never_reads_cost_the_others_nothing() {
    let site = site();
    let gateway = site.start();
    let report = crowd(&gateway).await;
    let [flood, talk] = [&report.flood, &report.talk].map(|aside| aside.clone().expect("it was there"));
    assert_eq!((report.acked, report.lost), (report.sent, 0), "{report}");
    assert!(report.clean() && report.acked >= u64::from(DEVICES), "{report}");
    assert_eq!((flood.acked, talk.acked), (flood.sent, talk.sent), "all that was taken: {report}");
    assert_eq!((flood.lost, talk.lost), (0, 0), "{report}");

    let stored = gateway.metric("smallbrain_ingest_stored_total");
    assert_eq!(stored, report.acked + flood.acked, "each message is one reading");
    assert!(gateway.metric("smallbrain_mqtt_throttled_total") > 0, "the one that floods is slowed down");
    let dropped = gateway.metric("smallbrain_mqtt_deliveries_dropped_total{reason=\"full\"}");
    assert!(dropped > 0 && dropped < talk.sent, "{dropped} dropped of {talk:?}");
    let peak = peak_kb(gateway.pid());
    assert!(peak < MEMORY_KB, "{peak} kB resident");
}
