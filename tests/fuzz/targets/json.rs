//! JSON payloads: what a plan finds is what a tree of the same payload holds at its pointers.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::Value as Json;
use smallbrain::codec::json::{Plan, TEXT_BYTES_MAX, TimeForm};
use smallbrain::model::Value;

use super::feed;

const TIME: &str = "/last_seen";

/// Of the conventions in the field.
const POINTERS: [&str; 24] = [
    "/battery",
    "/state",
    "/ENERGY/Total",
    "/ENERGY/Power/0",
    "/params/light/brightness",
    "/data/value",
    "/0/v",
    "/1/v",
    "/1/0",
    "/a~1b",
    "/~0",
    "/data/0",
    "/data/1/x",
    "/x/x/x/x",
    "/temperature",
    "/",
    "/00",
    "/t",
    "/e",
    "/Time",
    "/linkquality",
    "/0/u",
    "/humidity",
    "",
];

pub fn run(input: &[u8]) {
    let (head, payload) = feed::head(input);
    let mut pointers: Vec<String> = POINTERS.map(str::to_owned).to_vec();
    // The payload's own keys, so that what is there is asked for.
    let tree = serde_json::from_slice::<Json>(payload);
    if let Ok(tree) = &tree {
        leaves(tree, String::new(), &mut pointers);
    }
    pointers.rotate_left(usize::from(head[2]) % POINTERS.len());
    pointers.truncate(1 + usize::from(head[3]) % 60);
    let form = match head[4] % 3 {
        0 => TimeForm::Text { zone_ms: i64::from(head[5] as i8) * 900_000 },
        1 => TimeForm::Seconds,
        _ => TimeForm::Millis,
    };
    let time = (head[4] & 0x80 == 0).then(|| (TIME.to_owned(), form));
    let Ok(plan) = Plan::new(pointers.clone(), time) else { return };
    let mut got = vec![None; pointers.len()];
    let extracted = plan.extract(payload, |slot, value| {
        assert!(got[slot].replace(value).is_none(), "a slot is filled once");
    });
    let Ok(extracted) = extracted else {
        assert!(got.iter().all(Option::is_none), "nothing of what is no JSON");
        assert!(tree.is_err(), "JSON is refused");
        return;
    };
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok(), "what is no JSON is read");
    // A tree refuses some of what is skipped: lone surrogates, exponents beyond a float.
    let Ok(tree) = tree else { return };
    let mut invalid = 0;
    for (pointer, got) in pointers.iter().zip(&got).filter(|(pointer, _)| !pointer.is_empty()) {
        invalid += u64::from(!same(tree.pointer(pointer), got.as_ref(), pointer));
    }
    assert_eq!(extracted.invalid, invalid);
    if let (Some(ms), TimeForm::Text { .. }, Some(Json::String(text))) =
        (extracted.device_ms, form, tree.pointer(TIME))
        && let Ok(at) = text.trim().parse::<jiff::Timestamp>()
    {
        assert_eq!(i128::from(ms), at.as_nanosecond().div_euclid(1_000_000), "{text:?}");
    }
}

/// Pointers to what is below a tree, at most 30 levels deep.
fn leaves(tree: &Json, path: String, found: &mut Vec<String>) {
    let children: Vec<(String, &Json)> = match tree {
        Json::Object(map) => {
            map.iter().map(|(key, child)| (key.replace('~', "~0").replace('/', "~1"), child)).collect()
        }
        Json::Array(items) => items.iter().enumerate().map(|(at, child)| (at.to_string(), child)).collect(),
        _ => return found.insert(0, path),
    };
    if path.split('/').count() < 30 && found.len() < 100 {
        for (key, child) in children {
            leaves(child, format!("{path}/{key}"), found);
        }
    }
}

/// Whether it is a value or none; a panic when it is another value than the tree's.
fn same(expected: Option<&Json>, got: Option<&Value>, pointer: &str) -> bool {
    match (expected, got) {
        (None | Some(Json::Null), None) => true,
        (Some(Json::Array(_) | Json::Object(_)), None) => false,
        (Some(Json::String(text)), None) => {
            assert!(text.len() > TEXT_BYTES_MAX || text.contains('\0'), "{pointer}: a text is dropped");
            false
        }
        (Some(Json::String(text)), Some(Value::Text(got))) => {
            assert!(**got == **text && got.len() <= TEXT_BYTES_MAX && !got.contains('\0'), "{pointer}");
            true
        }
        (Some(Json::Bool(flag)), Some(Value::Flag(got))) => {
            assert_eq!(flag, got);
            true
        }
        // What needs more digits than an exact decimal has.
        (Some(Json::Number(number)), None) => {
            assert!(number.as_i64().is_none(), "{pointer}: {number} is dropped");
            false
        }
        (Some(Json::Number(number)), Some(Value::Number(got))) => {
            match number.as_i64() {
                Some(integer) => assert_eq!(*got, Decimal::from(integer), "{pointer}"),
                None => {
                    let (float, got) = (number.as_f64().unwrap_or(0.0), got.to_f64().unwrap_or(f64::NAN));
                    assert!((float - got).abs() <= float.abs() * 1e-12, "{pointer}: {got} for {float}");
                }
            }
            true
        }
        (expected, got) => panic!("{pointer}: {got:?} for {}", expected.is_some()),
    }
}
