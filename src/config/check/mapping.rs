//! What the topics of MQTT devices mean: `[[mapping]]`.
//!
//! Guarantees: a topic has one meaning for a device, and whatever is asked of a payload can be found. Decodes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::Fleet;
use crate::codec::json;
use crate::config::fault::Report;
use crate::config::raw::{self, Root};
use crate::config::values::Zone;
use crate::device::mqtt::{self, topic};
use crate::model::SeriesKey;

/// Checks `[[mapping]]`.
pub(super) fn mappings(
    root: &Root,
    fleet: &Fleet<'_>,
    series: &[Arc<[SeriesKey]>],
    zone: Zone,
    report: &mut Report,
) -> Vec<mqtt::Mapping> {
    let mut seen = HashMap::new();
    let mut mappings = Vec::new();
    for raw in root.mapping.list() {
        if root.mqtt.is_absent() {
            report.missing(raw.at, "a mapping without [mqtt]", "a section [mqtt]");
        }
        let topic = report.need(&raw.topic, raw.at, "topic", "\"compound/{device}/up\"");
        let pattern = topic.and_then(|topic| {
            let help = "levels of plain text, + for any one, and {device} once: \"compound/{device}/up\"";
            topic::Pattern::parse(&topic.value).map_err(|why| report.fault(topic.span, why, help)).ok()
        });
        let time = time(raw, zone, report);
        let Some(name) = report.need(&raw.template, raw.at, "template", "\"thermometer\"") else { continue };
        if let Some(topic) = topic {
            report.once(
                &mut seen,
                format!("{:?} of template {}", topic.value, name.value),
                topic.span,
                "topic",
            );
        }
        let Some(index) = fleet.named(name, report) else { continue };
        let template = &fleet.templates[index];
        if template.raw.point.list().iter().all(|point| point.json.is_absent()) && !template.points.is_empty()
        {
            let message = format!("template {} has no JSON point", template.name);
            report.missing(name.span, message, "json = \"/temperature\" at a point");
        }
        let pointers: Vec<String> =
            template.points.iter().map(|point| point.json.clone().unwrap_or_default()).collect();
        let whole = pointers.iter().all(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        // An ill-formed pointer is told where it stands; here only what is wrong with all of them together.
        let plan = whole.then(|| json::Plan::new(pointers, time)).and_then(|plan| {
            let help = "JSON pointers (RFC 6901) at the points of the template and in time";
            plan.map_err(|why| report.fault(name.span, why, help)).ok()
        });
        let speakers = fleet.devices.iter().zip(series);
        let speakers = speakers.filter(|(device, _)| device.template == index && device.raw.port.is_absent());
        if let (Some(topic), Some(plan)) = (pattern, plan) {
            let devices = speakers.map(|(device, series)| (device.id.clone(), series.clone())).collect();
            mappings.push(mqtt::Mapping { topic, plan: Arc::new(plan), devices });
        }
    }
    mappings
}

fn time(raw: &raw::Mapping, zone: Zone, report: &mut Report) -> Option<(String, json::TimeForm)> {
    let time = raw.time.value()?;
    let pointer = report.need(&time.pointer, time.at, "pointer", "\"/ts\"");
    let form = report.need(&time.form, time.at, "form", "\"millis\"");
    if let Some(pointer) = pointer.filter(|pointer| !pointer.value.starts_with('/')) {
        let message = format!("pointer {:?} does not begin with /", pointer.value);
        report.fault(pointer.span, message, "a JSON pointer (RFC 6901): \"/ts\"");
    }
    let pointer = pointer.filter(|pointer| pointer.value.starts_with('/'))?;
    Some((pointer.value.clone(), form?.value.form(zone)))
}
