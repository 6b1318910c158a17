//! One threshold with a hold time, as a state machine per series. Sans-IO: time comes in, changes go out.

use rust_decimal::Decimal;

use crate::model::{LineId, Severity, Stamp, Value};

/// When a value is an alarm.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `value > limit`; clears at `value <= clear`.
    Above {
        /** The limit. */
        limit: Decimal,
        /** Where it clears. */
        clear: Decimal,
    },
    /// `value < limit`; clears at `value >= clear`.
    Below {
        /** The limit. */
        limit: Decimal,
        /** Where it clears. */
        clear: Decimal,
    },
    /// A flag that is this.
    Is(bool),
}

/// One alarm of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// Its id.
    pub id: LineId,
    /// When.
    pub condition: Condition,
    /// For how long without a break, milliseconds.
    pub hold_ms: u64,
    /// How bad.
    pub severity: Severity,
}

/// Where one (alarm, series) stands. Event times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing.
    #[default]
    Normal,
    /// The condition holds, not yet long enough.
    Pending {
        /** Event time it began. */
        since_ms: i64,
        /** Monotonic time at which it has held long enough. */
        due_mono_ms: u64,
    },
    /// Raised.
    Raised {
        /** Event time it was raised. */
        since_ms: i64,
    },
}

/// What a reading or the time changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Became pending, or stopped being pending: nothing to tell.
    Quiet,
    /// Raised at this event time.
    Raised {
        /** Event time. */
        at_ms: i64,
    },
    /// Cleared at this event time.
    Cleared {
        /** Event time. */
        at_ms: i64,
    },
}

impl Alarm {
    /// Takes a reading. `None` when the state stays.
    pub fn reading(&self, state: &mut State, value: &Value, time_ms: i64, now: Stamp) -> Option<Change> {
        let _ = (state, value, time_ms, now);
        todo!()
    }

    /// Lets time pass. `None` when the state stays.
    pub fn tick(&self, state: &mut State, now: Stamp) -> Option<Change> {
        let _ = (state, now);
        todo!()
    }
}
