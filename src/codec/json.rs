//! JSON payload → values at given pointers, numbers with the digits they were written in.
//!
//! Guarantees: the payload is walked once, whatever is not asked for is skipped; nothing is reported of a payload that
//! is not one complete JSON text (RFC 8259) in UTF-8; a number is exact or it is invalid; of duplicate keys the last
//! wins, with everything below it. No allocation besides texts (and one table for plans of more than 32 leaves).
//! It does not judge: units, ranges and the plausibility of a time are decided elsewhere.

mod many;
mod number;
mod plan;
mod time;

use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

use crate::model::Value;
pub use many::{ITEMS_MAX, Item, Items, Many};
use plan::{Node, Walk};
pub(super) use time::{Epoch, Moment, moment};

/// Longest text that becomes a value, bytes; a longer one is invalid.
pub const TEXT_BYTES_MAX: usize = 256;

/// Plans up to this size keep their table on the stack.
const LEAVES_ON_STACK: usize = 32;

/// How a device writes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// RFC 3339 with a zone, or without one in the given offset from UTC in milliseconds.
    Text {
        /** Offset of zone-less texts, milliseconds. */
        zone_ms: i64,
    },
    /// Seconds since 1970 UTC, fractions allowed.
    Seconds,
    /// Milliseconds since 1970 UTC.
    Millis,
}

/// Where the values of a payload are: slot → pointer.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    root: Node,
    /// By leaf: the slots that want it.
    leaves: Vec<Vec<usize>>,
    /// The leaf that holds the device's time.
    time: Option<(usize, TimeForm)>,
}

/// What a payload held besides its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// The device's own time, milliseconds since 1970 UTC, unchecked; none when absent or unreadable.
    pub device_ms: Option<i64>,
    /// Whether that time told no zone, so that the one of the form was taken.
    pub device_local: bool,
    /// Slots whose leaf was no value: an array, an object, a number beyond an exact decimal, a text that is too long.
    pub invalid: u64,
}

/// A payload that is not JSON. Names the place, never the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("payload is not utf-8 from byte {at} on")]
    NotUtf8 {
        /** Offset of the first wrong byte. */
        at: usize,
    },
    /// Not one JSON text.
    #[error("payload is not json at line {line} column {column}")]
    Syntax {
        /** From 1. */
        line: usize,
        /** From 1, bytes. */
        column: usize,
    },
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        JsonError::Syntax { line: error.line(), column: error.column() }
    }
}

impl Plan {
    /// `pointers[slot]` is an RFC 6901 pointer; an empty text is a slot that no payload fills.
    ///
    /// # Errors
    /// The pointer that is none, or that points into the value of another one.
    pub fn new(pointers: Vec<String>, time: Option<(String, TimeForm)>) -> Result<Self, String> {
        Self::of(pointers.into_iter().map(|pointer| Some(pointer).filter(|text| !text.is_empty())), time)
    }

    /// As [`Plan::new`], where a slot that no payload fills is `None`, so that the empty pointer is the payload itself.
    ///
    /// # Errors
    /// The pointer that is none, or that points into the value of another one.
    pub fn of(
        pointers: impl IntoIterator<Item = Option<String>>,
        time: Option<(String, TimeForm)>,
    ) -> Result<Self, String> {
        plan::compile(&pointers.into_iter().collect::<Vec<_>>(), time)
    }

    /// Walks a payload and calls `leaf` with each slot that has a value there. A `null` is no value.
    ///
    /// # Errors
    /// [`JsonError`] when the payload is not JSON; then `leaf` was not called.
    pub fn extract(
        &self,
        payload: &[u8],
        mut leaf: impl FnMut(usize, Value),
    ) -> Result<Extracted, JsonError> {
        let text = utf8(payload)?;
        let mut small = [None; LEAVES_ON_STACK];
        let mut large = Vec::new();
        let found: &mut [Option<&RawValue>] = if self.leaves.len() <= LEAVES_ON_STACK {
            &mut small[..self.leaves.len()]
        } else {
            large.resize(self.leaves.len(), None);
            &mut large
        };

        self.walk(text, found)?;
        let mut invalid = 0;
        for (raw, slots) in found.iter().zip(&self.leaves) {
            let (Some(raw), [first, others @ ..]) = (raw, slots.as_slice()) else { continue };
            match value(raw.get()) {
                Ok(Some(value)) => {
                    others.iter().for_each(|slot| leaf(*slot, value.clone()));
                    leaf(*first, value);
                }
                Ok(None) => {}
                Err(Invalid) => invalid += slots.len() as u64,
            }
        }
        let moment = self.moment(found);
        let device_local = moment.is_some_and(|moment| moment.local);
        Ok(Extracted { device_ms: moment.map(|moment| moment.ms), device_local, invalid })
    }

    /// Fills `found` with the text of each leaf.
    fn walk<'p>(&self, text: &'p str, found: &mut [Option<&'p RawValue>]) -> Result<(), JsonError> {
        let mut json = serde_json::Deserializer::from_str(text);
        Walk { node: &self.root, found }.deserialize(&mut json)?;
        Ok(json.end()?)
    }

    /// The time among the leaves.
    fn moment(&self, found: &[Option<&RawValue>]) -> Option<Moment> {
        self.time.and_then(|(at, form)| time::read(form, found[at]?.get()))
    }
}

fn utf8(payload: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(payload).map_err(|error| JsonError::NotUtf8 { at: error.valid_up_to() })
}

/// A leaf that is no value.
#[derive(Debug, PartialEq)]
pub(super) struct Invalid;

/// The value of a JSON text that is known to be well formed; `None` for null.
pub(super) fn value(raw: &str) -> Result<Option<Value>, Invalid> {
    Ok(Some(match raw.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b't') => Value::Flag(true),
        Some(b'f') => Value::Flag(false),
        Some(b'"') => Value::Text(text(raw)?),
        Some(b'-' | b'0'..=b'9') => Value::Number(number::exact(raw).ok_or(Invalid)?),
        _ => return Err(Invalid),
    }))
}

/// The content of a JSON string within the bound and without U+0000.
fn text(raw: &str) -> Result<Box<str>, Invalid> {
    let inner = &raw[1..raw.len() - 1];
    let text: Box<str> = if !inner.contains('\\') {
        if inner.len() > TEXT_BYTES_MAX {
            return Err(Invalid);
        }
        inner.into()
    } else {
        // An escape is at most six bytes for one, so a longer text is too long however it is written.
        if inner.len() > 6 * TEXT_BYTES_MAX {
            return Err(Invalid);
        }
        serde_json::from_str(raw).map_err(|_| Invalid)?
    };
    if text.len() > TEXT_BYTES_MAX || text.contains('\0') { Err(Invalid) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(pointers: &[&str]) -> Plan {
        Plan::new(pointers.iter().map(ToString::to_string).collect(), None).expect("good pointers")
    }

    fn run(plan: &Plan, payload: &str) -> Result<(Vec<(usize, Value)>, Extracted), JsonError> {
        let mut values = Vec::new();
        let extracted = plan.extract(payload.as_bytes(), |slot, value| values.push((slot, value)))?;
        values.sort_by_key(|(slot, _)| *slot);
        Ok((values, extracted))
    }

    fn number(text: &str) -> Value {
        Value::Number(text.parse().expect("a decimal"))
    }

    #[test]
    fn values_are_found_where_the_pointers_say() {
        let plan = plan(&["/t", "/a/b~1c", "/l/1/v", "", "/s", "/on", "/t"]);
        let deep = format!("{{\"x\":{}1{},\"t\":1}}", "[".repeat(100), "]".repeat(100));
        for (payload, expected, invalid) in [
            (r#"{"t":21.50}"#, vec![(0, number("21.50")), (6, number("21.50"))], 0),
            (r#"{"a":{"b/c":-3}}"#, vec![(1, number("-3"))], 0),
            (r#"{"l":[{"v":1},{"v":2},{"v":3}]}"#, vec![(2, number("2"))], 0),
            (r#"{"l":{"1":{"v":2}}}"#, vec![(2, number("2"))], 0),
            (
                r#"{"s":"门\u0041","on":false}"#,
                vec![(4, Value::Text("门A".into())), (5, Value::Flag(false))],
                0,
            ),
            (r#"{"t":null,"a":null,"l":5,"x":{"t":9}}"#, vec![], 0),
            (r#"{"t":{"x":1},"s":[1]}"#, vec![], 3),
            (r#"{"s":"a\u0000b"}"#, vec![], 1),
            (r#"{"t":1,"t":2}"#, vec![(0, number("2")), (6, number("2"))], 0),
            (r#"{"a":{"b/c":1},"a":{"x":1}}"#, vec![], 0),
            (r#"{"a":{"b/c":1},"a":7}"#, vec![], 0),
            (r#"{"t":123456789012345678901234567890}"#, vec![], 2),
            ("[]", vec![], 0),
            (" 7 ", vec![], 0),
            (deep.as_str(), vec![(0, number("1")), (6, number("1"))], 0),
        ] {
            let (values, extracted) = run(&plan, payload).expect("json");
            assert_eq!(values, expected, "{payload}");
            assert_eq!(extracted.invalid, invalid, "{payload}");
        }
    }

    #[test]
    fn the_empty_pointer_is_the_payload() {
        let plan = Plan::of([None, Some(String::new())], None).expect("one pointer");
        assert_eq!(run(&plan, " 21.50 ").expect("json").0, [(1, number("21.50"))]);
        assert_eq!(run(&plan, "{}").expect("json").1.invalid, 1);
        assert!(Plan::of([Some(String::new()), Some("/a".into())], None).is_err());
    }

    #[test]
    fn what_is_not_json_reports_nothing() {
        let plan = plan(&["/t"]);
        for payload in [
            "",
            " ",
            "{",
            r#"{"t":1"#,
            r#"{"t":1}x"#,
            r#"{"t":1}{"t":2}"#,
            r#"{"t":01}"#,
            r#"{"t":NaN}"#,
            r#"{"t":1,}"#,
            r#"{'t':1}"#,
            "{\"t\":\"a\nb\"}",
            r#"{"t":1,"x":[}"#,
        ] {
            assert!(matches!(run(&plan, payload), Err(JsonError::Syntax { .. })), "{payload}");
        }
        let nested = "{\"t\":".repeat(2_000);
        assert!(run(&plan, &nested).is_err());
        assert_eq!(
            plan.extract(b"{\"t\":1,\"x\":\"\xff\"}", |_, _| panic!("no leaf")),
            Err(JsonError::NotUtf8 { at: 12 })
        );
    }

    #[test]
    fn texts_are_bounded() {
        let plan = plan(&["/s"]);
        for (text, good) in [
            ("x".repeat(256), true),
            ("x".repeat(257), false),
            ("\\u0041".repeat(256), true),
            ("\\u0041".repeat(257), false),
            ("\\u95e8".repeat(86), false),
        ] {
            let (values, extracted) = run(&plan, &format!("{{\"s\":\"{text}\"}}")).expect("json");
            assert_eq!((values.len() == 1, extracted.invalid == 0), (good, good), "{} bytes", text.len());
        }
    }

    #[test]
    fn the_time_is_read_in_the_form_of_the_device() {
        let zone_ms = 8 * 3_600_000;
        for (form, payload, expected) in [
            (TimeForm::Millis, r#"{"ts":1704912168000}"#, Some(1_704_912_168_000)),
            (TimeForm::Millis, r#"{"ts":"1704912168000"}"#, Some(1_704_912_168_000)),
            (TimeForm::Seconds, r#"{"ts":1704912168.25}"#, Some(1_704_912_168_250)),
            (TimeForm::Text { zone_ms }, r#"{"ts":"2024-01-10T18:42:48+00:00"}"#, Some(1_704_912_168_000)),
            (TimeForm::Text { zone_ms }, r#"{"ts":"2024-01-11 02:42:48"}"#, Some(1_704_912_168_000)),
            (TimeForm::Millis, r#"{"ts":null}"#, None),
            (TimeForm::Millis, r#"{}"#, None),
        ] {
            let plan = Plan::new(vec!["/v".into(), "/ts".into()], Some(("/ts".into(), form))).expect("good");
            let extracted = plan.extract(payload.as_bytes(), |_, _| {}).expect("json");
            assert_eq!(extracted.device_ms, expected, "{payload}");
        }
    }

    #[test]
    fn pointers_that_are_none_are_refused() {
        for (pointers, time) in [
            (vec!["t"], None),
            (vec!["/a~2"], None),
            (vec!["/a~"], None),
            (vec!["/a", "/a/b"], None),
            (vec!["/a/b"], Some("/a")),
            (vec![], Some("")),
        ] {
            let time = time.map(|pointer: &str| (pointer.to_owned(), TimeForm::Millis));
            let pointers = pointers.into_iter().map(str::to_owned).collect();
            assert!(Plan::new(pointers, time).is_err());
        }
        assert!(Plan::new(vec!["/a".repeat(200)], None).is_err());
    }

    #[test]
    fn a_wide_plan_works_like_a_narrow_one() {
        let pointers: Vec<_> = (0..100).map(|slot| format!("/p{slot}")).collect();
        let payload: Vec<_> = (0..100).map(|slot| format!("\"p{slot}\":{slot}")).collect();
        let plan = Plan::new(pointers, None).expect("good pointers");
        let (values, _) = run(&plan, &format!("{{{}}}", payload.join(","))).expect("json");
        assert_eq!(values.len(), 100);
        assert!(values.iter().all(|(slot, value)| *value == number(&slot.to_string())));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a-c\"\\\\é\u{0}]{0,5}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map("[a-c]", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_document_in_memory(json in any_json()) {
            let pointers = ["/a/b", "/a/c/1", "/b/0", "/c"];
            let (values, extracted) = run(&plan(&pointers), &json.to_string()).expect("json");
            let mut expected = Vec::new();
            let mut invalid = 0;
            for (slot, pointer) in pointers.iter().enumerate() {
                match json.pointer(pointer) {
                    None | Some(serde_json::Value::Null) => {}
                    Some(serde_json::Value::Bool(flag)) => expected.push((slot, Value::Flag(*flag))),
                    Some(serde_json::Value::Number(n)) => expected.push((slot, number(&n.to_string()))),
                    Some(serde_json::Value::String(text)) if !text.contains('\0') => {
                        expected.push((slot, Value::Text(text.as_str().into())));
                    }
                    Some(_) => invalid += 1,
                }
            }
            prop_assert_eq!(values, expected);
            prop_assert_eq!(extracted.invalid, invalid);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = plan(&["/a", "/b/0"]).extract(&bytes, |_, _| {});
        }

        #[test]
        fn no_cut_of_a_payload_is_a_payload(cut in 0usize..44) {
            let payload = r#"{"a":{"b":[1,2.50,"x\u0041"]},"c":true,"d":9}"#;
            prop_assert!(run(&plan(&["/c"]), &payload[..cut]).is_err());
        }
    }
}
