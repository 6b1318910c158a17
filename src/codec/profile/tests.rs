//! Conventions by their payloads, then what holds for any bytes under every profile.

use proptest::prelude::*;

use super::sparkplug::{WireMetric, WirePayload};
use super::*;

const CHINA_MS: i64 = 8 * 3_600_000;
const NOW_MS: i64 = 1_795_305_600_000;

fn message<'m>(topic: Option<&'m str>, payload: &'m [u8]) -> Message<'m> {
    Message { topic, payload, received_ms: NOW_MS, zone_ms: CHINA_MS }
}

fn profile(name: &str) -> &'static Profile {
    Profile::find(name).expect("a profile")
}

fn map(name: &str, topic: &str, payload: &str) -> Mapped {
    let mapped = profile(name).map(&message(Some(topic), payload.as_bytes()), &mut State::default());
    mapped.expect("it means something")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Text(text) => format!("{text:?}"),
    }
}

/// Readings as `[device/]metric=value[ unit][ @ms][ !][ (meaning)]`.
fn lines(mapped: &Mapped) -> Vec<String> {
    let line = |reading: &Reading| {
        let mut line = reading.device.as_ref().map(|device| format!("{device}/")).unwrap_or_default();
        line += &format!("{}={}", reading.metric, shown(&reading.value));
        for part in [
            reading.unit.as_ref().map(|unit| format!(" {unit}")),
            reading.time_ms.map(|ms| format!(" @{ms}")),
            reading.event.then(|| " !".into()),
            reading.canonical.map(|meaning| format!(" ({meaning})")),
        ] {
            line += &part.unwrap_or_default();
        }
        line
    };
    mapped.readings.iter().map(line).collect()
}

/// (profile, topic, payload, kind, device, readings)
type Case = (&'static str, &'static str, &'static str, Kind, Option<&'static str>, &'static [&'static str]);

#[test]
fn homes_are_read() {
    use Kind::{Availability, Command, Data, Event, Metadata};
    let cases: &[Case] = &[
        (
            "zigbee2mqtt",
            "zigbee2mqtt/hall/door 1",
            r#"{"contact":true,"action":"","voltage":231.0,"color":{"x":0.3},"state":"ON","soc":null}"#,
            Data,
            Some("hall/door 1"),
            &["contact=true (door_open=false)", "state=true", "voltage=231.0 V"],
        ),
        ("zigbee2mqtt", "zigbee2mqtt/b", r#"{"action":"1"}"#, Event, Some("b"), &["action=\"1\" !"]),
        ("zigbee2mqtt", "zigbee2mqtt/b/availability", r#"{"state":"online"}"#, Availability, Some("b"), &[]),
        ("zigbee2mqtt", "zigbee2mqtt/b/availability", "offline", Availability, Some("b"), &[]),
        ("zigbee2mqtt", "zigbee2mqtt/bridge/devices", "[", Metadata, Some("bridge"), &[]),
        ("zigbee2mqtt", "zigbee2mqtt/b/set", "{}", Command, Some("b"), &[]),
        (
            "tasmota",
            "tele/meter/SENSOR",
            r#"{"Time":"2024-01-11T02:42:48","ENERGY":{"TotalStartTime":"2023-01-01T00:00:00","Total":12.340,
                "Power":[0,-1.5],"Voltage":230},"DS18B20-1":{"Id":"0316A2795A59","Temperature":71.6},"TempUnit":"F"}"#,
            Data,
            Some("meter"),
            &[
                "DS18B20-1.Temperature=71.6 [degF]",
                "ENERGY.Power.0=0 W",
                "ENERGY.Power.1=-1.5 W",
                "ENERGY.Total=12.340 kWh",
                "ENERGY.Voltage=230 V",
            ],
        ),
        ("tasmota", "stat/plug/POWER2", "ON", Data, Some("plug"), &["POWER2=true"]),
        ("tasmota", "stat/plug/RESULT", r#"{"POWER":"OFF"}"#, Data, Some("plug"), &["POWER=false"]),
        (
            "tasmota",
            "stat/plug/STATUS10",
            r#"{"StatusSNS":{"Time":"2024-01-11T02:42:48","AM2301":{"Humidity":null,"Temperature":21.5}}}"#,
            Data,
            Some("plug"),
            &["AM2301.Temperature=21.5 Cel"],
        ),
        ("tasmota", "tele/plug/LWT", "Offline", Availability, Some("plug"), &[]),
        ("tasmota", "tele/plug/INFO1", "{", Metadata, Some("plug"), &[]),
        ("shelly_gen1", "shellies/s1/relay/0", "on", Data, Some("s1"), &["relay.0=true"]),
        ("shelly_gen1", "shellies/s1/relay/0/power", "12.30", Data, Some("s1"), &["relay.0.power=12.30 W"]),
        ("shelly_gen1", "shellies/s1/relay/0/energy", "5", Data, Some("s1"), &["relay.0.energy=5 W.min"]),
        ("shelly_gen1", "shellies/s1/emeter/1/total", "7.5", Data, Some("s1"), &["emeter.1.total=7.5 Wh"]),
        ("shelly_gen1", "shellies/s1/sensor/flood", "true", Data, Some("s1"), &["sensor.flood=true"]),
        (
            "shelly_gen1",
            "shellies/s1/sensor/state",
            "open\n",
            Data,
            Some("s1"),
            &["sensor.state=\"open\" (door_open=true)"],
        ),
        (
            "shelly_gen1",
            "shellies/s1/input_event/0",
            r#"{"event":"S","event_cnt":2}"#,
            Event,
            Some("s1"),
            &["input_event.0=\"S\" !"],
        ),
        ("shelly_gen1", "shellies/s1/online", "false", Availability, Some("s1"), &[]),
        ("shelly_gen1", "shellies/s1/relay/0/command", "on", Command, Some("s1"), &[]),
        (
            "shelly_gen2",
            "plug/events/rpc",
            r#"{"src":"shellyplus1-1","method":"NotifyStatus","params":{"ts":1631186545.04,
                "switch:0":{"id":0,"output":true,"apower":8.9,"aenergy":{"total":6.532,"minute_ts":1,"by_minute":[1]}}}}"#,
            Data,
            Some("shellyplus1-1"),
            &["switch:0.aenergy.total=6.532 Wh", "switch:0.apower=8.9 W", "switch:0.output=true"],
        ),
        (
            "shelly_gen2",
            "plug/events/rpc",
            r#"{"src":"shellyplus1-1","method":"NotifyEvent","params":{"ts":1631266595.44,
                "events":[{"component":"input:0","id":0,"event":"single_push","ts":1631266595.44}]}}"#,
            Event,
            Some("shellyplus1-1"),
            &["input:0=\"single_push\" @1631266595440 !"],
        ),
        (
            "shelly_gen2",
            "a/b/status/temperature:0",
            r#"{"id":0,"tC":-3.5,"tF":25.7}"#,
            Data,
            Some("a/b"),
            &["temperature:0.tC=-3.5 Cel"],
        ),
        ("shelly_gen2", "a/status/sys", r#"{"uptime":5}"#, Data, Some("a"), &[]),
        ("shelly_gen2", "a/online", "true", Availability, Some("a"), &[]),
    ];
    hold(cases);
    for (topic, payload, online) in
        [("x/availability", "offline", Some(false)), ("x/availability", r#"{"state":"online"}"#, Some(true))]
    {
        assert_eq!(map("zigbee2mqtt", &format!("zigbee2mqtt/{topic}"), payload).online, online);
    }
    let local = map("tasmota", "tele/x/SENSOR", r#"{"Time":"2024-01-11T02:42:48","Epoch":1704912168}"#);
    assert_eq!((local.device_ms, local.time_source), (Some(1_704_912_168_000), TimeSource::Payload));
}

fn hold(cases: &[Case]) {
    for (name, topic, payload, kind, device, readings) in cases {
        let mapped = map(name, topic, payload);
        assert_eq!(lines(&mapped), *readings, "{name} {topic}");
        assert_eq!((mapped.kind, mapped.device.as_deref()), (*kind, *device), "{name} {topic}");
    }
}

#[test]
fn clouds_and_industry_are_read() {
    use Kind::{Birth, Command, Data, Death, Event, Metadata};
    hold(&[
        (
            "neuron_values",
            "/neuron/app",
            r#"{"timestamp":1647497389075,"node":"modbus","group":"grp","values":{"t0":42,"t1":1.50},"errors":{"t2":2014}}"#,
            Data,
            Some("modbus/grp"),
            &["t0=42", "t1=1.50"],
        ),
        (
            "neuron_tags",
            "/neuron/app",
            r#"{"timestamp":1647497389075,"node":"modbus","group":"grp","tags":[{"name":"t0","value":true},{"name":"t1","error":2014}]}"#,
            Data,
            Some("modbus/grp"),
            &["t0=true"],
        ),
        (
            "thingsboard_gateway",
            "v1/gateway/telemetry",
            r#"{"A":[{"temperature":42}],"B":{"x":"1.0"}}"#,
            Data,
            None,
            &["A/temperature=42", "B/x=1.0"],
        ),
        ("thingsboard_gateway", "v1/gateway/connect", r#"{"device":"A"}"#, Birth, Some("A"), &[]),
        ("thingsboard_gateway", "v1/gateway/disconnect", r#"{"device":"A"}"#, Death, Some("A"), &[]),
        ("thingsboard_gateway", "v1/gateway/attributes", "{}", Metadata, None, &[]),
        (
            "aliyun_alink",
            "/sys/p/d/thing/event/property/post",
            r#"{"id":"1","params":{"Power":{"value":"on","time":1524448722000},"WF":3,"geo":{"x":1,"y":{"value":2}}}}"#,
            Data,
            Some("p/d"),
            &["Power=\"on\" @1524448722000", "WF=3", "geo.x=1", "geo.y=2"],
        ),
        (
            "aliyun_alink",
            "/sys/p/d/thing/event/alarm/post",
            r#"{"params":{"value":{"code":7},"time":1524448722000}}"#,
            Event,
            Some("p/d"),
            &["alarm.code=7 !"],
        ),
        ("aliyun_alink", "/sys/p/d/thing/event/property/post_reply", "", Metadata, Some("p/d"), &[]),
        (
            "huawei_iotda",
            "$oc/devices/d1/sys/properties/report",
            r#"{"services":[{"service_id":"T","properties":{"v":57.10},"event_time":"20151212T121212Z"},
                {"service_id":"B","properties":{"level":80}}]}"#,
            Data,
            Some("d1"),
            &["T.v=57.10 @1449922332000", "B.level=80"],
        ),
        (
            "huawei_iotda",
            "$oc/devices/gw/sys/gateway/sub_devices/properties/report",
            r#"{"devices":[{"device_id":"s1","services":[{"service_id":"T","properties":{"v":1}}]}]}"#,
            Data,
            None,
            &["s1/T.v=1"],
        ),
        (
            "huawei_iotda",
            "$oc/devices/d1/sys/events/up",
            r#"{"services":[{"service_id":"L","event_type":"low","paras":{"v":1},"event_time":"2015-12-12T12:12:12.219Z"}]}"#,
            Event,
            Some("d1"),
            &["L.low.v=1 @1449922332219 !"],
        ),
        ("huawei_iotda", "$oc/devices/d1/sys/commands/request_id=1", "{}", Command, Some("d1"), &[]),
    ]);
    assert_eq!(
        map("neuron_values", "x", r#"{"values":{},"errors":{"a":1,"b":2}}"#).ignored,
        2,
        "failed tags are no values"
    );
}

#[test]
fn radio_sensors_are_read() {
    use Kind::{Birth, Data, Metadata};
    hold(&[
        (
            "chirpstack_v4",
            "application/1/device/00aa/event/up",
            r#"{"object":{"magnet_status":"open","nested":{"temperature":"1.50"},"serial":"007"},
                "rxInfo":[{"rssi":-90,"snr":1},{"rssi":-36,"snr":10.5}]}"#,
            Data,
            Some("00aa"),
            &[
                "magnet_status=\"open\" (door_open=true)",
                "nested.temperature=1.50 Cel",
                "serial=\"007\"",
                "rssi=-36 dBm",
                "snr=10.5 dB",
            ],
        ),
        (
            "chirpstack_v4",
            "application/1/device/00aa/event/status",
            r#"{"margin":10,"batteryLevel":78.35}"#,
            Data,
            Some("00aa"),
            &["margin=10 dB", "batteryLevel=78.35 %"],
        ),
        (
            "chirpstack_v4",
            "application/1/device/00aa/event/join",
            r#"{"devAddr":"1"}"#,
            Birth,
            Some("00aa"),
            &[],
        ),
        ("chirpstack_v4", "application/1/device/00aa/event/location", "{}", Metadata, Some("00aa"), &[]),
        (
            "lorawan_device_payload",
            "x",
            "\u{1}\u{75}\u{5c}\u{3}\u{67}\u{1}\u{1}\u{4}\u{68}\u{5d}\u{6}\0\0",
            Data,
            None,
            &[
                "battery=92 %",
                "temperature=25.7 Cel",
                "humidity=46.5 %RH",
                "magnet_status=\"closed\" (door_open=false)",
            ],
        ),
        (
            "senml",
            "x",
            r#"[{"bn":"urn:dev:ow:1:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
                {"n":"current","t":-5,"v":1.20},{"n":"open","vb":true},{"n":"label","vs":"a"},{"n":"x","vd":"AA"},
                {"n":"y","v":1,"z_":1},{"n":" bad","v":1}]"#,
            Data,
            Some("urn:dev:ow:1"),
            &[
                "urn:dev:ow:1/voltage=120.1 V @1276020076001",
                "urn:dev:ow:1/current=1.20 A @1276020071001",
                "urn:dev:ow:1/open=true @1276020076001",
                "urn:dev:ow:1/label=\"a\" @1276020076001",
            ],
        ),
        (
            "senml",
            "x",
            r#"[{"n":"urn:dev:1/temp","u":"Cel","v":23.10,"t":-60},{"bn":"m:","bv":10,"bs":5,"v":0.5,"s":1.5,"u":"kWh"}]"#,
            Data,
            None,
            &["urn:dev:1/temp=23.10 Cel @1795305540000", "m/value=10.5 kWh", "m/value.sum=6.5 kWh"],
        ),
    ]);
    let newer =
        profile("senml").map(&message(None, br#"[{"bver":11,"n":"a","v":1}]"#), &mut State::default());
    assert_eq!(newer, Err(ProfileError::Version));
    let cut = map("lorawan_device_payload", "x", "\u{1}\u{75}\u{5c}\u{3}\u{67}\u{1}");
    assert_eq!((lines(&cut).len(), cut.ignored), (1, 1));
}

#[test]
fn discovery_says_where_values_are() {
    let told = map(
        "homeassistant_discovery",
        "homeassistant/sensor/n1/temp/config",
        r#"{"~":"z/door","stat_t":"~/state","avty_t":"~/lwt","val_tpl":"{{ value_json.T }}","dev_cla":"temperature",
            "unit_of_meas":"°C","dev":{"ids":["0x1"]},"pl_on":"ON"}"#,
    );
    let text = |text: &str| Some(Box::<str>::from(text));
    assert_eq!(told.device, text("0x1"));
    let description = Description {
        component: text("sensor"),
        object: text("temp"),
        state_topic: text("z/door/state"),
        availability_topic: text("z/door/lwt"),
        pointer: text("/T"),
        device_class: text("temperature"),
        unit: text("°C"),
        payload_on: text("ON"),
        ..Description::default()
    };
    assert_eq!(told.description, Some(description));
    let removed = map("homeassistant_discovery", "homeassistant/sensor/n1/temp/config", "");
    assert!(removed.description.is_some_and(|description| description.removed));
    let opaque = r#"{"stat_t":"s","val_tpl":"{{ value_json.T | float }}"}"#;
    let opaque = map("homeassistant_discovery", "homeassistant/sensor/t/config", opaque);
    assert!(opaque.description.is_some_and(|description| description.opaque_template));
}

const FACE: &str = r#"{"operator":"RecPush","info":{"customId":"CANARY-1","personId":"CANARY-2","RecordID":"17",
    "VerifyStatus":"1","PersonType":"0","similarity1":"CANARY-9","direction":"entr","otype":"1","isNoMask":"0",
    "persionName":"CANARY-3","facesluiceId":"1026","idCard":"CANARY-4","telnum":"CANARY-5",
    "time":"2024-01-11 02:42:48","pic":"data:image/jpeg;base64,CANARY-6","extra":{"list":[{"name":"CANARY-7"}]}}}"#;

#[test]
fn doors_tell_nothing_about_people() {
    let mapped = map("face_terminal", "mqtt/face/1026/Rec", FACE);
    assert_eq!(lines(&mapped), ["VerifyStatus=1 !", "direction=\"entr\" !", "otype=1 !", "isNoMask=0 !"]);
    assert_eq!((mapped.device.as_deref(), mapped.device_ms), (Some("1026"), Some(1_704_912_168_000)));
    assert_eq!(
        (mapped.time_source, mapped.message_id.as_deref()),
        (TimeSource::PayloadLocal, Some("1026/17"))
    );
    let mut fields: Vec<_> = mapped.refused.iter().map(|refused| refused.field).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["customId", "idCard*", "name", "persionName", "personId", "pic", "similarity*", "telnum"],
        "each once"
    );
    assert!(mapped.refused.iter().all(|refused| refused.identifier == refused.field.ends_with("Id")));
    let online =
        map("face_terminal", "mqtt/face/basic", r#"{"operator":"Online","info":{"facesluiceId":"7"}}"#);
    assert_eq!(
        (online.kind, online.device.as_deref(), online.online),
        (Kind::Availability, Some("7"), Some(true))
    );
    let other = map(
        "hikvision_isapi",
        "x",
        r#"{"ipAddress":"10.0.0.9","eventType":"VMD","eventState":"active",
        "dateTime":"2016-12-24T18:59:49-8:00"}"#,
    );
    assert_eq!(lines(&other), ["event=\"VMD/active\" !"]);
    assert_eq!((other.time_source, other.time_unreadable), (TimeSource::Receive, true));
}

fn wire(metrics: Vec<WireMetric>, seq: Option<u64>) -> Vec<u8> {
    use prost::Message;
    let metrics = metrics.iter().map(|metric| metric.encode_to_vec().into()).collect();
    WirePayload { timestamp: Some(1_486_144_502_122), metrics, seq }.encode_to_vec()
}

fn named(name: &str, alias: u64, datatype: u32, bits: u32) -> WireMetric {
    WireMetric {
        name: Some(name.into()),
        alias: Some(alias),
        datatype: Some(datatype),
        int_value: Some(bits),
        ..WireMetric::default()
    }
}

#[test]
fn births_give_names_to_what_follows() {
    let mut state = State::default();
    let mut say = |topic: &str, metrics, seq| {
        let payload = wire(metrics, seq);
        profile("sparkplug_b").map(&message(Some(topic), &payload), &mut state).expect("a payload")
    };
    let by = |alias, bits| WireMetric { alias: Some(alias), int_value: Some(bits), ..WireMetric::default() };
    let bd = |seq| vec![named("bdSeq", 9, 4, seq)];

    let early = say("spBv1.0/g/DDATA/n/d", vec![by(1, 5)], Some(4));
    assert_eq!((early.rebirth, early.ignored, early.readings.len()), (true, 1, 0), "nobody was born");

    let mut births = bd(3);
    births.push(named("level", 1, 2, 0xFFFF));
    let birth = say("spBv1.0/g/NBIRTH/n", births, Some(255));
    assert_eq!((lines(&birth), birth.rebirth), (vec!["level=-1".to_owned()], false));
    let device = say("spBv1.0/g/DBIRTH/n/d", vec![named("open", 2, 7, 1)], Some(0));
    assert_eq!((device.device.as_deref(), device.rebirth), (Some("g/n/d"), false), "the sequence goes round");

    let data = say("spBv1.0/g/NDATA/n", vec![by(1, 0xFFFE)], Some(1));
    assert_eq!((lines(&data), data.rebirth), (vec!["level=-2".to_owned()], false));
    let foreign = say("spBv1.0/g/DDATA/n/d", vec![by(1, 5), by(2, 5)], Some(2));
    assert_eq!(
        (lines(&foreign), foreign.ignored),
        (vec!["open=5".to_owned()], 1),
        "an alias of somebody else"
    );
    let gap = say("spBv1.0/g/DDATA/n/d", vec![by(2, 6)], Some(4));
    assert_eq!((lines(&gap), gap.rebirth), (vec!["open=6".to_owned()], true), "read, and one is missing");

    let gone = say("spBv1.0/g/DDEATH/n/d", vec![], Some(5));
    assert_eq!((gone.kind, gone.online), (Kind::Death, Some(false)));
    assert_eq!(say("spBv1.0/g/DDATA/n/d", vec![by(2, 6)], Some(6)).ignored, 1, "forgotten");
    let stale = say("spBv1.0/g/NDEATH/n", bd(2), None);
    assert_eq!((stale.kind, stale.online), (Kind::Metadata, None), "the death of an earlier life");
    assert_eq!(say("spBv1.0/g/NDEATH/n", bd(3), None).kind, Kind::Death);
    assert!(say("spBv1.0/g/NDATA/n", vec![], Some(7)).rebirth);
    assert_eq!(profile("sparkplug_b").sender("spBv1.0/g/DDATA/n/d").as_deref(), Some("g/n"));
    assert_eq!(profile("zigbee2mqtt").sender("zigbee2mqtt/x"), None);
}

#[test]
fn every_type_of_sparkplug_is_read_exactly() {
    let metric = |name: &str, set: fn(&mut WireMetric)| {
        let mut metric = WireMetric { name: Some(name.into()), ..WireMetric::default() };
        set(&mut metric);
        metric
    };
    let payload = wire(
        vec![
            metric("float", |metric| metric.float_value = Some(0.1)),
            metric("double", |metric| metric.double_value = Some(-12.25)),
            metric("nan", |metric| metric.double_value = Some(f64::NAN)),
            metric("flag", |metric| metric.boolean_value = Some(false)),
            metric("text", |metric| metric.string_value = Some("E07".into())),
            metric("null", |metric| metric.is_null = Some(true)),
            metric("long", |metric| {
                metric.long_value = Some(u64::MAX);
                metric.datatype = Some(8);
                metric.is_historical = Some(true);
                metric.timestamp = Some(7);
            }),
            metric("dataset", |metric| metric.datatype = Some(16)),
        ],
        Some(0),
    );
    let topic = Some("spBv1.0/g/NBIRTH/n");
    let mapped =
        profile("sparkplug_b").map(&message(topic, &payload), &mut State::default()).expect("a payload");
    assert_eq!(
        lines(&mapped),
        ["float=0.1", "double=-12.25", "flag=false", "text=\"E07\"", "long=18446744073709551615 @7"]
    );
    assert!(mapped.history && mapped.ignored == 1);
}

#[test]
fn what_is_remembered_of_a_sender_is_bounded() {
    let mut state = State::default();
    for round in 0..4 {
        let births =
            (0..1_500).map(|at| named(&format!("m{round}-{at}"), round * 1_500 + at, 7, 1)).collect();
        let payload = wire(births, Some(round));
        let topic = format!(
            "spBv1.0/g/{}/n{}",
            ["NBIRTH", "DBIRTH"][usize::from(round > 0)],
            ["", "/d1", "/d2", "/d3"][round as usize]
        );
        let mapped =
            profile("sparkplug_b").map(&message(Some(&topic), &payload), &mut state).expect("a birth");
        assert_eq!((mapped.readings.len(), mapped.ignored), (READINGS_MAX, 1_500 - READINGS_MAX as u64));
    }
    assert!(state.0.names() <= NAMES_MAX);
}

#[test]
fn bounds_are_told_apart() {
    let try_map =
        |name: &str, payload: &[u8]| profile(name).map(&message(None, payload), &mut State::default());
    let reason = |name, payload: &[u8]| try_map(name, payload).expect_err("no meaning").reason();
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    for (name, payload, expected) in [
        ("zigbee2mqtt", vec![b' '; PAYLOAD_BYTES_MAX + 1], "too_large"),
        ("hikvision_isapi", vec![b' '; PHOTO_PAYLOAD_BYTES_MAX + 1], "too_large"),
        ("hikvision_isapi", vec![b' '; PAYLOAD_BYTES_MAX + 1], "invalid_json"),
        ("zigbee2mqtt", deep(LEVELS_MAX + 1).into(), "too_deep"),
        ("zigbee2mqtt", format!("[{}1]", "1,".repeat(VALUES_MAX)).into(), "too_many_values"),
        ("zigbee2mqtt", b"{\"a\":\xff}".to_vec(), "not_utf8"),
        ("zigbee2mqtt", b"".to_vec(), "invalid_json"),
        ("zigbee2mqtt", b"{\"a\":NaN}".to_vec(), "invalid_json"),
        ("senml", b"{}".to_vec(), "shape"),
        ("sparkplug_b", b"\x0b".to_vec(), "invalid_protobuf"),
        ("sparkplug_b", b"".to_vec(), "invalid_protobuf"),
    ] {
        assert_eq!(reason(name, &payload), expected, "{name} {} bytes", payload.len());
    }
    assert!(try_map("zigbee2mqtt", deep(LEVELS_MAX).as_bytes()).is_ok());
    let elsewhere = profile("tasmota").map(&message(Some("a/b"), b"{}"), &mut State::default());
    assert_eq!(elsewhere.map_err(|error| error.reason()), Err("topic"));
    let many: Vec<_> = (0..READINGS_MAX + 5).map(|at| format!("\"m{at}\":1")).collect();
    let many = try_map("zigbee2mqtt", format!("{{{}}}", many.join(",")).as_bytes()).expect("json");
    assert_eq!((many.readings.len(), many.ignored), (READINGS_MAX, 5));
    let long = format!(r#"{{"{}":1,"text":"{}","a":1e99,"b":1}}"#, "n".repeat(129), "t".repeat(257));
    let long = try_map("zigbee2mqtt", long.as_bytes()).expect("json");
    assert_eq!((lines(&long), long.ignored), (vec!["b=1".to_owned()], 3));
    let twice = try_map("zigbee2mqtt", br#"{"a":1,"a":2.50}"#).expect("json");
    assert_eq!(lines(&twice), ["a=2.50"], "the last wins");
}

#[test]
fn numbers_are_what_is_one_from_end_to_end() {
    for (text, expected) in [
        ("0.00", Some("0.00")),
        ("-13.25", Some("-13.25")),
        ("123456789012345678.123", Some("123456789012345678.123")),
        ("1e3", Some("1000")),
        ("0", Some("0")),
        ("007", None),
        ("+5", None),
        (".5", None),
        ("5.", None),
        ("1_000", None),
        ("12 ", None),
        ("-", None),
        ("1e99", None),
        ("", None),
    ] {
        assert_eq!(walk::number(text).as_ref().map(shown).as_deref(), expected, "{text:?}");
    }
}

#[test]
fn pointers_are_a_profile_too() {
    use crate::codec::json::TimeForm;
    let values = || vec![("temperature".to_owned(), "/d/t".to_owned()), ("door".into(), "/o".into())];
    let time = Some(("/at".to_owned(), TimeForm::Text { zone_ms: CHINA_MS }));
    let pointers = Pointers::new(Some("room/{device}/up"), values(), time).expect("good pointers");
    let payload = br#"{"d":{"t":"21.50"},"o":{},"at":"2024-01-11 02:42:48"}"#;
    let mapped = pointers.map(&message(Some("room/7/up"), payload)).expect("json");
    assert_eq!((lines(&mapped), mapped.ignored), (vec!["temperature=21.50".to_owned()], 1));
    assert_eq!((mapped.device.as_deref(), mapped.device_ms), (Some("7"), Some(1_704_912_168_000)));
    assert_eq!(mapped.time_source, TimeSource::PayloadLocal);
    assert_eq!(pointers.map(&message(Some("hall/7"), payload)), Err(ProfileError::Topic));
    let twice = values().into_iter().chain(values()).collect();
    assert_eq!(Pointers::new(None, twice, None), Err(PointersError::Twice("temperature".into())));
}

/// Topics that match each route of a profile.
fn topics(profile: &Profile) -> Vec<Option<String>> {
    let fill = |level: &str| {
        if level.starts_with('{') && level.contains("POWER") { "POWER1" } else { "x" }.to_owned()
    };
    let topic = |route: &table::Route| {
        let level = |level: &str| if level.starts_with(['{', '#']) { fill(level) } else { level.to_owned() };
        route.topic.split('/').map(level).collect::<Vec<_>>().join("/")
    };
    std::iter::once(None).chain(profile.routes.iter().map(|route| Some(topic(route)))).collect()
}

#[test]
fn profiles_have_names_of_their_own_and_routes_that_are_reached() {
    for (at, profile) in Profile::all().iter().enumerate() {
        assert!(Profile::all()[..at].iter().all(|other| other.name != profile.name), "{}", profile.name);
        assert!(matches!(profile.routes[profile.main].kind, Kind::Data | Kind::Event | Kind::Discovery));
        for (at, topic) in topics(profile).iter().skip(1).enumerate() {
            let first = profile.routes.iter().position(|route| {
                topic::capture(route.topic, topic.as_deref().unwrap_or_default()).is_some()
            });
            assert_eq!(first, Some(at), "{} {topic:?}", profile.name);
        }
    }
}

/// Members of conventions, so that what is generated gets somewhere.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let name = prop::sample::select(vec![
        "params",
        "info",
        "object",
        "services",
        "properties",
        "values",
        "value",
        "time",
        "ts",
        "tags",
        "name",
        "metrics",
        "bn",
        "n",
        "v",
        "s",
        "t",
        "u",
        "device",
        "identifiers",
        "rxInfo",
        "rssi",
        "data",
        "events",
        "component",
        "event",
        "errors",
        "StatusSNS",
        "Time",
        "state",
        "timestamp",
        "seq",
        "pic",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-cA-C0-9:.=\"\\\\é\u{0}]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map(name.clone(), inner, 0..5).prop_map(|map| {
                map.into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}

/// Runs a payload through every route of every profile.
fn everywhere(payload: &[u8], mut seen: impl FnMut(&Profile, &Mapped)) {
    for profile in Profile::all() {
        let mut state = State::default();
        for topic in topics(profile) {
            if let Ok(mapped) = profile.map(&message(topic.as_deref(), payload), &mut state) {
                assert!(mapped.readings.len() <= READINGS_MAX && mapped.device_nanos < 1_000_000);
                seen(profile, &mapped);
            }
        }
        assert!(state.0.names() <= NAMES_MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_bytes_make_any_profile_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        everywhere(&bytes, |_, _| {});
    }

    #[test]
    fn no_json_makes_any_profile_panic(json in any_json()) {
        everywhere(json.to_string().as_bytes(), |_, _| {});
    }

    /// What stands in a refused field is nowhere in the result, whatever stands around it.
    #[test]
    fn what_is_refused_is_nowhere(
        json in any_json(),
        which in any::<prop::sample::Index>(),
        inside in prop::sample::select(vec!["", "/info", "/AccessControllerEvent"]),
        nested in any::<bool>(),
    ) {
        for name in ["face_terminal", "hikvision_isapi"] {
            let profile = profile(name);
            let field = profile.refused[which.index(profile.refused.len())].0.replace('*', "1");
            let mut value = serde_json::json!("CANARY");
            if nested {
                value = serde_json::json!([{"VerifyStatus": "CANARY", "x": ["CANARY"]}, "CANARY"]);
            }
            let person = serde_json::json!({ field.clone(): value, "around": json });
            let mut payload = serde_json::json!({ "eventType": "e", "eventState": "s", "deviceID": "d" });
            match inside.strip_prefix('/') {
                Some(member) => payload[member] = person,
                None => payload[field.as_str()] = person[field.as_str()].clone(),
            }
            for topic in topics(profile) {
                let payload = payload.to_string();
                let result = profile.map(&message(topic.as_deref(), payload.as_bytes()), &mut State::default());
                if let Ok(mapped) = &result {
                    let texts: String = mapped.readings.iter().map(|reading| shown(&reading.value)).collect();
                    prop_assert!(!texts.contains("CANARY"), "{}", field);
                    let read = !matches!(mapped.kind, Kind::Command | Kind::Metadata);
                    prop_assert!(!mapped.refused.is_empty() || !read, "{}", field);
                }
                prop_assert!(!format!("{result:?}").contains("CANARY"), "{}", field);
            }
        }
    }

    #[test]
    fn no_wire_bytes_leave_more_than_the_bound(metrics in prop::collection::vec(
        (any::<Option<u64>>(), any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<f64>>()), 0..20,
    )) {
        let metrics = metrics.into_iter().map(|(alias, datatype, int_value, double_value)| WireMetric {
            alias,
            datatype,
            int_value,
            double_value,
            ..WireMetric::default()
        });
        everywhere(&wire(metrics.collect(), Some(1)), |_, _| {});
    }
}
