//! What simulated devices have said, so that somebody can compare it with what was understood.
//!
//! Only what was acknowledged counts as said. Bounded by the metrics of the devices, not by their messages.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::said::{Message, Told};

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The convention.
    pub convention: &'static str,
    /// Connections, one client each.
    pub connections: usize,
    /// Messages acknowledged.
    pub messages: u64,
    /// Messages given up when their connection was lost or the time to wait for acks was over; they are not said again,
    /// and the server may have some of them.
    pub unacked: u64,
    /// Readings in the messages acknowledged.
    pub readings: u64,
    /// Commands understood and answered.
    pub commands: u64,
    /// Connections lost or not made.
    pub disconnects: u64,
    /// Why the last of them was.
    pub trouble: Option<String>,
    /// Messages acknowledged, by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// By device and metric.
    pub devices: BTreeMap<String, BTreeMap<String, Series>>,
    /// Topics of the wills that the server has to publish, because their clients vanished.
    pub wills: BTreeSet<String>,
    /// Every value about people that was said, all synthetic.
    pub personal: BTreeSet<String>,
}

/// The readings of one metric of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Series {
    /// How many.
    pub count: u64,
    /// The value of the last, as JSON with the digits it had.
    #[serde(serialize_with = "raw")]
    pub last: String,
    /// Unit, where one was told or the convention fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
    /// Time of the last, milliseconds since 1970 UTC, where it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<i64>,
}

fn raw<S: Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_str::<&RawValue>(json).map_err(S::Error::custom)?.serialize(serializer)
}

impl Report {
    /// Counts a message that was acknowledged.
    pub(super) fn said(&mut self, message: Message) {
        self.messages += 1;
        self.readings += message.said.readings.len() as u64;
        *self.kinds.entry(message.said.kind.as_str()).or_default() += 1;
        self.personal.extend(message.said.personal);
        for Told { device, metric, value, unit, time_ms, .. } in message.said.readings {
            let series = self.devices.entry(device).or_default().entry(metric).or_default();
            *series = Series { count: series.count + 1, last: value, unit, time_ms };
        }
    }

    /// Adds what another connection did.
    pub(super) fn join(&mut self, other: Report) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.unacked += other.unacked;
        self.readings += other.readings;
        self.commands += other.commands;
        self.disconnects += other.disconnects;
        self.trouble = other.trouble.or(self.trouble.take());
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        // No two connections speak for the same device.
        self.devices.extend(other.devices);
        self.wills.extend(other.wills);
        self.personal.extend(other.personal);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { convention, connections, messages, unacked, readings, commands, disconnects, .. } = self;
        write!(
            f,
            "{convention}: {messages} messages acked ({readings} readings) on {connections} connections, {unacked} not \
             acked, {commands} commands, {disconnects} disconnects"
        )?;
        for (device, metrics) in &self.devices {
            let counts = metrics.iter().map(|(metric, series)| format!("{metric} {}", series.count));
            write!(f, "\n  {device}: {}", counts.collect::<Vec<_>>().join(", "))?;
        }
        for will in &self.wills {
            write!(f, "\nwill of the vanished: {will}")?;
        }
        if !self.personal.is_empty() {
            let names = self.personal.iter().map(String::as_str).collect::<Vec<_>>();
            write!(f, "\npersonal values said: {}", names.join(" "))?;
        }
        Ok(())
    }
}
