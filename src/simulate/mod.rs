//! Devices that are not there: for the demo, for tests, and to try a configuration without hardware.

pub mod bus;
pub mod devices;
pub mod load;
pub mod mqtt;
pub mod pty;
