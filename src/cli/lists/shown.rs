//! The four lists as text for people and as JSON for machines.
//!
//! Guarantees: both say the same; titles and reasons, which somebody wrote, do not move the cursor of a terminal.

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use crate::cli::bus::Lang;
use crate::cli::onboard::plain;
use crate::lists::cycle::{Row, rows};
use crate::lists::drift::Drift;
use crate::lists::explain::{Explained, Way};
use crate::lists::lint::{Finding, Said};
use crate::lists::{Decision, Lists, Point, Share};
use crate::model::{LineId, List};
use crate::privacy::protect::table::Prediction;
use crate::store::StoreError;

/// What is known of drift: none without a store.
type Drifted = Result<Option<Vec<Drift>>, StoreError>;

/// How things are shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// For people.
    pub lang: Lang,
    /// For machines instead.
    pub json: bool,
    /// Of dates, milliseconds east of UTC.
    pub zone_ms: i64,
}

impl Shown {
    pub(super) fn say<'a>(&self, chinese: &'a str, english: &'a str) -> &'a str {
        self.lang.say(chinese, english)
    }

    fn said<'s>(&self, said: &'s Said) -> &'s str {
        self.lang.say(&said.zh, &said.en)
    }

    fn list(&self, list: List) -> &'static str {
        self.lang.say(list.chinese(), list.as_str())
    }

    fn decision(&self, decision: Decision) -> &'static str {
        match decision {
            Decision::Open => self.lang.say("未决定", "undecided"),
            Decision::Approved => self.lang.say("已批准", "approved"),
            Decision::Refused => self.lang.say("已拒绝", "refused"),
        }
    }

    pub(super) fn at(&self, ms: i64) -> String {
        let offset = i32::try_from(self.zone_ms / 1000).ok().and_then(|s| Offset::from_seconds(s).ok());
        let zone = TimeZone::fixed(offset.unwrap_or(Offset::UTC));
        let time = jiff::Timestamp::from_millisecond(ms);
        time.map_or_else(|_| "-".into(), |time| time.to_zoned(zone).strftime("%F %R").to_string())
    }

    /// Findings, then drift.
    pub(super) fn check(
        &self,
        lists: &Lists,
        findings: &[Finding],
        drift: &Drifted,
        predicted: &[(LineId, Prediction)],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if self.json {
            return self.check_json(findings, drift, predicted, out);
        }
        for Finding { rule, list, id, text, next } in findings {
            writeln!(out, "{} {}  {}  [{rule}]", self.list(*list), plain(id), self.said(text))?;
            writeln!(out, "    {} {}", self.say("下一步:", "next:"), self.said(next))?;
        }
        let never = lists.shares.iter().filter(|share| share.is_forbidden()).count();
        let counts = [
            (List::Demand, lists.demands.len()),
            (List::Collect, lists.collects.len()),
            (List::Share, lists.shares.len() - never),
            (List::Governance, lists.governance.len()),
        ];
        let counts = counts.map(|(list, count)| format!("{} {count}", self.list(list))).join(", ");
        let (forbidden, open) = (self.say("不予共享", "forbidden"), self.say("未闭合", "open"));
        writeln!(out, "{counts}, {forbidden} {never}; {open} {}", findings.len())?;
        for (aggregate, prediction) in predicted {
            let title = self.say("预计隐藏", "expected to be held back");
            match prediction.percent() {
                Some(percent) => writeln!(
                    out,
                    "{title}: {aggregate} {percent}% ({} / {})",
                    prediction.held_back, prediction.cells
                )?,
                None => writeln!(out, "{title}: {aggregate} {}", self.say("尚无历史", "no history yet"))?,
            }
        }
        let title = self.say("运行偏差", "drift");
        match drift {
            Ok(None) => writeln!(out, "{title}: {}", self.say("没有数据库", "there is no store yet")),
            Ok(Some(drift)) => {
                writeln!(out, "{title}: {}", drift.len())?;
                drift.iter().try_for_each(|Drift { kind, list, id, text }| {
                    writeln!(
                        out,
                        "  {} {}  {}  [{}]",
                        self.list(*list),
                        plain(id.as_str()),
                        self.said(text),
                        kind.as_str()
                    )
                })
            }
            Err(error) => writeln!(out, "{title}: {} {error}", self.say("无法读取:", "cannot be read:")),
        }
    }

    fn check_json(
        &self,
        findings: &[Finding],
        drift: &Drifted,
        predicted: &[(LineId, Prediction)],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let both = |said: &Said| json!({ "zh": said.zh, "en": said.en });
        let finding = |found: &Finding| {
            json!({
                "rule": found.rule, "list": found.list.as_str(), "id": found.id,
                "text": both(&found.text), "next": both(&found.next),
            })
        };
        let drifted = |drift: &Drift| {
            json!({
                "kind": drift.kind.as_str(), "list": drift.list.as_str(), "id": drift.id,
                "text": both(&drift.text),
            })
        };
        let drift = match drift {
            Ok(drift) => drift.as_ref().map(|drift| drift.iter().map(drifted).collect::<Vec<_>>()),
            Err(_) => None,
        };
        let findings: Vec<Value> = findings.iter().map(finding).collect();
        let predicted: Vec<Value> = predicted
            .iter()
            .map(|(aggregate, told)| {
                json!({ "aggregate": aggregate, "cells": told.cells, "held_back": told.held_back })
            })
            .collect();
        writeln!(out, "{}", json!({ "findings": findings, "predicted": predicted, "drift": drift }))
    }

    /// The loop.
    pub(super) fn cycle(&self, lists: &Lists, out: &mut dyn Write) -> io::Result<()> {
        let rows = rows(lists);
        if self.json {
            let row = |row: &Row| {
                json!({
                    "demand": row.demand.as_ref().map(|(id, _)| id),
                    "decision": row.demand.as_ref().map(|(_, decision)| match decision {
                        Decision::Open => "open",
                        Decision::Approved => "approved",
                        Decision::Refused => "refused",
                    }),
                    "collect": row.collects, "share": row.shares, "governance": row.governance,
                    "missing": row.missing.iter().map(|list| list.as_str()).collect::<Vec<_>>(),
                })
            };
            let forbidden: Vec<&LineId> = never(lists).map(|share| &share.id).collect();
            let rows: Vec<Value> = rows.iter().map(row).collect();
            return writeln!(out, "{}", json!({ "rows": rows, "forbidden": forbidden }));
        }
        let title = List::ALL.map(|list| self.list(list));
        writeln!(out, "{} → {}", title.join(" → "), title[0])?;
        for row in &rows {
            self.row(lists, row, out)?;
        }
        let open = rows.iter().filter(|row| !row.missing.is_empty()).count();
        writeln!(out, "{} {}, {} {open}", self.say("行", "rows"), rows.len(), self.say("未闭合", "open"))?;
        for share in never(lists) {
            self.never(share, out)?;
        }
        Ok(())
    }

    fn row(&self, lists: &Lists, row: &Row, out: &mut dyn Write) -> io::Result<()> {
        let ids = |ids: &BTreeSet<LineId>| match ids.is_empty() {
            true => "—".to_owned(),
            false => ids.iter().map(LineId::as_str).collect::<Vec<_>>().join(","),
        };
        let (demand, decision) = match &row.demand {
            Some((id, decision)) => (id.to_string(), Some(*decision)),
            None => ("—".to_owned(), None),
        };
        let refused = decision == Some(Decision::Refused);
        let mark = match (refused, row.missing.is_empty()) {
            (true, _) => "✗",
            (false, true) => "●",
            (false, false) => "○",
        };
        let (collects, shares, governance) = (ids(&row.collects), ids(&row.shares), ids(&row.governance));
        write!(out, "{mark} {demand} → {collects} → {shares} → {governance}")?;
        if !refused {
            write!(out, " → {demand}")?;
        }
        if let Some(decision) = decision.filter(|decision| *decision != Decision::Approved) {
            write!(out, "  {}", self.decision(decision))?;
        }
        if !row.missing.is_empty() {
            let missing: Vec<&str> = row.missing.iter().map(|list| self.list(*list)).collect();
            write!(out, "  {} {}", self.say("缺", "missing"), missing.join(", "))?;
        }
        writeln!(out)?;
        let demand = row.demand.as_ref().and_then(|(id, _)| lists.demands.iter().find(|line| line.id == *id));
        if let Some(demand) = demand {
            let why = if refused { format!("  {}", plain(&demand.reason)) } else { String::new() };
            writeln!(out, "    {}  [{}]{why}", plain(&demand.title), plain(&demand.purpose))?;
        }
        Ok(())
    }

    fn never(&self, share: &Share, out: &mut dyn Write) -> io::Result<()> {
        let word = self.say("不予共享", "forbidden");
        writeln!(out, "✗ {}  {word}  {}", share.id, plain(&share.title))?;
        writeln!(out, "    {}", plain(&share.reason))
    }

    /// Why a field may leave or not.
    pub(super) fn explained(
        &self,
        explained: &Explained<'_>,
        near: Option<&str>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if self.json {
            return self.explained_json(explained, out);
        }
        match explained.denied {
            None => writeln!(out, "{}  {}", explained.field, self.say("可以共享", "may leave"))?,
            Some(rule) => {
                let (word, why) =
                    (self.say("不共享", "does not leave"), self.say(rule.chinese(), rule.english()));
                writeln!(out, "{}  {word}: {why}  [{}]", explained.field, rule.as_str())?;
            }
        }
        if let Some(near) = near {
            writeln!(out, "{} {near}?", self.say("是否指", "did you mean"))?;
        }
        for share in &explained.forbidden {
            self.never(share, out)?;
        }
        explained.points.iter().try_for_each(|point| self.point(point, out))?;
        explained.ways.iter().try_for_each(|way| self.way(way, out))
    }

    fn point(&self, point: &Point, out: &mut dyn Write) -> io::Result<()> {
        let word = self.say("归集", "collect");
        write!(out, "{word} {} {} ({})", point.template, point.metric, point.whose.as_str())?;
        match &point.collect {
            Some(id) => writeln!(out, "  {id}  {}", point.treatment),
            None => writeln!(out, "  {}", self.say("未列入: 丢弃", "unlisted: dropped")),
        }
    }

    fn way(&self, way: &Way<'_>, out: &mut dyn Write) -> io::Result<()> {
        let share = way.share;
        let ended = if way.ended { self.say("  已到期", "  ended") } else { "" };
        let class = share.class.map_or("", |class| self.say(class.chinese(), class.as_str()));
        writeln!(out, "{} {}  {}  {class}{ended}", self.say("共享", "share"), share.id, plain(&share.title))?;
        let consumers: Vec<&str> = share.consumers.iter().map(|consumer| consumer.as_str()).collect();
        writeln!(out, "    {}  {}", self.say("给谁", "to whom"), consumers.join(", "))?;
        writeln!(out, "    {}  {}", self.say("目的", "purpose"), plain(&share.purpose))?;
        writeln!(out, "    {}  {}", self.say("形式", "form"), self.form(share))?;
        let tier = share.tier.as_deref().map_or(String::new(), |tier| format!("{} ", plain(tier)));
        writeln!(out, "    {}  {tier}{}", self.say("审批", "approval"), plain(&share.approval))?;
        let until = share.until_ms.map_or_else(|| self.say("长期", "no end").to_owned(), |ms| self.at(ms));
        writeln!(out, "    {}  {until}", self.say("至", "until"))
    }

    fn form(&self, share: &Share) -> String {
        let mut parts: Vec<String> = share.lane.iter().map(|lane| lane.to_string()).collect();
        if !share.carries.is_empty() {
            parts.push(share.carries.iter().map(LineId::as_str).collect::<Vec<_>>().join(","));
        }
        let devices = match share.devices {
            true => self.say("带设备编号", "with devices"),
            false => self.say("不带设备编号", "without devices"),
        };
        parts.push(devices.to_owned());
        parts.extend(share.places.then(|| self.say("带位置", "with places").to_owned()));
        parts.extend(share.protect.as_deref().map(plain));
        parts.extend(share.level.map(|level| format!("GB/T 42460 {level}")));
        parts.join(", ")
    }

    fn explained_json(&self, explained: &Explained<'_>, out: &mut dyn Write) -> io::Result<()> {
        let point = |point: &&Point| {
            json!({
                "template": point.template, "class": point.whose.as_str(), "collect": point.collect,
                "treatment": point.treatment, "taken": point.is_taken(),
            })
        };
        let way = |way: &Way<'_>| {
            let share = way.share;
            json!({
                "share": share.id, "class": share.class.map(|class| class.as_str()),
                "lane": share.lane.map(|lane| lane.as_str()), "consumers": share.consumers,
                "purpose": share.purpose, "devices": share.devices, "places": share.places,
                "carries": share.carries, "protect": share.protect, "level": share.level,
                "approval": share.approval, "tier": share.tier, "until_ms": share.until_ms,
                "ended": way.ended, "from": way.sources,
            })
        };
        let forbidden = |share: &&Share| json!({ "share": share.id, "reason": share.reason });
        let told = json!({
            "field": explained.field,
            "leaves": explained.denied.is_none(),
            "denied": explained.denied.map(|rule| json!({ "rule": rule.as_str(), "zh": rule.chinese(), "en": rule.english() })),
            "forbidden": explained.forbidden.iter().map(forbidden).collect::<Vec<_>>(),
            "collect": explained.points.iter().map(point).collect::<Vec<_>>(),
            "share": explained.ways.iter().map(way).collect::<Vec<_>>(),
        });
        writeln!(out, "{told}")
    }
}

fn never(lists: &Lists) -> impl Iterator<Item = &Share> {
    lists.shares.iter().filter(|share| share.is_forbidden())
}
