//! What the collector did and how it stands, as metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::Lane;
use crate::telemetry::metrics::Page;

/// Upper bounds of the buckets of the sink's latency, milliseconds.
const BUCKETS_MS: [u64; 6] = [5, 20, 100, 500, 2_000, 10_000];

/// How a gateway stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    /// Waits for its time, its line or its drawer.
    Waiting,
    /// Is pulled from, when the line stands.
    Pulling,
    /// Is left alone until an operator says otherwise.
    Quarantined,
}

/// One gateway's part.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    standing: AtomicU8,
    /// Whether the line stands.
    pub(super) connected: Arc<AtomicBool>,
    lag: [AtomicU64; Lane::ALL.len()],
}

impl Gauge {
    pub(super) fn stands(&self, standing: Standing) {
        self.standing.store(standing as u8, Relaxed);
    }

    pub(super) fn lags(&self, lane: Lane, records: u64) {
        self.lag[lane.index()].store(records, Relaxed);
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Counters {
    gateways: Mutex<BTreeMap<String, Arc<Gauge>>>,
    pub(super) registered: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) checkpoints: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) forks: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) sink_errors: AtomicU64,
    pub(super) leases_claimed: AtomicU64,
    pub(super) leases_given_back: AtomicU64,
    pub(super) leases_lost: AtomicU64,
    pub(super) registry_faults: AtomicU64,
    latency: [AtomicU64; BUCKETS_MS.len() + 1],
    latency_ms: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    /// A gateway's part, for as long as it is held.
    pub(super) fn gauge(&self, gateway: &str) -> Arc<Gauge> {
        let gauge = Arc::new(Gauge::default());
        let mut gateways = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
        gateways.insert(gateway.to_owned(), gauge.clone());
        gauge
    }

    /// A gateway is no longer held.
    pub(super) fn forget(&self, gateway: &str) {
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner).remove(gateway);
    }

    /// A batch is stored.
    pub(super) fn stored(&self, records: u64, lost: u64, took: Duration) {
        self.batches.fetch_add(1, Relaxed);
        self.records.fetch_add(records, Relaxed);
        self.lost.fetch_add(lost, Relaxed);
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MS.iter().position(|bound| ms <= *bound).unwrap_or(BUCKETS_MS.len());
        self.latency[bucket].fetch_add(1, Relaxed);
        self.latency_ms.fetch_add(ms, Relaxed);
    }

    pub(super) fn write(&self, page: &mut Page) {
        let gateways = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
        page.put("city_gateways{state=\"registered\"}", self.registered.load(Relaxed));
        page.put("city_gateways{state=\"held\"}", gateways.len() as u64);
        let connected = gateways.values().filter(|gauge| gauge.connected.load(Relaxed)).count();
        page.put("city_gateways{state=\"connected\"}", connected as u64);
        let quarantined = Standing::Quarantined as u8;
        let quarantined =
            gateways.values().filter(|gauge| gauge.standing.load(Relaxed) == quarantined).count();
        page.put("city_gateways{state=\"quarantined\"}", quarantined as u64);
        for lane in Lane::ALL {
            let lag = gateways.values().map(|gauge| gauge.lag[lane.index()].load(Relaxed)).sum();
            page.put(&format!("city_lag_records{{lane=\"{lane}\"}}"), lag);
        }
        for (name, counter) in [
            ("city_records_total", &self.records),
            ("city_batches_total", &self.batches),
            ("city_lost_records_total", &self.lost),
            ("city_checkpoints_total", &self.checkpoints),
            ("city_resets_total", &self.resets),
            ("city_forks_total", &self.forks),
            ("city_conflicts_total", &self.conflicts),
            ("city_broken_contracts_total", &self.broken),
            ("city_refused_total", &self.refused),
            ("city_sink_errors_total", &self.sink_errors),
            ("city_leases_total{change=\"claimed\"}", &self.leases_claimed),
            ("city_leases_total{change=\"given_back\"}", &self.leases_given_back),
            ("city_leases_total{change=\"lost\"}", &self.leases_lost),
            ("city_registry_faults_total", &self.registry_faults),
            ("city_sink_wait_ms_total", &self.latency_ms),
        ] {
            page.put(name, counter.load(Relaxed));
        }
        let mut below = 0;
        for (index, count) in self.latency.iter().enumerate() {
            below += count.load(Relaxed);
            let bound = BUCKETS_MS.get(index).map_or("+Inf".to_owned(), u64::to_string);
            page.put(&format!("city_sink_batches_total{{within_ms=\"{bound}\"}}"), below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_summed_up_and_what_is_not_is_forgotten() {
        let counters = Counters::default();
        let (a, b) = (counters.gauge("a"), counters.gauge("b"));
        a.lags(Lane::Bulk, 3);
        b.lags(Lane::Bulk, 4);
        b.stands(Standing::Quarantined);
        counters.stored(2, 1, Duration::from_millis(50));
        let page = |counters: &Counters| {
            let mut page = Page::default();
            counters.write(&mut page);
            page.render()
        };
        let text = page(&counters);
        for line in [
            "smallbrain_city_gateways{state=\"held\"} 2",
            "smallbrain_city_gateways{state=\"quarantined\"} 1",
            "smallbrain_city_lag_records{lane=\"bulk\"} 7",
            "smallbrain_city_records_total 2",
            "smallbrain_city_sink_batches_total{within_ms=\"20\"} 0",
            "smallbrain_city_sink_batches_total{within_ms=\"100\"} 1",
            "smallbrain_city_sink_batches_total{within_ms=\"+Inf\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        counters.forget("b");
        assert!(page(&counters).contains("smallbrain_city_lag_records{lane=\"bulk\"} 3"));
    }
}
