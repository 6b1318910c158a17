//! Which readings are shared one by one: those that tell something new, and not too often.
//!
//! Guarantees: whoever gets what passes a band knows each number to within it, of any last [`HOUR_MS`], and what is thought
//! of it: one of another quality than the last passes, and so does one that is not believed. With a sample time no two of
//! one quality pass within it. Pure: time is that of the reading's receipt; what it remembers can be kept and taken up
//! again.

use std::hash::{DefaultHasher, Hash, Hasher};

use rust_decimal::Decimal;

use crate::model::{Quality, Reading, Value};

/// After so long a reading passes whatever it says, milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

/// What is new enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// A number has to differ from the last one by so much, above 0.
    pub band: Option<Decimal>,
    /// It has to differ from the last one at all.
    pub change_only: bool,
    /// So many milliseconds have to be over since the last one.
    pub sample_ms: Option<u64>,
}

impl Rule {
    /// Whether it holds anything back.
    #[must_use]
    pub fn thins(&self) -> bool {
        *self != Self::default()
    }

    fn is_new(&self, last: Decimal, value: Decimal, is_number: bool) -> bool {
        let leaves = |band| last.checked_sub(value).is_none_or(|change| change.abs() >= band);
        let is_far = self.band.filter(|_| is_number).is_none_or(leaves);
        is_far && (!self.change_only || last != value)
    }
}

/// The last one of a series that passed. Has no `Debug`: a number may be personal.
#[derive(Clone, Default, PartialEq)]
pub struct State(Option<Passed>);

#[derive(Clone, Copy, PartialEq)]
struct Passed {
    value: Decimal,
    received_ms: i64,
    quality: Quality,
}

/// The bytes of a [`State`].
pub const STATE_BYTES: usize = 16 + 8 + 1;

impl State {
    /// Whether a reading passes: it is the first one, of another quality than the last that passed, came an hour later, or
    /// says what the rule calls new (or is not believed) and not sooner than the rule allows.
    pub fn passes(&mut self, rule: &Rule, reading: &Reading) -> bool {
        let (received_ms, quality) = (reading.received_ms, reading.quality);
        let (value, is_number) = match &reading.value {
            Value::Number(number) => (*number, true),
            Value::Flag(flag) => (Decimal::from(u8::from(*flag)), false),
            Value::Text(text) => (Decimal::from(digest(text)), false),
        };
        let is_known = |last: Passed| {
            let since_ms = received_ms.saturating_sub(last.received_ms);
            let is_soon = rule.sample_ms.is_some_and(|sample_ms| since_ms.unsigned_abs() < sample_ms);
            quality == last.quality
                && since_ms >= 0
                && (is_soon
                    || since_ms < HOUR_MS
                        && quality.is_believable()
                        && !rule.is_new(last.value, value, is_number))
        };
        let passes = !self.0.is_some_and(is_known);
        if passes {
            self.0 = Some(Passed { value, received_ms, quality });
        }
        passes
    }

    /// What it remembers, for [`State::restored`]; `None` when that is nothing.
    #[must_use]
    pub fn remembered(&self) -> Option<[u8; STATE_BYTES]> {
        let Passed { value, received_ms, quality } = self.0?;
        let mut bytes = [0; STATE_BYTES];
        bytes[..16].copy_from_slice(&value.serialize());
        bytes[16..24].copy_from_slice(&received_ms.to_le_bytes());
        bytes[24] = quality as u8;
        Some(bytes)
    }

    /// One that goes on from what another remembered.
    #[must_use]
    pub fn restored(bytes: &[u8; STATE_BYTES]) -> Self {
        let passed = || {
            let (value, rest) = bytes.split_first_chunk()?;
            let (time, quality) = rest.split_first_chunk()?;
            Some(Passed {
                value: Decimal::deserialize(*value),
                received_ms: i64::from_le_bytes(*time),
                quality: Quality::from_code(*quality.first()?),
            })
        };
        Self(passed())
    }
}

/// In place of a text; the same in every process of a build, which is as long as it is kept for.
fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::SeriesKey;
    use Quality::{Clock, CounterBack, Good, Skewed, Slope};

    fn reading(received_ms: i64, value: Value, quality: Quality) -> Reading {
        Reading { series: SeriesKey(0), value, time_ms: 0, received_ms, device_time: false, quality }
    }

    #[test]
    fn what_passes() {
        let rule = Rule { band: Some(Decimal::new(2, 1)), ..Rule::default() };
        let number = |text: &str| Value::Number(Decimal::from_str_exact(text).expect("a number in a test"));
        let mut state = State::default();
        assert_eq!(state.remembered(), None);
        for (step, (received_ms, value, quality, passes)) in [
            (0, number("20"), Good, true),
            (1, number("20.1999"), Good, false),
            (2, number("19.81"), Good, false),
            (3, number("20.2"), Good, true),
            (4, number("20.01"), Good, false),
            (5, number("20.01"), Clock, true),
            (6, number("20.1"), Clock, false),
            (7, number("20.1"), Skewed, true),
            (8, number("20.1"), Good, true),
            (9, number("99"), Slope, true),
            (10, number("99"), Slope, true),
            (11, number("0"), CounterBack, true),
            (12, number("20.1"), Good, true),
            (13, number("20.1"), Good, false),
            (12 + HOUR_MS - 1, number("20.1"), Good, false),
            (12 + HOUR_MS, number("20.1"), Good, true),
            (13, number("20.1"), Good, true),
            (15, number("20.1"), Good, false),
            (16, number("-79228162514264337593543950335"), Good, true),
            (17, number("79228162514264337593543950335"), Good, true),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(state.passes(&rule, &reading(received_ms, value, quality)), passes, "step {step}");
            state = state.remembered().map_or_else(State::default, |bytes| State::restored(&bytes));
        }
    }

    #[test]
    fn what_changes_and_what_is_not_too_soon() {
        let change = Rule { change_only: true, ..Rule::default() };
        let sample = Rule { sample_ms: Some(10), ..Rule::default() };
        let both = Rule { change_only: true, sample_ms: Some(10), ..Rule::default() };
        let text = |text: &str| Value::Text(text.into());
        for (name, rule, steps) in [
            (
                "change only",
                change,
                vec![
                    (0, Value::Flag(true), Good, true),
                    (1, Value::Flag(true), Good, false),
                    (2, Value::Flag(false), Good, true),
                    (HOUR_MS + 2, Value::Flag(false), Good, true),
                    (HOUR_MS + 3, Value::Flag(false), Skewed, true),
                ],
            ),
            (
                "texts",
                change,
                vec![(0, text("a"), Good, true), (1, text("a"), Good, false), (2, text("b"), Good, true)],
            ),
            (
                "sampled",
                sample,
                vec![
                    (0, Value::Flag(true), Good, true),
                    (9, Value::Flag(false), Good, false),
                    (10, Value::Flag(false), Good, true),
                    (11, Value::Flag(false), Slope, true),
                    (12, Value::Flag(false), Slope, false),
                    (21, Value::Flag(false), Slope, true),
                ],
            ),
            (
                "both",
                both,
                vec![
                    (0, Value::Flag(true), Good, true),
                    (5, Value::Flag(false), Good, false),
                    (10, Value::Flag(true), Good, false),
                    (11, Value::Flag(false), Good, true),
                ],
            ),
        ] {
            let mut state = State::default();
            for (step, (received_ms, value, quality, passes)) in steps.into_iter().enumerate() {
                let got = state.passes(&rule, &reading(received_ms, value, quality));
                assert_eq!(got, passes, "{name}: step {step}");
                state = state.remembered().map_or_else(State::default, |bytes| State::restored(&bytes));
            }
        }
    }

    proptest! {
        /// At any moment the last one that passed is as good as the newest one.
        #[test]
        fn nobody_misses_anything(
            steps in prop::collection::vec((0_i64..HOUR_MS, -30_i64..30, 0_u8..7), 1..200),
            band in 1_i64..20,
        ) {
            let mut state = State::default();
            let mut last: Option<(i64, i64, Quality)> = None;
            let mut received_ms = 0;
            for (step_ms, value, code) in steps {
                received_ms += step_ms;
                let quality = Quality::from_code(code);
                let rule = Rule { band: Some(Decimal::from(band)), ..Rule::default() };
                if state.passes(&rule, &reading(received_ms, Value::Number(value.into()), quality)) {
                    last = Some((received_ms, value, quality));
                }
                let (at_ms, known, thought) = last.expect("the first one passes");
                prop_assert!((value - known).abs() < band && thought == quality && received_ms - at_ms < HOUR_MS);
            }
        }
    }
}
