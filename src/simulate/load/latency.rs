//! Latencies in fixed memory: log-linear buckets as an HDR histogram has them, 64 to each power of two.
//!
//! Guarantees: 16 KiB whatever is recorded, a quantile at most 1/64 (1.6 %) above the truth, recording and reading from
//! several threads at once. It does not keep single values; what is longer than 38 hours counts as 38 hours.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
const LONGEST_US: u64 = (1 << 37) - 1;
const BUCKETS: usize = 32 * SUB;

/// A histogram of microseconds.
#[derive(Debug)]
pub struct Latency {
    buckets: Box<[AtomicU64]>,
    max_us: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), max_us: AtomicU64::new(0) }
    }
}

impl Latency {
    /// Counts one latency, microseconds.
    pub fn record(&self, us: u64) {
        let us = us.min(LONGEST_US);
        self.buckets[bucket(us)].fetch_add(1, Relaxed);
        if us > self.max_us.load(Relaxed) {
            self.max_us.fetch_max(us, Relaxed);
        }
    }

    /// The smallest latency, microseconds, that the share `q` (0 to 1) of all does not exceed; 0 when there is none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        let counts: Vec<u64> = self.buckets.iter().map(|count| count.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = ((total as f64 * q).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_edge(index).min(self.max_us());
            }
        }
        0
    }

    /// The longest, microseconds.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.max_us.load(Relaxed)
    }
}

fn bucket(us: u64) -> usize {
    let shift = (63 - (us | 1).leading_zeros()).saturating_sub(SUB_BITS);
    ((shift as usize) << SUB_BITS) + (us >> shift) as usize
}

fn upper_edge(bucket: usize) -> u64 {
    let shift = (bucket >> SUB_BITS).saturating_sub(1);
    let step = (bucket - (shift << SUB_BITS)) as u64;
    ((step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_of_a_ramp() {
        let latency = Latency::default();
        assert_eq!((latency.quantile(0.5), latency.max_us()), (0, 0));
        (1..=10_000).for_each(|us| latency.record(us));
        for (q, truth) in [(0.5, 5_000_u64), (0.99, 9_900), (1.0, 10_000)] {
            let found = latency.quantile(q);
            assert!(found >= truth && found <= truth + truth / 64 + 1, "{q}: {found}");
        }
    }

    proptest! {
        #[test]
        fn every_value_lies_in_its_bucket(us in 0..=LONGEST_US) {
            let index = bucket(us);
            prop_assert!(index < BUCKETS);
            prop_assert!(upper_edge(index) >= us && upper_edge(index) - us <= us / 64);
            prop_assert!(index == 0 || upper_edge(index - 1) < us);
        }
    }
}
