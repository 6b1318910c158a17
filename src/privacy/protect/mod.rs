//! What protects released numbers.

pub mod one;
