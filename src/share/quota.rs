//! How often a consumer may call, and how many bytes it may take. Pure but for its lock.
//!
//! Guarantees: over any span no more calls than the limit and one second's worth at once; bytes are paid for after they left,
//! so that a batch larger than what is left still travels, and what comes after it waits. Integers only, so nothing drifts.
//! Bounded by the consumers of the share list: all others share one account. Does not look at a clock, and does not know
//! which lanes are paced: [`super::session`] does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::refused::Refused;
use crate::model::Consumer;
use crate::privacy::release::ShareLine;

const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 86_400_000;

/// What one consumer may have, over all listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls a second, the opening of a stream among them.
    pub calls_per_second: u32,
    /// Bytes of bodies a second.
    pub bytes_per_second: Option<u64>,
    /// Bytes of bodies a day, refilled evenly.
    pub bytes_per_day: Option<u64>,
}

impl Limits {
    /// Where the configuration says nothing.
    pub const DEFAULT: Self = Self { calls_per_second: 50, bytes_per_second: None, bytes_per_day: None };

    fn calls(self) -> Limit {
        Limit { amount: self.calls_per_second.into(), period_ms: SECOND_MS }
    }

    fn bytes(self) -> [Option<Limit>; 2] {
        let every = |period_ms| move |amount| Limit { amount, period_ms };
        [self.bytes_per_second.map(every(SECOND_MS)), self.bytes_per_day.map(every(DAY_MS))]
    }
}

/// So many in a period, and so many at once.
#[derive(Clone, Copy, Debug)]
struct Limit {
    amount: u64,
    period_ms: u64,
}

impl Limit {
    /// Tokens in the unit of a level: `amount` tokens a period are as many units a millisecond.
    fn units(self, tokens: u64) -> i128 {
        i128::from(tokens) * i128::from(self.period_ms)
    }
}

/// What is left of a limit; below zero it is owed.
#[derive(Clone, Copy, Debug)]
struct Level {
    units: i128,
    filled_mono_ms: u64,
}

impl Level {
    fn full(limit: Limit, mono_ms: u64) -> Self {
        Self { units: limit.units(limit.amount), filled_mono_ms: mono_ms }
    }

    fn fill(&mut self, limit: Limit, mono_ms: u64) {
        let elapsed_ms = mono_ms.saturating_sub(self.filled_mono_ms);
        self.filled_mono_ms = self.filled_mono_ms.max(mono_ms);
        let refill = i128::from(elapsed_ms) * i128::from(limit.amount);
        self.units = (self.units + refill).min(limit.units(limit.amount));
    }

    /// How long until there are so many units, milliseconds.
    fn wait_ms(&self, limit: Limit, units: i128) -> u64 {
        let missing = (units - self.units).max(0);
        let rate = i128::from(limit.amount.max(1));
        u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX)
    }
}

#[derive(Debug)]
struct Account {
    calls: Level,
    bytes: [Option<Level>; 2],
}

impl Account {
    fn new(limits: Limits, mono_ms: u64) -> Self {
        let full = |limit: Option<Limit>| limit.map(|limit| Level::full(limit, mono_ms));
        Self { calls: Level::full(limits.calls(), mono_ms), bytes: limits.bytes().map(full) }
    }

    /// Every limit of bytes with what is left of it now.
    fn bytes(&mut self, limits: Limits, mono_ms: u64) -> impl Iterator<Item = (Limit, &mut Level)> {
        let both = limits.bytes().into_iter().zip(&mut self.bytes);
        both.filter_map(|(limit, level)| limit.zip(level.as_mut())).map(move |(limit, level)| {
            level.fill(limit, mono_ms);
            (limit, level)
        })
    }
}

/// What every consumer has left.
#[derive(Debug)]
pub(super) struct Quota {
    limits: Limits,
    /// `None` is everybody whom the share list does not name.
    accounts: Mutex<HashMap<Option<Consumer>, Account>>,
}

impl Quota {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, accounts: Mutex::default() }
    }

    fn with<T>(
        &self,
        consumer: &Consumer,
        lines: &[ShareLine],
        mono_ms: u64,
        then: impl FnOnce(&mut Account) -> T,
    ) -> T {
        let is_listed = |consumer: &Consumer| lines.iter().any(|line| line.consumers.contains(consumer));
        let key = is_listed(consumer).then(|| consumer.clone());
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if !accounts.contains_key(&key) {
            accounts.retain(|known, _| known.as_ref().is_none_or(is_listed));
        }
        then(accounts.entry(key).or_insert_with(|| Account::new(self.limits, mono_ms)))
    }

    /// One more call.
    ///
    /// # Errors
    /// [`Refused::Rate`]: too many this second.
    pub(super) fn call(&self, consumer: &Consumer, lines: &[ShareLine], mono_ms: u64) -> Result<(), Refused> {
        let limit = self.limits.calls();
        self.with(consumer, lines, mono_ms, |account| {
            account.calls.fill(limit, mono_ms);
            if account.calls.units < limit.units(1) {
                return Err(Refused::Rate(self.limits.calls_per_second));
            }
            account.calls.units -= limit.units(1);
            Ok(())
        })
    }

    /// Pays for bytes that leave. How long those after them have to wait, milliseconds; 0 is not at all.
    pub(super) fn spend(&self, consumer: &Consumer, lines: &[ShareLine], bytes: u64, mono_ms: u64) -> u64 {
        self.with(consumer, lines, mono_ms, |account| {
            let waits = account.bytes(self.limits, mono_ms).map(|(limit, level)| {
                level.units -= limit.units(bytes);
                level.wait_ms(limit, 1)
            });
            waits.max().unwrap_or(0)
        })
    }

    /// Whether bytes may leave now.
    ///
    /// # Errors
    /// [`Refused::Quota`] with how long to wait.
    pub(super) fn bytes(
        &self,
        consumer: &Consumer,
        lines: &[ShareLine],
        mono_ms: u64,
    ) -> Result<(), Refused> {
        match self.spend(consumer, lines, 0, mono_ms) {
            0 => Ok(()),
            wait_ms => Err(Refused::Quota { wait_ms }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Lane;
    use crate::share::fake::line;

    fn consumer(name: &str) -> Consumer {
        name.parse().expect("consumer")
    }

    fn lines() -> Vec<ShareLine> {
        vec![line("A", Lane::Alarm, &["one", "two"])]
    }

    #[test]
    fn calls_have_a_rate_for_each_listed_consumer_and_one_for_all_others() {
        let quota = Quota::new(Limits { calls_per_second: 2, ..Limits::DEFAULT });
        for (step, (name, at_ms, taken)) in [
            ("one", 0, true),
            ("one", 0, true),
            ("one", 0, false),
            ("two", 0, true),
            ("else", 0, true),
            ("other", 0, true),
            ("third", 0, false),
            ("one", 499, false),
            ("one", 500, true),
            ("one", 500, false),
            ("one", 400, false),
            ("one", 100_000, true),
            ("one", 100_000, true),
            ("one", 100_000, false),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(quota.call(&consumer(name), &lines(), at_ms).is_ok(), taken, "step {step}");
        }
        let strangers = (0..1000).map(|number| consumer(&format!("stranger-{number}")));
        strangers.for_each(|stranger| drop(quota.call(&stranger, &lines(), 0)));
        assert_eq!(quota.accounts.lock().expect("no panic").len(), 3);
        // Who is not listed any more is forgotten when another comes.
        assert!(quota.call(&consumer("new"), &[line("B", Lane::Alarm, &["new"])], 0).is_ok());
        assert_eq!(quota.accounts.lock().expect("no panic").len(), 2);
    }

    #[test]
    fn bytes_are_paid_for_afterwards_and_the_slower_limit_counts() {
        let limits = Limits { bytes_per_second: Some(1_000), bytes_per_day: None, ..Limits::DEFAULT };
        let quota = Quota::new(limits);
        let (one, lines) = (consumer("one"), lines());
        for (step, (bytes, at_ms, wait_ms)) in
            [(999, 0, 0), (1, 0, 1), (2_000, 1, 2_000), (0, 2_000, 1), (0, 2_001, 0), (0, 900_000, 0)]
                .into_iter()
                .enumerate()
        {
            assert_eq!(quota.spend(&one, &lines, bytes, at_ms), wait_ms, "step {step}");
        }
        let daily = Quota::new(Limits { bytes_per_day: Some(86_400), ..limits });
        assert_eq!(
            daily.spend(&one, &lines, 86_400, 0),
            85_401,
            "a second's limit of what was taken at once"
        );
        assert_eq!(daily.spend(&one, &lines, 86_400, 0), 86_400_001, "the day's");
        assert!(matches!(daily.bytes(&one, &lines, 0), Err(Refused::Quota { wait_ms: 86_400_001 })));
        let free = Quota::new(Limits::DEFAULT);
        assert_eq!(free.spend(&one, &lines, u64::MAX, 0), 0);
    }

    proptest! {
        /// Whoever waits as told has never had more than the limit and one batch over what time gave.
        #[test]
        fn nobody_gets_more_than_time_gives(
            amount in 1..100_000u64,
            batches in prop::collection::vec(1..200_000u64, 1..50),
        ) {
            let limits = Limits { bytes_per_second: Some(amount), ..Limits::DEFAULT };
            let (quota, one, lines) = (Quota::new(limits), consumer("one"), lines());
            let (mut now_ms, mut had) = (0, 0);
            for bytes in batches {
                prop_assert!(quota.bytes(&one, &lines, now_ms).is_ok());
                prop_assert!(u128::from(had) * 1000 <= u128::from(amount) * u128::from(now_ms + 1000));
                had += bytes;
                now_ms += quota.spend(&one, &lines, bytes, now_ms);
            }
        }
    }
}
