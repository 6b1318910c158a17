//! Messages → deliveries: what a payload on a topic of readings holds. Sans-IO; MQTT and HTTP hand in the same way.
//!
//! Guarantees: a message on an ingest topic becomes samples, presence of devices, or a counted loss, never nothing in
//! silence, unless it only describes a device or is addressed to one ([`Added::described`]); only devices that the sender
//! may speak for are heard; a number keeps the digits it was sent with, also in another unit.
//!
//! What is counted, so that `received = stored + Σ lost` holds:
//!
//! | per message | |
//! |---|---|
//! | [`Loss::Malformed`] | no JSON, no protobuf, or not of the profile's shape |
//! | [`Loss::UnknownDevice`] | once for each device that is not configured, or for nobody |
//! | [`Loss::Forbidden`] | once for each device that the sender may not speak for |
//! | [`Loss::Unlisted`] | once for each known device of which nothing was taken or lost |
//!
//! | per value | |
//! |---|---|
//! | a sample | for each point that takes it |
//! | [`Loss::Invalid`] | not of a kind that a reading has, beyond a bound, failed on the device, or of a unit that does not convert |
//! | [`Loss::Refused`] | a field that the profile refuses at the door |
//!
//! A value that no point asks for is not read and not counted. Of a message without any device that is known and may be
//! spoken for no value is counted.

pub mod route;
pub mod states;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use route::{Mapping, Meaning, Model, Route, Routes, Speaker, Take, Topics, Whose};
pub use states::{Command, States};

use super::rights::Rights;
use crate::codec::json;
use sha2::{Digest, Sha256};

use crate::codec::profile::{Kind, Mapped, Message, Profile, ProfileError, READINGS_MAX, Reading};
use crate::ingest::Delivery;
use crate::model::{Cause, Loss, Presence, Sample, Stamp, Tally, Value};

/// A batch of this many samples is handed in before the next message is read.
pub const BATCH_SAMPLES_MAX: usize = 256;

/// A message as it came, by whatever road.
#[derive(Clone, Copy)]
pub struct Received<'m> {
    /// Where to.
    pub topic: &'m str,
    /// What.
    pub payload: &'m [u8],
    /// Whether it is an old state that is told again.
    pub retain: bool,
    /// When it came, milliseconds since 1970 UTC; relative times count from there.
    pub received_ms: i64,
}

/// What became of a message, besides what is in the batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// A device that is not configured, or nobody, is in it: something for on-boarding.
    pub unknown: bool,
    /// It tells nothing of a device's state: discovery, metadata, a command. Whoever subscribes to it is meant.
    pub described: bool,
    /// What its sender is to be asked.
    pub command: Option<Command>,
}

/// What has been read and not yet been handed in.
#[derive(Default)]
pub struct Batch {
    samples: Vec<Sample>,
    lost: Tally,
    presence: Vec<Presence>,
    malformed: Option<ProfileError>,
}

impl Batch {
    /// Takes in a message. One that is fanned out changes nothing.
    pub fn add(
        &mut self,
        route: &Route,
        message: &Received<'_>,
        rights: &Rights,
        states: &mut States,
    ) -> Added {
        match route {
            Route::Plain(speaker) => {
                if rights.may_speak_for(speaker.device.as_str()) {
                    self.plain(speaker, message.payload, message.retain, None);
                } else {
                    self.lost.add(Loss::Forbidden, 1);
                }
                Added::default()
            }
            Route::Mapped { mapping, device } => {
                let told = device.as_deref();
                let heard = Heard { mapping, rights, told, voices: BTreeMap::new() };
                match &mapping.meaning {
                    Meaning::Json { each, device } => self.json(each.as_deref(), device, heard, message),
                    Meaning::Profile { profile, zone_ms } => {
                        self.profile(profile, *zone_ms, heard, message, states)
                    }
                }
            }
            Route::UnknownDevice(_) => {
                self.lost.add(Loss::UnknownDevice, 1);
                Added { unknown: true, ..Added::default() }
            }
            Route::FanOut => Added { described: true, ..Added::default() },
        }
    }

    /// One message of one device, by the pointers of its template. `beside_ms` is its time where it tells none itself.
    fn plain(&mut self, speaker: &Speaker, payload: &[u8], retained: bool, beside_ms: Option<i64>) {
        let (first, model) = (self.samples.len(), &speaker.model);
        let mut invalid = 0;
        let extracted = model.plan.extract(payload, |slot, value| {
            let Some(series) = speaker.series.get(slot) else { return };
            match model.value(slot, value, None) {
                Ok(value) => self.samples.push(Sample {
                    message: None,
                    series: *series,
                    value,
                    device_ms: None,
                    clock_ms: None,
                    retained,
                    history: false,
                }),
                Err(_) => invalid += 1,
            }
        });
        match extracted {
            Ok(extracted) => {
                for sample in &mut self.samples[first..] {
                    sample.device_ms = extracted.device_ms.or(beside_ms);
                }
                invalid += extracted.invalid;
                self.lost.add(Loss::Invalid, invalid);
                let nothing = self.samples.len() == first && invalid == 0;
                self.lost.add(Loss::Unlisted, u64::from(nothing));
            }
            Err(error) => self.malformed(error.into()),
        }
    }

    fn malformed(&mut self, error: ProfileError) {
        self.lost.add(Loss::Malformed, 1);
        self.malformed = Some(error);
    }

    /// Several messages, or one that names its device itself, by the pointers of the devices' templates.
    fn json(
        &mut self,
        each: Option<&json::Many>,
        whose: &Whose,
        mut heard: Heard<'_>,
        message: &Received<'_>,
    ) -> Added {
        let one = || json::Item { key: None, payload: message.payload };
        let split = match each {
            Some(each) => each.split(message.payload),
            None => Ok(json::Items { items: vec![one()], device_ms: None, beyond: 0 }),
        };
        let split = match split {
            Ok(split) => split,
            Err(error) => {
                self.malformed(error.into());
                return Added::default();
            }
        };
        self.lost.add(Loss::Unlisted, u64::from(split.items.is_empty()));
        let (first, mut beyond) = (self.samples.len(), split.beyond);
        for item in split.items {
            let name = match whose {
                Whose::Topic => None,
                Whose::Key => item.key,
                Whose::Pointer(plan) => {
                    let mut name = None;
                    if let Err(error) = plan.extract(item.payload, |_, value| name = Some(name_of(value))) {
                        self.malformed(error.into());
                        continue;
                    }
                    name
                }
            };
            if self.samples.len() - first >= READINGS_MAX {
                beyond += 1;
            } else if let Voice::Known(speaker, _) = heard.voice(name.as_deref()) {
                self.plain(speaker, item.payload, message.retain, split.device_ms);
            }
        }
        self.lost.add(Loss::Invalid, beyond);
        let unknown = heard.unknown(&mut self.lost);
        self.lost.add(Loss::UnknownDevice, unknown);
        Added { unknown: unknown > 0, ..Added::default() }
    }

    /// By a convention.
    fn profile(
        &mut self,
        profile: &Profile,
        zone_ms: i64,
        mut heard: Heard<'_>,
        message: &Received<'_>,
        states: &mut States,
    ) -> Added {
        // A topic that the operator named and the convention does not know carries its main kind of message.
        let topic = Some(message.topic).filter(|topic| profile.knows(topic));
        let Received { payload, received_ms, .. } = *message;
        let understood = Message { topic, payload, received_ms, zone_ms };
        let (mapped, command) = match states.map(profile, &understood, heard.mapping, heard.rights) {
            Ok(mapped) => mapped,
            Err(error) => {
                self.malformed(error);
                return Added::default();
            }
        };
        let online = match mapped.kind {
            Kind::Data | Kind::Event => None,
            Kind::Birth => Some(true),
            Kind::Death => Some(false),
            Kind::Availability if mapped.online.is_some() => mapped.online,
            Kind::Availability | Kind::Discovery | Kind::Metadata | Kind::Command => {
                return Added { described: true, command, ..Added::default() };
            }
        };
        let device = mapped.device.as_deref();
        if let Some(online) = online {
            let dead = device.filter(|_| mapped.kind == Kind::Death);
            let node = dead.filter(|node| profile.sender(message.topic).as_deref() == Some(*node));
            self.present(device, online, node, &mut heard);
        }
        for reading in &mapped.readings {
            if let Voice::Known(speaker, taken) = heard.voice(reading.device.as_deref().or(device)) {
                *taken += self.reading(speaker, reading, &mapped, message.retain);
            }
        }
        if mapped.readings.is_empty() {
            heard.voice(device);
        }
        if heard.is_known() {
            let refused = mapped.refused.len() as u64;
            self.lost.add(Loss::Invalid, mapped.ignored);
            self.lost.add(Loss::Refused, refused);
            if mapped.ignored + refused == 0 && online.is_none() {
                self.lost.add(Loss::Unlisted, heard.silent());
            }
        }
        let unknown = heard.unknown(&mut self.lost);
        // That a device comes or goes which nobody knows is no loss.
        if online.is_none() || !mapped.readings.is_empty() {
            self.lost.add(Loss::UnknownDevice, unknown);
        }
        Added { unknown: unknown > 0, described: false, command }
    }

    /// One value, for all points that take it, by its name or by what it means. Returns how many those are.
    fn reading(&mut self, speaker: &Speaker, reading: &Reading, mapped: &Mapped, retained: bool) -> u64 {
        let model = &speaker.model;
        let means = reading.canonical.and_then(|canonical| canonical.split_once('='));
        let means = means.map(|(metric, flag)| (metric, Value::Flag(flag == "true")));
        let named = model.points(&reading.metric).iter().map(|point| (*point, &reading.value));
        let meant = means
            .iter()
            .flat_map(|(metric, value)| model.points(metric).iter().map(move |point| (*point, value)));
        let device_ms = reading.time_ms.or(mapped.device_ms);
        let mut taken = 0;
        for (point, value) in named.chain(meant) {
            let Some(series) = speaker.series.get(point) else { continue };
            taken += 1;
            match model.value(point, value.clone(), reading.unit.as_deref()) {
                Ok(value) => self.samples.push(Sample {
                    message: mapped.message_id.as_deref().map(numbered),
                    series: *series,
                    value,
                    device_ms,
                    clock_ms: None,
                    retained,
                    // What tells no time is of now.
                    history: mapped.history && device_ms.is_some(),
                }),
                Err(loss) => self.lost.add(loss, 1),
            }
        }
        taken
    }

    /// A device came or went, and with an edge node everything behind it goes.
    fn present(&mut self, device: Option<&str>, online: bool, node: Option<&str>, heard: &mut Heard<'_>) {
        if let Voice::Known(speaker, _) = heard.voice(device) {
            self.presence.push(told(speaker, online));
        }
        let Some(node) = node else { return };
        for (name, speaker) in &heard.mapping.speakers {
            let behind = &**name != node && states::is_of(name, node);
            if behind && heard.rights.may_speak_for(speaker.device.as_str()) {
                self.presence.push(told(speaker, online));
            }
        }
    }

    /// Takes in that a device came or went.
    pub fn tell(&mut self, presence: Presence) {
        self.presence.push(presence);
    }

    /// Whether there is nothing to hand in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.lost.total() == 0 && self.presence.is_empty()
    }

    /// Whether it has to be handed in before more is read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.samples.len().max(self.presence.len()) >= BATCH_SAMPLES_MAX
    }

    /// Why the newest [`Loss::Malformed`] in it is one; names the place, never the content.
    #[must_use]
    pub fn reason(&self) -> Option<&ProfileError> {
        self.malformed.as_ref()
    }

    /// All of it.
    pub fn take(&mut self, received: Stamp) -> Delivery {
        let Self { samples, lost, presence, malformed: _ } = std::mem::take(self);
        Delivery { received, samples, lost, presence, changes: vec![] }
    }
}

/// What a device, or its gateway, says of itself.
/// A message's own name as a number: the same name is the same number, in every process.
fn numbered(message: &str) -> i64 {
    let digest = Sha256::digest(message.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte))
}

fn told(speaker: &Speaker, online: bool) -> Presence {
    Presence { device: speaker.device.clone(), online, cause: Cause::Told }
}

/// The text of a value that names a device.
fn name_of(value: Value) -> String {
    match value {
        Value::Text(text) => text.into(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    }
}

/// The devices of one message.
struct Heard<'m> {
    mapping: &'m Mapping,
    rights: &'m Rights,
    /// The device that the topic names: then all of it is this one's.
    told: Option<&'m Speaker>,
    voices: BTreeMap<Box<str>, Voice<'m>>,
}

enum Voice<'m> {
    /// A device that may be spoken for, and how many of its values were taken.
    Known(&'m Speaker, u64),
    /// No device of the configuration, or nobody.
    Unknown,
    /// A device that may not be spoken for.
    Forbidden,
}

impl<'m> Heard<'m> {
    /// Whose voice a name is.
    fn voice(&mut self, name: Option<&str>) -> &mut Voice<'m> {
        let name = name.filter(|_| self.told.is_none()).unwrap_or_default();
        let speaker = self.told.or_else(|| self.mapping.speakers.get(name).map(Arc::as_ref));
        let rights = self.rights;
        self.voices.entry(name.into()).or_insert_with(|| match speaker {
            None => Voice::Unknown,
            Some(speaker) if rights.may_speak_for(speaker.device.as_str()) => Voice::Known(speaker, 0),
            Some(_) => Voice::Forbidden,
        })
    }

    /// How many devices nobody knows; those that may not be spoken for are counted.
    fn unknown(&self, lost: &mut Tally) -> u64 {
        let count =
            |of: fn(&Voice<'_>) -> bool| self.voices.values().filter(|voice| of(voice)).count() as u64;
        lost.add(Loss::Forbidden, count(|voice| matches!(voice, Voice::Forbidden)));
        count(|voice| matches!(voice, Voice::Unknown))
    }

    /// Whether there is a device that may be heard.
    fn is_known(&self) -> bool {
        self.voices.values().any(|voice| matches!(voice, Voice::Known(..)))
    }

    /// Of how many such devices nothing was taken.
    fn silent(&self) -> u64 {
        self.voices.values().filter(|voice| matches!(voice, Voice::Known(_, 0))).count() as u64
    }
}
