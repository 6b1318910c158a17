//! Shelly: a scalar a topic (generation 1), JSON-RPC notifications (generation 2).
//!
//! Sources: shelly-api-docs.shelly.cloud, "Gen1 MQTT" and "Gen2 MQTT, Notifications".

use super::convention::{CONVENTION, Convention, each};
use super::said::{Facts, Message, Told, quoted};
use super::thing::{Thing, fixed};
use crate::codec::profile::Kind;

/// A plug, a door sensor, a button, and again.
pub(super) const SHELLY_GEN1: Convention = Convention {
    name: "shelly_gen1",
    noun: "shelly1",
    presence: |name, online| {
        Some(Message::presence(format!("shellies/{name}/online"), online.to_string(), online))
    },
    hello: |things, now_ms| {
        each(things, now_ms, |thing, _| {
            let payload = format!(r#"{{"id":"{}","mac":"0000000000{:02X}"}}"#, thing.name, thing.index % 256);
            vec![Message::new(Kind::Metadata, format!("shellies/{}/announce", thing.name), payload)]
        })
    },
    say: |things, now_ms| each(things, now_ms, scalars),
    ..CONVENTION
};

fn scalars(thing: &mut Thing, _: i64) -> Vec<Message> {
    let name = thing.name.clone();
    let say = |path: &str, payload: String, value: String, unit| {
        let told = Told::new(&name, path.replace('/', "."), value).in_unit(unit);
        Message::scalar(format!("shellies/{name}/{path}"), payload, told)
    };
    let number = |path, value: String, unit| say(path, value.clone(), value, unit);
    match thing.index % 3 {
        0 => {
            let on = thing.flip();
            let power = if on { fixed(5_000 + thing.below(2_000), 2) } else { "0.00".into() };
            let word = if on { "on" } else { "off" };
            vec![
                say("relay/0", word.into(), on.to_string(), ""),
                number("relay/0/power", power, "W"),
                number("relay/0/energy", (thing.energy_wh() * 60).to_string(), "W.min"),
                number("temperature", thing.temperature(), "Cel"),
            ]
        }
        1 => {
            let word = if thing.flip() { "open" } else { "close" };
            vec![
                say("sensor/state", word.into(), quoted(word), ""),
                number("sensor/lux", thing.below(900).to_string(), "lx"),
                number("sensor/battery", thing.battery().to_string(), "%"),
                number("sensor/temperature", thing.temperature(), "Cel"),
            ]
        }
        _ => {
            let word = ["S", "SS", "L"][thing.below(3) as usize];
            let mut told = Told::new(&name, "input_event.0", quoted(word));
            told.event = true;
            let payload = format!(r#"{{"event":"{word}","event_cnt":{}}}"#, thing.round);
            let mut event = Message::scalar(format!("shellies/{name}/input_event/0"), payload, told);
            event.said.kind = Kind::Event;
            vec![event, number("input/0", "0".into(), "")]
        }
    }
}

/// A switch that measures, with an input whose pushes it tells.
pub(super) const SHELLY_GEN2: Convention = Convention {
    name: "shelly_gen2",
    noun: "shellyplus",
    presence: |name, online| Some(Message::presence(format!("{name}/online"), online.to_string(), online)),
    say: |things, now_ms| each(things, now_ms, notify),
    ..CONVENTION
};

fn notify(thing: &mut Thing, now_ms: i64) -> Vec<Message> {
    let name = thing.name.clone();
    // Hundredths of a second, as the devices write them.
    let (ts, time_ms) = (fixed(now_ms / 10, 2), now_ms / 10 * 10);
    let (before, on) = (thing.on, thing.flip());
    let (power, energy, centi) = (thing.below(9_000), thing.energy_wh(), thing.centi());
    let told = |facts: &mut Facts| {
        facts.aside("id", 0);
        if before != on || thing.round == 1 {
            facts.tell("output", on, "");
        }
        facts.tell("apower", fixed(power, 1), "W").tell("voltage", "230.4", "V");
        facts.within("aenergy", |facts| {
            facts.tell("total", fixed(energy, 3), "Wh");
            facts.aside("by_minute", "[1.5,0,0]").aside("minute_ts", now_ms / 1_000);
        });
        facts.within("temperature", |facts| {
            facts.tell("tC", fixed(centi, 2), "Cel").aside("tF", fixed(centi * 9 / 5 + 3_200, 2));
        });
    };
    let rpc = |method, params: Facts| {
        let head = format!(r#""src":"{name}","dst":"{name}/events","method":"{method}""#);
        let payload = format!(r#"{{{head},"params":{}}}"#, params.json());
        let mut message = Message::new(Kind::Data, format!("{name}/events/rpc"), payload);
        message.said.readings = params.readings;
        message
    };
    let mut params = Facts::new(&*name, Some(time_ms));
    params.aside("ts", &ts).within("switch:0", told);
    let mut messages = vec![rpc("NotifyStatus", params)];
    if thing.every(3) {
        let push = ["single_push", "double_push", "long_push"][(power % 3) as usize];
        let mut params = Facts::new(&*name, Some(time_ms));
        params.event = true;
        params.aside("ts", &ts).mean("input:0", quoted(push), "");
        params.aside("events", format!(r#"[{{"component":"input:0","id":0,"event":"{push}","ts":{ts}}}]"#));
        let mut event = rpc("NotifyEvent", params);
        event.said.kind = Kind::Event;
        messages.push(event);
    }
    if thing.round % 5 == 1 {
        let mut status = Facts::new(&*name, None).under("switch:0.");
        told(&mut status);
        messages.push(status.message(Kind::Data, format!("{name}/status/switch:0")));
    }
    messages
}
