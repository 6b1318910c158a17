//! Devices that nobody knows, as far as they can be told without keeping a word of what they say. Pure.
//!
//! Guarantees: at most [`DEVICES_MAX`] devices, the least recently heard makes room; of each at most [`TOPICS_MAX`] topics and
//! [`PATHS_MAX`] fields, so all of them stay below 4 MiB; no value that a device sent is kept. At most [`EXAMINED`] payloads a
//! second are read, and of a device that its topic names the first [`EXAMINED_MAX`]; the rest is only counted, so a flood costs
//! no more than that. A restart forgets everything: who is still there is heard again.

use super::described::Described;
use super::guess::{self, JSON, Seen};
use super::offer::{Offer, Why};
use super::shape::{PATH_BYTES_MAX, PATHS_MAX, Type};
use crate::codec::profile::{Message, Profile, State};
use crate::model::Stamp;
use crate::rules::rate::{Bucket, Rate};

/// Unknown devices.
pub const DEVICES_MAX: usize = 256;
/// Topics of one device.
pub const TOPICS_MAX: usize = 4;
/// Longest name of a device, bytes; one of a longer name is not taken in.
pub const NAME_BYTES_MAX: usize = 128;
/// Payloads that are read, a second and at once: a gateway describes all its devices when it comes.
pub const EXAMINED: Rate = Rate { per_second: 50, burst: 2000 };
/// Payloads of one device that are read, where its topic names it.
pub const EXAMINED_MAX: u32 = 32;

/// A field that a device has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As the convention names it; an RFC 6901 pointer for JSON of no convention.
    pub path: Box<str>,
    /// What stands there.
    pub kind: Type,
    /// UCUM unit, where the convention or the device tells it.
    pub unit: Option<&'static str>,
    /// What is measured, in Home Assistant's words, where discovery told it.
    pub class: Option<&'static str>,
    /// Whether it was seen; else it was only described.
    pub seen: bool,
}

/// An unknown device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Name of its sender's credentials; empty where there are none.
    pub user: Box<str>,
    /// As its convention calls it.
    pub name: Box<str>,
    /// The profile that reads it, or [`JSON`].
    pub profile: &'static str,
    /// Where it was heard.
    pub topics: Vec<Box<str>>,
    /// When it was heard first, milliseconds since 1970 UTC.
    pub first_ms: i64,
    /// When it was heard last, milliseconds since 1970 UTC.
    pub last_ms: i64,
    /// Its messages.
    pub messages: u64,
    /// Whether a mapping has its topic: then only the device is missing.
    pub mapped: bool,
    /// Whether it is there, where it said so.
    pub online: Option<bool>,
    /// In the order they were seen.
    pub fields: Vec<Field>,
    /// How often there was a field beyond a bound.
    pub fields_beyond: u64,
    /// Names of fields about people that are refused at the door, as the profile has them.
    pub refused: Vec<&'static str>,
    /// Length of the last payload that could not be read, bytes.
    pub unread_bytes: Option<usize>,
}

#[derive(Debug)]
struct Device {
    told: Pending,
    examined: u32,
    /// Counts up with every message.
    heard: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Quarantine {
    devices: Vec<Device>,
    described: Described,
    budget: Bucket,
    heard: u64,
    unexamined: u64,
    forgotten: u64,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self {
            devices: Vec::new(),
            described: Described::default(),
            budget: Bucket::new(EXAMINED),
            heard: 0,
            unexamined: 0,
            forgotten: 0,
        }
    }
}

/// All that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The most recently heard first.
    pub devices: Vec<Pending>,
    /// Devices that had to make room.
    pub forgotten: u64,
    /// Payloads that were only counted.
    pub unexamined: u64,
}

impl Quarantine {
    /// Takes a message in.
    pub fn receive(&mut self, offer: &Offer<'_>, now: Stamp) {
        self.heard += 1;
        let heard = self.heard;
        let mut senders = self.devices.iter_mut().filter(|device| device.sent(offer));
        let sender = senders.next().filter(|device| device.is_named_by(offer.topic));
        let settled = sender.as_ref().is_some_and(|device| device.examined >= EXAMINED_MAX);
        if settled || !self.budget.take(EXAMINED, now.mono_ms) {
            self.unexamined += 1;
            if let Some(device) = sender {
                device.hear(offer, heard, now);
            }
            return;
        }
        if guess::is_discovery(offer) {
            self.describe(offer, now);
            return;
        }
        for seen in guess::read(offer, now.wall_ms) {
            if !seen.name.is_empty() && seen.name.len() <= NAME_BYTES_MAX {
                self.take(offer, seen, now);
            }
        }
    }

    fn describe(&mut self, offer: &Offer<'_>, now: Stamp) {
        let profile = Profile::find("homeassistant_discovery").expect("a profile of the table");
        let message = Message {
            topic: Some(offer.topic),
            payload: offer.payload.unwrap_or_default(),
            received_ms: now.wall_ms,
            zone_ms: 0,
        };
        let mapped = profile.map(&message, &mut State::default());
        if let Some(told) = mapped.ok().and_then(|mapped| mapped.description) {
            self.described.take(offer.user, offer.topic, &told);
        }
    }

    fn take(&mut self, offer: &Offer<'_>, seen: Seen, now: Stamp) {
        let known = |device: &Device| *device.told.name == *seen.name && *device.told.user == *offer.user;
        let at = self.devices.iter().position(known).unwrap_or_else(|| {
            if self.devices.len() >= DEVICES_MAX {
                let oldest = self.devices.iter().enumerate().min_by_key(|(_, device)| device.heard);
                let oldest = oldest.map_or(0, |(at, _)| at);
                self.devices.swap_remove(oldest);
                self.forgotten += 1;
            }
            self.devices.push(Device::new(offer, &seen, now));
            self.devices.len() - 1
        });
        let device = &mut self.devices[at];
        device.hear(offer, self.heard, now);
        device.learn(offer, seen);
    }

    /// Forgets those that `known` says are none any more: after a change of the configuration.
    pub fn forget(&mut self, mut known: impl FnMut(&Pending) -> bool) {
        self.devices.retain(|device| !known(&device.told));
    }

    /// What is known, descriptions filled in.
    #[must_use]
    pub fn listing(&self) -> Listing {
        let mut devices: Vec<&Device> = self.devices.iter().collect();
        devices.sort_by_key(|device| std::cmp::Reverse(device.heard));
        Listing {
            devices: devices.into_iter().map(|device| self.filled_in(&device.told)).collect(),
            forgotten: self.forgotten,
            unexamined: self.unexamined,
        }
    }

    fn filled_in(&self, told: &Pending) -> Pending {
        let mut told = told.clone();
        let is_json = told.profile == JSON;
        for entity in told.topics.iter().flat_map(|topic| self.described.of(&told.user, topic)) {
            let path = entity.field(is_json);
            let room = told.fields.len() < PATHS_MAX && !path.is_empty() && path.len() <= PATH_BYTES_MAX;
            match told.fields.iter_mut().find(|field| *field.path == *path) {
                Some(field) => {
                    field.unit = field.unit.or(entity.unit);
                    field.class = field.class.or(entity.class);
                    if field.kind == Type::Null {
                        field.kind = entity.kind;
                    }
                }
                None if room => {
                    told.fields.push(Field {
                        path: path.into(),
                        kind: entity.kind,
                        unit: entity.unit,
                        class: entity.class,
                        seen: false,
                    });
                }
                None => {}
            }
        }
        told
    }
}

impl Device {
    fn new(offer: &Offer<'_>, seen: &Seen, now: Stamp) -> Self {
        let told = Pending {
            user: offer.user.into(),
            name: seen.name.as_str().into(),
            profile: seen.profile,
            topics: Vec::new(),
            first_ms: now.wall_ms,
            last_ms: now.wall_ms,
            messages: 0,
            mapped: false,
            online: None,
            fields: Vec::new(),
            fields_beyond: 0,
            refused: Vec::new(),
            unread_bytes: None,
        };
        Self { told, examined: 0, heard: 0 }
    }

    fn sent(&self, offer: &Offer<'_>) -> bool {
        *self.told.user == *offer.user && self.told.topics.iter().any(|topic| **topic == *offer.topic)
    }

    /// Whether nobody else can be meant by a message on this topic.
    fn is_named_by(&self, topic: &str) -> bool {
        self.told.name.split('/').all(|part| topic.split('/').any(|level| level == part))
    }

    fn hear(&mut self, offer: &Offer<'_>, heard: u64, now: Stamp) {
        self.heard = heard;
        self.told.messages += 1;
        self.told.last_ms = now.wall_ms;
        self.told.mapped |= offer.why == Why::UnknownDevice;
    }

    fn learn(&mut self, offer: &Offer<'_>, seen: Seen) {
        self.examined = self.examined.saturating_add(1);
        let told = &mut self.told;
        if told.topics.len() < TOPICS_MAX && !told.topics.iter().any(|known| **known == *offer.topic) {
            told.topics.push(offer.topic.into());
        }
        if told.profile == JSON && told.fields.is_empty() {
            told.profile = seen.profile;
        }
        told.online = seen.online.or(told.online);
        told.fields_beyond += seen.beyond;
        if seen.unread {
            told.unread_bytes = Some(offer.bytes);
        }
        for field in seen.refused {
            if !told.refused.contains(&field) {
                told.refused.push(field);
            }
        }
        if told.profile != seen.profile {
            return;
        }
        for (path, kind, unit) in seen.fields {
            let room = told.fields.len() < PATHS_MAX;
            match told.fields.iter_mut().find(|known| known.path == path) {
                Some(known) => {
                    known.kind = known.kind.with(kind);
                    known.unit = known.unit.or(unit);
                }
                None if room => {
                    told.fields.push(Field { path, kind, unit, class: None, seen: true });
                }
                None => told.fields_beyond += 1,
            }
        }
    }
}
