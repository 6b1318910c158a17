//! What the pure parts cost, and what a commit adds: `cargo bench --bench spine`.
//!
//! Each figure is per item (a payload, a reading, a record). Compare within one run only.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use rust_decimal::Decimal;
use smallbrain::aggregate::Pace;
use smallbrain::aggregate::blocks::Bounds;
use smallbrain::aggregate::statistic::Statistics;
use smallbrain::aggregate::windows::{Aggregate, By};
use smallbrain::audit::{Action, Entry};
use smallbrain::codec::json::{Plan as JsonPlan, TimeForm};
use smallbrain::ingest::spine::Spine;
use smallbrain::ingest::{Delivery, Plan, Point};
use smallbrain::model::{Lane, Quality, Reading, Sample, SeriesKey, Stamp, Tally, Value};
use smallbrain::normalise::{self, Kind, Outside, Rule};
use smallbrain::privacy::generalise::Bands;
use smallbrain::privacy::intake::{self, Hierarchy, Treatment};
use smallbrain::privacy::pseudonym::{Hash, MasterKey, Pseudonymiser, Scope, Subject};
use smallbrain::privacy::release::ShareLine;
use smallbrain::rules::plausible;
use smallbrain::rules::rate::Rate;
use smallbrain::store::{Settings, Store};
use smallbrain::wire::{Gateway, record_hash};

const DEVICES: u32 = 50;
const NOW: Stamp = Stamp { wall_ms: 1_790_000_000_000, mono_ms: 1 };

fn main() {
    divan::main();
}

fn rule() -> Rule {
    Rule {
        kind: Kind::Number,
        scale: Decimal::ONE,
        offset: Decimal::ZERO,
        range: None,
        outside: Outside::Drop,
    }
}

fn plan(bulk: bool) -> Plan {
    let points = (0..DEVICES).map(|device| {
        Some(Point {
            device: format!("load-{device}").parse().expect("a name"),
            class: "load".into(),
            metric: "n".parse().expect("a name"),
            unit: "1".into(),
            rule: rule(),
            plausible: plausible::Rule::default(),
            thinning: Default::default(),
            building: "-".parse().expect("a place"),
            pace: Pace::default(),
            manual: false,
            treatment: Some(Treatment::Keep),
            aggregates: vec![0],
        })
    });
    let line = ShareLine {
        id: "S-1".parse().expect("a name"),
        purpose: "bench".into(),
        lane: Lane::Bulk,
        consumers: vec!["spiffe://city.example/bench".parse().expect("a name")],
        metrics: vec!["n".parse().expect("a name")],
        devices: true,
        places: true,
        carries: vec![],
        protect: None,
        approval: "bench".into(),
        until_ms: None,
        tier: None,
        granted: vec![],
    };
    Plan {
        gateway: Gateway { id: "bench".into(), ..Gateway::default() },
        lists_digest: [1; 32],
        lists: Default::default(),
        points: points.collect(),
        rules: Default::default(),
        aggregates: vec![Aggregate {
            id: "A-1m".parse().expect("a name"),
            size_ms: 60_000,
            lateness_ms: 5_000,
            zone_ms: 0,
            by: By::Device,
            crowds: None,
            statistics: Statistics::default(),
            edges: vec![],
        }],
        budgets: vec![],
        shares: if bulk { vec![line] } else { vec![] },
        rate: Rate { per_second: 100_000_000, burst: 100_000_000 },
        silence: std::collections::HashMap::new(),
        approval: Default::default(),
        emergency: vec![],
        block: Bounds { rows_max: 1000, age_max_ms: 5_000 },
        forms: Vec::new(),
    }
}

fn sample(sequence: i64) -> Sample {
    Sample {
        message: None,
        series: SeriesKey((sequence % i64::from(DEVICES)) as u32),
        value: Value::Number(Decimal::from(sequence)),
        device_ms: Some(NOW.wall_ms),
        clock_ms: None,
        retained: false,
        history: false,
    }
}

#[divan::bench]
fn json_payload_of_150_bytes(bencher: Bencher) {
    let payload = br#"{"ts":1790000000000,"n":    123456,"temperature":21.50,"humidity":45.2,"battery":98,"status":"ok","pad":"............................................."}"#;
    let plan = JsonPlan::new(vec!["/n".into()], Some(("/ts".into(), TimeForm::Millis))).expect("pointers");
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        let mut found = None;
        let time = plan.extract(black_box(payload), |_, value| found = Some(value));
        (found, time.is_ok())
    });
}

#[divan::bench]
fn normalise_and_clear(bencher: Bencher) {
    let rule = rule();
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        let reading = normalise::normalise(&rule, black_box(sample(7)), NOW)?;
        intake::clear(Some(&Treatment::Keep), reading)
    });
}

/// What a compound's readings are at the inner door, of ten: six numbers and a state as they are, a number in bands, a card
/// as a pseudonym, a line of free text.
#[divan::bench]
fn inner_door_with_a_mix_of_treatments(bencher: Bencher) {
    let master = MasterKey::new(&(0..32).collect::<Vec<u8>>()).expect("32 different bytes");
    let scope = Scope { purpose: "bench", subscriber: "gw", epoch: "2026-11" };
    let pseudonym = Treatment::Pseudonym(Pseudonymiser::new(Hash::Sha256, &master, scope, Subject::Code));
    let bands = Bands::new(vec![Decimal::ZERO, Decimal::from(50)]).expect("ascending");
    let bands = Treatment::Generalise(Hierarchy::Bands(bands));
    let (keep, redact) = (Treatment::Keep, Treatment::Redact);
    let number = || Value::Number(Decimal::new(2150, 2));
    let text = |text: &str| Value::Text(text.into());
    let mut mix: Vec<(&Treatment, Value)> = (0..6).map(|_| (&keep, number())).collect();
    mix.extend([
        (&keep, text("open")),
        (&bands, number()),
        (&pseudonym, text("CARD-7F3A-0042")),
        (&redact, text("3号楼2单元灯坏了,请打13800138000")),
    ]);
    bencher.counter(ItemsCount::new(mix.len())).bench_local(|| {
        for (treatment, value) in &mix {
            let reading = Reading {
                series: SeriesKey(0),
                value: value.clone(),
                time_ms: 1,
                received_ms: 1,
                device_time: true,
                quality: Quality::Good,
            };
            black_box(intake::clear(Some(treatment), black_box(reading))).expect("kept");
        }
    });
}

/// A row of the trail in a transaction of a thousand, the commit with it.
#[divan::bench(sample_count = 20)]
fn row_of_the_trail(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    bencher.counter(ItemsCount::new(1_000_u32)).bench_local(|| {
        let mut txn = store.begin().expect("a transaction");
        for index in 0..1_000_u32 {
            let mut entry = Entry::by(
                "spiffe://brain.example/city/310115/brain/bench",
                "consumer",
                Action::ShareDeliver,
                format!("bulk:{index}-{}", index + 999),
            );
            entry.list = Some("share/S-001".into());
            entry.purpose = Some("city.operation".into());
            txn.audit(&entry, NOW).expect("a row");
        }
        txn.commit().expect("committed");
    });
}

#[divan::bench(args = [300, 1_000])]
fn hash_of_a_record(bencher: Bencher, bytes: usize) {
    let body = vec![7_u8; bytes];
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        record_hash(&[1; 32], "00112233445566778899aabbccddeeff-bulk-1234567", black_box(&body))
    });
}

/// The whole spine with its transaction; `commit_every` readings share one COMMIT with synchronous=FULL.
#[divan::bench(args = [10, 100, 1_000, 4_000], sample_count = 20)]
fn spine_and_commit(bencher: Bencher, commit_every: i64) {
    through_the_store(bencher, commit_every, false);
}

/// The same with a share line that lets every reading out on the bulk lane.
#[divan::bench(args = [1_000], sample_count = 20)]
fn spine_and_commit_with_bulk(bencher: Bencher, commit_every: i64) {
    through_the_store(bencher, commit_every, true);
}

fn open(dir: &Path) -> Store {
    let settings = Settings {
        dir: dir.to_owned(),
        bytes_max: 8 << 30,
        reserve_bytes: 0,
        group_window: Duration::ZERO,
        retention: Duration::from_secs(86_400),
        promises: smallbrain::store::room::Promises::of(8 << 30),
    };
    Store::open(settings, [7; 32], NOW).expect("the store opens")
}

fn through_the_store(bencher: Bencher, commit_every: i64, bulk: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut spine = Spine::open(plan(bulk), &mut store, NOW).expect("the spine opens");
    let mut sequence = 0;
    bencher.counter(ItemsCount::new(commit_every as u64)).bench_local(|| {
        let samples = (sequence..sequence + commit_every).map(sample).collect();
        sequence += commit_every;
        let delivery =
            Delivery { received: NOW, samples, lost: Tally::default(), presence: vec![], changes: vec![] };
        let mut txn = store.begin().expect("a transaction");
        spine.take(&mut txn, &delivery, NOW).expect("taken");
        spine.finish(&mut txn).expect("finished");
        txn.commit().expect("committed");
        store.checkpoint_if_due().expect("checkpointed");
    });
}
