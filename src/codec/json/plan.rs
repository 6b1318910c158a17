//! Pointers compiled into a tree, and the walk of a payload along it. Knows nothing of values.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Plan, TimeForm};

/// Deepest pointer; keeps the walk far from the parser's own bound of 128.
const LEVELS_MAX: usize = 32;

/// One level of the pointers. Leaves are numbered depth first, so that a subtree is a range of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Children by name, sorted.
    fields: Vec<(Box<str>, Node)>,
    /// Children whose name is also an array index: (index, position in `fields`), sorted.
    items: Vec<(usize, usize)>,
    /// Number of the first leaf here or below.
    first: usize,
    /// One past the last.
    end: usize,
}

impl Node {
    fn is_leaf(&self) -> bool {
        self.fields.is_empty() && self.first < self.end
    }
}

/// A node while pointers are being added.
#[derive(Default)]
struct Branch {
    children: BTreeMap<String, Branch>,
    slots: Vec<usize>,
    time: bool,
}

/// See [`Plan::new`].
pub(super) fn compile(pointers: &[Option<String>], time: Option<(String, TimeForm)>) -> Result<Plan, String> {
    let mut root = Branch::default();
    for (slot, pointer) in pointers.iter().enumerate() {
        if let Some(pointer) = pointer {
            root.at(pointer)?.slots.push(slot);
        }
    }
    if let Some((pointer, _)) = &time {
        if pointer.is_empty() {
            return Err("pointer \"\": the time is a member of the payload, like /time".into());
        }
        root.at(pointer)?.time = true;
    }
    let mut plan =
        Plan { root: Node { fields: vec![], items: vec![], first: 0, end: 0 }, leaves: vec![], time: None };
    plan.root = root.finish("", &mut plan.leaves, &mut |leaf| {
        plan.time = time.as_ref().map(|(_, form)| (leaf, *form));
    })?;
    Ok(plan)
}

impl Branch {
    /// The branch that a pointer names.
    fn at(&mut self, pointer: &str) -> Result<&mut Branch, String> {
        if pointer.is_empty() {
            return Ok(self);
        }
        let Some(path) = pointer.strip_prefix('/') else {
            return Err(format!("pointer {pointer:?}: must begin with '/', like /data/value"));
        };
        if path.split('/').count() > LEVELS_MAX {
            return Err(format!("pointer {pointer:?}: deeper than {LEVELS_MAX} levels"));
        }
        let mut branch = self;
        for token in path.split('/') {
            let name = token.replace("~1", "/");
            if name.replace("~0", "").contains('~') {
                return Err(format!("pointer {pointer:?}: '~' is written ~0, '/' inside a name ~1"));
            }
            branch = branch.children.entry(name.replace("~0", "~")).or_default();
        }
        Ok(branch)
    }

    fn finish(
        self,
        path: &str,
        leaves: &mut Vec<Vec<usize>>,
        time: &mut impl FnMut(usize),
    ) -> Result<Node, String> {
        let first = leaves.len();
        let wanted = self.time || !self.slots.is_empty();
        if wanted && !self.children.is_empty() {
            return Err(format!(
                "pointer {path:?}: other pointers look inside its value, so it can never be one"
            ));
        }
        if wanted {
            if self.time {
                time(first);
            }
            leaves.push(self.slots);
        }
        let mut fields = Vec::with_capacity(self.children.len());
        for (name, child) in self.children {
            let node = child.finish(&format!("{path}/{name}"), leaves, time)?;
            fields.push((name.into_boxed_str(), node));
        }
        let mut items: Vec<_> = (fields.iter().enumerate())
            .filter_map(|(at, (name, _))| Some((name.parse::<usize>().ok()?, at, name)))
            .filter(|(index, _, name)| index.to_string() == ***name)
            .map(|(index, at, _)| (index, at))
            .collect();
        items.sort_unstable();
        Ok(Node { fields, items, first, end: leaves.len() })
    }
}

/// The walk: fills `found` with the text of each leaf below `node`.
pub(super) struct Walk<'p, 'f, 'de> {
    pub(super) node: &'p Node,
    pub(super) found: &'f mut [Option<&'de RawValue>],
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // A key that comes again replaces all that it held before.
        self.found[self.node.first..self.node.end].fill(None);
        if self.node.is_leaf() {
            self.found[self.node.first] = Some(<&RawValue>::deserialize(deserializer)?);
            Ok(())
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Key(self.node))? {
            match child {
                Some(node) => map.next_value_seed(Walk { node, found: &mut *self.found })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut next = 0;
        for &(index, at) in &self.node.items {
            for _ in next..index {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(());
                }
            }
            let node = &self.node.fields[at].1;
            if seq.next_element_seed(Walk { node, found: &mut *self.found })?.is_none() {
                return Ok(());
            }
            next = index + 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Looks a key up among the children of a node, without copying it.
struct Key<'p>(&'p Node);

impl<'de, 'p> DeserializeSeed<'de> for Key<'p> {
    type Value = Option<&'p Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Key<'p> {
    type Value = Option<&'p Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let fields = &self.0.fields;
        let at = fields.binary_search_by(|(name, _)| (**name).cmp(key));
        Ok(at.ok().map(|at| &fields[at].1))
    }
}
