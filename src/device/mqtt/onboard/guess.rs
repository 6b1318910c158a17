//! A message of an unknown sender → which convention it follows, what it is called there, and which fields it has. Pure.
//!
//! Every profile's topics are tried; those whose topics may be any are taken only when the payload is what they say. What no
//! profile reads is JSON with a shape, or bytes with a length. Guarantees: of a payload come names (keys, and what the
//! convention calls device and field), types, known units and whether the device is there, nothing else; fields that a profile
//! refuses come by the profile's own name for them.

use super::offer::{Offer, Why};
use super::shape::{PATH_BYTES_MAX, PATHS_MAX, Shape, Type};
use super::{birth, shape, words};
use crate::codec::profile::{Kind, Mapped, Message, Profile, ProfileError, State};

/// What is JSON of no convention.
pub const JSON: &str = "json";

/// Profiles whose topics may be any, tried last.
const BY_PAYLOAD: [&str; 4] = ["senml", "neuron_values", "neuron_tags", "hikvision_isapi"];
/// Bytes of a radio device, tried when nothing else fits.
const BY_BYTES: &str = "lorawan_device_payload";
/// No devices of their own: metadata, and a fragment.
const NEVER: [&str; 2] = ["homeassistant_discovery", "hikvision_isapi_time"];
/// Last levels of a topic that name no device.
const LAST: [&str; 16] = [
    "up",
    "state",
    "status",
    "stat",
    "data",
    "telemetry",
    "tele",
    "event",
    "events",
    "report",
    "json",
    "sensor",
    "online",
    "availability",
    "lwt",
    "attributes",
];

/// What a message says of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// As the convention calls it.
    pub(super) name: String,
    /// The convention, or [`JSON`].
    pub(super) profile: &'static str,
    /// Path or name, type, unit.
    pub(super) fields: Vec<(Box<str>, Type, Option<&'static str>)>,
    /// Fields beyond a bound.
    pub(super) beyond: u64,
    /// Names of fields that are refused.
    pub(super) refused: Vec<&'static str>,
    /// Whether it is there, if it is about that.
    pub(super) online: Option<bool>,
    /// Whether the payload could not be read.
    pub(super) unread: bool,
}

/// What a message says of whom; nothing where it is about no device.
pub(super) fn read(offer: &Offer<'_>, now_ms: i64) -> Vec<Seen> {
    let message = Message {
        topic: Some(offer.topic),
        payload: offer.payload.unwrap_or_default(),
        received_ms: now_ms,
        zone_ms: 0,
    };
    let all = Profile::all().iter().filter(|profile| !NEVER.contains(&profile.name()));
    let (by_payload, by_topic): (Vec<_>, Vec<_>) = all
        .filter(|profile| profile.name() != BY_BYTES)
        .partition(|profile| BY_PAYLOAD.contains(&profile.name()));
    for profile in by_topic.into_iter().filter(|profile| is_likely(profile, offer.topic)) {
        match profile.map(&message, &mut State::default()) {
            Err(ProfileError::Topic) => {}
            Ok(mapped) => return of_profile(profile, offer, mapped),
            Err(_) => return vec![unread(profile.name(), offer)],
        }
    }
    let mapped = |profile: &'static Profile| {
        let mapped = profile.map(&message, &mut State::default()).ok()?;
        let named = mapped.device.is_some() || mapped.readings.iter().all(|reading| reading.device.is_some());
        (named && !mapped.readings.is_empty()).then(|| of_profile(profile, offer, mapped))
    };
    if let Some(seen) = by_payload.into_iter().find_map(mapped) {
        return seen;
    }
    if let Some(shape) = Shape::of(message.payload) {
        let fields = shape.paths.into_iter().map(|(path, seen)| (path, seen, None)).collect();
        let name = by_topic_level(offer, 0);
        return vec![Seen { name, profile: JSON, fields, beyond: shape.beyond, ..Seen::default() }];
    }
    let channels = Profile::find(BY_BYTES).filter(|_| !is_printable(message.payload));
    match channels.and_then(|profile| Some((profile, profile.map(&message, &mut State::default()).ok()?))) {
        Some((profile, mapped)) if mapped.ignored == 0 && !mapped.readings.is_empty() => {
            of_profile(profile, offer, mapped)
        }
        _ => vec![unread(JSON, offer)],
    }
}

/// Whether a topic that fits is its own: `…/status/…` and `…/online` are also what anybody calls them.
fn is_likely(profile: &Profile, topic: &str) -> bool {
    profile.name() != "shelly_gen2" || topic.contains("shelly") || topic.ends_with("/events/rpc")
}

fn is_printable(payload: &[u8]) -> bool {
    std::str::from_utf8(payload).is_ok_and(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()))
}

fn unread(profile: &'static str, offer: &Offer<'_>) -> Seen {
    Seen {
        name: by_topic_level(offer, usize::from(profile != JSON)),
        profile,
        unread: true,
        ..Seen::default()
    }
}

/// By device, in the order of their first readings.
fn of_profile(profile: &'static Profile, offer: &Offer<'_>, mapped: Mapped) -> Vec<Seen> {
    if matches!(mapped.kind, Kind::Command | Kind::Metadata | Kind::Discovery) {
        return Vec::new();
    }
    let whole = mapped.device.map_or_else(|| by_topic_level(offer, 0), String::from);
    let mut all: Vec<Seen> = Vec::new();
    let about = |name: &str, all: &mut Vec<Seen>| match all.iter().position(|seen| seen.name == name) {
        Some(at) => at,
        None => {
            all.push(Seen { name: name.to_owned(), profile: profile.name(), ..Seen::default() });
            all.len() - 1
        }
    };
    for reading in &mapped.readings {
        let at = about(reading.device.as_deref().unwrap_or(&whole), &mut all);
        let unit = reading.unit.as_deref().and_then(words::unit);
        let seen = &mut all[at];
        let room = seen.fields.len() < PATHS_MAX
            && reading.metric.len() <= PATH_BYTES_MAX
            && !shape::is_value(&reading.metric);
        match seen.fields.iter_mut().find(|(name, ..)| *name == reading.metric) {
            Some((_, before, _)) => *before = before.with(Type::of(&reading.value)),
            None if room => {
                seen.fields.push((reading.metric.clone(), Type::of(&reading.value), unit));
            }
            None => seen.beyond += 1,
        }
    }
    if all.is_empty() {
        about(&whole, &mut all);
    }
    let online = mapped.online.or(match mapped.kind {
        Kind::Birth => Some(true),
        Kind::Death => Some(false),
        _ => None,
    });
    let units = match (mapped.kind, offer.payload) {
        (Kind::Birth, Some(payload)) if profile.name() == "sparkplug_b" => birth::units(payload, PATHS_MAX),
        _ => Vec::new(),
    };
    for seen in &mut all {
        seen.online = online;
        seen.refused = mapped.refused.iter().map(|refused| refused.field).collect();
        for (name, _, unit) in &mut seen.fields {
            let told = units.iter().find(|(of, _)| **of == **name);
            *unit = unit.or(told.map(|(_, unit)| *unit));
        }
    }
    all
}

/// What a sender of no convention is called: what the front says, else a level of its topic, from the first one on that
/// is not the convention's.
fn by_topic_level(offer: &Offer<'_>, first: usize) -> String {
    if !offer.device.is_empty() {
        return offer.device.to_owned();
    }
    let levels: Vec<&str> = offer.topic.split('/').filter(|level| !level.is_empty()).collect();
    let before_last = || match levels.as_slice() {
        [.., name, last] if LAST.iter().any(|word| word.eq_ignore_ascii_case(last)) => Some(*name),
        [.., last] => Some(*last),
        [] => None,
    };
    let own = levels.iter().find(|level| **level == offer.user).copied();
    let numbered =
        || levels.iter().skip(first).rfind(|level| level.bytes().any(|byte| byte.is_ascii_digit())).copied();
    own.or_else(numbered).or_else(before_last).unwrap_or(offer.topic).to_owned()
}

/// Whether a message is only about other messages.
pub(super) fn is_discovery(offer: &Offer<'_>) -> bool {
    offer.why == Why::Discovery
        || (offer.topic.starts_with("homeassistant/") && offer.topic.ends_with("/config"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conventions_are_known_by_their_topics_and_payloads() {
        for (topic, payload, profile, name, fields) in [
            ("zigbee2mqtt/hall/door", r#"{"contact":true,"battery":9}"#, "zigbee2mqtt", "hall/door", 2),
            ("tele/plug/SENSOR", r#"{"ENERGY":{"Total":1.5}}"#, "tasmota", "plug", 1),
            ("shellies/s-1/relay/0/power", "3.5", "shelly_gen1", "s-1", 1),
            ("x/y", r#"[{"bn":"urn:dev-7:","n":"t","u":"Cel","v":21.5}]"#, "senml", "urn:dev-7", 1),
            ("x/y", r#"{"node":"n","group":"g","values":{"a":1}}"#, "neuron_values", "n/g", 1),
            ("spBv1.0/G/DDATA/N/D", r#"{"metrics":[{"name":"a","value":1}]}"#, "sparkplug_b", "G/N/D", 1),
            ("compound/door-9/up", r#"{"open":true,"card":"x"}"#, JSON, "door-9", 2),
            ("room/7/temp", "21.5", JSON, "7", 1),
            ("kitchen/status", r#"{"a":[]}"#, JSON, "kitchen", 1),
            ("kitchen/status/door", r#"{"open":true}"#, JSON, "door", 1),
            ("shellyplus1-7/status/switch:0", r#"{"apower":1.5}"#, "shelly_gen2", "shellyplus1-7", 1),
            ("kitchen", "ON", JSON, "kitchen", 0),
            ("x/7", r#"[1,2]"#, JSON, "7", 2),
            ("", "{}", JSON, "", 1),
            ("zigbee2mqtt/door", "{", "zigbee2mqtt", "door", 0),
            ("v1/gateway/telemetry", r#"{"A":[{"ts":1,"values":{"t":1}}]}"#, "thingsboard_gateway", "A", 1),
        ] {
            let seen = read(&Offer::new(Why::NoMapping, "", "", topic, payload.as_bytes()), 0);
            assert_eq!(seen.len(), 1, "{topic}");
            let got = (seen[0].profile, seen[0].name.as_str(), seen[0].fields.len());
            assert_eq!(got, (profile, name, fields), "{topic} {payload}");
        }
        for topic in ["zigbee2mqtt/bridge/devices", "zigbee2mqtt/door/set", "cmnd/plug/POWER"] {
            assert_eq!(read(&Offer::new(Why::NoMapping, "", "", topic, b"{}"), 0), [], "{topic}");
        }
    }

    #[test]
    fn several_devices_of_a_message_are_several() {
        let payload = br#"{"A":[{"ts":1,"values":{"t":1}},{"ts":2,"values":{"t":"x","h":2}}],"B":[{"h":1}]}"#;
        let seen = read(&Offer::new(Why::NoMapping, "", "", "v1/gateway/telemetry", payload), 0);
        let names: Vec<_> = seen.iter().map(|seen| (seen.name.as_str(), seen.fields.len())).collect();
        assert_eq!(names, [("A", 2), ("B", 1)]);
        assert_eq!(seen[0].fields[0].1, Type::Text.with(Type::Number));
    }

    #[test]
    fn a_name_is_what_the_front_says_or_a_level() {
        for (user, device, topic, expected) in [
            ("gate", "", "a/gate/b3", "gate"),
            ("gate", "dev", "a/gate/b3", "dev"),
            ("z", "", "site/12/room/4/x", "4"),
            ("", "", "/a/b/", "b"),
            ("", "", "a/LWT", "a"),
            ("", "", "/", "/"),
        ] {
            let offer = Offer::new(Why::NoMapping, user, device, topic, b"");
            assert_eq!(by_topic_level(&offer, 0), expected, "{topic}");
        }
    }

    #[test]
    fn bytes_of_channels_are_told_from_other_bytes() {
        let read =
            |payload: &[u8]| read(&Offer::new(Why::NoMapping, "", "", "lora/d1", payload), 0).remove(0);
        let channels = read(&[0x01, 0x75, 0x5a, 0x03, 0x67, 0x10, 0x01]);
        assert_eq!((channels.profile, channels.name.as_str(), channels.fields.len()), (BY_BYTES, "d1", 2));
        assert_eq!(channels.fields[0].2, Some("%"));
        let other = read(&[0xff, 0xfe, 0x00]);
        assert_eq!((other.profile, other.unread), (JSON, true));
    }

    #[test]
    fn a_birth_tells_units() {
        let payload = birth::born(&[("Temp", "°C"), ("x", "?")]);
        let seen = read(&Offer::new(Why::Birth, "", "", "spBv1.0/G/DBIRTH/N/D", &payload), 0);
        assert_eq!(seen[0].online, Some(true));
        let fields: Vec<_> =
            seen[0].fields.iter().map(|(name, seen, unit)| (&**name, *seen, *unit)).collect();
        assert_eq!(fields, [("Temp", Type::Number, Some("Cel")), ("x", Type::Number, None)]);
    }
}
