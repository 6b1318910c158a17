//! Folds over the log of committed readings: closed windows ([`windows`]) and blocks of readings ([`blocks`]). Pure:
//! the same readings in the same order give the same bytes, so a fold is resumed from a position and a snapshot.

pub mod blocks;
mod snapshot;
pub mod windows;
