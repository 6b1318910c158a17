//! When to dial again, without a clock and without randomness of its own.
//!
//! Guarantees: waits double from 1 s to 5 min, anywhere between nothing and all of it, so that gateways do not come in step; only
//! a link that was stable for [`STABLE`] begins anew. After a link that was welcomed the wait is anywhere in the spread that
//! the city asked for, which is at most [`SPREAD_MAX`]. A city that says when is not dialled before.

use std::time::Duration;

/// The first and the longest wait.
const STEP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The spread of a city that asks for none.
const SPREAD: Duration = Duration::from_secs(2);
/// The longest that a city may ask for.
pub const SPREAD_MAX: Duration = Duration::from_secs(600);
/// A link that lasted this long was a good one.
pub const STABLE: Duration = Duration::from_secs(60);

/// What was of the last link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// What the city asked for when it took the link; none where it did not take it, nothing where it did not ask.
    pub welcomed: Option<Option<Duration>>,
    /// How long it lasted from there.
    pub lasted: Duration,
    /// Not before.
    pub not_before: Duration,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Again {
    step: Duration,
}

impl Default for Again {
    fn default() -> Self {
        Self { step: STEP.0 }
    }
}

impl Again {
    /// How long to wait after a link; `random` is any number.
    pub fn wait(&mut self, past: &Past, random: u64) -> Duration {
        if past.welcomed.is_some() && past.lasted >= STABLE {
            self.step = STEP.0;
        }
        let spread = past.welcomed.map_or(Duration::ZERO, |asked| asked.unwrap_or(SPREAD).min(SPREAD_MAX));
        let within = self.step.max(spread);
        self.step = (self.step * 2).min(STEP.1);
        // 53 bits: each of them counts in a float.
        let part = (random >> 11) as f64 / (1_u64 << 53) as f64;
        past.not_before.min(SPREAD_MAX) + within.mul_f64(part)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn welcomed(spread: Option<u64>, lasted: u64) -> Past {
        Past { welcomed: Some(spread.map(seconds)), lasted: seconds(lasted), ..Past::default() }
    }

    /// The longest wait after each.
    fn longest(pasts: impl IntoIterator<Item = Past>) -> Vec<u64> {
        let mut again = Again::default();
        pasts.into_iter().map(|past| again.wait(&past, u64::MAX).as_secs_f64().round() as u64).collect()
    }

    #[test]
    fn waits_double_until_a_link_was_stable() {
        let failed = Past::default();
        assert_eq!(longest([failed; 11]), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(longest([failed, failed, failed, welcomed(None, 59), failed]), [1, 2, 4, 8, 16]);
        assert_eq!(longest([failed, failed, failed, welcomed(None, 60), failed]), [1, 2, 4, 2, 2]);
        assert_eq!(longest([welcomed(Some(40), 0), welcomed(Some(40), 3600), failed]), [40, 40, 2]);
        assert_eq!(longest([welcomed(Some(86_400), 100)]), [600]);
        // Who welcomes and breaks at once is not dialled without end.
        assert_eq!(longest([welcomed(Some(0), 0); 4]), [1, 2, 4, 8]);
        let told = Past { not_before: seconds(30), ..failed };
        assert_eq!(Again::default().wait(&told, 0), seconds(30));
    }

    #[test]
    fn a_thousand_gateways_come_back_spread() {
        // Any seed: the mixer of splitmix64.
        let mix = |gateway: u64| {
            let mut z = gateway.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut buckets = [0; 40];
        for gateway in 1..=1000 {
            let wait = Again::default().wait(&welcomed(Some(40), 3600), mix(gateway));
            buckets[wait.as_secs() as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (1..=50).contains(count)), "{buckets:?}");
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_it_may_be(randoms in prop::collection::vec(any::<(u64, u16, bool)>(), 1..50)) {
            let mut again = Again::default();
            for (random, seconds_asked, is_welcomed) in randoms {
                let asked = u64::from(seconds_asked);
                let past = if is_welcomed { welcomed(Some(asked), asked) } else { Past::default() };
                let most = if is_welcomed { SPREAD_MAX } else { STEP.1 };
                prop_assert!(again.wait(&past, random) <= most);
            }
        }
    }
}
