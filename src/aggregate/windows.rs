//! Tumbling, half-open windows in event time, closed by a watermark.
//!
//! Guarantees: a window that was closed is never opened again, so what was told about it stays true; sums are exact or
//! absent; the same readings in the same order give the same windows, also across [`Windows::snapshot`] and
//! [`Windows::restore`] at any point; a reading that cannot be believed is in no number, and its cell says that it was
//! left out. At most [`OPEN_MAX`] windows are open at once. What it does not do: look at a clock, count what is late (the
//! caller, by [`Late`]), or repair the time of a reading.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rust_decimal::Decimal;

use super::snapshot;
use crate::model::{ClosedWindow, DeviceId, LineId, Metric, Reading, Rollup, Value};

/// How many windows one aggregate keeps open. Enough whenever `(lateness + 5 minutes) / size` is below 63: a reading
/// lies at most 5 minutes in the future, and one behind the lateness is late. A reading that would open one more is
/// late.
pub const OPEN_MAX: usize = 64;

/// One aggregate of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Its id.
    pub id: LineId,
    /// Length of a window, milliseconds; at least 1.
    pub size_ms: i64,
    /// How long after its end a window waits for late readings, milliseconds; at least 0.
    pub lateness_ms: i64,
    /// The zone's offset from UTC, milliseconds: windows of a day begin at local midnight.
    pub zone_ms: i64,
    /// Whether each device is a cell of its own.
    pub by_device: bool,
}

impl Aggregate {
    /// The start of the window that a time lies in.
    fn start_of(&self, time_ms: i64) -> i64 {
        let size_ms = self.size_ms.max(1);
        let local_ms = time_ms.saturating_add(self.zone_ms);
        local_ms.div_euclid(size_ms).saturating_mul(size_ms).saturating_sub(self.zone_ms)
    }

    fn end_of(&self, start_ms: i64) -> i64 {
        start_ms.saturating_add(self.size_ms.max(1))
    }
}

/// What a window has to know about a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The device.
    pub device: DeviceId,
    /// The metric.
    pub metric: Metric,
    /// Its unit.
    pub unit: String,
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
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) left_out: u64,
    pub(super) numbers: Option<Numbers>,
}

/// The fold of a cell's numbers; of one at least.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) count: u64,
    pub(super) sum: Option<Decimal>,
    pub(super) min: Decimal,
    pub(super) max: Decimal,
    pub(super) last: Decimal,
    pub(super) last_ms: i64,
}

impl Numbers {
    fn new(number: Decimal, time_ms: i64) -> Self {
        Self { count: 1, sum: Some(number), min: number, max: number, last: number, last_ms: time_ms }
    }

    fn add(&mut self, number: Decimal, time_ms: i64) {
        self.count += 1;
        self.sum = self.sum.and_then(|sum| exact_sum(sum, number));
        if number < self.min {
            self.min = number;
        }
        if number > self.max {
            self.max = number;
        }
        if time_ms >= self.last_ms {
            self.last = number;
            self.last_ms = time_ms;
        }
    }
}

/// `None` when the sum is beyond a decimal, or would have to be rounded to be one.
fn exact_sum(one: Decimal, other: Decimal) -> Option<Decimal> {
    let sum = one.checked_add(other)?;
    // Rounding shows as a scale below that of the operands; next to a zero the other operand is the sum.
    let is_exact = one.is_zero() || other.is_zero() || sum.scale() == one.scale().max(other.scale());
    is_exact.then_some(sum)
}

/// The cells of an open window, by the number of their name.
pub(super) type Open = Vec<Option<Cell>>;

/// The open windows of one aggregate.
#[derive(Clone, Debug)]
pub struct Windows {
    aggregate: Aggregate,
    closed_until_ms: i64,
    /// By start; at most [`OPEN_MAX`].
    open: BTreeMap<i64, Open>,
    /// Every cell seen, numbered; in the order in which cells are told. Bounded by the points that were configured.
    names: BTreeMap<CellName, usize>,
    /// By series: what was known of it and the number of its cell, so that a reading costs no search.
    series: Vec<Option<(Source, usize)>>,
}

impl Windows {
    /// No window open; everything that ends at or before `closed_until_ms` is closed.
    #[must_use]
    pub fn new(aggregate: Aggregate, closed_until_ms: i64) -> Self {
        Self { aggregate, closed_until_ms, open: BTreeMap::new(), names: BTreeMap::new(), series: Vec::new() }
    }

    /// Adds a numeric or flag reading (a flag counts as 0 or 1); texts are not aggregated and are no error.
    ///
    /// # Errors
    /// [`Late`] when its window is closed, or would be one more than [`OPEN_MAX`].
    pub fn add(&mut self, source: &Source, reading: &Reading) -> Result<(), Late> {
        let number = match reading.value {
            Value::Number(number) => number,
            Value::Flag(flag) => Decimal::from(u8::from(flag)),
            Value::Text(_) => return Ok(()),
        };
        let start_ms = self.aggregate.start_of(reading.time_ms);
        if self.aggregate.end_of(start_ms) <= self.closed_until_ms {
            return Err(Late);
        }
        let cell = self.cell(source, reading.series.index());
        let is_full = self.open.len() >= OPEN_MAX;
        let cells = match self.open.entry(start_ms) {
            Entry::Vacant(_) if is_full => return Err(Late),
            entry => entry.or_default(),
        };
        if cells.len() <= cell {
            cells.resize(cell + 1, None);
        }
        let cell = cells[cell].get_or_insert_default();
        match &mut cell.numbers {
            _ if !reading.quality.is_believable() => cell.left_out += 1,
            Some(numbers) => numbers.add(number, reading.time_ms),
            none => *none = Some(Numbers::new(number, reading.time_ms)),
        }
        Ok(())
    }

    /// The number of the series' cell.
    fn cell(&mut self, source: &Source, series: usize) -> usize {
        // A reload may give a series another unit: it is compared, not trusted.
        if let Some(Some((known, cell))) = self.series.get(series)
            && known == source
        {
            return *cell;
        }
        let name = CellName {
            metric: source.metric.clone(),
            device: self.aggregate.by_device.then(|| source.device.clone()),
            unit: source.unit.clone(),
        };
        let next = self.names.len();
        let cell = *self.names.entry(name).or_insert(next);
        if self.series.len() <= series {
            self.series.resize(series + 1, None);
        }
        self.series[series] = Some((source.clone(), cell));
        cell
    }

    /// Closes what ends at or before `now_ms - lateness`, oldest first; windows without a reading are not told.
    pub fn close(&mut self, now_ms: i64) -> Vec<ClosedWindow> {
        let horizon_ms = now_ms.saturating_sub(self.aggregate.lateness_ms.max(0));
        let boundary_ms = self.aggregate.start_of(horizon_ms);
        self.closed_until_ms = self.closed_until_ms.max(boundary_ms);
        let still_open = self.open.split_off(&boundary_ms);
        let closed = std::mem::replace(&mut self.open, still_open);
        closed.into_iter().map(|(start_ms, cells)| self.told(start_ms, cells)).collect()
    }

    fn told(&self, start_ms: i64, mut cells: Open) -> ClosedWindow {
        let rollup = |(name, number): (&CellName, &usize)| {
            let Cell { left_out, numbers } = cells.get_mut(*number)?.take()?;
            let CellName { metric, device, unit } = name.clone();
            Some(Rollup {
                metric,
                unit,
                device,
                count: numbers.as_ref().map_or(0, |numbers| numbers.count),
                left_out,
                sum: numbers.as_ref().and_then(|numbers| numbers.sum),
                min: numbers.as_ref().map(|numbers| numbers.min),
                max: numbers.as_ref().map(|numbers| numbers.max),
                last: numbers.map(|numbers| numbers.last),
            })
        };
        ClosedWindow {
            aggregate: self.aggregate.id.clone(),
            start_ms,
            end_ms: self.aggregate.end_of(start_ms),
            cells: self.names.iter().filter_map(rollup).collect(),
        }
    }

    /// Everything that ends at or before this is closed.
    #[must_use]
    pub fn closed_until_ms(&self) -> i64 {
        self.closed_until_ms
    }

    /// When `close` would next close something, milliseconds since 1970 UTC.
    #[must_use]
    pub fn wakeup_ms(&self) -> Option<i64> {
        let (start_ms, _) = self.open.first_key_value()?;
        Some(self.aggregate.end_of(*start_ms).saturating_add(self.aggregate.lateness_ms.max(0)))
    }

    /// The open windows as bytes, to resume from. The same windows give the same bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        snapshot::encode(&self.aggregate, &self.names, &self.open)
    }

    /// Resumes from a snapshot; windows closed since are left out.
    ///
    /// # Errors
    /// When the bytes are no snapshot, or one of an aggregate of another size, zone or kind of cells.
    pub fn restore(
        aggregate: Aggregate,
        closed_until_ms: i64,
        snapshot: &[u8],
    ) -> Result<Self, &'static str> {
        let (names, mut open) = snapshot::decode(&aggregate, snapshot)?;
        open.retain(|start_ms, _| aggregate.end_of(*start_ms) > closed_until_ms);
        Ok(Self { aggregate, closed_until_ms, open, names, series: Vec::new() })
    }
}

#[cfg(test)]
mod tests;
