//! Live reload: what a swapped file changes, and what a broken one does not.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use super::device::Device;
use super::gateway::{Gateway, Site, example, finish, until};
use super::{alarms, wait_for_readings};

const MORE: &str = r#"
[[device]]
id = "thermometer-9"
template = "thermometer"

[[alarm]]
id = "steam"
when = "humidity > 90"
severity = "minor"

[[share]]
id = "S-009"
purpose = "safety.damp"
lane = "alarm"
consumers = ["spiffe://brain.example/city/310115/brain/yiwangtongguan"]
metrics = ["humidity"]
devices = true
carries = ["steam"]
approval = "2026-016"
until = "2030-12-31"
"#;

#[test]
fn a_new_device_alarm_and_share_line_are_in_force_without_a_restart_and_without_loss() {
    let site = Site::example();
    let gateway = site.start();
    let mut device = Device::of(gateway.mqtt, "one");
    device.publish("compound/smoke-1/up", r#"{"alarm":true}"#);
    device.publish("compound/thermometer-1/up", r#"{"temperature":21}"#);
    device.publish("compound/thermometer-9/up", r#"{"humidity":95}"#);
    assert_eq!(gateway.metric("smallbrain_ingest_lost_total{reason=\"unknown_device\"}"), 1);
    let before = gateway.status();

    site.swap(&(example() + MORE));
    gateway.log.wait("new configuration in force", 1);
    Device::of(gateway.mqtt, "new").publish("compound/thermometer-9/up", r#"{"humidity":95}"#);
    assert_eq!(alarms(&gateway), [(1, "S-001".to_owned()), (2, "S-009".to_owned())], "the old one is kept");
    let after = gateway.status();
    assert_eq!(after["epoch"], before["epoch"]);
    assert!(after["policy_version"].as_u64() > before["policy_version"].as_u64(), "other lists");
    assert_eq!(after["degraded"], json!([]));
    wait_for_readings(&gateway, "thermometer-1", 1);
    // A connection that stands hears of it a moment later.
    until("the standing connection knows the device", || {
        let stored = gateway.metric("smallbrain_ingest_stored_total");
        device.publish("compound/thermometer-9/up", r#"{"humidity":96}"#);
        (gateway.metric("smallbrain_ingest_stored_total") == stored + 1).then_some(())
    });
    let unknown = gateway.metric("smallbrain_ingest_lost_total{reason=\"unknown_device\"}");

    // What is taken out ends, for this device and for nobody else.
    site.swap(&example());
    gateway.log.wait("new configuration in force", 2);
    Device::of(gateway.mqtt, "new").publish("compound/thermometer-9/up", r#"{"humidity":10}"#);
    assert_eq!(gateway.metric("smallbrain_ingest_lost_total{reason=\"unknown_device\"}"), unknown + 1);
    device.publish("compound/thermometer-2/up", r#"{"temperature":22}"#);
    wait_for_readings(&gateway, "thermometer-2", 1);
}

#[test]
fn a_broken_file_is_refused_whole_and_the_old_one_stays() {
    let site = Site::example();
    let gateway = site.start();
    let mut device = Device::of(gateway.mqtt, "one");
    let mut stored = 0;
    let mut goes_on = || {
        stored += 1;
        device.publish("compound/thermometer-1/up", format!(r#"{{"temperature":{stored}}}"#));
        assert_eq!(gateway.metric("smallbrain_ingest_stored_total"), stored);
    };
    goes_on();

    // Half of it, and a line that is cut in the middle.
    let whole = example() + MORE;
    let (half, _) =
        whole.split_once("metrics = [\"temperature\", \"humidity\"] # required").expect("an aggregate");
    fs::write(site.config(), format!("{half}metrics = [\"temp")).expect("a file");
    gateway.log.wait("refused", 1);
    goes_on();
    let told = gateway.degraded();
    assert!(told[0].starts_with("configuration refused: ") && told[0].contains("config.toml:"), "{told:?}");

    // Ten faults beside a device that would be right.
    let faults: String =
        (0..10).map(|n| format!("[[alarm]]\nid = \"a{n}\"\nmetric = \"no_{n}\"\n")).collect();
    site.swap(&(example() + MORE + &faults));
    let told = gateway.log.wait("refused", 2);
    let count = told.split_once("faults=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= 10), "{told}");
    goes_on();
    device_is_unknown(&gateway, "thermometer-9");
    let check = finish(site.command("check"));
    assert!((0..10).all(|n| check.out.contains(&format!("no_{n}"))), "{}", check.out);

    // No file at all.
    fs::rename(site.config(), site.path("away")).expect("a rename");
    gateway.log.wait("refused", 3);
    goes_on();

    // The same as before is right again, and the status is good.
    site.swap(&example());
    gateway.log.wait("new configuration in force", 1);
    assert_eq!(gateway.degraded(), Vec::<String>::new());
    goes_on();
}

fn device_is_unknown(gateway: &Gateway, device: &str) {
    let name = "smallbrain_ingest_lost_total{reason=\"unknown_device\"}";
    let before = gateway.metric(name);
    Device::of(gateway.mqtt, "stranger").publish(&format!("compound/{device}/up"), r#"{"humidity":95}"#);
    assert_eq!(gateway.metric(name), before + 1);
}

/// What a reload could not reach was told once, and forgotten at the next change of anything else.
#[test]
fn what_needs_a_restart_is_named_until_it_is_gone() {
    let site = Site::example();
    let gateway = site.start();
    gateway.signal(Signal::HUP);
    gateway.log.wait("new configuration in force", 1);
    assert_eq!(gateway.degraded(), Vec::<String>::new(), "SIGHUP alone changes nothing");

    let moved = example().replacen("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.2:0\"", 1);
    let waits = ["configuration: mqtt.listen needs a restart"];
    for (nth, text) in [(2, moved.clone()), (3, moved.clone() + MORE)] {
        site.swap(&text);
        let told = gateway.log.wait("new configuration in force", nth);
        assert!(told.contains("mqtt.listen"), "{told}");
        assert_eq!(gateway.degraded(), waits);
    }
    site.swap("gateway = 1");
    gateway.log.wait("refused", 1);
    let told = gateway.degraded();
    assert!(
        told.len() == 2 && told[0] == waits[0] && told[1].starts_with("configuration refused: "),
        "{told:?}"
    );
    Device::of(gateway.mqtt, "still").ping();

    site.swap(&example());
    gateway.log.wait("new configuration in force", 4);
    assert_eq!(gateway.degraded(), Vec::<String>::new());

    // And a restart does it.
    site.swap(&moved);
    gateway.log.wait("new configuration in force", 5);
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
    let gateway = site.start();
    assert_eq!((gateway.mqtt.ip().to_string().as_str(), gateway.degraded().len()), ("127.0.0.2", 0));
}
