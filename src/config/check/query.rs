//! Questions of the catalogue: `[[query]]`.
//!
//! Guarantees: a query asks for windows of an aggregate that its share line carries and protects, so that there is
//! something decided to answer from; what may be chosen is listed, and there is no other way to narrow an answer.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use super::alarms::TITLE_MAX;
use super::condition::text;
use super::fleet::Fleet;
use super::rules::Rules;
use super::{DAY, millis};
use crate::aggregate::windows::{Aggregate, By};
use crate::config::fault::Report;
use crate::config::raw::{self, Root};
use crate::config::read::At;
use crate::lists::{Lists, Query, Spending};
use crate::model::{Lane, LineId, Metric, Place};
use crate::privacy::protect::Protect;
use crate::privacy::protect::budget::Budget;
use crate::privacy::release::ShareLine;

/// Queries of one configuration; one more is a fault.
const QUERIES_MAX: usize = 100;
/// The longest time that may be asked for at once: as long as decided cells are kept.
const SPAN_MAX: Duration = Duration::from_secs(400 * 86_400);

/// Checks `[[query]]` and gives the lists what the catalogue tells besides their lines.
pub(super) fn complete(
    lists: Lists,
    root: &Root,
    fleet: &Fleet<'_>,
    rules: &Rules,
    shares: &[ShareLine],
    budgets: &[Budget],
    report: &mut Report,
) -> Lists {
    let mut seen = HashMap::new();
    let mut queries = Vec::new();
    for (number, raw) in root.query.list().iter().enumerate() {
        if let Some(id) = report.need(&raw.id, raw.at, "id", "\"Q-001\"") {
            report.once(&mut seen, id.value.clone(), id.span, "query");
        }
        if number == QUERIES_MAX {
            report.fault(raw.at, "too many queries", format!("at most {QUERIES_MAX}"));
        }
        queries.extend(query(raw, root, fleet, rules, shares, budgets, report));
    }
    let titled = |raw: &raw::Command| Some((raw.id.value()?.clone(), raw.title.or(String::new())));
    Lists {
        queries,
        windows: rules.aggregates.iter().map(|aggregate| (aggregate.id.clone(), aggregate.size_ms)).collect(),
        commands: root.command.list().iter().filter_map(titled).collect(),
        ..lists
    }
}

fn query(
    raw: &raw::Query,
    root: &Root,
    fleet: &Fleet<'_>,
    rules: &Rules,
    shares: &[ShareLine],
    budgets: &[Budget],
    report: &mut Report,
) -> Option<Query> {
    let title = text(&raw.title, "title", TITLE_MAX, report);
    let share = report.need(&raw.share, raw.at, "share", "\"S-005\"");
    let aggregate = report.need(&raw.aggregate, raw.at, "aggregate", "\"A-badges\"");
    let line = share.and_then(|share| line(share, root, report));
    let carried = carried(aggregate?, line?, rules, report);
    let span_max = report.bounded(&raw.span_max, 31 * DAY, Duration::from_secs(1)..=SPAN_MAX, "span_max");
    let (at, aggregate) = carried?;
    if i64::try_from(millis(span_max)).unwrap_or(i64::MAX) < aggregate.size_ms {
        let help = format!("at least one window of {}", aggregate.id);
        report.fault(raw.span_max.span_or(raw.at), "a span_max shorter than a window", help);
    }
    // What is wrong with its protection is told; of a line with faults there is none here.
    let checked = shares.iter().find(|checked| Some(&checked.id) == share.map(|share| &share.value))?;
    let spending = match &checked.protect {
        Some(Protect::Dp(rule)) => {
            budgets.iter().find(|budget| budget.id == rule.budget).map(|budget| Spending {
                budget: budget.id.clone(),
                epsilon: (budget.epsilon.num(), budget.epsilon.den()),
                period_ms: budget.period_ms,
                zone_ms: aggregate.zone_ms,
            })
        }
        _ => None,
    };
    let own = root.aggregate.list().iter().find(|raw| raw.id.value() == Some(&aggregate.id))?;
    let metrics: Vec<Metric> = own.metrics.list().iter().map(|at| &at.value).cloned().collect();
    let metrics: Vec<Metric> =
        metrics.into_iter().filter(|metric| checked.metrics.contains(metric)).collect();
    let buildings: BTreeSet<Place> = match aggregate.by {
        By::Building => {
            let of = |(device, _): &(usize, usize)| Place::building(fleet.devices[*device].raw.place.value());
            rules.aggregated[at].iter().map(of).collect()
        }
        By::Device | By::Compound => BTreeSet::new(),
    };
    let said = raw.arguments.value();
    let chosen_metrics = said.map(|said| chosen(said.metric.list(), "metric", &metrics, report));
    let buildings: Vec<Place> = buildings.into_iter().collect();
    if let Some(building) = said.and_then(|said| said.building.get()).filter(|_| aggregate.by != By::Building)
    {
        let message = format!("a building of {}, whose cells are of none", aggregate.id);
        report.fault(building.span, message, "an aggregate by = \"building\", or no building");
    }
    let chosen_buildings = said.map(|said| chosen(said.building.list(), "building", &buildings, report));
    let names_buildings = said.is_some_and(|said| !said.building.is_absent());
    let is_said = |absent: Option<bool>, default: bool| absent.map_or(default, |absent| !absent);
    Some(Query {
        id: raw.id.value()?.clone(),
        title,
        share: checked.id.clone(),
        size_ms: aggregate.size_ms,
        by_metric: is_said(said.map(|said| said.metric.is_absent()), true),
        metrics: chosen_metrics.filter(|chosen| !chosen.is_empty()).unwrap_or(metrics),
        by_building: is_said(said.map(|said| said.building.is_absent()), !buildings.is_empty()),
        buildings: chosen_buildings.filter(|chosen| !chosen.is_empty()).unwrap_or(buildings),
        all_buildings: !names_buildings,
        aggregate: aggregate.id.clone(),
        span_max_ms: i64::try_from(millis(span_max)).unwrap_or(i64::MAX),
        spending,
    })
}

/// The share line of a query: there, of lane aggregate, and with protected cells.
fn line<'r>(share: &At<LineId>, root: &'r Root, report: &mut Report) -> Option<&'r raw::Share> {
    let lines = || root.share.list().iter().filter(|raw| !raw.is_forbidden());
    let Some(line) = lines().find(|raw| raw.id.value() == Some(&share.value)) else {
        let known = lines().filter_map(|raw| raw.id.value()).map(LineId::as_str);
        report.unknown(share.span, "share line", share.value.as_str(), known);
        return None;
    };
    let help = "a line of lane aggregate with protect: only what was decided once can be asked for again";
    if line.lane.value().is_some_and(|lane| *lane != Lane::Aggregate) {
        report.fault(share.span, format!("{} is of another lane", share.value), help);
        return None;
    }
    if line.protect.is_absent() {
        report.fault(share.span, format!("{} does not protect its cells", share.value), help);
        return None;
    }
    Some(line)
}

/// The aggregate of a query, with its place among all of them: one that the line carries.
fn carried<'a>(
    aggregate: &At<LineId>,
    line: &raw::Share,
    rules: &'a Rules,
    report: &mut Report,
) -> Option<(usize, &'a Aggregate)> {
    if !line.carries.list().iter().any(|at| at.value == aggregate.value) {
        let known = line.carries.list().iter().map(|at| at.value.as_str());
        report.unknown(aggregate.span, "aggregate of the share line", aggregate.value.as_str(), known);
        return None;
    }
    rules.aggregates.iter().enumerate().find(|(_, known)| known.id == aggregate.value)
}

/// The values that may be chosen: each once, and one that there is.
fn chosen<T: Borrow<str> + Clone + Eq + Hash + Display>(
    said: &[At<T>],
    what: &str,
    known: &[T],
    report: &mut Report,
) -> Vec<T> {
    let mut seen = HashMap::new();
    for at in said {
        report.once(&mut seen, at.value.clone(), at.span, what);
        // Of what nothing is watched yet, nothing is known.
        if !known.is_empty() && !known.contains(&at.value) {
            report.unknown(at.span, what, at.value.borrow(), known.iter().map(Borrow::borrow));
        }
    }
    said.iter().map(|at| at.value.clone()).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Faults};
    use crate::lists::Query;

    const SITE: &str = "
[gateway]
id = 'gw'
division_code = '310115013007'
compound_code = 'C1'
[store]
dir = 'data'
[[template]]
name = 'gate'
point = [{ metric = 'passes', json = '/n' }, { metric = 'heat', json = '/t' }]
[[device]]
id = 'gate-1'
template = 'gate'
place = 'B1/lobby'
[[device]]
id = 'gate-2'
template = 'gate'
place = 'B2'
[[collect]]
id = 'C-1'
templates = ['gate']
purpose = 'x'
fields = { passes = 'keep', heat = 'keep' }
[[aggregate]]
id = 'A-1h'
metrics = ['passes']
size = '1h'
by = 'building'
statistics = ['count']
[[aggregate]]
id = 'A-heat'
metrics = ['heat']
size = '1h'
by = 'compound'
statistics = ['mean']
[[share]]
id = 'S-1'
purpose = 'x'
lane = 'aggregate'
consumers = ['spiffe://x/a']
metrics = ['passes']
carries = ['A-1h']
approval = '1'
protect = { mode = 'dp', epsilon = '1/2', contribution = 2, budget = 'B' }
[[share]]
id = 'S-2'
purpose = 'x'
lane = 'aggregate'
consumers = ['spiffe://x/a']
metrics = ['heat']
carries = ['A-heat']
approval = '1'
[[budget]]
id = 'B'
epsilon = '12'
";

    fn of(query: &str) -> Result<Vec<Query>, Faults> {
        let text = format!("{SITE}[[query]]\n{query}\n");
        let config = Config::of_texts(vec![("gw.toml".into(), text)], &[], 1_795_190_400_000)?;
        Ok(config.plan.lists.queries.clone())
    }

    #[test]
    fn a_query_says_what_may_be_chosen() {
        let names = |values: &[String]| values.join(" ");
        let plain = "id = 'Q-1'\nshare = 'S-1'\naggregate = 'A-1h'\n";
        for (more, metrics, buildings, all) in [
            ("", "passes", "B1 B2", true),
            ("arguments = {}", "-", "-", true),
            ("arguments = { building = ['B2'] }", "-", "B2", false),
            ("arguments = { metric = ['passes'] }", "passes", "-", true),
        ] {
            let queries = of(&format!("{plain}{more}")).unwrap_or_else(|faults| panic!("{faults}"));
            let query = &queries[0];
            let shown =
                |is_open: bool, values: Vec<String>| if is_open { names(&values) } else { "-".into() };
            let told = (
                shown(query.by_metric, query.metrics.iter().map(ToString::to_string).collect()),
                shown(query.by_building, query.buildings.iter().map(ToString::to_string).collect()),
            );
            assert_eq!((told, query.all_buildings), ((metrics.into(), buildings.into()), all), "{more}");
            let spending = query.spending.as_ref().expect("a budget");
            assert_eq!((spending.epsilon, query.span_max_ms), ((12, 1), 31 * 86_400_000));
        }
    }

    #[test]
    fn what_cannot_be_asked_is_a_fault() {
        for (query, word) in [
            ("share = 'S-1'\naggregate = 'A-1h'", "missing"),
            ("id = 'Q'\naggregate = 'A-1h'", "missing"),
            ("id = 'Q'\nshare = 'S-1'", "missing"),
            ("id = 'Q'\nshare = 'S-9'\naggregate = 'A-1h'", "unknown share line"),
            ("id = 'Q'\nshare = 'S-2'\naggregate = 'A-heat'", "S-2 does not protect its cells"),
            ("id = 'Q'\nshare = 'S-1'\naggregate = 'A-heat'", "unknown aggregate of the share line"),
            ("id = 'Q'\nshare = 'S-1'\naggregate = 'A-1h'\nspan_max = '1m'", "shorter than a window"),
            ("id = 'Q'\nshare = 'S-1'\naggregate = 'A-1h'\nspan_max = '500d'", "out of range"),
            (
                "id = 'Q'\nshare = 'S-1'\naggregate = 'A-1h'\narguments = { metric = ['heat'] }",
                "unknown metric",
            ),
            (
                "id = 'Q'\nshare = 'S-1'\naggregate = 'A-1h'\narguments = { building = ['B3'] }",
                "unknown building",
            ),
            ("id = 'Q'\nshare = 'S-1'\naggregate = 'A-1h'\narguments = { person = ['x'] }", "unknown key"),
        ] {
            let faults = of(query).expect_err(word).to_string();
            assert!(faults.contains(word), "{query}: {faults}");
        }
    }
}
