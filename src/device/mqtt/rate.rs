//! How fast a connection may speak, and how fast clients may come: token buckets that may be overdrawn.
//!
//! Guarantees: in any span of time no more passes than `at_once + per_second × span` and the one piece that was read
//! last; integers only, so nothing drifts; a clock that stands still or goes back gives nothing. Refuses nothing: it
//! says how long to wait, and what waits is the reading of the socket (or the accepting), so that TCP slows the sender.
//! `rules::rate` is the other kind: what is too much there is lost and counted. Pure: the time is an argument.

use super::Limits;

/// One token in thousandths: `per_second` tokens a second are as many thousandths a millisecond.
const TOKEN: i64 = 1000;

/// A rate, and how much of it is left.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Tokens a second.
    per_second: i64,
    /// Thousandths of a token when it is full.
    full: i64,
    /// Thousandths of a token; below zero when it is overdrawn.
    level: i64,
    filled_mono_ms: u64,
}

impl Bucket {
    /// A full bucket: `per_second` lastingly, `at_once` after a pause.
    #[must_use]
    pub fn new(per_second: u64, at_once: u64) -> Self {
        let full = signed(at_once).saturating_mul(TOKEN);
        Self { per_second: signed(per_second), full, level: full, filled_mono_ms: 0 }
    }

    /// Takes what has passed, also what was not there.
    pub fn take(&mut self, amount: u64, mono_ms: u64) {
        self.level = self.level_at(mono_ms).saturating_sub(signed(amount).saturating_mul(TOKEN));
        self.filled_mono_ms = self.filled_mono_ms.max(mono_ms);
    }

    /// Milliseconds until something may pass; 0 when it may now.
    #[must_use]
    pub fn wait_ms(&self, mono_ms: u64) -> u64 {
        let short = 1_i64.saturating_sub(self.level_at(mono_ms)).max(0);
        match self.per_second {
            _ if short == 0 => 0,
            0 => u64::MAX,
            per_second => short.unsigned_abs().div_ceil(per_second.unsigned_abs()),
        }
    }

    fn level_at(&self, mono_ms: u64) -> i64 {
        let elapsed_ms = signed(mono_ms.saturating_sub(self.filled_mono_ms));
        self.level.saturating_add(elapsed_ms.saturating_mul(self.per_second)).min(self.full)
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What one connection has published and sent.
#[derive(Clone, Debug)]
pub struct Pace {
    publishes: Bucket,
    bytes: Bucket,
}

impl Pace {
    /// That of a connection that has said nothing yet. A second's worth of bytes may come at once.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            publishes: Bucket::new(limits.publish_rate.into(), limits.publish_burst.into()),
            bytes: Bucket::new(limits.bytes_rate, limits.bytes_rate),
        }
    }

    /// So many bytes were read, with so many publishes in them.
    pub fn took(&mut self, bytes: usize, publishes: usize, mono_ms: u64) {
        self.bytes.take(bytes as u64, mono_ms);
        self.publishes.take(publishes as u64, mono_ms);
    }

    /// Milliseconds until its socket may be read again; 0 when it may now.
    #[must_use]
    pub fn wait_ms(&self, mono_ms: u64) -> u64 {
        self.bytes.wait_ms(mono_ms).max(self.publishes.wait_ms(mono_ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_until_the_debt_is_paid() {
        let mut bucket = Bucket::new(2, 3);
        for (step, (mono_ms, amount, wait_ms)) in [
            (0, 2, 0),
            (0, 1, 1),
            (0, 2, 1001),
            (999, 0, 2),
            (900, 0, 2),
            (1001, 0, 0),
            (1001, 1, 500),
            (100_000, 0, 0),
            (100_000, 3, 1),
            (u64::MAX, 0, 0),
        ]
        .into_iter()
        .enumerate()
        {
            bucket.take(amount, mono_ms);
            assert_eq!(bucket.wait_ms(mono_ms), wait_ms, "step {step} at {mono_ms}");
        }
        bucket.take(u64::MAX, 0);
        assert!(bucket.wait_ms(0) > u64::MAX / 8, "more than can be counted");
        assert_eq!(Bucket::new(0, 0).wait_ms(1_000_000), u64::MAX, "nothing ever passes");
    }

    #[test]
    fn a_connection_waits_for_the_slower_of_both() {
        let limits = Limits { publish_rate: 10, publish_burst: 20, bytes_rate: 1000, ..Limits::DEFAULT };
        for (bytes, publishes, wait_ms) in [(999, 19, 0), (2000, 1, 1001), (1, 25, 501), (3000, 30, 2001)] {
            let mut pace = Pace::new(&limits);
            pace.took(bytes, publishes, 5);
            assert_eq!(pace.wait_ms(5), wait_ms, "{bytes} bytes, {publishes} publishes");
            assert_eq!(pace.wait_ms(5 + wait_ms), 0);
        }
    }

    proptest! {
        /// A reader that does as it is told never takes more than it may, and never waits longer than it has to.
        #[test]
        fn never_more_than_the_rate(
            per_second in 1_u64..50,
            at_once in 1_u64..20,
            steps in prop::collection::vec((0_u64..30, 0_u64..200), 1..200),
        ) {
            let mut bucket = Bucket::new(per_second, at_once);
            let (mut mono_ms, mut passed) = (10_000, Vec::new());
            for (amount, pause_ms) in steps {
                mono_ms += pause_ms;
                let wait_ms = bucket.wait_ms(mono_ms);
                prop_assert!(wait_ms == 0 || bucket.wait_ms(mono_ms + wait_ms - 1) > 0, "no longer than needed");
                mono_ms += wait_ms;
                prop_assert_eq!(bucket.wait_ms(mono_ms), 0);
                bucket.take(amount, mono_ms);
                passed.push((mono_ms, amount));
                // Whatever stretch ends before this piece.
                for (index, (from_ms, _)) in passed.iter().enumerate() {
                    let sum: u64 = passed[index..passed.len() - 1].iter().map(|(_, amount)| amount).sum();
                    prop_assert!(sum * 1000 <= at_once * 1000 + per_second * (mono_ms - from_ms));
                }
            }
        }
    }
}
