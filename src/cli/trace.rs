//! `smallbrain trace`: everything the store knows about one record, for who has to answer for it.
//!
//! Reads the store itself, beside the daemon or without it. Shows what left and who has it, no name of a person and no
//! words that somebody wrote.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use super::alarms::ended;
use super::bus::Lang;
use super::onboard::plain;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::model::Lane;
use crate::store::trace::{RecordId, Trace, trace};
use crate::wire;

/// Shown below `trace --help`.
pub const HELP: &str = "\
Examples:
  smallbrain trace 6f1c…-alarm-17 --config /etc/smallbrain/config.toml
      line and lists, treatments, approvals, deliveries, acknowledgements, feedback
  smallbrain trace 6f1c…-bulk-4112 --store /var/lib/smallbrain --json

Of a record that everybody has, and that is gone from the lane, the trail still tells.";

/// The gateway's zone where no configuration says it, milliseconds east of UTC.
const ZONE_MS: i64 = 8 * 3_600_000;

/// Arguments of `trace`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The record's id, as it was delivered: epoch, lane and position
    record: String,
    /// The configuration that names the store
    #[arg(long, required_unless_present = "store", conflicts_with = "store")]
    config: Option<PathBuf>,
    /// The store's directory
    #[arg(long)]
    store: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    lang: Lang,
}

/// Looks and prints. Exit code 0, or 1 when there is no such store or no such record.
pub fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    ended("trace", look(args, out))
}

fn look(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let id = RecordId::parse(&args.record).ok_or_else(|| {
        anyhow::anyhow!("record {:?}: an id is <epoch, 32 hex digits>-<lane>-<position>", args.record)
    })?;
    let (dir, zone_ms) = match (&args.store, &args.config) {
        (Some(dir), _) => (dir.clone(), ZONE_MS),
        (None, Some(file)) => {
            let config = Config::load(file, SystemClock::default().now().wall_ms, None)?;
            (config.store.dir.clone(), config.plan.rules.zone_ms)
        }
        (None, None) => anyhow::bail!("--config or --store says where the store is"),
    };
    let found = trace(&dir, &id)?;
    if found.is_this_epoch && id.seq > found.head {
        anyhow::bail!("record {id}: lane {} ends at position {}", id.lane, found.head);
    }
    write(out, &id, &found, args.json, args.lang, zone_ms)?;
    Ok(out.flush()?)
}

/// The trace, as it is printed.
///
/// # Errors
/// Those of `out`.
pub fn write(
    out: &mut dyn Write,
    id: &RecordId,
    trace: &Trace,
    json: bool,
    lang: Lang,
    zone_ms: i64,
) -> io::Result<()> {
    let shown = Shown { lang, zone_ms };
    match json {
        true => writeln!(out, "{}", shown.json(id, trace)),
        false => shown.text(out, id, trace),
    }
}

struct Shown {
    lang: Lang,
    zone_ms: i64,
}

impl Shown {
    fn say<'a>(&self, chinese: &'a str, english: &'a str) -> &'a str {
        self.lang.say(chinese, english)
    }

    fn at(&self, ms: i64) -> String {
        let offset = i32::try_from(self.zone_ms / 1000).ok().and_then(|s| Offset::from_seconds(s).ok());
        let zone = TimeZone::fixed(offset.unwrap_or(Offset::UTC));
        let time = jiff::Timestamp::from_millisecond(ms);
        time.map_or_else(|_| "-".into(), |time| time.to_zoned(zone).strftime("%F %T").to_string())
    }

    fn text(&self, out: &mut dyn Write, id: &RecordId, trace: &Trace) -> io::Result<()> {
        let lane = match id.lane {
            Lane::Alarm => self.say("告警", "alarm"),
            Lane::Event => self.say("事件", "event"),
            Lane::Result => self.say("结果", "result"),
            Lane::Aggregate => self.say("汇总", "aggregate"),
            Lane::Audit => self.say("审计", "audit"),
            Lane::Bulk => self.say("明细", "bulk"),
        };
        writeln!(out, "{}: {id}", self.say("记录", "record"))?;
        let newest = self.say("最新", "newest");
        writeln!(out, "{}: {lane} {} ({newest} {})", self.say("通道", "lane"), id.seq, trace.head)?;
        if !trace.is_this_epoch {
            let why = self.say("属于以前的纪元, 只知道反馈", "of an earlier epoch: only feedback is known");
            writeln!(out, "! {why}")?;
        }
        self.held(out, trace)?;
        if let Some(line) = &trace.line {
            let (since, lists) = (self.say("自", "since"), self.say("清单版本", "lists version"));
            let at = self.at(line.since_ms);
            writeln!(
                out,
                "{}: @{} ({since} {at}, {lists} {})",
                self.say("共享条目版本", "line version"),
                line.version,
                line.lists_version
            )?;
            writeln!(out, "  {}", plain(&line.body))?;
        }
        for line in &trace.collected {
            let done: Vec<_> =
                line.treatments.iter().map(|(metric, word)| format!("{metric} {word}")).collect();
            let title = self.say("归集条目", "collected by");
            writeln!(out, "{title}: {}@{}  {}", plain(&line.id), line.version, plain(&done.join(", ")))?;
        }
        for approval in &trace.approvals {
            let state = match approval.state.as_str() {
                "" => self.say("无审批记录", "no approval on record").to_owned(),
                state => format!("{} {state}", plain(&approval.tier)),
            };
            writeln!(out, "{}: {}  {state}", self.say("审批", "approval"), plain(&approval.id))?;
            for (role, vote, at_ms) in &approval.votes {
                writeln!(out, "  {}  {}  {vote}", self.at(*at_ms), plain(role))?;
            }
        }
        if let Some(incident) = &trace.incident {
            let (alarm, device) = (plain(&incident.alarm), plain(&incident.device));
            let name = self.say("告警事件", "incident");
            writeln!(out, "{name}: #{}  {alarm}  {device}  {}", incident.id, incident.life)?;
            for (at_ms, step, by) in &incident.history {
                writeln!(out, "  {}  {step}  {by}", self.at(*at_ms))?;
            }
        }
        self.uses(out, trace)
    }

    fn held(&self, out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
        if let Some(gap) = &trace.gap {
            let lost = self.say("已丢失", "lost");
            writeln!(out, "! {lost}: {}-{} ({})", gap.from, gap.to, plain(&gap.reason))?;
        }
        let Some(held) = &trace.held else {
            let gone = self.say(
                "记录已不在网关, 以下来自使用痕迹",
                "the record is gone: what follows is from the trail",
            );
            return writeln!(out, "! {gone}");
        };
        writeln!(out, "{}: {}", self.say("封装时间", "sealed"), self.at(held.sealed_ms))?;
        let whole = match held.is_whole {
            Some(true) => self.say("散列相符", "hash holds"),
            Some(false) => self.say("散列不符!", "hash does not hold!"),
            None => self.say("前一条已删除, 散列未核对", "predecessor gone, hash not checked"),
        };
        writeln!(out, "{}: {} ({whole})", self.say("格式", "schema"), plain(&held.schema))?;
        writeln!(out, "{}: {}", self.say("共享条目", "share line"), plain(&held.share_item))?;
        let Some(body) = &held.body else {
            return writeln!(out, "! {}", self.say("内容读不出", "the body cannot be read"));
        };
        writeln!(out, "{}: {}", self.say("用途", "purpose"), plain(&body.purpose))?;
        writeln!(out, "{}: {}", self.say("清单版本", "lists version"), body.policy_version)?;
        for treatment in &body.treatments {
            let (operator, field) = (plain(&treatment.operator), plain(&treatment.field));
            write!(out, "{}: {field}  {operator}", self.say("处理", "treatment"))?;
            match treatment.parameter.as_str() {
                "" => writeln!(out)?,
                parameter => writeln!(out, " {}", plain(parameter))?,
            }
        }
        let content = wire::body_json(body);
        for (name, chinese) in [("event", "事件"), ("measures", "统计量"), ("readings", "读数")] {
            if let Some(content) = content.get(name) {
                writeln!(out, "{}: {content}", self.say(chinese, name))?;
            }
        }
        Ok(())
    }

    fn uses(&self, out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
        writeln!(out, "{}: {}", self.say("使用痕迹", "trail"), trace.uses.len())?;
        for used in &trace.uses {
            let (at, actor) = (self.at(used.at_ms), plain(&used.actor));
            write!(
                out,
                "  #{}  {at}  {}  {}  {actor}  {}",
                used.row, used.action, used.object, used.outcome
            )?;
            for more in [&used.approval, &used.reason].into_iter().flatten() {
                write!(out, "  {}", plain(more))?;
            }
            writeln!(out)?;
        }
        writeln!(out, "{}: {}", self.say("反馈", "feedback"), trace.feedback.len())?;
        for said in &trace.feedback {
            let (at, consumer) = (self.at(said.at_ms), plain(&said.consumer));
            writeln!(out, "  {at}  {}  {consumer}  {}", said.step, said.outcome)?;
        }
        Ok(())
    }

    fn json(&self, id: &RecordId, trace: &Trace) -> Value {
        let held = trace.held.as_ref().map(|held| {
            json!({
                "sealed": self.at(held.sealed_ms), "share": held.share_item, "schema": held.schema,
                "whole": held.is_whole, "body": held.body.as_ref().map(wire::body_json),
            })
        });
        let line = trace.line.as_ref().map(|line| {
            json!({
                "version": line.version, "lists_version": line.lists_version, "since": self.at(line.since_ms),
                "body": serde_json::from_str::<Value>(&line.body).unwrap_or_default(),
            })
        });
        let collected = trace.collected.iter().map(|line| {
            let treatments: serde_json::Map<_, _> =
                line.treatments.iter().map(|(metric, word)| (metric.clone(), json!(word))).collect();
            json!({ "id": line.id, "version": line.version, "treatments": treatments })
        });
        let collected: Vec<_> = collected.collect();
        let approvals = trace.approvals.iter().map(|approval| {
            let votes = approval.votes.iter();
            let votes =
                votes.map(|(role, vote, ms)| json!({ "role": role, "vote": vote, "at": self.at(*ms) }));
            let votes: Vec<_> = votes.collect();
            json!({ "id": approval.id, "tier": approval.tier, "state": approval.state, "votes": votes })
        });
        let incident = trace.incident.as_ref().map(|incident| {
            let history = incident.history.iter();
            let history = history.map(|(ms, step, by)| json!({ "at": self.at(*ms), "step": step, "by": by }));
            json!({
                "incident": incident.id, "alarm": incident.alarm, "device": incident.device,
                "life": incident.life, "history": history.collect::<Vec<_>>(),
            })
        });
        let uses = trace.uses.iter().map(|used| {
            json!({
                "row": used.row, "at": self.at(used.at_ms), "actor": used.actor, "action": used.action,
                "object": used.object, "outcome": used.outcome, "approval": used.approval, "reason": used.reason,
            })
        });
        let feedback = trace.feedback.iter().map(|said| {
            json!({ "at": self.at(said.at_ms), "consumer": said.consumer, "step": said.step, "outcome": said.outcome })
        });
        let gap = trace.gap.as_ref();
        json!({
            "record": id.to_string(), "lane": id.lane.as_str(), "seq": id.seq.0, "head": trace.head.0,
            "this_epoch": trace.is_this_epoch, "held": held, "line": line,
            "collected": collected,
            "gap": gap.map(|gap| json!({ "from": gap.from.0, "to": gap.to.0, "reason": gap.reason })),
            "approvals": approvals.collect::<Vec<_>>(), "incident": incident,
            "trail": uses.collect::<Vec<_>>(), "feedback": feedback.collect::<Vec<_>>(),
        })
    }
}
