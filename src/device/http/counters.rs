//! What the intake counts, for telemetry to print. Plain atomics. What ends in `_total` only ever goes up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Every status that is answered, and the metric of it.
const STATUSES: [(u16, &str); 13] = [
    (200, "http_requests_total{status=\"200\"}"),
    (400, "http_requests_total{status=\"400\"}"),
    (401, "http_requests_total{status=\"401\"}"),
    (403, "http_requests_total{status=\"403\"}"),
    (404, "http_requests_total{status=\"404\"}"),
    (405, "http_requests_total{status=\"405\"}"),
    (408, "http_requests_total{status=\"408\"}"),
    (413, "http_requests_total{status=\"413\"}"),
    (414, "http_requests_total{status=\"414\"}"),
    (415, "http_requests_total{status=\"415\"}"),
    (429, "http_requests_total{status=\"429\"}"),
    (500, "http_requests_total{status=\"500\"}"),
    (503, "http_requests_total{status=\"503\"}"),
];

/// Counters of the intake since its start.
#[derive(Debug, Default)]
pub struct Counters {
    answers: [AtomicU64; STATUSES.len()],
    /// Connections open now.
    pub(super) connections: AtomicU64,
    /// Closed at the door: connections_max.
    pub(super) full: AtomicU64,
    /// No TLS handshake.
    pub(super) tls: AtomicU64,
    /// No head of a request within head_timeout; also whoever had nothing more to say.
    pub(super) silent: AtomicU64,
    /// What came was no HTTP/1.
    pub(super) protocol: AtomicU64,
    /// Times that the accepting waited because too many knocked.
    pub(super) delayed: AtomicU64,
    /// Parts beside the JSON of an event: pictures, which no gateway takes.
    pub(super) parts_refused: AtomicU64,
}

impl Counters {
    /// Counts an answer; a status that is none of those given counts as 500.
    pub(super) fn answered(&self, status: u16) {
        let at = |status| STATUSES.iter().position(|(known, _)| *known == status);
        if let Some(at) = at(status).or_else(|| at(500)) {
            self.answers[at].fetch_add(1, Relaxed);
        }
    }

    /// Every metric without the prefix of the product, labels included, with its present value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let answers = STATUSES.iter().zip(&self.answers).map(|((_, name), count)| (*name, count));
        let others = [
            ("http_connections", &self.connections),
            ("http_refused_total{reason=\"full\"}", &self.full),
            ("http_refused_total{reason=\"tls\"}", &self.tls),
            ("http_closed_total{reason=\"silent\"}", &self.silent),
            ("http_closed_total{reason=\"protocol\"}", &self.protocol),
            ("http_connects_delayed_total", &self.delayed),
            ("http_parts_refused_total", &self.parts_refused),
        ];
        answers.chain(others).map(|(name, count)| (name, count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_status_is_counted_under_its_name() {
        let counters = Counters::default();
        for (status, _) in STATUSES {
            counters.answered(status);
        }
        counters.answered(418);
        let told: HashMap<_, _> = counters.iter().collect();
        assert_eq!(told.len(), counters.iter().count(), "each once");
        for (status, name) in STATUSES {
            assert!(name.contains(&format!("\"{status}\"")));
            assert_eq!(told[name], if status == 500 { 2 } else { 1 }, "{status}");
        }
    }
}
