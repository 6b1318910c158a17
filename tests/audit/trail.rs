//! What happens in the gateway and what the trail says of it; and the trace of one record.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rust_decimal::Decimal;
use smallbrain::audit::verify::{Evidence, Line, Verdict, verify};
use smallbrain::audit::{Action, Entry};
use smallbrain::cli::bus::Lang;
use smallbrain::cli::trace;
use smallbrain::clock::Clock;
use smallbrain::config::Config;
use smallbrain::ingest::act::{Act, Feedback};
use smallbrain::ingest::spine::Spine;
use smallbrain::ingest::writer::{Counters, Writer};
use smallbrain::ingest::{Ack, Delivery, Intake, WitnessRefused};
use smallbrain::model::{Consumer, Lane, Sample, Seq, Stamp, Step, Value};
use smallbrain::store::Store;
use smallbrain::store::trace::{RecordId, trace as look};

use super::NOW_MS;

const CITY: &str = "spiffe://city.example/test";
const CONFIG: &str = r#"
[gateway]
id = "gw-1"
division_code = "310115013007"
compound_code = "C0012"

[store]
dir = "store"

[mqtt]
listen = "127.0.0.1:18831"
anonymous = true

[[mapping]]
topic = "compound/{device}/up"
template = "tank"

[[template]]
name = "tank"
point = [{ metric = "level", kind = "number", unit = "m", json = "/level" }]

[[device]]
id = "tank-1"
template = "tank"

[[alarm]]
id = "high"
when = "level > 100"
severity = "major"

[[collect]]
id = "C-1"
templates = ["tank"]
purpose = "test"
fields = { level = "keep" }

[[share]]
id = "S-alarm"
purpose = "test"
lane = "alarm"
consumers = ["spiffe://city.example/test"]
metrics = ["level"]
devices = true
carries = ["high"]
approval = "A-1"

[share_server]
loopback = { listen = "127.0.0.1:50051", consumer = "spiffe://city.example/test" }
"#;

fn config(dir: &Path) -> Config {
    let path = dir.join("smallbrain.toml");
    std::fs::write(&path, CONFIG).expect("written");
    Config::load(&path, NOW_MS, None).unwrap_or_else(|faults| panic!("{faults}"))
}

fn city() -> Consumer {
    CITY.parse().expect("a name")
}

fn level(config: &Config, value: i64, received: Stamp) -> Delivery {
    let series = config.names.get("tank-1", "level").expect("a point");
    let sample = Sample {
        message: None,
        series,
        value: Value::Number(Decimal::from(value)),
        device_ms: None,
        clock_ms: None,
        retained: false,
        history: false,
    };
    Delivery { samples: vec![sample], ..Delivery::empty(received) }
}

/// A clock that somebody turns.
#[derive(Default)]
struct Turned {
    wall_ms: AtomicI64,
    mono_ms: AtomicU64,
}

impl Turned {
    fn by(&self, wall_ms: i64, mono_ms: u64) {
        self.wall_ms.fetch_add(wall_ms, Ordering::SeqCst);
        self.mono_ms.fetch_add(mono_ms, Ordering::SeqCst);
    }
}

impl Clock for Turned {
    fn now(&self) -> Stamp {
        Stamp {
            wall_ms: NOW_MS + self.wall_ms.load(Ordering::SeqCst),
            mono_ms: self.mono_ms.load(Ordering::SeqCst),
        }
    }
}

fn told(dir: &Path) -> Vec<(String, String, String)> {
    let conn = Connection::open(dir.join("smallbrain.db")).expect("opened");
    let mut statement =
        conn.prepare("SELECT action, object, outcome FROM audit ORDER BY seq").expect("prepared");
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    statement.query_map([], read).expect("asked").collect::<Result<_, _>>().expect("read")
}

#[tokio::test]
async fn what_happens_is_signed_witnessed_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let clock = Arc::new(Turned::default());
    let store = Store::open(config.store.clone(), [3; 32], clock.now()).expect("the store opens");
    let (epoch, seed) = (store.epoch(), std::array::from_fn(|at| at as u8));
    let key = config.trail.key(&config.store.dir, seed).expect("a key");
    let (intake, requests) = Intake::channel(4);
    let counters = Arc::new(Counters::default());
    let mut writer =
        Writer::open(store, config.plan.clone(), requests, clock.clone(), counters.clone()).expect("opened");
    writer.sign(&config.trail, key).expect("signs");
    let mut checkpoints = writer.checkpoints();
    let end = writer.spawn().expect("a thread");
    intake.deliver(level(&config, 200, clock.now())).await.expect("taken").committed().await.expect("stored");
    let ack = Ack { consumer: city(), epoch, lane: Lane::Alarm, upto: Seq(1), head_hash: None };
    for upto in [Seq(1), Seq(1)] {
        intake.ack(Ack { upto, ..ack.clone() }).await.expect("asked").expect("moved");
    }
    for _ in 0..2 {
        let forged = Ack { head_hash: Some([9; 32]), ..ack.clone() };
        intake.ack(forged).await.expect("asked").expect_err("another hash");
    }
    // A minute later the newest row is signed, with whatever comes.
    clock.by(61_000, 61_000);
    assert_eq!(*checkpoints.borrow(), None);
    intake.deliver(level(&config, 201, clock.now())).await.expect("taken").committed().await.expect("stored");
    let signed = checkpoints.wait_for(Option::is_some).await.expect("the writer").clone().expect("signed");
    assert_eq!(signed.head.seq, 6);
    // The wall clock jumps.
    clock.by(10_000, 0);
    intake.deliver(level(&config, 202, clock.now())).await.expect("taken").committed().await.expect("stored");
    intake.witness(city(), signed.head.seq, signed.head.hash).await.expect("asked").expect("on our chain");
    let refused = intake.witness(city(), signed.head.seq, [9; 32]).await.expect("asked");
    assert_eq!(refused, Err(WitnessRefused::Fork { size: 6 }));
    // Nobody witnesses what came then, for a quarter of an hour.
    clock.by(16 * 60_000, 16 * 60_000);
    let deadline = Instant::now() + Duration::from_secs(20);
    while counters.witness_lag().is_none_or(|lag| lag < Duration::from_secs(15 * 60)) {
        assert!(Instant::now() < deadline, "{:?}", counters.witness_lag());
        let delivery = level(&config, 203, clock.now());
        intake.deliver(delivery).await.expect("taken").committed().await.expect("stored");
    }
    let complaints = counters.complaints();
    assert!(complaints[0].contains("not witnessed for 16 min"), "{complaints:?}");
    assert!(complaints[1].contains("1 words of witnesses"), "{complaints:?}");
    drop(intake);
    end.await.expect("no panic").expect("stopped");
    let rows: Vec<_> = told(&config.store.dir);
    let rows = rows.iter().map(|row| (row.0.as_str(), row.1.as_str(), row.2.as_str()));
    // The lines of the lists, of a new store all of them.
    let mut rows = rows.filter(|row| row.0 != "list.change");
    assert_eq!(rows.next(), Some(("config.load", "lists@1", "ok")));
    assert!(rows.next().is_some_and(|row| row.0 == "key.create" && row.1.starts_with("audit:")));
    let rest: Vec<_> = rows.collect();
    assert_eq!(
        rest,
        [
            ("share.ack", "alarm:1-1", "ok"),
            ("share.ack", "alarm:1-1", "denied"),
            ("clock.step", "ms:10000", "ok"),
            ("store.fork", "row:6", "denied"),
        ]
    );
    // What was not signed is when it stops; the city has the older position.
    let public = std::fs::read_to_string(config.store.dir.join("audit.pub")).expect("beside the database");
    let key = (0..32).map(|at| u8::from_str_radix(&public[2 * at..2 * at + 2], 16).expect("hex")).collect();
    let line = Line {
        number: 1,
        origin: signed.origin.clone(),
        size: signed.head.seq,
        head: signed.head.hash.to_vec(),
        signature: signed.signature.clone(),
    };
    let evidence = Evidence { keys: vec![key], checkpoints: true, witness: Some(vec![line]) };
    let report = verify(&config.store.dir.join("smallbrain.db"), &evidence).expect("it runs");
    assert_eq!((report.verdict(), report.checkpoints, report.rows), (Verdict::Whole, 2, 8), "{report:?}");
}

#[test]
fn a_cursor_that_moved_by_itself_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let at = Stamp { wall_ms: NOW_MS, mono_ms: 5 };
    let mut store = Store::open(config.store.clone(), [3; 32], at).expect("the store opens");
    let mut spine = Spine::open(config.plan.clone(), &mut store, at).expect("the spine opens");
    let epoch = store.epoch();
    let mut txn = store.begin().expect("a transaction");
    spine.take(&mut txn, &level(&config, 200, at), at).expect("taken");
    let ack = Ack { consumer: city(), epoch, lane: Lane::Alarm, upto: Seq(1), head_hash: None };
    spine.ack(&mut txn, &ack, at).expect("asked").expect("moved");
    txn.commit().expect("committed");
    store.close().expect("closed");
    let database = config.store.dir.join("smallbrain.db");
    let evidence = Evidence { keys: vec![], checkpoints: true, witness: None };
    let verdict = || verify(&database, &evidence).expect("it runs").verdict();
    assert_eq!(verdict(), Verdict::Unwitnessed);
    for change in ["UPDATE cursor SET seq = seq + 1", "DELETE FROM cursor"] {
        let conn = Connection::open(&database).expect("opened");
        conn.execute(change, []).expect("changed");
        drop(conn);
        assert_eq!(verdict(), Verdict::Tampered, "{change}");
    }
}

#[test]
fn a_trace_says_who_has_it_and_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    let at = |seconds: i64| Stamp { wall_ms: NOW_MS + seconds * 1000, mono_ms: seconds as u64 * 1000 };
    let mut store = Store::open(config.store.clone(), [3; 32], at(0)).expect("the store opens");
    let mut spine = Spine::open(config.plan.clone(), &mut store, at(0)).expect("the spine opens");
    let epoch = store.epoch();
    let mut txn = store.begin().expect("a transaction");
    spine.take(&mut txn, &level(&config, 200, at(1)), at(1)).expect("taken");
    let delivered = Entry::by(CITY, "consumer", Action::ShareDeliver, "alarm:1-1");
    txn.audit(&Entry { approval: Some("A-1".into()), ..delivered }, at(2)).expect("a row");
    let ack = Ack { consumer: city(), epoch, lane: Lane::Alarm, upto: Seq(1), head_hash: None };
    spine.ack(&mut txn, &ack, at(3)).expect("asked").expect("moved");
    let record = format!("{epoch}-alarm-1");
    let feedback = Feedback {
        consumer: city(),
        request: "r-1".into(),
        record: record.clone(),
        step: Step::Dispatched,
        text: "两人前往".into(),
    };
    spine.act(&mut txn, &Act::Feedback(feedback), at(4)).expect("asked").expect("taken");
    spine.finish(&mut txn).expect("finished");
    txn.commit().expect("committed");
    let id = RecordId::parse(&record).expect("an id");
    let mut text = Vec::new();
    let found = look(&config.store.dir, &id).expect("read");
    trace::write(&mut text, &id, &found, false, Lang::Zh, 8 * 3_600_000).expect("written");
    let text = String::from_utf8(text).expect("text");
    let golden = include_str!("trace.txt");
    assert_eq!(text, golden, "{text}");
    let mut json = Vec::new();
    trace::write(&mut json, &id, &found, true, Lang::Zh, 8 * 3_600_000).expect("written");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["held"]["share"], "S-alarm");
    assert_eq!(json["trail"].as_array().map(Vec::len), Some(3));
    assert!(!json.to_string().contains("两人"), "nobody's words");
    // Gone from the lane: the trail still says who has it.
    drop((spine, store));
    let conn = Connection::open(config.store.dir.join("smallbrain.db")).expect("opened");
    conn.execute("DELETE FROM outbox_alarm", []).expect("trimmed");
    let gone = look(&config.store.dir, &id).expect("read");
    assert_eq!((gone.held, gone.uses.len(), gone.feedback.len()), (None, 3, 1));
}
