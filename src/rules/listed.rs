//! Lists that the city shares, as conditions and devices look at them: what holds, from when, until when. Pure.
//!
//! Guarantees: an answer is of one moment that is given; a list that is over says nothing, which is not the same as "no";
//! `Debug` shows no key. Does not decide who may put a list, or keep it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::model::{Consumer, LineId};

/// A list of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its id.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// Who may put it.
    pub consumers: Vec<Consumer>,
    /// Entries that it may have.
    pub entries_max: usize,
    /// What for.
    pub purpose: String,
    /// Whether devices may have it, by MQTT.
    pub publish: bool,
}

/// An entry. Its `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is about: a pseudonym or a code.
    pub key: Box<str>,
    /// It holds from here on, milliseconds since 1970 UTC; none is at once.
    pub from_ms: Option<i64>,
    /// Up to here, exclusive; none is as long as the list.
    pub until_ms: Option<i64>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} bytes, {:?}..{:?})", self.key.len(), self.from_ms, self.until_ms)
    }
}

/// A list as the city put it last. Its `Debug` shows no key.
#[derive(PartialEq, Eq)]
pub struct Held {
    version: u64,
    until_ms: i64,
    entries: HashMap<Box<str>, (i64, i64)>,
    /// When entries begin or end, ascending, each once; the list's own end is one of them.
    moments: Vec<i64>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held(version {}, {} entries, until {})", self.version, self.entries.len(), self.until_ms)
    }
}

impl Held {
    /// A list that is over at `until_ms`, milliseconds since 1970 UTC. Of a key that stands twice the last one counts.
    #[must_use]
    pub fn new(version: u64, until_ms: i64, entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut moments = vec![until_ms];
        let entries: HashMap<_, _> = entries
            .into_iter()
            .map(|Entry { key, from_ms, until_ms: ends }| {
                moments.extend(from_ms.into_iter().chain(ends));
                (key, (from_ms.unwrap_or(i64::MIN), ends.unwrap_or(i64::MAX)))
            })
            .collect();
        moments.sort_unstable();
        moments.dedup();
        Self { version, until_ms, entries, moments }
    }

    /// As the city counts.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When it is over, milliseconds since 1970 UTC.
    #[must_use]
    pub fn until_ms(&self) -> i64 {
        self.until_ms
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now_ms: i64) -> bool {
        now_ms >= self.until_ms
    }

    /// Whether an entry of this key holds; none when the list is over.
    #[must_use]
    pub fn holds(&self, key: &str, now_ms: i64) -> Option<bool> {
        let holds = |(from_ms, until_ms): &(i64, i64)| (*from_ms..*until_ms).contains(&now_ms);
        (!self.is_over(now_ms)).then(|| self.entries.get(key).is_some_and(holds))
    }

    /// The first moment after this one at which something begins or ends.
    #[must_use]
    pub fn next_ms(&self, after_ms: i64) -> Option<i64> {
        self.moments.get(self.moments.partition_point(|moment| *moment <= after_ms)).copied()
    }

    /// The entries that are not over, in the order of their keys.
    #[must_use]
    pub fn entries(&self, now_ms: i64) -> Vec<Entry> {
        let mut left: Vec<Entry> = self
            .entries
            .iter()
            .filter(|(_, (_, until_ms))| now_ms < *until_ms)
            .map(|(key, (from_ms, until_ms))| Entry {
                key: key.clone(),
                from_ms: Some(*from_ms).filter(|from_ms| *from_ms != i64::MIN),
                until_ms: Some(*until_ms).filter(|until_ms| *until_ms != i64::MAX),
            })
            .collect();
        left.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        left
    }
}

/// Those that are there, by id.
pub type Lists = BTreeMap<LineId, Arc<Held>>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(key: &str, from_ms: Option<i64>, until_ms: Option<i64>) -> Entry {
        Entry { key: key.into(), from_ms, until_ms }
    }

    #[test]
    fn an_entry_holds_within_its_time_and_that_of_the_list() {
        let entries = [
            entry("always", None, None),
            entry("from", Some(10), None),
            entry("until", None, Some(20)),
            entry("between", Some(10), Some(20)),
        ];
        let held = Held::new(3, 30, entries);
        for (key, at_ms, holds) in [
            ("always", 0, Some(true)),
            ("always", 29, Some(true)),
            ("always", 30, None),
            ("from", 9, Some(false)),
            ("from", 10, Some(true)),
            ("until", 19, Some(true)),
            ("until", 20, Some(false)),
            ("between", 9, Some(false)),
            ("between", 10, Some(true)),
            ("between", 20, Some(false)),
            ("nobody", 15, Some(false)),
            ("nobody", 31, None),
        ] {
            assert_eq!(held.holds(key, at_ms), holds, "{key} at {at_ms}");
        }
        let left =
            |now_ms| held.entries(now_ms).iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>();
        assert_eq!(left(0), ["always", "between", "from", "until"]);
        assert_eq!(left(20), ["always", "from"]);
        assert_eq!(
            format!("{held:?} {:?}", held.entries(0)[1]),
            "Held(version 3, 4 entries, until 30) Entry(7 bytes, Some(10)..Some(20))"
        );
    }

    proptest! {
        /// Between two moments nothing changes.
        #[test]
        fn answers_change_only_at_its_moments(
            times in prop::collection::vec((prop::option::of(0i64..50), prop::option::of(0i64..50)), 0..6),
            until_ms in 1i64..60,
        ) {
            let entries = times.iter().enumerate().map(|(at, (from, until))| entry(&at.to_string(), *from, *until));
            let held = Held::new(1, until_ms, entries);
            let all = |now_ms| (0..times.len()).map(|at| held.holds(&at.to_string(), now_ms)).collect::<Vec<_>>();
            let mut now_ms = -1;
            while let Some(next_ms) = held.next_ms(now_ms) {
                for between in now_ms..next_ms {
                    prop_assert_eq!(all(between), all(now_ms));
                }
                now_ms = next_ms;
            }
            prop_assert_eq!(all(1000), all(now_ms));
            prop_assert!(held.is_over(now_ms));
        }
    }
}
