//! What the rule engine costs: 200 rules over 2,000 devices of 10 metrics each, readings a second on one core.
//!
//! Twenty kinds of devices with ten rules each: plain, hysteresis, hold, early sign, counts, A then B, absence, a second
//! sensor, a schedule, lookbacks. Besides it, in the same run: the same conditions as closures written by hand over an
//! array of doubles, and evaluated by the `cel` crate, both without holds, lookbacks, states and dues. The absolute figure is
//! that of a machine; the ratio is that of the engine. `benches/rules.sh` prints both.

use std::collections::HashMap;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use rust_decimal::Decimal;
use smallbrain::model::{DeviceId, Metric, Quality, Reading, SeriesKey, Severity, Stamp, Value};
use smallbrain::rules::cel::{self, Condition, Scope, Type};
use smallbrain::rules::engine::Engine;
use smallbrain::rules::plan::{Alarm, Plan, Where};
use smallbrain::rules::schedule::Schedule;
use smallbrain::rules::trigger::{OnError, Rule};

const KINDS: usize = 20;
const DEVICES: usize = 2_000;
const START_MS: i64 = 1_790_000_000_000;
/// Readings that are made beforehand, and repeated with later times.
const TABLE: usize = 1 << 18;
/// Readings of one iteration; time goes on by a second with each.
const BATCH: usize = 2_000;
const METRICS: [(&str, Type); 10] = [
    ("temperature", Type::Number),
    ("humidity", Type::Number),
    ("level", Type::Number),
    ("pressure", Type::Number),
    ("flow", Type::Number),
    ("power", Type::Number),
    ("battery", Type::Number),
    ("open", Type::Flag),
    ("smoke", Type::Flag),
    ("status", Type::Text),
];

/// What a closure by hand reads: numbers and flags as doubles, and whether the status says so.
type Row = [f64; METRICS.len()];

/// A rule: what the engine is told, what the crate evaluates, the same by hand, and the metrics that it reads.
struct Mix {
    when: &'static str,
    crates: &'static str,
    native: fn(&Row) -> bool,
    reads: &'static [usize],
    with: fn(&mut Alarm),
}

fn nothing(_: &mut Alarm) {}

const RULES: [Mix; 10] = [
    Mix {
        when: "temperature > 60.0",
        crates: "temperature > 60.0",
        native: |row| row[0] > 60.0,
        reads: &[0],
        with: |alarm| {
            alarm.clear = condition("temperature <= 55.0");
            alarm.trigger.hold_ms = 10_000;
        },
    },
    Mix {
        when: "smoke",
        crates: "smoke",
        native: |row| row[8] != 0.0,
        reads: &[8],
        with: |alarm| alarm.trigger.confirm = Some((2, 30_000)),
    },
    Mix {
        when: "open && temperature < 10.0",
        crates: "open && temperature < 10.0",
        native: |row| row[7] != 0.0 && row[0] < 10.0,
        reads: &[7, 0],
        with: |alarm| alarm.trigger.schedule = Schedule::parse(&["22:00-06:00"]).expect("a schedule"),
    },
    Mix {
        when: "humidity > 90.0 && temperature > 30.0",
        crates: "humidity > 90.0 && temperature > 30.0",
        native: |row| row[1] > 90.0 && row[0] > 30.0,
        reads: &[1, 0],
        with: |alarm| alarm.early = condition("humidity > 85.0"),
    },
    Mix {
        when: r#"status == "fault" || battery < 5.0"#,
        crates: r#"status == "fault" || battery < 5.0"#,
        native: |row| row[9] != 0.0 || row[6] < 5.0,
        reads: &[9, 6],
        with: nothing,
    },
    Mix {
        when: "(pressure < 0.2 && flow > 1.0) || pressure > 1.6",
        crates: "(pressure < 0.2 && flow > 1.0) || pressure > 1.6",
        native: |row| (row[3] < 0.2 && row[4] > 1.0) || row[3] > 1.6,
        reads: &[3, 4],
        with: nothing,
    },
    Mix {
        when: "level > 3.0 && flow < 0.5 && power > 1.0 && !open",
        crates: "level > 3.0 && flow < 0.5 && power > 1.0 && !open",
        native: |row| row[2] > 3.0 && row[4] < 0.5 && row[5] > 1.0 && row[7] == 0.0,
        reads: &[2, 4, 5, 7],
        with: |alarm| alarm.trigger.hold_ms = 120_000,
    },
    Mix {
        when: "open",
        crates: "open",
        native: |row| row[7] != 0.0,
        reads: &[7],
        with: |alarm| alarm.trigger.times = Some((3, 600_000)),
    },
    Mix {
        when: r#"rate(level, "10m") > 0.1"#,
        crates: "level > 3.0",
        native: |row| row[2] > 3.0,
        reads: &[2],
        with: nothing,
    },
    Mix {
        when: "",
        crates: "flow < 0.0",
        native: |row| row[4] < 0.0,
        reads: &[4],
        with: |alarm| alarm.trigger.absent_ms = Some(7_200_000),
    },
];

struct Everything;

impl Scope for Everything {
    fn metric(&self, _: Option<&str>, metric: &str) -> Option<Type> {
        METRICS.iter().find(|(name, _)| *name == metric).map(|(_, kind)| *kind)
    }
    fn device(&self, _: &str) -> bool {
        false
    }
    fn metrics(&self, _: Option<&str>) -> Vec<String> {
        Vec::new()
    }
    fn devices(&self) -> Vec<String> {
        Vec::new()
    }
}

fn main() {
    divan::main();
}

fn condition(text: &str) -> Option<Condition> {
    (!text.is_empty()).then(|| cel::compile(text, &Everything).expect("a condition"))
}

fn device(number: usize) -> DeviceId {
    format!("d-{number}").parse().expect("a device")
}

fn alarm(kind: usize, at: usize) -> Alarm {
    let mix = &RULES[at];
    let trigger = Rule {
        hold_ms: 0,
        times: None,
        then_ms: None,
        absent_ms: None,
        daily: None,
        confirm: None,
        schedule: Schedule::default(),
        on_error: OnError::Raise,
    };
    let mut alarm = Alarm {
        id: format!("a-{kind}-{at}").parse().expect("an id"),
        title: String::new(),
        advice: String::new(),
        severity: Severity::Minor,
        devices: (kind..DEVICES).step_by(KINDS).map(device).collect(),
        metric: METRICS[mix.reads[0]].0.parse().expect("a metric"),
        unit: String::new(),
        when: condition(mix.when),
        clear: None,
        early: None,
        then: None,
        trigger,
        cooldown_ms: 0,
        closes_itself: true,
        commands: vec![],
        commands_end: vec![],
    };
    (mix.with)(&mut alarm);
    // Every fourth kind wants it in order.
    if at == 1 && kind.is_multiple_of(4) {
        alarm.trigger.confirm = None;
        alarm.trigger.then_ms = Some(300_000);
        alarm.then = condition("open");
    }
    alarm
}

fn engine() -> Engine {
    let alarms = (0..KINDS).flat_map(|kind| (0..RULES.len()).map(move |at| alarm(kind, at))).collect();
    let place = |number: usize| Where {
        class: format!("kind-{}", number % KINDS),
        place: format!("B{}/{}", number / KINDS % 10, number % 7).parse().ok(),
    };
    let devices = (0..DEVICES).map(|number| (device(number), place(number))).collect();
    let numbers: HashMap<DeviceId, usize> = (0..DEVICES).map(|number| (device(number), number)).collect();
    let find = |device: &DeviceId, metric: &Metric| {
        let metric = METRICS.iter().position(|(name, _)| *name == metric.as_str())?;
        Some(SeriesKey((numbers.get(device)? * METRICS.len() + metric) as u32))
    };
    let mut engine = Engine::new(Plan { alarms, devices, zone_ms: 8 * 3_600_000, ..Plan::default() }, find);
    engine.restore(Default::default(), now(0));
    engine
}

fn now(second: u64) -> Stamp {
    Stamp { wall_ms: START_MS + second as i64 * 1_000, mono_ms: second * 1_000 }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Calm devices: one in a thousand readings is out of its range, which is far more than a compound has.
fn readings() -> Vec<Reading> {
    let mut random = Random(7);
    let mut reading = |_| {
        let (device, metric) = (random.below(DEVICES as u64), random.below(METRICS.len() as u64) as usize);
        let odd = random.below(1_000) == 0;
        // In hundredths.
        let (low, high) = [(1500, 6500), (4000, 9500), (50, 350), (50, 200), (60, 0), (20, 150), (3000, 300)]
            [metric.min(6)];
        let number = if odd { high } else { low + random.below(40) as i64 };
        Reading {
            series: SeriesKey(device as u32 * METRICS.len() as u32 + metric as u32),
            value: match METRICS[metric].1 {
                Type::Number => Value::Number(Decimal::new(number, 2)),
                Type::Flag => Value::Flag(odd),
                Type::Text => Value::Text(if odd { "fault" } else { "ok" }.into()),
            },
            time_ms: 0,
            received_ms: 0,
            device_time: true,
            quality: Quality::Good,
        }
    };
    (0..TABLE).map(&mut reading).collect()
}

/// The next batch of the table, and where it is.
fn batch(second: u64) -> std::ops::Range<usize> {
    let from = second as usize * BATCH % (TABLE - BATCH);
    from..from + BATCH
}

#[divan::bench(sample_count = 300)]
fn engine_readings(bencher: Bencher) {
    let (mut engine, mut table) = (engine(), readings());
    let mut second = 0;
    let mut outcomes = 0;
    let mut run = move || {
        second += 1;
        let now = now(second);
        engine.tick(now);
        for reading in &mut table[batch(second)] {
            (reading.time_ms, reading.received_ms) = (now.wall_ms, now.wall_ms);
            engine.reading(reading, now);
            outcomes += engine.take().len();
        }
        outcomes
    };
    // Ten minutes: every series has a value, and every lookback is full.
    (0..600).for_each(|_| {
        black_box(run());
    });
    bencher.counter(ItemsCount::new(BATCH)).bench_local(run);
}

/// What is done for every condition that reads a metric.
fn evaluations(mut each: impl FnMut(usize, usize) -> bool, truths: &mut [bool], table: &[Reading]) -> usize {
    let mut changes = 0;
    for reading in table {
        let (device, metric) =
            (reading.series.index() / METRICS.len(), reading.series.index() % METRICS.len());
        for (at, mix) in RULES.iter().enumerate() {
            if mix.reads.contains(&metric) {
                let truth = each(device, at);
                let before = std::mem::replace(&mut truths[device * RULES.len() + at], truth);
                changes += usize::from(before != truth);
            }
        }
    }
    changes
}

#[divan::bench(sample_count = 300)]
fn closures_by_hand(bencher: Bencher) {
    let table = readings();
    let mut rows = vec![Row::default(); DEVICES];
    let mut truths = vec![false; DEVICES * RULES.len()];
    let mut second = 0;
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        second += 1;
        let mut changes = 0;
        for reading in &table[batch(second)] {
            let (device, metric) =
                (reading.series.index() / METRICS.len(), reading.series.index() % METRICS.len());
            rows[device][metric] = match &reading.value {
                Value::Number(number) => f64::try_from(*number).unwrap_or_default(),
                Value::Flag(flag) => f64::from(u8::from(*flag)),
                Value::Text(text) => f64::from(u8::from(&**text == "fault")),
            };
            let each = |device: usize, at: usize| (RULES[at].native)(&rows[device]);
            changes += evaluations(each, &mut truths, std::slice::from_ref(reading));
        }
        changes
    });
}

#[divan::bench(sample_count = 20)]
fn by_the_cel_crate(bencher: Bencher) {
    use ::cel::{Context, Program, Value as CelValue};
    let table = readings();
    let programs = RULES.map(|mix| Program::compile(mix.crates).expect("a program"));
    let root = Context::default();
    let value = |value: &Value| match value {
        Value::Number(number) => CelValue::Float(f64::try_from(*number).unwrap_or_default()),
        Value::Flag(flag) => CelValue::Bool(*flag),
        Value::Text(text) => CelValue::String(std::sync::Arc::new(text.to_string())),
    };
    let calm = [15.0, 40.0, 0.5, 0.5, 0.6, 0.2, 30.0];
    let mut contexts: Vec<Context<'_, '_>> = (0..DEVICES)
        .map(|_| {
            let mut context = root.new_inner_scope();
            for ((name, kind), number) in METRICS.iter().zip(calm.iter().chain(&[0.0; 3])) {
                context.add_variable_from_value(
                    *name,
                    match kind {
                        Type::Number => CelValue::Float(*number),
                        Type::Flag => CelValue::Bool(false),
                        Type::Text => CelValue::String(std::sync::Arc::new("ok".to_owned())),
                    },
                );
            }
            context
        })
        .collect();
    let mut truths = vec![false; DEVICES * RULES.len()];
    let mut second = 0;
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        second += 1;
        let mut changes = 0;
        for reading in &table[batch(second)] {
            let (device, metric) =
                (reading.series.index() / METRICS.len(), reading.series.index() % METRICS.len());
            contexts[device].add_variable_from_value(METRICS[metric].0, value(&reading.value));
            let each = |device: usize, at: usize| {
                matches!(programs[at].execute(&contexts[device]), Ok(CelValue::Bool(true)))
            };
            changes += evaluations(each, &mut truths, std::slice::from_ref(reading));
        }
        changes
    });
}
