//! What the front counts, for telemetry to print. Plain atomics. What ends in `_total` only ever goes up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::exchange::Counts;

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
    /// No TLS handshake.
    refused_tls: "mqtt_refused_total{reason=\"tls\"}",
    /// As many connections as one user may have.
    refused_quota: "mqtt_refused_total{reason=\"user_connections\"}",
    /// A will that is too long.
    refused_will: "mqtt_refused_total{reason=\"will\"}",
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
    /// Publishes, subscriptions and wills that their user has no right to.
    forbidden: "mqtt_forbidden_total",
    /// Publishes to topics that are too long or too deep.
    topics_refused: "mqtt_topics_refused_total",
    /// Subscriptions beyond what a session may have.
    subscriptions_refused: "mqtt_subscriptions_refused_total",
    /// Times that a socket was not read because too much of it was unacknowledged.
    inflight_full: "mqtt_inflight_full_total",
    /// Times that a socket was not read because its client sent too fast.
    throttled: "mqtt_throttled_total",
    /// Times that the accepting waited because too many knocked.
    connects_delayed: "mqtt_connects_delayed_total",
    /// Publishes on topics of no mapping: handed to whoever subscribes to them, and not stored.
    fanned_out: "mqtt_fanout_total",
    /// Messages of nobody known, handed to whoever watches for them.
    offered: "mqtt_offered_total",
    /// Such messages that were not: their names are too long, or too many come at once.
    offers_refused: "mqtt_offers_refused_total",
    /// Such messages that came faster than a watcher takes them.
    offers_missed: "mqtt_offers_missed_total",
    /// Sessions, of clients that are here and of absent ones.
    sessions: "mqtt_sessions",
    /// Sessions of absent clients.
    sessions_absent: "mqtt_sessions_absent",
    /// Subscriptions of all sessions.
    subscriptions: "mqtt_subscriptions",
    /// Messages that wait for their clients, or are under way.
    queued: "mqtt_queued_messages",
    /// Bytes of what waits and of what is retained.
    kept_bytes: "mqtt_kept_bytes",
    /// Retained messages.
    retained: "mqtt_retained_messages",
    /// Messages that found no room in the queue of a session, or all together none.
    dropped_full: "mqtt_deliveries_dropped_total{reason=\"full\"}",
    /// QoS 0 messages for clients that were too slow.
    dropped_slow: "mqtt_deliveries_dropped_total{reason=\"slow\"}",
    /// Messages that expired first.
    dropped_expired: "mqtt_deliveries_dropped_total{reason=\"expired\"}",
    /// Messages longer than what their client takes.
    dropped_too_long: "mqtt_deliveries_dropped_total{reason=\"too_long\"}",
    /// Sessions of absent clients forgotten to make room.
    sessions_evicted: "mqtt_sessions_evicted_total",
    /// Retained messages that found no room.
    retained_refused: "mqtt_retained_refused_total",
}

impl Counters {
    /// Takes over what the exchange counts itself.
    pub(super) fn show(&self, counts: &Counts) {
        for (counter, count) in [
            (&self.sessions, counts.sessions as u64),
            (&self.sessions_absent, counts.absent as u64),
            (&self.subscriptions, counts.subscriptions as u64),
            (&self.queued, counts.queued as u64),
            (&self.kept_bytes, counts.queued_bytes as u64),
            (&self.retained, counts.retained as u64),
            (&self.dropped_full, counts.dropped_full),
            (&self.dropped_slow, counts.dropped_slow),
            (&self.dropped_expired, counts.dropped_expired),
            (&self.dropped_too_long, counts.dropped_too_long),
            (&self.sessions_evicted, counts.evicted),
            (&self.retained_refused, counts.retained_refused),
        ] {
            counter.store(count, Relaxed);
        }
    }
}

/// Adds to a counter.
pub(in crate::device) fn add(counter: &AtomicU64, count: u64) {
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
