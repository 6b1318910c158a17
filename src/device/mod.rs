//! The shells that devices speak to: serial ports, the MQTT front and the HTTP intake. They decode, stamp and hand on; they decide
//! nothing about a value.

pub mod http;
pub mod mqtt;
pub mod serial;
