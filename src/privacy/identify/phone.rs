//! Telephone numbers of the mainland: mobile (eleven digits from 13 to 19) and fixed lines (trunk 0, area, seven or eight
//! digits), as people write them.
//!
//! Guarantees: spaces and dashes inside, brackets around the area and +86 or 0086 in front belong to the number; service
//! numbers (110, 12345, 400, 95588) are none. What it does not do: tell whether the area or the number range is in use.

use super::normal::trimmed;
use super::scan::{Run, is_edge, is_separator, skip, skip_separators, skip_word};

const MOBILE_DIGITS: usize = 11;
/// Most digits of an extension.
const EXTENSION_DIGITS_MAX: usize = 6;
/// What may stand before an extension, besides separators.
const EXTENSION_WORDS: &[&str] = &["转分机", "分机", "转", "ext.", "ext", "EXT", "x", "#", ","];

/// A number that was found, without its separators.
pub(crate) struct Mobile {
    /// The place behind it.
    pub(crate) end: usize,
    /// Eleven digits.
    pub(crate) digits: String,
}

/// A fixed line that was found.
pub(crate) struct Landline {
    /// The place behind it; an extension is not part of it.
    pub(crate) end: usize,
    /// With its trunk 0.
    pub(crate) area: String,
    /// Whether something stood between area and number.
    pub(crate) is_parted: bool,
    /// Seven or eight digits.
    pub(crate) local: String,
}

/// Whether a text is a mobile number, as in `13800138000`, `+86 138-0013-8000`.
#[must_use]
pub fn mobile_cn(text: &str) -> bool {
    whole_mobile(text).is_some()
}

/// Whether a text is a fixed line with its area, as in `021-68880000`, `(0571) 8888888`, `+86-10-62630000 转 801`.
#[must_use]
pub fn landline_cn(text: &str) -> bool {
    whole_landline(text).is_some()
}

/// The mobile number that a text is, if it is one and nothing else.
pub(crate) fn whole_mobile(text: &str) -> Option<Mobile> {
    let chars = trimmed(text);
    mobile(&chars, 0).filter(|mobile| mobile.end == chars.len())
}

/// The fixed line that a text is, with or without an extension, if it is one and nothing else.
pub(crate) fn whole_landline(text: &str) -> Option<Landline> {
    let chars = trimmed(text);
    landline(&chars, 0).filter(|found| found.end == chars.len() || is_extension(&chars, found.end))
}

/// The mobile number that begins at `start`.
pub(crate) fn mobile(chars: &[char], start: usize) -> Option<Mobile> {
    let abroad = country(chars, start, true).and_then(|at| national_mobile(chars, at));
    abroad.or_else(|| national_mobile(chars, start))
}

fn national_mobile(chars: &[char], start: usize) -> Option<Mobile> {
    let run = Run::read(chars, start, MOBILE_DIGITS);
    let end = run.end(MOBILE_DIGITS)?;
    let groups = run.groups(MOBILE_DIGITS);
    // 138-0013-8000 and 1380 0138 000, but no list of small numbers.
    let grouped = groups[0] >= 3 && groups.len() <= 4 && groups.iter().all(|group| *group >= 2);
    (run.digits[0] == 1 && run.digits[1] >= 3 && grouped && is_edge(chars, Some(end)))
        .then(|| Mobile { end, digits: run.text(MOBILE_DIGITS) })
}

/// The fixed line that begins at `start`.
pub(crate) fn landline(chars: &[char], start: usize) -> Option<Landline> {
    if let Some(at) = country(chars, start, false) {
        return area(chars, at, false).or_else(|| area(chars, at, true));
    }
    area(chars, start, true)
}

/// Area and number from `start` on; `with_trunk`: the area begins with its 0, as everywhere but behind a country code.
fn area(chars: &[char], start: usize, with_trunk: bool) -> Option<Landline> {
    let open = chars.get(start) == Some(&'(');
    let at = start + usize::from(open);
    let trunk = if with_trunk { skip_word(chars, at, "0")? } else { at };
    let digits = Run::read(chars, trunk, 3);
    let size = match digits.digits.as_slice() {
        [1, 0, ..] => 2,
        [2, second, ..] if *second != 6 => 2,
        [3..=9, _, _] => 3,
        _ => return None,
    };
    let behind = digits.end(size).filter(|_| digits.groups(size).len() == 1)?;
    let close = chars.get(behind) == Some(&')');
    if open && !close {
        return None;
    }
    let behind = behind + usize::from(close);
    let at = skip_separators(chars, behind);
    let (end, local) = local(chars, at)?;
    Some(Landline { end, area: format!("0{}", digits.text(size)), is_parted: close || at > behind, local })
}

/// Eight or seven digits, in one piece or in two.
fn local(chars: &[char], start: usize) -> Option<(usize, String)> {
    let run = Run::read(chars, start, 8);
    [8, 7].into_iter().find_map(|size| {
        let end = run.end(size).filter(|end| is_edge(chars, Some(*end)))?;
        let grouped =
            matches!((size, run.groups(size).as_slice()), (_, [_]) | (8, [4, 4]) | (7, [3, 4] | [4, 3]));
        (grouped && run.digits[0] != 0).then(|| (end, run.text(size)))
    })
}

/// The place behind +86, 0086, bracketed or not, and what separates it from the number; `bare`: 86 alone will do.
fn country(chars: &[char], start: usize, bare: bool) -> Option<usize> {
    let open = chars.get(start) == Some(&'(');
    let at = start + usize::from(open);
    let words: &[&str] = if bare || open { &["+86", "0086", "86"] } else { &["+86", "0086"] };
    let behind = words.iter().find_map(|word| skip_word(chars, at, word))?;
    if open && chars.get(behind) != Some(&')') {
        return None;
    }
    Some(skip_separators(chars, behind + usize::from(open)))
}

/// Whether nothing but an extension stands from `at` on.
fn is_extension(chars: &[char], at: usize) -> bool {
    let before = skip_separators(chars, at);
    let word = EXTENSION_WORDS.iter().find_map(|word| skip_word(chars, before, word));
    let number = skip(chars, word.unwrap_or(before), |c| is_separator(c) || c == ':');
    let digits = chars.get(number..).unwrap_or_default();
    number > at
        && (1..=EXTENSION_DIGITS_MAX).contains(&digits.len())
        && digits.iter().all(char::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mobile_numbers() {
        for (text, valid) in [
            ("13800138000", true),
            ("19912345678", true),
            (" 13800138000 ", true),
            ("138-0013-8000", true),
            ("138 0013 8000", true),
            ("138–0013–8000", true),
            ("1380 0138 000", true),
            ("+8613800138000", true),
            ("+86 138 0013 8000", true),
            ("(+86)13800138000", true),
            ("（＋８６）１３８００１３８０００", true),
            ("0086-13900139000", true),
            ("8613800138000", true),
            ("1\u{200d}3800138000", true),
            ("12800138000", false),
            ("10800138000", false),
            ("1380013800", false),
            ("138001380001", false),
            ("23800138000", false),
            ("1 3 8 0 0 1 3 8 0 0 0", false),
            ("13 80 01 38 00 0", false),
            ("+85213800138", false),
            ("13800138000x", false),
            ("电话13800138000", false),
            ("", false),
        ] {
            assert_eq!(mobile_cn(text), valid, "{text}");
        }
    }

    #[test]
    fn fixed_lines() {
        for (text, valid) in [
            ("021-68880000", true),
            ("02168880000", true),
            ("(021)68880000", true),
            ("（０２１）６８８８００００", true),
            ("(021) 6888-0000", true),
            ("021 6888 0000", true),
            ("0571-8888888", true),
            ("057188888888", true),
            ("010-12345678", true),
            ("+86-21-68880000", true),
            ("+86 021 68880000", true),
            ("0086-571-88888888", true),
            ("+86 (21) 6888 0000", true),
            ("021-68880000-801", true),
            ("021-68880000转801", true),
            ("021-68880000 ext. 801", true),
            ("021-68880000-8011111", false),
            ("021-6888000", true),
            ("021-688800", false),
            ("021-688800001", false),
            ("026-68880000", false),
            ("011-68880000", false),
            ("021-08880000", false),
            ("(021-68880000", false),
            ("0 21-68880000", false),
            ("68880000", false),
            ("400-860-8608", false),
            ("95588", false),
            ("13800138000", false),
            ("", false),
        ] {
            assert_eq!(landline_cn(text), valid, "{text}");
        }
    }
}
