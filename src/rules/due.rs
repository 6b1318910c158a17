//! A moment in the future that survives a restart and a stepped clock.
//!
//! Guarantees: within one process it is measured on the monotonic clock, so no step of the wall clock brings it nearer or
//! puts it off; what is kept of it is wall time, and a process that takes it up again measures what is left of that.

use crate::model::Stamp;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// By the wall clock when it was made: what is kept, milliseconds since 1970 UTC.
    pub wall_ms: i64,
    /// By the monotonic clock of this process, milliseconds.
    pub mono_ms: u64,
}

impl Due {
    /// So long from now.
    #[must_use]
    pub fn after(now: Stamp, wait_ms: u64) -> Self {
        let wall_ms = now.wall_ms.saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX));
        Self { wall_ms, mono_ms: now.mono_ms.saturating_add(wait_ms) }
    }

    /// At that time of the wall clock; what is past is due at once.
    #[must_use]
    pub fn at(now: Stamp, wall_ms: i64) -> Self {
        let wait_ms = u64::try_from(wall_ms.saturating_sub(now.wall_ms)).unwrap_or(0);
        Self { wall_ms, mono_ms: now.mono_ms.saturating_add(wait_ms) }
    }

    /// Whether it has come.
    #[must_use]
    pub fn is_over(self, now: Stamp) -> bool {
        now.mono_ms >= self.mono_ms
    }
}
