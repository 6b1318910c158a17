//! Logs to the journal (or stderr) with static messages and fields, metrics as Prometheus text on loopback.

pub mod metrics;

use std::io::IsTerminal;
use std::net::SocketAddr;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What telemetry needs to know. Holds for the life of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where /metrics is served; loopback only.
    pub listen: Option<SocketAddr>,
    /// Level filter: "info", "smallbrain=debug,info".
    pub log: String,
}

/// Sends logs to the journal where systemd connected it, else to stderr. Called once, by the command line.
///
/// # Errors
/// When the filter is none.
pub fn start_logs(filter: &str) -> Result<(), String> {
    // The router behind the MQTT front tells of every link at info; what it tells below warn is not news.
    let filter = EnvFilter::try_new(format!("rumqttd=warn,{filter}"))
        .map_err(|error| format!("telemetry.log {filter:?}: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok()) {
        Some(journal) => registry.with(journal.with_field_prefix(None)).try_init(),
        None => {
            let colours = std::io::stderr().is_terminal();
            let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
            registry.with(lines).try_init()
        }
    };
    started.map_err(|error| error.to_string())
}
