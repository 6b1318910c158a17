//! Looks once a minute, at the start and after each reload at the loops of the governance list, and says what is overdue.
//!
//! Guarantees: reads through the store's reader alone, and changes nothing. A line that becomes overdue is told once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::lists::Lists;
use crate::lists::loops::{Loop, loops};
use crate::store::reader::Reader;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);

/// How the lines stood at the last look.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Vec<Loop>>);

impl Counters {
    /// The lines that are overdue now and were not before.
    fn set(&self, found: Vec<Loop>) -> Vec<Loop> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was = |told: &Loop| known.iter().any(|known| known.id == told.id && known.is_overdue());
        let fresh = found.iter().filter(|told| told.is_overdue() && !was(told)).cloned().collect();
        *known = found;
        fresh
    }

    fn known(&self) -> Vec<Loop> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Names and values.
    pub(super) fn metrics(&self) -> Vec<(String, u64)> {
        let of = |told: Loop| {
            let name = |name: &str, more: &str| format!("{name}{{line=\"{}\"{more}}}", told.id);
            [
                (name("governance_open", ""), told.open),
                (name("governance_overdue", ",what=\"accept\""), told.accept_overdue),
                (name("governance_overdue", ",what=\"close\""), told.close_overdue),
                (name("governance_returned_total", ""), told.returned),
                (name("governance_closed_total", ""), told.closed),
            ]
        };
        self.known().into_iter().flat_map(of).collect()
    }

    /// What is not good about it, in words.
    pub(super) fn complaints(&self) -> Vec<String> {
        let overdue = self.known().into_iter().filter(Loop::is_overdue);
        let said = |told: Loop| {
            let Loop { id, accept_overdue, close_overdue, .. } = told;
            format!(
                "governance {id}: {accept_overdue} not taken up in time, {close_overdue} not closed in time"
            )
        };
        overdue.map(said).collect()
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
        if known.governance.is_empty() {
            counted.set(Vec::new());
        } else {
            match reader.cases().await {
                Ok(cases) => tell(&counted.set(loops(&known, &cases, clock.now().wall_ms))),
                Err(error) => tracing::warn!(%error, "what became of alarms is not known"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
            changed = lists.changed() => if changed.is_err() { return },
        }
    }
}

fn tell(overdue: &[Loop]) {
    for Loop { id, accept_overdue, close_overdue, .. } in overdue {
        tracing::warn!(line = %id, accept = accept_overdue, close = close_overdue, "a governance line is overdue");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_while_it_is_overdue() {
        let counted = Counters::default();
        let told = |accept_overdue| Loop {
            id: "G-1".parse().expect("id"),
            open: 2,
            closed: 3,
            accept_overdue,
            accept_late: 0,
            close_overdue: 0,
            close_late: 0,
            delivered: 5,
            returned: 4,
        };
        for (overdue, fresh) in [(0, 0), (1, 1), (2, 0), (0, 0), (1, 1)] {
            assert_eq!(counted.set(vec![told(overdue)]).len(), fresh, "{overdue}");
            assert_eq!(counted.complaints().len() as u64, overdue.min(1));
        }
        let metrics = counted.metrics();
        assert!(metrics.contains(&("governance_open{line=\"G-1\"}".into(), 2)));
        assert!(metrics.contains(&("governance_overdue{line=\"G-1\",what=\"accept\"}".into(), 1)));
    }
}
