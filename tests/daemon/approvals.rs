//! Approvals on the real binary: asked for, voted on with a key, made use of, taken back in the middle of a stream, and
//! what is left of all that after a restart.

use std::process::Command;

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::Value;

use super::device::Device;
use super::gateway::{Gateway, SMALLBRAIN, Site, example, finish, smallbrain, until};

const CITY: &str = "spiffe://brain.example/city/310115/brain/yiwangtongguan";

/// The example with every line in tier T1, and one person who may vote; the person's key lies in the site.
fn site() -> Site {
    let site = Site::example();
    let key = site.path("zhang.key").display().to_string();
    let made =
        smallbrain(&["approvals", "key", "property-manager", "--role", "property.manager", "--out", &key]);
    assert_eq!(made.code(), Some(0), "{made:?}");
    let again = smallbrain(&["approvals", "key", "property-manager", "--out", &key]);
    assert_eq!(again.code(), Some(1), "a key is not overwritten");
    let mut text = example();
    for paper in ["approval = \"2026-014\"", "approval = \"2026-015\""] {
        text = text.replace(paper, "tier = \"T1\"");
    }
    site.swap(&format!("{text}\n{}", made.out));
    site
}

fn json(gateway: &Gateway, args: &[&str]) -> Value {
    let said = gateway.ask(&[&["approvals", "--json"], args].concat());
    assert_eq!(said.code(), Some(0), "{args:?}: {said:?}\n{}", gateway.log.text());
    said.json().remove(0)
}

/// Asks for the single readings; the id.
fn request(gateway: &Gateway, name: &str) -> String {
    let words = ["--for", "30d", "--as", name, "--reason", "早高峰研判"];
    let asked = json(gateway, &[&["request", "--share", "S-004", "--consumer", CITY], &words[..]].concat());
    assert_eq!((&asked["state"], &asked["tier"]), (&"pending".into(), &"T1".into()));
    asked["id"].as_str().expect("an id").to_owned()
}

fn pull(gateway: &Gateway) -> Command {
    let mut command = Command::new(SMALLBRAIN);
    command.args(["pull", "--gateway", &gateway.url(), "--lane", "bulk", "--after", "0"]);
    command
}

/// Action and outcome of each row of the trail that is about approvals, and everything else in it as one text.
fn trail(site: &Site) -> (Vec<(String, String)>, String) {
    let path = site.store().join("smallbrain.db");
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the store");
    let find = "SELECT action, outcome, actor || ' ' || actor_role || ' ' || object || ' ' || coalesce(detail_json, '')
        || ' ' || coalesce(reason, '') FROM audit WHERE action LIKE 'approval.%' ORDER BY seq";
    let mut statement = conn.prepare(find).expect("a question");
    let row = |row: &rusqlite::Row<'_>| Ok(((row.get(0)?, row.get(1)?), row.get::<_, String>(2)?));
    let rows: Vec<_> = statement.query_map([], row).expect("rows").map(|row| row.expect("a row")).collect();
    let text = rows.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
    (rows.into_iter().map(|(row, _)| row).collect(), text)
}

#[test]
fn a_stream_stops_when_its_approval_is_revoked_and_the_trail_has_every_step() {
    let site = site();
    let gateway = site.start();
    let key = site.path("zhang.key").display().to_string();
    let vote =
        |id: &str| gateway.ask(&["approvals", "vote", id, "yes", "--as", "property-manager", "--key", &key]);
    let mut device = Device::of(gateway.mqtt, "one");
    device.publish("compound/thermometer-1/up", r#"{"temperature":21}"#);

    let said = finish(pull(&gateway));
    assert_eq!(said.code(), Some(77), "nothing is granted: {said:?}");
    assert!(said.err.contains("needs an approval of its tier"), "{}", said.err);

    // Who asked does not vote.
    let own = request(&gateway, "property-manager");
    let said = vote(&own);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(said.err.contains("who asked does not vote"), "{}", said.err);
    let revoked = json(&gateway, &["revoke", &own, "--as", "property-manager", "--reason", "重来"]);
    assert_eq!(revoked["state"], "revoked");

    let id = request(&gateway, "li.clerk");
    let said = vote(&id);
    assert_eq!(said.code(), Some(0), "{said:?}");
    assert!(said.out.contains("已批准") && said.out.contains("早高峰研判"), "{}", said.out);
    assert_eq!(json(&gateway, &["show", &id])["uses"], 0, "nobody has pulled");

    let mut command = pull(&gateway);
    command.arg("--follow");
    let stream = std::thread::spawn(move || finish(command));
    until("the stream hands something out", || {
        (gateway.metric("smallbrain_share_records_total") > 0).then_some(())
    });
    assert_eq!(json(&gateway, &["show", &id])["uses"], 1);
    json(&gateway, &["revoke", &id, "--as", "li.clerk", "--reason", "用途已变更"]);
    device.publish("compound/thermometer-1/up", r#"{"temperature":22}"#);
    let said = stream.join().expect("the stream's end");
    assert_eq!(said.code(), Some(77), "{said:?}");
    assert!(said.err.contains("it was revoked"), "{}", said.err);
    let has = |value: &str| said.out.contains(&format!("\"value\":\"{value}\""));
    assert!(has("21") && !has("22"), "nothing after the word: {}", said.out);
    assert!(said.out.contains(&id), "sealed while it was granted, so it names it: {}", said.out);
    let said_records = said.out.clone();
    let refused = "smallbrain_share_refused_total{reason=\"approval_revoked\"}";
    assert!(gateway.metric(refused) >= 1);

    let log = gateway.log.text();
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
    let gateway = site.start();
    let said = gateway.ask(&["approvals", "--all", "--json"]);
    let states: Vec<Value> = said.json().iter().map(|approval| approval["state"].clone()).collect();
    assert_eq!(states, ["revoked", "revoked"]);
    let log = log + &gateway.log.text();
    drop(gateway);

    let record: Value = serde_json::from_str(said_records.lines().next().expect("a record")).expect("JSON");
    let record = record["record_id"].as_str().expect("an id").to_owned();
    let traced = smallbrain(&["trace", &record, "--config", &site.config().display().to_string()]);
    assert_eq!(traced.code(), Some(0), "{traced:?}");
    for word in [id.as_str(), "T1 revoked", "property.manager  yes", "share.deliver", "temperature keep"] {
        assert!(traced.out.contains(word), "{word}: {}", traced.out);
    }

    let (rows, text) = trail(&site);
    let rows: Vec<(&str, &str)> = rows.iter().map(|(action, outcome)| (&**action, &**outcome)).collect();
    assert_eq!(
        rows,
        [
            ("approval.request", "ok"),
            ("approval.vote", "denied"),
            ("approval.revoke", "ok"),
            ("approval.request", "ok"),
            ("approval.vote", "ok"),
            ("approval.grant", "ok"),
            ("approval.use", "ok"),
            ("approval.revoke", "ok"),
        ]
    );
    assert!(text.contains("property-manager") && text.contains("own_request"), "{text}");
    for word in ["早高峰研判", "用途已变更", "重来", "li.clerk"] {
        assert!(!text.contains(word), "{word} is nobody's business in the trail: {text}");
        assert!(!log.contains(word), "{word} in the log");
    }
    assert!(!log.contains("property-manager"), "a name in the log");
}
