//! The collection list (归集清单) and the share list (共享清单): what may come in, what may go out.
//!
//! Guarantees: a field is named once; nothing is shared that is not collected, or that was collected to be taken out.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};
use toml::de::{DeTable, DeValue};

use super::alarms::{Alarms, ONLINE};
use super::condition::{Ground, Own};
use super::fleet::{Fleet, SAMPLE_MAX, SAMPLE_MIN, above_zero};
use super::millis;
use super::treatments::{self, Keys};
use crate::approval::Rules;
use crate::config::fault::Report;
use crate::config::raw::{self, By, Class, Do, Field, Root};
use crate::config::read::At;
use crate::config::source::Sources;
use crate::config::values::{Until, Zone};
use crate::model::{Lane, LineId, Metric};
use crate::privacy::release::ShareLine;
use crate::rules::plan::Bulk;
use crate::rules::thinning;

/// Checks `[[collect]]` and gives the points of the templates their treatments.
pub(super) fn collect(root: &Root, fleet: &mut Fleet<'_>, keys: &Keys<'_>, report: &mut Report) {
    let mut seen = HashMap::new();
    for raw in root.collect.list() {
        if let Some(id) = report.need(&raw.id, raw.at, "id", "\"C-001\"") {
            report.once(&mut seen, id.value.clone(), id.span, "collect line");
        }
        let purpose = report.need(&raw.purpose, raw.at, "purpose", "\"safety.door\"");
        let templates = report.need(&raw.templates, raw.at, "templates", "[\"thermometer\"]");
        let indices: Vec<Option<usize>> = templates
            .map_or(&[][..], |templates| &templates.value[..])
            .iter()
            .map(|name| fleet.named(name, report))
            .collect();
        let whole = templates.is_some() && indices.iter().all(Option::is_some);
        let indices: Vec<usize> = indices.into_iter().flatten().collect();
        let Some(fields) = report.need(&raw.fields, raw.at, "fields", "{ temperature = \"keep\" }") else {
            continue;
        };
        for (metric, field) in &fields.value {
            let purpose = purpose.map_or("", |purpose| &purpose.value);
            let treatment = field.value.as_ref().and_then(|said| {
                let said = At { value: said, span: field.span };
                treatments::treatment(metric, &said, fleet, keys, purpose, report)
            });
            let mut found = false;
            for index in &indices {
                let points = &mut fleet.templates[*index].points;
                let Some(point) = points.iter_mut().find(|point| point.metric == *metric) else { continue };
                found = true;
                treatments::classed(point, field, report);
                if let Some((first, _)) = point.listed {
                    let message = format!("{metric} of this template is collected twice");
                    report.twice(field.span, first, message, "one line for each field of a template");
                }
                point.listed = Some((field.span, field.value.as_ref().and_then(Field::what)));
                point.treatment = treatment.clone();
            }
            if !found && whole {
                let points = indices.iter().flat_map(|index| &fleet.templates[*index].points);
                let known: Vec<&str> = points.map(|point| point.metric.as_str()).collect();
                report.unknown(field.span, "point", metric.as_str(), known);
            }
        }
    }
}

/// Checks `[[share]]`.
pub(super) fn share(
    root: &Root,
    ground: &Ground<'_>,
    alarms: &Alarms,
    approval: &Rules,
    zone: Zone,
    now_ms: i64,
    report: &mut Report,
) -> (Vec<ShareLine>, HashMap<LineId, Bulk>) {
    let offers = offers(root, alarms);
    let mut thinned = HashMap::new();
    let mut seen = HashMap::new();
    let mut lines = Vec::new();
    for raw in root.share.list() {
        if let Some(id) = raw.id.get() {
            report.once(&mut seen, id.value.clone(), id.span, "share line");
        }
        if raw.is_forbidden() {
            continue;
        }
        shared(raw, ground.fleet, report);
        carried(raw, &offers, report);
        let bulk = bulk(raw, ground, report);
        thinned.extend(raw.id.value().cloned().zip(bulk));
        lines.extend(line(raw, approval, zone, now_ms, report));
    }
    (lines, thinned)
}

/// Which single readings a line takes, where it does not take all of them.
fn bulk(raw: &raw::Share, ground: &Ground<'_>, report: &mut Report) -> Option<Bulk> {
    let keys = [
        ("when", raw.when.get().map(|at| at.span)),
        ("deadband", raw.deadband.get().map(|at| at.span)),
        ("change_only", raw.change_only.get().map(|at| at.span)),
        ("sample", raw.sample.get().map(|at| at.span)),
    ];
    let given: Vec<_> = keys.into_iter().filter_map(|(name, span)| Some((name, span?))).collect();
    if raw.lane.value().is_some_and(|lane| *lane != Lane::Bulk) {
        for (name, span) in &given {
            report.fault(*span, format!("{name} on another lane than bulk"), "single readings have it");
        }
    }
    let own = Own::Listed(raw.metrics.list().iter().map(|at| at.value.clone()).collect());
    let when = ground.condition("when", &raw.when, &own, report);
    if let (Some(text), Some(when)) = (raw.when.get(), &when) {
        ground.kept(text, when, &own, report);
    }
    let bulk = Bulk {
        when,
        thinning: thinning::Rule {
            band: above_zero("deadband", &raw.deadband, report),
            change_only: raw.change_only.or(false),
            sample_ms: report.within(&raw.sample, SAMPLE_MIN..=SAMPLE_MAX, "sample").map(millis),
        },
    };
    (!given.is_empty()).then_some(bulk)
}

fn line(raw: &raw::Share, rules: &Rules, zone: Zone, now_ms: i64, report: &mut Report) -> Option<ShareLine> {
    let id = report.need(&raw.id, raw.at, "id", "\"S-001\"");
    let purpose = report.need(&raw.purpose, raw.at, "purpose", "\"traffic.peak\"");
    let lane = report.need(&raw.lane, raw.at, "lane", "\"aggregate\"");
    let tier = super::approval::of_line(raw, rules, report);
    let example = "[\"spiffe://brain.example/city/310115/brain/traffic\"]";
    let consumers = report.need(&raw.consumers, raw.at, "consumers", example);
    if let Some(consumers) = consumers.filter(|consumers| consumers.value.is_empty()) {
        report.fault(consumers.span, "shared with nobody", "one or more consumers, or no line");
    }
    let mut seen = HashMap::new();
    for consumer in raw.consumers.list() {
        report.once(&mut seen, consumer.value.clone(), consumer.span, "consumer");
    }
    let devices = raw.devices.or(false);
    if lane.is_some_and(|lane| lane.value == Lane::Bulk) && !devices {
        let help = "devices = true if that is approved, or lane = \"aggregate\"";
        report.fault(raw.devices.span_or(raw.at), "single readings without their devices", help);
    }
    if let Some(places) = raw.places.get().filter(|_| lane.is_some_and(|lane| lane.value != Lane::Alarm)) {
        report.fault(places.span, "places on another lane than alarm", "only alarms go with a place");
    }
    let until_ms = raw.until.value().map(|until| until_ms(*until, zone));
    if until_ms.is_some_and(|until| until <= now_ms) {
        // Not a fault: a gateway has to start on the day after, and with a clock that is wrong.
        let help = "it lets nothing out any more: a new approval and date, or no line";
        report.warn(raw.until.span_or(raw.at), "the line has ended", help);
    }
    Some(ShareLine {
        id: id?.value.clone(),
        purpose: purpose?.value.clone(),
        lane: lane?.value,
        consumers: consumers?.value.iter().map(|at| at.value.clone()).collect(),
        metrics: raw.metrics.list().iter().map(|at| at.value.clone()).collect(),
        devices,
        places: raw.places.or(false),
        carries: raw.carries.list().iter().map(|at| at.value.clone()).collect(),
        protect: None,
        approval: raw.approval.value().cloned().unwrap_or_default(),
        until_ms,
        tier,
        granted: Vec::new(),
    })
}

pub(in crate::config) fn until_ms(until: Until, zone: Zone) -> i64 {
    match until {
        Until::Moment(ms) => ms,
        Until::Day(day) => {
            let end = day.tomorrow().ok().and_then(|next| next.to_zoned(jiff::tz::TimeZone::UTC).ok());
            end.map_or(i64::MAX, |end| end.timestamp().as_millisecond() - zone.0)
        }
    }
}

/// The metrics of a share line: known, collected, and not collected to be taken out.
fn shared(raw: &raw::Share, fleet: &Fleet<'_>, report: &mut Report) {
    if let Some(lane @ (Lane::Result | Lane::Audit)) = raw.lane.value() {
        if let Some(metrics) = raw.metrics.get() {
            report.fault(
                metrics.span,
                format!("metrics on lane {lane}"),
                "nothing that is measured is in it",
            );
        }
        return;
    }
    let metrics = report.need(&raw.metrics, raw.at, "metrics", "[\"temperature\"]");
    if let Some(metrics) = metrics.filter(|metrics| metrics.value.is_empty()) {
        report.fault(metrics.span, "a share line of nothing", "one or more metrics");
    }
    let mut seen = HashMap::new();
    for metric in raw.metrics.list() {
        report.once(&mut seen, metric.value.clone(), metric.span, "metric");
        if metric.value.as_str() == ONLINE && raw.lane.value() == Some(&Lane::Alarm) {
            continue;
        }
        if !fleet.metrics.contains_key(&metric.value) {
            let known = fleet.metrics.keys().map(Metric::as_str);
            report.unknown(metric.span, "metric", metric.value.as_str(), known);
            continue;
        }
        let points = fleet.templates.iter().flat_map(|template| &template.points);
        let listed: Vec<_> =
            points.filter(|point| point.metric == metric.value).filter_map(|point| point.listed).collect();
        if listed.is_empty() {
            let message = format!("{} is shared but not collected", metric.value);
            report.missing(metric.span, message, "a [[collect]] line with it as \"keep\" or \"generalise\"");
        }
        let out = listed.iter().find_map(|(span, what)| {
            let word = match (*what)? {
                Do::Keep | Do::Generalise | Do::Round | Do::Truncate | Do::Redact => return None,
                // How many there were may be told, by a line that protects them.
                Do::Pseudonym if raw.protect.get().is_some() => return None,
                Do::Mask => "masked",
                Do::Pseudonym => "pseudonymised",
                Do::Seal => "sealed",
                Do::Drop => "dropped",
                Do::Refuse => "refused",
            };
            Some((*span, word))
        });
        if let Some((span, word)) = out {
            let message = format!("{} is shared, but its collect line has it {word}", metric.value);
            report.twice(metric.span, span, message, "leave it out of the share line");
        }
        let points = fleet.templates.iter().flat_map(|template| &template.points);
        let mut own = points.filter(|point| point.metric == metric.value && point.listed.is_some());
        if let Some(point) = own.find(|point| point.class == Class::Household)
            && raw.devices.or(false)
        {
            let message = format!("{} of single devices tells how one household lives", metric.value);
            let help =
                "its class is \"household\": a line without devices, with an aggregate by = \"compound\"";
            report.twice(metric.span, point.span, message, help);
        }
    }
}

/// What a share line may carry: an alarm, an aggregate or a command.
struct Offer<'r> {
    id: &'r LineId,
    lane: Lane,
    about: Vec<&'r Metric>,
    by_device: bool,
}

fn offers<'r>(root: &'r Root, alarms: &'r Alarms) -> Vec<Offer<'r>> {
    let about: HashMap<&LineId, &Metric> =
        alarms.all.iter().map(|alarm| (&alarm.id, &alarm.metric)).collect();
    let alarms = alarms.ids.iter().flatten().map(|id| {
        let about = about.get(id).copied().into_iter().collect();
        Offer { id, lane: Lane::Alarm, about, by_device: false }
    });
    let aggregates = root.aggregate.list().iter().filter_map(|raw| {
        let about = raw.metrics.list().iter().map(|metric| &metric.value).collect();
        let by_device = raw.by.or(By::Device) == By::Device;
        Some(Offer { id: raw.id.value()?, lane: Lane::Aggregate, about, by_device })
    });
    let commands = root.command.list().iter().filter_map(|raw| {
        Some(Offer { id: raw.id.value()?, lane: Lane::Result, about: Vec::new(), by_device: false })
    });
    alarms.chain(aggregates).chain(commands).collect()
}

/// What a share line carries: there, of the line's lane, and about one of its metrics.
fn carried(raw: &raw::Share, offers: &[Offer<'_>], report: &mut Report) {
    let Some(lane) = raw.lane.value().copied() else { return };
    if let Lane::Bulk | Lane::Audit = lane {
        if let Some(carries) = raw.carries.get().filter(|carries| !carries.value.is_empty()) {
            report.fault(carries.span, format!("carries on lane {lane}"), "it needs none");
        }
        return;
    }
    let carries = report.need(&raw.carries, raw.at, "carries", "[\"A-15m\"]");
    if let Some(carries) = carries.filter(|carries| carries.value.is_empty()) {
        report.fault(
            carries.span,
            "a share line that carries nothing",
            "ids of aggregates, alarms or commands",
        );
    }
    let listed = |metric: &&Metric| raw.metrics.list().iter().any(|at| at.value == **metric);
    let mut seen = HashMap::new();
    for carry in raw.carries.list() {
        report.once(&mut seen, carry.value.clone(), carry.span, "carried");
        let named = || offers.iter().filter(|offer| *offer.id == carry.value);
        if let Some(offer) = named().find(|offer| offer.lane == lane) {
            if !offer.about.is_empty() && !offer.about.iter().any(listed) {
                let message = format!("{lane} {} is about none of the line's metrics", carry.value);
                report.fault(
                    carry.span,
                    message,
                    "nothing of it would leave: list its metric, or do not carry it",
                );
            }
            if offer.by_device && !raw.devices.or(false) {
                let message = format!("{} is by device, the line leaves devices out", carry.value);
                let help = "nothing of it would leave: devices = true, or an aggregate by = \"compound\"";
                report.fault(carry.span, message, help);
            }
        } else if let Some(offer) = named().next() {
            let message = format!("{} is an {}, the lane is {lane}", carry.value, offer.lane);
            report.fault(carry.span, message, format!("a line of its own with lane = \"{}\"", offer.lane));
        } else {
            let known = offers.iter().filter(|offer| offer.lane == lane).map(|offer| offer.id.as_str());
            report.unknown(carry.span, lane.as_str(), carry.value.as_str(), known);
        }
    }
}

/// Lines that come to nothing.
pub(super) fn warn(root: &Root, alarms: &Alarms, report: &mut Report) {
    let lines = || root.share.list().iter().filter(|raw| !raw.is_forbidden());
    let shared = lines().flat_map(|raw| raw.metrics.list()).map(|at| &at.value);
    let used: BTreeSet<&Metric> = shared.chain(&alarms.read).collect();
    for raw in root.collect.list() {
        let Some(fields) = raw.fields.value() else { continue };
        let taken = |field: &At<Option<Field>>| {
            let what = field.value.as_ref().and_then(Field::what);
            what.is_some_and(|what| !matches!(what, Do::Drop | Do::Refuse))
        };
        let mut taken = fields.iter().filter(|(_, field)| taken(field)).peekable();
        if taken.peek().is_some() && !taken.any(|(metric, _)| used.contains(metric)) {
            let id = raw.id.value().map_or("", LineId::as_str);
            let help = "data is taken for a use: a [[share]] or [[alarm]] with one of its fields, or no line";
            report.warn(
                raw.id.span_or(raw.at),
                format!("nothing shares or alarms on what {id} collects"),
                help,
            );
        }
    }
    if let Some(line) = lines().next().filter(|_| root.share_server.is_absent()) {
        report.warn(line.at, "a share list without [share_server]", "nobody can pull: a listener");
    }
}

/// SHA-256 over the lists as written, comments and layout aside.
pub(crate) fn digest(sources: &Sources) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The two later lists last, and nothing of them where there is none: lists of an earlier build keep their version.
    for (list, always) in [("collect", true), ("share", true), ("demand", false), ("governance", false)] {
        let mut named = always;
        hash.update(if always { list } else { "" });
        for file in &sources.files {
            let (table, _) = DeTable::parse_recoverable(&file.text);
            if let Some(DeValue::Array(lines)) = table.get_ref().get(list).map(|value| value.get_ref()) {
                hash.update(if std::mem::replace(&mut named, true) { "" } else { list });
                lines.iter().for_each(|line| absorb(line.get_ref(), &mut hash));
            }
        }
    }
    hash.finalize().into()
}

/// A value with its kind and length before it, so that no two values give the same bytes.
fn absorb(value: &DeValue<'_>, hash: &mut Sha256) {
    let mut text = |kind: u8, text: &str| {
        hash.update([kind]);
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    match value {
        DeValue::String(value) => text(b's', value),
        DeValue::Integer(value) => text(b'i', &value.to_string()),
        DeValue::Float(value) => text(b'f', value.as_str()),
        DeValue::Boolean(value) => text(b'b', &value.to_string()),
        DeValue::Datetime(value) => text(b'd', &value.to_string()),
        DeValue::Array(items) => {
            text(b'a', &items.len().to_string());
            items.iter().for_each(|item| absorb(item.get_ref(), hash));
        }
        DeValue::Table(table) => {
            text(b't', &table.len().to_string());
            for (key, value) in table {
                absorb(&DeValue::String(key.get_ref().clone()), hash);
                absorb(value.get_ref(), hash);
            }
        }
    }
}
