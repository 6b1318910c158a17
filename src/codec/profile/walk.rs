//! The one walk: a message along the table of its profile.

use super::node::Node;
use super::table::{Each, Format, Profile, Route, Values};
use super::topic::{Captures, capture, fits, render};
use super::{
    Kind, Mapped, Message, NAME_BYTES_MAX, ProfileError, RawPayload, Reading, Refused, State, TimeSource,
};
use crate::codec::json::{self, Moment};
use crate::model::Value;

/// Bytes of a device's own payload that are handed on.
const RAW_BYTES_MAX: usize = 1_024;

/// Texts of availability.
const ONLINE: &[(&str, bool)] =
    &[("online", true), ("true", true), ("heartbeat", true), ("offline", false), ("false", false)];

impl Profile {
    /// What a message means. Whatever the error, the state is as good as before.
    ///
    /// # Errors
    /// [`ProfileError`]: the message means nothing under this profile.
    pub fn map(&self, message: &Message<'_>, state: &mut State) -> Result<Mapped, ProfileError> {
        let (route, captures) = self.route(message.topic)?;
        let bytes = message.payload.len();
        if bytes > self.bytes_max {
            return Err(ProfileError::TooLarge { bytes, max: self.bytes_max });
        }
        let mut mapped = Mapped { kind: route.kind, ..Mapped::default() };
        let node = match route.format {
            Format::Own(read) => {
                read(message, &captures, state, &mut mapped)?;
                return Ok(mapped);
            }
            Format::Unread => Node::Bare(""),
            Format::Bare => Node::bare(message.payload)?,
            Format::Json => Node::parse(message.payload)?,
            Format::Either => match Node::parse(message.payload) {
                Err(ProfileError::Json(_)) => Node::bare(message.payload)?,
                parsed => parsed?,
            },
        };
        if !self.refused.is_empty() {
            refuse(self, &node, &mut mapped.refused);
        }
        mapped.device = name(route.device, &captures, &node);
        for (pointer, unit) in route.times {
            let Some(raw) = node.at(pointer).and_then(Node::raw).filter(|raw| *raw != "null") else {
                continue;
            };
            match json::moment(raw, *unit, message.zone_ms) {
                Some(moment) => {
                    mapped.stamp(moment);
                    break;
                }
                None => mapped.time_unreadable = true,
            }
        }
        identify(route, &node, &mut mapped);
        mapped.ignored = node.at(route.failed).filter(|_| !route.failed.is_empty()).map_or(0, count);
        let walk = Walk { profile: self, root: &node, zone_ms: message.zone_ms };
        walk.all(route.values, &Place { captures: &captures, ..Place::top(&node) }, &mut mapped);
        if mapped.kind == Kind::Data
            && !mapped.readings.is_empty()
            && mapped.readings.iter().all(|reading| reading.event)
        {
            mapped.kind = Kind::Event;
        }
        Ok(mapped)
    }

    fn route<'t>(&self, topic: Option<&'t str>) -> Result<(&'static Route, Captures<'t>), ProfileError> {
        match topic {
            None => Ok((&self.routes[self.main], Captures::new())),
            Some(topic) => {
                let mut routes = self.routes.iter();
                let found = routes.find_map(|route| Some((route, capture(route.topic, topic)?)));
                found.ok_or(ProfileError::Topic)
            }
        }
    }
}

/// The first template that makes a name of a device.
pub(super) fn name(templates: &[&str], captures: &Captures<'_>, node: &Node<'_>) -> Option<Box<str>> {
    let mut names = templates.iter().filter_map(|template| render(template, captures, node));
    names.find(|name| name.len() <= NAME_BYTES_MAX).map(Into::into)
}

/// Takes the message's number.
fn identify(route: &Route, node: &Node<'_>, mapped: &mut Mapped) {
    let number = route.id.iter().find_map(|pointer| node.at(pointer)?.text());
    let Some(number) = number.filter(|number| number.len() <= NAME_BYTES_MAX) else { return };
    if !route.id_of_device {
        mapped.message_id = Some(number.into());
    } else {
        mapped.message_id = mapped.device.as_ref().map(|device| format!("{device}/{number}").into());
        mapped.serial = Some(number.into());
    }
}

/// Names what is refused, however deep it stands and whatever it holds.
fn refuse(profile: &Profile, node: &Node<'_>, refused: &mut Vec<Refused>) {
    match node {
        Node::Items(items) => items.iter().for_each(|item| refuse(profile, item, refused)),
        Node::Members(members) => {
            for (name, child) in members {
                match refusal(profile, name) {
                    Some(refusal) if refused.contains(&refusal) => {}
                    Some(refusal) => refused.push(refusal),
                    None => refuse(profile, child, refused),
                }
            }
        }
        _ => {}
    }
}

fn refusal(profile: &Profile, name: &str) -> Option<Refused> {
    let known = profile.refused.iter().find(|(field, _)| fits(field, name));
    known.map(|&(field, identifier)| Refused { field: field.trim_end_matches('*'), identifier })
}

/// Values at or below a node.
fn count(node: &Node<'_>) -> u64 {
    match node {
        Node::Items(items) => items.iter().map(count).sum(),
        Node::Members(members) => members.values().map(count).sum(),
        _ => 1,
    }
}

/// Where the walk is.
struct Place<'w> {
    node: &'w Node<'w>,
    captures: &'w Captures<'w>,
    device: Option<&'w str>,
    time_ms: Option<i64>,
    prefix: &'w str,
    event: bool,
}

impl<'w> Place<'w> {
    fn top(node: &'w Node<'w>) -> Self {
        const NONE: &Captures<'_> = &Captures::new();
        Self { node, captures: NONE, device: None, time_ms: None, prefix: "", event: false }
    }
}

struct Walk<'w> {
    profile: &'w Profile,
    root: &'w Node<'w>,
    zone_ms: i64,
}

impl Walk<'_> {
    fn all(&self, values: &[Values], place: &Place<'_>, mapped: &mut Mapped) {
        for values in values {
            self.one(values, place, mapped);
        }
    }

    fn one(&self, values: &Values, place: &Place<'_>, mapped: &mut Mapped) {
        let node = place.node;
        match values {
            Values::Scalar(template) => {
                if let Some(metric) = render(template, place.captures, node) {
                    self.value(&metric.replace('/', "."), node, place, mapped);
                }
            }
            Values::Members { at, prefix, nested, boxed } => {
                let found = at.iter().find_map(|pointer| node.at(pointer));
                let prefix = render(prefix, place.captures, node).unwrap_or_default();
                if let Some(members) = found {
                    let prefix = format!("{}{prefix}", place.prefix);
                    self.below(members, &prefix, (*nested, *boxed), place, mapped);
                }
            }
            Values::Named(named) => {
                for (metric, pointer) in *named {
                    if let Some(node) = node.at(pointer) {
                        self.value(metric, node, place, mapped);
                    }
                }
            }
            Values::Pairs { at } => {
                for pair in node.at(at).map_or(&[][..], Node::items) {
                    match pair.get("name").and_then(Node::text).zip(pair.get("value")) {
                        Some((metric, value)) => self.value(&metric, value, place, mapped),
                        None => mapped.ignored += 1,
                    }
                }
            }
            Values::Composed(texts) => {
                let fill = |template| render(template, place.captures, node);
                let found = texts.iter().find_map(|(metric, text)| Some((fill(metric)?, fill(text)?)));
                if let Some((metric, text)) = found {
                    self.value(&metric, &Node::Bare(&text), &Place { event: true, ..*place }, mapped);
                }
            }
            Values::Greatest { at, by, take } => {
                if let Some(best) = greatest(node.at(at), by) {
                    for name in *take {
                        if let Some(value) = best.get(name) {
                            self.value(name, value, place, mapped);
                        }
                    }
                }
            }
            Values::Online(pointer) => {
                let text = node.at(pointer).and_then(Node::text).unwrap_or_default();
                let known = ONLINE.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text));
                mapped.online = known.map(|(_, online)| *online).or(mapped.online);
            }
            Values::Bytes { at, unless } => {
                if node.at(unless).is_none()
                    && let Some(data) = node.at(at).and_then(Node::raw)
                {
                    mapped.raw = base64(data.trim_matches('"')).map(RawPayload);
                    mapped.ignored += u64::from(mapped.raw.is_none());
                }
            }
            Values::Each(each) => self.each(each, place, mapped),
        }
    }

    fn each(&self, each: &Each, place: &Place<'_>, mapped: &mut Mapped) {
        let Some(node) = place.node.at(each.at) else { return };
        if !each.keyed {
            node.items().iter().for_each(|item| self.item(each, None, item, place, mapped));
        } else if let Some(members) = node.members() {
            for (key, item) in members {
                self.item(each, Some(key), item, place, mapped);
            }
        }
    }

    fn item(&self, each: &Each, key: Option<&str>, node: &Node<'_>, place: &Place<'_>, mapped: &mut Mapped) {
        let captures: Captures<'_> =
            place.captures.iter().copied().chain(key.map(|key| ("key", key))).collect();
        let device = render(each.device, &captures, node);
        if device.is_none() && !each.device.is_empty() {
            mapped.ignored += count(node);
            return;
        }
        let prefix = format!("{}{}", place.prefix, render(each.prefix, &captures, node).unwrap_or_default());
        let told = each.time.and_then(|(pointer, unit)| Some((node.at(pointer)?.raw()?, unit)));
        let moment = told.and_then(|(raw, unit)| self.moment(raw, unit, mapped));
        let place = Place {
            node,
            captures: &captures,
            device: device.as_deref().or(place.device),
            time_ms: moment.map(|moment| moment.ms).or(place.time_ms),
            prefix: &prefix,
            event: each.event || place.event,
        };
        self.all(each.values, &place, mapped);
    }

    /// A time of something within the message.
    fn moment(&self, raw: &str, unit: json::Epoch, mapped: &mut Mapped) -> Option<Moment> {
        let moment = json::moment(raw, unit, self.zone_ms);
        match moment {
            Some(moment) if mapped.time_source == TimeSource::Receive => mapped.see(moment),
            Some(_) => {}
            None => mapped.time_unreadable |= raw != "null",
        }
        moment
    }

    /// Everything below a node; `nested` and `boxed` as [`Values::Members`] has them.
    fn below(
        &self,
        node: &Node<'_>,
        prefix: &str,
        how @ (nested, boxed): (bool, bool),
        place: &Place<'_>,
        mapped: &mut Mapped,
    ) {
        let mut child = |name: &str, child: &Node<'_>| {
            let metric = format!("{prefix}{name}");
            if self.profile.metadata.iter().any(|known| fits(known, name) || fits(known, &metric)) {
                return;
            }
            match child {
                Node::Leaf(_) | Node::Bare(_) => self.value(&metric, child, place, mapped),
                Node::Members(_) if boxed && is_box(child) => self.unbox(&metric, child, place, mapped),
                _ if nested => self.below(child, &format!("{metric}."), how, place, mapped),
                _ => mapped.ignored += count(child),
            }
        };
        match node {
            Node::Members(members) => members.iter().for_each(|(name, node)| child(name, node)),
            Node::Items(items) => {
                items.iter().enumerate().for_each(|(at, node)| child(&at.to_string(), node));
            }
            _ => mapped.ignored += 1,
        }
    }

    fn unbox(&self, metric: &str, node: &Node<'_>, place: &Place<'_>, mapped: &mut Mapped) {
        let raw = node.get("time").and_then(Node::raw);
        let moment = raw.and_then(|raw| self.moment(raw, json::Epoch::Millis, mapped));
        let time_ms = moment.map(|moment| moment.ms).or(place.time_ms);
        match node.get("value") {
            Some(value @ (Node::Leaf(_) | Node::Bare(_))) => {
                self.value(metric, value, &Place { time_ms, ..*place }, mapped);
            }
            other => mapped.ignored += other.map_or(0, count),
        }
    }

    /// A value becomes a reading, or is counted; null, an empty text and what is no number are no value.
    fn value(&self, metric: &str, node: &Node<'_>, place: &Place<'_>, mapped: &mut Mapped) {
        let profile = self.profile;
        let last = metric.rsplit('.').next().unwrap_or(metric);
        let named = |pattern: &str| fits(pattern, metric) || fits(pattern, last);
        if refusal(profile, last).is_some() {
            return;
        }
        let value = match node.value() {
            Ok(Some(value)) => value,
            Ok(None) => return,
            Err(_) => return mapped.ignored += 1,
        };
        // The name of what happened may be made of digits.
        let happened = profile.events.iter().any(|known| named(known));
        let (value, was_text) = match value {
            Value::Text(text) if is_no_value(&text) => return,
            Value::Text(text) => {
                let same = |word: &str| word.eq_ignore_ascii_case(&text);
                let flag = profile.words.iter().find(|(known, word, _)| same(word) && named(known));
                match (flag, number(&text)) {
                    (Some((_, _, flag)), _) => (Value::Flag(*flag), false),
                    (None, Some(value)) if !happened => (value, matches!(node, Node::Leaf(_))),
                    _ => (Value::Text(text), false),
                }
            }
            other => (other, false),
        };
        let numeric = matches!(value, Value::Number(_));
        let rule = profile.units.iter().find(|rule| numeric && named(rule.metric) && self.holds(rule.given));
        let told = node.text();
        let mut meanings = profile.meanings.iter();
        let meaning = meanings.find(|(known, text, _)| named(known) && told.as_deref() == Some(text));
        mapped.add(Reading {
            metric: metric.into(),
            value,
            unit: rule.map(|rule| rule.unit.into()),
            device: place.device.map(Into::into),
            time_ms: place.time_ms,
            event: happened || place.event,
            canonical: meaning.map(|(_, _, meaning)| *meaning),
            was_text,
        });
    }

    /// Whether the payload has what a condition of a unit asks for.
    fn holds(&self, given: &str) -> bool {
        let (pointer, text) = given.split_once('=').map_or((given, None), |(at, text)| (at, Some(text)));
        self.root.at(pointer).is_some_and(|node| text.is_none() || node.text().as_deref() == text)
    }
}

/// The item of an array whose member is the greatest number.
fn greatest<'n>(items: Option<&'n Node<'n>>, by: &str) -> Option<&'n Node<'n>> {
    let number = |node: &Node<'_>| match node.get(by)?.value() {
        Ok(Some(Value::Number(number))) => Some(number),
        _ => None,
    };
    items?.items().iter().max_by_key(|item| number(item))
}

/// An object that is one value with its time.
fn is_box(node: &Node<'_>) -> bool {
    let known = |name: &String| matches!(name.as_str(), "value" | "time");
    node.members().is_some_and(|members| members.contains_key("value") && members.keys().all(known))
}

fn is_no_value(text: &str) -> bool {
    ["", "null", "nan", "inf", "-inf", "infinity", "-infinity"]
        .iter()
        .any(|none| none.eq_ignore_ascii_case(text.trim()))
}

/// A text that is a JSON number from end to end; a code with zeros in front is none.
pub(super) fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let wrong = match digits {
        [b'0', b'0'..=b'9', ..] => true,
        [b'0'..=b'9', ..] => !digits.last().is_some_and(u8::is_ascii_digit) || text.contains('_'),
        _ => true,
    };
    if wrong { None } else { json::value(text).ok().flatten() }
}

/// Base64 (RFC 4648 §4) of at most 1,024 bytes; the padding may be missing.
fn base64(text: &str) -> Option<Box<[u8]>> {
    let text = text.trim_end_matches('=').as_bytes();
    if text.len() > RAW_BYTES_MAX * 4 / 3 || text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let bits = group.iter().try_fold(0_u32, |bits, letter| {
            let six = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            Some(bits << 6 | u32::from(six))
        })?;
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes.into())
}
