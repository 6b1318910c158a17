//! Answers of meters as texts for the person who asked.

use std::fmt::Write as _;

use rust_decimal::Decimal;

use super::target::Target;
use crate::codec::Item;
use crate::device::serial::Point;
use crate::device::serial::exchange::Content;
use crate::device::serial::point::{self, Withheld};
use crate::device::serial::question::Answer;
use crate::ingest;
use crate::model;
use crate::normalise::{Kind, Rule};
use crate::wire::bus::Value;

/// A value that is not there.
#[must_use]
pub fn none(name: &str, unit: &str, why: &str) -> Value {
    Value { name: name.into(), value: None, unit: unit.into(), why: why.into() }
}

/// A point of the configuration out of an answer: scaled, and in its unit. Its range is not asked: who stands in front of
/// the meter wants to see what it says.
#[must_use]
pub fn of_point(point: &Point, named: &ingest::Point, content: &Content) -> Value {
    let (name, unit) = (named.metric.as_str(), named.unit.as_str());
    match point::value(point, content).map(|value| scaled(&named.rule, value)) {
        Ok(Some(value)) => {
            Value { name: name.into(), value: Some(text(&value)), unit: unit.into(), why: String::new() }
        }
        Ok(None) => none(name, unit, "beyond the digits of a decimal"),
        Err(Withheld::Absent) => none(name, unit, "the meter has no value"),
        Err(Withheld::Missing) => {
            none(name, unit, "the answer does not hold it: check item, identifier and address")
        }
        Err(Withheld::Unit) => none(name, unit, "the meter sends a unit that does not convert to this one"),
    }
}

/// Everything that the answer to a target holds.
#[must_use]
pub fn of_target(target: &Target, content: &Content) -> Vec<Value> {
    match (content, &target.register) {
        (Content::Registers { data, .. }, Some((kind, name))) => {
            let value = kind.read(data, 0, &[]);
            vec![item(&Item { name: name.clone().into(), value, unit: "" })]
        }
        (Content::Items { items, .. }, _) => items.iter().map(item).collect(),
        (Content::Answer(Answer::Dlt645(answer)), _) => vec![data(&answer.data)],
        (Content::Answer(Answer::Cjt188(answer)), _) => {
            let address = Some(answer.address.to_string());
            let address = Value { name: "address".into(), value: address, ..Value::default() };
            let rest = Some(&answer.data).filter(|data| !data.is_empty());
            [address].into_iter().chain(rest.map(|bytes| data(bytes))).collect()
        }
        _ => Vec::new(),
    }
}

/// One item of an answer.
#[must_use]
pub fn item(item: &Item) -> Value {
    let why = if item.value.is_none() { "the meter has no value" } else { "" };
    Value {
        name: item.name.to_string(),
        value: item.value.as_ref().map(text),
        unit: item.unit.into(),
        why: why.into(),
    }
}

/// Bytes that no table knows, the lowest first as they came.
fn data(bytes: &[u8]) -> Value {
    let mut hex = String::new();
    for byte in bytes {
        write!(hex, "{byte:02x}").expect("a string takes everything");
    }
    Value { name: "data".into(), value: Some(hex), ..Value::default() }
}

/// What the meter's clock showed with an answer.
#[must_use]
pub fn clock(content: &Content) -> Option<String> {
    let Content::Items { clock_ms: Some(ms), .. } = content else { return None };
    let at = jiff::Timestamp::from_millisecond(*ms).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).datetime().to_string())
}

/// A value as people write it.
#[must_use]
pub fn text(value: &model::Value) -> String {
    match value {
        model::Value::Number(number) => number.to_string(),
        model::Value::Flag(flag) => flag.to_string(),
        model::Value::Text(text) => text.to_string(),
    }
}

/// Whether it is a text, which may say anything.
#[must_use]
pub fn is_text(value: &model::Value) -> bool {
    matches!(value, model::Value::Text(_))
}

/// A value as people write it, of the point's kind.
#[must_use]
pub fn parse(kind: Kind, text: &str) -> Option<model::Value> {
    Some(match (kind, text) {
        (Kind::Number, text) => model::Value::Number(Decimal::from_str_exact(text).ok()?),
        (Kind::Flag, "true" | "on" | "open" | "1") => model::Value::Flag(true),
        (Kind::Flag, "false" | "off" | "closed" | "0") => model::Value::Flag(false),
        (Kind::Flag, _) => return None,
        (Kind::Text, text) => model::Value::Text(text.into()),
    })
}

/// `value × scale + offset` of numbers; none beyond a decimal.
fn scaled(rule: &Rule, value: model::Value) -> Option<model::Value> {
    Some(match (rule.kind, value) {
        (Kind::Number, model::Value::Number(number)) => {
            model::Value::Number(number.checked_mul(rule.scale)?.checked_add(rule.offset)?)
        }
        (Kind::Flag, model::Value::Number(number)) if number.is_zero() => model::Value::Flag(false),
        (Kind::Flag, model::Value::Number(number)) if number == Decimal::ONE => model::Value::Flag(true),
        (_, value) => value,
    })
}
