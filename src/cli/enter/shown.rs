//! Forms and entries as lines for people and as JSON for machines.
//!
//! Guarantees: both say the same; times are of the gateway's zone; nothing that somebody wrote moves the cursor of a
//! terminal.

use std::io::{self, Write};

use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use super::table::Row;
use crate::cli::bus::Lang;
use crate::cli::onboard::plain;
use crate::wire::bus as wire;

/// How things are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// For people.
    pub(super) lang: Lang,
    /// For machines instead.
    pub(super) json: bool,
    /// Of the times, milliseconds east of UTC.
    pub(super) zone_ms: i64,
}

const STATES: &[(&str, &str)] =
    &[("waiting", "待复核"), ("stored", "已入库"), ("refused", "已退回"), ("corrected", "已更正")];
const KINDS: &[(&str, &str)] = &[("number", "数值"), ("flag", "是/否"), ("text", "文本")];
const TREATMENTS: &[(&str, &str)] = &[
    ("keep", "原样保留"),
    ("generalise", "概化"),
    ("pseudonym", "假名化"),
    ("drop", "不收"),
    ("refuse", "拒收"),
    ("mask", "掩码"),
    ("seal", "密封"),
    ("round", "取整"),
    ("truncate", "截断"),
    ("redact", "文本脱敏"),
];

impl Shown {
    fn say<'a>(&self, chinese: &'a str, english: &'a str) -> &'a str {
        self.lang.say(chinese, english)
    }

    /// A word of the contract for people; one of a later daemon as it is.
    fn word(&self, words: &[(&str, &str)], word: &str) -> String {
        let chinese = words.iter().find(|(name, _)| *name == word).map(|(_, chinese)| *chinese);
        match (self.lang, chinese) {
            (Lang::Zh, Some(chinese)) => chinese.to_owned(),
            _ => plain(word),
        }
    }

    fn format(&self, ms: i64, form: &str) -> String {
        let offset = i32::try_from(self.zone_ms / 1000).ok().and_then(|s| Offset::from_seconds(s).ok());
        let zone = TimeZone::fixed(offset.unwrap_or(Offset::UTC));
        let time = jiff::Timestamp::from_millisecond(ms);
        time.map_or_else(|_| "-".into(), |time| time.to_zoned(zone).strftime(form).to_string())
    }

    fn at(&self, ms: i64) -> String {
        self.format(ms, "%F %T")
    }

    fn iso(&self, ms: i64) -> String {
        self.format(ms, "%Y-%m-%dT%H:%M:%S%.3f%:z")
    }

    /// What can be entered.
    pub(super) fn form(&self, out: &mut dyn Write, form: &wire::GetFormResponse) -> io::Result<()> {
        if self.json {
            let field = |field: &wire::FormField| {
                json!({
                    "name": field.name, "title": field.title, "kind": field.kind, "unit": field.unit,
                    "min": some(&field.min), "max": some(&field.max), "treatment": field.treatment,
                })
            };
            let sheet = |sheet: &wire::FormSheet| {
                let fields: Vec<Value> = sheet.fields.iter().map(field).collect();
                json!({ "template": sheet.template, "title": sheet.title, "devices": sheet.devices, "fields": fields })
            };
            let sheets: Vec<Value> = form.sheets.iter().map(sheet).collect();
            let told = json!({
                "collect_item": form.collect_item, "title": form.title, "purpose": form.purpose,
                "second_check": form.second_check, "sheets": sheets,
            });
            return writeln!(out, "{told}");
        }
        writeln!(out, "{}  {}", plain(&form.collect_item), plain(&form.title))?;
        writeln!(out, "{}: {}", self.say("用途", "purpose"), plain(&form.purpose))?;
        if form.second_check {
            writeln!(out, "{}", self.say("需另一人复核后生效", "another person has to confirm an entry"))?;
        }
        for sheet in &form.sheets {
            writeln!(out, "\n{}  {}", plain(&sheet.template), plain(&sheet.title))?;
            let devices: Vec<String> = sheet.devices.iter().map(|device| plain(device)).collect();
            writeln!(out, "  {}: {}", self.say("对象", "devices"), devices.join(", "))?;
            sheet.fields.iter().try_for_each(|field| self.field(out, field))?;
        }
        Ok(())
    }

    fn field(&self, out: &mut dyn Write, field: &wire::FormField) -> io::Result<()> {
        let wire::FormField { name, title, kind, unit, min, max, treatment } = field;
        write!(out, "  {}  {}", plain(name), self.word(KINDS, kind))?;
        if !unit.is_empty() {
            write!(out, " {}", plain(unit))?;
        }
        if !min.is_empty() || !max.is_empty() {
            write!(out, " [{}, {}]", plain(min), plain(max))?;
        }
        write!(out, "  {}", self.word(TREATMENTS, treatment))?;
        writeln!(out, "{}{}", if title.is_empty() { "" } else { "  " }, plain(title))
    }

    fn entry_json(&self, entry: &wire::ManualEntry) -> Value {
        let payload: Value = serde_json::from_str(&entry.payload).unwrap_or_default();
        json!({
            "entry": entry.id, "request_id": entry.request_id, "collect_item": entry.collect_item,
            "device": entry.device, "at": self.iso(entry.at_ms), "entered": self.iso(entry.entered_ms),
            "operator": entry.operator, "role": entry.role, "reason": entry.reason, "payload": payload,
            "state": entry.state, "checked_by": some(&entry.checked_by),
            "checked_role": some(&entry.checked_role), "checked": entry.checked_ms.map(|ms| self.iso(ms)),
            "check_reason": some(&entry.check_reason), "corrects": entry.corrects,
        })
    }

    fn entry(&self, out: &mut dyn Write, entry: &wire::ManualEntry) -> io::Result<()> {
        let payload: Value = serde_json::from_str(&entry.payload).unwrap_or_default();
        let fields = payload.as_object().into_iter().flatten();
        let fields: Vec<String> = fields
            .map(|(name, value)| {
                format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            })
            .collect();
        write!(
            out,
            "#{}  [{}]  {}  {}  {}  {}  {} ({})  {}",
            entry.id,
            self.word(STATES, &entry.state),
            self.at(entry.at_ms),
            plain(&entry.collect_item),
            plain(&entry.device),
            plain(&fields.join(" ")),
            plain(&entry.operator),
            plain(&entry.role),
            plain(&entry.reason),
        )?;
        if let Some(corrects) = entry.corrects {
            write!(out, "  {} #{corrects}", self.say("更正", "corrects"))?;
        }
        if let Some(ms) = entry.checked_ms {
            let (by, role, why) =
                (plain(&entry.checked_by), plain(&entry.checked_role), plain(&entry.check_reason));
            write!(out, "  {} {} {by} ({role}) {why}", self.say("复核", "checked"), self.at(ms))?;
        }
        writeln!(out)
    }

    /// Entries.
    pub(super) fn entries(&self, out: &mut dyn Write, entries: &[wire::ManualEntry]) -> io::Result<()> {
        if self.json {
            let entries: Vec<Value> = entries.iter().map(|entry| self.entry_json(entry)).collect();
            return writeln!(out, "{}", Value::Array(entries));
        }
        if entries.is_empty() {
            return writeln!(out, "{}", self.say("没有录入", "no entries"));
        }
        entries.iter().try_for_each(|entry| self.entry(out, entry))
    }

    /// What came of one report.
    pub(super) fn submitted(
        &self,
        out: &mut dyn Write,
        done: &wire::SubmitManualEntryResponse,
    ) -> io::Result<()> {
        let none = wire::ManualEntry::default();
        let entry = done.entry.as_ref().unwrap_or(&none);
        let left_out: Vec<&str> = left_out(done).collect();
        if self.json {
            let mut told = self.entry_json(entry);
            told["duplicate"] = json!(done.duplicate);
            told["left_out"] = json!(left_out);
            return writeln!(out, "{told}");
        }
        self.entry(out, entry)?;
        if done.duplicate {
            writeln!(out, "{}", self.say("此前已录入, 未重复", "it was entered before, and not again"))?;
        }
        if !left_out.is_empty() {
            let names = plain(&left_out.join(", "));
            writeln!(out, "{}: {names}", self.say("归集清单不收", "left out by the collection list"))?;
        }
        if entry.state == "waiting" {
            let next = self.say("待另一人复核", "another person has to confirm it");
            writeln!(out, "{next}: smallbrain enter --confirm {} --by … --role …", entry.id)?;
        }
        Ok(())
    }

    /// What came of a second look.
    pub(super) fn checked(&self, out: &mut dyn Write, entry: &wire::ManualEntry) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", self.entry_json(entry));
        }
        self.entry(out, entry)
    }

    /// What came of a row.
    pub(super) fn row(&self, out: &mut dyn Write, row: &Row) -> io::Result<()> {
        let line = row.line;
        if self.json {
            let told = match &row.end {
                Ok(done) => {
                    let entry = done.entry.as_ref();
                    json!({
                        "line": line, "ok": true, "entry": entry.map(|entry| entry.id),
                        "state": entry.map(|entry| &entry.state), "duplicate": done.duplicate,
                        "left_out": left_out(done).collect::<Vec<_>>(),
                    })
                }
                Err(why) => json!({ "line": line, "ok": false, "why": why }),
            };
            return writeln!(out, "{told}");
        }
        let word = self.say("行", "line");
        match &row.end {
            Ok(done) => {
                let (id, state) = done.entry.as_ref().map_or((0, ""), |entry| (entry.id, &*entry.state));
                write!(out, "{word} {line}  ok  #{id}  {}", self.word(STATES, state))?;
                if done.duplicate {
                    write!(out, "  {}", self.say("此前已录入", "entered before"))?;
                }
                let left_out: Vec<&str> = left_out(done).collect();
                if !left_out.is_empty() {
                    write!(out, "  {}: {}", self.say("不收", "left out"), plain(&left_out.join(", ")))?;
                }
                writeln!(out)
            }
            Err(why) => writeln!(out, "{word} {line}  {}  {}", self.say("未录入", "failed"), plain(why)),
        }
    }

    /// What came of all rows.
    pub(super) fn rows(&self, out: &mut dyn Write, taken: u64, failed: u64) -> io::Result<()> {
        match (self.json, self.lang) {
            (true, _) => writeln!(out, "{}", json!({ "taken": taken, "failed": failed })),
            (false, Lang::Zh) => writeln!(out, "录入 {taken} 行, 失败 {failed} 行"),
            (false, Lang::En) => writeln!(out, "{taken} rows entered, {failed} failed"),
        }
    }
}

fn left_out(done: &wire::SubmitManualEntryResponse) -> impl Iterator<Item = &str> {
    done.fields.iter().filter(|field| !field.lost.is_empty()).map(|field| field.name.as_str())
}

fn some(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}
