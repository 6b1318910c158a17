//! What is wrong with a configuration: where, what, and what would be right.
//!
//! Guarantees: every fault names file, line and column; a line that speaks of a password is never shown. Does not
//! decide what a fault is.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

use super::read::{At, Key};
use super::source::Sources;

/// Faults told in one run; beyond it they are only counted. Warnings are few by nature: one or two an element.
pub(crate) const FAULTS_MAX: usize = 400;
/// Characters of a line that are shown.
const SHOWN_MAX: usize = 160;

/// A range of bytes in one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    file: usize,
    start: usize,
    end: usize,
}

impl Span {
    /// In the file of this number.
    pub(crate) fn of(file: usize, range: Range<usize>) -> Self {
        Self { file, start: range.start, end: range.end }
    }

    /// The file's number.
    pub(crate) fn file(self) -> usize {
        self.file
    }
}

/// Something that keeps a configuration from being taken, or (as a warning) from doing what it seems to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file, as it was named.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// The line as written, without its end; the value of a password is left out.
    pub text: String,
    /// How many characters of the line are meant; at least 1.
    pub width: usize,
}

impl Fault {
    fn show(&self, level: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = self.line.to_string().len();
        writeln!(f, "{level}: {}", self.message)?;
        writeln!(f, "{:gutter$}--> {}:{}:{}", "", self.file.display(), self.line, self.column)?;
        if !self.text.is_empty() {
            let cells =
                |text: &str| text.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect::<String>();
            let before: String = self.text.chars().take(self.column - 1).collect();
            let meant: String = self.text.chars().skip(self.column - 1).take(self.width).collect();
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{} | {}", self.line, self.text)?;
            // A full-width character takes two cells of a terminal.
            let wide = |text: &str| text.chars().filter(|c| u32::from(*c) >= 0x2e80).count();
            let pad = cells(&before) + &" ".repeat(wide(&before));
            let carets = "^".repeat((meant.chars().count() + wide(&meant)).max(1));
            writeln!(f, "{:gutter$} | {pad}{carets}", "")?;
        }
        writeln!(f, "{:gutter$} = {}", "", self.help)
    }
}

/// Everything that is wrong with one configuration, in the order of files and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// What keeps it from being taken; never empty in an error.
    pub faults: Vec<Fault>,
    /// What may not be meant.
    pub warnings: Vec<Fault>,
    /// Faults beyond the first 200.
    pub more: usize,
}

impl Faults {
    /// How many faults there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.faults.len() + self.more
    }

    /// The first of them in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let first = self.faults.first();
        first.map_or_else(String::new, |fault| {
            format!("{}:{}:{}: {}", fault.file.display(), fault.line, fault.column, fault.message)
        })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = [("error", &self.faults), ("warning", &self.warnings)];
        for (level, faults) in levels {
            for fault in faults {
                fault.show(level, f)?;
                writeln!(f)?;
            }
        }
        if self.more > 0 {
            writeln!(f, "… and {} more faults\n", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A fault that does not know its line yet.
#[derive(Debug)]
pub(crate) struct Mark {
    span: Span,
    first: Option<Span>,
    /// A part of the text that stands there, as bytes of its value.
    part: Option<(Box<str>, Range<usize>)>,
    message: String,
    help: String,
}

/// Collects faults while a configuration is read and checked.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What keeps the configuration from being taken.
    pub(crate) faults: Vec<Mark>,
    warnings: Vec<Mark>,
    more: usize,
    /// Where text could not be understood.
    unreadable: Vec<Span>,
}

impl Report {
    /// Notes a fault.
    pub(crate) fn fault(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.push(Mark::new(span, message, help));
    }

    /// Notes a fault in a part of a text, given as bytes of its value. Where the text is written with escapes, all of it is
    /// meant.
    pub(crate) fn within_text(
        &mut self,
        text: &At<String>,
        part: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let part = Some((text.value.as_str().into(), part));
        self.push(Mark { part, ..Mark::new(text.span, message, help) });
    }

    /// Notes a text that cannot be understood. What would be told as missing may then only stand there, and is not told.
    pub(crate) fn unreadable(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.unreadable.push(span);
        self.fault(span, message, help);
    }

    /// Notes a fault that another place explains: the first of two, say.
    pub(crate) fn twice(
        &mut self,
        span: Span,
        first: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Mark { first: Some(first), ..Mark::new(span, message, help) });
    }

    /// Notes that something else is needed which is not there.
    pub(crate) fn missing(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        if self.unreadable.is_empty() {
            self.fault(span, message, help);
        }
    }

    /// Notes something that may not be meant.
    pub(crate) fn warn(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.warnings.push(Mark::new(span, message, help));
    }

    /// The moment from which on [`Report::about`] names a subject.
    pub(crate) fn now(&self) -> (usize, usize) {
        (self.faults.len(), self.warnings.len())
    }

    /// Says what all that was noted since then is about.
    pub(crate) fn about(&mut self, (faults, warnings): (usize, usize), subject: &str) {
        for mark in self.faults[faults..].iter_mut().chain(&mut self.warnings[warnings..]) {
            mark.message = format!("{subject}: {}", mark.message);
        }
    }

    /// The value of a key that has to be there.
    pub(crate) fn need<'k, T>(
        &mut self,
        key: &'k Key<T>,
        table: Span,
        name: &str,
        example: &str,
    ) -> Option<&'k At<T>> {
        if key.is_absent() {
            self.missing(table, format!("missing key `{name}`"), format!("for example {name} = {example}"));
        }
        key.get()
    }

    fn push(&mut self, mark: Mark) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(mark);
        } else {
            self.more += 1;
        }
    }

    /// Gives every mark its line.
    pub(crate) fn finish(mut self, sources: &Sources) -> Faults {
        let line = |span: &Span| (span.file, locate(sources, *span).1);
        let broken: HashSet<_> = self.unreadable.iter().map(line).collect();
        self.faults.iter_mut().for_each(|mark| mark.narrow(sources));
        // What the reader of TOML puts in the place of a broken text is not what was written.
        self.faults.retain(|mark| {
            let whole = mark.span.start < mark.span.end && !broken.contains(&line(&mark.span));
            broken.is_empty() || whole || self.unreadable.contains(&mark.span)
        });
        let place = |mut marks: Vec<Mark>| {
            marks.sort_by_key(|mark| mark.span);
            let mut faults: Vec<Fault> = marks.into_iter().map(|mark| mark.place(sources)).collect();
            faults.dedup();
            faults
        };
        Faults { faults: place(self.faults), warnings: place(self.warnings), more: self.more }
    }
}

impl Mark {
    fn new(span: Span, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span, first: None, part: None, message: message.into(), help: help.into() }
    }

    /// Points at the part of a text that is meant, if the value stands in the file as it is.
    fn narrow(&mut self, sources: &Sources) {
        let Some((value, part)) = &self.part else { return };
        let Some(source) = sources.files.get(self.span.file) else { return };
        let Some(written) = source.text.get(self.span.start..self.span.end) else { return };
        // A text of several lines begins behind the line of its quotes.
        let quotes = ["\"\"\"\n", "'''\n", "\"\"\"", "'''", "\"", "'"];
        let Some(before) = quotes.iter().find(|quote| written.starts_with(**quote)).map(|quote| quote.len())
        else {
            return;
        };
        let Some(rest) = written.get(before..) else { return };
        if rest.starts_with(&**value) && rest.len() <= value.len() + 3 {
            let start = self.span.start + before;
            self.span = Span { file: self.span.file, start: start + part.start, end: start + part.end };
        }
    }

    fn place(self, sources: &Sources) -> Fault {
        let (file, line, column, text, width) = locate(sources, self.span);
        let message = match self.first {
            None => self.message,
            Some(first) => {
                let (file, line, column, ..) = locate(sources, first);
                format!("{} (see {}:{line}:{column})", self.message, file.display())
            }
        };
        Fault { file, line, column, message, help: self.help, text, width }
    }
}

fn locate(sources: &Sources, span: Span) -> (PathBuf, usize, usize, String, usize) {
    let Some(source) = sources.files.get(span.file) else { return Default::default() };
    let text = &source.text;
    let start = text.floor_char_boundary(span.start);
    let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line = text[..begin].matches('\n').count() + 1;
    let column = text[begin..start].chars().count() + 1;
    let meant = &text[start..text.floor_char_boundary(span.end.clamp(start, end))];
    let shown = text[begin..end].trim_end_matches('\r');
    // In an address there may be a token.
    let private = shown.find("passw").or_else(|| shown.find("url =").or_else(|| shown.find("url=")));
    let (shown, width) = match private {
        Some(at) => {
            let value = shown[at..].find('=').map_or(at, |equals| at + equals + 1);
            (format!("{} …", &shown[..value]), 1)
        }
        None => (shown.chars().take(SHOWN_MAX).collect(), meant.trim_end().chars().count().max(1)),
    };
    (source.path.clone(), line, column, shown, width)
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;

    fn sources(text: &str) -> Sources {
        Sources { files: vec![Source { path: "a.toml".into(), text: text.to_owned() }], ..Sources::default() }
    }

    #[test]
    fn a_fault_points_into_its_line() {
        let text = "a = 1\ntitle = \"门禁\" x\n";
        let mut report = Report::default();
        report.fault(Span::of(0, text.find('x').map_or(0..0, |at| at..at + 1)), "stray x", "no x");
        let faults = report.finish(&sources(text));
        assert_eq!((faults.faults[0].line, faults.faults[0].column), (2, 14));
        let shown = faults.to_string();
        assert_eq!(
            shown,
            "error: stray x\n --> a.toml:2:14\n  |\n2 | title = \"门禁\" x\n  |                ^\n  = no x\n\n"
        );
    }

    #[test]
    fn a_part_of_a_text_is_pointed_at() {
        for (text, value, part, line, column, width) in [
            ("a = \"x > 1\"", "x > 1", 4..5, 1, 10, 1),
            ("a = 'x > y'", "x > y", 0..1, 1, 6, 1),
            ("a = \"门 > yz\"", "门 > yz", 6..8, 1, 10, 2),
            ("a = \"\"\"\nx >\n  yz\"\"\"", "x >\n  yz", 6..8, 3, 3, 2),
            ("a = '''x > y'''", "x > y", 4..5, 1, 12, 1),
            // The value is not what stands there.
            ("a = \"x\\u0020> y\"", "x > y", 4..5, 1, 5, 12),
        ] {
            let mut report = Report::default();
            let span = Span::of(0, 4..text.len());
            report.within_text(&At { value: value.to_owned(), span }, part, "here", "not");
            let faults = report.finish(&sources(text)).faults;
            assert_eq!((faults[0].line, faults[0].column, faults[0].width), (line, column, width), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let text = "password_hash = \"secret\"";
        let mut report = Report::default();
        report.fault(Span::of(0, 16..24), "no hash", "a hash");
        let shown = report.finish(&sources(text)).to_string();
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn faults_are_bounded_and_counted() {
        let mut report = Report::default();
        for at in 0..FAULTS_MAX + 5 {
            report.fault(Span::of(0, at..at), "x", "y");
        }
        let faults = report.finish(&sources(&"\n".repeat(FAULTS_MAX)));
        assert_eq!((faults.more, faults.count()), (5, FAULTS_MAX + 5));
    }
}
