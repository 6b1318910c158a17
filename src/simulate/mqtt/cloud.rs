//! Device clouds: a ThingsBoard gateway, Alibaba's Alink, Huawei's IoTDA.
//!
//! Sources: thingsboard.io "MQTT Gateway API"; help.aliyun.com "Alink protocol, device properties, events, services";
//! support.huaweicloud.com "IoTDA, device-side MQTT API".

use super::convention::{CONVENTION, Convention, each};
use super::said::{Facts, Message};
use super::thing::{Thing, utc, whole_second};
use crate::codec::profile::Kind;

/// All devices in one message: one with two times, one with one, one with none, and again.
pub(super) const THINGSBOARD_GATEWAY: Convention = Convention {
    name: "thingsboard_gateway",
    noun: "tb",
    bridge: Some("tb-gateway"),
    hello: |things, now_ms| each(things, now_ms, |thing, _| vec![announced(thing, Kind::Birth, "connect")]),
    say: |things, now_ms| vec![telemetry(things, now_ms)],
    goodbye: |things, now_ms| {
        each(things, now_ms, |thing, _| vec![announced(thing, Kind::Death, "disconnect")])
    },
    ..CONVENTION
};

fn announced(thing: &Thing, kind: Kind, what: &str) -> Message {
    Message::new(kind, format!("v1/gateway/{what}"), format!(r#"{{"device":"{}"}}"#, thing.name))
}

fn telemetry(things: &mut [Thing], now_ms: i64) -> Message {
    let mut all = Facts::new("", None);
    for thing in things {
        let times = match thing.index % 3 {
            0 => vec![Some(now_ms - 500), Some(now_ms)],
            1 => vec![Some(now_ms)],
            _ => vec![None],
        };
        let mut one = |time_ms: Option<i64>| {
            let mut values = Facts::new(&*thing.name, time_ms);
            values.tell("temperature", thing.temperature(), "").tell("door", thing.flip(), "");
            let text = match time_ms {
                Some(time_ms) => format!(r#"{{"ts":{time_ms},"values":{}}}"#, values.json()),
                None => values.json(),
            };
            (text, values.readings)
        };
        let (texts, readings): (Vec<_>, Vec<_>) = times.into_iter().map(&mut one).unzip();
        all.aside(&thing.name, format!("[{}]", texts.join(",")));
        all.readings.extend(readings.into_iter().flatten());
    }
    all.message(Kind::Data, "v1/gateway/telemetry")
}

/// Parameters as scalars and as values with a time, in turn; sometimes an event.
pub(super) const ALIYUN_ALINK: Convention = Convention {
    name: "aliyun_alink",
    noun: "alink",
    say: |things, now_ms| each(things, now_ms, alink),
    ..CONVENTION
};

fn alink(thing: &mut Thing, now_ms: i64) -> Vec<Message> {
    const PRODUCT: &str = "a1simulated";
    let device = format!("{PRODUCT}/{}", thing.name);
    let values = [
        ("CurrentTemperature", thing.temperature(), "Cel"),
        ("RelativeHumidity", thing.humidity(), "%RH"),
        ("DoorOpen", u8::from(thing.flip()).to_string(), ""),
    ];
    let request = |method: &str, params: &Facts| {
        format!(
            r#"{{"id":"{}","version":"1.0","params":{},"method":"thing.event.{method}.post"}}"#,
            thing.round,
            params.json()
        )
    };
    let boxed = thing.every(2);
    let mut params = Facts::new(&*device, Some(now_ms).filter(|_| boxed));
    for (name, value, unit) in values {
        if boxed {
            params.mean(name, &value, unit);
            params.aside(name, format!(r#"{{"value":{value},"time":{now_ms}}}"#));
        } else {
            params.tell(name, value, unit);
        }
    }
    let mut post = Message::new(
        Kind::Data,
        format!("/sys/{device}/thing/event/property/post"),
        request("property", &params),
    );
    post.said.readings = params.readings;
    let mut messages = vec![post];
    if thing.every(5) {
        let mut facts = Facts::new(&*device, Some(now_ms));
        facts.event = true;
        facts.mean("low_battery.level", 12, "");
        facts.aside("value", r#"{"level":12}"#).aside("time", now_ms);
        let topic = format!("/sys/{device}/thing/event/low_battery/post");
        let mut event = Message::new(Kind::Event, topic, request("low_battery", &facts));
        event.said.readings = facts.readings;
        messages.push(event);
    }
    messages
}

/// Every third is a gateway that speaks for two devices behind it; times in both forms; sometimes an event.
pub(super) const HUAWEI_IOTDA: Convention = Convention {
    name: "huawei_iotda",
    noun: "iotda",
    say: |things, now_ms| each(things, now_ms, iotda),
    ..CONVENTION
};

fn iotda(thing: &mut Thing, now_ms: i64) -> Vec<Message> {
    let (text, time_ms) = if thing.every(2) {
        (utc(now_ms, "%Y%m%dT%H%M%SZ"), whole_second(now_ms))
    } else {
        (utc(now_ms, "%Y-%m-%dT%H:%M:%S.%3fZ"), now_ms)
    };
    let (name, gateway, opened) = (thing.name.clone(), thing.index % 3 == 2, thing.every(6));
    let mut services = |device: &str| {
        let mut climate = Facts::new(device, Some(time_ms)).under("climate.");
        climate.tell("temperature", thing.temperature(), "").tell("humidity", thing.humidity(), "");
        // Without a time of its own.
        let mut battery = Facts::new(device, None).under("battery.");
        battery.tell("level", thing.battery(), "");
        let json = format!(
            r#"[{{"service_id":"climate","properties":{},"event_time":"{text}"}},{{"service_id":"battery","properties":{}}}]"#,
            climate.json(),
            battery.json()
        );
        (json, [climate.readings, battery.readings].concat())
    };
    let mut messages = vec![];
    if gateway {
        let mut all = (vec![], vec![]);
        for child in [format!("{name}_01"), format!("{name}_02")] {
            let (json, readings) = services(&child);
            all.0.push(format!(r#"{{"device_id":"{child}","services":{json}}}"#));
            all.1.extend(readings);
        }
        let topic = format!("$oc/devices/{name}/sys/gateway/sub_devices/properties/report");
        let payload = format!(r#"{{"devices":[{}]}}"#, all.0.join(","));
        let mut report = Message::new(Kind::Data, topic, payload);
        report.said.readings = all.1;
        messages.push(report);
    } else {
        let (json, readings) = services(&name);
        let topic = format!("$oc/devices/{name}/sys/properties/report");
        let mut report = Message::new(Kind::Data, topic, format!(r#"{{"services":{json}}}"#));
        report.said.readings = readings;
        messages.push(report);
    }
    if opened {
        let mut paras = Facts::new(&*name, Some(time_ms)).under("door.opened.");
        paras.event = true;
        paras.tell("by", 1 + thing.below(3), "");
        let payload = format!(
            r#"{{"services":[{{"service_id":"door","event_type":"opened","event_time":"{text}","paras":{}}}]}}"#,
            paras.json()
        );
        let mut event = Message::new(Kind::Event, format!("$oc/devices/{name}/sys/events/up"), payload);
        event.said.readings = paras.readings;
        messages.push(event);
    }
    messages
}
