//! What the topics of MQTT devices mean: `[[mapping]]`.
//!
//! Guarantees: within a mapping a name is one device; whatever is asked of a payload can be found there, and what a
//! convention measures in converts to the point's unit. Decodes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::Fleet;
use super::fleet::{Point, Template};
use crate::codec::profile::{PAYLOAD_BYTES_MAX, Profile};
use crate::codec::{json, unit};
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Root};
use crate::config::read::At;
use crate::config::values::{Size, Zone};
use crate::device::mqtt::samples::{Mapping, Meaning, Model, Speaker, Take, Topics, Whose};
use crate::device::mqtt::topic;
use crate::model::SeriesKey;
use crate::normalise::Kind;

/// The profile of pointers that the operator gives.
const JSON: &str = "json";
/// Where the name of a device is that of its member.
const KEY: &str = "{key}";
const JSON_TOPIC: &str = "levels of plain text, + for any one, and {device} once: \"compound/{device}/up\"; or device = \"/id\" in the payload";

/// Whether its values are found by pointers.
pub(super) fn is_json(raw: &raw::Mapping) -> bool {
    raw.profile.value().is_none_or(|profile| profile == JSON)
}

/// Whether devices of a template are heard: those of the named one, else of all that its way of reading can fill.
pub(super) fn hears(raw: &raw::Mapping, template: &Template<'_>) -> bool {
    let by_pointer = |point: &Point| point.json.is_some();
    match raw.template.value() {
        Some(name) => *name == template.name,
        None if template.manual => false,
        None if is_json(raw) => template.points.iter().any(by_pointer),
        None => template.points.iter().any(|point| !by_pointer(point) && point.place.is_none()),
    }
}

/// Checks `[[mapping]]`.
pub(super) fn mappings(
    root: &Root,
    fleet: &Fleet<'_>,
    series: &[Arc<[SeriesKey]>],
    zone: Zone,
    report: &mut Report,
) -> Vec<Arc<Mapping>> {
    let mut seen = HashMap::new();
    let mut mappings = Vec::new();
    let conventions = root.mapping.list().iter().filter(|raw| !is_json(raw)).count();
    for raw in root.mapping.list() {
        if root.mqtt.is_absent() {
            report.missing(raw.at, "a mapping without [mqtt]", "a section [mqtt]");
        }
        let zone = raw.zone.or(zone);
        let (meaning, topics) = match raw.profile.get().filter(|_| !is_json(raw)) {
            Some(profile) => profile_of(raw, profile, zone, root, report),
            None => (pointed(raw, zone, report), json_topics(raw, report)),
        };
        for at in raw.topic.value().map_or(&[][..], |topics| &topics.0) {
            let template = raw.template.value().map(|name| format!(" of template {name}"));
            report.once(
                &mut seen,
                format!("{:?}{}", at.value, template.unwrap_or_default()),
                at.span,
                "topic",
            );
        }
        if raw.template.get().is_some_and(|name| fleet.named(name, report).is_none()) {
            continue;
        }
        let time = if is_json(raw) { time(raw, zone, report) } else { None };
        // Of several conventions without a template, a point may be any one's.
        let is_meant = conventions == 1 || !raw.template.is_absent();
        let speakers = speakers(raw, fleet, series, time, is_meant, report);
        if let (Some(meaning), false) = (meaning, topics.is_empty()) {
            mappings.push(Arc::new(Mapping { topics, meaning, speakers }));
        }
    }
    mappings
}

/// `profile`, and the topics of one that is not `json`.
fn profile_of(
    raw: &raw::Mapping,
    name: &At<String>,
    zone: Zone,
    root: &Root,
    report: &mut Report,
) -> (Option<Meaning>, Vec<Topics>) {
    for (key, span) in [
        ("time", raw.time.get().map(|at| at.span)),
        ("each", raw.each.get().map(|at| at.span)),
        ("device", raw.device.get().map(|at| at.span)),
    ] {
        if let Some(span) = span {
            let help = format!("only of profile = \"json\"; {} knows itself where it is", name.value);
            report.fault(span, format!("{key} beside a profile"), help);
        }
    }
    let Some(profile) = Profile::find(&name.value) else {
        let known = Profile::all().iter().map(Profile::name);
        report.unknown(name.span, "profile", &name.value, known.chain([JSON]));
        return (None, Vec::new());
    };
    let packet = root.mqtt.value().and_then(|mqtt| mqtt.packet_max.value()).copied();
    let bytes_max = profile.payload_bytes_max();
    // What its devices speak is HTTP, which has a bound of its own.
    let posted = profile.name() == "hikvision_isapi" && !root.http.is_absent();
    if !posted && bytes_max > PAYLOAD_BYTES_MAX && packet.is_none_or(|size| size.0 < bytes_max as u64) {
        let size = Size(bytes_max as u64);
        let message = format!("{} sends photographs along, up to {size} in a message", name.value);
        let help = format!("packet_max = \"{size}\" in [mqtt]: a longer packet closes its connection");
        report.warn(name.span, message, help);
    }
    let own = profile.filters();
    let topics = if !raw.topic.is_absent() {
        let given = raw.topic.value().map_or(&[][..], |topics| &topics.0);
        given.iter().filter_map(|at| any_topic(at, own, report)).collect()
    } else {
        if own.is_empty() {
            let help = "topic = \"compound/{device}/up\", or a filter like \"compound/#\"";
            report.missing(raw.at, format!("{} is sent to any topic, and none is named", name.value), help);
        }
        own.iter().map(|filter| Topics::Filter((*filter).into())).collect()
    };
    (Some(Meaning::Profile { profile, zone_ms: zone.0 }), topics)
}

/// A pattern with `{device}`, or a filter.
fn any_topic(at: &At<String>, own: &[&str], report: &mut Report) -> Option<Topics> {
    let text = &at.value;
    if text.contains(['{', '}']) {
        let help = "levels of plain text, + for any one, and {device} once; or a filter like \"a/#\"";
        let pattern = topic::Pattern::parse(text).map_err(|why| report.fault(at.span, why, help)).ok()?;
        return Some(Topics::Named(pattern));
    }
    if !topic::is_filter(text) {
        let help = "an MQTT topic filter: + fills a level, # the last one: \"zigbee2mqtt/#\"";
        report.fault(at.span, format!("topic filter {text:?}"), help);
        return None;
    }
    let apart = |own: &&str| !topic::includes(own, text) && !topic::includes(text, own);
    if !own.is_empty() && own.iter().all(apart) {
        let help = format!("some of {}; or {{device}} in it, for messages of the main kind", own.join(", "));
        report.warn(at.span, "the profile's messages come on other topics", help);
    }
    Some(Topics::Filter(text.as_str().into()))
}

/// The topics of the profile `json`: one level is the device, unless the payload tells it.
fn json_topics(raw: &raw::Mapping, report: &mut Report) -> Vec<Topics> {
    let Some(topics) = report.need(&raw.topic, raw.at, "topic", "\"compound/{device}/up\"") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for at in &topics.value.0 {
        if raw.device.is_absent() {
            match topic::Pattern::parse(&at.value) {
                Ok(pattern) => all.push(Topics::Named(pattern)),
                Err(why) => report.fault(at.span, why, JSON_TOPIC),
            }
        } else if at.value.contains("{device}") {
            let help = "{device} in the topic, or device where the payload tells it";
            report.fault(at.span, "two places for the device", help);
        } else {
            all.extend(any_topic(at, &[], report));
        }
    }
    all
}

/// `each` and `device` of the profile `json`.
fn pointed(raw: &raw::Mapping, zone: Zone, report: &mut Report) -> Option<Meaning> {
    let help = "a JSON pointer (RFC 6901): \"/sensors\"";
    let each = match raw.each.get() {
        Some(each) => {
            let beside = raw
                .time
                .value()
                .and_then(|time| Some((time.pointer.value()?.0.clone(), time.form.value()?.form(zone))));
            let many = json::Many::new(&each.value.0, beside);
            Some(Box::new(many.map_err(|why| report.fault(each.span, why, help)).ok()?))
        }
        None => None,
    };
    let device = match raw.device.get() {
        None => Whose::Topic,
        Some(at) if at.value == KEY => {
            if raw.each.is_absent() {
                let help = "each = \"/sensors\", the object whose members are the devices";
                report.fault(at.span, "the member's name, and no members", help);
            }
            Whose::Key
        }
        Some(at) => {
            let help = "a JSON pointer (RFC 6901) to the name: \"/id\"; or \"{key}\", the member's name";
            let plan = json::Plan::of([Some(at.value.clone())], None);
            Whose::Pointer(Box::new(plan.map_err(|why| report.fault(at.span, why, help)).ok()?))
        }
    };
    Some(Meaning::Json { each, device })
}

fn time(raw: &raw::Mapping, zone: Zone, report: &mut Report) -> Option<(String, json::TimeForm)> {
    let time = raw.time.value()?;
    let at = report.need(&time.pointer, time.at, "pointer", "\"/ts\"");
    let form = report.need(&time.form, time.at, "form", "\"millis\"");
    Some((at?.value.0.clone(), form?.value.form(zone)))
}

/// The devices that are heard, by their names.
fn speakers(
    raw: &raw::Mapping,
    fleet: &Fleet<'_>,
    series: &[Arc<[SeriesKey]>],
    time: Option<(String, json::TimeForm)>,
    is_meant: bool,
    report: &mut Report,
) -> HashMap<Box<str>, Arc<Speaker>> {
    let mut models: Vec<Option<Arc<Model>>> = Vec::new();
    for template in &fleet.templates {
        let heard = hears(raw, template);
        let model = if heard { model(raw, template, time.clone(), is_meant, report) } else { None };
        models.push(model.map(Arc::new));
    }
    let mut speakers = HashMap::new();
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for (device, series) in fleet.devices.iter().zip(series) {
        let Some(model) = &models[device.template] else { continue };
        if !device.raw.port.is_absent() {
            continue;
        }
        let span = device.raw.name.span_or(device.raw.names.span_or(device.raw.at));
        if let Some(first) = seen.insert(&device.name, span) {
            let message = format!("name {:?} is another device's too", device.name);
            report.twice(span, first, message, "names of their own, or a mapping for each template");
        }
        let speaker =
            Speaker { device: device.id.clone(), model: Arc::clone(model), series: Arc::clone(series) };
        speakers.insert(device.name.clone(), Arc::new(speaker));
    }
    speakers
}

/// What a template takes of the messages of a mapping.
fn model(
    raw: &raw::Mapping,
    template: &Template<'_>,
    time: Option<(String, json::TimeForm)>,
    is_meant: bool,
    report: &mut Report,
) -> Option<Model> {
    let span = raw.template.span_or(raw.at);
    if !is_json(raw) {
        let profile = raw.profile.value().and_then(|name| Profile::find(name))?;
        for point in template.points.iter().filter(|_| is_meant) {
            converts(profile, point, report);
        }
        let takes = template.points.iter().map(|point| Take { json: None, ..take(point) });
        return Model::new(takes.collect(), None).ok();
    }
    // An ill-formed pointer is told where it stands; here only what is wrong with all of them together.
    if template.raw.point.list().iter().all(|point| point.json.is_absent()) && !template.points.is_empty() {
        let message = format!("template {} has no JSON point", template.name);
        report.missing(span, message, "json = \"/temperature\" at a point");
    }
    let help = "JSON pointers (RFC 6901) at the points of the template and in time";
    let made = Model::new(template.points.iter().map(take).collect(), time);
    made.map_err(|why| report.fault(span, why, help)).ok()
}

fn take(point: &Point) -> Take {
    Take {
        json: point.json.clone(),
        field: point.field.clone(),
        unit: (point.rule.kind == Kind::Number).then(|| point.unit.as_str().into()),
        words: point.words.clone(),
    }
}

/// Holds that what the convention measures in becomes the point's unit.
fn converts(profile: &Profile, point: &Point, report: &mut Report) {
    let Some(told) = profile.unit(&point.field).filter(|_| point.rule.kind == Kind::Number) else { return };
    if unit::is_exact(told, &point.unit) {
        return;
    }
    let message = match &*point.unit {
        "" => format!("{} of {} comes in {told}, and the point has no unit", point.field, profile.name()),
        unit => format!("{} of {} comes in {told}, which is no exact {unit}", point.field, profile.name()),
    };
    report.fault(point.span, message, format!("unit = \"{told}\", or another that it converts to exactly"));
}
