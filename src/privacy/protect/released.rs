//! A closed window as it is let out by a protected line: decided once, stored, the same for everybody.
//!
//! Guarantees: nothing but this module builds a [`Released`]; a cell that is held back has no figure, and looks the same
//! whatever was in it; readings that were left out are not told, because they too are somebody's. What it does not do:
//! remember what was decided (the store), or pay for noise (the caller).

use super::flow::{Entry, Row};
use super::laplace::{self, Source};
use super::table::{Cell, Hidden, Window};
use super::{Dp, Reason, Sdc};
use crate::model::{Amount, ClosedWindow, Crowd, Figure, LineId, Metric, Place, Rollup, Withheld};

/// One cell that was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleasedCell {
    /// The metric.
    pub metric: Metric,
    /// Its unit.
    pub unit: String,
    /// The building; none for the total.
    pub place: Option<Place>,
    /// How many subjects it is about; stays in the gateway. None where noise was added.
    pub subjects: Option<u64>,
    /// How many readings; stays in the gateway. None where noise was added.
    pub events: Option<u64>,
    /// Why it is held back; stays in the gateway.
    pub reason: Option<Reason>,
    /// What noise was added; empty for none.
    pub noise: String,
    /// What is told, or that it is held back.
    pub figures: Vec<Figure>,
}

/// A window that was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Released {
    aggregate: LineId,
    start_ms: i64,
    end_ms: i64,
    cells: Vec<ReleasedCell>,
}

impl Released {
    /// The aggregate.
    #[must_use]
    pub fn aggregate(&self) -> &LineId {
        &self.aggregate
    }

    /// Milliseconds since 1970 UTC, inclusive.
    #[must_use]
    pub fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// Milliseconds since 1970 UTC, exclusive.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.end_ms
    }

    /// Its cells, in the order of the window.
    #[must_use]
    pub fn cells(&self) -> &[ReleasedCell] {
        &self.cells
    }

    /// As a window; who is behind a cell is not in it.
    #[must_use]
    pub fn window(&self) -> ClosedWindow {
        let rollup = |cell: &ReleasedCell| Rollup {
            metric: cell.metric.clone(),
            unit: cell.unit.clone(),
            device: None,
            place: cell.place.clone(),
            crowd: None,
            partial: false,
            noise: cell.noise.as_str().into(),
            figures: cell.figures.clone(),
        };
        ClosedWindow {
            aggregate: self.aggregate.clone(),
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            cells: self.cells.iter().map(rollup).collect(),
        }
    }

    /// The numbers of one table, in the order of its places; none without it.
    fn past(&self, metric: &Metric, unit: &str, places: &[&Option<Place>]) -> Option<Row> {
        let of = |place: &Option<Place>| {
            let is =
                |cell: &&ReleasedCell| cell.metric == *metric && cell.unit == unit && cell.place == *place;
            let cell = self.cells.iter().find(is)?;
            Some(Entry { value: cell.events?, hidden: cell.reason.is_some() })
        };
        Some(Row { cells: places.iter().map(|place| of(place)).collect::<Option<_>>()?, total: of(&None)? })
    }
}

/// A window that the store gave back: it was decided when it was stored. Only the store may say so.
pub(crate) fn restored(aggregate: LineId, start_ms: i64, end_ms: i64, cells: Vec<ReleasedCell>) -> Released {
    Released { aggregate, start_ms, end_ms, cells }
}

/// The cells of a window that are one table: of one metric in one unit.
struct Table<'w> {
    places: Vec<&'w Rollup>,
    total: Option<&'w Rollup>,
}

fn tables(window: &ClosedWindow) -> Vec<Table<'_>> {
    let mut tables: Vec<Table<'_>> = Vec::new();
    // A cell of one device is not of any table.
    for cell in window.cells.iter().filter(|cell| cell.device.is_none()) {
        let is = |table: &&mut Table<'_>| {
            let first = table.total.or(table.places.first().copied());
            first.is_some_and(|first| first.metric == cell.metric && first.unit == cell.unit)
        };
        let at = match tables.iter_mut().find(is) {
            Some(table) => table,
            None => {
                tables.push(Table { places: Vec::new(), total: None });
                let Some(last) = tables.last_mut() else { continue };
                last
            }
        };
        match cell.place {
            Some(_) => at.places.push(cell),
            None => at.total = Some(cell),
        }
    }
    tables
}

/// What a cell's readings are, all told.
fn events(crowd: &Crowd) -> u64 {
    crowd.iter().fold(0, |sum: u64, (_, share)| sum.saturating_add(share.events))
}

fn withheld(statistics: &[String], reason: Reason) -> Vec<Figure> {
    let why = match reason {
        Reason::Few | Reason::Dominance | Reason::Complementary => Withheld::Protected,
        Reason::Budget => Withheld::Budget,
        Reason::Policy => Withheld::Policy,
    };
    let figure = |statistic: &String| Figure {
        statistic: statistic.as_str().into(),
        le: None,
        amount: Amount::Withheld(why),
    };
    statistics.iter().map(figure).collect()
}

fn cell(rollup: &Rollup, reason: Option<Reason>, noise: String, figures: Vec<Figure>) -> ReleasedCell {
    let crowd = rollup.crowd.as_ref();
    ReleasedCell {
        metric: rollup.metric.clone(),
        unit: rollup.unit.clone(),
        place: rollup.place.clone(),
        subjects: crowd.map(Crowd::len),
        events: crowd.map(events),
        reason,
        noise,
        figures,
    }
}

fn released(window: &ClosedWindow, cells: Vec<ReleasedCell>) -> Released {
    Released { aggregate: window.aggregate.clone(), start_ms: window.start_ms, end_ms: window.end_ms, cells }
}

/// A window of which nothing is let out.
#[must_use]
pub fn nothing(window: &ClosedWindow, statistics: &[String], reason: Reason) -> Released {
    let held = |rollup: &Rollup| cell(rollup, Some(reason), String::new(), withheld(statistics, reason));
    released(window, window.cells.iter().filter(|cell| cell.device.is_none()).map(held).collect())
}

/// A window with exact numbers, or none. `parts` are the shorter windows in it, in their order, where they are let out
/// too; none of those is one that was never told.
#[must_use]
pub fn exact(
    rule: &Sdc,
    window: &ClosedWindow,
    statistics: &[String],
    parts: Option<&[Option<Released>]>,
) -> Released {
    let mut cells = Vec::new();
    for table in tables(window) {
        let hidden = hidden(rule, &table, parts);
        let all = table.total.iter().map(|total| (*total, hidden.total));
        for (rollup, reason) in all.chain(table.places.iter().copied().zip(hidden.cells.iter().copied())) {
            let figures = match reason {
                Some(reason) => withheld(statistics, reason),
                None => {
                    let told = |figure: &&Figure| statistics.iter().any(|name| **name == *figure.statistic);
                    rollup.figures.iter().filter(told).cloned().collect()
                }
            };
            cells.push(cell(rollup, reason, String::new(), figures));
        }
    }
    released(window, cells)
}

fn hidden(rule: &Sdc, table: &Table<'_>, parts: Option<&[Option<Released>]>) -> Hidden {
    fn looked_at(rollup: &Rollup) -> Option<Cell<'_>> {
        let crowd = rollup.crowd.as_ref()?;
        Some(Cell { crowd, events: events(crowd) })
    }
    // Of whom nothing is known, nothing is let out.
    let unknown = || Hidden::all(table.places.len(), Reason::Policy);
    let cells = table.places.iter().map(|rollup| looked_at(rollup)).collect::<Option<Vec<_>>>();
    let (Some(cells), Some(total)) = (cells, table.total.and_then(looked_at)) else { return unknown() };
    let window = Window { cells, total };
    let Some(parts) = parts else { return rule.alone(&window) };
    let Some(own) = table.total else { return unknown() };
    let places: Vec<&Option<Place>> = table.places.iter().map(|rollup| &rollup.place).collect();
    let past = |part: &Option<Released>| {
        part.as_ref().map(|part| part.past(&own.metric, &own.unit, &places).ok_or(())).transpose()
    };
    match parts.iter().map(past).collect::<Result<Vec<_>, ()>>() {
        Ok(parts) => rule.nested(&window, &parts),
        // A part of another shape cannot be held against this window.
        Err(()) => Hidden::all(table.places.len(), Reason::Complementary),
    }
}

/// A window with noise on every cell, drawn here. A subject counts [`Dp::contribution`] times over all places, in their
/// order, and as often in the total; all numbers of the window together tell [`Dp::epsilon`] of it.
#[must_use]
pub fn noisy(rule: &Dp, window: &ClosedWindow, statistics: &[String], source: &mut Source<'_>) -> Released {
    let tables = tables(window);
    let mut cells = Vec::new();
    for table in &tables {
        let levels = 1 + u64::from(!table.places.is_empty());
        let numbers = levels * statistics.len().max(1) as u64 * tables.len() as u64;
        let sensitivity = rule.contribution.max(1).saturating_mul(numbers);
        let (num, den) =
            (u64::from(rule.epsilon.num()), u64::from(rule.epsilon.den()).saturating_mul(sensitivity));
        let noise = format!("discrete_laplace epsilon={} sensitivity={sensitivity}", rule.epsilon);
        let mut add = |true_count: u64| {
            let noisy = i128::from(true_count) + i128::from(laplace::draw(num, den, source));
            Amount::Count(u64::try_from(noisy.max(0)).unwrap_or(u64::MAX))
        };
        let bound = rule.contribution.max(1);
        let counted = |rollups: &[&Rollup], distinct: bool| {
            let most = if distinct { 1 } else { bound };
            let mut left: std::collections::BTreeMap<_, u64> = Default::default();
            let mut count = |rollup: &&Rollup| {
                let members = rollup.crowd.iter().flat_map(Crowd::iter);
                let own = members.map(|(id, share)| {
                    let left = left.entry(*id).or_insert(bound);
                    let counted = share.events.min(most).min(*left);
                    *left -= counted;
                    counted
                });
                own.sum::<u64>()
            };
            rollups.iter().map(&mut count).collect::<Vec<u64>>()
        };
        let of = |rollups: &[&Rollup]| -> Vec<Vec<u64>> {
            let by_statistic = statistics.iter().map(|name| counted(rollups, name == "distinct"));
            by_statistic.collect()
        };
        let total: Vec<&Rollup> = table.total.into_iter().collect();
        for rollups in [&total[..], &table.places[..]] {
            let counts = of(rollups);
            for (at, rollup) in rollups.iter().enumerate() {
                let figures = statistics.iter().zip(&counts).map(|(statistic, counts)| Figure {
                    statistic: statistic.as_str().into(),
                    le: None,
                    amount: add(counts[at]),
                });
                let figures = figures.collect();
                let told = cell(rollup, None, noise.clone(), figures);
                // The true numbers are not kept beside the noisy ones.
                cells.push(ReleasedCell { subjects: None, events: None, ..told });
            }
        }
    }
    released(window, cells)
}

#[cfg(test)]
mod tests {
    use super::super::Subjects;
    use super::super::laplace::tests::seeded;
    use super::*;
    use crate::model::crowd::Share;

    fn rollup(place: Option<&str>, members: &[(u8, u64)]) -> Rollup {
        let share = |(id, events): &(u8, u64)| ([*id; 17], Share { events: *events, ..Share::NONE });
        let count = members.iter().map(|(_, events)| events).sum();
        let figure = |statistic: &str, count| Figure {
            statistic: statistic.into(),
            le: None,
            amount: Amount::Count(count),
        };
        Rollup {
            metric: "card".parse().expect("a metric"),
            unit: String::new(),
            device: None,
            place: place.map(|place| place.parse().expect("a place")),
            crowd: Some(Crowd::new(members.iter().map(share), false)),
            partial: true,
            noise: "".into(),
            figures: vec![
                figure("count", count),
                figure("left_out", 3),
                figure("distinct", members.len() as u64),
            ],
        }
    }

    fn window() -> ClosedWindow {
        ClosedWindow {
            aggregate: "A".parse().expect("an id"),
            start_ms: 0,
            end_ms: 1,
            cells: vec![
                rollup(None, &[(1, 6), (2, 9), (3, 1), (4, 1), (5, 1)]),
                rollup(Some("B1"), &[(1, 3)]),
                rollup(Some("B2"), &[(1, 3), (2, 9), (3, 1), (4, 1), (5, 1)]),
                rollup(Some("B3"), &[]),
            ],
        }
    }

    fn told(released: &Released) -> Vec<Vec<String>> {
        let amount = |figure: &Figure| match figure.amount {
            Amount::Count(count) => count.to_string(),
            Amount::Withheld(why) => why.as_str().to_owned(),
            other => format!("{other:?}"),
        };
        released.window().cells.iter().map(|cell| cell.figures.iter().map(amount).collect()).collect()
    }

    fn statistics() -> Vec<String> {
        vec!["count".into(), "distinct".into()]
    }

    #[test]
    fn a_held_back_cell_looks_like_any_other() {
        let rule = Sdc { k: 5, subjects: Subjects::Device, dominance: None, zero_public: false };
        let released = exact(&rule, &window(), &statistics(), None);
        let held = vec!["protected"; 2];
        assert_eq!(told(&released), [vec!["18", "5"], held.clone(), held.clone(), held]);
        assert!(released.window().cells.iter().all(|cell| !cell.partial && cell.crowd.is_none()));
        let nothing = nothing(&window(), &statistics(), Reason::Budget);
        assert_eq!(told(&nothing), vec![vec!["budget"; 2]; 4]);
        let unknown = window().cells.into_iter().map(|cell| Rollup { crowd: None, ..cell });
        let unknown = ClosedWindow { cells: unknown.collect(), ..window() };
        assert_eq!(told(&exact(&rule, &unknown, &statistics(), None)), vec![vec!["policy"; 2]; 4]);
    }

    /// With next to no noise: nobody counts more often than is paid for, in all buildings together and in the total.
    #[test]
    fn nobody_counts_more_often_than_is_paid_for() {
        let rule = Dp {
            epsilon: "1000".parse().expect("a fraction"),
            contribution: 4,
            subjects: Subjects::Device,
            budget: "B".parse().expect("an id"),
        };
        let released = noisy(&rule, &window(), &statistics(), &mut seeded(3));
        assert_eq!(told(&released), [["11", "5"], ["3", "1"], ["8", "5"], ["0", "0"]]);
        let cell = &released.cells()[0];
        assert_eq!(
            (cell.noise.as_str(), cell.subjects),
            ("discrete_laplace epsilon=1000 sensitivity=16", None)
        );
        let zeros: Vec<u64> = (0..200)
            .map(|seed| {
                let rule = Dp { epsilon: "1".parse().expect("a fraction"), ..rule.clone() };
                match noisy(&rule, &window(), &statistics(), &mut seeded(seed)).cells()[3].figures[0].amount {
                    Amount::Count(count) => count,
                    _ => 0,
                }
            })
            .collect();
        assert!(zeros.iter().any(|count| *count > 0) && zeros.contains(&0), "an empty cell has noise too");
    }
}
