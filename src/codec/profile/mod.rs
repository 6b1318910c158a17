//! What a message of an MQTT device means: readings, a birth or a death, metadata. Mapping profiles.
//!
//! A profile is a table (`table/`): which topics there are, who the device is, where values and their time are, what is
//! metadata, what is refused. One walk (`walk`) reads all of them; what a table cannot say is a small function: `sparkplug`,
//! `senml`, `discovery`, `channel`. Profiles of pointers that somebody gives are [`Pointers`].
//!
//! Guarantees: no I/O, no clock, no panic on any bytes; a number keeps the digits it was sent with; every result is bounded
//! by [`READINGS_MAX`], [`VALUES_MAX`], [`LEVELS_MAX`] and [`Profile::payload_bytes_max`]; no error and no `Debug` shows a
//! value, and the value of a refused field goes nowhere. It does not judge: whether a device is known, a unit convertible or
//! a time plausible is decided elsewhere, and so is what a retained message may do.

mod channel;
mod discovery;
mod node;
mod pointers;
mod senml;
mod sparkplug;
mod table;
#[cfg(test)]
mod tests;
mod topic;
mod walk;

use std::borrow::Cow;
use std::fmt;

use super::json::{JsonError, Moment};
use crate::model::Value;

pub use discovery::Description;
pub use node::{LEVELS_MAX, VALUES_MAX};
pub use pointers::{Pointers, PointersError};
pub use sparkplug::NAMES_MAX;
pub use table::Profile;

/// Readings of one message; what is beyond is counted in [`Mapped::ignored`].
pub const READINGS_MAX: usize = 1_024;
/// Longest metric and longest device name, bytes; readings of a longer metric are ignored and counted.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest payload of most profiles, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Longest payload of the profiles whose devices send photographs along, bytes.
pub const PHOTO_PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// A publish, and what is needed to understand it.
#[derive(Clone, Copy)]
pub struct Message<'m> {
    /// Its topic; without one the profile's main kind of message is assumed, and no name is taken from the topic.
    pub topic: Option<&'m str>,
    /// Its payload.
    pub payload: &'m [u8],
    /// When it came, milliseconds since 1970 UTC; relative times count from there.
    pub received_ms: i64,
    /// Offset from UTC of times that tell none, milliseconds.
    pub zone_ms: i64,
}

/// What a profile remembers of one sender, see [`Profile::sender`]; bounded by [`NAMES_MAX`].
#[derive(Debug, Default)]
pub struct State(sparkplug::EdgeNode);

/// What kind of message it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Readings.
    #[default]
    Data,
    /// Nothing but events: something happened, nothing is measured.
    Event,
    /// Where and how other messages tell values.
    Discovery,
    /// Whether the device is there.
    Availability,
    /// The device or its node came, perhaps with first values.
    Birth,
    /// It went.
    Death,
    /// About the device, not from it: configuration, firmware, answers.
    Metadata,
    /// To the device.
    Command,
}

impl Kind {
    /// The lower-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Data => "data",
            Kind::Event => "event",
            Kind::Discovery => "discovery",
            Kind::Availability => "availability",
            Kind::Birth => "birth",
            Kind::Death => "death",
            Kind::Metadata => "metadata",
            Kind::Command => "command",
        }
    }
}

/// Where the time of a message is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeSource {
    /// It tells none that can be read: the receive time has to do.
    #[default]
    Receive,
    /// From the payload.
    Payload,
    /// From the payload, which tells no zone: [`Message::zone_ms`] was taken.
    PayloadLocal,
}

impl TimeSource {
    /// The lower-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TimeSource::Receive => "receive",
            TimeSource::Payload => "payload",
            TimeSource::PayloadLocal => "payload_local",
        }
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// As the convention names it: `ENERGY.Total`, `Inputs/A`.
    pub metric: Box<str>,
    /// With the digits it was sent with.
    pub value: Value,
    /// Where the convention fixes it or the message tells it; of numbers only.
    pub unit: Option<Cow<'static, str>>,
    /// Whose it is, where a message is about several.
    pub device: Option<Box<str>>,
    /// Its own time, milliseconds since 1970 UTC, unchecked; none where it has that of the message.
    pub time_ms: Option<i64>,
    /// Whether it tells that something happened, so that equal ones are not one.
    pub event: bool,
    /// What it means across conventions: `door_open=true`.
    pub canonical: Option<&'static str>,
    /// Whether a number was sent as a text.
    pub was_text: bool,
}

/// A field that is not taken from a device, by the name the profile has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub field: &'static str,
    /// Whether it numbers a person, so that a policy can allow a pseudonym; else it describes one and is only dropped.
    pub identifier: bool,
}

/// Bytes of a device that its own decoder has to read.
#[derive(Clone, PartialEq, Eq)]
pub struct RawPayload(pub Box<[u8]>);

impl fmt::Debug for RawPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawPayload({} bytes)", self.0.len())
    }
}

/// What a message means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapped {
    /// Its kind.
    pub kind: Kind,
    /// Whose message it is; none where the readings tell, or nobody does.
    pub device: Option<Box<str>>,
    /// In the order they were found.
    pub readings: Vec<Reading>,
    /// The device's time, milliseconds since 1970 UTC, unchecked.
    pub device_ms: Option<i64>,
    /// Nanoseconds after that, below a million.
    pub device_nanos: u32,
    /// Where the time is from; of the readings' own where the message has none.
    pub time_source: TimeSource,
    /// Whether a time was there that is none.
    pub time_unreadable: bool,
    /// Whether it tells of the past, so that an old time is no fault.
    pub history: bool,
    /// What tells it from all other messages of the profile, where it can be told from its repetition.
    pub message_id: Option<Box<str>>,
    /// The device's own number of it, without the device.
    pub serial: Option<Box<str>>,
    /// Fields that are refused at the door, each once.
    pub refused: Vec<Refused>,
    /// Values that are no readings: too many, too long, of no kind that a reading has, failed on the device.
    pub ignored: u64,
    /// Whether the device is there, where it is about that.
    pub online: Option<bool>,
    /// What a discovery message says.
    pub description: Option<Description>,
    /// The device's bytes where nothing decoded them, at most 1,024.
    pub raw: Option<RawPayload>,
    /// Whether messages are missing, so that the sender should introduce itself again (Sparkplug B rebirth).
    pub rebirth: bool,
}

impl Mapped {
    /// Takes a time for the message.
    fn stamp(&mut self, moment: Moment) {
        self.device_ms = Some(moment.ms);
        self.device_nanos = moment.nanos;
        self.see(moment);
    }

    /// Notes where a time is from.
    fn see(&mut self, moment: Moment) {
        self.time_source = if moment.local { TimeSource::PayloadLocal } else { TimeSource::Payload };
    }

    /// Takes the latest time of the readings, which tell theirs themselves in UTC; none where one of them tells none, because
    /// that one is of now.
    fn stamp_by_readings(&mut self) {
        let times = self.readings.iter().map(|reading| reading.time_ms);
        let latest = times.clone().max().flatten();
        if latest.is_some() {
            self.time_source = TimeSource::Payload;
            self.device_ms = latest.filter(|_| times.clone().all(|time| time.is_some()));
        }
    }

    /// Adds a reading within the bounds, or counts it.
    fn add(&mut self, reading: Reading) {
        let length = 1..=NAME_BYTES_MAX;
        let named = length.contains(&reading.metric.len())
            && reading.device.as_ref().is_none_or(|device| length.contains(&device.len()));
        if named && self.readings.len() < READINGS_MAX {
            self.readings.push(reading);
        } else {
            self.ignored += 1;
        }
    }
}

/// A message that means nothing under its profile. Names the place, never the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Longer than what the profile takes.
    #[error("payload of {bytes} bytes: the profile takes {max}")]
    TooLarge {
        /** Its length. */
        bytes: usize,
        /** The bound. */
        max: usize,
    },
    /// Not a topic of the profile.
    #[error("topic is none of the profile's: see docs/mqtt.md")]
    Topic,
    /// Not UTF-8, or not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// More than [`LEVELS_MAX`] levels.
    #[error("payload has more than {LEVELS_MAX} levels of arrays and objects")]
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    #[error("payload has more than {VALUES_MAX} values")]
    TooManyValues,
    /// Not a protobuf message of the profile's type.
    #[error("payload is not a sparkplug b message")]
    Protobuf,
    /// Asks for what this version does not know.
    #[error("payload needs a newer version of its format")]
    Version,
    /// Of the format, but not of the shape that the profile fixes.
    #[error("payload has not the profile's shape: {0}")]
    Shape(&'static str),
}

impl ProfileError {
    /// The reason in one word, in metrics and in what `map` prints.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            ProfileError::TooLarge { .. } => "too_large",
            ProfileError::Topic => "topic",
            ProfileError::Json(JsonError::NotUtf8 { .. }) => "not_utf8",
            ProfileError::Json(JsonError::Syntax { .. }) => "invalid_json",
            ProfileError::TooDeep => "too_deep",
            ProfileError::TooManyValues => "too_many_values",
            ProfileError::Protobuf => "invalid_protobuf",
            ProfileError::Version => "version",
            ProfileError::Shape(_) => "shape",
        }
    }
}
