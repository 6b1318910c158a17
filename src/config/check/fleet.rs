//! Templates and the devices made from them: what there is to measure.
//!
//! Guarantees: a metric has one kind and one unit in the whole file; ids are unique; ranges are bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::protocol::{self, Speech};
use super::source::{self, Place};
use super::{Names, entry, mapping};
use crate::codec::profile::NAME_BYTES_MAX;
use crate::config::fault::{Report, Span};
use crate::config::library;
use crate::config::raw::{self, Class, Do, Root};
use crate::config::read::{At, Key};
use crate::model::{DeviceId, LineId, Metric, SeriesKey, Value};
use crate::normalise::{Kind, Outside, Rule};
use crate::privacy::intake::Treatment;
use crate::rules::pattern::fits;
use crate::rules::plausible;

/// Devices of one configuration; one more is a fault.
const DEVICES_MAX: usize = 10_000;
/// Points of one template; one more is a fault.
const POINTS_MAX: usize = 256;
/// How long a device may be silent before it counts as gone, where that is said.
const SILENCE_MIN: Duration = Duration::from_secs(10);
const SILENCE_MAX: Duration = Duration::from_secs(31 * 86_400);
/// How seldom readings may be shared singly, where that is said.
pub(super) const SAMPLE_MIN: Duration = Duration::from_millis(100);
pub(super) const SAMPLE_MAX: Duration = Duration::from_secs(86_400);
/// Points there may have been since the start of the process; one more is a fault.
const SERIES_MAX: usize = 100_000;

/// A model of device.
pub(super) struct Template<'r> {
    pub(super) raw: &'r raw::Template,
    pub(super) name: LineId,
    pub(super) points: Vec<Point>,
    /// None when no point is on a bus.
    pub(super) speech: Option<Speech>,
    /// Whether people tell what it measures.
    pub(super) manual: bool,
}

/// What a model measures.
pub(super) struct Point {
    pub(super) metric: Metric,
    pub(super) span: Span,
    pub(super) unit: String,
    pub(super) rule: Rule,
    pub(super) plausible: plausible::Rule,
    pub(super) deadband: Option<Decimal>,
    pub(super) change_only: bool,
    pub(super) sample: Option<Duration>,
    pub(super) json: Option<String>,
    /// How conventions call it.
    pub(super) field: Box<str>,
    /// What stands for other values.
    pub(super) words: Vec<(Box<str>, Value)>,
    pub(super) place: Option<Place>,
    pub(super) class: Class,
    /// Where the collection list names it, and with which word if that could be read.
    pub(super) listed: Option<(Span, Option<Do>)>,
    pub(super) treatment: Option<Treatment>,
}

/// A device.
pub(super) struct Device<'r> {
    pub(super) raw: &'r raw::Device,
    pub(super) id: DeviceId,
    /// How its messages call it.
    pub(super) name: Box<str>,
    pub(super) template: usize,
}

/// All of them.
#[derive(Default)]
pub(super) struct Fleet<'r> {
    pub(super) templates: Vec<Template<'r>>,
    pub(super) devices: Vec<Device<'r>>,
    /// Where each metric was first given, and of which kind it is.
    pub(super) metrics: HashMap<Metric, (Span, Kind, String)>,
    /// Whether there are mappings that find values by their names.
    by_name: bool,
}

impl<'r> Fleet<'r> {
    /// Checks `[[template]]` and `[[device]]`.
    pub(super) fn of(root: &'r Root, report: &mut Report) -> Self {
        let by_name = root.mapping.list().iter().any(|mapping| !mapping::is_json(mapping));
        let forms = entry::templates(root);
        let mut fleet = Self { by_name, ..Self::default() };
        let mut seen = HashMap::new();
        for raw in root.template.list() {
            let Some(name) = report.need(&raw.name, raw.at, "name", "\"thermometer\"") else { continue };
            report.once(&mut seen, name.value.clone(), name.span, "template");
            let manual = forms.contains(&name.value);
            let points = fleet.points(raw, manual, report);
            let speech = protocol::speech(raw, report);
            fleet.templates.push(Template { raw, name: name.value.clone(), points, speech, manual });
        }
        let mut seen = HashMap::new();
        for raw in root.device.list() {
            fleet.add(raw, &mut seen, report);
        }
        fleet
    }

    fn points(&mut self, raw: &raw::Template, manual: bool, report: &mut Report) -> Vec<Point> {
        if raw.point.is_absent() || raw.point.value().is_some_and(Vec::is_empty) {
            let help = "a [[template.point]] with metric, and json, modbus, dlt645, cjt188 or mbus";
            report.missing(raw.at, "template without points", help);
        }
        let meter = protocol::meter_type(raw);
        let mut seen = HashMap::new();
        let mut points = Vec::new();
        for raw in raw.point.list() {
            let Some(metric) = report.need(&raw.metric, raw.at, "metric", "\"temperature\"") else {
                continue;
            };
            report.once(&mut seen, metric.value.clone(), metric.span, "metric");
            let since = report.now();
            if !manual && raw.json.is_absent() && raw.field.is_absent() && !self.by_name && !raw.is_on_bus() {
                let help = "json = \"/temperature\", or a [[mapping]] with a profile, of MQTT devices; modbus, dlt645, cjt188 or mbus = { … } of serial ones";
                report.missing(raw.at, "nothing says where it comes from", help);
            }
            points.extend(self.point(raw, metric, meter, report));
            report.about(since, &format!("point {}", metric.value));
        }
        if points.len() > POINTS_MAX {
            let message = format!("{} points in one template", points.len());
            report.fault(raw.at, message, format!("at most {POINTS_MAX}"));
        }
        points
    }

    fn point(
        &mut self,
        raw: &raw::Point,
        metric: &At<Metric>,
        meter: u8,
        report: &mut Report,
    ) -> Option<Point> {
        if matches!(raw.kind, Key::Wrong) {
            return None;
        }
        let kind = raw.kind.or(Kind::Number);
        let unit = raw.unit.or(String::new());
        if kind != Kind::Number {
            numbers_only(raw, report);
        }
        let (first, known_kind, known_unit) =
            self.metrics.entry(metric.value.clone()).or_insert((metric.span, kind, unit.clone()));
        if (*known_kind, &*known_unit) != (kind, &unit) {
            let message = format!("metric {} with another kind or unit", metric.value);
            report.twice(
                metric.span,
                *first,
                message,
                "one kind and one unit for a metric, or another metric",
            );
        }
        let rule = rule(raw, kind, report);
        Some(Point {
            metric: metric.value.clone(),
            span: metric.span,
            unit,
            place: source::place(raw, &rule, meter, report),
            rule,
            plausible: plausible::Rule {
                monotonic: raw.monotonic.or(false),
                slope_max: above_zero("slope_max", &raw.slope_max, report),
            },
            deadband: above_zero("deadband", &raw.deadband, report),
            change_only: raw.change_only.or(false),
            sample: report.within(&raw.sample, SAMPLE_MIN..=SAMPLE_MAX, "sample"),
            json: raw.json.value().map(|pointer| pointer.0.clone()),
            field: raw.field.value().map_or(metric.value.as_str(), String::as_str).into(),
            words: words(raw, kind, report),
            class: raw.class.or(Class::Operational),
            listed: None,
            treatment: None,
        })
    }

    fn add(&mut self, raw: &'r raw::Device, seen: &mut HashMap<DeviceId, Span>, report: &mut Report) {
        let texts: Vec<At<String>> = match (raw.id.get(), raw.ids.get()) {
            (Some(id), None) => vec![id.clone()],
            (None, Some(ids)) if !ids.value.is_empty() => ids.value.clone(),
            (None, _) if matches!(raw.id, Key::Wrong) || matches!(raw.ids, Key::Wrong) => Vec::new(),
            (None, _) => {
                report.missing(
                    raw.at,
                    "device without id",
                    "id = \"door-1\" or ids = [\"door-1\", \"door-2\"]",
                );
                Vec::new()
            }
            (Some(_), Some(ids)) => {
                report.fault(ids.span, "both id and ids", "one of them");
                Vec::new()
            }
        };
        let template = report.need(&raw.template, raw.at, "template", "\"thermometer\"");
        let template = template.and_then(|name| self.named(name, report));
        let ids =
            texts.iter().flat_map(|text| expand(text, report).into_iter().map(move |id| (id, text.span)));
        let ids: Vec<(DeviceId, Span)> = ids.collect();
        let mut names = names(raw, ids.len(), report).into_iter();
        for (id, span) in ids {
            report.once(seen, id.clone(), span, "device");
            let name = names.next().unwrap_or_else(|| id.as_str().into());
            let Some(template) = template else { continue };
            if self.devices.len() == DEVICES_MAX {
                let help = format!("at most {DEVICES_MAX} in one gateway");
                return report.fault(span, "too many devices", help);
            }
            self.devices.push(Device { raw, id, name, template });
        }
    }

    /// The template (by index) of a name.
    pub(super) fn named(&self, name: &At<LineId>, report: &mut Report) -> Option<usize> {
        let found = self.templates.iter().position(|template| template.name == name.value);
        if found.is_none() {
            let known = self.templates.iter().map(|template| template.name.as_str());
            report.unknown(name.span, "template", name.value.as_str(), known.chain(library::names()));
        }
        found
    }

    /// The template of a device.
    pub(super) fn template_of(&self, device: &Device<'_>) -> &Template<'r> {
        &self.templates[device.template]
    }

    /// Which devices (by index) have a metric, with the number of its point.
    pub(super) fn having(&self, metric: &Metric) -> Vec<(usize, usize)> {
        let point =
            |template: &Template<'_>| template.points.iter().position(|point| point.metric == *metric);
        let points: Vec<Option<usize>> = self.templates.iter().map(point).collect();
        let devices = self.devices.iter().enumerate();
        devices.filter_map(|(index, device)| Some((index, points[device.template]?))).collect()
    }

    /// Those of `all` whose device fits one of the patterns; without patterns, all of them.
    pub(super) fn chosen(
        &self,
        all: Vec<(usize, usize)>,
        patterns: &Key<Vec<At<String>>>,
        report: &mut Report,
    ) -> Vec<(usize, usize)> {
        let Some(patterns) = patterns.get() else { return all };
        let fit =
            |pattern: &At<String>, device: usize| fits(&pattern.value, self.devices[device].id.as_str());
        for pattern in &patterns.value {
            if !all.iter().any(|(device, _)| fit(pattern, *device)) {
                let message = format!("no device {:?} has what is watched", pattern.value);
                report.missing(
                    pattern.span,
                    message,
                    "the id of a device, or a part of it with *: \"door-*\"",
                );
            }
        }
        let any = |device: usize| patterns.value.iter().any(|pattern| fit(pattern, device));
        all.into_iter().filter(|(device, _)| any(*device)).collect()
    }

    /// Numbers every point: by device, then by point of its template.
    pub(super) fn intern(&self, names: &mut Names, report: &mut Report) -> Vec<Arc<[SeriesKey]>> {
        let mut series = Vec::with_capacity(self.devices.len());
        for device in &self.devices {
            if names.len() + POINTS_MAX > SERIES_MAX {
                let help = "fewer devices, or a restart after many of them changed their names";
                report.fault(device.raw.at, format!("more than {} points", SERIES_MAX - POINTS_MAX), help);
                break;
            }
            let points = &self.template_of(device).points;
            series.push(points.iter().map(|point| names.intern(&device.id, &point.metric)).collect());
        }
        series
    }

    /// How long devices may be silent that say so, or whose template does.
    pub(super) fn silences(&self, report: &mut Report) -> HashMap<DeviceId, Duration> {
        let mut read = |key: &Key<Duration>| report.within(key, SILENCE_MIN..=SILENCE_MAX, "silence_max");
        let templates: Vec<_> = self.templates.iter().map(|model| read(&model.raw.silence_max)).collect();
        let mut silences = HashMap::new();
        let mut before = None;
        for device in &self.devices {
            // One table may stand for many devices: what is wrong with it is told once.
            let own = match before {
                Some((at, own)) if at == device.raw.at => own,
                _ => read(&device.raw.silence_max),
            };
            before = Some((device.raw.at, own));
            if let Some(silence) = own.or(templates[device.template]) {
                silences.insert(device.id.clone(), silence);
            }
        }
        silences
    }

    /// Devices that are configured for nothing.
    pub(super) fn warn(&self, root: &Root, report: &mut Report) {
        let mut before = None;
        for device in &self.devices {
            if before.replace(device.raw.at) == Some(device.raw.at) {
                continue;
            }
            let template = self.template_of(device);
            if !template.points.is_empty() && template.points.iter().all(|point| point.listed.is_none()) {
                let message =
                    format!("device {}: no line of the collection list names its template", device.id);
                let help = "everything it sends is dropped as unlisted; a [[collect]] line takes it in";
                report.warn(device.raw.at, message, help);
            }
            let mapped = |mapping: &raw::Mapping| mapping::hears(mapping, template);
            if !template.manual && device.raw.port.is_absent() && !root.mapping.list().iter().any(mapped) {
                let message = format!("device {}: neither on a port nor in a mapping", device.id);
                report.warn(
                    device.raw.at,
                    message,
                    "nothing can come from it; port with unit or address, or a [[mapping]]",
                );
            }
        }
        let used = |template: usize| self.devices.iter().any(|device| device.template == template);
        for (index, template) in self.templates.iter().enumerate() {
            let replaced = |point: &&Point| {
                matches!(point.listed, Some((_, Some(Do::Generalise | Do::Pseudonym))))
                    && (point.plausible.judges() || point.deadband.is_some())
            };
            for point in template.points.iter().filter(replaced) {
                let message =
                    format!("{} of {} is compared, but not kept as a number", point.metric, template.name);
                let help = "monotonic, slope_max and deadband need \"keep\" in the collection list";
                report.warn(point.span, message, help);
            }
            let listed = template.points.iter().any(|point| point.listed.is_some());
            for point in template.points.iter().filter(|point| point.listed.is_none()) {
                if listed && used(index) {
                    let message =
                        format!("{} of {} is in no line of the collection list", point.metric, template.name);
                    report.warn(point.span, message, "dropped as unlisted; \"drop\" says that it is meant");
                }
            }
        }
    }
}

fn numbers_only(raw: &raw::Point, report: &mut Report) {
    let decimals = [
        ("scale", &raw.scale),
        ("offset", &raw.offset),
        ("min", &raw.min),
        ("max", &raw.max),
        ("slope_max", &raw.slope_max),
        ("deadband", &raw.deadband),
    ];
    let spans = decimals.into_iter().filter_map(|(name, key)| Some((name, key.get()?.span)));
    let others = [
        ("unit", raw.unit.get().map(|at| at.span)),
        ("outside", raw.outside.get().map(|at| at.span)),
        ("monotonic", raw.monotonic.get().map(|at| at.span)),
    ];
    for (name, span) in spans.chain(others.into_iter().filter_map(|(name, span)| Some((name, span?)))) {
        report.fault(span, format!("{name} on a point that is no number"), "only kind = \"number\" has it");
    }
}

fn rule(raw: &raw::Point, kind: Kind, report: &mut Report) -> Rule {
    if let Some(scale) = raw.scale.get().filter(|scale| scale.value.is_zero()) {
        report.fault(scale.span, "scale = 0", "a factor other than 0; the default is 1");
    }
    let (min, max) = (raw.min.or(Decimal::MIN), raw.max.or(Decimal::MAX));
    if min > max {
        let message = format!("min = {min} is above max = {max}");
        report.fault(raw.min.span_or(raw.at), message, "min at or below max, both after scaling");
    }
    let bounded = raw.min.value().is_some() || raw.max.value().is_some();
    let outside = raw.outside.or(Outside::Drop);
    if outside == Outside::Flag && raw.min.is_absent() && raw.max.is_absent() && kind == Kind::Number {
        let help = "min, max or both: without them nothing is outside";
        report.fault(raw.outside.span_or(raw.at), "outside = \"flag\" without a range", help);
    }
    Rule {
        kind,
        scale: raw.scale.or(Decimal::ONE),
        offset: raw.offset.or(Decimal::ZERO),
        range: bounded.then_some((min, max)),
        outside,
    }
}

pub(super) fn above_zero(name: &str, key: &Key<Decimal>, report: &mut Report) -> Option<Decimal> {
    let number = key.get()?;
    if number.value <= Decimal::ZERO {
        report.fault(number.span, format!("{name} = {}", number.value), "a number above 0, after scaling");
    }
    Some(number.value)
}

/// The values that stand for others, each of the point's kind.
fn words(raw: &raw::Point, kind: Kind, report: &mut Report) -> Vec<(Box<str>, Value)> {
    let Some(map) = raw.map.get() else { return Vec::new() };
    if raw.is_on_bus() && raw.json.is_absent() && raw.field.is_absent() {
        report.fault(map.span, "map of a point on a bus", "only what messages tell has one: json or field");
    }
    for (_, at) in &map.value.0 {
        let fits = match &at.value {
            Value::Number(_) => kind == Kind::Number,
            Value::Flag(_) => kind == Kind::Flag,
            Value::Text(_) => kind == Kind::Text,
        };
        if !fits {
            let help = "numbers of kind \"number\", true and false of \"flag\", texts of \"text\"";
            report.fault(at.span, "a value of another kind than the point's", help);
        }
    }
    map.value.0.iter().map(|(word, at)| (word.clone(), at.value.clone())).collect()
}

/// How messages call the devices; none where they call them by their ids.
fn names(raw: &raw::Device, count: usize, report: &mut Report) -> Vec<Box<str>> {
    let (texts, span) = match (raw.name.get(), raw.names.get()) {
        (None, None) => return Vec::new(),
        (Some(_), Some(names)) => {
            report.fault(names.span, "both name and names", "one of them");
            return Vec::new();
        }
        (Some(name), None) => (std::slice::from_ref(name), name.span),
        (None, Some(names)) => (names.value.as_slice(), names.span),
    };
    let mut all = Vec::new();
    for text in texts {
        if text.value.is_empty() || text.value.len() > NAME_BYTES_MAX {
            let message = format!("a name of {} bytes", text.value.len());
            report.fault(text.span, message, format!("1 to {NAME_BYTES_MAX} bytes, as messages have it"));
        }
        all.extend(ranged(&text.value).into_iter().map(String::into_boxed_str));
    }
    if all.len() != count {
        report.fault(span, format!("{} names for {count} devices", all.len()), "as many names as ids");
    }
    all
}

/// `load-{1..50}` → load-1 … load-50; anything else is one text.
fn ranged(text: &str) -> Vec<String> {
    let range = || {
        let (head, rest) = text.split_once('{')?;
        let (range, tail) = rest.split_once('}')?;
        let (from, to) = range.split_once("..")?;
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        (from <= to && to - from < DEVICES_MAX).then_some((head, from..=to, tail))
    };
    match range() {
        Some((head, numbers, tail)) => numbers.map(|number| format!("{head}{number}{tail}")).collect(),
        None => vec![text.to_owned()],
    }
}

/// The ids of a text.
pub(super) fn expand(text: &At<String>, report: &mut Report) -> Vec<DeviceId> {
    let ids: Result<Vec<DeviceId>, _> = ranged(&text.value).iter().map(|id| id.parse()).collect();
    ids.unwrap_or_else(|error| {
        let help = format!("\"door-1\", or a range of at most {DEVICES_MAX}: \"door-{{1..20}}\"");
        report.fault(text.span, error.to_string(), help);
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ids() {
        for (text, count, last) in [
            ("door-1", 1, "door-1"),
            ("load-{1..50}", 50, "load-50"),
            ("门-{9..10}-b", 2, "门-10-b"),
            ("a{3..3}", 1, "a3"),
            ("a{3..2}", 0, ""),
            ("a{1..10001}", 0, ""),
            ("a{1..}", 0, ""),
            ("a/{1..2}", 0, ""),
            ("a{1..2}{1..2}", 0, ""),
        ] {
            let mut report = Report::default();
            let ids = expand(&At { value: text.to_owned(), span: Span::default() }, &mut report);
            assert_eq!(ids.len(), count, "{text}");
            assert_eq!(ids.last().map_or("", DeviceId::as_str), last, "{text}");
            assert_eq!(report.faults.is_empty(), count > 0, "{text}");
        }
    }
}
