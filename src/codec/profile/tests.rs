//! Conventions by their payloads; what holds for any bytes is in `tests/any.rs`.

mod any;

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
        (
            "shelly_gen1",
            "shellies/s1/sensor/flood",
            "true",
            Data,
            Some("s1"),
            &["sensor.flood=true (water_leak=true)"],
        ),
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
            "shellies/shellymotion-1/status",
            r#"{"motion":true,"timestamp":1613655084,"lux":10,"bat":100}"#,
            Data,
            Some("shellymotion-1"),
            &["bat=100 %", "lux=10 lx", "motion=true"],
        ),
        (
            "tasmota",
            "tele/hall/plug/SENSOR",
            r#"{"Switch1":"OFF"}"#,
            Data,
            Some("hall/plug"),
            &["Switch1=false"],
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
            &["urn:dev:1/temp=23.10 Cel @1795305540000", "m/value=10.5 kWh", "m/value.sum=6.5"],
        ),
    ]);
    let newer =
        profile("senml").map(&message(None, br#"[{"bver":11,"n":"a","v":1}]"#), &mut State::default());
    assert_eq!(newer, Err(ProfileError::Version));
    // What is measured now must not get the time of what is told of the past.
    let mixed = b"\x01\x75\x5c\x20\xce\x9e\x74\x46\x63\x10\x01\x5d";
    let mixed = profile("lorawan_device_payload").map(&message(None, mixed), &mut State::default());
    let mixed = mixed.expect("channels");
    assert_eq!(
        lines(&mixed),
        ["battery=92 %", "temperature=27.2 Cel @1665561758000", "humidity=46.5 %RH @1665561758000"]
    );
    assert_eq!((mixed.device_ms, mixed.history), (None, true));
    let bin = b"\x03\x82\x1e\x03\x05\x00\x01";
    let bin = profile("lorawan_device_payload").map(&message(None, bin), &mut State::default());
    assert_eq!(
        lines(&bin.expect("channels")),
        ["distance=798 mm", "leakage_status=\"leak\" (water_leak=true)"]
    );
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
        ["customId", "idCard", "name", "persionName", "personId", "pic", "similarity", "telnum"],
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
