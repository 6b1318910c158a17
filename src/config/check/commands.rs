//! Commands: what devices can be told to do.
//!
//! Guarantees: a command goes to a device that there is, on a topic or into a writable point of it, with a value that the
//! point may have. Does not know who uses it.

use std::collections::HashMap;
use std::time::Duration;

use rust_decimal::Decimal;

use super::alarms::{Alarms, TEXT_MAX, TITLE_MAX};
use super::condition::{self, Ground, Own, metric_of};
use super::{HOUR, millis};
use crate::config::fault::Report;
use crate::config::raw::{self, Root};
use crate::config::read::Key;
use crate::device::mqtt::{self, topic};
use crate::model::Value;
use crate::normalise::Kind;
use crate::rules::command::{Action, Command};

/// Commands of one configuration; one more is a fault.
const COMMANDS_MAX: usize = 100;
/// The most people that may have to agree.
const LEVEL_MAX: u64 = 2;

/// Checks `[[command]]`.
pub(super) fn commands(
    root: &Root,
    ground: &Ground<'_>,
    alarms: &mut Alarms,
    report: &mut Report,
) -> Vec<Command> {
    let mut seen = HashMap::new();
    let mut all = Vec::new();
    for (number, raw) in root.command.list().iter().enumerate() {
        if let Some(id) = report.need(&raw.id, raw.at, "id", "\"siren-on\"") {
            report.once(&mut seen, id.value.clone(), id.span, "command");
        }
        if number == COMMANDS_MAX {
            report.fault(raw.at, "too many commands", format!("at most {COMMANDS_MAX}"));
        }
        all.extend(command(raw, root, ground, alarms, report));
    }
    all
}

fn command(
    raw: &raw::Command,
    root: &Root,
    ground: &Ground<'_>,
    alarms: &mut Alarms,
    report: &mut Report,
) -> Option<Command> {
    let title = condition::text(&raw.title, "title", TITLE_MAX, report);
    let device = report.need(&raw.device, raw.at, "device", "\"siren-1\"");
    let device = device.and_then(|id| ground.named(id, report));
    let second = Duration::from_secs(1);
    let expires = report.bounded(&raw.expires, 30 * second, second..=HOUR, "expires");
    let level = report.bounded(&raw.level, 0, 0..=LEVEL_MAX, "level");
    let own = device.map_or(Own::Nobody, |at| Own::Of([ground.fleet.devices[at].template].into()));
    let mut condition = |name: &str, key: &Key<String>, report: &mut Report| {
        // Whose it would be is not known.
        device?;
        let condition = ground.condition(name, key, &own, report)?;
        ground.kept(key.get()?, &condition, &own, report);
        alarms.read.extend(condition.inputs().iter().filter_map(metric_of).cloned());
        Some(condition)
    };
    let interlock = condition("interlock", &raw.interlock, report);
    let expect = condition("expect", &raw.expect, report);
    let action = match (raw.publish.value(), raw.write.value()) {
        (Some(publish), None) => published(publish, root, report),
        (None, Some(write)) => written(write, device, ground, report),
        (Some(_), Some(_)) => {
            report.fault(raw.write.span_or(raw.at), "both publish and write", "one of them");
            None
        }
        (None, None) => {
            if raw.publish.is_absent() && raw.write.is_absent() {
                let help = "publish = { topic = \"siren/1/set\", payload = \"ON\" }, or write = { metric = \"siren\", value = true }";
                report.missing(raw.at, "command that does nothing", help);
            }
            None
        }
    };
    Some(Command {
        id: raw.id.value()?.clone(),
        title,
        device: ground.fleet.devices[device?].id.clone(),
        action: action?,
        interlock,
        expect,
        expires_ms: millis(expires),
        level: u8::try_from(level).unwrap_or(u8::MAX),
    })
}

fn published(raw: &raw::Publish, root: &Root, report: &mut Report) -> Option<Action> {
    let topic = report.need(&raw.topic, raw.at, "topic", "\"siren/1/set\"");
    if let Some(topic) = topic.filter(|topic| !topic::is_name(&topic.value) || topic.value.starts_with('$')) {
        let help = "a topic without + and #, and no $ in front: \"siren/1/set\"";
        report.fault(topic.span, format!("topic {:?}", topic.value), help);
    }
    if root.mqtt.is_absent() {
        report.missing(raw.at, "publish without [mqtt]", "[mqtt], where the device subscribes; or write");
    }
    report.need(&raw.payload, raw.at, "payload", "\"ON\"");
    let payload = condition::text(&raw.payload, "payload", TEXT_MAX, report);
    Some(Action::Publish { topic: topic?.value.clone(), payload })
}

fn written(
    raw: &raw::Write,
    device: Option<usize>,
    ground: &Ground<'_>,
    report: &mut Report,
) -> Option<Action> {
    let metric = report.need(&raw.metric, raw.at, "metric", "\"siren\"");
    let value = report.need(&raw.value, raw.at, "value", "true");
    let (metric, value, device) = (metric?, value?, &ground.fleet.devices[device?]);
    let template = ground.fleet.template_of(device);
    let Some(point) = template.points.iter().find(|point| point.metric == metric.value) else {
        let known = template.points.iter().map(|point| point.metric.as_str());
        report.unknown(metric.span, "metric", metric.value.as_str(), known);
        return None;
    };
    let is_writable = point.place.as_ref().is_some_and(|place| place.writable.is_some());
    if !is_writable || device.raw.port.is_absent() {
        let message = format!("{} of {} is not writable", metric.value, device.id);
        let help = "a point of a device on a port with writable = true; or publish, to a device of MQTT";
        report.twice(metric.span, point.span, message, help);
    }
    let text = &value.value.0;
    let read = match point.rule.kind {
        Kind::Number => Decimal::from_str_exact(text).ok().map(Value::Number),
        Kind::Flag => text.parse().ok().map(Value::Flag),
        Kind::Text => Some(Value::Text(text.as_str().into())),
    };
    let Some(read) = read else {
        let help = match point.rule.kind {
            Kind::Number => "a number",
            Kind::Flag => "true or false",
            Kind::Text => "a text",
        };
        report.fault(value.span, format!("{text:?} for {}", metric.value), help);
        return None;
    };
    if let (Value::Number(number), Some((min, max))) = (&read, point.rule.range)
        && !(min..=max).contains(number)
    {
        let message = format!("{number} is out of the range of {}", metric.value);
        report.twice(value.span, point.span, message, format!("{min} to {max}"));
    }
    Some(Action::Write { metric: metric.value.clone(), value: read })
}

/// Messages that nobody may hear.
pub(super) fn warn(root: &Root, commands: &[Command], front: Option<&mqtt::Settings>, report: &mut Report) {
    let Some(front) = front.filter(|front| !front.access.anonymous) else { return };
    for raw in root.command.list() {
        let Some(at) = raw.publish.value().and_then(|publish| publish.topic.get()) else { continue };
        let Some(command) = commands.iter().find(|command| raw.id.value() == Some(&command.id)) else {
            continue;
        };
        let mut users = front.access.users.values();
        let hears = |user: &mqtt::User| {
            user.rights.devices.contains(&command.device) && user.rights.subscribe.cover(&at.value)
        };
        if !users.any(hears) {
            let message = format!("no user with {} may subscribe to {:?}", command.device, at.value);
            let help = "a topic that it may hear, or subscribe = […] of its [[mqtt.user]]";
            report.warn(at.span, message, help);
        }
    }
}
