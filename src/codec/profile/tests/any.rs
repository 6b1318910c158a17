//! What holds for any bytes under every profile: bounds, no panic, nothing of what is refused.

use proptest::prelude::*;

use super::*;

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
