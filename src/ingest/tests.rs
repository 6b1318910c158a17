//! The writer's thread on a real store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::spine::Spine;
use super::writer::{Counters, Handle, Writer};
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::model::{Lane, Loss, Seq, SeriesKey, Value};
use crate::normalise::{Kind, Rule};
use crate::rules::alarm::Condition;
use crate::store::{Settings, Store, Upkeep};

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
            rule: Rule { kind: Kind::Number, scale: Decimal::ONE, offset: Decimal::ZERO, range: None },
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

    fn delivery(&self, series: u32, values: &[i64]) -> Delivery {
        let sample = |value: &i64| Sample {
            series: SeriesKey(series),
            value: Value::Number(Decimal::from(*value)),
            device_ms: None,
            retained: false,
        };
        let mut lost = Tally::default();
        lost.add(Loss::Malformed, 1);
        Delivery { received: self.clock.now(), samples: values.iter().map(sample).collect(), lost }
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
        let mut store = rig.store();
        let mut spine = Spine::open(plan(), &mut store, rig.clock.now()).expect("opened");
        for delivery in deliveries {
            let mut txn = store.begin().expect("a transaction");
            spine.take(&mut txn, &delivery, delivery.received).expect("taken");
            spine.finish(&mut txn).expect("finished");
            txn.commit().expect("committed");
        }
        // Killed here. What the folds have may leave the log.
        let upkeep = Upkeep { acked: [None; 3], expire_before_ms: i64::MAX };
        store.tidy(&upkeep).expect("tidied");
    }
    let mut store = rig.store();
    let mut spine = Spine::open(plan(), &mut store, rig.clock.now()).expect("opened");
    let mut again = rig.delivery(0, &[7, 8]);
    again.samples.iter_mut().for_each(|sample| sample.device_ms = Some(device_ms));
    let mut txn = store.begin().expect("a transaction");
    spine.take(&mut txn, &again, again.received).expect("taken");
    let ledger = spine.finish(&mut txn).expect("finished");
    assert_eq!((ledger.stored, ledger.lost.get(Loss::Duplicate)), (0, 2));
}
