//! The protobuf form of Sparkplug B payloads (specification 3.0, §6.4), as far as readings need it.
//!
//! Templates, data sets, files, properties and extensions are skipped. Metrics are decoded one by one, so that a payload of
//! many small ones costs no more memory than the bytes it is of.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use rust_decimal::Decimal;

use super::{Metric, NAMES_MAX, Payload, ProfileError, Told, bounded};
use crate::model::Value;

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::codec::profile) struct WirePayload {
    /// Milliseconds since 1970 UTC.
    #[prost(uint64, optional, tag = "1")]
    pub(in crate::codec::profile) timestamp: Option<u64>,
    /// Each a [`WireMetric`].
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(in crate::codec::profile) metrics: Vec<Bytes>,
    #[prost(uint64, optional, tag = "3")]
    pub(in crate::codec::profile) seq: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::codec::profile) struct WireMetric {
    #[prost(string, optional, tag = "1")]
    pub(in crate::codec::profile) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(in crate::codec::profile) alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(in crate::codec::profile) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub(in crate::codec::profile) datatype: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub(in crate::codec::profile) is_historical: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(in crate::codec::profile) is_null: Option<bool>,
    #[prost(uint32, optional, tag = "10")]
    pub(in crate::codec::profile) int_value: Option<u32>,
    #[prost(uint64, optional, tag = "11")]
    pub(in crate::codec::profile) long_value: Option<u64>,
    #[prost(float, optional, tag = "12")]
    pub(in crate::codec::profile) float_value: Option<f32>,
    #[prost(double, optional, tag = "13")]
    pub(in crate::codec::profile) double_value: Option<f64>,
    #[prost(bool, optional, tag = "14")]
    pub(in crate::codec::profile) boolean_value: Option<bool>,
    #[prost(string, optional, tag = "15")]
    pub(in crate::codec::profile) string_value: Option<String>,
}

impl fmt::Debug for WirePayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WirePayload({} metrics)", self.metrics.len())
    }
}

impl fmt::Debug for WireMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireMetric")
    }
}

/// Number of the type of flags.
const BOOLEAN: u32 = 11;

/// A command of one metric, `Node Control/Rebirth`.
pub(super) fn rebirth(now_ms: i64) -> Vec<u8> {
    let timestamp = u64::try_from(now_ms).ok();
    let metric = WireMetric {
        name: Some("Node Control/Rebirth".to_owned()),
        timestamp,
        datatype: Some(BOOLEAN),
        boolean_value: Some(true),
        ..WireMetric::default()
    };
    WirePayload { timestamp, metrics: vec![metric.encode_to_vec().into()], seq: None }.encode_to_vec()
}

pub(super) fn read(bytes: &[u8]) -> Result<Payload, ProfileError> {
    // An empty payload is a protobuf message too, but no sender has nothing to say.
    if bytes.is_empty() {
        return Err(ProfileError::Protobuf);
    }
    let payload = WirePayload::decode(bytes).map_err(|_| ProfileError::Protobuf)?;
    let beyond = payload.metrics.len().saturating_sub(NAMES_MAX) as u64;
    let metrics = payload.metrics.into_iter().take(NAMES_MAX);
    let metrics = metrics.map(|bytes| WireMetric::decode(bytes).map(metric));
    Ok(Payload {
        timestamp: payload.timestamp.and_then(|ms| i64::try_from(ms).ok()),
        seq: payload.seq,
        metrics: metrics.collect::<Result<_, _>>().map_err(|_| ProfileError::Protobuf)?,
        beyond,
    })
}

fn metric(wire: WireMetric) -> Metric {
    let value = match &wire {
        WireMetric { is_null: Some(true), .. } => Told::Null,
        WireMetric { boolean_value: Some(flag), .. } => Told::Value(Value::Flag(*flag)),
        WireMetric { int_value: Some(bits), .. } => Told::Bits(u64::from(*bits)),
        WireMetric { long_value: Some(bits), .. } => Told::Bits(*bits),
        // The shortest decimal that is this float and no other.
        WireMetric { float_value: Some(float), .. } => decimal(*float, float.is_finite()),
        WireMetric { double_value: Some(double), .. } => decimal(*double, double.is_finite()),
        _ => match wire.string_value {
            Some(text) => bounded(text),
            None => Told::Other,
        },
    };
    Metric {
        name: wire.name,
        alias: wire.alias,
        timestamp: wire.timestamp.and_then(|ms| i64::try_from(ms).ok()),
        datatype: wire.datatype,
        historical: wire.is_historical == Some(true),
        value,
    }
}

fn decimal(float: impl fmt::Display, finite: bool) -> Told {
    if !finite {
        return Told::Null;
    }
    match Decimal::from_str_exact(&float.to_string()) {
        Ok(number) => Told::Value(Value::Number(number)),
        Err(_) => Told::Other,
    }
}

/// Names of the types by their numbers (specification 3.0, §6.4.16).
const DATATYPES: [&str; 20] = [
    "Unknown", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float", "Double",
    "Boolean", "String", "DateTime", "Text", "UUID", "DataSet", "Bytes", "File", "Template",
];

/// The number of a type; none of those that no reading has.
pub(super) fn datatype(name: &str) -> Option<u32> {
    let at = DATATYPES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    u32::try_from(at).ok().filter(|at| *at > 0)
}

/// An integer from its bits; none when the type is none of integers, or has fewer bits than were sent.
pub(super) fn integer(bits: u64, datatype: u32) -> Option<Decimal> {
    let signed = |width: u32| {
        // Some senders extend the sign to 32 bits, some do not.
        let shift = 64 - width;
        let kept = (bits << shift).cast_signed() >> shift;
        let high = bits >> width;
        let extended = kept < 0 && high == u64::from(u32::MAX) >> width;
        (high == 0 || extended).then(|| Decimal::from(kept))
    };
    match datatype {
        1 => signed(8),
        2 => signed(16),
        3 => (bits <= u64::from(u32::MAX)).then(|| Decimal::from((bits << 32).cast_signed() >> 32)),
        4 => Some(Decimal::from(bits.cast_signed())),
        5 => u8::try_from(bits).ok().map(Decimal::from),
        6 => u16::try_from(bits).ok().map(Decimal::from),
        7 => u32::try_from(bits).ok().map(Decimal::from),
        8 | 13 => Some(Decimal::from(bits)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_the_sign_of_their_type() {
        for (bits, name, expected) in [
            (0xFF, "Int8", Some("-1")),
            (0xFFFF_FFFF, "Int8", Some("-1")),
            (0x7F, "Int8", Some("127")),
            (0x100, "Int8", None),
            (0xFFFF_8000, "Int16", Some("-32768")),
            (0x8000, "Int16", Some("-32768")),
            (0xFFFF_FFFE, "Int32", Some("-2")),
            (0x1_0000_0000, "Int32", None),
            (u64::MAX, "Int64", Some("-1")),
            (255, "UInt8", Some("255")),
            (256, "UInt8", None),
            (u64::from(u32::MAX), "UInt32", Some("4294967295")),
            (u64::MAX, "UInt64", Some("18446744073709551615")),
            (1_486_144_502_122, "DateTime", Some("1486144502122")),
            (1, "Boolean", None),
        ] {
            let datatype = datatype(name).expect("a type");
            let got = integer(bits, datatype).map(|number| number.to_string());
            assert_eq!(got.as_deref(), expected, "{bits:x} {name}");
        }
    }
}
