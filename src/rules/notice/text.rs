//! What a message says: one line of text from a recipient's fields.

use std::fmt::Write;

use jiff::Timestamp;

use super::{Field, Recipient, words};
use crate::model::{Event, Value};
use crate::rules::plan::Alarm;

/// Longest text, bytes of UTF-8; what is longer is cut and ends in `…`.
pub const TEXT_BYTES_MAX: usize = 1000;
/// Longest title in it, bytes: however long it is, the rest is told too.
const TITLE_BYTES_MAX: usize = 200;

/// The text about an event, with only the recipient's fields, in its language. `alarm` is the one of the configuration; without
/// one the id stands in for the title. `zone_ms` is the gateway's zone, milliseconds east of UTC.
///
/// 【重要】门长开未关 · 告警 · 2026-10-01 22:05 · B3/lobby · 设备 door-1 · 建议：到现场查看并关门
#[must_use]
pub fn text(recipient: &Recipient, alarm: Option<&Alarm>, event: &Event, zone_ms: i64) -> String {
    let english = recipient.english;
    let has = |field| recipient.fields.contains(&field);
    let mut parts = Vec::new();
    let mut head = String::new();
    if has(Field::Severity) {
        let word = words::severity(event.severity, english);
        let _ = if english { write!(head, "[{word}] ") } else { write!(head, "【{word}】") };
    }
    if has(Field::Alarm) {
        let title = alarm.map_or(event.alarm.as_str(), |alarm| &alarm.title);
        head.push_str(&cut(&plain(title), TITLE_BYTES_MAX));
    }
    parts.push(head.trim_end().to_owned());
    if has(Field::State) {
        parts.push(words::state(event.step, &event.by, english));
    }
    if has(Field::Time) {
        parts.push(time(event.at_ms, zone_ms));
    }
    if let Some(place) = event.place.as_ref().filter(|_| has(Field::Place)) {
        parts.push(place.to_string());
    }
    if let Some(device) = event.device.as_ref().filter(|_| has(Field::Device)) {
        parts.push(format!("{} {device}", if english { "device" } else { "设备" }));
    }
    if let Some(value) = value(event, english).filter(|_| has(Field::Value)) {
        parts.push(plain(&value));
    }
    let advice = alarm.map(|alarm| plain(&alarm.advice)).filter(|advice| !advice.is_empty());
    if let Some(advice) = advice.filter(|_| has(Field::Advice)) {
        parts.push(if english { format!("do: {advice}") } else { format!("建议：{advice}") });
    }
    parts.retain(|part| !part.is_empty());
    cut(&parts.join(" · "), TEXT_BYTES_MAX)
}

/// The value with its metric and unit; none of what is text, which may be anything.
fn value(event: &Event, english: bool) -> Option<String> {
    let value = match event.value.as_ref()? {
        Value::Number(number) => number.to_string(),
        Value::Flag(true) => if english { "yes" } else { "是" }.to_owned(),
        Value::Flag(false) => if english { "no" } else { "否" }.to_owned(),
        Value::Text(_) => return None,
    };
    Some(format!("{} {value} {}", event.metric, event.unit).trim_end().to_owned())
}

/// `2026-10-01 22:05` in the gateway's zone; empty of what no calendar has.
fn time(at_ms: i64, zone_ms: i64) -> String {
    let local = Timestamp::from_millisecond(at_ms.saturating_add(zone_ms));
    local.map(|local| local.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default()
}

/// One line: what is no character to see becomes a space.
fn plain(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() || "\u{2028}\u{2029}".contains(c) { ' ' } else { c });
    plain.collect::<String>().trim().to_owned()
}

/// At most so many bytes, whole characters.
fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(MARK.len()));
    format!("{}{MARK}", &text[..end])
}
