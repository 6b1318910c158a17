//! What a port has done, for telemetry: atomics that the port's task adds to and anybody reads. Nothing is ever reset.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::DeviceId;

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $metric:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Counter,)*
        }

        impl $name {
            fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($metric, self.$field.get()),)*].into_iter()
            }
        }
    };
}

/// One number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts up.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes the present value of something that also falls.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Of the line as a whole.
    Line {
        /// Bytes that belonged to no frame.
        discarded_bytes: "serial_discarded_bytes_total",
        /// Frames that answered nobody's question.
        foreign: "serial_foreign_frames_total",
        /// Times the port was opened after the first time.
        reopened: "serial_reopened_total",
        /// Times the port could not be opened.
        open_failures: "serial_open_failures_total",
        /// 1 while the port is open.
        open: "serial_open",
        /// Share of time that the configured periods need, in thousandths.
        busy_permille: "serial_planned_busy_permille",
        /// One round over all points, milliseconds.
        sweep_ms: "serial_planned_sweep_milliseconds",
        /// Points that their meter refuses for good, or does not have.
        misconfigured: "serial_misconfigured_points",
        /// Questions that no schedule asked: scans, readings on demand, writes.
        errands: "serial_errands_total",
        /// Writes that were asked for, whatever came of them.
        writes: "serial_writes_total",
        /// Times that meters were told the time.
        clocks_told: "serial_clocks_told_total",
        /// Changes of the line between two meters.
        line_changes: "serial_line_changes_total",
    }
}

counters! {
    /// Of one meter.
    MeterCounters {
        /// Questions sent.
        requests: "serial_requests_total",
        /// Answers taken.
        answers: "serial_answers_total",
        /// Questions without an answer in time.
        timeouts: "serial_timeouts_total",
        /// Answers after the timeout.
        late: "serial_late_answers_total",
        /// Answers with a wrong checksum.
        corrupt: "serial_crc_errors_total",
        /// Refusals.
        exceptions: "serial_exceptions_total",
        /// Points of an answer without a value, because the meter has none.
        absent: "serial_absent_values_total",
        /// Points that the answer did not hold, or in a unit that does not convert to theirs.
        unfit: "serial_unfit_values_total",
        /// Answers of a length or content that make no reading.
        unusable: "serial_unusable_answers_total",
        /// When it last answered, seconds since 1970 UTC; 0 is never.
        last_answer: "serial_last_answer_timestamp_seconds",
    }
}

/// Counters of one port. A meter that leaves the configuration keeps its own until the process ends; there are at most as
/// many as there have been devices.
#[derive(Debug)]
pub struct Counters {
    port: String,
    /// Of the line.
    pub line: Line,
    meters: RwLock<BTreeMap<DeviceId, Arc<MeterCounters>>>,
}

impl Counters {
    /// Of the port with this name.
    #[must_use]
    pub fn new(port: &str) -> Self {
        Self { port: port.to_owned(), line: Line::default(), meters: RwLock::default() }
    }

    /// The port's name.
    #[must_use]
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Of one meter.
    #[must_use]
    pub fn meter(&self, device: &DeviceId) -> Arc<MeterCounters> {
        if let Some(known) = self.meters.read().unwrap_or_else(PoisonError::into_inner).get(device) {
            return known.clone();
        }
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        meters.entry(device.clone()).or_default().clone()
    }

    /// Metric names with their labels, and values: the line, then every meter that was ever asked.
    #[must_use]
    pub fn all(&self) -> Vec<(String, u64)> {
        let port = escaped(&self.port);
        let line = self.line.iter().map(|(name, value)| (format!("{name}{{port=\"{port}\"}}"), value));
        let mut all: Vec<_> = line.collect();
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        for (device, meter) in meters.iter() {
            let labels = format!("{{port=\"{port}\",device=\"{}\"}}", escaped(device.as_str()));
            all.extend(meter.iter().map(|(name, value)| (format!("{name}{labels}"), value)));
        }
        all
    }
}

/// As a label's value in the text format.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_and_the_meters_that_were_asked_are_listed() {
        let counters = Counters::new("roof \"A\"");
        counters.line.foreign.add(2);
        let meter: DeviceId = "meter-7".parse().expect("a device id");
        counters.meter(&meter).requests.add(1);
        counters.meter(&meter).requests.add(1);
        let all = counters.all();
        let has = |name: &str, value| all.contains(&(name.to_owned(), value));
        assert!(has(r#"serial_foreign_frames_total{port="roof \"A\""}"#, 2), "{all:?}");
        assert!(has(r#"serial_requests_total{port="roof \"A\"",device="meter-7"}"#, 2), "{all:?}");
    }
}
