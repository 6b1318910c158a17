//! How long to wait before trying again: doubling from a floor to a ceiling, with jitter from the caller's randomness,
//! and back to the floor only after a success that lasted.

use std::time::Duration;

/// A back-off without a clock and without randomness of its own.
#[derive(Debug, Clone)]
pub struct Backoff {
    floor: Duration,
    ceiling: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `floor`, never waits longer than `ceiling`.
    #[must_use]
    pub fn new(floor: Duration, ceiling: Duration) -> Self {
        Self { floor, ceiling, next: floor }
    }

    /// The next wait: between half and all of the present step; `random` is any number.
    pub fn wait(&mut self, random: u64) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.ceiling);
        let half = step / 2;
        half + half.mul_f64((random % 1024) as f64 / 1023.0)
    }

    /// Call after success that lasted.
    pub fn reset(&mut self) {
        self.next = self.floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_ceiling_with_jitter_below() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let longest: Vec<_> = (0..4).map(|_| backoff.wait(1023).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 5]);
        backoff.reset();
        assert_eq!(backoff.wait(0), Duration::from_millis(500));
    }
}
