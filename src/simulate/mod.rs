//! simulate
pub mod devices;
pub mod load;
