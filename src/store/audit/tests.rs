//! The trail on a real database: rows and acts together, witnesses, what is kept, and stores that are not what they were.

use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::audit::verify::{Evidence, Verdict, verify};
use crate::model::Cause;
use crate::rules::presence::Standing;
use crate::store::tests::{NOW, open, seal};

const KEEP: Keep = Keep { age_ms: i64::MAX, bytes_max: u64::MAX, witnessed: None };

fn consumer() -> Consumer {
    "spiffe://city.example/test".parse().expect("a name")
}

fn write(store: &mut Store, rows: u64, at: Stamp) {
    let mut txn = store.begin().expect("a transaction");
    for row in 0..rows {
        txn.audit(&Entry::gateway(Action::ConfigLoad, format!("lists@{row}")), at).expect("a row");
    }
    txn.commit().expect("committed");
}

/// Action, object and reason of every row.
fn told(dir: &Path) -> Vec<(String, String, Option<String>)> {
    let conn = Connection::open(dir.join("smallbrain.db")).expect("opened");
    let mut statement =
        conn.prepare("SELECT action, object, reason FROM audit ORDER BY seq").expect("prepared");
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    statement.query_map([], read).expect("asked").collect::<Result<_, _>>().expect("read")
}

fn is_tampered(dir: &Path) -> bool {
    let evidence = Evidence { keys: vec![], checkpoints: true, witness: None };
    let report = verify(&dir.join("smallbrain.db"), &evidence).expect("it runs");
    report.verdict() == Verdict::Tampered
}

#[test]
fn a_dropped_transaction_leaves_neither_the_act_nor_its_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let before = store.audit_head();
    let device = "dev".parse().expect("a name");
    let standing = Standing { online: true, since_ms: 1, cause: Cause::from_code(0).expect("a cause") };
    let mut txn = store.begin().expect("a transaction");
    txn.set_presence(&device, standing).expect("the act");
    txn.audit(&Entry::gateway(Action::RawView, "dev"), NOW).expect("its row");
    drop(txn);
    assert!(store.presence().expect("read").is_empty());
    assert_eq!((store.audit_head(), told(dir.path()).len()), (before, 0));
    write(&mut store, 1, NOW);
    assert_eq!((store.audit_head().seq, is_tampered(dir.path())), (1, false));
}

#[test]
fn a_witness_holds_what_is_on_the_chain_and_never_goes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let genesis = store.audit_head();
    write(&mut store, 3, NOW);
    let middle = store.audit_head();
    write(&mut store, 4, Stamp { wall_ms: NOW.wall_ms + 5, ..NOW });
    let newest = store.audit_head();
    let other = [9; 32];
    let since = [NOW.wall_ms, NOW.wall_ms + 5].map(Some);
    // (size, hash, answer, held afterwards, waiting since)
    for (size, hash, expected, held, waiting) in [
        (0, genesis.hash, Ok(()), 0, since[0]),
        (3, other, Err(WitnessRefused::Fork { size: 3 }), 0, since[0]),
        (3, middle.hash, Ok(()), 3, since[1]),
        (8, newest.hash, Err(WitnessRefused::Ahead { size: 8, ours: 7 }), 3, since[1]),
        (7, newest.hash, Ok(()), 7, None),
        (3, middle.hash, Ok(()), 7, None),
        (3, other, Err(WitnessRefused::Fork { size: 3 }), 7, None),
    ] {
        let mut txn = store.begin().expect("a transaction");
        assert_eq!(txn.witnessed(&consumer(), size, &hash, NOW).expect("asked"), expected, "{size}");
        txn.commit().expect("committed");
        let witnessed = store.witnessed([consumer()].iter()).expect("read");
        assert_eq!(witnessed, Witnessed { rows: 7, size: held, since_ms: waiting });
    }
    let nobody = store.witnessed([].iter()).expect("read");
    assert_eq!(nobody.lag_ms(NOW.wall_ms + 60_000), 60_000);
    assert_eq!(nobody.lag_ms(NOW.wall_ms - 1), 0);
}

#[test]
fn a_store_that_is_not_what_it_was_says_so() {
    type Harm = fn(&Path);
    let on = |dir: &Path, sql: &str| {
        let conn = Connection::open(dir.join("smallbrain.db")).expect("opened");
        conn.execute_batch("DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete").expect("dropped");
        conn.execute_batch(sql).expect("changed");
    };
    let cases: [(&str, Harm, &str, bool); 4] = [
        ("cut", |_| {}, "DELETE FROM audit WHERE seq > 3", true),
        ("changed", |_| {}, "UPDATE audit SET row_hash = zeroblob(32) WHERE seq = 5", true),
        ("gone", |dir| std::fs::remove_file(dir.join("smallbrain.db")).expect("removed"), "", false),
        ("the same", |_| {}, "", false),
    ];
    for (name, harm, sql, forks) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = open(dir.path());
        let epoch = store.epoch();
        write(&mut store, 5, NOW);
        store.close().expect("closed");
        harm(dir.path());
        if !sql.is_empty() {
            on(dir.path(), sql);
        }
        let again = Store::open(store_settings(dir.path()), [8; 32], NOW).expect("opened");
        let fork: Vec<_> = told(dir.path()).into_iter().filter(|row| row.0 == "store.fork").collect();
        let expected = match name {
            "gone" => Some("database_gone"),
            "the same" => None,
            _ => Some("trail_cut"),
        };
        assert_eq!(fork.last().and_then(|row| row.2.as_deref()), expected, "{name}");
        assert_eq!(again.epoch() != epoch, forks || name == "gone", "{name}");
    }
}

fn store_settings(dir: &Path) -> crate::store::Settings {
    crate::store::tests::settings(dir)
}

#[test]
fn an_older_copy_says_so_and_its_trail_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    write(&mut store, 2, NOW);
    store.close().expect("closed");
    let database = dir.path().join("smallbrain.db");
    let copy = dir.path().join("copy.db");
    std::fs::copy(&database, &copy).expect("copied");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 3);
    store.close().expect("closed");
    std::fs::rename(&copy, &database).expect("restored");
    let store = Store::open(store_settings(dir.path()), [8; 32], NOW).expect("opened");
    let rows = told(dir.path());
    assert_eq!(rows.last().expect("a row").2.as_deref(), Some("older_copy"));
    assert_eq!((store.audit_head().seq, is_tampered(dir.path())), (3, false));
}

#[test]
fn what_is_too_old_goes_once_a_witness_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    write(&mut store, 10, NOW);
    let late = Stamp { wall_ms: NOW.wall_ms + 5 * 86_400_000, ..NOW };
    write(&mut store, 5, late);
    let keep = Keep { age_ms: 86_400_000, ..KEEP };
    for (witnessed, gone, held) in
        [(Some(0), 0, true), (Some(4), 4, true), (None, 6, false), (None, 0, false)]
    {
        let keep = Keep { witnessed, ..keep };
        assert_eq!(store.trim_audit(&keep, late).expect("trimmed"), Trimmed { gone, held }, "{witnessed:?}");
        assert!(!is_tampered(dir.path()), "after {witnessed:?}");
    }
    let told: Vec<_> = told(dir.path()).into_iter().filter(|row| row.0 == "retention.delete").collect();
    let objects: Vec<&str> = told.iter().map(|row| row.1.as_str()).collect();
    assert_eq!(objects, ["audit:1-4", "audit:5-10"]);
}

#[test]
fn what_is_too_much_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    write(&mut store, 6000, NOW);
    let keep = Keep { bytes_max: 160 * 3200, ..KEEP };
    let mut gone = 0;
    while let Trimmed { gone: more @ 1.., .. } = store.trim_audit(&keep, NOW).expect("trimmed") {
        gone += more;
    }
    assert!((2_500..4_000).contains(&gone), "{gone}");
    assert!(!is_tampered(dir.path()));
}

#[test]
fn what_had_to_go_is_told_with_what_went() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 5);
    while store.make_room().expect("room") {}
    let rows = told(dir.path());
    assert_eq!(rows, [("gap.declare".into(), "bulk:1-5".into(), Some("budget".into()))]);
    assert!(!is_tampered(dir.path()));
}
