//! Radio sensors: a ChirpStack network server, devices' own bytes, SenML.
//!
//! Sources: chirpstack.io "Integrations, MQTT" (v4, JSON marshaler: proto3 JSON leaves out what is zero, false or empty);
//! Milesight "Communication Protocol" of EM300 and WS301; RFC 8428.

use super::convention::{CONVENTION, Convention, each};
use super::said::{Facts, Message, Told, quoted};
use super::thing::{Thing, fixed, utc};
use crate::codec::profile::Kind;

/// Application of all simulated devices.
const APPLICATION: &str = "17c82e96-be03-4f38-aef3-000000000001";

/// A thermometer, a door, a device whose bytes nobody decodes, and again. Its devices are called by their EUI,
/// `24e124136b000001` and on.
pub(super) const CHIRPSTACK_V4: Convention = Convention {
    name: "chirpstack_v4",
    bridge: Some("chirpstack"),
    hello: |things, now_ms| {
        each(things, now_ms, |thing, now_ms| {
            let mut facts = uplink(thing, now_ms);
            facts.note("devAddr", format!("00189{:03x}", thing.index % 4_096));
            vec![facts.message(Kind::Birth, topic(thing, "join"))]
        })
    },
    say: |things, now_ms| each(things, now_ms, chirpstack),
    ..CONVENTION
};

fn eui(thing: &Thing) -> String {
    format!("24e124136b{:06x}", thing.index + 1)
}

fn topic(thing: &Thing, event: &str) -> String {
    format!("application/{APPLICATION}/device/{}/event/{event}", eui(thing))
}

/// What all events begin with.
fn uplink(thing: &mut Thing, now_ms: i64) -> Facts {
    let mut facts = Facts::new(eui(thing), Some(now_ms));
    let (high, low) = (thing.below(1 << 32), thing.below(1 << 48));
    facts.note("deduplicationId", format!("{high:08x}-4401-4b8d-9386-{low:012x}"));
    let nanos = thing.below(1_000_000);
    facts.note("time", format!("{}{nanos:06}+00:00", utc(now_ms, "%Y-%m-%dT%H:%M:%S.%3f")));
    facts.aside(
        "deviceInfo",
        format!(r#"{{"applicationId":"{APPLICATION}","devEui":"{}","tags":{{"floor":"1"}}}}"#, eui(thing)),
    );
    facts
}

fn chirpstack(thing: &mut Thing, now_ms: i64) -> Vec<Message> {
    let mut facts = uplink(thing, now_ms);
    if thing.round > 1 {
        facts.aside("fCnt", thing.round - 1);
    }
    facts.aside("dr", 5).aside("fPort", 85);
    let (bytes, _) = channels(thing, thing.index, now_ms / 1_000, false);
    facts.note("data", base64(&bytes));
    match thing.index % 3 {
        0 => {
            let (temperature, humidity) = (thing.temperature(), thing.humidity());
            let mut object = Facts::new(eui(thing), Some(now_ms));
            object.tell_as("temperature", &temperature, &temperature, "Cel");
            object.tell("humidity", humidity, "%RH").tell("BatV", "3.301", "V");
            facts.aside("object", object.json());
            facts.readings.append(&mut object.readings);
        }
        1 => {
            let word = if thing.flip() { "open" } else { "close" };
            let mut object = Facts::new(eui(thing), Some(now_ms));
            object.tell("magnet_status", quoted(word), "").tell("battery", thing.battery(), "%");
            facts.aside("object", object.json());
            facts.readings.append(&mut object.readings);
        }
        _ => {}
    }
    let (near, far) = (-40 - thing.below(40), -100 - thing.below(20));
    let snr = thing.below(150);
    let heard = |gateway, rssi: i64, snr: i64| {
        let snr = if snr == 0 { String::new() } else { format!(r#","snr":{}"#, fixed(snr, 1)) };
        format!(r#"{{"gatewayId":"0016c001f153a1{gateway}","rssi":{rssi}{snr}}}"#)
    };
    facts.aside("rxInfo", format!("[{},{}]", heard("4c", far, -95), heard("4d", near, snr)));
    facts.mean("rssi", near, "dBm");
    if snr != 0 {
        facts.mean("snr", fixed(snr, 1), "dB");
    }
    let mut up = facts.message(Kind::Data, topic(thing, "up"));
    up.said.bytes = (thing.index % 3 == 2).then_some(bytes);
    let mut messages = vec![up];
    if thing.every(5) {
        let mut status = uplink(thing, now_ms);
        let margin = thing.below(20);
        if margin != 0 {
            status.tell("margin", margin, "dB");
        }
        status.tell("batteryLevel", fixed(7_835, 2), "%");
        messages.push(status.message(Kind::Data, topic(thing, "status")));
    }
    messages
}

/// Base64 (RFC 4648 §4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let all = group.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let letter = char::from(LETTERS[all >> (18 - 6 * at) & 63]);
            text.push(if at <= group.len() { letter } else { '=' });
        }
    }
    text
}

/// A thermometer, a door, a leak detector, an air sensor, and again; thermometers sometimes tell of an hour ago.
pub(super) const LORAWAN_DEVICE_PAYLOAD: Convention = Convention {
    name: "lorawan_device_payload",
    noun: "lora",
    say: |things, now_ms| {
        each(things, now_ms, |thing, now_ms| {
            let topic = format!("lorawan/{}/up", thing.name);
            let past = thing.index.is_multiple_of(4) && thing.every(7);
            let at_s = now_ms / 1_000 - if past { 3_600 } else { 0 };
            let (bytes, readings) = channels(thing, thing.index, at_s, past);
            let mut message = Message::new(Kind::Data, topic, bytes);
            (message.said.readings, message.said.history) = (readings, past);
            vec![message]
        })
    },
    ..CONVENTION
};

/// What a device of that kind sends: channel, type, value, and what that says.
fn channels(thing: &mut Thing, kind: usize, at_s: i64, past: bool) -> (Vec<u8>, Vec<Told>) {
    let tell = |metric, value: String, unit| Told::new(&thing.name, metric, value).in_unit(unit);
    let mut told = vec![];
    if !past {
        told.push(tell("battery", thing.battery().to_string(), "%"));
    }
    let mut bytes = if past { vec![0x20, 0xCE] } else { vec![0x01, 0x75, thing.battery() as u8] };
    match kind % 4 {
        0 | 3 => {
            let name = thing.name.clone();
            let (tenths, halves) = (thing.centi() / 10, thing.per_mille() / 5);
            let temperature = (tenths as i16).to_le_bytes();
            if past {
                bytes.extend((at_s as u32).to_le_bytes());
                bytes.extend(temperature);
                bytes.push(halves as u8);
            } else {
                bytes.extend([0x03, 0x67, temperature[0], temperature[1], 0x04, 0x68, halves as u8]);
            }
            for (metric, value, unit) in
                [("temperature", fixed(tenths, 1), "Cel"), ("humidity", fixed(halves * 5, 1), "%RH")]
            {
                let one = Told::new(&name, metric, value).in_unit(unit);
                told.push(Told { time_ms: past.then_some(at_s * 1_000), ..one });
            }
            if kind % 4 == 3 {
                let (co2, pressure) = (400 + thing.below(1_200), 9_900 + thing.below(300));
                let le = |value: i64| (value as u16).to_le_bytes();
                bytes.extend([[0x07, 0x7D], le(co2), [0x09, 0x73], le(pressure)].as_flattened());
                told.push(Told::new(&name, "co2", co2).in_unit("ppm"));
                told.push(Told::new(&name, "pressure", fixed(pressure, 1)).in_unit("hPa"));
            }
        }
        1 => {
            let open = thing.flip();
            bytes.extend([0x06, 0x00, u8::from(open), 0x04, 0x00, 0]);
            let word = quoted(if open { "open" } else { "closed" });
            told.push(Told::new(&thing.name, "magnet_status", word));
            told.push(Told::new(&thing.name, "tamper_status", quoted("installed")));
        }
        _ => {
            let wet = thing.flip();
            bytes.extend([0x05, 0x00, u8::from(wet)]);
            let word = quoted(if wet { "leak" } else { "normal" });
            told.push(Told::new(&thing.name, "leakage_status", word));
        }
    }
    (bytes, told)
}

/// A pack of three records; its times are absolute, relative, or missing, in turn.
pub(super) const SENML: Convention = Convention {
    name: "senml",
    noun: "senml",
    say: |things, now_ms| each(things, now_ms, |thing, now_ms| vec![pack(thing, now_ms)]),
    ..CONVENTION
};

fn pack(thing: &mut Thing, now_ms: i64) -> Message {
    let device = format!("urn:dev:mac:0024befffe{:06x}", thing.index + 1);
    let form = thing.round % 3;
    // (base time, the second record's time)
    let (base, later, times) = match form {
        0 => (String::new(), "", [None, None]),
        1 => (format!(r#","bt":{}"#, fixed(now_ms, 3)), r#","t":-5"#, [Some(now_ms), Some(now_ms - 5_000)]),
        _ => (r#","bt":-10"#.to_owned(), r#","t":5"#, [Some(now_ms - 10_000), Some(now_ms - 5_000)]),
    };
    let (temperature, humidity, open) = (thing.temperature(), thing.humidity(), thing.flip());
    let payload = format!(
        r#"[{{"bn":"{device}:"{base},"bu":"Cel","n":"temperature","v":{temperature}}},{{"n":"humidity","u":"%RH"{later},"v":{humidity}}},{{"n":"open","vb":{open}}},{{"n":"label","vs":"floor 1"}}]"#
    );
    let mut message = Message::new(Kind::Data, format!("senml/{}", thing.name), payload);
    let tell = |metric: &str, value: String, unit, time_ms| Told {
        time_ms,
        ..Told::new(&device, metric, value).in_unit(unit)
    };
    message.said.readings = vec![
        tell("temperature", temperature, "Cel", times[0]),
        tell("humidity", humidity, "%RH", times[1]),
        tell("open", open.to_string(), "", times[0]),
        tell("label", quoted("floor 1"), "", times[0]),
    ];
    message
}
