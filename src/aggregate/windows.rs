//! Tumbling, half-open windows in event time, closed by a watermark.

use crate::model::{ClosedWindow, DeviceId, LineId, Metric, Reading};

/// One aggregate of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Its id.
    pub id: LineId,
    /// Length of a window, milliseconds.
    pub size_ms: i64,
    /// How long after its end a window waits for late readings, milliseconds.
    pub lateness_ms: i64,
    /// The zone's offset from UTC, milliseconds: windows of a day begin at local midnight.
    pub zone_ms: i64,
    /// Whether each device is a cell of its own.
    pub by_device: bool,
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

/// The open windows of one aggregate.
#[derive(Clone, Debug)]
pub struct Windows {
    aggregate: Aggregate,
    closed_until_ms: i64,
}

impl Windows {
    /// No window open; everything that ends at or before `closed_until_ms` is closed.
    #[must_use]
    pub fn new(aggregate: Aggregate, closed_until_ms: i64) -> Self {
        Self { aggregate, closed_until_ms }
    }

    /// Adds a numeric or flag reading (a flag counts as 0 or 1); texts are not aggregated and are no error.
    ///
    /// # Errors
    /// [`Late`] when its window is closed.
    pub fn add(&mut self, source: &Source, reading: &Reading) -> Result<(), Late> {
        let _ = (source, reading);
        todo!()
    }

    /// Closes what ends at or before `now_ms - lateness`, oldest first; windows without a reading are not told.
    pub fn close(&mut self, now_ms: i64) -> Vec<ClosedWindow> {
        let _ = now_ms;
        todo!()
    }

    /// Everything that ends at or before this is closed.
    #[must_use]
    pub fn closed_until_ms(&self) -> i64 {
        self.closed_until_ms
    }

    /// When `close` would next close something, milliseconds since 1970 UTC.
    #[must_use]
    pub fn wakeup_ms(&self) -> Option<i64> {
        let _ = &self.aggregate;
        todo!()
    }

    /// The open windows as bytes, to resume from.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        todo!()
    }

    /// Resumes from a snapshot; windows closed since are left out.
    ///
    /// # Errors
    /// When the bytes are no snapshot.
    pub fn restore(
        aggregate: Aggregate,
        closed_until_ms: i64,
        snapshot: &[u8],
    ) -> Result<Self, &'static str> {
        let _ = (aggregate, closed_until_ms, snapshot);
        todo!()
    }
}
