//! MQTT devices as people meet them: one that nobody knows is taken in, one that sleeps gets its command, and whether one is
//! there is told.

use rustix::process::Signal;
use serde_json::json;

use super::device::Device;
use super::gateway::{Site, until};
use super::wait_for_readings;

#[test]
fn an_unknown_device_is_pending_until_its_lines_are_written() {
    let site = Site::example();
    let gateway = site.start();
    let mut device = Device::of(gateway.mqtt, "zigbee2mqtt");
    let told = r#"{"temperature":21.5,"humidity":40,"note":"CANARY-138 0013 8000"}"#;
    device.publish("zigbee2mqtt/living room", told);
    let pending = |names: &str| {
        until("the pending devices", || {
            let listed = gateway.ask(&["devices", "pending", "--json"]).json().remove(0);
            let list = listed["pending"].as_array()?;
            let found: Vec<_> = list.iter().filter_map(|device| device["name"].as_str()).collect();
            (found.join(" ") == names).then_some(listed)
        })
    };
    let listed = pending("living room");
    assert_eq!(listed["pending"][0]["profile"], "zigbee2mqtt");
    assert!(!listed.to_string().contains("CANARY"), "no value is shown: {listed}");

    let file = site.included("living-room.toml");
    let add = ["device", "add", "--from-pending", "living room", "--id", "room-9", "--write", &file];
    let said = gateway.ask(&add);
    assert!(said.code() == Some(0) && said.out.contains(&file), "{said:?}");
    gateway.log.wait("new configuration in force", 1);
    pending("");
    until("the device is heard", || {
        device.publish("zigbee2mqtt/living room", told);
        (gateway.metric("smallbrain_ingest_stored_total") > 0).then_some(())
    });
    // Devices are told at most a second late.
    let presence = until("its presence", || {
        let devices = gateway.ask(&["devices", "--json"]).json().remove(0);
        let room = devices["devices"].as_array()?.iter().find(|one| one["device"] == "room-9")?.clone();
        Some(room["presence"].clone()).filter(|presence| !presence.is_null())
    });
    assert_eq!((&presence["online"], &presence["cause"]), (&json!(true), &json!("heard")));
}

#[test]
fn a_command_waits_on_disk_for_a_device_that_sleeps() {
    let site = Site::example();
    let gateway = site.start();
    let mut device = Device::dial(gateway.mqtt);
    assert_eq!(device.resume("valve"), 0, "a new session");
    device.subscribe("compound/valve/down", 1);
    drop(device);
    for (topic, payload, expires, code, told) in [
        ("compound/valve/down", "close", "1d", 0, "given to 1 clients"),
        ("compound/valve/down", "late", "1ms", 0, "given to 1 clients"),
        ("compound/nobody/down", "close", "1d", 1, "nobody hears that topic"),
        ("compound/+/down", "close", "1d", 1, "must have no wildcard"),
    ] {
        let said = gateway.ask(&["send", topic, payload, "--expires", expires, "--lang", "en"]);
        assert_eq!(said.code(), Some(code), "{said:?}");
        assert!((said.out.clone() + &said.err).contains(told), "{said:?}");
    }
    assert_eq!(gateway.stop(Signal::KILL), None, "no time for anything");

    let gateway = site.start();
    let mut device = Device::dial(gateway.mqtt);
    assert_eq!(device.resume("valve"), 1, "the session is there");
    assert_eq!(device.delivery(), ("compound/valve/down".to_owned(), b"close".to_vec()));
    device.publish("compound/thermometer-1/up", r#"{"temperature":21.50}"#);
    wait_for_readings(&gateway, "thermometer-1", 1);
}
