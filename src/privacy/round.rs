//! Numbers to the nearest multiple of a base: a tidy display, no protection.
//!
//! Guarantees: exact; halves go away from zero, so a number and its negative round alike. It hides nobody: 7 and 8 differ by
//! one person and give 5 and 10. What must not be told apart needs a threshold or noise first.

use rust_decimal::Decimal;

use crate::model::Value;

/// Rounds to multiples of one base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounder(Decimal);

impl Rounder {
    /// With a base above zero.
    ///
    /// # Errors
    /// What is wrong with the base.
    pub fn new(base: Decimal) -> Result<Self, &'static str> {
        if base <= Decimal::ZERO {
            return Err("a base that is not above zero");
        }
        Ok(Self(base.normalize()))
    }

    /// The nearest multiple; `None` for what is no number, or too large for one.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let Value::Number(number) = value else { return None };
        let rest = number.abs().checked_rem(self.0)?;
        let below = number.abs().checked_sub(rest)?;
        // Twice the rest would be a digit more.
        let up = rest >= self.0.checked_sub(rest)?;
        let nearest = if up { below.checked_add(self.0)? } else { below };
        let signed = if number.is_sign_negative() { Decimal::ZERO.checked_sub(nearest)? } else { nearest };
        Some(Value::Number(signed.normalize()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str_exact(text).expect("a number in a test")
    }

    #[test]
    fn nearest_multiples() {
        for (base, number, expected) in [
            ("5", "0", "0"),
            ("5", "2", "0"),
            ("5", "2.5", "5"),
            ("5", "3", "5"),
            ("5", "7", "5"),
            ("5", "8", "10"),
            ("5", "-2.5", "-5"),
            ("5", "-8", "-10"),
            ("5", "-1", "0"),
            ("0.1", "0.15", "0.2"),
            ("3", "4", "3"),
            ("3", "5", "6"),
            ("0.25", "1.10", "1"),
            ("100", "149.999", "100"),
        ] {
            let rounder = Rounder::new(decimal(base)).expect("above zero");
            let got = rounder.apply(&Value::Number(decimal(number)));
            assert_eq!(got, Some(Value::Number(decimal(expected))), "{number} to {base}");
        }
        assert_eq!(Rounder::new(Decimal::ONE).expect("above zero").apply(&Value::Text("3".into())), None);
        let large = Rounder::new(decimal("5")).expect("above zero");
        assert_eq!(large.apply(&Value::Number(Decimal::MAX)), Some(Value::Number(Decimal::MAX)));
        assert!(Rounder::new(Decimal::ZERO).is_err() && Rounder::new(decimal("-5")).is_err());
    }

    proptest! {
        #[test]
        fn within_half_a_base_and_odd(base in 1_i64..1000, number in -1_000_000_i64..1_000_000) {
            let rounder = Rounder::new(base.into()).expect("above zero");
            let round = |number: i64| match rounder.apply(&Value::Number(number.into())) {
                Some(Value::Number(rounded)) => rounded,
                other => panic!("{other:?}"),
            };
            let rounded = round(number);
            prop_assert!((rounded % Decimal::from(base)).is_zero());
            prop_assert!((rounded - Decimal::from(number)).abs() * Decimal::TWO <= Decimal::from(base));
            prop_assert_eq!(round(-number), -rounded);
        }
    }
}
