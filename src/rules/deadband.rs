//! Which numbers are shared one by one: those that tell something new.
//!
//! Guarantees: whoever gets what passes knows each number to within the band, of any last [`HOUR_MS`], and what is thought
//! of it: one of another quality than the last passes, and so does one that is not believed. Pure: time is that of the
//! reading's receipt; what it remembers can be kept and taken up again.

use rust_decimal::Decimal;

use crate::model::{Quality, Reading, Value};

/// After so long a reading passes whatever it says, milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

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
    /// Whether a reading says something that the last one that passed did not: it differs by `band` or more, or in
    /// quality, or came an hour later. What is no number passes.
    pub fn passes(&mut self, band: Decimal, reading: &Reading) -> bool {
        let Value::Number(value) = reading.value else { return true };
        let (received_ms, quality) = (reading.received_ms, reading.quality);
        let is_known = |last: Passed| {
            quality.is_believable()
                && quality == last.quality
                && (0..HOUR_MS).contains(&received_ms.saturating_sub(last.received_ms))
                && value.checked_sub(last.value).is_some_and(|change| change.abs() < band)
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
        let band = Decimal::new(2, 1);
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
            (14, Value::Text("20-30".into()), Good, true),
            (15, number("20.1"), Good, false),
            (16, number("-79228162514264337593543950335"), Good, true),
            (17, number("79228162514264337593543950335"), Good, true),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(state.passes(band, &reading(received_ms, value, quality)), passes, "step {step}");
            state = state.remembered().map_or_else(State::default, |bytes| State::restored(&bytes));
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
                if state.passes(Decimal::from(band), &reading(received_ms, Value::Number(value.into()), quality)) {
                    last = Some((received_ms, value, quality));
                }
                let (at_ms, known, thought) = last.expect("the first one passes");
                prop_assert!((value - known).abs() < band && thought == quality && received_ms - at_ms < HOUR_MS);
            }
        }
    }
}
