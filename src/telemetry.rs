//! Logs and metrics.

use std::net::SocketAddr;

/// What telemetry needs to know. Holds for the life of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where /metrics is served; loopback only.
    pub listen: Option<SocketAddr>,
    /// Level filter: "info", "smallbrain=debug,info".
    pub log: String,
}
