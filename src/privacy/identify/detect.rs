//! Identifiers in free text: what kind, where, and the text without them.
//!
//! Guarantees: where two kinds could begin, the order is e-mail, id18, bank_card, mobile, landline, plate; spans do not
//! overlap, are ascending, and are told in characters (half open) of the text as it was written; separators, country codes
//! and invisible characters inside an identifier are part of its span. Neighbours of an identifier are no ASCII letters or
//! digits; word boundaries are not asked for, because Chinese has none. What it does not do: see names, addresses, and
//! what does not pass its check (`fail_closed_digits` is for texts in which a slip must not show).
//!
//! Cost: the length of the text, times a small bound for each place where an identifier could begin.

use std::fmt;

use super::normal::{Normal, normal};
use super::scan::{Run, is_edge};
use super::{number, phone, plate};

/// Digits of cards: fewer are too often something else.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Most pieces in which an id or a card is written.
const GROUPS_MAX: usize = 5;

/// One identifier in a text.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    /// `email`, `id18`, `bank_card`, `mobile`, `landline` or `plate`.
    pub kind: &'static str,
    /// Its first character's place.
    pub start: usize,
    /// The place behind its last character.
    pub end: usize,
    /// As it was written.
    pub text: String,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}..{}]", self.kind, self.start, self.end)
    }
}

/// What was found in a text.
#[derive(Clone, PartialEq, Eq)]
pub struct Detected {
    /// The text with `[kind]` in place of each identifier.
    pub redacted: String,
    /// The identifiers, ascending.
    pub spans: Vec<Span>,
}

impl fmt::Debug for Detected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.spans).finish()
    }
}

/// Where an identifier that begins at a place ends.
type Matcher = fn(&[char], usize) -> Option<usize>;

const MATCHERS: &[(&str, Matcher)] = &[
    ("id18", |chars, start| at_edge(chars, start).then(|| id18(chars, start)).flatten()),
    ("bank_card", |chars, start| at_edge(chars, start).then(|| bank_card(chars, start)).flatten()),
    ("mobile", |chars, start| {
        at_edge(chars, start).then(|| phone::mobile(chars, start)).flatten().map(|found| found.end)
    }),
    ("landline", |chars, start| {
        at_edge(chars, start).then(|| phone::landline(chars, start)).flatten().map(|found| found.end)
    }),
    // A plate begins with a Chinese character, so nothing before it can be part of it.
    ("plate", |chars, start| plate::found(chars, start).map(|found| found.end)),
];

/// Finds identifiers in a text.
#[must_use]
pub fn detect(text: &str) -> Detected {
    let normal = normal(text);
    let mut taken = Taken { spans: Vec::new(), places: vec![false; normal.chars.len()] };
    emails(&normal.chars, &mut taken);
    for (kind, matcher) in MATCHERS {
        let mut start = 0;
        while start < normal.chars.len() {
            match matcher(&normal.chars, start) {
                Some(end) if taken.take(kind, start, end) => start = end,
                _ => start += 1,
            }
        }
    }
    taken.spans.sort_unstable_by_key(|(_, start, _)| *start);
    written(text, &normal, &taken.spans)
}

/// What is found so far.
struct Taken {
    spans: Vec<(&'static str, usize, usize)>,
    places: Vec<bool>,
}

impl Taken {
    /// Takes a span unless part of it is already taken.
    fn take(&mut self, kind: &'static str, start: usize, end: usize) -> bool {
        let places = &mut self.places[start..end];
        let free = !places.contains(&true);
        if free {
            places.fill(true);
            self.spans.push((kind, start, end));
        }
        free
    }
}

fn written(text: &str, normal: &Normal, found: &[(&'static str, usize, usize)]) -> Detected {
    let chars: Vec<char> = text.chars().collect();
    let (mut redacted, mut spans, mut at) = (String::with_capacity(text.len()), Vec::new(), 0);
    for (kind, start, end) in found {
        let (start, end) = normal.written(*start, *end);
        // One character may have become the end of one identifier and the beginning of the next.
        let start = start.max(at);
        redacted.extend(&chars[at..start]);
        redacted.push_str(&format!("[{kind}]"));
        spans.push(Span { kind, start, end, text: chars[start..end].iter().collect() });
        at = end;
    }
    redacted.extend(&chars[at..]);
    Detected { redacted, spans }
}

fn at_edge(chars: &[char], start: usize) -> bool {
    is_edge(chars, start.checked_sub(1))
}

/// Every `local@domain.tld` of ASCII.
fn emails(chars: &[char], taken: &mut Taken) {
    for at in (0..chars.len()).filter(|at| chars[*at] == '@') {
        let before = chars[..at].iter().rev().take_while(|c| is_local(**c)).count();
        let mut start = at - before;
        // A dot or a sign before the name belongs to the sentence.
        start += chars[start..at].iter().take_while(|c| !c.is_ascii_alphanumeric()).count();
        if let Some(end) = domain(chars, at + 1).filter(|_| start < at) {
            taken.take("email", start, end);
        }
    }
}

/// A character of the part before the `@`, as mail providers allow it.
pub(crate) fn is_local(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-')
}

/// The place behind the domain that begins at `start`: labels of letters, digits and dashes, the last of letters.
pub(crate) fn domain(chars: &[char], start: usize) -> Option<usize> {
    let rest = &chars[start..];
    let size = rest.iter().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).count();
    let labels: Vec<&[char]> = rest[..size].split(|c| *c == '.').collect();
    let sound = labels
        .iter()
        .take_while(|label| !label.is_empty() && label[0] != '-' && label[label.len() - 1] != '-')
        .count();
    let last = labels[..sound]
        .iter()
        .rposition(|label| label.len() >= 2 && label.iter().all(char::is_ascii_alphabetic));
    let labels = &labels[..=last.filter(|last| *last > 0)?];
    Some(start + labels.iter().map(|label| label.len()).sum::<usize>() + labels.len() - 1)
}

/// A resident id, in one piece or in groups.
fn id18(chars: &[char], start: usize) -> Option<usize> {
    let run = Run::read(chars, start, 17);
    let body = run.end(17).filter(|_| run.groups(17).len() <= GROUPS_MAX)?;
    let last = super::scan::skip_separators(chars, body);
    let check = chars.get(last).filter(|c| c.is_ascii())?;
    (is_edge(chars, Some(last + 1)) && number::id18(&format!("{}{check}", run.text(17)))).then_some(last + 1)
}

/// A card number, the longest that passes its check, in one piece or in groups of four and more digits (the last may be
/// shorter).
fn bank_card(chars: &[char], start: usize) -> Option<usize> {
    let run = Run::read(chars, start, *CARD_DIGITS.end());
    if !matches!(run.digits.first(), Some(3..=6)) {
        return None;
    }
    CARD_DIGITS.rev().find_map(|size| {
        let end = run.end(size).filter(|end| is_edge(chars, Some(*end)))?;
        let groups = run.groups(size);
        let (_, inner) = groups.split_last()?;
        let grouped = groups.len() <= GROUPS_MAX && inner.iter().all(|group| *group >= 4);
        (grouped && number::checks(&run.digits[..size])).then_some(end)
    })
}

#[cfg(test)]
mod tests;
