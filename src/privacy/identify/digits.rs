//! The mask for texts in which no number may show, whatever it is: every long run of digits becomes stars.
//!
//! Guarantees: no run of `min_run` digits or more is left, neither with spaces and dashes inside, nor in full-width,
//! circled or other forms of digits, nor with invisible characters between; nothing else of the text changes. What it
//! does not do: see shorter runs, other separators (12.34), letters in place of digits, or a mixture of Chinese and other
//! digits.

use super::normal::normal;
use super::scan::{is_edge, is_separator};

/// Digits of an id before its check character.
const ID_BODY: usize = 17;
/// Digits in Chinese, as people dictate a number.
const CHINESE: &str = "〇零一二三四五六七八九幺";

/// The text with `*` in place of each digit of every run of at least `min_run` digits (0 counts as 1), and of the X at the
/// end of a run of 17 and more. Spaces and dashes between two digits do not end a run, and stay.
#[must_use]
pub fn fail_closed_digits(text: &str, min_run: usize) -> String {
    let normal = normal(text);
    let mut hidden = vec![false; text.chars().count()];
    for is_digit in [is_number as fn(char) -> bool, |c| CHINESE.contains(c)] {
        let mut at = 0;
        while at < normal.chars.len() {
            let run = run(&normal.chars, at, is_digit);
            if run.len() >= min_run.max(1) {
                run.iter().for_each(|place| hidden[normal.offsets[*place]] = true);
                if let Some(place) = check_character(&normal.chars, &run) {
                    hidden[normal.offsets[place]] = true;
                }
            }
            at = run.last().map_or(at, |last| *last) + 1;
        }
    }
    text.chars().zip(hidden).map(|(c, hidden)| if hidden { '*' } else { c }).collect()
}

/// Digits of any script, but the Chinese ones.
fn is_number(c: char) -> bool {
    c.is_numeric() && !CHINESE.contains(c)
}

/// The places of the digits of the run that begins at `at`.
fn run(chars: &[char], at: usize, is_digit: fn(char) -> bool) -> Vec<usize> {
    let mut places = Vec::new();
    let mut next = at;
    while chars.get(next).is_some_and(|c| is_digit(*c)) {
        places.push(next);
        next = behind_separators(chars, next + 1);
    }
    places
}

/// The place behind all separators that begin at `at`: however many there are, they do not end a run.
fn behind_separators(chars: &[char], at: usize) -> usize {
    at + chars[at..].iter().take_while(|c| is_separator(**c)).count()
}

/// The place of the X that ends an id.
fn check_character(chars: &[char], run: &[usize]) -> Option<usize> {
    let place = behind_separators(chars, run.last().filter(|_| run.len() >= ID_BODY)? + 1);
    (matches!(chars.get(place), Some('X' | 'x')) && is_edge(chars, Some(place + 1))).then_some(place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_runs_become_stars() {
        for (text, min_run, expected) in [
            ("", 7, ""),
            ("编号110105199003071234", 7, "编号******************"),
            ("证11010519491231002X。", 7, "证******************。"),
            ("证110105 19491231 002x", 7, "证****** ******** ****"),
            ("138-0013-8000", 7, "***-****-****"),
            ("电话１３８００１３８０００", 7, "电话***********"),
            ("1\u{200d}38001380\u{200d}00", 7, "*\u{200d}********\u{200d}**"),
            ("①③⑧⓪⓪①③⑧⓪⓪⓪", 7, "***********"),
            ("٠١٢٣٤٥٦", 7, "*******"),
            ("幺三八零零幺三八零零零", 7, "***********"),
            ("二〇二六年12月", 7, "二〇二六年12月"),
            ("请拨打12345或110", 7, "请拨打12345或110"),
            ("123456", 7, "123456"),
            ("1234567", 7, "*******"),
            ("123 4567", 7, "*** ****"),
            ("123  -  -  4567", 7, "***  -  -  ****"),
            ("123,4567", 7, "123,4567"),
            ("123\n4567", 7, "123\n4567"),
            ("型号1234567X", 7, "型号*******X"),
            ("-1234567-", 7, "-*******-"),
            ("1a2", 0, "*a*"),
            ("121.473701", 7, "121.473701"),
        ] {
            assert_eq!(fail_closed_digits(text, min_run), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_long_run_is_left(text in "[0-9０-９ \\-\u{200b}a幺二]{0,40}", min_run in 1_usize..12) {
            let masked = fail_closed_digits(&text, min_run);
            prop_assert_eq!(masked.chars().count(), text.chars().count());
            let joined: String = normal(&masked).chars.iter().filter(|c| !matches!(c, ' ' | '-')).collect();
            let runs = joined.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or_default();
            prop_assert!(runs < min_run);
            prop_assert_eq!(fail_closed_digits(&masked, min_run), masked);
        }

        #[test]
        fn only_digits_change(text in any::<String>(), min_run in 0_usize..9) {
            let masked = fail_closed_digits(&text, min_run);
            for (before, after) in text.chars().zip(masked.chars()) {
                prop_assert!(before == after || after == '*');
            }
        }
    }
}
