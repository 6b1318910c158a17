//! Ages into bands of whole years.
//!
//! Guarantees: an age is in one band or in none; what is no age (below 0, above [`AGE_MAX`], no whole number) gives nothing.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::model::Value;

/// The highest age that is believed, years. Nobody is known to have lived longer than 122.
pub const AGE_MAX: u32 = 130;
/// Bands at most.
const BANDS_MAX: usize = 64;

/// Ascending bands, both ends inclusive: "0-6,7-17,18-59,60+".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ages(Vec<Band>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Band {
    low: u32,
    /// The last one may be open.
    high: Option<u32>,
    name: String,
}

impl Ages {
    /// From "0-6,7-17,18-59,60+": ascending, without overlap; only the last one may be open.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut bands: Vec<Band> = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let band =
                band(part).ok_or_else(|| format!("{part:?} is no band: as in \"0-6,7-17,18-59,60+\""))?;
            let open = |last: &Band| last.high.is_none_or(|high| high >= band.low);
            if bands.last().is_some_and(open) {
                return Err(format!("band {part:?} does not begin above the one before it"));
            }
            bands.push(band);
        }
        if bands.len() > BANDS_MAX {
            return Err(format!("{} bands: at most {BANDS_MAX}", bands.len()));
        }
        Ok(Self(bands))
    }

    /// The band's name; `None` for what is no age, or in none.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let Value::Number(number) = value else { return None };
        if !number.is_integer() || *number > Decimal::from(AGE_MAX) {
            return None;
        }
        let age = number.to_u32()?;
        let band = self.0.iter().find(|band| age >= band.low && band.high.is_none_or(|high| age <= high))?;
        Some(Value::Text(band.name.as_str().into()))
    }
}

fn band(text: &str) -> Option<Band> {
    let number = |text: &str| -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|age| *age <= AGE_MAX)
    };
    let (low, high) = match text.strip_suffix('+') {
        Some(low) => (number(low)?, None),
        None => {
            let (low, high) = text.split_once('-')?;
            (number(low)?, Some(number(high)?))
        }
    };
    let name = high.map_or_else(|| format!("{low}+"), |high| format!("{low}-{high}"));
    high.is_none_or(|high| low <= high).then_some(Band { low, high, name })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bands_are_checked() {
        for (text, good) in [
            ("0-6,7-17,18-34,35-59,60-79,80+", true),
            ("0-6, 10-17", true),
            ("0+", true),
            ("5-5", true),
            ("", false),
            ("0-6,", false),
            ("6-0", false),
            ("0-6,6-17", false),
            ("0-6,3-17", false),
            ("60+,80+", false),
            ("0-6;7-17", false),
            ("-1-6", false),
            ("+0-6", false),
            ("0-131", false),
        ] {
            assert_eq!(Ages::new(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn ends_are_inclusive() {
        let ages = Ages::new("0-6,7-17,18-34,40-79,80+").expect("good bands");
        for (age, band) in [
            ("0", Some("0-6")),
            ("6", Some("0-6")),
            ("7", Some("7-17")),
            ("7.0", Some("7-17")),
            ("34", Some("18-34")),
            ("35", None),
            ("79", Some("40-79")),
            ("80", Some("80+")),
            ("130", Some("80+")),
            ("131", None),
            ("200", None),
            ("-1", None),
            ("-0", Some("0-6")),
            ("6.5", None),
        ] {
            let value = Value::Number(Decimal::from_str_exact(age).expect("a number"));
            assert_eq!(ages.apply(&value), band.map(|band| Value::Text(band.into())), "{age}");
        }
        assert_eq!(ages.apply(&Value::Text("7".into())), None);
    }

    proptest! {
        #[test]
        fn an_age_is_in_its_band(age in -10_i64..150) {
            let got = Ages::new("0-17,18-59,60+").expect("good bands").apply(&Value::Number(age.into()));
            let expected = match age {
                0..=17 => Some("0-17"),
                18..=59 => Some("18-59"),
                60..=130 => Some("60+"),
                _ => None,
            };
            prop_assert_eq!(got, expected.map(|band| Value::Text(band.into())));
        }
    }
}
