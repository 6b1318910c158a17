//! The real binary from outside: the example as it is, live reload, bad input, exit codes, systemd, and what must never
//! reach disk or log.

#[path = "daemon/alarms.rs"]
mod alarms;
#[path = "daemon/approvals.rs"]
mod approvals;
#[path = "daemon/bad_input.rs"]
mod bad_input;
#[path = "daemon/bus.rs"]
mod bus;
#[path = "daemon/crowd.rs"]
mod crowd;
#[path = "daemon/device.rs"]
mod device;
#[path = "daemon/devices.rs"]
mod devices;
#[path = "daemon/emergency.rs"]
mod emergency;
#[path = "daemon/entry.rs"]
mod entry;
#[path = "daemon/gateway.rs"]
mod gateway;
#[path = "daemon/http.rs"]
mod http;
#[path = "daemon/meters.rs"]
mod meters;
#[path = "daemon/orders.rs"]
mod orders;
#[path = "daemon/privacy.rs"]
mod privacy;
#[path = "daemon/reload.rs"]
mod reload;
#[path = "daemon/shared.rs"]
mod shared;
#[path = "daemon/start_stop.rs"]
mod start_stop;
#[path = "daemon/tls.rs"]
mod tls;
#[path = "daemon/told.rs"]
mod told;
#[path = "daemon/unlisted.rs"]
mod unlisted;
#[path = "daemon/uplink.rs"]
mod uplink;
#[path = "daemon/webhook.rs"]
mod webhook;
#[path = "daemon/witness.rs"]
mod witness;

use rustix::process::Signal;
use serde_json::{Value, json};

use device::Device;
use gateway::{Gateway, Site, until};

/// The readings of a device in the bulk lane, as metric and value.
fn readings(gateway: &Gateway, device: &str) -> Vec<(String, String)> {
    let records = gateway.pull("bulk");
    let rows = records.iter().flat_map(|record| record["body"]["readings"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    rows.filter(|row| row["device"] == device)
        .map(|row| (text(&row["metric"]), text(&row["value"])))
        .collect()
}

/// Waits for as many readings of a device; a record of the bulk lane is closed after five seconds.
fn wait_for_readings(gateway: &Gateway, device: &str, count: usize) -> Vec<(String, String)> {
    until("readings in the bulk lane", || {
        let found = readings(gateway, device);
        (found.len() >= count).then_some(found)
    })
}

/// Position and share line of every record of the alarm lane.
fn alarms(gateway: &Gateway) -> Vec<(u64, String)> {
    let records = gateway.pull("alarm");
    let text = |record: &Value| record["share_item"].as_str().expect("a line").to_owned();
    records.iter().map(|record| (record["seq"].as_u64().expect("a position"), text(record))).collect()
}

#[test]
fn the_example_runs_as_it_is_and_what_it_acknowledged_survives_kill_9() {
    let site = Site::example();
    let gateway = site.start();
    let mut device = Device::of(gateway.mqtt, "thermometer-1");
    device.publish("compound/thermometer-1/up", r#"{"temperature":21.50,"humidity":40,"battery":77}"#);
    device.publish("compound/smoke-1/up", r#"{"smoke":7,"alarm":true}"#);

    // A status in the first second told of a used-up disk and of no device.
    let status = gateway.status();
    assert_eq!(status["devices"].as_array().map(Vec::len), Some(7));
    assert_eq!((&status["gateway"], &status["degraded"]), (&json!("gw-310115013007-0012"), &json!([])));
    assert_eq!(alarms(&gateway), [(1, "S-001".to_owned())]);
    assert_eq!(gateway.metric("smallbrain_mqtt_acked_total"), 2);
    let raised =
        &until("the alarm in the status", || Some(gateway.status()).filter(|s| s["alarms"][0].is_object()));
    assert_eq!(
        (&raised["alarms"][0]["alarm"], &raised["alarms"][0]["severity"]),
        (&json!("smoke"), &json!("critical"))
    );

    let epoch = &status["epoch"];
    assert_eq!(gateway.stop(Signal::KILL), None, "no time for anything");
    let gateway = site.start();
    let mut found = wait_for_readings(&gateway, "thermometer-1", 2);
    found.sort();
    assert_eq!(found, [("humidity".into(), "40".into()), ("temperature".into(), "21.50".into())]);
    assert_eq!(alarms(&gateway), [(1, "S-001".to_owned())], "still there, and not a second time");
    assert_eq!(&gateway.status()["epoch"], epoch);
}
