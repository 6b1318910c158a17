//! What an uplink did since the start. Relaxed atomics: each counter is exact, no two are a snapshot.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::share::dial::Uplink;

/// An uplink that is down this long is told in the status, milliseconds.
const DOWN_MS: u64 = 300_000;
/// Why a link ended or did not come to be, in the order of the counters.
pub const REASONS: [&str; 11] = [
    "connect",
    "file",
    "tls",
    "identity",
    "waiting_for_time",
    "no_welcome",
    "refused",
    "protocol",
    "cut",
    "closed",
    "stopped",
];

/// Counters of one uplink.
pub struct Counters {
    consumer: String,
    city: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    dials: AtomicU64,
    calls: AtomicU64,
    sessions: AtomicU64,
    ended: [AtomicU64; REASONS.len()],
}

/// Since when there is no link, and why; monotonic milliseconds.
#[derive(Clone, Copy)]
enum State {
    Up,
    Down { since_ms: u64, why: Option<&'static str> },
}

impl Counters {
    /// Of an uplink that was not dialled yet.
    #[must_use]
    pub fn new(uplink: &Uplink, clock: Arc<dyn Clock>) -> Self {
        let state = State::Down { since_ms: clock.now().mono_ms, why: None };
        Self {
            consumer: uplink.consumer.to_string(),
            city: uplink.city.to_string(),
            clock,
            state: Mutex::new(state),
            dials: AtomicU64::default(),
            calls: AtomicU64::default(),
            sessions: AtomicU64::default(),
            ended: Default::default(),
        }
    }

    pub(super) fn dial(&self) {
        self.dials.fetch_add(1, Relaxed);
    }

    pub(super) fn call(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub(super) fn session(&self) {
        self.sessions.fetch_add(1, Relaxed);
    }

    pub(super) fn up(&self) {
        *self.state() = State::Up;
    }

    /// There is no link, for one of [`REASONS`].
    pub(super) fn down(&self, why: &'static str) {
        if let Some(index) = REASONS.iter().position(|known| *known == why) {
            self.ended[index].fetch_add(1, Relaxed);
        }
        let mut state = self.state();
        let since_ms = match *state {
            State::Up => self.clock.now().mono_ms,
            State::Down { since_ms, .. } => since_ms,
        };
        *state = State::Down { since_ms, why: Some(why) };
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Metric name and value of each; `uplink_connected` is the only one that goes down.
    #[must_use]
    pub fn all(&self) -> Vec<(String, u64)> {
        let consumer = &self.consumer;
        let is_up = matches!(*self.state(), State::Up);
        let plain = [
            ("connected", u64::from(is_up)),
            ("dials_total", self.dials.load(Relaxed)),
            ("sessions_total", self.sessions.load(Relaxed)),
            ("calls_total", self.calls.load(Relaxed)),
        ];
        let ended = REASONS.iter().zip(&self.ended).map(|(reason, count)| {
            let name = format!("uplink_ended_total{{consumer=\"{consumer}\",reason=\"{reason}\"}}");
            (name, count.load(Relaxed))
        });
        let plain = plain
            .into_iter()
            .map(|(name, value)| (format!("uplink_{name}{{consumer=\"{consumer}\"}}"), value));
        plain.chain(ended).collect()
    }

    /// What to tell of an uplink that is down too long.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let State::Down { since_ms, why } = *self.state() else { return None };
        let down_ms = self.clock.now().mono_ms.saturating_sub(since_ms);
        let why = why.unwrap_or("connect");
        (down_ms > DOWN_MS)
            .then(|| format!("uplink {}: not connected for {} min: {why}", self.city, down_ms / 60_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stamp;
    use crate::share::dial::City;

    /// A clock that stands where it is put.
    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Stamp {
            Stamp { wall_ms: 0, mono_ms: self.0.load(Relaxed) }
        }
    }

    #[test]
    fn a_complaint_comes_after_five_minutes_without_a_link() {
        let hand = Arc::new(Hand::default());
        let consumer = "spiffe://brain.example/city/310115/brain/one".parse().expect("a consumer");
        let uplink = Uplink { city: City::Loopback("127.0.0.1:1".into()), consumer };
        let counters = Counters::new(&uplink, hand.clone());
        let at = |ms| {
            hand.0.store(ms, Relaxed);
            counters.complaint()
        };
        assert_eq!(at(300_000), None);
        counters.down("tls");
        assert_eq!(at(360_000).as_deref(), Some("uplink http://127.0.0.1:1: not connected for 6 min: tls"));
        counters.up();
        assert_eq!(at(900_000), None);
        counters.down("cut");
        assert_eq!(at(1_200_000), None);
        assert!(at(1_200_001).is_some());
        let ended =
            "uplink_ended_total{consumer=\"spiffe://brain.example/city/310115/brain/one\",reason=\"tls\"}";
        assert!(counters.all().contains(&(ended.to_owned(), 1)), "{:?}", counters.all());
    }
}
