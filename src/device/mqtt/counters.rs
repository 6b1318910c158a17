//! What the front counts, for telemetry to print. Plain atomics; only ever go up, but for the one gauge.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        /// Counters of the front since its start.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub(super) $field: AtomicU64,)*
        }

        impl Counters {
            /// Every metric without the prefix of the product, labels included, with its present value.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$(($name, &self.$field)),*].into_iter().map(|(name, value)| (name, value.load(Relaxed)))
            }
        }
    };
}

counters! {
    /// Connections open now.
    connections: "mqtt_connections",
    /// Clients accepted.
    accepted: "mqtt_accepted_total",
    /// Closed at the door: connections_max.
    refused_full: "mqtt_refused_total{reason=\"full\"}",
    /// No CONNECT, or no end of it, within connect_timeout.
    refused_timeout: "mqtt_refused_total{reason=\"timeout\"}",
    /// Wrong user or password.
    refused_password: "mqtt_refused_total{reason=\"password\"}",
    /// No credentials, or a way to authenticate that is not offered.
    refused_not_authorised: "mqtt_refused_total{reason=\"not_authorised\"}",
    /// What came first was no CONNECT that can be served.
    refused_protocol: "mqtt_refused_total{reason=\"protocol\"}",
    /// Publishes received, repetitions included.
    publishes_qos0: "mqtt_publishes_total{qos=\"0\"}",
    /// As above.
    publishes_qos1: "mqtt_publishes_total{qos=\"1\"}",
    /// As above.
    publishes_qos2: "mqtt_publishes_total{qos=\"2\"}",
    /// PUBACK and PUBREC sent.
    acked: "mqtt_acked_total",
    /// Connections closed because of what the client sent.
    protocol_errors: "mqtt_protocol_errors_total",
    /// Connections closed because the client was silent.
    silent: "mqtt_closed_total{reason=\"keep_alive\"}",
    /// Connections closed because the same client came again.
    taken_over: "mqtt_closed_total{reason=\"taken_over\"}",
    /// Deliveries dropped because the client is too slow, or takes no packet of that length.
    slow_consumer: "mqtt_deliveries_dropped_total",
    /// Publishes on topics of no mapping: handed to whoever subscribes to them, and not stored.
    fanned_out: "mqtt_fanout_total",
    /// Publishes that are not fanned out: topics beginning with '$', too long, or one too many for the router.
    fanout_refused: "mqtt_fanout_refused_total",
    /// Retained messages that did not fit.
    retained_refused: "mqtt_retained_refused_total",
    /// Messages of nobody known, handed to whoever watches for them.
    offered: "mqtt_offered_total",
    /// Such messages that were not: their names are too long, or too many come at once.
    offers_refused: "mqtt_offers_refused_total",
    /// Such messages that came faster than a watcher takes them.
    offers_missed: "mqtt_offers_missed_total",
    /// Sessions of absent clients forgotten to make room.
    sessions_evicted: "mqtt_sessions_evicted_total",
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_shown_once_under_its_name() {
        let counters = Counters::default();
        add(&counters.acked, 3);
        let names: std::collections::HashSet<_> = counters.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), counters.iter().count());
        assert_eq!(
            counters.iter().find(|(name, _)| *name == "mqtt_acked_total"),
            Some(("mqtt_acked_total", 3))
        );
    }
}
