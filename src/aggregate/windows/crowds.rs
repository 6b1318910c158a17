//! Cells by building, and who is behind them.

use proptest::prelude::*;

use super::tests::{MINUTE_MS, aggregate, number, reading, source};
use super::*;
use crate::model::{Amount, Crowd, Value};

const PLACES: [Option<&str>; 3] = [None, Some("B1"), Some("B2")];

fn place(name: &str) -> Place {
    name.parse().expect("a place")
}

fn shape(by_value: bool, part_ms: Option<i64>, statistics: &str) -> Aggregate {
    let cell = |name: &Option<&str>| PublicCell {
        metric: "x".parse().expect("a metric"),
        unit: "Cel".into(),
        place: name.map(place),
    };
    let crowds = Crowds { by_value, part_ms, cells: PLACES.iter().map(cell).collect() };
    let statistics = statistics.parse().expect("statistics");
    Aggregate {
        by: By::Building,
        crowds: Some(crowds),
        statistics,
        zone_ms: 0,
        ..aggregate(MINUTE_MS, 0, false)
    }
}

fn at(device: &str, building: &str) -> Source {
    Source { building: place(building), ..source(device, "x") }
}

/// "place: count who weights" of every cell.
fn told(window: &ClosedWindow) -> Vec<String> {
    let one = |cell: &Rollup| {
        let place = cell.place.as_ref().map_or("all", Place::as_str);
        let crowd = cell.crowd.as_ref().expect("a crowd");
        let mut weights: Vec<String> = crowd
            .iter()
            .map(|(_, share)| share.weight.map_or("?".into(), |weight| weight.to_string()))
            .collect();
        weights.sort();
        let count = match cell.figures[0].amount {
            Amount::Count(count) => count,
            _ => u64::MAX,
        };
        format!("{place}: {count} {} {}", crowd.len(), weights.join(","))
    };
    window.cells.iter().map(one).collect()
}

#[test]
fn a_cell_for_each_building_and_one_for_all() {
    let mut windows = Windows::new(shape(false, None, "count,sum"), 0);
    for (series, device, building, value) in [
        (0, "a", "B1", "5"),
        (1, "b", "B1", "2.5"),
        (2, "c", "B2", "1"),
        (0, "a", "B1", "3"),
        (3, "d", "B9", "7"),
    ] {
        windows.add(&at(device, building), &reading(series, number(value), 1000)).expect("open");
    }
    let closed = windows.close(MINUTE_MS);
    assert_eq!(told(&closed[0]), ["all: 5 4 1,2.5,7,8", "B1: 3 2 2.5,8", "B2: 1 1 1"]);
    assert_eq!(
        told(&windows.close(2 * MINUTE_MS)[0]),
        ["all: 0 0 ", "B1: 0 0 ", "B2: 0 0 "],
        "silence is told"
    );
}

#[test]
fn silence_from_before_the_first_window_is_not_told() {
    let mut windows = Windows::new(shape(false, None, "count"), i64::MIN);
    assert_eq!((windows.close(90_000), windows.wakeup_ms()), (vec![], Some(2 * MINUTE_MS)));
    assert_eq!(windows.close(2 * MINUTE_MS).len(), 1);
    assert_eq!(windows.close(1000 * MINUTE_MS).len(), OPEN_MAX, "the gateway was away");
}

#[test]
fn who_it_is_and_how_much() {
    let text = |text: &str| Value::Text(text.into());
    let mut windows = Windows::new(shape(true, Some(20_000), "count,distinct"), 0);
    for (second, building, card) in
        [(1, "B1", "p1_a"), (2, "B1", "p1_b"), (25, "B1", "p1_a"), (59, "B2", "p1_a")]
    {
        windows.add(&at("gate", building), &reading(0, text(card), second * 1000)).expect("open");
    }
    let closed = windows.close(MINUTE_MS);
    assert_eq!(told(&closed[0]), ["all: 4 2 1,3", "B1: 3 2 1,2", "B2: 1 1 1"]);
    let parts = |cell: usize, parts| closed[0].cells[cell].crowd.as_ref().map(|crowd| crowd.in_parts(parts));
    assert_eq!([parts(0, 0b001), parts(0, 0b010), parts(0, 0b100), parts(2, 0b011)], [2, 1, 1, 0].map(Some));

    let mut windows = Windows::new(shape(false, None, "count,delta"), 0);
    for (series, device, second, value) in
        [(0, "a", 1, "100"), (0, "a", 2, "109"), (1, "b", 1, "7"), (1, "b", 9, "8")]
    {
        windows.add(&at(device, "B1"), &reading(series, number(value), second * 1000)).expect("open");
    }
    assert_eq!(told(&windows.close(MINUTE_MS)[0])[1], "B1: 4 2 1,9", "what its counter grew by");
}

proptest! {
    /// Stopped and resumed at any point: the same windows, with everybody in them.
    #[test]
    fn resuming_changes_nothing(
        told in prop::collection::vec((0_u32..4, 0_i64..9, 0_i64..130_000), 0..80),
        split in 0_usize..80,
        by_value in any::<bool>(),
    ) {
        let shape = shape(by_value, Some(10_000), if by_value { "count,distinct" } else { "count,sum,delta" });
        let add = |windows: &mut Windows, (series, value, time_ms): &(u32, i64, i64)| {
            let building = ["B1", "B2", "B1", "B9"][*series as usize];
            let value = if by_value { Value::Text(value.to_string().into()) } else { number(&value.to_string()) };
            let _ = windows.add(&at(&format!("d{series}"), building), &reading(*series, value, *time_ms));
        };
        let mut through = Windows::new(shape.clone(), 0);
        let (before, after) = told.split_at(split.min(told.len()));
        before.iter().for_each(|told| add(&mut through, told));
        let bytes = through.snapshot();
        let mut resumed = Windows::restore(shape, through.closed_until_ms(), &bytes).expect("its own snapshot");
        prop_assert_eq!(&resumed.snapshot(), &bytes);
        after.iter().for_each(|told| { add(&mut through, told); add(&mut resumed, told); });
        let (one, other) = (through.close(200_000), resumed.close(200_000));
        prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
        for (one, other) in one.iter().zip(&other) {
            prop_assert_eq!(one, other);
            // The buildings together are all of it; whoever is in a building that is not told is in all.
            let crowd = |cell: &Rollup| cell.crowd.clone().unwrap_or_default();
            let crowds: Vec<Crowd> = one.cells.iter().map(crowd).collect();
            prop_assert!(crowds[0].len() >= Crowd::union(&crowds[1..]));
        }
    }

    #[test]
    fn any_bytes_are_safe_to_restore(
        flips in prop::collection::vec((0_usize..900, any::<u8>()), 0..4),
        cut in 0_usize..900,
    ) {
        let mut windows = Windows::new(shape(false, Some(10_000), "count,sum"), 0);
        for (series, device, building) in [(0, "a", "B1"), (1, "b", "B2")] {
            windows.add(&at(device, building), &reading(series, number("1.5"), 30)).expect("open");
        }
        let mut bytes = windows.snapshot();
        let len = bytes.len();
        flips.iter().for_each(|(index, byte)| bytes[index % len] = *byte);
        bytes.truncate(cut.max(2));
        if let Ok(mut windows) = Windows::restore(shape(false, Some(10_000), "count,sum"), 0, &bytes) {
            windows.close(i64::MAX);
        }
    }
}
