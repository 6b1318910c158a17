//! The writer's thread on a real store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::spine::{Ledger, Spine};
use super::writer::{Counters, Handle, Writer};
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::model::{Lane, Loss, Quality, Reading, Seq, SeriesKey, Value};
use crate::normalise::{HISTORY_MAX_MS, Kind, Outside, Rule};
use crate::privacy::intake::clear;
use crate::rules::cel;
use crate::rules::command::{Action, Command};
use crate::rules::notice::{Channel, Fate, Recipient, Role, Route};
use crate::rules::plan::Alarm;
use crate::rules::trigger::{self, OnError};
use crate::store::sessions::{Message, SessionId};
use crate::store::{Settings, Store, Stored, Upkeep};

const CITY: &str = "spiffe://city.example/test";

pub(super) fn plan(points: &[&str], limit: i64) -> Plan {
    let share = ShareLine {
        id: "S-alarm".parse().expect("a name"),
        purpose: "test".into(),
        lane: Lane::Alarm,
        consumers: vec![CITY.parse().expect("a name")],
        metrics: vec!["level".parse().expect("a name")],
        devices: true,
        places: true,
        carries: vec!["high".parse().expect("a name")],
        protect: None,
        approval: "test".into(),
        until_ms: None,
        tier: None,
        granted: vec![],
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
            thinning: Default::default(),
            building: "-".parse().expect("a place"),
            pace: crate::aggregate::Pace::default(),
            manual: false,
            treatment: Some(Treatment::Keep),
            aggregates: vec![],
        })
    };
    Plan {
        gateway: Gateway::default(),
        lists_digest: [u8::try_from(points.len()).expect("few"); 32],
        lists: Default::default(),
        points: points.iter().map(point).collect(),
        rules: watched(points, limit),
        aggregates: vec![],
        budgets: vec![],
        shares: vec![share],
        rate: Rate { per_second: 1000, burst: 1000 },
        silence: HashMap::new(),
        approval: Default::default(),
        emergency: vec![],
        block: Bounds { rows_max: 100, age_max_ms: 1000 },
        forms: Vec::new(),
    }
}

/// One number.
struct Level;

impl cel::Scope for Level {
    fn metric(&self, _: Option<&str>, metric: &str) -> Option<cel::Type> {
        (metric == "level").then_some(cel::Type::Number)
    }
    fn device(&self, _: &str) -> bool {
        false
    }
    fn metrics(&self, _: Option<&str>) -> Vec<String> {
        vec!["level".into()]
    }
    fn devices(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An alarm of every tank above the limit, which somebody has to close.
fn watched(points: &[&str], limit: i64) -> rules::plan::Plan {
    let alarm = Alarm {
        id: "high".parse().expect("a name"),
        title: "High".into(),
        advice: String::new(),
        severity: crate::model::Severity::Major,
        devices: points.iter().map(|device| device.parse().expect("a name")).collect(),
        metric: "level".parse().expect("a name"),
        unit: "m".into(),
        when: Some(cel::compile(&format!("level > {limit}"), &Level).expect("a condition")),
        clear: None,
        early: None,
        then: None,
        trigger: trigger::Rule {
            hold_ms: 0,
            times: None,
            then_ms: None,
            absent_ms: None,
            daily: None,
            confirm: None,
            schedule: Default::default(),
            on_error: OnError::Raise,
        },
        cooldown_ms: 0,
        closes_itself: false,
        commands: vec![],
        commands_end: vec![],
    };
    rules::plan::Plan { alarms: vec![alarm], ..Default::default() }
}

pub(super) fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 0,
        group_window: Duration::from_millis(1),
        retention: Duration::from_secs(3600),
        promises: crate::store::room::Promises::of(64 << 20),
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
        self.start_on(self.store(), plan)
    }

    fn start_on(&self, store: Store, plan: Plan) -> (Intake, Handle, Arc<Counters>) {
        let (intake, requests) = Intake::channel(4);
        let counters = Arc::new(Counters::default());
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
        spine.tick(&mut txn, self.clock.now()).expect("ticked");
        for delivery in deliveries {
            spine.take(&mut txn, delivery, delivery.received).expect("taken");
        }
        let ledger = spine.finish(&mut txn).expect("finished");
        txn.commit().expect("committed");
        store.tidy(&Upkeep { acked: [None; Lane::ALL.len()], expire_before_ms: i64::MAX }).expect("tidied");
        (ledger, store)
    }

    fn delivery(&self, series: u32, values: &[i64]) -> Delivery {
        let sample = |value: &i64| Sample {
            message: None,
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

fn message(payload_bytes: usize) -> Arc<Message> {
    Arc::new(Message {
        topic: "door-1/set".into(),
        payload: vec![b'x'; payload_bytes].into(),
        qos: 1,
        retain: false,
        properties: Box::default(),
        expires_ms: None,
    })
}

fn opened(session: u64) -> Change {
    Change::Open { session: SessionId(session), client: "user/client".into(), expiry_s: 60 }
}

fn queue(session: u64, seq: u64, message: &Arc<Message>) -> Change {
    let (session, message) = (SessionId(session), message.clone());
    Change::Queue { session, seq, message, qos: 1, retain: false, identifiers: Box::default() }
}

/// The numbers of what waits for the only session.
fn waiting(store: &Store) -> Vec<u64> {
    let saved = store.sessions().expect("read");
    saved.sessions.iter().flat_map(|session| session.queue.iter().map(|delivery| delivery.seq)).collect()
}

/// A commit that waits for company for longer than any test may take.
#[tokio::test]
async fn changes_alone_wait_for_nobody_and_take_along_what_waits() {
    let rig = Rig::new();
    let patient = Settings { group_window: Duration::from_secs(3600), ..settings(rig.dir.path()) };
    let store = Store::open(patient, [7; 32], rig.clock.now()).expect("the store opens");
    let (intake, writer, counters) = rig.start_on(store, plan(&["tank-1"], 100));
    let changes = |changes| Delivery {
        received: rig.clock.now(),
        samples: vec![],
        lost: Tally::default(),
        presence: vec![],
        changes,
    };
    let small = message(10);
    let waits = intake.deliver(rig.delivery(0, &[1])).await.expect("taken");
    let first = intake.deliver(changes(vec![opened(1), queue(1, 1, &small)])).await.expect("taken");
    first.committed().await.expect("committed");
    waits.committed().await.expect("committed with it");
    let second = intake.deliver(changes(vec![queue(1, 2, &small)])).await.expect("taken");
    second.committed().await.expect("committed");
    let ledger = counters.ledger();
    assert_eq!((ledger.received, ledger.stored), (2, 1), "changes are nobody's samples");
    drop(intake);
    writer.await.expect("no panic").expect("ended well");
    assert_eq!(waiting(&rig.store()), [1, 2]);
}

/// However the requests come together: none of a batch that found no room is written twice or not at all.
#[tokio::test]
async fn changes_that_found_no_room_are_written_once_there_is_some() {
    let rig = Rig::new();
    let small = Settings { bytes_max: 1 << 20, ..settings(rig.dir.path()) };
    let mut store = Store::open(small, [7; 32], rig.clock.now()).expect("the store opens");
    let series = store.series([("tank-9", "level")].into_iter()).expect("a number")[0];
    let old = Reading {
        series: SeriesKey(0),
        value: Value::Text("x".repeat(4000).into()),
        time_ms: 0,
        received_ms: 0,
        device_time: false,
        quality: Quality::Good,
    };
    let old = clear(Some(&Treatment::Keep), old).expect("kept");
    let mut full = false;
    while !full {
        let mut txn = store.begin().expect("a transaction");
        full = txn.append(series, &old).and_then(|_| txn.commit()).is_err();
    }
    let (intake, writer, counters) = rig.start_on(store, plan(&["tank-1"], 100));
    let wanted = message(8000);
    let mut receipts = Vec::new();
    for seq in 0..80 {
        let mut delivery = rig.delivery(0, &[seq]);
        let open = (seq == 0).then(|| opened(1));
        delivery.changes = open.into_iter().chain([queue(1, seq.unsigned_abs(), &wanted)]).collect();
        receipts.push(intake.deliver(delivery).await.expect("taken"));
    }
    for receipt in receipts {
        receipt.committed().await.expect("committed");
    }
    let retries = counters.metrics().into_iter().find(|(name, _)| name == "store_retries_total");
    assert!(retries.is_some_and(|(_, count)| count > 0), "it was never full");
    drop(intake);
    writer.await.expect("no panic").expect("ended well");
    assert!(waiting(&rig.store()).into_iter().eq(0..80));
    assert!(counters.ledger().holds());
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

/// A gateway of devices that tell no time repeated a message whose acknowledgement it had not seen: it was stored twice.
#[test]
fn a_message_that_is_repeated_counts_once_without_a_time_of_its_own() {
    let rig = Rig::new();
    let said = |message: Option<i64>| {
        let mut delivery = rig.delivery(0, &[7]);
        let [sample] = &mut delivery.samples[..] else { panic!("one sample") };
        (sample.device_ms, sample.message) = (None, message);
        delivery
    };
    let told = [said(Some(1)), said(Some(1)), said(Some(2)), said(None), said(None)];
    let (ledger, store) = rig.life(plan(&["tank-1"], 10), &told);
    assert_eq!((ledger.lost.get(Loss::Duplicate), store.reading_head()), (1, 4));
}

/// A siren that is to tell somebody, and that its interlock keeps silent: the notice of it waited for ever, because the run
/// had ended before there was one.
#[test]
fn a_notice_by_a_command_that_ends_at_once_has_its_fate_at_once() {
    let rig = Rig::new();
    let mut told = plan(&["tank-1"], 10);
    let device: crate::model::DeviceId = "tank-1".parse().expect("a name");
    told.rules.commands.push(Command {
        id: "siren".parse().expect("a name"),
        title: String::new(),
        device: device.clone(),
        action: Action::Publish { topic: "siren".into(), payload: "ON".into() },
        arguments: Default::default(),
        ways: vec![],
        state: None,
        interlock: Some(cel::compile("level < 0", &Level).expect("a condition")),
        expect: None,
        expires_ms: 1000,
        level: 0,
    });
    told.rules.recipients.push(Recipient {
        id: "yard".parse().expect("a name"),
        title: String::new(),
        role: Role::Property,
        channel: Channel::Command(0),
        fields: vec![],
        quiet: None,
        digest_ms: 0,
        english: false,
    });
    told.rules.routes.push(Route {
        alarms: None,
        severities: None,
        places: None,
        schedule: Default::default(),
        steps: vec![crate::model::Step::Raised],
        to: vec![0],
        escalate: vec![],
    });
    let (_, mut store) = rig.life(told, &[rig.delivery(0, &[11])]);
    assert_eq!(store.numbers().expect("numbers").notice, 1);
    assert_eq!(store.waiting_notices().expect("counts"), []);
    let txn = store.begin().expect("a transaction");
    let notice = txn.notice(1).expect("a row").expect("a notice");
    assert_eq!(notice.fate, Fate::Dropped);
    assert!(notice.proof.contains("interlock"), "{}", notice.proof);
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
        plan.points.iter_mut().flatten().for_each(|point| point.thinning.band = Some(Decimal::from(5)));
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

/// What a logger kept of the last month comes all at once: it is stored with its times, is late for its windows, raises no
/// alarm however high, steep or wrong its time is, and says nothing of the meter of now.
#[test]
fn what_is_told_of_the_past_stays_in_the_past() {
    const HOUR_MS: i64 = 3_600_000;
    let rig = Rig::new();
    let mut judged = plan(&["meter-1"], 100);
    judged.aggregates.push(Aggregate {
        id: "A-1h".parse().expect("a name"),
        size_ms: HOUR_MS,
        lateness_ms: 30_000,
        zone_ms: 0,
        by: crate::aggregate::windows::By::Device,
        crowds: None,
        statistics: crate::aggregate::statistic::Statistics::default(),
        edges: vec![],
    });
    let point = judged.points[0].as_mut().expect("a point");
    point.aggregates.push(0);
    point.plausible = plausible::Rule { monotonic: true, slope_max: Some(Decimal::from(200)) };
    let told = |value, ago_ms: Option<i64>, history| {
        let mut delivery = rig.delivery(0, &[value]);
        let device_ms = ago_ms.map(|ago_ms| delivery.received.wall_ms - ago_ms);
        delivery
            .samples
            .iter_mut()
            .for_each(|sample| (sample.device_ms, sample.history) = (device_ms, history));
        delivery
    };
    for (value, ago_ms, history, quality, late, alarms) in [
        (5, Some(0), false, Quality::Good, 0, 0),
        (900, Some(HISTORY_MAX_MS), true, Quality::Retained, 1, 0),
        (901, Some(HISTORY_MAX_MS - HOUR_MS), true, Quality::Retained, 1, 0),
        (902, Some(48 * HOUR_MS), true, Quality::Retained, 1, 0),
        (903, Some(2 * HOUR_MS), true, Quality::Retained, 1, 0),
        // Out of the store's reach: of no known time, and steep.
        (999_999, Some(HISTORY_MAX_MS + HOUR_MS), true, Quality::Slope, 0, 0),
        (6, Some(0), false, Quality::Good, 0, 0),
        (101, Some(0), false, Quality::Good, 0, 1),
        (102, Some(48 * HOUR_MS), true, Quality::Retained, 1, 1),
        // A time of two days ago is no fault of a month, and one of a sample of now.
        (103, Some(48 * HOUR_MS), false, Quality::Skewed, 0, 1),
    ] {
        // Each in a life of its own, so that the replay has to come to the same.
        let (ledger, store) = rig.life(judged.clone(), &[told(value, ago_ms, history)]);
        assert_eq!(qualities(&store, store.reading_head() - 1), [quality], "{value}");
        assert_eq!((ledger.late, store.heads()[Lane::Alarm.index()]), (late, Seq(alarms)), "{value}");
        let mut ago = None;
        let each = |row: Stored| {
            ago = row.reading.map(|cleared| cleared.get().received_ms - cleared.get().time_ms);
        };
        store.replay(store.reading_head() - 1, |_| Some(SeriesKey(0)), each).expect("the log");
        let taken = if quality == Quality::Retained { ago_ms } else { Some(0) };
        assert_eq!(ago, taken, "{value}");
    }
}

/// A logger whose clock is wrong: what it kept has a quality of its own, which an alarm may look at, and was taken for a
/// reading of now by the replay after a restart.
#[test]
fn what_is_told_of_the_past_stays_in_the_past_whatever_its_quality() {
    let rig = Rig::new();
    let mut plan = plan(&["meter-1"], 100);
    plan.rules.alarms[0].when = cel::compile(r#"highest(level, "1h") > 100"#, &Level).ok();
    for (value, history, quality) in
        [(5, false, Quality::Good), (900, true, Quality::Clock), (6, false, Quality::Good)]
    {
        let mut delivery = rig.delivery(0, &[value]);
        for sample in &mut delivery.samples {
            (sample.history, sample.clock_ms) = (history, history.then_some(0));
        }
        let (_, store) = rig.life(plan.clone(), &[delivery]);
        assert_eq!(qualities(&store, store.reading_head() - 1), [quality], "{value}");
        assert_eq!(store.heads()[Lane::Alarm.index()], Seq(0), "{value}");
    }
}

fn presence(online: bool, cause: Cause) -> Presence {
    Presence { device: "tank-1".parse().expect("a name"), online, cause }
}

/// One life of a spine; what it knows of the first device at its end.
fn life_of(rig: &Rig, plan: &Plan, now: Stamp, deliveries: &[Delivery]) -> Option<(bool, i64, Cause)> {
    let mut store = rig.store();
    let mut spine = Spine::open(plan.clone(), &mut store, now).expect("opened");
    let mut txn = store.begin().expect("a transaction");
    for delivery in deliveries {
        spine.tick(&mut txn, delivery.received).expect("ticked");
        spine.take(&mut txn, delivery, delivery.received).expect("taken");
    }
    spine.finish(&mut txn).expect("finished");
    txn.commit().expect("committed");
    spine.devices().remove(0).presence
}

#[test]
fn presence_is_told_by_shells_and_readings_and_survives() {
    use Cause::{Connection, Heard, Silence, Told};
    let rig = Rig::new();
    let mut watched = plan(&["tank-1", "tank-2"], 100);
    watched.silence.insert("tank-1".parse().expect("a name"), Duration::from_secs(10));
    let at = |mono_ms: u64| Stamp { wall_ms: 1_790_000_000_000 + mono_ms as i64, mono_ms };
    // Moment, readings, whether they are of the past, what the shell knows, and what is known then.
    type Step<'a> = (u64, &'a [i64], bool, &'a [(bool, Cause)], Option<(bool, u64, Cause)>);
    let steps: &[Step<'_>] = &[
        (0, &[], false, &[], None),
        (100, &[1], true, &[], None),
        (200, &[2], false, &[], Some((true, 200, Heard))),
        (300, &[], false, &[(true, Connection)], Some((true, 200, Heard))),
        (400, &[3], false, &[(false, Told)], Some((false, 400, Told))),
        (500, &[4], true, &[], Some((false, 400, Told))),
        (600, &[5], false, &[(false, Connection)], Some((false, 400, Told))),
        (700, &[6], false, &[(false, Told), (true, Told)], Some((true, 700, Told))),
        (10_699, &[], false, &[], Some((true, 700, Told))),
    ];
    let delivery = |&(mono_ms, values, past, told, _): &Step<'_>| {
        let mut delivery = rig.delivery(0, values);
        delivery.received = at(mono_ms);
        delivery.samples.iter_mut().for_each(|sample| sample.history = past);
        delivery.presence = told.iter().map(|(online, cause)| presence(*online, *cause)).collect();
        delivery
    };
    let known =
        |known: Option<(bool, u64, Cause)>| known.map(|(is, since, cause)| (is, at(since).wall_ms, cause));
    for step in steps {
        // Each in a life of its own: only what is on disk is known.
        assert_eq!(life_of(&rig, &watched, at(step.0), &[delivery(step)]), known(step.4), "{step:?}");
    }
    // In one life silence is measured through.
    let through: Vec<Delivery> =
        [20_000, 29_999, 30_000].map(|ms| delivery(&(ms, &[], false, &[], None))).into();
    for (count, online) in [(2, (true, 700, Told)), (3, (false, 30_000, Silence))] {
        assert_eq!(life_of(&rig, &watched, at(20_000), &through[..count]), known(Some(online)));
    }
    // What the plan no longer has is forgotten, and unknown when it comes back.
    let mut spine = Spine::open(plan(&["tank-2"], 100), &mut rig.store(), at(0)).expect("opened");
    assert_eq!(spine.devices().remove(0).presence, None);
    assert!(spine.take_presence().is_empty(), "a start tells nothing");
    assert_eq!(life_of(&rig, &watched, at(0), &[]), None);
}

/// A reload goes on with the silence; a batch that found no room does not count as one.
#[test]
fn silence_goes_on_over_a_change_of_plan() {
    let rig = Rig::new();
    let mut watched = plan(&["tank-1"], 100);
    watched.silence.insert("tank-1".parse().expect("a name"), Duration::from_secs(10));
    let at = |mono_ms: u64| Stamp { wall_ms: 1_790_000_000_000, mono_ms };
    let mut store = rig.store();
    let before = Spine::open(watched.clone(), &mut store, at(0)).expect("opened");
    for (goes_on, silent) in [(true, true), (false, false)] {
        let mut spine = Spine::open(watched.clone(), &mut store, at(5_000)).expect("opened");
        if goes_on {
            spine.remember_silence(&before);
        }
        let mut txn = store.begin().expect("a transaction");
        spine.tick(&mut txn, at(10_000)).expect("ticked");
        let changes: Vec<bool> =
            spine.take_presence().into_iter().map(|change| change.standing.online).collect();
        assert_eq!(changes == [false], silent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever comes, in whatever lives: the last word of each delivery counts, a reading of now is one unless its own
    /// delivery says that the device is gone, and only a batch that was committed is known afterwards.
    #[test]
    fn presence_is_a_function_of_what_is_committed(
        lives in prop::collection::vec(
            (prop::collection::vec((prop::collection::vec(any::<bool>(), 0..3), 0_i64..3), 0..5), any::<bool>()),
            1..5,
        ),
    ) {
        let rig = Rig::new();
        let plan = plan(&["tank-1"], 100);
        let (mut known, mut moment): (Option<(bool, i64)>, i64) = (None, 1_790_000_000_000);
        for (deliveries, commits) in lives {
            let mut store = rig.store();
            let mut spine = Spine::open(plan.clone(), &mut store, rig.clock.now()).expect("opened");
            let mut expected = known;
            let mut txn = store.begin().expect("a transaction");
            for (told, readings) in deliveries {
                moment += 1;
                let mut delivery = rig.delivery(0, &(0..readings).collect::<Vec<_>>());
                delivery.received = Stamp { wall_ms: moment, mono_ms: 1 };
                delivery.presence = told.iter().map(|online| presence(*online, Cause::Told)).collect();
                spine.take(&mut txn, &delivery, delivery.received).expect("taken");
                let is_heard = readings > 0 && told.iter().all(|online| *online);
                for online in told.into_iter().chain(is_heard.then_some(true)) {
                    if expected.is_none_or(|(is, _)| is != online) {
                        expected = Some((online, moment));
                    }
                }
            }
            let seen = |spine: &Spine| spine.devices().remove(0).presence.map(|(is, since, _)| (is, since));
            prop_assert_eq!(seen(&spine), expected);
            if commits {
                txn.commit().expect("committed");
                known = expected;
            } else {
                drop(txn);
            }
            let reopened = Spine::open(plan.clone(), &mut store, rig.clock.now()).expect("opened");
            prop_assert_eq!(seen(&reopened), known);
        }
    }
}
