//! How the cells of share lines are protected: `protect` of `[[share]]`, and `[[budget]]`.
//!
//! Guarantees: an aggregate is protected in one way, whoever gets it; a metric that a protected line shares leaves on no
//! other way, nor in windows that could be held against each other but those that are decided together; an aggregate tells
//! nothing of a single subject. Does not decide which cell is held back: that is the privacy module's.

use std::collections::{BTreeSet, HashMap};

use rust_decimal::Decimal;

use super::aggregates::{by, is_pseudonym};
use super::fleet::{Fleet, Point};
use super::rules::Rules;
use super::{DAY, HOUR, millis};
use crate::aggregate::statistic::Statistic;
use crate::aggregate::windows::{Aggregate, By, Crowds, PublicCell};
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Class, Mode, Root, Zero};
use crate::model::crowd::PARTS_MAX;
use crate::model::{Lane, LineId, Metric, Place};
use crate::privacy::protect::budget::Budget;
use crate::privacy::protect::{Dp, Protect, Ratio, Sdc, Subjects};
use crate::privacy::release::ShareLine;

/// Fewer than so many subjects are not told of, where nothing else is said.
const K: u64 = 5;

/// A line of the aggregate lane.
struct Line<'r> {
    raw: &'r raw::Share,
    /// None where its cells go as they are, or where `protect` is wrong.
    protect: Option<Protect>,
}

impl Line<'_> {
    fn span(&self) -> Span {
        self.raw.protect.span_or(self.raw.id.span_or(self.raw.at))
    }

    fn carries(&self, aggregate: &LineId) -> bool {
        self.raw.carries.list().iter().any(|at| at.value == *aggregate)
    }

    fn lists(&self, metric: &Metric) -> bool {
        self.raw.metrics.list().iter().any(|at| at.value == *metric)
    }

    fn id(&self) -> &str {
        self.raw.id.value().map_or("", LineId::as_str)
    }
}

/// Checks `protect` and `[[budget]]`; gives lines their protection, and aggregates what it takes to know.
pub(super) fn protect(
    root: &Root,
    fleet: &Fleet<'_>,
    rules: &mut Rules,
    shares: &mut [ShareLine],
    report: &mut Report,
) -> Vec<Budget> {
    let budgets = budgets(root, report);
    let mut lines = Vec::new();
    for raw in root.share.list() {
        let protect = protected(raw, &budgets, report);
        if raw.lane.value() == Some(&Lane::Aggregate) {
            lines.push(Line { raw, protect });
        }
    }
    for raw in root.aggregate.list() {
        let Some(id) = raw.id.value() else { continue };
        let carriers: Vec<&Line<'_>> = lines.iter().filter(|line| line.carries(id)).collect();
        agreed(id, &carriers, report);
        let Some(line) = carriers.iter().find(|line| line.protect.is_some()) else { continue };
        if let Some(aggregate) = rules.aggregates.iter().find(|aggregate| aggregate.id == *id) {
            suits(raw, aggregate, line, fleet, report);
            affords(aggregate, line, &budgets, report);
        }
    }
    let nested = together(root, &lines, rules, report);
    classes(root, &lines, fleet, report);
    apply(&lines, &nested, fleet, rules, shares);
    budgets
}

fn budgets(root: &Root, report: &mut Report) -> Vec<Budget> {
    let mut seen = HashMap::new();
    let mut budgets = Vec::new();
    for raw in root.budget.list() {
        let id = report.need(&raw.id, raw.at, "id", "\"B-flow\"");
        let epsilon = report.need(&raw.epsilon, raw.at, "epsilon", "\"2\"");
        let period = report.bounded(&raw.period, DAY, HOUR..=31 * DAY, "period");
        if let Some(id) = id {
            report.once(&mut seen, id.value.clone(), id.span, "budget");
        }
        let epsilon = epsilon.and_then(|at| ratio(&at.value, at.span, report));
        if let (Some(id), Some(epsilon)) = (id, epsilon) {
            let period_ms = i64::try_from(millis(period)).unwrap_or(i64::MAX);
            budgets.push(Budget { id: id.value.clone(), epsilon, period_ms });
        }
    }
    budgets
}

fn ratio(text: &str, span: Span, report: &mut Report) -> Option<Ratio> {
    text.parse().map_err(|error| report.fault(span, format!("epsilon {text:?}"), format!("{error}"))).ok()
}

fn protected(raw: &raw::Share, budgets: &[Budget], report: &mut Report) -> Option<Protect> {
    let said = raw.protect.get()?;
    let own = &said.value;
    if raw.lane.value().is_some_and(|lane| *lane != Lane::Aggregate) {
        report.fault(
            said.span,
            "protect on another lane than aggregate",
            "the cells of windows are protected",
        );
    }
    let mode = report.need(&own.mode, own.at, "mode", "\"sdc\"")?.value;
    let strays = [
        ("k", own.k.get().map(|at| at.span), Mode::Sdc),
        ("dominance", own.dominance.get().map(|at| at.span), Mode::Sdc),
        ("zero", own.zero.get().map(|at| at.span), Mode::Sdc),
        ("epsilon", own.epsilon.get().map(|at| at.span), Mode::Dp),
        ("contribution", own.contribution.get().map(|at| at.span), Mode::Dp),
        ("budget", own.budget.get().map(|at| at.span), Mode::Dp),
    ];
    for (name, span, of) in strays {
        if let Some(span) = span.filter(|_| mode != of) {
            let help = "\"sdc\" has k, dominance and zero; \"dp\" has epsilon, contribution and budget";
            report.fault(span, format!("{name} in the other mode"), help);
        }
    }
    let subjects = match own.subjects.value() {
        Some(metric) if metric.as_str() != "device" => Subjects::Metric(metric.clone()),
        _ => Subjects::Device,
    };
    match mode {
        Mode::Sdc => {
            let k = report.bounded(&own.k, K, 2..=1000, "k");
            let dominance = match own.dominance.get() {
                Some(at) => Some(percent(&at.value, at.span, report)?),
                None => None,
            };
            let zero_public = own.zero.or(Zero::Hidden) == Zero::Public;
            Some(Protect::Sdc(Sdc { k, subjects, dominance, zero_public }))
        }
        Mode::Dp => {
            let epsilon = report.need(&own.epsilon, own.at, "epsilon", "\"1/2\"");
            let epsilon = epsilon.and_then(|at| ratio(&at.value, at.span, report));
            let contribution = report.need(&own.contribution, own.at, "contribution", "4").is_some();
            let contribution =
                contribution.then(|| report.within(&own.contribution, 1..=1000, "contribution")).flatten();
            let budget = report.need(&own.budget, own.at, "budget", "\"B-flow\"")?;
            if !budgets.iter().any(|known| known.id == budget.value) {
                let known = budgets.iter().map(|budget| budget.id.as_str());
                report.unknown(budget.span, "budget", budget.value.as_str(), known);
            }
            let (epsilon, contribution) = (epsilon?, contribution?);
            Some(Protect::Dp(Dp { epsilon, contribution, subjects, budget: budget.value.clone() }))
        }
    }
}

fn percent(text: &str, span: Span, report: &mut Report) -> Option<Decimal> {
    let number = text.strip_suffix('%').and_then(|number| Decimal::from_str_exact(number).ok());
    let number = number.filter(|number| *number >= Decimal::ONE && *number < Decimal::ONE_HUNDRED);
    if number.is_none() {
        report.fault(span, format!("dominance {text:?}"), "a part from \"1%\" to \"99%\": \"50%\"");
    }
    number
}

/// All lines that carry an aggregate protect it alike: what one held back the other would tell.
fn agreed(id: &LineId, carriers: &[&Line<'_>], report: &mut Report) {
    let Some((first, others)) = carriers.split_first() else { return };
    // What is wrong is told, and differs from everything.
    let is_wrong = |line: &Line<'_>| line.protect.is_none() && !line.raw.protect.is_absent();
    for other in others.iter().filter(|other| !is_wrong(other) && !is_wrong(first)) {
        if other.protect != first.protect {
            let message = format!("{id} is protected in two ways");
            let help = format!("the same protect as {}: one held back is told by the other", first.id());
            report.twice(other.span(), first.span(), message, help);
        }
    }
}

/// Whether an aggregate can be protected like this.
fn suits(
    raw: &raw::Aggregate,
    aggregate: &Aggregate,
    line: &Line<'_>,
    fleet: &Fleet<'_>,
    report: &mut Report,
) {
    let Some(protect) = &line.protect else { return };
    let (id, span) = (&aggregate.id, line.span());
    if aggregate.by == By::Device {
        let message = format!("{id} is by device, and nothing of one device can be protected");
        report.fault(span, message, "an aggregate by = \"building\" or \"compound\"");
    }
    let bad: Vec<String> =
        aggregate.statistics.iter().filter(|s| !is_told(*s, protect)).map(|s| s.to_string()).collect();
    if !bad.is_empty() {
        let message = format!("{} of {id} under protection", bad.join(", "));
        let help = match protect {
            Protect::Sdc(_) => "statistics of many: count, sum, mean, delta, distinct, coverage, online",
            Protect::Dp(_) => "statistics that noise is drawn for: count, and distinct of the subjects",
        };
        report.fault(span, message, help);
    }
    let metrics = raw.metrics.list();
    if matches!(protect, Protect::Dp(_)) && metrics.len() > 1 {
        let message = format!("noise on {} metrics of {id}", metrics.len());
        report.fault(span, message, "an aggregate of its own for each: each is paid for");
    }
    let named: Vec<&Metric> =
        metrics.iter().map(|at| &at.value).filter(|metric| points(fleet, metric).any(is_pseudonym)).collect();
    match protect.subjects() {
        Subjects::Device => {
            if let Some(metric) = named.first() {
                let message = format!("{metric} is a keyed name, and the device is taken for the subject");
                report.fault(span, message, format!("subjects = \"{metric}\""));
            }
            let adds_up =
                aggregate.statistics.has(Statistic::Sum) || aggregate.statistics.has(Statistic::Delta);
            let dominance = matches!(protect, Protect::Sdc(Sdc { dominance: Some(_), .. }));
            if dominance && !adds_up {
                let message = format!("dominance without a sum: {id} tells none");
                report.fault(span, message, "\"sum\" or \"delta\" among the statistics, or no dominance");
            }
        }
        Subjects::Metric(subject) if metrics.iter().any(|at| at.value != *subject) || metrics.is_empty() => {
            let message = format!("{subject} are the subjects of {id}, which is about something else too");
            report.fault(span, message, format!("an aggregate of {subject} alone"));
        }
        Subjects::Metric(subject) => {
            let all = points(fleet, subject).filter(|point| point.listed.is_some()).all(is_pseudonym);
            if !all || named.is_empty() {
                let message = format!("{subject} is not collected as a keyed name");
                report.fault(
                    span,
                    message,
                    "subjects = \"device\", or a metric that is collected as a pseudonym",
                );
            }
        }
    }
}

fn is_told(statistic: Statistic, protect: &Protect) -> bool {
    match protect {
        Protect::Sdc(_) => !matches!(
            statistic,
            Statistic::Min | Statistic::Max | Statistic::Last | Statistic::Quantile(_) | Statistic::Histogram
        ),
        Protect::Dp(Dp { subjects, .. }) => {
            statistic == Statistic::Count
                || (statistic == Statistic::Distinct && matches!(subjects, Subjects::Metric(_)))
        }
    }
}

fn points<'f>(fleet: &'f Fleet<'_>, metric: &'f Metric) -> impl Iterator<Item = &'f Point> {
    fleet.templates.iter().flat_map(|template| &template.points).filter(move |point| point.metric == *metric)
}

/// Says when a budget is spent before its period is over.
fn affords(aggregate: &Aggregate, line: &Line<'_>, budgets: &[Budget], report: &mut Report) {
    let Some(Protect::Dp(rule)) = &line.protect else { return };
    let Some(budget) = budgets.iter().find(|budget| budget.id == rule.budget) else { return };
    let windows = u64::try_from(budget.period_ms / aggregate.size_ms.max(1)).unwrap_or(0);
    let paid = budget.epsilon.holds(rule.epsilon);
    if paid < windows {
        let message = format!("{} of {} has {windows} windows in a period", budget.id, aggregate.id);
        let help =
            format!("epsilon {} pays {paid} at {}: the others are held back", budget.epsilon, rule.epsilon);
        report.warn(line.span(), message, help);
    }
}

/// Which aggregate has the shorter windows of which: (longer, shorter). What is shared in any other windows besides is a
/// fault.
fn together(root: &Root, lines: &[Line<'_>], rules: &Rules, report: &mut Report) -> Vec<(LineId, LineId)> {
    let mut nested = Vec::new();
    let protected = lines.iter().filter(|line| line.protect.is_some());
    let metrics: BTreeSet<&Metric> =
        protected.flat_map(|line| line.raw.metrics.list()).map(|at| &at.value).collect();
    for metric in metrics {
        let about = |raw: &&raw::Aggregate| raw.metrics.list().iter().any(|at| at.value == *metric);
        let carried = |id: &LineId, line: &Line<'_>| line.carries(id) && line.lists(metric);
        let mut own: Vec<(&raw::Aggregate, usize, &Line<'_>)> = Vec::new();
        for raw in root.aggregate.list().iter().filter(about) {
            let Some(id) = raw.id.value() else { continue };
            let Some(at) = rules.aggregates.iter().position(|aggregate| aggregate.id == *id) else {
                continue;
            };
            let line = lines.iter().find(|line| line.protect.is_some() && carried(id, line));
            own.extend(line.map(|line| (raw, at, line)));
        }
        let Some((_, _, first)) = own.first() else { continue };
        besides(root, metric, first, report);
        own.sort_by_key(|(_, at, _)| rules.aggregates[*at].size_ms);
        let is_noise = |(_, _, line): &(_, _, &Line<'_>)| matches!(line.protect, Some(Protect::Dp(_)));
        if own.len() < 2 || own.iter().all(is_noise) {
            continue;
        }
        let (short, long) = (own[0], own[1]);
        match fits(&short, &long, rules).err().or((own.len() > 2).then_some("there are more than two")) {
            None => {
                let id = |(_, at, _): (_, usize, _)| rules.aggregates[at].id.clone();
                let pair = (id(long), id(short));
                if !nested.contains(&pair) {
                    nested.push(pair);
                }
            }
            Some(why) => {
                let (one, other) = (&rules.aggregates[short.1].id, &rules.aggregates[long.1].id);
                let message = format!("{metric} in the windows of {one} and of {other}: {why}");
                let help = "one aggregate, or two that differ in their size alone, one a part of the other";
                report.twice(long.2.span(), short.2.span(), message, help);
            }
        }
    }
    nested
}

type Carried<'l, 'r> = (&'r raw::Aggregate, usize, &'l Line<'r>);

/// Whether two aggregates can be decided together, or why not.
fn fits(short: &Carried<'_, '_>, long: &Carried<'_, '_>, rules: &Rules) -> Result<(), &'static str> {
    let (one, other) = (&rules.aggregates[short.1], &rules.aggregates[long.1]);
    let metrics =
        |raw: &raw::Aggregate| raw.metrics.list().iter().map(|at| at.value.clone()).collect::<BTreeSet<_>>();
    let covered = |at: usize| rules.aggregated[at].iter().copied().collect::<BTreeSet<_>>();
    let parts = other.size_ms / one.size_ms.max(1);
    for (differs, why) in [
        (short.2.protect != long.2.protect, "they are protected in two ways"),
        (metrics(short.0) != metrics(long.0), "their metrics differ"),
        (covered(short.1) != covered(long.1), "their devices differ"),
        (one.by != other.by, "their cells differ"),
        (one.statistics != other.statistics, "their statistics differ"),
        (one.size_ms == other.size_ms, "they are of one size"),
        (other.size_ms % one.size_ms.max(1) != 0, "one is not a multiple of the other"),
        (parts > i64::from(PARTS_MAX), "one has more than 128 of the other"),
        (one.lateness_ms > other.lateness_ms, "the longer one would close first: its lateness is less"),
    ] {
        if differs {
            return Err(why);
        }
    }
    Ok(())
}

/// Holds that a protected metric leaves on no other way.
fn besides(root: &Root, metric: &Metric, protected: &Line<'_>, report: &mut Report) {
    for raw in root.share.list().iter().filter(|raw| raw.protect.is_absent()) {
        let Some(at) = raw.metrics.list().iter().find(|at| at.value == *metric) else { continue };
        if matches!(raw.lane.value(), Some(Lane::Aggregate | Lane::Bulk)) {
            let message = format!("{metric} is shared here as it is, and protected by {}", protected.id());
            report.twice(
                at.span,
                protected.span(),
                message,
                "the same protect, or leave it out: one tells what the other holds back",
            );
        }
    }
}

/// What tells of households and of persons needs protection where it is told more finely than of the whole compound.
fn classes(root: &Root, lines: &[Line<'_>], fleet: &Fleet<'_>, report: &mut Report) {
    for line in lines.iter().filter(|line| line.raw.protect.is_absent() && !line.raw.devices.or(false)) {
        for metric in line.raw.metrics.list() {
            let household = |point: &&Point| point.class == Class::Household && point.listed.is_some();
            let Some(point) = points(fleet, &metric.value).find(household) else { continue };
            let about = |raw: &&raw::Aggregate| {
                raw.id.value().is_some_and(|id| line.carries(id))
                    && raw.metrics.list().iter().any(|at| at.value == metric.value)
            };
            let carried: Vec<By> = root.aggregate.list().iter().filter(about).map(by).collect();
            let help = "protect = { mode = \"sdc\", k = 5 }, with statistics of many";
            if carried.contains(&By::Building) {
                let message = format!("{} of single buildings tells how few households live", metric.value);
                report.twice(metric.span, point.span, message, help);
            } else if carried.contains(&By::Compound) {
                let message = format!("{} of households goes without protection", metric.value);
                report.warn(metric.span, message, help);
            }
        }
    }
}

fn apply(
    lines: &[Line<'_>],
    nested: &[(LineId, LineId)],
    fleet: &Fleet<'_>,
    rules: &mut Rules,
    shares: &mut [ShareLine],
) {
    for share in shares.iter_mut().filter(|share| share.lane == Lane::Aggregate) {
        let line = lines.iter().find(|line| line.raw.id.value() == Some(&share.id));
        share.protect = line.and_then(|line| line.protect.clone());
    }
    let sizes: HashMap<LineId, i64> =
        rules.aggregates.iter().map(|aggregate| (aggregate.id.clone(), aggregate.size_ms)).collect();
    for (aggregate, covered) in rules.aggregates.iter_mut().zip(&rules.aggregated) {
        let line = lines.iter().find(|line| line.protect.is_some() && line.carries(&aggregate.id));
        let Some(protect) = line.and_then(|line| line.protect.as_ref()) else { continue };
        let shorter = nested.iter().find(|(long, _)| *long == aggregate.id).map(|(_, short)| short);
        let mut cells: BTreeSet<(Metric, String, Option<Place>)> = BTreeSet::new();
        for (device, point) in covered {
            let device = &fleet.devices[*device];
            let Point { metric, unit, .. } = &fleet.template_of(device).points[*point];
            cells.insert((metric.clone(), unit.clone(), None));
            if aggregate.by == By::Building {
                let building = Place::building(device.raw.place.value());
                cells.insert((metric.clone(), unit.clone(), Some(building)));
            }
        }
        let cell = |(metric, unit, place)| PublicCell { metric, unit, place };
        aggregate.crowds = Some(Crowds {
            by_value: matches!(protect.subjects(), Subjects::Metric(_)),
            part_ms: shorter.and_then(|id| sizes.get(id).copied()),
            cells: cells.into_iter().map(cell).collect(),
        });
    }
}

#[cfg(test)]
mod tests;
