//! The shells that devices speak to: serial ports and the MQTT front. They decode, stamp and hand on; they decide
//! nothing about a value.

pub mod mqtt;
pub mod serial;
