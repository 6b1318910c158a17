//! Values into a fixed, public hierarchy: numbers into half-open bands, [times](Times), [ages](Ages), [places](Places).
//!
//! Guarantees: the hierarchy is that of the configuration, the same for everybody; a value that has no place in it gives
//! nothing, never itself. Pure.

mod age;
mod place;
mod time;

pub use age::{AGE_MAX, Ages};
pub use place::{Level, Places};
pub use time::{Times, Unit, zone_ms};

use rust_decimal::Decimal;

use crate::model::Value;

/// Ascending bounds: `[0, 18, 60]` gives "0-18", "18-60", "60+". Below the first: nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Bands(Vec<Decimal>);

impl Bands {
    /// At least one bound, strictly ascending.
    ///
    /// # Errors
    /// What is wrong with the bounds.
    pub fn new(bounds: Vec<Decimal>) -> Result<Self, &'static str> {
        if bounds.is_empty() {
            return Err("no bounds: give at least one, as in [0, 18, 60]");
        }
        if !bounds.is_sorted_by(|low, high| low < high) {
            return Err("the bounds are not strictly ascending: each must be greater than the one before it");
        }
        Ok(Self(bounds.into_iter().map(|bound| bound.normalize()).collect()))
    }

    /// The band's name; `None` for what is no number or below the first bound.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let Value::Number(number) = value else { return None };
        let above = self.0.partition_point(|bound| bound <= number);
        let low = self.0.get(above.checked_sub(1)?)?;
        let name = match self.0.get(above) {
            Some(high) => format!("{low}-{high}"),
            None => format!("{low}+"),
        };
        Some(Value::Text(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str_exact(text).expect("a number in a test")
    }

    fn bands(bounds: &[&str]) -> Result<Bands, &'static str> {
        Bands::new(bounds.iter().map(|bound| decimal(bound)).collect())
    }

    #[test]
    fn bounds_are_checked() {
        for (bounds, good) in [
            (&[][..], false),
            (&["0"][..], true),
            (&["0", "18", "60"][..], true),
            (&["-10", "0.5"][..], true),
            (&["0", "18", "18.0"][..], false),
            (&["18", "0"][..], false),
        ] {
            assert_eq!(bands(bounds).is_ok(), good, "{bounds:?}");
        }
    }

    #[test]
    fn bands_are_half_open() {
        let ages = bands(&["0", "18.0", "60"]).expect("ascending");
        for (age, band) in [
            ("-0.1", None),
            ("0", Some("0-18")),
            ("17.999", Some("0-18")),
            ("18", Some("18-60")),
            ("59", Some("18-60")),
            ("60.0", Some("60+")),
            ("999", Some("60+")),
        ] {
            let expected = band.map(|band| Value::Text(band.into()));
            assert_eq!(ages.apply(&Value::Number(decimal(age))), expected, "{age}");
        }
        assert_eq!(ages.apply(&Value::Flag(true)), None);
        assert_eq!(ages.apply(&Value::Text("17".into())), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_search(bounds in prop::collection::btree_set(-50_i64..50, 1..8), number in -60_i64..60) {
            let bounds: Vec<i64> = bounds.into_iter().collect();
            let bands = Bands::new(bounds.iter().copied().map(Decimal::from).collect()).expect("a set is ascending");
            let expected = bounds.iter().rposition(|bound| *bound <= number).map(|low| match bounds.get(low + 1) {
                Some(high) => format!("{}-{high}", bounds[low]),
                None => format!("{}+", bounds[low]),
            });
            let got = bands.apply(&Value::Number(Decimal::from(number)));
            prop_assert_eq!(got, expected.map(|band| Value::Text(band.into())));
        }
    }
}
