//! Which readings go on, which of them are believed, which raise an alarm, whom it tells and what it does, and what
//! readings tell of their device. Pure.

pub mod cel;
pub mod command;
pub mod dedupe;
pub mod due;
pub mod engine;
pub mod incident;
pub mod listed;
pub mod maintenance;
pub mod memory;
pub mod notice;
pub mod pattern;
pub mod plan;
pub mod plausible;
pub mod presence;
pub mod rate;
pub mod schedule;
pub mod thinning;
pub mod trigger;
