//! The typed tree of a condition, and what it comes to.
//!
//! Guarantees: a number can only stand where a number may, by type; evaluation is total, allocates nothing and recurses
//! no deeper than the tree, which the compiler keeps within [`super::DEPTH_MAX`]. Does not know names: an input is a
//! place in [`super::Condition::inputs`].

use std::cmp::Ordering;

use rust_decimal::Decimal;

use super::Seen;

/// Why there is no value. An error outweighs the unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lack {
    /// Nobody has said it yet.
    Unknown,
    /// It cannot be computed.
    Error,
}

/// Both values, or what is worse of what is missing.
fn both<L, R>(left: Result<L, Lack>, right: impl FnOnce() -> Result<R, Lack>) -> Result<(L, R), Lack> {
    match left {
        Ok(left) => right().map(|right| (left, right)),
        Err(Lack::Error) => Err(Lack::Error),
        Err(Lack::Unknown) => Err(right().err().unwrap_or(Lack::Unknown)),
    }
}

/// Arithmetic between two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Arithmetic {
    /// None where there is no result, or none that a decimal can hold.
    pub(super) fn of(self, left: Decimal, right: Decimal) -> Option<Decimal> {
        match self {
            Arithmetic::Add => left.checked_add(right),
            Arithmetic::Subtract => left.checked_sub(right),
            Arithmetic::Multiply => left.checked_mul(right),
            Arithmetic::Divide => left.checked_div(right),
            Arithmetic::Remainder => left.checked_rem(right),
        }
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Order {
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Order::Equal => ordering.is_eq(),
            Order::Unequal => ordering.is_ne(),
            Order::Less => ordering.is_lt(),
            Order::LessEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterEqual => ordering.is_ge(),
        }
    }

    /// The order that holds when this one does not.
    pub(super) fn denied(self) -> Self {
        match self {
            Order::Equal => Order::Unequal,
            Order::Unequal => Order::Equal,
            Order::Less => Order::GreaterEqual,
            Order::LessEqual => Order::Greater,
            Order::Greater => Order::LessEqual,
            Order::GreaterEqual => Order::Less,
        }
    }

    /// The order between the same two the other way round.
    pub(super) fn turned(self) -> Self {
        match self {
            Order::Equal | Order::Unequal => self,
            Order::Less => Order::Greater,
            Order::LessEqual => Order::GreaterEqual,
            Order::Greater => Order::Less,
            Order::GreaterEqual => Order::LessEqual,
        }
    }
}

/// How a text is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    StartsWith,
    EndsWith,
    Contains,
}

/// `condition ? yes : no`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice<T> {
    pub(super) condition: Flag,
    pub(super) yes: T,
    pub(super) no: T,
}

/// What comes to a number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    Literal(Decimal),
    Input(usize),
    Negative(Box<Number>),
    Absolute(Box<Number>),
    Arithmetic(Arithmetic, Box<(Number, Number)>),
    Choice(Box<Choice<Number>>),
}

/// What comes to a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Text {
    Literal(Box<str>),
    Input(usize),
    Choice(Box<Choice<Text>>),
}

/// What comes to true or false.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Flag {
    Literal(bool),
    Input(usize),
    Not(Box<Flag>),
    /// A chain of `&&`.
    All(Box<[Flag]>),
    /// A chain of `||`.
    Any(Box<[Flag]>),
    Numbers(Order, Box<(Number, Number)>),
    Texts(Order, Box<(Text, Text)>),
    /// Whether two flags are the same.
    Same(Box<(Flag, Flag)>),
    NumberIn(Box<(Number, Box<[Decimal]>)>),
    TextIn(Box<(Text, Box<[Box<str>]>)>),
    Search(Search, Box<(Text, Text)>),
    Choice(Box<Choice<Flag>>),
}

impl<T> Choice<T> {
    fn taken<'a>(&self, seen: &impl Fn(usize) -> Option<Seen<'a>>) -> Result<&T, Lack> {
        Ok(if self.condition.value(seen)? { &self.yes } else { &self.no })
    }
}

impl Number {
    fn value<'a>(&self, seen: &impl Fn(usize) -> Option<Seen<'a>>) -> Result<Decimal, Lack> {
        match self {
            Number::Literal(number) => Ok(*number),
            Number::Input(place) => match seen(*place) {
                Some(Seen::Number(number)) => Ok(number),
                Some(Seen::Flag(_) | Seen::Text(_)) => Err(Lack::Error),
                None => Err(Lack::Unknown),
            },
            Number::Negative(number) => number.value(seen).map(|number| -number),
            Number::Absolute(number) => number.value(seen).map(|number| number.abs()),
            Number::Arithmetic(arithmetic, sides) => {
                let (left, right) = both(sides.0.value(seen), || sides.1.value(seen))?;
                arithmetic.of(left, right).ok_or(Lack::Error)
            }
            Number::Choice(choice) => choice.taken(seen)?.value(seen),
        }
    }
}

impl Text {
    fn value<'v, 'a: 'v>(&'v self, seen: &impl Fn(usize) -> Option<Seen<'a>>) -> Result<&'v str, Lack> {
        match self {
            Text::Literal(text) => Ok(text),
            Text::Input(place) => match seen(*place) {
                Some(Seen::Text(text)) => Ok(text),
                Some(Seen::Flag(_) | Seen::Number(_)) => Err(Lack::Error),
                None => Err(Lack::Unknown),
            },
            Text::Choice(choice) => choice.taken(seen)?.value(seen),
        }
    }
}

impl Flag {
    /// Its value, or why there is none.
    pub(super) fn value<'a>(&self, seen: &impl Fn(usize) -> Option<Seen<'a>>) -> Result<bool, Lack> {
        match self {
            Flag::Literal(flag) => Ok(*flag),
            Flag::Input(place) => match seen(*place) {
                Some(Seen::Flag(flag)) => Ok(flag),
                Some(Seen::Number(_) | Seen::Text(_)) => Err(Lack::Error),
                None => Err(Lack::Unknown),
            },
            Flag::Not(flag) => flag.value(seen).map(|flag| !flag),
            Flag::All(flags) => decided(flags, false, seen),
            Flag::Any(flags) => decided(flags, true, seen),
            Flag::Numbers(order, sides) => {
                let (left, right) = both(sides.0.value(seen), || sides.1.value(seen))?;
                Ok(order.holds(left.cmp(&right)))
            }
            Flag::Texts(order, sides) => {
                let (left, right) = both(sides.0.value(seen), || sides.1.value(seen))?;
                // Bytes of UTF-8 are in the order of code points.
                Ok(order.holds(left.cmp(right)))
            }
            Flag::Same(sides) => {
                let (left, right) = both(sides.0.value(seen), || sides.1.value(seen))?;
                Ok(left == right)
            }
            Flag::NumberIn(sides) => sides.0.value(seen).map(|number| sides.1.contains(&number)),
            Flag::TextIn(sides) => {
                let text = sides.0.value(seen)?;
                Ok(sides.1.iter().any(|other| **other == *text))
            }
            Flag::Search(search, sides) => {
                let (text, part) = both(sides.0.value(seen), || sides.1.value(seen))?;
                Ok(match search {
                    Search::StartsWith => text.starts_with(part),
                    Search::EndsWith => text.ends_with(part),
                    Search::Contains => text.contains(part),
                })
            }
            Flag::Choice(choice) => choice.taken(seen)?.value(seen),
        }
    }
}

/// A chain in which one flag of that value decides, whatever the others are.
fn decided<'a>(
    flags: &[Flag],
    decides: bool,
    seen: &impl Fn(usize) -> Option<Seen<'a>>,
) -> Result<bool, Lack> {
    let mut lack = None;
    for flag in flags {
        match flag.value(seen) {
            Ok(value) if value == decides => return Ok(decides),
            Ok(_) => {}
            Err(worse) => lack = lack.max(Some(worse)),
        }
    }
    lack.map_or(Ok(!decides), Err)
}
