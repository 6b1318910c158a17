//! The door outwards: one line of the share list (共享清单).

use super::Cleared;
use crate::model::{ClosedWindow, Consumer, Event, Lane, LineId, Metric};

/// Who gets what, in which form, why, on whose approval, until when.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareLine {
    /// Its id.
    pub id: LineId,
    /// Why.
    pub purpose: String,
    /// Where it goes.
    pub lane: Lane,
    /// Who may pull it.
    pub consumers: Vec<Consumer>,
    /// Which metrics.
    pub metrics: Vec<Metric>,
    /// Whether the device's id goes with them.
    pub devices: bool,
    /// The aggregates (lane aggregate) or alarms (lane alarm) it carries; empty for lane bulk.
    pub carries: Vec<LineId>,
    /// On whose approval.
    pub approval: String,
    /// Until when, milliseconds since 1970 UTC, exclusive.
    pub until_ms: Option<i64>,
}

impl ShareLine {
    /// The event as this line permits it; `None` when it permits nothing.
    #[must_use]
    pub fn event(&self, event: &Event, now_ms: i64) -> Option<Cleared<Event>> {
        let _ = (event, now_ms);
        todo!()
    }

    /// The window as this line permits it; `None` when it permits nothing.
    #[must_use]
    pub fn window(&self, window: &ClosedWindow, now_ms: i64) -> Option<Cleared<ClosedWindow>> {
        let _ = (window, now_ms);
        todo!()
    }
}
