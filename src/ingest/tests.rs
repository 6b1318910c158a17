//! The writer's thread on a real store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::spine::{Ledger, Spine};
use super::writer::{Counters, Handle, Writer};
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::model::{Lane, Loss, Quality, Seq, SeriesKey, Value};
use crate::normalise::{Kind, Outside, Rule};
use crate::rules::alarm::Condition;
use crate::store::{Settings, Store, Stored, Upkeep};

const CITY: &str = "spiffe://city.example/test";

fn plan(points: &[&str], limit: i64) -> Plan {
    let share = ShareLine {
        id: "S-alarm".parse().expect("a name"),
        purpose: "test".into(),
        lane: Lane::Alarm,
        consumers: vec![CITY.parse().expect("a name")],
        metrics: vec!["level".parse().expect("a name")],
        devices: true,
        carries: vec!["high".parse().expect("a name")],
        approval: "test".into(),
        until_ms: None,
    };
    let point = |device: &&str| {
        Some(Point {
            device: device.parse().expect("a name"),
            class: "tank".into(),
            metric: "level".parse().expect("a name"),
            unit: "m".into(),
            rule: Rule {
                kind: Kind::Number,
                scale: Decimal::ONE,
                offset: Decimal::ZERO,
                range: None,
                outside: Outside::Drop,
            },
            plausible: plausible::Rule::default(),
            deadband: None,
            treatment: Some(Treatment::Keep),
            alarms: vec![0],
            aggregates: vec![],
        })
    };
    Plan {
        gateway: Gateway::default(),
        lists_digest: [u8::try_from(points.len()).expect("few"); 32],
        points: points.iter().map(point).collect(),
        alarms: vec![Alarm {
            id: "high".parse().expect("a name"),
            condition: Condition::Above { limit: limit.into(), clear: limit.into() },
            hold_ms: 0,
            severity: crate::model::Severity::Major,
        }],
        aggregates: vec![],
        shares: vec![share],
        rate: Rate { per_second: 1000, burst: 1000 },
        silence: HashMap::new(),
        block: Bounds { rows_max: 100, age_max_ms: 1000 },
    }
}

fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 0,
        group_window: Duration::from_millis(1),
        retention: Duration::from_secs(3600),
    }
}

struct Rig {
    dir: tempfile::TempDir,
    clock: Arc<dyn Clock>,
}

impl Rig {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), clock: Arc::new(SystemClock::default()) }
    }

    fn start(&self, plan: Plan) -> (Intake, Handle, Arc<Counters>) {
        let (intake, requests) = Intake::channel(4);
        let counters = Arc::new(Counters::default());
        let store = self.store();
        let writer = Writer::open(store, plan, requests, self.clock.clone(), counters.clone());
        (intake, writer.expect("opened").spawn().expect("a thread"), counters)
    }

    fn store(&self) -> Store {
        Store::open(settings(self.dir.path()), [7; 32], self.clock.now()).expect("the store opens")
    }

    /// One commit of a spine that is opened for it and killed after it; what its folds have may leave the log.
    fn life(&self, plan: Plan, deliveries: &[Delivery]) -> (Ledger, Store) {
        let mut store = self.store();
        let mut spine = Spine::open(plan, &mut store, self.clock.now()).expect("opened");
        let mut txn = store.begin().expect("a transaction");
        for delivery in deliveries {
            spine.take(&mut txn, delivery, delivery.received).expect("taken");
        }
        let ledger = spine.finish(&mut txn).expect("finished");
        txn.commit().expect("committed");
        store.tidy(&Upkeep { acked: [None; 3], expire_before_ms: i64::MAX }).expect("tidied");
        (ledger, store)
    }

    fn delivery(&self, series: u32, values: &[i64]) -> Delivery {
        let sample = |value: &i64| Sample {
            series: SeriesKey(series),
            value: Value::Number(Decimal::from(*value)),
            device_ms: None,
            clock_ms: None,
            retained: false,
            history: false,
        };
        let mut lost = Tally::default();
        lost.add(Loss::Malformed, 1);
        Delivery {
            received: self.clock.now(),
            samples: values.iter().map(sample).collect(),
            lost,
            presence: vec![],
            changes: vec![],
        }
    }
}

#[tokio::test]
async fn a_receipt_comes_when_another_reader_of_the_disk_sees_it() {
    let rig = Rig::new();
    let (intake, writer, _) = rig.start(plan(&["tank-1"], 100));
    for round in 1..=20_i64 {
        let receipt = intake.deliver(rig.delivery(0, &[1, 2])).await.expect("taken");
        receipt.committed().await.expect("committed");
        // A connection of its own, as after a crash: only what is committed is there.
        let copy = tempfile::tempdir().expect("a directory");
        for name in ["smallbrain.db", "smallbrain.db-wal"] {
            std::fs::copy(rig.dir.path().join(name), copy.path().join(name)).expect("a copy");
        }
        let store = Store::open(settings(copy.path()), [8; 32], rig.clock.now()).expect("the copy opens");
        assert_eq!(store.reading_head(), round * 2);
    }
    drop(intake);
    writer.await.expect("no panic").expect("ended well");
}

#[tokio::test]
async fn everything_taken_is_stored_before_the_writer_ends_and_the_ledger_holds() {
    let rig = Rig::new();
    let (intake, writer, counters) = rig.start(plan(&["tank-1"], 100));
    let mut receipts = Vec::new();
    for value in 0..50 {
        receipts.push(intake.deliver(rig.delivery(0, &[value])).await.expect("taken"));
    }
    receipts.push(intake.deliver(rig.delivery(9, &[1, 2])).await.expect("taken"));
    drop(intake);
    for receipt in receipts {
        receipt.committed().await.expect("committed");
    }
    writer.await.expect("no panic").expect("ended well");
    let ledger = counters.ledger();
    assert!(ledger.holds());
    assert_eq!((ledger.received, ledger.stored), (103, 50));
    assert_eq!((ledger.lost.get(Loss::Malformed), ledger.lost.get(Loss::Unlisted)), (51, 2));
    let store = rig.store();
    assert_eq!((store.reading_head(), store.lost().expect("tallies").total()), (50, 53));
}

#[tokio::test]
async fn a_new_plan_is_in_force_from_the_next_sample_on_and_alarms_stay_where_they_stood() {
    let rig = Rig::new();
    let (intake, writer, _) = rig.start(plan(&["tank-1"], 10));
    let stored = async |series, value| {
        let receipt = intake.deliver(rig.delivery(series, &[value])).await.expect("taken");
        receipt.committed().await.expect("committed");
    };
    stored(0, 11).await;
    intake.apply(plan(&["tank-1", "tank-2"], 10)).await.expect("applied");
    // Still raised: no second event for the first tank, a first one for the second.
    stored(0, 12).await;
    stored(1, 12).await;
    stored(0, 5).await;
    let ack = |upto| Ack {
        consumer: CITY.parse().expect("a name"),
        epoch: crate::model::Epoch([7; 16]),
        lane: Lane::Alarm,
        upto: Seq(upto),
        head_hash: None,
    };
    assert_eq!(
        intake.ack(ack(4)).await.expect("asked"),
        Err(AckRefused::Ahead { lane: Lane::Alarm, upto: Seq(4), head: Seq(3) })
    );
    let acked = intake.ack(ack(3)).await.expect("asked").expect("accepted");
    assert_eq!(acked.upto, Seq(3));
    drop(intake);
    writer.await.expect("no panic").expect("ended well");
}

#[tokio::test]
async fn a_full_queue_makes_the_sender_wait_and_drops_nothing() {
    let rig = Rig::new();
    let (intake, mut requests) = Intake::channel(2);
    let mut receipts = Vec::new();
    for _ in 0..2 {
        receipts.push(intake.deliver(rig.delivery(0, &[1])).await.expect("taken"));
    }
    let mut third = Box::pin(intake.deliver(rig.delivery(0, &[2])));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut third).await.is_err(), "the queue is full");
    assert!(matches!(requests.recv().await, Some(Request::Deliver(..))));
    third.await.expect("there is room again");
    drop(requests);
    for receipt in receipts {
        assert_eq!(receipt.committed().await, Err(Stopped), "nobody stored it, so nobody may say so");
    }
}

/// A device whose acknowledgements a crash had eaten came back after the gateway had stored more than 65,536 readings of
/// others and was killed once more: its readings were stored, and told to the city, a second time. The filter was warmed
/// from the end of the log alone.
#[tokio::test]
async fn a_repetition_is_known_after_a_restart_though_its_first_time_is_no_longer_in_the_log() {
    let rig = Rig::new();
    let plan = || plan(&["tank-1", "tank-2"], 100);
    let sent = |series, ms| {
        let mut delivery = rig.delivery(series, &[7, 8]);
        let device_ms = delivery.received.wall_ms - ms;
        delivery.samples.iter_mut().for_each(|sample| sample.device_ms = Some(device_ms));
        (delivery, device_ms)
    };
    let (first, device_ms) = sent(0, 5_000);
    for deliveries in [vec![first], vec![sent(1, 10).0, sent(1, 9).0]] {
        rig.life(plan(), &deliveries);
    }
    let mut again = rig.delivery(0, &[7, 8]);
    again.samples.iter_mut().for_each(|sample| sample.device_ms = Some(device_ms));
    let (ledger, _) = rig.life(plan(), &[again]);
    assert_eq!((ledger.stored, ledger.lost.get(Loss::Duplicate)), (0, 2));
}

fn qualities(store: &Store, after: i64) -> Vec<Quality> {
    let mut found = Vec::new();
    let each = |row: Stored| found.extend(row.reading.map(|cleared| cleared.get().quality));
    store.replay(after, |_| Some(SeriesKey(0)), each).expect("the log");
    found
}

#[test]
fn a_counter_that_went_back_while_the_gateway_was_off_is_flagged() {
    let rig = Rig::new();
    let counting = || {
        let mut plan = plan(&["meter-1", "tank-1"], 1_000);
        plan.points.iter_mut().flatten().for_each(|point| point.plausible.monotonic = true);
        plan
    };
    rig.life(counting(), &[rig.delivery(0, &[900])]);
    // The first meter's reading is told by the log the first time, by the resume point alone the second time.
    rig.life(counting(), &[rig.delivery(1, &[5, 6]), rig.delivery(1, &[7])]);
    let (ledger, store) = rig.life(counting(), &[rig.delivery(0, &[3, 901])]);
    assert_eq!(ledger.flagged[Quality::CounterBack as usize], 1);
    assert_eq!(qualities(&store, 4), [Quality::CounterBack, Quality::Good]);
    drop(store);
    // Another meter: a run goes on over restarts, too.
    let mut ends = 0;
    for (value, quality) in [
        (10, Quality::CounterBack),
        (11, Quality::CounterBack),
        (12, Quality::CounterBack),
        (13, Quality::Good),
    ] {
        let (ledger, store) = rig.life(counting(), &[rig.delivery(0, &[value])]);
        assert_eq!(qualities(&store, store.reading_head() - 1), [quality], "{value}");
        ends += ledger.rebased;
    }
    assert_eq!(ends, 1);
}

/// A broken sensor raises no alarm and clears none; what is only too fast to be true may be a fire.
#[test]
fn alarms_look_at_what_may_be_true() {
    let rig = Rig::new();
    let mut judged = plan(&["tank-1", "meter-1"], 100);
    for (point, monotonic) in judged.points.iter_mut().flatten().zip([false, true]) {
        point.rule.range = Some((Decimal::ZERO, Decimal::from(500)));
        point.rule.outside = Outside::Flag;
        point.plausible = plausible::Rule { monotonic, slope_max: Some(Decimal::from(200)) };
    }
    for (series, value, quality, changes) in [
        (0, 5, Quality::Good, 0),
        (0, 999, Quality::OutOfRange, 0),
        (0, 400, Quality::Slope, 1),
        (0, -1, Quality::OutOfRange, 1),
        (0, 6, Quality::Good, 2),
        (1, 150, Quality::Good, 3),
        (1, 90, Quality::CounterBack, 3),
    ] {
        let (_, store) = rig.life(judged.clone(), &[rig.delivery(series, &[value])]);
        assert_eq!(qualities(&store, store.reading_head() - 1), [quality], "{series} {value}");
        assert_eq!(store.heads()[Lane::Alarm.index()], Seq(changes), "{series} {value}");
    }
}

#[test]
fn what_tells_nothing_new_is_not_shared_singly_also_after_a_restart() {
    let rig = Rig::new();
    let thinning = || {
        let mut plan = plan(&["tank-1", "tank-2"], 1_000);
        plan.points.iter_mut().flatten().for_each(|point| point.deadband = Some(Decimal::from(5)));
        plan.shares[0].lane = Lane::Bulk;
        plan.block.rows_max = 1;
        plan
    };
    for (series, values, thinned, rows) in
        [(0, &[10, 12, 15][..], 1, 2), (1, &[0, 1, 2], 2, 3), (0, &[11, 19, 20], 2, 4), (1, &[4, 5], 1, 5)]
    {
        let (ledger, store) = rig.life(thinning(), &[rig.delivery(series, values)]);
        assert_eq!((ledger.thinned, store.heads()[Lane::Bulk.index()]), (thinned, Seq(rows)), "{values:?}");
        assert_eq!(ledger.stored, values.len() as u64);
    }
}
