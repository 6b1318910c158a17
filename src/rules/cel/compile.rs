//! From the parser's tree to the typed one.
//!
//! Guarantees: what it gives has types that fit, reads only what the scope has, and is at most [`DEPTH_MAX`] deep; every
//! fault is told at once, each at its place, and one mistake is one fault. What names mean is `name`'s matter.

use cel::common::ast::{CallExpr, Expr, LiteralValue, operators as op};
use cel::parser::Expression;
use rust_decimal::Decimal;

use super::parse::{Parsed, parse};
use super::tree::{Arithmetic, Choice, Flag, Lack, Number, Order, Text};
use super::{Condition, DEPTH_MAX, Fault, Input, Scope, Type};

/// Compiles a condition; what it comes to is a flag.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the text.
pub fn compile(text: &str, scope: &dyn Scope) -> Result<Condition, Vec<Fault>> {
    let parsed = parse(text)?;
    let mut compiler = Compiler { parsed: &parsed, scope, inputs: Vec::new(), faults: Vec::new() };
    let tree = compiler.flag(&parsed.root, 1);
    if let Some(tree) = &tree
        && compiler.inputs.is_empty()
        && compiler.faults.is_empty()
        && tree.value(&|_| None) == Err(Lack::Error)
    {
        compiler.fault(&parsed.root, "it can never be computed", "a number of at most 28 digits");
    }
    let Compiler { inputs, mut faults, .. } = compiler;
    faults.sort_by_key(|fault| (fault.at.start, fault.at.end));
    match tree {
        Some(tree) if faults.is_empty() => Ok(Condition::new(text, inputs, tree)),
        _ => Err(faults),
    }
}

/// An expression of any type.
pub(super) enum Typed {
    Number(Number),
    Flag(Flag),
    Text(Text),
}

impl Typed {
    fn kind(&self) -> &'static str {
        match self {
            Typed::Number(_) => called(Type::Number),
            Typed::Flag(_) => called(Type::Flag),
            Typed::Text(_) => called(Type::Text),
        }
    }
}

/// What a type is called in faults.
pub(super) fn called(kind: Type) -> &'static str {
    match kind {
        Type::Number => "a number",
        Type::Flag => "true or false",
        Type::Text => "a text",
    }
}

/// One run of the compiler. What it gives back as none has been told as a fault.
pub(super) struct Compiler<'c> {
    pub(super) parsed: &'c Parsed<'c>,
    pub(super) scope: &'c dyn Scope,
    inputs: Vec<Input>,
    faults: Vec<Fault>,
}

impl Compiler<'_> {
    pub(super) fn fault(&mut self, at: &Expression, message: impl Into<String>, help: impl Into<String>) {
        let at = self.parsed.place(at);
        self.faults.push(Fault { at, message: message.into(), help: help.into() });
    }

    /// The place of an input, which gets one when it is new.
    pub(super) fn input(&mut self, input: Input) -> usize {
        let known = self.inputs.iter().position(|other| *other == input);
        known.unwrap_or_else(|| {
            self.inputs.push(input);
            self.inputs.len() - 1
        })
    }

    fn is(&self, place: usize, what: impl Fn(&Input) -> bool) -> bool {
        self.inputs.get(place).is_some_and(what)
    }

    fn flag(&mut self, node: &Expression, depth: usize) -> Option<Flag> {
        match self.any(node, depth)? {
            Typed::Flag(flag) => Some(flag),
            other => {
                let message = format!("{} where true or false is meant", other.kind());
                self.fault(node, message, "compare it with something");
                None
            }
        }
    }

    pub(super) fn number(&mut self, node: &Expression, depth: usize) -> Option<Number> {
        match self.any(node, depth)? {
            Typed::Number(number) => Some(number),
            other => {
                self.fault(
                    node,
                    format!("{} where a number is meant", other.kind()),
                    "for instance 60 or 0.5",
                );
                None
            }
        }
    }

    pub(super) fn text(&mut self, node: &Expression, depth: usize) -> Option<Text> {
        match self.any(node, depth)? {
            Typed::Text(text) => Some(text),
            other => {
                self.fault(node, format!("{} where a text is meant", other.kind()), "put it in \"quotes\"");
                None
            }
        }
    }

    pub(super) fn any(&mut self, node: &Expression, depth: usize) -> Option<Typed> {
        if depth > DEPTH_MAX {
            self.fault(
                node,
                format!("nested more than {DEPTH_MAX} deep"),
                "make it flatter, or two rules of it",
            );
            return None;
        }
        let (message, help) = match &node.expr {
            Expr::Literal(literal) => return self.literal(node, literal),
            Expr::Ident(_) => return self.read(node),
            Expr::Select(select) if !select.test => return self.read(node),
            Expr::Call(call) => return self.call(node, call, depth),
            Expr::Select(_) => ("`has` is not part of conditions", "a metric nobody has told of is unknown"),
            Expr::Comprehension(_) => {
                ("a condition has no loops", "name each device, or use one rule for all")
            }
            Expr::List(_) => ("a list that nothing is looked for in", "a list stands right of `in`"),
            Expr::Map(_) | Expr::Struct(_) => {
                ("a condition has no maps", "use names, literals and operators")
            }
            Expr::Unspecified => ("it cannot be read", "write it more simply"),
        };
        self.fault(node, message, help);
        None
    }

    fn literal(&mut self, node: &Expression, literal: &LiteralValue) -> Option<Typed> {
        let negative = match literal {
            LiteralValue::Boolean(flag) => return Some(Typed::Flag(Flag::Literal(*flag.inner()))),
            LiteralValue::String(text) => return Some(Typed::Text(Text::Literal(text.inner().into()))),
            LiteralValue::Int(number) => number.inner().is_negative(),
            LiteralValue::Double(number) => number.inner().is_sign_negative(),
            LiteralValue::UInt(_) => false,
            LiteralValue::Bytes(_) | LiteralValue::Null => {
                let help = "numbers, \"texts\", true and false; what nobody has told of is unknown";
                self.fault(node, "no value of a condition", help);
                return None;
            }
        };
        let Some(size) = exact(self.parsed.own(node)) else {
            let message = format!("{} is no exact decimal", self.parsed.own(node));
            self.fault(node, message, "at most 28 digits");
            return None;
        };
        Some(Typed::Number(Number::Literal(if negative { -size } else { size })))
    }

    fn call(&mut self, node: &Expression, call: &CallExpr, depth: usize) -> Option<Typed> {
        let deeper = depth + 1;
        match (call.func_name.as_str(), call.args.as_slice()) {
            (op::LOGICAL_AND, _) => {
                let flags = self.chain(node, op::LOGICAL_AND, deeper)?;
                Some(Typed::Flag(Flag::All(flags)))
            }
            (op::LOGICAL_OR, _) => {
                let flags = self.chain(node, op::LOGICAL_OR, deeper)?;
                Some(Typed::Flag(Flag::Any(flags)))
            }
            (op::LOGICAL_NOT, [flag]) => {
                let flag = self.flag(flag, deeper)?;
                Some(Typed::Flag(Flag::Not(Box::new(flag))))
            }
            (op::NEGATE, [number]) => {
                let number = self.number(number, deeper)?;
                Some(Typed::Number(Number::Negative(Box::new(number))))
            }
            (op::CONDITIONAL, [condition, yes, no]) => self.choice(node, [condition, yes, no], deeper),
            (op::IN, [item, list]) => self.contained(item, list, deeper),
            (op::INDEX, _) => self.read(node),
            (name, [left, right]) if call.target.is_none() => {
                if let Some(arithmetic) = arithmetic(name) {
                    self.arithmetic(arithmetic, left, right, deeper)
                } else if let Some(order) = order(name) {
                    self.compared(node, order, left, right, deeper)
                } else {
                    self.function(node, call, deeper)
                }
            }
            _ => self.function(node, call, deeper),
        }
    }

    /// The flags of a chain of `&&` or `||`. The parser makes a balanced tree of it, so this recursion is flat.
    fn chain(&mut self, node: &Expression, name: &str, depth: usize) -> Option<Box<[Flag]>> {
        let mut flags = Some(Vec::new());
        let mut todo = vec![node];
        while let Some(node) = todo.pop() {
            match &node.expr {
                Expr::Call(call) if call.func_name == name => todo.extend(call.args.iter().rev()),
                _ => {
                    let flag = self.flag(node, depth);
                    flags = flags.zip(flag).map(|(mut flags, flag)| {
                        flags.push(flag);
                        flags
                    });
                }
            }
        }
        flags.map(Vec::into_boxed_slice)
    }

    fn arithmetic(
        &mut self,
        arithmetic: Arithmetic,
        left: &Expression,
        right: &Expression,
        depth: usize,
    ) -> Option<Typed> {
        let sides = (self.number(left, depth), self.number(right, depth));
        let divides = matches!(arithmetic, Arithmetic::Divide | Arithmetic::Remainder);
        if divides && matches!(&sides.1, Some(Number::Literal(number)) if number.is_zero()) {
            self.fault(right, "a division by zero", "another divisor");
            return None;
        }
        let sides = sides.0.zip(sides.1)?;
        Some(Typed::Number(Number::Arithmetic(arithmetic, Box::new(sides))))
    }

    fn compared(
        &mut self,
        node: &Expression,
        order: Order,
        left: &Expression,
        right: &Expression,
        depth: usize,
    ) -> Option<Typed> {
        let sides = (self.any(left, depth), self.any(right, depth));
        let flag = match (sides.0?, sides.1?) {
            (Typed::Number(left), Typed::Number(right)) => Flag::Numbers(order, Box::new((left, right))),
            (Typed::Text(one), Typed::Text(two)) => {
                if matches!(order, Order::Equal | Order::Unequal) {
                    self.quality_known(&one, right, &two)?;
                    self.quality_known(&two, left, &one)?;
                }
                Flag::Texts(order, Box::new((one, two)))
            }
            (Typed::Flag(left), Typed::Flag(right)) => match order {
                Order::Equal => Flag::Same(Box::new((left, right))),
                Order::Unequal => Flag::Not(Box::new(Flag::Same(Box::new((left, right))))),
                _ => {
                    self.fault(node, "true and false have no order", "compare with `==` or `!=`");
                    return None;
                }
            },
            (left, right) => {
                let message = format!("{} compared with {}", left.kind(), right.kind());
                self.fault(node, message, "both sides must be of one type");
                return None;
            }
        };
        Some(Typed::Flag(flag))
    }

    fn choice(&mut self, node: &Expression, parts: [&Expression; 3], depth: usize) -> Option<Typed> {
        let condition = self.flag(parts[0], depth);
        let (yes, no) = (self.any(parts[1], depth), self.any(parts[2], depth));
        let condition = condition?;
        match (yes?, no?) {
            (Typed::Number(yes), Typed::Number(no)) => {
                Some(Typed::Number(Number::Choice(Box::new(Choice { condition, yes, no }))))
            }
            (Typed::Flag(yes), Typed::Flag(no)) => {
                Some(Typed::Flag(Flag::Choice(Box::new(Choice { condition, yes, no }))))
            }
            (Typed::Text(yes), Typed::Text(no)) => {
                Some(Typed::Text(Text::Choice(Box::new(Choice { condition, yes, no }))))
            }
            (yes, no) => {
                let message = format!("either {} or {}", yes.kind(), no.kind());
                self.fault(node, message, "both ways must be of one type");
                None
            }
        }
    }

    fn contained(&mut self, item: &Expression, list: &Expression, depth: usize) -> Option<Typed> {
        let sought = self.any(item, depth);
        let Expr::List(items) = &list.expr else {
            self.fault(list, "no list", "for instance: state in [\"open\", \"ajar\"]");
            return None;
        };
        if items.elements.is_empty() {
            self.fault(list, "a list of nothing", "name at least one value");
            return None;
        }
        let sought = sought?;
        let (mut numbers, mut texts) = (Vec::new(), Vec::new());
        for element in &items.elements {
            match (&sought, self.any(element, depth)?) {
                (Typed::Number(_), Typed::Number(Number::Literal(number))) => numbers.push(number),
                (Typed::Text(text), Typed::Text(Text::Literal(value))) => {
                    self.quality_known(text, element, &Text::Literal(value.clone()))?;
                    texts.push(value);
                }
                (sought, other) => {
                    let message = format!("it is looked for {} and this is {}", sought.kind(), other.kind());
                    self.fault(element, message, "numbers or texts as they are, all of one type");
                    return None;
                }
            }
        }
        match sought {
            Typed::Number(number) => Some(Typed::Flag(Flag::NumberIn(Box::new((number, numbers.into()))))),
            Typed::Text(text) => Some(Typed::Flag(Flag::TextIn(Box::new((text, texts.into()))))),
            Typed::Flag(_) => None,
        }
    }

    /// A quality is compared with the name of one.
    fn quality_known(&mut self, one: &Text, at: &Expression, other: &Text) -> Option<()> {
        let (Text::Input(place), Text::Literal(name)) = (one, other) else { return Some(()) };
        if !self.is(*place, |input| matches!(input.what, super::What::Quality(_))) {
            return Some(());
        }
        self.quality_named(at, name)
    }
}

/// A literal without its sign, as it is written.
fn exact(text: &str) -> Option<Decimal> {
    let text = text.trim_end_matches(['u', 'U']);
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Decimal::from);
    }
    // Zeros at the ends are no digits of it.
    let text = text.trim_start_matches('0');
    let text =
        if text.starts_with(|c: char| c.is_ascii_digit()) { text.to_owned() } else { format!("0{text}") };
    let broken = text.contains('.') && !text.contains(['e', 'E']);
    let text = if broken { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text.contains(['e', 'E']) {
        return Decimal::from_scientific(text).ok();
    }
    Decimal::from_str_exact(text).ok()
}

fn arithmetic(name: &str) -> Option<Arithmetic> {
    Some(match name {
        op::ADD => Arithmetic::Add,
        op::SUBSTRACT => Arithmetic::Subtract,
        op::MULTIPLY => Arithmetic::Multiply,
        op::DIVIDE => Arithmetic::Divide,
        op::MODULO => Arithmetic::Remainder,
        _ => return None,
    })
}

fn order(name: &str) -> Option<Order> {
    Some(match name {
        op::EQUALS => Order::Equal,
        op::NOT_EQUALS => Order::Unequal,
        op::LESS => Order::Less,
        op::LESS_EQUALS => Order::LessEqual,
        op::GREATER => Order::Greater,
        op::GREATER_EQUALS => Order::GreaterEqual,
        _ => return None,
    })
}
