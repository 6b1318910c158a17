//! SenML in JSON (RFC 8428): records whose names, times, units and values have a base.
//!
//! A record's name is `bn` and `n` together (§4.5.1). Here `bn` without a separator at its end is the device and `n` the
//! metric; without `n` the metric is `value`, without `bn` it is what stands behind the last separator of `n`. Times below
//! 2^28 are relative to the receive time (§4.5.3). A record with a field that has to be understood and is not (`…_`, §4.4),
//! or with a name that is none (§4.5.1), is ignored and counted; so is data (`vd`).

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::node::Node;
use super::topic::Captures;
use super::{Mapped, Message, ProfileError, Reading, State};
use crate::model::Value;

/// Versions of the format that are known (RFC 8428 §4.4).
const VERSION_MAX: i64 = 10;
/// Smaller times are relative, seconds (RFC 8428 §4.5.3).
const ABSOLUTE_FROM_S: i64 = 1 << 28;

/// What holds for a record and those behind it.
#[derive(Default)]
struct Base {
    name: String,
    time: Option<Decimal>,
    unit: Option<String>,
    value: Option<Decimal>,
    sum: Option<Decimal>,
}

pub(super) fn read(
    message: &Message<'_>,
    _: &Captures<'_>,
    _: &mut State,
    mapped: &mut Mapped,
) -> Result<(), ProfileError> {
    let node = Node::parse(message.payload)?;
    let Node::Items(records) = &node else { return Err(ProfileError::Shape("a senml pack is an array")) };
    let mut base = Base::default();
    for record in records {
        if decimal(record, "bver").is_some_and(|version| version > Decimal::from(VERSION_MAX)) {
            return Err(ProfileError::Version);
        }
        base.take(record);
        if record.members().is_none_or(|members| members.keys().any(|field| field.ends_with('_'))) {
            mapped.ignored += 1;
            continue;
        }
        resolve(&base, record, message, mapped);
    }
    let first = mapped.readings.first();
    if first.is_some_and(|first| mapped.readings.iter().all(|reading| reading.device == first.device)) {
        mapped.device = first.and_then(|first| first.device.clone());
    }
    mapped.stamp_by_readings();
    Ok(())
}

impl Base {
    fn take(&mut self, record: &Node<'_>) {
        if let Some(name) = record.get("bn").and_then(text) {
            self.name = name;
        }
        if let Some(unit) = record.get("bu").and_then(text) {
            self.unit = Some(unit);
        }
        self.time = decimal(record, "bt").or(self.time);
        self.value = decimal(record, "bv").or(self.value);
        self.sum = decimal(record, "bs").or(self.sum);
    }
}

fn resolve(base: &Base, record: &Node<'_>, message: &Message<'_>, mapped: &mut Mapped) {
    let sum = plus(decimal(record, "s"), base.sum).map(Value::Number);
    let value = ["v", "vb", "vs"].into_iter().find_map(|field| match record.get(field)?.value() {
        Ok(Some(Value::Number(number))) if field == "v" => plus(Some(number), base.value).map(Value::Number),
        Ok(Some(value @ Value::Flag(_))) if field == "vb" => Some(value),
        Ok(Some(value @ Value::Text(_))) if field == "vs" => Some(value),
        _ => None,
    });
    let told = ["v", "vb", "vs", "vd", "s"].into_iter().any(|field| record.get(field).is_some());
    let own = record.get("n").and_then(text).unwrap_or_default();
    let names = names(&base.name, &own).filter(|_| value.is_some() || sum.is_some());
    let Some((device, metric)) = names else {
        // A record of nothing but base fields is none.
        mapped.ignored += u64::from(told);
        return;
    };
    let unit = record.get("u").and_then(text).or_else(|| base.unit.clone());
    let time_ms = match plus(decimal(record, "t"), base.time) {
        Some(time) => {
            let time_ms = absolute(time, message.received_ms);
            mapped.time_unreadable |= time_ms.is_none();
            time_ms
        }
        None => None,
    };
    let sum_name = format!("{metric}.sum");
    // A sum is in the record's unit times seconds (RFC 8428 §4.3), for which there is no name.
    for (metric, value, unit) in [(metric, value, unit), (&sum_name, sum, None)] {
        let Some(value) = value else { continue };
        let numeric = matches!(value, Value::Number(_));
        mapped.add(Reading {
            metric: metric.into(),
            value,
            unit: unit.filter(|_| numeric).map(Into::into),
            device: device.map(Into::into),
            time_ms,
            event: false,
            canonical: None,
            was_text: false,
        });
    }
}

/// Milliseconds since 1970 UTC; none beyond their range. Zero is now.
fn absolute(time_s: Decimal, received_ms: i64) -> Option<i64> {
    let ms = time_s.checked_mul(Decimal::ONE_THOUSAND)?.floor().to_i64()?;
    if time_s < Decimal::from(ABSOLUTE_FROM_S) { received_ms.checked_add(ms) } else { Some(ms) }
}

const SEPARATORS: [char; 4] = [':', '/', '.', '-'];

/// Device and metric; none where they together are no name of a record.
fn names<'n>(base: &'n str, own: &'n str) -> Option<(Option<&'n str>, &'n str)> {
    let mut letters = base.chars().chain(own.chars());
    let good = |c: char| c.is_ascii_alphanumeric() || "-:./_".contains(c);
    if !letters.next().is_some_and(|first| first.is_ascii_alphanumeric()) || !letters.all(good) {
        return None;
    }
    let device = base.trim_end_matches(SEPARATORS);
    Some(match (device, own) {
        ("", own) => {
            own.rsplit_once([':', '/']).map_or((None, own), |(device, metric)| (Some(device), metric))
        }
        (device, "") => (Some(device), "value"),
        (device, own) => (Some(device), own.trim_start_matches(SEPARATORS)),
    })
}

fn text(node: &Node<'_>) -> Option<String> {
    match node.value() {
        Ok(Some(Value::Text(text))) => Some(text.into()),
        _ => None,
    }
}

fn decimal(record: &Node<'_>, field: &str) -> Option<Decimal> {
    match record.get(field)?.value() {
        Ok(Some(Value::Number(number))) => Some(number),
        _ => None,
    }
}

/// What is missing is zero, unless both are.
fn plus(a: Option<Decimal>, b: Option<Decimal>) -> Option<Decimal> {
    match (a, b) {
        (Some(a), Some(b)) => a.checked_add(b),
        (a, b) => a.or(b),
    }
}
