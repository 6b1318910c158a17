//! Tables, and properties against a naive fold.

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::aggregate::cell::exact_sum;
use crate::aggregate::statistic::Statistics;
use crate::model::{Amount, Quality, SeriesKey, Value};

pub(super) const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
const EAST_8_MS: i64 = 8 * HOUR_MS;

pub(super) fn aggregate(size_ms: i64, lateness_ms: i64, by_device: bool) -> Aggregate {
    let id = "temperature_mean".parse().expect("an id");
    let statistics = Statistics::default();
    let by = if by_device { By::Device } else { By::Compound };
    Aggregate {
        id,
        size_ms,
        lateness_ms,
        zone_ms: EAST_8_MS,
        by,
        statistics,
        edges: Vec::new(),
        crowds: None,
    }
}

pub(super) fn source(device: &str, metric: &str) -> Source {
    Source {
        device: device.parse().expect("a device"),
        metric: metric.parse().expect("a metric"),
        unit: "Cel".into(),
        building: "B1".parse().expect("a place"),
        pace: Pace::default(),
    }
}

pub(super) fn reading(series: u32, value: Value, time_ms: i64) -> Reading {
    Reading {
        series: SeriesKey(series),
        value,
        time_ms,
        received_ms: time_ms,
        device_time: true,
        quality: Quality::Good,
    }
}

pub(super) fn number(text: &str) -> Value {
    Value::Number(decimal(text))
}

pub(super) fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).expect("a number in a test")
}

/// Figures with every digit, unlike an equality of decimals; without the mean, which is sum by count.
pub(super) fn shown(cell: &Rollup) -> String {
    let device = cell.device.as_ref().map_or("*", DeviceId::as_str);
    let figures = cell.figures.iter().filter(|figure| &*figure.statistic != "mean");
    let figures = figures.fold(String::new(), |told, figure| {
        let le = figure.le.as_ref().map_or(String::new(), |le| format!("<{le}"));
        let amount = match figure.amount {
            Amount::Count(count) => count.to_string(),
            Amount::Exact(number) => number.to_string(),
            Amount::Near(number) => number.to_string(),
            Amount::Percent(percent) => format!("{percent}%"),
            Amount::Withheld(why) => why.as_str().to_owned(),
        };
        format!("{told} {}{le}={amount}", figure.statistic)
    });
    let partial = if cell.partial { " partial" } else { "" };
    format!("{}/{device} [{}]{figures}{partial}", cell.metric, cell.unit)
}

#[test]
fn windows_begin_at_local_time() {
    const DAY_MS: i64 = 24 * HOUR_MS;
    for (size_ms, zone_ms, time_ms, start_ms) in [
        (DAY_MS, EAST_8_MS, 0, -EAST_8_MS),
        (DAY_MS, EAST_8_MS, 16 * HOUR_MS - 1, -EAST_8_MS),
        (DAY_MS, EAST_8_MS, 16 * HOUR_MS, 16 * HOUR_MS),
        (DAY_MS, 0, -1, -DAY_MS),
        (MINUTE_MS, EAST_8_MS, 59_999, 0),
        (MINUTE_MS, EAST_8_MS, 60_000, 60_000),
        (0, 0, 7, 7),
    ] {
        let aggregate = Aggregate { size_ms, zone_ms, ..aggregate(0, 0, false) };
        assert_eq!(aggregate.start_of(time_ms), start_ms, "{size_ms} {time_ms}");
    }
}

#[test]
fn one_life() {
    let mut windows = Windows::new(aggregate(MINUTE_MS, 10_000, true), 0);
    let (heat, door) = (source("b", "heat"), source("a", "open"));
    assert_eq!(windows.wakeup_ms(), None);
    for (source, reading) in [
        (&heat, reading(0, number("21.5"), 60_000)),
        (&heat, reading(0, number("21.50"), 119_999)),
        (&heat, reading(0, number("-3"), 60_001)),
        (&heat, reading(0, number("22"), 119_999)),
        (&door, reading(1, Value::Flag(true), 70_000)),
        (&door, reading(1, Value::Flag(false), 70_001)),
        (&heat, reading(0, Value::Text("E07".into()), 70_000)),
        (&source("a", "heat"), reading(2, number("5"), 120_000)),
    ] {
        assert_eq!(windows.add(source, &reading), Ok(()));
    }
    assert_eq!(windows.wakeup_ms(), Some(130_000));
    assert_eq!(windows.close(129_999), vec![]);
    let closed = windows.close(130_000);
    assert_eq!((closed.len(), closed[0].start_ms, closed[0].end_ms), (1, 60_000, 120_000));
    assert_eq!(
        closed[0].cells.iter().map(shown).collect::<Vec<_>>(),
        [
            "heat/b [Cel] count=4 sum=62.00 min=-3 max=22 last=22",
            "open/a [Cel] count=2 sum=1 min=0 max=1 last=0",
        ]
    );
    assert_eq!((windows.closed_until_ms(), windows.wakeup_ms()), (120_000, Some(190_000)));
    assert_eq!(windows.add(&heat, &reading(0, number("1"), 119_999)), Err(Late));
    assert_eq!(windows.add(&heat, &reading(0, Value::Text("E07".into()), 0)), Ok(()));
    assert_eq!(windows.close(0), vec![], "a clock that goes back closes nothing and opens nothing");
    assert_eq!(windows.closed_until_ms(), 120_000);
    assert_eq!(windows.close(i64::MAX / 2).len(), 1);
    assert_eq!(windows.wakeup_ms(), None);
}

#[test]
fn all_devices_in_one_cell_and_units_apart() {
    let mut windows = Windows::new(aggregate(MINUTE_MS, 0, false), 0);
    let in_fahrenheit = Source { unit: "[degF]".into(), ..source("a", "heat") };
    for (source, series, value) in [
        (source("a", "heat"), 0, "1"),
        (source("b", "heat"), 1, "2"),
        (in_fahrenheit, 0, "70"),
        (source("a", "heat"), 0, "3"),
    ] {
        windows.add(&source, &reading(series, number(value), 5)).expect("open");
    }
    let closed = windows.close(MINUTE_MS);
    assert_eq!(
        closed[0].cells.iter().map(shown).collect::<Vec<_>>(),
        [
            "heat/* [Cel] count=3 sum=6 min=1 max=3 last=3",
            "heat/* [[degF]] count=1 sum=70 min=70 max=70 last=70",
        ]
    );
}

#[test]
fn sums_are_exact_or_none() {
    let max = "79228162514264337593543950335";
    for (values, sum) in [
        (&["0.1", "0.20"][..], Some("0.30")),
        (&["1.50", "-1.50"][..], Some("0.00")),
        (&["-1.5", "1.50", "2"][..], Some("2")),
        (&["123456789012345.678", "-123456789012345.678"][..], Some("0.000")),
        (&["12345678901234567890123.45", "-12345678901234567890123.45"][..], Some("0.00")),
        (&["0.0000000000000000000000000001", "1"][..], Some("1.0000000000000000000000000001")),
        (&["0.0000000000000000000000000001", "8"][..], None),
        (&[max, "1"][..], None),
        (&[max, "1", "-1"][..], None),
        (&[max, "0.000"][..], Some(max)),
        (&["79228162514264337593543950334", "0.1"][..], None),
        (&["0", max, "-1"][..], Some("79228162514264337593543950334")),
    ] {
        let mut windows = Windows::new(aggregate(MINUTE_MS, 0, false), 0);
        for value in values {
            windows.add(&source("a", "energy"), &reading(0, number(value), 1)).expect("open");
        }
        let closed = windows.close(MINUTE_MS);
        let got = closed[0].cells[0].figures.iter().find_map(|figure| match figure.amount {
            Amount::Exact(sum) if &*figure.statistic == "sum" => Some(sum.to_string()),
            _ => None,
        });
        assert_eq!(got.as_deref(), sum, "{values:?}");
    }
}

#[test]
fn the_number_of_open_windows_is_bounded() {
    let mut windows = Windows::new(aggregate(1000, 1_000_000, false), 0);
    let source = source("a", "heat");
    for index in 0..OPEN_MAX as i64 {
        assert_eq!(windows.add(&source, &reading(0, number("1"), index * 1000)), Ok(()));
    }
    assert_eq!(windows.add(&source, &reading(0, number("1"), 1_000_000)), Err(Late));
    assert_eq!(windows.add(&source, &reading(0, number("1"), 0)), Ok(()));
    assert_eq!(windows.close(1_001_000).len(), 1);
    assert_eq!(windows.add(&source, &reading(0, number("1"), 1_000_000)), Ok(()));
}

#[test]
fn what_is_no_snapshot_is_refused() {
    let own = aggregate(MINUTE_MS, 0, true);
    let mut windows = Windows::new(own.clone(), 0);
    windows.add(&source("a", "heat"), &reading(0, number("1.50"), 1)).expect("open");
    windows.add(&source("b", "heat"), &reading(1, number("2"), 70_000)).expect("open");
    let bytes = windows.snapshot();
    for len in 0..bytes.len() {
        assert!(Windows::restore(own.clone(), 0, &bytes[..len]).is_err(), "{len}");
    }
    assert!(Windows::restore(own.clone(), 0, &[&bytes[..], &[0]].concat()).is_err());
    for other in [
        Aggregate { size_ms: HOUR_MS, ..own.clone() },
        Aggregate { zone_ms: 0, ..own.clone() },
        Aggregate { by: By::Compound, ..own.clone() },
    ] {
        assert!(Windows::restore(other, 0, &bytes).is_err());
    }
    let later = Windows::restore(own.clone(), MINUTE_MS, &bytes).map(|windows| windows.wakeup_ms());
    assert_eq!(later, Ok(Some(2 * MINUTE_MS)), "what was closed since is left out");
    let patient = Aggregate { lateness_ms: 5, ..own };
    assert!(Windows::restore(patient, 0, &bytes).is_ok(), "lateness may change");
}

#[test]
fn what_cannot_be_believed_is_left_out_and_told() {
    let mut windows = Windows::new(aggregate(MINUTE_MS, 0, true), 0);
    let (heat, power) = (source("a", "heat"), source("a", "power"));
    for (source, series, value, quality) in [
        (&heat, 0, "900", Quality::Slope),
        (&heat, 0, "21", Quality::Good),
        (&heat, 0, "-300", Quality::OutOfRange),
        (&heat, 0, "22", Quality::Clock),
        (&power, 1, "5", Quality::CounterBack),
    ] {
        let reading = Reading { quality, ..reading(series, number(value), 1) };
        assert_eq!(windows.add(source, &reading), Ok(()));
    }
    let closed = windows.close(MINUTE_MS);
    assert_eq!(
        closed[0].cells.iter().map(shown).collect::<Vec<_>>(),
        [
            "heat/a [Cel] count=2 left_out=2 sum=43 min=21 max=22 last=22 partial",
            "power/a [Cel] count=0 left_out=1 partial",
        ]
    );
    let late = Reading { quality: Quality::Slope, ..reading(0, number("1"), 1) };
    assert_eq!(windows.add(&heat, &late), Err(Late), "late all the same");
}

#[test]
fn snapshots_of_earlier_formats_are_read() {
    let own = aggregate(MINUTE_MS, 0, true);
    let mut windows = Windows::new(own.clone(), 0);
    windows.add(&source("a", "heat"), &reading(0, number("1.50"), 1)).expect("open");
    let text = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let one = 1_u32.to_le_bytes();
    let shape = [&MINUTE_MS.to_le_bytes()[..], &EAST_8_MS.to_le_bytes(), &[1]].concat();
    let names = [&one[..], &text("heat"), &[1], &text("a"), &text("Cel")].concat();
    let window = [&one[..], &0_i64.to_le_bytes(), &one, &0_u32.to_le_bytes()].concat();
    let digits = decimal("1.50").serialize();
    let numbers =
        [&1_u64.to_le_bytes()[..], &[1], &digits, &digits, &digits, &digits, &1_i64.to_le_bytes()].concat();
    let expected = windows.close(MINUTE_MS);
    for (format, left_out) in [(b"W1", &[][..]), (b"W2", &[0, 0, 0, 0, 0, 0, 0, 0, 1])] {
        let bytes = [&format[..], &shape, &names, &window, left_out, &numbers].concat();
        let mut restored = Windows::restore(own.clone(), 0, &bytes).expect("of an earlier build");
        assert_eq!(restored.close(MINUTE_MS), expected);
        let statistics = "count".parse().expect("statistics");
        let other = Windows::restore(Aggregate { statistics, ..own.clone() }, 0, &bytes);
        assert!(other.is_err(), "of then, other statistics were not there");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add { series: u32, value: Value, quality: Quality, time_ms: i64 },
    Close { now_ms: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let numbers = prop_oneof![
        8 => (-5000_i64..5000, 0_u32..4).prop_map(|(number, scale)| Decimal::new(number, scale)),
        1 => Just(Decimal::MAX),
        1 => Just(Decimal::new(1, 28)),
    ];
    let values = prop_oneof![
        6 => numbers.prop_map(Value::Number),
        1 => any::<bool>().prop_map(Value::Flag),
        1 => Just(Value::Text("E07".into())),
    ];
    let qualities = prop_oneof![
        5 => Just(Quality::Good),
        2 => prop::sample::select(Quality::ALL.to_vec()),
    ];
    let step = prop_oneof![
        9 => (0_u32..5, values, qualities, 0_i64..200)
            .prop_map(|(series, value, quality, time_ms)| Step::Add { series, value, quality, time_ms }),
        1 => (0_i64..200).prop_map(|now_ms| Step::Close { now_ms }),
    ];
    // Time goes forward with the steps, so that windows close between readings.
    prop::collection::vec(step, 0..150).prop_map(|mut steps| {
        for (index, step) in steps.iter_mut().enumerate() {
            let (Step::Add { time_ms, .. } | Step::Close { now_ms: time_ms }) = step;
            *time_ms += index as i64 * 5;
        }
        steps
    })
}

fn sources() -> Vec<Source> {
    [("b", "heat"), ("a", "heat"), ("a", "power"), ("c", "heat"), ("b", "power")]
        .map(|(device, metric)| source(device, metric))
        .into()
}

fn apply(windows: &mut Windows, step: &Step) -> (Result<(), Late>, Vec<ClosedWindow>) {
    match step {
        Step::Add { series, value, quality, time_ms } => {
            let source = &sources()[*series as usize];
            let reading = Reading { quality: *quality, ..reading(*series, value.clone(), *time_ms) };
            (windows.add(source, &reading), Vec::new())
        }
        Step::Close { now_ms } => (Ok(()), windows.close(*now_ms)),
    }
}

/// All that was accepted, folded anew for each window that is asked for.
#[derive(Default)]
struct Reference {
    /// A number that cannot be believed is none.
    accepted: Vec<(i64, CellName, Option<Decimal>)>,
    closed_until_ms: i64,
}

impl Reference {
    fn close(&mut self, aggregate: &Aggregate, now_ms: i64) -> Vec<(i64, Vec<String>)> {
        let mut closed = Vec::new();
        while self.closed_until_ms + aggregate.size_ms <= now_ms - aggregate.lateness_ms {
            let (start_ms, end_ms) = (self.closed_until_ms, self.closed_until_ms + aggregate.size_ms);
            let within: Vec<_> =
                self.accepted.iter().filter(|(t, ..)| (start_ms..end_ms).contains(t)).collect();
            let names: std::collections::BTreeSet<_> = within.iter().map(|(_, name, _)| name).collect();
            let cells: Vec<String> = names
                .into_iter()
                .map(|name| {
                    let own = within.iter().filter(|(_, other, _)| other == name);
                    let numbers: Vec<_> = own.clone().filter_map(|(t, _, n)| Some((*t, (*n)?))).collect();
                    let mut rest = numbers.iter().map(|(_, number)| *number);
                    let sum = rest.next().and_then(|first| rest.try_fold(first, exact_sum));
                    // Of equal numbers the first one's digits.
                    let min = numbers.iter().map(|(_, n)| *n).reduce(|a, b| if b < a { b } else { a });
                    let max = numbers.iter().map(|(_, n)| *n).reduce(|a, b| if b > a { b } else { a });
                    let last = numbers.iter().max_by_key(|(t, _)| *t).map(|(_, n)| *n);
                    let left_out = own.count() - numbers.len();
                    let device = name.device.as_ref().map_or("*", DeviceId::as_str);
                    let mut told =
                        format!("{}/{device} [{}] count={}", name.metric, name.unit, numbers.len());
                    told += &if left_out > 0 { format!(" left_out={left_out}") } else { String::new() };
                    for (name, number) in [("sum", sum), ("min", min), ("max", max), ("last", last)] {
                        told += &number.map_or(String::new(), |number| format!(" {name}={number}"));
                    }
                    told + if left_out > 0 { " partial" } else { "" }
                })
                .collect();
            if !cells.is_empty() {
                closed.push((start_ms, cells));
            }
            self.closed_until_ms = end_ms;
        }
        closed
    }
}

proptest! {
    /// Against integers: the sum when it fits a decimal at the finer scale, else none.
    #[test]
    fn an_exact_sum_is_the_sum(
        (one, other) in (any::<i64>(), any::<i64>()),
        (places, finer) in (0_u32..10, 0_u32..18),
    ) {
        let exact = i128::from(one) * 10_i128.pow(finer) + i128::from(other);
        let expected = Decimal::try_from_i128_with_scale(exact, places + finer).ok();
        let got = exact_sum(Decimal::new(one, places), Decimal::new(other, places + finer));
        prop_assert_eq!(got.filter(|_| one != 0 && other != 0), expected.filter(|_| one != 0 && other != 0));
    }

    #[test]
    fn agrees_with_a_naive_fold(steps in steps(), by_device in any::<bool>(), lateness_ms in 0_i64..100) {
        let aggregate = Aggregate { zone_ms: 0, ..aggregate(50, lateness_ms, by_device) };
        let mut windows = Windows::new(aggregate.clone(), 0);
        let mut reference = Reference::default();
        for step in &steps {
            let (added, closed) = apply(&mut windows, step);
            let closed: Vec<_> = closed
                .iter()
                .map(|window| (window.start_ms, window.cells.iter().map(shown).collect::<Vec<_>>()))
                .collect();
            match step {
                Step::Close { now_ms } => prop_assert_eq!(closed, reference.close(&aggregate, *now_ms)),
                Step::Add { value: Value::Text(_), .. } => prop_assert_eq!(added, Ok(())),
                Step::Add { series, value, quality, time_ms } => {
                    let is_late = *time_ms < reference.closed_until_ms;
                    prop_assert_eq!(added.is_err(), is_late);
                    let Source { device, metric, unit, .. } = sources()[*series as usize].clone();
                    let name = CellName { metric, device: by_device.then_some(device), unit, place: None };
                    let number = match value {
                        Value::Number(number) => *number,
                        value => if *value == Value::Flag(true) { Decimal::ONE } else { Decimal::ZERO },
                    };
                    if !is_late {
                        let number = quality.is_believable().then_some(number);
                        reference.accepted.push((*time_ms, name, number));
                    }
                }
            }
            prop_assert_eq!(windows.closed_until_ms(), reference.closed_until_ms);
        }
    }

    /// Stopped and resumed after any step: the same bytes come out.
    #[test]
    fn resuming_changes_nothing(steps in steps(), at in 0_usize..150, by_device in any::<bool>()) {
        let aggregate = aggregate(50, 60, by_device);
        let (before, after) = steps.split_at(at.min(steps.len()));
        let mut through = Windows::new(aggregate.clone(), 0);
        for step in before {
            let _ = apply(&mut through, step);
        }
        let bytes = through.snapshot();
        let closed_until_ms = through.closed_until_ms();
        let mut resumed = Windows::restore(aggregate, closed_until_ms, &bytes).expect("its own snapshot");
        prop_assert_eq!(resumed.snapshot(), bytes);
        for step in after {
            prop_assert_eq!(through.wakeup_ms(), resumed.wakeup_ms());
            // The texts of decimals show every digit.
            let (one, other) = (apply(&mut through, step), apply(&mut resumed, step));
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
        prop_assert_eq!(through.snapshot(), resumed.snapshot());
    }

    #[test]
    fn any_bytes_are_safe_to_restore(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        own in any::<bool>(),
        flips in prop::collection::vec((0_usize..400, any::<u8>()), 0..4),
    ) {
        let aggregate = aggregate(50, 60, true);
        if own {
            let mut windows = Windows::new(aggregate.clone(), 0);
            for (series, source) in sources().iter().enumerate() {
                windows.add(source, &reading(series as u32, number("1.5"), series as i64 * 30)).expect("open");
            }
            bytes = windows.snapshot();
        }
        let len = bytes.len().max(1);
        for (index, byte) in flips {
            if let Some(slot) = bytes.get_mut(index % len) {
                *slot = byte;
            }
        }
        if let Ok(mut windows) = Windows::restore(aggregate, 0, &bytes) {
            windows.close(i64::MAX);
            prop_assert_eq!(windows.wakeup_ms(), None);
        }
    }
}
