//! The community small brain (社区小脑): an edge gateway for residential compounds.
//!
//! ```text
//!  bytes      Sample        Reading       Cleared<Reading>        rows          ClosedWindow, blocks     Sealed
//! device ──► ingest ──► normalise ──► privacy ──► rules ──► store (the log) ──► aggregate ──► privacy ──► lanes ──► share
//!  │                                                                                                    (outbox)     │
//!  └── PUBACK ◄── receipt ◄── COMMIT with synchronous=FULL                                     the city pulls ◄──────┘
//! ```
//!
//! The modules below stand in reading order, lowest layer first; `tests/architecture.rs` holds that order.
//! `docs/ARCHITECTURE.md` has the invariants and the bounds. In one breath: nothing is acknowledged before it is on disk;
//! nothing is stored or leaves unless a list says so, and the type says that it was asked; nothing is lost without being
//! counted; there is one writer, and what it remembers can be made again from what is on disk.

// Words and time.
pub mod backoff;
pub mod clock;
pub mod model;
pub mod spelling;

// Pure cores: bytes and numbers in, values out.
pub mod aggregate;
pub mod approval;
pub mod audit;
pub mod codec;
pub mod lists;
pub mod normalise;
pub mod privacy;
pub mod rules;
pub mod telemetry;

// The border to the generated types, and the disk.
pub mod store;
pub mod wire;

// The spine.
pub mod ingest;

// Shells around sans-IO cores: towards devices, people and the city.
pub mod device;
pub mod notify;
pub mod share;

// Buses, commands and unknown devices, for the people in front of the gateway.
pub mod local;

// What rules have devices do.
pub mod actuate;

// What the operator wrote.
pub mod config;

// Devices that are not there.
pub mod simulate;

// Where everything starts, and the verbs.
#[cfg(feature = "city")]
pub mod city;
pub mod cli;
pub mod daemon;
