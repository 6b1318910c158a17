//! The four lists as a loop: what refers to what, and what must never be shared.
//!
//! Guarantees: every reference leads somewhere; what a forbidden line names is in no other share line, by no way round
//! (metric, alarm, aggregate, a condition that reads it); a refusal has its reason. What is merely open is a finding of
//! [`crate::lists::lint`], and no fault.

mod lines;

use std::collections::HashMap;

use serde_json::Value as Json;

pub(crate) use self::lines::Lines;
use self::lines::{Line, budgets, noise};
use super::alarms::{Alarms, TEXT_MAX, TITLE_MAX};
use super::condition::{Ground, metric_of, text};
use super::lists::until_ms;
use super::millis;
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Class as Whose, Root};
use crate::config::read::{At, Key};
use crate::config::values::Zone;
use crate::lists::{self, Class, Decision, Lists, Watched};
use crate::model::{Lane, LineId, List, Metric};

/// Demands, and governance lines, of one configuration; one more is a fault.
const LINES_MAX: usize = 1_000;

/// The ids there are, by list.
struct Ids<'r>(HashMap<List, Vec<&'r str>>);

impl Ids<'_> {
    /// Holds that references lead somewhere, each once.
    fn hold(&self, list: List, key: &Key<Vec<At<LineId>>>, report: &mut Report) -> Vec<LineId> {
        let mut seen = HashMap::new();
        let known = &self.0[&list];
        for id in key.list() {
            report.once(&mut seen, id.value.clone(), id.span, list.as_str());
            if !known.contains(&id.value.as_str()) {
                report.unknown(id.span, &format!("{list} line"), id.value.as_str(), known.iter().copied());
            }
        }
        key.list().iter().map(|id| id.value.clone()).collect()
    }
}

/// Checks `[[demand]]` and `[[governance]]`, and what closes the loop in the other two lists.
pub(super) fn lists(
    root: &Root,
    lines: &Lines,
    ground: &Ground<'_>,
    alarms: &Alarms,
    zone: Zone,
    report: &mut Report,
) -> Lists {
    fn named<'r>(ids: impl Iterator<Item = &'r Key<LineId>>) -> Vec<&'r str> {
        ids.filter_map(|id| Some(id.value()?.as_str())).collect()
    }
    let ids = Ids(HashMap::from([
        (List::Demand, named(root.demand.list().iter().map(|raw| &raw.id))),
        (List::Collect, named(root.collect.list().iter().map(|raw| &raw.id))),
        (List::Share, named(root.share.list().iter().map(|raw| &raw.id))),
        (List::Governance, named(root.governance.list().iter().map(|raw| &raw.id))),
    ]));
    let points = points(root, lines, ground);
    let watched = alarms.all.iter().map(watched).collect();
    let mut found = Lists { points, alarms: watched, items: lines.items(), ..Lists::default() };
    found.demands = demands(root, &ids, zone, report);
    found.collects = collects(root, lines, &ids, report);
    found.shares = shares(root, lines, &ids, &found, zone, report);
    found.governance = governance(root, &ids, &found, report);
    found.budgets = budgets(lines);
    forbidden(root, &found, report);
    found
}

fn watched(alarm: &crate::rules::plan::Alarm) -> Watched {
    let conditions = [&alarm.when, &alarm.clear, &alarm.early, &alarm.then];
    let inputs = conditions.into_iter().flatten().flat_map(|condition| condition.inputs());
    let metrics = inputs.filter_map(metric_of).chain([&alarm.metric]).cloned().collect();
    Watched { id: alarm.id.clone(), metrics }
}

fn points(root: &Root, lines: &Lines, ground: &Ground<'_>) -> Vec<lists::Point> {
    let mut listed: HashMap<(&str, &str), (&LineId, String)> = HashMap::new();
    for raw in root.collect.list() {
        let Some((id, fields)) = raw.id.value().zip(raw.fields.value()) else { continue };
        let said = lines.get(List::Collect, id).map(|line| &line.json["fields"]);
        for metric in fields.keys() {
            let said = said.map(|fields| &fields[metric.as_str()]);
            let word =
                said.and_then(|said| said.as_str().or_else(|| said["do"].as_str())).unwrap_or_default();
            for template in raw.templates.list() {
                listed.insert((template.value.as_str(), metric.as_str()), (id, word.to_owned()));
            }
        }
    }
    let fleet = ground.fleet;
    let mut points = Vec::new();
    for (index, template) in fleet.templates.iter().enumerate() {
        let own = fleet.devices.iter().filter(|device| device.template == index);
        let devices: Vec<String> = own.map(|device| device.id.to_string()).collect();
        for point in &template.points {
            let line = listed.get(&(template.name.as_str(), point.metric.as_str()));
            points.push(lists::Point {
                template: template.name.clone(),
                metric: point.metric.clone(),
                whose: match point.class {
                    Whose::Operational => lists::Whose::Nobody,
                    Whose::Household => lists::Whose::Household,
                    Whose::Personal => lists::Whose::Person,
                    Whose::Biometric => lists::Whose::Body,
                },
                collect: line.map(|(id, _)| (*id).clone()),
                treatment: line.map(|(_, word)| word.clone()).unwrap_or_default(),
                devices: devices.clone(),
            });
        }
    }
    points
}

fn counted<T>(list: &[T], at: impl Fn(&T) -> Span, what: &str, report: &mut Report) {
    if let Some(line) = list.get(LINES_MAX) {
        report.fault(at(line), format!("too many {what} lines"), format!("at most {LINES_MAX}"));
    }
}

fn demands(root: &Root, ids: &Ids<'_>, zone: Zone, report: &mut Report) -> Vec<lists::Demand> {
    let mut seen = HashMap::new();
    let mut found = Vec::new();
    counted(root.demand.list(), |raw| raw.at, "demand", report);
    for raw in root.demand.list() {
        let id = report.need(&raw.id, raw.at, "id", "\"D-001\"");
        if let Some(id) = id {
            report.once(&mut seen, id.value.clone(), id.span, "demand");
        }
        let example = "\"spiffe://brain.example/city/310115/brain/traffic\"";
        let requester = report.need(&raw.requester, raw.at, "requester", example);
        let purpose = report.need(&raw.purpose, raw.at, "purpose", "\"traffic.peak\"");
        let wants = ids.hold(List::Share, &raw.wants, report);
        let decision = raw.status.or(Decision::Open);
        let reason = text(&raw.reason, "reason", TEXT_MAX, report);
        if decision == Decision::Refused && reason.trim().is_empty() {
            let help = "reason = \"…\": whoever asked has a right to know why";
            report.missing(raw.status.span_or(raw.at), "refused without a reason", help);
        }
        if decision == Decision::Approved {
            for want in raw.wants.list() {
                let line = root.share.list().iter().find(|share| share.id.value() == Some(&want.value));
                if let Some(line) = line.filter(|line| line.is_forbidden()) {
                    let message = format!("approved, but {} is never shared", want.value);
                    report.twice(
                        want.span,
                        line.class.span_or(line.at),
                        message,
                        "status = \"refused\" with a reason",
                    );
                }
            }
        }
        let Some(((id, requester), purpose)) = id.zip(requester).zip(purpose) else { continue };
        found.push(lists::Demand {
            id: id.value.clone(),
            title: text(&raw.title, "title", TITLE_MAX, report),
            requester: Some(requester.value.clone()),
            purpose: purpose.value.clone(),
            basis: text(&raw.basis, "basis", TEXT_MAX, report),
            wants,
            decision,
            reason,
            until_ms: raw.until.value().map(|until| until_ms(*until, zone)),
        });
    }
    found
}

fn collects(root: &Root, lines: &Lines, ids: &Ids<'_>, report: &mut Report) -> Vec<lists::Collect> {
    let mut found = Vec::new();
    for raw in root.collect.list() {
        let serves = ids.hold(List::Demand, &raw.serves, report);
        let basis = text(&raw.basis, "basis", TEXT_MAX, report);
        let retention = raw.retention.value();
        let Some(id) = raw.id.value() else { continue };
        let source = lines.get(List::Collect, id).and_then(|line| line.json["source"].as_str());
        found.push(lists::Collect {
            id: id.clone(),
            title: raw.title.or(String::new()),
            purpose: raw.purpose.or(String::new()),
            basis,
            public: raw.public.value().copied(),
            sensitivity: raw.sensitivity.value().map(|grade| grade.0.to_owned()),
            serves,
            raw_ms: retention.and_then(|retention| retention.raw.value()).map(|raw| millis(*raw)),
            sealed_ms: retention.and_then(|retention| retention.sealed.value()).map(|sealed| millis(*sealed)),
            manual: source == Some("manual"),
        });
    }
    found
}

fn shares(
    root: &Root,
    lines: &Lines,
    ids: &Ids<'_>,
    known: &Lists,
    zone: Zone,
    report: &mut Report,
) -> Vec<lists::Share> {
    let mut found = Vec::new();
    for raw in root.share.list() {
        let from = ids.hold(List::Collect, &raw.from, report);
        let demands = ids.hold(List::Demand, &raw.demand, report);
        let (basis, reason) =
            (text(&raw.basis, "basis", TEXT_MAX, report), text(&raw.reason, "reason", TEXT_MAX, report));
        let level = report.within(&raw.level, 1..=4, "level").and_then(|level| u8::try_from(level).ok());
        let written = raw.id.value().and_then(|id| lines.get(List::Share, id));
        if raw.is_forbidden() {
            refused(raw, report);
        } else {
            conditioned(raw, written, report);
            drawn(raw, known, report);
        }
        let Some(id) = raw.id.value() else { continue };
        let said = |key: &str| written.map(|line| &line.json[key]).filter(|said| !said.is_null());
        found.push(lists::Share {
            id: id.clone(),
            title: raw.title.or(String::new()),
            purpose: raw.purpose.or(String::new()),
            class: raw.class.value().copied(),
            from,
            demands,
            reason,
            basis,
            metrics: raw.metrics.list().iter().map(|at| at.value.clone()).collect(),
            carries: raw.carries.list().iter().map(|at| at.value.clone()).collect(),
            lane: raw.lane.value().copied().filter(|_| !raw.is_forbidden()),
            consumers: raw.consumers.list().iter().map(|at| at.value.clone()).collect(),
            devices: raw.devices.or(false),
            places: raw.places.or(false),
            approval: raw.approval.or(String::new()),
            tier: written.and_then(|line| line.tier.as_ref()).map(|tier| tier.value.clone()),
            until_ms: raw.until.value().map(|until| until_ms(*until, zone)),
            protect: said("protect").map(Json::to_string),
            noise: said("protect").and_then(noise),
            level,
        });
    }
    found
}

/// A line that says what is never shared: why, and nothing that would hand it out.
fn refused(raw: &raw::Share, report: &mut Report) {
    report.need(&raw.id, raw.at, "id", "\"X-001\"");
    report.need(&raw.metrics, raw.at, "metrics", "[\"trajectory\"]");
    if raw.reason.value().is_none_or(|reason| reason.trim().is_empty()) {
        let help = "reason = \"…\": why it is never shared, for whoever asks";
        report.missing(raw.reason.span_or(raw.at), "forbidden without a reason", help);
    }
    let given = [
        ("lane", raw.lane.get().map(|at| at.span)),
        ("consumers", raw.consumers.get().map(|at| at.span)),
        ("devices", raw.devices.get().map(|at| at.span)),
        ("places", raw.places.get().map(|at| at.span)),
        ("approval", raw.approval.get().map(|at| at.span)),
        ("until", raw.until.get().map(|at| at.span)),
        ("from", raw.from.get().map(|at| at.span)),
        ("demand", raw.demand.get().map(|at| at.span)),
        ("when", raw.when.get().map(|at| at.span)),
    ];
    for (name, span) in given.into_iter().filter_map(|(name, span)| Some((name, span?))) {
        let message = format!("{name} on a line that is never shared");
        report.fault(span, message, "a forbidden line has id, title, reason, basis, metrics and carries");
    }
}

/// Who shares on conditions says on which: a tier above T0, or a paper that stands outside.
fn conditioned(raw: &raw::Share, written: Option<&Line>, report: &mut Report) {
    if raw.class.value() != Some(&Class::Conditional) {
        return;
    }
    let help = "a tier from \"T1\", or approval with the paper it stands on; else class = \"unconditional\"";
    match written.and_then(|line| line.tier.as_ref()) {
        Some(tier) if tier.value == "T0" => report.fault(tier.span, "conditional with tier T0", help),
        Some(_) => {}
        None if raw.approval.value().is_none_or(|paper| paper.trim().is_empty()) => {
            report.missing(raw.class.span_or(raw.at), "conditional without an approval", help);
        }
        None => {}
    }
}

/// A line that says where it draws from draws every metric from there.
fn drawn(raw: &raw::Share, known: &Lists, report: &mut Report) {
    let Some(from) = raw.from.get() else { return };
    let has = |metric: &Metric| {
        known.points.iter().any(|point| {
            let named = point.collect.as_ref().is_some_and(|id| from.value.iter().any(|at| at.value == *id));
            named && point.metric == *metric && point.is_taken()
        })
    };
    let collected =
        |metric: &Metric| known.points.iter().any(|point| point.metric == *metric && point.is_taken());
    for metric in raw.metrics.list().iter().filter(|at| collected(&at.value) && !has(&at.value)) {
        let message = format!("{} is collected by none of the lines in `from`", metric.value);
        report.twice(metric.span, from.span, message, "name the collect line that takes it");
    }
}

fn governance(root: &Root, ids: &Ids<'_>, known: &Lists, report: &mut Report) -> Vec<lists::Governance> {
    let mut seen = HashMap::new();
    let mut found = Vec::new();
    counted(root.governance.list(), |raw| raw.at, "governance", report);
    let alarms = || root.alarm.list().iter().filter_map(|raw| raw.id.value()).map(LineId::as_str);
    for raw in root.governance.list() {
        let id = report.need(&raw.id, raw.at, "id", "\"G-001\"");
        if let Some(id) = id {
            report.once(&mut seen, id.value.clone(), id.span, "governance line");
        }
        let owner = report.need(&raw.owner, raw.at, "owner", "\"property\"");
        report.need(&raw.triggers, raw.at, "triggers", "[\"fire\"]");
        for trigger in raw.triggers.list() {
            let metric = known.points.iter().any(|point| point.metric.as_str() == trigger.value);
            if !metric && !alarms().any(|id| id == trigger.value) {
                let metrics = known.points.iter().map(|point| point.metric.as_str());
                report.unknown(trigger.span, "alarm or metric", &trigger.value, alarms().chain(metrics));
            }
        }
        let sla = raw.sla.value();
        let (accept, close) = (sla.and_then(|sla| sla.accept.get()), sla.and_then(|sla| sla.close.get()));
        if let Some((accept, close)) = accept.zip(close)
            && accept.value > close.value
        {
            report.twice(
                accept.span,
                close.span,
                "taken up later than closed",
                "accept at most as long as close",
            );
        }
        let closes = ids.hold(List::Demand, &raw.closes, report);
        let problem = text(&raw.problem, "problem", TITLE_MAX, report);
        let Some((id, owner)) = id.zip(owner) else { continue };
        found.push(lists::Governance {
            id: id.value.clone(),
            problem,
            triggers: raw.triggers.list().iter().map(|at| at.value.clone()).collect(),
            owner: owner.value.clone(),
            accept_ms: accept.map(|at| millis(at.value)),
            close_ms: close.map(|at| millis(at.value)),
            feedback_from: raw.feedback_from.list().iter().map(|at| at.value.clone()).collect(),
            closes,
        });
    }
    found
}

/// What a forbidden line names is in no other line: not as a metric, not as an alarm or aggregate, and not through an alarm
/// that reads it.
fn forbidden(root: &Root, known: &Lists, report: &mut Report) {
    let never: Vec<&raw::Share> = root.share.list().iter().filter(|raw| raw.is_forbidden()).collect();
    if never.is_empty() {
        return;
    }
    let lines: HashMap<&LineId, &lists::Share> =
        known.shares.iter().filter(|share| share.is_forbidden()).map(|share| (&share.id, share)).collect();
    let help = "leave it out: a forbidden line holds for every consumer and every purpose";
    for raw in root.share.list().iter().filter(|raw| !raw.is_forbidden()) {
        for line in &never {
            let Some((id, share)) = line.id.value().and_then(|id| lines.get_key_value(id)) else { continue };
            for metric in raw.metrics.list().iter().filter(|at| share.forbids(&at.value)) {
                let message = format!("{} is never shared: {id} forbids it", metric.value);
                report.twice(metric.span, line.at, message, help);
            }
            for carry in raw.carries.list() {
                // Of an aggregate only the metrics of the line leave.
                let alarms = known.alarms.iter().filter(|alarm| alarm.id == carry.value);
                let alarms = alarms.filter(|_| raw.lane.value() == Some(&Lane::Alarm));
                let mut about = alarms.flat_map(|alarm| &alarm.metrics);
                let through = about.find(|metric| share.forbids(metric));
                if share.carries.contains(&carry.value) {
                    let message = format!("{} is never shared: {id} forbids it", carry.value);
                    report.twice(carry.span, line.at, message, help);
                } else if let Some(metric) = through {
                    let message = format!("{} tells of {metric}, which {id} forbids to share", carry.value);
                    report.twice(carry.span, line.at, message, help);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
