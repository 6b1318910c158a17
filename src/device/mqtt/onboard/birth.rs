//! Units of a Sparkplug B birth: the property `engUnit` of its metrics (specification 3.0, §6.4.5), which readings leave out.
//! Pure.
//!
//! Guarantees: any bytes give names with known units or nothing; no value is read.

use bytes::Bytes;
use prost::Message;

use super::words;

/// Names of the property that senders use for it.
const UNIT: [&str; 3] = ["engUnit", "EngUnit", "Engineering Units"];

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Payload {
    /// Each a [`Metric`].
    #[prost(bytes = "bytes", repeated, tag = "2")]
    metrics: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Metric {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(message, optional, tag = "9")]
    properties: Option<Properties>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Properties {
    #[prost(string, repeated, tag = "1")]
    keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    values: Vec<Property>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Property {
    #[prost(string, optional, tag = "8")]
    text: Option<String>,
}

/// Metrics with their units, at most `max`.
pub(super) fn units(payload: &[u8], max: usize) -> Vec<(String, &'static str)> {
    let Ok(payload) = Payload::decode(payload) else { return Vec::new() };
    let metrics = payload.metrics.into_iter().filter_map(|bytes| {
        let metric = Metric::decode(bytes).ok()?;
        let properties = metric.properties?;
        let mut named = properties.keys.iter().zip(properties.values);
        let (_, unit) = named.find(|(key, _)| UNIT.contains(&key.as_str()))?;
        Some((metric.name?, words::unit(&unit.text?)?))
    });
    metrics.take(max).collect()
}

/// A birth with one metric of each unit, for tests.
#[cfg(test)]
pub(super) fn born(units: &[(&str, &str)]) -> Vec<u8> {
    let metric = |(name, unit): &(&str, &str)| {
        let property = Property { text: Some((*unit).to_owned()) };
        let properties = Properties { keys: vec![UNIT[0].to_owned()], values: vec![property] };
        let mut bytes =
            Metric { name: Some((*name).to_owned()), properties: Some(properties) }.encode_to_vec();
        // A value: double, tag 13.
        bytes.push(13 << 3 | 1);
        bytes.extend(21.5_f64.to_le_bytes());
        Bytes::from(bytes)
    };
    Payload { metrics: units.iter().map(metric).collect() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_units_are_told_by_name() {
        let born = born(&[("Temp", "°C"), ("Secret", "13800138000"), ("P", "kW")]);
        assert_eq!(units(&born, 9), [("Temp".to_owned(), "Cel"), ("P".to_owned(), "kW")]);
        assert_eq!(units(&born, 1).len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = units(&bytes, 9);
        }
    }
}
