//! TOML tables, key by key: every fault has its place, and a key that nobody asked for is one.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::case::Place;
use crate::config::Fault;

/// Faults told of one file; a run tells what comes after them next time.
const FAULTS_MAX: usize = 100;

/// Collects the faults of a file.
pub(super) struct Reader<'t> {
    path: PathBuf,
    text: &'t str,
    faults: Vec<Fault>,
}

impl<'t> Reader<'t> {
    /// Of a file and its text.
    #[must_use]
    pub(super) fn new(path: &Path, text: &'t str) -> Self {
        Self { path: path.to_owned(), text, faults: Vec::new() }
    }

    /// The line of a byte, from 1.
    #[must_use]
    pub(super) fn line(&self, at: usize) -> usize {
        self.text[..self.text.floor_char_boundary(at)].matches('\n').count() + 1
    }

    /// Notes a fault.
    pub(super) fn fault(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        if self.faults.len() == FAULTS_MAX {
            return;
        }
        let start = self.text.floor_char_boundary(place.start);
        let begin = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let meant = &self.text[start..self.text.floor_char_boundary(place.end.clamp(start, end))];
        self.faults.push(Fault {
            file: self.path.clone(),
            line: self.line(start),
            column: self.text[begin..start].chars().count() + 1,
            message: message.into(),
            help: help.into(),
            text: self.text[begin..end].trim_end_matches('\r').to_owned(),
            width: meant.trim_end().chars().count().max(1),
        });
    }

    /// What was noted.
    #[must_use]
    pub(super) fn done(self) -> Vec<Fault> {
        self.faults
    }
}

/// The keys of a table that nobody has asked for yet.
pub(super) struct Fields<'t> {
    what: &'static str,
    place: Place,
    left: Vec<(Place, &'t str, &'t Spanned<DeValue<'t>>)>,
}

impl<'t> Fields<'t> {
    /// Of a table; a fault when it is none.
    pub(super) fn of(
        node: &'t Spanned<DeValue<'t>>,
        what: &'static str,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let DeValue::Table(table) = node.get_ref() else {
            reader.fault(node.span(), "no table", format!("{what} is a table"));
            return None;
        };
        Some(Self { what, place: node.span(), left: in_order(table) })
    }

    /// Whether a key is left.
    #[must_use]
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|(_, name, _)| *name == key)
    }

    /// Takes a key.
    pub(super) fn take(&mut self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        let at = self.left.iter().position(|(_, name, _)| *name == key)?;
        Some(self.left.remove(at).2)
    }

    /// Takes a text that has to be there.
    pub(super) fn text(&mut self, key: &str, reader: &mut Reader<'_>) -> Option<String> {
        self.needed(key, reader, |text| Ok::<_, String>(text.to_owned()))
    }

    /// Takes a text that has to be there and that `parse` understands.
    pub(super) fn needed<T, E: Display>(
        &mut self,
        key: &str,
        reader: &mut Reader<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !self.has(key) {
            let message = format!("missing key `{key}`");
            reader.fault(self.place.clone(), message, format!("{} needs it", self.what));
        }
        self.optional(key, reader, parse)
    }

    /// Takes a text, if it is there, that `parse` understands.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        key: &str,
        reader: &mut Reader<'_>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let node = self.take(key)?;
        let DeValue::String(text) = node.get_ref() else {
            reader.fault(node.span(), format!("`{key}` is no text"), "a text in quotes");
            return None;
        };
        let parsed = parse(text);
        parsed.map_err(|why| reader.fault(node.span(), format!("{key}: {why}"), "see docs/rules.md")).ok()
    }

    /// Takes a list of at most `most` elements; what cannot be read is told and left out.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        most: usize,
        reader: &mut Reader<'_>,
        mut read: impl FnMut(&'t Spanned<DeValue<'t>>, &mut Reader<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = node.get_ref() else {
            reader.fault(node.span(), format!("`{key}` is no list"), "a list of tables: [{ … }, { … }]");
            return Vec::new();
        };
        if items.len() > most {
            reader.fault(node.span(), format!("{} elements", items.len()), format!("at most {most}"));
            return Vec::new();
        }
        items.iter().filter_map(|item| read(item, reader)).collect()
    }

    /// Takes all that is left, as it was written.
    pub(super) fn rest(&mut self) -> Vec<(Place, &'t str, &'t Spanned<DeValue<'t>>)> {
        std::mem::take(&mut self.left)
    }

    /// What is left is unknown.
    pub(super) fn end(self, reader: &mut Reader<'_>) {
        for (place, name, _) in self.left {
            reader.fault(place, format!("unknown key `{name}` in {}", self.what), "see docs/rules.md");
        }
    }
}

/// Tables forget the order of their keys; their places tell it.
fn in_order<'t>(table: &'t DeTable<'t>) -> Vec<(Place, &'t str, &'t Spanned<DeValue<'t>>)> {
    let mut fields: Vec<_> =
        table.iter().map(|(key, value)| (key.span(), key.get_ref().as_ref(), value)).collect();
    fields.sort_by_key(|(place, ..)| place.start);
    fields
}
