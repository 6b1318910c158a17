//! `smallbrain-city`: the city's end for many gateways. Pulls from a registry of them and hands everything to a sink.
//!
//! ```text
//! registry ──► leases ──► one task a gateway: Puller ──► drawer of the sink ──► ack to the gateway
//! (TOML)       (who pulls whom)                          (JSON lines, JetStream, PostgreSQL)
//! ```
//!
//! [`settings`] and [`registry`] are what the operator wrote, [`share_out`] who should pull whom as a pure function,
//! [`lease`] where collectors agree on it, [`gateway`] one gateway's task, [`sink`] where records go, [`collector`] the one
//! place where tasks start, are watched and stop.
//!
//! Guarantees: a gateway is told that something is stored only after the sink said so; what the sink holds is each record
//! once, also after the collector was killed; another epoch is told and begins anew; a gateway whose audit trail forked is
//! left alone until its line of the registry says otherwise. Keeps no state of its own: cursors lie in the sink.
//! Does not take push links so far.

mod batch;
mod cli;
pub mod collector;
mod counters;
mod gateway;
mod lease;
pub mod registry;
pub mod settings;
pub mod share_out;
pub mod sink;

pub use cli::main;
