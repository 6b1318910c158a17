//! The same device, metric, device time and value as one of the last few: a repetition, not a reading.
//!
//! Guarantees: bounded (512 bytes a series); without a device time nothing is a repetition, because two equal values are
//! no reason to think so. It remembers hashes, not values; what it remembers can be kept and taken up again. Pure.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::model::Value;

/// How many a series remembers. After a crash a device resends all that was not acknowledged, so an MQTT connection may
/// not have more than this in flight.
pub const REMEMBERED: usize = 64;

/// The last few (device time, value) of one series; bounded.
#[derive(Clone, Default)]
pub struct Dedupe {
    /// Hashes of (device time or message, value); a ring once it is full.
    recent: Vec<u64>,
    next: usize,
}

impl Dedupe {
    /// Whether this one was seen before; remembers it if not. `mark` is the device's time, or what stands in for it
    /// ([`crate::model::Sample::message`]); a sample without one is never a repetition.
    pub fn seen(&mut self, mark: Option<i64>, value: &Value) -> bool {
        let Some(mark) = mark else { return false };
        let mut hasher = Fnv::default();
        (mark, value).hash(&mut hasher);
        let entry = hasher.finish();
        if self.recent.contains(&entry) {
            return true;
        }
        if self.recent.len() < REMEMBERED {
            self.recent.push(entry);
        } else {
            self.recent[self.next] = entry;
            self.next = (self.next + 1) % REMEMBERED;
        }
        false
    }

    /// What it remembers, oldest first, for [`Dedupe::restored`].
    pub fn remembered(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        let count = self.recent.len();
        (0..count).map(move |at| self.recent[(self.next + at) % count])
    }

    /// One that goes on from what another remembered; of more than [`REMEMBERED`] the last ones count.
    #[must_use]
    pub fn restored(mut recent: Vec<u64>) -> Self {
        recent.drain(..recent.len().saturating_sub(REMEMBERED));
        Self { recent, next: 0 }
    }
}

/// FNV-1a of 64 bits (draft-eastlake-fnv): what it gives lies on disk, so it must not change with the compiler.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

// A hash of a short personal value can be searched back to it.
impl fmt::Debug for Dedupe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dedupe({} of {REMEMBERED})", self.recent.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;

    fn number(value: i64) -> Value {
        Value::Number(Decimal::from(value))
    }

    #[test]
    fn only_the_same_time_and_value_repeat() {
        let mut dedupe = Dedupe::default();
        for (device_ms, value, repeats) in [
            (Some(1), number(1), false),
            (Some(1), number(1), true),
            (Some(1), Value::Number(Decimal::new(10, 1)), true),
            (Some(1), number(2), false),
            (Some(2), number(1), false),
            (Some(1), Value::Text("1".into()), false),
            (Some(0), Value::Flag(false), false),
            (Some(0), Value::Flag(false), true),
            (None, number(1), false),
            (None, number(1), false),
            (Some(1), number(1), true),
        ] {
            assert_eq!(dedupe.seen(device_ms, &value), repeats, "{device_ms:?}");
        }
    }

    #[test]
    fn what_lies_on_disk_keeps_its_meaning() {
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let mut hasher = Fnv::default();
            hasher.write(text.as_bytes());
            assert_eq!(hasher.finish(), hash, "{text:?}");
        }
    }

    #[test]
    fn an_empty_one_has_seen_nothing() {
        assert!(!Dedupe::default().seen(Some(0), &number(0)));
    }

    #[test]
    fn debug_tells_nothing() {
        let mut dedupe = Dedupe::default();
        dedupe.seen(Some(1), &Value::Text("13800138000".into()));
        assert_eq!(format!("{dedupe:?}"), "Dedupe(1 of 64)");
    }

    proptest! {
        #[test]
        fn remembers_the_last_different_ones(
            samples in prop::collection::vec((prop::option::weighted(0.9, 0_i64..20), 0_i64..8), 0..600),
            restarts in prop::collection::btree_set(0_usize..600, 0..4),
        ) {
            let mut dedupe = Dedupe::default();
            let mut reference: VecDeque<(i64, i64)> = VecDeque::new();
            for (at, (device_ms, value)) in samples.into_iter().enumerate() {
                if restarts.contains(&at) {
                    dedupe = Dedupe::restored(dedupe.remembered().collect());
                }
                let expected = device_ms.is_some_and(|time_ms| reference.contains(&(time_ms, value)));
                prop_assert_eq!(dedupe.seen(device_ms, &number(value)), expected);
                if let (Some(time_ms), false) = (device_ms, expected) {
                    reference.push_back((time_ms, value));
                    if reference.len() > REMEMBERED {
                        reference.pop_front();
                    }
                }
            }
        }
    }
}
