//! Tumbling, half-open windows in event time, closed by a watermark.
//!
//! Guarantees: a window that was closed is never opened again, so what was told about it stays true; sums are exact or
//! absent; the same readings in the same order give the same windows, also across [`Windows::snapshot`] and
//! [`Windows::restore`] at any point; a reading that cannot be believed is in no number, and its cell says that it was
//! left out. At most [`OPEN_MAX`] windows are open at once. What it does not do: look at a clock, count what is late (the
//! caller, by [`Late`]), or repair the time of a reading.
//!
//! What asks for the reading before (a delta, a mean by time, coverage, online) begins with what was known of the series
//! when the window began; a reading that is late for its window is in no number of it, but it is known to the next one.
//! A series that was heard once is expected in every window from then on: of a percentage a silent one has 0.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{Cell, Grown, Keeps, Order, Somebody, member, number};
pub use super::shape::{Aggregate, By, Crowds, PublicCell};
use super::snapshot;
use super::statistic::Statistic;
use super::trail::{Known, Mark, Pace, Span, Trail};
use crate::model::crowd::MemberId;
use crate::model::{ClosedWindow, DeviceId, Metric, Place, Reading, Rollup};

/// How many windows one aggregate keeps open. Enough whenever `(lateness + 5 minutes) / size` is below 63: a reading
/// lies at most 5 minutes in the future, and one behind the lateness is late. A reading that would open one more is
/// late. Of windows in which everything was silent, the last so many are told when they are closed together.
pub const OPEN_MAX: usize = 64;

/// What a window has to know about a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The device.
    pub device: DeviceId,
    /// The metric.
    pub metric: Metric,
    /// Its unit.
    pub unit: String,
    /// The building it is in.
    pub building: Place,
    /// How it is expected to tell something.
    pub pace: Pace,
}

impl Source {
    fn line_name(&self, by: By) -> CellName {
        let Source { device, metric, unit, building, .. } = self;
        let place = Some(building.clone()).filter(|_| by == By::Building);
        CellName { metric: metric.clone(), device: Some(device.clone()), unit: unit.clone(), place }
    }
}

/// The reading came after its window was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

/// What readings of a window are folded together. The unit is part of it, so that a change of unit starts a new cell
/// instead of a wrong sum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CellName {
    pub(super) metric: Metric,
    pub(super) device: Option<DeviceId>,
    pub(super) unit: String,
    pub(super) place: Option<Place>,
}

/// An open window.
#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    /// By the number of their name.
    pub(super) cells: Vec<Option<Cell>>,
    /// By the number of their line.
    pub(super) trails: Vec<Option<Trail>>,
}

/// A series of which it matters which reading came after which, from window to window.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The number of its cells' names.
    pub(super) cells: Cells,
    pub(super) pace: Pace,
    /// Up to the windows that are still open.
    pub(super) known: Option<Known>,
    /// Whether it is still configured.
    pub(super) expected: bool,
}

/// What an aggregate remembers, in the form of its snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Every cell seen, numbered; in the order in which cells are told. Bounded by the points that were configured.
    pub(super) names: BTreeMap<CellName, usize>,
    /// Likewise every series whose order matters.
    pub(super) line_names: BTreeMap<CellName, usize>,
    pub(super) lines: Vec<Line>,
    /// By start; at most [`OPEN_MAX`].
    pub(super) open: BTreeMap<i64, Open>,
}

impl State {
    /// The numbers of the names of a line's cells; the device is left out where a cell is of several of them.
    pub(super) fn cells(&mut self, line: &CellName, by: By) -> Cells {
        match by {
            By::Device => Cells { own: self.cell(line.clone()), all: None },
            By::Building => Cells {
                own: self.cell(CellName { device: None, ..line.clone() }),
                all: Some(self.cell(CellName { device: None, place: None, ..line.clone() })),
            },
            By::Compound => Cells { own: self.cell(CellName { device: None, ..line.clone() }), all: None },
        }
    }

    fn cell(&mut self, name: CellName) -> usize {
        let next = self.names.len();
        *self.names.entry(name).or_insert(next)
    }
}

/// The numbers of the cells that a reading goes into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cells {
    /// That of its device, of its building, or the only one.
    own: usize,
    /// That of all buildings.
    all: Option<usize>,
}

impl Cells {
    fn iter(self) -> impl Iterator<Item = usize> {
        std::iter::once(self.own).chain(self.all)
    }
}

/// Where a series' readings go: its cells, and its line if the order matters.
#[derive(Clone, Copy, Debug)]
struct Lot {
    cells: Cells,
    line: Option<usize>,
    /// Who it is, where each device is somebody.
    member: Option<MemberId>,
}

/// The open windows of one aggregate.
#[derive(Clone, Debug)]
pub struct Windows {
    aggregate: Aggregate,
    keeps: Keeps,
    takes_texts: bool,
    closed_until_ms: i64,
    state: State,
    /// By series: what was known of it and where it goes, so that a reading costs no search.
    series: Vec<Option<(Source, Lot)>>,
}

impl Windows {
    /// No window open; everything that ends at or before `closed_until_ms` is closed.
    #[must_use]
    pub fn new(aggregate: Aggregate, closed_until_ms: i64) -> Self {
        let keeps = Keeps::of(&aggregate);
        let takes_texts = aggregate.statistics.are_of_texts();
        let mut windows = Self {
            aggregate,
            keeps,
            takes_texts,
            closed_until_ms,
            state: State::default(),
            series: Vec::new(),
        };
        windows.know_cells();
        windows
    }

    /// Numbers the cells that are told without a reading.
    fn know_cells(&mut self) {
        for cell in self.aggregate.crowds.iter().flat_map(|crowds| &crowds.cells) {
            self.state.cell(cell.name());
        }
    }

    /// Whether windows without a reading are told: not those from before the first one.
    fn tells_silence(&self) -> bool {
        self.aggregate.crowds.is_some() && self.closed_until_ms > i64::MIN
    }

    /// Adds a reading (a flag counts as 0 or 1). Texts are aggregated only where all statistics are of texts, and are no
    /// error elsewhere.
    ///
    /// # Errors
    /// [`Late`] when its window is closed, or would be one more than [`OPEN_MAX`].
    pub fn add(&mut self, source: &Source, reading: &Reading) -> Result<(), Late> {
        let number = number(&reading.value);
        if number.is_none() && !self.takes_texts {
            return Ok(());
        }
        let is_believed = reading.quality.is_believable();
        let mark = Mark { time_ms: reading.time_ms, number: number.filter(|_| is_believed) };
        let start_ms = self.aggregate.start_of(reading.time_ms);
        let span = self.aggregate.span_of(start_ms);
        if span.end_ms <= self.closed_until_ms {
            if self.aggregate.orders(&source.pace)
                && let Some(line) = self.lot(source, reading.series.index()).line
            {
                let line = &mut self.state.lines[line];
                line.known = Some(Known::with(line.known, mark));
            }
            return Err(Late);
        }
        let lot = self.lot(source, reading.series.index());
        if self.state.open.len() >= OPEN_MAX && !self.state.open.contains_key(&start_ms) {
            return Err(Late);
        }
        let Open { cells, trails } = self.state.open.entry(start_ms).or_default();
        let somebody =
            Somebody { member: lot.member, part: self.aggregate.part_of(reading.time_ms, start_ms) };
        for number in lot.cells.iter() {
            let cell = slot(cells, number).get_or_insert_default();
            if is_believed {
                cell.add(&reading.value, reading.time_ms, &self.keeps, somebody);
            } else {
                cell.left_out += 1;
            }
        }
        if let Some(line) = lot.line {
            slot(trails, line).get_or_insert_default().push(mark, span, &self.state.lines[line].pace);
        }
        Ok(())
    }

    fn lot(&mut self, source: &Source, series: usize) -> Lot {
        // A reload may give a series another unit: it is compared, not trusted.
        if let Some(Some((known, lot))) = self.series.get(series)
            && known == source
        {
            return *lot;
        }
        let name = source.line_name(self.aggregate.by);
        let cells = self.state.cells(&name, self.aggregate.by);
        let line = self.aggregate.orders(&source.pace).then(|| {
            let State { line_names, lines, .. } = &mut self.state;
            let number = *line_names.entry(name).or_insert(lines.len());
            if number == lines.len() {
                lines.push(Line { cells, pace: source.pace, known: None, expected: true });
            }
            lines[number].pace = source.pace;
            lines[number].expected = true;
            number
        });
        let by_device = self.aggregate.crowds.as_ref().is_some_and(|crowds| !crowds.by_value);
        let lot = Lot { cells, line, member: by_device.then(|| member(&source.device)) };
        *slot(&mut self.series, series) = Some((source.clone(), lot));
        lot
    }

    /// Forgets what was known of series that are not configured any more: nothing is expected of them.
    pub fn expect<'s>(&mut self, sources: impl IntoIterator<Item = &'s Source>) {
        let paces: BTreeMap<CellName, Pace> =
            sources.into_iter().map(|source| (source.line_name(self.aggregate.by), source.pace)).collect();
        for (name, number) in &self.state.line_names {
            let line = &mut self.state.lines[*number];
            match paces.get(name).filter(|pace| self.aggregate.orders(pace)) {
                Some(pace) => (line.pace, line.expected) = (*pace, true),
                None => (line.known, line.expected) = (None, false),
            }
        }
    }

    /// Closes what ends at or before `now_ms - lateness`, oldest first. Windows without a reading are told only of
    /// percentages, and where all cells are known.
    pub fn close(&mut self, now_ms: i64) -> Vec<ClosedWindow> {
        let horizon_ms = now_ms.saturating_sub(self.aggregate.lateness_ms.max(0));
        let boundary_ms = self.aggregate.start_of(horizon_ms);
        let (before_ms, tells_silence) = (self.closed_until_ms, self.tells_silence());
        self.closed_until_ms = before_ms.max(boundary_ms);
        let still_open = self.state.open.split_off(&boundary_ms);
        let mut closed = std::mem::replace(&mut self.state.open, still_open);
        let mut starts: BTreeSet<i64> = closed.keys().copied().collect();
        if self.aggregate.has_percent() || tells_silence {
            let size_ms = self.aggregate.size_ms.max(1);
            let first_ms = boundary_ms.saturating_sub(size_ms.saturating_mul(OPEN_MAX as i64));
            let first_ms = self.aggregate.start_of(before_ms.max(first_ms));
            let silent = std::iter::successors(Some(first_ms), |start_ms| start_ms.checked_add(size_ms));
            starts.extend(silent.take(OPEN_MAX).take_while(|start_ms| *start_ms < boundary_ms));
        }
        let windows = starts.into_iter().map(|start_ms| {
            let open = closed.remove(&start_ms).unwrap_or_default();
            self.told(start_ms, open)
        });
        windows.filter(|window| !window.cells.is_empty()).collect()
    }

    /// Closes what is open as it stands, oldest first: the aggregate is no more.
    pub fn end(&mut self) -> Vec<ClosedWindow> {
        let open = std::mem::take(&mut self.state.open);
        open.into_iter().map(|(start_ms, open)| self.told(start_ms, open)).collect()
    }

    fn told(&mut self, start_ms: i64, mut open: Open) -> ClosedWindow {
        let (orders, grown) = self.orders(self.aggregate.span_of(start_ms), &mut open);
        let has_percent = self.aggregate.has_percent();
        let public: Option<BTreeSet<CellName>> =
            self.aggregate.crowds.as_ref().map(|crowds| crowds.cells.iter().map(PublicCell::name).collect());
        let rollup = |(name, number): (&CellName, &usize)| {
            let order = orders.get(*number).and_then(Option::as_ref);
            let cell = open.cells.get_mut(*number).and_then(Option::take);
            let is_told = match &public {
                // Which cells are told must not depend on what was read.
                Some(public) => public.contains(name),
                None => cell.is_some() || (has_percent && order.is_some()),
            };
            if !is_told {
                return None;
            }
            let cell = cell.unwrap_or_default();
            let CellName { metric, device, unit, place } = name.clone();
            let partial = cell.is_partial() || order.is_some_and(|order| order.disordered > 0);
            let figures = cell.figures(&self.aggregate, order);
            let crowd = self.aggregate.crowds.as_ref().map(|crowds| cell.crowd(crowds, grown.get(number)));
            Some(Rollup { metric, unit, device, place, crowd, partial, noise: "".into(), figures })
        };
        ClosedWindow {
            aggregate: self.aggregate.id.clone(),
            start_ms,
            end_ms: self.aggregate.end_of(start_ms),
            cells: self.state.names.iter().filter_map(rollup).collect(),
        }
    }

    /// What the lines did in a window, by cell; they know it from then on.
    fn orders(&mut self, span: Span, open: &mut Open) -> (Vec<Option<Order>>, Grown) {
        let State { names, line_names, lines, .. } = &mut self.state;
        let mut grown = Grown::new();
        if lines.is_empty() {
            return (Vec::new(), grown);
        }
        let by_device = self.aggregate.crowds.as_ref().is_some_and(|crowds| !crowds.by_value);
        let grows = by_device && self.aggregate.statistics.has(Statistic::Delta);
        let mut orders = vec![None; names.len()];
        for (name, number) in line_names.iter() {
            let line = &mut lines[*number];
            let trail = match open.trails.get_mut(*number).and_then(Option::take) {
                Some(trail) => trail,
                None if line.known.is_some() => Trail::default(),
                None => continue,
            };
            let passage = trail.passage(line.known, span, &line.pace);
            for cell in line.cells.iter() {
                let order = orders[cell].get_or_insert(Order::NONE);
                order.passage.add(&passage);
                order.expected_ms = order.expected_ms.saturating_add(span.size_ms());
                order.time_mean |= self.aggregate.is_by_time(&line.pace);
                order.disordered += trail.disordered;
                if let Some(device) = name.device.as_ref().filter(|_| grows) {
                    grown.entry(cell).or_default().insert(member(device), passage.delta);
                }
            }
            if line.expected {
                line.known = trail.known(line.known);
            }
        }
        (orders, grown)
    }

    /// Everything that ends at or before this is closed.
    #[must_use]
    pub fn closed_until_ms(&self) -> i64 {
        self.closed_until_ms
    }

    /// When `close` would next close something, milliseconds since 1970 UTC.
    #[must_use]
    pub fn wakeup_ms(&self) -> Option<i64> {
        let open_ms = self.state.open.first_key_value().map(|(start_ms, _)| *start_ms);
        let is_expected = || self.state.lines.iter().any(|line| line.known.is_some());
        let silent = (self.aggregate.has_percent() && is_expected()) || self.tells_silence();
        let silent_ms = silent.then(|| self.aggregate.start_of(self.closed_until_ms));
        let start_ms = open_ms.into_iter().chain(silent_ms).min()?;
        Some(self.aggregate.end_of(start_ms).saturating_add(self.aggregate.lateness_ms.max(0)))
    }

    /// The open windows, and what is known of the series before them, as bytes to resume from. The same windows give the
    /// same bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        snapshot::encode(&self.aggregate, &self.state)
    }

    /// Resumes from a snapshot; windows closed since are left out, but for what is known by them.
    ///
    /// # Errors
    /// When the bytes are no snapshot, or one of an aggregate of another size, zone, kind of cells or statistics.
    pub fn restore(
        aggregate: Aggregate,
        closed_until_ms: i64,
        snapshot: &[u8],
    ) -> Result<Self, &'static str> {
        let state = snapshot::decode(&aggregate, snapshot)?;
        let mut windows = Self { state, ..Self::new(aggregate, closed_until_ms) };
        windows.know_cells();
        let State { lines, open, .. } = &mut windows.state;
        open.retain(|start_ms, open| {
            let is_open = windows.aggregate.end_of(*start_ms) > closed_until_ms;
            if !is_open {
                for (line, trail) in lines.iter_mut().zip(&open.trails) {
                    line.known = trail.as_ref().map_or(line.known, |trail| trail.known(line.known));
                }
            }
            is_open
        });
        Ok(windows)
    }
}

/// The place of a number in a table that grows.
fn slot<T: Clone>(table: &mut Vec<Option<T>>, number: usize) -> &mut Option<T> {
    if table.len() <= number {
        table.resize(number + 1, None);
    }
    &mut table[number]
}

#[cfg(test)]
mod crowds;
#[cfg(test)]
mod statistics;
#[cfg(test)]
mod tests;
