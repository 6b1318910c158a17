//! What a port has done, for telemetry: atomics that the port's task adds to and anybody reads. Nothing is ever reset.

use std::sync::atomic::{AtomicU64, Ordering};

/// Addresses of slaves are 1 to 247.
const UNITS: usize = 248;

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
        /// 1 while the port is open.
        open: "serial_open",
        /// Share of time that the configured periods need, in thousandths.
        busy_permille: "serial_planned_busy_permille",
        /// One round over all points, milliseconds.
        sweep_ms: "serial_planned_sweep_milliseconds",
        /// Points that their slave refuses for good.
        misconfigured: "serial_misconfigured_points",
    }
}

counters! {
    /// Of one slave.
    SlaveCounters {
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
        /// Points of an answer that held no value.
        absent: "serial_absent_values_total",
        /// When it last answered, seconds since 1970 UTC; 0 is never.
        last_answer: "serial_last_answer_timestamp_seconds",
    }
}

/// Counters of one port.
#[derive(Debug)]
pub struct Counters {
    port: String,
    /// Of the line.
    pub line: Line,
    slaves: Vec<SlaveCounters>,
}

impl Counters {
    /// Of the port with this name.
    #[must_use]
    pub fn new(port: &str) -> Self {
        let slaves = (0..UNITS).map(|_| SlaveCounters::default()).collect();
        Self { port: port.to_owned(), line: Line::default(), slaves }
    }

    /// The port's name.
    #[must_use]
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Of one slave; addresses that no slave has share those of 0.
    #[must_use]
    pub fn slave(&self, unit: u8) -> &SlaveCounters {
        &self.slaves[if usize::from(unit) < UNITS { usize::from(unit) } else { 0 }]
    }

    /// Metric names with their labels, and values: the line, then every slave that was ever asked.
    pub fn iter(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let port = self.port.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let label = format!("port=\"{port}\"");
        let line = self.line.iter().map({
            let label = label.clone();
            move |(name, value)| (format!("{name}{{{label}}}"), value)
        });
        let asked = self.slaves.iter().enumerate().filter(|(_, slave)| slave.requests.get() > 0);
        line.chain(asked.flat_map(move |(unit, slave)| {
            let labels = format!("{{{label},unit=\"{unit}\"}}");
            slave.iter().map(move |(name, value)| (format!("{name}{labels}"), value))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_and_the_slaves_that_were_asked_are_listed() {
        let counters = Counters::new("roof \"A\"");
        counters.line.foreign.add(2);
        counters.slave(7).requests.add(1);
        let all: Vec<_> = counters.iter().collect();
        let has = |name: &str, value| all.contains(&(name.to_owned(), value));
        assert!(has(r#"serial_foreign_frames_total{port="roof \"A\""}"#, 2));
        assert!(has(r#"serial_requests_total{port="roof \"A\"",unit="7"}"#, 1));
        assert!(all.iter().all(|(name, _)| !name.contains("unit=") || name.contains(r#"unit="7""#)));
    }
}
