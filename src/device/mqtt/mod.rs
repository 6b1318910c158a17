//! The MQTT front: our own sessions speak to the devices, our own exchange carries what they say to one another, and
//! rumqttd's router what nobody is owed. A QoS 1 or 2 publish is acknowledged when what it means is on disk: the readings of
//! an ingest topic, or the message that waits for a client whose session is kept.

pub mod auth;
mod commands;
mod connection;
mod counters;
pub(in crate::device) mod desk;
mod exchange;
mod front;
mod journal;
mod observe;
pub mod onboard;
mod packet;
pub mod probe;
pub mod rate;
mod registry;
pub mod rights;
pub mod samples;
pub mod seats;
mod session;
mod stream;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod topic;

pub use commands::{CommandError, Commands};
pub use counters::Counters;
pub(in crate::device) use counters::add;
pub use desk::Desk;
pub use front::{Doors, Front, FrontError};
pub use samples::Mapping;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::rules::dedupe;
use rights::Rights;

/// What the front needs to know. `listen`, `tls` and `limits` hold for the life of the daemon, the rest is swapped live.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens in plain text.
    pub listen: Option<SocketAddr>,
    /// Where it listens with TLS.
    pub tls: Option<tls::Settings>,
    /// Bounds.
    pub limits: Limits,
    /// Who may connect.
    pub access: Access,
    /// Which topics are readings.
    pub mappings: Vec<Arc<Mapping>>,
    /// Whether what happens to incidents is told on topics of the gateway's own.
    pub tell_incidents: bool,
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
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// Connections of one identity at once.
    pub user_connections_max: usize,
    /// CONNECTs a second over all, lasting; at the bound the accepting waits.
    pub connect_rate: u32,
    /// Publishes a second of one connection, lasting; at the bound its socket is not read.
    pub publish_rate: u32,
    /// Publishes of one connection at once.
    pub publish_burst: u32,
    /// Bytes a second of one connection, lasting; at the bound its socket is not read.
    pub bytes_rate: u64,
    /// Bytes of a topic.
    pub topic_bytes_max: usize,
    /// Levels of a topic.
    pub topic_levels_max: usize,
    /// How long a client may be silent that asks for more than that, or for ever.
    pub idle_max: Duration,
    /// How long a session is kept for an absent client that asks for more than that.
    pub session_max: Duration,
    /// Sessions of absent clients; the oldest makes room.
    pub sessions_max: usize,
    /// Messages that wait for one client.
    pub queue_max: usize,
    /// Bytes of what waits for all clients, and of what is retained.
    pub kept_bytes_max: usize,
    /// Retained messages.
    pub retained_max: usize,
}

impl Limits {
    /// The defaults, fit for a Pi.
    pub const DEFAULT: Self = Self {
        connections_max: 1000,
        packet_bytes_max: 64 << 10,
        inflight_max: dedupe::REMEMBERED,
        connect_timeout: Duration::from_secs(10),
        subscriptions_max: 64,
        user_connections_max: 10,
        connect_rate: 200,
        publish_rate: 1000,
        publish_burst: 2000,
        bytes_rate: 1 << 20,
        topic_bytes_max: 512,
        topic_levels_max: 32,
        idle_max: Duration::from_secs(3600),
        session_max: Duration::from_secs(7 * 86_400),
        sessions_max: 1000,
        queue_max: 1000,
        kept_bytes_max: 8 << 20,
        retained_max: 1000,
    };
}

/// Who may connect.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Anybody (only ever in plain text, on a loopback address).
    pub anonymous: bool,
    /// Name → credentials.
    pub users: HashMap<String, User>,
    /// Name in a client certificate → name of the user that it is.
    pub certificates: HashMap<String, String>,
}

/// One set of credentials.
#[derive(Clone, Debug)]
pub struct User {
    /// PHC string of an argon2id hash; without it no password lets it in.
    pub password_hash: Option<String>,
    /// What it may do.
    pub rights: Arc<Rights>,
}
