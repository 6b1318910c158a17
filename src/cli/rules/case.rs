//! Case files: what devices say and people do at which moment, and everything that has to come of it.
//!
//! Guarantees: a key that nobody knows is a fault with its place; moments are exact to the millisecond, numbers are exact
//! decimals. The configuration that stands beside the cases is not looked at: [`crate::config`] reads it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;
use rust_decimal::Decimal;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table::{Fields, Reader};
use crate::config::{Fault, duration};
use crate::model::{DeviceId, LineId, Loss, Metric, Step, Value};
use crate::rules::command::Stage;

/// Cases of one file; one more is a fault.
const CASES_MAX: usize = 1_000;
/// Steps of one case, and what may come of them.
const STEPS_MAX: usize = 10_000;
/// The longest case, milliseconds: a year.
const LENGTH_MAX_MS: u64 = 366 * 86_400_000;
/// When a case begins that does not say: a Monday morning.
const START: &str = "2026-03-02T09:00:00+08:00";
/// Keys of a case file that are none of the configuration.
pub const KEYS: [&str; 2] = ["rules", "case"];

/// A case file.
#[derive(Clone, Debug)]
pub struct File {
    /// As it was named.
    pub path: PathBuf,
    /// As it was written.
    pub text: String,
    /// The files with the rules that it is about.
    pub rules: Vec<PathBuf>,
    /// Its cases, in order.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Its line in the file, from 1.
    pub line: usize,
    /// When it begins, milliseconds since 1970 UTC.
    pub start_ms: i64,
    /// What is done, in the order of time.
    pub steps: Vec<Doing>,
    /// When it ends, milliseconds since its start.
    pub until_ms: u64,
    /// The alarms it is about, as patterns; none for all.
    pub alarms: Option<Vec<String>>,
    /// Everything that has to happen to alarms and readings, in order.
    pub expect: Vec<Happening>,
    /// Every notice that has to be made; none when it is not about notices.
    pub notices: Option<Vec<Happening>>,
    /// Every stage of every run; none when it is not about commands.
    pub runs: Option<Vec<Happening>>,
}

/// Something done at a moment.
#[derive(Clone, Debug)]
pub struct Doing {
    /// Milliseconds since the start.
    pub at_ms: u64,
    /// What.
    pub deed: Deed,
}

/// Something done.
#[derive(Clone, Debug)]
pub enum Deed {
    /// A device says values, in the order as written.
    Say {
        /** Who. */
        device: DeviceId,
        /** What. */
        values: Vec<(Metric, Value)>,
        /** As a message that was retained. */
        retained: bool,
        /** The device's own time, milliseconds since the start. */
        time_ms: Option<i64>,
    },
    /// A device comes or goes.
    Presence {
        /** Who. */
        device: DeviceId,
        /** Whether it is there. */
        online: bool,
    },
    /// Somebody does something to the open incident of an alarm and a device.
    Order {
        /** The alarm. */
        alarm: LineId,
        /** The device. */
        device: DeviceId,
        /** What. */
        step: Step,
        /** Why. */
        reason: String,
    },
    /// Work on devices begins.
    Maintain {
        /** Which, as a pattern. */
        devices: String,
        /** For how long, milliseconds. */
        for_ms: u64,
    },
    /// The gateway stops, and begins again from what it keeps.
    Restart,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Milliseconds since the start.
    pub at_ms: i64,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A step in the life of an incident.
    Step {
        /** Of which alarm. */
        alarm: LineId,
        /** Of which device. */
        device: DeviceId,
        /** Which. */
        step: Step,
    },
    /// A reading that was not kept.
    Lost {
        /** Why. */
        loss: Loss,
        /** Whose. */
        device: DeviceId,
        /** Of what. */
        metric: Metric,
    },
    /// What somebody wanted done was refused.
    Refused {
        /** To which alarm. */
        alarm: LineId,
        /** Of which device. */
        device: DeviceId,
        /** What. */
        step: Step,
    },
    /// Somebody is told.
    Notice {
        /** Who. */
        recipient: LineId,
        /** Of which alarm. */
        alarm: LineId,
        /** What. */
        step: Step,
    },
    /// A run of a command comes to a stage.
    Run {
        /** Of which command. */
        command: LineId,
        /** Which. */
        stage: Stage,
    },
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} ", span(self.at_ms))?;
        match &self.what {
            What::Step { alarm, device, step } => write!(f, "{alarm}  {device}  {step}"),
            What::Lost { loss, device, metric } => write!(f, "lost {loss}  {device}  {metric}"),
            What::Refused { alarm, device, step } => write!(f, "refused  {alarm}  {device}  {step}"),
            What::Notice { recipient, alarm, step } => write!(f, "notice  {recipient}  {alarm}  {step}"),
            What::Run { command, stage } => write!(f, "run  {command}  {}", stage_name(*stage)),
        }
    }
}

/// Stages of runs, by their names.
const STAGES: [(&str, Stage); 6] = [
    ("waiting", Stage::Waiting),
    ("accepted", Stage::Accepted),
    ("sent", Stage::Sent),
    ("done", Stage::Done),
    ("failed", Stage::Failed),
    ("expired", Stage::Expired),
];

/// What people order, by the verb of the command line.
const ORDERS: [(&str, Step); 5] = [
    ("confirm", Step::Confirmed),
    ("dispatch", Step::Dispatched),
    ("handle", Step::Handled),
    ("close", Step::Closed),
    ("note", Step::Noted),
];

fn stage_name(stage: Stage) -> &'static str {
    STAGES.iter().find(|(_, known)| *known == stage).map_or("", |(name, _)| name)
}

/// A time since the start as people write it: `1h 30m`.
fn span(ms: i64) -> String {
    let mut text = String::new();
    let mut rest = ms.unsigned_abs();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= size {
            text += &format!("{}{}{unit}", if text.is_empty() { "" } else { " " }, rest / size);
            rest %= size;
        }
    }
    match (text.is_empty(), ms < 0) {
        (true, _) => "0s".into(),
        (false, true) => format!("-{text}"),
        (false, false) => text,
    }
}

/// What a case's moments count from.
#[derive(Clone, Copy)]
struct Begin {
    /// Milliseconds since 1970 UTC.
    wall_ms: i64,
    /// As clocks on the wall show it.
    local: DateTime,
}

impl Begin {
    fn read(text: &str) -> Option<Self> {
        let wall_ms = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
        let pieces = Pieces::parse(text).ok()?;
        Some(Self { wall_ms, local: pieces.date().to_datetime(pieces.time()?) })
    }

    /// `1h 30m` after the start, or `1d 05:00`: that time of a day, counted from the day of the start.
    fn moment(self, text: &str) -> Result<u64, String> {
        let (mut ms, mut clock) = (0_u64, None);
        for piece in text.split_whitespace() {
            match clock_time(piece) {
                Some(time) if clock.is_none() => clock = Some(time),
                Some(_) => return Err(format!("{text:?} has two times of a day")),
                None => {
                    let more = u64::try_from(duration(piece)?.as_millis()).unwrap_or(u64::MAX);
                    ms = ms.saturating_add(more);
                }
            }
        }
        if let Some(clock) = clock {
            let since = self.local.date().to_datetime(clock).duration_since(self.local).as_millis();
            let since = i64::try_from(since).unwrap_or(i64::MIN).saturating_add_unsigned(ms);
            ms = u64::try_from(since).map_err(|_| format!("{text:?} is before the start"))?;
        }
        match ms > LENGTH_MAX_MS || text.trim().is_empty() {
            true => Err(format!("{text:?} is no moment within a year of the start")),
            false => Ok(ms),
        }
    }
}

fn clock_time(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let mut next = || parts.next().map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = (next()??, next()??, next().unwrap_or(Some(0))?);
    Time::new(hour, minute, second, 0).ok().filter(|_| text.split(':').count() <= 3)
}

impl File {
    /// Reads a case file that lies at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with its cases, at once.
    pub fn read(path: &Path, text: String) -> Result<Self, Vec<Fault>> {
        let (table, errors) = DeTable::parse_recoverable(&text);
        let mut reader = Reader::new(path, &text);
        for error in errors.iter().take(1) {
            reader.fault(error.span().unwrap_or_default(), error.message(), "valid TOML: https://toml.io");
        }
        let table = table.get_ref();
        let mut rules = Vec::new();
        let mut cases = Vec::new();
        if let Some(listed) = table.get("rules") {
            let dir = path.parent().unwrap_or(Path::new(""));
            rules = texts(listed, &mut reader).into_iter().map(|name| dir.join(name)).collect();
        } else if errors.is_empty() {
            rules.extend(beside(path));
        }
        match table.get("case").map(|listed| (listed, listed.get_ref())) {
            Some((listed, DeValue::Array(items))) if items.len() > CASES_MAX => {
                reader.fault(listed.span(), format!("{} cases", items.len()), "at most 1000: make two files");
            }
            Some((_, DeValue::Array(items))) => {
                cases = items.iter().filter_map(|item| case(item, &mut reader)).collect();
            }
            Some((other, _)) => reader.fault(other.span(), "no list of cases", "each begins with [[case]]"),
            None if errors.is_empty() => reader.fault(0..0, "no cases", "one or more [[case]]"),
            None => {}
        }
        let faults = reader.done();
        match faults.is_empty() {
            true => Ok(Self { path: path.to_owned(), rules, cases, text }),
            false => Err(faults),
        }
    }
}

/// `doors.toml` of `doors.test.toml`.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(".test.toml")?;
    Some(path.with_file_name(format!("{name}.toml")))
}

fn texts(node: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Vec<String> {
    let DeValue::Array(items) = node.get_ref() else {
        reader.fault(node.span(), "no list", "a list of texts: [\"…\", \"…\"]");
        return Vec::new();
    };
    let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    let read: Vec<String> = items.iter().filter_map(text).collect();
    if read.len() < items.len() {
        reader.fault(node.span(), "something else than texts", "a list of texts: [\"…\", \"…\"]");
    }
    read
}

fn case(node: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Case> {
    let mut fields = Fields::of(node, "[[case]]", reader)?;
    let name = fields.text("name", reader).unwrap_or_default();
    let start = fields.optional("start", reader, |text| Begin::read(text).ok_or("no moment in RFC 3339"));
    let begin = start.or_else(|| Begin::read(START))?;
    let alarms = fields.take("alarms").map(|node| texts(node, reader));
    let mut steps: Vec<Doing> =
        fields.list("steps", STEPS_MAX, reader, |node, reader| doing(node, begin, reader));
    // What is said at one moment keeps its order.
    steps.sort_by_key(|doing| doing.at_ms);
    let last_ms = steps.last().map_or(0, |doing| doing.at_ms);
    let until_ms = fields.optional("until", reader, |text| begin.moment(text)).unwrap_or(last_ms);
    let mut of = |key: &str, read: fn(&mut Fields<'_>, &mut Reader<'_>) -> Option<What>| {
        let there = fields.has(key);
        let list = fields.list(key, STEPS_MAX, reader, |node, reader| happening(node, begin, reader, read));
        there.then_some(list)
    };
    let expect = of("expect", change).unwrap_or_default();
    let (notices, runs) = (of("expect_notices", notice), of("expect_runs", run));
    fields.end(reader);
    let (line, start_ms) = (reader.line(node.span().start), begin.wall_ms);
    Some(Case { name, line, start_ms, steps, until_ms: until_ms.max(last_ms), alarms, expect, notices, runs })
}

fn doing(node: &Spanned<DeValue<'_>>, begin: Begin, reader: &mut Reader<'_>) -> Option<Doing> {
    let mut fields = Fields::of(node, "a step", reader)?;
    let at_ms = fields.needed("at", reader, |text| begin.moment(text));
    let deed = if fields.has("order") {
        order(&mut fields, reader)
    } else if fields.has("maintain") {
        let devices = fields.text("maintain", reader);
        let for_ms = fields.needed("for", reader, |text| begin.moment(text));
        devices.zip(for_ms).map(|(devices, for_ms)| Deed::Maintain { devices, for_ms })
    } else if let Some(node) = fields.take("restart") {
        flag(node, reader).and_then(|is| is.then_some(Deed::Restart))
    } else {
        let device = fields.needed("device", reader, |text| text.parse::<DeviceId>());
        match (fields.take("online"), device) {
            (Some(node), device) => {
                device.zip(flag(node, reader)).map(|(device, online)| Deed::Presence { device, online })
            }
            (None, device) => said(&mut fields, begin, device, reader),
        }
    };
    fields.end(reader);
    at_ms.zip(deed).map(|(at_ms, deed)| Doing { at_ms, deed })
}

fn order(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<Deed> {
    let step = fields.needed("order", reader, ordered);
    let alarm = fields.needed("alarm", reader, |text| text.parse::<LineId>());
    let device = fields.needed("device", reader, |text| text.parse::<DeviceId>());
    let reason = fields.optional("reason", reader, |text| Ok::<_, String>(text.to_owned()));
    Some(Deed::Order { step: step?, alarm: alarm?, device: device?, reason: reason.unwrap_or_default() })
}

fn ordered(verb: &str) -> Result<Step, &'static str> {
    let found = ORDERS.iter().find(|(known, _)| *known == verb).map(|(_, step)| *step);
    found.ok_or("an order is confirm, dispatch, handle, close or note")
}

/// The keys that are left are metrics.
fn said(
    fields: &mut Fields<'_>,
    begin: Begin,
    device: Option<DeviceId>,
    reader: &mut Reader<'_>,
) -> Option<Deed> {
    let retained = fields.take("retained").and_then(|node| flag(node, reader)).unwrap_or(false);
    let time_ms = fields.optional("time", reader, |text| begin.moment(text)).map(u64::cast_signed);
    let mut values = Vec::new();
    for (key, name, node) in fields.rest() {
        let value = value(node);
        match (name.parse::<Metric>(), value) {
            (Ok(metric), Some(value)) => values.push((metric, value)),
            (Err(error), _) => reader.fault(key, error.to_string(), "the name of a metric"),
            (_, None) => reader.fault(node.span(), "no value of a device", "true, a number or a text"),
        }
    }
    Some(Deed::Say { device: device?, values, retained, time_ms })
}

fn value(node: &Spanned<DeValue<'_>>) -> Option<Value> {
    let number = |text: &str| {
        let plain = text.strip_prefix('+').unwrap_or(text);
        Decimal::from_str_exact(plain).or_else(|_| Decimal::from_scientific(plain)).ok().map(Value::Number)
    };
    match node.get_ref() {
        DeValue::Boolean(flag) => Some(Value::Flag(*flag)),
        DeValue::Integer(digits) if digits.radix() == 10 => number(digits.as_str()),
        DeValue::Float(digits) => number(digits.as_str()),
        DeValue::String(text) => Some(Value::Text(text.as_ref().into())),
        _ => None,
    }
}

fn flag(node: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<bool> {
    let DeValue::Boolean(flag) = node.get_ref() else {
        reader.fault(node.span(), "no flag", "true or false");
        return None;
    };
    Some(*flag)
}

fn happening(
    node: &Spanned<DeValue<'_>>,
    begin: Begin,
    reader: &mut Reader<'_>,
    read: fn(&mut Fields<'_>, &mut Reader<'_>) -> Option<What>,
) -> Option<Happening> {
    let mut fields = Fields::of(node, "what is expected", reader)?;
    let at_ms = fields.needed("at", reader, |text| begin.moment(text)).map(u64::cast_signed);
    let what = read(&mut fields, reader);
    fields.end(reader);
    at_ms.zip(what).map(|(at_ms, what)| Happening { at_ms, what })
}

fn change(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<What> {
    let device = fields.needed("device", reader, |text| text.parse::<DeviceId>());
    if fields.has("lost") {
        let loss = fields.needed("lost", reader, |text| {
            Loss::ALL.into_iter().find(|loss| loss.as_str() == text).ok_or("no such loss")
        });
        let metric = fields.needed("metric", reader, |text| text.parse::<Metric>());
        return Some(What::Lost { loss: loss?, device: device?, metric: metric? });
    }
    let alarm = fields.needed("alarm", reader, |text| text.parse::<LineId>());
    if fields.has("refused") {
        let step = fields.needed("refused", reader, ordered);
        return Some(What::Refused { alarm: alarm?, device: device?, step: step? });
    }
    let step = fields.needed("step", reader, step);
    Some(What::Step { alarm: alarm?, device: device?, step: step? })
}

fn notice(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<What> {
    let recipient = fields.needed("recipient", reader, |text| text.parse::<LineId>());
    let alarm = fields.needed("alarm", reader, |text| text.parse::<LineId>());
    let step = fields.needed("step", reader, step);
    Some(What::Notice { recipient: recipient?, alarm: alarm?, step: step? })
}

fn run(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<What> {
    let command = fields.needed("command", reader, |text| text.parse::<LineId>());
    let stage = fields.needed("stage", reader, |text| {
        STAGES.iter().find(|(name, _)| *name == text).map(|(_, stage)| *stage).ok_or("no such stage")
    });
    Some(What::Run { command: command?, stage: stage? })
}

fn step(text: &str) -> Result<Step, String> {
    Step::named(text).ok_or_else(|| {
        format!("{text:?} is no step of an incident: {}", Step::ALL.map(|step| step.as_str()).join(", "))
    })
}

/// Where something stands in a file.
pub(super) type Place = Range<usize>;

#[cfg(test)]
mod tests;
