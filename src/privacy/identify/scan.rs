//! Reading digits with separators between them, for the matchers of this module.
//!
//! Guarantees: never reads beyond the text; a separator counts only between two digits. It does not check what the digits
//! mean.

/// Most separators between two digits that still belong to one number ("138 - 0013").
const GAP_MAX: usize = 3;

/// Whether a character joins the parts of a number: a space or a dash, in the normal form.
pub(crate) fn is_separator(c: char) -> bool {
    is_space(c) || is_dash(c)
}

fn is_space(c: char) -> bool {
    c == '\t'
        || (c.is_whitespace()
            && !matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'))
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}')
}

/// Whether a number may begin or end beside place `at` of the text: there is no ASCII letter or digit, or no text.
pub(crate) fn is_edge(chars: &[char], at: Option<usize>) -> bool {
    at.and_then(|at| chars.get(at)).is_none_or(|c| !c.is_ascii_alphanumeric())
}

/// The place behind the separators (at most `GAP_MAX`) that begin at `at`.
pub(crate) fn skip_separators(chars: &[char], at: usize) -> usize {
    skip(chars, at, is_separator)
}

/// The place behind at most `GAP_MAX` characters that begin at `at` and are of a class.
pub(crate) fn skip(chars: &[char], at: usize, class: impl Fn(char) -> bool) -> usize {
    let rest = chars.get(at..).unwrap_or_default();
    at + rest.iter().take(GAP_MAX).take_while(|c| class(**c)).count()
}

/// The place behind a word that begins at `at`.
pub(crate) fn skip_word(chars: &[char], at: usize, word: &str) -> Option<usize> {
    let end = at + word.chars().count();
    chars.get(at..end)?.iter().copied().eq(word.chars()).then_some(end)
}

/// Digits one after another, with separators between some of them.
#[derive(Default)]
pub(crate) struct Run {
    /// The digits, 0–9.
    pub(crate) digits: Vec<u8>,
    /// For each digit the place behind it.
    ends: Vec<usize>,
    /// How many digits stand before each gap, ascending.
    gaps: Vec<usize>,
}

impl Run {
    /// Up to `most` digits from place `at` on.
    pub(crate) fn read(chars: &[char], at: usize, most: usize) -> Self {
        let mut run = Self::default();
        let mut at = at;
        while run.digits.len() < most {
            let next = if run.digits.is_empty() { at } else { skip_separators(chars, at) };
            let Some(digit) = chars.get(next).and_then(|c| c.to_digit(10)) else { break };
            if next > at {
                run.gaps.push(run.digits.len());
            }
            at = next + 1;
            run.digits.push(u8::try_from(digit).unwrap_or_default());
            run.ends.push(at);
        }
        run
    }

    /// The place behind the first `count` digits (at least one), when there are so many.
    pub(crate) fn end(&self, count: usize) -> Option<usize> {
        self.ends.get(count.checked_sub(1)?).copied()
    }

    /// Digits in each group of the first `count`.
    pub(crate) fn groups(&self, count: usize) -> Vec<usize> {
        let mut bounds = vec![0];
        bounds.extend(self.gaps.iter().copied().filter(|gap| *gap < count));
        bounds.push(count);
        bounds.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// The first `count` digits as text.
    pub(crate) fn text(&self, count: usize) -> String {
        self.digits.iter().take(count).map(|digit| char::from(b'0' + digit)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_with_separators() {
        for (text, most, digits, groups) in [
            ("138-0013-8000x", 20, "13800138000", &[3, 4, 4][..]),
            ("138 - 0013 -8000", 20, "13800138000", &[3, 4, 4][..]),
            ("138    0013", 20, "138", &[3][..]),
            ("138\n0013", 20, "138", &[3][..]),
            ("12345", 3, "123", &[3][..]),
            ("12-", 3, "12", &[2][..]),
            ("1–2—3−4", 9, "1234", &[1, 1, 1, 1][..]),
        ] {
            let chars: Vec<char> = text.chars().collect();
            let run = Run::read(&chars, 0, most);
            assert_eq!(run.text(most), digits, "{text}");
            assert_eq!(run.groups(run.digits.len()), groups, "{text}");
        }
    }
}
