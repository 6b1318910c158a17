//! When a position of the trail is signed: after so many rows, or when the oldest unsigned one has waited long enough.
//!
//! Guarantees: no row waits longer than [`WAIT_MS`] while somebody asks, and none is signed twice. Pure: time comes in.

/// Unsigned rows at which a position is signed.
pub const ROWS: u64 = 256;
/// How long the oldest unsigned row waits, milliseconds.
pub const WAIT_MS: u64 = 60_000;

/// What is signed, and since when something is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cadence {
    signed: u64,
    /// Since when there is an unsigned row, on the monotonic clock.
    since_ms: Option<u64>,
}

impl Cadence {
    /// The newest position that is signed already.
    #[must_use]
    pub fn new(signed: u64) -> Self {
        Self { signed, since_ms: None }
    }

    /// Whether the newest row, `size`, is to be signed now.
    pub fn is_due(&mut self, size: u64, mono_ms: u64) -> bool {
        if !self.is_behind(size) {
            self.since_ms = None;
            return false;
        }
        let since_ms = *self.since_ms.get_or_insert(mono_ms);
        size - self.signed >= ROWS || mono_ms.saturating_sub(since_ms) >= WAIT_MS
    }

    /// Whether there is any unsigned row.
    #[must_use]
    pub fn is_behind(&self, size: u64) -> bool {
        size > self.signed
    }

    /// A position is signed, and its signature is on disk.
    pub fn signed(&mut self, size: u64) {
        *self = Self::new(self.signed.max(size));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_or_a_minute() {
        // (rows, at, due, and then signed)
        let mut cadence = Cadence::new(10);
        for (size, at, due) in [
            (10, 0, false),
            (11, 1_000, false),
            (12, 60_999, false),
            (12, 61_000, true),
            (12, 61_001, false),
            (267, 70_000, false),
            (268, 70_001, true),
            (268, 200_000, false),
            (269, 200_001, false),
            (269, 260_001, true),
        ] {
            assert_eq!(cadence.is_due(size, at), due, "{size} rows at {at}");
            if due {
                cadence.signed(size);
            }
        }
    }
}
