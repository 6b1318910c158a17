//! Open ends of the loop: what is needed and not given, given and not needed, taken without a use, done without an answer.
//!
//! Guarantees: every rule of the closed loop (清单化闭环管理) is one function below, and every finding names the rule, the line,
//! what is missing and the next step, in Chinese and English. It finds what is open, not what contradicts itself: such a
//! configuration is not taken at all.

use super::{Class, Collect, Decision, Demand, Governance, Lists, Share, Whose};
use crate::model::{LineId, List};

/// A text for people in both languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

impl Said {
    /// Of both.
    #[must_use]
    pub fn new(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self { zh: zh.into(), en: en.into() }
    }
}

/// An open end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule, by its name.
    pub rule: &'static str,
    /// Of which list the line is.
    pub list: List,
    /// Which line; of a budget, its id.
    pub id: String,
    /// What is open.
    pub text: Said,
    /// What would close it.
    pub next: Said,
}

/// The rules by their names, with what each holds.
pub const RULES: &[(&str, &str, &str)] = &[
    (
        "demand.undecided",
        "需求要么满足，要么说明理由拒绝",
        "every demand is approved, or refused with a reason",
    ),
    ("demand.unserved", "批准的需求有共享项", "an approved demand has a share line"),
    ("demand.bypassed", "提出需求的一方在共享对象之中", "who asked is among those who get it"),
    ("share.unclassified", "共享项注明无条件、有条件或不予共享", "a share line has a class"),
    (
        "share.undemanded",
        "共享项至少有一项批准的需求，否则为过度共享",
        "a share line has an approved demand, else it is over-sharing",
    ),
    ("share.purpose", "共享目的与需求目的一致", "a share line has the purpose of a demand that it serves"),
    ("share.person", "直接标识不出共享清单", "what identifies a person is not shared"),
    (
        "share.private",
        "无条件共享的字段全部为公共性",
        "what is shared unconditionally is public in every field",
    ),
    (
        "share.unapproved",
        "非公共性自动采集的共享须有审批",
        "what is not public and taken automatically is shared on an approval",
    ),
    ("collect.unclassified", "归集项注明公共性", "a collect line says whether it is public"),
    ("collect.unused", "归集项至少用于一项共享或治理", "a collect line serves a share or a governance line"),
    ("collect.retention", "原始保留不长于封装保留", "raw readings are kept no longer than sealed records"),
    ("collect.kept", "实际保留不长于归集清单所列", "the store keeps readings no longer than the line says"),
    ("governance.open", "治理项闭合至少一项需求", "a governance line closes a demand"),
    ("governance.silent", "治理项指明反馈方", "a governance line names who gives feedback"),
    ("budget.exceeded", "噪声支出不超过周期预算", "cells times epsilon stay within the budget of the period"),
];

/// Everything that is open, list by list in the order of the loop.
#[must_use]
pub fn lint(lists: &Lists) -> Vec<Finding> {
    let mut found = Vec::new();
    lists.demands.iter().for_each(|line| demand(lists, line, &mut found));
    lists.collects.iter().for_each(|line| collect(lists, line, &mut found));
    let shares = lists.shares.iter().filter(|line| !line.is_forbidden());
    shares.for_each(|line| share(lists, line, &mut found));
    lists.governance.iter().for_each(|line| governance(line, &mut found));
    budgets(lists, &mut found);
    found
}

fn push(
    found: &mut Vec<Finding>,
    rule: &'static str,
    (list, id): (List, &str),
    text: (String, String),
    next: (&str, &str),
) {
    let text = Said::new(text.0, text.1);
    found.push(Finding { rule, list, id: id.to_owned(), text, next: Said::new(next.0, next.1) });
}

fn both(text: &str, english: &str) -> (String, String) {
    (text.to_owned(), english.to_owned())
}

fn joined<'i>(ids: impl IntoIterator<Item = &'i LineId>) -> String {
    ids.into_iter().map(LineId::as_str).collect::<Vec<_>>().join(", ")
}

fn demand(lists: &Lists, line: &Demand, found: &mut Vec<Finding>) {
    let own = (List::Demand, line.id.as_str());
    match line.decision {
        Decision::Open => {
            let next = (
                "写 status = \"approved\"，或 status = \"refused\" 并写 reason",
                "status = \"approved\", or status = \"refused\" with a reason",
            );
            push(found, "demand.undecided", own, both("需求未作决定", "nobody has decided"), next);
        }
        Decision::Refused => {}
        Decision::Approved => served(lists, line, found),
    }
}

fn served(lists: &Lists, line: &Demand, found: &mut Vec<Finding>) {
    let own = (List::Demand, line.id.as_str());
    let shares: Vec<&Share> = lists.shares_of(line).collect();
    if shares.is_empty() {
        let next = (
            "加一条 [[share]]，写 demand 指向它；或拒绝该需求",
            "a [[share]] with this id in `demand`, or refuse the demand",
        );
        push(
            found,
            "demand.unserved",
            own,
            both("已批准，但没有共享项", "approved, but no share line serves it"),
            next,
        );
        return;
    }
    let missed: Vec<&LineId> = shares
        .iter()
        .filter(|share| line.requester.as_ref().is_some_and(|asker| !share.consumers.contains(asker)))
        .map(|share| &share.id)
        .collect();
    if missed.len() == shares.len() {
        let ids = joined(missed);
        let text = (format!("需求方不在 {ids} 的共享对象之中"), format!("who asked is no consumer of {ids}"));
        let next = ("在共享项的 consumers 中加上需求方", "add the requester to the line's consumers");
        push(found, "demand.bypassed", own, text, next);
    }
}

fn collect(lists: &Lists, line: &Collect, found: &mut Vec<Finding>) {
    let own = (List::Collect, line.id.as_str());
    if line.public.is_none() {
        let next = ("写 public = true 或 public = false", "public = true or public = false");
        push(
            found,
            "collect.unclassified",
            own,
            both("未注明公共性", "nobody has said whether it is public"),
            next,
        );
    }
    let shared =
        lists.shares.iter().any(|share| !share.is_forbidden() && lists.sources(share).contains(&line.id));
    let governed = lists.governance.iter().any(|governance| lists.sources_of(governance).contains(&line.id));
    if !shared && !governed {
        let text = both(
            "采集了，但没有共享项或治理项使用",
            "collected without use: no share or governance line takes it",
        );
        let next = (
            "加共享项或治理项，或删去该归集项",
            "a [[share]] or [[governance]] line that uses it, or no collect line",
        );
        push(found, "collect.unused", own, text, next);
    }
    if let (Some(raw), Some(sealed)) = (line.raw_ms, line.sealed_ms)
        && raw > sealed
    {
        let text = both("原始数据保留时间长于封装记录", "raw readings are kept longer than sealed records");
        let next = ("缩短 retention.raw", "a shorter retention.raw");
        push(found, "collect.retention", own, text, next);
    }
    if line.raw_ms.is_some_and(|raw| raw < lists.kept_ms) {
        let text = both(
            "存储保留读数的时间长于该项 retention.raw",
            "the store keeps readings longer than retention.raw of the line",
        );
        let next = (
            "缩短 store.retention，或核准更长的 retention.raw",
            "a shorter store.retention, or a longer retention.raw",
        );
        push(found, "collect.kept", own, text, next);
    }
}

fn share(lists: &Lists, line: &Share, found: &mut Vec<Finding>) {
    let own = (List::Share, line.id.as_str());
    if line.class.is_none() {
        let next = (
            "写 class = \"unconditional\" 或 \"conditional\"",
            "class = \"unconditional\" or \"conditional\"",
        );
        push(
            found,
            "share.unclassified",
            own,
            both("未注明共享属性", "nobody has said how freely it is shared"),
            next,
        );
    }
    let approved = |demand: &&Demand| demand.decision == Decision::Approved;
    let demands: Vec<&Demand> = lists.demands_of(line).filter(approved).collect();
    if demands.is_empty() {
        let text = both("没有批准的需求：过度共享", "no approved demand: over-sharing");
        let next =
            ("加一条 [[demand]]，wants 写该项；或删去共享项", "a [[demand]] that wants it, or no share line");
        push(found, "share.undemanded", own, text, next);
    } else if demands.iter().all(|demand| demand.purpose != line.purpose) {
        let text = (
            format!("共享目的 {} 不是任何一项需求的目的", line.purpose),
            format!("purpose {} is that of no demand it serves", line.purpose),
        );
        let next = ("共享项与需求写同一 purpose", "one purpose for the demand and the share line");
        push(found, "share.purpose", own, text, next);
    }
    identifying(lists, line, found);
    published(lists, line, found);
}

/// What identifies somebody: bodies always, and persons unless only numbers of many of them leave, or bands.
fn identifying(lists: &Lists, line: &Share, found: &mut Vec<Finding>) {
    let is_person = |point: &super::Point| match point.whose {
        Whose::Body => true,
        Whose::Person => point.treatment != "generalise" && line.protect.is_none(),
        Whose::Nobody | Whose::Household => false,
    };
    let points = lists.points.iter().filter(|point| point.is_taken() && line.metrics.contains(&point.metric));
    let mut metrics: Vec<&str> =
        points.filter(|point| is_person(point)).map(|point| point.metric.as_str()).collect();
    metrics.sort_unstable();
    metrics.dedup();
    if !metrics.is_empty() {
        let metrics = metrics.join(", ");
        let text = (format!("{metrics} 是直接标识"), format!("{metrics} identifies a person"));
        let next =
            ("从共享项删去，或只以保护后的统计共享", "leave it out, or share only protected numbers of it");
        push(found, "share.person", (List::Share, line.id.as_str()), text, next);
    }
}

fn published(lists: &Lists, line: &Share, found: &mut Vec<Finding>) {
    let own = (List::Share, line.id.as_str());
    let sources = lists.sources(line);
    let of_line = |collect: &&Collect| sources.contains(&collect.id);
    let free = line.class == Some(Class::Unconditional) || line.tier.as_deref() == Some("T0");
    let private: Vec<&LineId> = lists
        .collects
        .iter()
        .filter(of_line)
        .filter(|collect| collect.public != Some(true))
        .map(|collect| &collect.id)
        .collect();
    if free && !private.is_empty() {
        let ids = joined(private);
        let text = (
            format!("无条件共享，但 {ids} 不是公共性"),
            format!("shared unconditionally, but {ids} is not public"),
        );
        let next =
            ("改为有条件共享并审批（T1 以上）", "class = \"conditional\", with an approval (T1 or more)");
        push(found, "share.private", own, text, next);
    }
    let automatic = |collect: &&Collect| collect.public == Some(false) && !collect.manual;
    let automatic: Vec<&LineId> =
        lists.collects.iter().filter(of_line).filter(automatic).map(|collect| &collect.id).collect();
    let tiered = line.tier.as_deref().is_some_and(|tier| tier != "T0");
    if !automatic.is_empty() && !tiered && line.approval.is_empty() {
        let ids = joined(automatic);
        let text = (
            format!("{ids} 非公共性且自动采集，共享没有审批"),
            format!("{ids} is not public and taken automatically, and nobody approved sharing it"),
        );
        let next = (
            "写 tier（T1 以上）或 approval；或改为主动录入",
            "a tier (T1 or more) or an approval, or entry by people",
        );
        push(found, "share.unapproved", own, text, next);
    }
}

fn governance(line: &Governance, found: &mut Vec<Finding>) {
    let own = (List::Governance, line.id.as_str());
    if line.closes.is_empty() {
        let next = ("写 closes = [\"D-…\"]", "closes = [\"D-…\"]");
        push(found, "governance.open", own, both("不闭合任何需求", "closes no demand"), next);
    }
    if line.feedback_from.is_empty() {
        let next = ("写 feedback_from", "feedback_from with those who answer");
        push(found, "governance.silent", own, both("没有反馈方：有去无回", "nobody gives feedback"), next);
    }
}

fn budgets(lists: &Lists, found: &mut Vec<Finding>) {
    for budget in &lists.budgets {
        let noise = lists.shares.iter().filter_map(|share| share.noise.as_ref());
        let spent = noise.filter(|noise| noise.budget == budget.id);
        // As one fraction; what is too large to be one is too much.
        let sum = spent.map(|noise| (noise.cells, noise.epsilon)).try_fold(
            (0_u128, 1_u128),
            |(num, den), (cells, eps)| {
                let (add, of) = (u128::from(cells).checked_mul(u128::from(eps.0))?, u128::from(eps.1.max(1)));
                let num = num.checked_mul(of)?.checked_add(add.checked_mul(den)?)?;
                reduced(num, den.checked_mul(of)?)
            },
        );
        let (most, of) = (u128::from(budget.epsilon.0), u128::from(budget.epsilon.1.max(1)));
        let fits = sum.is_some_and(|(num, den)| {
            num.checked_mul(of).zip(most.checked_mul(den)).is_some_and(|(spent, most)| spent <= most)
        });
        if !fits {
            let text = both(
                "各项噪声支出之和超过周期预算",
                "what its share lines spend is more than the period has",
            );
            let next =
                ("减少格数或 epsilon，或提高预算", "fewer cells, a smaller epsilon, or a larger budget");
            push(found, "budget.exceeded", (List::Share, budget.id.as_str()), text, next);
        }
    }
}

fn reduced(num: u128, den: u128) -> Option<(u128, u128)> {
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Some((num.checked_div(a)?, den.checked_div(a)?))
}

#[cfg(test)]
mod tests;
