//! Profiles as data: the words that the tables are written in, and the list of all tables.

mod cloud;
mod gate;
mod home;
mod industry;
mod lora;

use std::fmt;

use super::topic::{Captures, capture, fits};
use super::{Kind, Mapped, Message, PAYLOAD_BYTES_MAX, ProfileError, State, sparkplug};
use crate::codec::json::Epoch;

/// A convention of topics and payloads.
pub struct Profile {
    pub(super) name: &'static str,
    /// Topic filters of all that is read; none where the convention fixes no topic.
    pub(super) filters: &'static [&'static str],
    pub(super) bytes_max: usize,
    /// The first whose topic matches is taken; without a topic the main one.
    pub(super) routes: &'static [Route],
    /// Index of the main route.
    pub(super) main: usize,
    /// Members that are never readings, by name or by metric, with everything below them.
    pub(super) metadata: &'static [&'static str],
    /// Metrics whose every reading is an event.
    pub(super) events: &'static [&'static str],
    /// Units, the first that fits.
    pub(super) units: &'static [UnitOf],
    /// Texts that are flags: (metric, text, flag).
    pub(super) words: &'static [(&'static str, &'static str, bool)],
    /// What a value means across conventions: (metric, value as text, meaning).
    pub(super) meanings: &'static [(&'static str, &'static str, &'static str)],
    /// Fields that are refused wherever they stand, with everything below them; an identifier or not.
    pub(super) refused: &'static [(&'static str, bool)],
}

/// One kind of message.
pub(super) struct Route {
    pub(super) topic: &'static str,
    pub(super) kind: Kind,
    pub(super) format: Format,
    /// Templates of the device's name, the first that can be filled in.
    pub(super) device: &'static [&'static str],
    /// Pointers to the message's time, the first that is there.
    pub(super) times: &'static [(&'static str, Epoch)],
    pub(super) values: &'static [Values],
    /// Pointers to the number of the message, the first that is there.
    pub(super) id: &'static [&'static str],
    /// Whether that number is only the device's own.
    pub(super) id_of_device: bool,
    /// A member whose members are values that failed on the device.
    pub(super) failed: &'static str,
}

/// How a payload is written.
#[derive(Clone, Copy)]
pub(super) enum Format {
    /// JSON.
    Json,
    /// A bare text.
    Bare,
    /// JSON or a bare text.
    Either,
    /// As its own function reads it.
    Own(fn(&Message<'_>, &Captures<'_>, &mut State, &mut Mapped) -> Result<(), ProfileError>),
    /// Not read at all.
    Unread,
}

/// Where values are.
pub(super) enum Values {
    /// The payload is one; its metric from a template, with `.` for `/`.
    Scalar(&'static str),
    /// The members of an object, the first of the pointers that is there. Below them too when `nested`, joined with `.`;
    /// an object of a `value` and perhaps a `time` is one value when `boxed`.
    Members { at: &'static [&'static str], prefix: &'static str, nested: bool, boxed: bool },
    /// Those that pointers name: (metric, pointer).
    Named(&'static [(&'static str, &'static str)]),
    /// An array of objects that have a name and a value in the members `name` and `value`.
    Pairs { at: &'static str },
    /// A text that is composed; of the first template that can be filled in. (metric, template), both templates.
    Composed(&'static [(&'static str, &'static str)]),
    /// Members of that item of an array whose member `by` is greatest.
    Greatest { at: &'static str, by: &'static str, take: &'static [&'static str] },
    /// A member whose text tells whether the device is there; the empty pointer is the payload.
    Online(&'static str),
    /// Base64 of the device's bytes, unless the member `unless` is there.
    Bytes { at: &'static str, unless: &'static str },
    /// For each item of an array, or each member of an object, the same again.
    Each(&'static Each),
}

/// What is the same for each of several.
pub(super) struct Each {
    pub(super) at: &'static str,
    /// Whether the members of an object are meant, with their names as `{key}`; else the items of an array.
    pub(super) keyed: bool,
    /// Template of the device's name; empty where it is that of the message.
    pub(super) device: &'static str,
    /// Template that goes before the metrics.
    pub(super) prefix: &'static str,
    /// Pointer to the time.
    pub(super) time: Option<(&'static str, Epoch)>,
    pub(super) event: bool,
    pub(super) values: &'static [Values],
}

/// The unit of metrics that fit a pattern; the name or its last part.
pub(super) struct UnitOf {
    pub(super) metric: &'static str,
    pub(super) unit: &'static str,
    /// Only if the payload has what this pointer names, and has it as this text if there is one: `/battery`, `/TempUnit=F`.
    pub(super) given: &'static str,
}

const fn unit(metric: &'static str, unit: &'static str) -> UnitOf {
    UnitOf { metric, unit, given: "" }
}

/// What tables leave out.
const PROFILE: Profile = Profile {
    name: "",
    filters: &[],
    bytes_max: PAYLOAD_BYTES_MAX,
    routes: &[],
    main: 0,
    metadata: &[],
    events: &[],
    units: &[],
    words: &[],
    meanings: &[],
    refused: &[],
};

const ROUTE: Route = Route {
    topic: "#",
    kind: Kind::Data,
    format: Format::Json,
    device: &[],
    times: &[],
    values: &[],
    id: &[],
    id_of_device: false,
    failed: "",
};

const EACH: Each =
    Each { at: "", keyed: false, device: "", prefix: "", time: None, event: false, values: &[] };

const fn members(at: &'static [&'static str]) -> Values {
    Values::Members { at, prefix: "", nested: false, boxed: false }
}

const fn nested(at: &'static [&'static str]) -> Values {
    Values::Members { at, prefix: "", nested: true, boxed: false }
}

/// A route that is known and not read.
const fn unread(topic: &'static str, kind: Kind, device: &'static [&'static str]) -> Route {
    Route { topic, kind, format: Format::Unread, device, ..ROUTE }
}

/// What has a function of its own.
const fn own(
    topic: &'static str,
    kind: Kind,
    read: fn(&Message<'_>, &Captures<'_>, &mut State, &mut Mapped) -> Result<(), ProfileError>,
) -> Route {
    Route { topic, kind, format: Format::Own(read), ..ROUTE }
}

static PROFILES: &[Profile] = &[
    home::ZIGBEE2MQTT,
    home::HOMEASSISTANT_DISCOVERY,
    home::TASMOTA,
    home::SHELLY_GEN1,
    home::SHELLY_GEN2,
    lora::CHIRPSTACK_V4,
    lora::LORAWAN_DEVICE_PAYLOAD,
    lora::SENML,
    industry::SPARKPLUG_B,
    industry::NEURON_VALUES,
    industry::NEURON_TAGS,
    cloud::THINGSBOARD_GATEWAY,
    cloud::ALIYUN_ALINK,
    cloud::HUAWEI_IOTDA,
    gate::FACE_TERMINAL,
    gate::HIKVISION_ISAPI,
    gate::HIKVISION_ISAPI_TIME,
];

impl Profile {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Profile] {
        PROFILES
    }

    /// By its name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Profile> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Longest payload that it takes, bytes.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Topic filters of all that it reads; none where the convention fixes no topic.
    #[must_use]
    pub fn filters(&self) -> &'static [&'static str] {
        self.filters
    }

    /// Whether a topic is one of the convention's.
    #[must_use]
    pub fn knows(&self, topic: &str) -> bool {
        self.routes.iter().any(|route| capture(route.topic, topic).is_some())
    }

    /// The unit that the convention fixes for a value by its name, whatever else the message holds.
    #[must_use]
    pub fn unit(&self, metric: &str) -> Option<&'static str> {
        let last = metric.rsplit('.').next().unwrap_or(metric);
        let rule = self.units.iter().find(|rule| fits(rule.metric, metric) || fits(rule.metric, last))?;
        rule.given.is_empty().then_some(rule.unit)
    }

    /// Under which name the caller keeps the [`State`] of a topic's sender; none where nothing is remembered.
    #[must_use]
    pub fn sender(&self, topic: &str) -> Option<String> {
        (self.name == "sparkplug_b").then(|| sparkplug::sender(topic)).flatten()
    }

    /// Topic and payload that ask a sender to introduce itself again; none where no sender is asked.
    #[must_use]
    pub fn rebirth(&self, sender: &str, now_ms: i64) -> Option<(String, Vec<u8>)> {
        (self.name == "sparkplug_b").then(|| sparkplug::rebirth(sender, now_ms)).flatten()
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({})", self.name)
    }
}
