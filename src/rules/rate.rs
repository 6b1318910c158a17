//! A token bucket per device, on the monotonic clock.
//!
//! Guarantees: in any span of time no more than `burst + per_second × span` are taken; integers only, so nothing
//! drifts; a clock that stands still or goes back gives no tokens. Pure: the time is an argument.

/// What a device may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Samples a second, lasting.
    pub per_second: u32,
    /// Samples at once; 0 lets nothing through.
    pub burst: u32,
}

/// One token in thousandths: `per_second` tokens a second are as many thousandths a millisecond.
const TOKEN: u64 = 1000;

impl Rate {
    fn full(self) -> u64 {
        u64::from(self.burst) * TOKEN
    }
}

/// The bucket of one device.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Thousandths of a token.
    level: u64,
    filled_mono_ms: u64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { level: rate.full(), filled_mono_ms: 0 }
    }

    /// Takes one token if there is one. The rate may differ from call to call.
    pub fn take(&mut self, rate: Rate, mono_ms: u64) -> bool {
        let elapsed_ms = mono_ms.saturating_sub(self.filled_mono_ms);
        self.filled_mono_ms = self.filled_mono_ms.max(mono_ms);
        let refill = elapsed_ms.saturating_mul(u64::from(rate.per_second));
        self.level = self.level.saturating_add(refill).min(rate.full());
        let taken = self.level >= TOKEN;
        if taken {
            self.level -= TOKEN;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_and_refills() {
        let rate = Rate { per_second: 2, burst: 3 };
        let mut bucket = Bucket::new(rate);
        for (step, (mono_ms, taken)) in [
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (499, false),
            (500, true),
            (500, false),
            (400, false),
            (999, false),
            (1000, true),
            (100_000, true),
            (100_000, true),
            (100_000, true),
            (100_000, false),
            (u64::MAX, true),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(bucket.take(rate, mono_ms), taken, "step {step} at {mono_ms}");
        }
    }

    #[test]
    fn edges() {
        let nothing = Rate { per_second: 1000, burst: 0 };
        assert!(!Bucket::new(nothing).take(nothing, 1_000_000));
        let once = Rate { per_second: 0, burst: 1 };
        let mut bucket = Bucket::new(once);
        assert!(bucket.take(once, 0));
        assert!(!bucket.take(once, u64::MAX));
        let mut shrunk = Bucket::new(Rate { per_second: 0, burst: 100 });
        assert!(shrunk.take(once, 0));
        assert!(!shrunk.take(once, 0), "a smaller burst holds from the next take on");
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            per_second in 0_u32..50,
            burst in 0_u32..20,
            steps in prop::collection::vec(-50_i64..200, 1..300),
        ) {
            let rate = Rate { per_second, burst };
            let mut bucket = Bucket::new(rate);
            let mut mono_ms = 10_000_u64;
            let mut taken: Vec<u64> = Vec::new();
            let mut latest_ms = 0;
            for step in steps {
                mono_ms = mono_ms.saturating_add_signed(step);
                latest_ms = latest_ms.max(mono_ms);
                let any = bucket.take(rate, mono_ms);
                if any {
                    taken.push(latest_ms);
                }
                // From every earlier take to this one.
                for (index, &from_ms) in taken.iter().enumerate().filter(|_| any) {
                    let count = (taken.len() - index) as u64;
                    let allowed = u64::from(burst) * 1000 + u64::from(per_second) * (latest_ms - from_ms);
                    prop_assert!(count * 1000 <= allowed, "{count} within {} ms", latest_ms - from_ms);
                }
            }
        }
    }
}
