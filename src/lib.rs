//! The community small brain: an edge gateway for residential compounds.
#![doc = ""]
pub mod backoff;
pub mod clock;
pub mod model;

pub mod aggregate;
pub mod codec;
pub mod normalise;
pub mod privacy;
pub mod rules;

pub mod device;
pub mod store;
pub mod wire;

pub mod ingest;
pub mod share;

pub mod cli;
pub mod config;
pub mod daemon;
pub mod simulate;
pub mod telemetry;
