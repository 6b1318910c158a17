//! What is written for unknown devices: every line of it, and whether a configuration takes it.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::wire::bus::TakenMetric;

fn device(profile: &str, name: &str, topic: &str, fields: &[(&str, &str, &str, &str)]) -> PendingDevice {
    let field = |(path, kind, unit, class): &(&str, &str, &str, &str)| PendingField {
        path: (*path).into(),
        r#type: (*kind).into(),
        unit: (*unit).into(),
        device_class: (*class).into(),
        seen: true,
    };
    PendingDevice {
        name: name.into(),
        user: "gate".into(),
        profile: profile.into(),
        topics: vec![topic.into()],
        fields: fields.iter().map(field).collect(),
        ..PendingDevice::default()
    }
}

fn metric(name: &str, kind: &str, unit: &str) -> TakenMetric {
    TakenMetric { name: name.into(), kind: kind.into(), unit: unit.into() }
}

/// (metric, field or pointer, kind, unit, class, what is collected)
type Line = (String, String, String, String, String, String);

fn lines(text: &str) -> Vec<Line> {
    let table: toml::Table = text.parse().expect("toml");
    let get = |point: &toml::Value, key: &str| {
        point.get(key).and_then(toml::Value::as_str).unwrap_or("").to_owned()
    };
    let points = table["template"][0]["point"].as_array().expect("points");
    let line = |point: &toml::Value| {
        let metric = get(point, "metric");
        let collect = table["collect"][0]["fields"][&metric].as_str().expect("collected").to_owned();
        let place = get(point, "field") + &get(point, "json");
        (metric, place, get(point, "kind"), get(point, "unit"), get(point, "class"), collect)
    };
    points.iter().map(line).collect()
}

fn line(metric: &str, place: &str, kind: &str, unit: &str, class: &str, collect: &str) -> Line {
    (metric.into(), place.into(), kind.into(), unit.into(), class.into(), collect.into())
}

#[test]
fn a_device_of_a_convention_gets_all_its_lines() {
    let fields = [
        ("battery", "number", "%", "battery"),
        ("contact", "flag", "", "door"),
        ("DeviceName", "text", "", ""),
        ("ENERGY.Total", "number", "kWh", "energy"),
        ("action", "text", "", ""),
        ("nothing", "null", "", ""),
    ];
    let mut hall = device("zigbee2mqtt", "hall/门 1", "zigbee2mqtt/hall/门 1", &fields);
    hall.refused = vec!["idCard".into()];
    let text = stanza(&hall, &TakenNames::default(), None).expect("lines");
    assert_eq!(
        lines(&text),
        [
            line("battery", "", "", "%", "", "keep"),
            line("contact", "", "flag", "", "", "keep"),
            line("devicename", "DeviceName", "text", "", "personal", "drop"),
            line("energy.total", "ENERGY.Total", "", "kWh", "household", "drop"),
            line("action", "", "text", "", "", "keep"),
        ]
    );
    let table: toml::Table = text.parse().expect("toml");
    assert_eq!(table["device"][0]["id"].as_str(), Some("hall-门-1"));
    assert_eq!(table["device"][0]["name"].as_str(), Some("hall/门 1"));
    assert_eq!(table["device"][0]["template"], table["template"][0]["name"]);
    assert_eq!(table["mapping"][0]["profile"].as_str(), Some("zigbee2mqtt"));
    assert_eq!(table["mapping"][0].as_table().map(toml::Table::len), Some(1));
    for part in ["idCard", "# No point: \"nothing\" (null)", "#name = \"gate\"", "#devices = [\"hall-门-1\"]"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    hall.mapped = true;
    let text = stanza(&hall, &TakenNames::default(), None).expect("lines");
    assert!(!text.contains("[[mapping]]"), "its profile has one");

    let channels = device("lorawan_device_payload", "d1", "lora/d1", &[("temperature", "number", "Cel", "")]);
    let text = stanza(&channels, &TakenNames::default(), None).expect("lines");
    assert!(text.contains("topic = \"lora/d1\""), "{text}");
}

#[test]
fn metrics_clash_with_nothing() {
    let taken = TakenNames {
        metrics: vec![
            metric("temperature", "number", "Cel"),
            metric("power", "number", "kW"),
            metric("state", "text", ""),
            metric("level", "number", "%"),
        ],
        ..TakenNames::default()
    };
    let fields = [
        ("/temperature", "number", "", ""),
        ("/power", "number", "W", ""),
        ("/state", "flag", "", ""),
        ("/level", "number", "V", ""),
        ("/Level", "number", "%", ""),
        ("/a/b", "number", "", ""),
        ("/a_b", "number", "", ""),
        ("/温度", "number", "", ""),
        ("/湿度", "number", "", ""),
        ("/x", "mixed", "", ""),
        ("/x/y", "number", "", ""),
        ("", "number", "", ""),
    ];
    let text = stanza(&device("json", "d1", "a/d1", &fields), &taken, None).expect("lines");
    assert_eq!(
        lines(&text),
        [
            line("temperature", "/temperature", "", "Cel", "", "keep"),
            line("power", "/power", "", "kW", "household", "drop"),
            line("state_2", "/state", "flag", "", "", "keep"),
            line("level_2", "/level", "", "V", "", "keep"),
            line("level", "/Level", "", "%", "", "keep"),
            line("a_b", "/a/b", "", "", "", "keep"),
            line("a_b_2", "/a_b", "", "", "", "keep"),
            line("value", "/温度", "", "", "", "keep"),
            line("value_2", "/湿度", "", "", "", "keep"),
            line("x_y", "/x/y", "", "", "", "keep"),
        ]
    );
    assert!(text.contains("\"Cel\"  # none was told"), "{text}");
}

#[test]
fn what_may_be_about_people_is_dropped() {
    for (path, collect) in [
        ("/name", "drop"),
        ("/userName", "drop"),
        ("/info/idCard", "drop"),
        ("/card_no", "drop"),
        ("/deviceId", "drop"),
        ("/id", "drop"),
        ("/telnum", "drop"),
        ("/tel", "drop"),
        ("/mobilePhone", "drop"),
        ("/plate", "drop"),
        ("/姓名", "drop"),
        ("/手机号", "drop"),
        ("/face", "refuse"),
        ("/faceUrl", "drop"),
        ("/humidity", "keep"),
        ("/valid", "keep"),
        ("/voltage", "keep"),
        ("/image", "drop"),
        ("/occupancy", "drop"),
    ] {
        let text =
            stanza(&device("json", "d1", "a/d1", &[(path, "number", "", "")]), &TakenNames::default(), None);
        assert_eq!(lines(&text.expect("lines"))[0].5, collect, "{path}");
    }
    let told = device("json", "d1", "a/d1", &[("/who", "text", "", "")]);
    let text = stanza(&told, &TakenNames::default(), None).expect("lines");
    assert_eq!(lines(&text)[0].5, "drop", "nobody knows what a text says");
}

#[test]
fn what_cannot_be_written_says_why() {
    let taken = TakenNames { devices: vec!["d1".into()], ..TakenNames::default() };
    let number = [("/a", "number", "", "")];
    let other: DeviceId = "d2".parse().expect("an id");
    let d1 = device("json", "d1", "a/d1", &number);
    assert_eq!(stanza(&d1, &taken, None), Err(StanzaError::Taken("d1".parse().expect("an id"))));
    let text = stanza(&d1, &taken, Some(&other)).expect("another id");
    assert!(text.contains("id = \"d2\"\nname = \"d1\""), "{text}");
    let silent = device("json", "d1", "a/d1", &[("/a", "null", "", ""), ("", "number", "", "")]);
    assert_eq!(stanza(&silent, &TakenNames::default(), None), Err(StanzaError::NoField("d1".into())));
    let elsewhere = device("json", "d1", "a/b", &number);
    assert_eq!(stanza(&elsewhere, &TakenNames::default(), None), Err(StanzaError::Topic("a/b".into())));
}

/// Beside the configuration that comes with the program, and with what that one takes. Devices of conventions are held to their
/// keys above.
#[test]
fn a_configuration_takes_it() {
    let fields = [
        ("/temperature", "number", "", ""),
        ("/d/level", "number", "%", ""),
        ("/open", "flag", "", "door"),
        ("/holderName", "text", "", ""),
        ("/face", "text", "", ""),
        ("/ts", "number", "", ""),
        ("/door_open", "number", "", ""),
    ];
    let mut door = device("json", "door-9", "compound/door-9/up", &fields);
    door.topics.push("compound/door-9/more".into());
    let taken = TakenNames {
        devices: vec!["door-1".into()],
        templates: vec!["json-door-9".into()],
        metrics: vec![metric("temperature", "number", "Cel"), metric("door_open", "flag", "")],
    };
    let text = stanza(&door, &taken, None).expect("lines");
    assert!(text.contains("#time = { pointer = \"/ts\", form = \"millis\" }"), "{text}");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.toml");
    let whole = format!("{}\n{text}", include_str!("../../../../config.example.toml"));
    fs::write(&path, whole).expect("written");
    let config =
        Config::load(&path, 1_790_000_000_000, None).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
    let points: Vec<_> = config.plan.points.iter().flatten().collect();
    let points = points.iter().filter(|point| point.device.as_str() == "door-9");
    assert_eq!(points.count(), 6, "{text}");
    let mappings = config.mqtt.expect("mqtt").mappings;
    let mapped = mappings.iter().filter(|mapping| mapping.speakers.contains_key("door-9"));
    assert_eq!(mapped.count(), 2, "{text}");
    let told: Vec<_> = config.warnings.iter().map(|fault| fault.message.clone()).collect();
    assert!(!told.iter().any(|warning| warning.contains("door-9")), "{told:?}");
}

proptest! {
    /// Whatever it is called.
    #[test]
    fn it_is_always_toml_and_nothing_breaks_out(
        name in any::<String>(),
        paths in prop::collection::btree_set("\\PC{1,12}|[\\x00-\\x7f]{1,12}|/[a-c/~\"\\\\\n]{1,6}", 1..8),
        profile in prop_oneof![Just("json"), Just("zigbee2mqtt"), Just("senml")],
    ) {
        let fields: Vec<_> = paths.iter().map(|path| (path.as_str(), "number", "", "")).collect();
        let mut told = device(profile, &name, &format!("a/{name}/b"), &fields);
        told.user = name.clone();
        if let Ok(text) = stanza(&told, &TakenNames::default(), None) {
            let table: toml::Table = text.parse().map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            let keys: Vec<_> = table.keys().map(String::as_str).collect();
            prop_assert!(keys.iter().all(|key| ["template", "device", "mapping", "collect"].contains(key)), "{:?}", keys);
            prop_assert!(table["device"][0]["id"].as_str().expect("an id").parse::<DeviceId>().is_ok());
            let metrics = lines(&text);
            prop_assert!(metrics.iter().all(|line| line.0.parse::<crate::model::Metric>().is_ok()));
        }
    }
}
