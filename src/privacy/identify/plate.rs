//! Vehicle plates (GA 36): province, issuing letter, serial.
//!
//! Guarantees: the letters I and O are in no plate; 7 characters, or 8 for new energy; learner, police, trailer, test,
//! oversize, Hong Kong and Macao, consular and embassy plates are known. Lower case is read as upper case. What it does not
//! do: know military plates and paper plates of the first weeks.

use super::normal::trimmed;
use super::scan::{is_edge, is_separator, skip, skip_word};

const PROVINCES: &str = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼";
/// Last characters of plates with four letters or digits before them.
const SUFFIXES: &str = "学警挂试超领";
/// Letters that mark new energy: A–E run on batteries alone, F–K do not.
const NEW_ENERGY: &str = "ABCDEFGHJK";

/// A plate that was found.
pub(crate) struct Plate {
    /// The place behind it.
    pub(crate) end: usize,
    /// 7 or 8 characters: upper case, no separator.
    pub(crate) text: String,
}

/// Whether a text is a plate, as in `沪A12345`, `沪A·D12345`, `粤Z1234港`, `使014578`.
#[must_use]
pub fn plate(text: &str) -> bool {
    whole(text).is_some()
}

/// The plate that a text is, if it is one and nothing else: upper case, no separator.
pub(crate) fn whole(text: &str) -> Option<Plate> {
    let chars = trimmed(text);
    if let Some(found) = found(&chars, 0).filter(|plate| plate.end == chars.len()) {
        return Some(found);
    }
    let plain: String = chars.iter().filter(|c| !is_joint(**c)).collect();
    is_foreign(&plain).then_some(Plate { end: chars.len(), text: plain })
}

/// The plate that begins at `start`. Embassy plates only where the joint is written: "致使100000元" is none.
pub(crate) fn found(chars: &[char], start: usize) -> Option<Plate> {
    if chars.get(start) == Some(&'使') {
        return embassy(chars, start);
    }
    let province = chars.get(start).copied().filter(|c| PROVINCES.contains(*c))?;
    let at = skip(chars, start + 1, is_joint);
    let letter = upper(*chars.get(at)?).filter(char::is_ascii_uppercase)?;
    let at = skip(chars, at + 1, is_joint);
    [6, 5].into_iter().find_map(|size| {
        let end = at + size;
        let written = chars.get(at..end)?;
        let serial: String = written.iter().map(|c| upper(*c).unwrap_or(*c)).collect();
        let fits = match size {
            6 => is_new_energy(&serial),
            _ => is_serial(&serial) || is_marked(province, letter, &serial),
        };
        (fits && is_edge(chars, Some(end)))
            .then(|| Plate { end, text: format!("{province}{letter}{serial}") })
    })
}

/// `使`, three digits, a joint, three digits.
fn embassy(chars: &[char], start: usize) -> Option<Plate> {
    let at = skip(chars, start + 1, is_joint);
    let state = chars.get(at..at + 3)?;
    let joint = skip_word(chars, at + 3, "·").or_else(|| skip_word(chars, at + 3, "•"))?;
    let serial = chars.get(joint..joint + 3)?;
    let digits = state.iter().chain(serial);
    (digits.clone().all(char::is_ascii_digit) && is_edge(chars, Some(joint + 3)))
        .then(|| Plate { end: joint + 3, text: std::iter::once(&'使').chain(digits).collect() })
}

/// Six digits with `使` before or behind them.
fn is_foreign(plain: &str) -> bool {
    let digits = plain.strip_prefix('使').or_else(|| plain.strip_suffix('使'));
    digits.is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Five letters or digits, two of them digits at least.
fn is_serial(serial: &str) -> bool {
    serial.chars().all(is_symbol) && serial.chars().filter(char::is_ascii_digit).count() >= 2
}

/// Four letters or digits and the mark of their kind; Hong Kong and Macao only under 粤Z.
fn is_marked(province: char, letter: char, serial: &str) -> bool {
    let mut symbols = serial.chars();
    let marked = match symbols.next_back() {
        Some('港' | '澳') => province == '粤' && letter == 'Z',
        Some(mark) => SUFFIXES.contains(mark),
        None => false,
    };
    marked && symbols.clone().all(is_symbol) && symbols.any(|c| c.is_ascii_digit())
}

/// Small: mark, letter or digit, four digits. Large: five digits, mark.
fn is_new_energy(serial: &str) -> bool {
    let symbols: Vec<char> = serial.chars().collect();
    let digits = |part: &[char]| part.iter().all(char::is_ascii_digit);
    match symbols.as_slice() {
        [mark, second, rest @ ..] if NEW_ENERGY.contains(*mark) => is_symbol(*second) && digits(rest),
        [rest @ .., mark] => NEW_ENERGY.contains(*mark) && digits(rest),
        [] => false,
    }
}

/// A letter or digit that plates have.
fn is_symbol(c: char) -> bool {
    (c.is_ascii_uppercase() || c.is_ascii_digit()) && !matches!(c, 'I' | 'O')
}

/// An ASCII letter or digit that plates have, in upper case.
fn upper(c: char) -> Option<char> {
    Some(c.to_ascii_uppercase()).filter(|c| is_symbol(*c))
}

/// What may stand between province, letter and serial.
fn is_joint(c: char) -> bool {
    is_separator(c) || matches!(c, '·' | '•' | '‧' | '∙' | '⋅' | '・' | '.' | '●' | '˙')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plates() {
        for (text, valid) in [
            ("沪A12345", true),
            ("沪A·12345", true),
            ("沪A 12345", true),
            ("沪 A·12345", true),
            ("沪a12b45", true),
            ("苏D40000", true),
            ("沪Ａ１２３４５", true),
            ("沪AD12345", true),
            ("沪A·DA2345", true),
            ("沪AF12345", true),
            ("粤B12345D", true),
            ("粤B12345F", true),
            ("沪A1234学", true),
            ("沪A1234警", true),
            ("沪A1234挂", true),
            ("粤Z1234港", true),
            ("粤Z1234澳", true),
            ("粤B1234港", false),
            ("沪A0023领", true),
            ("使014578", true),
            ("使014·578", true),
            ("014578使", true),
            ("沪A1234", false),
            ("京A123", false),
            ("沪A123456", false),
            ("沪AL12345", false),
            ("沪A12345L", false),
            ("沪I12345", false),
            ("沪A1234I", false),
            ("沪A1234O", false),
            ("沪ABCDEF", false),
            ("沪112345", false),
            ("国A12345", false),
            ("A12345", false),
            ("沪A12345停", false),
            ("", false),
        ] {
            assert_eq!(plate(text), valid, "{text}");
        }
    }
}
