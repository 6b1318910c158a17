//! Aggregates, and the points they watch.
//!
//! Guarantees: what they watch exists, is of a kind that can be summed, and may be kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Fleet, Point};
use super::{DAY, Shown, millis};
use crate::aggregate::windows::Aggregate;
use crate::config::fault::Report;
use crate::config::raw::{self, By, Do, Root};
use crate::config::read::At;
use crate::config::values::Zone;
use crate::model::{Metric, SeriesKey};
use crate::normalise::Kind;
use crate::rules::thinning;
use crate::{ingest, store};

/// Aggregates, each with the points (device, number of the point) it watches.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) aggregates: Vec<Aggregate>,
    aggregated: Vec<Vec<(usize, usize)>>,
}

/// Checks `[[aggregate]]`.
pub(super) fn rules(
    root: &Root,
    fleet: &Fleet<'_>,
    zone: Zone,
    store: Option<&store::Settings>,
    report: &mut Report,
) -> Rules {
    let mut rules = Rules::default();
    let mut seen = HashMap::new();
    for raw in root.aggregate.list() {
        if let Some(id) = raw.id.get() {
            report.once(&mut seen, id.value.clone(), id.span, "aggregate");
        }
        let covered = aggregated(raw, fleet, report);
        if let Some(aggregate) = aggregate(raw, zone, store, report) {
            rules.aggregates.push(aggregate);
            rules.aggregated.push(covered);
        }
    }
    rules
}

impl Rules {
    /// Every point by its series, with the aggregates that watch it.
    pub(super) fn points(
        &self,
        fleet: &Fleet<'_>,
        series: &[Arc<[SeriesKey]>],
        count: usize,
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
                    thinning: thinning::Rule {
                        band: point.deadband,
                        change_only: point.change_only,
                        sample_ms: point.sample.map(millis),
                    },
                    treatment: point.treatment.clone(),
                    aggregates: Vec::new(),
                });
            }
        }
        for (rule, covered) in self.aggregated.iter().enumerate() {
            for (device, point) in covered {
                let Some(key) = series.get(*device).map(|numbers| numbers[*point]) else { continue };
                let Some(point) = &mut points[key.index()] else { continue };
                point.aggregates.push(rule);
            }
        }
        points
    }
}

fn known(metric: &At<Metric>, fleet: &Fleet<'_>, report: &mut Report) -> Option<Kind> {
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

fn aggregate(
    raw: &raw::Aggregate,
    zone: Zone,
    store: Option<&store::Settings>,
    report: &mut Report,
) -> Option<Aggregate> {
    let id = report.need(&raw.id, raw.at, "id", "\"A-15m\"");
    let size = report.need(&raw.size, raw.at, "size", "\"15m\"");
    let lateness = report.bounded(&raw.lateness, Duration::from_secs(30), Duration::ZERO..=DAY, "lateness");
    let (id, size) = (id?, size?);
    let size_ms = millis(size.value);
    if size_ms < 1000 || !millis(DAY).is_multiple_of(size_ms) {
        let help = "a size that divides a day, from 1s to 1d: \"1m\", \"5m\", \"15m\", \"1h\", \"1d\"";
        report.fault(size.span, format!("windows of {} do not end with a day", size.value.shown()), help);
    }
    if let Some(retention) = store.map(|store| store.retention)
        && size.value + lateness > retention
    {
        let message = format!("windows of {} over readings of {}", size.value.shown(), retention.shown());
        report.fault(size.span, message, "a window and its lateness within retention of [store]");
    }
    Some(Aggregate {
        id: id.value.clone(),
        size_ms: i64::try_from(size_ms).unwrap_or(i64::MAX),
        lateness_ms: i64::try_from(millis(lateness)).unwrap_or(i64::MAX),
        zone_ms: zone.0,
        by_device: raw.by.or(By::Device) == By::Device,
    })
}

fn aggregated(raw: &raw::Aggregate, fleet: &Fleet<'_>, report: &mut Report) -> Vec<(usize, usize)> {
    let metrics = report.need(&raw.metrics, raw.at, "metrics", "[\"temperature\"]");
    if let Some(metrics) = metrics.filter(|metrics| metrics.value.is_empty()) {
        report.fault(metrics.span, "aggregate of nothing", "one or more metrics");
    }
    let mut seen = HashMap::new();
    let mut covered = Vec::new();
    for metric in raw.metrics.list() {
        report.once(&mut seen, metric.value.clone(), metric.span, "metric");
        let Some(kind) = known(metric, fleet, report) else { continue };
        if kind == Kind::Text {
            report.fault(metric.span, format!("{} is a text", metric.value), "numbers and flags");
            continue;
        }
        let kept = |point: &Point| matches!(point.listed, Some((_, Some(Do::Keep) | None)));
        let point =
            |(device, point): &(usize, usize)| &fleet.template_of(&fleet.devices[*device]).points[*point];
        let all = fleet.having(&metric.value);
        if !all.is_empty() && !all.iter().any(|at| kept(point(at))) {
            let message = format!("{} is not kept as it is by the collection list", metric.value);
            report.missing(metric.span, message, "a [[collect]] line with it as \"keep\"");
        }
        covered.extend(all.into_iter().filter(|at| kept(point(at))));
    }
    let covered = fleet.chosen(covered, &raw.devices, report);
    periods(raw, &covered, fleet, report);
    covered
}

/// A window shorter than the time between two readings would be empty more often than not.
fn periods(raw: &raw::Aggregate, covered: &[(usize, usize)], fleet: &Fleet<'_>, report: &mut Report) {
    let polled = covered.iter().map(|(device, point)| (&fleet.devices[*device], *point));
    let longest = polled
        .filter(|(device, _)| !device.raw.port.is_absent())
        .filter_map(|(device, point)| {
            Some((fleet.template_of(device).points[point].place.as_ref()?.period, device))
        })
        .max_by_key(|(period, _)| *period);
    if let (Some((period, device)), Some(size)) = (longest, raw.size.get())
        && size.value < period
    {
        let message =
            format!("windows of {}, but {} is read every {}", size.value.shown(), device.id, period.shown());
        report.fault(size.span, message, "a size of at least the period");
    }
}
