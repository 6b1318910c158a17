//! Alarms: what each reads, of which devices, and when it begins and ends.
//!
//! Guarantees: an alarm that is taken can be raised and can end, as far as the points, the periods and the times of the week
//! tell; it reads what the collection list keeps, and of people's lives only with a line of that list for it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::condition::{self, Ground, Own, is_of_people, metric_of, place};
use super::{DAY, MINUTE, Shown as _, millis};
use crate::config::fault::Report;
use crate::config::raw::{self, Close, Root};
use crate::config::read::{At, Key};
use crate::model::{LineId, Metric, Place, Severity};
use crate::rules::cel::{Condition, Input};
use crate::rules::plan::Alarm;
use crate::rules::trigger::{OnError, Rule};

/// Alarms of one configuration; one more is a fault.
const ALARMS_MAX: usize = 1_000;
/// Alarms times the devices that they watch; one more is a fault.
const WATCHED_MAX: usize = 100_000;
/// Bytes of a title, here and elsewhere.
pub(super) const TITLE_MAX: usize = 200;
/// Bytes of longer texts: advice, payloads.
pub(super) const TEXT_MAX: usize = 1_000;
const SECOND: Duration = Duration::from_secs(1);

/// The alarms, and what is known of those that are not whole.
#[derive(Default)]
pub(super) struct Alarms {
    pub(super) all: Vec<Alarm>,
    /// Every id that stands in the files, in order; where nothing is wrong, that of `all`.
    pub(super) ids: Vec<Option<LineId>>,
    /// Every metric that an alarm reads.
    pub(super) read: BTreeSet<Metric>,
}

/// The conditions of one alarm.
struct Conditions<'r> {
    when: Option<Condition>,
    clear: Option<Condition>,
    early: Option<Condition>,
    then: Option<Condition>,
    /// With their texts.
    texts: Vec<(&'r At<String>, Condition)>,
}

impl Conditions<'_> {
    /// Everything that they read.
    fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.texts.iter().flat_map(|(_, condition)| condition.inputs())
    }
}

/// Checks `[[alarm]]`.
pub(super) fn alarms(root: &Root, ground: &Ground<'_>, report: &mut Report) -> Alarms {
    let commands: Vec<Option<&LineId>> = root.command.list().iter().map(|raw| raw.id.value()).collect();
    let mut alarms = Alarms::default();
    let (mut seen, mut watched) = (HashMap::new(), 0);
    for (number, raw) in root.alarm.list().iter().enumerate() {
        if let Some(id) = raw.id.get() {
            report.once(&mut seen, id.value.clone(), id.span, "alarm");
        }
        if number == ALARMS_MAX {
            report.fault(raw.at, "too many alarms", format!("at most {ALARMS_MAX} in one gateway"));
        }
        alarms.ids.push(raw.id.value().cloned());
        let alarm = alarm(raw, root, ground, &commands, &mut alarms.read, report);
        let before = watched;
        watched += alarm.as_ref().map_or(0, |alarm| alarm.devices.len());
        if before <= WATCHED_MAX && watched > WATCHED_MAX {
            let message = format!("more than {WATCHED_MAX} pairs of an alarm and a device");
            report.fault(raw.at, message, "devices = […] with those that are meant");
        }
        alarms.all.extend(alarm);
    }
    alarms
}

fn alarm(
    raw: &raw::Alarm,
    root: &Root,
    ground: &Ground<'_>,
    commands: &[Option<&LineId>],
    read: &mut BTreeSet<Metric>,
    report: &mut Report,
) -> Option<Alarm> {
    let id = report.need(&raw.id, raw.at, "id", "\"fire\"");
    let severity = report.need(&raw.severity, raw.at, "severity", "\"major\"");
    let title = condition::text(&raw.title, "title", TITLE_MAX, report);
    let advice = condition::text(&raw.advice, "advice", TEXT_MAX, report);
    let chosen = ground.fitting(&raw.devices, report);
    let template = |device: &usize| ground.fleet.devices[*device].template;
    let own = match &chosen {
        Some(devices) if !devices.is_empty() => Own::Of(devices.iter().map(template).collect()),
        _ => Own::Any,
    };
    let conditions = conditions(raw, ground, &own, report);
    let absent = absent(raw, ground, &own, report);
    let bare = conditions.inputs().filter(|input| input.device.is_none());
    let metrics: BTreeSet<&Metric> = bare.filter_map(metric_of).chain(absent).collect();
    read.extend(conditions.inputs().filter_map(metric_of).chain(absent).cloned());
    let covered = covered(raw, ground, &metrics, &conditions, chosen, report);
    let own = Own::Of(covered.iter().map(template).collect());
    let period = kept(raw, ground, &own, &conditions, absent, report);
    people(raw, root, ground, &own, &conditions, absent, report);
    let rule = rule(raw, period, report);
    placed(raw, ground, &covered, report);
    let metric = absent.cloned().or_else(|| main_metric(&conditions));
    let commands = |key, report: &mut Report| named(key, commands, "command", report);
    let (begin, end) = (commands(&raw.commands, report), commands(&raw.commands_end, report));
    let cooldown = report.bounded(&raw.cooldown, Duration::ZERO, Duration::ZERO..=7 * DAY, "cooldown");
    let (severity, metric) = (severity?.value, metric?);
    let unit = ground.fleet.metrics.get(&metric).map_or(String::new(), |(_, _, unit)| unit.clone());
    let alone = if severity >= Severity::Major { Close::Person } else { Close::Itself };
    Some(Alarm {
        id: id?.value.clone(),
        title,
        advice,
        severity,
        devices: covered.iter().map(|device| ground.fleet.devices[*device].id.clone()).collect(),
        metric,
        unit,
        when: conditions.when,
        clear: conditions.clear,
        early: conditions.early,
        then: conditions.then,
        trigger: rule,
        cooldown_ms: millis(cooldown),
        closes_itself: raw.close.or(alone) == Close::Itself,
        commands: begin,
        commands_end: end,
    })
}

fn conditions<'r>(
    raw: &'r raw::Alarm,
    ground: &Ground<'_>,
    own: &Own,
    report: &mut Report,
) -> Conditions<'r> {
    let mut texts = Vec::new();
    let mut compiled = |name: &str, key: &'r Key<String>, report: &mut Report| {
        let condition = ground.condition(name, key, own, report)?;
        texts.extend(key.get().map(|text| (text, condition.clone())));
        Some(condition)
    };
    let when = compiled("when", &raw.when, report);
    let clear = compiled("clear", &raw.clear, report);
    let early = compiled("early", &raw.early, report);
    let then = compiled("then", &raw.then, report);
    match (raw.when.is_absent(), raw.absent.get()) {
        (true, None) if raw.absent.is_absent() => {
            let help = "when = \"temperature > 60\", or absent = \"2h\" with metric = \"flow\"";
            report.missing(raw.at, "alarm without a condition", help);
        }
        (false, Some(absent)) => report.fault(absent.span, "both when and absent", "one of them"),
        _ => {}
    }
    Conditions { when, clear, early, then, texts }
}

/// The metric that has to be heard.
fn absent<'r>(
    raw: &'r raw::Alarm,
    ground: &Ground<'_>,
    own: &Own,
    report: &mut Report,
) -> Option<&'r Metric> {
    if raw.absent.is_absent() {
        if let Some(metric) = raw.metric.get() {
            report.fault(metric.span, "metric without absent", "a condition names what it reads: when");
        }
        return None;
    }
    for (name, key) in [("clear", &raw.clear), ("early", &raw.early), ("then", &raw.then)] {
        if let Some(at) = key.get() {
            report.fault(at.span, format!("{name} with absent"), "it ends when the metric is heard again");
        }
    }
    let metric = report.need(&raw.metric, raw.at, "metric", "\"flow\"")?;
    let known: BTreeSet<&str> = ground
        .fleet
        .templates
        .iter()
        .enumerate()
        .filter(|(index, _)| !matches!(own, Own::Of(templates) if !templates.contains(index)))
        .flat_map(|(_, template)| template.points.iter().map(|point| point.metric.as_str()))
        .collect();
    if !known.contains(metric.value.as_str()) {
        report.unknown(metric.span, "metric", metric.value.as_str(), known);
        return None;
    }
    Some(&metric.value)
}

/// The devices that an alarm watches, by index.
fn covered(
    raw: &raw::Alarm,
    ground: &Ground<'_>,
    metrics: &BTreeSet<&Metric>,
    conditions: &Conditions<'_>,
    chosen: Option<BTreeSet<usize>>,
    report: &mut Report,
) -> BTreeSet<usize> {
    let fleet = ground.fleet;
    let has = |template: usize, metric: &Metric| {
        fleet.templates[template].points.iter().any(|point| point.metric == *metric)
    };
    if let Some(chosen) = chosen {
        for metric in metrics {
            let without = chosen.iter().find(|device| !has(fleet.devices[**device].template, metric));
            if let Some(device) = without {
                let device = &fleet.devices[*device];
                let template = &fleet.template_of(device).name;
                let message = format!("{} has no {metric}", device.id);
                let help = format!("devices that have it: template {template} has no such point");
                report.missing(raw.devices.span_or(raw.at), message, help);
            }
        }
        return chosen;
    }
    let span = raw.when.span_or(raw.metric.span_or(raw.at));
    let whole = raw.when.is_absent() || conditions.when.is_some();
    let online = conditions.inputs().any(|input| input.device.is_none() && metric_of(input).is_none());
    if metrics.is_empty() && !online {
        if whole && !matches!(raw.when, Key::Absent) {
            let help = "devices = [\"door-1\"]: the device whose alarm it is";
            report.missing(span, "it reads nothing of a device of its own", help);
        }
        return BTreeSet::new();
    }
    let all = 0..fleet.devices.len();
    let fit: BTreeSet<usize> = all
        .filter(|device| metrics.iter().all(|metric| has(fleet.devices[*device].template, metric)))
        .collect();
    if fit.is_empty() && whole {
        let names: Vec<&str> = metrics.iter().map(|metric| metric.as_str()).collect();
        let message = format!("no device has {}", names.join(" and "));
        report.warn(span, message, "a [[device]] of a template with it; until then it never rises");
    }
    fit
}

/// Holds that everything that is read is kept; gives the longest time between two readings of it.
fn kept(
    raw: &raw::Alarm,
    ground: &Ground<'_>,
    own: &Own,
    conditions: &Conditions<'_>,
    absent: Option<&Metric>,
    report: &mut Report,
) -> Duration {
    let texts = conditions.texts.iter();
    let longest = texts.map(|(text, condition)| ground.kept(text, condition, own, report)).max();
    let (Some(metric), Some(at)) = (absent, raw.metric.get()) else { return longest.unwrap_or_default() };
    let mut longest = Duration::ZERO;
    for (template, point) in ground.points_of(metric, own) {
        if let Some(why) = condition::not_kept(point) {
            let template = &ground.fleet.templates[template].name;
            let help = "alarms read what a [[collect]] line keeps: \"keep\", or devices = […] without them";
            report.missing(at.span, format!("{metric} of template {template} is {why}"), help);
        }
        longest = longest.max(point.place.as_ref().map_or(Duration::ZERO, |place| place.period));
    }
    longest
}

/// Holds that what tells how people live is watched only with a line of the collection list for it.
fn people(
    raw: &raw::Alarm,
    root: &Root,
    ground: &Ground<'_>,
    own: &Own,
    conditions: &Conditions<'_>,
    absent: Option<&Metric>,
    report: &mut Report,
) {
    let consent = raw.consent.get();
    let line = consent.and_then(|consent| {
        let lines = root.collect.list();
        let found = lines.iter().find(|line| line.id.value() == Some(&consent.value));
        if found.is_none() {
            let known = lines.iter().filter_map(|line| line.id.value()).map(LineId::as_str);
            report.unknown(consent.span, "collect line", consent.value.as_str(), known);
        }
        found
    });
    let told = |metric: &Metric, at: Result<&At<String>, &At<Metric>>, report: &mut Report| {
        let (message, help) = match (consent, line) {
            (Some(consent), Some(line)) if !takes(line, metric) => {
                let message = format!("{} does not take {metric}", consent.value);
                return report.fault(consent.span, message, "the collect line that people agreed to");
            }
            (Some(_), _) => return,
            (None, _) => (
                format!("{metric} tells how people live"),
                "consent = \"C-009\": the line of the collection list that they agreed to",
            ),
        };
        match at {
            Ok(text) => report.within_text(text, place(&text.value, metric.as_str()), message, help),
            Err(at) => report.fault(at.span, message, help),
        }
    };
    let mut seen = BTreeSet::new();
    for (text, condition) in &conditions.texts {
        for input in condition.inputs() {
            let Some(metric) = metric_of(input) else { continue };
            let of_people = ground.points(input, metric, own).iter().any(|(_, point)| is_of_people(point));
            if of_people && seen.insert(metric) {
                told(metric, Ok(text), report);
            }
        }
    }
    if let (Some(metric), Some(at)) = (absent, raw.metric.get())
        && ground.points_of(metric, own).iter().any(|(_, point)| is_of_people(point))
    {
        told(metric, Err(at), report);
    }
}

fn takes(line: &raw::Collect, metric: &Metric) -> bool {
    let Some(fields) = line.fields.value() else { return true };
    fields.get(metric).is_some_and(|field| {
        let what = field.value.as_ref().and_then(raw::Field::what);
        what.is_none_or(|what| !matches!(what, raw::Do::Drop | raw::Do::Refuse))
    })
}

/// What has to happen besides the condition, where readings are as far apart as `period`.
fn rule(raw: &raw::Alarm, period: Duration, report: &mut Report) -> Rule {
    let since = report.now();
    let hold = report.bounded(&raw.hold, Duration::ZERO, Duration::ZERO..=DAY, "hold");
    let times = report.within(&raw.times, 2..=1_000, "times");
    let within = report.within(&raw.within, SECOND..=7 * DAY, "within");
    let absent = report.within(&raw.absent, SECOND..=31 * DAY, "absent");
    for (name, given) in
        [("times", raw.times.get().map(|at| at.span)), ("then", raw.then.get().map(|at| at.span))]
    {
        if let Some(span) = given.filter(|_| raw.within.is_absent()) {
            report.missing(span, format!("{name} without within"), "within = \"10m\"");
        }
    }
    if let (Some(_), Some(then)) = (raw.times.get(), raw.then.get()) {
        report.fault(then.span, "both times and then", "one of them");
    }
    if let Some(at) = raw.within.get().filter(|_| raw.times.is_absent() && raw.then.is_absent()) {
        report.fault(at.span, "within without times or then", "times = 3, or then = \"…\"");
    }
    let confirm = raw.confirm.value().and_then(|raw| {
        let devices = report.need(&raw.devices, raw.at, "devices", "2");
        let within = report.need(&raw.within, raw.at, "within", "\"30s\"");
        devices.zip(within)?;
        let devices = report.within(&raw.devices, 2..=1_000, "devices");
        let within = report.within(&raw.within, SECOND..=DAY, "within");
        Some((u32::try_from(devices?).unwrap_or(u32::MAX), millis(within?)))
    });
    let within_ms = within.map_or(0, millis);
    let rule = Rule {
        hold_ms: millis(hold),
        times: times.map(|times| (u32::try_from(times).unwrap_or(u32::MAX), within_ms)),
        then_ms: (!raw.then.is_absent()).then_some(within_ms),
        absent_ms: absent.map(millis),
        daily: raw.daily.value().map(|clock| clock.0),
        confirm,
        schedule: condition::schedule(&raw.schedule, report),
        on_error: raw.on_error.or(OnError::Raise),
    };
    periods(raw, period, report);
    scheduled(raw, &rule, report);
    // Most of it is told by now, at its place.
    if report.now().0 == since.0 {
        for nonsense in rule.nonsense() {
            report.fault(raw.id.span_or(raw.at), nonsense, "an alarm of its own for each of them");
        }
    }
    rule
}

/// Holds that there can be readings enough.
fn periods(raw: &raw::Alarm, period: Duration, report: &mut Report) {
    if period.is_zero() {
        return;
    }
    let shown = period.shown();
    if let Some(hold) = raw.hold.get().filter(|at| !at.value.is_zero() && at.value < period) {
        let message = format!("hold = {}, but it is read every {shown}", hold.value.shown());
        report.warn(hold.span, message, "one reading is enough then: a hold of more than the period");
    }
    for (name, key) in [("within", &raw.within), ("absent", &raw.absent)] {
        if let Some(at) = key.get().filter(|at| at.value < period) {
            let message = format!("{name} = {}, but it is read every {shown}", at.value.shown());
            report.fault(at.span, message, "more than the period");
        }
    }
    if let (Some(times), Some(within)) = (raw.times.get(), raw.within.get())
        && within.value >= period
    {
        let times_from = u32::try_from(times.value.saturating_sub(1)).unwrap_or(u32::MAX);
        let least = period.saturating_mul(times_from);
        if least > within.value {
            let message = format!(
                "{} times within {}, but it is read every {shown}",
                times.value,
                within.value.shown()
            );
            report.fault(times.span, message, format!("within = {} at least", least.shown()));
        }
    }
}

/// Holds that it can begin at the times when it looks.
fn scheduled(raw: &raw::Alarm, rule: &Rule, report: &mut Report) {
    let Some(longest) = rule.schedule.longest_minutes() else { return };
    let longest = MINUTE * longest;
    if let Some(hold) = raw.hold.get().filter(|at| !at.value.is_zero() && at.value >= longest) {
        let message = format!("hold = {} in stretches of {}", hold.value.shown(), longest.shown());
        report.fault(hold.span, message, "less than the longest stretch of its schedule, or it never rises");
    }
    if let (Some(at), Some(minute)) = (raw.daily.get(), rule.daily)
        && !(0..7).any(|day| rule.schedule.holds(day * 24 * 60 + minute))
    {
        report.fault(at.span, "a time outside of its schedule", "a time at which it looks, or no schedule");
    }
}

/// Holds that there are devices enough at one place to confirm.
fn placed(raw: &raw::Alarm, ground: &Ground<'_>, covered: &BTreeSet<usize>, report: &mut Report) {
    let Some(devices) = raw.confirm.value().and_then(|raw| raw.devices.get()) else { return };
    let mut places: HashMap<&Place, u64> = HashMap::new();
    for device in covered {
        if let Some(place) = ground.fleet.devices[*device].raw.place.value() {
            *places.entry(place).or_default() += 1;
        }
    }
    let most = places.into_iter().max_by_key(|(place, count)| (*count, place.as_str().to_owned()));
    if covered.is_empty()
        || devices.value < 2
        || most.as_ref().is_some_and(|(_, most)| *most >= devices.value)
    {
        return;
    }
    let message = match most {
        Some((place, count)) => {
            format!("{} devices, but no place has more than {count} ({place})", devices.value)
        }
        None => format!("{} devices of a place, but none of them has a place", devices.value),
    };
    report.fault(devices.span, message, "place = \"B3/lobby\" of [[device]], or fewer devices");
}

/// What an alarm is of: the first that it reads of its own device, or whether that is there, or what it reads of another.
fn main_metric(conditions: &Conditions<'_>) -> Option<Metric> {
    let inputs = || conditions.when.iter().flat_map(|when| when.inputs());
    let own = inputs().filter(|input| input.device.is_none()).find_map(metric_of);
    let online = || inputs().any(|input| metric_of(input).is_none()).then(|| ONLINE.parse().ok()).flatten();
    own.cloned().or_else(online).or_else(|| inputs().find_map(metric_of).cloned())
}

/// What alarms are of that look whether a device is there.
pub(super) const ONLINE: &str = "online";

/// The indices of what is named among what there is.
pub(super) fn named(
    key: &Key<Vec<At<LineId>>>,
    known: &[Option<&LineId>],
    what: &str,
    report: &mut Report,
) -> Vec<usize> {
    let mut seen = HashMap::new();
    let mut indices = Vec::new();
    for at in key.list() {
        report.once(&mut seen, at.value.clone(), at.span, what);
        match known.iter().position(|id| *id == Some(&at.value)) {
            Some(index) => indices.push(index),
            None => {
                let known = known.iter().flatten().map(|id| id.as_str());
                report.unknown(at.span, what, at.value.as_str(), known);
            }
        }
    }
    indices
}

#[cfg(test)]
mod tests;
