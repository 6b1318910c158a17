//! Any text and any values: nothing panics, and every fault stands in its text.

use proptest::prelude::*;

use super::tests::{Compound, good};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_compiles_or_is_faulted_where_it_stands(text in any_text()) {
        match compile(&text, &Compound) {
            Ok(condition) => prop_assert_eq!(condition.text(), text),
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                for fault in faults {
                    let at = text.get(fault.at.clone());
                    prop_assert!(at.is_some_and(|at| !at.is_empty() || text.is_empty()), "{fault:?}");
                }
            }
        }
    }

    /// Inputs of every type stand where every type is meant.
    #[test]
    fn any_values_give_a_verdict(which in 0..TEXTS.len(), seen in prop::collection::vec(any_seen(), 8)) {
        let condition = good(TEXTS[which]);
        let verdict = condition.verdict(|place| seen[place % seen.len()].as_ref().map(Value::seen));
        let all = [Verdict::Holds, Verdict::Fails, Verdict::Unknown, Verdict::Error];
        prop_assert!(all.contains(&verdict));
        prop_assert!(seen.iter().all(Option::is_some) <= (verdict != Verdict::Unknown), "nothing is unknown");
    }
}

const TEXTS: &[&str] = &[
    "temperature > 60 && smoke == true",
    "abs(temperature * level - rate) / energy.forward % level > -0.5",
    "state.startsWith(\"开\") || state in [\"a\", \"b\"] || quality(level) == \"good\"",
    "(smoke ? level : -temperature) + rise(energy.forward, \"1h\") in [1, 2, 3.5]",
    "devices[\"pump-1\"].online ? !(door_open == smoke) : state < 'x' && level <= temperature",
];

/// A value that is owned.
#[derive(Clone, Debug)]
enum Value {
    Number(Decimal),
    Flag(bool),
    Text(String),
}

impl Value {
    fn seen(&self) -> Seen<'_> {
        match self {
            Value::Number(number) => Seen::Number(*number),
            Value::Flag(flag) => Seen::Flag(*flag),
            Value::Text(text) => Seen::Text(text),
        }
    }
}

fn any_seen() -> impl Strategy<Value = Option<Value>> {
    let number = prop_oneof![
        (any::<i64>(), 0..19u32).prop_map(|(number, scale)| Decimal::new(number, scale)),
        Just(Decimal::MAX),
        Just(Decimal::MIN),
        Just(Decimal::ZERO),
        Just(Decimal::from_i128_with_scale(1, 28)),
    ];
    prop_oneof![
        Just(None),
        number.prop_map(|number| Some(Value::Number(number))),
        any::<bool>().prop_map(|flag| Some(Value::Flag(flag))),
        any::<String>().prop_map(|text| Some(Value::Text(text))),
    ]
}

/// Anything, words in any order, and good texts with a piece cut out, doubled or replaced.
fn any_text() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "temperature",
        "smoke",
        "state",
        "devices",
        "[\"pump-1\"]",
        ".level",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        "in",
        "?",
        ":",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "\"x\"",
        "'门'",
        "\"",
        "'",
        "1",
        "0.5",
        "2u",
        "0x1F",
        "1e3",
        "true",
        "null",
        "for",
        "has(",
        "abs(",
        "rate(level, \"1m\")",
        "b'a'",
        "r\"\\\"",
        "\"\"\"",
        "//",
        "\n",
        "\\",
        "`a`",
        ".?",
        "[?",
        "门",
        "＞",
        "\u{0}",
        " ",
    ];
    let words = prop::collection::vec(prop::sample::select(WORDS), 0..30);
    let mutated =
        (0..TEXTS.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..WORDS.len() + 2);
    prop_oneof![
        any::<String>(),
        "[ -~\n门]{0,60}",
        words.clone().prop_map(|words| words.concat()),
        words.prop_map(|words| words.join(" ")),
        mutated.prop_map(|(text, from, to, with)| {
            let chars: Vec<char> = TEXTS[text].chars().collect();
            let (from, to) = (from.index(chars.len()), to.index(chars.len()));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 12));
            let piece: String = chars[from..to].iter().collect();
            let with = WORDS.get(with).map_or_else(|| piece.repeat(2), |word| (*word).to_owned());
            let (before, after): (String, String) =
                (chars[..from].iter().collect(), chars[to..].iter().collect());
            before + &with + &after
        }),
    ]
}
