//! The first characters of a text, where its rest is what tells too much.
//!
//! Guarantees: never the whole text, and nothing of one that may hold a number of a person: the beginning of an id is a
//! region and a day of birth. It knows nothing of what the characters mean; to generalise is better where that fits.

use unicode_normalization::UnicodeNormalization;

use crate::model::Value;

/// Characters that may be kept.
const KEEP_MAX: usize = 64;
/// From so many digits on a text may hold a phone number.
const DIGITS_MIN: usize = 7;

/// Keeps so many characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncate(usize);

impl Truncate {
    /// Keeps 1 to 64 characters.
    ///
    /// # Errors
    /// What is wrong with the number.
    pub fn new(keep: u64) -> Result<Self, String> {
        let keep = usize::try_from(keep).ok().filter(|keep| (1..=KEEP_MAX).contains(keep));
        keep.map(Self).ok_or_else(|| format!("1 to {KEEP_MAX} characters can be kept"))
    }

    /// The first characters; `None` for what is no text, is no longer than them, or has seven digits or more.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let Value::Text(text) = value else { return None };
        let digits = text.nfkc().filter(|c| c.is_numeric()).count();
        if digits >= DIGITS_MIN || text.chars().nth(self.0).is_none() {
            return None;
        }
        Some(Value::Text(text.chars().take(self.0).collect::<String>().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        for (keep, text, expected) in [
            (2, "E07-4711", Some("E0")),
            (3, "单元门开关", Some("单元门")),
            (3, "单元门", None),
            (3, "", None),
            (3, "13800138000", None),
            (3, "11010519491231002X", None),
            (3, "１３８-0013-8000", None),
            (3, "卡号 12 34 567", None),
            (3, "12345号", Some("123")),
        ] {
            let got = Truncate::new(keep).expect("a number").apply(&Value::Text(text.into()));
            assert_eq!(got, expected.map(|text| Value::Text(text.into())), "{keep} of {text}");
        }
        assert_eq!(Truncate::new(2).expect("a number").apply(&Value::Flag(true)), None);
        assert!(Truncate::new(0).is_err() && Truncate::new(65).is_err());
    }
}
