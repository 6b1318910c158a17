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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: i64, mono_ms: u64) -> Stamp {
        Stamp { wall_ms, mono_ms }
    }

    #[test]
    fn a_moment_by_both_clocks() {
        for (name, due, wall_ms, mono_ms) in [
            ("so long from now", Due::after(at(100, 7), 50), 150, 57),
            ("at a time", Due::at(at(100, 7), 150), 150, 57),
            ("what is past is due now, and stays what it was", Due::at(at(100, 7), 20), 20, 7),
            ("what is kept goes on", Due::at(at(120, 1), Due::after(at(100, 7), 50).wall_ms), 150, 31),
            ("never", Due::after(at(100, 7), u64::MAX), i64::MAX, u64::MAX),
        ] {
            assert_eq!(due, Due { wall_ms, mono_ms }, "{name}");
            assert!(due.is_over(at(i64::MIN, mono_ms)), "{name}: whatever the wall clock shows");
            assert!(!due.is_over(at(i64::MAX, mono_ms - 1)), "{name}: whatever the wall clock shows");
        }
    }
}
