//! Where a trigger stands, and what is kept of it: JSON, in which what waits is wall time.
//!
//! Guarantees: nothing is kept of what is as it was in the beginning. What it does not do: change by itself.

use serde::{Deserialize, Serialize};

use super::{Change, Signal};
use crate::model::Stamp;
use crate::rules::due::Due;

/// Where one (alarm, device) stands. Event times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    pub(super) stage: Stage,
    /// Whether the condition held when it was last known; only where it counts how often it becomes true.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) held: bool,
    /// Whether the early sign is there.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) early: bool,
    /// Whether the early sign is that of an alarm that is over: it begins anew once it has ended.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) spent: bool,
    /// When it has not been heard for too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) silent: Option<Wait>,
    /// The newest local day of which it was looked at, since 1970-01-01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) looked: Option<i64>,
}

/// A [`Due`], of which the wall time is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub(super) struct Wait(pub(super) Due);

impl From<Wait> for i64 {
    fn from(wait: Wait) -> i64 {
        wait.0.wall_ms
    }
}

impl From<i64> for Wait {
    /// Until [`State::restored`] knows what time it is.
    fn from(wall_ms: i64) -> Self {
        Wait(Due { wall_ms, mono_ms: u64::MAX })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    #[default]
    Normal,
    /// It holds, not yet long enough.
    Pending { since_ms: i64, due: Wait },
    /// It became true at these times, in order, not yet often enough.
    Counted(Vec<i64>),
    /// A was there, B not yet.
    First { at_ms: i64 },
    /// It would be on, if another device said so too; this one said so last at `said_ms`.
    Alone { since_ms: i64, said_ms: i64 },
    /// It is on.
    On { since_ms: i64, said_ms: i64 },
}

/// What others know of it.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Nothing,
    Early,
    On,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl State {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        matches!(self.stage, Stage::On { .. })
    }

    /// Whether it would be on, if other devices of the place said so too.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(self.stage, Stage::Alone { .. })
    }

    /// When it last said that it is on or would be, event time: of two that confirm one another these are close. `None` for
    /// one that does not.
    #[must_use]
    pub fn said_ms(&self) -> Option<i64> {
        match self.stage {
            Stage::Alone { said_ms, .. } | Stage::On { said_ms, .. } => Some(said_ms),
            _ => None,
        }
    }

    /// Since when it is on, or would be, event time.
    #[must_use]
    pub fn since_ms(&self) -> Option<i64> {
        match self.stage {
            Stage::Alone { since_ms, .. } | Stage::On { since_ms, .. } => Some(since_ms),
            _ => None,
        }
    }

    /// As JSON, for [`State::restored`]; `None` when there is nothing to keep.
    #[must_use]
    pub fn kept(&self) -> Option<String> {
        if *self == State::default() { None } else { serde_json::to_string(self).ok() }
    }

    /// What was kept; what was due in between is due now. `None` for what is no state of this build.
    #[must_use]
    pub fn restored(text: &str, now: Stamp) -> Option<Self> {
        let mut state: State = serde_json::from_str(text).ok()?;
        let measure = |wait: &mut Wait| wait.0 = Due::at(now, wait.0.wall_ms);
        if let Stage::Pending { due, .. } = &mut state.stage {
            measure(due);
        }
        state.silent.iter_mut().for_each(measure);
        Some(state)
    }

    fn level(&self) -> Level {
        match self.stage {
            Stage::On { .. } => Level::On,
            Stage::Alone { .. } => Level::Early,
            _ if self.early && !self.spent => Level::Early,
            _ => Level::Nothing,
        }
    }

    pub(super) fn change_since(&self, before: &State, at_ms: i64) -> Option<Change> {
        let signal = match (before.level(), self.level()) {
            (Level::Nothing, Level::Early) => Signal::Early(at_ms),
            (Level::Nothing | Level::Early, Level::On) => Signal::On(at_ms),
            (Level::On | Level::Early, Level::Nothing) => Signal::Off(at_ms),
            _ => return (self != before).then_some(Change::Quiet),
        };
        Some(Change::Told(signal))
    }
}
