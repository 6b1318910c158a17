//! Conditions of the configuration: what each may read, what is wrong with it at its place, and whether it may read that.
//!
//! Guarantees: what compiles reads what devices measure and the collection list keeps as it is, and can come true and
//! false. Does not know what a condition is for.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use rust_decimal::Decimal;

use super::fleet::{Device, Fleet, Point};
use super::{Shown, millis};
use crate::config::fault::Report;
use crate::config::raw::{Class, Do};
use crate::config::read::{At, Key};
use crate::model::{DeviceId, Metric};
use crate::normalise::{Kind, Outside};
use crate::rules::cel::{self, Condition, Input, Lookback, Scope, Type, What};
use crate::rules::listed;
use crate::rules::pattern::fits;
use crate::rules::plan::Where;
use crate::rules::schedule::Schedule;

/// The devices, found by their ids.
pub(super) struct Ground<'f> {
    pub(super) fleet: &'f Fleet<'f>,
    /// The lists that the city may share.
    shared: &'f [listed::Line],
    devices: HashMap<&'f str, usize>,
}

/// Whose metrics a condition reads without naming a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Those of any device.
    Any,
    /// Those of devices of these templates.
    Of(BTreeSet<usize>),
    /// Nobody's: it has to name a device.
    Nobody,
    /// These, and it may name no device.
    Listed(Vec<Metric>),
}

struct View<'g, 'f> {
    ground: &'g Ground<'f>,
    own: &'g Own,
}

impl Scope for View<'_, '_> {
    fn metric(&self, device: Option<&str>, metric: &str) -> Option<Type> {
        let fleet = self.ground.fleet;
        let (_, kind, _) = fleet.metrics.get(metric)?;
        let has = |template: usize| {
            fleet.templates[template].points.iter().any(|point| point.metric.as_str() == metric)
        };
        let there = match (device, self.own) {
            (Some(_), Own::Listed(_)) | (None, Own::Nobody) => false,
            (Some(device), _) => has(fleet.devices[*self.ground.devices.get(device)?].template),
            (None, Own::Any) => true,
            (None, Own::Of(templates)) => templates.iter().any(|template| has(*template)),
            (None, Own::Listed(metrics)) => metrics.iter().any(|listed| listed.as_str() == metric),
        };
        there.then_some(match kind {
            Kind::Number => Type::Number,
            Kind::Flag => Type::Flag,
            Kind::Text => Type::Text,
        })
    }

    fn device(&self, device: &str) -> bool {
        !matches!(self.own, Own::Listed(_)) && self.ground.devices.contains_key(device)
    }

    fn metrics(&self, device: Option<&str>) -> Vec<String> {
        let all = self.ground.fleet.metrics.keys().map(Metric::as_str);
        let mut known: Vec<String> =
            all.filter(|metric| self.metric(device, metric).is_some()).map(str::to_owned).collect();
        known.sort_unstable();
        known
    }

    fn devices(&self) -> Vec<String> {
        match self.own {
            Own::Listed(_) => Vec::new(),
            _ => self.ground.fleet.devices.iter().map(|device| device.id.to_string()).collect(),
        }
    }

    fn lists(&self) -> Vec<String> {
        self.ground.shared.iter().map(|line| line.id.to_string()).collect()
    }
}

impl<'f> Ground<'f> {
    pub(super) fn of(fleet: &'f Fleet<'f>, shared: &'f [listed::Line]) -> Self {
        let devices = fleet.devices.iter().enumerate();
        let devices = devices.map(|(index, device)| (device.id.as_str(), index)).collect();
        Self { fleet, shared, devices }
    }

    /// The index of a device.
    pub(super) fn device(&self, id: &str) -> Option<usize> {
        self.devices.get(id).copied()
    }

    /// What is known of the devices besides what they measure.
    pub(super) fn known(&self) -> HashMap<DeviceId, Where> {
        let known = |device: &Device<'_>| {
            let class = self.fleet.template_of(device).name.to_string();
            (device.id.clone(), Where { class, place: device.raw.place.value().cloned() })
        };
        self.fleet.devices.iter().map(known).collect()
    }

    /// The device of a key, told if there is none.
    pub(super) fn named(&self, id: &At<String>, report: &mut Report) -> Option<usize> {
        let found = self.device(&id.value);
        if found.is_none() {
            let known = self.fleet.devices.iter().map(|device| device.id.as_str());
            report.unknown(id.span, "device", &id.value, known);
        }
        found
    }

    /// Indices of the devices that fit patterns; `None` without patterns.
    pub(super) fn fitting(
        &self,
        patterns: &Key<Vec<At<String>>>,
        report: &mut Report,
    ) -> Option<BTreeSet<usize>> {
        if patterns.is_absent() {
            return None;
        }
        let mut all = BTreeSet::new();
        for pattern in patterns.list() {
            let devices = self.fleet.devices.iter().enumerate();
            let fit: Vec<usize> = devices
                .filter(|(_, device)| fits(&pattern.value, device.id.as_str()))
                .map(|(index, _)| index)
                .collect();
            if fit.is_empty() {
                let help = "the id of a device, or a part of it with *: \"door-*\"";
                report.missing(pattern.span, format!("no device {:?}", pattern.value), help);
            }
            all.extend(fit);
        }
        Some(all)
    }

    /// The condition of a key, and everything that is wrong with it; `None` without one.
    pub(super) fn condition(
        &self,
        name: &str,
        key: &Key<String>,
        own: &Own,
        report: &mut Report,
    ) -> Option<Condition> {
        let text = key.get()?;
        let condition = match cel::compile(&text.value, &View { ground: self, own }) {
            Ok(condition) => condition,
            Err(faults) => {
                for fault in faults {
                    report.within_text(text, fault.at, fault.message, fault.help);
                }
                return None;
            }
        };
        let bare = condition.inputs().iter().find(|input| input.device.is_none());
        if let Some(input) = bare.filter(|_| *own == Own::Nobody) {
            let what = metric_of(input).map_or("online", Metric::as_str);
            let help = format!("the device that is meant: devices[\"wind-1\"].{what}");
            report.within_text(text, place(&text.value, what), format!("{what} of no device"), help);
        }
        let never = "nothing changes that: a condition that can come true and false, or none";
        if let Some(always) = condition.constant() {
            report.fault(text.span, format!("`{name}` is always {always}"), never);
            return Some(condition);
        }
        let help = "min and max of its points, which drop what is outside, leave nothing else";
        match condition.can(&|input| self.range(input, own)) {
            (false, _) => report.fault(text.span, format!("`{name}` can never hold"), help),
            (true, false) => report.fault(text.span, format!("`{name}` always holds"), help),
            (true, true) => {}
        }
        Some(condition)
    }

    /// Within what a number can be; `None` when it can be anything, or is none.
    fn range(&self, input: &Input, own: &Own) -> Option<(Option<Decimal>, Option<Decimal>)> {
        let metric = match &input.what {
            What::Value(metric) | What::Over { metric, of: Lookback::Lowest | Lookback::Highest, .. } => {
                metric
            }
            What::Quality(_) | What::Online | What::Over { .. } | What::Listed { .. } => return None,
        };
        let mut range: Option<(Decimal, Decimal)> = None;
        for (_, point) in self.points(input, metric, own) {
            let drops = |(min, max): &(Decimal, Decimal)| min <= max && point.rule.outside == Outside::Drop;
            let (min, max) = point.rule.range.filter(drops)?;
            let (least, most) = range.unwrap_or((min, max));
            range = Some((least.min(min), most.max(max)));
        }
        let (min, max) = range?;
        let bound = |bound: Decimal, none: Decimal| (bound != none).then_some(bound);
        Some((bound(min, Decimal::MIN), bound(max, Decimal::MAX)))
    }

    /// The points that an input may be about, with the indices of their templates.
    pub(super) fn points(&self, input: &Input, metric: &Metric, own: &Own) -> Vec<(usize, &'f Point)> {
        let templates: Vec<usize> = match (&input.device, own) {
            (Some(device), _) => {
                self.device(device.as_str()).map(|at| self.fleet.devices[at].template).into_iter().collect()
            }
            (None, Own::Of(templates)) => templates.iter().copied().collect(),
            (None, Own::Any | Own::Nobody | Own::Listed(_)) => (0..self.fleet.templates.len()).collect(),
        };
        let point = |template: usize| {
            let mut points = self.fleet.templates[template].points.iter();
            Some((template, points.find(|point| point.metric == *metric)?))
        };
        templates.into_iter().filter_map(point).collect()
    }

    /// The points of a metric of the rule's own devices, with the indices of their templates.
    pub(super) fn points_of(&self, metric: &Metric, own: &Own) -> Vec<(usize, &'f Point)> {
        self.points(&Input { device: None, what: What::Value(metric.clone()) }, metric, own)
    }

    /// Holds that a condition reads only what the collection list keeps, and over no less than the time between two readings.
    pub(super) fn kept(
        &self,
        text: &At<String>,
        condition: &Condition,
        own: &Own,
        report: &mut Report,
    ) -> Duration {
        let mut longest = Duration::ZERO;
        for input in condition.inputs() {
            let Some(metric) = metric_of(input) else { continue };
            let part = place(&text.value, metric.as_str());
            let used =
                |template: &usize| self.fleet.devices.iter().any(|device| device.template == *template);
            let is_key = matches!(input.what, What::Listed { .. });
            for (template, point) in self.points(input, metric, own) {
                if let Some(why) =
                    not_kept(point).filter(|_| !(is_key && is_pseudonym(point))).filter(|_| used(&template))
                {
                    let template = &self.fleet.templates[template].name;
                    let message = format!("{metric} of template {template} is {why}");
                    let help = "conditions read what a [[collect]] line keeps: \"keep\", or devices = […] without them";
                    report.within_text(text, part.clone(), message, help);
                }
                let period = point.place.as_ref().map_or(Duration::ZERO, |place| place.period);
                longest = longest.max(period);
                if let What::Over { over_ms, .. } = input.what
                    && over_ms < millis(period)
                {
                    let over = Duration::from_millis(over_ms).shown();
                    let message = format!("{over} of {metric}, which is read every {}", period.shown());
                    report.within_text(text, part.clone(), message, "at least the period, better some of it");
                }
            }
        }
        longest
    }
}

/// Why an alarm may not look at a point; `None` when it may.
pub(super) fn not_kept(point: &Point) -> Option<&'static str> {
    match point.listed {
        None => Some("in no line of the collection list"),
        Some((_, Some(Do::Keep) | None)) => None,
        Some(_) => Some("not kept as it is by the collection list"),
    }
}

/// Whether a point is kept as a pseudonym, which tells nothing but whether it is the same one.
fn is_pseudonym(point: &Point) -> bool {
    matches!(point.listed, Some((_, Some(Do::Pseudonym))))
}

/// Whether a point tells how somebody lives.
pub(super) fn is_of_people(point: &Point) -> bool {
    matches!(point.class, Class::Household | Class::Personal | Class::Biometric)
}

/// The metric of an input; none where it reads whether a device is there.
pub(super) fn metric_of(input: &Input) -> Option<&Metric> {
    match &input.what {
        What::Value(metric)
        | What::Quality(metric)
        | What::Over { metric, .. }
        | What::Listed { metric, .. } => Some(metric),
        What::Online => None,
    }
}

/// Where a name stands in a condition: the whole text if it is not found.
pub(super) fn place(text: &str, name: &str) -> Range<usize> {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = text.match_indices(name).map(|(at, _)| at);
    let found = at.find(|at| !text[..*at].ends_with(inner) && !text[at + name.len()..].starts_with(inner));
    found.map_or(0..text.len(), |at| at..at + name.len())
}

/// The times of the week of a key; each that is none is told.
pub(super) fn schedule(key: &Key<Vec<At<String>>>, report: &mut Report) -> Schedule {
    let help = "a time of the week: \"Mon-Fri 22:00-06:00\", \"22:00-06:00\", \"Sat,Sun\"";
    let mut good = Vec::new();
    for at in key.list() {
        match Schedule::parse(&[&at.value]) {
            Ok(_) => good.push(at.value.as_str()),
            Err(why) => report.fault(at.span, why, help),
        }
    }
    if let Some(at) = key.get().filter(|at| at.value.is_empty()) {
        report.fault(at.span, "no time at all", help);
    }
    Schedule::parse(&good).unwrap_or_default()
}

/// A text for people, of at most so many bytes; empty without one.
pub(super) fn text(key: &Key<String>, name: &str, bytes_max: usize, report: &mut Report) -> String {
    let Some(at) = key.get() else { return String::new() };
    if at.value.len() > bytes_max {
        let message = format!("{name} of {} bytes", at.value.len());
        report.fault(at.span, message, format!("at most {bytes_max}"));
    }
    if at.value.contains(|c: char| c.is_control()) {
        report.fault(at.span, format!("{name} of several lines"), "one line of text");
    }
    at.value.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_whole() {
        for (text, name, at) in [
            ("flow > 1", "flow", 0..4),
            ("overflow || flow > 1", "flow", 12..16),
            ("flow_rate > 1 && flow > 2", "flow", 17..21),
            ("devices[\"门\"].level > 1", "level", 15..20),
            ("rate(level, \"10m\") > 1", "level", 5..10),
            ("a == b", "c", 0..6),
        ] {
            assert_eq!(place(text, name), at, "{text}");
        }
    }
}
