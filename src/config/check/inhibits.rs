//! What keeps alarms from being raised: weather, holidays, times of the week.
//!
//! Guarantees: each has an end; what it names is there.

use std::collections::HashMap;
use std::time::Duration;

use super::alarms::{Alarms, TITLE_MAX};
use super::condition::{self, Ground, Own, metric_of};
use super::{DAY, millis};
use crate::config::fault::Report;
use crate::config::raw::{self, Root};
use crate::config::read::{At, Key};
use crate::config::values::{Until, Zone};
use crate::model::{LineId, Severity};
use crate::rules::pattern::fits;
use crate::rules::plan::Inhibit;

/// Inhibitions of one configuration; one more is a fault.
const INHIBITS_MAX: usize = 100;

/// Checks `[[inhibit]]`.
pub(super) fn inhibits(
    root: &Root,
    ground: &Ground<'_>,
    alarms: &mut Alarms,
    zone: Zone,
    now_ms: i64,
    report: &mut Report,
) -> Vec<Inhibit> {
    let mut seen = HashMap::new();
    let mut all = Vec::new();
    for (number, raw) in root.inhibit.list().iter().enumerate() {
        if let Some(id) = report.need(&raw.id, raw.at, "id", "\"typhoon\"") {
            report.once(&mut seen, id.value.clone(), id.span, "inhibit");
        }
        if number == INHIBITS_MAX {
            report.fault(raw.at, "too many inhibits", format!("at most {INHIBITS_MAX}"));
        }
        all.extend(inhibit(raw, ground, alarms, zone, now_ms, report));
    }
    all
}

fn inhibit(
    raw: &raw::Inhibit,
    ground: &Ground<'_>,
    alarms: &mut Alarms,
    zone: Zone,
    now_ms: i64,
    report: &mut Report,
) -> Option<Inhibit> {
    let title = condition::text(&raw.title, "title", TITLE_MAX, report);
    let chosen = fitting(&raw.alarms, &alarms.ids, report);
    let devices = ground.fitting(&raw.devices, report);
    let when = ground.condition("when", &raw.when, &Own::Nobody, report);
    if let (Some(text), Some(when)) = (raw.when.get(), &when) {
        ground.kept(text, when, &Own::Nobody, report);
        alarms.read.extend(when.inputs().iter().filter_map(metric_of).cloned());
    }
    let ways = [
        ("when", raw.when.get().map(|at| at.span)),
        ("between", raw.between.get().map(|at| at.span)),
        ("schedule", raw.schedule.get().map(|at| at.span)),
    ];
    let mut given = ways.iter().filter_map(|(name, span)| Some((name, (*span)?)));
    match (given.next(), given.next()) {
        (Some((first, _)), Some((second, span))) => {
            report.fault(span, format!("both {first} and {second}"), "one of them; another [[inhibit]]");
        }
        (None, _)
            if [raw.when.is_absent(), raw.between.is_absent(), raw.schedule.is_absent()] == [true; 3] =>
        {
            let help = "when = \"…\", between = [\"2026-10-01\", \"2026-10-08\"] or schedule = [\"Sat,Sun\"]";
            report.missing(raw.at, "it would inhibit for good", help);
        }
        _ => {}
    }
    if let Some(lasts) = raw.lasts.get().filter(|_| raw.when.is_absent()) {
        report.fault(lasts.span, "lasts without when", "what it lasts after: when = \"…\"");
    }
    let lasts = report.bounded(&raw.lasts, Duration::ZERO, Duration::ZERO..=7 * DAY, "lasts");
    let everything = chosen.is_none() && devices.is_none();
    if everything && alarms.all.iter().any(|alarm| alarm.severity == Severity::Critical) {
        let help = "alarms = [\"perimeter-*\"] or devices = […]: those that are meant";
        report.warn(raw.at, "it inhibits every alarm, also what is critical", help);
    }
    Some(Inhibit {
        id: raw.id.value()?.clone(),
        title,
        alarms: chosen,
        devices: devices
            .map(|all| all.into_iter().map(|device| ground.fleet.devices[device].id.clone()).collect()),
        when,
        lasts_ms: millis(lasts),
        between_ms: between(&raw.between, zone, now_ms, report),
        schedule: condition::schedule(&raw.schedule, report),
    })
}

/// Indices of the alarms that fit patterns; `None` without patterns.
pub(super) fn fitting(
    patterns: &Key<Vec<At<String>>>,
    ids: &[Option<LineId>],
    report: &mut Report,
) -> Option<Vec<usize>> {
    if patterns.is_absent() {
        return None;
    }
    let mut chosen = vec![false; ids.len()];
    for pattern in patterns.list() {
        let fit = |id: &Option<LineId>| id.as_ref().is_some_and(|id| fits(&pattern.value, id.as_str()));
        if !ids.iter().any(fit) {
            let known = ids.iter().flatten().map(LineId::as_str);
            report.unknown(pattern.span, "alarm", &pattern.value, known);
        }
        ids.iter().zip(&mut chosen).for_each(|(id, chosen)| *chosen |= fit(id));
    }
    Some((0..ids.len()).filter(|index| chosen[*index]).collect())
}

/// From the first moment up to the second, milliseconds since 1970 UTC.
fn between(key: &Key<Vec<At<Until>>>, zone: Zone, now_ms: i64, report: &mut Report) -> Option<(i64, i64)> {
    let at = key.get()?;
    let help = "the first day and the one after the last: [\"2026-10-01\", \"2026-10-08\"]";
    let [from, to] = &at.value[..] else {
        report.fault(at.span, format!("between {} times", at.value.len()), help);
        return None;
    };
    let (from_ms, to_ms) = (begins_ms(&from.value, zone), begins_ms(&to.value, zone));
    if from_ms >= to_ms {
        report.fault(at.span, "between a time and one that is not after it", help);
    } else if to_ms <= now_ms {
        report.warn(at.span, "the time is over", "it inhibits nothing any more: a new one, or none");
    }
    Some((from_ms, to_ms))
}

fn begins_ms(until: &Until, zone: Zone) -> i64 {
    match until {
        Until::Moment(ms) => *ms,
        Until::Day(day) => {
            let start = day.to_zoned(jiff::tz::TimeZone::UTC).ok();
            start.map_or(i64::MAX, |start| start.timestamp().as_millisecond() - zone.0)
        }
    }
}
