//! A payload as a tree of bounded size, whose leaves are still the text they were written as.
//!
//! Guarantees: at most [`VALUES_MAX`] values and [`LEVELS_MAX`] levels are kept in memory; of duplicate keys the last wins;
//! no number goes through a float. Members come in the order of their names, items in that of the payload.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::ProfileError;
use crate::codec::json::{self, Invalid, JsonError};
use crate::model::Value;

/// Values of one payload, arrays and objects included.
pub const VALUES_MAX: usize = 8_192;
/// Levels of arrays and objects.
pub const LEVELS_MAX: usize = 16;

/// A value and what is below it.
pub(super) enum Node<'p> {
    /// A JSON text that is neither array nor object.
    Leaf(&'p str),
    /// A payload that is no JSON but a bare text, without blanks around it.
    Bare(&'p str),
    /// An array.
    Items(Vec<Node<'p>>),
    /// An object.
    Members(BTreeMap<String, Node<'p>>),
}

impl<'p> Node<'p> {
    /// The tree of a payload.
    pub(super) fn parse(payload: &'p [u8]) -> Result<Self, ProfileError> {
        let raw = serde_json::from_str::<&RawValue>(utf8(payload)?).map_err(JsonError::from)?;
        build(raw, LEVELS_MAX, &mut VALUES_MAX.clone())
    }

    /// A payload that is a value without quotes: `on`, `21.5`.
    pub(super) fn bare(payload: &'p [u8]) -> Result<Self, ProfileError> {
        Ok(Node::Bare(utf8(payload)?.trim()))
    }

    /// What an RFC 6901 pointer without escapes names; the empty one is the node itself.
    pub(super) fn at(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, |node, name| match node {
            Node::Members(members) => members.get(name),
            Node::Items(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The member of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.members()?.get(name)
    }

    /// The members of an object.
    pub(super) fn members(&self) -> Option<&BTreeMap<String, Node<'p>>> {
        match self {
            Node::Members(members) => Some(members),
            _ => None,
        }
    }

    /// The items of an array; anything else is an array of one.
    pub(super) fn items(&self) -> &[Node<'p>] {
        match self {
            Node::Items(items) => items,
            other => std::slice::from_ref(other),
        }
    }

    /// The value of a leaf; none for null.
    pub(super) fn value(&self) -> Result<Option<Value>, Invalid> {
        match self {
            Node::Leaf(raw) => json::value(raw),
            Node::Bare("true") => Ok(Some(Value::Flag(true))),
            Node::Bare("false") => Ok(Some(Value::Flag(false))),
            Node::Bare(text) if text.len() > json::TEXT_BYTES_MAX || text.contains('\0') => Err(Invalid),
            Node::Bare(text) => Ok(Some(Value::Text((*text).into()))),
            _ => Err(Invalid),
        }
    }

    /// The value of a leaf as a text that is not empty.
    pub(super) fn text(&self) -> Option<String> {
        match self.value().ok()?? {
            Value::Number(number) => Some(number.to_string()),
            Value::Flag(flag) => Some(flag.to_string()),
            Value::Text(text) => (!text.is_empty()).then(|| text.into()),
        }
    }

    /// The text a leaf was written as.
    pub(super) fn raw(&self) -> Option<&'p str> {
        match self {
            Node::Leaf(raw) | Node::Bare(raw) => Some(raw),
            _ => None,
        }
    }
}

fn utf8(payload: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(payload).map_err(|error| JsonError::NotUtf8 { at: error.valid_up_to() })
}

/// `left` is how many more values may be kept.
fn build<'p>(raw: &'p RawValue, levels: usize, left: &mut usize) -> Result<Node<'p>, ProfileError> {
    let text = raw.get();
    if !text.starts_with(['{', '[']) {
        return Ok(Node::Leaf(text));
    }
    if levels == 0 {
        return Err(ProfileError::TooDeep);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let children = json.deserialize_any(Children { left: &mut *left });
    let children = children.map_err(|error| match *left {
        0 => ProfileError::TooManyValues,
        _ => JsonError::from(error).into(),
    })?;
    let mut build = |raw| build(raw, levels - 1, left);
    Ok(match children {
        Raw::Items(items) => Node::Items(items.into_iter().map(&mut build).collect::<Result<_, _>>()?),
        Raw::Members(members) => {
            let built = members.into_iter().map(|(name, raw)| Ok((name, build(raw)?)));
            Node::Members(built.collect::<Result<_, ProfileError>>()?)
        }
    })
}

/// What is directly below a value.
enum Raw<'p> {
    Items(Vec<&'p RawValue>),
    Members(BTreeMap<String, &'p RawValue>),
}

struct Children<'l> {
    left: &'l mut usize,
}

impl Children<'_> {
    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.saturating_sub(1);
        if *self.left == 0 { Err(E::custom("too many values")) } else { Ok(()) }
    }
}

impl<'p> Visitor<'p> for Children<'_> {
    type Value = Raw<'p>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'p>>(mut self, mut seq: A) -> Result<Raw<'p>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            self.count()?;
            items.push(item);
        }
        Ok(Raw::Items(items))
    }

    fn visit_map<A: MapAccess<'p>>(mut self, mut map: A) -> Result<Raw<'p>, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, _>()? {
            self.count()?;
            members.insert(name, value);
        }
        Ok(Raw::Members(members))
    }
}
