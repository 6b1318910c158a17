//! What is kept of MQTT, on a real directory, against a fold in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Lane, Quality, Reading, SeriesKey, Stamp, Value};
use crate::privacy::Cleared;
use crate::privacy::intake::{Treatment, clear};
use crate::store::{FoldRow, Settings, Store, Upkeep};

const NOW: Stamp = Stamp { wall_ms: 1_790_000_000_000, mono_ms: 5 };

fn open(dir: &std::path::Path) -> Store {
    let settings = Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 0,
        group_window: Duration::ZERO,
        retention: Duration::from_secs(3600),
        promises: crate::store::room::Promises::of(64 << 20),
    };
    Store::open(settings, [7; 32], NOW).expect("the store opens")
}

fn commit(store: &mut Store, changes: &[Change]) {
    let mut txn = store.begin().expect("a transaction");
    txn.sessions(changes).expect("applied");
    txn.commit().expect("committed");
}

fn message(topic: &str, payload: &[u8]) -> Arc<Message> {
    Arc::new(Message {
        topic: topic.into(),
        payload: payload.into(),
        qos: 2,
        retain: true,
        properties: Box::new([1, 1]),
        expires_ms: Some(NOW.wall_ms),
    })
}

fn opened(session: u64, client: &str, expiry_s: u32) -> Change {
    Change::Open { session: SessionId(session), client: client.into(), expiry_s }
}

fn queue(session: u64, seq: u64, message: &Arc<Message>) -> Change {
    Change::Queue {
        session: SessionId(session),
        seq,
        message: message.clone(),
        qos: 1,
        retain: seq.is_multiple_of(2),
        identifiers: (0..seq as u32 % 3).map(|number| number + 268_435_453).collect(),
    }
}

/// The same in memory, as simple as it can be said.
#[derive(Clone, Default)]
struct Reference {
    sessions: BTreeMap<u64, SavedSession>,
    retained: BTreeMap<Box<str>, Arc<Message>>,
}

impl Reference {
    fn apply(&mut self, change: &Change) {
        let session = match change {
            Change::Retain(message) => {
                self.retained.insert(message.topic.clone(), message.clone());
                return;
            }
            Change::Unretain { topic } => {
                self.retained.remove(topic);
                return;
            }
            Change::Open { session, client, expiry_s } => {
                let entry = self.sessions.entry(session.0).or_insert_with(|| SavedSession {
                    id: *session,
                    client: client.clone(),
                    expiry_s: 0,
                    left_ms: None,
                    subscriptions: vec![],
                    queue: vec![],
                    received: vec![],
                });
                (entry.client, entry.expiry_s, entry.left_ms) = (client.clone(), *expiry_s, None);
                return;
            }
            Change::Forget { session } => {
                self.sessions.remove(&session.0);
                return;
            }
            Change::Left { session, .. }
            | Change::Subscribe { session, .. }
            | Change::Unsubscribe { session, .. }
            | Change::Queue { session, .. }
            | Change::Recorded { session, .. }
            | Change::Done { session, .. }
            | Change::Received { session, .. }
            | Change::Released { session, .. } => session,
        };
        if let Some(session) = self.sessions.get_mut(&session.0) {
            Self::apply_to(session, change);
        }
    }

    fn apply_to(session: &mut SavedSession, change: &Change) {
        match change {
            Change::Left { at_ms, expiry_s, .. } => {
                (session.left_ms, session.expiry_s) = (Some(*at_ms), *expiry_s);
            }
            Change::Subscribe { filter, options, identifier, .. } => {
                session.subscriptions.retain(|(known, ..)| known != filter);
                session.subscriptions.push((filter.clone(), *options, *identifier));
                session.subscriptions.sort_by(|a, b| a.0.cmp(&b.0));
            }
            Change::Unsubscribe { filter, .. } => session.subscriptions.retain(|(known, ..)| known != filter),
            Change::Queue { seq, message, qos, retain, identifiers, .. } => {
                session.queue.retain(|delivery| delivery.seq != *seq);
                session.queue.push(SavedDelivery {
                    seq: *seq,
                    message: message.clone(),
                    qos: *qos,
                    retain: *retain,
                    identifiers: identifiers.clone(),
                    recorded: false,
                });
                session.queue.sort_by_key(|delivery| delivery.seq);
            }
            Change::Recorded { seq, .. } => {
                let known = session.queue.iter_mut().filter(|delivery| delivery.seq == *seq);
                known.for_each(|delivery| delivery.recorded = true);
            }
            Change::Done { seq, .. } => session.queue.retain(|delivery| delivery.seq != *seq),
            Change::Received { pkid, .. } => {
                session.received.retain(|known| known != pkid);
                session.received.push(*pkid);
                session.received.sort_unstable();
            }
            Change::Released { pkid, .. } => session.received.retain(|known| known != pkid),
            _ => {}
        }
    }

    fn saved(&self) -> Saved {
        Saved {
            sessions: self.sessions.values().cloned().collect(),
            retained: self.retained.values().cloned().collect(),
        }
    }
}

#[test]
fn what_is_kept_comes_back_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    assert_eq!(store.sessions().expect("read"), Saved::default());
    let session = SessionId(3);
    let long = message("门禁/1/set", &[0xff; 9000]);
    let options = Options { qos: 2, no_local: true, retain_as_published: true, retain_handling: 2 };
    let subscribe = |filter: &str, options, identifier| Change::Subscribe {
        session,
        filter: filter.into(),
        options,
        identifier,
    };
    let plain = Arc::new(Message { qos: 1, retain: false, expires_ms: None, ..(*message("t", b"")).clone() });
    let steps = [
        (opened(3, "user/client", u32::MAX), "a session"),
        (subscribe("$share/g/a/+", Options::default(), None), "a subscription"),
        (subscribe("$share/g/a/+", options, Some(268_435_455)), "with other options"),
        (subscribe("b/#", Options::default(), None), "another"),
        (Change::Unsubscribe { session, filter: "b/#".into() }, "that ends"),
        (queue(3, 1, &long), "something waits"),
        (queue(3, 2, &plain), "and more"),
        (queue(3, 3, &plain), "and more"),
        (Change::Recorded { session, seq: 2 }, "recorded"),
        (Change::Done { session, seq: 3 }, "done"),
        (Change::Received { session, pkid: u16::MAX }, "taken"),
        (Change::Received { session, pkid: 7 }, "taken"),
        (Change::Released { session, pkid: 7 }, "released"),
        (Change::Retain(long.clone()), "retained"),
        (Change::Retain(plain.clone()), "retained"),
        (Change::Unretain { topic: "t".into() }, "and not any more"),
        (Change::Left { session, at_ms: NOW.wall_ms, expiry_s: 60 }, "left"),
        (opened(3, "user/client", 30), "taken up again"),
        (opened(4, "other", 0), "another"),
        (queue(4, 1, &long), "something waits for it"),
        (Change::Forget { session: SessionId(4) }, "over"),
    ];
    let mut reference = Reference::default();
    for (change, what) in steps {
        commit(&mut store, std::slice::from_ref(&change));
        reference.apply(&change);
        assert_eq!(store.sessions().expect("read"), reference.saved(), "{what}: {change:?}");
    }
    drop(store);
    let saved = open(dir.path()).sessions().expect("read");
    assert_eq!(saved, reference.saved());
    let [session] = &saved.sessions[..] else { panic!("one session") };
    assert_eq!((session.expiry_s, session.left_ms, &session.received[..]), (30, None, &[u16::MAX][..]));
    assert_eq!(session.subscriptions, [("$share/g/a/+".into(), options, Some(268_435_455))]);
    assert_eq!(session.queue.len(), 2);
    assert_eq!((session.queue[0].message.clone(), saved.retained), (long.clone(), vec![long]));
}

/// Packet ids come with the samples, sessions with the journal: an id may come after its session's end, or before its
/// beginning.
#[test]
fn a_publish_taken_for_a_session_that_is_over_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let received = |session, pkid| Change::Received { session: SessionId(session), pkid };
    let forget = |session| Change::Forget { session: SessionId(session) };
    commit(&mut store, &[opened(1, "a", 9), received(1, 5), opened(2, "b", 9), forget(1), received(1, 6)]);
    // The third one's beginning is still under way; the fourth one was the newest when it was forgotten.
    commit(&mut store, &[received(3, 7), opened(3, "c", 9), opened(4, "d", 9), forget(4), received(4, 8)]);
    let rows = |store: &Store| -> Vec<(u64, u16)> {
        let mut find = store.conn.prepare("SELECT session, pkid FROM received ORDER BY 1").expect("a table");
        let rows = find.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    };
    assert_eq!(rows(&store), [(3, 7), (4, 8)]);
    let saved = store.sessions().expect("read");
    let ids: Vec<(u64, &[u16])> = saved.sessions.iter().map(|one| (one.id.0, &one.received[..])).collect();
    assert_eq!(ids, [(2, &[][..]), (3, &[7])]);
    drop(store);
    assert_eq!(rows(&open(dir.path())), [(3, 7)], "its number may be given again");
}

#[test]
fn ten_thousand_deliveries_come_back_in_their_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut changes: Vec<Change> = (0..100).map(|session| opened(session, "client", 60)).collect();
    let wanted = message("a/b/c", &[b'x'; 300]);
    changes.extend((0..10_000).map(|at| queue(at % 100, 1 + at / 100, &wanted)));
    commit(&mut store, &changes);
    drop(store);
    let saved = open(dir.path()).sessions().expect("read");
    for session in &saved.sessions {
        assert!(session.queue.iter().map(|delivery| delivery.seq).eq(1..=100));
        assert!(session.queue.iter().all(|delivery| delivery.message == wanted));
    }
    assert_eq!(saved.sessions.len(), 100);
}

#[test]
fn what_is_kept_says_nothing_of_its_payload() {
    let shown = format!("{:?}", queue(1, 1, &message("door/1", b"13800138000")));
    assert!(shown.contains("Message(11 bytes at QoS 2)") && !shown.contains("138"), "{shown}");
}

fn change() -> impl Strategy<Value = Change> {
    let session = || (1_u64..5).prop_map(SessionId);
    let seq = || 1_u64..6;
    let topic = || prop::sample::select(vec!["a", "a/b", "灯/1"]);
    let options = (0_u8..3, any::<bool>(), any::<bool>(), 0_u8..3).prop_map(
        |(qos, no_local, retain_as_published, retain_handling)| Options {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    );
    let message = (topic(), prop::collection::vec(any::<u8>(), 0..20), any::<bool>(), any::<Option<i64>>())
        .prop_map(|(topic, payload, retain, expires_ms)| {
            Arc::new(Message { retain, expires_ms, ..(*message(topic, &payload)).clone() })
        });
    prop_oneof![
        4 => (1_u64..5, any::<u32>()).prop_map(|(session, expiry_s)| opened(session, "c", expiry_s)),
        1 => (session(), any::<i64>(), any::<u32>())
            .prop_map(|(session, at_ms, expiry_s)| Change::Left { session, at_ms, expiry_s }),
        1 => session().prop_map(|session| Change::Forget { session }),
        3 => (session(), topic(), options, any::<Option<u32>>()).prop_map(
            |(session, filter, options, identifier)| Change::Subscribe {
                session,
                filter: filter.into(),
                options,
                identifier,
            }
        ),
        1 => (session(), topic())
            .prop_map(|(session, filter)| Change::Unsubscribe { session, filter: filter.into() }),
        6 => (1_u64..5, seq(), message.clone()).prop_map(|(session, seq, message)| queue(session, seq, &message)),
        2 => (session(), seq()).prop_map(|(session, seq)| Change::Recorded { session, seq }),
        3 => (session(), seq()).prop_map(|(session, seq)| Change::Done { session, seq }),
        3 => (session(), 1_u16..4).prop_map(|(session, pkid)| Change::Received { session, pkid }),
        2 => (session(), 1_u16..4).prop_map(|(session, pkid)| Change::Released { session, pkid }),
        2 => message.prop_map(Change::Retain),
        1 => topic().prop_map(|topic| Change::Unretain { topic: topic.into() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Sessions are in use only while they are open; but for that anything may come, in any order and more than once.
    #[test]
    fn the_tables_are_the_fold_of_what_was_committed(
        batches in prop::collection::vec((prop::collection::vec(change(), 0..12), 0_u8..4), 1..8),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut store, mut reference) = (open(dir.path()), Reference::default());
        for (mut changes, end) in batches {
            let mut after = reference.clone();
            changes.retain(|change| {
                let known = |session: &SessionId| after.sessions.contains_key(&session.0);
                let applies = match change {
                    Change::Open { .. } | Change::Forget { .. } | Change::Retain(_) | Change::Unretain { .. } => true,
                    Change::Left { session, .. }
                    | Change::Subscribe { session, .. }
                    | Change::Unsubscribe { session, .. }
                    | Change::Queue { session, .. }
                    | Change::Recorded { session, .. }
                    | Change::Done { session, .. }
                    | Change::Received { session, .. }
                    | Change::Released { session, .. } => known(session),
                };
                after.apply(change);
                applies
            });
            let mut txn = store.begin().expect("a transaction");
            txn.sessions(&changes).expect("applied");
            if end > 0 {
                txn.commit().expect("committed");
                reference = after;
            } else {
                drop(txn);
            }
            if end == 1 {
                drop(store);
                store = open(dir.path());
            }
            prop_assert_eq!(store.sessions().expect("read"), reference.saved());
        }
    }
}

/// What the exchange may count on when it bounds itself by bytes.
#[test]
fn a_message_takes_at_most_twice_its_bytes_and_64() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    for (session, len) in (0_u64..).zip([0, 100, 1000, 1400, 2000, 2100, 4100, 65_000]) {
        let (before, _) = store.room().expect("sizes");
        let wanted = message("device/door-1/set", &vec![b'x'; len]);
        let bytes = (wanted.topic.len() + wanted.payload.len() + wanted.properties.len() + 64) as u64;
        let count = (1 << 20) / bytes;
        let changes: Vec<Change> = (0..count).map(|seq| queue(session, seq, &wanted)).collect();
        commit(&mut store, &changes);
        let (after, _) = store.room().expect("sizes");
        assert!(after - before <= 2 * count * bytes, "{len}: {} of {}", after - before, count * bytes);
    }
}

/// The smallest store that a configuration may ask for, half full of messages that wait: history makes way, they stay.
#[test]
fn what_waits_is_not_shed_and_leaves_room_for_readings() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        dir: dir.path().to_owned(),
        bytes_max: 16 << 20,
        reserve_bytes: 1 << 20,
        group_window: Duration::ZERO,
        retention: Duration::from_secs(3600),
        promises: crate::store::room::Promises::of(16 << 20),
    };
    let mut store = Store::open(settings, [7; 32], NOW).expect("the store opens");
    let wanted = message("device/door-1/set", &[b'x'; 2030]);
    let changes: Vec<Change> = (0..2000).map(|at| queue(1, at, &wanted)).collect();
    commit(&mut store, &[&[opened(1, "client", 60)], &changes[..]].concat());
    let series = store.series([("dev", "level")].into_iter()).expect("a number")[0];
    let upkeep = Upkeep { acked: [None; Lane::ALL.len()], expire_before_ms: 0 };
    for round in 1..=40_i64 {
        let mut txn = store.begin().expect("a transaction");
        for _ in 0..100 {
            txn.append(series, &reading(&"x".repeat(8000))).expect("there is room");
        }
        let upto = txn.reading_head();
        let fold = FoldRow { name: "test".into(), definition: String::new(), upto, snapshot: vec![] };
        txn.set_fold(&fold).expect("there is room");
        txn.commit().expect("there is room");
        while store.tidy(&upkeep).expect("tidied") {}
        assert_eq!(store.reading_head(), round * 100);
    }
    let (used, max) = store.room().expect("sizes");
    assert!(used > max / 2 && used <= max, "{used} of {max}");
    assert!(store.tally("expired_early").expect("counted") > 0, "history made way");
    assert_eq!(store.sessions().expect("read").sessions[0].queue.len(), 2000);
}

fn reading(text: &str) -> Cleared<Reading> {
    let reading = Reading {
        series: SeriesKey(0),
        value: Value::Text(text.into()),
        time_ms: NOW.wall_ms,
        received_ms: NOW.wall_ms,
        device_time: false,
        quality: Quality::Good,
    };
    clear(Some(&Treatment::Keep), reading).expect("kept")
}
