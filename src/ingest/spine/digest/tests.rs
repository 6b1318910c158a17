//! Digests of the trail, on a real store.

use std::path::PathBuf;

use prost::Message;

use super::*;
use crate::audit::checkpoint::Signer;
use crate::audit::{Action, Entry};
use crate::config::Config;
use crate::model::Seq;
use crate::store::room::Promises;
use crate::store::{Settings, Store};
use crate::wire::v1;
use crate::wire::v1::record_body::Content;

const HOUR: Duration = Duration::from_secs(3600);
const START_MS: i64 = 1_795_190_400_000;

fn at(seconds: i64) -> Stamp {
    Stamp { wall_ms: START_MS + seconds * 1000, mono_ms: seconds.unsigned_abs() * 1000 }
}

fn plan() -> crate::ingest::Plan {
    let text = r#"
[gateway]
id = "gw-1"
division_code = "310115013007"
compound_code = "C-1"
[store]
dir = "data"
[[share]]
id = "S-trail"
purpose = "oversight"
lane = "audit"
consumers = ["spiffe://brain.example/city"]
approval = "AP-1"
"#;
    let texts = vec![(PathBuf::from("smallbrain.toml"), text.to_owned())];
    Config::of_texts(texts, &[], START_MS).unwrap_or_else(|faults| panic!("{faults}")).plan
}

fn open(dir: &std::path::Path) -> (Store, Spine) {
    let settings = Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 1 << 20,
        group_window: Duration::ZERO,
        retention: HOUR,
        promises: Promises::of(64 << 20),
    };
    let mut store = Store::open(settings, [7; 32], at(0)).expect("a store");
    let spine = Spine::open(plan(), &mut store, at(0)).expect("a spine");
    (store, spine)
}

/// Writes rows, signs the newest and gives the digests their chance; without a commit it was all for nothing.
fn step(store: &mut Store, spine: &Spine, rows: usize, now: Stamp, commits: bool) {
    let trail = store.trail().to_vec();
    let signer = Signer::from_seed(&std::array::from_fn::<u8, 32, _>(|at| at as u8)).expect("a seed");
    let mut txn = store.begin().expect("a transaction");
    for _ in 0..rows {
        txn.audit(&Entry::gateway(Action::ClockStep, "ms:1"), now).expect("a row");
    }
    let newest = signer.sign(&trail, txn.audit_head(), now.wall_ms);
    txn.checkpoint(&newest).expect("kept");
    spine.digest(&mut txn, Some(&newest), HOUR, now).expect("digested");
    if commits {
        txn.commit().expect("committed");
    }
}

/// The sizes and counts of all digests.
fn told(store: &Store) -> Vec<(u64, u64)> {
    let page = store.page(Lane::Audit, Seq(0), 100, 1 << 20).expect("a page");
    let records = page.records.iter();
    records
        .map(|record| {
            let body = v1::RecordBody::decode(record.body.clone()).expect("a body");
            let Some(Content::Audit(digest)) = body.content else { panic!("another content") };
            let clock = digest.counts.get("clock.step").copied().unwrap_or(0);
            (digest.checkpoint.expect("signed").size, clock)
        })
        .collect()
}

#[test]
fn every_row_is_counted_once_whenever_it_stops() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, spine) = open(dir.path());
    let begun = store.audit_head().seq;
    for (rows, seconds, commits) in [
        (2, 0, true),
        (3, 1800, true),
        (4, 3600, true),
        (5, 3700, true),
        // No room: the same again later.
        (6, 7200, false),
    ] {
        step(&mut store, &spine, rows, at(seconds), commits);
    }
    // A line begins where the trail stands when it is new.
    assert_eq!(told(&store), [(begun + 9, 7)]);
    store.close().expect("closed");
    let (mut store, spine) = open(dir.path());
    let opened = store.audit_head().seq;
    step(&mut store, &spine, 1, at(7300), true);
    step(&mut store, &spine, 0, at(7301), true);
    assert_eq!(told(&store), [(begun + 9, 7), (opened + 1, 6)]);
}

#[test]
fn what_was_trimmed_uncounted_is_told_as_that() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, spine) = open(dir.path());
    step(&mut store, &spine, 1, at(0), true);
    step(&mut store, &spine, 1000, at(60), true);
    let keep = crate::store::Keep { age_ms: 0, bytes_max: u64::MAX, witnessed: None };
    while store.trim_audit(&keep, at(100_000)).expect("trimmed").gone > 0 {}
    let head = store.audit_head().seq;
    let txn = store.begin().expect("a transaction");
    let counts = txn.audit_counts(0, head).expect("counted");
    assert_eq!(counts.values().sum::<u64>(), head, "{counts:?}");
    assert!(counts["trimmed"] > 900, "{counts:?}");
}

#[test]
fn a_line_that_is_gone_is_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, spine) = open(dir.path());
    step(&mut store, &spine, 1, at(0), true);
    let line: LineId = "S-trail".parse().expect("an id");
    let mut txn = store.begin().expect("a transaction");
    assert!(txn.digest_mark(&line).expect("read").is_some());
    txn.keep_digest_marks(&[]).expect("forgotten");
    assert_eq!(txn.digest_mark(&line).expect("read"), None);
}
