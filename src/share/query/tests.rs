//! Questions that are none, and answers that say no more than a record.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{Amount, ClosedWindow, Figure, LineId, Rollup, Withheld};
use crate::privacy::protect::Reason;
use crate::privacy::protect::released::{Released, nothing};
use crate::share::fake::line;
use v1::record_body::Content;

const DAY_MS: i64 = 86_400_000;

fn id(name: &str) -> LineId {
    name.parse().expect("an id")
}

fn query() -> Query {
    Query {
        id: id("Q-1"),
        title: String::new(),
        share: id("S-1"),
        aggregate: id("A-1h"),
        size_ms: 3_600_000,
        metrics: vec!["card".parse().expect("a metric"), "plate".parse().expect("a metric")],
        by_metric: true,
        buildings: vec!["B1".parse().expect("a place"), "B2".parse().expect("a place")],
        by_building: true,
        all_buildings: true,
        span_max_ms: 50 * DAY_MS,
        spending: None,
    }
}

fn arguments(said: &[(&str, &str)]) -> BTreeMap<String, String> {
    said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const FROM: (&str, &str) = ("from", "2026-11-21T00:00:00+08:00");
const TO: (&str, &str) = ("to", "2026-11-21T16:00:00Z");

#[test]
fn arguments_choose_from_what_there_is() {
    let all = sought(&query(), &arguments(&[FROM, TO])).expect("a question");
    assert_eq!((all.from_ms, all.to_ms - all.from_ms), (1_795_190_400_000, DAY_MS));
    assert_eq!((all.metrics.len(), &all.places), (2, &Places::All));
    let chosen = [FROM, TO, ("metric", "plate"), ("building", "B2")];
    let one = sought(&query(), &arguments(&chosen)).expect("a question");
    assert_eq!(one.metrics, ["plate".parse::<Metric>().expect("a metric")]);
    assert_eq!(one.places, Places::One("B2".parse().expect("a place")));
    let listed = Query { all_buildings: false, ..query() };
    let listed = sought(&listed, &arguments(&[FROM, TO])).expect("a question");
    assert_eq!(listed.places, Places::Of(query().buildings));

    let closed = Query { by_building: false, ..query() };
    let short = Query { span_max_ms: DAY_MS / 2, ..query() };
    let year = ("to", "2027-01-10T00:00:00Z");
    for (query, said, word) in [
        (query(), vec![FROM], "argument to is needed"),
        (query(), vec![TO], "argument from is needed"),
        (query(), vec![FROM, ("to", "tomorrow")], "argument to has to be a time"),
        (query(), vec![("from", TO.1), ("to", TO.1)], "later than from"),
        (query(), vec![("from", TO.1), ("to", FROM.1)], "later than from"),
        (query(), vec![FROM, TO, ("person", "Zhang San")], "it has from, to, metric, building"),
        (closed, vec![FROM, TO, ("building", "B1")], "it has from, to, metric"),
        (query(), vec![FROM, TO, ("building", "沪A12345")], "building is none of its values: B1, B2"),
        (query(), vec![FROM, TO, ("metric", "card' OR 1")], "metric is none of its values: card, plate"),
        (short, vec![FROM, TO], "more than 720 min apart"),
        (query(), vec![FROM, year], "more than 60000 min apart"),
    ] {
        let refused = sought(&query, &arguments(&said)).expect_err(word);
        let text = refused.to_string();
        assert!(text.contains(word), "{text}");
        assert!(!text.contains("12345") && !text.contains("Zhang") && !text.contains("OR"), "{text}");
        assert_eq!(refused.reason(), "argument");
    }
}

#[test]
fn parts_hold_every_window_once() {
    let measure = v1::Measure { name: "x".repeat(PART_BYTES / 3), ..v1::Measure::default() };
    let window = v1::QueryWindow { measures: vec![measure], ..v1::QueryWindow::default() };
    for (count, expected) in [(0, 1), (1, 1), (2, 1), (3, 2), (5, 3)] {
        let parts = parts(vec![window.clone(); count], 7, "3/2");
        assert_eq!(parts.len(), expected, "{count}");
        assert_eq!(parts.iter().map(|part| part.windows.len()).sum::<usize>(), count);
        assert!(parts.iter().all(|part| part.audit_row == 7 && part.budget_left == "3/2"));
    }
}

fn cell(metric: usize, place: Option<usize>, amount: Amount) -> Rollup {
    let place = place.map(|at| ["B1", "B2", "B3"][at].parse().expect("a place"));
    Rollup {
        metric: ["card", "plate", "other"][metric].parse().expect("a metric"),
        unit: String::new(),
        device: None,
        place,
        crowd: None,
        noise: "".into(),
        partial: false,
        figures: vec![Figure { statistic: "count".into(), le: None, amount }],
    }
}

fn amount() -> impl Strategy<Value = Amount> {
    let held = [Withheld::Protected, Withheld::Budget, Withheld::Policy];
    prop_oneof![
        any::<u32>().prop_map(|count| Amount::Count(count.into())),
        (-1e9..1e9).prop_map(Amount::Near),
        prop::sample::select(held.to_vec()).prop_map(Amount::Withheld),
    ]
}

proptest! {
    /// Whatever was let out of a window, and whatever is chosen of it: the answer has only measures that a record of the line
    /// has, byte by byte.
    #[test]
    fn an_answer_says_nothing_that_a_record_would_not(
        cells in prop::collection::vec((0..3_usize, prop::option::of(0..3_usize), amount()), 1..8),
        listed in prop::collection::btree_set(0..3_usize, 0..3),
        kept in prop::collection::vec(any::<bool>(), 8),
        until_ms in prop::option::of(0..3_i64),
    ) {
        let rollups: Vec<Rollup> =
            cells.iter().map(|(metric, place, amount)| cell(*metric, *place, *amount)).collect();
        let share = ShareLine {
            lane: crate::model::Lane::Aggregate,
            metrics: listed.iter().map(|at| ["card", "plate", "other"][*at].parse().expect("a metric")).collect(),
            devices: false,
            carries: vec![id("A-1h")],
            until_ms,
            ..line("S-1", crate::model::Lane::Aggregate, &["c"])
        };
        let window = |cells| ClosedWindow { aggregate: id("A-1h"), start_ms: 0, end_ms: 3_600_000, cells };
        let chosen = rollups.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(cell, _)| cell.clone()).collect();
        let record = share.window(&window(rollups), 1);
        let answer = share.window(&window(chosen), 1).map(|cleared| wire::query_window(&share, &cleared));
        let gateway = wire::Gateway::default();
        let sealed = record.iter().flat_map(|cleared| wire::window(&gateway, &share, 1, cleared, |_| false, 1));
        let mut told = BTreeSet::new();
        for sealed in sealed {
            let body = v1::RecordBody::decode(sealed.body().clone()).expect("a body");
            let Some(Content::Aggregate(aggregate)) = body.content else { panic!("no window") };
            told.extend(aggregate.measures.iter().map(Message::encode_to_vec));
        }
        for measure in answer.iter().flat_map(|answer| &answer.measures) {
            prop_assert!(told.contains(&measure.encode_to_vec()), "{measure:?}");
        }
    }
}

/// A window of which everything is held back.
pub(in crate::share) fn held_back(start_ms: i64) -> Released {
    let cells = vec![cell(0, None, Amount::Count(3)), cell(0, Some(0), Amount::Count(3))];
    let window = ClosedWindow { aggregate: id("A-1h"), start_ms, end_ms: start_ms + 3_600_000, cells };
    nothing(&window, &["count".to_owned()], Reason::Few)
}
