//! Personal values are found nowhere: not on disk, not in a log, not outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use super::device::Device;
use super::gateway::{Site, example};

/// Synthetic; none of it may be found anywhere.
const CANARIES: [&str; 6] =
    ["张三丰", "13800138000", "310115199001011234", "CARD-7F3A-0042", "沪A·12345", "ZmFjZS1vZi1hLXBlcnNvbg"];

/// Those of them that give themselves away, wherever they stand.
const DETECTED: [&str; 2] = ["13800138000", "沪A·12345"];

/// Every file below a directory that holds one of the texts.
fn holders(dir: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(holders(&path, texts));
        } else if let Ok(bytes) = fs::read(&path) {
            let holds = |text: &&&str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            found.extend(texts.iter().filter(holds).map(|text| format!("{text} in {}", path.display())));
        }
    }
    found
}

#[test]
fn no_personal_value_reaches_disk_log_status_metrics_or_city() {
    // With a pseudonym for the card, and a log of everything.
    let text = example()
        .replacen("card_no = \"drop\"", "card_no = { do = \"pseudonym\", subject = \"code\" }", 1)
        .replacen(
            "[[template.point]]\nmetric = \"card_no\"",
            "[[template.point]]\nmetric = \"state\"\nkind = \"text\"\njson = \"/state\"\n\
             [[template.point]]\nmetric = \"card_no\"",
            1,
        )
        .replacen("{ door_open = \"keep\",", "{ door_open = \"keep\", state = \"keep\",", 1)
        .replacen("log = \"info\"", "log = \"trace\"", 1)
        + "\n[pseudonym]\nkey = \"pseudonym.key\"\n";
    let site = Site::new(&text);
    fs::write(site.path("pseudonym.key"), "5f1c7a90e3b2d4865f1c7a90e3b2d4865f1c7a90e3b2d4865f1c7a90e3b2d486")
        .expect("a key");
    fs::set_permissions(site.path("pseudonym.key"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let gateway = site.start();

    let mut device = Device::of(gateway.mqtt, "door-1");
    for canary in CANARIES {
        for field in ["open", "card", "name", "phone", "face", "nobody_knows", "ts"] {
            device.publish("compound/door-1/up", format!(r#"{{"{field}":"{canary}","open":true}}"#));
            device.publish(
                "compound/door-2/up",
                format!(r#"{{"open":false,"{field}":{{"{canary}":["{canary}"]}}}}"#),
            );
            device.publish(
                "compound/thermometer-1/up",
                format!(r#"{{"temperature":"{canary}","battery":12}}"#),
            );
        }
        if DETECTED.contains(&canary) {
            device.publish("compound/door-1/up", format!(r#"{{"state":"held by {canary}"}}"#));
        }
        device.publish("compound/door-1/up", format!(r#"{{"name":"{canary}"#));
        device.publish("compound/door-1/up", canary);
        device.publish("compound/door-1/down", canary);
        device.publish("no/such/topic", format!(r#"{{"name":"{canary}"}}"#));
    }
    let told = gateway.metrics();
    for reason in ["policy", "refused", "invalid", "malformed", "personal"] {
        assert!(
            told[&format!("smallbrain_ingest_lost_total{{reason=\"{reason}\"}}")] > 0,
            "{reason} was tried"
        );
    }
    gateway.log.wait("TRACE", 1);
    let outside =
        format!("{told:?} {} {:?} {:?}", gateway.status(), gateway.pull("bulk"), gateway.pull("alarm"));
    let log = gateway.log.clone();

    // As it is while it runs, with the write-ahead log, and after a polite end.
    let while_running = holders(&site.store(), &CANARIES);
    assert!(!holders(&site.store(), &["door_open"]).is_empty(), "the search finds what is there");
    assert!(!holders(&site.store(), &["key.create"]).is_empty(), "the key of the epoch is in the trail");
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
    assert_eq!((while_running, holders(&site.store(), &CANARIES)), (vec![], vec![]));
    for canary in CANARIES {
        assert!(!log.text().contains(canary), "{canary} in the log");
        assert!(!outside.contains(canary), "{canary} outside");
    }
}
