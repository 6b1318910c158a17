//! Why a field may leave, or why not: where it is taken, what is done to it, and through which share lines it goes to whom.
//!
//! Guarantees: what is told follows from the lists alone, in the order in which they decide: what is never shared, what is
//! not collected, what is taken out, what no line names, what has ended. Default deny: a field with no way is denied, and
//! the first rule that denies it is named.

use super::{Lists, Point, Share, Whose};
use crate::model::{LineId, Metric};

/// What is known of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained<'l> {
    /// The field.
    pub field: Metric,
    /// Every template that measures it.
    pub points: Vec<&'l Point>,
    /// Every share line that names it and does not forbid it.
    pub ways: Vec<Way<'l>>,
    /// Every line that says that it is never shared.
    pub forbidden: Vec<&'l Share>,
    /// Why it does not leave; none where it does.
    pub denied: Option<Denied>,
}

/// A share line that names the field.
#[derive(Clone, Debug, PartialEq)]
pub struct Way<'l> {
    /// The line.
    pub share: &'l Share,
    /// The collect lines it draws the field from.
    pub sources: Vec<&'l LineId>,
    /// Whether it has ended.
    pub ended: bool,
}

/// The first rule that denies a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A line of the share list says that it is never shared.
    Forbidden,
    /// It is of a body: never taken.
    Body,
    /// No template measures it.
    Unknown,
    /// No line of the collection list names it: it is dropped as unlisted.
    Unlisted,
    /// The collection list takes it out.
    TakenOut,
    /// No line of the share list names it.
    NoLine,
    /// Every line that names it has ended.
    Ended,
}

impl Denied {
    /// The name of the rule.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Denied::Forbidden => "share.forbidden",
            Denied::Body => "collect.never",
            Denied::Unknown => "template.unknown",
            Denied::Unlisted => "collect.unlisted",
            Denied::TakenOut => "collect.taken_out",
            Denied::NoLine => "share.default_deny",
            Denied::Ended => "share.ended",
        }
    }

    /// What it says in Chinese.
    #[must_use]
    pub fn chinese(self) -> &'static str {
        match self {
            Denied::Forbidden => "共享清单列为不予共享",
            Denied::Body => "生物识别信息：在任何情况下不采集",
            Denied::Unknown => "没有设备模板测量它",
            Denied::Unlisted => "归集清单没有列它：丢弃并计数",
            Denied::TakenOut => "归集清单把它去除",
            Denied::NoLine => "共享清单没有列它：默认不共享",
            Denied::Ended => "列它的共享项均已到期",
        }
    }

    /// What it says in English.
    #[must_use]
    pub fn english(self) -> &'static str {
        match self {
            Denied::Forbidden => "a line of the share list says that it is never shared",
            Denied::Body => "biometric: never taken, in no form",
            Denied::Unknown => "no template measures it",
            Denied::Unlisted => "no line of the collection list names it: it is dropped and counted",
            Denied::TakenOut => "the collection list takes it out",
            Denied::NoLine => "no line of the share list names it: not shared by default",
            Denied::Ended => "every share line that names it has ended",
        }
    }
}

/// Explains a field. `now_ms` is milliseconds since 1970 UTC.
#[must_use]
pub fn explain<'l>(lists: &'l Lists, field: &Metric, now_ms: i64) -> Explained<'l> {
    let points: Vec<&Point> = lists.points.iter().filter(|point| point.metric == *field).collect();
    let forbidden: Vec<&Share> = lists.shares.iter().filter(|share| share.forbids(field)).collect();
    let named = lists.shares.iter().filter(|share| !share.is_forbidden() && share.metrics.contains(field));
    let ways: Vec<Way<'_>> = named
        .map(|share| {
            let own =
                points.iter().filter(|point| point.is_taken()).filter_map(|point| point.collect.as_ref());
            let mut sources: Vec<&LineId> =
                own.filter(|id| share.from.is_empty() || share.from.contains(id)).collect();
            sources.dedup();
            Way { share, sources, ended: share.has_ended(now_ms) }
        })
        .collect();
    let rules = [
        (Denied::Forbidden, !forbidden.is_empty()),
        (Denied::Unknown, points.is_empty()),
        (Denied::Body, points.iter().all(|point| point.whose == Whose::Body)),
        (Denied::Unlisted, points.iter().all(|point| point.collect.is_none())),
        (Denied::TakenOut, !points.iter().any(|point| point.is_taken())),
        (Denied::NoLine, ways.is_empty()),
        (Denied::Ended, ways.iter().all(|way| way.ended)),
    ];
    let denied = rules.into_iter().find(|(_, denies)| *denies).map(|(rule, _)| rule);
    Explained { field: field.clone(), points, ways, forbidden, denied }
}
