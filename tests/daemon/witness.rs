//! The audit trail and the city: what left is in it, and what the city keeps of it cannot be taken back unnoticed.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::Value;
use smallbrain::model::Lane;
use smallbrain::share::client::Target;
use smallbrain::wire::{self, v1};
use v1::record_service_client::RecordServiceClient;

use super::device::Device;
use super::gateway::{Gateway, Said, Site, smallbrain};

const CITY: &str = "spiffe://brain.example/city/310115/brain/yiwangtongguan";

/// Object, list, approval and detail of each delivery in the trail of a store that nobody has open.
fn deliveries(site: &Site) -> Vec<[String; 4]> {
    let conn = Connection::open(site.store().join("smallbrain.db")).expect("a database");
    let find = "SELECT object, list_ref, approval_id, detail_json FROM audit
        WHERE action = 'share.deliver' AND actor = ?1 AND actor_role = 'consumer' AND outcome = 'ok' ORDER BY seq";
    let mut statement = conn.prepare(find).expect("a statement");
    let rows = statement.query_map([CITY], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]));
    rows.expect("rows").collect::<Result<_, _>>().expect("rows")
}

fn pull(gateway: &Gateway, witness: &Path) -> Said {
    let witness = witness.display().to_string();
    smallbrain(&["pull", "--gateway", &gateway.url(), "--lane", "alarm", "--ack", "--witness", &witness])
}

fn sizes(witness: &Path) -> Vec<u64> {
    let text = fs::read_to_string(witness).expect("a witness");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.map(|line| line["size"].as_u64().expect("a size")).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// A gateway that dies between the row and the batch leaves a row of what did not leave: the trail may say more than
/// happened, by one batch of each stream, and never less.
#[tokio::test]
async fn what_left_is_in_the_trail_also_after_kill_9() {
    let site = Site::example();
    let gateway = site.start();
    Device::of(gateway.mqtt, "one").publish("compound/smoke-1/up", r#"{"alarm":true}"#);
    let target = Target { gateway: gateway.url(), ..Target::default() };
    let mut city = RecordServiceClient::new(target.connect().await.expect("the gateway listens"));
    let after = |seq| v1::FetchRequest {
        after: Some(v1::Cursor { lane: wire::lane_number(Lane::Alarm), seq, ..v1::Cursor::default() }),
        ..v1::FetchRequest::default()
    };
    for (seq, records) in [(0, 1), (0, 1), (1, 0), (0, 1)] {
        let batch = city.fetch(after(seq)).await.expect("an answer").into_inner().batch.expect("a batch");
        assert_eq!(batch.records.len(), records, "after {seq}");
    }
    let last = tokio::spawn(async move { city.fetch(after(0)).await.is_ok() });
    tokio::task::yield_now().await;
    assert_eq!(gateway.stop(Signal::KILL), None, "no time for anything");
    let left = 3 + usize::from(last.await.expect("no panic"));
    let rows = deliveries(&site);
    let row = ["alarm:1-1", "share/S-001", "2026-014", "{\"S-001\":1}"].map(str::to_owned);
    assert!(rows.iter().all(|told| *told == row), "{rows:?}");
    assert!(rows.len() == left || rows.len() == left + 1, "{} rows of {left} deliveries", rows.len());
}

#[test]
fn the_city_notices_that_the_store_was_put_back() {
    let site = Site::example();
    let (witness, backup) = (site.path("witness.jsonl"), site.path("backup"));
    let gateway = site.start();
    Device::of(gateway.mqtt, "one").publish("compound/smoke-1/up", r#"{"alarm":true}"#);
    // With its end a gateway signs what it has written.
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
    copy(&site.store(), &backup);

    for round in 1..=2 {
        let gateway = site.start();
        let said = pull(&gateway, &witness);
        assert_eq!(said.code(), Some(0), "{said:?}\n{}", gateway.log.text());
        assert!(gateway.metric("smallbrain_share_witnessed_total") >= 1);
        assert_eq!(sizes(&witness).len(), round, "{:?}", sizes(&witness));
        assert_eq!(gateway.stop(Signal::TERM), Some(0));
    }
    assert!(sizes(&witness).is_sorted_by(|a, b| a < b));
    let store = site.store().display().to_string();
    let text = witness.display().to_string();
    let said = smallbrain(&["audit", "verify", "--store", &store, "--witness", &text]);
    assert_eq!(said.code(), Some(0), "{said:?}");
    let keys = smallbrain(&["audit", "key", "--store", &store]).out;
    let key = keys.split_whitespace().find(|word| word.len() == 64).expect("a key").to_owned();

    copy(&backup, &site.store());
    for name in ["smallbrain.db-wal", "smallbrain.db-shm"] {
        if !backup.join(name).exists() {
            // It may not be there.
            let _ = fs::remove_file(site.store().join(name));
        }
    }
    let gateway = site.start();
    let said = pull(&gateway, &witness);
    assert_eq!(said.code(), Some(1), "{said:?}");
    assert!(said.err.contains("audit trail: the trail has"), "{}", said.err);
    assert!(said.err.contains("smallbrain audit verify"), "{}", said.err);

    // Without a witness file of its own a city starts anew; with the gateway's key it believes no other.
    let fresh = site.path("fresh.jsonl").display().to_string();
    for (key, code) in [(key, 0), ("00".repeat(32), 1), ("00".to_owned(), 2)] {
        let args = ["pull", "--gateway", &gateway.url(), "--witness", &fresh, "--audit-key", &key];
        let said = smallbrain(&args);
        assert_eq!(said.code(), Some(code), "{key}: {said:?}");
    }
}
