//! TOML → typed values, key by key: a key that cannot be read is a fault of its own and hides no other.
//!
//! [`section!`] declares a table; each of its keys is a [`Key`], absent, wrong (and told) or a value with its place.
//! Guarantees: an unknown key is a fault. Does not know defaults, bounds or references: those are the check's.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::civil::Date;
use rust_decimal::Decimal;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Report, Span, nearest};
use crate::model::{Consumer, DeviceId, LineId, Metric};

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

    fn text(&self, expected: &str, report: &mut Report) -> Option<&'a str> {
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
    /// Notes where the section begins.
    fn place(&mut self, span: Span);
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
        section.fill(table, node.span.file(), report);
        Some(section)
    }

    #[cfg(test)]

    fn keys(path: &str, all: &mut Vec<String>) {
        T::paths(path, all);
    }
}

/// Declares a table: `key: Type`, or `field as "key": Type` where the key is a word of Rust.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident, $header:literal, {
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

            fn place(&mut self, span: $crate::config::fault::Span) {
                self.at = span;
            }

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

/// Reads types that have a parser of their own from a text.
macro_rules! from_text {
    ($($type:ty, $expected:literal;)*) => {
        $(impl Read for $type {
            fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
                parsed(node, $expected, report, str::parse::<$type>)
            }
        })*
    };
}
from_text! {
    DeviceId, "a device's id: \"door-1\"";
    Metric, "a metric: \"temperature\"";
    LineId, "an id: \"C-001\"";
    Consumer, "a consumer: \"spiffe://brain.example/city/310115/brain/traffic\"";
    SocketAddr, "an address and a port: \"127.0.0.1:1883\"";
    Size, "a size: \"512 KiB\", \"64 MiB\", \"2 GiB\"";
    Zone, "an offset from UTC: \"+08:00\"";
}

impl Read for String {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let text = node.text("a text", report)?;
        if text.is_empty() || text.len() > 4096 {
            report.fault(node.span, format!("a text of {} bytes", text.len()), "1 to 4096 bytes");
            return None;
        }
        Some(text.to_owned())
    }
}

impl Read for bool {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Boolean(flag) = node.value else {
            node.unexpected("true or false", report);
            return None;
        };
        Some(*flag)
    }
}

impl Read for u64 {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Integer(number) = node.value else {
            node.unexpected("an integer without quotes: 200", report);
            return None;
        };
        let read = u64::from_str_radix(number.as_str(), number.radix()).ok();
        if read.is_none() {
            report.fault(node.span, format!("{number} is out of range"), "an integer from 0 up");
        }
        read
    }
}

impl Read for Decimal {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let expected = "a number: 0.1, -40 or \"0.1\", at most 28 digits";
        let text = match node.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            DeValue::String(text) => text,
            _ => {
                node.unexpected(expected, report);
                return None;
            }
        };
        let plain = text.strip_prefix('+').unwrap_or(text);
        let number = Decimal::from_str_exact(plain).or_else(|_| Decimal::from_scientific(plain)).ok();
        if number.is_none() {
            report.fault(node.span, format!("{text:?} is no exact decimal"), format!("expected {expected}"));
        }
        number
    }
}

impl Read for Duration {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let expected = "a duration: \"500ms\", \"5s\", \"15m\", \"1h\", \"7d\"";
        parsed(node, expected, report, |text| amount(text, &units, "duration")).map(Duration::from_millis)
    }
}

/// Bytes, written with a binary unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl std::str::FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
        amount(text, &units, "size").map(Size)
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(bytes, _)| self.0 >= *bytes && self.0.is_multiple_of(*bytes)) {
            Some((bytes, unit)) => write!(f, "{} {unit}", self.0 / bytes),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// A whole number and a unit, a space between them or not.
fn amount(text: &str, units: &[(&str, u64)], what: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim_start());
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let number: Option<u64> = number.parse().ok();
    let amount = factor.zip(number).and_then(|(factor, number)| number.checked_mul(factor));
    amount.ok_or_else(|| format!("{text:?} is no {what}"))
}

/// An offset from UTC in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zone(pub(crate) i64);

impl std::str::FromStr for Zone {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = || {
            let sign = match text.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let (hours, minutes) = text[1..].split_once(':')?;
            let digits = |part: &str| {
                let two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
                part.parse::<i64>().ok().filter(|_| two)
            };
            let (hours, minutes) = (digits(hours)?, digits(minutes)?);
            (hours <= 14 && minutes < 60).then_some(Zone(sign * (hours * 60 + minutes) * 60_000))
        };
        parts().ok_or_else(|| format!("{text:?} is no offset from UTC"))
    }
}

/// The end of a permission: a day in the gateway's zone, which it includes, or a moment, which it excludes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// To the end of this day.
    Day(Date),
    /// Up to here, milliseconds since 1970 UTC.
    Moment(i64),
}

impl Read for Until {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let text = match node.value {
            DeValue::Datetime(date) => date.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => {
                node.unexpected("a date: \"2027-12-31\"", report);
                return None;
            }
        };
        let day = (text.len() == 10).then(|| text.parse::<Date>().ok()).flatten().map(Until::Day);
        let moment = || text.parse::<jiff::Timestamp>().ok().map(|at| Until::Moment(at.as_millisecond()));
        let until = day.or_else(moment);
        if until.is_none() {
            let help = "a day \"2027-12-31\" or a time with its zone \"2027-12-31T18:00:00+08:00\"";
            report.fault(node.span, format!("{text:?} is no date"), help);
        }
        until
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Read>(text: &str) -> Option<T> {
        let text = format!("x = {text}");
        let table = DeTable::parse(&text).expect("valid TOML");
        let value = table.get_ref().get("x").expect("the key").get_ref();
        let mut report = Report::default();
        let read = T::read(&Node { value, span: Span::default() }, &mut report);
        assert_eq!(read.is_none(), !report.faults.is_empty(), "{text}: a fault or a value");
        read
    }

    #[test]
    fn durations_and_sizes_have_units() {
        for (text, ms) in
            [("2ms", 2), ("5 s", 5000), ("15m", 900_000), ("1h", 3_600_000), ("7d", 604_800_000)]
        {
            assert_eq!(read::<Duration>(&format!("{text:?}")), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["'5'", "'s'", "''", "5", "'1.5s'", "'-1s'", "'5 sec'", "'999999999999999999d'"] {
            assert_eq!(read::<Duration>(text), None, "{text}");
        }
        for (text, bytes) in [("0B", 0), ("64 MiB", 64 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(read::<Size>(&format!("{text:?}")), Some(Size(bytes)), "{text}");
        }
        assert_eq!(read::<Size>("'64 MB'"), None, "decimal units would be read as something else");
        assert_eq!([Size(64 << 20), Size(1025)].map(|size| size.to_string()), ["64 MiB", "1025 B"]);
    }

    #[test]
    fn decimals_keep_their_digits() {
        for (text, exact) in
            [("0.1", "0.1"), ("1.10", "1.10"), ("-40", "-40"), ("'60'", "60"), ("1e-3", "0.001")]
        {
            assert_eq!(read::<Decimal>(text).map(|number| number.to_string()).as_deref(), Some(exact));
        }
        for text in ["nan", "inf", "'ten'", "true", "0x10", "0.00000000000000000000000000000000001"] {
            assert_eq!(read::<Decimal>(text), None, "{text}");
        }
    }

    #[test]
    fn zones_and_dates() {
        for (text, ms) in
            [("'+08:00'", Some(28_800_000)), ("'-03:30'", Some(-12_600_000)), ("'+00:00'", Some(0))]
        {
            assert_eq!(read::<Zone>(text).map(|zone| zone.0), ms);
        }
        for text in ["'Z'", "'+8'", "'08:00'", "'+15:00'", "'+08:60'", "'+++:--'", "''", "'东08'"] {
            assert_eq!(read::<Zone>(text), None, "{text}");
        }
        assert!(matches!(read::<Until>("2027-12-31"), Some(Until::Day(_))));
        assert!(matches!(read::<Until>("'2027-12-31'"), Some(Until::Day(_))));
        assert!(matches!(read::<Until>("'1970-01-01T08:00:01+08:00'"), Some(Until::Moment(1000))));
        for text in ["'2027-02-30'", "'2027-12-31T00:00:00'", "'soon'", "7"] {
            assert!(read::<Until>(text).is_none(), "{text}");
        }
    }
}
