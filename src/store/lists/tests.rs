//! What the store proves of how the lists are lived.

use std::time::Duration;

use super::*;
use crate::lists::{Point, Whose};
use crate::model::Stamp;
use crate::store::{Settings, Store};

const NOW: Stamp = Stamp { wall_ms: 1_795_190_400_000, mono_ms: 0 };
const DAY_MS: i64 = 86_400_000;

fn store(dir: &Path) -> Store {
    let settings = Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 1 << 20,
        group_window: Duration::ZERO,
        retention: Duration::from_secs(7 * 86_400),
        promises: crate::store::room::Promises::of(64 << 20),
    };
    Store::open(settings, [7; 32], NOW).expect("a store")
}

fn lists() -> Lists {
    let point = Point {
        template: "thermometer".parse().expect("an id"),
        metric: "temperature".parse().expect("a metric"),
        whose: Whose::Nobody,
        collect: Some("C-1".parse().expect("an id")),
        treatment: "keep".into(),
        devices: vec!["t-1".into(), "t-2".into()],
    };
    Lists { points: vec![point], ..Lists::default() }
}

/// Readings of t-1, as (id, days ago).
fn heard(store: &mut Store, readings: &[(i64, i64)]) {
    let txn = store.begin().expect("a transaction");
    txn.conn.execute("INSERT OR IGNORE INTO series VALUES (1, 't-1', 'temperature')", []).expect("a series");
    for (id, days) in readings {
        let received = NOW.wall_ms - days * DAY_MS;
        let add = "INSERT INTO reading VALUES (?, 1, ?, NULL, 1, 0, 0, 0)";
        txn.conn.execute(add, (id, received)).expect("a reading");
    }
    txn.commit().expect("a commit");
}

#[test]
fn silence_is_told_only_where_it_is_proven() {
    for (name, readings, silent) in [
        ("an empty log", &[][..], &["t-1", "t-2"][..]),
        ("heard, in a whole log", &[(1, 1)], &["t-2"]),
        ("heard long ago, in a whole log", &[(1, 8)], &["t-1", "t-2"]),
        ("a log that was trimmed, but is old enough", &[(5, 7), (6, 1)], &["t-2"]),
        ("a log that is too short", &[(5, 2), (6, 1)], &[]),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = store(dir.path());
        heard(&mut store, readings);
        let seen = observed_in(dir.path(), &lists(), NOW.wall_ms).expect("readable").expect("a store");
        let found: Vec<&str> = seen.silent.iter().map(|(device, _)| device.as_str()).collect();
        assert_eq!(found, silent, "{name}");
    }
}

#[test]
fn a_directory_without_a_store_tells_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(observed_in(dir.path(), &lists(), NOW.wall_ms).expect("readable"), None);
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0, "nothing is made by looking");
}

#[test]
fn incidents_that_stand_are_told_with_what_was_said_of_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = store(dir.path());
    let txn = store.begin().expect("a transaction");
    for (id, life, raised) in [
        (1, "raised", Some(10)),
        (2, "confirmed", Some(20)),
        (3, "closed", Some(30)),
        (4, "pre_alarm", None),
        (5, "raised", Some(50)),
    ] {
        let add = "INSERT INTO incident VALUES (?, 'hot', 't-1', 'major', ?, 1, 1, ?, 1, 0, NULL, 0)";
        txn.conn.execute(add, (id, life, raised)).expect("an incident");
    }
    let add = "INSERT INTO feedback (consumer, request, record, step, text, at_ms, incident, outcome)
        VALUES ('city', 'r', 'x', 'noted', '', 1, 5, 'ok')";
    txn.conn.execute(add, []).expect("feedback");
    txn.commit().expect("a commit");
    let seen = observed_in(dir.path(), &lists(), NOW.wall_ms).expect("readable").expect("a store");
    let found: Vec<_> =
        seen.incidents.iter().map(|found| (found.id, found.raised_ms, found.accepted)).collect();
    assert_eq!(found, [(1, 10, false), (2, 20, true), (5, 50, true)]);
}

#[test]
fn a_line_stands_there_since_it_came_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = store(dir.path());
    let txn = store.begin().expect("a transaction");
    for (id, version, status, since) in [
        ("C-1", 1, "active", 10),
        ("C-1", 2, "retired", 20),
        ("C-1", 3, "active", 30),
        ("C-1", 4, "active", 40),
        ("C-2", 1, "active", 10),
        ("C-2", 2, "retired", 20),
    ] {
        let add = "INSERT INTO list_item VALUES ('collect', ?, ?, ?, '{}', x'00', 1, ?)";
        txn.conn.execute(add, (id, version, status, since)).expect("a version");
    }
    txn.commit().expect("a commit");
    let seen = observed_in(dir.path(), &lists(), NOW.wall_ms).expect("readable").expect("a store");
    let since: Vec<_> = seen.since_ms.iter().map(|((_, id), since)| (id.as_str(), *since)).collect();
    assert_eq!(since, [("C-1", 30)]);
}
