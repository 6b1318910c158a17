//! What people, consumers and shells do, on the one way through: handed in like a delivery, answered after the
//! commit.

use std::fmt;

use super::handout::{Delivered, Denied, Queried};
use super::{entry, order, shared};
use crate::approval;
use crate::model::{Consumer, DeviceId};
use crate::privacy::pseudonym::Turned;
use crate::rules::command::{Action, Run};
use crate::rules::incident::{self, Incident, Order};
use crate::rules::maintenance::Maintenance;

/// Something done. Its `Debug` shows neither persons nor what they wrote.
#[derive(Clone, PartialEq)]
pub enum Act {
    /// A step in the life of an incident.
    Order(Order),
    /// Work begins; its number is given by the store.
    Maintain(Maintenance),
    /// Work ends early.
    Resume {
        /** Which. */
        maintenance: u64,
        /** Who says so. */
        by: Box<str>,
    },
    /// Somebody agrees to a run that waits for it.
    Approve {
        /** Which. */
        run: u64,
        /** Who. */
        by: Box<str>,
    },
    /// What became of sending a run.
    Ran {
        /** Which. */
        run: u64,
        /** That the device took it, or why not. */
        end: Result<(), String>,
    },
    /// What became of telling notices; all of them in one message.
    Told {
        /** Which. */
        notices: Vec<u64>,
        /** What. */
        end: Told,
    },
    /// What the city says about a record.
    Feedback(Feedback),
    /// A command that the city orders.
    Submit(Box<order::Submission>),
    /// A list that the city shares.
    SharedList(Box<shared::Put>),
    /// What somebody enters into a form.
    Enter(Box<entry::Submission>),
    /// The second look at what somebody entered.
    Check(entry::Check),
    /// A batch is about to leave; it leaves once this is noted.
    Delivered(Delivered),
    /// The answer to a query is about to leave; it leaves once this is noted.
    Queried(Queried),
    /// A consumer was turned away.
    Denied(Denied),
    /// Keys of pseudonyms have come and gone.
    Keys(Turned),
    /// An approval: asked for, voted on, taken back, made use of.
    Approval(approval::Order),
}

/// How an attempt to tell notices ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The other side has them; what proves it.
    Delivered(String),
    /// Not this time; why, and not again before, milliseconds since 1970 UTC.
    Failed {
        /** Why. */
        why: String,
        /** Not before. */
        again_ms: i64,
    },
    /// Never; why.
    Expired(String),
}

/// What a consumer says about a record of the alarm lane. Its `Debug` shows nothing of the text.
#[derive(Clone, PartialEq)]
pub struct Feedback {
    /// Who.
    pub consumer: Consumer,
    /// Chosen by the consumer: the same one again changes nothing and is answered the same.
    pub request: String,
    /// The record's id, as it was delivered.
    pub record: String,
    /// Confirmed, dispatched, handled, closed or noted.
    pub step: crate::model::Step,
    /// In words.
    pub text: Box<str>,
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Order(order) => order.fmt(f),
            Act::Maintain(work) => work.fmt(f),
            Act::Resume { maintenance, by: _ } => write!(f, "Resume({maintenance})"),
            Act::Approve { run, by: _ } => write!(f, "Approve({run})"),
            Act::Ran { run, end } => write!(f, "Ran({run}: {})", end.is_ok()),
            Act::Told { notices, end } => write!(f, "Told({notices:?}: {end:?})"),
            Act::Feedback(feedback) => feedback.fmt(f),
            Act::Submit(submission) => submission.fmt(f),
            Act::SharedList(put) => put.fmt(f),
            Act::Enter(submission) => submission.fmt(f),
            Act::Check(check) => check.fmt(f),
            Act::Delivered(delivered) => delivered.fmt(f),
            Act::Queried(queried) => queried.fmt(f),
            Act::Denied(denied) => denied.fmt(f),
            Act::Keys(turned) => turned.fmt(f),
            Act::Approval(order) => order.fmt(f),
        }
    }
}

impl fmt::Debug for Feedback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, record, step, .. } = self;
        write!(f, "Feedback({consumer}: {record} {step})")
    }
}

/// What an act came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// The incident as it is now.
    Incident(Incident),
    /// The work, with its number.
    Maintenance(Maintenance),
    /// The run as it is now.
    Run(Run),
    /// The feedback's number, and whether it was known.
    Feedback {
        /** Dense, from 1. */
        id: u64,
        /** The same request came before. */
        duplicate: bool,
    },
    /// What an order of the city came to.
    Order(order::Taken),
    /// The list as the gateway has it.
    SharedList {
        /** As the city counts. */
        version: u64,
        /** How many it has. */
        entries: u32,
        /** The same request came before. */
        duplicate: bool,
    },
    /// The entry as it is now.
    Entry(Box<entry::Entered>),
    /// The approval as it is now.
    Approval(Box<approval::Approval>),
    /// It is noted, in this row of the trail.
    Row(u64),
    /// It is noted.
    Noted,
}

/// Why an act changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Of an incident.
    #[error(transparent)]
    Incident(#[from] incident::Refused),
    /// There is no such maintenance.
    #[error("no maintenance {0} is going on")]
    Maintenance(u64),
    /// There are as many as there may be.
    #[error("{0} maintenances are going on: end one first")]
    Maintenances(usize),
    /// There is no such run, or it does not wait for anybody.
    #[error("run {0} does not wait for anybody; `smallbrain commands` lists those that do")]
    Run(u64),
    /// Two people are two people.
    #[error("this person has agreed to run {0} already: somebody else has to")]
    Again(u64),
    /// Of an order of the city.
    #[error(transparent)]
    Order(Box<order::Refused>),
    /// Of an entry.
    #[error(transparent)]
    Entry(#[from] entry::Refused),
    /// Of a shared list.
    #[error(transparent)]
    Shared(#[from] shared::Refused),
    /// Of an approval.
    #[error(transparent)]
    Approval(#[from] approval::Refused),
    /// The record is not one of the alarm lane that this consumer may see.
    #[error("record {0} is not an alarm of this consumer")]
    Record(String),
}

impl From<order::Refused> for Refused {
    fn from(refused: order::Refused) -> Self {
        Refused::Order(Box::new(refused))
    }
}

/// A run that is to be sent now.
#[derive(Clone, Debug, PartialEq)]
pub struct Errand {
    /// Its number.
    pub run: u64,
    /// To whom.
    pub device: DeviceId,
    /// What.
    pub action: Action,
    /// Not after, milliseconds since 1970 UTC.
    pub expires_ms: i64,
}
