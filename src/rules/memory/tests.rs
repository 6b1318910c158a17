//! Memory against a naive one that keeps everything, also interrupted.

use proptest::prelude::*;

use super::*;
use Lookback::{Highest, Lowest, Rate, Rise};
use Quality::{CounterBack, Good, OutOfRange, Retained, Slope};

const ONE: SeriesKey = SeriesKey(3);

fn reading(series: SeriesKey, time_ms: i64, value: Value, quality: Quality) -> Reading {
    Reading { series, value, time_ms, received_ms: time_ms, device_time: true, quality }
}

fn number(value: i64) -> Value {
    Value::Number(Decimal::from(value))
}

fn shown(seen: Option<Seen<'_>>) -> String {
    match seen {
        None => "-".into(),
        Some(Seen::Number(number)) => number.normalize().to_string(),
        Some(Seen::Flag(flag)) => flag.to_string(),
        Some(Seen::Text(text)) => text.into(),
    }
}

#[test]
fn cells_are_small() {
    assert!(size_of::<Cell>() <= 48, "{}", size_of::<Cell>());
}

#[test]
fn the_same_is_one_cell() {
    let mut memory = Memory::default();
    let reads =
        [Reads::Value, Reads::Quality, Reads::Over(Lowest, 9), Reads::Over(Rise, 9), Reads::Over(Rise, 8)];
    let cells: Vec<CellId> = reads.iter().map(|reads| memory.of_series(ONE, *reads)).collect();
    let again: Vec<CellId> = reads.iter().rev().map(|reads| memory.of_series(ONE, *reads)).collect();
    assert_eq!(cells, again.into_iter().rev().collect::<Vec<_>>());
    let other = memory.of_series(SeriesKey(0), Reads::Value);
    let there = memory.of_device(2);
    assert_eq!(memory.of_device(2), there);
    let mut all = [cells, vec![other, there]].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 7);
}

#[test]
fn what_was_said_last() {
    let mut memory = Memory::default();
    let (value, quality) = (memory.of_series(ONE, Reads::Value), memory.of_series(ONE, Reads::Quality));
    assert_eq!((shown(memory.seen(value, 0)), memory.newest_ms(ONE)), ("-".into(), None));
    for (time_ms, said, of, expected) in [
        (5, number(7), Good, ("7", "good")),
        (4, number(6), Slope, ("6", "slope")),
        (6, number(5), CounterBack, ("6", "counter_back")),
        (7, number(4), OutOfRange, ("6", "out_of_range")),
        (8, number(3), Retained, ("6", "retained")),
        (9, Value::Flag(true), Good, ("true", "good")),
        (10, Value::Text("open".into()), Good, ("open", "good")),
    ] {
        memory.reading(&reading(ONE, time_ms, said, of));
        let seen = (shown(memory.seen(value, 0)), shown(memory.seen(quality, 0)));
        assert_eq!((seen.0.as_str(), seen.1.as_str()), expected, "at {time_ms}");
    }
    memory.reading(&reading(SeriesKey(99), 1, number(1), Good));
    assert_eq!((memory.newest_ms(ONE), memory.newest_ms(SeriesKey(99))), (Some(10), None));
    assert_eq!(shown(memory.seen(CellId(77), 0)), "-");
}

/// A meter whose clock is an hour behind is heard now: by its own clock it would be missed at once after a restart.
#[test]
fn heard_by_the_clock_of_the_gateway() {
    let mut memory = Memory::default();
    memory.of_series(ONE, Reads::Value);
    for (time_ms, received_ms, heard_ms) in [(400, 4_000, 4_000), (9_000, 5_000, 5_000), (1, 4_500, 5_000)] {
        let reading = Reading { received_ms, ..reading(ONE, time_ms, number(1), Good) };
        memory.reading(&reading);
        assert_eq!(memory.newest_ms(ONE), Some(heard_ms));
    }
}

#[test]
fn who_is_there() {
    let mut memory = Memory::default();
    let there = memory.of_device(1);
    memory.online(0, true);
    memory.online(9, true);
    assert_eq!(shown(memory.seen(there, 0)), "-");
    for online in [true, false] {
        memory.online(1, online);
        assert_eq!(shown(memory.seen(there, 0)), online.to_string());
    }
}

#[test]
fn looks_back() {
    // Readings as (time, value), now, and what is seen of: lowest, highest, rise, rate over 3 200.
    for (name, readings, now_ms, expected) in [
        ("nothing", vec![], 0, ["-", "-", "-", "-"]),
        ("one", vec![(100, 7)], 100, ["7", "7", "0", "-"]),
        ("two", vec![(100, 7), (600, 9)], 700, ["7", "9", "2", "4"]),
        ("a fall is no rise", vec![(0, 7), (500, 1), (1000, 3)], 1000, ["1", "7", "2", "-4"]),
        ("the change into it counts", vec![(0, 7), (5_000, 9)], 5_000, ["9", "9", "2", "-"]),
        ("all of it is past", vec![(0, 7), (500, 9)], 9_000, ["-", "-", "-", "-"]),
        ("out of order", vec![(0, 7), (1000, 9), (500, 99), (700, 1)], 1000, ["1", "99", "2", "2"]),
        ("long before the oldest", vec![(9_000, 7), (500, 99)], 9_000, ["7", "7", "0", "-"]),
        ("a clock that is ahead", vec![(0, 7), (1_000, 9)], 500, ["7", "9", "2", "2"]),
        ("the same time twice", vec![(0, 7), (0, 9)], 0, ["7", "9", "2", "-"]),
    ] {
        let mut memory = Memory::default();
        let cells = [Lowest, Highest, Rise, Rate].map(|of| memory.of_series(ONE, Reads::Over(of, 3_200)));
        for (time_ms, value) in readings {
            memory.reading(&reading(ONE, time_ms, number(value), Good));
            memory.reading(&reading(ONE, time_ms, number(1_000), Slope));
            memory.reading(&reading(ONE, time_ms, Value::Flag(true), Good));
        }
        assert_eq!(cells.map(|cell| shown(memory.seen(cell, now_ms))), expected, "{name}");
    }
}

#[test]
fn numbers_beyond_a_decimal_do_no_harm() {
    let mut memory = Memory::default();
    let cells = [Lowest, Highest, Rise, Rate].map(|of| memory.of_series(ONE, Reads::Over(of, 1_000)));
    for (time_ms, value) in [Decimal::MIN, Decimal::MAX, Decimal::MIN, Decimal::MAX].into_iter().enumerate() {
        memory.reading(&reading(ONE, time_ms as i64, Value::Number(value), Good));
    }
    let (least, most) = (Decimal::MIN.to_string(), Decimal::MAX.to_string());
    assert_eq!(cells.map(|cell| shown(memory.seen(cell, i64::MIN))), [least, most.clone(), most, "-".into()]);
}

/// What a lookback is of all readings after that time.
fn naive(all: &[(i64, i64)], of: Lookback, after_ms: i64) -> Option<Decimal> {
    let mut ordered: Vec<(i64, i64)> = Vec::new();
    for next in all {
        if ordered.last().is_none_or(|last| next.0 >= last.0) {
            ordered.push(*next);
        }
    }
    let inside = all.iter().filter(|(time_ms, _)| *time_ms > after_ms);
    let from = ordered.iter().position(|(time_ms, _)| *time_ms > after_ms)?;
    Some(match of {
        Lowest => inside.map(|(_, value)| *value).min()?.into(),
        Highest => inside.map(|(_, value)| *value).max()?.into(),
        Rise => {
            let pairs = ordered[from.saturating_sub(1)..].windows(2);
            pairs.map(|pair| (pair[1].1 - pair[0].1).max(0)).sum::<i64>().into()
        }
        Rate => {
            let (first, last) = (ordered[from], *ordered.last()?);
            (last.0 > first.0)
                .then(|| Decimal::from((last.1 - first.1) * 1000) / Decimal::from(last.0 - first.0))?
        }
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (-50_i64..50).prop_map(number),
        1 => any::<bool>().prop_map(Value::Flag),
        1 => "[a-z门]{0,4}".prop_map(|text| Value::Text(text.into())),
    ]
}

proptest! {
    /// A lookback is the naive one over the time, up to a 32nd more.
    #[test]
    fn looks_back_as_far_as_it_says(
        steps in prop::collection::vec((-300_i64..900, -50_i64..50), 1..150),
        over_ms in prop::sample::select(vec![32_u64, 100, 1_001, 3_200]),
        later_ms in 0_i64..4_000,
    ) {
        let mut memory = Memory::default();
        let all_of = [Lowest, Highest, Rise, Rate];
        let cells = all_of.map(|of| memory.of_series(ONE, Reads::Over(of, over_ms)));
        let (mut time_ms, mut all, mut newest_ms) = (0, Vec::new(), i64::MIN);
        for (step, value) in steps {
            time_ms += step;
            memory.reading(&reading(ONE, time_ms, number(value), Good));
            all.push((time_ms, value));
            newest_ms = newest_ms.max(time_ms);
        }
        let now_ms = newest_ms + later_ms;
        let over = i64::try_from(over_ms).expect("small");
        for (of, cell) in all_of.into_iter().zip(cells) {
            let seen = shown(memory.seen(cell, now_ms));
            let mut allowed = (0..=over / 32 + 1).map(|more| naive(&all, of, now_ms - over - more));
            let is_one = allowed.any(|naive| shown(naive.map(Seen::Number)) == seen);
            prop_assert!(is_one, "{of:?} {seen}");
        }
        for cell in &memory.cells {
            if let Holds::Over(over) = &cell.holds {
                prop_assert!(over.buckets.len() <= BUCKETS_MAX);
            }
        }
    }

    /// Cut anywhere: what is kept and taken up again answers as one that was never interrupted; what is half there, or of
    /// cells that are no longer read, does no harm.
    #[test]
    fn goes_on_where_it_was(
        readings in prop::collection::vec((0_u32..3, -300_i64..900, any_value(), 0_u8..7), 0..80),
        cut in any::<prop::sample::Index>(),
        bytes in any::<prop::sample::Index>(),
    ) {
        let reads = [Reads::Value, Reads::Quality, Reads::Over(Lowest, 999), Reads::Over(Rise, 3_200), Reads::Over(Rate, 50)];
        let ask = |memory: &mut Memory, skip: usize| {
            let series = (0..3).map(SeriesKey);
            let of = |key| reads.iter().skip(skip).map(move |reads| (key, *reads));
            series.flat_map(of).map(|(key, reads)| memory.of_series(key, reads)).collect::<Vec<_>>()
        };
        let mut whole = Memory::default();
        // Presence is nobody's series.
        whole.of_device(0);
        let cells = ask(&mut whole, 0);
        let cut = cut.index(readings.len() + 1);
        let mut time_ms = 0;
        let readings: Vec<Reading> = readings.into_iter().map(|(series, step, value, quality)| {
            time_ms += step;
            reading(SeriesKey(series), time_ms, value, Quality::from_code(quality))
        }).collect();
        readings[..cut].iter().for_each(|reading| whole.reading(reading));
        let kept = whole.snapshot(|key| Some(i64::from(key.0) + 100));
        let find = |name: i64| u32::try_from(name - 100).ok().map(SeriesKey);
        let mut again = Memory::default();
        let its_cells = ask(&mut again, 0);
        again.restore(&kept, find);
        readings[cut..].iter().for_each(|reading| { whole.reading(reading); again.reading(reading); });
        for (cell, its_cell) in cells.iter().zip(&its_cells) {
            prop_assert_eq!(shown(whole.seen(*cell, time_ms)), shown(again.seen(*its_cell, time_ms)));
        }
        for series in (0..3).map(SeriesKey) {
            prop_assert_eq!(whole.newest_ms(series), again.newest_ms(series));
        }
        let mut fewer = Memory::default();
        let its_cells = ask(&mut fewer, 1);
        fewer.restore(&kept[..bytes.index(kept.len() + 1)], find);
        fewer.restore(&kept, find);
        readings[cut..].iter().for_each(|reading| fewer.reading(reading));
        prop_assert_eq!(shown(whole.seen(cells[1], time_ms)), shown(fewer.seen(its_cells[0], time_ms)));
        let mut none = Memory::default();
        ask(&mut none, 0);
        none.restore(&kept, |_| None);
        prop_assert_eq!(none.newest_ms(SeriesKey(0)), None);
    }
}
