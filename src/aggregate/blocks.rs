//! Readings of one share line on their way into one bulk record.
//!
//! Guarantees: bounded by [`Bounds::rows_max`] and [`Bounds::age_max_ms`] as long as the caller takes what is full or
//! due; order is that of arrival. Pure: the time is an argument.

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

    /// Readings in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// When it is old enough, on the monotonic clock in milliseconds; `None` while it is empty.
    #[must_use]
    pub fn due_mono_ms(&self, bounds: Bounds) -> Option<u64> {
        self.since_mono_ms.map(|since_ms| since_ms.saturating_add(bounds.age_max_ms))
    }

    /// Whether it is old enough to be taken as it is.
    #[must_use]
    pub fn is_due(&self, bounds: Bounds, mono_ms: u64) -> bool {
        self.due_mono_ms(bounds).is_some_and(|due_ms| mono_ms >= due_ms)
    }

    /// Takes all rows; the block is empty afterwards.
    pub fn take(&mut self) -> Vec<Cleared<Reading>> {
        self.since_mono_ms = None;
        std::mem::take(&mut self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Quality, SeriesKey, Value};
    use crate::privacy::intake::{Treatment, clear};

    fn reading(time_ms: i64) -> Cleared<Reading> {
        let reading = Reading {
            series: SeriesKey(1),
            value: Value::Flag(true),
            time_ms,
            received_ms: time_ms,
            device_time: false,
            quality: Quality::Good,
        };
        clear(Some(&Treatment::Keep), reading).expect("kept as it is")
    }

    #[test]
    fn full_or_old() {
        let bounds = Bounds { rows_max: 3, age_max_ms: 100 };
        let mut block = Block::default();
        assert!(block.is_empty() && !block.is_due(bounds, u64::MAX));
        assert_eq!(block.due_mono_ms(bounds), None);
        for (time_ms, mono_ms, full) in [(1, 50, false), (2, 60, false), (3, 70, true)] {
            assert_eq!(block.push(reading(time_ms), bounds, mono_ms), full);
        }
        assert_eq!((block.len(), block.due_mono_ms(bounds)), (3, Some(150)));
        assert!(!block.is_due(bounds, 149) && !block.is_due(bounds, 0) && block.is_due(bounds, 150));
        let times: Vec<i64> = block.take().iter().map(|row| row.get().time_ms).collect();
        assert_eq!(times, [1, 2, 3]);
        assert!(block.is_empty() && block.take().is_empty());
        assert!(!block.push(reading(4), bounds, 500));
        assert_eq!(block.due_mono_ms(bounds), Some(600), "the age counts from the new first reading");
        assert_eq!(block.due_mono_ms(Bounds { age_max_ms: u64::MAX, ..bounds }), Some(u64::MAX));
    }
}
