//! What an aggregate is: which windows, which cells, what is told of them.
//!
//! Guarantees: a time lies in one window. Does not decide what the configuration may say.

use rust_decimal::Decimal;

use super::statistic::{Statistic, Statistics};
use super::trail::{Pace, Span};
use super::windows::CellName;
use crate::model::{LineId, Metric, Place};

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
    /// What is a cell of its own.
    pub by: By,
    /// What it tells.
    pub statistics: Statistics,
    /// The edges of its histogram, rising; none without one.
    pub edges: Vec<Decimal>,
    /// Who is behind its cells, where that has to be known; none where it does not matter.
    pub crowds: Option<Crowds>,
}

/// What a cell of a window covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// One device.
    Device,
    /// The devices of one building; one more covers all buildings.
    Building,
    /// All of them.
    Compound,
}

/// Who is behind the cells, so that they can be protected; and all cells there are, which are told of every window from
/// the first one on, also where nothing was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Crowds {
    /// Whether each different value is somebody; each device is otherwise.
    pub by_value: bool,
    /// The length of the parts of a window that are told apart, milliseconds; none where there are no parts.
    pub part_ms: Option<i64>,
    /// All cells.
    pub cells: Vec<PublicCell>,
}

/// A cell that is known to be there without any reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicCell {
    /// The metric.
    pub metric: Metric,
    /// Its unit.
    pub unit: String,
    /// The building; none for all of them.
    pub place: Option<Place>,
}

impl Aggregate {
    /// The start of the window that a time lies in.
    pub(super) fn start_of(&self, time_ms: i64) -> i64 {
        let size_ms = self.size_ms.max(1);
        let local_ms = time_ms.saturating_add(self.zone_ms);
        local_ms.div_euclid(size_ms).saturating_mul(size_ms).saturating_sub(self.zone_ms)
    }

    pub(super) fn end_of(&self, start_ms: i64) -> i64 {
        start_ms.saturating_add(self.size_ms.max(1))
    }

    pub(super) fn span_of(&self, start_ms: i64) -> Span {
        Span { start_ms, end_ms: self.end_of(start_ms) }
    }

    pub(super) fn has_percent(&self) -> bool {
        self.statistics.iter().any(Statistic::is_percent)
    }

    /// Whether it asks which reading of such a point came after which.
    pub(super) fn orders(&self, pace: &Pace) -> bool {
        self.statistics.iter().any(Statistic::is_of_order) || self.is_by_time(pace)
    }

    pub(super) fn is_by_time(&self, pace: &Pace) -> bool {
        pace.time_mean && self.statistics.has(Statistic::Mean)
    }

    /// The parts of a window in which a time lies, a bit.
    pub(super) fn part_of(&self, time_ms: i64, start_ms: i64) -> u128 {
        let part_ms = self.crowds.as_ref().and_then(|crowds| crowds.part_ms);
        let part = part_ms.map_or(0, |part_ms| time_ms.saturating_sub(start_ms) / part_ms.max(1));
        u32::try_from(part).ok().and_then(|part| 1_u128.checked_shl(part)).unwrap_or(0)
    }
}

impl PublicCell {
    /// Its name among the cells of a window.
    pub(super) fn name(&self) -> CellName {
        let PublicCell { metric, unit, place } = self.clone();
        CellName { metric, device: None, unit, place }
    }
}
