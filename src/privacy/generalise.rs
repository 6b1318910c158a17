//! Numbers into fixed, half-open bands with public bounds.

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
        Ok(Self(bounds))
    }

    /// The band's name; `None` for what is no number or below the first bound.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let _ = (&self.0, value);
        todo!()
    }
}
