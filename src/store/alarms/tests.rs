//! Incidents and what belongs to them, on a real directory.

mod round_trip;

use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use super::queries::{Events, Incidents, Notices};
use super::*;
use crate::model::{Actor, Lane, Life, Severity, Stamp, Value};
use crate::rules::command::{Asked, Stage};
use crate::rules::notice::Fate;
use crate::store::reader::Reader;
use crate::store::{Heads, Settings, Upkeep, outbox};

const NOW: Stamp = Stamp { wall_ms: 1_790_000_000_000, mono_ms: 5 };
const DAY_MS: i64 = 86_400_000;
const RETENTION_MS: i64 = 3_600_000;

fn open(dir: &std::path::Path) -> Store {
    let settings = Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 0,
        group_window: Duration::ZERO,
        retention: Duration::from_millis(RETENTION_MS.unsigned_abs()),
        promises: crate::store::room::Promises::of(64 << 20),
    };
    Store::open(settings, [7; 32], NOW).expect("the store opens")
}

fn within(store: &mut Store, change: impl FnOnce(&mut Txn<'_>)) {
    let mut txn = store.begin().expect("a transaction");
    change(&mut txn);
    txn.commit().expect("committed");
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

fn incident_of(number: u64, alarm: &str, device: &str, life: Life, changed_ms: i64) -> Incident {
    Incident {
        id: IncidentId(number),
        alarm: id(alarm),
        device: id(device),
        severity: Severity::Major,
        life,
        active: life != Life::Closed,
        began_ms: changed_ms,
        raised_ms: Some(changed_ms),
        changed_ms,
        escalated: 0,
        told_ms: None,
        returns: 0,
    }
}

fn event_of(incident: u64, step: Step, at_ms: i64) -> Event {
    Event {
        incident: IncidentId(incident),
        alarm: id("door-held"),
        step,
        life: Life::Raised,
        active: true,
        severity: Severity::Major,
        device: Some(id("door-1")),
        place: Some(id("B3/lobby")),
        device_class: "door".into(),
        metric: id("door_open"),
        value: Some(Value::Flag(true)),
        unit: String::new(),
        by: Actor::Gateway,
        reason: "".into(),
        at_ms,
    }
}

fn notice_of(number: u64, incident: u64, recipient: &str, due_ms: i64) -> Notice {
    Notice {
        id: number,
        incident: IncidentId(incident),
        step: Step::Raised,
        alarm: id("door-held"),
        severity: Severity::Major,
        place: None,
        recipient: id(recipient),
        made_ms: NOW.wall_ms,
        due_ms,
        seq: None,
        run: None,
        text: "门长开未关".into(),
        fate: Fate::Waiting,
        tries: 0,
        done_ms: None,
        proof: String::new(),
    }
}

fn run_of(number: u64, incident: Option<u64>, stage: Stage) -> Run {
    Run {
        id: number,
        command: id("siren-on"),
        incident: incident.map(IncidentId),
        stage,
        ordered_ms: NOW.wall_ms,
        expires_ms: NOW.wall_ms + 30_000,
        changed_ms: NOW.wall_ms,
        approved: vec![],
        detail: String::new(),
        asked: None,
    }
}

fn feedback_of(request: &str, incident: Option<u64>) -> Feedback {
    Feedback {
        consumer: id("spiffe://a/b"),
        request: request.into(),
        record: "r-1".into(),
        step: Step::Dispatched,
        text: "派出所已出警".into(),
        at_ms: NOW.wall_ms,
        incident: incident.map(IncidentId),
        outcome: "applied".into(),
    }
}

#[test]
fn what_is_set_is_there_after_a_restart_and_what_is_dropped_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let work = Maintenance {
        id: 4,
        devices: "lift-*".into(),
        places: "*".into(),
        from_ms: 1,
        until_ms: 2,
        by: "电梯公司".into(),
        reason: "年检".into(),
    };
    let (alarm, device) = (id::<LineId>("door-held"), id::<DeviceId>("door-1"));
    within(&mut store, |txn| {
        txn.set_trigger(&alarm, &device, Some("held 5")).expect("set");
        txn.set_trigger(&alarm, &id("door-2"), Some("raised")).expect("set");
        txn.set_trigger(&alarm, &id("door-2"), None).expect("dropped");
        txn.set_maintenance(&work).expect("set");
        txn.set_run(&run_of(1, None, Stage::Sent)).expect("set");
        txn.set_run(&run_of(2, None, Stage::Done)).expect("set");
        txn.set_notice(&notice_of(1, 1, "property", 0)).expect("set");
        txn.link_record(Seq(9), IncidentId(3)).expect("linked");
    });
    drop(store);
    let mut store = open(dir.path());
    assert_eq!(store.triggers().expect("read"), [TriggerRow { alarm, device, state: "held 5".into() }]);
    assert_eq!(store.maintenances().expect("read"), [work]);
    assert_eq!(store.runs_open().expect("read"), [run_of(1, None, Stage::Sent)]);
    assert_eq!(store.waiting_notices().expect("read"), [(id("property"), 1)]);
    within(&mut store, |txn| {
        assert_eq!(txn.incident_of_record(Seq(9)).expect("read"), Some(IncidentId(3)));
        assert_eq!(txn.incident_of_record(Seq(8)).expect("read"), None);
        txn.drop_maintenance(4).expect("dropped");
        txn.drop_maintenance(4).expect("dropping nothing is no error");
    });
    assert_eq!(store.maintenances().expect("read"), []);
}

#[test]
fn the_same_request_of_a_consumer_is_one_feedback() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let said = feedback_of("q-1", Some(3));
    within(&mut store, |txn| {
        assert_eq!(txn.feedback(&said.consumer, "q-1").expect("read"), None);
        assert_eq!(txn.add_feedback(&said).expect("added"), 1);
        assert_eq!(txn.feedback(&said.consumer, "q-1").expect("read"), Some((1, said.clone())));
        assert_eq!(txn.feedback(&id("spiffe://a/c"), "q-1").expect("read"), None);
        assert!(txn.add_feedback(&said).is_err());
    });
    assert!(!format!("{said:?}").contains("派出所"), "what somebody wrote is in no log");
}

#[test]
fn numbers_are_never_given_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    assert_eq!(store.numbers().expect("read"), Numbers::default());
    within(&mut store, |txn| {
        for number in 1..=3 {
            let incident = incident_of(number, "a", "d", Life::Closed, 0);
            txn.set_incident(&incident).expect("set");
            txn.set_incident(&incident).expect("set again");
            txn.add_event(&event_of(number, Step::Raised, 0)).expect("added");
            let told = Notice { fate: Fate::Delivered, ..notice_of(number, number, "property", 0) };
            txn.set_notice(&told).expect("set");
            txn.set_run(&run_of(number, Some(number), Stage::Done)).expect("set");
            txn.add_feedback(&feedback_of(&number.to_string(), Some(number))).expect("added");
        }
        let work = Maintenance {
            id: 5,
            devices: "*".into(),
            places: "*".into(),
            from_ms: 0,
            until_ms: 0,
            by: "x".into(),
            reason: "".into(),
        };
        txn.set_maintenance(&work).expect("set");
        txn.drop_maintenance(5).expect("dropped");
    });
    let numbers = Numbers { incident: 3, event: 3, notice: 3, run: 3, maintenance: 5, feedback: 3 };
    assert_eq!(store.numbers().expect("read"), numbers);
    tidy(&mut store, NOW.wall_ms);
    assert_eq!(store.conn.query_row("SELECT count(*) FROM incident", [], |row| row.get(0)), Ok(0));
    drop(store);
    assert_eq!(open(dir.path()).numbers().expect("read"), numbers);
}

fn tidy(store: &mut Store, now_ms: i64) {
    let upkeep = Upkeep { acked: [None; Lane::ALL.len()], expire_before_ms: now_ms - RETENTION_MS };
    while store.tidy(&upkeep).expect("tidied") {}
}

/// Rows of every table that belongs to incidents.
fn counts(store: &Store) -> [i64; 6] {
    ["incident", "history", "notice", "run", "record_incident", "feedback"].map(|table| {
        let count = format!("SELECT count(*) FROM {table}");
        store.conn.query_row(&count, [], |row| row.get(0)).expect("counted")
    })
}

#[test]
fn a_closed_incident_goes_whole_after_400_days_and_an_open_one_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let old_ms = NOW.wall_ms - 401 * DAY_MS;
    let cases = [
        (1, Life::Closed, old_ms, Stage::Done, Fate::Delivered, false),
        (2, Life::Closed, NOW.wall_ms - 399 * DAY_MS, Stage::Done, Fate::Delivered, true),
        (3, Life::Raised, old_ms, Stage::Done, Fate::Delivered, true),
        (4, Life::Closed, old_ms, Stage::Sent, Fate::Delivered, true),
        (5, Life::Closed, old_ms, Stage::Done, Fate::Waiting, true),
        (6, Life::Closed, old_ms, Stage::Failed, Fate::Dropped, false),
    ];
    within(&mut store, |txn| {
        for (number, life, changed_ms, stage, fate, _) in cases {
            txn.set_incident(&incident_of(number, "a", "d", life, changed_ms)).expect("set");
            txn.add_event(&event_of(number, Step::Raised, changed_ms)).expect("added");
            txn.set_notice(&Notice { fate, ..notice_of(number, number, "property", 0) }).expect("set");
            txn.set_run(&run_of(number, Some(number), stage)).expect("set");
            txn.link_record(Seq(number), IncidentId(number)).expect("linked");
            txn.add_feedback(&feedback_of(&number.to_string(), Some(number))).expect("added");
        }
    });
    assert_eq!(counts(&store), [6; 6]);
    tidy(&mut store, NOW.wall_ms);
    for (number, .., stays) in cases {
        let found = store.incident(IncidentId(number)).expect("read");
        assert_eq!(found.is_some(), stays, "incident {number}");
    }
    assert_eq!(counts(&store), [4; 6], "nothing of what went is left, and nothing else went");
}

#[test]
fn beyond_the_bounds_the_oldest_go_but_nothing_that_is_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    within(&mut store, |txn| {
        for number in 1..=20 {
            let life = if number == 2 { Life::Raised } else { Life::Closed };
            txn.set_incident(&incident_of(number, "a", "d", life, NOW.wall_ms)).expect("set");
            txn.add_event(&event_of(2, Step::Returned, NOW.wall_ms)).expect("added");
            let fate = if number == 3 { Fate::Waiting } else { Fate::Delivered };
            txn.set_notice(&Notice { fate, ..notice_of(number, 2, "property", 0) }).expect("set");
            let stage = if number == 4 { Stage::Accepted } else { Stage::Expired };
            txn.set_run(&run_of(number, None, stage)).expect("set");
            txn.link_record(Seq(number), IncidentId(2)).expect("linked");
            txn.add_feedback(&feedback_of(&number.to_string(), None)).expect("added");
        }
    });
    let bounds = trim::Bounds { incidents_max: 10, rows_max: 5, ..trim::Bounds::default() };
    while trim::step(&store.conn, NOW.wall_ms, bounds).expect("trimmed") > 0 {}
    assert_eq!(counts(&store), [11, 5, 6, 6, 5, 5]);
    assert_eq!(store.incidents_open().expect("read").len(), 1);
    assert_eq!(store.waiting_notices().expect("read"), [(id("property"), 1)]);
    assert_eq!(store.runs_open().expect("read").len(), 1);
}

#[test]
fn a_cool_down_is_measured_from_the_one_that_was_closed_last() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let closed = |number, device, at_ms| incident_of(number, "a", device, Life::Closed, at_ms);
    within(&mut store, |txn| {
        for incident in [
            closed(1, "d-1", 10),
            closed(2, "d-1", 30),
            closed(3, "d-1", 20),
            closed(4, "d-2", 15),
            closed(5, "d-3", 5),
            incident_of(6, "a", "d-4", Life::Raised, 99),
        ] {
            txn.set_incident(&incident).expect("set");
        }
    });
    let last = |after_ms| {
        let found = store.closed_last(after_ms).expect("read");
        found.iter().map(|incident| incident.id.0).collect::<Vec<_>>()
    };
    assert_eq!(last(i64::MIN), [2, 4, 5]);
    assert_eq!(last(5), [2, 4]);
    assert_eq!(last(15), [2]);
    assert_eq!(last(30), [0; 0]);
}

#[test]
fn proofs_find_the_notices_they_are_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let city = |number, seq| Notice { seq: Some(Seq(seq)), ..notice_of(number, 1, "city", 0) };
    within(&mut store, |txn| {
        for notice in [
            city(1, 5),
            city(2, 6),
            city(3, 7),
            Notice { fate: Fate::Delivered, ..city(4, 4) },
            Notice { recipient: id("police"), ..city(5, 5) },
            Notice { run: Some(8), ..notice_of(6, 1, "siren", 0) },
            Notice { run: Some(8), fate: Fate::Expired, ..notice_of(7, 1, "siren", 0) },
        ] {
            txn.set_notice(&notice).expect("set");
        }
        let ids = |notices: Vec<Notice>| notices.iter().map(|notice| notice.id).collect::<Vec<_>>();
        assert_eq!(ids(txn.waiting_notices_upto(&id("city"), Seq(6)).expect("read")), [1, 2]);
        assert_eq!(ids(txn.waiting_notices_upto(&id("siren"), Seq(99)).expect("read")), [0; 0]);
        assert_eq!(ids(txn.waiting_notices_of_run(8).expect("read")), [6]);
        assert_eq!(ids(txn.waiting_notices_of_run(9).expect("read")), [0; 0]);
        assert_eq!(ids(txn.waiting_notices_to(&id("city")).expect("read")), [1, 2, 3]);
        assert_eq!(ids(txn.waiting_notices_to(&id("siren")).expect("read")), [6]);
    });
}

/// A store that turns out to be an older copy numbers its unsent records anew: what they lead to has to follow, and what a
/// record that is gone led to must not be found under the new number of another.
#[test]
fn a_new_epoch_takes_the_links_along() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for seq in [3, 4, 7] {
        let append =
            "INSERT INTO outbox_alarm (seq, item, sealed_ms, body, hash) VALUES (?, 1, 0, x'00', x'00')";
        store.conn.execute(append, [seq]).expect("a record");
    }
    for (seq, incident) in [(1, 10), (3, 30), (4, 40), (5, 50), (7, 70)] {
        let link = "INSERT INTO record_incident VALUES (?, ?)";
        store.conn.execute(link, [seq as i64, incident as i64]).expect("linked");
        let notice = Notice { seq: Some(Seq(seq)), ..notice_of(incident, incident, "city", 0) };
        rows::put_notice(&store.conn, &notice).expect("set");
    }
    outbox::fork(&store.conn, crate::model::Epoch([9; 16])).expect("forked");
    let links = all(&store.conn, "SELECT seq, incident FROM record_incident ORDER BY seq", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    });
    assert_eq!(links.expect("read"), [(1, 30), (2, 40), (3, 70)]);
    let notices = all(&store.conn, &rows::notices("true ORDER BY id"), [], rows::notice).expect("read");
    let seqs: Vec<_> = notices.iter().map(|notice| notice.seq.map(|seq| seq.0)).collect();
    assert_eq!(seqs, [None, Some(1), Some(2), None, Some(3)]);
}

#[test]
fn a_link_outlives_its_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    for seq in 1..=3 {
        let append =
            "INSERT INTO outbox_alarm (seq, item, sealed_ms, body, hash) VALUES (?, 1, 0, x'00', x'00')";
        store.conn.execute(append, [seq]).expect("a record");
    }
    within(&mut store, |txn| {
        txn.set_incident(&incident_of(1, "a", "d", Life::Raised, NOW.wall_ms)).expect("set");
        txn.link_record(Seq(1), IncidentId(1)).expect("linked");
    });
    let mut acked = [None; Lane::ALL.len()];
    acked[Lane::Alarm.index()] = Some(Seq(3));
    store.tidy(&Upkeep { acked, expire_before_ms: NOW.wall_ms }).expect("tidied");
    assert_eq!(outbox::first(&store.conn, Lane::Alarm).expect("read").map(|(seq, _)| seq), Some(Seq(3)));
    within(&mut store, |txn| {
        assert_eq!(txn.incident_of_record(Seq(1)).expect("read"), Some(IncidentId(1)));
    });
}

#[test]
fn a_row_of_no_sense_is_named_and_not_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    within(&mut store, |txn| txn.set_run(&run_of(1, None, Stage::Sent)).expect("set"));
    store.conn.execute("UPDATE run SET approved = '王师傅'", []).expect("damaged");
    let error = store.runs_open().expect_err("damaged").to_string();
    assert!(error.contains("run.approved") && !error.contains("王师傅"), "{error}");
}

#[test]
fn a_store_of_the_second_schema_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let conn = Connection::open(dir.path().join("smallbrain.db")).expect("a database");
    conn.execute_batch(include_str!("../migrations/0001-store.sql")).expect("the first schema");
    conn.execute_batch(include_str!("../migrations/0002-sessions.sql")).expect("the second one");
    conn.execute_batch(
        "PRAGMA user_version = 2; INSERT INTO meta VALUES ('epoch', x'0102030405060708090a0b0c0d0e0f10');
         INSERT INTO alarm VALUES ('hot', 1, 1, 5);
         INSERT INTO reading VALUES (1, 1, 0, NULL, 'synthetic', -3, 0, 0);",
    )
    .expect("rows");
    drop(conn);
    let mut store = open(dir.path());
    assert_eq!((store.epoch().0[0], store.reading_head()), (1, 1), "everything else is there");
    assert_eq!(
        (store.triggers().expect("read"), store.numbers().expect("read")),
        (vec![], Numbers::default())
    );
    within(&mut store, |txn| txn.set_incident(&incident_of(1, "a", "d", Life::Raised, 0)).expect("set"));
    assert_eq!(store.incidents_open().expect("read").len(), 1);
}

#[tokio::test]
async fn the_reader_finds_what_is_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    within(&mut store, |txn| {
        for (number, alarm, device, life, at_ms) in [
            (1, "door-held", "door-1", Life::Closed, 10),
            (2, "door-held", "door-2", Life::Raised, 20),
            (3, "smoke", "smoke-1", Life::Confirmed, 30),
            (4, "smoke", "smoke-2", Life::PreAlarm, 40),
        ] {
            txn.set_incident(&incident_of(number, alarm, device, life, at_ms)).expect("set");
            txn.add_event(&event_of(number, Step::Raised, at_ms)).expect("added");
            txn.add_event(&event_of(number, Step::Noted, at_ms + 1)).expect("added");
            txn.set_notice(&notice_of(number, number, "property", at_ms)).expect("set");
            let told = Notice { fate: Fate::Delivered, ..notice_of(10 + number, number, "police", 0) };
            txn.set_notice(&told).expect("set");
            let stage = if number == 1 { Stage::Done } else { Stage::Sent };
            txn.set_run(&run_of(number, Some(number), stage)).expect("set");
        }
        txn.add_feedback(&feedback_of("q", Some(2))).expect("added");
    });
    let (_keep, heads) = watch::channel(Heads::default());
    let reader = Reader::open(dir.path(), store.epoch(), heads).expect("a reader");

    let all = || Incidents { open: false, ..Incidents::default() };
    for (which, expected) in [
        (Incidents::default(), vec![4, 3, 2]),
        (all(), vec![4, 3, 2, 1]),
        (Incidents { alarm: "door-*".into(), ..all() }, vec![2, 1]),
        (Incidents { device: "*-2".into(), ..all() }, vec![4, 2]),
        (Incidents { since_ms: Some(30), ..all() }, vec![4, 3]),
        (Incidents { limit: 1, ..all() }, vec![4]),
    ] {
        let found = reader.incidents(which.clone()).await.expect("read");
        assert_eq!(found.iter().map(|incident| incident.id.0).collect::<Vec<_>>(), expected, "{which:?}");
    }
    for (which, expected) in [
        (Events { limit: 3, ..Events::default() }, vec![8, 7, 6]),
        (Events { after: Some(5), limit: 2, ..Events::default() }, vec![6, 7]),
        (Events { since_ms: Some(31), limit: 9, ..Events::default() }, vec![8, 7, 6]),
    ] {
        let found = reader.events(which).await.expect("read");
        assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected, "{which:?}");
    }
    for (which, expected) in [
        (Notices { limit: 9, ..Notices::default() }, vec![14, 13, 12, 11, 4, 3, 2, 1]),
        (Notices { waiting: true, limit: 2, ..Notices::default() }, vec![4, 3]),
        (Notices { recipient: Some(id("police")), limit: 2, ..Notices::default() }, vec![14, 13]),
        (Notices { incident: Some(IncidentId(2)), limit: 9, ..Notices::default() }, vec![12, 2]),
        (Notices { waiting: true, incident: Some(IncidentId(2)), limit: 9, recipient: None }, vec![2]),
    ] {
        let found = reader.notices(which.clone()).await.expect("read");
        assert_eq!(found.iter().map(|notice| notice.id).collect::<Vec<_>>(), expected, "{which:?}");
    }
    let property = id::<LineId>("property");
    let due = reader.due_notices(&property, 20, 9).await.expect("read");
    assert_eq!(due.iter().map(|notice| notice.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(reader.next_due(&property).await.expect("read"), Some(10));
    assert_eq!(reader.next_due(&id("police")).await.expect("read"), None);
    assert_eq!(reader.runs(true, 9).await.expect("read").len(), 3);
    assert_eq!(reader.runs(false, 9).await.expect("read").len(), 4);
    assert_eq!(reader.runs_of(IncidentId(1)).await.expect("read"), [run_of(1, Some(1), Stage::Done)]);
    assert_eq!(reader.feedback_of(IncidentId(2)).await.expect("read"), [(1, feedback_of("q", Some(2)))]);
    let history = reader.history(IncidentId(3)).await.expect("read");
    assert_eq!(history.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [5, 6]);
    let raised = reader.raised().await.expect("read");
    let raised: Vec<_> = raised.iter().map(|raised| raised.device.as_str()).collect();
    assert_eq!(raised, ["door-2", "smoke-1"], "what is only a sign, and what is over, is no alarm");
}
