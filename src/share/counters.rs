//! What the city's side did since the start. Relaxed atomics: each counter is exact, no two are a snapshot.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::refused::Refused;

/// Counters of the share server.
#[derive(Debug, Default)]
pub struct Counters {
    streams_open: AtomicU64,
    streams: AtomicU64,
    batches: AtomicU64,
    records: AtomicU64,
    withheld: AtomicU64,
    bytes: AtomicU64,
    acks: AtomicU64,
    feedback: AtomicU64,
    feedback_again: AtomicU64,
    denials_unwritten: AtomicU64,
    witnessed: AtomicU64,
    refused: [AtomicU64; Refused::REASONS.len()],
}

impl Counters {
    /// One more stream; it counts as open until the guard goes.
    pub(super) fn stream(self: &std::sync::Arc<Self>) -> StreamGuard {
        self.streams.fetch_add(1, Relaxed);
        self.streams_open.fetch_add(1, Relaxed);
        StreamGuard(self.clone())
    }

    /// A batch on its way: its records, their bytes, and what it withheld.
    pub(super) fn batch(&self, records: usize, bytes: u64, withheld: u64) {
        self.batches.fetch_add(1, Relaxed);
        self.records.fetch_add(records as u64, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.withheld.fetch_add(withheld, Relaxed);
    }

    /// A confirmed ack.
    pub(super) fn ack(&self) {
        self.acks.fetch_add(1, Relaxed);
    }

    /// A consumer's word about an alarm; `duplicate` where it was there before.
    pub(super) fn feedback(&self, duplicate: bool) {
        let count = if duplicate { &self.feedback_again } else { &self.feedback };
        count.fetch_add(1, Relaxed);
    }

    /// A denial that got no row in the trail.
    pub(super) fn denial_unwritten(&self) {
        self.denials_unwritten.fetch_add(1, Relaxed);
    }

    /// A position of the trail that a consumer keeps.
    pub(super) fn witnessed(&self) {
        self.witnessed.fetch_add(1, Relaxed);
    }

    /// A refusal.
    pub(super) fn refused(&self, refused: &Refused) {
        self.refused[refused.index()].fetch_add(1, Relaxed);
    }

    /// Metric name and value of each; `share_streams_open` is the only one that goes down.
    pub fn iter(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let plain = [
            ("streams_open", &self.streams_open),
            ("streams_total", &self.streams),
            ("batches_total", &self.batches),
            ("records_total", &self.records),
            ("withheld_total", &self.withheld),
            ("bytes_total", &self.bytes),
            ("acks_total", &self.acks),
            ("feedback_total", &self.feedback),
            ("feedback_duplicates_total", &self.feedback_again),
            ("denials_unwritten_total", &self.denials_unwritten),
            ("witnessed_total", &self.witnessed),
        ];
        let refused = Refused::REASONS.into_iter().zip(&self.refused);
        plain.into_iter().map(|(name, count)| (format!("share_{name}"), count.load(Relaxed))).chain(
            refused.map(|(name, count)| {
                (format!("share_refused_total{{reason=\"{name}\"}}"), count.load(Relaxed))
            }),
        )
    }
}

/// Keeps a stream counted as open.
#[derive(Debug)]
pub(super) struct StreamGuard(std::sync::Arc<Counters>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams_open.fetch_sub(1, Relaxed);
    }
}
