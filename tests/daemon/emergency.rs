//! A profile for an emergency on the real binary: signed, put into its directory, in force for a few seconds, and gone.

use std::fs;
use std::process::Command;

use rusqlite::Connection;

use super::device::Device;
use super::gateway::{SMALLBRAIN, Site, example, finish};
use super::{readings, wait_for_readings};

const ADDS: &str = r#"
[[template]]
name = "gauge"
[[template.point]]
metric = "flood.level"
json = "/level"

[[device]]
id = "gauge-1"
template = "gauge"

[[mapping]]
topic = "flood/{device}/up"
template = "gauge"

[[collect]]
id = "C-flood"
templates = ["gauge"]
purpose = "safety.flood"
fields = { "flood.level" = "keep" }

[[share]]
id = "S-flood"
purpose = "safety.flood"
lane = "bulk"
consumers = ["spiffe://brain.example/city/310115/brain/yiwangtongguan"]
metrics = ["flood.level"]
devices = true
approval = "2026-031"
"#;

fn trail(site: &Site, action: &str) -> Vec<String> {
    let conn = Connection::open(site.store().join("smallbrain.db")).expect("opened");
    let mut statement = conn.prepare("SELECT detail_json FROM audit WHERE action = ?").expect("a statement");
    let rows = statement.query_map([action], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("texts")
}

/// `smallbrain` with these words, in the site's directory; what it printed.
fn run(site: &Site, args: &[&str]) -> String {
    let mut command = Command::new(SMALLBRAIN);
    command.args(args).current_dir(site.path("."));
    let said = finish(command);
    assert_eq!(said.code(), Some(0), "{args:?}: {said:?}");
    said.out
}

#[test]
fn a_signed_profile_comes_into_force_and_leaves_nothing_but_its_certificate() {
    let site = Site::new(&example());
    let person =
        run(&site, &["approvals", "key", "chen.officer", "--role", "street.data_officer", "--out", "key"]);
    let section = "[emergency]\ndir = 'emergency.d'\nsigners = ['chen.officer']\n";
    site.swap(&format!("{}\n{person}\n{section}", example()));
    let dir = site.path("emergency.d");
    fs::create_dir(&dir).expect("a directory");
    let gateway = site.start();

    let now = jiff::Timestamp::now();
    let until = now + jiff::SignedDuration::from_secs(15);
    let text = format!(
        "[profile]\nid = 'flood'\ntitle = 'High water'\nreason = 'order 31'\nfrom = '{now}'\nuntil = '{until}'\n{ADDS}"
    );
    fs::write(site.path("flood.toml"), text).expect("a file");
    let file = site.path("flood.toml").display().to_string();
    // Not signed yet: left out alone, and said.
    fs::copy(&file, dir.join("flood.toml")).expect("a copy");
    gateway.log.wait("a profile for an emergency is left out", 1);
    run(&site, &["emergency", "sign", &file, "--as", "chen.officer", "--key", "key"]);
    let config = site.config().display().to_string();
    assert!(run(&site, &["emergency", "check", &file, "--config", &config]).contains("devices 1, points 1"));
    fs::rename(site.path("flood.toml.sig"), dir.join("flood.toml.sig")).expect("a rename");
    gateway.log.wait("a profile for an emergency is in force", 1);
    assert!(run(&site, &["emergency", "list", "--config", &config]).contains("signed by chen.officer"));
    assert!(gateway.degraded().iter().any(|line| line.contains("flood is in force")));

    let mut device = Device::of(gateway.mqtt, "one");
    for level in 1..=5 {
        device.publish("flood/gauge-1/up", format!(r#"{{"level":{level}}}"#));
        device.publish("compound/thermometer-1/up", format!(r#"{{"temperature":2{level}}}"#));
    }
    assert_eq!(wait_for_readings(&gateway, "gauge-1", 5).len(), 5);

    gateway.log.wait("what it brought in is deleted", 1);
    assert_eq!(readings(&gateway, "gauge-1"), []);
    assert_eq!(wait_for_readings(&gateway, "thermometer-1", 5).len(), 5);
    let gaps = gateway.pull("bulk").into_iter().filter(|line| line["gap"]["reason"] == "purged").count();
    assert!(gaps > 0);
    assert_eq!(gateway.metric("smallbrain_readings_purged_total"), 5);
    assert_eq!((trail(&site, "emergency.begin").len(), trail(&site, "emergency.purge").len()), (1, 1));
    assert!(trail(&site, "emergency.purge")[0].contains("\"readings\":5"));
    assert_eq!(gateway.degraded(), Vec::<String>::new());
    // It is not a device any more.
    device.publish("flood/gauge-1/up", r#"{"level":6}"#);
    assert_eq!(gateway.metric("smallbrain_readings_purged_total"), 5);
}
