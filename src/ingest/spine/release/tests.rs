//! Two days of people at three gates, on a real store: every line gets the same, a restart changes nothing, a budget ends.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use prost::Message;

use super::*;
use crate::config::Config;
use crate::ingest::Delivery;
use crate::model::{Sample, Seq, Tally, Value};
use crate::privacy::protect::laplace::tests::seeded;
use crate::rules::rate::Rate;
use crate::store::Settings;
use crate::wire::v1;

const HOUR_MS: i64 = 3_600_000;
/// 2026-11-21 00:00 in +08:00.
const START_MS: i64 = 1_795_190_400_000;
const FROM_MS: i64 = START_MS - 10_000;

const SITE: &str = "
[gateway]
id = 'gw'
division_code = '310115013007'
compound_code = 'C1'
[store]
dir = 'data'
[pseudonym]
key = 'key'
[[template]]
name = 'gate'
point = [
    { metric = 'card', kind = 'text', class = 'personal', json = '/card' },
    { metric = 'plate', kind = 'text', class = 'personal', json = '/plate' },
]
[[device]]
id = 'gate-1'
template = 'gate'
place = 'B1/lobby'
[[device]]
id = 'gate-2'
template = 'gate'
place = 'B2'
[[device]]
id = 'gate-3'
template = 'gate'
[[collect]]
id = 'C-1'
templates = ['gate']
purpose = 'x'
fields = { card = { do = 'pseudonym', subject = 'code' }, plate = { do = 'pseudonym', subject = 'code' } }
[[aggregate]]
id = 'A-1d'
metrics = ['card']
size = '1d'
by = 'building'
statistics = ['count', 'distinct']
[[aggregate]]
id = 'A-1h'
metrics = ['card']
size = '1h'
by = 'building'
statistics = ['count', 'distinct']
[[aggregate]]
id = 'A-noise'
metrics = ['plate']
size = '1h'
by = 'building'
statistics = ['count', 'distinct']
[[share]]
id = 'S-1'
purpose = 'x'
lane = 'aggregate'
consumers = ['spiffe://x/a']
metrics = ['card']
carries = ['A-1h', 'A-1d']
approval = '1'
protect = { mode = 'sdc', subjects = 'card' }
[[share]]
id = 'S-2'
purpose = 'y'
lane = 'aggregate'
consumers = ['spiffe://x/b']
metrics = ['card']
carries = ['A-1h', 'A-1d']
approval = '2'
protect = { mode = 'sdc', k = 5, subjects = 'card' }
[[share]]
id = 'S-3'
purpose = 'x'
lane = 'aggregate'
consumers = ['spiffe://x/a', 'spiffe://x/b']
metrics = ['plate']
carries = ['A-noise']
approval = '3'
protect = { mode = 'dp', subjects = 'plate', epsilon = '1/2', contribution = 2, budget = 'B' }
[[budget]]
id = 'B'
epsilon = '2'
";

struct Site {
    dir: tempfile::TempDir,
    config: Config,
}

impl Site {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
            path
        };
        write("key", "5f1c7a90e3b2d4865f1c7a90e3b2d4865f1c7a90e3b2d4865f1c7a90e3b2d486");
        let config = Config::load(&write("gw.toml", text), START_MS, None);
        let mut config = config.unwrap_or_else(|faults| panic!("{faults}"));
        config.plan.rate = Rate { per_second: 100_000, burst: 100_000 };
        config.turn_keys().expect("keys of the epoch");
        Self { dir, config }
    }

    fn store(&self) -> Store {
        let dir = self.dir.path().join("data");
        std::fs::create_dir_all(&dir).expect("a directory");
        let settings = Settings { dir, reserve_bytes: 0, ..self.config.store.clone() };
        Store::open(settings, [7; 32], stamp(FROM_MS)).expect("the store opens")
    }

    /// Hour by hour through these hours; opened anew before those that `restarts` names. What is sealed.
    fn run(&self, store: &mut Store, hours: std::ops::Range<i64>, restarts: &[i64]) {
        let mut spine = Spine::open(self.config.plan.clone(), store, stamp(FROM_MS)).expect("opened");
        for hour in hours {
            let start_ms = START_MS + hour * HOUR_MS;
            if restarts.contains(&hour) {
                // What was decided in a transaction that is not committed was never seen.
                let mut txn = store.begin().expect("a transaction");
                spine.tick(&mut txn, stamp(start_ms + 120_000)).expect("ticked");
                drop(txn);
                spine = Spine::open(self.config.plan.clone(), store, stamp(start_ms)).expect("opened");
            }
            spine.draw_from(Box::new(seeded(hour.unsigned_abs())));
            let mut txn = store.begin().expect("a transaction");
            for (minute, gate, person) in passes(hour) {
                let delivery = self.delivery(&gate, &person, start_ms + minute * 60_000);
                spine.take(&mut txn, &delivery, delivery.received).expect("taken");
            }
            spine.tick(&mut txn, stamp(start_ms + HOUR_MS + 60_000)).expect("ticked");
            spine.finish(&mut txn).expect("finished");
            txn.commit().expect("committed");
        }
    }

    fn delivery(&self, gate: &str, person: &str, at_ms: i64) -> Delivery {
        let sample = |metric: &str| Sample {
            message: None,
            series: self.config.names.get(gate, metric).expect("a point"),
            value: Value::Text(person.into()),
            device_ms: Some(at_ms),
            clock_ms: None,
            retained: false,
            history: false,
        };
        Delivery {
            samples: vec![sample("card"), sample("plate")],
            lost: Tally::default(),
            ..Delivery::empty(stamp(at_ms))
        }
    }
}

fn stamp(wall_ms: i64) -> Stamp {
    Stamp { wall_ms, mono_ms: (wall_ms - FROM_MS + 1000).unsigned_abs() }
}

/// (minute, gate, who) of an hour: nearly nobody at night, few at the third gate.
fn passes(hour: i64) -> Vec<(i64, String, String)> {
    let mut source = seeded(1000 + hour.unsigned_abs());
    let mut chance = move |most: u64| {
        let mut bytes = [0; 8];
        source(&mut bytes);
        u64::from_le_bytes(bytes) % most
    };
    let people = if hour % 24 < 6 { 1 + chance(3) } else { 14 + chance(20) };
    let mut passes: Vec<_> = (0..people)
        .map(|_| {
            let gate = ["gate-1", "gate-1", "gate-2", "gate-2", "gate-3"][chance(5) as usize];
            (chance(59) as i64, gate.to_owned(), format!("person-{}", chance(60)))
        })
        .collect();
    passes.sort();
    passes.dedup_by_key(|pass| (pass.0, pass.1.clone()));
    passes
}

fn sealed(store: &Store) -> Vec<(String, Vec<u8>)> {
    let page = store.page(Lane::Aggregate, Seq(0), 100_000, 1 << 30).expect("a page");
    page.records.into_iter().map(|record| (record.share_item.to_string(), record.body.to_vec())).collect()
}

/// What a line was told: (start, measure, building) to a number, or why not.
fn told(store: &Store, line: &str) -> BTreeMap<(i64, String, String, i64), String> {
    let mut told = BTreeMap::new();
    for (_, body) in sealed(store).into_iter().filter(|(share, _)| share == line) {
        let body = v1::RecordBody::decode(&body[..]).expect("a body");
        let start = body.window_start.expect("a window").seconds;
        let size = body.window_end.expect("a window").seconds - start;
        let Some(v1::record_body::Content::Aggregate(aggregate)) = body.content else { panic!("no window") };
        let hidden: BTreeSet<_> = aggregate
            .measures
            .iter()
            .filter(|measure| matches!(measure.value, Some(v1::measure::Value::Suppressed(_))))
            .map(|measure| measure.dimensions.get("building"))
            .collect();
        assert_eq!(aggregate.suppressed_cells as usize, hidden.len());
        for measure in aggregate.measures {
            let value = match measure.value {
                Some(v1::measure::Value::Count(count)) => count.to_string(),
                Some(v1::measure::Value::Suppressed(why)) => why.reason,
                other => panic!("{other:?}"),
            };
            let building = measure.dimensions.get("building").cloned().unwrap_or_default();
            told.insert((start, measure.name, building, size), value);
        }
    }
    told
}

#[test]
fn every_line_is_told_the_same_and_a_restart_changes_nothing() {
    let site = Site::new(SITE);
    let mut store = site.store();
    site.run(&mut store, 0..49, &[]);
    let (one, other) = (told(&store, "S-1"), told(&store, "S-2"));
    assert_eq!(one, other);
    // 48 hours and 2 days, four cells, two statistics each: always all of them.
    assert_eq!(one.len(), (49 + 2) * 4 * 2);
    let held_back = one.values().filter(|value| *value == "protected").count();
    assert!((100..300).contains(&held_back), "{held_back} are held back");
    assert!(one.values().all(|value| value == "protected" || value.parse::<u64>().is_ok_and(|n| n >= 5)));
    let days = one.iter().filter(|((_, _, _, size), value)| *size == 86_400 && *value != "protected");
    assert!(days.count() > 0, "something of the days is told");

    let again = Site::new(SITE);
    let mut restarted = again.store();
    again.run(&mut restarted, 0..49, &[1, 7, 24, 30]);
    assert_eq!(sealed(&restarted).len(), sealed(&store).len());
    assert!(sealed(&restarted) == sealed(&store), "the same bytes");
}

#[test]
fn a_budget_ends_and_the_same_noise_is_told_however_often() {
    let site = Site::new(SITE);
    let mut store = site.store();
    site.run(&mut store, 0..26, &[]);
    let noisy = told(&store, "S-3");
    assert_eq!(noisy.len(), 26 * 4 * 2, "every cell of every hour, of empty ones too");
    let hours: Vec<bool> = (0..26)
        .map(|hour| {
            let start = (START_MS + hour * HOUR_MS) / 1000;
            let value = &noisy[&(start, "plate.count".into(), "B1".into(), 3600)];
            assert!(value == "budget" || value.parse::<u64>().is_ok(), "{value}");
            value != "budget"
        })
        .collect();
    let paid: Vec<usize> = (0..26).filter(|hour| hours[*hour]).collect();
    assert_eq!(paid, [0, 1, 2, 3, 24, 25], "four windows of a day are paid for");

    // The average of a thousand pulls is the one number that was drawn.
    let aggregate: LineId = "A-noise".parse().expect("id");
    let txn = store.begin().expect("a transaction");
    let first = txn.released(&aggregate, START_MS).expect("read").expect("decided");
    assert!(first.cells().iter().all(|cell| cell.subjects.is_none() && !cell.noise.is_empty()));
    for _ in 0..1000 {
        assert_eq!(txn.released(&aggregate, START_MS).expect("read").as_ref(), Some(&first));
    }
    drop(txn);
    // Closed once more, with other randomness: what was decided stands.
    let mut spine = Spine::open(site.config.plan.clone(), &mut store, stamp(FROM_MS)).expect("opened");
    spine.draw_from(Box::new(seeded(99)));
    let mut txn = store.begin().expect("a transaction");
    let again = spine.released(&mut txn, &ClosedWindow { cells: vec![], ..first.window() }).expect("decided");
    assert_eq!(again, Some(first));
}

#[test]
fn windows_that_were_open_when_the_protection_changed_are_held_back() {
    let site = Site::new(SITE);
    let mut store = site.store();
    site.run(&mut store, 0..8, &[]);
    let mut stricter =
        Site::new(&SITE.replace("k = 5, ", "").replace("subjects = 'card' }", "subjects = 'card', k = 6 }"));
    stricter.dir = site.dir;
    let mut spine =
        Spine::open(stricter.config.plan.clone(), &mut store, stamp(START_MS + 8 * HOUR_MS + 60_000))
            .expect("opened");
    let mut txn = store.begin().expect("a transaction");
    for hour in 8..11 {
        for (minute, gate, person) in passes(hour) {
            let at_ms = START_MS + hour * HOUR_MS + minute * 60_000;
            let delivery = stricter.delivery(&gate, &person, at_ms);
            spine.take(&mut txn, &delivery, delivery.received).expect("taken");
        }
    }
    spine.tick(&mut txn, stamp(START_MS + 25 * HOUR_MS)).expect("ticked");
    txn.commit().expect("committed");
    let told = told(&store, "S-1");
    let at = |hour: i64, size: i64| {
        told[&((START_MS + hour * HOUR_MS) / 1000, "card.count".into(), String::new(), size)].as_str()
    };
    assert_eq!((at(8, 3600), at(0, 86_400)), ("policy", "policy"));
    assert!(at(7, 3600).parse::<u64>().is_ok() && at(9, 3600).parse::<u64>().is_ok(), "before and after");
    let history = store.release_history(&"A-1h".parse().expect("id"), 3).expect("read");
    let beside = crate::store::released::history_in(&store.settings().dir, &"A-1h".parse().expect("id"), 3);
    assert_eq!(beside.expect("read"), history, "also of who only reads");
    assert_eq!(history.len(), 3);
    assert_eq!((history[0].subjects.len(), history[0].total, history[0].held_back), (3, 0, 4));
}

/// Measures by (start, end), each as its bytes.
type Measures = BTreeMap<(i64, i64), BTreeSet<Vec<u8>>>;

/// A query was answered from what is stored; a record was sealed from what is decided. The two are the same.
#[test]
fn a_query_finds_what_the_records_of_the_line_said_and_nothing_else() {
    use crate::store::reader::Reader;
    use crate::store::released::{Places, Sought};

    let site = Site::new(SITE);
    let mut store = site.store();
    site.run(&mut store, 0..26, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let heads = tokio::sync::watch::channel(Default::default()).1;
    let reader = Reader::open(&store.settings().dir, crate::model::Epoch([0; 16]), heads).expect("opened");
    let span = |start: &prost_types::Timestamp, end: &prost_types::Timestamp| {
        (start.seconds * 1000, end.seconds * 1000)
    };
    for line in site.config.plan.shares.iter() {
        let mut records = Measures::new();
        for (_, body) in sealed(&store).into_iter().filter(|(share, _)| share == line.id.as_str()) {
            let body = v1::RecordBody::decode(&body[..]).expect("a body");
            let key = span(&body.window_start.expect("a start"), &body.window_end.expect("an end"));
            let Some(v1::record_body::Content::Aggregate(told)) = body.content else { panic!("no window") };
            records.entry(key).or_default().extend(told.measures.iter().map(Message::encode_to_vec));
        }
        let mut answers = Measures::new();
        let ask = |places: Places, aggregate: &LineId, to_ms: i64| {
            let metrics = line.metrics.clone();
            let sought = Sought { aggregate: aggregate.clone(), from_ms: START_MS, to_ms, metrics, places };
            let found = runtime.block_on(reader.released(sought)).expect("read").expect("not too much");
            let cleared = found.iter().filter_map(|released| line.released(released, FROM_MS));
            cleared.map(|cleared| wire::query_window(line, &cleared)).collect::<Vec<_>>()
        };
        for aggregate in &line.carries {
            for window in ask(Places::All, aggregate, START_MS + 100 * HOUR_MS) {
                let key = span(&window.window_start.expect("a start"), &window.window_end.expect("an end"));
                answers.entry(key).or_default().extend(window.measures.iter().map(Message::encode_to_vec));
            }
            let place = |name: &str| name.parse().expect("a place");
            let one = ask(Places::One(place("B1")), aggregate, START_MS + 2 * HOUR_MS + 1);
            let two = ask(Places::Of(vec![place("B1")]), aggregate, START_MS + 2 * HOUR_MS + 1);
            let of =
                |windows: &[v1::QueryWindow]| windows.iter().map(|w| w.measures.len()).collect::<Vec<_>>();
            let is_hourly = aggregate.as_str() != "A-1d";
            assert_eq!(
                of(&one),
                if is_hourly { vec![2, 2] } else { vec![] },
                "whole windows of one building"
            );
            assert_eq!(of(&two), if is_hourly { vec![4, 4] } else { vec![] }, "and the cell over all");
        }
        assert_eq!(answers, records, "{}", line.id);
    }
    let period_ms = START_MS;
    let spent = runtime.block_on(reader.spent("B".parse().expect("id"), period_ms)).expect("read");
    assert_eq!(spent, [(4, 2)]);
}
