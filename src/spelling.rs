//! How people write: words nearly right, and amounts with a unit.
//!
//! Guarantees: an amount is exact or refused, and the work for a suggestion is bounded. Does not know which word or
//! amount is sensible where.

use std::time::Duration;

/// "did you mean", if there is a word near enough.
pub(crate) fn nearest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let near = words.into_iter().map(|other| (distance(word, other), other));
    near.filter(|(steps, _)| *steps <= limit).min().map(|(_, other)| other)
}

/// Insertions, removals, replacements and swaps of neighbours from one word to another (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    // Longer words are no slips of a finger, and the work grows with the square.
    if from.len().max(to.len()) > 64 {
        return usize::MAX;
    }
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let above = &rows[i - 1];
            let mut best =
                (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + usize::from(from[i - 1] != to[j - 1]));
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

/// A duration as it is written in the configuration: `500ms`, `5s`, `15m`, `1h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    amount(text, &units, "duration").map(Duration::from_millis)
}

/// A whole number and a unit, a space between them or not.
pub(crate) fn amount(text: &str, units: &[(&str, u64)], what: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim_start());
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let number: Option<u64> = number.parse().ok();
    let amount = factor.zip(number).and_then(|(factor, number)| number.checked_mul(factor));
    amount.ok_or_else(|| format!("{text:?} is no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let words = ["title", "templates", "purpose", "fields", "id"];
        for (word, near) in [
            ("titel", Some("title")),
            ("purposes", Some("purpose")),
            ("template", Some("templates")),
            ("di", Some("id")),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, words), near, "{word}");
        }
    }
}
