//! What the writer counts: for metrics, the status and the watchdog.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::ingest::DeviceSeen;
use crate::ingest::spine::Ledger;
use crate::ingest::trail::WITNESS_LAG_MAX;
use crate::model::{Consumer, Lane, Loss};
use crate::store::Witnessed;
use crate::store::room::Dropped;

/// What the writer counts, for metrics and the watchdog.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) ledger: Mutex<Ledger>,
    pub(super) commits: AtomicU64,
    pub(super) commit_micros: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) bytes_used: AtomicU64,
    pub(super) bytes_max: AtomicU64,
    pub(super) turns: AtomicU64,
    /// Of incidents, that found no room on their way to the devices.
    pub(super) steps_dropped: AtomicU64,
    pub(super) lists_version: AtomicU64,
    pub(super) trail: Mutex<TrailState>,
    /// At most five seconds old.
    pub(super) lanes: Mutex<LaneCounts>,
    /// Of the last round of upkeep.
    pub(super) devices: Mutex<Vec<DeviceSeen>>,
}

/// What lanes take, lost and owe.
#[derive(Clone, Debug, Default)]
pub(super) struct LaneCounts {
    /// By [`Lane::index`].
    pub(super) bytes: [u64; Lane::ALL.len()],
    pub(super) dropped: Vec<Dropped>,
    /// As many as the share list has consumers of lanes.
    pub(super) owed: Vec<LaneOwed>,
}

impl LaneCounts {
    fn metrics(&self) -> Vec<(String, u64)> {
        let lanes = Lane::ALL.into_iter();
        let mut metrics: Vec<_> = lanes
            .map(|lane| (format!("store_lane_bytes{{lane=\"{lane}\"}}"), self.bytes[lane.index()]))
            .collect();
        for Dropped { lane, reason, records } in &self.dropped {
            metrics.push((format!("store_dropped_total{{lane=\"{lane}\",reason=\"{reason}\"}}"), *records));
        }
        for LaneOwed { lane, consumer, acked, positions, oldest_s } in &self.owed {
            let labels = format!("{{lane=\"{lane}\",consumer=\"{consumer}\"}}");
            metrics.push((format!("share_owed{labels}"), *positions));
            metrics.push((format!("share_oldest_seconds{labels}"), *oldest_s));
            metrics.push((format!("share_acked_total{labels}"), *acked));
        }
        metrics
    }
}

/// What one consumer is owed of one lane.
#[derive(Clone, Debug)]
pub(super) struct LaneOwed {
    pub(super) lane: Lane,
    pub(super) consumer: Consumer,
    pub(super) acked: u64,
    pub(super) positions: u64,
    /// Age of the oldest record that is not acknowledged, seconds.
    pub(super) oldest_s: u64,
}

/// How the trail is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TrailState {
    pub(super) witnessed: Witnessed,
    pub(super) lag: Duration,
    /// Whether there is anybody who could be a witness.
    pub(super) has_witnesses: bool,
    /// Rows that should go are kept, because no witness has them.
    pub(super) is_held: bool,
    pub(super) forks: u64,
}

impl Counters {
    pub(super) fn trail(&self) -> std::sync::MutexGuard<'_, TrailState> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lanes(&self) -> std::sync::MutexGuard<'_, LaneCounts> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the oldest row of the trail that no witness holds has been waiting; none when nobody could be one.
    #[must_use]
    pub fn witness_lag(&self) -> Option<Duration> {
        let trail = *self.trail();
        trail.has_witnesses.then_some(trail.lag)
    }

    /// What is not good about the trail, in words.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let trail = *self.trail();
        let late = trail.has_witnesses && trail.lag > WITNESS_LAG_MAX;
        let minutes = trail.lag.as_secs() / 60;
        let late =
            late.then(|| format!("audit trail is not witnessed for {minutes} min: does the city pull?"));
        let held = "audit trail is longer than audit.keep or audit.size_max, because no witness has it";
        let held = trail.is_held.then(|| held.to_owned());
        let forks = (trail.forks > 0)
            .then(|| format!("audit trail: {} words of witnesses are not what the store holds", trail.forks));
        late.into_iter().chain(held).chain(forks).collect()
    }

    pub(super) fn add(&self, batch: &Ledger) {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).merge(batch);
    }

    /// The ledger since the store was created.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        *self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns of the writer's loop; stands still when it hangs.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// When each device was last heard, by device; at most a second old.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceSeen> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Version of the lists in force.
    #[must_use]
    pub fn lists_version(&self) -> u64 {
        self.lists_version.load(Ordering::Relaxed)
    }

    /// Bytes the store may still grow by.
    #[must_use]
    pub fn bytes_free(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed).saturating_sub(self.bytes_used.load(Ordering::Relaxed))
    }

    /// Every counter by its metric's name.
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, u64)> {
        let ledger = self.ledger();
        let mut metrics = vec![
            ("ingest_received_total".to_owned(), ledger.received),
            ("ingest_stored_total".to_owned(), ledger.stored),
            ("ingest_late_total".to_owned(), ledger.late),
            ("readings_rebased_total".to_owned(), ledger.rebased),
            ("readings_thinned_total".to_owned(), ledger.thinned),
            ("readings_purged_total".to_owned(), ledger.purged),
        ];
        for loss in Loss::ALL {
            metrics.push((format!("ingest_lost_total{{reason=\"{loss}\"}}"), ledger.lost.get(loss)));
        }
        let flagged = ledger.flagged();
        metrics.extend(
            flagged
                .map(|(quality, count)| (format!("readings_flagged_total{{quality=\"{quality}\"}}"), count)),
        );
        let store = [
            ("store_commits_total", &self.commits),
            ("store_commit_microseconds_total", &self.commit_micros),
            ("store_retries_total", &self.retries),
            ("incident_steps_dropped_total", &self.steps_dropped),
            ("store_used_bytes", &self.bytes_used),
            ("store_limit_bytes", &self.bytes_max),
        ];
        metrics.extend(store.map(|(name, count)| (name.to_owned(), count.load(Ordering::Relaxed))));
        let TrailState { witnessed, lag, has_witnesses, forks, .. } = *self.trail();
        metrics.push(("audit_rows_total".to_owned(), witnessed.rows));
        metrics.push(("audit_forks_total".to_owned(), forks));
        if has_witnesses {
            metrics
                .push(("audit_unwitnessed_rows".to_owned(), witnessed.rows.saturating_sub(witnessed.size)));
            metrics.push(("audit_witness_lag_seconds".to_owned(), lag.as_secs()));
        }
        metrics.extend(self.lanes().metrics());
        metrics
    }
}
