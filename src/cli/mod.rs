//! cli
pub mod simulate;
