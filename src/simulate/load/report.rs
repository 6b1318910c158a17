//! What a run counts while it goes on, and what it says at its end.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::{Latency, Settings};

/// What a run has done so far; readable while it goes on.
#[derive(Debug, Default)]
pub struct Counters {
    /// Publishes, each counted once.
    pub sent: AtomicU64,
    /// Publishes sent again after a reconnect.
    pub resent: AtomicU64,
    /// Publishes acked, each counted once.
    pub acked: AtomicU64,
    /// Acks that overtook an earlier one of their connection.
    pub out_of_order: AtomicU64,
    /// Acks of ids that were not on their way.
    pub unknown: AtomicU64,
    /// Packets that have no business here; each closes its connection.
    pub unexpected: AtomicU64,
    /// Connections made again.
    pub reconnects: AtomicU64,
    /// Connections lost.
    pub lost: AtomicU64,
    /// Open connections.
    pub open: AtomicU64,
    /// From publish to ack.
    pub latency: Latency,
    /// First publish and last ack, microseconds of the run.
    pub(super) first_us: AtomicU64,
    pub(super) last_us: AtomicU64,
    /// Processor time of the threads that have ended.
    pub(super) cpu_us: AtomicU64,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// As asked.
    pub connections: u32,
    /// As asked.
    pub window: u16,
    /// Publishes, each counted once.
    pub sent: u64,
    /// Publishes acked, each counted once.
    pub acked: u64,
    /// Sent again after a reconnect.
    pub resent: u64,
    /// From the first publish to the last ack.
    pub seconds: f64,
    /// Acked a second.
    pub rate: f64,
    /// Median of publish to ack, milliseconds.
    pub p50_ms: f64,
    /// 99 % were acked within, milliseconds.
    pub p99_ms: f64,
    /// The slowest, milliseconds.
    pub max_ms: f64,
    /// Processor time of the generator's own threads.
    pub cpu_seconds: f64,
    /// Connections made again.
    pub reconnects: u64,
    /// Connections lost.
    pub lost: u64,
    /// Acks that overtook an earlier one of their connection.
    pub out_of_order: u64,
    /// Acks of ids that were not on their way, and packets that have no business here.
    pub unknown: u64,
    /// The flooding connections, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flood: Option<Aside>,
    /// Those that publish to the deaf subscribers, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub talk: Option<Aside>,
}

/// What connections did that are not among those measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Aside {
    /// Publishes, each counted once.
    pub sent: u64,
    /// Publishes acked, each counted once.
    pub acked: u64,
    /// Median of publish to ack, milliseconds.
    pub p50_ms: f64,
    /// 99 % were acked within, milliseconds.
    pub p99_ms: f64,
    /// Connections lost.
    pub lost: u64,
    /// Whether the server kept the protocol.
    pub clean: bool,
}

impl Report {
    /// Whether the server kept the protocol: every ack known and in order.
    #[must_use]
    pub fn clean(&self) -> bool {
        let asides = self.flood.iter().chain(&self.talk);
        self.out_of_order == 0 && self.unknown == 0 && asides.into_iter().all(|aside| aside.clean)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections × window {}: {} sent, {} acked in {:.2} s = {:.0}/s; ack p50 {:.2} ms, p99 {:.2} ms, max \
             {:.1} ms; {:.2} CPU-s here; {} resent, {} connections lost, {} made again; {} acks out of order, {} unknown",
            self.connections,
            self.window,
            self.sent,
            self.acked,
            self.seconds,
            self.rate,
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.cpu_seconds,
            self.resent,
            self.lost,
            self.reconnects,
            self.out_of_order,
            self.unknown,
        )?;
        for (name, aside) in [("flooding", &self.flood), ("to the deaf", &self.talk)] {
            if let Some(Aside { sent, acked, p50_ms, p99_ms, lost, .. }) = aside {
                write!(
                    f,
                    "; {name}: {sent} sent, {acked} acked, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, {lost} lost"
                )?;
            }
        }
        Ok(())
    }
}

impl Counters {
    pub(super) fn report(&self, settings: &Settings) -> Report {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let seconds = get(&self.last_us).saturating_sub(get(&self.first_us)) as f64 / 1e6;
        let acked = get(&self.acked);
        Report {
            connections: settings.connections,
            window: settings.window,
            sent: get(&self.sent),
            acked,
            resent: get(&self.resent),
            seconds,
            rate: if seconds > 0.0 { acked as f64 / seconds } else { 0.0 },
            p50_ms: self.latency.quantile(0.5) as f64 / 1e3,
            p99_ms: self.latency.quantile(0.99) as f64 / 1e3,
            max_ms: self.latency.max_us() as f64 / 1e3,
            cpu_seconds: get(&self.cpu_us) as f64 / 1e6,
            reconnects: get(&self.reconnects),
            lost: get(&self.lost),
            out_of_order: get(&self.out_of_order),
            unknown: get(&self.unknown) + get(&self.unexpected),
            flood: None,
            talk: None,
        }
    }

    pub(super) fn aside(&self) -> Aside {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        Aside {
            sent: get(&self.sent),
            acked: get(&self.acked),
            p50_ms: self.latency.quantile(0.5) as f64 / 1e3,
            p99_ms: self.latency.quantile(0.99) as f64 / 1e3,
            lost: get(&self.lost),
            clean: get(&self.out_of_order) + get(&self.unknown) + get(&self.unexpected) == 0,
        }
    }
}
