//! TOML → typed values, key by key: a key that cannot be read is a fault of its own and hides no other.
//!
//! [`section!`] declares a table; each of its keys is a [`Key`], absent, wrong (and told) or a value with its place.
//! Guarantees: an unknown key is a fault. Does not know defaults, bounds or references: those are the check's.

use std::collections::BTreeMap;
use std::fmt::Display;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Report, Span};
use crate::model::Metric;
use crate::spelling::nearest;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Its place.
    pub(crate) span: Span,
}

/// What a table says under one key.
#[derive(Clone, Debug, Default)]
pub(crate) enum Key<T> {
    /// Nothing.
    #[default]
    Absent,
    /// Something else; the fault is told.
    Wrong,
    /// This.
    Is(At<T>),
}

impl<T> Key<T> {
    /// The value with its place, if there is one.
    pub(crate) fn get(&self) -> Option<&At<T>> {
        match self {
            Key::Is(at) => Some(at),
            Key::Absent | Key::Wrong => None,
        }
    }

    /// The value, if there is one.
    pub(crate) fn value(&self) -> Option<&T> {
        self.get().map(|at| &at.value)
    }

    /// Whether the table does not have the key.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Key::Absent)
    }

    /// The place of the value, or else of its table.
    pub(crate) fn span_or(&self, table: Span) -> Span {
        self.get().map_or(table, |at| at.span)
    }
}

impl<T: Clone> Key<T> {
    /// The value, or a default.
    pub(crate) fn or(&self, default: T) -> T {
        self.value().cloned().unwrap_or(default)
    }
}

impl<T> Key<Vec<T>> {
    /// The elements; none without the key.
    pub(crate) fn list(&self) -> &[T] {
        self.value().map_or(&[], Vec::as_slice)
    }
}

impl<T: Read> Key<T> {
    /// Takes what stands under the key; the second time only an array goes on.
    pub(crate) fn take(&mut self, name: &str, node: &Node<'_>, report: &mut Report) {
        let read = T::read(node, report).map(|value| At { value, span: node.span });
        match (&mut *self, read) {
            (Key::Is(present), Some(more)) => {
                if !present.value.append(more.value) {
                    report.twice(
                        more.span,
                        present.span,
                        format!("`{name}` stands twice"),
                        "one place for it",
                    );
                }
            }
            (Key::Is(_), None) => {}
            (Key::Absent | Key::Wrong, read) => *self = read.map_or(Key::Wrong, Key::Is),
        }
    }
}

impl<T: Read> Key<T> {
    /// Adds what another file says under the key; false when only one file may say it.
    pub(crate) fn go_on(&mut self, more: Key<T>) -> bool {
        match (self, more) {
            // What is wrong is told.
            (_, Key::Absent | Key::Wrong) => true,
            (Key::Is(present), Key::Is(more)) => present.value.append(more.value),
            (key, more) => {
                *key = more;
                T::GOES_ON
            }
        }
    }
}

/// A value as written.
pub(crate) struct Node<'a> {
    /// The value.
    pub(crate) value: &'a DeValue<'a>,
    /// Its place.
    pub(crate) span: Span,
}

impl<'a> Node<'a> {
    /// A value within the same file.
    pub(crate) fn inner(&self, value: &'a Spanned<DeValue<'a>>) -> Node<'a> {
        Node { value: value.get_ref(), span: Span::of(self.span.file(), value.span()) }
    }

    /// Says that the value is something else than `expected`.
    pub(crate) fn unexpected(&self, expected: &str, report: &mut Report) {
        let found = match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        report.fault(self.span, format!("{found} stands here"), format!("expected {expected}"));
    }

    /// The value as a text.
    pub(crate) fn text(&self, expected: &str, report: &mut Report) -> Option<&'a str> {
        let DeValue::String(text) = self.value else {
            self.unexpected(expected, report);
            return None;
        };
        Some(text)
    }
}

/// Something that can stand in a configuration.
pub(crate) trait Read: Sized {
    /// Reads it; `None` when a fault was told.
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self>;

    /// Whether one file may begin it and another go on.
    const GOES_ON: bool = false;

    /// Adds what another file says; false when only one file may say it.
    fn append(&mut self, _more: Self) -> bool {
        false
    }

    /// The paths of all keys below `path`.
    #[cfg(test)]
    fn keys(_path: &str, _all: &mut Vec<String>) {}
}

/// A table with fixed keys.
pub(crate) trait Section: Default {
    /// As its header is written.
    const HEADER: &'static str;
    /// The names of its keys.
    const KEYS: &'static [&'static str];

    /// Takes the value of one key; false when the section has no such key.
    fn take(&mut self, key: &str, node: &Node<'_>, report: &mut Report) -> bool;
    /// Adds the lists of tables that another file has for it; false when that file says anything else.
    fn go_on(&mut self, more: Self) -> bool;
    /// Notes where the section begins.
    fn place(&mut self, span: Span);
    /// What its faults are about, where a line does not tell.
    fn subject(&self) -> Option<String> {
        None
    }
    /// The paths of all keys.
    #[cfg(test)]
    fn paths(path: &str, all: &mut Vec<String>);

    /// Takes every key of a table.
    fn fill(&mut self, table: &DeTable<'_>, file: usize, report: &mut Report) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let node = Node { value: value.get_ref(), span: Span::of(file, value.span()) };
            if !self.take(name, &node, report) {
                let help = match nearest(name, Self::KEYS.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("{} has {}", Self::HEADER, Self::KEYS.join(", ")),
                };
                let message = format!("unknown key `{name}` in {}", Self::HEADER);
                report.fault(Span::of(file, key.span()), message, help);
            }
        }
    }
}

impl<T: Section> Read for T {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Table(table) = node.value else {
            node.unexpected(&format!("the table {}", T::HEADER), report);
            return None;
        };
        let mut section = T::default();
        section.place(node.span);
        let since = report.now();
        section.fill(table, node.span.file(), report);
        if let Some(subject) = section.subject() {
            report.about(since, &subject);
        }
        Some(section)
    }

    fn append(&mut self, more: Self) -> bool {
        self.go_on(more)
    }

    #[cfg(test)]
    fn keys(path: &str, all: &mut Vec<String>) {
        T::paths(path, all);
    }
}

/// Declares a table: `key: Type`, or `field as "key": Type` where the key is a word of Rust. With `named "thing" key` its
/// faults name the thing by the value of the key.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident, $header:literal, $(named $thing:literal $subject:ident,)? {
        $($(#[$key_doc:meta])* $field:ident $(as $key:literal)?: $type:ty,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            /// Where it begins.
            pub(crate) at: $crate::config::fault::Span,
            $($(#[$key_doc])* pub(crate) $field: $crate::config::read::Key<$type>,)*
        }

        impl $crate::config::read::Section for $name {
            const HEADER: &'static str = $header;
            const KEYS: &'static [&'static str] = &[$($crate::config::read::key_name!($field $($key)?)),*];

            fn take(
                &mut self,
                key: &str,
                node: &$crate::config::read::Node<'_>,
                report: &mut $crate::config::fault::Report,
            ) -> bool {
                $(if key == $crate::config::read::key_name!($field $($key)?) {
                    self.$field.take(key, node, report);
                    return true;
                })*
                false
            }

            fn go_on(&mut self, more: Self) -> bool {
                true $(&& self.$field.go_on(more.$field))*
            }

            fn place(&mut self, span: $crate::config::fault::Span) {
                self.at = span;
            }

            $(fn subject(&self) -> Option<String> {
                self.$subject.value().map(|name| format!("{} {name}", $thing))
            })?

            #[cfg(test)]
            fn paths(path: &str, all: &mut Vec<String>) {
                $(
                    let key = format!("{path}.{}", $crate::config::read::key_name!($field $($key)?));
                    <$type as $crate::config::read::Read>::keys(&key, all);
                    all.push(key);
                )*
            }
        }
    };
}
macro_rules! key_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}
/// Declares the words that stand for the values of a type.
macro_rules! words {
    ($type:ty, $($word:literal => $value:expr),* $(,)?) => {
        impl $crate::config::read::Read for $type {
            fn read(
                node: &$crate::config::read::Node<'_>,
                report: &mut $crate::config::fault::Report,
            ) -> Option<Self> {
                $crate::config::read::word(node, &[$(($word, $value)),*], report)
            }
        }
    };
}
pub(crate) use {key_name, section, words};

/// One of a few words.
pub(crate) fn word<T: Clone>(node: &Node<'_>, words: &[(&str, T)], report: &mut Report) -> Option<T> {
    let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let expected = format!("one of {}", all.join(", "));
    let text = node.text(&expected, report)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
    if found.is_none() {
        let help = match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(near) => format!("did you mean {near:?}? {expected}"),
            None => expected,
        };
        report.fault(node.span, format!("unknown word {text:?}"), help);
    }
    found
}

/// A text that a function understands.
pub(crate) fn parsed<T, E: Display>(
    node: &Node<'_>,
    expected: &str,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = node.text(expected, report)?;
    parse(text)
        .map_err(|error| report.fault(node.span, error.to_string(), format!("expected {expected}")))
        .ok()
}

impl<T: Read> Read for Vec<At<T>> {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Array(items) = node.value else {
            node.unexpected("a list: [\"…\", \"…\"]", report);
            return None;
        };
        // An ill-formed element is told and left out: the others are checked all the same.
        let read = items.iter().map(|item| node.inner(item));
        let read = read.filter_map(|item| T::read(&item, report).map(|value| At { value, span: item.span }));
        let read: Vec<At<T>> = read.collect();
        (items.is_empty() || !read.is_empty()).then_some(read)
    }
}

impl<T: Section> Read for Vec<T> {
    const GOES_ON: bool = true;

    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Array(items) = node.value else {
            node.unexpected(&format!("a list of tables: each begins with {}", T::HEADER), report);
            return None;
        };
        Some(items.iter().filter_map(|item| T::read(&node.inner(item), report)).collect())
    }

    fn append(&mut self, more: Self) -> bool {
        self.extend(more);
        true
    }

    #[cfg(test)]
    fn keys(path: &str, all: &mut Vec<String>) {
        T::paths(path, all);
    }
}

/// A table whose keys are names, in their order; `None` is what could not be read.
impl<T: Read> Read for BTreeMap<Metric, At<Option<T>>> {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Table(table) = node.value else {
            node.unexpected("a table: { temperature = \"keep\" }", report);
            return None;
        };
        let mut map = BTreeMap::new();
        for (key, value) in table {
            let item = node.inner(value);
            let span = Span::of(node.span.file(), key.span());
            match key.get_ref().parse::<Metric>() {
                Ok(metric) => {
                    map.insert(metric, At { value: T::read(&item, report), span });
                }
                Err(error) => report.fault(span, error.to_string(), "the name of a metric"),
            }
        }
        Some(map)
    }

    #[cfg(test)]
    fn keys(path: &str, all: &mut Vec<String>) {
        T::keys(&format!("{path}.*"), all);
    }
}
