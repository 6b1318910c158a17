//! The four lists (需求清单, 归集清单, 共享清单, 治理清单) as one closed loop: who needs what, what is taken for it, what is given
//! out, and what is done with it, until the need is met.
//!
//! Guarantees: pure and deterministic; every statement about the lists (links, open ends, why a field may leave) is made
//! here from the lines as the configuration has them. It does not enforce anything: `privacy` is the door, `config` refuses
//! what contradicts itself, and what is merely open is told by [`lint::lint`] and [`drift::drift`].

pub mod catalog;
pub mod changes;
pub mod cycle;
pub mod drift;
pub mod explain;
pub mod lint;
pub mod loops;

use std::collections::BTreeSet;

use crate::model::{Consumer, Lane, LineId, List, Metric, Place};

/// All lines of the four lists, with what they speak of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lists {
    /// 需求清单.
    pub demands: Vec<Demand>,
    /// 归集清单.
    pub collects: Vec<Collect>,
    /// 共享清单, with what is never shared.
    pub shares: Vec<Share>,
    /// 治理清单.
    pub governance: Vec<Governance>,
    /// What may be spent on noise.
    pub budgets: Vec<Budget>,
    /// What each alarm reads.
    pub alarms: Vec<Watched>,
    /// Everything that templates measure, collected or not.
    pub points: Vec<Point>,
    /// How long the store keeps readings, milliseconds.
    pub kept_ms: u64,
    /// Every line as it was written.
    pub items: Vec<Item>,
    /// What may be asked of windows that were let out.
    pub queries: Vec<Query>,
    /// How long the windows of each aggregate are, milliseconds.
    pub windows: Vec<(LineId, i64)>,
    /// Id and title of what devices can be told to do.
    pub commands: Vec<(LineId, String)>,
    /// SHA-256 over the lists as written: what their version is known by.
    pub digest: [u8; 32],
}

/// A question of the catalogue: which cells of one aggregate a consumer of one share line may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its id.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// The share line: its consumers, purpose, approval and tier are those of the query.
    pub share: LineId,
    /// Whose windows.
    pub aggregate: LineId,
    /// How long a window is, milliseconds.
    pub size_ms: i64,
    /// What is answered, and may be chosen from where `by_metric`.
    pub metrics: Vec<Metric>,
    /// Whether a metric may be chosen.
    pub by_metric: bool,
    /// What may be chosen from where `by_building`.
    pub buildings: Vec<Place>,
    /// Whether a building may be chosen.
    pub by_building: bool,
    /// Whether cells of other buildings are answered too, where none is chosen.
    pub all_buildings: bool,
    /// The longest time that is asked for at once, milliseconds.
    pub span_max_ms: i64,
    /// What its noise was paid from; none where there is no noise.
    pub spending: Option<Spending>,
}

/// A budget of noise, and when its periods begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    /// Its id.
    pub budget: LineId,
    /// What a period has, as a fraction.
    pub epsilon: (u32, u32),
    /// How long a period is, milliseconds.
    pub period_ms: i64,
    /// The gateway's offset from UTC, milliseconds.
    pub zone_ms: i64,
}

/// A line as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Of which list.
    pub list: List,
    /// Its id.
    pub id: LineId,
    /// Its keys as a JSON object, in alphabetical order.
    pub body: String,
}

/// What became of a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nobody has decided.
    Open,
    /// It is to be served.
    Approved,
    /// It is not, and the line says why.
    Refused,
}

/// Somebody needs something.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// Its id.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// Who.
    pub requester: Option<Consumer>,
    /// What for.
    pub purpose: String,
    /// By which law, duty or contract.
    pub basis: String,
    /// Which share lines would serve it.
    pub wants: Vec<LineId>,
    /// What became of it.
    pub decision: Decision,
    /// Why it was refused.
    pub reason: String,
    /// Until when it holds, milliseconds since 1970 UTC, exclusive.
    pub until_ms: Option<i64>,
}

/// Something is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Collect {
    /// Its id.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// What for.
    pub purpose: String,
    /// By which law, duty or contract.
    pub basis: String,
    /// Whether it is public (公共性); none where nobody has said so.
    pub public: Option<bool>,
    /// How sensitive it is, "S1" to "S4" (GB/T 43697).
    pub sensitivity: Option<String>,
    /// Which demands it is taken for.
    pub serves: Vec<LineId>,
    /// How long readings may be kept, milliseconds.
    pub raw_ms: Option<u64>,
    /// How long sealed records may be kept, milliseconds.
    pub sealed_ms: Option<u64>,
    /// Whether people enter it, instead of devices telling it.
    pub manual: bool,
}

/// How freely something is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 无条件共享.
    Unconditional,
    /// 有条件共享.
    Conditional,
    /// 不予共享.
    Forbidden,
}

impl Class {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Unconditional => "unconditional",
            Class::Conditional => "conditional",
            Class::Forbidden => "forbidden",
        }
    }

    /// The word in Chinese.
    #[must_use]
    pub fn chinese(self) -> &'static str {
        match self {
            Class::Unconditional => "无条件共享",
            Class::Conditional => "有条件共享",
            Class::Forbidden => "不予共享",
        }
    }
}

/// Something is given out, or never is.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Its id.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// What for.
    pub purpose: String,
    /// How freely; none where nobody has said so.
    pub class: Option<Class>,
    /// From which collect lines; empty where that follows from the metrics.
    pub from: Vec<LineId>,
    /// For which demands, besides those that want it.
    pub demands: Vec<LineId>,
    /// Why it is never shared.
    pub reason: String,
    /// By which law, duty or contract.
    pub basis: String,
    /// Which metrics.
    pub metrics: Vec<Metric>,
    /// Which alarms or aggregates.
    pub carries: Vec<LineId>,
    /// Where it goes; none for what is never shared.
    pub lane: Option<Lane>,
    /// Who may pull it.
    pub consumers: Vec<Consumer>,
    /// Whether the device's id goes with it.
    pub devices: bool,
    /// Whether the place goes with it.
    pub places: bool,
    /// On whose approval.
    pub approval: String,
    /// Which tier of approval it needs ("T0" to "T3").
    pub tier: Option<String>,
    /// Until when, milliseconds since 1970 UTC, exclusive.
    pub until_ms: Option<i64>,
    /// How numbers are protected, as it was written.
    pub protect: Option<String>,
    /// The noise it asks for.
    pub noise: Option<Noise>,
    /// Effect of de-identification, 1 to 4 (GB/T 42460).
    pub level: Option<u8>,
}

impl Share {
    /// Whether it says what is never shared.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.class == Some(Class::Forbidden)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self, now_ms: i64) -> bool {
        self.until_ms.is_some_and(|until_ms| until_ms <= now_ms)
    }

    /// Whether it forbids a metric: the one it names, and every metric that has the name as one of its dotted parts.
    #[must_use]
    pub fn forbids(&self, metric: &Metric) -> bool {
        let has =
            |name: &Metric| name == metric || metric.as_str().split('.').any(|part| part == name.as_str());
        self.is_forbidden() && self.metrics.iter().any(has)
    }
}

/// Noise of a share line: so many cells a period and person, each at this price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noise {
    /// Which budget it is paid from.
    pub budget: String,
    /// Cells of a person and period.
    pub cells: u64,
    /// Price of a cell as a fraction.
    pub epsilon: (u64, u64),
}

/// What may be spent on noise in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its id.
    pub id: String,
    /// As a fraction.
    pub epsilon: (u64, u64),
}

/// Something is done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Governance {
    /// Its id.
    pub id: LineId,
    /// The problem, for people.
    pub problem: String,
    /// Ids of alarms, or metrics: all alarms that read them.
    pub triggers: Vec<String>,
    /// Who has to act.
    pub owner: String,
    /// How soon it has to be taken up, milliseconds.
    pub accept_ms: Option<u64>,
    /// How soon it has to be done, milliseconds.
    pub close_ms: Option<u64>,
    /// Who has to say what has become of it.
    pub feedback_from: Vec<String>,
    /// Which demands it closes.
    pub closes: Vec<LineId>,
}

/// What an alarm reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The alarm.
    pub id: LineId,
    /// Its metrics.
    pub metrics: BTreeSet<Metric>,
}

/// Whom a point tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Nobody.
    Nobody,
    /// A household.
    Household,
    /// A person.
    Person,
    /// A body.
    Body,
}

impl Whose {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Whose::Nobody => "operational",
            Whose::Household => "household",
            Whose::Person => "personal",
            Whose::Body => "biometric",
        }
    }
}

/// Something that a template measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The template.
    pub template: LineId,
    /// What.
    pub metric: Metric,
    /// Whom it tells about.
    pub whose: Whose,
    /// Which line of the collection list names it; without one it is dropped as unlisted.
    pub collect: Option<LineId>,
    /// What that line does to it ("keep", "drop", "pseudonym" …); empty without a line.
    pub treatment: String,
    /// Which devices have it.
    pub devices: Vec<String>,
}

impl Point {
    /// Whether anything of it is kept.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.collect.is_some() && !matches!(self.treatment.as_str(), "" | "drop" | "refuse")
    }
}

/// A link: the first line speaks of the second.
pub type Link = ((List, LineId), (List, LineId));

impl Lists {
    /// Whether anybody has begun to close the loop: without a demand and a governance line there is none to be closed.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        !self.demands.is_empty() || !self.governance.is_empty()
    }

    /// The collect lines that a share line draws from: those it names, or else those that take its metrics.
    #[must_use]
    pub fn sources(&self, share: &Share) -> BTreeSet<LineId> {
        if !share.from.is_empty() {
            return share.from.iter().cloned().collect();
        }
        let taken = |point: &&Point| point.is_taken() && share.metrics.contains(&point.metric);
        let sources = self.points.iter().filter(taken).filter_map(|point| point.collect.clone());
        sources.filter(|_| !share.is_forbidden()).collect()
    }

    /// The demands that a share line is there for, whatever became of them.
    pub fn demands_of<'l>(&'l self, share: &'l Share) -> impl Iterator<Item = &'l Demand> {
        self.demands
            .iter()
            .filter(|demand| share.demands.contains(&demand.id) || demand.wants.contains(&share.id))
    }

    /// The share lines that serve a demand. What is never shared serves none.
    pub fn shares_of<'l>(&'l self, demand: &'l Demand) -> impl Iterator<Item = &'l Share> {
        let serves = |share: &&Share| share.demands.contains(&demand.id) || demand.wants.contains(&share.id);
        self.shares.iter().filter(serves).filter(|share| !share.is_forbidden())
    }

    /// The alarms of a governance line.
    #[must_use]
    pub fn alarms_of(&self, line: &Governance) -> BTreeSet<&LineId> {
        let named = |alarm: &&Watched| {
            line.triggers.iter().any(|trigger| {
                *trigger == *alarm.id.as_str()
                    || alarm.metrics.iter().any(|metric| metric.as_str() == trigger)
            })
        };
        self.alarms.iter().filter(named).map(|alarm| &alarm.id).collect()
    }

    /// The metrics that a governance line acts on.
    #[must_use]
    pub fn metrics_of(&self, line: &Governance) -> BTreeSet<&Metric> {
        let alarms =
            self.alarms.iter().filter(|alarm| line.triggers.iter().any(|id| *id == *alarm.id.as_str()));
        let named = |metric: &&Metric| line.triggers.iter().any(|trigger| trigger == metric.as_str());
        let direct = self.points.iter().map(|point| &point.metric).filter(named);
        alarms.flat_map(|alarm| &alarm.metrics).chain(direct).collect()
    }

    /// The collect lines that a governance line needs.
    #[must_use]
    pub fn sources_of(&self, line: &Governance) -> BTreeSet<LineId> {
        let metrics = self.metrics_of(line);
        let read = self.points.iter().filter(|point| point.is_taken() && metrics.contains(&point.metric));
        read.filter_map(|point| point.collect.clone()).collect()
    }

    /// Every link of the loop.
    #[must_use]
    pub fn links(&self) -> BTreeSet<Link> {
        let mut links = BTreeSet::new();
        for demand in &self.demands {
            let wants = demand.wants.iter().map(|id| (List::Share, id));
            links.extend(wants.map(|(list, id)| ((List::Demand, demand.id.clone()), (list, id.clone()))));
        }
        for line in &self.collects {
            let serves = line.serves.iter();
            links.extend(serves.map(|id| ((List::Collect, line.id.clone()), (List::Demand, id.clone()))));
        }
        for share in &self.shares {
            let own = (List::Share, share.id.clone());
            links.extend(self.sources(share).into_iter().map(|id| (own.clone(), (List::Collect, id))));
            links.extend(share.demands.iter().map(|id| (own.clone(), (List::Demand, id.clone()))));
        }
        for line in &self.governance {
            let own = (List::Governance, line.id.clone());
            links.extend(line.closes.iter().map(|id| (own.clone(), (List::Demand, id.clone()))));
            links.extend(self.sources_of(line).into_iter().map(|id| (own.clone(), (List::Collect, id))));
        }
        links
    }
}

#[cfg(test)]
pub(crate) mod tests;
