//! Which readings go on, which of them are believed, and which raise an alarm. Pure.

pub mod alarm;
pub mod deadband;
pub mod dedupe;
pub mod plausible;
pub mod rate;
