//! What noise costs: exact parts of a budget, spent window by window.
//!
//! Guarantees: sums are exact; what cannot be added up counts as spent. Does not remember anything: what was spent is an
//! argument.

use std::fmt;
use std::str::FromStr;

use crate::model::LineId;

/// Largest numerator and denominator.
pub const RATIO_MAX: u32 = 1000;

/// A positive fraction: "1/2", "2".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    num: u32,
    den: u32,
}

/// A text that is no fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no fraction of whole numbers from 1 to 1000: write it as \"1/2\" or \"2\"")]
pub struct NoRatio;

impl Ratio {
    /// In its lowest terms.
    ///
    /// # Errors
    /// [`NoRatio`] when one of them is not from 1 to [`RATIO_MAX`].
    pub fn new(num: u32, den: u32) -> Result<Self, NoRatio> {
        let range = 1..=RATIO_MAX;
        if !range.contains(&num) || !range.contains(&den) {
            return Err(NoRatio);
        }
        let common = gcd(u128::from(num), u128::from(den)) as u32;
        Ok(Self { num: num / common, den: den / common })
    }

    /// Above the line.
    #[must_use]
    pub fn num(self) -> u32 {
        self.num
    }

    /// Below the line.
    #[must_use]
    pub fn den(self) -> u32 {
        self.den
    }

    /// How often the other one fits into this one.
    #[must_use]
    pub fn holds(self, other: Ratio) -> u64 {
        let (top, bottom) =
            (u64::from(self.num) * u64::from(other.den), u64::from(self.den) * u64::from(other.num));
        top / bottom
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.den {
            1 => self.num.fmt(f),
            den => write!(f, "{}/{den}", self.num),
        }
    }
}

impl FromStr for Ratio {
    type Err = NoRatio;

    fn from_str(text: &str) -> Result<Self, NoRatio> {
        let number = |text: &str| {
            let digits =
                !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|_| digits).ok_or(NoRatio)
        };
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        Self::new(number(num)?, number(den)?)
    }
}

/// What may be told of a subject in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its id.
    pub id: LineId,
    /// How much a period has.
    pub epsilon: Ratio,
    /// How long a period is, milliseconds; periods begin at local midnight.
    pub period_ms: i64,
}

impl Budget {
    /// The start of the period in which a window begins; `zone_ms` is the zone's offset from UTC.
    #[must_use]
    pub fn period_of(&self, start_ms: i64, zone_ms: i64) -> i64 {
        let period_ms = self.period_ms.max(1);
        let local_ms = start_ms.saturating_add(zone_ms);
        local_ms.div_euclid(period_ms).saturating_mul(period_ms).saturating_sub(zone_ms)
    }

    /// Whether a period that has spent these fractions, (numerator, denominator), can pay for one more.
    #[must_use]
    pub fn pays(&self, spent: &[(u64, u64)], next: Ratio) -> bool {
        let mut sum = (u128::from(next.num), u128::from(next.den));
        for (num, den) in spent {
            let Some(more) = add(sum, (u128::from(*num), u128::from(*den))) else { return false };
            sum = more;
        }
        let bound = sum.1.checked_mul(u128::from(self.epsilon.num));
        let spent = sum.0.checked_mul(u128::from(self.epsilon.den));
        matches!((spent, bound), (Some(spent), Some(bound)) if spent <= bound)
    }

    /// What is left of a period that has spent these fractions, as "3/2"; "0" where nothing is, and where they cannot be
    /// added up.
    #[must_use]
    pub fn left(&self, spent: &[(u64, u64)]) -> String {
        let whole = (u128::from(self.epsilon.num), u128::from(self.epsilon.den));
        let mut sum = (0_u128, 1_u128);
        for (num, den) in spent {
            match add(sum, (u128::from(*num), u128::from(*den))) {
                Some(more) => sum = more,
                None => return "0".into(),
            }
        }
        let top = whole.0.checked_mul(sum.1).zip(sum.0.checked_mul(whole.1));
        let left = top.and_then(|(whole, spent)| whole.checked_sub(spent)).zip(whole.1.checked_mul(sum.1));
        let Some((top, bottom)) = left.filter(|(top, bottom)| *top > 0 && *bottom > 0) else {
            return "0".into();
        };
        let common = gcd(top, bottom);
        match bottom / common {
            1 => (top / common).to_string(),
            bottom => format!("{}/{bottom}", top / common),
        }
    }
}

fn gcd(mut one: u128, mut other: u128) -> u128 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one.max(1)
}

fn add(one: (u128, u128), other: (u128, u128)) -> Option<(u128, u128)> {
    let num = one.0.checked_mul(other.1)?.checked_add(other.0.checked_mul(one.1)?)?;
    let den = one.1.checked_mul(other.1)?;
    let common = gcd(num, den);
    Some((num / common, den / common))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(text: &str) -> Ratio {
        text.parse().expect("a fraction")
    }

    #[test]
    fn fractions() {
        for (text, shown) in
            [("1/2", "1/2"), ("2", "2"), ("4/8", "1/2"), ("1000/1", "1000"), ("3/1000", "3/1000")]
        {
            assert_eq!(ratio(text).to_string(), shown);
        }
        for text in
            ["", "0", "1/0", "0/1", "-1", "+1", "1.5", "1/", "/2", "1/2/3", "1001", "1/1001", " 1", "1 /2"]
        {
            assert_eq!(text.parse::<Ratio>(), Err(NoRatio), "{text:?}");
        }
        assert_eq!((ratio("2").holds(ratio("1/2")), ratio("1/3").holds(ratio("1/2"))), (4, 0));
    }

    #[test]
    fn what_is_left_is_exact() {
        let budget = Budget { id: "B".parse().expect("id"), epsilon: ratio("2"), period_ms: 86_400_000 };
        for (spent, left) in [
            (vec![], "2"),
            (vec![(1, 2)], "3/2"),
            (vec![(1, 3), (1, 3)], "4/3"),
            (vec![(2, 1)], "0"),
            (vec![(5, 2)], "0"),
            (vec![(1, u64::MAX), (1, u64::MAX - 1), (1, u64::MAX - 2), (1, u64::MAX - 4)], "0"),
        ] {
            assert_eq!(budget.left(&spent), left, "{spent:?}");
        }
    }

    #[test]
    fn a_budget_is_spent_exactly() {
        let budget = Budget { id: "B".parse().expect("id"), epsilon: ratio("1"), period_ms: 86_400_000 };
        let thirds = vec![(1, 3); 2];
        for (spent, next, pays) in [
            (vec![], "1", true),
            (vec![], "1001/1000", false),
            (thirds.clone(), "1/3", true),
            (thirds.clone(), "334/1000", false),
            (vec![(3, 3)], "1/1000", false),
            (vec![(1, 7), (1, 11), (1, 13)], "1/2", true),
        ] {
            let next = next.parse::<Ratio>();
            assert_eq!(next.is_ok_and(|next| budget.pays(&spent, next)), pays, "{spent:?}");
        }
        let zone_ms = 8 * 3_600_000;
        assert_eq!(budget.period_of(0, zone_ms), -zone_ms);
        assert_eq!(budget.period_of(16 * 3_600_000, zone_ms), 16 * 3_600_000);
    }
}
