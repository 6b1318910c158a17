//! Which topic is whose, and what a template takes of a message. Sans-IO.
//!
//! Guarantees: a topic that is known is found without allocation; the first mapping that can say whose a topic is wins.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Settings;
use super::super::topic::{self, Pattern};
use crate::codec::json::{self, TimeForm};
use crate::codec::profile::Profile;
use crate::codec::unit;
use crate::model::{DeviceId, Loss, SeriesKey, Value};

/// Topics remembered by a connection.
const REMEMBERED_MAX: usize = 32;

/// What some topics mean.
#[derive(Debug)]
pub struct Mapping {
    /// Which topics.
    pub topics: Vec<Topics>,
    /// How their payloads are read.
    pub meaning: Meaning,
    /// Who may be heard there, by the name that topics and payloads have for the device.
    pub speakers: HashMap<Box<str>, Arc<Speaker>>,
}

/// Topics that one setting covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// One level is the device's name.
    Named(Pattern),
    /// A topic filter; payloads say whose they are.
    Filter(Box<str>),
}

/// How payloads are read.
#[derive(Debug)]
pub enum Meaning {
    /// By the pointers of templates.
    Json {
        /** Where the messages of a payload are; none where it is one. */
        each: Option<Box<json::Many>>,
        /** Who a message is of. */
        device: Whose,
    },
    /// By a convention.
    Profile {
        /** Which. */
        profile: &'static Profile,
        /** Offset from UTC of times that tell none, milliseconds. */
        zone_ms: i64,
    },
}

/// Where a message of the profile `json` has its device's name.
#[derive(Debug)]
pub enum Whose {
    /// In the topic.
    Topic,
    /// It is the member's name.
    Key,
    /// Where the one slot of a plan is.
    Pointer(Box<json::Plan>),
}

/// A device as messages know it.
#[derive(Debug)]
pub struct Speaker {
    /// Its id.
    pub device: DeviceId,
    /// What its template takes.
    pub model: Arc<Model>,
    /// The series of each point of the template.
    pub series: Arc<[SeriesKey]>,
}

/// What a template takes of messages, by point.
#[derive(Debug)]
pub struct Model {
    pub(super) plan: json::Plan,
    takes: Vec<Take>,
    fields: HashMap<Box<str>, Vec<usize>>,
}

/// What a point takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Take {
    /// JSON pointer of the profile `json`.
    pub json: Option<String>,
    /// The value's name under all other profiles.
    pub field: Box<str>,
    /// Its unit; none where it is no number.
    pub unit: Option<Box<str>>,
    /// What stands for other values, by the text it is sent as.
    pub words: Vec<(Box<str>, Value)>,
}

impl Model {
    /// Point i takes `takes[i]`; `time` is where and how messages of the profile `json` tell theirs.
    ///
    /// # Errors
    /// The pointer that is none, or that points into the value of another one.
    pub fn new(takes: Vec<Take>, time: Option<(String, TimeForm)>) -> Result<Self, String> {
        let plan = json::Plan::of(takes.iter().map(|take| take.json.clone()), time)?;
        let mut fields: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (point, take) in takes.iter().enumerate() {
            fields.entry(take.field.clone()).or_default().push(point);
        }
        Ok(Self { plan, takes, fields })
    }

    /// The points that take a value of this name.
    pub(super) fn points(&self, field: &str) -> &[usize] {
        self.fields.get(field).map_or(&[], Vec::as_slice)
    }

    /// A value as a point takes it; `told` is the unit that came with it, none is believed to be the point's.
    ///
    /// # Errors
    /// [`Loss::Invalid`] when the unit does not convert to the point's.
    pub(super) fn value(&self, point: usize, value: Value, told: Option<&str>) -> Result<Value, Loss> {
        let Some(take) = self.takes.get(point) else { return Ok(value) };
        if !take.words.is_empty() {
            let word = take.words.iter().find(|(word, _)| is_written(&value, word));
            if let Some((_, means)) = word {
                return Ok(means.clone());
            }
        }
        match (&value, told, &take.unit) {
            (Value::Number(number), Some(told), Some(unit)) => {
                unit::convert(*number, told, unit).map(Value::Number).ok_or(Loss::Invalid)
            }
            _ => Ok(value),
        }
    }
}

fn is_written(value: &Value, word: &str) -> bool {
    match value {
        Value::Text(text) => **text == *word,
        Value::Flag(flag) => word == if *flag { "true" } else { "false" },
        Value::Number(number) => number.to_string() == word,
    }
}

/// Where a publish goes.
#[derive(Clone, Debug)]
pub enum Route {
    /// Into the spine: one message of one device, by pointers.
    Plain(Arc<Speaker>),
    /// Into the spine, as the mapping reads it.
    Mapped {
        /** How it is read. */
        mapping: Arc<Mapping>,
        /** The device that the topic names. */
        device: Option<Arc<Speaker>>,
    },
    /// Into the spine as a loss: the topic is one of readings, the device of this name is not configured.
    UnknownDevice(Arc<str>),
    /// No topic of readings.
    FanOut,
}

/// The routes of one connection.
pub struct Routes {
    settings: Arc<Settings>,
    remembered: Vec<(Box<str>, Route)>,
    oldest: usize,
}

impl Routes {
    /// By these settings.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings, remembered: Vec::new(), oldest: 0 }
    }

    /// Where a topic leads.
    pub fn find(&mut self, topic: &str) -> &Route {
        let at = match self.remembered.iter().position(|(known, _)| **known == *topic) {
            Some(at) => at,
            None => {
                let entry = (Box::from(topic), resolve(&self.settings.mappings, topic));
                if self.remembered.len() < REMEMBERED_MAX {
                    self.remembered.push(entry);
                    self.remembered.len() - 1
                } else {
                    let at = self.oldest;
                    self.oldest = (at + 1) % REMEMBERED_MAX;
                    self.remembered[at] = entry;
                    at
                }
            }
        };
        &self.remembered[at].1
    }
}

/// The first mapping that knows the device, or leaves it to the payload, wins.
fn resolve(mappings: &[Arc<Mapping>], topic: &str) -> Route {
    let mut route = Route::FanOut;
    for mapping in mappings {
        for topics in &mapping.topics {
            let name = match topics {
                Topics::Named(pattern) => pattern.device(topic),
                Topics::Filter(filter) => {
                    if topic::covers(filter, topic) && mapping.meaning.knows(topic) {
                        return Route::Mapped { mapping: Arc::clone(mapping), device: None };
                    }
                    None
                }
            };
            let Some(name) = name else { continue };
            match (mapping.speakers.get(name), &mapping.meaning) {
                (None, _) => route = Route::UnknownDevice(name.into()),
                (Some(speaker), Meaning::Json { each: None, .. }) => {
                    return Route::Plain(Arc::clone(speaker));
                }
                (Some(speaker), _) => {
                    let (mapping, device) = (Arc::clone(mapping), Some(Arc::clone(speaker)));
                    return Route::Mapped { mapping, device };
                }
            }
        }
    }
    route
}

impl Meaning {
    fn knows(&self, topic: &str) -> bool {
        match self {
            Meaning::Json { .. } => true,
            Meaning::Profile { profile, .. } => profile.knows(topic),
        }
    }
}
