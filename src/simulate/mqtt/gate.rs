//! Doors that look at people: a face terminal, and Hikvision's access events.
//!
//! Everybody is made up and can be told to be: names begin with 模拟, identity numbers are of region 999999, which there is
//! not, telephone numbers are 1380013…, pictures are a few bytes that show nothing. Every such value is among
//! [`super::Said::personal`]. Sources: the terminals' common MQTT protocol; Hikvision ISAPI "Access Controller Event". Such
//! events come over HTTP in the field; here they are the same JSON on a topic.

use super::convention::{CONVENTION, Convention, each};
use super::radio::base64;
use super::said::{Facts, Message, quoted};
use super::thing::{Thing, local, whole_second};
use crate::codec::profile::Kind;
use crate::simulate::devices::PEOPLE;

/// Passages, strangers now and then, and a heartbeat. Its devices are called `1001` and on.
pub(super) const FACE_TERMINAL: Convention = Convention {
    name: "face_terminal",
    noun: "face",
    presence: |name, online| {
        let operator = if online { "Online" } else { "Offline" };
        let info = format!(r#"{{"facesluiceId":"{}","facesluiceName":"gate"}}"#, sluice(name));
        let payload = format!(r#"{{"operator":"{operator}","info":{info}}}"#);
        let mut message = Message::new(Kind::Availability, "mqtt/face/basic", payload);
        message.said.online = Some(online);
        Some(message)
    },
    say: |things, now_ms| each(things, now_ms, face),
    ..CONVENTION
};

/// The terminal's number, from the name of its connection.
fn sluice(name: &str) -> String {
    let number = name.rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
    (1_000 + number.unwrap_or(0)).to_string()
}

/// Somebody who is not there.
struct Person {
    name: String,
    card: String,
    identity: String,
    phone: String,
    number: String,
}

impl Person {
    fn any(thing: &mut Thing) -> Self {
        let at = thing.below(PEOPLE.len() as u64) as usize;
        Person {
            name: format!("模拟{}", PEOPLE[at]),
            card: format!("{:010}", 4_417_001 + at),
            identity: format!("99999919000101{:04}", 1_001 + at),
            phone: format!("1380013{:04}", 8_000 + at),
            number: format!("SIM-{:04}", 1 + at),
        }
    }
}

/// What a terminal writes where a photograph would be: a JPEG of nothing but its frame and noise.
fn picture(thing: &mut Thing) -> String {
    let noise = (0..48).map(|_| thing.below(255) as u8);
    let bytes: Vec<u8> = [0xFF, 0xD8].into_iter().chain(noise).chain([0xFF, 0xD9]).collect();
    format!("data:image/jpeg;base64,{}", base64(&bytes))
}

fn face(thing: &mut Thing, now_ms: i64) -> Vec<Message> {
    let (device, time_ms) = (sluice(&thing.name), whole_second(now_ms));
    let time = local(time_ms, "%Y-%m-%d %H:%M:%S");
    let (stranger, person, pic) = (thing.every(4), Person::any(thing), picture(thing));
    let mut info = Facts::new(&*device, Some(time_ms));
    info.event = true;
    info.note("facesluiceId", &device).note("time", &time).note("pic", &pic);
    let direction = if thing.below(2) == 0 { "entr" } else { "exit" };
    info.tell("direction", quoted(direction), "").tell_as("otype", 1, 1, "");
    let mut refused = vec!["pic"];
    let mut personal = vec![pic];
    let (operator, path) = if stranger {
        info.note("SnapID", thing.round).tell_as("isNoMask", 0, 0, "");
        ("StrSnapPush", "Snap")
    } else {
        let Person { name, card, identity, phone, number } = person;
        info.note("RecordID", thing.round).tell_as("VerifyStatus", 1, 1, "");
        info.note("customId", &number).note("personId", &number).note("RFIDCard", &card);
        info.note("persionName", &name).note("idCard", &identity).note("telnum", &phone);
        info.note("similarity1", "91.203003");
        refused.extend(["customId", "personId", "RFIDCard", "persionName", "idCard", "telnum", "similarity"]);
        personal.extend([name, card, identity, phone, number]);
        ("RecPush", "Rec")
    };
    let payload = format!(r#"{{"operator":"{operator}","info":{}}}"#, info.json());
    let mut passage = Message::new(Kind::Event, format!("mqtt/face/{device}/{path}"), payload);
    (passage.said.readings, passage.said.refused, passage.said.personal) = (info.readings, refused, personal);
    let mut messages = vec![passage];
    if thing.every(3) {
        let payload =
            format!(r#"{{"operator":"HeartBeat","info":{{"facesluiceId":"{device}","time":"{time}"}}}}"#);
        let mut beat = Message::new(Kind::Availability, "mqtt/face/heartbeat", payload);
        beat.said.online = Some(true);
        messages.push(beat);
    }
    messages
}

/// Passages by card and face, and a motion now and then.
pub(super) const HIKVISION_ISAPI: Convention = Convention {
    name: "hikvision_isapi",
    noun: "isapi",
    say: |things, now_ms| each(things, now_ms, |thing, now_ms| vec![isapi(thing, now_ms)]),
    ..CONVENTION
};

fn isapi(thing: &mut Thing, now_ms: i64) -> Message {
    let motion = thing.every(4);
    let mut facts = Facts::new(&*thing.name, Some(whole_second(now_ms)));
    facts.event = true;
    facts.note("ipAddress", "192.0.2.10").aside("portNo", 443).note("protocol", "HTTP");
    facts.note("dateTime", local(now_ms, "%Y-%m-%dT%H:%M:%S+08:00")).note("eventState", "active");
    facts.note("deviceID", &thing.name).aside("channelID", 1).aside("activePostCount", thing.round);
    let (mut refused, mut personal) = (vec![], vec![]);
    if motion {
        facts.note("eventType", "VMD").mean("event", quoted("VMD/active"), "");
    } else {
        let Person { name, card, number, .. } = Person::any(thing);
        let sub = [1, 75][thing.below(2) as usize];
        facts.note("eventType", "AccessControllerEvent");
        facts.mean("access_event", quoted(format_args!("5/{sub}")), "");
        facts.aside(
            "AccessControllerEvent",
            format!(
                r#"{{"majorEventType":5,"subEventType":{sub},"cardNo":"{card}","name":"{name}","employeeNoString":"{number}","serialNo":{},"currentVerifyMode":"cardOrFace"}}"#,
                thing.round
            ),
        );
        refused = vec!["cardNo", "name", "employeeNoString"];
        personal = vec![name, card, number];
    }
    let mut message = facts.message(Kind::Event, format!("isapi/{}/event", thing.name));
    (message.said.refused, message.said.personal) = (refused, personal);
    message
}
