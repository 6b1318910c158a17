//! Sample → Reading: scale, offset, kind, range and time quality. Pure.

use rust_decimal::Decimal;

use crate::model::{Loss, Reading, Sample, Stamp};

/// What kind of value a point has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A decimal number.
    Number,
    /// On or off.
    Flag,
    /// A text.
    Text,
}

/// How one point is normalised: `reading = sample × scale + offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Expected kind.
    pub kind: Kind,
    /// Factor.
    pub scale: Decimal,
    /// Added after scaling.
    pub offset: Decimal,
    /// Inclusive bounds of the scaled value.
    pub range: Option<(Decimal, Decimal)>,
}

/// One sample, normalised.
///
/// # Errors
/// [`Loss::Invalid`] for a value of another kind or beyond a decimal, [`Loss::OutOfRange`] outside of the range.
pub fn normalise(rule: &Rule, sample: Sample, received: Stamp) -> Result<Reading, Loss> {
    let _ = (rule, sample, received);
    todo!()
}
