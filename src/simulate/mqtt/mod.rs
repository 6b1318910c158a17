//! MQTT devices that speak the conventions of the mapping profiles (`codec::profile`), and know what they said.
//!
//! Each convention writes its messages itself, so it is a second source for the code that reads them: [`Message`] is what
//! goes over the wire, [`Said`] what its sender believes to have said. A convention is a table ([`Convention`]) played by a
//! sans-IO [`Speaker`] for each connection; `client` is the shell (`rumqttc`, MQTT 3.1.1, QoS 1, no TLS).
//!
//! Guarantees: values follow from a seed, and times from the time that is given; everything about people is made up and is
//! listed; one publish of a connection is unacknowledged at a time. It does not say again what a lost connection took with it.

mod client;
mod cloud;
mod convention;
mod gate;
mod home;
mod industry;
mod radio;
mod report;
mod said;
mod shelly;
mod sparkplug;
#[cfg(test)]
mod tests;
mod thing;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::load::User;
pub use convention::{Convention, Speaker};
pub use report::{Report, Series};
pub use said::{Message, Said, Told};

/// Which devices, and where they publish.
#[derive(Clone)]
pub struct Settings {
    /// What they speak.
    pub convention: &'static Convention,
    /// Host of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Credentials, where the server wants them; `{device}` in them is the name of the connection.
    pub user: Option<User>,
    /// How many devices.
    pub devices: u16,
    /// Between two rounds of a device's messages.
    pub period: Duration,
    /// The same seed says the same things.
    pub seed: u64,
    /// How long to wait for the last acks after the end.
    pub drain: Duration,
    /// Whether the connections just end, so that the server publishes the wills; else the devices say goodbye.
    pub vanish: bool,
}

impl Settings {
    /// Three devices of a convention on this machine, a round a second.
    #[must_use]
    pub fn new(convention: &'static Convention) -> Self {
        Self {
            convention,
            host: "127.0.0.1".into(),
            port: 1883,
            user: None,
            devices: 3,
            period: Duration::from_secs(1),
            seed: 1,
            drain: Duration::from_secs(5),
            vanish: false,
        }
    }
}

/// Runs until `stop`, then waits up to `drain` for the last acks. A server that is away is waited for.
pub async fn run(settings: Settings, stop: CancellationToken) -> Report {
    let speakers = settings.convention.speakers(settings.seed, settings.devices);
    let speakers = speakers.into_iter().map(|speaker| client::live(settings.clone(), speaker, stop.clone()));
    let mut tasks: JoinSet<Report> = speakers.collect();
    let mut report = Report { convention: settings.convention.name(), ..Report::default() };
    while let Some(joined) = tasks.join_next().await {
        report.join(joined.unwrap_or_default());
    }
    report
}
