//! The one form in which texts are compared: NFKC character by character, nothing invisible, and for each character the
//! place it had in the text as it was written.
//!
//! Guarantees: places are counted in characters (not bytes) and never fall from one character to the next. What it does
//! not do: compose across characters, fold case, drop separators. Unicode Standard Annex 15 is the source of NFKC.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// A text in its normal form.
#[derive(Clone, PartialEq, Eq)]
pub struct Normal {
    /// The characters.
    pub chars: Vec<char>,
    /// For each of them the place (in characters) of the one it was made from.
    pub offsets: Vec<usize>,
}

impl fmt::Debug for Normal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Normal({} characters)", self.chars.len())
    }
}

impl Normal {
    /// Where `start..end` of this form (not empty, within it) lies in the text as it was written: half open, in characters.
    #[must_use]
    pub fn written(&self, start: usize, end: usize) -> (usize, usize) {
        (self.offsets[start], self.offsets[end - 1] + 1)
    }
}

/// The normal form of a text.
#[must_use]
pub fn normal(text: &str) -> Normal {
    let (mut chars, mut offsets) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()));
    for (offset, c) in text.chars().enumerate().filter(|(_, c)| !is_invisible(*c)) {
        if c.is_ascii() {
            chars.push(c);
            offsets.push(offset);
            continue;
        }
        for part in std::iter::once(c).nfkc() {
            chars.push(part);
            offsets.push(offset);
        }
    }
    Normal { chars, offsets }
}

/// The normal form as a text without white space around it.
pub(crate) fn trimmed(text: &str) -> Vec<char> {
    let chars = normal(text).chars;
    let Some(start) = chars.iter().position(|c| !c.is_whitespace()) else { return Vec::new() };
    let end = chars.iter().rposition(|c| !c.is_whitespace()).map_or(start, |last| last + 1);
    chars[start..end].to_vec()
}

/// Control (but tabs and line ends), zero-width and bidirectional characters, variation selectors, and the frame of keycap
/// emoji: nobody sees them in a number.
fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{20e3}' | '\u{feff}')
        || matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_form_for_all_spellings() {
        for (written, form, offsets) in [
            ("", "", &[][..]),
            ("１３８", "138", &[0, 1, 2][..]),
            ("1\u{200b}3\u{feff}8", "138", &[0, 2, 4][..]),
            ("1\u{fe0f}\u{20e3}3\u{fe0f}\u{20e3}", "13", &[0, 3][..]),
            ("Ｘ\u{3000}（", "X (", &[0, 1, 2][..]),
            ("⑩a", "10a", &[0, 0, 1][..]),
            ("沪A·1", "沪A·1", &[0, 1, 2, 3][..]),
            ("a\tb\nc\0", "a\tb\nc", &[0, 1, 2, 3, 4][..]),
        ] {
            let normal = normal(written);
            assert_eq!(normal.chars.iter().collect::<String>(), form, "{written:?}");
            assert_eq!(normal.offsets, offsets, "{written:?}");
        }
    }

    #[test]
    fn debug_shows_no_text() {
        assert_eq!(format!("{:?}", normal("13800138000")), "Normal(11 characters)");
    }

    proptest! {
        #[test]
        fn places_lie_in_the_text_and_never_fall(text in any::<String>()) {
            let normal = normal(&text);
            prop_assert_eq!(normal.chars.len(), normal.offsets.len());
            prop_assert!(normal.offsets.is_sorted());
            prop_assert!(normal.offsets.iter().all(|offset| *offset < text.chars().count()));
        }
    }
}
