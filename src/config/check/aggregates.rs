//! Aggregates: which points they fold, into windows of which length, and what they tell of them.
//!
//! Guarantees: what an aggregate folds exists, is of a kind that has its statistics, and is kept as it is by the
//! collection list; a window is long enough to have readings. Does not decide who may see it: that is the share list's.

use std::collections::HashMap;
use std::time::Duration;

use rust_decimal::Decimal;

use super::fleet::{Device, Fleet, Point, Template};
use super::rules::known;
use super::{DAY, Shown, millis};
use crate::aggregate::Pace;
use crate::aggregate::statistic::{NAMES, Statistic, Statistics};
use crate::aggregate::windows::{self, Aggregate};
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, By, Do, Mean, Root};
use crate::config::read::At;
use crate::config::values::Zone;
use crate::model::{DeviceId, Metric};
use crate::normalise::Kind;
use crate::store;

/// Edges of a histogram; one more is a fault. All buckets of a cell have to fit one record.
const EDGES_MAX: usize = 64;
/// Statistics of one aggregate; one more is a fault.
const STATISTICS_MAX: usize = 32;

/// Checks `[[aggregate]]`: the aggregates, and the points (device, number of the point) that each of them folds.
pub(super) fn aggregates(
    root: &Root,
    fleet: &Fleet<'_>,
    zone: Zone,
    store: Option<&store::Settings>,
    report: &mut Report,
) -> (Vec<Aggregate>, Vec<Vec<(usize, usize)>>) {
    means(fleet, report);
    let mut seen = HashMap::new();
    let mut aggregates = (Vec::new(), Vec::new());
    for raw in root.aggregate.list() {
        if let Some(id) = raw.id.get() {
            report.once(&mut seen, id.value.clone(), id.span, "aggregate");
        }
        let statistics = statistics(raw, report);
        edges(raw, &statistics, report);
        let covered = aggregated(raw, fleet, &statistics, report);
        if let Some(aggregate) = aggregate(raw, zone, store, &statistics, report) {
            aggregates.0.push(aggregate);
            aggregates.1.push(covered);
        }
    }
    aggregates
}

/// How a point is expected to tell something.
pub(super) fn pace(
    template: &Template<'_>,
    device: &Device<'_>,
    point: &Point,
    silences: &HashMap<DeviceId, Duration>,
) -> Pace {
    let length_ms = |length: Duration| i64::try_from(millis(length)).unwrap_or(i64::MAX);
    let polled = point.place.as_ref().filter(|_| !device.raw.port.is_absent());
    Pace {
        time_mean: is_by_time(template, &point.metric),
        period_ms: polled.map(|place| length_ms(place.period)),
        silence_ms: silences.get(&device.id).copied().map(length_ms),
    }
}

fn is_by_time(template: &Template<'_>, metric: &Metric) -> bool {
    let of = |raw: &&raw::Point| raw.metric.value() == Some(metric);
    template.raw.point.list().iter().find(of).is_some_and(|raw| raw.mean.or(Mean::Reading) == Mean::Time)
}

fn means(fleet: &Fleet<'_>, report: &mut Report) {
    for raw in fleet.templates.iter().flat_map(|template| template.raw.point.list()) {
        if let Some(mean) = raw.mean.get().filter(|_| raw.kind.value() == Some(&Kind::Text)) {
            report.fault(mean.span, "mean on a point that is a text", "only numbers and flags have it");
        }
    }
}

/// What is to be told, each with its place; what is wrong is told and left out.
fn statistics(raw: &raw::Aggregate, report: &mut Report) -> Vec<(Statistic, Span)> {
    let Some(written) = raw.statistics.get() else {
        return Statistics::default().iter().map(|statistic| (statistic, raw.at)).collect();
    };
    let names = &written.value;
    if names.is_empty() || names.len() > STATISTICS_MAX {
        let help = format!("1 to {STATISTICS_MAX} of {}", NAMES.join(", "));
        report.fault(written.span, format!("an aggregate of {} statistics", names.len()), help);
    }
    let mut seen = HashMap::new();
    let mut statistics = Vec::new();
    for name in names.iter().take(STATISTICS_MAX) {
        match name.value.parse::<Statistic>() {
            Ok(statistic) => {
                report.once(&mut seen, statistic, name.span, "statistic");
                statistics.push((statistic, name.span));
            }
            Err(error) if is_quantile(&name.value) => {
                report.fault(name.span, format!("quantile {:?}: {error}", name.value), "p0.1 to p99.9");
            }
            Err(_) => report.unknown(name.span, "statistic", &name.value, NAMES),
        }
    }
    statistics
}

fn is_quantile(name: &str) -> bool {
    name.strip_prefix('p').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn edges(raw: &raw::Aggregate, statistics: &[(Statistic, Span)], report: &mut Report) {
    let histogram = statistics.iter().find(|(statistic, _)| *statistic == Statistic::Histogram);
    let example = "edges = [\"0\", \"10\", \"20\"]";
    match (histogram, raw.edges.get()) {
        (Some((_, span)), None) if raw.edges.is_absent() => {
            report.missing(*span, "histogram without edges", example);
        }
        (None, Some(edges)) if !matches!(raw.statistics, crate::config::read::Key::Wrong) => {
            report.missing(edges.span, "edges without histogram", "\"histogram\" among the statistics");
        }
        _ => {}
    }
    let Some(edges) = raw.edges.get() else { return };
    if edges.value.is_empty() || edges.value.len() > EDGES_MAX {
        let message = format!("{} edges of a histogram", edges.value.len());
        report.fault(edges.span, message, format!("1 to {EDGES_MAX}: {example}"));
    }
    for pair in edges.value.windows(2) {
        if pair[1].value <= pair[0].value {
            let message = format!("edge {} after {}", pair[1].value, pair[0].value);
            report.fault(pair[1].span, message, format!("edges that rise: {example}"));
        }
    }
}

/// What a cell of it covers.
pub(super) fn by(raw: &raw::Aggregate) -> windows::By {
    match raw.by.or(By::Device) {
        By::Device => windows::By::Device,
        By::Building => windows::By::Building,
        By::Compound => windows::By::Compound,
    }
}

fn aggregate(
    raw: &raw::Aggregate,
    zone: Zone,
    store: Option<&store::Settings>,
    statistics: &[(Statistic, Span)],
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
    let edges: Vec<Decimal> = raw.edges.list().iter().map(|edge| edge.value).collect();
    Some(Aggregate {
        id: id.value.clone(),
        size_ms: i64::try_from(size_ms).unwrap_or(i64::MAX),
        lateness_ms: i64::try_from(millis(lateness)).unwrap_or(i64::MAX),
        zone_ms: zone.0,
        by: by(raw),
        crowds: None,
        statistics: statistics.iter().map(|(statistic, _)| *statistic).collect(),
        edges,
    })
}

fn aggregated(
    raw: &raw::Aggregate,
    fleet: &Fleet<'_>,
    statistics: &[(Statistic, Span)],
    report: &mut Report,
) -> Vec<(usize, usize)> {
    let metrics = report.need(&raw.metrics, raw.at, "metrics", "[\"temperature\"]");
    if let Some(metrics) = metrics.filter(|metrics| metrics.value.is_empty()) {
        report.fault(metrics.span, "aggregate of nothing", "one or more metrics");
    }
    let mut seen = HashMap::new();
    let mut covered = Vec::new();
    for metric in raw.metrics.list() {
        report.once(&mut seen, metric.value.clone(), metric.span, "metric");
        let Some(kind) = known(metric, fleet, report) else { continue };
        if !kinds(metric, kind, statistics, report) {
            continue;
        }
        let point =
            |(device, point): &(usize, usize)| &fleet.template_of(&fleet.devices[*device]).points[*point];
        let all = fleet.having(&metric.value);
        let of_texts = statistics.iter().all(|(statistic, _)| statistic.is_of_texts());
        let is_taken = |at: &(usize, usize)| is_kept(point(at)) || (of_texts && is_pseudonym(point(at)));
        if !all.is_empty() && !all.iter().any(is_taken) {
            let message = format!("{} is not kept as it is by the collection list", metric.value);
            let help = "a [[collect]] line with it as \"keep\"; a keyed name has statistics = [\"count\", \"distinct\"]";
            report.missing(metric.span, message, help);
        }
        covered.extend(all.iter().copied().filter(is_taken));
    }
    let covered = fleet.chosen(covered, &raw.devices, report);
    periods(raw, &covered, fleet, report);
    for metric in raw.metrics.list() {
        points(raw, metric, &covered, fleet, statistics, report);
    }
    covered
}

fn is_kept(point: &Point) -> bool {
    matches!(point.listed, Some((_, Some(Do::Keep) | None)))
}

/// Whether it is a keyed name behind the door.
pub(super) fn is_pseudonym(point: &Point) -> bool {
    matches!(point.listed, Some((_, Some(Do::Pseudonym))))
}

/// Whether a kind has all statistics.
fn kinds(metric: &At<Metric>, kind: Kind, statistics: &[(Statistic, Span)], report: &mut Report) -> bool {
    let has = |statistic: Statistic| match kind {
        Kind::Number => true,
        Kind::Flag => statistic.is_of_flags(),
        Kind::Text => statistic.is_of_texts(),
    };
    let lacking: Vec<_> = statistics.iter().filter(|(statistic, _)| !has(*statistic)).collect();
    if kind == Kind::Text && !lacking.is_empty() {
        let help = "numbers and flags; texts in an aggregate with statistics = [\"count\", \"distinct\"]";
        report.fault(metric.span, format!("{} is a text", metric.value), help);
        return false;
    }
    for (statistic, span) in &lacking {
        let message = format!("{statistic} of {}, which is a flag", metric.value);
        report.fault(*span, message, "an aggregate of its own for numbers");
    }
    lacking.is_empty()
}

/// What only the templates of the points tell.
fn points(
    raw: &raw::Aggregate,
    metric: &At<Metric>,
    covered: &[(usize, usize)],
    fleet: &Fleet<'_>,
    statistics: &[(Statistic, Span)],
    report: &mut Report,
) {
    let of = |template: &Template<'_>| {
        let used = |(device, point): &(usize, usize)| {
            let model = fleet.template_of(&fleet.devices[*device]);
            model.name == template.name && model.points[*point].metric == metric.value
        };
        covered.iter().any(used)
    };
    let templates: Vec<&Template<'_>> = fleet.templates.iter().filter(|template| of(template)).collect();
    let place = |wanted| statistics.iter().find(|(statistic, _)| *statistic == wanted).map(|(_, span)| *span);
    let falls = |template: &&&Template<'_>| {
        template.points.iter().any(|point| point.metric == metric.value && !point.plausible.monotonic)
    };
    if let Some(span) = place(Statistic::Delta)
        && let Some(template) = templates.iter().find(falls)
    {
        let message = format!("delta of {}, which is not monotonic", metric.value);
        let help = format!("a counter: monotonic = true on the point of template {}", template.name);
        report.fault(span, message, help);
    }
    let by_time = |template: &Template<'_>| is_by_time(template, &metric.value);
    let is_mixed = || templates.iter().any(|t| by_time(t)) && templates.iter().any(|t| !by_time(t));
    if place(Statistic::Mean).is_some() && raw.by.or(By::Device) != By::Device && is_mixed() {
        let message = format!("one mean of {}, by time and by reading", metric.value);
        report.fault(
            metric.span,
            message,
            "the same mean on the points of all templates, or by = \"device\"",
        );
    }
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
