//! Homes: a Zigbee2MQTT bridge, devices that announce themselves to Home Assistant, Tasmota.
//!
//! Sources: zigbee2mqtt.io "MQTT Topics and Messages"; home-assistant.io "MQTT Discovery"; tasmota.github.io "MQTT".

use super::convention::{CONVENTION, Convention, each};
use super::said::{Facts, Message, Told, quoted};
use super::thing::{Thing, fixed, local, utc, whole_second};
use crate::codec::profile::Kind;

/// A door, a thermometer, a plug, a leak detector, a button, and again.
pub(super) const ZIGBEE2MQTT: Convention = Convention {
    name: "zigbee2mqtt",
    noun: "zigbee",
    bridge: Some("zigbee2mqtt"),
    presence: |_, online| {
        let state = if online { "online" } else { "offline" };
        let payload = format!(r#"{{"state":"{state}"}}"#);
        Some(Message::new(Kind::Metadata, "zigbee2mqtt/bridge/state", payload).retained())
    },
    hello: |things, now_ms| each(things, now_ms, |thing, _| vec![availability(&thing.name, true)]),
    say: |things, now_ms| each(things, now_ms, zigbee),
    goodbye: |things, now_ms| each(things, now_ms, |thing, _| vec![availability(&thing.name, false)]),
    ..CONVENTION
};

fn availability(name: &str, online: bool) -> Message {
    let state = if online { "online" } else { "offline" };
    let payload = format!(r#"{{"state":"{state}"}}"#);
    Message::presence(format!("zigbee2mqtt/{name}/availability"), payload, online)
}

fn zigbee(thing: &mut Thing, now_ms: i64) -> Vec<Message> {
    let kind = thing.index % 5;
    // A bridge writes the time of all its devices in one form; here each kind has another, and plugs have none.
    let time_ms = match kind {
        0 | 4 => Some(whole_second(now_ms)),
        2 => None,
        _ => Some(now_ms),
    };
    let mut facts = Facts::new(&*thing.name, time_ms);
    match kind {
        0 | 4 => facts.note("last_seen", utc(now_ms, "%Y-%m-%dT%H:%M:%S+00:00")),
        1 => facts.aside("last_seen", now_ms),
        3 => facts.note("last_seen", local(now_ms, "%Y-%m-%dT%H:%M:%S.%3f+08:00")),
        _ => &mut facts,
    };
    facts.tell("linkquality", 40 + thing.below(200), "");
    let millivolts = 2_900 + thing.below(200);
    match kind {
        0 => {
            facts.tell("contact", !thing.flip(), "").tell("battery", thing.battery(), "%");
            facts.tell("voltage", millivolts, "mV").tell("tamper", false, "");
            facts.aside("update", r#"{"installed_version":16777241,"state":"idle"}"#);
        }
        1 => {
            facts.tell("temperature", thing.temperature(), "Cel").tell("humidity", thing.humidity(), "%RH");
            facts.tell("pressure", fixed(10_000 + thing.below(300), 1), "hPa");
            facts.tell("battery", thing.battery(), "%");
        }
        2 => {
            let on = thing.flip();
            facts.tell_as("state", if on { "ON" } else { "OFF" }, on, "");
            facts.tell("power", if on { 60 + thing.below(20) } else { 0 }, "W");
            facts.tell("energy", fixed(thing.energy_wh(), 3), "kWh");
            facts.tell("voltage", 225 + thing.below(10), "V");
        }
        3 => {
            facts.tell("water_leak", thing.flip(), "").tell("battery_low", false, "");
            facts.tell("voltage", millivolts, "mV").tell("device_temperature", 23, "Cel");
        }
        _ => {
            let action = ["single", "double", "hold"][thing.below(3) as usize];
            facts.event = true;
            facts.tell("action", quoted(action), "");
        }
    }
    vec![facts.message(Kind::Data, format!("zigbee2mqtt/{}", thing.name))]
}

/// Each has a temperature and a battery in one JSON, and a door whose state is a text of its own topic.
pub(super) const HOMEASSISTANT_DISCOVERY: Convention = Convention {
    name: "homeassistant_discovery",
    noun: "sensor",
    presence: |name, online| {
        let state = if online { "online" } else { "offline" };
        Some(Message::presence(format!("home/{name}/status"), state, online))
    },
    hello: |things, now_ms| each(things, now_ms, announce),
    say: |things, now_ms| each(things, now_ms, state),
    ..CONVENTION
};

/// The retained announcements; every second device writes them in the short form.
fn announce(thing: &mut Thing, _: i64) -> Vec<Message> {
    let name = &thing.name;
    let long = thing.index.is_multiple_of(2);
    let entity = |component, object, rest: String| {
        let head = if long {
            format!(
                r#""name":"{object}","unique_id":"{name}_{object}","availability_topic":"home/{name}/status","device":{{"identifiers":["{name}"],"name":"{name}"}}"#
            )
        } else {
            format!(
                r#""~":"home/{name}","name":"{object}","uniq_id":"{name}_{object}","avty_t":"~/status","dev":{{"ids":["{name}"]}}"#
            )
        };
        let topic = format!("homeassistant/{component}/{name}/{object}/config");
        Message::new(Kind::Discovery, topic, format!("{{{head},{rest}}}")).retained()
    };
    let sensor = |object, unit| {
        let rest = if long {
            format!(
                r#""state_topic":"home/{name}/state","value_template":"{{{{ value_json.{object} }}}}","device_class":"{object}","unit_of_measurement":"{unit}""#
            )
        } else {
            format!(
                r#""stat_t":"~/state","val_tpl":"{{{{ value_json['{object}'] }}}}","dev_cla":"{object}","unit_of_meas":"{unit}""#
            )
        };
        entity("sensor", object, rest)
    };
    let door = if long {
        format!(
            r#""state_topic":"home/{name}/door","device_class":"door","payload_on":"OPEN","payload_off":"CLOSED""#
        )
    } else {
        r#""stat_t":"~/door","dev_cla":"door","pl_on":"OPEN","pl_off":"CLOSED""#.to_owned()
    };
    vec![sensor("temperature", "°C"), sensor("battery", "%"), entity("binary_sensor", "door", door)]
}

fn state(thing: &mut Thing, _: i64) -> Vec<Message> {
    let mut facts = Facts::new(&*thing.name, None);
    facts.tell("temperature", thing.temperature(), "°C").tell("battery", thing.battery(), "%");
    let mut messages = vec![facts.message(Kind::Data, format!("home/{}/state", thing.name))];
    let before = thing.on;
    if thing.flip() != before || thing.round == 1 {
        let payload = if thing.on { "OPEN" } else { "CLOSED" };
        let told = Told::new(&thing.name, "door", thing.on);
        messages.push(Message::scalar(format!("home/{}/door", thing.name), payload, told));
    }
    messages
}

/// A plug that measures energy, a thermometer, and again.
pub(super) const TASMOTA: Convention = Convention {
    name: "tasmota",
    noun: "tasmota",
    presence: |name, online| {
        let payload = if online { "Online" } else { "Offline" };
        Some(Message::presence(format!("tele/{name}/LWT"), payload, online))
    },
    say: |things, now_ms| each(things, now_ms, tasmota),
    ..CONVENTION
};

fn tasmota(thing: &mut Thing, now_ms: i64) -> Vec<Message> {
    let (name, now_ms) = (thing.name.clone(), whole_second(now_ms));
    let time = local(now_ms, "%Y-%m-%dT%H:%M:%S");
    let begin = || {
        let mut facts = Facts::new(&*name, Some(now_ms));
        facts.note("Time", &time);
        facts
    };
    let mut sensor = begin();
    if thing.index.is_multiple_of(2) {
        let (total, power) = (thing.energy_wh(), thing.below(2_000));
        sensor.within("ENERGY", |energy| {
            energy.note("TotalStartTime", "2023-01-01T00:00:00");
            energy.tell("Total", fixed(total, 3), "kWh").tell("Yesterday", "1.203", "kWh");
            energy.tell("Power", power, "W").tell("Voltage", 225 + power % 10, "V");
            energy.tell("Factor", "0.98", "").tell("Current", fixed(power * 1_000 / 230, 3), "A");
        });
    } else {
        let (temperature, humidity) = (fixed(thing.centi() / 10, 1), thing.humidity());
        sensor.within("SI7021", |air| {
            air.tell("Temperature", temperature, "Cel").tell("Humidity", humidity, "%RH");
            air.tell("DewPoint", "7.5", "Cel");
        });
        sensor.note("TempUnit", "C");
    }
    let mut messages = vec![sensor.message(Kind::Data, format!("tele/{name}/SENSOR"))];
    let (before, on) = (thing.on, thing.flip());
    let word = if on { "ON" } else { "OFF" };
    if before != on {
        let told = Told::new(&name, "POWER", on);
        messages.push(Message::scalar(format!("stat/{name}/POWER"), word, told));
    }
    if thing.round % 5 == 1 {
        let mut state = begin();
        state.note("Uptime", "0T02:00:00").tell("UptimeSec", 7_200 + thing.round, "s");
        state.tell_as("POWER", word, on, "");
        state.within("Wifi", |wifi| {
            wifi.note("SSId", "simulated").tell("RSSI", 76, "%").tell("Signal", -62, "dBm");
        });
        messages.push(state.message(Kind::Data, format!("tele/{name}/STATE")));
    }
    messages
}
