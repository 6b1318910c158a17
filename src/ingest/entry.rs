//! Forms of the collection list and what people put into them (主动录入).
//!
//! Guarantees: a form is a line of the collection list whose source is "manual", and nothing else can be entered; `Debug`
//! and errors here show no value, no name of a person and nothing that one wrote. Pure. What becomes of an entry the spine
//! decides.

use std::collections::{HashMap, HashSet};
use std::fmt;

use rust_decimal::Decimal;

use super::Point;
use crate::model::{DeviceId, LineId, Loss, Metric, Rollup, Value};
use crate::normalise::Kind;
use crate::store::entries::{Entry, State};

/// A line of the collection list that people fill in.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// The line.
    pub line: LineId,
    /// Its title; may be empty.
    pub title: String,
    /// What it is taken for.
    pub purpose: String,
    /// Whether another person has to look at an entry before it counts.
    pub second_check: bool,
    /// What can be filled in, by template.
    pub sheets: Vec<Sheet>,
}

/// What can be filled in for the devices of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    /// The template.
    pub template: LineId,
    /// Its title; may be empty.
    pub title: String,
    /// Its fields.
    pub fields: Vec<Field>,
    /// What it can be filled in for.
    pub devices: Vec<DeviceId>,
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub metric: Metric,
    /// For people; may be empty.
    pub title: String,
    /// What it takes.
    pub kind: Kind,
    /// UCUM unit; may be empty.
    pub unit: String,
    /// Inclusive bounds of a number.
    pub range: Option<(Decimal, Decimal)>,
    /// What the list does to it, in its word: "keep", "drop".
    pub how: &'static str,
}

/// What somebody enters. Its `Debug` shows nothing of it but what it is about.
#[derive(Clone, PartialEq)]
pub struct Submission {
    /// Chosen by the caller: the same one again changes nothing and is answered the same.
    pub request: Box<str>,
    /// The line of the collection list.
    pub line: LineId,
    /// What it is about; may be left out where the form has one device.
    pub device: Option<DeviceId>,
    /// Field and value, as they were written.
    pub values: Vec<(Box<str>, Value)>,
    /// When it was so, milliseconds since 1970 UTC; without it now, or the time of what is corrected.
    pub at_ms: Option<i64>,
    /// Who.
    pub author: Box<str>,
    /// As what.
    pub role: Box<str>,
    /// Why.
    pub reason: Box<str>,
    /// The entry that this puts right.
    pub corrects: Option<u64>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Submission({}: {} fields)", self.line, self.values.len())
    }
}

/// The second look. Its `Debug` shows nothing of the person.
#[derive(Clone, PartialEq, Eq)]
pub struct Check {
    /// Which entry.
    pub entry: u64,
    /// Who.
    pub by: Box<str>,
    /// As what.
    pub role: Box<str>,
    /// Whether it is right.
    pub agree: bool,
    /// In words; needed where it is not.
    pub reason: Box<str>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({}: {})", self.entry, self.agree)
    }
}

/// What became of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Its name, as it was written, shortened.
    pub field: Box<str>,
    /// Why it was not taken; none when it was.
    pub loss: Option<Loss>,
}

/// An entry as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Entered {
    /// The entry.
    pub entry: Entry,
    /// The same request came before.
    pub duplicate: bool,
    /// What became of each field; none of a duplicate.
    pub fates: Vec<Fate>,
}

/// Why nothing was entered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not for people to fill in.
    #[error("{line} is no form: a form is a collect line with source = \"manual\"; {}", known(.forms))]
    Form {
        /** Asked for. */
        line: LineId,
        /** What there is. */
        forms: Vec<String>,
    },
    /// There is no such device in the form.
    #[error("{device} is not in form {line}; {}", known(.devices))]
    Device {
        /** Asked for; empty when none was. */
        device: String,
        /** The form. */
        line: LineId,
        /** What there is. */
        devices: Vec<String>,
    },
    /// Fields are wrong, or none is left.
    #[error("nothing was entered: {}", told(.0))]
    Fields(Vec<Fate>),
    /// The same request was for something else.
    #[error("this request was entry {0}, of something else: take another request id")]
    Request(u64),
    /// Nobody can know that yet.
    #[error("at: later than the gateway's clock; a report is of what was")]
    Future,
    /// It is too long ago.
    #[error("at: more than 31 days ago; what is older cannot be entered")]
    Past,
    /// Too many wait.
    #[error("{0} entries wait for their second check: `smallbrain enter --waiting` lists them")]
    Full(u64),
    /// There is no such entry.
    #[error("no entry {0}; `smallbrain enter --list` lists them")]
    Unknown(u64),
    /// It is an entry of something else.
    #[error("entry {0} is of another line or another device: a correction is of the same")]
    Other(u64),
    /// Only what counts can be corrected, and once.
    #[error(
        "entry {0} is {1}: only a stored one can be corrected; a correction of a correction names the newest"
    )]
    NotStored(u64, State),
    /// It does not wait.
    #[error("entry {0} is {1} and waits for nobody")]
    NotWaiting(u64, State),
    /// Two people are two people.
    #[error("entry {0} was made by the same person: somebody else has to confirm it")]
    Same(u64),
    /// Who says no says why.
    #[error("a refusal needs a reason")]
    Reason,
    /// What it was cleared for is not what the list says now.
    #[error(
        "entry {0}: the collection list takes {1} in another way now; refuse the entry and enter it again"
    )]
    Changed(u64, Metric),
}

impl Refused {
    /// A machine's word for it, for the trail.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Refused::Form { .. } => "form",
            Refused::Device { .. } => "device",
            Refused::Fields(_) => "fields",
            Refused::Request(_) => "request",
            Refused::Future | Refused::Past => "time",
            Refused::Full(_) => "full",
            Refused::Unknown(_) => "unknown",
            Refused::Other(_) => "other",
            Refused::NotStored(..) | Refused::NotWaiting(..) => "state",
            Refused::Same(_) => "same_person",
            Refused::Reason => "reason",
            Refused::Changed(..) => "changed",
        }
    }
}

/// Names listed in an error at most.
const NAMES_MAX: usize = 20;

fn known(names: &[String]) -> String {
    match names {
        [] => "there is none".to_owned(),
        names if names.len() > NAMES_MAX => {
            format!("known: {} and {} more", names[..NAMES_MAX].join(", "), names.len() - NAMES_MAX)
        }
        names => format!("known: {}", names.join(", ")),
    }
}

fn told(fates: &[Fate]) -> String {
    let wrong: Vec<String> =
        fates.iter().filter_map(|fate| Some(format!("{}: {}", fate.field, why(fate.loss?)))).collect();
    if wrong.is_empty() { "no field is given".to_owned() } else { wrong.join("; ") }
}

/// Why a field is not taken, for people.
#[must_use]
pub fn why(loss: Loss) -> &'static str {
    match loss {
        Loss::Unlisted => "the form has no such field",
        Loss::Policy => "the collection list leaves it out",
        Loss::Refused => "the collection list never takes it",
        Loss::Personal => {
            "it has a person's number, a plate or an e-mail address in it, and nothing takes that out"
        }
        Loss::Invalid => "not of the field's kind",
        Loss::OutOfRange => "outside of the field's range",
        other => other.as_str(),
    }
}

/// What people told: devices, and cells of windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Manual {
    devices: HashSet<DeviceId>,
    metrics: HashMap<Metric, HashSet<DeviceId>>,
}

impl Manual {
    /// Of the points of a plan.
    pub(super) fn of<'p>(points: impl Iterator<Item = &'p Point>) -> Self {
        let mut manual = Self::default();
        for point in points.filter(|point| point.manual) {
            manual.devices.insert(point.device.clone());
            manual.metrics.entry(point.metric.clone()).or_default().insert(point.device.clone());
        }
        manual
    }

    /// Whether people tell what is known of a device.
    pub(super) fn device(&self, device: &DeviceId) -> bool {
        self.devices.contains(device)
    }

    /// Whether people tell what is in a cell, or some of it.
    pub(super) fn cell(&self, cell: &Rollup) -> bool {
        let devices = self.metrics.get(&cell.metric);
        devices.is_some_and(|devices| cell.device.as_ref().is_none_or(|device| devices.contains(device)))
    }
}

/// Whether two names are those of one person, as far as that can be told.
pub(super) fn is_same_person(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.split_whitespace().collect::<String>().to_lowercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_stays_the_same_however_the_name_is_written() {
        for (one, other, same) in [
            ("王医生", " 王医生 ", true),
            ("Dr Wang", "dr  wang", true),
            ("王医生", "李医生", false),
            ("", "a", false),
        ] {
            assert_eq!(is_same_person(one, other), same, "{one:?} {other:?}");
        }
    }

    #[test]
    fn neither_debug_nor_errors_show_what_a_person_wrote() {
        let submission = Submission {
            request: "r-1".into(),
            line: "C-010".parse().expect("a line"),
            device: None,
            values: vec![("name".into(), Value::Text("张三丰".into()))],
            at_ms: None,
            author: "王医生".into(),
            role: "doctor".into(),
            reason: "张三丰发热".into(),
            corrects: None,
        };
        let check = Check {
            entry: 1,
            by: "李医生".into(),
            role: "doctor".into(),
            agree: false,
            reason: "张三丰不是".into(),
        };
        let fates = vec![Fate { field: "name".into(), loss: Some(Loss::Policy) }];
        let shown = format!("{submission:?} {check:?} {} {:?}", Refused::Fields(fates.clone()), fates);
        for word in ["张三丰", "王医生", "李医生", "发热"] {
            assert!(!shown.contains(word), "{shown}");
        }
        assert!(shown.contains("name: the collection list leaves it out"), "{shown}");
    }
}
