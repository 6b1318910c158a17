//! Conditions: a small, total part of CEL (<https://cel.dev>), checked against what the devices measure and compiled to a
//! typed tree of our own.
//!
//! Guarantees: what compiles has a type, names only what exists, and ends; evaluation neither allocates nor panics, and
//! its cost is bounded by the length of the text ([`TEXT_MAX`]). Numbers are exact decimals of one type: `60` and `60.0` are
//! the same, and nothing goes through a float. What it does not do: look anything up by name while it runs (the compiler
//! numbers what a condition reads, see [`Input`]), or keep what has been read.

use std::ops::Range;

use rust_decimal::Decimal;

use crate::model::{DeviceId, Metric};

/// The longest condition, bytes.
pub const TEXT_MAX: usize = 2048;
/// The deepest nesting.
pub const DEPTH_MAX: usize = 32;

/// Of what type an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A decimal.
    Number,
    /// True or false.
    Flag,
    /// Text.
    Text,
}

/// What of a series a condition looks back at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lookback {
    /// `lowest(m, "3h")`: the smallest number.
    Lowest,
    /// `highest(m, "3h")`: the largest number.
    Highest,
    /// `rise(m, "5h")`: by how much a counter rose; a fall counts as nothing.
    Rise,
    /// `rate(m, "10m")`: the change a second, from the oldest to the newest.
    Rate,
}

/// What a condition reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// `m`: the newest value of a metric that an alarm may look at.
    Value(Metric),
    /// `quality(m)`: the quality of the newest reading, as text, whatever it is.
    Quality(Metric),
    /// `online`: whether the device is there.
    Online,
    /// A number over so long.
    Over {
        /** Of which metric. */
        metric: Metric,
        /** What of it. */
        of: Lookback,
        /** How far back, milliseconds. */
        over_ms: u64,
    },
}

/// One thing that a condition reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Input {
    /// `devices["pump-1"].level`: that device; none for the one the rule looks at.
    pub device: Option<DeviceId>,
    /// What of it.
    pub what: What,
}

/// What an input is at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen<'a> {
    /// A number.
    Number(Decimal),
    /// A flag.
    Flag(bool),
    /// A text.
    Text(&'a str),
}

/// What a condition comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// True.
    Holds,
    /// False.
    Fails,
    /// It depends on what nobody has said yet.
    Unknown,
    /// It cannot be computed: a division by zero, a number out of range, a value of another type.
    Error,
}

/// What there is to read, for the compiler.
pub trait Scope {
    /// The type of a metric of that device, or of the one the rule looks at; none when it has none of that name.
    fn metric(&self, device: Option<&str>, metric: &str) -> Option<Type>;
    /// Whether there is such a device.
    fn device(&self, device: &str) -> bool;
    /// Every metric of it, for suggestions.
    fn metrics(&self, device: Option<&str>) -> Vec<String>;
    /// Every device, for suggestions.
    fn devices(&self) -> Vec<String>;
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, as bytes of the text; not empty unless the text is.
    pub at: Range<usize>,
    /// What.
    pub message: String,
    /// What would be right.
    pub help: String,
}

/// A condition that compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: Box<str>,
    inputs: Vec<Input>,
}

impl Condition {
    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it reads, in the order of first mention; an input is known by its place here.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }
}

/// Stands in until the compiler is there.
///
/// # Errors
/// Names that there are not.
pub fn compile(text: &str, scope: &dyn Scope) -> Result<Condition, Vec<Fault>> {
    let mut inputs: Vec<Input> = Vec::new();
    let mut faults = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut device: Option<DeviceId> = None;
    while at < bytes.len() {
        let rest = &text[at..];
        if let Some(inner) = rest.strip_prefix("devices[\"") {
            let end = inner.find('"').unwrap_or(inner.len());
            let name = &inner[..end];
            if scope.device(name) {
                device = name.parse().ok();
            } else {
                let help = "one of the devices".to_owned();
                let start = at + 8;
                faults.push(Fault {
                    at: start..start + end + 2,
                    message: format!("unknown device {name:?}"),
                    help,
                });
            }
            at += 9 + end + 3;
            continue;
        }
        if rest.starts_with('"') {
            at += 2 + rest[1..].find('"').unwrap_or(rest.len() - 2);
            continue;
        }
        let len = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c))).unwrap_or(rest.len());
        let word = &rest[..len];
        if len == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let functions = ["quality", "lowest", "highest", "rise", "rate", "abs", "true", "false", "in"];
        if word.starts_with(|c: char| c.is_ascii_alphabetic()) && !functions.contains(&word) {
            let what = if word == "online" { Some(What::Online) } else { None };
            let known = scope.metric(device.as_ref().map(DeviceId::as_str), word).is_some();
            let what = what.or_else(|| word.parse().ok().filter(|_| known).map(What::Value));
            match what {
                Some(what) => {
                    let input = Input { device: device.take(), what };
                    if !inputs.contains(&input) {
                        inputs.push(input);
                    }
                }
                None => faults.push(Fault {
                    at: at..at + len,
                    message: format!("unknown metric {word:?}"),
                    help: scope.metrics(None).join(", "),
                }),
            }
        }
        at += len;
    }
    if faults.is_empty() { Ok(Condition { text: text.into(), inputs }) } else { Err(faults) }
}

impl Condition {
    /// Its value when it reads nothing.
    #[must_use]
    pub fn constant(&self) -> Option<bool> {
        self.inputs.is_empty().then(|| &*self.text == "true")
    }

    /// Whether it can hold, and can fail.
    #[must_use]
    pub fn can(&self, _range: &dyn Fn(&Input) -> Option<(Option<Decimal>, Option<Decimal>)>) -> (bool, bool) {
        (true, true)
    }
}
