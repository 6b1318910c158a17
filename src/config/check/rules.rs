//! Aggregates, and the points they watch.
//!
//! Guarantees: what they watch exists, is of a kind that can be summed, and may be kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::fleet::Fleet;
use super::{aggregates, millis};
use crate::aggregate::windows::Aggregate;
use crate::config::fault::Report;
use crate::config::raw::Root;
use crate::config::read::At;
use crate::config::values::Zone;
use crate::model::{DeviceId, Metric, Place, SeriesKey};
use crate::normalise::Kind;
use crate::rules::thinning;
use crate::{ingest, store};

/// Aggregates, each with the points (device, number of the point) it watches.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) aggregated: Vec<Vec<(usize, usize)>>,
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
    (rules.aggregates, rules.aggregated) = aggregates::aggregates(root, fleet, zone, store, report);
    rules
}

impl Rules {
    /// Every point by its series, with the aggregates that watch it.
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
                    building: Place::building(device.raw.place.value()),
                    unit: point.unit.clone(),
                    rule: point.rule.clone(),
                    plausible: point.plausible,
                    thinning: thinning::Rule {
                        band: point.deadband,
                        change_only: point.change_only,
                        sample_ms: point.sample.map(millis),
                    },
                    pace: aggregates::pace(template, device, point, silences),
                    manual: template.manual,
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
