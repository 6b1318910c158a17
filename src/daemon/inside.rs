//! What the daemon knows about itself: everything that is counted and told, for metrics and the local socket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{drift, loops};
use crate::config::Config;
use crate::config::outage::Outage;
use crate::device::{http, mqtt, serial};
use crate::ingest::writer;
use crate::local::topics;
use crate::model::Severity;
use crate::share::{self, local};
use crate::{actuate, notify};

/// Everything that is counted and told.
pub(super) struct Inside {
    pub(super) writer: Arc<writer::Counters>,
    pub(super) mqtt: Arc<mqtt::Counters>,
    pub(super) http: Arc<http::Counters>,
    pub(super) share: Arc<share::counters::Counters>,
    pub(super) notify: Arc<notify::Counters>,
    pub(super) actuate: Arc<actuate::Counters>,
    pub(super) uplinks: Mutex<Vec<Arc<share::link::counters::Counters>>>,
    pub(super) drift: Arc<drift::Counters>,
    pub(super) loops: Arc<loops::Counters>,
    pub(super) topics: Arc<topics::Counters>,
    pub(super) ports: Mutex<Vec<Arc<serial::Counters>>>,
    pub(super) severities: Mutex<HashMap<String, Severity>>,
    pub(super) configuration: Mutex<Configuration>,
}

/// How the files stand to what is in force.
#[derive(Default)]
pub(super) struct Configuration {
    /// What of them waits for a restart.
    pub(super) restart: Vec<&'static str>,
    /// Why the newest ones are not taken.
    pub(super) refused: Option<String>,
    /// Why pseudonyms have no key.
    pub(super) keys: Option<String>,
    /// Profiles for emergencies that are in force, and why others are left out.
    pub(super) emergencies: Vec<String>,
    /// Lanes that are reckoned to keep less than they are promised.
    pub(super) outage: Vec<String>,
}

impl Configuration {
    pub(super) fn of(config: &Config, restart: Vec<&'static str>, keys: Option<String>) -> Self {
        let in_force = config.emergency.in_force().map(|id| format!("emergency: profile {id} is in force"));
        let faults = config.emergency.faults();
        let left_out = faults
            .map(|fault| format!("emergency: {}:{}: {}", fault.file.display(), fault.line, fault.message));
        let outage: Vec<String> = Outage::of(config).complaints().collect();
        for complaint in &outage {
            tracing::warn!("{complaint}");
        }
        Self { restart, refused: None, keys, emergencies: in_force.chain(left_out).collect(), outage }
    }
}

impl Inside {
    pub(super) fn metrics(&self) -> Vec<(String, u64)> {
        let mut metrics = self.writer.metrics();
        metrics.extend(self.mqtt.iter().map(|(name, value)| (name.to_owned(), value)));
        metrics.extend(self.http.iter().map(|(name, value)| (name.to_owned(), value)));
        metrics.extend(self.share.iter());
        metrics.extend(self.notify.iter().map(|(name, value)| (name.to_owned(), value)));
        metrics.extend(self.actuate.iter());
        metrics.extend(self.drift.iter());
        for uplink in self.uplinks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            metrics.extend(uplink.all());
        }
        metrics.extend(self.loops.metrics());
        metrics.extend(self.topics.iter().map(|(name, value)| (name.to_owned(), value)));
        for port in self.ports.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            metrics.extend(port.all());
        }
        metrics
    }
}

impl local::Inside for Inside {
    fn counters(&self) -> Vec<(String, u64)> {
        self.metrics()
    }

    fn devices(&self) -> Vec<local::DeviceState> {
        let seen = self.writer.devices().into_iter();
        seen.map(|seen| local::DeviceState {
            device: seen.device,
            last_seen_ms: seen.seen_ms,
            readings: seen.readings,
            presence: seen.presence.map(|(online, since_ms, cause)| local::Presence {
                online,
                since_ms,
                cause: cause.as_str(),
            }),
        })
        .collect()
    }

    fn degraded(&self) -> Vec<String> {
        let configuration = self.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        let restart = configuration.restart.iter();
        let mut degraded: Vec<String> =
            restart.map(|what| format!("configuration: {what} needs a restart")).collect();
        degraded.extend(configuration.refused.iter().map(|why| format!("configuration refused: {why}")));
        degraded.extend(configuration.keys.iter().map(|why| format!("names are lost: {why}")));
        degraded.extend(configuration.emergencies.iter().cloned());
        degraded.extend(configuration.outage.iter().cloned());
        if self.writer.bytes_free() == 0 {
            degraded.push("store: the disk budget is used up".into());
        }
        degraded.extend(self.writer.complaints());
        let uplinks = self.uplinks.lock().unwrap_or_else(PoisonError::into_inner);
        degraded.extend(uplinks.iter().filter_map(|uplink| uplink.complaint()));
        degraded.extend(self.loops.complaints());
        degraded.extend(self.topics.complaint());
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        degraded.extend(ports.iter().flat_map(|port| port.complaints()));
        degraded
    }

    fn severity(&self, alarm: &str) -> Option<Severity> {
        self.severities.lock().unwrap_or_else(PoisonError::into_inner).get(alarm).copied()
    }

    fn policy_version(&self) -> u64 {
        self.writer.lists_version()
    }

    fn storage_bytes_free(&self) -> u64 {
        self.writer.bytes_free()
    }
}
