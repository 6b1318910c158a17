//! The store on a real directory.

use rust_decimal::Decimal;

use super::*;
use crate::model::{Consumer, DeviceId, Metric, Quality, Reading, Value};
use crate::privacy::Cleared;
use crate::privacy::intake::{Treatment, clear};
use crate::privacy::release::ShareLine;
use crate::wire::{self, Gateway, Sealed};

pub(super) const NOW: Stamp = Stamp { wall_ms: 1_790_000_000_000, mono_ms: 5 };

pub(super) fn settings(dir: &std::path::Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 64 << 10,
        group_window: Duration::ZERO,
        retention: Duration::from_secs(3600),
        promises: crate::store::room::Promises::of(64 << 20),
    }
}

pub(super) fn open(dir: &std::path::Path) -> Store {
    Store::open(settings(dir), [7; 32], NOW).expect("the store opens")
}

fn reading(value: Value) -> Cleared<Reading> {
    let reading = Reading {
        series: SeriesKey(0),
        value,
        time_ms: NOW.wall_ms - 3,
        received_ms: NOW.wall_ms,
        device_time: true,
        quality: Quality::Good,
    };
    clear(Some(&Treatment::Keep), reading).expect("kept")
}

fn sealed(value: i64) -> Sealed {
    let device: DeviceId = "dev".parse().expect("a name");
    let metric: Metric = "level".parse().expect("a name");
    let line = ShareLine {
        id: "S-1".parse().expect("a name"),
        purpose: "test".into(),
        lane: Lane::Bulk,
        consumers: vec![],
        metrics: vec![metric.clone()],
        devices: true,
        places: true,
        carries: vec![],
        protect: None,
        approval: "test".into(),
        until_ms: None,
        tier: None,
        granted: vec![],
    };
    let rows = [reading(Value::Number(Decimal::from(value)))];
    let describe = |_| Some(wire::Column { device: &device, metric: &metric, unit: "", manual: false });
    wire::readings(&Gateway::default(), &line, 1, &rows, describe, NOW.wall_ms).remove(0)
}

pub(super) fn seal(store: &mut Store, lane: Lane, count: i64) {
    let mut txn = store.begin().expect("a transaction");
    for value in 0..count {
        txn.seal(lane, &sealed(value), NOW.wall_ms).expect("sealed");
    }
    txn.commit().expect("committed");
}

fn consumer() -> Consumer {
    "spiffe://city.example/test".parse().expect("a name")
}

fn ack(store: &mut Store, upto: u64, head_hash: Option<[u8; 32]>) -> Result<Acked, AckRefused> {
    let ack =
        Ack { consumer: consumer(), epoch: store.epoch(), lane: Lane::Bulk, upto: Seq(upto), head_hash };
    let mut txn = store.begin().expect("a transaction");
    let answer = txn.ack(&ack).expect("asked");
    txn.commit().expect("committed");
    answer
}

fn upkeep(acked: u64) -> Upkeep {
    Upkeep { acked: [None, None, None, None, None, Some(Seq(acked))], expire_before_ms: 0 }
}

fn page(store: &Store, after: u64) -> Page {
    store.page(Lane::Bulk, Seq(after), 1000, 1 << 20).expect("a page")
}

fn seqs(page: &Page) -> Vec<u64> {
    page.records.iter().map(|record| record.seq.0).collect()
}

fn gaps(page: &Page) -> Vec<(u64, u64, &str)> {
    page.gaps.iter().map(|gap| (gap.from.0, gap.to.0, gap.reason.as_str())).collect()
}

#[test]
fn a_transaction_without_a_commit_leaves_no_trace() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let series = store.series([("dev", "level")].into_iter()).expect("a number")[0];
    for commits in [false, true, false] {
        let mut txn = store.begin().expect("a transaction");
        txn.append(series, &reading(Value::Flag(true))).expect("appended");
        txn.seal(Lane::Alarm, &sealed(1), NOW.wall_ms).expect("sealed");
        if commits {
            txn.commit().expect("committed");
        }
    }
    assert_eq!((store.reading_head(), store.heads()), (1, [Seq(1), Seq(0), Seq(0), Seq(0), Seq(0), Seq(0)]));
    drop(store);
    let store = open(dir.path());
    assert_eq!((store.reading_head(), store.heads()), (1, [Seq(1), Seq(0), Seq(0), Seq(0), Seq(0), Seq(0)]));
}

#[test]
fn what_was_past_comes_back_as_past_with_its_quality() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let series = store.series([("dev", "level")].into_iter()).expect("a number")[0];
    let told: Vec<(Quality, bool)> =
        (0..7).map(Quality::from_code).flat_map(|quality| [(quality, true), (quality, false)]).collect();
    let mut txn = store.begin().expect("a transaction");
    for (quality, past) in &told {
        let reading = reading(Value::Flag(true)).of_quality(*quality);
        let appended = if *past { txn.append_past(series, &reading) } else { txn.append(series, &reading) };
        appended.expect("appended");
    }
    txn.commit().expect("committed");
    let mut found = Vec::new();
    let each = |row: Stored| {
        found.push((row.reading.map(|cleared| cleared.get().quality), row.past, row.intact));
    };
    store.replay(0, |_| Some(SeriesKey(0)), each).expect("replayed");
    // One that is retained is past, whoever stored it.
    let is_past = |(quality, past): (Quality, bool)| past || quality == Quality::Retained;
    let expected: Vec<_> = told.into_iter().map(|of| (Some(of.0), is_past(of), true)).collect();
    assert_eq!(found, expected);
}

#[test]
fn values_come_back_as_they_were_and_a_flipped_bit_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let series = store.series([("dev", "level")].into_iter()).expect("a number")[0];
    let values = [
        Value::Number("-0.000".parse().expect("a number")),
        Value::Number("21.50".parse().expect("a number")),
        Value::Number(Decimal::MAX),
        Value::Flag(false),
        Value::Text("p1_表".into()),
    ];
    let mut txn = store.begin().expect("a transaction");
    for value in &values {
        txn.append(series, &reading(value.clone())).expect("appended");
    }
    txn.commit().expect("committed");
    let replay = |store: &Store| {
        let mut rows = Vec::new();
        store.replay(0, |id| (id == series).then_some(SeriesKey(0)), |row| rows.push(row)).expect("replayed");
        rows
    };
    for (row, value) in replay(&store).iter().zip(&values) {
        assert!(row.reading == Some(reading(value.clone())), "row {}", row.id);
    }
    store.conn.execute("UPDATE reading SET value = 2151 WHERE id = 2", []).expect("damaged");
    let intact: Vec<bool> = replay(&store).iter().map(|row| row.intact).collect();
    assert_eq!(intact, [true, false, true, true, true]);
}

#[test]
fn acknowledgements_never_go_back_and_never_run_ahead() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 5);
    let hash = page(&store, 2).records[0].hash;
    assert_eq!(ack(&mut store, 3, Some(hash)), Ok(Acked { upto: Seq(3), hash_matched: true }));
    assert_eq!(ack(&mut store, 1, None), Ok(Acked { upto: Seq(3), hash_matched: false }));
    assert!(matches!(ack(&mut store, 6, None), Err(AckRefused::Ahead { head: Seq(5), .. })));
    assert!(matches!(ack(&mut store, 4, Some([9; 32])), Err(AckRefused::Hash { .. })));
    let old =
        Ack { consumer: consumer(), epoch: Epoch([0; 16]), lane: Lane::Bulk, upto: Seq(1), head_hash: None };
    let mut txn = store.begin().expect("a transaction");
    assert!(matches!(txn.ack(&old).expect("asked"), Err(AckRefused::Epoch { .. })));
    drop(txn);
    assert_eq!(store.acked(&consumer(), Lane::Bulk).expect("a cursor"), Seq(3));
}

#[test]
fn trimming_keeps_the_chain_and_tells_a_latecomer() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 6);
    ack(&mut store, 4, None).expect("accepted");
    store.tidy(&upkeep(4)).expect("tidied");
    let rest = page(&store, 4);
    assert_eq!((seqs(&rest), gaps(&rest), rest.through), (vec![5, 6], vec![], Seq(6)));
    let all = page(&store, 0);
    assert_eq!((seqs(&all), gaps(&all), all.through), (vec![5, 6], vec![(1, 4, "trimmed")], Seq(6)));
}

#[test]
fn what_had_to_go_is_one_gap_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 10);
    for _ in 0..2 {
        shed(&store.conn, Lane::Bulk, 3, u64::MAX).expect("shed");
    }
    let all = page(&store, 0);
    assert_eq!((seqs(&all), gaps(&all)), (vec![7, 8, 9, 10], vec![(1, 6, "budget")]));
    let late = page(&store, 4);
    assert_eq!((gaps(&late), late.through), (vec![(5, 6, "budget")], Seq(10)));
    shed(&store.conn, Lane::Bulk, 100, u64::MAX).expect("shed");
    let none = page(&store, 0);
    assert_eq!((seqs(&none), gaps(&none), none.through), (vec![], vec![(1, 10, "budget")], Seq(10)));
    seal(&mut store, Lane::Bulk, 1);
    assert_eq!(seqs(&page(&store, 0)), [11]);
}

/// Sheds and declares at once.
fn shed(
    conn: &rusqlite::Connection,
    lane: Lane,
    chunk: u64,
    excess: u64,
) -> Result<Option<(Seq, Seq, u64)>, StoreError> {
    let Some(shed) = outbox::shed(conn, lane, chunk, excess)? else { return Ok(None) };
    shed.declare(conn)?;
    Ok(Some((shed.from, shed.to, shed.records)))
}

/// When each gap was sealed, from its first record to its last.
fn spans(page: &Page) -> Vec<(Option<i64>, Option<i64>)> {
    page.gaps
        .iter()
        .map(|gap| (gap.first_ms.map(|ms| ms - NOW.wall_ms), gap.last_ms.map(|ms| ms - NOW.wall_ms)))
        .collect()
}

#[test]
fn a_gap_says_when_it_was_sealed_and_grows_with_what_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut txn = store.begin().expect("a transaction");
    for second in 0..8 {
        txn.seal(Lane::Bulk, &sealed(second), NOW.wall_ms + second * 1000).expect("sealed");
    }
    txn.commit().expect("committed");
    shed(&store.conn, Lane::Bulk, 2, u64::MAX).expect("shed");
    assert_eq!(spans(&page(&store, 0)), [(Some(0), Some(1000))]);
    shed(&store.conn, Lane::Bulk, 1, u64::MAX).expect("shed");
    assert_eq!(spans(&page(&store, 0)), [(Some(0), Some(2000))]);
    assert_eq!(spans(&page(&store, 1)), [(None, Some(2000))], "from its middle on");
    store.conn.execute("UPDATE outbox_bulk SET body = x'00' WHERE seq IN (5, 6)", []).expect("damaged");
    assert_eq!(spans(&page(&store, 0)), [(Some(0), Some(2000)), (Some(4000), Some(5000))]);
    let hash = page(&store, 6).records[0].hash;
    outbox::withdraw(&store.conn, Lane::Bulk, Seq(7), &hash, "purged").expect("withdrawn");
    assert_eq!(spans(&page(&store, 6)), [(Some(6000), Some(6000))]);
    // One that an earlier build declared: its beginning stays unknown.
    store
        .conn
        .execute("UPDATE gap SET first_ms = NULL, last_ms = NULL WHERE reason = 'budget'", [])
        .expect("older");
    shed(&store.conn, Lane::Bulk, 1, u64::MAX).expect("shed");
    assert_eq!(spans(&page(&store, 0))[0], (None, Some(3000)));
    let dropped: Vec<_> =
        store.dropped().expect("read").into_iter().map(|of| (of.lane, of.reason, of.records)).collect();
    assert_eq!(dropped, [("bulk".into(), "budget".into(), 4), ("bulk".into(), "purged".to_owned(), 1)]);
}

/// What a lane takes is what lies there, whatever came and went.
#[test]
fn the_room_of_a_lane_is_kept_with_its_records() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let counted = |store: &Store| {
        let sum = "SELECT coalesce(sum(length(body) + 64), 0) FROM outbox_bulk";
        store.conn.query_row(sum, [], |row| row.get::<_, i64>(0)).expect("a sum").unsigned_abs()
    };
    let holds = |store: &Store, what: &str| {
        let kept = store.lane_bytes().expect("kept")[Lane::Bulk.index()];
        assert_eq!(kept, counted(store), "{what}");
    };
    seal(&mut store, Lane::Bulk, 20);
    holds(&store, "sealed");
    assert!(counted(&store) > 20 * 64);
    let mut txn = store.begin().expect("a transaction");
    txn.seal(Lane::Bulk, &sealed(1), NOW.wall_ms).expect("sealed");
    drop(txn);
    holds(&store, "not committed");
    ack(&mut store, 5, None).expect("accepted");
    store.tidy(&upkeep(5)).expect("tidied");
    holds(&store, "trimmed");
    shed(&store.conn, Lane::Bulk, 3, 1).expect("shed");
    holds(&store, "shed");
    let hash = page(&store, 9).records[0].hash;
    outbox::withdraw(&store.conn, Lane::Bulk, Seq(10), &hash, "purged").expect("withdrawn");
    holds(&store, "purged");
    let used = store.lane_bytes().expect("kept");
    assert_eq!(used.iter().sum::<u64>(), used[Lane::Bulk.index()], "nothing lies in the others");
    outbox::fork(&store.conn, Epoch([9; 16])).expect("forked");
    holds(&store, "forked");
}

/// Bulk once took all there was and left an aggregate nothing: the first lane in the order paid for everybody.
#[test]
fn a_lane_gives_only_what_it_has_above_its_promise_while_another_has_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = outbox_bytes();
    let mut promises = room::Promises::of(0);
    promises.bytes = [2 * one; Lane::ALL.len()];
    let mut store =
        Store::open(Settings { promises, ..settings(dir.path()) }, [7; 32], NOW).expect("the store opens");
    seal(&mut store, Lane::Bulk, 3);
    seal(&mut store, Lane::Aggregate, 4);
    seal(&mut store, Lane::Alarm, 4);
    let left = |store: &Store| {
        Lane::ALL.map(|lane| store.page(lane, Seq(0), 10, 1 << 20).expect("a page").records.len())
    };
    // By lane: alarm, event, result, aggregate, audit, bulk.
    for expected in
        [[4, 0, 0, 4, 0, 2], [4, 0, 0, 2, 0, 2], [4, 0, 0, 2, 0, 0], [4, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]]
    {
        assert!(store.make_room().expect("tried"), "{expected:?}");
        assert_eq!(left(&store), expected);
    }
    assert!(!store.make_room().expect("tried"), "alarms within their promise stay");
}

/// What one of the records here takes.
fn outbox_bytes() -> u64 {
    room::cost(sealed(1).body())
}

#[test]
fn what_a_consumer_is_owed_is_what_lies_behind_its_acknowledgement() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let owed = |store: &Store| store.owed(&consumer(), Lane::Bulk).expect("read");
    assert_eq!(owed(&store), room::Owed::default());
    let mut txn = store.begin().expect("a transaction");
    for second in 0..4 {
        txn.seal(Lane::Bulk, &sealed(second), NOW.wall_ms + second).expect("sealed");
    }
    txn.commit().expect("committed");
    assert_eq!(owed(&store), room::Owed { acked: Seq(0), positions: 4, oldest_ms: Some(NOW.wall_ms) });
    ack(&mut store, 3, None).expect("accepted");
    assert_eq!(owed(&store), room::Owed { acked: Seq(3), positions: 1, oldest_ms: Some(NOW.wall_ms + 3) });
    ack(&mut store, 4, None).expect("accepted");
    assert_eq!(owed(&store), room::Owed { acked: Seq(4), positions: 0, oldest_ms: None });
}

/// What was purged one by one left so little between two gaps that shedding it made no room for the row about it: a full store
/// stayed full with most of its lane on disk.
#[test]
fn what_is_shed_reaches_over_the_gaps_that_are_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 10);
    let sealed = page(&store, 0).records;
    for at in [1, 3, 4, 8] {
        let record = &sealed[at];
        outbox::withdraw(&store.conn, Lane::Bulk, record.seq, &record.hash, "purged").expect("withdrawn");
    }
    assert_eq!(shed(&store.conn, Lane::Bulk, 4, u64::MAX).expect("shed"), Some((Seq(1), Seq(7), 4)));
    let all = page(&store, 0);
    let expected =
        vec![(1, 1, "budget"), (2, 2, "purged"), (3, 3, "budget"), (4, 5, "purged"), (6, 7, "budget")];
    assert_eq!((seqs(&all), gaps(&all)), (vec![8, 10], [expected, vec![(9, 9, "purged")]].concat()));
    assert_eq!(shed(&store.conn, Lane::Bulk, 1, u64::MAX).expect("shed"), Some((Seq(8), Seq(8), 1)));
    assert_eq!(shed(&store.conn, Lane::Bulk, 9, u64::MAX).expect("shed"), Some((Seq(10), Seq(10), 1)));
    assert_eq!(shed(&store.conn, Lane::Bulk, 9, u64::MAX).expect("nothing left"), None);
}

#[test]
fn a_damaged_record_is_a_gap_and_the_ones_behind_it_still_come() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 4);
    store.conn.execute("UPDATE outbox_bulk SET body = x'00' WHERE seq = 2", []).expect("damaged");
    let all = page(&store, 0);
    assert_eq!((seqs(&all), gaps(&all), all.through), (vec![1, 3, 4], vec![(2, 2, "corrupt")], Seq(4)));
}

#[test]
fn a_page_keeps_its_bounds_but_always_holds_one_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 5);
    let length = page(&store, 0).records[0].body.len();
    for (records_max, bytes_max, expected) in [(2, 1 << 20, 2), (10, 0, 1), (10, length * 3, 3)] {
        let page = store.page(Lane::Bulk, Seq(0), records_max, bytes_max).expect("a page");
        assert_eq!((page.records.len(), page.through), (expected, Seq(expected as u64)));
    }
}

#[test]
fn two_daemons_on_one_directory_are_one_too_many() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    assert!(matches!(Store::open(settings(dir.path()), [1; 32], NOW), Err(StoreError::Locked(_))));
    drop(store);
    open(dir.path());
}

#[test]
fn an_older_copy_begins_a_new_epoch_and_keeps_what_is_unsent() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 3);
    ack(&mut store, 2, None).expect("accepted");
    store.tidy(&upkeep(2)).expect("tidied");
    let epoch = store.epoch();
    store.close().expect("closed");
    let copy = std::fs::read(dir.path().join("smallbrain.db")).expect("a copy");
    let mut store = open(dir.path());
    seal(&mut store, Lane::Bulk, 2);
    store.close().expect("closed");
    std::fs::write(dir.path().join("smallbrain.db"), copy).expect("restored");

    let store = Store::open(settings(dir.path()), [8; 32], NOW).expect("the store opens");
    assert_ne!(store.epoch(), epoch);
    let all = page(&store, 0);
    assert_eq!((seqs(&all), gaps(&all), store.heads()[Lane::Bulk.index()]), (vec![1, 2], vec![], Seq(2)));
    assert_eq!(store.acked(&consumer(), Lane::Bulk).expect("a cursor"), Seq(0));
}

#[test]
fn a_full_database_makes_room_and_takes_the_same_batch() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = Settings { bytes_max: 1 << 20, reserve_bytes: 64 << 10, ..settings(dir.path()) };
    let mut store = Store::open(small, [7; 32], NOW).expect("the store opens");
    let fill = |store: &mut Store| -> Result<(), StoreError> {
        let mut txn = store.begin()?;
        for value in 0..100 {
            txn.seal(Lane::Bulk, &sealed(value), NOW.wall_ms)?;
        }
        txn.commit()
    };
    let mut refused = 0;
    for _ in 0..200 {
        while let Err(error) = fill(&mut store) {
            assert!(error.is_passing(), "{error}");
            refused += 1;
            assert!(store.make_room().expect("tried"), "there is bulk to shed");
        }
    }
    assert!(refused > 0, "1 MiB never filled");
    let (mut after, mut records, mut lost) = (0, 0, 0);
    while after < 20_000 {
        let page = page(&store, after);
        records += page.records.len() as u64;
        lost += page.gaps.iter().map(|gap| gap.to.0 - gap.from.0 + 1).sum::<u64>();
        after = page.through.0;
    }
    assert_eq!(records + lost, 20_000, "every position is a record or a gap");
    let (used, max) = store.room().expect("sizes");
    assert!(used <= max);
}

/// Word of the lists that nobody fetched stayed for ever: a lane that is never shed has no bound.
#[test]
fn room_is_made_lane_by_lane_and_not_of_alarms_within_their_promise() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    for lane in Lane::ALL {
        seal(&mut store, lane, 2);
    }
    // The ballast goes with the first of them.
    for gone in [Lane::Bulk, Lane::Audit, Lane::Aggregate, Lane::Result, Lane::Event] {
        assert!(store.make_room().expect("tried"), "{gone}");
        let left = Lane::ALL.map(|lane| store.page(lane, Seq(0), 10, 1 << 20).expect("a page").records.len());
        let expected = Lane::ALL.map(|lane| if lane < gone { 2 } else { 0 });
        assert_eq!(left, expected, "after {gone}");
    }
    assert!(!store.make_room().expect("tried"), "alarms stay");
}

/// A gateway whose store was full when it was killed ended at its next start, because the rows of a start found no room.
#[test]
fn a_full_database_opens_again_however_full_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = || Settings { bytes_max: 1 << 20, reserve_bytes: 64 << 10, ..settings(dir.path()) };
    let fill = |store: &mut Store, count: i64| -> Result<(), StoreError> {
        let mut txn = store.begin()?;
        for value in 0..count {
            txn.seal(Lane::Bulk, &sealed(value), NOW.wall_ms)?;
        }
        txn.commit()
    };
    for boot in 0..200_u8 {
        let mut store = Store::open(small(), [boot; 32], NOW).expect("it opens, however full");
        assert!(dir.path().join("ballast").exists(), "boot {boot}");
        let series = store.series([("dev", "level")].into_iter()).expect("a number")[0];
        // Of a boot without a reading the next one takes the row.
        loop {
            let mut txn = store.begin().expect("a transaction");
            match txn.append(series, &reading(Value::Flag(true))).and_then(|_| txn.commit()) {
                Ok(()) => break,
                Err(error) => assert!(error.is_passing() && store.make_room().expect("tried"), "{error}"),
            }
        }
        for count in [64, 8, 1] {
            while fill(&mut store, count).is_ok() {}
        }
    }
}

#[test]
fn what_is_stored_only_its_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(&dir.path().join("store"));
    seal(&mut store, Lane::Bulk, 1);
    for entry in std::fs::read_dir(dir.path().join("store")).expect("a directory") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", entry.path().display());
    }
}

/// A lost identity file's directory, or a full disk: neither may end what still can be stored.
#[test]
fn the_ballast_is_laid_again_and_an_unwritable_identity_is_no_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let ballast = dir.path().join("ballast");
    assert!(ballast.exists() && store.make_room().expect("tried") && !ballast.exists());
    store.restore_ballast().expect("laid");
    assert_eq!(ballast.metadata().expect("there").len(), 64 << 10);
    // A directory in the way of the temporary file: writing it fails from now on.
    std::fs::create_dir(dir.path().join("identity.json.new")).expect("a directory");
    for _ in 0..60 {
        seal(&mut store, Lane::Bulk, 1);
        store.tidy(&upkeep(0)).expect("tidied");
    }
    store.close().expect("closed");
}

/// A store as the first schema had it, and full: the tables of a later one find room all the same.
#[test]
fn a_store_of_an_older_schema_goes_on_however_full_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = || Settings { bytes_max: 1 << 20, reserve_bytes: 64 << 10, ..settings(dir.path()) };
    let conn = Connection::open(dir.path().join("smallbrain.db")).expect("a database");
    conn.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA max_page_count = 256",
    )
    .expect("set");
    conn.execute_batch(include_str!("migrations/0001-store.sql")).expect("the first schema");
    conn.execute_batch(
        "PRAGMA user_version = 1; INSERT INTO meta VALUES ('epoch', x'0102030405060708090a0b0c0d0e0f10')",
    )
    .expect("an epoch");
    let append =
        "INSERT INTO reading SELECT coalesce(max(id), 0) + 1, 1, 0, NULL, 'synthetic', -3, 0, 0 FROM reading";
    let mut rows = 0;
    while conn.execute(append, []).is_ok() {
        rows += 1;
    }
    drop(conn);

    let mut store = Store::open(small(), [7; 32], NOW).expect("the store opens");
    assert_eq!((store.epoch().0[0], store.reading_head()), (1, rows), "everything of it is there");
    assert_eq!(store.sessions().expect("read"), sessions::Saved::default());
    let opened = sessions::Change::Open { session: sessions::SessionId(1), client: "c".into(), expiry_s: 60 };
    loop {
        let mut txn = store.begin().expect("a transaction");
        match txn.sessions(std::slice::from_ref(&opened)).and_then(|()| txn.commit()) {
            Ok(()) => break,
            Err(error) => assert!(error.is_passing() && store.make_room().expect("tried"), "{error}"),
        }
    }
    drop(store);
    let store = Store::open(small(), [7; 32], NOW).expect("the store opens");
    assert_eq!(store.sessions().expect("read").sessions.len(), 1);
}
