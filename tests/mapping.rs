//! From a configuration and a payload to samples: every sample payload, and what must not become one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde_json::Value as Json;
use smallbrain::config::{Config, Faults};
use smallbrain::device::mqtt::rights::Rights;
use smallbrain::device::mqtt::samples::{Added, Batch, Received, Routes, States};
use smallbrain::ingest::Delivery;
use smallbrain::model::{Loss, Presence, Stamp, Value};

/// 2026-11-21 00:00 in +08:00.
const NOW_MS: i64 = 1_795_190_400_000;

/// A gateway's way from messages to samples.
struct Gateway {
    config: Config,
    routes: Routes,
    rights: Rights,
    states: States,
}

/// What became of one message.
struct Heard {
    added: Added,
    delivery: Delivery,
    presence: Vec<Presence>,
    /// `device/metric=value`, with ` @ms` where it tells a time.
    lines: Vec<String>,
}

fn load(rest: &str) -> Config {
    try_load(rest).unwrap_or_else(|faults| panic!("{faults}"))
}

fn try_load(rest: &str) -> Result<Config, Faults> {
    let text = format!(
        "[gateway]\nid = 'gw'\ndivision_code = '310115013007'\ncompound_code = 'C1'\n[store]\ndir = 'data'\n\
         [mqtt]\nanonymous = true\n{rest}"
    );
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("smallbrain.toml");
    std::fs::write(&path, text).expect("a file");
    Config::load(&path, NOW_MS, None)
}

impl Gateway {
    fn new(rest: &str) -> Self {
        let config = load(rest);
        let settings = Arc::new(config.mqtt.clone().expect("MQTT"));
        let (routes, rights) = (Routes::new(settings), Rights::everything());
        Self { config, routes, rights, states: States::default() }
    }

    fn say(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Heard {
        self.at(&Received { topic, payload: payload.as_ref(), retain: false, received_ms: NOW_MS })
    }

    fn at(&mut self, message: &Received<'_>) -> Heard {
        let mut batch = Batch::default();
        let added = batch.add(self.routes.find(message.topic), message, &self.rights, &mut self.states);
        let mut delivery = batch.take(Stamp { wall_ms: message.received_ms, mono_ms: 1 });
        let samples = delivery.samples.iter().map(|sample| {
            let point = self.config.plan.points[sample.series.index()].as_ref().expect("a point");
            let mut line = format!("{}/{}={}", point.device, point.metric, shown(&sample.value));
            if let Some(ms) = sample.device_ms {
                write!(line, " @{ms}").expect("a text");
            }
            line
        });
        let lines = samples.collect();
        let presence = std::mem::take(&mut delivery.presence);
        Heard { added, lines, delivery, presence }
    }
}

impl Heard {
    /// The losses, as `reason=count`.
    fn lost(&self) -> String {
        let lost: Vec<_> = self.delivery.lost.iter().map(|(loss, count)| format!("{loss}={count}")).collect();
        lost.join(" ")
    }

    fn present(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .presence
            .iter()
            .map(|Presence { device, online, .. }| format!("{}{device}", if *online { '+' } else { '-' }))
            .collect();
        all.sort();
        all
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Text(text) => format!("{text:?}"),
    }
}

fn number(json: &Json) -> Decimal {
    json.to_string().parse().expect("a decimal")
}

/// What a sample of the corpus has to become: (device, metric) → value, time.
type Expected = BTreeSet<(String, String, String, Option<i64>)>;

#[test]
fn every_sample_payload_becomes_what_it_says() {
    let samples = include_str!("data/mqtt_payloads.jsonl");
    for (line, sample) in samples.lines().enumerate() {
        let sample: Json = serde_json::from_str(sample).expect("a sample is JSON");
        let convention = sample["convention"].as_str().expect("a convention");
        let expect = &sample["expect"];
        let topic = match (sample["topic"].as_str(), convention) {
            (Some(topic), _) => topic.to_owned(),
            (None, "zigbee2mqtt") => "zigbee2mqtt/x".to_owned(),
            (None, "chirpstack_v4") => "application/a/device/a8404187d187106e/event/up".to_owned(),
            (None, _) => "any/x".to_owned(),
        };
        let nobody = expect["device"].is_null();
        let own = match (convention, nobody) {
            ("lorawan_device_payload", _) => "topic = 'any/{device}'\n",
            ("hikvision_isapi" | "hikvision_isapi_time", _) => "topic = 'any/#'\n",
            _ => "",
        };
        let mut rest = format!("[[mapping]]\nprofile = '{convention}'\n{own}");
        let time =
            ["timestamp_if_asia_shanghai", "timestamp"].into_iter().find_map(|key| expect[key].as_str());
        let time = time.map(|text| text.parse::<jiff::Timestamp>().expect("a time").as_millisecond());
        let (mut points, mut names, mut expected) = (BTreeMap::new(), Vec::new(), Expected::new());
        for reading in expect["readings"].as_array().map_or(&[][..], Vec::as_slice) {
            let metric = reading["metric"].as_str().expect("a metric");
            let named = reading["device"].as_str().or(expect["device"].as_str()).unwrap_or("x");
            let count = points.len();
            let (point, _) = points.entry(metric).or_insert((format!("m{count}"), reading));
            if !names.contains(&named) {
                names.push(named);
            }
            let device = format!("d{}", names.iter().position(|name| *name == named).expect("there"));
            let value = &reading["value"];
            let value =
                if value.is_number() { number(value).normalize().to_string() } else { value.to_string() };
            let at = reading["t_ms"].as_i64().or(time);
            expected.insert((device.clone(), point.clone(), value, at));
            if let Some((meaning, flag)) = reading["canonical"].as_str().and_then(|text| text.split_once('='))
            {
                expected.insert((device, meaning.into(), flag.into(), at));
            }
        }
        rest += "[[template]]\nname = 't'\n[[template.point]]\nmetric = 'door_open'\nkind = 'flag'\n";
        for (field, (metric, reading)) in &points {
            let kind = match &reading["value"] {
                Json::Bool(_) => "flag",
                Json::String(_) => "text",
                _ => "number",
            };
            writeln!(rest, "[[template.point]]\nmetric = '{metric}'\nfield = '{field}'\nkind = '{kind}'")
                .expect("a text");
            if let Some(unit) = reading["unit"].as_str() {
                writeln!(rest, "unit = '{unit}'").expect("a text");
            }
        }
        for (at, name) in names.iter().enumerate() {
            write!(rest, "[[device]]\nid = 'd{at}'\nname = '{name}'\ntemplate = 't'\n").expect("a text");
        }
        let payload = sample["payload"].as_str().expect("a payload");
        let bytes = |hex: &str| u8::from_str_radix(hex, 16).expect("hex digits");
        let payload: Vec<u8> = match sample["payload_is_hex"].as_bool() {
            Some(true) => (0..payload.len() / 2).map(|at| bytes(&payload[2 * at..2 * at + 2])).collect(),
            _ => payload.into(),
        };
        let mut gateway = Gateway::new(&rest);
        let heard = gateway.say(&topic, payload);
        let got: Expected = heard
            .delivery
            .samples
            .iter()
            .map(|sample| {
                let point = gateway.config.plan.points[sample.series.index()].as_ref().expect("a point");
                let value = match &sample.value {
                    Value::Number(number) => number.normalize().to_string(),
                    other => shown(other),
                };
                (point.device.to_string(), point.metric.to_string(), value, sample.device_ms)
            })
            .collect();
        let number = line + 1;
        assert_eq!(got, expected, "line {number}");
        assert!(heard.delivery.samples.iter().all(|sample| sample.history == expect["history"].is_boolean()));
        let lost = match (&expect["accept"], convention) {
            (Json::Bool(false), _) => "malformed=1",
            (_, "hikvision_isapi") => "refused=3",
            (_, "hikvision_isapi_time") => "unknown_device=1",
            _ => "",
        };
        assert_eq!(heard.lost(), lost, "line {number}");
        assert_eq!(heard.added.described, convention == "homeassistant_discovery", "line {number}");
    }
}

const DOOR: &str = "[[template]]\nname = 'door'\n[[template.point]]\nmetric = 'door_open'\nkind = 'flag'\n\
                    [[template.point]]\nmetric = 'battery'\nunit = '%'\n";

#[test]
fn a_contact_is_a_door_under_every_convention() {
    let mut gateway = Gateway::new(&format!(
        "{DOOR}[[mapping]]\nprofile = 'zigbee2mqtt'\n[[mapping]]\nprofile = 'chirpstack_v4'\n\
         [[mapping]]\nprofile = 'shelly_gen1'\n[[mapping]]\nprofile = 'lorawan_device_payload'\ntopic = 'lora/{{device}}/up'\n\
         [[device]]\nid = 'd1'\nname = 'living room/door'\ntemplate = 'door'\n\
         [[device]]\nids = ['d2', 'd3', 'd4']\nnames = ['24e124', 'shellydw-1', '3']\ntemplate = 'door'\n"
    ));
    for (topic, payload, expected) in [
        (
            "zigbee2mqtt/living room/door",
            &br#"{"contact":false,"battery":97,"linkquality":20}"#[..],
            &["d1/battery=97", "d1/door_open=true"][..],
        ),
        (
            "application/1/device/24e124/event/up",
            br#"{"object":{"magnet_status":"closed","battery":99}}"#,
            &["d2/battery=99", "d2/door_open=false"],
        ),
        ("shellies/shellydw-1/sensor/state", b"open", &["d3/door_open=true"]),
        ("lora/3/up", b"\x01\x75\x5c\x06\x00\x01", &["d4/battery=92", "d4/door_open=true"]),
    ] {
        let heard = gateway.say(topic, payload);
        assert_eq!(heard.lines, expected, "{topic}");
        assert_eq!(heard.lost(), "", "{topic}");
    }
}

#[test]
fn units_that_are_told_become_those_of_the_point() {
    let mut gateway = Gateway::new(
        "[[mapping]]\nprofile = 'senml'\ntopic = 'senml/#'\n\
         [[template]]\nname = 'meter'\n[[template.point]]\nmetric = 'volume'\nunit = 'm3'\n\
         [[template.point]]\nmetric = 'level'\nunit = '%'\n[[template.point]]\nmetric = 'label'\nkind = 'text'\n\
         [[device]]\nid = 'm1'\ntemplate = 'meter'\n",
    );
    for (record, expected, lost) in [
        (r#""n":"volume","u":"L","v":170.00"#, Some("m1/volume=0.17000"), ""),
        (r#""n":"volume","u":"m3","v":1.50"#, Some("m1/volume=1.50"), ""),
        (r#""n":"volume","v":3"#, Some("m1/volume=3"), ""),
        (r#""n":"volume","u":"kWh","v":3"#, None, "invalid=1"),
        (r#""n":"volume","u":"gal","v":3"#, None, "invalid=1"),
        (r#""n":"level","u":"/","v":0.465"#, Some("m1/level=46.5"), ""),
        (r#""n":"label","u":"kWh","v":3"#, Some("m1/label=3"), ""),
        (r#""n":"other","v":3"#, None, "unlisted=1"),
        (r#""n":"volume","vd":"AA""#, None, "unknown_device=1"),
    ] {
        let heard = gateway.say("senml/x", format!(r#"[{{"bn":"m1:",{record}}}]"#));
        assert_eq!(heard.lines.first().map(String::as_str), expected, "{record}");
        assert_eq!(heard.lost(), lost, "{record}");
    }
}

#[test]
fn nobody_speaks_for_another_device() {
    let both = "[[mapping]]\nprofile = 'thingsboard_gateway'\n[[mapping]]\ntopic = 'up/{device}'\n\
                [[mapping]]\ntopic = 'hub'\neach = ''\ndevice = '{key}'\n[[mapping]]\nprofile = 'zigbee2mqtt'\n\
                [[template]]\nname = 't'\n[[template.point]]\nmetric = 't'\njson = '/t'\n\
                [[template]]\nname = 'u'\n[[template.point]]\nmetric = 'u'\n\
                [[device]]\nids = ['j1', 'j2']\ntemplate = 't'\n[[device]]\nids = ['p1', 'p2']\ntemplate = 'u'\n";
    let mut gateway = Gateway::new(both);
    gateway.rights = Rights {
        devices: ["j1", "p1"].iter().map(|id| id.parse().expect("an id")).collect::<HashSet<_>>(),
        ..Rights::default()
    };
    for (topic, payload, lines, lost, unknown) in [
        ("up/j1", r#"{"t":1}"#, "j1/t=1", "", false),
        ("up/j2", r#"{"t":1}"#, "", "forbidden=1", false),
        ("up/j3", r#"{"t":1}"#, "", "unknown_device=1", true),
        (
            "hub",
            r#"{"j1":{"t":1},"j2":{"t":2},"j3":{"t":3}}"#,
            "j1/t=1",
            "unknown_device=1 forbidden=1",
            true,
        ),
        (
            "v1/gateway/telemetry",
            r#"{"p1":{"u":1},"p2":[{"u":2},{"u":3}],"p3":{"u":4},"p4":{"u":5}}"#,
            "p1/u=1",
            "unknown_device=2 forbidden=1",
            true,
        ),
        ("v1/gateway/telemetry", "{}", "", "unknown_device=1", true),
        ("zigbee2mqtt/p2", r#"{"u":1}"#, "", "forbidden=1", false),
        ("zigbee2mqtt/p2/availability", "online", "", "forbidden=1", false),
        // What a device without a configuration is, is no loss; on-boarding may ask.
        ("zigbee2mqtt/p3/availability", "online", "", "", true),
    ] {
        let heard = gateway.say(topic, payload);
        assert_eq!(
            (heard.lines.join(" ").as_str(), heard.lost().as_str()),
            (lines, lost),
            "{topic} {payload}"
        );
        assert_eq!((heard.added.unknown, heard.presence.len()), (unknown, 0), "{topic} {payload}");
    }
}

const HUB: &str = "[[template]]\nname = 'hub'\n[[template.point]]\nmetric = 't'\nunit = 'Cel'\njson = '/t'\n\
                   [[template.point]]\nmetric = 'open'\nkind = 'flag'\njson = '/state'\nmap = { ON = true, OFF = false, 2 = true }\n\
                   [[device]]\nids = ['a', 'b']\nnames = ['11', 'b 1']\ntemplate = 'hub'\n";

#[test]
fn messages_of_several_devices_and_of_several_readings() {
    let time = "time = { pointer = '/ts', form = 'millis' }\n";
    for (mapping, payload, expected, lost) in [
        ("device = '/id'", r#"{"id":11,"t":1}"#, "a/t=1", ""),
        ("device = '/id'", r#"{"id":"b 1","state":"ON","ts":9}"#, "b/open=true @9", ""),
        ("device = '/id'", r#"{"t":1}"#, "", "unknown_device=1"),
        ("device = '/id'", r#"{"id":"11"}"#, "", "unlisted=1"),
        ("device = '/id'", r#"{"id":"11","#, "", "malformed=1"),
        (
            "each = '/s'\ndevice = '/id'",
            r#"{"ts":7,"s":[{"id":"11","t":1.50},{"id":"b 1","t":2,"ts":8},{"id":"11","state":"?"}]}"#,
            "a/t=1.50 @7 b/t=2 @8 a/open=\"?\" @7",
            "",
        ),
        ("each = '/s'\ndevice = '/id'", r#"{"s":[]}"#, "", "unlisted=1"),
        ("each = '/s'\ndevice = '/id'", r#"{"s":[{"t":1},7,{"id":"x"}]}"#, "", "unknown_device=2"),
        (
            "each = '/s'\ndevice = '{key}'",
            r#"{"s":{"11":{"state":2},"b 1":{"state":"OFF"}}}"#,
            "a/open=true b/open=false",
            "",
        ),
        ("each = ''\ndevice = '/id'", r#"[{"id":"11","t":{}},{"id":"11","t":1}]"#, "a/t=1", "invalid=1"),
    ] {
        let mut gateway =
            Gateway::new(&format!("{HUB}[[mapping]]\ntopic = ['hub/+', 'other']\n{time}{mapping}\n"));
        for topic in ["hub/1", "other"] {
            let heard = gateway.say(topic, payload);
            assert_eq!(
                (heard.lines.join(" ").as_str(), heard.lost().as_str()),
                (expected, lost),
                "{payload}"
            );
        }
        assert!(gateway.say("hub/1/2", payload).added.described);
    }
    // Items of one device, and a payload that is nothing but its value.
    let mut series = Gateway::new(&format!("{HUB}[[mapping]]\ntopic = 'r/{{device}}'\n{time}each = '/d'\n"));
    let heard = series.say("r/11", r#"{"d":[{"t":1,"ts":1},{"t":2,"ts":2}],"ts":3}"#);
    assert_eq!(heard.lines, ["a/t=1 @1", "a/t=2 @2"]);
    assert_eq!(series.say("r/x", "{}").lost(), "unknown_device=1");
    let mut bare = Gateway::new(
        "[[mapping]]\ntopic = '{device}/temperature'\n[[template]]\nname = 'b'\n[[template.point]]\nmetric = 't'\njson = ''\n\
         [[device]]\nid = 'x'\ntemplate = 'b'\n",
    );
    assert_eq!(bare.say("x/temperature", "21.50").lines, ["x/t=21.50"]);
}

#[test]
fn what_is_repeated_or_past_says_so() {
    let mut gateway = Gateway::new(&format!(
        "{DOOR}[[mapping]]\nprofile = 'lorawan_device_payload'\ntopic = 'lora/{{device}}'\n[[mapping]]\nprofile = 'tasmota'\n\
         zone = '+00:00'\n[[device]]\nid = 'd'\ntemplate = 'door'\n[[template]]\nname = 'x'\n[[template.point]]\nmetric = 'v'\n\
         field = 'A.V'\n[[device]]\nid = 'e'\ntemplate = 'x'\n"
    ));
    let topic = "tele/e/SENSOR";
    let payload = br#"{"Time":"2024-01-10T18:42:48","A":{"V":1}}"#;
    for retain in [true, false] {
        let heard = gateway.at(&Received { topic, payload, retain, received_ms: NOW_MS });
        assert_eq!(heard.lines, ["e/v=1 @1704912168000"], "in the mapping's zone");
        assert_eq!((heard.delivery.samples[0].retained, heard.delivery.samples[0].history), (retain, false));
    }
    // A battery of now beside a contact of the past.
    let heard = gateway.say("lora/d", b"\x01\x75\x5c\x20\xce\x9e\x74\x46\x63\x10\x01\x5d\x01");
    let history: Vec<bool> = heard.delivery.samples.iter().map(|sample| sample.history).collect();
    assert_eq!(heard.lines, ["d/battery=92", "d/door_open=true @1665561758000"]);
    assert_eq!(history, [false, true]);
}

#[test]
fn devices_come_and_go() {
    let mut gateway = Gateway::new(&format!(
        "{DOOR}[[mapping]]\nprofile = 'zigbee2mqtt'\n[[mapping]]\nprofile = 'tasmota'\n[[mapping]]\nprofile = 'sparkplug_b'\n\
         [[mapping]]\nprofile = 'face_terminal'\n[[device]]\nid = 'd'\ntemplate = 'door'\n\
         [[device]]\nids = ['n', 'n1', 'n2']\nnames = ['g/n', 'g/n/1', 'g/n2/1']\ntemplate = 'door'\n"
    ));
    for (topic, payload, present, described) in [
        ("zigbee2mqtt/d/availability", r#"{"state":"offline"}"#, "-d", false),
        ("zigbee2mqtt/d/availability", "what", "", true),
        ("tele/d/LWT", "Online", "+d", false),
        ("mqtt/face/d/heartbeat", r#"{"operator":"HeartBeat","info":{"facesluiceId":"d"}}"#, "+d", false),
        ("spBv1.0/g/NBIRTH/n", r#"{"seq":0,"metrics":[]}"#, "+n", false),
        ("spBv1.0/g/DBIRTH/n/1", r#"{"seq":1,"metrics":[{"name":"x","value":1}]}"#, "+n1", false),
        ("spBv1.0/g/NDEATH/n", r#"{"metrics":[]}"#, "-n -n1", false),
        ("zigbee2mqtt/d/set", r#"{"state":"ON"}"#, "", true),
        ("zigbee2mqtt/bridge/info", "{", "", true),
        ("elsewhere", "{", "", true),
    ] {
        let heard = gateway.say(topic, payload);
        assert_eq!(
            (heard.present().join(" ").as_str(), heard.added.described),
            (present, described),
            "{topic}"
        );
        assert_eq!(heard.lost(), "", "{topic}");
    }
}

#[test]
fn a_node_that_was_not_heard_being_born_is_asked_once() {
    let mut gateway = Gateway::new(&format!(
        "{DOOR}[[mapping]]\nprofile = 'sparkplug_b'\n[[device]]\nid = 'd'\nname = 'g/n/d'\ntemplate = 'door'\n"
    ));
    let data = |seq: u64| format!(r#"{{"seq":{seq},"metrics":[{{"name":"battery","value":5}}]}}"#);
    let mut say = |topic: &str, seq, received_ms| {
        let payload = data(seq);
        let heard = gateway.at(&Received { topic, payload: payload.as_bytes(), retain: false, received_ms });
        (heard.added.command, heard.lines)
    };
    let (command, lines) = say("spBv1.0/g/DDATA/n/d", 5, NOW_MS);
    let command = command.expect("a birth is missing");
    assert_eq!((command.topic.as_str(), lines), ("spBv1.0/g/NCMD/n", vec!["d/battery=5".to_owned()]));
    assert!(command.payload.windows(20).any(|part| part == b"Node Control/Rebirth"));
    assert_eq!(say("spBv1.0/g/DDATA/n/d", 9, NOW_MS + 1).0, None, "it was asked a moment ago");
    assert!(say("spBv1.0/g/DDATA/n/d", 9, NOW_MS + 30_000).0.is_some());
    assert_eq!(say("spBv1.0/g/DDATA/other/d", 5, NOW_MS).0, None, "nobody's node is asked for nothing");
}

#[test]
fn people_stay_at_the_door() {
    let mut gateway = Gateway::new(
        "packet_max = '1 MiB'\n[[mapping]]\nprofile = 'face_terminal'\n[[template]]\nname = 'gate'\n\
         [[template.point]]\nmetric = 'passed'\nkind = 'flag'\nfield = 'VerifyStatus'\nmap = { 1 = true, 2 = false }\n\
         [[device]]\nid = 'gate-1'\nname = '1001'\ntemplate = 'gate'\n",
    );
    let payload = r#"{"operator":"RecPush","info":{"RecordID":"17","personId":"CANARY","VerifyStatus":"1","persionName":"CANARY",
        "telnum":"13800138000","facesluiceId":"1001","time":"2026-11-20 23:59:00"},"pic":"CANARY"}"#;
    let heard = gateway.say("mqtt/face/1001/Rec", payload);
    assert_eq!(heard.lines, [format!("gate-1/passed=true @{}", NOW_MS - 60_000)]);
    assert_eq!(heard.delivery.lost.get(Loss::Refused), 4);
    let warned = |packet: &str| {
        let config = load(&format!("{packet}[[mapping]]\nprofile = 'face_terminal'\n"));
        config.warnings.iter().any(|warning| warning.message.contains("photographs"))
    };
    assert!(warned("") && warned("packet_max = '512 KiB'\n") && !warned("packet_max = '1 MiB'\n"));
}

#[test]
fn a_wrong_mapping_is_one_fault() {
    let devices = "[[device]]\nids = ['a', 'b']\ntemplate = 't'\n";
    let point =
        |more: &str| format!("[[template]]\nname = 't'\n[[template.point]]\nmetric = 'power'\n{more}\n");
    let mapping = |more: &str| format!("[[mapping]]\n{more}\n");
    let hub = "topic = 'hub'\n";
    for (text, fault) in [
        (mapping("profile = 'zigbee'"), "unknown profile \"zigbee\""),
        (mapping("profile = 'senml'"), "senml is sent to any topic, and none is named"),
        (mapping("profile = 'zigbee2mqtt'\neach = '/x'"), "each beside a profile"),
        (
            mapping("profile = 'zigbee2mqtt'\ntime = { pointer = '/x', form = 'text' }"),
            "time beside a profile",
        ),
        (mapping("profile = 'zigbee2mqtt'\ntopic = 'a/#/b'"), "topic filter \"a/#/b\""),
        (mapping("profile = 'zigbee2mqtt'\ntopic = ['a/{device', 'a/#']"), "level \"{device\""),
        (mapping(""), "missing key `topic`"),
        (mapping("topic = 'hub'"), "0 times {device}"),
        (mapping("topic = 'hub/{device}'\ndevice = '/id'"), "two places for the device"),
        (mapping(&format!("{hub}device = 'id'")), "pointer \"id\""),
        (mapping(&format!("{hub}device = '{{key}}'")), "the member's name, and no members"),
        (mapping(&format!("{hub}each = 's'\ndevice = '/id'")), "pointer \"s\" does not begin with /"),
        (mapping(&format!("{hub}each = '/~2'\ndevice = '/id'")), "'~' is written ~0"),
        (mapping("topic = ['a/{device}', 'a/{device}']"), "topic \"a/{device}\" stands twice"),
        (point("unit = 'A'\njson = '/p'\nmap = { ON = true }"), "a value of another kind than the point's"),
        (
            point("modbus = { table = 'input', address = 0, type = 'u16' }\nmap = { x = 1 }"),
            "map of a point on a bus",
        ),
        (point(""), "nothing says where it comes from"),
        (
            point("unit = 'V'") + &mapping("profile = 'zigbee2mqtt'"),
            "power of zigbee2mqtt comes in W, which is no exact V",
        ),
        (point("") + &mapping("profile = 'zigbee2mqtt'"), "comes in W, and the point has no unit"),
        (
            point("unit = 'kWh'\nfield = 'relay.0.energy'") + &mapping("profile = 'shelly_gen1'"),
            "comes in W.min, which is no exact kWh",
        ),
        (point("json = '/p'") + devices + "name = 'x'", "1 names for 2 devices"),
        (point("json = '/p'") + devices + "name = 'x'\nnames = ['x', 'y']", "both name and names"),
        (
            point("unit = 'kW'") + devices + "names = ['x', 'x']\n" + &mapping("profile = 'zigbee2mqtt'"),
            "name \"x\" is another device's too",
        ),
    ] {
        let faults = try_load(&text).expect_err(&text);
        let told: Vec<&str> = faults.faults.iter().map(|fault| fault.message.as_str()).collect();
        assert!(matches!(&told[..], [one] if one.contains(fault)), "{text}: {told:?}, not {fault}");
    }
    // Of two conventions a point may be the other one's.
    let two = point("unit = 'V'") + &mapping("profile = 'zigbee2mqtt'") + &mapping("profile = 'tasmota'");
    assert!(try_load(&two).is_ok());
}

#[test]
fn devices_may_be_called_otherwise_one_by_one_or_in_ranges() {
    let config = load(&format!(
        "{DOOR}[[mapping]]\nprofile = 'zigbee2mqtt'\n[[device]]\nid = 'd-{{1..3}}'\nname = 'door {{7..9}}'\ntemplate = 'door'\n"
    ));
    let speakers = &config.mqtt.as_ref().expect("MQTT").mappings[0].speakers;
    let device = |name: &str| speakers.get(name).map(|speaker| speaker.device.to_string());
    assert_eq!((device("door 9").as_deref(), device("d-1")), (Some("d-3"), None));
}

/// What people copy from the documentation works as it stands, alone and all together.
#[test]
fn the_stanzas_of_the_documentation_are_whole() {
    for page in [include_str!("../docs/mqtt.md"), include_str!("../docs/mqtt.zh-CN.md")] {
        let blocks = page.split("```toml\n").skip(1);
        let blocks: Vec<&str> = blocks.map(|rest| rest.split("```").next().expect("a block")).collect();
        assert_eq!(blocks.len(), 5);
        for block in blocks.iter().map(ToString::to_string).chain([blocks.concat()]) {
            let config = load(&block);
            let warned: Vec<&str> = config.warnings.iter().map(|warning| warning.message.as_str()).collect();
            assert_eq!(warned, [""; 0], "{block}");
        }
        let mut gateway = Gateway::new(&blocks.concat());
        for (topic, payload, lines) in [
            (
                "zigbee2mqtt/building 3/door 1",
                r#"{"contact":true,"battery":80}"#,
                "door-3-1/battery=80 door-3-1/door_open=false",
            ),
            ("zigbee2mqtt/pump room leak", r#"{"water_leak":true}"#, "leak-pump-room/water_leak=true"),
            (
                "application/1/device/24e124600d123456/event/up",
                r#"{"object":{"temperature":12.5,"humidity":"81.5"}}"#,
                "cellar-2/humidity=81.5 cellar-2/temperature=12.5",
            ),
            (
                "tele/tasmota_7A3F21/SENSOR",
                r#"{"ENERGY":{"Total":3.185,"Power":250,"Voltage":231}}"#,
                "pump-plug/power=0.250 pump-plug/energy=3.185 pump-plug/voltage=231",
            ),
            ("stat/tasmota_7A3F21/POWER", "ON", "pump-plug/switched_on=true"),
            ("tele/tasmota_11B2C3/SENSOR", r#"{"AM2301":{"Humidity":40}}"#, "lobby/humidity=40"),
            (
                "hub/east/data",
                r#"{"ts":1,"sensors":[{"id":11,"state":"OPEN"},{"id":12,"state":"CLOSED"}]}"#,
                "window-1/window_open=true @1000 window-2/window_open=false @1000",
            ),
            (
                "cameras/gate-1",
                r#"{"dateTime":"2026-11-21T08:00:00+08:00","AccessControllerEvent":{"majorEventType":5,"subEventType":75}}"#,
                "gate-1/face_accepted=true @1795219200000",
            ),
        ] {
            assert_eq!(gateway.say(topic, payload).lines.join(" "), lines, "{topic}");
        }
    }
}

/// Whoever names no topic gets all that the convention's devices send.
#[test]
fn a_profile_is_heard_on_its_own_topics() {
    for (profile, topic, payload, name) in [
        ("tasmota", "stat/x/STATUS10", r#"{"StatusSNS":{"u":1}}"#, "x"),
        ("shelly_gen1", "shellies/x/u", "1", "x"),
        ("shelly_gen2", "x/status/u", r#"{"v":1}"#, "x"),
        ("shelly_gen2", "p/events/rpc", r#"{"src":"x","params":{"u":{"v":1}}}"#, "x"),
        ("chirpstack_v4", "application/1/device/x/event/up", r#"{"object":{"u":1}}"#, "x"),
        ("sparkplug_b", "spBv1.0/g/NBIRTH/n", r#"{"seq":0,"metrics":[{"name":"u","value":1}]}"#, "g/n"),
        ("thingsboard_gateway", "v1/gateway/telemetry", r#"{"x":{"u":1}}"#, "x"),
        ("aliyun_alink", "/sys/p/x/thing/event/property/post", r#"{"params":{"u":1}}"#, "p/x"),
        (
            "huawei_iotda",
            "$oc/devices/x/sys/properties/report",
            r#"{"services":[{"service_id":"u","properties":{"v":1}}]}"#,
            "x",
        ),
        (
            "huawei_iotda",
            "$oc/devices/gw/sys/gateway/sub_devices/properties/report",
            r#"{"devices":[{"device_id":"x","services":[{"service_id":"u","properties":{"v":1}}]}]}"#,
            "x",
        ),
    ] {
        let mut gateway = Gateway::new(&format!(
            "[[mapping]]\nprofile = '{profile}'\n[[device]]\nid = 'd'\nname = '{name}'\ntemplate = 't'\n[[template]]\nname = 't'\n\
             [[template.point]]\nmetric = 'u'\n[[template.point]]\nmetric = 'v'\nfield = 'u.v'\n"
        ));
        let heard = gateway.say(topic, payload);
        assert!(matches!(&heard.lines[..], [one] if one.ends_with("=1")), "{topic}: {:?}", heard.lines);
    }
}

/// A connection that speaks for many nodes does not cost more and more, and who makes room is asked again.
#[test]
fn nodes_that_are_remembered_are_bounded() {
    let mut gateway = Gateway::new(&format!(
        "{DOOR}[[mapping]]\nprofile = 'sparkplug_b'\n[[device]]\nid = 'd-{{1..20}}'\nname = 'g/{{1..20}}'\ntemplate = 'door'\n"
    ));
    for node in 1..=20 {
        let born = gateway.say(&format!("spBv1.0/g/NBIRTH/{node}"), r#"{"seq":0,"metrics":[]}"#);
        assert_eq!(born.present(), [format!("+d-{node}")]);
    }
    let asked = (1..=20).rev().filter(|node| {
        let data = r#"{"seq":1,"metrics":[{"name":"battery","value":1}]}"#;
        gateway.say(&format!("spBv1.0/g/NDATA/{node}"), data).added.command.is_some()
    });
    assert_eq!(asked.collect::<Vec<_>>(), [4, 3, 2, 1]);
}
