//! Alarms and aggregates, and the points they watch.
//!
//! Guarantees: what they watch exists, is of a kind that can be compared or summed, and may be kept: a value that the
//! collection list takes out never raises an alarm that carries it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::fleet::Fleet;
use super::{DAY, aggregates, millis};
use crate::aggregate::windows::Aggregate;
use crate::config::fault::Report;
use crate::config::raw::{self, Do, Root};
use crate::config::read::{At, Key};
use crate::config::values::Zone;
use crate::model::{DeviceId, Metric, SeriesKey};
use crate::normalise::Kind;
use crate::rules::alarm::{Alarm, Condition};
use crate::{ingest, store};

/// Alarms and aggregates, each with the points (device, number of the point) it watches.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) alarms: Vec<Alarm>,
    pub(super) aggregates: Vec<Aggregate>,
    alarmed: Vec<Vec<(usize, usize)>>,
    aggregated: Vec<Vec<(usize, usize)>>,
}

/// Checks `[[alarm]]` and `[[aggregate]]`.
pub(super) fn rules(
    root: &Root,
    fleet: &Fleet<'_>,
    zone: Zone,
    store: Option<&store::Settings>,
    report: &mut Report,
) -> Rules {
    let mut rules = Rules::default();
    let mut seen = HashMap::new();
    for raw in root.alarm.list() {
        if let Some(id) = raw.id.get() {
            report.once(&mut seen, id.value.clone(), id.span, "alarm");
        }
        let covered = alarmed(raw, fleet, report);
        if let Some(alarm) = alarm(raw, fleet, report) {
            rules.alarms.push(alarm);
            rules.alarmed.push(covered);
        }
    }
    (rules.aggregates, rules.aggregated) = aggregates::aggregates(root, fleet, zone, store, report);
    rules
}

impl Rules {
    /// Every point by its series, with the alarms and aggregates that watch it.
    pub(super) fn points(
        &self,
        fleet: &Fleet<'_>,
        series: &[Arc<[SeriesKey]>],
        count: usize,
        silences: &HashMap<DeviceId, Duration>,
    ) -> Vec<Option<ingest::Point>> {
        let mut points: Vec<Option<ingest::Point>> = vec![None; count];
        for (device, numbers) in fleet.devices.iter().zip(series) {
            let template = fleet.template_of(device);
            for (point, series) in template.points.iter().zip(numbers.iter()) {
                points[series.index()] = Some(ingest::Point {
                    device: device.id.clone(),
                    class: template.name.to_string(),
                    metric: point.metric.clone(),
                    unit: point.unit.clone(),
                    rule: point.rule.clone(),
                    plausible: point.plausible,
                    pace: aggregates::pace(template, device, point, silences),
                    deadband: point.deadband,
                    treatment: point.treatment.clone(),
                    alarms: Vec::new(),
                    aggregates: Vec::new(),
                });
            }
        }
        let mut watched = |rule: usize, covered: &[(usize, usize)], alarm: bool| {
            for (device, point) in covered {
                let Some(key) = series.get(*device).map(|numbers| numbers[*point]) else { continue };
                let Some(point) = &mut points[key.index()] else { continue };
                (if alarm { &mut point.alarms } else { &mut point.aggregates }).push(rule);
            }
        };
        self.alarmed.iter().enumerate().for_each(|(rule, covered)| watched(rule, covered, true));
        self.aggregated.iter().enumerate().for_each(|(rule, covered)| watched(rule, covered, false));
        points
    }
}

pub(super) fn known(metric: &At<Metric>, fleet: &Fleet<'_>, report: &mut Report) -> Option<Kind> {
    let kind = fleet.metrics.get(&metric.value).map(|(_, kind, _)| *kind);
    if kind.is_none() {
        report.unknown(
            metric.span,
            "metric",
            metric.value.as_str(),
            fleet.metrics.keys().map(Metric::as_str),
        );
    }
    kind
}

fn alarm(raw: &raw::Alarm, fleet: &Fleet<'_>, report: &mut Report) -> Option<Alarm> {
    let id = report.need(&raw.id, raw.at, "id", "\"fire\"");
    let metric = report.need(&raw.metric, raw.at, "metric", "\"temperature\"");
    let severity = report.need(&raw.severity, raw.at, "severity", "\"major\"");
    let kind = metric.and_then(|metric| known(metric, fleet, report));
    let condition = condition(raw, kind, report);
    let hold = report.bounded(&raw.hold, Duration::ZERO, Duration::ZERO..=DAY, "hold");
    Some(Alarm {
        id: id?.value.clone(),
        condition: condition?,
        hold_ms: millis(hold),
        severity: severity?.value,
    })
}

fn condition(raw: &raw::Alarm, kind: Option<Kind>, report: &mut Report) -> Option<Condition> {
    let (condition, span, wanted) = match (raw.above.get(), raw.below.get(), raw.is.get()) {
        (Some(limit), None, None) => {
            let clear = clear(raw, limit.value, |clear| clear <= limit.value, "at or below", report);
            (Condition::Above { limit: limit.value, clear }, limit.span, Kind::Number)
        }
        (None, Some(limit), None) => {
            let clear = clear(raw, limit.value, |clear| clear >= limit.value, "at or above", report);
            (Condition::Below { limit: limit.value, clear }, limit.span, Kind::Number)
        }
        (None, None, Some(flag)) => {
            if let Some(clear) = raw.clear.get() {
                report.fault(clear.span, "clear with a flag", "only above and below have it");
            }
            (Condition::Is(flag.value), flag.span, Kind::Flag)
        }
        (None, None, None) => {
            let wrong = [&raw.above, &raw.below].into_iter().any(|key| matches!(key, Key::Wrong));
            if !wrong && raw.is.is_absent() {
                let help = "one of above = \"60\", below = \"5\", is = true";
                report.missing(raw.at, "alarm without a condition", help);
            }
            return None;
        }
        _ => {
            report.fault(raw.at, "alarm with several conditions", "one of above, below, is");
            return None;
        }
    };
    if kind.is_some_and(|kind| kind != wanted) {
        let help = "above and below for kind = \"number\", is for kind = \"flag\"";
        report.fault(span, "a condition for another kind of metric", help);
    }
    Some(condition)
}

fn clear(
    raw: &raw::Alarm,
    limit: Decimal,
    good: impl Fn(Decimal) -> bool,
    where_to: &str,
    report: &mut Report,
) -> Decimal {
    let Some(clear) = raw.clear.get() else { return limit };
    if !good(clear.value) {
        let message = format!("clear = {} with a limit of {limit}", clear.value);
        report.fault(clear.span, message, format!("{where_to} the limit, or it would clear while it holds"));
    }
    clear.value
}

fn alarmed(raw: &raw::Alarm, fleet: &Fleet<'_>, report: &mut Report) -> Vec<(usize, usize)> {
    let Some(metric) = raw.metric.get().filter(|metric| fleet.metrics.contains_key(&metric.value)) else {
        return Vec::new();
    };
    let covered = fleet.chosen(fleet.having(&metric.value), &raw.devices, report);
    if covered.is_empty() && raw.devices.is_absent() {
        let message = format!("no device has {}", metric.value);
        report.warn(metric.span, message, "a [[device]] of a template with it; until then it never rises");
    }
    let templates: BTreeSet<_> = covered.iter().map(|(device, _)| fleet.devices[*device].template).collect();
    for template in templates.into_iter().map(|index| &fleet.templates[index]) {
        let point = template.points.iter().find(|point| point.metric == metric.value);
        let why = match point.and_then(|point| point.listed) {
            None => "in no line of the collection list",
            Some((_, Some(Do::Keep) | None)) => continue,
            Some(_) => "not kept as it is by the collection list",
        };
        let message = format!("{} of template {} is {why}", metric.value, template.name);
        let help = "alarms read what a [[collect]] line keeps: \"keep\", or devices = […] without them";
        report.missing(metric.span, message, help);
    }
    covered
}
