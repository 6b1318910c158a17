//! Sparkplug B (specification 3.0): births define metrics, data names them by alias, numbers tell what is missing.
//!
//! The caller keeps one [`EdgeNode`] for each sender. Guarantees: it remembers at most [`NAMES_MAX`] metrics of names within
//! the bound of all names; a metric whose name or type it does not know is ignored and counted, and asks for a rebirth, and
//! so does a gap in the sequence. The JSON that the specification prints as an illustration is read as well.

mod wire;

#[cfg(test)]
pub(super) use wire::{WireMetric, WirePayload};

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::node::Node;
use super::topic::{Captures, capture, render};
use super::walk::name;
use super::{Kind, Mapped, Message, NAME_BYTES_MAX, ProfileError, Reading, State};
use crate::codec::json::{Epoch, TEXT_BYTES_MAX, moment};
use crate::model::Value;

/// Metrics that are remembered of one edge node and its devices.
pub const NAMES_MAX: usize = 2_048;

/// Name of the metric that pairs a death with its birth.
const BD_SEQ: &str = "bdSeq";

/// What a payload says, in either form.
struct Payload {
    timestamp: Option<i64>,
    seq: Option<u64>,
    metrics: Vec<Metric>,
    /// Metrics that were not even looked at.
    beyond: u64,
}

/// A metric as it came.
struct Metric {
    name: Option<String>,
    alias: Option<u64>,
    timestamp: Option<i64>,
    datatype: Option<u32>,
    historical: bool,
    value: Told,
}

/// A value whose type may have to be looked up.
#[derive(Clone, Debug)]
enum Told {
    /// Of a type that says itself.
    Value(Value),
    /// Bits of an integer, as many as its type has.
    Bits(u64),
    /// The device has none.
    Null,
    /// Of a type that no reading has.
    Other,
}

/// What is remembered of an edge node.
#[derive(Debug, Default)]
pub(super) struct EdgeNode {
    born: bool,
    seq: Option<u64>,
    bd_seq: Option<Decimal>,
    /// By device (empty: the node's own) and name: the type.
    types: BTreeMap<(Box<str>, Box<str>), u32>,
    /// By alias, which is one of the whole node: device and name.
    aliases: BTreeMap<u64, (Box<str>, Box<str>)>,
}

/// Group and node of a topic.
pub(super) fn sender(topic: &str) -> Option<String> {
    let patterns = ["spBv1.0/{group}/{kind}/{node}", "spBv1.0/{group}/{kind}/{node}/{device}"];
    let captures = patterns.iter().find_map(|pattern| capture(pattern, topic))?;
    render("{group}/{node}", &captures, &Node::Bare(""))
}

/// Topic and payload of the command that asks an edge node for its births (specification 3.0, §6.4.22).
pub(super) fn rebirth(sender: &str, now_ms: i64) -> Option<(String, Vec<u8>)> {
    let (group, node) = sender.split_once('/')?;
    Some((format!("spBv1.0/{group}/NCMD/{node}"), wire::rebirth(now_ms)))
}

pub(super) fn read(
    message: &Message<'_>,
    captures: &Captures<'_>,
    state: &mut State,
    mapped: &mut Mapped,
) -> Result<(), ProfileError> {
    let payload = match message.payload.trim_ascii_start().first() {
        // As protobuf this would be the beginning of a group, which no payload has.
        Some(b'{') => json(message)?,
        _ => wire::read(message.payload)?,
    };
    let nothing = Node::Bare("");
    mapped.device = name(&["{group}/{node}/{device}", "{group}/{node}"], captures, &nothing);
    let device = captures.iter().find(|(name, _)| *name == "device").map_or("", |(_, device)| *device);
    mapped.ignored = payload.beyond;
    if let Some(ms) = payload.timestamp {
        mapped.stamp(super::Moment { ms, nanos: 0, local: false });
    }
    let node = &mut state.0;
    match mapped.kind {
        Kind::Birth => node.birth(device, &payload, mapped),
        Kind::Death => node.death(device, &payload, mapped),
        _ => node.follow(&payload, mapped),
    }
    if mapped.kind != Kind::Death {
        for metric in payload.metrics {
            node.reading(device, metric, mapped);
        }
    }
    Ok(())
}

impl EdgeNode {
    /// A node's birth begins everything anew, a device's only what is its own.
    fn birth(&mut self, device: &str, payload: &Payload, mapped: &mut Mapped) {
        if device.is_empty() {
            *self = EdgeNode { born: true, seq: payload.seq, bd_seq: bd_seq(payload), ..EdgeNode::default() };
        } else {
            self.follow(payload, mapped);
            self.forget(device);
        }
        for metric in &payload.metrics {
            let Some(name) = metric.name.as_deref().filter(|name| name.len() <= NAME_BYTES_MAX) else {
                continue;
            };
            if self.types.len() >= NAMES_MAX || self.aliases.len() >= NAMES_MAX {
                break;
            }
            let key = (Box::from(device), Box::from(name));
            if let Some(alias) = metric.alias {
                self.aliases.insert(alias, key.clone());
            }
            if let Some(datatype) = metric.datatype {
                self.types.insert(key, datatype);
            }
        }
    }

    /// A node's death counts only if it is that of its last birth: the broker may tell an older one late.
    fn death(&mut self, device: &str, payload: &Payload, mapped: &mut Mapped) {
        if !device.is_empty() {
            self.follow(payload, mapped);
            self.forget(device);
        } else if self.bd_seq.is_some() && bd_seq(payload).is_some_and(|dead| Some(dead) != self.bd_seq) {
            mapped.kind = Kind::Metadata;
            return;
        } else {
            *self = EdgeNode::default();
        }
        mapped.online = Some(false);
    }

    /// How many metrics it remembers.
    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.types.len().max(self.aliases.len())
    }

    fn forget(&mut self, device: &str) {
        self.aliases.retain(|_, (of, _)| **of != *device);
        self.types.retain(|(of, _), _| **of != *device);
    }

    /// One number after the other, from 0 to 255 and round.
    fn follow(&mut self, payload: &Payload, mapped: &mut Mapped) {
        let expected = self.seq.map(|seq| (seq + 1) % 256);
        mapped.rebirth |= !self.born || (payload.seq.is_some() && payload.seq != expected);
        self.seq = payload.seq.filter(|seq| *seq < 256).or(self.seq);
    }

    fn reading(&self, device: &str, metric: Metric, mapped: &mut Mapped) {
        let key = match metric.name {
            Some(name) if !name.is_empty() => Some((Box::from(device), name.into_boxed_str())),
            _ => metric
                .alias
                .and_then(|alias| self.aliases.get(&alias))
                .filter(|(of, _)| **of == *device)
                .cloned(),
        };
        let Some(key) = key else {
            mapped.ignored += 1;
            mapped.rebirth = true;
            return;
        };
        if &*key.1 == BD_SEQ {
            return;
        }
        let datatype = metric.datatype.or_else(|| self.types.get(&key).copied());
        let value = match (metric.value, datatype) {
            (Told::Value(value), _) => value,
            (Told::Bits(bits), Some(datatype)) => match wire::integer(bits, datatype) {
                Some(number) => Value::Number(number),
                None => return mapped.ignored += 1,
            },
            (Told::Bits(_), None) => {
                mapped.ignored += 1;
                mapped.rebirth = true;
                return;
            }
            (Told::Null, _) => return,
            (Told::Other, _) => return mapped.ignored += 1,
        };
        mapped.history |= metric.historical;
        mapped.add(Reading {
            metric: key.1,
            value,
            unit: None,
            device: None,
            time_ms: metric.timestamp,
            event: false,
            canonical: None,
            was_text: false,
        });
    }
}

fn bd_seq(payload: &Payload) -> Option<Decimal> {
    let metric = payload.metrics.iter().find(|metric| metric.name.as_deref() == Some(BD_SEQ))?;
    match &metric.value {
        Told::Bits(bits) => Some(Decimal::from(*bits)),
        Told::Value(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

/// A text within the bound that all texts have.
fn bounded(text: String) -> Told {
    if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        Told::Other
    } else {
        Told::Value(Value::Text(text.into()))
    }
}

/// The form that the specification prints.
fn json(message: &Message<'_>) -> Result<Payload, ProfileError> {
    let node = Node::parse(message.payload)?;
    let time = |node: &Node<'_>| {
        let raw = node.get("timestamp").and_then(Node::raw)?;
        Some(moment(raw, Epoch::Millis, message.zone_ms)?.ms)
    };
    let whole = |node: &Node<'_>, name: &str| node.get(name)?.raw()?.parse::<u64>().ok();
    let metrics = node.get("metrics").map_or(&[][..], Node::items);
    let metrics = metrics.iter().map(|metric| {
        let typed = metric.get("dataType").or_else(|| metric.get("datatype")).and_then(Node::text);
        Metric {
            name: metric.get("name").and_then(Node::text),
            alias: whole(metric, "alias"),
            timestamp: time(metric),
            datatype: typed.and_then(|name| wire::datatype(&name)),
            historical: matches!(
                metric.get("isHistorical").map(Node::value),
                Some(Ok(Some(Value::Flag(true))))
            ),
            value: match metric.get("value").map(Node::value) {
                None | Some(Ok(None)) => Told::Null,
                Some(Ok(Some(value))) => Told::Value(value),
                Some(Err(_)) => Told::Other,
            },
        }
    });
    Ok(Payload { timestamp: time(&node), seq: whole(&node, "seq"), metrics: metrics.collect(), beyond: 0 })
}
