//! The words of the project: what a reading, a lane, a loss is.
//!
//! Guarantees: a name that exists has been checked (each newtype has one parser), and nothing here prints a value that
//! a device sent: `Debug` of a [`Value`] gives its kind and length. No clock, no I/O.

pub mod crowd;
mod digest;
mod lists;
mod order;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use self::digest::TrailDigest;
pub use self::lists::{Alteration, List, ListChange};
pub use self::order::OrderEnd;
pub use crowd::Crowd;

/// A name that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} {text:?}: {rule}")]
pub struct NameError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let allowed: fn(char) -> bool = $allowed;
                if text.is_empty() || text.len() > 128 || !text.chars().all(allowed) {
                    return Err(NameError { what: $what, text: text.chars().take(64).collect(), rule: $rule });
                }
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A device, as the operator named it: letters of any script, digits, `-`, `_`, `.`, `:`.
    DeviceId,
    "device id",
    "1 to 128 bytes of letters, digits, '-', '_', '.', ':'",
    |c| c.is_alphanumeric() || "-_.:".contains(c)
);
name!(
    /// What is measured: `temperature`, `door_open`, `energy.forward`.
    Metric,
    "metric",
    "1 to 128 bytes of a-z, 0-9, '_', '.'",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c)
);
name!(
    /// A line of one of the lists, a rule, an alarm, an aggregate: `S-003`.
    LineId,
    "id",
    "1 to 128 bytes of letters, digits, '-', '_', '.'",
    |c| c.is_alphanumeric() || "-_.".contains(c)
);
name!(
    /// Who pulls: the URI SAN of a certificate, `spiffe://brain.example/city/310115/brain/yiwangtongguan`.
    Consumer,
    "consumer",
    "1 to 128 printable ASCII bytes without spaces",
    |c| c.is_ascii_graphic()
);

name!(
    /// Where a device is, as a path from the large to the small: `B3/lobby`, `东门`.
    Place,
    "place",
    "1 to 128 bytes of letters, digits, '-', '_', '.', '/'",
    |c| c.is_alphanumeric() || "-_./".contains(c)
);

impl Place {
    /// The building of a device at this place: the first level of it, "-" without one.
    #[must_use]
    pub fn building(place: Option<&Place>) -> Self {
        let first = place.and_then(|place| place.as_str().split('/').find(|level| !level.is_empty()));
        first.and_then(|level| level.parse().ok()).unwrap_or_else(|| Self("-".into()))
    }
}

/// A (device, metric) pair, numbered by the registry of this process; stable across reloads, never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SeriesKey(pub u32);

impl SeriesKey {
    /// As an index into a table by series.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What was measured. Numbers are exact decimals.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A number with the digits the device sent.
    Number(Decimal),
    /// On or off.
    Flag(bool),
    /// A code, a name, a token.
    Text(Box<str>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(_) => f.write_str("Number"),
            Value::Flag(_) => f.write_str("Flag"),
            Value::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// How far a reading can be trusted. Its number is the same in the store and on the wire, for good.
///
/// A reading has one: of several the first of out of range, counter back, slope, skewed, clock, retained.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Quality {
    /// Nothing against it.
    Good = 0,
    /// The device's time was not plausible; the gateway's receive time stands in.
    Skewed = 1,
    /// The broker or the device repeated an old state, or told of the past.
    Retained = 2,
    /// A counter that only rises has fallen.
    CounterBack = 3,
    /// It changed faster than what it measures can.
    Slope = 4,
    /// Outside of the point's range, and kept.
    OutOfRange = 5,
    /// The device's own clock is wrong; the reading's time and value are not from there.
    Clock = 6,
}

impl Quality {
    /// All of them; each stands at its number.
    pub const ALL: [Quality; 7] = [
        Quality::Good,
        Quality::Skewed,
        Quality::Retained,
        Quality::CounterBack,
        Quality::Slope,
        Quality::OutOfRange,
        Quality::Clock,
    ];

    /// From its stored number; what is unknown counts as `Skewed`.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Quality::ALL.get(usize::from(code)).copied().unwrap_or(Quality::Skewed)
    }

    /// The name in metrics and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Quality::Good => "good",
            Quality::Skewed => "skewed",
            Quality::Retained => "retained",
            Quality::CounterBack => "counter_back",
            Quality::Slope => "slope",
            Quality::OutOfRange => "out_of_range",
            Quality::Clock => "clock",
        }
    }

    /// Whether the value can be what was there, whatever is said of its time: only then it counts in a window.
    #[must_use]
    pub fn is_believable(self) -> bool {
        !matches!(self, Quality::CounterBack | Quality::Slope | Quality::OutOfRange)
    }

    /// Whether an alarm looks at it. A broken sensor must not raise one; but a fire outruns every slope.
    #[must_use]
    pub fn may_alarm(self) -> bool {
        !matches!(self, Quality::Retained | Quality::CounterBack | Quality::OutOfRange)
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A moment by both clocks of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Stamp {
    /// Milliseconds since 1970 UTC by the wall clock, right or wrong.
    pub wall_ms: i64,
    /// Milliseconds of the monotonic clock since some start.
    pub mono_ms: u64,
}

/// Decoded, unscaled: what a device said, before anybody looked at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which point.
    pub series: SeriesKey,
    /// As sent.
    pub value: Value,
    /// The device's own time, milliseconds since 1970 UTC, unchecked.
    pub device_ms: Option<i64>,
    /// What the device's own clock shows, milliseconds since 1970 UTC, of one that is asked for what it measures now:
    /// compared with the receive time, never taken as the time of the reading.
    pub clock_ms: Option<i64>,
    /// What tells its message from all others of the device but its repetition, as a number made of the message's own; it
    /// stands in for a time that the device does not give.
    pub message: Option<i64>,
    /// Whether it came as a retained message.
    pub retained: bool,
    /// Whether it tells of the past, so that a time up to [`crate::normalise::HISTORY_MAX_MS`] ago is no fault; like a
    /// retained one it raises no alarm and does not say that the device is there.
    pub history: bool,
}

impl Sample {
    /// Whether it says nothing of now: no alarm is of it, and no device is there because of it.
    #[must_use]
    pub fn is_past(&self) -> bool {
        self.retained || self.history
    }
}

/// What told whether a device is there. Its number is the same in the store for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Cause {
    /// Its own connection came or went.
    Connection = 0,
    /// It or its gateway said so: a will, an availability topic, a birth, a death.
    Told = 1,
    /// It was not heard for as long as it may be silent.
    Silence = 2,
    /// A reading of now came from it.
    Heard = 3,
}

impl Cause {
    /// All of them; each stands at its number.
    pub const ALL: [Cause; 4] = [Cause::Connection, Cause::Told, Cause::Silence, Cause::Heard];

    /// From its stored number; none for one of a later build.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Cause::ALL.get(usize::from(code)).copied()
    }

    /// The name in logs and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Connection => "connection",
            Cause::Told => "told",
            Cause::Silence => "silence",
            Cause::Heard => "heard",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a shell learned of a device's being there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Which.
    pub device: DeviceId,
    /// Whether it is there.
    pub online: bool,
    /// What told it.
    pub cause: Cause,
}

/// A sample with unit and quality known.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which point.
    pub series: SeriesKey,
    /// Scaled; within range, or of quality [`Quality::OutOfRange`].
    pub value: Value,
    /// Event time, milliseconds since 1970 UTC: the device's where plausible, else `received_ms`.
    pub time_ms: i64,
    /// Gateway receive time, milliseconds since 1970 UTC.
    pub received_ms: i64,
    /// Whether `time_ms` is the device's.
    pub device_time: bool,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// The lanes that this build fills, most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Alarms raised and cleared.
    Alarm,
    /// What happens to the lists; every consumer of a line has it for that line.
    Event,
    /// How commands of the city ended.
    Result,
    /// Closed windows.
    Aggregate,
    /// Digests of the audit trail.
    Audit,
    /// Single readings where a share line permits them.
    Bulk,
}

impl Lane {
    /// All of them, most urgent first.
    pub const ALL: [Lane; 6] =
        [Lane::Alarm, Lane::Event, Lane::Result, Lane::Aggregate, Lane::Audit, Lane::Bulk];

    /// The lower-case name: of the table, in record ids, in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Alarm => "alarm",
            Lane::Event => "event",
            Lane::Result => "result",
            Lane::Aggregate => "aggregate",
            Lane::Audit => "audit",
            Lane::Bulk => "bulk",
        }
    }

    /// As an index into `[T; Lane::ALL.len()]`.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A position in a lane, from 1; 0 is before the first record. Never a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The next position.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The life of one store: 16 random bytes, new when it is created, restored or forked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub [u8; 16]);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// Why something is not there. Exhaustive: `received = stored + Σ lost`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Loss {
    /// The payload could not be decoded (counted once per message).
    Malformed,
    /// The topic or the message names a device that is not configured, or nobody (counted once per device and message).
    UnknownDevice,
    /// The message is of a device that its sender may not speak for (counted once per device and message).
    Forbidden,
    /// The point is not in the collection list, or not a point any more; or the message holds no point at all (counted
    /// once per message).
    Unlisted,
    /// The policy drops the field.
    Policy,
    /// The policy refuses the field's class at the door.
    Refused,
    /// A text that is kept as it is had a number of a person, a plate or an e-mail address in it.
    Personal,
    /// The value is not of the point's kind.
    Invalid,
    /// Outside of the point's range.
    OutOfRange,
    /// The same device, metric, device time and value as a recent one.
    Duplicate,
    /// The device sent more than it may.
    RateLimited,
    /// A sealed record that had to make room on disk.
    Budget,
    /// A sealed record whose checksum did not hold.
    Corrupt,
}

impl Loss {
    /// All reasons, in a fixed order.
    pub const ALL: [Loss; 13] = [
        Loss::Malformed,
        Loss::UnknownDevice,
        Loss::Forbidden,
        Loss::Unlisted,
        Loss::Policy,
        Loss::Refused,
        Loss::Personal,
        Loss::Invalid,
        Loss::OutOfRange,
        Loss::Duplicate,
        Loss::RateLimited,
        Loss::Budget,
        Loss::Corrupt,
    ];

    /// The name in the store, in metrics and in gaps.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Loss::Malformed => "malformed",
            Loss::UnknownDevice => "unknown_device",
            Loss::Forbidden => "forbidden",
            Loss::Unlisted => "unlisted",
            Loss::Policy => "policy",
            Loss::Refused => "refused",
            Loss::Personal => "personal",
            Loss::Invalid => "invalid",
            Loss::OutOfRange => "out_of_range",
            Loss::Duplicate => "duplicate",
            Loss::RateLimited => "rate_limited",
            Loss::Budget => "budget",
            Loss::Corrupt => "corrupt",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counts by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally([u64; Loss::ALL.len()]);

impl Tally {
    /// Adds `count` losses of one kind.
    pub fn add(&mut self, loss: Loss, count: u64) {
        self.0[loss as usize] += count;
    }

    /// Adds all of another tally.
    pub fn merge(&mut self, other: &Tally) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// How many of one kind.
    #[must_use]
    pub fn get(&self, loss: Loss) -> u64 {
        self.0[loss as usize]
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The kinds that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        Loss::ALL.into_iter().map(|loss| (loss, self.get(loss))).filter(|(_, count)| *count > 0)
    }
}

/// How bad an alarm is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    Minor,
    /// Look at it now.
    Major,
    /// Life or much property.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Severity; 4] = [Severity::Info, Severity::Minor, Severity::Major, Severity::Critical];

    /// The name in the configuration, in the store and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Minor => "minor",
            Severity::Major => "major",
            Severity::Critical => "critical",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Severity::ALL.into_iter().find(|severity| severity.as_str() == name)
    }
}

/// Where an incident is in its life. The name is the same in the store and on the wire, for good.
///
/// ```text
///  pre-alarm ──► raised ──► confirmed ──► dispatched ──► handled ──► closed
///                  ▲ every step may be left out, none is taken back    ▲
///  suppressed ─────┴───────────────────────────────────────────────────┘
/// ```
///
/// What would be raised while something says not now (an inhibition, maintenance, a cool-down) is suppressed, and raised
/// when that ends and it still holds. What is raised stays so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// It begins to look like one, or one sensor alone says so.
    PreAlarm,
    /// It is one, and nobody has answered yet.
    Raised,
    /// Somebody has: the first one wins.
    Confirmed,
    /// Somebody is on the way.
    Dispatched,
    /// The work is done.
    Handled,
    /// Over, for good.
    Closed,
    /// It would be raised, but something says not now.
    Suppressed,
}

impl Life {
    /// All of them.
    pub const ALL: [Life; 7] = [
        Life::PreAlarm,
        Life::Raised,
        Life::Confirmed,
        Life::Dispatched,
        Life::Handled,
        Life::Closed,
        Life::Suppressed,
    ];

    /// The name in the store, on the wire and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Life::PreAlarm => "pre_alarm",
            Life::Raised => "raised",
            Life::Confirmed => "confirmed",
            Life::Dispatched => "dispatched",
            Life::Handled => "handled",
            Life::Closed => "closed",
            Life::Suppressed => "suppressed",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Life::ALL.into_iter().find(|life| life.as_str() == name)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened to an incident. The name is the same in the store and on the wire, for good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It began as a pre-alarm.
    PreAlarm,
    /// It is an alarm now.
    Raised,
    /// It would have been raised.
    Suppressed,
    /// What raised it holds no more; it is open until somebody closes it.
    Cleared,
    /// What raised it holds again, before it was closed.
    Returned,
    /// Nobody answered in time: others are told.
    Escalated,
    /// Somebody has seen it.
    Confirmed,
    /// Somebody was sent.
    Dispatched,
    /// The work is done.
    Handled,
    /// It is over.
    Closed,
    /// Somebody said something about it.
    Noted,
}

impl Step {
    /// All of them.
    pub const ALL: [Step; 11] = [
        Step::PreAlarm,
        Step::Raised,
        Step::Suppressed,
        Step::Cleared,
        Step::Returned,
        Step::Escalated,
        Step::Confirmed,
        Step::Dispatched,
        Step::Handled,
        Step::Closed,
        Step::Noted,
    ];

    /// The name in the store, on the wire and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Step::PreAlarm => "pre_alarm",
            Step::Raised => "raised",
            Step::Suppressed => "suppressed",
            Step::Cleared => "cleared",
            Step::Returned => "returned",
            Step::Escalated => "escalated",
            Step::Confirmed => "confirmed",
            Step::Dispatched => "dispatched",
            Step::Handled => "handled",
            Step::Closed => "closed",
            Step::Noted => "noted",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Step::ALL.into_iter().find(|step| step.as_str() == name)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The number of an incident: dense, from 1, for the life of a store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct IncidentId(pub u64);

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who did something to an incident.
#[derive(Clone, PartialEq, Eq)]
pub enum Actor {
    /// The gateway, by its rules.
    Gateway,
    /// Somebody of the compound, as the local socket was told.
    Person(Box<str>),
    /// A consumer of the share list.
    Consumer(Consumer),
}

impl Actor {
    /// What kind: all that leaves the compound of a person.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Actor::Gateway => "gateway",
            Actor::Person(_) => "person",
            Actor::Consumer(_) => "consumer",
        }
    }

    /// The same, without the name of a person.
    #[must_use]
    pub fn nameless(&self) -> Self {
        match self {
            Actor::Person(_) => Actor::Person("".into()),
            other => other.clone(),
        }
    }

    /// Its name; empty for the gateway.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Actor::Gateway => "",
            Actor::Person(name) => name,
            Actor::Consumer(consumer) => consumer.as_str(),
        }
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// A change in the life of an incident: an alarm of one device, from its first sign to its end. Its `Debug` shows nothing
/// of what a person wrote.
#[derive(Clone, PartialEq)]
pub struct Event {
    /// Of which incident.
    pub incident: IncidentId,
    /// The alarm's id in the configuration.
    pub alarm: LineId,
    /// What happened.
    pub step: Step,
    /// Where that leaves it.
    pub life: Life,
    /// Whether what raised it still holds.
    pub active: bool,
    /// How bad.
    pub severity: Severity,
    /// The device it is about; none where it may not be told.
    pub device: Option<DeviceId>,
    /// Where the device is; none where that is not known or may not be told.
    pub place: Option<Place>,
    /// The template of the device.
    pub device_class: String,
    /// The metric that the alarm is of.
    pub metric: Metric,
    /// Its value at the change; none when that is not known.
    pub value: Option<Value>,
    /// Unit of the value.
    pub unit: String,
    /// Who did it.
    pub by: Actor,
    /// Why, in words; what a person wrote stays in the compound.
    pub reason: Box<str>,
    /// When, milliseconds since 1970 UTC: event time of what a reading did, the gateway's time of everything else.
    pub at_ms: i64,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("incident", &self.incident)
            .field("alarm", &self.alarm)
            .field("device", &self.device)
            .field("step", &self.step)
            .field("life", &self.life)
            .field("active", &self.active)
            .field("value", &self.value)
            .field("by", &self.by)
            .field("at_ms", &self.at_ms)
            .finish_non_exhaustive()
    }
}

/// One cell of a closed window: `[start_ms, end_ms)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollup {
    /// The metric.
    pub metric: Metric,
    /// Its unit.
    pub unit: String,
    /// The device; none when the cell covers several of them.
    pub device: Option<DeviceId>,
    /// The building; none when the cell is of one device, or covers all buildings.
    pub place: Option<Place>,
    /// Who is behind it, where that has to be known.
    pub crowd: Option<Crowd>,
    /// Whether readings that cannot be believed, or came too far out of order, are not in its figures, or one of them
    /// only says "at least".
    pub partial: bool,
    /// What noise its figures have; empty for none.
    pub noise: Box<str>,
    /// What its aggregate tells, in the order of its statistics; what is not known is not there.
    pub figures: Vec<Figure>,
}

/// One number of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is: `mean`, `p95`; of readings that cannot be believed and are in no other figure, `left_out`.
    pub statistic: Box<str>,
    /// Of a histogram: it counts readings up to this, inclusive; `+Inf` for all of them.
    pub le: Option<Box<str>>,
    /// How much.
    pub amount: Amount,
}

/// How much, and of what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Readings or values.
    Count(u64),
    /// In the metric's unit, exact.
    Exact(Decimal),
    /// In the metric's unit, never exact.
    Near(f64),
    /// Of a hundred, to two places.
    Percent(Decimal),
    /// Held back.
    Withheld(Withheld),
}

/// Why a number is held back, as far as that may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// It is about too few, or would help to calculate what is.
    Protected,
    /// The budget of its period is spent.
    Budget,
    /// The window was open when its protection changed.
    Policy,
}

impl Withheld {
    /// Its word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Withheld::Protected => "protected",
            Withheld::Budget => "budget",
            Withheld::Policy => "policy",
        }
    }
}

/// All cells of one closed window of one aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedWindow {
    /// The aggregate's id in the configuration.
    pub aggregate: LineId,
    /// Milliseconds since 1970 UTC, inclusive.
    pub start_ms: i64,
    /// Milliseconds since 1970 UTC, exclusive.
    pub end_ms: i64,
    /// In the order of (metric, device, building).
    pub cells: Vec<Rollup>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_once() {
        for (text, good) in
            [("door-1", true), ("门禁_1", true), ("", false), ("a/b", false), ("a+b", false), ("a b", false)]
        {
            assert_eq!(text.parse::<DeviceId>().is_ok(), good, "{text:?}");
        }
        assert!("Temperature".parse::<Metric>().is_err());
        assert!("x".repeat(129).parse::<LineId>().is_err());
    }

    #[test]
    fn a_value_never_prints_itself() {
        let shown = format!(
            "{:?} {:?}",
            Value::Text("13800138000".into()),
            Value::Number(Decimal::from(13_800_138_000_i64))
        );
        assert_eq!(shown, "Text(11 bytes) Number");
    }

    #[test]
    fn the_order_of_losses_is_their_index() {
        for (index, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss as usize, index, "{loss}");
        }
    }

    #[test]
    fn causes_keep_their_numbers() {
        for (code, name) in [(0, "connection"), (1, "told"), (2, "silence"), (3, "heard")] {
            let cause = Cause::from_code(code).expect("known");
            assert_eq!((cause as u8, cause.as_str()), (code, name));
        }
        assert_eq!(Cause::from_code(4), None, "of a later build");
    }

    #[test]
    fn qualities_keep_their_numbers_and_say_what_they_are_good_for() {
        for (code, name, believable, may_alarm) in [
            (0, "good", true, true),
            (1, "skewed", true, true),
            (2, "retained", true, false),
            (3, "counter_back", false, false),
            (4, "slope", false, true),
            (5, "out_of_range", false, false),
            (6, "clock", true, true),
        ] {
            let quality = Quality::from_code(code);
            assert_eq!((quality as u8, quality.as_str()), (code, name));
            assert_eq!((quality.is_believable(), quality.may_alarm()), (believable, may_alarm), "{quality}");
        }
        assert_eq!(Quality::from_code(7), Quality::Skewed, "of a later build");
    }
}
