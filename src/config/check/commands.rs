//! Commands: what devices can be told to do.
//!
//! Guarantees: a command goes to a device that there is, on a topic or into a writable point of it, with a value that the
//! point may have. Does not know who uses it.

use std::collections::HashMap;
use std::time::Duration;

use rust_decimal::Decimal;

use super::alarms::{Alarms, TEXT_MAX, TITLE_MAX};
use super::arguments;
use super::condition::{self, Ground, Own, metric_of};
use super::fleet::Point;
use super::{HOUR, millis};
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Root};
use crate::config::read::Key;
use crate::device::mqtt::{self, topic};
use crate::model::{Lane, LineId, Metric, Value};
use crate::normalise::Kind;
use crate::rules::command::{Action, Arguments, Command};

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
    let state = state(raw, device, ground, alarms, report);
    let arguments = arguments::values(raw, report);
    let choices = arguments::choices(&arguments);
    let actions = match (raw.publish.value(), raw.write.value()) {
        (Some(publish), None) => {
            let texts = [publish.topic.value(), publish.payload.value()];
            arguments::unused(raw, &texts.map(|text| text.map_or("", String::as_str)), report);
            published(publish, root, &choices, report)
        }
        (None, Some(write)) => {
            arguments::unused(raw, &[write.value.value().map_or("", |plain| &plain.0)], report);
            written(write, device, ground, &choices, report)
        }
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
    let actions = actions?;
    Some(Command {
        id: raw.id.value()?.clone(),
        title,
        device: ground.fleet.devices[device?].id.clone(),
        action: actions.first()?.clone(),
        ways: if arguments.is_empty() { Vec::new() } else { choices.into_iter().zip(actions).collect() },
        arguments,
        state,
        interlock,
        expect,
        expires_ms: millis(expires),
        level: u8::try_from(level).unwrap_or(u8::MAX),
    })
}

/// The metric that says in which state the device is.
fn state(
    raw: &raw::Command,
    device: Option<usize>,
    ground: &Ground<'_>,
    alarms: &mut Alarms,
    report: &mut Report,
) -> Option<Metric> {
    let (metric, device) = (raw.state.get()?, &ground.fleet.devices[device?]);
    let template = ground.fleet.template_of(device);
    let Some(point) = template.points.iter().find(|point| point.metric == metric.value) else {
        let known = template.points.iter().map(|point| point.metric.as_str());
        report.unknown(metric.span, "metric", metric.value.as_str(), known);
        return None;
    };
    if let Some(why) = condition::not_kept(point) {
        let message = format!("{} of template {} is {why}", metric.value, template.name);
        report.fault(metric.span, message, "a state is read of what a [[collect]] line keeps: \"keep\"");
    }
    alarms.read.insert(metric.value.clone());
    Some(metric.value.clone())
}

/// What a message comes to with each choice of arguments.
fn published(
    raw: &raw::Publish,
    root: &Root,
    choices: &[Arguments],
    report: &mut Report,
) -> Option<Vec<Action>> {
    let topic = report.need(&raw.topic, raw.at, "topic", "\"siren/1/set\"");
    let topics = || {
        topic
            .iter()
            .flat_map(|at| choices.iter().map(|chosen| (arguments::filled(&at.value, chosen), at.span)))
    };
    if let Some((wrong, span)) = topics().find(|(topic, _)| !topic::is_name(topic) || topic.starts_with('$'))
    {
        let help = "a topic without + and #, and no $ in front: \"siren/1/set\"";
        report.fault(span, format!("topic {wrong:?}"), help);
    }
    if root.mqtt.is_absent() {
        report.missing(raw.at, "publish without [mqtt]", "[mqtt], where the device subscribes; or write");
    }
    report.need(&raw.payload, raw.at, "payload", "\"ON\"");
    let payload = condition::text(&raw.payload, "payload", TEXT_MAX, report);
    topic?;
    let payloads = choices.iter().map(|chosen| arguments::filled(&payload, chosen));
    Some(topics().zip(payloads).map(|((topic, _), payload)| Action::Publish { topic, payload }).collect())
}

/// What is written with each choice of arguments.
fn written(
    raw: &raw::Write,
    device: Option<usize>,
    ground: &Ground<'_>,
    choices: &[Arguments],
    report: &mut Report,
) -> Option<Vec<Action>> {
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
    let texts = choices.iter().map(|chosen| arguments::filled(&value.value.0, chosen));
    let values: Option<Vec<Value>> = texts.map(|text| value_of(&text, value.span, point, report)).collect();
    let action = |value| Action::Write { metric: metric.value.clone(), value };
    Some(values?.into_iter().map(action).collect())
}

/// A value that the point may have.
fn value_of(text: &str, span: Span, point: &Point, report: &mut Report) -> Option<Value> {
    let metric = &point.metric;
    let read = match point.rule.kind {
        Kind::Number => Decimal::from_str_exact(text).ok().map(Value::Number),
        Kind::Flag => text.parse().ok().map(Value::Flag),
        Kind::Text => Some(Value::Text(text.into())),
    };
    let Some(read) = read else {
        let help = match point.rule.kind {
            Kind::Number => "a number",
            Kind::Flag => "true or false",
            Kind::Text => "a text",
        };
        report.fault(span, format!("{text:?} for {metric}"), help);
        return None;
    };
    if let (Value::Number(number), Some((min, max))) = (&read, point.rule.range)
        && !(min..=max).contains(number)
    {
        let message = format!("{number} is out of the range of {metric}");
        report.twice(span, point.span, message, format!("{min} to {max}"));
    }
    Some(read)
}

/// Who may have commands carried out: rules only those without arguments, the city only what somebody has agreed to.
pub(super) fn ordered(root: &Root, report: &mut Report) {
    let named = |id: &LineId| root.command.list().iter().find(|raw| raw.id.value() == Some(id));
    let alarms = root.alarm.list().iter();
    let by_alarms = alarms.flat_map(|raw| raw.commands.list().iter().chain(raw.commands_end.list()));
    let by_recipients = root.recipient.list().iter().filter_map(|raw| raw.command.get());
    for at in by_alarms.chain(by_recipients) {
        if let Some(arguments) = named(&at.value).and_then(|raw| raw.arguments.get()) {
            let message = format!("{} has arguments, and nobody gives them here", at.value);
            report.twice(
                at.span,
                arguments.span,
                message,
                "a command without arguments: only the city gives them",
            );
        }
    }
    let lines = root.share.list().iter().filter(|raw| !raw.is_forbidden() && raw.tier.is_absent());
    for raw in lines.filter(|raw| raw.lane.value() == Some(&Lane::Result)) {
        for carry in raw.carries.list() {
            let Some(command) = named(&carry.value) else { continue };
            if command.level.or(0) == 0 && !command.unattended.or(false) {
                let message =
                    format!("the city may have {} carried out, and nobody has to agree", carry.value);
                let help = "a tier on the line, level = 1 on the command, or unattended = true on it";
                report.twice(carry.span, command.at, message, help);
            }
        }
    }
}

/// Messages that nobody may hear.
pub(super) fn warn(root: &Root, commands: &[Command], front: Option<&mqtt::Settings>, report: &mut Report) {
    let Some(front) = front.filter(|front| !front.access.anonymous) else { return };
    for raw in root.command.list() {
        let Some(at) = raw.publish.value().and_then(|publish| publish.topic.get()) else { continue };
        let Some(command) = commands.iter().find(|command| raw.id.value() == Some(&command.id)) else {
            continue;
        };
        let topics = command.actions().filter_map(|action| match action {
            Action::Publish { topic, .. } => Some(topic),
            Action::Write { .. } => None,
        });
        let is_heard = |topic: &str| {
            front.access.users.values().any(|user: &mqtt::User| {
                user.rights.devices.contains(&command.device) && user.rights.subscribe.cover(topic)
            })
        };
        if let Some(topic) = topics.into_iter().find(|topic| !is_heard(topic)) {
            let message = format!("no user with {} may subscribe to {topic:?}", command.device);
            let help = "a topic that it may hear, or subscribe = […] of its [[mqtt.user]]";
            report.warn(at.span, message, help);
        }
    }
}
