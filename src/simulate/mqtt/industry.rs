//! Industry: Neuron's two formats of tags.
//!
//! Source: neugates.io "MQTT, data upload format" (values-format, tags-format). A tag that cannot be read has an error code.

use super::convention::{CONVENTION, Convention, each};
use super::said::Facts;
use super::thing::{Thing, fixed};
use crate::codec::profile::Kind;

/// Error code of the tag that never answers.
const NOT_READABLE: u32 = 3_002;

/// Values by tag.
pub(super) const NEURON_VALUES: Convention = Convention {
    name: "neuron_values",
    noun: "modbus",
    bridge: Some("neuron"),
    say: |things, now_ms| {
        each(things, now_ms, |thing, now_ms| {
            let (mut facts, tags) = report(thing, now_ms);
            facts.readings = tags.readings.clone();
            facts.aside("values", tags.json());
            facts.aside("errors", format!(r#"{{"broken":{NOT_READABLE}}}"#)).aside("metas", "{}");
            vec![facts.message(Kind::Data, "/neuron/gateway")]
        })
    },
    ..CONVENTION
};

/// The same as an array.
pub(super) const NEURON_TAGS: Convention = Convention {
    name: "neuron_tags",
    say: |things, now_ms| {
        each(things, now_ms, |thing, now_ms| {
            let (mut facts, tags) = report(thing, now_ms);
            let items = tags.readings.iter();
            let items = items.map(|told| format!(r#"{{"name":"{}","value":{}}}"#, told.metric, told.value));
            let broken = format!(r#"{{"name":"broken","error":{NOT_READABLE}}}"#);
            facts.aside("tags", format!("[{}]", items.chain([broken]).collect::<Vec<_>>().join(",")));
            facts.readings = tags.readings;
            vec![facts.message(Kind::Data, "/neuron/gateway")]
        })
    },
    ..NEURON_VALUES
};

/// What both formats begin with, and the tags.
fn report(thing: &mut Thing, now_ms: i64) -> (Facts, Facts) {
    let device = format!("{}/meters", thing.name);
    let mut facts = Facts::new(&*device, Some(now_ms));
    facts.aside("timestamp", now_ms).note("node", &thing.name).note("group", "meters");
    let mut tags = Facts::new(device, Some(now_ms));
    tags.tell("temperature", thing.temperature(), "").tell("running", thing.flip(), "");
    tags.tell("energy", fixed(thing.energy_wh(), 3), "");
    (facts, tags)
}
