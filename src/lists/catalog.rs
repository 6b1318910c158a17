//! The lists as one consumer sees them: its own lines, what they hang on, and what it may order and ask.
//!
//! Guarantees: default deny. A consumer sees the share lines that name it, the demands, collect and governance lines that
//! are linked to those, its own demands, the commands that its lines of lane result carry and the queries of its lines; of
//! what is never shared the id, the title and the class, and of a demand of somebody else neither title nor purpose. Nobody
//! else's name is in it, and no link to a line that it does not see. Pure; does not know what is granted: that is told to it.

use std::collections::BTreeSet;

use super::changes::concerned;
use super::{Class, Decision, Link, Lists, Query, Share};
use crate::model::{Consumer, Lane, LineId, List};

/// What an entry is, in the order of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A line of one of the four lists.
    Line(List),
    /// Something that devices can be told to do.
    Command,
    /// A question of the catalogue.
    Query,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [
        Kind::Line(List::Demand),
        Kind::Line(List::Collect),
        Kind::Line(List::Share),
        Kind::Line(List::Governance),
        Kind::Command,
        Kind::Query,
    ];

    /// Its name in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Line(list) => list.as_str(),
            Kind::Command => "command",
            Kind::Query => "query",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One entry, as a consumer sees it. What is not known or not for it is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// How freely it is shared.
    pub class: Option<Class>,
    /// Whether it is public (公共性).
    pub public: Option<bool>,
    /// Where its records go.
    pub lane: Option<Lane>,
    /// What for.
    pub purpose: String,
    /// How sensitive it is.
    pub sensitivity: Option<String>,
    /// How often there is something new, milliseconds.
    pub update_ms: Option<u64>,
    /// How long it is kept, milliseconds.
    pub kept_ms: Option<u64>,
    /// Which tier of approval it needs.
    pub tier: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// What became of a demand; whether a share line is granted to this consumer.
    pub status: &'static str,
    /// Entries that it is linked to, as far as the consumer sees them, in order.
    pub links: Vec<LineId>,
    /// What may be chosen, from which values; a time has none.
    pub arguments: Vec<(&'static str, Vec<String>)>,
}

impl Entry {
    fn new(kind: Kind, id: &LineId, title: &str) -> Self {
        Self {
            kind,
            id: id.clone(),
            title: title.to_owned(),
            class: None,
            public: None,
            lane: None,
            purpose: String::new(),
            sensitivity: None,
            update_ms: None,
            kept_ms: None,
            tier: None,
            owner: String::new(),
            status: "",
            links: Vec::new(),
            arguments: Vec::new(),
        }
    }
}

/// Whether a consumer is anybody in these lists: named by a share line, or one who needs something.
#[must_use]
pub fn knows(lists: &Lists, consumer: &Consumer) -> bool {
    own(lists, consumer).next().is_some()
        || lists.demands.iter().any(|demand| demand.requester.as_ref() == Some(consumer))
}

fn own<'l>(lists: &'l Lists, consumer: &'l Consumer) -> impl Iterator<Item = &'l Share> {
    lists.shares.iter().filter(|share| !share.is_forbidden() && share.consumers.contains(consumer))
}

/// Everything that concerns a consumer, by kind and id. `standing` says whether a share line is granted to it now: "granted",
/// "missing", "expired", "revoked" or "used_up".
#[must_use]
pub fn catalog(lists: &Lists, consumer: &Consumer, standing: &dyn Fn(&Share) -> &'static str) -> Vec<Entry> {
    let links = lists.links();
    let own: Vec<&Share> = own(lists, consumer).collect();
    let is_own = |id: &LineId| own.iter().any(|share| share.id == *id);
    let concerns = |list, id: &LineId| concerned(&links, list, id).iter().any(is_own);
    let mut entries = demands(lists, consumer, &concerns);
    entries.extend(lists.collects.iter().filter(|line| concerns(List::Collect, &line.id)).map(|line| {
        Entry {
            public: line.public,
            purpose: line.purpose.clone(),
            sensitivity: line.sensitivity.clone(),
            kept_ms: Some(line.raw_ms.unwrap_or(lists.kept_ms)),
            ..Entry::new(Kind::Line(List::Collect), &line.id, &line.title)
        }
    }));
    entries.extend(own.iter().map(|share| Entry {
        class: share.class,
        lane: share.lane,
        purpose: share.purpose.clone(),
        update_ms: update_ms(lists, share),
        tier: share.tier.clone(),
        status: standing(share),
        ..Entry::new(Kind::Line(List::Share), &share.id, &share.title)
    }));
    let forbidden = lists.shares.iter().filter(|share| share.is_forbidden());
    entries.extend(forbidden.map(|share| Entry {
        class: share.class,
        ..Entry::new(Kind::Line(List::Share), &share.id, &share.title)
    }));
    let governance = lists.governance.iter().filter(|line| concerns(List::Governance, &line.id));
    entries.extend(governance.map(|line| Entry {
        owner: line.owner.clone(),
        ..Entry::new(Kind::Line(List::Governance), &line.id, &line.problem)
    }));
    link(&mut entries, &links);
    entries.extend(commands(lists, &own));
    entries
        .extend(lists.queries.iter().filter(|query| is_own(&query.share)).map(|query| asked(lists, query)));
    entries.sort_by(|one, other| (one.kind, one.id.as_str()).cmp(&(other.kind, other.id.as_str())));
    entries
}

fn demands(lists: &Lists, consumer: &Consumer, concerns: &dyn Fn(List, &LineId) -> bool) -> Vec<Entry> {
    let entry = |demand: &super::Demand| {
        let is_theirs = demand.requester.as_ref() == Some(consumer);
        let status = match demand.decision {
            Decision::Open => "open",
            Decision::Approved => "approved",
            Decision::Refused => "refused",
        };
        // What somebody else needs, and what for, is theirs to tell.
        let title = if is_theirs { &*demand.title } else { "" };
        let mut entry = Entry { status, ..Entry::new(Kind::Line(List::Demand), &demand.id, title) };
        if is_theirs {
            entry.purpose.clone_from(&demand.purpose);
            entry.owner = consumer.to_string();
        }
        (is_theirs || concerns(List::Demand, &demand.id)).then_some(entry)
    };
    lists.demands.iter().filter_map(entry).collect()
}

/// Links between lines that are both seen; of what is never shared none.
fn link(entries: &mut [Entry], links: &BTreeSet<Link>) {
    let key = |entry: &Entry| match entry.kind {
        Kind::Line(list) if entry.class != Some(Class::Forbidden) => Some((list, entry.id.clone())),
        _ => None,
    };
    let seen: BTreeSet<(List, LineId)> = entries.iter().filter_map(key).collect();
    for entry in entries {
        let Some(own) = key(entry) else { continue };
        let ends = links.iter().filter_map(|(from, to)| match (*from == own, *to == own) {
            (true, _) => Some(to),
            (_, true) => Some(from),
            _ => None,
        });
        let ends: BTreeSet<&(List, LineId)> = ends.filter(|end| seen.contains(end)).collect();
        entry.links = ends.into_iter().map(|(_, id)| id.clone()).collect();
    }
}

fn commands(lists: &Lists, own: &[&Share]) -> Vec<Entry> {
    let entry = |(id, title): &(LineId, String)| {
        let carriers =
            own.iter().filter(|share| share.lane == Some(Lane::Result) && share.carries.contains(id));
        let links: Vec<LineId> = carriers.map(|share| share.id.clone()).collect();
        (!links.is_empty()).then(|| Entry { links, ..Entry::new(Kind::Command, id, title) })
    };
    lists.commands.iter().filter_map(entry).collect()
}

fn asked(lists: &Lists, query: &Query) -> Entry {
    let mut arguments = vec![("from", Vec::new()), ("to", Vec::new())];
    if query.by_metric {
        arguments.push(("metric", query.metrics.iter().map(ToString::to_string).collect()));
    }
    if query.by_building {
        arguments.push(("building", query.buildings.iter().map(ToString::to_string).collect()));
    }
    let line = lists.shares.iter().find(|share| share.id == query.share);
    Entry {
        purpose: line.map(|line| line.purpose.clone()).unwrap_or_default(),
        update_ms: u64::try_from(query.size_ms).ok(),
        links: vec![query.share.clone()],
        arguments,
        ..Entry::new(Kind::Query, &query.id, &query.title)
    }
}

/// The shortest windows that a line carries.
fn update_ms(lists: &Lists, share: &Share) -> Option<u64> {
    let carried = lists.windows.iter().filter(|(id, _)| share.carries.contains(id));
    let shortest = carried.map(|(_, size_ms)| *size_ms).min().filter(|_| share.lane == Some(Lane::Aggregate));
    shortest.and_then(|size_ms| u64::try_from(size_ms).ok())
}

/// A time as ISO 8601 has it: "PT15M", "P1D". `ms` is milliseconds.
#[must_use]
pub fn iso(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let mut text = if days > 0 { format!("P{days}D") } else { "P".to_owned() };
    if rest > 0 || days == 0 {
        text.push('T');
    }
    let (hours, minutes, rest) = (rest / 3_600_000, rest % 3_600_000 / 60_000, rest % 60_000);
    for (count, unit) in [(hours, 'H'), (minutes, 'M')] {
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    match (rest / 1000, rest % 1000) {
        (0, 0) if ms > 0 => {}
        (seconds, 0) => text.push_str(&format!("{seconds}S")),
        (seconds, ms) => text.push_str(&format!("{seconds}.{ms:03}S")),
    }
    text
}

#[cfg(test)]
mod tests;
