//! Readings of one share line on their way into one bulk record.

use crate::model::Reading;
use crate::privacy::Cleared;

/// When a block is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Readings.
    pub rows_max: usize,
    /// Milliseconds since its first reading.
    pub age_max_ms: u64,
}

/// A block being filled. Bounded by `Bounds::rows_max`.
#[derive(Clone, Debug, Default)]
pub struct Block {
    rows: Vec<Cleared<Reading>>,
    since_mono_ms: Option<u64>,
}

impl Block {
    /// Adds a reading; true when the block is full and has to be taken.
    pub fn push(&mut self, reading: Cleared<Reading>, bounds: Bounds, mono_ms: u64) -> bool {
        self.since_mono_ms.get_or_insert(mono_ms);
        self.rows.push(reading);
        self.rows.len() >= bounds.rows_max
    }

    /// Whether it is old enough to be taken as it is.
    #[must_use]
    pub fn is_due(&self, bounds: Bounds, mono_ms: u64) -> bool {
        self.since_mono_ms.is_some_and(|since| mono_ms.saturating_sub(since) >= bounds.age_max_ms)
    }

    /// Takes all rows; the block is empty afterwards.
    pub fn take(&mut self) -> Vec<Cleared<Reading>> {
        self.since_mono_ms = None;
        std::mem::take(&mut self.rows)
    }
}
