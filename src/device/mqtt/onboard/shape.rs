//! The shape of a JSON payload: which keys it has, and of which type what stands there is. Never a value. Pure.
//!
//! Guarantees: at most [`PATHS_MAX`] paths of [`PATH_BYTES_MAX`] bytes and [`LEVELS_MAX`] levels; of an array the first
//! [`ITEMS_MAX`] items; no content of a text, a number or a flag is looked at beyond its first byte. A key with
//! [`DIGITS_MAX`] digits in a row is no key but a value, a telephone number say: it is counted and not told.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::Value;

/// Paths of one shape.
pub const PATHS_MAX: usize = 64;
/// Longest path, bytes.
pub const PATH_BYTES_MAX: usize = 128;
/// Levels of arrays and objects.
pub const LEVELS_MAX: usize = 16;
/// Items of one array that are looked at.
const ITEMS_MAX: usize = 4;

/// Digits in a row from which a key is a value.
const DIGITS_MAX: usize = 7;

/// What stands somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Nothing.
    Null,
    /// True or false.
    Flag,
    /// A number.
    Number,
    /// A text.
    Text,
    /// An array that is empty, or too deep.
    Array,
    /// An object that is empty, or too deep.
    Object,
    /// Not always the same.
    Mixed,
}

impl Type {
    /// The lower-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Type::Null => "null",
            Type::Flag => "flag",
            Type::Number => "number",
            Type::Text => "text",
            Type::Array => "array",
            Type::Object => "object",
            Type::Mixed => "mixed",
        }
    }

    /// That of a value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Number(_) => Type::Number,
            Value::Flag(_) => Type::Flag,
            Value::Text(_) => Type::Text,
        }
    }

    /// What is seen here now and was seen before.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        match (self, other) {
            (Type::Null, other) => other,
            (same, Type::Null) => same,
            (a, b) if a == b => a,
            _ => Type::Mixed,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// RFC 6901 pointers with what stands there, each once.
    pub paths: Vec<(Box<str>, Type)>,
    /// Places beyond a bound.
    pub beyond: u64,
}

impl Shape {
    /// Of a payload; none when it is not one JSON text.
    #[must_use]
    pub fn of(payload: &[u8]) -> Option<Self> {
        let mut shape = Self::default();
        let raw: &RawValue = serde_json::from_slice(payload).ok()?;
        shape.note(&mut String::new(), raw, LEVELS_MAX)?;
        Some(shape)
    }

    fn note(&mut self, path: &mut String, raw: &RawValue, levels: usize) -> Option<()> {
        let text = raw.get();
        let seen = match text.as_bytes().first() {
            Some(b'{') => Type::Object,
            Some(b'[') => Type::Array,
            Some(b'"') => Type::Text,
            Some(b't' | b'f') => Type::Flag,
            Some(b'n') => Type::Null,
            _ => Type::Number,
        };
        if matches!(seen, Type::Object | Type::Array) && levels > 0 {
            let mut json = serde_json::Deserializer::from_str(text);
            let inside = Inside { shape: self, path, levels: levels - 1 };
            if inside.deserialize(&mut json).ok()? {
                return Some(());
            }
        }
        self.add(path, seen);
        Some(())
    }

    fn add(&mut self, path: &str, seen: Type) {
        let room = self.paths.len() < PATHS_MAX && path.len() <= PATH_BYTES_MAX;
        match self.paths.iter_mut().find(|(known, _)| **known == *path) {
            Some((_, before)) => *before = before.with(seen),
            None if room => {
                self.paths.push((path.into(), seen));
            }
            None => self.beyond += 1,
        }
    }
}

/// Looks at what is below a place; whether there was anything.
struct Inside<'s> {
    shape: &'s mut Shape,
    path: &'s mut String,
    levels: usize,
}

impl Inside<'_> {
    fn child<E: serde::de::Error>(&mut self, name: &str, raw: &RawValue) -> Result<(), E> {
        let length = self.path.len();
        if length + name.len() >= PATH_BYTES_MAX || is_value(name) {
            self.shape.beyond += 1;
            return Ok(());
        }
        self.path.push('/');
        self.path.push_str(&name.replace('~', "~0").replace('/', "~1"));
        let noted = self.shape.note(self.path, raw, self.levels);
        self.path.truncate(length);
        noted.ok_or_else(|| E::custom("not json"))
    }
}

/// Whether a key is one that has to be taken for a value.
pub(super) fn is_value(name: &str) -> bool {
    name.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() >= DIGITS_MAX)
}

impl<'p> DeserializeSeed<'p> for Inside<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'p>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'p> Visitor<'p> for Inside<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'p>>(mut self, mut seq: A) -> Result<bool, A::Error> {
        let mut count = 0;
        while count < ITEMS_MAX {
            let Some(raw) = seq.next_element::<&RawValue>()? else { return Ok(count > 0) };
            self.child(&count.to_string(), raw)?;
            count += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'p>>(mut self, mut map: A) -> Result<bool, A::Error> {
        let mut any = false;
        while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
            self.child(&name, raw)?;
            any = true;
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(payload: &str) -> Option<String> {
        let shape = Shape::of(payload.as_bytes())?;
        let paths = shape.paths.iter().map(|(path, seen)| format!("{path} {}", seen.as_str()));
        Some(paths.chain((shape.beyond > 0).then(|| "…".to_owned())).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn keys_and_types_are_told_and_nothing_else() {
        let deep = format!("{}1{}", "[".repeat(20), "]".repeat(20));
        let deepest = format!("{} array", "/0".repeat(LEVELS_MAX));
        let long = format!("{{\"{}\":1,\"b\":2}}", "k".repeat(200));
        for (payload, expected) in [
            (r#"{"t":21.5,"on":true,"s":"x","n":null}"#, Some("/t number, /on flag, /s text, /n null")),
            (r#"{"a":{"b/c":1,"d~":{}},"e":[]}"#, Some("/a/b~1c number, /a/d~0 object, /e array")),
            (r#"[1,"a",[true],null,5,6]"#, Some("/0 number, /1 text, /2/0 flag, /3 null")),
            (r#"{"a":1,"a":"x"}"#, Some("/a mixed")),
            (r#"{"a":null,"a":1}"#, Some("/a number")),
            (r#"{"13800138000":1,"u-1380013":{"a":1},"k123456":1}"#, Some("/k123456 number, …")),
            ("21.5", Some(" number")),
            ("1e999", Some(" number")),
            (&deep, Some(&deepest)),
            (&long, Some("/b number, …")),
            ("ON", None),
            ("{\"a\":", None),
            ("", None),
        ] {
            assert_eq!(shown(payload).as_deref(), expected, "{payload}");
        }
        let wide: Vec<String> = (0..100).map(|at| format!("\"k{at}\":{at}")).collect();
        let shape = Shape::of(format!("{{{}}}", wide.join(",")).as_bytes()).expect("json");
        assert_eq!((shape.paths.len(), shape.beyond), (PATHS_MAX, 36));
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_shape_within_bounds_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(shape) = Shape::of(&bytes) {
                prop_assert!(shape.paths.len() <= PATHS_MAX);
            }
        }

        #[test]
        fn any_brackets_are_no_panic(text in "[\\[\\]{}\":,1a]{0,60}") {
            let _ = Shape::of(text.as_bytes());
        }
    }
}
