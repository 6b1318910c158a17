//! A LoRaWAN device's own bytes: channels of a number, a type and a value, as door, leak and climate sensors send them.
//!
//! Two bytes name what follows and fix its length, so reading ends at the first pair that is not known; what is left is
//! counted. `20 CE` begins a record of the past: its time (seconds since 1970, 32 bits), temperature, humidity, and the
//! contact where the sensor has one.

use rust_decimal::Decimal;

use super::topic::Captures;
use super::{Mapped, Message, ProfileError, Reading, State};
use crate::model::Value;

pub(super) fn read(
    message: &Message<'_>,
    _: &Captures<'_>,
    _: &mut State,
    mapped: &mut Mapped,
) -> Result<(), ProfileError> {
    let mut rest = message.payload;
    while !rest.is_empty() {
        let Some(behind) = record(rest, mapped) else {
            mapped.ignored += 1;
            break;
        };
        rest = behind;
    }
    mapped.stamp_by_readings();
    Ok(())
}

/// Reads what stands in front; the bytes behind it, or none when it is not known or cut off.
fn record<'p>(bytes: &'p [u8], mapped: &mut Mapped) -> Option<&'p [u8]> {
    let (&[channel, kind], bytes) = bytes.split_first_chunk::<2>()?;
    let mut add = |metric, value, unit| add(mapped, metric, value, unit, None);
    Some(match (channel, kind, bytes) {
        (0x20, 0xCE, _) => return past(bytes, mapped),
        (0x01, 0x75, [percent, rest @ ..]) => {
            add("battery", number(i64::from(*percent), 0), Some("%"));
            rest
        }
        (0x03, 0x67, [low, high, rest @ ..]) => {
            add("temperature", tenths([*low, *high]), Some("Cel"));
            rest
        }
        (0x04, 0x68, [halves, rest @ ..]) => {
            add("humidity", half(*halves), Some("%RH"));
            rest
        }
        (0x05, 0x00, [leak, rest @ ..]) => {
            add("leakage_status", text(*leak, "normal", "leak"), None);
            rest
        }
        (0x03 | 0x06, 0x00, [open, rest @ ..]) => {
            add("magnet_status", text(*open, "closed", "open"), None);
            rest
        }
        (0x04, 0x00, [removed, rest @ ..]) => {
            add("tamper_status", text(*removed, "installed", "uninstalled"), None);
            rest
        }
        (0x03, 0x82, [low, high, rest @ ..]) => {
            add("distance", number(i64::from(u16::from_le_bytes([*low, *high])), 0), Some("mm"));
            rest
        }
        (0x07, 0x7D, [low, high, rest @ ..]) => {
            add("co2", number(i64::from(u16::from_le_bytes([*low, *high])), 0), Some("ppm"));
            rest
        }
        (0x09, 0x73, [low, high, rest @ ..]) => {
            add("pressure", number(i64::from(u16::from_le_bytes([*low, *high])), 1), Some("hPa"));
            rest
        }
        // About the device: version of the protocol, power on, class; of hardware, software, profile; serial number.
        (0xFF, 0x01 | 0x0B | 0x0F, [_, rest @ ..])
        | (0xFF, 0x09 | 0x0A | 0xFF, [_, _, rest @ ..])
        | (0xFF, 0x16, [_, _, _, _, _, _, _, _, rest @ ..]) => rest,
        _ => return None,
    })
}

/// A record of the past, without its two first bytes.
fn past<'p>(bytes: &'p [u8], mapped: &mut Mapped) -> Option<&'p [u8]> {
    let (&[t0, t1, t2, t3, low, high, halves], rest) = bytes.split_first_chunk::<7>()?;
    let time_ms = Some(i64::from(u32::from_le_bytes([t0, t1, t2, t3])) * 1000);
    add(mapped, "temperature", tenths([low, high]), Some("Cel"), time_ms);
    add(mapped, "humidity", half(halves), Some("%RH"), time_ms);
    mapped.history = true;
    // What begins with anything else is the next record, of a sensor without a contact.
    if let [open @ (0 | 1), rest @ ..] = rest {
        add(mapped, "magnet_status", text(*open, "closed", "open"), None, time_ms);
        return Some(rest);
    }
    Some(rest)
}

fn add(mapped: &mut Mapped, metric: &str, value: Value, unit: Option<&'static str>, time_ms: Option<i64>) {
    let canonical = match (metric, &value) {
        ("magnet_status", Value::Text(text)) if **text == *"open" => Some("door_open=true"),
        ("magnet_status", Value::Text(text)) if **text == *"closed" => Some("door_open=false"),
        ("leakage_status", Value::Text(text)) if **text == *"leak" => Some("water_leak=true"),
        ("leakage_status", Value::Text(text)) if **text == *"normal" => Some("water_leak=false"),
        _ => None,
    };
    mapped.add(Reading {
        metric: metric.into(),
        value,
        unit: unit.map(Into::into),
        device: None,
        time_ms,
        event: false,
        canonical,
        was_text: false,
    });
}

fn number(digits: i64, places: u32) -> Value {
    Value::Number(Decimal::new(digits, places))
}

fn tenths(bytes: [u8; 2]) -> Value {
    number(i64::from(i16::from_le_bytes(bytes)), 1)
}

/// Steps of one half.
fn half(halves: u8) -> Value {
    number(i64::from(halves) * 5, 1)
}

fn text(code: u8, zero: &str, one: &str) -> Value {
    match code {
        0 => Value::Text(zero.into()),
        1 => Value::Text(one.into()),
        other => Value::Text(format!("code {other}").into()),
    }
}
