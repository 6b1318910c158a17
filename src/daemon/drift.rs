//! Looks once a day, at the start and after each reload at how the lists and what really happens come apart, and says so:
//! a line of the log for each finding, and gauges.
//!
//! Guarantees: reads through the store's reader alone, and changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::lists::Lists;
use crate::lists::drift::{Drift, Kind, drift};
use crate::store::reader::Reader;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(86_400);

/// How many findings there were at the last look, by kind.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; Kind::ALL.len()]);

impl Counters {
    fn set(&self, found: &[Drift]) {
        for (kind, count) in Kind::ALL.iter().zip(&self.0) {
            let of_kind = found.iter().filter(|drift| drift.kind == *kind).count();
            count.store(of_kind as u64, Ordering::Relaxed);
        }
    }

    /// Names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let value = |(kind, count): (&Kind, &AtomicU64)| {
            (format!("lists_drift{{kind=\"{}\"}}", kind.as_str()), count.load(Ordering::Relaxed))
        };
        Kind::ALL.iter().zip(&self.0).map(value)
    }
}

/// Looks until `stop`.
pub(super) async fn look(
    reader: Reader,
    mut lists: watch::Receiver<Arc<Lists>>,
    clock: Arc<dyn Clock>,
    counted: Arc<Counters>,
    stop: CancellationToken,
) {
    loop {
        let known = lists.borrow_and_update().clone();
        let now_ms = clock.now().wall_ms;
        match reader.observed(known.clone(), now_ms).await {
            Ok(observed) => tell(&drift(&known, &observed, now_ms), &counted),
            Err(error) => tracing::warn!(%error, "how the lists are lived is not known"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
            changed = lists.changed() => if changed.is_err() { return },
        }
    }
}

fn tell(found: &[Drift], counted: &Counters) {
    counted.set(found);
    for Drift { kind, list, id, text } in found {
        let (urgent, kind, what) = (kind.is_urgent(), kind.as_str(), &text.en);
        match urgent {
            true => tracing::warn!(kind, %list, %id, %what, "the lists have drifted"),
            false => tracing::info!(kind, %list, %id, %what, "the lists have drifted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::lint::Said;
    use crate::model::List;

    #[test]
    fn findings_are_counted_by_kind() {
        let found = |kind| Drift {
            kind,
            list: List::Share,
            id: "S-1".parse().expect("an id"),
            text: Said::new("", ""),
        };
        let counted = Counters::default();
        tell(&[found(Kind::Expired), found(Kind::Expired), found(Kind::Silent)], &counted);
        tell(&[found(Kind::Expired)], &counted);
        let told: Vec<_> = counted.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(told, [("lists_drift{kind=\"expired\"}".to_owned(), 1)]);
    }
}
