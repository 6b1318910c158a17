//! On-boarding as its users see it: messages in, a listing out.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::offer::{Offer, Why};
use super::quarantine::{DEVICES_MAX, EXAMINED, EXAMINED_MAX, TOPICS_MAX};
use super::*;
use crate::model::Stamp;

fn at(ms: u64) -> Stamp {
    Stamp { wall_ms: 1_700_000_000_000 + i64::try_from(ms).expect("small"), mono_ms: ms }
}

fn hear(quarantine: &mut Quarantine, topic: &str, payload: &str, ms: u64) {
    let offer = Offer::new(Why::NoMapping, "z2m", "", topic, payload.as_bytes());
    quarantine.receive(&offer, at(ms));
}

/// Path, type, unit, class.
fn fields(pending: &Pending) -> Vec<(&str, &str, Option<&str>, Option<&str>)> {
    pending.fields.iter().map(|field| (&*field.path, field.kind.as_str(), field.unit, field.class)).collect()
}

#[test]
fn a_device_is_told_by_name_and_fields() {
    let mut quarantine = Quarantine::default();
    hear(&mut quarantine, "zigbee2mqtt/hall", r#"{"contact":true,"battery":98,"x":null}"#, 5);
    hear(&mut quarantine, "zigbee2mqtt/hall", r#"{"contact":false,"humidity":40.5}"#, 7);
    hear(&mut quarantine, "zigbee2mqtt/hall/availability", "offline", 9);
    let listing = quarantine.listing();
    let [pending] = &listing.devices[..] else { panic!("{listing:?}") };
    assert_eq!((&*pending.name, &*pending.user, pending.profile), ("hall", "z2m", "zigbee2mqtt"));
    assert_eq!((pending.messages, pending.online, pending.mapped), (3, Some(false), false));
    assert_eq!((pending.first_ms, pending.last_ms), (at(5).wall_ms, at(9).wall_ms));
    assert_eq!(
        fields(pending),
        [
            ("battery", "number", Some("%"), None),
            ("contact", "flag", None, None),
            ("humidity", "number", Some("%RH"), None)
        ]
    );
    quarantine.forget(|pending| &*pending.name == "hall");
    assert!(quarantine.listing().devices.is_empty());
}

/// Whether the description or the values come first.
#[test]
fn discovery_fills_in_units_and_classes() {
    let describe = |quarantine: &mut Quarantine, object: &str, pointer: &str, unit: &str, class: &str| {
        let told = json!({"state_topic": "site/d7", "value_template": format!("{{{{ value_json{pointer} }}}}"),
                          "unit_of_measurement": unit, "device_class": class});
        let topic = format!("homeassistant/sensor/{object}/config");
        quarantine
            .receive(&Offer::new(Why::Discovery, "z2m", "", &topic, told.to_string().as_bytes()), at(1));
    };
    for first in [true, false] {
        let mut quarantine = Quarantine::default();
        let values =
            |quarantine: &mut Quarantine| hear(quarantine, "site/d7", r#"{"t":{"v":21.5},"n":1}"#, 2);
        if first {
            values(&mut quarantine);
        }
        describe(&mut quarantine, "a", ".t.v", "°C", "temperature");
        describe(&mut quarantine, "b", ".p", "kW", "13800138000");
        if !first {
            values(&mut quarantine);
        }
        let listing = quarantine.listing();
        assert_eq!(listing.devices.len(), 1, "a description is no device");
        assert_eq!(
            fields(&listing.devices[0]),
            [
                ("/t/v", "number", Some("Cel"), Some("temperature")),
                ("/n", "number", None, None),
                ("/p", "number", Some("kW"), None)
            ]
        );
        assert_eq!(listing.devices[0].fields.iter().filter(|field| field.seen).count(), 2);
    }
}

#[test]
fn everything_is_bounded_and_counted() {
    let mut quarantine = Quarantine::default();
    for number in 0..DEVICES_MAX + 10 {
        let ms = 100 * u64::try_from(number).expect("small");
        hear(&mut quarantine, &format!("zigbee2mqtt/d{number}"), r#"{"a":1}"#, ms);
        hear(&mut quarantine, "zigbee2mqtt/d0", r#"{"a":1}"#, ms);
    }
    let listing = quarantine.listing();
    assert_eq!((listing.devices.len(), listing.forgotten), (DEVICES_MAX, 10));
    assert_eq!(&*listing.devices[0].name, "d0", "the one that is heard most recently stays");
    assert!(!listing.devices.iter().any(|pending| &*pending.name == "d1"));

    let mut quarantine = Quarantine::default();
    for number in 0..10 {
        hear(&mut quarantine, &format!("shellies/s1/relay/{number}"), "on", 0);
    }
    assert_eq!(quarantine.listing().devices[0].topics.len(), TOPICS_MAX);
    let long = format!("zigbee2mqtt/{}", "x".repeat(200));
    hear(&mut quarantine, &long, "{}", 0);
    assert!(quarantine.listing().devices.iter().all(|pending| pending.name.len() <= 128));
}

#[test]
fn a_flood_is_counted_and_not_read() {
    let mut quarantine = Quarantine::default();
    for _ in 0..1000 {
        hear(&mut quarantine, "zigbee2mqtt/noisy", r#"{"a":1}"#, 0);
    }
    let listing = quarantine.listing();
    assert_eq!(listing.devices[0].messages, 1000);
    assert_eq!(listing.unexamined, u64::from(1000 - EXAMINED_MAX));

    let mut quarantine = Quarantine::default();
    for number in 0..EXAMINED.burst + 500 {
        hear(&mut quarantine, &format!("a/{number}"), "1", 0);
    }
    assert_eq!(quarantine.listing().unexamined, 500, "as many names as one likes cost no more");
    hear(&mut quarantine, "zigbee2mqtt/late", r#"{"a":1}"#, 1000);
    assert_eq!(&*quarantine.listing().devices[0].name, "late");
}

#[test]
fn what_cannot_be_read_has_a_length() {
    let mut quarantine = Quarantine::default();
    let photo = vec![b'x'; 100_000];
    quarantine.receive(&Offer::new(Why::NoMapping, "", "", "mqtt/face/77/Rec", &photo), at(0));
    quarantine.receive(&Offer::new(Why::UnknownDevice, "", "d9", "a/b", &[0xff, 0xfe]), at(0));
    let listing = quarantine.listing();
    let told: Vec<_> = listing
        .devices
        .iter()
        .map(|pending| (&*pending.name, pending.profile, pending.unread_bytes, pending.mapped))
        .collect();
    assert!(told.contains(&("77", "face_terminal", Some(100_000), false)), "{told:?}");
    assert!(told.contains(&("d9", JSON, Some(2), true)), "{told:?}");
}

/// The samples as devices that nobody knows.
#[test]
fn every_sample_is_pending_and_none_of_its_values() {
    for sample in include_str!("../../../../tests/data/mqtt_payloads.jsonl").lines() {
        let sample: Json = serde_json::from_str(sample).expect("a sample is JSON");
        let (Some(topic), Some(payload)) = (sample["topic"].as_str(), sample["payload"].as_str()) else {
            continue;
        };
        if sample["expect"]["accept"] == false || sample["convention"] == "homeassistant_discovery" {
            continue;
        }
        let mut quarantine = Quarantine::default();
        hear(&mut quarantine, topic, payload, 0);
        let listing = quarantine.listing();
        let expected = sample["expect"]["readings"].as_array().expect("readings");
        assert_eq!(listing.devices[0].profile, sample["convention"], "{topic}");
        for reading in expected {
            let device = reading["device"].as_str().or(sample["expect"]["device"].as_str());
            let found = listing.devices.iter().find(|pending| Some(&*pending.name) == device);
            let found = found.unwrap_or_else(|| panic!("{topic}: no {device:?}"));
            let metric = reading["metric"].as_str();
            let field = found.fields.iter().find(|field| Some(&*field.path) == metric);
            let field = field.unwrap_or_else(|| panic!("{topic}: no {metric:?}"));
            assert_eq!(field.unit, reading["unit"].as_str(), "{topic} {metric:?}");
        }
    }
}

#[test]
fn of_a_door_that_looks_at_people_only_names_of_fields_are_told() {
    let mut quarantine = Quarantine::default();
    let person = r#"{"operator":"RecPush","info":{"facesluiceId":"1379","VerifyStatus":"1","direction":"entr",
        "personId":"CANARY1","name":"CANARY2","idCard":"CANARY3","telnum":"13800138000","pic":"CANARY5"}}"#;
    hear(&mut quarantine, "mqtt/face/1379/Rec", person, 0);
    let listing = quarantine.listing();
    let pending = &listing.devices[0];
    assert_eq!(pending.refused, ["idCard", "name", "personId", "pic", "telnum"]);
    assert!(fields(pending).iter().all(|(path, ..)| ["VerifyStatus", "direction"].contains(path)));
    let shown = format!("{listing:?}");
    assert!(!shown.contains("CANARY") && !shown.contains("13800138000"), "{shown}");
}

#[tokio::test]
async fn what_is_offered_is_listed() {
    use super::super::observe;
    use crate::clock::SystemClock;
    use std::time::Duration;

    let (router, feeder) = observe::start(Arc::default()).expect("a router");
    let link = router.link().expect("a link");
    let onboard = Onboard::default();
    let running = tokio::spawn(onboard.clone().listen(link, Arc::new(SystemClock::default())));
    let feeding = tokio::spawn(feeder.run());
    router.offer(&Offer::new(Why::NoMapping, "u", "", "zigbee2mqtt/门磁", br#"{"contact":true}"#));
    let listed = async {
        while onboard.listing().devices.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), listed).await.expect("in time");
    assert_eq!(&*onboard.listing().devices[0].name, "门磁");
    running.abort();
    feeding.abort();
}

const SECRET: &str = "CANARY13800138000";

/// JSON whose every text and number has the secret in it.
fn secrets() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(json!(SECRET)),
        Just(json!(13_800_138_000_u64)),
        Just(json!(-13_800_138_000.5)),
        Just(json!(format!("x {SECRET} y"))),
        Just(json!(true)),
        Just(Json::Null),
    ];
    let key = prop_oneof![
        "[a-d]{1,3}",
        Just("value".into()),
        Just("object".into()),
        Just("params".into()),
        Just("info".into()),
        Just("name".into()),
        Just("unit_of_measurement".into()),
        Just("device_class".into()),
        Just("state_topic".into()),
        Just("13800138000".into()),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_is_ever_listed(payload in secrets(), topic in 0..9usize) {
        let topics = [
            "zigbee2mqtt/d", "tele/d/SENSOR", "application/a/device/d/event/up", "mqtt/face/d/Rec", "a/d/up",
            "homeassistant/sensor/d/config", "/sys/p/d/thing/event/property/post", "shellies/d/relay/0",
            "$oc/devices/d/sys/properties/report",
        ];
        let mut quarantine = Quarantine::default();
        hear(&mut quarantine, topics[topic], &payload.to_string(), 0);
        let shown = format!("{:?}", quarantine.listing());
        prop_assert!(!shown.contains("CANARY") && !shown.contains("13800138000"), "{}", shown);
    }

    #[test]
    fn any_bytes_leave_it_within_bounds(
        messages in prop::collection::vec((0..6usize, prop::collection::vec(any::<u8>(), 0..60)), 0..40),
    ) {
        let topics = ["spBv1.0/g/DDATA/n/d", "zigbee2mqtt/d", "v1/gateway/telemetry", "x", "homeassistant/a/b/config", "l/1"];
        let mut quarantine = Quarantine::default();
        for (topic, payload) in &messages {
            quarantine.receive(&Offer::new(Why::NoMapping, "", "", topics[*topic], payload), at(0));
        }
        for pending in quarantine.listing().devices {
            prop_assert!(pending.fields.len() <= shape::PATHS_MAX && pending.topics.len() <= TOPICS_MAX);
        }
    }
}
