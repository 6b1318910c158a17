//! How the lists and what really happens come apart while the gateway runs.
//!
//! Guarantees: pure; tells only what the lists and what was [`Observed`] prove, so what could not be looked at is not told.
//! The lists are changed by people alone.

use std::collections::{BTreeMap, BTreeSet};

use super::lint::Said;
use super::{Decision, Demand, Lists, Point, Share};
use crate::model::{LineId, List};

/// How long a share line may be pulled by nobody.
pub const UNUSED_MS: i64 = 30 * 86_400_000;
/// How long a collect line may be told nothing by its devices.
pub const SILENT_MS: i64 = 7 * 86_400_000;

/// What the store knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Since when each line has stood there without a break, milliseconds since 1970 UTC.
    pub since_ms: BTreeMap<(List, LineId), i64>,
    /// When the oldest record of a share line that none of its consumers has acknowledged was sealed.
    pub waiting_ms: BTreeMap<LineId, i64>,
    /// Points (device, metric) that are proven to have told nothing for [`SILENT_MS`].
    pub silent: BTreeSet<(String, String)>,
    /// Alarms that are not closed.
    pub incidents: Vec<Incident>,
}

/// An alarm that is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its number.
    pub id: u64,
    /// The alarm.
    pub alarm: String,
    /// Since when it stands, milliseconds since 1970 UTC.
    pub raised_ms: i64,
    /// Whether anybody has taken it up, or said something about it.
    pub accepted: bool,
}

/// How something came apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Fields are taken that no demand and no governance line asks for.
    Undemanded,
    /// A demand was approved, and nothing of it leaves any more.
    Unserved,
    /// A share line has ended and still stands there.
    Expired,
    /// Nobody pulls a share line.
    Unused,
    /// Nothing comes in on a collect line.
    Silent,
    /// An alarm of a governance line waits for longer than its time.
    Overdue,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] =
        [Kind::Undemanded, Kind::Unserved, Kind::Expired, Kind::Unused, Kind::Silent, Kind::Overdue];

    /// The name: in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Undemanded => "undemanded",
            Kind::Unserved => "unserved",
            Kind::Expired => "expired",
            Kind::Unused => "unused",
            Kind::Silent => "silent",
            Kind::Overdue => "overdue",
        }
    }

    /// Whether somebody should act now.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        matches!(self, Kind::Unserved | Kind::Overdue | Kind::Silent)
    }
}

/// One thing that came apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// How.
    pub kind: Kind,
    /// Of which list the line is.
    pub list: List,
    /// Which line.
    pub id: LineId,
    /// What, for people.
    pub text: Said,
}

/// Everything that came apart, by kind. `now_ms` is milliseconds since 1970 UTC.
///
/// What only a closed loop can tell (who asked for what) is not told of lists in which nobody has begun to close it.
#[must_use]
pub fn drift(lists: &Lists, observed: &Observed, now_ms: i64) -> Vec<Drift> {
    let mut found = Vec::new();
    if lists.is_begun() {
        undemanded(lists, &mut found);
        unserved(lists, now_ms, &mut found);
    }
    for share in lists.shares.iter().filter(|share| share.has_ended(now_ms)) {
        let text = Said::new(
            "已到期，不再输出，但仍在清单上",
            "it has ended, lets nothing out, and still stands there",
        );
        found.push(Drift { kind: Kind::Expired, list: List::Share, id: share.id.clone(), text });
    }
    for (id, sealed_ms) in &observed.waiting_ms {
        let Some(days) = days(now_ms, *sealed_ms).filter(|_| now_ms.saturating_sub(*sealed_ms) >= UNUSED_MS)
        else {
            continue;
        };
        let known = lists.shares.iter().any(|share| share.id == *id && !share.has_ended(now_ms));
        if known {
            let text = Said::new(
                format!("记录已等待 {days} 天，没有任何共享对象领取"),
                format!("records have waited for {days} d, and no consumer has taken them"),
            );
            found.push(Drift { kind: Kind::Unused, list: List::Share, id: id.clone(), text });
        }
    }
    silent(lists, observed, now_ms, &mut found);
    overdue(lists, observed, now_ms, &mut found);
    found.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    found
}

fn days(now_ms: i64, then_ms: i64) -> Option<i64> {
    Some(now_ms.checked_sub(then_ms)? / 86_400_000)
}

/// Fields that are taken, and nobody who asked: neither through a share line with an approved demand nor by governance.
fn undemanded(lists: &Lists, found: &mut Vec<Drift>) {
    let demanded = |share: &Share| {
        !share.is_forbidden() && lists.demands_of(share).any(|demand| demand.decision == Decision::Approved)
    };
    let mut asked: BTreeSet<_> =
        lists.shares.iter().filter(|share| demanded(share)).flat_map(|share| &share.metrics).collect();
    asked.extend(lists.governance.iter().flat_map(|line| lists.metrics_of(line)));
    for line in &lists.collects {
        let own = |point: &&Point| point.is_taken() && point.collect.as_ref() == Some(&line.id);
        let spare: BTreeSet<&str> = lists
            .points
            .iter()
            .filter(own)
            .filter(|point| !asked.contains(&point.metric))
            .map(|point| point.metric.as_str())
            .collect();
        if !spare.is_empty() {
            let fields = spare.into_iter().collect::<Vec<_>>().join(", ");
            let text = Said::new(
                format!("采集了 {fields}，没有需求或治理项要用"),
                format!("{fields} is collected, and no demand or governance line asks for it"),
            );
            found.push(Drift { kind: Kind::Undemanded, list: List::Collect, id: line.id.clone(), text });
        }
    }
}

fn unserved(lists: &Lists, now_ms: i64, found: &mut Vec<Drift>) {
    let stands = |demand: &&Demand| {
        demand.decision == Decision::Approved && demand.until_ms.is_none_or(|until_ms| now_ms < until_ms)
    };
    for demand in lists.demands.iter().filter(stands) {
        if !lists.shares_of(demand).any(|share| !share.has_ended(now_ms)) {
            let text =
                Said::new("已批准，但没有有效的共享项", "approved, and no share line in force serves it");
            found.push(Drift { kind: Kind::Unserved, list: List::Demand, id: demand.id.clone(), text });
        }
    }
}

fn silent(lists: &Lists, observed: &Observed, now_ms: i64, found: &mut Vec<Drift>) {
    for line in &lists.collects {
        let since = observed.since_ms.get(&(List::Collect, line.id.clone()));
        if line.manual || since.is_none_or(|since_ms| now_ms.saturating_sub(*since_ms) < SILENT_MS) {
            continue;
        }
        let own =
            lists.points.iter().filter(|point| point.is_taken() && point.collect.as_ref() == Some(&line.id));
        let mut series = own
            .flat_map(|point| point.devices.iter().map(|device| (device.clone(), point.metric.to_string())))
            .peekable();
        if series.peek().is_some() && series.all(|series| observed.silent.contains(&series)) {
            let text = Said::new("七天没有任何读数", "no reading for seven days");
            found.push(Drift { kind: Kind::Silent, list: List::Collect, id: line.id.clone(), text });
        }
    }
}

fn overdue(lists: &Lists, observed: &Observed, now_ms: i64, found: &mut Vec<Drift>) {
    let past = |since_ms: i64, limit: Option<u64>| {
        let limit = limit.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        limit.is_some_and(|limit| now_ms.saturating_sub(since_ms) > limit)
    };
    for line in &lists.governance {
        let alarms = lists.alarms_of(line);
        let own: Vec<&Incident> = observed
            .incidents
            .iter()
            .filter(|incident| alarms.iter().any(|id| *id.as_str() == *incident.alarm))
            .collect();
        let late = own
            .iter()
            .filter(|incident| !incident.accepted && past(incident.raised_ms, line.accept_ms))
            .count();
        let open = own.iter().filter(|incident| past(incident.raised_ms, line.close_ms)).count();
        if late + open > 0 {
            let text = Said::new(
                format!("超时未受理 {late} 件，超时未办结 {open} 件"),
                format!("not taken up in time: {late}, not closed in time: {open}"),
            );
            found.push(Drift { kind: Kind::Overdue, list: List::Governance, id: line.id.clone(), text });
        }
    }
}
