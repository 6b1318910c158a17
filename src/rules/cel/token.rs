//! The words of a condition and where they stand.
//!
//! Guarantees: takes any text; what comes out is no longer than the text, has every bracket's mate, and is nested at most
//! [`DEPTH_MAX`] deep, which is why it runs before the parser, whose stack grows with every bracket. It takes apart what
//! CEL's lexer takes apart, and refuses what people type instead (`=`, `＞`, `“`). Does not know what a word means.

use std::ops::Range;

use super::{DEPTH_MAX, Fault};

/// A word: a name, a literal or a sign.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// Where, bytes of the text.
    pub(super) at: Range<usize>,
    /// For a bracket: which token is the other one.
    pub(super) mate: Option<usize>,
}

/// The words of a text, or what stands in it that is none.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Vec<Fault>> {
    let mut scan = Scan { text, tokens: Vec::new(), open: Vec::new(), faults: Vec::new() };
    let mut at = 0;
    while at < text.len() {
        at = scan.step(at);
    }
    for open in std::mem::take(&mut scan.open) {
        let range = scan.tokens[open].at.clone();
        scan.fault(range, "a bracket that is never closed", "close it");
    }
    if scan.faults.is_empty() { Ok(scan.tokens) } else { Err(scan.faults) }
}

struct Scan<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    open: Vec<usize>,
    faults: Vec<Fault>,
}

impl Scan<'_> {
    fn fault(&mut self, at: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.faults.push(Fault { at, message: message.into(), help: help.into() });
    }

    /// Takes the word at a byte and gives the byte behind it, which is further on.
    fn step(&mut self, at: usize) -> usize {
        let rest = &self.text[at..];
        let Some(first) = rest.chars().next() else { return self.text.len() };
        let length = match first {
            ' ' | '\t' | '\r' | '\n' | '\u{c}' => return at + 1,
            '/' if rest.starts_with("//") => return at + rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => return self.quoted(at, at),
            'a'..='z' | 'A'..='Z' | '_' => {
                let length =
                    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                let prefix = matches!(&rest[..length], "r" | "R" | "b" | "B" | "br" | "bR" | "Br" | "BR");
                if prefix && rest[length..].starts_with(['"', '\'']) {
                    return self.quoted(at, at + length);
                }
                length
            }
            '0'..='9' => number(rest),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(rest),
            '(' | '[' | '{' => return self.opened(at),
            ')' | ']' | '}' => return self.closed(at, first),
            '!' if rest[1..].trim_start().starts_with('!') => {
                self.fault(at..at + 1, "a denied denial", "leave both `!` away");
                1
            }
            '=' | '!' | '<' | '>' if rest[1..].starts_with('=') => 2,
            '&' | '|' if rest[1..].starts_with(first) => 2,
            '!' | '<' | '>' | '+' | '-' | '*' | '/' | '%' | '?' | ':' | ',' | '.' => 1,
            other => return self.stray(at, other),
        };
        self.tokens.push(Token { at: at..at + length, mate: None });
        at + length
    }

    fn opened(&mut self, at: usize) -> usize {
        if self.open.len() == DEPTH_MAX {
            self.fault(at..at + 1, format!("brackets nested more than {DEPTH_MAX} deep"), "make it flatter");
            return self.text.len();
        }
        self.open.push(self.tokens.len());
        self.tokens.push(Token { at: at..at + 1, mate: None });
        at + 1
    }

    fn closed(&mut self, at: usize, bracket: char) -> usize {
        let own = self.tokens.len();
        self.tokens.push(Token { at: at..at + 1, mate: None });
        let wanted = match bracket {
            ')' => "(",
            ']' => "[",
            _ => "{",
        };
        let open = self.open.last().copied();
        match open.filter(|open| &self.text[self.tokens[*open].at.clone()] == wanted) {
            Some(open) => {
                self.open.pop();
                self.tokens[open].mate = Some(own);
                self.tokens[own].mate = Some(open);
                at + 1
            }
            // What follows is guessing.
            None => {
                self.open.clear();
                self.fault(
                    at..at + 1,
                    format!("`{bracket}` closes nothing"),
                    format!("open it with `{wanted}`"),
                );
                self.text.len()
            }
        }
    }

    /// A text from its quote on; `start` is where its prefix begins.
    fn quoted(&mut self, start: usize, quote: usize) -> usize {
        let raw = self.text[start..quote].contains(['r', 'R']);
        let body = &self.text[quote..];
        let three = ["\"\"\"", "'''"].into_iter().find(|three| body.starts_with(three));
        let close = three.unwrap_or(&body[..1]);
        let mut escaped = false;
        for (at, c) in body.char_indices().skip(close.len()) {
            if escaped {
                escaped = false;
            } else if c == '\\' && !raw {
                escaped = true;
            } else if body[at..].starts_with(close) {
                let end = quote + at + close.len();
                self.tokens.push(Token { at: start..end, mate: None });
                return end;
            } else if three.is_none() && matches!(c, '\n' | '\r') {
                break;
            }
        }
        let end = start + self.text[start..].find(['\n', '\r']).unwrap_or(self.text.len() - start);
        self.fault(start..end.max(start + 1), "a text that does not end", format!("close it with {close}"));
        // The rest may be code or text.
        self.text.len()
    }

    /// A character that begins no word; all in a row are one fault.
    fn stray(&mut self, at: usize, first: char) -> usize {
        let meant = match first {
            '=' => "==",
            '&' => "&&",
            '|' => "||",
            '＞' => ">",
            '≥' => ">=",
            '＜' => "<",
            '≤' => "<=",
            '＝' => "==",
            '≠' => "!=",
            '！' => "!",
            '＆' => "&&",
            '｜' => "||",
            '（' => "(",
            '）' => ")",
            '，' | '、' => ",",
            '：' => ":",
            '？' => "?",
            '×' => "*",
            '÷' => "/",
            '“' | '”' | '‘' | '’' => "\"",
            _ => "",
        };
        let rest = &self.text[at..];
        let length = match meant {
            "" => rest.find(|c: char| c.is_ascii()).unwrap_or(rest.len()).max(1),
            _ => first.len_utf8(),
        };
        let help = match meant {
            "" => "names are made of a-z, 0-9, `_` and `.`; a text stands in \"quotes\"".to_owned(),
            _ => format!("did you mean `{meant}`?"),
        };
        let shown: String = rest[..length].chars().take(16).collect();
        self.fault(at..at + length, format!("{shown:?} is no part of a condition"), help);
        at + length
    }
}

/// How long the number is with which a text begins.
fn number(text: &str) -> usize {
    let digits = |from: usize| text[from..].bytes().take_while(u8::is_ascii_digit).count();
    if let Some(hex) = text.strip_prefix("0x") {
        let length = 2 + hex.bytes().take_while(u8::is_ascii_hexdigit).count();
        return length + usize::from(text[length..].starts_with(['u', 'U']));
    }
    let mut length = digits(0);
    let whole = length;
    if text[length..].starts_with('.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if text[length..].starts_with(['e', 'E']) {
        let sign = usize::from(text[length + 1..].starts_with(['+', '-']));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length + usize::from(length == whole && text[length..].starts_with(['u', 'U']))
}
