//! The statistics beside the six plain ones: tables with results made by hand, and properties against a naive fold that
//! looks at every millisecond.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::tests::{MINUTE_MS, aggregate, decimal, number, reading, shown, source};
use super::*;
use crate::aggregate::DISTINCT_MAX;
use crate::aggregate::statistic::Statistics;
use crate::model::{Amount, Quality, Value};

fn of(statistics: &str, by_device: bool) -> Aggregate {
    let statistics: Statistics = statistics.parse().expect("statistics");
    let edges =
        if statistics.has(Statistic::Histogram) { vec![decimal("0"), decimal("10.5")] } else { vec![] };
    Aggregate { statistics, edges, zone_ms: 0, ..aggregate(MINUTE_MS, 0, by_device) }
}

fn paced(device: &str, pace: Pace) -> Source {
    Source { pace, ..source(device, "x") }
}

const NO_PACE: Pace = Pace { time_mean: false, period_ms: None, silence_ms: None };
const BY_TIME: Pace = Pace { time_mean: true, ..NO_PACE };
const EVERY_10_S: Pace = Pace { period_ms: Some(10_000), ..NO_PACE };
const SILENT_20_S: Pace = Pace { silence_ms: Some(20_000), ..NO_PACE };

/// Adds (second, value) of one series; closes up to a second; the figures by window, with its start in seconds.
fn life(statistics: &str, pace: Pace, told: &[(i64, &str)], until_s: i64) -> Vec<String> {
    let mut windows = Windows::new(of(statistics, true), 0);
    let source = paced("a", pace);
    for (at_s, value) in told {
        let quality = if value.starts_with('!') { Quality::Slope } else { Quality::Good };
        let value = number(value.trim_start_matches('!'));
        windows.add(&source, &Reading { quality, ..reading(0, value, at_s * 1000) }).expect("open");
    }
    figures(windows.close(until_s * 1000))
}

fn figures(closed: Vec<ClosedWindow>) -> Vec<String> {
    let cell = |start_ms: i64, cell: &Rollup| {
        let mean = cell.figures.iter().find_map(|figure| match figure.amount {
            Amount::Near(near) if &*figure.statistic == "mean" => Some(format!(" mean={near}")),
            _ => None,
        });
        let told = shown(cell);
        let (_, told) = told.split_once("[Cel]").expect("a unit");
        format!("{}:{}{told}", start_ms / 1000, mean.unwrap_or_default())
    };
    closed.iter().flat_map(|window| window.cells.iter().map(|one| cell(window.start_ms, one))).collect()
}

#[test]
fn delta() {
    for (name, told, expected) in [
        ("one reading has none", &[(1, "7")][..], &["0:"][..]),
        ("rises", &[(1, "7.00"), (2, "7.25"), (3, "8")], &["0: delta=1.00"]),
        ("a reset counts nothing", &[(1, "90"), (2, "95"), (3, "2"), (4, "5")], &["0: delta=8"]),
        ("out of order", &[(3, "12"), (1, "10"), (2, "11")], &["0: delta=2"]),
        ("from the last value before", &[(59, "10"), (61, "13"), (62, "14")], &["0:", "60: delta=4"]),
        ("over an empty window", &[(1, "10"), (125, "16")], &["0:", "120: delta=6"]),
        ("a reset between windows", &[(59, "10"), (61, "3"), (62, "4")], &["0:", "60: delta=1"]),
        (
            "what is not believed is not there",
            &[(1, "1"), (2, "!900"), (3, "2")],
            &["0: left_out=1 delta=1 partial"],
        ),
    ] {
        assert_eq!(life("delta", NO_PACE, told, 600), expected, "{name}");
    }
}

#[test]
fn a_late_reading_is_known_to_the_next_window() {
    let mut windows = Windows::new(of("delta", true), 0);
    let source = paced("a", NO_PACE);
    let at = |second: i64, value: &str| reading(0, number(value), second * 1000);
    windows.add(&source, &at(1, "10")).expect("open");
    assert_eq!(figures(windows.close(60_000)), ["0:"]);
    assert_eq!(windows.add(&source, &at(30, "14")), Err(Late));
    windows.add(&source, &at(70, "15")).expect("open");
    assert_eq!(figures(windows.close(120_000)), ["60: delta=1"]);
}

#[test]
fn mean_by_time() {
    let silent = Pace { time_mean: true, ..SILENT_20_S };
    for (name, pace, told, expected) in [
        ("by reading", NO_PACE, &[(0, "0"), (45, "8")][..], &["0: mean=4"][..]),
        ("by time", BY_TIME, &[(0, "0"), (45, "8")], &["0: mean=2"]),
        ("from the first reading on", BY_TIME, &[(30, "5")], &["0: mean=5"]),
        ("what held before", BY_TIME, &[(10, "4"), (90, "8")], &["0: mean=4", "60: mean=6"]),
        ("not longer than it may be silent", silent, &[(0, "0"), (45, "7")], &["0: mean=3"]),
        ("out of order", BY_TIME, &[(45, "8"), (0, "0")], &["0: mean=2"]),
    ] {
        assert_eq!(life("mean", pace, told, 120), expected, "{name}");
    }
}

#[test]
fn coverage_and_online() {
    let every: Vec<(i64, &str)> = (0..6).map(|n| (n * 10, "1")).collect();
    for (name, pace, told, expected) in [
        (
            "polled",
            EVERY_10_S,
            &every[..],
            &["0: coverage=100% online=100%", "60: coverage=0% online=8.33%"][..],
        ),
        ("missed", EVERY_10_S, &every[..3], &["0: coverage=50% online=58.33%", "60: coverage=0% online=0%"]),
        (
            "more than asked",
            EVERY_10_S,
            &[(0, "1"); 9],
            &["0: coverage=100% online=25%", "60: coverage=0% online=0%"],
        ),
        // 10 to 25 and 25 to 40 are covered, 40 to 60 too; heard from 10 on.
        (
            "gaps",
            SILENT_20_S,
            &[(10, "1"), (25, "1"), (40, "1")],
            &["0: coverage=83.33% online=83.33%", "60: coverage=0% online=0%"],
        ),
        // 0 to 30 is too long a gap; of it 20 seconds are heard.
        (
            "too long a gap",
            SILENT_20_S,
            &[(0, "1"), (30, "1"), (45, "1")],
            &["0: coverage=50% online=83.33%", "60: coverage=0% online=8.33%"],
        ),
        (
            "what is not believed is heard",
            SILENT_20_S,
            &[(0, "!1")],
            &["0: left_out=1 coverage=0% online=33.33% partial", "60: coverage=0% online=0%"],
        ),
        (
            "five minutes where nothing is said",
            NO_PACE,
            &[(30, "1")],
            &["0: coverage=50% online=50%", "60: coverage=100% online=100%"],
        ),
        ("never heard", NO_PACE, &[], &[]),
    ] {
        assert_eq!(life("coverage,online", pace, told, 120), expected, "{name}");
    }
}

#[test]
fn silence_is_told_within_bounds_and_only_of_what_is_expected() {
    let mut windows = Windows::new(of("online", true), i64::MIN);
    let source = paced("a", SILENT_20_S);
    assert_eq!(windows.close(MINUTE_MS), []);
    assert_eq!(windows.wakeup_ms(), None);
    windows.add(&source, &reading(0, number("1"), MINUTE_MS)).expect("open");
    assert_eq!(windows.close(2 * MINUTE_MS).len(), 1);
    assert_eq!(windows.wakeup_ms(), Some(3 * MINUTE_MS));
    assert_eq!(windows.close(1000 * MINUTE_MS).len(), OPEN_MAX, "the gateway was away");
    windows.expect([&source]);
    assert_eq!(windows.close(1001 * MINUTE_MS).len(), 1);
    windows.expect([]);
    assert_eq!(windows.close(1002 * MINUTE_MS), []);
    assert_eq!(windows.wakeup_ms(), None);
    windows.add(&source, &reading(0, number("1"), 1002 * MINUTE_MS)).expect("open");
    assert_eq!(windows.end().len(), 1, "only what is open");
}

#[test]
fn by_compound_series_are_added_up_and_not_merged() {
    let mut windows = Windows::new(of("delta,online", false), 0);
    for (series, device, at_s, value) in
        [(0, "a", 0, "100"), (1, "b", 0, "5"), (0, "a", 15, "101"), (1, "b", 30, "9"), (0, "a", 61, "103")]
    {
        let reading = reading(series, number(value), at_s * 1000);
        windows.add(&paced(device, SILENT_20_S), &reading).expect("open");
    }
    // a: 0 to 35 and 61 to 81; b: 0 to 20 and 30 to 50, and then silent.
    let expected = ["0: delta=5 online=62.5%", "60: delta=2 online=16.67%"];
    assert_eq!(figures(windows.close(120_000)), expected);
}

#[test]
fn distinct() {
    assert_eq!(
        life("distinct", NO_PACE, &[(1, "1.50"), (2, "1.5"), (3, "0"), (4, "-0"), (5, "!7")], 60),
        ["0: left_out=1 distinct=2 partial"]
    );
    let mut windows = Windows::new(of("count,distinct", true), 0);
    for (index, text) in ["E07", "E08", "E07"].into_iter().enumerate() {
        let told = reading(0, Value::Text(text.into()), index as i64);
        windows.add(&paced("a", NO_PACE), &told).expect("open");
    }
    assert_eq!(figures(windows.close(MINUTE_MS)), ["0: count=3 distinct=2"]);
    for (values, expected) in [(DISTINCT_MAX, ""), (DISTINCT_MAX + 1, " partial")] {
        let mut windows = Windows::new(of("distinct", true), 0);
        for value in 0..values {
            let value = Value::Number(Decimal::from(value));
            windows.add(&paced("a", NO_PACE), &reading(0, value, 1)).expect("open");
        }
        assert_eq!(figures(windows.close(MINUTE_MS)), [format!("0: distinct={DISTINCT_MAX}{expected}")]);
    }
}

#[test]
fn histogram() {
    assert_eq!(
        life("histogram", NO_PACE, &[(1, "-1"), (2, "0.0"), (3, "0.1"), (4, "10.50"), (5, "99")], 60),
        ["0: histogram<0=2 histogram<10.5=4 histogram<+Inf=5"]
    );
}

#[test]
fn quantiles_of_one_value_are_that_value() {
    assert_eq!(
        life("p0.1,p50,p99.9", NO_PACE, &[(1, "21.5"), (2, "21.5")], 60),
        ["0: p0.1=21.5 p50=21.5 p99.9=21.5"]
    );
    assert_eq!(life("p50", NO_PACE, &[(1, "0"), (2, "-3"), (3, "4")], 60), ["0: p50=0"]);
}

const ALL: &str = "count,sum,min,max,mean,last,delta,distinct,p50,p99,histogram,coverage,online";

#[derive(Clone, Debug)]
struct Told {
    series: u32,
    number: i64,
    believed: bool,
    time_ms: i64,
    /// Closes before it, up to this.
    close_ms: Option<i64>,
}

fn lives() -> impl Strategy<Value = Vec<Told>> {
    let one = (0_u32..3, -200_i64..2_000, prop::bool::weighted(0.8), 0_i64..200, prop::bool::weighted(0.2));
    prop::collection::vec(one, 0..120).prop_map(|all| {
        let told =
            all.into_iter().enumerate().map(|(index, (series, number, believed, at_ms, closes))| Told {
                series,
                number,
                believed,
                time_ms: at_ms + index as i64 * 7,
                close_ms: closes.then_some(index as i64 * 7 + 60),
            });
        told.collect()
    })
}

fn paces() -> [Source; 3] {
    let pace = |period_ms, silence_ms| Pace { time_mean: true, period_ms, silence_ms };
    [("a", pace(None, None)), ("b", pace(Some(10), None)), ("c", pace(None, Some(25)))]
        .map(|(d, p)| paced(d, p))
}

fn shape(by_device: bool) -> Aggregate {
    Aggregate { size_ms: 50, lateness_ms: 20, ..of(ALL, by_device) }
}

fn add(windows: &mut Windows, told: &Told) -> Result<(), Late> {
    let value = Value::Number(Decimal::new(told.number, 1));
    let quality = if told.believed { Quality::Good } else { Quality::Slope };
    let reading = Reading { quality, ..reading(told.series, value, told.time_ms) };
    windows.add(&paces()[told.series as usize], &reading)
}

/// What a series did in a window, looked at millisecond by millisecond: delta and steps, area, held, covered, heard.
fn naive(before: &[Told], within: &[Told], start_ms: i64, pace: &Pace) -> (i64, u64, i64, i64, i64, i64) {
    let in_order = |all: &[Told]| {
        let mut all: Vec<Told> = all.to_vec();
        all.sort_by_key(|told| told.time_ms);
        all
    };
    let all = [in_order(before), in_order(within)].concat();
    let believed: Vec<&Told> = all.iter().filter(|told| told.believed).collect();
    let first = believed.iter().position(|told| told.time_ms >= start_ms).unwrap_or(believed.len());
    let (mut delta, mut steps) = (0, 0);
    for pair in believed[first.saturating_sub(1)..].windows(2) {
        delta += (pair[1].number - pair[0].number).max(0);
        steps += 1;
    }
    let (mut area, mut held, mut covered, mut heard) = (0, 0, 0, 0);
    for now_ms in start_ms..start_ms + 50 {
        let until = believed.iter().rposition(|told| told.time_ms <= now_ms);
        if let Some(at) = until {
            let last = believed[at];
            if pace.silence_ms.is_none_or(|silence_ms| now_ms < last.time_ms + silence_ms) {
                (area, held) = (area + last.number, held + 1);
            }
            let next_ms = believed.get(at + 1).map_or(start_ms + 50, |next| next.time_ms);
            covered += i64::from(next_ms - last.time_ms <= pace.silence_ms.unwrap_or(300_000));
        }
        let reach_ms =
            pace.period_ms.map_or(pace.silence_ms.unwrap_or(300_000), |period_ms| period_ms * 3 / 2);
        let last = all.iter().rfind(|told| told.time_ms <= now_ms);
        heard += i64::from(last.is_some_and(|told| now_ms < told.time_ms + reach_ms));
    }
    if let Some(period_ms) = pace.period_ms {
        let count = within.iter().filter(|told| told.believed).count() as i64;
        covered = (count * period_ms).min(50);
    }
    (delta, steps, area, held, covered, heard)
}

/// All figures of a cell of one device that the naive way knows, as (statistic, amount).
fn naive_cell(before: &[Told], within: &[Told], start_ms: i64, pace: &Pace) -> Vec<(String, f64)> {
    let (delta, steps, area, held, covered, heard) = naive(before, within, start_ms, pace);
    let mut numbers: Vec<i64> = within.iter().filter(|told| told.believed).map(|told| told.number).collect();
    numbers.sort_unstable();
    let mut told = vec![("count".to_owned(), numbers.len() as f64)];
    let tenth = |number: i64| number as f64 / 10.0;
    if held > 0 {
        told.push(("mean".into(), area as f64 / 10.0 / held as f64));
    }
    if steps > 0 {
        told.push(("delta".into(), tenth(delta)));
    }
    let mut different = numbers.clone();
    different.dedup();
    told.push(("distinct".into(), different.len() as f64));
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        if let Some(number) = numbers.get((part * (numbers.len() as f64 - 1.0)).max(0.0) as usize) {
            told.push((name.into(), tenth(*number)));
        }
    }
    for (le, edge) in [("0", 0), ("10.5", 105), ("+Inf", i64::MAX)] {
        if !numbers.is_empty() {
            let count = numbers.iter().filter(|number| **number <= edge).count();
            told.push((format!("histogram {le}"), count as f64));
        }
    }
    told.extend([("coverage".to_owned(), covered as f64 * 2.0), ("online".to_owned(), heard as f64 * 2.0)]);
    told
}

fn amounts(cell: &Rollup) -> Vec<(String, f64)> {
    let known = ["sum", "min", "max", "last", "left_out"];
    let others = cell.figures.iter().filter(|figure| !known.contains(&&*figure.statistic));
    let amount = |amount: Amount| match amount {
        Amount::Count(count) => count as f64,
        Amount::Near(near) => near,
        Amount::Exact(number) | Amount::Percent(number) => number.to_string().parse().expect("a number"),
        Amount::Withheld(_) => f64::NAN,
    };
    let name = |figure: &crate::model::Figure| match &figure.le {
        Some(le) => format!("{} {le}", figure.statistic),
        None => figure.statistic.to_string(),
    };
    others.map(|figure| (name(figure), amount(figure.amount))).collect()
}

proptest! {
    #[test]
    fn agrees_with_a_look_at_every_millisecond(all in lives()) {
        let mut windows = Windows::new(shape(true), 0);
        let sources = paces();
        let mut arrived: Vec<Told> = Vec::new();
        let mut accepted: Vec<Told> = Vec::new();
        let mut closed_ms = 0;
        let end = Told { series: 0, number: 0, believed: true, time_ms: 0, close_ms: Some(1_300) };
        for told in all.iter().chain([&end]) {
            if let Some(now_ms) = told.close_ms {
                let closed: BTreeMap<i64, ClosedWindow> =
                    windows.close(now_ms).into_iter().map(|window| (window.start_ms, window)).collect();
                while closed_ms + 50 <= now_ms - 20 {
                    let window = closed.get(&closed_ms);
                    for (series, source) in sources.iter().enumerate() {
                        let own = |told: &&Told| told.series as usize == series;
                        let before: Vec<Told> =
                            arrived.iter().filter(own).filter(|t| t.time_ms < closed_ms).cloned().collect();
                        let within = (closed_ms..closed_ms + 50).collect::<std::collections::BTreeSet<_>>();
                        let within: Vec<Told> =
                            accepted.iter().filter(own).filter(|t| within.contains(&t.time_ms)).cloned().collect();
                        let cells = window.map_or(&[][..], |window| &window.cells);
                        let cell = cells.iter().find(|cell| cell.device.as_ref() == Some(&source.device));
                        prop_assert_eq!(cell.is_some(), !(before.is_empty() && within.is_empty()));
                        let Some(cell) = cell else { continue };
                        let expected = naive_cell(&before, &within, closed_ms, &source.pace);
                        let got = amounts(cell);
                        let names = |all: &[(String, f64)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                        prop_assert_eq!(names(&got), names(&expected));
                        for ((name, got), (_, expected)) in got.iter().zip(&expected) {
                            let error = if name.starts_with('p') { 0.0101 * expected.abs() } else { 1e-9 };
                            prop_assert!((got - expected).abs() <= error + 1e-9, "{name}: {got} for {expected}");
                        }
                    }
                    closed_ms += 50;
                }
            }
            if std::ptr::eq(told, &end) {
                break;
            }
            let is_late = add(&mut windows, told).is_err();
            prop_assert_eq!(is_late, told.time_ms < closed_ms);
            arrived.push(told.clone());
            if !is_late {
                accepted.push(told.clone());
            }
        }
    }

    /// A crash: the snapshot is older than what was closed since, and the log's end is replayed.
    #[test]
    fn straight_through_or_replayed_the_bytes_are_the_same(
        all in lives(),
        (cut, crash) in (0_usize..120, 0_usize..120),
        by_device in any::<bool>(),
    ) {
        let (cut, crash) = (cut.min(crash).min(all.len()), cut.max(crash).min(all.len()));
        let mut through = Windows::new(shape(by_device), 0);
        let step = |windows: &mut Windows, told: &Told| {
            let closed = told.close_ms.map(|now_ms| windows.close(now_ms));
            format!("{closed:?} {:?}", add(windows, told))
        };
        for told in &all[..cut] {
            step(&mut through, told);
        }
        let bytes = through.snapshot();
        for told in &all[cut..crash] {
            step(&mut through, told);
        }
        let closed_ms = through.closed_until_ms();
        let mut replayed = Windows::restore(shape(by_device), closed_ms, &bytes).expect("its own snapshot");
        replayed.expect(&paces());
        for told in &all[cut..crash] {
            let _ = add(&mut replayed, told);
        }
        prop_assert_eq!(through.snapshot(), replayed.snapshot());
        for told in &all[crash..] {
            prop_assert_eq!(through.wakeup_ms(), replayed.wakeup_ms());
            prop_assert_eq!(step(&mut through, told), step(&mut replayed, told));
        }
        prop_assert_eq!(format!("{:?}", through.close(5_000)), format!("{:?}", replayed.close(5_000)));
        prop_assert_eq!(through.snapshot(), replayed.snapshot());
    }

    #[test]
    fn any_bytes_are_safe_to_restore(
        all in lives(),
        flips in prop::collection::vec((0_usize..4_000, any::<u8>()), 0..4),
    ) {
        let mut windows = Windows::new(shape(true), 0);
        for told in &all {
            let _ = add(&mut windows, told);
        }
        let mut bytes = windows.snapshot();
        let len = bytes.len();
        for (index, byte) in flips {
            bytes[index % len] = byte;
        }
        if let Ok(mut windows) = Windows::restore(shape(true), 0, &bytes) {
            windows.close(5_000);
            windows.end();
        }
    }
}
