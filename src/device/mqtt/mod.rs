//! The MQTT front: our own sessions speak to the devices, rumqttd behind them only fans out. A QoS 1 or 2 publish on an
//! ingest topic is acknowledged when its receipt comes, that is after the commit that holds it.

pub mod auth;
mod connection;
mod counters;
mod front;
mod outbox;
mod packet;
mod registry;
mod router;
mod samples;
mod session;
#[cfg(test)]
mod tests;
pub mod topic;

pub use counters::Counters;
pub use front::{CommandError, Commands, Front, FrontError, serve};

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::json;
use crate::model::{DeviceId, SeriesKey};

/// What the front needs to know. `listen` and `limits` hold for the life of the daemon, the rest is swapped live.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Bounds.
    pub limits: Limits,
    /// Who may connect.
    pub access: Access,
    /// Which topics are readings.
    pub mappings: Vec<Mapping>,
}

/// The bounds of the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; the next one is closed at the door.
    pub connections_max: usize,
    /// Bytes of one packet; a longer one closes its connection.
    pub packet_bytes_max: usize,
    /// Unacknowledged publishes of one connection; at the bound its socket is not read.
    pub inflight_max: usize,
    /// From accept to CONNECT.
    pub connect_timeout: Duration,
    /// Subscriptions of one connection.
    pub subscriptions_max: usize,
}

/// Who may connect.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Anybody (only ever on a loopback listener).
    pub anonymous: bool,
    /// Name → credentials.
    pub users: HashMap<String, User>,
}

/// One set of credentials.
#[derive(Clone, Debug)]
pub struct User {
    /// PHC string of an argon2id hash.
    pub password_hash: String,
}

/// One topic pattern and what its payloads hold.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// `compound/{device}/up`.
    pub topic: topic::Pattern,
    /// Where the values are; slot i of the plan is point i of the template.
    pub plan: Arc<json::Plan>,
    /// The devices that may speak here, each with the series of every slot of the plan.
    pub devices: HashMap<DeviceId, Arc<[SeriesKey]>>,
}
