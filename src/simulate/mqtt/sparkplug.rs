//! A Sparkplug B edge node and its devices (specification 3.0): births, data by alias, a will with its `bdSeq`, rebirth.
//!
//! The payloads are this file's own protobuf types (§6.4.1), with the value as the `oneof` that it is. Publishes are QoS 1
//! where the specification has 0, so that each is acknowledged. One metric in eight is told as null.

use prost::{Message as _, Oneof};

use super::convention::{CONVENTION, Convention, Speaker, things};
use super::said::{Message, Told, quoted};
use super::thing::{Thing, float};
use crate::codec::profile::Kind;

const GROUP: &str = "compound";
const NODE: &str = "node-1";
const REBIRTH: &str = "Node Control/Rebirth";

/// One node with all devices, `compound/node-1/meter-1` and on.
pub(super) const SPARKPLUG_B: Convention = Convention {
    name: "sparkplug_b",
    noun: "meter",
    bridge: Some(NODE),
    cast: |convention, seed, devices| {
        let things = things(convention.noun, seed, devices);
        vec![Box::new(Node { things, seq: 0, bd_seq: None, uptime: 0 })]
    },
    ..CONVENTION
};

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    /// Milliseconds since 1970 UTC.
    #[prost(uint64, optional, tag = "1")]
    timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    seq: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    datatype: Option<u32>,
    #[prost(bool, optional, tag = "7")]
    is_null: Option<bool>,
    #[prost(oneof = "Of", tags = "10, 11, 12, 13, 14, 15")]
    value: Option<Of>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Of {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    Text(String),
}

/// A metric as the node knows it.
struct Known {
    name: &'static str,
    /// Within its device.
    alias: u64,
    /// §6.4.16.
    datatype: u32,
    value: Of,
    /// The value as JSON.
    told: String,
}

/// The edge node.
struct Node {
    things: Vec<Thing>,
    /// Of the next message.
    seq: u64,
    /// Of the present birth and its will.
    bd_seq: Option<u64>,
    uptime: u64,
}

/// Aliases of each device begin at a multiple of this; those of the node at 0.
const ALIASES: u64 = 100;

impl Node {
    /// The next message of the node or of a device: metrics, each with its value as JSON if it is a reading.
    fn message(
        &mut self,
        kind: &str,
        of: Option<usize>,
        metrics: Vec<(Metric, Option<String>)>,
        now_ms: i64,
    ) -> Message {
        let device = of.map(|index| format!("/{}", self.things[index].name)).unwrap_or_default();
        let whose = format!("{GROUP}/{NODE}{device}");
        let told = metrics.iter().filter_map(|(metric, value)| {
            let time_ms = metric.timestamp.map(u64::cast_signed).or(Some(now_ms));
            Some(Told { time_ms, ..Told::new(&whose, metric.name.clone()?, value.as_ref()?) })
        });
        let readings = told.collect();
        let born = kind.ends_with("BIRTH");
        let metrics = metrics.into_iter().map(|(mut metric, _)| {
            // Births give names and types to what data then calls by alias.
            if !born && metric.alias.is_some() {
                (metric.name, metric.datatype) = (None, None);
            }
            metric
        });
        let payload = Payload {
            timestamp: u64::try_from(now_ms).ok(),
            metrics: metrics.collect(),
            seq: Some(self.seq),
        };
        self.seq = (self.seq + 1) % 256;
        let topic = format!("spBv1.0/{GROUP}/{kind}/{NODE}{device}");
        let kind = if born { Kind::Birth } else { Kind::Data };
        let mut message = Message::new(kind, topic, payload.encode_to_vec());
        message.said.readings = readings;
        message
    }

    fn bd_seq(&self) -> Metric {
        Metric {
            name: Some("bdSeq".into()),
            datatype: Some(8),
            value: Some(Of::Long(self.bd_seq.unwrap_or(0))),
            ..Metric::default()
        }
    }

    /// All births; the sequence begins anew.
    fn births(&mut self, now_ms: i64) -> Vec<Message> {
        self.seq = 0;
        let control = Metric {
            name: Some(REBIRTH.into()),
            datatype: Some(11),
            value: Some(Of::Boolean(false)),
            ..Metric::default()
        };
        let uptime = self.uptime();
        let metrics = vec![(self.bd_seq(), None), (control, Some("false".into())), uptime];
        let mut messages = vec![self.message("NBIRTH", None, metrics, now_ms)];
        for index in 0..self.things.len() {
            let metrics = measured(&mut self.things[index], now_ms);
            messages.push(self.message("DBIRTH", Some(index), metrics, now_ms));
        }
        messages
    }

    fn uptime(&mut self) -> (Metric, Option<String>) {
        self.uptime += 1;
        let metric = Metric {
            name: Some("Uptime".into()),
            alias: Some(0),
            datatype: Some(7),
            // UInt32 (§6.4.16) is carried in the int, 64 bits in the long.
            value: Some(Of::Int(u32::try_from(self.uptime).unwrap_or(u32::MAX))),
            ..Metric::default()
        };
        (metric, Some(self.uptime.to_string()))
    }

    fn death(&self, now_ms: i64) -> Message {
        let payload = Payload {
            timestamp: u64::try_from(now_ms).ok(),
            metrics: vec![self.bd_seq()],
            // A death is written before anybody knows what else will have been said.
            seq: None,
        };
        let topic = format!("spBv1.0/{GROUP}/NDEATH/{NODE}");
        let mut message = Message::new(Kind::Death, topic, payload.encode_to_vec());
        message.said.online = Some(false);
        message
    }
}

/// What a device measures, with its value as JSON; none where it is null.
fn measured(thing: &mut Thing, now_ms: i64) -> Vec<(Metric, Option<String>)> {
    let (centi, power, energy) = (thing.centi(), thing.below(4_000) - 1_000, thing.energy_wh());
    let (open, signal) = (thing.flip(), -30 - thing.below(90));
    let word = if open { "OPEN" } else { "CLOSED" };
    let (celsius, kilowatt_hours) = (centi as f32 / 100.0, energy as f64 / 1_000.0);
    let int = |value: i64| Of::Int((value as i32).cast_unsigned());
    let known = |name, alias, datatype, value, told| Known { name, alias, datatype, value, told };
    let all = [
        known("Temperature", 1, 9, Of::Float(celsius), float(centi, 2)),
        known("Power", 2, 3, int(power), power.to_string()),
        known("Energy/Total", 3, 10, Of::Double(kilowatt_hours), float(energy, 3)),
        known("Energy/Pulses", 4, 8, Of::Long(energy.cast_unsigned()), energy.to_string()),
        known("Door/Open", 5, 11, Of::Boolean(open), open.to_string()),
        known("Door/State", 6, 12, Of::Text(word.into()), quoted(word)),
        known("Signal", 7, 1, int(signal), signal.to_string()),
    ];
    let first = ALIASES * (thing.index as u64 + 1);
    let mut metrics = vec![];
    for Known { name, alias, datatype, value, told } in all {
        let null = thing.below(8) == 0;
        let metric = Metric {
            name: Some(name.into()),
            alias: Some(first + alias),
            timestamp: u64::try_from(now_ms).ok(),
            datatype: Some(datatype),
            is_null: null.then_some(true),
            value: Some(value).filter(|_| !null),
        };
        metrics.push((metric, Some(told).filter(|_| !null)));
    }
    metrics
}

impl Speaker for Node {
    fn name(&self) -> &str {
        NODE
    }

    /// Each connection has a `bdSeq` of its own, from 0 to 255 and round.
    fn will(&mut self, now_ms: i64) -> Option<Message> {
        self.bd_seq = Some(self.bd_seq.map_or(0, |seq| (seq + 1) % 256));
        Some(self.death(now_ms))
    }

    fn filters(&self) -> Vec<String> {
        vec![format!("spBv1.0/{GROUP}/NCMD/{NODE}")]
    }

    fn hello(&mut self, now_ms: i64) -> Vec<Message> {
        self.births(now_ms)
    }

    fn say(&mut self, now_ms: i64) -> Vec<Message> {
        let uptime = self.uptime();
        let mut messages = vec![self.message("NDATA", None, vec![uptime], now_ms)];
        for index in 0..self.things.len() {
            self.things[index].round += 1;
            // Reported by exception: not everything every time.
            let mut metrics = measured(&mut self.things[index], now_ms);
            let first = self.things[index].round as usize % metrics.len();
            metrics.rotate_left(first);
            metrics.truncate(4);
            messages.push(self.message("DDATA", Some(index), metrics, now_ms));
        }
        messages
    }

    fn hear(&mut self, topic: &str, payload: &[u8], now_ms: i64) -> Option<Vec<Message>> {
        let command = Payload::decode(payload).ok()?;
        let asked = |metric: &Metric| {
            metric.name.as_deref() == Some(REBIRTH) && metric.value == Some(Of::Boolean(true))
        };
        let wanted = self.filters().iter().any(|own| own == topic) && command.metrics.iter().any(asked);
        wanted.then(|| self.births(now_ms))
    }

    fn goodbye(&mut self, now_ms: i64) -> Vec<Message> {
        vec![self.death(now_ms)]
    }
}
