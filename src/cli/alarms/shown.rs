//! Incidents, events, notices, runs and maintenance as lines for people and as JSON for machines.
//!
//! Guarantees: both say the same; times are of the gateway's zone; nothing that somebody wrote moves the cursor of a terminal.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use crate::cli::bus::Lang;
use crate::cli::onboard::plain;
use crate::wire::bus as wire;

/// How things are shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// For people.
    pub lang: Lang,
    /// For machines instead.
    pub json: bool,
    /// Of the times, milliseconds east of UTC.
    pub zone_ms: i64,
}

const LIVES: &[(&str, &str)] = &[
    ("pre_alarm", "预警"),
    ("raised", "告警中"),
    ("confirmed", "已确认"),
    ("dispatched", "已派人"),
    ("handled", "已处置"),
    ("closed", "已关闭"),
    ("suppressed", "已抑制"),
];
const STEPS: &[(&str, &str)] = &[
    ("pre_alarm", "预警"),
    ("raised", "发生"),
    ("suppressed", "抑制"),
    ("cleared", "恢复"),
    ("returned", "复发"),
    ("escalated", "升级"),
    ("confirmed", "确认"),
    ("dispatched", "派人"),
    ("handled", "处置"),
    ("closed", "关闭"),
    ("noted", "备注"),
];
const SEVERITIES: &[(&str, &str)] =
    &[("info", "提示"), ("minor", "一般"), ("major", "重要"), ("critical", "紧急")];
const FATES: &[(&str, &str)] =
    &[("waiting", "待送达"), ("delivered", "已送达"), ("expired", "已过期"), ("dropped", "已丢弃")];
const STAGES: &[(&str, &str)] = &[
    ("waiting", "待批准"),
    ("accepted", "待发送"),
    ("sent", "已发送"),
    ("done", "完成"),
    ("failed", "失败"),
    ("expired", "过期"),
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
            _ => plain(word).replace('_', "-"),
        }
    }

    /// A time of the gateway's zone.
    pub(in crate::cli) fn format(&self, ms: i64, form: &str) -> String {
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

    /// What is the matter where.
    fn what(alarm: &str, title: &str, device: &str, place: &str) -> String {
        let title = if title.is_empty() { alarm } else { title };
        let place = if place.is_empty() { String::new() } else { format!(" @ {}", plain(place)) };
        format!("{}  {}{place}", plain(title), plain(device))
    }

    fn incident(&self, out: &mut dyn Write, incident: &wire::Incident) -> io::Result<()> {
        let wire::Incident { alarm, title, device, place, .. } = incident;
        write!(
            out,
            "#{}  [{}] {}  {}  {}",
            incident.id,
            self.word(SEVERITIES, &incident.severity),
            self.word(LIVES, &incident.life),
            self.at(incident.raised_ms.unwrap_or(incident.began_ms)),
            Self::what(alarm, title, device, place),
        )?;
        let open = incident.life != "closed";
        if open && !incident.active {
            write!(out, "  {}", self.say("已恢复", "cleared"))?;
        }
        if incident.returns > 0 {
            write!(out, "  {} {}", self.say("复发", "returned"), incident.returns)?;
        }
        if open && incident.escalated > 0 {
            write!(out, "  {} {}", self.say("升级", "escalated"), incident.escalated)?;
        }
        writeln!(out)
    }

    fn incident_json(&self, incident: &wire::Incident) -> Value {
        json!({
            "incident": incident.id, "alarm": incident.alarm, "title": incident.title, "device": incident.device,
            "place": some(&incident.place), "severity": incident.severity, "life": incident.life,
            "active": incident.active, "began": self.iso(incident.began_ms),
            "raised": incident.raised_ms.map(|ms| self.iso(ms)), "changed": self.iso(incident.changed_ms),
            "escalated": incident.escalated, "returns": incident.returns,
        })
    }

    /// Incidents, and work that is going on.
    pub(super) fn incidents(
        &self,
        out: &mut dyn Write,
        incidents: &[wire::Incident],
        work: &[wire::Maintenance],
    ) -> io::Result<()> {
        if self.json {
            let incidents: Vec<_> = incidents.iter().map(|incident| self.incident_json(incident)).collect();
            let work: Vec<_> = work.iter().map(|work| self.maintenance_json(work)).collect();
            return writeln!(out, "{}", json!({ "incidents": incidents, "maintenance": work }));
        }
        if incidents.is_empty() {
            writeln!(out, "{}", self.say("没有告警", "no alarms"))?;
        }
        incidents.iter().try_for_each(|incident| self.incident(out, incident))?;
        if !work.is_empty() {
            writeln!(out, "\n{}:", self.say("维护中", "maintenance"))?;
        }
        work.iter().try_for_each(|work| self.maintenance(out, work))
    }

    /// Where an incident stands now.
    pub(super) fn stands(&self, out: &mut dyn Write, incident: &wire::Incident) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", self.incident_json(incident));
        }
        let wire::Incident { alarm, title, device, place, .. } = incident;
        let life = self.word(LIVES, &incident.life);
        writeln!(out, "#{}  {life}  {}", incident.id, Self::what(alarm, title, device, place))
    }

    /// Everything about one incident.
    pub(super) fn whole(&self, out: &mut dyn Write, all: &wire::ShowIncidentResponse) -> io::Result<()> {
        let none = wire::Incident::default();
        let incident = all.incident.as_ref().unwrap_or(&none);
        if self.json {
            let mut told = self.incident_json(incident);
            told["advice"] = some(&all.advice);
            told["history"] = all.history.iter().map(|event| self.event_json(event)).collect();
            told["notices"] = all.notices.iter().map(|notice| self.notice_json(notice)).collect();
            told["runs"] = all.runs.iter().map(|run| self.run_json(run)).collect();
            told["feedback"] = all.feedback.iter().map(|said| self.feedback_json(said)).collect();
            return writeln!(out, "{told}");
        }
        self.incident(out, incident)?;
        if !all.advice.is_empty() {
            writeln!(out, "{}: {}", self.say("处置建议", "advice"), plain(&all.advice))?;
        }
        writeln!(out, "\n{}", self.say("经过", "history"))?;
        for event in &all.history {
            self.change(out, event)?;
        }
        if !all.notices.is_empty() {
            writeln!(out, "\n{}", self.say("通知", "notices"))?;
            all.notices.iter().try_for_each(|notice| self.notice(out, notice))?;
        }
        if !all.runs.is_empty() {
            writeln!(out, "\n{}", self.say("联动命令", "commands"))?;
            all.runs.iter().try_for_each(|run| self.run(out, run))?;
        }
        if !all.feedback.is_empty() {
            writeln!(out, "\n{}", self.say("城市侧反馈", "feedback of the city"))?;
        }
        for said in &all.feedback {
            let step = self.word(STEPS, &said.step);
            let (who, text, outcome) = (plain(&said.consumer), plain(&said.text), plain(&said.outcome));
            writeln!(out, "  {}  {step}  {who}  {text}  -> {outcome}", self.at(said.at_ms))?;
        }
        Ok(())
    }

    /// One change, without what it is of.
    fn change(&self, out: &mut dyn Write, event: &wire::IncidentEvent) -> io::Result<()> {
        write!(out, "  {}  {}", self.at(event.at_ms), self.word(STEPS, &event.step))?;
        if let Some(value) = &event.value {
            write!(out, "  {}={}{}", event.metric, plain(value), plain(&event.unit))?;
        }
        if !event.by.is_empty() {
            write!(out, "  {}", plain(&event.by))?;
        }
        if !event.reason.is_empty() {
            write!(out, "  {}", plain(&event.reason))?;
        }
        writeln!(out)
    }

    /// One change of any incident.
    pub(in crate::cli) fn event(&self, out: &mut dyn Write, event: &wire::IncidentEvent) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", self.event_json(event));
        }
        let severity = self.word(SEVERITIES, &event.severity);
        let what = Self::what(&event.alarm, &event.title, &event.device, &event.place);
        write!(out, "#{} [{severity}] {what}", event.incident)?;
        self.change(out, event)
    }

    fn event_json(&self, event: &wire::IncidentEvent) -> Value {
        json!({
            "event": event.id, "incident": event.incident, "alarm": event.alarm, "title": event.title,
            "step": event.step, "life": event.life, "active": event.active, "severity": event.severity,
            "device": some(&event.device), "place": some(&event.place), "metric": event.metric,
            "value": event.value, "unit": event.unit, "by_kind": event.by_kind, "by": some(&event.by),
            "reason": event.reason, "at": self.iso(event.at_ms),
        })
    }

    /// One notice.
    pub(in crate::cli) fn notice(&self, out: &mut dyn Write, notice: &wire::Notice) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", self.notice_json(notice));
        }
        write!(
            out,
            "  {}  #{}  {}  {}  {}",
            self.at(notice.made_ms),
            notice.incident,
            plain(&notice.recipient),
            self.word(STEPS, &notice.step),
            self.word(FATES, &notice.fate),
        )?;
        if let Some(done_ms) = notice.done_ms {
            write!(out, "  {}", self.at(done_ms))?;
        }
        if notice.tries > 0 {
            write!(out, "  {} {}", self.say("尝试", "tries"), notice.tries)?;
        }
        if !notice.proof.is_empty() {
            write!(out, "  ({})", plain(&notice.proof))?;
        }
        writeln!(out, "\n    {}", plain(&notice.text))
    }

    fn notice_json(&self, notice: &wire::Notice) -> Value {
        json!({
            "notice": notice.id, "incident": notice.incident, "step": notice.step, "alarm": notice.alarm,
            "severity": notice.severity, "place": some(&notice.place), "recipient": notice.recipient,
            "made": self.iso(notice.made_ms), "due": self.iso(notice.due_ms), "text": notice.text,
            "fate": notice.fate, "tries": notice.tries, "done": notice.done_ms.map(|ms| self.iso(ms)),
            "proof": notice.proof,
        })
    }

    /// One run of a command.
    pub(in crate::cli) fn run(&self, out: &mut dyn Write, run: &wire::Run) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", self.run_json(run));
        }
        write!(out, "  {}  {}  {}", run.id, plain(&run.command), self.word(STAGES, &run.stage))?;
        if run.incident > 0 {
            write!(out, "  #{}", run.incident)?;
        }
        write!(out, "  {} {}", self.say("下达", "ordered"), self.at(run.ordered_ms))?;
        if !run.consumer.is_empty() {
            let (consumer, request) = (plain(&run.consumer), plain(&run.request));
            write!(
                out,
                "  {} {consumer} ({} {request})",
                self.say("下令者", "by"),
                self.say("请求", "request")
            )?;
        }
        for (name, value) in sorted(&run.arguments) {
            write!(out, "  {}={}", plain(name), plain(value))?;
        }
        if run.stage == "waiting" {
            write!(out, "  {} {}", self.say("截止", "until"), self.at(run.expires_ms))?;
        }
        let approved: Vec<_> = run.approved.iter().map(|name| plain(name)).collect();
        if !approved.is_empty() {
            write!(out, "  {} {}", self.say("批准", "approved by"), approved.join(", "))?;
        }
        if !run.detail.is_empty() {
            write!(out, "  ({})", plain(&run.detail))?;
        }
        writeln!(out)
    }

    fn run_json(&self, run: &wire::Run) -> Value {
        json!({
            "run": run.id, "command": run.command, "incident": (run.incident > 0).then_some(run.incident),
            "stage": run.stage, "ordered": self.iso(run.ordered_ms), "expires": self.iso(run.expires_ms),
            "changed": self.iso(run.changed_ms), "approved": run.approved, "detail": run.detail,
            "consumer": some(&run.consumer), "request": some(&run.request), "share": some(&run.share),
            "arguments": sorted(&run.arguments),
        })
    }

    fn feedback_json(&self, said: &wire::Feedback) -> Value {
        json!({
            "feedback": said.id, "consumer": said.consumer, "step": said.step, "text": said.text,
            "at": self.iso(said.at_ms), "outcome": said.outcome,
        })
    }

    /// Work that is going on.
    pub(super) fn maintenance(&self, out: &mut dyn Write, work: &wire::Maintenance) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", self.maintenance_json(work));
        }
        let (devices, places) = (plain(&work.devices), plain(&work.places));
        let (who, why) = (plain(&work.by), plain(&work.reason));
        let until = self.say("至", "until");
        writeln!(out, "  {}  {devices} @ {places}  {until} {}  {who}  {why}", work.id, self.at(work.until_ms))
    }

    fn maintenance_json(&self, work: &wire::Maintenance) -> Value {
        json!({
            "maintenance": work.id, "devices": work.devices, "places": work.places,
            "from": self.iso(work.from_ms), "until": self.iso(work.until_ms), "by": work.by, "reason": work.reason,
        })
    }

    /// Work that has ended.
    pub(super) fn resumed(&self, out: &mut dyn Write, maintenance: u64) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", json!({ "maintenance": maintenance, "ended": true }));
        }
        writeln!(out, "{} {maintenance} {}", self.say("维护", "maintenance"), self.say("已结束", "has ended"))
    }
}

/// The arguments of an order by name.
fn sorted(arguments: &HashMap<String, String>) -> BTreeMap<&str, &str> {
    arguments.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A text, or null where there is none.
fn some(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

#[cfg(test)]
mod tests;
