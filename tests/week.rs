//! A week of a town in simulated time: 200 devices in 20 places, 30 alarms of every kind, people, shells and a city, all from
//! one seed. Once straight through, and once with 50 restarts and 10 commits that fail.
//!
//! What has to be the same in both: the history of every alarm of every device (step, life, active, at, by, reason), and who
//! was to be told what, and when. What may differ: the numbers of incidents, and what hangs on an answer that was lost with
//! the process, which is how runs and notices end; of these only the laws are held, in both. All who play are functions of
//! the seed and of what they are asked about. Restarts are between steps, when nothing is due: how long the gateway was off
//! is not asked here.
//!
//! `SIM_SEED=17 cargo test --test week` runs another week.

#[path = "week/chance.rs"]
mod chance;
#[path = "week/devices.rs"]
mod devices;
#[path = "week/laws.rs"]
mod laws;
#[path = "week/players.rs"]
mod players;
#[path = "week/town.rs"]
mod town;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use smallbrain::config::Config;
use smallbrain::ingest::Ack;
use smallbrain::ingest::act::{Act, Errand};
use smallbrain::ingest::spine::Spine;
use smallbrain::model::{Consumer, IncidentId, Lane, LineId, Sample, Seq, Stamp, Value};
use smallbrain::rules::incident::Incident;
use smallbrain::store::reader::Reader;
use smallbrain::store::{Settings, Store, Txn};
use smallbrain::wire::record_id;

use chance::Chance;
use devices::Fleet;

const STEP_MS: i64 = 300_000;
/// From the time that passes to what comes in.
const LATER_MS: i64 = 60_000;
/// A week, and a quiet day.
const STEPS: u64 = 7 * 288;
const QUIET_STEPS: u64 = 288;
const CITY: &str = "spiffe://city.example/street";
const WEBHOOKS: [&str; 2] = ["property", "police"];

/// When the process dies, and when a commit fails.
struct Troubles {
    /// After the first or the second commit of a step.
    restarts: HashSet<(u64, bool)>,
    failures: HashSet<u64>,
}

impl Troubles {
    fn none() -> Self {
        Self { restarts: HashSet::new(), failures: HashSet::new() }
    }

    fn some(chance: Chance) -> Self {
        let mut troubles = Self::none();
        for at in 0_u64.. {
            let step = chance.below(STEPS, ("restart", at));
            match troubles.restarts.len() {
                50 => break,
                _ => troubles.restarts.insert((step, chance.one_in(2, ("half", at)))),
            };
        }
        for at in 0_u64.. {
            match troubles.failures.len() {
                10 => break,
                _ => troubles.failures.insert(chance.below(STEPS, ("failure", at))),
            };
        }
        troubles
    }
}

/// What ends with the process.
struct Process {
    store: Store,
    spine: Spine,
    reader: Reader,
    booted_ms: i64,
    errands: Vec<Errand>,
}

struct World {
    chance: Chance,
    dir: PathBuf,
    config: Config,
    fleet: Fleet,
    runtime: tokio::runtime::Runtime,
    process: Option<Process>,
    wall_ms: i64,
    boots: u64,
    /// What the city has pulled; how many records of each incident.
    city: Seq,
    records: HashMap<IncidentId, u64>,
    /// Every incident that was ever open, as it was last seen.
    incidents: HashMap<u64, Incident>,
    /// What the siren says, when a command came to it.
    siren: Option<bool>,
}

impl World {
    fn new(chance: Chance, dir: &Path) -> Self {
        let config = town::config(dir);
        let mut world = Self {
            chance,
            dir: dir.to_owned(),
            fleet: Fleet::new(chance, &config),
            config,
            runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
            process: None,
            wall_ms: town::START_MS,
            boots: 0,
            city: Seq::default(),
            records: HashMap::new(),
            incidents: HashMap::new(),
            siren: None,
        };
        world.boot();
        world
    }

    fn boot(&mut self) {
        self.process = None;
        self.boots += 1;
        let booted_ms = self.wall_ms - 1_000 * self.boots as i64;
        let now = stamp(booted_ms, self.wall_ms);
        let settings = Settings { dir: self.dir.join("store"), ..self.config.store.clone() };
        let mut store = Store::open(settings.clone(), [7; 32], now).expect("the store opens");
        let spine = Spine::open(self.config.plan.clone(), &mut store, now).expect("the spine opens");
        let (_, heads) = tokio::sync::watch::channel(store.heads());
        let reader = Reader::open(&settings.dir, store.epoch(), heads).expect("the reader opens");
        self.process = Some(Process { store, spine, reader, booted_ms, errands: Vec::new() });
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("running")
    }

    fn run(&mut self, troubles: &Troubles) {
        for step in 0..STEPS + QUIET_STEPS {
            self.wall_ms = town::START_MS + step as i64 * STEP_MS;
            self.pass();
            if troubles.restarts.contains(&(step, false)) {
                self.boot();
            }
            self.wall_ms += LATER_MS;
            if troubles.failures.contains(&step) {
                self.come_in(step, false);
            }
            self.come_in(step, true);
            if troubles.restarts.contains(&(step, true)) {
                self.boot();
            }
        }
    }

    /// Time alone.
    fn pass(&mut self) {
        let wall_ms = self.wall_ms;
        let process = self.process();
        let now = stamp(process.booted_ms, wall_ms);
        let mut txn = process.store.begin().expect("a transaction");
        process.spine.tick(&mut txn, now).expect("ticked");
        process.spine.finish(&mut txn).expect("finished");
        txn.commit().expect("committed");
        self.after_commit();
    }

    /// Everything that comes in. When the commit fails the spine is thrown away, and all of it comes again.
    fn come_in(&mut self, step: u64, commits: bool) {
        let now = stamp(self.process().booted_ms, self.wall_ms);
        let calm = step >= STEPS;
        let mut deliveries = self.fleet.deliveries(step, calm, now);
        if let Some(on) = self.siren {
            let series = self.config.names.get("siren-1", "on").expect("a point");
            let value = Value::Flag(on);
            let (device_ms, clock_ms, retained, history) = (None, None, false, false);
            let sample = Sample { message: None, series, value, device_ms, clock_ms, retained, history };
            let mut delivery = smallbrain::ingest::Delivery::empty(now);
            delivery.samples.push(sample);
            deliveries.push(delivery);
        }
        let acts = self.acts(step, now);
        let (city, records) = (self.city, self.records.clone());
        let plan = self.config.plan.clone();
        let chance = self.chance;
        let incidents = std::mem::take(&mut self.incidents);
        let process = self.process.as_mut().expect("running");
        let page = step
            .is_multiple_of(3)
            .then(|| process.store.page(Lane::Alarm, city, 1_000, 1 << 22).expect("a page"));
        let epoch = process.store.epoch();
        let mut txn = process.store.begin().expect("a transaction");
        process.spine.tick(&mut txn, now).expect("ticked");
        for delivery in &deliveries {
            process.spine.take(&mut txn, delivery, now).expect("taken");
        }
        for act in &acts {
            // Many are refused: that is part of it.
            let _ = process.spine.act(&mut txn, act, now).expect("the store takes it");
        }
        let mut city = City { chance, consumer: consumer(), upto: city, records };
        for record in page.iter().flat_map(|page| &page.records) {
            city.says(
                &mut process.spine,
                &mut txn,
                &record_id(epoch, Lane::Alarm, record.seq),
                record.seq,
                now,
            );
        }
        if page.is_some() && (calm || chance.one_in(3, ("ack", step))) {
            let upto = city.upto;
            let ack = Ack { consumer: consumer(), epoch, lane: Lane::Alarm, upto, head_hash: None };
            txn.ack(&ack).expect("stored").expect("accepted");
            process.spine.acknowledged(&mut txn, &consumer(), upto, now).expect("acknowledged");
        }
        process.spine.finish(&mut txn).expect("finished");
        self.incidents = incidents;
        if !commits {
            drop(txn);
            process.spine = Spine::open(plan, &mut process.store, now).expect("the spine opens again");
            return;
        }
        txn.commit().expect("committed");
        process.errands.clear();
        (self.city, self.records) = (city.upto, city.records);
        self.siren_hears(&acts, step);
        self.after_commit();
    }

    /// What everybody wants, of what was committed.
    fn acts(&mut self, step: u64, now: Stamp) -> Vec<Act> {
        let process = self.process.as_mut().expect("running");
        let mut open = process.store.incidents_open().expect("open incidents");
        open.sort_by(|a, b| players::key(a).cmp(&players::key(b)));
        let runs = process.store.runs_open().expect("open runs");
        let going_on = process.store.maintenances().expect("maintenances");
        self.incidents.extend(open.iter().map(|incident| (incident.id.0, incident.clone())));
        let chance = self.chance;
        let mut acts = players::sent(chance, step, process.errands.clone());
        for recipient in WEBHOOKS {
            let recipient: LineId = recipient.parse().expect("an id");
            let due = self.runtime.block_on(process.reader.due_notices(&recipient, now.wall_ms, 200));
            acts.extend(players::told(chance, step, now, &due.expect("due notices")));
        }
        acts.extend(players::approvals(chance, step, &runs, &self.incidents));
        if step < STEPS {
            acts.extend(players::works(chance, step, now, &going_on));
            acts.extend(players::orders(chance, step, &open));
        }
        acts
    }

    /// A device that got a command may do it.
    fn siren_hears(&mut self, acts: &[Act], step: u64) {
        let is_ok = |act: &&Act| matches!(act, Act::Ran { end: Ok(()), .. });
        if acts.iter().any(|act| is_ok(&act)) {
            self.siren = Some(!self.chance.one_in(4, ("siren", step)));
        }
    }

    fn after_commit(&mut self) {
        let process = self.process();
        process.store.checkpoint_if_due().expect("checkpointed");
        process.errands.extend(process.spine.take_after().errands);
        process.spine.take_presence();
    }
}

/// What the city does while it reads.
struct City {
    chance: Chance,
    consumer: Consumer,
    upto: Seq,
    records: HashMap<IncidentId, u64>,
}

impl City {
    fn says(&mut self, spine: &mut Spine, txn: &mut Txn<'_>, record: &str, seq: Seq, now: Stamp) {
        self.upto = seq;
        let id = txn.incident_of_record(seq).expect("readable").expect("every record is of an incident");
        let nth = self.records.entry(id).or_default();
        *nth += 1;
        let incident = txn.incident(id).expect("readable").expect("it is there");
        let nth = nth.to_string();
        for act in players::feedback(self.chance, &self.consumer, record, players::key(&incident), &nth) {
            let _ = spine.act(txn, &act, now).expect("the store takes it");
        }
    }
}

fn consumer() -> Consumer {
    CITY.parse().expect("a consumer")
}

fn stamp(booted_ms: i64, wall_ms: i64) -> Stamp {
    Stamp { wall_ms, mono_ms: (wall_ms - booted_ms).unsigned_abs() }
}

/// A directory in memory, where there is one: thousands of commits wait for no disk.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let within = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(within).expect("a directory")
}

fn week(seed: u64, troubles: impl FnOnce(Chance) -> Troubles) -> laws::Told {
    let (dir, chance) = (directory(), Chance(seed));
    let mut world = World::new(chance, dir.path());
    world.run(&troubles(chance));
    let process = world.process.as_ref().expect("running");
    let told = world.runtime.block_on(laws::read(&process.reader, &process.store, world.records.clone()));
    laws::hold(&told);
    told
}

#[test]
fn a_week_with_restarts_is_a_week_without() {
    let seed = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (straight, broken) = std::thread::scope(|scope| {
        let straight = scope.spawn(|| week(seed, |_| Troubles::none()));
        let broken = scope.spawn(|| week(seed, Troubles::some));
        (straight.join().expect("a week"), broken.join().expect("a week with restarts"))
    });
    laws::same(&straight, &broken);
    laws::everything_happened(&straight);
}
