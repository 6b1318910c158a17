//! From a text to the parser's tree, with every node's place.
//!
//! Guarantees: any text comes back, as a tree or as faults with their places, and the stack it needs is its own. The
//! grammar is that of the `cel` crate. Does not know what is allowed of it, nor any names.

use std::ops::Range;
use std::thread;

use cel::common::ast::{Expr, SourceInfo};
use cel::parser::{Expression, ParseError, Parser};

use super::token::{Token, tokens};
use super::{DEPTH_MAX, Fault, TEXT_MAX};

/// What the parser may use: it needs up to 6 MB for what [`DEPTH_MAX`] lets through when it is not optimised, more than a
/// thread has. Pages that are not touched cost nothing.
const STACK: usize = 32 << 20;

/// A text that parsed.
pub(super) struct Parsed<'t> {
    /// The text.
    pub(super) text: &'t str,
    /// Its tree.
    pub(super) root: Expression,
    info: SourceInfo,
    tokens: Vec<Token>,
}

/// Parses.
pub(super) fn parse(text: &str) -> Result<Parsed<'_>, Vec<Fault>> {
    let one =
        |at: Range<usize>, message: String, help: &str| vec![Fault { at, message, help: help.to_owned() }];
    if text.len() > TEXT_MAX {
        let start = text.floor_char_boundary(TEXT_MAX);
        let message = format!("a condition of {} bytes", text.len());
        return Err(one(start..text.len(), message, "at most 2048 bytes: make two rules of it"));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(one(0..text.len(), "an empty condition".to_owned(), "for instance: temperature > 60"));
    }
    // The parser recurses, and its stack must hold whatever thread asks.
    let parsed = thread::scope(|scope| {
        let parser = || Parser::new().max_recursion_depth(DEPTH_MAX as u16).parse_with_source_info(text);
        let thread = thread::Builder::new().name("cel".into()).stack_size(STACK).spawn_scoped(scope, parser);
        thread.ok().and_then(|thread| thread.join().ok())
    });
    let Some(parsed) = parsed else {
        let message = "the condition cannot be parsed here and now".to_owned();
        return Err(one(0..text.len(), message, "write it more simply, or free some memory"));
    };
    match parsed {
        Ok((root, info)) => Ok(Parsed { text, root, info, tokens }),
        Err(errors) => Err(faults(text, &tokens, &errors.errors)),
    }
}

/// The parser's errors in our words. The first syntax error only: what it says after one is guessing.
fn faults(text: &str, tokens: &[Token], errors: &[ParseError]) -> Vec<Fault> {
    let place = |error: &ParseError| {
        let line = usize::try_from(error.pos.0.max(1) - 1).unwrap_or(0);
        let column = usize::try_from(error.pos.1.max(1) - 1).unwrap_or(0);
        let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let at = text[start..].char_indices().nth(column).map_or(text.len(), |(offset, _)| start + offset);
        let token = tokens.iter().find(|token| token.at.end > at);
        token.map(|token| token.at.clone())
    };
    let end = || tokens.last().map_or(0..0, |token| token.at.clone());
    let deep = |error: &&ParseError| error.msg.contains("Recursion limit");
    if errors.iter().any(|error| deep(&error)) {
        let message = format!("nested more than {DEPTH_MAX} deep");
        return vec![Fault {
            at: 0..text.len(),
            message,
            help: "make it flatter, or two rules of it".to_owned(),
        }];
    }
    let syntax = |error: &&ParseError| error.msg.starts_with("Syntax error");
    let told = match errors.iter().find(syntax) {
        Some(first) => std::slice::from_ref(first),
        None => errors,
    };
    let mut faults: Vec<Fault> = Vec::new();
    for error in told {
        let at = place(error);
        let word = at.clone().map_or("", |at| &text[at]);
        let (message, help) = if error.msg.starts_with("reserved identifier") {
            let message = format!("`{word}` is a reserved word of CEL");
            (message, "a metric of that name cannot be read: give it another".to_owned())
        } else if error.msg.contains("invalid int literal") || error.msg.contains("invalid uint literal") {
            (format!("{word} is out of range"), "write it with a point: at most 28 digits".to_owned())
        } else if error.msg.contains("invalid double literal") {
            (format!("{word} is out of range"), "at most 28 digits".to_owned())
        } else if !syntax(&error) {
            let said: String = error.msg.chars().take(80).collect();
            (format!("`{word}` cannot be read: {said}"), "write it more simply".to_owned())
        } else if at.is_none() {
            ("the condition ends too early".to_owned(), "say what comes behind this".to_owned())
        } else {
            (format!("`{word}` is not expected here"), instead(word).to_owned())
        };
        let fault = Fault { at: at.unwrap_or_else(end), message, help };
        if !faults.iter().any(|other| other.at == fault.at) {
            faults.push(fault);
        }
    }
    faults
}

/// What people write who mean something else.
fn instead(word: &str) -> &'static str {
    match word {
        "and" | "AND" => "did you mean `&&`?",
        "or" | "OR" => "did you mean `||`?",
        "not" | "NOT" => "did you mean `!`?",
        "is" | "IS" | "equals" => "did you mean `==`?",
        _ => "an operator, a bracket or the end",
    }
}

impl Parsed<'_> {
    /// Where a node stands, with its operands and the brackets of a call.
    pub(super) fn place(&self, node: &Expression) -> Range<usize> {
        let Some((first, last)) = self.span(node, 0) else { return 0..self.text.len() };
        self.tokens[first].at.start..self.tokens[last].at.end
    }

    /// The text of a node's own token: of a literal as it is written, without its sign.
    pub(super) fn own(&self, node: &Expression) -> &str {
        self.token(node).map_or("", |token| &self.text[self.tokens[token].at.clone()])
    }

    fn token(&self, node: &Expression) -> Option<usize> {
        let start = usize::try_from(self.info.offset_for(node.id)?.0).ok()?;
        self.tokens.binary_search_by_key(&start, |token| token.at.start).ok()
    }

    fn is(&self, token: usize, text: &str) -> bool {
        self.tokens.get(token).is_some_and(|token| &self.text[token.at.clone()] == text)
    }

    /// The first and the last token of a node.
    fn span(&self, node: &Expression, depth: usize) -> Option<(usize, usize)> {
        let own = self.token(node)?;
        // Deeper ones are told where their operator stands.
        if depth > 2 * DEPTH_MAX {
            return Some((own, own));
        }
        let closed = |token: usize| self.tokens[token].mate.map_or(token, |mate| mate.max(token));
        let mut span = (own, closed(own));
        let mut widen = |part: Option<(usize, usize)>| {
            if let Some((first, last)) = part {
                span = (span.0.min(first), span.1.max(last));
            }
        };
        // What stands at an opening bracket is called by the name before it.
        if self.is(own, "(") {
            widen(own.checked_sub(1).map(|name| (name, name)));
        }
        match &node.expr {
            Expr::Call(call) => {
                for part in call.target.as_deref().into_iter().chain(&call.args) {
                    widen(self.bracketed(part, depth + 1));
                }
            }
            Expr::Comprehension(loops) => widen(self.bracketed(&loops.iter_range, depth + 1)),
            Expr::Select(select) => {
                widen(self.bracketed(&select.operand, depth + 1));
                widen((own + 1 < self.tokens.len()).then_some((own, own + 1)));
            }
            Expr::Literal(_) if own > 0 && self.signed(own) => widen(Some((own - 1, own))),
            _ => {}
        }
        Some(span)
    }

    /// Whether the minus before a number belongs to it.
    fn signed(&self, literal: usize) -> bool {
        let number =
            self.text[self.tokens[literal].at.clone()].starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let after = literal.checked_sub(2).map_or("", |before| &self.text[self.tokens[before].at.clone()]);
        let value = |c: char| c.is_ascii_alphanumeric() || "_)]}\"'".contains(c);
        number && self.is(literal - 1, "-") && (!after.ends_with(value) || after == "in")
    }

    /// A node with the brackets around it.
    fn bracketed(&self, node: &Expression, depth: usize) -> Option<(usize, usize)> {
        let (mut first, mut last) = self.span(node, depth)?;
        while first > 0 && self.is(first - 1, "(") && self.tokens[first - 1].mate == Some(last + 1) {
            let called = first.checked_sub(2).is_some_and(|name| {
                let word = &self.text[self.tokens[name].at.clone()];
                word != "in" && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            });
            if called {
                break;
            }
            (first, last) = (first - 1, last + 1);
        }
        Some((first, last))
    }
}
