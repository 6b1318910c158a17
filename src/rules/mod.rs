//! Which readings go on, and which of them raise an alarm. Pure.

pub mod alarm;
pub mod dedupe;
pub mod rate;
