//! Folds over the log of committed readings: closed windows ([`windows`]) and blocks of readings ([`blocks`]). Pure:
//! the same readings in the same order give the same bytes, so a fold is resumed from a position and a snapshot.

pub mod blocks;
mod cell;
mod shape;
mod snapshot;
pub mod statistic;
mod trail;
pub mod windows;

pub use cell::DISTINCT_MAX;
pub use trail::Pace;
