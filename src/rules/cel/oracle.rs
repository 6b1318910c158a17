//! A second opinion: what the `cel` crate makes of the same texts.
//!
//! The texts are made at random of what both know alike: dyadic numbers written as doubles, so that a double is exact;
//! whole numbers only in `/` by zero and in `%`, which CEL has for them alone. What we define more widely (mixed
//! numbers, exact fractions, `%` on fractions, the unknown) is in the tables of `tests`.

use cel::{Context, Program};
use proptest::prelude::*;

use super::*;

/// What is read, and of what type.
const NAMES: &[(&str, Type)] = &[
    ("x", Type::Number),
    ("y.z", Type::Number),
    ("zero", Type::Number),
    ("p", Type::Flag),
    ("q", Type::Flag),
    ("s", Type::Text),
    ("t", Type::Text),
];

struct Names;

impl Scope for Names {
    fn metric(&self, device: Option<&str>, metric: &str) -> Option<Type> {
        let known = NAMES.iter().find(|(name, _)| device.is_none() && *name == metric);
        known.map(|(_, kind)| *kind)
    }
    fn device(&self, _: &str) -> bool {
        false
    }
    fn metrics(&self, _: Option<&str>) -> Vec<String> {
        Vec::new()
    }
    fn devices(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Values of what is read; numbers in quarters.
#[derive(Clone, Debug)]
struct Values {
    x: i32,
    y: i32,
    p: bool,
    q: bool,
    s: &'static str,
    t: &'static str,
}

const WORDS: &[&str] = &["", "a", "ab", "b", "开", "开门", "关", "🚪"];

fn any_values() -> impl Strategy<Value = Values> {
    let word = || prop::sample::select(WORDS);
    (-16..17, -16..17, any::<bool>(), any::<bool>(), word(), word()).prop_map(|(x, y, p, q, s, t)| Values {
        x,
        y,
        p,
        q,
        s,
        t,
    })
}

impl Values {
    fn seen(&self, input: &Input) -> Option<Seen<'static>> {
        let What::Value(metric) = &input.what else { return None };
        let quarters = |number: i32| Seen::Number(Decimal::from(number) / Decimal::from(4));
        match metric.as_str() {
            "x" => Some(quarters(self.x)),
            "y.z" => Some(quarters(self.y)),
            "zero" => Some(quarters(0)),
            "p" => Some(Seen::Flag(self.p)),
            "q" => Some(Seen::Flag(self.q)),
            "s" => Some(Seen::Text(self.s)),
            "t" => Some(Seen::Text(self.t)),
            _ => None,
        }
    }

    /// What the crate says: none for an error.
    fn opinion(&self, text: &str) -> Option<bool> {
        let program = Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut context = Context::default();
        let y = std::collections::HashMap::from([("z".to_owned(), f64::from(self.y) / 4.0)]);
        context.add_variable("x", f64::from(self.x) / 4.0).expect("a double");
        context.add_variable("y", y).expect("a map");
        context.add_variable("zero", 0_i64).expect("an int");
        context.add_variable("p", self.p).expect("a bool");
        context.add_variable("q", self.q).expect("a bool");
        context.add_variable("s", self.s.to_owned()).expect("a string");
        context.add_variable("t", self.t.to_owned()).expect("a string");
        match program.execute(&context) {
            Ok(cel::Value::Bool(flag)) => Some(flag),
            Ok(other) => panic!("{text}: {other:?}"),
            Err(_) => None,
        }
    }
}

fn any_number() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        (-16..17).prop_map(|quarters| format!("{:?}", f64::from(quarters) / 4.0)),
        Just("x".to_owned()),
        Just("y.z".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let flag = prop::sample::select(&["p", "q", "x > y.z", "1 / zero == 1"]);
        prop_oneof![
            (inner.clone(), prop::sample::select(&["+", "-", "*"]), inner.clone())
                .prop_map(|(left, sign, right)| format!("({left} {sign} {right})")),
            (inner.clone(), prop::sample::select(&["2.0", "-4.0", "0.5"]))
                .prop_map(|(left, right)| format!("{left} / {right}")),
            inner.clone().prop_map(|number| format!("-({number})")),
            (flag, inner.clone(), inner).prop_map(|(flag, yes, no)| format!("({flag} ? {yes} : {no})")),
        ]
    })
    .boxed()
}

fn any_text() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        Just("s".to_owned()),
        Just("t".to_owned()),
        prop::sample::select(WORDS).prop_map(|word| format!("{word:?}")),
    ];
    leaf.prop_recursive(1, 3, 2, |inner| {
        (inner.clone(), inner).prop_map(|(yes, no)| format!("(p ? {yes} : {no})"))
    })
    .boxed()
}

fn any_flag() -> impl Strategy<Value = String> {
    let order = || prop::sample::select(&["==", "!=", "<", "<=", ">", ">="]);
    let text_method = prop::sample::select(&["startsWith", "endsWith", "contains"]);
    let whole = || prop_oneof![(-9..10).prop_map(|number: i32| number.to_string()), Just("zero".to_owned())];
    let leaf = prop_oneof![
        prop::sample::select(&["true", "false", "p", "q"]).prop_map(str::to_owned),
        (any_number(), order(), any_number())
            .prop_map(|(left, sign, right)| format!("{left} {sign} {right}")),
        (any_text(), order(), any_text()).prop_map(|(left, sign, right)| format!("{left} {sign} {right}")),
        (any_text(), text_method, any_text()).prop_map(|(text, name, part)| format!("{text}.{name}({part})")),
        (any_number(), -16..17, -16..17).prop_map(|(number, one, two)| format!(
            "{number} in [{:?}, {:?}]",
            f64::from(one) / 4.0,
            f64::from(two) / 4.0
        )),
        any_text().prop_map(|text| format!("{text} in [\"a\", '开']")),
        (whole(), whole(), whole()).prop_map(|(one, two, three)| format!("{one} % {two} == {three}")),
        whole().prop_map(|number| format!("{number} / zero > 0")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(&["&&", "||", "==", "!="]), inner.clone())
                .prop_map(|(left, sign, right)| format!("({left}) {sign} ({right})")),
            prop::collection::vec(inner.clone().prop_map(|flag| format!("({flag})")), 2..5)
                .prop_map(|flags| flags.join(" && ")),
            prop::collection::vec(inner.clone().prop_map(|flag| format!("({flag})")), 2..5)
                .prop_map(|flags| flags.join(" || ")),
            inner.clone().prop_map(|flag| format!("!({flag})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(c, yes, no)| format!("({c}) ? ({yes}) : ({no})")),
        ]
    })
}

/// A division or a remainder by a literal zero is a fault with us, and an error with CEL.
fn by_zero(faults: &[Fault]) -> bool {
    faults
        .iter()
        .all(|fault| ["a division by zero", "it can never be computed"].contains(&fault.message.as_str()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn both_are_of_one_opinion(text in any_flag(), values in any_values()) {
        prop_assume!(text.len() <= TEXT_MAX);
        let condition = match compile(&text, &Names) {
            Ok(condition) => condition,
            Err(faults) => {
                prop_assert!(by_zero(&faults), "{text}: {faults:?}");
                return Ok(());
            }
        };
        let verdict = condition.verdict(|place| values.seen(&condition.inputs()[place]));
        let expected = match values.opinion(&text) {
            Some(true) => Verdict::Holds,
            Some(false) => Verdict::Fails,
            None => Verdict::Error,
        };
        prop_assert_eq!(verdict, expected, "{}", text);
    }

    /// What holds or fails while something is unknown does so whatever it turns out to be; and ranges deny nothing
    /// that happens.
    #[test]
    fn the_unknown_only_hides(text in any_flag(), values in any_values(), hidden in any::<u8>()) {
        prop_assume!(text.len() <= TEXT_MAX);
        let Ok(condition) = compile(&text, &Names) else { return Ok(()) };
        let inputs = condition.inputs();
        let known = condition.verdict(|place| values.seen(&inputs[place]));
        let partly = condition
            .verdict(|place| values.seen(&inputs[place]).filter(|_| hidden & (1 << (place % 8)) == 0));
        if matches!(partly, Verdict::Holds | Verdict::Fails) {
            prop_assert_eq!(partly, known, "{}", text);
        }
        let point = |input: &Input| match values.seen(input) {
            Some(Seen::Number(number)) => Some((Some(number - Decimal::ONE), Some(number + Decimal::ONE))),
            _ => None,
        };
        let (hold, fail) = condition.can(&point);
        prop_assert!(known != Verdict::Holds || hold, "{} can hold", text);
        prop_assert!(known != Verdict::Fails || fail, "{} can fail", text);
    }
}
