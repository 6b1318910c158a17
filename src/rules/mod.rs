//! Which readings go on, which of them are believed, which raise an alarm, and what they tell of their device. Pure.

pub mod alarm;
pub mod deadband;
pub mod dedupe;
pub mod plausible;
pub mod presence;
pub mod rate;
