//! What the city's side did since the start. Relaxed atomics: each counter is exact, no two are a snapshot.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::refused::Refused;

/// Why there is no connection, or no longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// A certificate that is not valid yet, and a clock that was never set.
    WaitingForTime,
    /// A certificate that has run out.
    Expired,
    /// One whose time has not come.
    NotYetValid,
    /// Of an authority that is not known (any more).
    UnknownIssuer,
    /// On a revocation list.
    Revoked,
    /// None came.
    NoCertificate,
    /// Anything else that is wrong with a handshake.
    Other,
    /// The handshake took too long.
    Timeout,
    /// No word came after the connection.
    Silent,
    /// Others waited for its place.
    Crowded,
    /// Not HTTP/2.
    Protocol,
    /// Closed before it said anything.
    Gone,
}

impl Turned {
    /// All, by index.
    pub(super) const ALL: [Turned; 12] = [
        Turned::WaitingForTime,
        Turned::Expired,
        Turned::NotYetValid,
        Turned::UnknownIssuer,
        Turned::Revoked,
        Turned::NoCertificate,
        Turned::Other,
        Turned::Timeout,
        Turned::Silent,
        Turned::Crowded,
        Turned::Protocol,
        Turned::Gone,
    ];
    /// So many are of TLS.
    const TLS: usize = 8;

    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Turned::WaitingForTime => "waiting_for_time",
            Turned::Expired => "expired",
            Turned::NotYetValid => "not_yet_valid",
            Turned::UnknownIssuer => "unknown_issuer",
            Turned::Revoked => "revoked",
            Turned::NoCertificate => "no_certificate",
            Turned::Other => "other",
            Turned::Timeout => "timeout",
            Turned::Silent => "silent",
            Turned::Crowded => "crowded",
            Turned::Protocol => "protocol",
            Turned::Gone => "gone",
        }
    }

    fn metric(self) -> String {
        let of = if self.index() < Self::TLS { "tls" } else { "connections" };
        format!("share_{of}_refused_total{{reason=\"{}\"}}", self.as_str())
    }
}

/// What the transport answers by itself, by its reason.
const TRANSPORT: [&str; 5] = ["message_too_large", "malformed", "unimplemented", "deadline", "transport"];

/// By the order of [`Refused::REASONS`]; there are more than an array has by default.
#[derive(Debug)]
struct Refusals([AtomicU64; Refused::REASONS.len()]);

impl Default for Refusals {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

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
    certificate_expires: AtomicU64,
    paced: AtomicU64,
    paced_bytes: AtomicU64,
    paced_ms: AtomicU64,
    refused: Refusals,
    turned: [AtomicU64; Turned::ALL.len()],
    transport: [AtomicU64; TRANSPORT.len()],
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

    /// How long the listener's certificate is still good, seconds.
    pub(super) fn certificate_expires(&self, seconds: u64) {
        self.certificate_expires.store(seconds, Relaxed);
    }

    /// Bytes after which a stream's less urgent lanes wait so long.
    pub(super) fn paced(&self, bytes: u64, wait_ms: u64) {
        self.paced.fetch_add(1, Relaxed);
        self.paced_bytes.fetch_add(bytes, Relaxed);
        self.paced_ms.fetch_add(wait_ms, Relaxed);
    }

    /// A connection that is none (any more).
    pub(super) fn turned(&self, turned: Turned) {
        self.turned[turned.index()].fetch_add(1, Relaxed);
    }

    /// What the transport answered by itself.
    pub(super) fn transport(&self, reason: &str) {
        let index = TRANSPORT.iter().position(|known| *known == reason).unwrap_or(TRANSPORT.len() - 1);
        self.transport[index].fetch_add(1, Relaxed);
    }

    /// A refusal.
    pub(super) fn refused(&self, refused: &Refused) {
        self.refused.0[refused.index()].fetch_add(1, Relaxed);
    }

    /// Metric name and value of each; `share_streams_open` and `share_certificate_expires_seconds` are the only ones that go down.
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
            ("certificate_expires_seconds", &self.certificate_expires),
            ("paced_total", &self.paced),
            ("paced_bytes_total", &self.paced_bytes),
            ("paced_milliseconds_total", &self.paced_ms),
        ];
        let refused = Refused::REASONS.into_iter().zip(&self.refused.0);
        let named = |family: &'static str, name: &str| format!("share_{family}_total{{reason=\"{name}\"}}");
        let refused = refused.map(move |(name, count)| (named("refused", name), count));
        let transport = TRANSPORT.into_iter().zip(&self.transport);
        let transport = transport.map(move |(name, count)| (named("transport_refused", name), count));
        let turned = Turned::ALL.into_iter().zip(&self.turned);
        let turned = turned.map(|(turned, count)| (turned.metric(), count));
        let plain = plain.into_iter().map(|(name, count)| (format!("share_{name}"), count));
        let all = plain.chain(refused).chain(transport).chain(turned);
        all.map(|(name, count)| (name, count.load(Relaxed)))
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
