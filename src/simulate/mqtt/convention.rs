//! What devices of a convention do on a connection: a table of small functions each, and who plays it. Sans-IO.

use super::said::Message;
use super::thing::Thing;
use super::{cloud, gate, home, industry, radio, shelly, sparkplug};

/// A convention that can be simulated, named as its mapping profile.
pub struct Convention {
    pub(super) name: &'static str,
    /// What its devices are called before their number.
    pub(super) noun: &'static str,
    /// The name of the one connection that speaks for all devices; none where each has its own.
    pub(super) bridge: Option<&'static str>,
    /// Who plays it: seed and number of devices.
    pub(super) cast: fn(&'static Convention, u64, u16) -> Vec<Box<dyn Speaker>>,
    /// That the connection of that name is there, or not; the latter is its will.
    pub(super) presence: fn(&str, bool) -> Option<Message>,
    /// What its devices say first.
    pub(super) hello: Say,
    /// What they say once a period.
    pub(super) say: Say,
    /// What they say last.
    pub(super) goodbye: Say,
}

/// What things say at a time, milliseconds since 1970 UTC.
type Say = fn(&mut [Thing], i64) -> Vec<Message>;

/// What tables leave out.
pub(super) const CONVENTION: Convention = Convention {
    name: "",
    noun: "device",
    bridge: None,
    cast: plain,
    presence: |_, _| None,
    hello: |_, _| vec![],
    say: |_, _| vec![],
    goodbye: |_, _| vec![],
};

static CONVENTIONS: &[Convention] = &[
    home::ZIGBEE2MQTT,
    home::HOMEASSISTANT_DISCOVERY,
    home::TASMOTA,
    shelly::SHELLY_GEN1,
    shelly::SHELLY_GEN2,
    radio::CHIRPSTACK_V4,
    radio::LORAWAN_DEVICE_PAYLOAD,
    radio::SENML,
    sparkplug::SPARKPLUG_B,
    industry::NEURON_VALUES,
    industry::NEURON_TAGS,
    cloud::THINGSBOARD_GATEWAY,
    cloud::ALIYUN_ALINK,
    cloud::HUAWEI_IOTDA,
    gate::FACE_TERMINAL,
    gate::HIKVISION_ISAPI,
];

impl Convention {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Convention] {
        CONVENTIONS
    }

    /// By its name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Convention> {
        CONVENTIONS.iter().find(|convention| convention.name == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Who speaks for so many devices, one for each connection; the same seed says the same things.
    #[must_use]
    pub fn speakers(&'static self, seed: u64, devices: u16) -> Vec<Box<dyn Speaker>> {
        (self.cast)(self, seed, devices)
    }
}

/// One connection's side of a convention. Times are milliseconds since 1970 UTC.
pub trait Speaker: Send {
    /// The name of the connection.
    fn name(&self) -> &str;
    /// What the server says in its place when it vanishes; asked for before each connection is made.
    fn will(&mut self, now_ms: i64) -> Option<Message>;
    /// What it wants to hear.
    fn filters(&self) -> Vec<String> {
        vec![]
    }
    /// What it says first on a new connection.
    fn hello(&mut self, now_ms: i64) -> Vec<Message>;
    /// What it says once a period.
    fn say(&mut self, now_ms: i64) -> Vec<Message>;
    /// What it says to a message of the server; none when it does not understand it.
    fn hear(&mut self, _topic: &str, _payload: &[u8], _now_ms: i64) -> Option<Vec<Message>> {
        None
    }
    /// What it says last.
    fn goodbye(&mut self, now_ms: i64) -> Vec<Message>;
}

/// The things of a convention.
pub(super) fn things(noun: &str, seed: u64, devices: u16) -> Vec<Thing> {
    (0..usize::from(devices)).map(|index| Thing::new(noun, index, seed)).collect()
}

fn plain(convention: &'static Convention, seed: u64, devices: u16) -> Vec<Box<dyn Speaker>> {
    let things = things(convention.noun, seed, devices);
    let speaker = |name, things| -> Box<dyn Speaker> { Box::new(Plain { convention, name, things }) };
    match convention.bridge {
        Some(bridge) => vec![speaker(bridge.to_owned(), things)],
        None => things.into_iter().map(|thing| speaker(thing.name.clone(), vec![thing])).collect(),
    }
}

/// Plays the table of a convention.
struct Plain {
    convention: &'static Convention,
    name: String,
    things: Vec<Thing>,
}

impl Speaker for Plain {
    fn name(&self) -> &str {
        &self.name
    }

    fn will(&mut self, _: i64) -> Option<Message> {
        (self.convention.presence)(&self.name, false)
    }

    fn hello(&mut self, now_ms: i64) -> Vec<Message> {
        let here = (self.convention.presence)(&self.name, true);
        (self.convention.hello)(&mut self.things, now_ms).into_iter().chain(here).collect()
    }

    fn say(&mut self, now_ms: i64) -> Vec<Message> {
        for thing in &mut self.things {
            thing.round += 1;
        }
        (self.convention.say)(&mut self.things, now_ms)
    }

    fn goodbye(&mut self, now_ms: i64) -> Vec<Message> {
        let gone = (self.convention.presence)(&self.name, false);
        (self.convention.goodbye)(&mut self.things, now_ms).into_iter().chain(gone).collect()
    }
}

/// Each thing's own messages, one thing after the other.
pub(super) fn each(
    things: &mut [Thing],
    now_ms: i64,
    say: fn(&mut Thing, i64) -> Vec<Message>,
) -> Vec<Message> {
    things.iter_mut().flat_map(|thing| say(thing, now_ms)).collect()
}
