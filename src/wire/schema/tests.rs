//! Every body of a schema fits it.

use proptest::prelude::*;
use proptest::strategy::Union;

use super::super::v1;
use super::*;
use crate::wire::body_json;
use v1::measure::Value as Number;
use v1::record_body::Content;

/// What does not fit, by path. Knows what the schemas above use, and holds that no key is there that is not described.
fn faults(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if let Some(all) = schema.get("anyOf").and_then(Value::as_array) {
        let fits = |one: &Value| {
            let mut own = Vec::new();
            faults(one, value, path, &mut own);
            own.is_empty()
        };
        if !all.iter().any(fits) {
            found.push(format!("{path}: none of anyOf"));
        }
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array)
        && !words.contains(value)
    {
        found.push(format!("{path}: {value} is no word of enum"));
    }
    let types = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let is = |name: &str| match name {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => panic!("{path}: type {name}"),
    };
    if !types.is_empty() && !types.iter().any(|name| is(name)) {
        found.push(format!("{path}: not {types:?}"));
    }
    if schema.get("minimum").is_some() && value.as_i64().is_some_and(|number| number < 0) {
        found.push(format!("{path}: below the minimum"));
    }
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if value.get(name).is_none() {
            found.push(format!("{path}: {name} is missing"));
        }
    }
    for item in value.as_array().into_iter().flatten() {
        faults(&schema["items"], item, &format!("{path}[]"), found);
    }
    if schema.get("properties").is_none() && schema.get("additionalProperties").is_none() {
        return;
    }
    for (name, own) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match schema["properties"].get(name).or_else(|| schema.get("additionalProperties")) {
            Some(schema) => faults(schema, own, &path, found),
            None => found.push(format!("{path}: not described")),
        }
    }
}

fn time() -> impl Strategy<Value = Option<prost_types::Timestamp>> {
    prop::option::of((0_i64..4_000_000_000_000).prop_map(super::super::timestamp))
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,6}"
}

fn number() -> impl Strategy<Value = Option<Number>> {
    prop::option::of(Union::new([
        any::<i64>().prop_map(Number::Count).boxed(),
        any::<f64>().prop_map(Number::Number).boxed(),
        "-?[0-9]{1,9}\\.[0-9]{1,3}".prop_map(Number::Decimal).boxed(),
        text().prop_map(|reason| Number::Suppressed(v1::Suppressed { reason })).boxed(),
    ]))
}

fn event() -> impl Strategy<Value = Content> {
    let map = prop::collection::btree_map(text(), text(), 0..3);
    (text(), text(), 0..6_i32, 0..5_i32, map, any::<bool>()).prop_map(
        |(event_code, device_class, severity, state, attributes, manual)| {
            Content::Event(v1::Event {
                event_code,
                device_class,
                severity,
                state,
                attributes,
                manual,
                ..v1::Event::default()
            })
        },
    )
}

fn window() -> impl Strategy<Value = Content> {
    let map = prop::collection::btree_map(text(), text(), 0..3);
    let measure = (text(), map, number(), text()).prop_map(|(name, dimensions, value, unit)| v1::Measure {
        name,
        dimensions,
        value,
        unit,
        noise: String::new(),
    });
    (prop::collection::vec(measure, 0..4), any::<bool>()).prop_map(|(measures, manual)| {
        let quality = "good".into();
        Content::Aggregate(v1::Aggregate { measures, manual, quality, ..v1::Aggregate::default() })
    })
}

fn readings() -> impl Strategy<Value = Content> {
    let row = (any::<i32>(), any::<i64>(), prop::sample::select(vec![0_u32, 2, 28, 254, 255]), 0..9_u32);
    prop::collection::vec(row, 0..5).prop_map(|rows| {
        let mut told = v1::Readings { series: vec![v1::Series::default()], ..v1::Readings::default() };
        for (time, mantissa, scale, quality) in rows {
            told.series_index.push(0);
            told.time_delta_ms.push(time.into());
            told.mantissa.push(if scale == 255 { told.texts.len() as i64 } else { mantissa });
            told.scale.push(scale);
            told.quality.push(quality);
            told.texts.extend((scale == 255).then(|| "a text".to_owned()));
        }
        Content::Readings(told)
    })
}

fn list_change() -> impl Strategy<Value = Content> {
    let list = prop::sample::select(vec!["demand", "collect", "share", "governance"]);
    let change = prop::sample::select(vec!["added", "changed", "retired"]);
    (list, text(), any::<u32>(), change, 0..2_u64).prop_map(|(list, item, version, change, more)| {
        let (list, change, approval_id) = (list.into(), change.into(), String::new());
        Content::ListChange(v1::ListChange { list, item, version, change, approval_id, more })
    })
}

fn result() -> impl Strategy<Value = Content> {
    let status = prop::sample::select(vec!["done", "failed", "expired"]);
    (text(), status, text(), time()).prop_map(|(command, status, detail, done_at)| {
        let status = status.into();
        Content::Result(v1::CommandResult {
            command,
            status,
            detail,
            done_at,
            ..v1::CommandResult::default()
        })
    })
}

fn audit() -> impl Strategy<Value = Content> {
    let checkpoint =
        (any::<u64>(), time(), prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(size, at, head)| {
            v1::AuditCheckpoint { size, at, head, ..v1::AuditCheckpoint::default() }
        });
    let counts = prop::collection::btree_map(text(), any::<u64>(), 0..3);
    (prop::option::of(checkpoint), counts)
        .prop_map(|(checkpoint, counts)| Content::Audit(v1::AuditDigest { checkpoint, counts }))
}

fn body() -> impl Strategy<Value = (&'static str, v1::RecordBody)> {
    let content = Union::new([
        event().prop_map(|content| (ALARM, content)).boxed(),
        window().prop_map(|content| (WINDOW, content)).boxed(),
        readings().prop_map(|content| (READINGS, content)).boxed(),
        list_change().prop_map(|content| (LIST_CHANGE, content)).boxed(),
        result().prop_map(|content| (RESULT, content)).boxed(),
        audit().prop_map(|content| (AUDIT, content)).boxed(),
    ]);
    let place =
        prop::option::of(text().prop_map(|code| v1::Place { compound_code: code, ..v1::Place::default() }));
    (content, text(), place, time(), time(), any::<u32>()).prop_map(
        |((schema, content), purpose, place, window_start, sealed_at, policy_version)| {
            let body = v1::RecordBody {
                purpose,
                place,
                window_start,
                sealed_at,
                policy_version,
                treatments: vec![v1::Treatment::default()],
                approval_ids: vec!["AP-1".into()],
                content: Some(content),
                ..v1::RecordBody::default()
            };
            (schema, body)
        },
    )
}

proptest! {
    #[test]
    fn every_body_fits_its_schema((name, body) in body()) {
        let schema = json_schema(name).expect("a schema");
        let mut found = Vec::new();
        faults(&schema, &body_json(&body), "", &mut found);
        prop_assert!(found.is_empty(), "{name}: {found:?}\n{}", body_json(&body));
    }
}

#[test]
fn a_body_without_its_content_or_with_something_else_does_not_fit() {
    let fits = |schema: &str, body: &Value| {
        let mut found = Vec::new();
        faults(&json_schema(schema).expect("a schema"), body, "", &mut found);
        found.is_empty()
    };
    let content = Content::Event(v1::Event::default());
    let body = body_json(&v1::RecordBody { content: Some(content), ..v1::RecordBody::default() });
    assert!(fits(ALARM, &body));
    assert!(NAMES.iter().filter(|name| **name != ALARM).all(|name| !fits(name, &body)));
    let mut changed = body.clone();
    changed["event"]["manual"] = json!("yes");
    assert!(!fits(ALARM, &changed));
    assert!(json_schema("alarm/2").is_none());
}

#[test]
fn the_contract_has_the_body_and_all_it_needs() {
    use prost::Message;
    let set = prost_types::FileDescriptorSet::decode(super::super::CONTRACT).expect("a descriptor set");
    let names: Vec<&str> = set.file.iter().map(|file| file.name()).collect();
    for file in &set.file {
        assert!(file.dependency.iter().all(|name| names.contains(&name.as_str())), "{}", file.name());
    }
    let messages = set.file.iter().flat_map(|file| &file.message_type);
    assert!(messages.map(|message| message.name()).any(|name| name == "RecordBody"));
}
