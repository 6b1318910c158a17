//! Who is told what, and when: recipients, routes, escalation, quiet hours. Pure.

use super::schedule::Schedule;
use crate::model::{Consumer, IncidentId, LineId, Place, Seq, Severity, Step};

/// Whose view of an alarm somebody gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// 物业: where it is and what to do.
    Property,
    /// 居委会: where it is.
    Committee,
    /// 街道: where it is.
    Street,
    /// 公安: everything.
    Police,
    /// 居民: that it is there and how it ends.
    Resident,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// What is the matter: the alarm's title.
    Alarm,
    /// How bad.
    Severity,
    /// What has become of it.
    State,
    /// When.
    Time,
    /// Where.
    Place,
    /// Which device.
    Device,
    /// The value that did it.
    Value,
    /// What to do.
    Advice,
}

/// How a recipient is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Channel {
    /// A webhook; where it is, the shell knows by the recipient's id.
    Webhook,
    /// The alarm lane, as far as the share list lets; its acknowledgement is the proof.
    Lane(Consumer),
    /// A command to a device (a siren), as an index into the plan's commands.
    Command(usize),
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipient {
    /// The id in the configuration.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// Whose view.
    pub role: Role,
    /// How.
    pub channel: Channel,
    /// What a message says.
    pub fields: Vec<Field>,
    /// When only what is critical may disturb.
    pub quiet: Option<Schedule>,
    /// At most one message in so many milliseconds, but for what is critical; what came in between is in the next one.
    pub digest_ms: u64,
    /// Whether messages are in English.
    pub english: bool,
}

/// Which events go to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// By alarm, as indices into the plan's alarms; none for all.
    pub alarms: Option<Vec<usize>>,
    /// By severity; none for all.
    pub severities: Option<Vec<Severity>>,
    /// By place, as patterns in which `*` stands for anything; none for all.
    pub places: Option<Vec<String>>,
    /// When.
    pub schedule: Schedule,
    /// Which steps are told.
    pub steps: Vec<Step>,
    /// To whom, as indices into the plan's recipients.
    pub to: Vec<usize>,
    /// When nobody has answered: after so many milliseconds since it was raised, to whom besides.
    pub escalate: Vec<(u64, Vec<usize>)>,
}

/// What has become of a notice. The name is the same in the store for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is not sent yet, or not with success.
    Waiting,
    /// The other side said that it has it.
    Delivered,
    /// It was too late to matter.
    Expired,
    /// There were too many.
    Dropped,
}

impl Fate {
    /// All of them.
    pub const ALL: [Fate; 4] = [Fate::Waiting, Fate::Delivered, Fate::Expired, Fate::Dropped];

    /// The name in the store and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Waiting => "waiting",
            Fate::Delivered => "delivered",
            Fate::Expired => "expired",
            Fate::Dropped => "dropped",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Fate::ALL.into_iter().find(|fate| fate.as_str() == name)
    }
}

/// One thing that somebody is to be told, in the ledger from its making to its fate.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Its number: dense, from 1.
    pub id: u64,
    /// About which incident.
    pub incident: IncidentId,
    /// What of it.
    pub step: Step,
    /// Of which alarm.
    pub alarm: LineId,
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub place: Option<Place>,
    /// To whom, by id.
    pub recipient: LineId,
    /// When it was made, milliseconds since 1970 UTC.
    pub made_ms: i64,
    /// Not before, milliseconds since 1970 UTC.
    pub due_ms: i64,
    /// The position in the alarm lane whose acknowledgement proves it; only of [`Channel::Lane`].
    pub seq: Option<Seq>,
    /// The run of a command whose end proves it; only of [`Channel::Command`].
    pub run: Option<u64>,
    /// What it says, ready for the recipient: one line of text, with only its fields.
    pub text: String,
    /// What has become of it.
    pub fate: Fate,
    /// How often it was tried.
    pub tries: u32,
    /// When its fate was sealed, milliseconds since 1970 UTC.
    pub done_ms: Option<i64>,
    /// What proves its fate, or the last error.
    pub proof: String,
}
