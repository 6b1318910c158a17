//! Commands to devices: what there is, and the life of one run. Pure.
//!
//! ```text
//!  waiting ──► accepted ──► sent ──► done
//!     │            └──────────┴────► failed
//!     └────────────┴──────────┴────► expired
//! ```

use super::cel::Condition;
use crate::model::{DeviceId, IncidentId, LineId, Metric, Value};

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// An MQTT message to a device.
    Publish {
        /** Where. */
        topic: String,
        /** What. */
        payload: String,
    },
    /// A writable point of a device on a bus.
    Write {
        /** Which. */
        metric: Metric,
        /** What. */
        value: Value,
    },
}

/// A command of the configuration: rules may use no other.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its id.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// To whom.
    pub device: DeviceId,
    /// What.
    pub action: Action,
    /// What has to hold at the moment of sending; about the command's device where no other is named.
    pub interlock: Option<Condition>,
    /// What is true once it is done; about the command's device where no other is named.
    pub expect: Option<Condition>,
    /// How long from the order to the end, milliseconds.
    pub expires_ms: u64,
    /// How many people have to agree first: 0 to 2.
    pub level: u8,
}

/// Where a run is. The name is the same in the store for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// People have to agree.
    Waiting,
    /// It will be sent.
    Accepted,
    /// It is on its way, or the expected state has not come yet.
    Sent,
    /// It is done.
    Done,
    /// It could not be done.
    Failed,
    /// Its time was over.
    Expired,
}

impl Stage {
    /// All of them.
    pub const ALL: [Stage; 6] =
        [Stage::Waiting, Stage::Accepted, Stage::Sent, Stage::Done, Stage::Failed, Stage::Expired];

    /// The name in the store and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Waiting => "waiting",
            Stage::Accepted => "accepted",
            Stage::Sent => "sent",
            Stage::Done => "done",
            Stage::Failed => "failed",
            Stage::Expired => "expired",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Stage::ALL.into_iter().find(|stage| stage.as_str() == name)
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Stage::Done | Stage::Failed | Stage::Expired)
    }
}

/// One run of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its number: dense, from 1.
    pub id: u64,
    /// Which command.
    pub command: LineId,
    /// For which incident.
    pub incident: Option<IncidentId>,
    /// Where it is.
    pub stage: Stage,
    /// When it was ordered, milliseconds since 1970 UTC.
    pub ordered_ms: i64,
    /// When its time is over, milliseconds since 1970 UTC.
    pub expires_ms: i64,
    /// When it last changed, milliseconds since 1970 UTC.
    pub changed_ms: i64,
    /// Who agreed.
    pub approved: Vec<Box<str>>,
    /// Why it is where it is.
    pub detail: String,
}
