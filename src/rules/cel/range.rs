//! Whether a condition can hold at all, from the ranges of what it reads.
//!
//! Guarantees: what it denies is impossible. It looks at each input's range and at several bounds of one input in one
//! chain (`t > 60 && t < 50`), not at how inputs hang together otherwise.

use rust_decimal::Decimal;

use super::tree::{Arithmetic, Choice, Flag, Number, Order, Text};
use super::{Bounds, Input};

/// Whether a flag can be true and can be false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ways {
    pub(super) hold: bool,
    pub(super) fail: bool,
}

const OPEN: Ways = Ways { hold: true, fail: true };

/// From where to where a number goes, both inclusive; none: no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    low: Option<Decimal>,
    high: Option<Decimal>,
}

const ALL: Span = Span { low: None, high: None };

impl Span {
    fn point(number: Decimal) -> Self {
        Self { low: Some(number), high: Some(number) }
    }

    /// The span of these ends, whatever their order.
    fn around(ends: impl IntoIterator<Item = Option<Decimal>>) -> Self {
        let ends: Option<Vec<Decimal>> = ends.into_iter().collect();
        let Some(ends) = ends else { return ALL };
        Self { low: ends.iter().copied().min(), high: ends.iter().copied().max() }
    }

    fn negative(self) -> Self {
        Self { low: self.high.map(|high| -high), high: self.low.map(|low| -low) }
    }

    fn absolute(self) -> Self {
        if self.low.is_some_and(|low| !low.is_sign_negative()) {
            return self;
        }
        let far = self.low.zip(self.high).map(|(low, high)| low.abs().max(high.abs()));
        let zero_inside = self.high.is_none_or(|high| high >= Decimal::ZERO);
        let near = if zero_inside { Some(Decimal::ZERO) } else { self.high.map(|high| high.abs()) };
        let far = if zero_inside { far } else { self.low.map(|low| low.abs()) };
        Self { low: near, high: far }
    }

    fn either(self, other: Self) -> Self {
        let ends = |one: Option<Decimal>, two: Option<Decimal>| one.zip(two);
        Self {
            low: ends(self.low, other.low).map(|(one, two)| one.min(two)),
            high: ends(self.high, other.high).map(|(one, two)| one.max(two)),
        }
    }

    fn with(self, arithmetic: Arithmetic, other: Self) -> Self {
        let ends = |one: Option<Decimal>, two: Option<Decimal>| arithmetic.of(one?, two?);
        let corners = || {
            Span::around([
                ends(self.low, other.low),
                ends(self.low, other.high),
                ends(self.high, other.low),
                ends(self.high, other.high),
            ])
        };
        match arithmetic {
            Arithmetic::Add => Self { low: ends(self.low, other.low), high: ends(self.high, other.high) },
            Arithmetic::Subtract => {
                Self { low: ends(self.low, other.high), high: ends(self.high, other.low) }
            }
            Arithmetic::Multiply => corners(),
            Arithmetic::Divide => {
                let above = other.low.is_some_and(|low| low > Decimal::ZERO);
                let below = other.high.is_some_and(|high| high < Decimal::ZERO);
                if above || below { corners() } else { ALL }
            }
            Arithmetic::Remainder => {
                let size = other.absolute().high;
                let positive = self.low.is_some_and(|low| low >= Decimal::ZERO);
                let negative = self.high.is_some_and(|high| high <= Decimal::ZERO);
                Self {
                    low: if positive { Some(Decimal::ZERO) } else { size.map(|size| -size) },
                    high: if negative { Some(Decimal::ZERO) } else { size },
                }
            }
        }
    }

    /// Whether a number of this and one of the other can stand in that order.
    fn can(self, order: Order, other: Self) -> bool {
        let below = |low: Option<Decimal>, high: Option<Decimal>, equal: bool| match (low, high) {
            (Some(low), Some(high)) => low < high || (equal && low == high),
            _ => true,
        };
        match order {
            Order::Less => below(self.low, other.high, false),
            Order::LessEqual => below(self.low, other.high, true),
            Order::Greater => below(other.low, self.high, false),
            Order::GreaterEqual => below(other.low, self.high, true),
            Order::Equal => below(self.low, other.high, true) && below(other.low, self.high, true),
            Order::Unequal => {
                let fixed = self.low.is_some() && self == other && self.low == self.high;
                !fixed
            }
        }
    }
}

/// The ranges of the inputs.
pub(super) struct Ranges<'r> {
    pub(super) inputs: &'r [Input],
    pub(super) range: &'r dyn Fn(&Input) -> Option<Bounds>,
}

impl Ranges<'_> {
    fn input(&self, place: usize) -> Span {
        let range = self.inputs.get(place).and_then(|input| (self.range)(input));
        range.map_or(ALL, |(low, high)| Span { low, high })
    }

    fn number(&self, number: &Number) -> Span {
        match number {
            Number::Literal(number) => Span::point(*number),
            Number::Input(place) => self.input(*place),
            Number::Negative(number) => self.number(number).negative(),
            Number::Absolute(number) => self.number(number).absolute(),
            Number::Arithmetic(arithmetic, sides) => {
                self.number(&sides.0).with(*arithmetic, self.number(&sides.1))
            }
            Number::Choice(choice) => match self.flag(&choice.condition) {
                Ways { hold: true, fail: false } => self.number(&choice.yes),
                Ways { hold: false, fail: true } => self.number(&choice.no),
                _ => self.number(&choice.yes).either(self.number(&choice.no)),
            },
        }
    }

    pub(super) fn flag(&self, flag: &Flag) -> Ways {
        match flag {
            Flag::Literal(flag) => Ways { hold: *flag, fail: !*flag },
            Flag::Input(_) => OPEN,
            Flag::Not(flag) => {
                let ways = self.flag(flag);
                Ways { hold: ways.fail, fail: ways.hold }
            }
            Flag::All(flags) => Ways {
                hold: flags.iter().all(|flag| self.flag(flag).hold) && self.agree(flags, false),
                fail: flags.iter().any(|flag| self.flag(flag).fail),
            },
            Flag::Any(flags) => Ways {
                hold: flags.iter().any(|flag| self.flag(flag).hold),
                fail: flags.iter().all(|flag| self.flag(flag).fail) && self.agree(flags, true),
            },
            Flag::Numbers(order, sides) => {
                let (left, right) = (self.number(&sides.0), self.number(&sides.1));
                Ways { hold: left.can(*order, right), fail: left.can(order.denied(), right) }
            }
            Flag::Texts(order, sides) => match &**sides {
                (Text::Literal(left), Text::Literal(right)) => {
                    let holds = order.holds(left.cmp(right));
                    Ways { hold: holds, fail: !holds }
                }
                _ => OPEN,
            },
            Flag::Same(sides) => {
                let (left, right) = (self.flag(&sides.0), self.flag(&sides.1));
                Ways {
                    hold: (left.hold && right.hold) || (left.fail && right.fail),
                    fail: (left.hold && right.fail) || (left.fail && right.hold),
                }
            }
            Flag::NumberIn(sides) => {
                let span = self.number(&sides.0);
                let one = |number: &Decimal| span.can(Order::Equal, Span::point(*number));
                let only = |number: &Decimal| span == Span::point(*number);
                Ways { hold: sides.1.iter().any(one), fail: !sides.1.iter().any(only) }
            }
            Flag::TextIn(_) | Flag::Search(..) => OPEN,
            Flag::Choice(choice) => self.choice(choice),
        }
    }

    fn choice(&self, choice: &Choice<Flag>) -> Ways {
        let (condition, yes, no) =
            (self.flag(&choice.condition), self.flag(&choice.yes), self.flag(&choice.no));
        Ways {
            hold: (condition.hold && yes.hold) || (condition.fail && no.hold),
            fail: (condition.hold && yes.fail) || (condition.fail && no.fail),
        }
    }

    /// Whether the bounds that a chain sets to the same input leave anything; `denied`: of a chain none of which holds.
    fn agree(&self, flags: &[Flag], denied: bool) -> bool {
        let bounds: Vec<(usize, Order, Decimal)> = flags
            .iter()
            .filter_map(bound)
            .map(|(place, order, number)| (place, if denied { order.denied() } else { order }, number))
            .collect();
        bounds.iter().all(|(place, ..)| {
            let mut left = self.input(*place);
            let (mut low_out, mut high_out) = (false, false);
            for (_, order, number) in bounds.iter().filter(|(other, ..)| other == place) {
                if matches!(order, Order::Greater | Order::GreaterEqual | Order::Equal) {
                    let out = *order == Order::Greater;
                    if left.low.is_none_or(|low| *number > low || (*number == low && out)) {
                        (left.low, low_out) = (Some(*number), out);
                    }
                }
                if matches!(order, Order::Less | Order::LessEqual | Order::Equal) {
                    let out = *order == Order::Less;
                    if left.high.is_none_or(|high| *number < high || (*number == high && out)) {
                        (left.high, high_out) = (Some(*number), out);
                    }
                }
            }
            match (left.low, left.high) {
                (Some(low), Some(high)) => low < high || (low == high && !low_out && !high_out),
                _ => true,
            }
        })
    }
}

/// An input against a literal.
fn bound(flag: &Flag) -> Option<(usize, Order, Decimal)> {
    let Flag::Numbers(order, sides) = flag else { return None };
    match &**sides {
        (Number::Input(place), Number::Literal(number)) => Some((*place, *order, *number)),
        (Number::Literal(number), Number::Input(place)) => Some((*place, order.turned(), *number)),
        _ => None,
    }
}
