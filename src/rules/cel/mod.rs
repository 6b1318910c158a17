//! Conditions: a small, total part of CEL (<https://cel.dev>), checked against what the devices measure and compiled to a
//! typed tree of our own.
//!
//! Guarantees: what compiles has a type, names only what exists, and ends; evaluation neither allocates nor panics, and
//! its cost is bounded by the length of the text ([`TEXT_MAX`]). Numbers are decimals of one type: `60` and `60.0` are
//! the same, nothing goes through a float, and only what 28 digits cannot hold (`1 / 3`) is rounded. What it does not do:
//! look anything up by name while it runs (the compiler numbers what a condition reads, see [`Input`]), or keep what has
//! been read.
//!
//! Where it says more than CEL does: whole and broken numbers mix, so `7 / 2` is 3.5, and `%` works on both (the sign is
//! that of the dividend). Where it says less: no macros, maps, bytes, times or `null`; a list only right of `in`; `+` only
//! between numbers; `<` not between flags; both sides of a comparison are of one type; `!!` is refused.

#[cfg(test)]
mod anything;
mod compile;
mod name;
#[cfg(test)]
mod oracle;
mod parse;
mod range;
#[cfg(test)]
mod tests;
mod token;
mod tree;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rust_decimal::Decimal;

pub use self::compile::compile;
use self::tree::{Flag, Lack};
use crate::model::{DeviceId, LineId, Metric};

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
    /// `listed("list", m)`: whether an entry of a list that the city shares has the newest value as its key and holds, as a
    /// flag; unknown while there is no list that holds.
    Listed {
        /** Which list. */
        list: LineId,
        /** Whose value is the key. */
        metric: Metric,
    },
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

/// From where to where a number goes, both inclusive; none: no bound.
pub type Bounds = (Option<Decimal>, Option<Decimal>);

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
    /// Every list that the city may share.
    fn lists(&self) -> Vec<String> {
        Vec::new()
    }
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

/// A condition that compiled. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition(Arc<Compiled>);

#[derive(Debug, PartialEq)]
struct Compiled {
    text: Box<str>,
    inputs: Vec<Input>,
    tree: Flag,
}

impl Condition {
    fn new(text: &str, inputs: Vec<Input>, tree: Flag) -> Self {
        Self(Arc::new(Compiled { text: text.into(), inputs, tree }))
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What it reads, in the order of first mention; an input is known by its place here.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.0.inputs
    }

    /// What it comes to. `seen` gives an input by its place in [`Condition::inputs`], none for what is not known; it may
    /// be asked for the same one more than once, and is not asked for what decides nothing any more.
    ///
    /// `false && x` fails and `true || x` holds whatever x is, from either side; else an error wins over the unknown.
    #[must_use]
    pub fn verdict<'a>(&self, seen: impl Fn(usize) -> Option<Seen<'a>>) -> Verdict {
        match self.0.tree.value(&seen) {
            Ok(true) => Verdict::Holds,
            Ok(false) => Verdict::Fails,
            Err(Lack::Unknown) => Verdict::Unknown,
            Err(Lack::Error) => Verdict::Error,
        }
    }

    /// Its value when it reads nothing.
    #[must_use]
    pub fn constant(&self) -> Option<bool> {
        match self.verdict(|_| None) {
            _ if !self.0.inputs.is_empty() => None,
            Verdict::Holds => Some(true),
            Verdict::Fails => Some(false),
            Verdict::Unknown | Verdict::Error => None,
        }
    }

    /// Whether it can hold and whether it can fail, when the number inputs stay within their inclusive ranges (none: no
    /// bound). False is certain; true may only mean that nothing speaks against it.
    #[must_use]
    pub fn can(&self, range: &dyn Fn(&Input) -> Option<Bounds>) -> (bool, bool) {
        let ways = range::Ranges { inputs: &self.0.inputs, range }.flag(&self.0.tree);
        (ways.hold, ways.fail)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}
