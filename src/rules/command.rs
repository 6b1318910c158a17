//! Commands to devices: what there is, and the life of one run. Pure.
//!
//! ```text
//!  waiting ──► accepted ──► sent ──► done
//!     ├────────────┼──────────┼────► failed
//!     └────────────┴──────────┴────► expired
//! ```
//!
//! Guarantees: a run is sent at most once, never before enough people agreed, never without its interlock, and never when
//! its time is over; every run reaches a final stage and stays there. A run that was on its way when the gateway stopped
//! is never sent again: only its expected state can still say that it is done. What it does not do: send, or look at a
//! clock. The caller hands in the time, and tells a run when its time is over ([`Run::time`]).

mod asked;

use std::collections::BTreeMap;
use std::fmt;

pub use self::asked::{Arguments, Asked, NotTaken, ORDERS_MAX, Order};
use super::cel::{Condition, Verdict};
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
    /// What; of one with arguments the first of its ways.
    pub action: Action,
    /// Its arguments by name, each with the values that it may have.
    pub arguments: BTreeMap<String, Vec<String>>,
    /// What is done with each choice of arguments; empty where it has none.
    pub ways: Vec<(Arguments, Action)>,
    /// The metric of its device that says in which state that is.
    pub state: Option<Metric>,
    /// What has to hold at the moment of sending; about the command's device where no other is named.
    pub interlock: Option<Condition>,
    /// What is true once it is done; about the command's device where no other is named.
    pub expect: Option<Condition>,
    /// How long from the order to the end, milliseconds.
    pub expires_ms: u64,
    /// How many people have to agree first: 0 to 2.
    pub level: u8,
}

impl Command {
    /// What is done with these arguments; none where they are not its own.
    #[must_use]
    pub fn doing(&self, arguments: &Arguments) -> Option<&Action> {
        if self.arguments.is_empty() {
            return arguments.is_empty().then_some(&self.action);
        }
        self.ways.iter().find(|(chosen, _)| chosen == arguments).map(|(_, action)| action)
    }

    /// Its arguments and their values, for people.
    #[must_use]
    pub fn takes(&self) -> String {
        asked::takes(&self.arguments)
    }

    /// Everything that it can come to.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        let only = self.ways.is_empty().then_some(&self.action);
        only.into_iter().chain(self.ways.iter().map(|(_, action)| action))
    }
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

    /// Whether nothing follows any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Stage::Done | Stage::Failed | Stage::Expired)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One run of a command. Its `Debug` tells how many people agreed, not who.
#[derive(Clone, PartialEq)]
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
    /// Who of the city asked for it; none of a run that rules ordered.
    pub asked: Option<Box<Asked>>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("id", &self.id)
            .field("command", &self.command)
            .field("incident", &self.incident)
            .field("stage", &self.stage)
            .field("ordered_ms", &self.ordered_ms)
            .field("expires_ms", &self.expires_ms)
            .field("changed_ms", &self.changed_ms)
            .field("approved", &self.approved.len())
            .field("detail", &self.detail)
            .field("asked", &self.asked)
            .finish()
    }
}

/// Why somebody's agreement changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not waiting, or its time is over.
    #[error("the run does not wait for anybody")]
    NotWaiting,
    /// The same person again.
    #[error("the same person has agreed already: somebody else has to")]
    Again,
}

/// What [`Run::sending`] comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send it now, once.
    Send,
    /// It has ended instead.
    Ended,
    /// It is not its turn: nothing has changed.
    Nothing,
}

/// The detail of a run between its sending and the answer of who sends it. Its expected state says nothing that long: it
/// may be that of before.
const ON_ITS_WAY: &str = "on its way";
/// The detail of a run whose expected state came.
const EXPECTED: &str = "the expected state is there";
/// The detail of a run that a stop overtook.
const STOPPED: &str = "the gateway stopped while it was being sent";
const TAKEN: &str = "the device has it";
const LOCKED: &str = "not sent: its interlock does not hold";
const LOCK_UNKNOWN: &str = "not sent: its interlock depends on what nobody has said yet";
const LOCK_ERROR: &str = "not sent: its interlock cannot be computed";
const NOBODY: &str = "nobody agreed in time";
const UNSENT: &str = "it was not sent in time";
const UNANSWERED: &str = "nobody knows whether the device got it in time";
const UNCHANGED: &str = "the expected state did not come in time";
const UNCONFIGURED: &str = "the command is no longer configured";
const WITHDRAWN: &str =
    "the share list no longer gives who asked this command, or the command these arguments";
/// Every detail of an end that is not a device's own.
const ENDS: [&str; 12] = [
    EXPECTED,
    STOPPED,
    TAKEN,
    LOCKED,
    LOCK_UNKNOWN,
    LOCK_ERROR,
    NOBODY,
    UNSENT,
    UNANSWERED,
    UNCHANGED,
    UNCONFIGURED,
    WITHDRAWN,
];

impl Run {
    /// A new run; `id` is dense, from 1.
    #[must_use]
    pub fn ordered(id: u64, command: &Command, incident: Option<IncidentId>, now_ms: i64) -> Self {
        let lasts_ms = i64::try_from(command.expires_ms).unwrap_or(i64::MAX);
        let (stage, detail) = match command.level {
            0 => (Stage::Accepted, String::new()),
            1 => (Stage::Waiting, "somebody has to agree".to_owned()),
            level => (Stage::Waiting, format!("{level} people have to agree")),
        };
        Self {
            id,
            command: command.id.clone(),
            incident,
            stage,
            ordered_ms: now_ms,
            expires_ms: now_ms.saturating_add(lasts_ms),
            changed_ms: now_ms,
            approved: Vec::new(),
            detail,
            asked: None,
        }
    }

    /// A new run that a consumer asked for: its time is over when the command's is, or the order's.
    #[must_use]
    pub fn asked(id: u64, command: &Command, order: &Order, now_ms: i64) -> Self {
        let run = Self::ordered(id, command, None, now_ms);
        let expires_ms = run.expires_ms.min(order.not_after_ms);
        Self { expires_ms, asked: Some(Box::new(order.asked.clone())), ..run }
    }

    /// Why it is where it is, for who asked for it: what a device answered stays here.
    #[must_use]
    pub fn told(&self) -> &'static str {
        let known = ENDS.into_iter().find(|known| *known == self.detail);
        known.unwrap_or("the device did not confirm it")
    }

    /// Somebody agrees. True when it is accepted now; false when somebody else has to agree too.
    ///
    /// # Errors
    /// [`Refused`]; one that waits and whose time is over expires with it.
    pub fn approved(&mut self, command: &Command, by: &str, now_ms: i64) -> Result<bool, Refused> {
        if self.stage != Stage::Waiting || self.time(now_ms) {
            return Err(Refused::NotWaiting);
        }
        let by = by.trim();
        if self.approved.iter().any(|known| **known == *by) {
            return Err(Refused::Again);
        }
        self.approved.push(by.into());
        let missing = usize::from(command.level).saturating_sub(self.approved.len());
        match missing {
            0 => self.move_to(Stage::Accepted, "enough people agreed", now_ms),
            _ => self.move_to(
                Stage::Waiting,
                format!("agreed by {}, {missing} more have to", self.approved.len()),
                now_ms,
            ),
        }
        Ok(missing == 0)
    }

    /// Its turn has come. `interlock` is what the command's interlock comes to now; none where it has none.
    pub fn sending(&mut self, interlock: Option<Verdict>, now_ms: i64) -> Next {
        if self.stage != Stage::Accepted {
            return Next::Nothing;
        }
        if self.time(now_ms) {
            return Next::Ended;
        }
        let why = match interlock {
            None | Some(Verdict::Holds) => {
                self.move_to(Stage::Sent, ON_ITS_WAY, now_ms);
                return Next::Send;
            }
            Some(Verdict::Fails) => LOCKED,
            Some(Verdict::Unknown) => LOCK_UNKNOWN,
            Some(Verdict::Error) => LOCK_ERROR,
        };
        self.move_to(Stage::Failed, why, now_ms);
        Next::Ended
    }

    /// What became of sending it. `expected` is what the command's `expect` comes to now; none where it has none. True
    /// when that changed the run.
    pub fn ran(&mut self, end: &Result<(), String>, expected: Option<Verdict>, now_ms: i64) -> bool {
        if self.stage != Stage::Sent {
            return false;
        }
        match (end, expected) {
            (Err(why), _) => self.move_to(Stage::Failed, why.as_str(), now_ms),
            (Ok(()), None) => self.move_to(Stage::Done, TAKEN, now_ms),
            (Ok(()), Some(Verdict::Holds)) => self.move_to(Stage::Done, EXPECTED, now_ms),
            (Ok(()), Some(_)) => {
                self.move_to(Stage::Sent, "the device has it; the expected state has not come yet", now_ms);
            }
        }
        true
    }

    /// What the command's `expect` comes to now. True when that changed the run: it is done. Says nothing before
    /// [`Run::ran`], because the state may be that of before.
    pub fn expected(&mut self, verdict: Verdict, now_ms: i64) -> bool {
        let is_done = self.stage == Stage::Sent && self.detail != ON_ITS_WAY && verdict == Verdict::Holds;
        if is_done {
            self.move_to(Stage::Done, EXPECTED, now_ms);
        }
        is_done
    }

    /// Lets time pass on the wall clock. True when its time was over.
    pub fn time(&mut self, now_ms: i64) -> bool {
        now_ms >= self.expires_ms && self.expire(now_ms)
    }

    /// Its time is over, however the caller measured it. True when that changed the run.
    pub fn expire(&mut self, now_ms: i64) -> bool {
        let why = match self.stage {
            Stage::Waiting => NOBODY,
            Stage::Accepted => UNSENT,
            Stage::Sent if self.detail == ON_ITS_WAY => UNANSWERED,
            Stage::Sent => UNCHANGED,
            Stage::Done | Stage::Failed | Stage::Expired => return false,
        };
        self.move_to(Stage::Expired, why, now_ms);
        true
    }

    /// The gateway has started again: `command` is what the configuration says of it, none when it says nothing any more.
    /// True when that changed the run. One that was on its way may have been sent or not: it is not sent again.
    pub fn restarted(&mut self, command: Option<&Command>, now_ms: i64) -> bool {
        match command {
            Some(command) => self.resumed(command.expect.is_some(), now_ms),
            None => self.orphaned(now_ms),
        }
    }

    /// The configuration has no such command any more. True when that changed the run.
    pub fn orphaned(&mut self, now_ms: i64) -> bool {
        let is_open = !self.stage.is_final();
        if is_open {
            self.move_to(Stage::Failed, UNCONFIGURED, now_ms);
        }
        is_open
    }

    /// Who asked for it may not any more. True when that changed the run: what has been sent ends as it ends.
    pub fn withdrawn(&mut self, now_ms: i64) -> bool {
        let is_unsent = matches!(self.stage, Stage::Waiting | Stage::Accepted);
        if is_unsent {
            self.move_to(Stage::Failed, WITHDRAWN, now_ms);
        }
        is_unsent
    }

    fn resumed(&mut self, expects: bool, now_ms: i64) -> bool {
        let was_on_its_way = self.stage == Stage::Sent && self.detail == ON_ITS_WAY;
        if was_on_its_way {
            match expects {
                false => self.move_to(Stage::Failed, STOPPED, now_ms),
                true => {
                    let detail = format!("{STOPPED}; the expected state has not come yet");
                    self.move_to(Stage::Sent, detail, now_ms);
                }
            }
        }
        was_on_its_way
    }

    fn move_to(&mut self, stage: Stage, detail: impl Into<String>, now_ms: i64) {
        (self.stage, self.detail, self.changed_ms) = (stage, detail.into(), now_ms);
    }
}

#[cfg(test)]
mod tests;
