//! What the webhooks did since the start. Relaxed atomics: each counter is exact, no two are a snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of all webhooks.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that arrived.
    pub(super) messages: AtomicU64,
    /// Notices in them.
    pub(super) sent: AtomicU64,
    /// Attempts that failed.
    pub(super) failed: AtomicU64,
    /// Notices given up.
    pub(super) expired: AtomicU64,
    waiting: AtomicU64,
}

impl Counters {
    /// Every metric without the prefix of the product, with its present value; `notices_waiting` is the only one that goes
    /// down: notices that were due and had not arrived when their recipient last looked, up to
    /// [`NOTICES_MAX`](super::queue::NOTICES_MAX) of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        [
            ("notices_messages_total", &self.messages),
            ("notices_sent_total", &self.sent),
            ("notices_failed_total", &self.failed),
            ("notices_expired_total", &self.expired),
            ("notices_waiting", &self.waiting),
        ]
        .into_iter()
        .map(|(name, count)| (name, count.load(Relaxed)))
    }
}

/// What one recipient adds to those that wait.
#[derive(Debug)]
pub(super) struct Waiting {
    counters: Arc<Counters>,
    own: u64,
}

impl Waiting {
    pub(super) fn new(counters: &Arc<Counters>) -> Self {
        Self { counters: Arc::clone(counters), own: 0 }
    }

    pub(super) fn set(&mut self, count: usize) {
        let count = count as u64;
        self.counters.waiting.fetch_add(count, Relaxed);
        self.counters.waiting.fetch_sub(self.own, Relaxed);
        self.own = count;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set(0);
    }
}
