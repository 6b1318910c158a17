//! One payload, several messages: the items of an array or the members of an object.
//!
//! Guarantees: nothing is reported of a payload that is not one complete JSON text; at most [`ITEMS_MAX`] items, what is
//! beyond is counted; of duplicate keys the last wins. What an item holds is for a [`Plan`] to find.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{JsonError, Plan, TimeForm, plan, utf8};

/// Items of one payload.
pub const ITEMS_MAX: usize = 1_024;

/// Where the messages of a payload are.
#[derive(Clone, Debug, PartialEq)]
pub struct Many {
    plan: Plan,
    /// The leaf that holds them.
    leaf: usize,
}

/// The messages of a payload.
#[derive(Debug)]
pub struct Items<'p> {
    /// In the order of the array, or of the names of the members.
    pub items: Vec<Item<'p>>,
    /// The time that is told for all of them, milliseconds since 1970 UTC, unchecked.
    pub device_ms: Option<i64>,
    /// Items that are beyond the bound.
    pub beyond: u64,
}

/// One of them.
#[derive(Debug)]
pub struct Item<'p> {
    /// The name of the member; none of an item of an array.
    pub key: Option<String>,
    /// The JSON text.
    pub payload: &'p [u8],
}

impl Many {
    /// `each` is the RFC 6901 pointer to the array or object, `time` that of the time that is told for all items where it
    /// stands beside them.
    ///
    /// # Errors
    /// What is wrong with the pointers.
    pub fn new(each: &str, time: Option<(String, TimeForm)>) -> Result<Self, String> {
        let inside = |pointer: &str| pointer.strip_prefix(each).is_some_and(|rest| rest.starts_with('/'));
        let time = time.filter(|(pointer, _)| pointer != each && !inside(pointer));
        let plan = plan::compile(&[Some(each.to_owned())], time)?;
        let leaf = plan.leaves.iter().position(|slots| !slots.is_empty());
        Ok(Self { plan, leaf: leaf.expect("the one pointer has a leaf") })
    }

    /// The messages of a payload; none where the pointer names nothing, or neither array nor object.
    ///
    /// # Errors
    /// [`JsonError`] when the payload is not JSON.
    pub fn split<'p>(&self, payload: &'p [u8]) -> Result<Items<'p>, JsonError> {
        let mut found = vec![None; self.plan.leaves.len()];
        self.plan.walk(utf8(payload)?, &mut found)?;
        let device_ms = self.plan.moment(&found).map(|moment| moment.ms);
        let text = found[self.leaf].map_or("", RawValue::get);
        let item = |key: Option<String>, raw: &'p RawValue| Item { key, payload: raw.get().as_bytes() };
        let mut items: Vec<_> = match text.as_bytes().first() {
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                items.into_iter().map(|raw| item(None, raw)).collect()
            }
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                members.into_iter().map(|(key, raw)| item(Some(key), raw)).collect()
            }
            _ => Vec::new(),
        };
        let beyond = items.len().saturating_sub(ITEMS_MAX) as u64;
        items.truncate(ITEMS_MAX);
        Ok(Items { items, device_ms, beyond })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(each: &str, payload: &str) -> Result<Vec<(Option<String>, String)>, JsonError> {
        let many = Many::new(each, None).expect("a pointer");
        let items = many.split(payload.as_bytes())?.items.into_iter();
        Ok(items.map(|item| (item.key, String::from_utf8_lossy(item.payload).into_owned())).collect())
    }

    #[test]
    fn items_and_members_are_messages() {
        for (each, payload, expected) in [
            ("/s", r#"{"s":[{"a":1},2]}"#, vec![(None, r#"{"a":1}"#), (None, "2")]),
            ("", "[1]", vec![(None, "1")]),
            ("/s/0", r#"{"s":[{"y":1,"x":[ ]}]}"#, vec![(Some("x"), "[ ]"), (Some("y"), "1")]),
            ("/s", r#"{"s":{"x":1,"x":2}}"#, vec![(Some("x"), "2")]),
            ("/s", r#"{"s":[1],"s":7}"#, vec![]),
            ("/s", r#"{"t":[1]}"#, vec![]),
            ("/s", r#"{"s":"[1]"}"#, vec![]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(key, text)| (key.map(str::to_owned), text.to_owned())).collect();
            assert_eq!(split(each, payload), Ok(expected), "{payload}");
        }
        for payload in ["", r#"{"s":[1]"#, r#"{"s":[1,]}"#, r#"{"s":[{]}"#] {
            assert!(split("/s", payload).is_err(), "{payload}");
        }
        assert!(Many::new("s", None).is_err());
    }

    #[test]
    fn what_is_told_for_all_stands_beside_them() {
        for (each, time, payload, expected) in [
            ("/s", "/ts", r#"{"s":[],"ts":5}"#, Some(5)),
            ("/s", "/s/ts", r#"{"s":{"ts":5}}"#, None),
            ("", "/ts", r#"{"ts":5}"#, None),
        ] {
            let many = Many::new(each, Some((time.into(), TimeForm::Millis))).expect("pointers");
            assert_eq!(many.split(payload.as_bytes()).expect("json").device_ms, expected, "{payload}");
        }
    }

    #[test]
    fn items_are_bounded() {
        let payload = format!("[{}1]", "1,".repeat(ITEMS_MAX + 4));
        let many = Many::new("", None).expect("a pointer");
        let items = many.split(payload.as_bytes()).expect("json");
        assert_eq!((items.items.len(), items.beyond), (ITEMS_MAX, 5));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Many::new("/a", None).expect("a pointer").split(&bytes);
        }
    }
}
