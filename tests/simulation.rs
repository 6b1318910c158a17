//! The whole spine from a seed, with simulated time: devices that resend, a store that is killed at any step, a city
//! that loses its line and its memory, a disk that gets full, lists that change. After every step the conservation laws
//! hold; after quiet, nothing is owed.
//!
//! `SIM_SEED=17 cargo test --test simulation` runs one seed again, `SIM_SEEDS=5000` runs more of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rust_decimal::Decimal;
use smallbrain::aggregate::blocks::Bounds;
use smallbrain::aggregate::windows::Aggregate;
use smallbrain::ingest::spine::{Ledger, Spine};
use smallbrain::ingest::{Ack, Delivery, Plan, Point};
use smallbrain::model::{Consumer, Lane, Loss, Sample, Seq, SeriesKey, Severity, Stamp, Tally, Value};
use smallbrain::normalise::{Kind, Rule};
use smallbrain::privacy::intake::Treatment;
use smallbrain::privacy::pseudonym::{MasterKey, Pseudonymiser, Subject};
use smallbrain::privacy::release::ShareLine;
use smallbrain::rules::alarm::{Alarm, Condition};
use smallbrain::rules::dedupe::REMEMBERED;
use smallbrain::rules::rate::Rate;
use smallbrain::store::{Settings, Store, Upkeep};
use smallbrain::wire::v1::record_body::Content;
use smallbrain::wire::{Gateway, record_hash, record_id, v1};

const DEVICES: usize = 5;
const CITY: &str = "spiffe://city.example/sim";
/// Synthetic; must be in no file and in no record.
const CARD: &str = "CARD-0013-8000-CANARY";
const START_MS: i64 = 1_790_000_000_000;

/// Metrics of each device, in the order of its series.
const METRICS: [&str; 3] = ["temperature", "card_no", "humidity"];

/// splitmix64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a good name")
}

fn plan(lists_version: u8) -> Plan {
    let key = MasterKey::new(&(0..32).collect::<Vec<u8>>()).expect("a good key");
    let points = (0..DEVICES * METRICS.len()).map(|at| {
        let metric = METRICS[at % METRICS.len()];
        let number = metric != "card_no";
        Some(Point {
            device: id(&format!("dev-{}", at / METRICS.len())),
            class: "sim".into(),
            metric: id(metric),
            unit: String::new(),
            rule: Rule {
                kind: if number { Kind::Number } else { Kind::Text },
                scale: Decimal::ONE,
                offset: Decimal::ZERO,
                range: number.then(|| (Decimal::from(-1000), Decimal::from(1_000_000))),
            },
            // Humidity is not in the collection list: it must be dropped and counted.
            treatment: match metric {
                "temperature" => Some(Treatment::Keep),
                "card_no" => Some(Treatment::Pseudonym(Pseudonymiser::new(
                    &key,
                    "sim",
                    "local",
                    "2026-11",
                    Subject::Code,
                ))),
                _ => None,
            },
            alarms: if metric == "temperature" { vec![0] } else { vec![] },
            aggregates: if metric == "temperature" { vec![0] } else { vec![] },
        })
    });
    let share = |name: &str, lane, carries: &[&str]| ShareLine {
        id: id(name),
        purpose: "sim".into(),
        lane,
        consumers: vec![id(CITY)],
        metrics: vec![id("temperature")],
        devices: true,
        carries: carries.iter().map(|text| id(text)).collect(),
        approval: "sim".into(),
        until_ms: None,
    };
    Plan {
        gateway: Gateway { id: "gw-sim".into(), ..Gateway::default() },
        lists_digest: [lists_version; 32],
        points: points.collect(),
        alarms: vec![Alarm {
            id: id("hot"),
            condition: Condition::Above { limit: Decimal::from(900), clear: Decimal::from(800) },
            hold_ms: 3_000,
            severity: Severity::Major,
        }],
        aggregates: vec![Aggregate {
            id: id("A-1m"),
            size_ms: 60_000,
            lateness_ms: 5_000,
            zone_ms: 8 * 3_600_000,
            by_device: true,
        }],
        shares: vec![
            share("S-alarm", Lane::Alarm, &["hot"]),
            share("S-window", Lane::Aggregate, &["A-1m"]),
            share("S-bulk", Lane::Bulk, &[]),
        ],
        rate: Rate { per_second: 1_000_000, burst: 1_000_000 },
        block: Bounds { rows_max: 20, age_max_ms: 4_000 },
    }
}

/// A publish of a device: one temperature, one card, one humidity, all of one device time.
#[derive(Clone, Debug)]
struct Message {
    device: usize,
    device_ms: i64,
    temperature: i64,
}

impl Message {
    fn samples(&self) -> Vec<Sample> {
        let key = |metric: usize| SeriesKey((self.device * METRICS.len() + metric) as u32);
        let sample = |metric, value| Sample {
            series: key(metric),
            value,
            device_ms: Some(self.device_ms),
            retained: false,
        };
        vec![
            sample(0, Value::Number(Decimal::from(self.temperature))),
            sample(1, Value::Text(CARD.into())),
            sample(2, Value::Number(Decimal::ONE)),
        ]
    }
}

/// What the city has, by lane.
#[derive(Default)]
struct City {
    cursor: [Seq; 3],
    /// What it knew at its last crash-safe moment.
    saved: [Seq; 3],
    records: [BTreeMap<Seq, [u8; 32]>; 3],
    gaps: [BTreeSet<Seq>; 3],
    rows: u64,
    window_count: u64,
    raised: i64,
}

struct World {
    random: Random,
    now: Stamp,
    dir: PathBuf,
    generation: u32,
    store: Option<Store>,
    spine: Option<Spine>,
    lists: u8,
    /// Sent and not yet acknowledged, by device; resent after every reconnect.
    unacked: Vec<Message>,
    acked: HashMap<(usize, i64), i64>,
    clock_of: [i64; DEVICES],
    city: City,
    ledger: Ledger,
    small_disk: bool,
    step: u32,
    seen: Seen,
}

/// What happened at all, so that a run in which nothing was tried cannot pass.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    kills: u64,
    duplicates: u64,
    late: u64,
    gaps: u64,
    alarms: u64,
    windows: u64,
}

impl World {
    fn new(seed: u64, root: &Path) -> Self {
        let mut random = Random(seed);
        let small_disk = random.one_in(4);
        let now = Stamp { wall_ms: START_MS + random.below(86_400_000) as i64, mono_ms: 1 };
        let mut world = Self {
            clock_of: [now.wall_ms; DEVICES],
            random,
            now,
            dir: root.to_owned(),
            generation: 0,
            store: None,
            spine: None,
            lists: 1,
            unacked: Vec::new(),
            acked: HashMap::new(),
            city: City::default(),
            ledger: Ledger::default(),
            small_disk,
            step: 0,
            seen: Seen::default(),
        };
        world.start();
        world
    }

    fn data(&self) -> PathBuf {
        self.dir.join(self.generation.to_string())
    }

    fn start(&mut self) {
        let settings = Settings {
            dir: self.data(),
            bytes_max: if self.small_disk { 1 << 20 } else { 1 << 30 },
            // Not even the schema fits: everything that may go, goes.
            reserve_bytes: if self.small_disk { (1 << 20) - (80 << 10) } else { 64 << 10 },
            group_window: Duration::ZERO,
            retention: Duration::from_secs(600),
        };
        let entropy = std::array::from_fn(|_| self.random.next() as u8);
        let mut store = Store::open(settings, entropy, self.now).expect("the store opens");
        let spine = Spine::open(plan(self.lists), &mut store, self.now).expect("the spine opens");
        let lost = store.lost().expect("tallies");
        let stored = store.reading_head() as u64;
        self.ledger = Ledger { received: stored + lost.total(), stored, lost, late: 0 };
        (self.store, self.spine) = (Some(store), Some(spine));
    }

    /// `kill -9`: what is on disk at this instant is all that is left.
    fn kill(&mut self) {
        self.seen.kills += 1;
        let from = self.data();
        self.generation += 1;
        let to = self.data();
        std::fs::create_dir_all(&to).expect("a directory");
        for name in ["smallbrain.db", "smallbrain.db-wal", "identity.json"] {
            if from.join(name).exists() {
                std::fs::copy(from.join(name), to.join(name)).expect("a copy");
            }
        }
        (self.store, self.spine) = (None, None);
        std::fs::remove_dir_all(from).expect("removed");
        self.start();
    }

    fn parts(&mut self) -> (&mut Store, &mut Spine) {
        (self.store.as_mut().expect("running"), self.spine.as_mut().expect("running"))
    }

    fn publish(&mut self) {
        for _ in 0..=self.random.below(12) {
            let device = self.random.below(DEVICES as u64) as usize;
            if self.unacked.iter().filter(|message| message.device == device).count() >= REMEMBERED {
                continue;
            }
            self.clock_of[device] =
                (self.clock_of[device] + 1).max(self.now.wall_ms - self.random.below(20_000) as i64);
            let message = Message {
                device,
                device_ms: self.clock_of[device],
                temperature: self.random.below(1_000) as i64
                    + if self.random.one_in(50) { 5_000_000 } else { 0 },
            };
            self.unacked.push(message);
        }
    }

    /// One batch of the writer; the kill may come before the commit, after it, or after the acknowledgements.
    fn commit(&mut self) {
        let count = self.random.below(self.unacked.len() as u64 + 1) as usize;
        let batch: Vec<Message> = self.unacked[..count].to_vec();
        let crash = self.random.below(40);
        let now = self.now;
        let (store, spine) = self.parts();
        let mut txn = store.begin().expect("a transaction");
        spine.tick(&mut txn, now).expect("ticked");
        for message in &batch {
            let delivery = Delivery { received: now, samples: message.samples(), lost: Tally::default() };
            spine.take(&mut txn, &delivery, now).expect("taken");
        }
        let ledger = spine.finish(&mut txn).expect("finished");
        if crash == 0 {
            drop(txn);
            return self.kill();
        }
        if crash == 3 {
            // As if there had been no room: the spine's memory is ahead of the disk now.
            drop(txn);
            return self.make_room();
        }
        match txn.commit() {
            Ok(()) => {}
            Err(error) if error.is_passing() => return self.make_room(),
            Err(error) => panic!("step {}: {error}", self.step),
        }
        assert!(ledger.holds(), "step {}: {ledger:?}", self.step);
        self.ledger.merge(&ledger);
        if crash == 1 {
            return self.kill();
        }
        for message in self.unacked.drain(..count) {
            self.acked.insert((message.device, message.device_ms), message.temperature);
        }
        if crash == 2 {
            self.kill();
        }
    }

    fn upkeep(&mut self) -> Upkeep {
        let now = self.now;
        let (store, spine) = self.parts();
        Upkeep { acked: spine.acked_by_all(store).expect("cursors"), expire_before_ms: now.wall_ms - 600_000 }
    }

    fn make_room(&mut self) {
        let (now, lists) = (self.now, self.lists);
        let (store, spine) = self.parts();
        store.make_room().expect("room can be made");
        *spine = Spine::open(plan(lists), store, now).expect("the spine opens again");
    }

    fn tidy(&mut self) {
        if self.random.one_in(3) {
            let (store, spine) = self.parts();
            let mut txn = store.begin().expect("a transaction");
            spine.snapshot(&mut txn).expect("resume points");
            txn.commit().expect("committed");
        }
        let upkeep = self.upkeep();
        let (store, _) = self.parts();
        store.tidy(&upkeep).expect("tidied");
        store.checkpoint_if_due().expect("checkpointed");
    }

    fn reload(&mut self) {
        let now = self.now;
        self.lists += 1;
        let lists = self.lists;
        let (store, spine) = self.parts();
        let mut txn = store.begin().expect("a transaction");
        spine.snapshot(&mut txn).expect("resume points");
        txn.commit().expect("committed");
        *spine = Spine::open(plan(lists), store, now).expect("the spine opens on the new plan");
    }

    /// The city takes a page of one lane, perhaps acknowledges it, perhaps forgets that it had it.
    fn pull(&mut self, lane: Lane) {
        let at = lane.index();
        if self.random.one_in(10) {
            self.city.cursor[at] = self.city.saved[at];
        }
        let after = self.city.cursor[at];
        let records_max = 1 + self.random.below(30) as usize;
        let (store, _) = self.parts();
        let epoch = store.epoch();
        let page = store.page(lane, after, records_max, 1 << 20).expect("a page");
        for gap in &page.gaps {
            // What everybody had is told as trimmed only to a city that went back behind its own acknowledgement.
            assert!(gap.reason == "budget", "step {}: gap {gap:?}", self.step);
            self.city.gaps[at].extend((gap.from.0..=gap.to.0).map(Seq));
        }
        for record in &page.records {
            let expected = record_hash(&record.prev_hash, &record_id(epoch, lane, record.seq), &record.body);
            assert_eq!(record.hash, expected, "step {}: {lane} {}", self.step, record.seq);
            match self.city.records[at].insert(record.seq, record.hash) {
                Some(before) => {
                    assert_eq!(before, record.hash, "step {}: {lane} {} has two bytes", self.step, record.seq)
                }
                None => self.city.count(&record.body),
            }
        }
        self.city.cursor[at] = page.through;
        if self.random.one_in(2) {
            let head_hash = page.records.last().filter(|last| last.seq == page.through).map(|last| last.hash);
            let ack = Ack { consumer: id::<Consumer>(CITY), epoch, lane, upto: page.through, head_hash };
            let (store, _) = self.parts();
            let mut txn = store.begin().expect("a transaction");
            let acked = txn.ack(&ack).expect("stored").expect("accepted");
            assert!(acked.upto >= page.through);
            txn.commit().expect("committed");
            self.city.saved[at] = page.through;
        }
    }

    fn check(&mut self) {
        assert!(self.ledger.holds(), "step {}: {:?}", self.step, self.ledger);
        let (store, _) = self.parts();
        let heads = store.heads();
        let stored = store.reading_head() as u64;
        let lost = store.lost().expect("tallies");
        assert_eq!((self.ledger.stored, self.ledger.lost), (stored, lost), "step {}", self.step);
        for lane in Lane::ALL {
            let at = lane.index();
            let (cursor, head) = (self.city.cursor[at], heads[at]);
            assert!(cursor <= head, "step {}: {lane}", self.step);
            for seq in 1..=cursor.0 {
                let has = self.city.records[at].contains_key(&Seq(seq));
                let gap = self.city.gaps[at].contains(&Seq(seq));
                assert!(has || gap, "step {}: {lane} {seq} is neither delivered nor a gap", self.step);
            }
        }
    }

    fn act(&mut self) {
        self.step += 1;
        let forward = self.random.below(4_000);
        self.now.wall_ms += forward as i64;
        self.now.mono_ms += forward;
        match self.random.below(20) {
            0..=5 => self.publish(),
            6..=12 => self.commit(),
            13..=16 => {
                let lane = Lane::ALL[self.random.below(3) as usize];
                self.pull(lane);
            }
            17 => self.tidy(),
            18 if self.random.one_in(4) => self.reload(),
            18 if self.random.one_in(3) => self.kill(),
            _ => {}
        }
        self.check();
    }

    /// The faults stop: everything is stored, closed, pulled.
    fn quiet(&mut self) {
        self.small_disk = false;
        self.kill();
        self.store_all();
        // Windows close and blocks fall due.
        self.now.wall_ms += 600_000;
        self.now.mono_ms += 600_000;
        self.store_all();
        for lane in Lane::ALL {
            let head = self.store.as_ref().expect("running").heads()[lane.index()];
            for _ in 0..10_000 {
                if self.city.cursor[lane.index()] == head {
                    break;
                }
                self.pull(lane);
            }
            assert_eq!(self.city.cursor[lane.index()], head, "{lane} is owed something after quiet");
        }
        self.check();
    }

    fn store_all(&mut self) {
        let (batch, now) = (std::mem::take(&mut self.unacked), self.now);
        let (store, spine) = self.parts();
        let mut txn = store.begin().expect("a transaction");
        spine.tick(&mut txn, now).expect("ticked");
        for message in &batch {
            let delivery = Delivery { received: now, samples: message.samples(), lost: Tally::default() };
            spine.take(&mut txn, &delivery, now).expect("taken");
        }
        let ledger = spine.finish(&mut txn).expect("finished");
        txn.commit().expect("committed");
        self.ledger.merge(&ledger);
        let temperature = |message: &Message| ((message.device, message.device_ms), message.temperature);
        self.acked.extend(batch.iter().map(temperature));
    }

    /// What was acknowledged against what is there and what the city has.
    fn judge(&self) -> Seen {
        let good = self.acked.values().filter(|temperature| **temperature < 1_000_000).count() as u64;
        // One temperature and one card for each acknowledged message, none twice.
        let cards = self.acked.len() as u64;
        assert_eq!(self.ledger.stored, good + cards, "stored readings against acknowledged ones");
        assert!(self.ledger.lost.get(Loss::Unlisted) >= cards, "humidity is not listed");
        let shed = self.city.gaps.iter().any(|gaps| !gaps.is_empty());
        if !shed {
            assert_eq!(self.city.rows, good, "readings at the city against acknowledged ones");
            let late = self.store.as_ref().expect("running").tally("late").expect("a tally");
            assert_eq!(
                self.city.window_count + late,
                good,
                "closed windows and late readings against acknowledged ones"
            );
        }
        assert!(
            (0..=DEVICES as i64).contains(&self.city.raised),
            "alarms raised and not cleared: {}",
            self.city.raised
        );
        for name in ["smallbrain.db", "smallbrain.db-wal"] {
            let bytes = std::fs::read(self.data().join(name)).unwrap_or_default();
            assert!(
                !bytes.windows(CARD.len()).any(|window| window == CARD.as_bytes()),
                "{name} holds a raw value"
            );
        }
        Seen {
            duplicates: self.ledger.lost.get(Loss::Duplicate),
            late: self.store.as_ref().expect("running").tally("late").expect("a tally"),
            gaps: self.city.gaps.iter().map(|gaps| gaps.len() as u64).sum(),
            alarms: self.city.records[Lane::Alarm.index()].len() as u64,
            windows: self.city.window_count,
            ..self.seen
        }
    }
}

impl City {
    fn count(&mut self, body: &[u8]) {
        assert!(
            !body.windows(CARD.len()).any(|window| window == CARD.as_bytes()),
            "a record holds a raw value"
        );
        let body = <v1::RecordBody as prost::Message>::decode(body).expect("a body");
        match body.content.expect("a content") {
            Content::Readings(readings) => self.rows += readings.mantissa.len() as u64,
            Content::Aggregate(aggregate) => {
                for measure in aggregate.measures.iter().filter(|measure| measure.name == "temperature.count")
                {
                    if let Some(v1::measure::Value::Count(count)) = measure.value {
                        self.window_count += count as u64;
                    }
                }
            }
            Content::Event(event) => {
                self.raised += if event.state() == v1::EventState::Raised { 1 } else { -1 }
            }
        }
    }
}

fn run(seed: u64) -> Seen {
    let root = tempfile::Builder::new().prefix("sim").tempdir_in(memory_dir()).expect("a directory");
    let mut world = World::new(seed, root.path());
    for _ in 0..150 {
        world.act();
    }
    world.quiet();
    world.judge()
}

/// A directory in memory where there is one: a simulated power cut needs no real disk.
fn memory_dir() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

#[test]
fn both_laws_hold_after_every_step_of_every_seed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(200),
    };
    let all = seeds.end - seeds.start > 1;
    let mut seen = Seen::default();
    for seed in seeds {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(one) => {
                seen.kills += one.kills;
                seen.duplicates += one.duplicates;
                seen.late += one.late;
                seen.gaps += one.gaps;
                seen.alarms += one.alarms;
                seen.windows += one.windows;
            }
            Err(panic) => {
                eprintln!("repeat with SIM_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    let Seen { kills, duplicates, late, gaps, alarms, windows } = seen;
    let tried = [kills, duplicates, late, gaps, alarms, windows].into_iter().all(|count| count > 0);
    assert!(tried || !all, "not everything was tried: {seen:?}");
}
