//! What the store keeps beside the four lists: lists of the city and the loops of the governance list, as text for people and
//! as JSON for machines.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::shown::Shown;
use crate::cli::onboard::plain;
use crate::lists::loops::Loop;
use crate::rules::listed::{Entry, Held, Line};
use crate::store::shared::Head;

impl Shown {
    /// The loops, a line each.
    pub(super) fn loops(&self, loops: &[Loop], out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            let told = |told: &Loop| {
                json!({
                    "line": told.id, "open": told.open, "closed": told.closed,
                    "accept": { "overdue": told.accept_overdue, "late": told.accept_late },
                    "close": { "overdue": told.close_overdue, "late": told.close_late },
                    "delivered": told.delivered, "returned": told.returned,
                    "return_percent": told.return_percent(),
                })
            };
            return writeln!(out, "{}", json!({ "loops": loops.iter().map(told).collect::<Vec<Value>>() }));
        }
        for told in loops {
            let mark = if told.is_overdue() { "!" } else { " " };
            writeln!(
                out,
                "{mark} {}  {} {}  {} {}",
                told.id,
                self.say("未闭合", "open"),
                told.open,
                self.say("已闭合", "closed"),
                told.closed
            )?;
            let (overdue, late) = (self.say("超时", "overdue"), self.say("迟", "late"));
            write!(
                out,
                "    {}: {overdue} {}, {late} {}; {}: {overdue} {}, {late} {}; {} {}/{}",
                self.say("受理", "accept"),
                told.accept_overdue,
                told.accept_late,
                self.say("办结", "close"),
                told.close_overdue,
                told.close_late,
                self.say("反馈", "returned"),
                told.returned,
                told.delivered
            )?;
            let percent = told.return_percent().map(|percent| format!(" ({percent}%)"));
            writeln!(out, "{}", percent.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Whether a key holds; none when no list says.
    pub(super) fn holds(&self, holds: Option<bool>, out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", json!({ "holds": holds }));
        }
        let told = match holds {
            Some(true) => self.say("在名单内，现在有效", "it holds now"),
            Some(false) => self.say("不在名单内，或现在无效", "no entry of it holds now"),
            None => self.say("没有有效的名单", "there is no list that holds"),
        };
        writeln!(out, "{told}")
    }

    /// Lists that the city shares; with their keys where one was asked for.
    pub(super) fn shared(
        &self,
        lines: &[Line],
        lists: &[(Head, Held)],
        with_keys: bool,
        now_ms: i64,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if self.json {
            let told = |(head, held): &(Head, Held)| {
                let left = held.entries(now_ms);
                let mut told = json!({
                    "list": head.list, "version": head.version, "consumer": head.consumer.as_str(),
                    "put_ms": head.put_ms, "not_after_ms": head.until_ms,
                    "holds": !head.over && !held.is_over(now_ms), "entries": left.len(),
                });
                if with_keys {
                    told["keys"] = left.iter().map(key).collect();
                }
                told
            };
            return writeln!(out, "{}", json!({ "lists": lists.iter().map(told).collect::<Vec<_>>() }));
        }
        for (head, held) in lists {
            let title = lines.iter().find(|line| line.id == head.list).map_or("", |line| &line.title);
            let is_over = head.over || held.is_over(now_ms);
            let until =
                if is_over { self.say("已过期", "over since") } else { self.say("有效至", "until") };
            let left = held.entries(now_ms);
            writeln!(
                out,
                "{}@{}  {} {}  {until} {}  {}  {}",
                head.list,
                head.version,
                left.len(),
                self.say("条", "entries"),
                self.at(head.until_ms),
                head.consumer,
                plain(title)
            )?;
            for entry in left.iter().filter(|_| with_keys) {
                let time = |ms: Option<i64>| ms.map_or("-".to_owned(), |ms| self.at(ms));
                writeln!(
                    out,
                    "    {}  {} … {}",
                    plain(&entry.key),
                    time(entry.from_ms),
                    time(entry.until_ms)
                )?;
            }
        }
        if lists.is_empty() {
            writeln!(out, "{}", self.say("没有名单", "there is no such list"))?;
        }
        Ok(())
    }
}

fn key(entry: &Entry) -> Value {
    json!({ "key": entry.key, "not_before_ms": entry.from_ms, "not_after_ms": entry.until_ms })
}
