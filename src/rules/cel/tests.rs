//! What conditions come to, and what is said about those that are none.

use super::*;

/// A compound: the rule's device and two named ones.
pub(super) struct Compound;

impl Compound {
    const OWN: &[(&str, Type)] = &[
        ("temperature", Type::Number),
        ("level", Type::Number),
        ("energy.forward", Type::Number),
        ("smoke", Type::Flag),
        ("door_open", Type::Flag),
        ("state", Type::Text),
        ("rate", Type::Number),
        ("for", Type::Number),
        ("devices", Type::Number),
        ("online.hours", Type::Number),
    ];

    fn of(device: Option<&str>) -> &'static [(&'static str, Type)] {
        match device {
            None => Self::OWN,
            Some("pump-1") => &[("level", Type::Number), ("energy.forward", Type::Number)],
            Some("门-1") => &[("online", Type::Flag), ("open", Type::Flag)],
            Some(_) => &[],
        }
    }
}

impl Scope for Compound {
    fn metric(&self, device: Option<&str>, metric: &str) -> Option<Type> {
        Self::of(device).iter().find(|(name, _)| *name == metric).map(|(_, kind)| *kind)
    }
    fn device(&self, device: &str) -> bool {
        ["pump-1", "门-1"].contains(&device)
    }
    fn metrics(&self, device: Option<&str>) -> Vec<String> {
        Self::of(device).iter().map(|(name, _)| (*name).to_owned()).collect()
    }
    fn devices(&self) -> Vec<String> {
        vec!["pump-1".to_owned(), "门-1".to_owned()]
    }
    fn lists(&self) -> Vec<String> {
        vec!["plates".to_owned()]
    }
}

pub(super) fn good(text: &str) -> Condition {
    compile(text, &Compound).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

fn number(text: &str) -> Decimal {
    Decimal::from_str_exact(text).expect("a number")
}

/// A moment: 25.5 degrees, no smoke, the state is 开启, no level yet, the pump's level 2.0 and the energy text by mistake.
fn moment(input: &Input) -> Option<Seen<'static>> {
    let own = input.device.is_none();
    match &input.what {
        What::Value(metric) => match metric.as_str() {
            "temperature" => Some(Seen::Number(number("25.50"))),
            "smoke" => Some(Seen::Flag(false)),
            "state" => Some(Seen::Text("开启 open")),
            "rate" => Some(Seen::Number(Decimal::TWO)),
            "level" if !own => Some(Seen::Number(number("2.0"))),
            "energy.forward" => Some(Seen::Text("twelve")),
            _ => None,
        },
        What::Quality(_) => Some(Seen::Text("good")),
        What::Online => Some(Seen::Flag(own)),
        What::Listed { .. } => Some(Seen::Flag(true)),
        What::Over { over_ms, .. } => Some(Seen::Number(Decimal::from(*over_ms))),
    }
}

fn verdict(condition: &Condition) -> Verdict {
    condition.verdict(|place| moment(&condition.inputs()[place]))
}

#[test]
fn what_conditions_come_to() {
    use Verdict::{Error, Fails, Holds, Unknown};
    for (text, expected) in [
        ("true", Holds),
        ("!true", Fails),
        ("temperature > 25", Holds),
        ("temperature > 25.5", Fails),
        ("temperature == 25.5 && 25.500 == temperature", Holds),
        ("60 == 60.0 && 60u == 60 && 0x3c == 60", Holds),
        // Through a double this would be false.
        ("0.1 + 0.2 == 0.3", Holds),
        ("9007199254740993.0 - 9007199254740992.0 == 1", Holds),
        (".5 + 1e-1 + 15e-1 == 2.1", Holds),
        ("000000000000000000000000000000001.50 == 1.5", Holds),
        ("7 / 2 == 3.5", Holds),
        ("-7 % 3 == -1 && 7 % -3 == 1 && 5.5 % 2 == 1.5", Holds),
        ("2 + 3 * 4 == 14 && (2 + 3) * 4 == 20 && 10 - 3 - 2 == 5", Holds),
        ("-temperature < -25 && abs(-temperature) == 25.5 && - 1 < 0 && 1 - -1 == 2 && 1-1 == 0", Holds),
        ("-0.0 == 0", Holds),
        ("smoke", Fails),
        ("smoke == false && smoke != true", Holds),
        ("online", Holds),
        ("devices[\"pump-1\"].online", Fails),
        ("devices['pump-1'].level >= 2", Holds),
        ("level > 1", Unknown),
        ("online.hours > 1", Unknown),
        ("energy.forward > 1", Error),
        ("devices[\"pump-1\"].energy.forward > 1", Error),
        ("temperature / (rate - 2) > 1", Error),
        ("temperature % (rate - 2) > 1", Error),
        ("temperature * 79228162514264337593543950335.0 > 1", Error),
        // An error wins over the unknown, whichever comes first.
        ("level > energy.forward", Error),
        ("energy.forward > level", Error),
        ("level > 1 && energy.forward > 1", Error),
        ("energy.forward > 1 || level > 1", Error),
        // What decides, decides from both sides.
        ("level > 1 && smoke", Fails),
        ("smoke && level > 1", Fails),
        ("energy.forward > 1 && smoke", Fails),
        ("true || energy.forward > 1", Holds),
        ("energy.forward > 1 || level > 1 || !smoke", Holds),
        ("level > 1 && !smoke", Unknown),
        ("smoke || level > 1", Unknown),
        ("!(level > 1)", Unknown),
        ("smoke ? level > 1 : temperature > 1", Holds),
        ("smoke ? true : level > 1", Unknown),
        ("level > 1 ? true : true", Unknown),
        ("(smoke ? 1 : 2) == 2 && (smoke ? \"a\" : state) == state", Holds),
        ("smoke ? true : smoke ? true : temperature > 1", Holds),
        ("state == \"开启 open\" && state.startsWith('开') && state.endsWith(\"open\")", Holds),
        ("state.contains(\"启 o\") && !state.contains(\"关\")", Holds),
        ("\"a\" < \"b\" && \"z\" < \"开\" && \"开\" < \"\\U0001F6AA\" && \"\" < \"a\"", Holds),
        ("\"\\u5f00\" == \"开\" && r'a\\b' == 'a\\\\b' && '''it's''' == \"it's\"", Holds),
        ("temperature in [1, 25.5, -3]", Holds),
        ("temperature in [-25.5, - 3]", Fails),
        ("!(state in [\"open\", \"ajar\"])", Holds),
        ("level in [1]", Unknown),
        ("quality(temperature) == \"good\" && quality(state) in [\"good\", \"clock\"]", Holds),
        ("quality(devices[\"pump-1\"].energy.forward) == \"skewed\"", Fails),
        ("lowest(temperature, \"10m\") == 600000 && rise(energy.forward, \"1 d\") == 86400000", Holds),
        ("highest(devices[\"pump-1\"].level, \"3h\") == 10800000 && rate(temperature, '1s') == 1000", Holds),
        // A function and a metric may share a name: brackets tell.
        ("rate == 2 && rate(rate, \"1s\") > rate", Holds),
        ("// 高温\n temperature > 20 // 度\n && !smoke", Holds),
        ("smoke == (temperature > 30)", Holds),
        ("smoke != (level > 30)", Unknown),
    ] {
        let condition = good(text);
        assert_eq!(verdict(&condition), expected, "{text}");
        assert_eq!((condition.text(), condition.to_string().as_str()), (text, text));
    }
}

#[test]
fn inputs_stand_in_the_order_of_first_mention_and_once() {
    let condition =
        good("level > 1 && smoke || level < temperature && quality(level) == \"good\" || level > 9");
    let shown: Vec<String> = condition.inputs().iter().map(|input| format!("{:?}", input.what)).collect();
    assert_eq!(
        shown,
        [
            "Value(Metric(level))",
            "Value(Metric(smoke))",
            "Value(Metric(temperature))",
            "Quality(Metric(level))"
        ]
    );
    assert!(Arc::ptr_eq(&condition.0, &condition.clone().0), "cloning copies nothing");
}

/// Each fault as the piece of text it points at, what is wrong, and a word of the help.
#[test]
fn every_fault_points_at_its_place() {
    for (text, expected) in [
        ("", &[("", "an empty condition", "temperature > 60")] as &[_]),
        ("  // so\n", &[("  // so\n", "an empty condition", "")]),
        ("temprature > 60", &[("temprature", "no metric `temprature`", "did you mean `temperature`?")]),
        ("wind > 60", &[("wind", "no metric `wind`", "there is devices, door_open, energy.forward")]),
        ("\"温\" == state && 温度 > 3", &[("温度", "\"温度\" is no part", "names are made of")]),
        ("\"温度\" == state && leve > 3", &[("leve", "no metric `leve`", "did you mean `level`?")]),
        ("temperature ＞ 60", &[("＞", "\"＞\" is no part", "did you mean `>`?")]),
        ("state == “open”", &[("“", "is no part", "did you mean `\"`?"), ("”", "", "")]),
        ("smoke = true & online", &[("=", "", "did you mean `==`?"), ("&", "", "did you mean `&&`?")]),
        ("smoke and online", &[("and", "`and` is not expected here", "did you mean `&&`?")]),
        ("temperature >", &[(">", "the condition ends too early", "")]),
        ("state == \"open", &[("\"open", "a text that does not end", "close it with \"")]),
        ("(smoke", &[("(", "a bracket that is never closed", "")]),
        ("smoke)", &[(")", "`)` closes nothing", "open it with `(`")]),
        ("(smoke]", &[("]", "`]` closes nothing", "")]),
        ("!!smoke", &[("!", "a denied denial", "")]),
        ("temperature", &[("temperature", "a number where true or false is meant", "compare it")]),
        ("(1 + level) * 2", &[("(1 + level) * 2", "a number where true or false is meant", "")]),
        ("state", &[("state", "a text where true", "")]),
        ("smoke && temperature", &[("temperature", "a number where true or false is meant", "")]),
        ("!level", &[("level", "a number where true or false is meant", "")]),
        (
            "temperature > \"60\"",
            &[("temperature > \"60\"", "a number compared with a text", "both sides must be of one type")],
        ),
        ("smoke > false", &[("smoke > false", "true and false have no order", "")]),
        ("state + \"x\" == state", &[("state", "a text where a number", ""), ("\"x\"", "a text where", "")]),
        ("level / 0 > 1", &[("0", "a division by zero", "")]),
        ("level % -0.0 > 1", &[("-0.0", "a division by zero", "")]),
        ("1 / (1 - 1) > 0", &[("1 / (1 - 1) > 0", "it can never be computed", "")]),
        (
            "smoke ? 1 : state == state",
            &[("smoke ? 1 : state == state", "either a number or true or false", "")],
        ),
        ("level in []", &[("[]", "a list of nothing", "")]),
        ("level in state", &[("state", "no list", "")]),
        ("level in [1, \"2\"]", &[("\"2\"", "it is looked for a number and this is a text", "")]),
        ("level in [1, level]", &[("level", "it is looked for", "as they are")]),
        ("[1] == [1]", &[("[1]", "a list that", ""), ("[1]", "a list that", "")]),
        ("{\"a\": 1}.a == 1", &[("{\"a\": 1}.a", "nothing that has parts", "")]),
        ("{1: 2} == 1", &[("{1: 2}", "a condition has no maps", "")]),
        ("[1].exists(x, x > 0)", &[("[1].exists(x, x > 0)", "a condition has no loops", "")]),
        ("has(energy.forward)", &[("has(energy.forward)", "`has` is not part of conditions", "unknown")]),
        ("null == level", &[("null", "no value of a condition", "")]),
        ("level > 1e-40", &[("1e-40", "1e-40 is no exact decimal", "at most 28 digits")]),
        ("level > 1e99", &[("1e99", "1e99 is no exact decimal", "")]),
        ("level > 99999999999999999999", &[("99999999999999999999", "is out of range", "with a point")]),
        ("for > 1", &[("for", "`for` is a reserved word of CEL", "give it another")]),
        ("devices > 1", &[("devices", "`devices` is all devices", "give the metric another name")]),
        ("lowest > 1", &[("lowest", "`lowest` is a function", "call it: lowest(m, \"10m\")")]),
        (
            "devices[\"pump-1\"]",
            &[("devices[\"pump-1\"]", "pump-1 is no value", "devices[\"pump-1\"].level")],
        ),
        (
            "devices[\"pump-2\"].level > 1",
            &[("\"pump-2\"", "no device \"pump-2\"", "did you mean `pump-1`?")],
        ),
        ("devices[\"门-1\"].opne", &[("devices[\"门-1\"].opne", "门-1 has no metric `opne`", "`open`?")]),
        (
            "devices[\"门-1\"].online",
            &[("devices[\"门-1\"].online", "`online` says whether", "another name")],
        ),
        ("devices[state].level > 1", &[("state", "no device", "as it is declared")]),
        ("state[0] == 1", &[("state[0]", "nothing that has parts", "")]),
        ("abs(1, 2) > 1", &[("abs(1, 2)", "`abs` is called otherwise", "so: abs(x)")]),
        ("( abs ( state ) ) > 1", &[("state", "a text where a number is meant", "")]),
        ("lowset(level, \"1h\") > 1", &[("lowset(level, \"1h\")", "no function `lowset`", "`lowest`?")]),
        ("size(state) > 1", &[("size(state)", "no function `size`", "there is abs, quality")]),
        ("listed(\"plate\", state)", &[("\"plate\"", "no shared list \"plate\"", "did you mean `plates`?")]),
        ("listed(state, state)", &[("state", "no list", "as it is declared")]),
        ("listed(\"plates\", level)", &[("level", "a number where a text is meant", "as keys")]),
        ("listed(\"plates\", \"a1\")", &[("\"a1\"", "no metric", "")]),
        ("contains(state, \"a\")", &[("contains(state, \"a\")", "is a method of a text", "state.contains")]),
        ("state.matches(\"a\")", &[("state.matches(\"a\")", "no method `matches`", "texts have")]),
        ("state.startswith(\"a\")", &[("state.startswith(\"a\")", "no method", "`startsWith`?")]),
        ("level.contains(\"a\")", &[("level", "a number where a text is meant", "")]),
        ("state.contains()", &[("state.contains()", "`contains` takes one text", "")]),
        ("rise(level + 1, \"1h\") > 1", &[("level + 1", "no metric", "")]),
        ("rise(smoke, \"1h\") > 1", &[("smoke", "true or false where a number is meant", "")]),
        ("rise(level, 60) > 1", &[("60", "no duration", "\"10m\"")]),
        ("rise(level, \"25h\") > 1", &[("\"25h\"", "\"25h\" is no duration to look back", "24h")]),
        ("rise(level, \"999ms\") > 1", &[("\"999ms\"", "", "")]),
        ("quality(level) == \"god\"", &[("\"god\"", "no quality \"god\"", "did you mean `good`?")]),
        ("quality(level) in [\"bad\"]", &[("\"bad\"", "no quality \"bad\"", "there is good")]),
        // All at once, in the order of the text.
        (
            "temprature > 60 &&\n smok == true || levle < \"三\"",
            &[("temprature", "no metric", ""), ("smok", "no metric", ""), ("levle", "no metric", "")],
        ),
    ] {
        let faults = compile(text, &Compound).expect_err(text);
        let places: Vec<&str> = faults.iter().map(|fault| &text[fault.at.clone()]).collect();
        let wanted: Vec<&str> = expected.iter().map(|(at, ..)| *at).collect();
        assert_eq!(places, wanted, "{text}: {faults:?}");
        for (fault, (_, message, help)) in faults.iter().zip(expected) {
            assert!(fault.message.contains(message), "{text}: {fault:?}");
            assert!(fault.help.contains(help), "{text}: {fault:?}");
        }
    }
}

#[test]
fn what_is_deep_or_long_is_refused_before_it_costs() {
    let nested = |depth: usize| format!("{}smoke{}", "(".repeat(depth), ")".repeat(depth));
    assert!(compile(&nested(DEPTH_MAX), &Compound).is_ok());
    let chain = |sign: &str, count: usize| format!("level{}", format!("{sign}level").repeat(count));
    assert!(compile(&format!("{} > 1", chain("+", DEPTH_MAX - 2)), &Compound).is_ok());
    assert!(compile(&vec!["smoke"; 200].join(" || "), &Compound).is_ok(), "a chain is flat");
    for (text, message) in [
        (nested(DEPTH_MAX + 1), "brackets nested more than 32 deep"),
        (nested(1000), "brackets nested more than 32 deep"),
        ("(".repeat(TEXT_MAX), "brackets nested"),
        ("[".repeat(TEXT_MAX), "brackets nested"),
        ("{1:".repeat(600), "brackets nested"),
        ("abs(".repeat(500), "brackets nested"),
        ("smoke.exists(x,".repeat(130), "brackets nested"),
        (format!("{} > 1", chain("+", DEPTH_MAX - 1)), "nested more than 32 deep"),
        (chain("-", 340), "nested more than 32 deep"),
        (chain("==", 290), "nested more than 32 deep"),
        (format!("{}smoke", "smoke?smoke:".repeat(160)), "nested more than 32 deep"),
        (format!("{}smoke{}", "smoke?".repeat(160), ":smoke".repeat(160)), ""),
        (format!("a{}", ".a".repeat(1000)), "no metric"),
        (format!("a{}", "[0]".repeat(600)), "nothing that has parts"),
        ("!".repeat(TEXT_MAX), "a denied denial"),
        (format!("{}level", "-".repeat(2000)), "a number where"),
        ("?".repeat(TEXT_MAX), ""),
        ("\"".repeat(TEXT_MAX - 1), ""),
        (format!("level > {}", "9".repeat(2000)), "out of range"),
        (format!("level > 0.{}", "9".repeat(2000)), "no exact decimal"),
        ("门".repeat(600), "is no part of a condition"),
        (format!("smoke {}", "门".repeat(700)), "a condition of 2106 bytes"),
    ] {
        let shown: String = text.chars().take(20).collect();
        let faults = compile(&text, &Compound).expect_err(&shown);
        assert!(faults[0].message.contains(message), "{shown}: {:?}", faults[0]);
        assert!(faults.iter().all(|fault| text.get(fault.at.clone()).is_some_and(|at| !at.is_empty())));
    }
}

#[test]
fn what_reads_nothing_is_constant() {
    for (text, constant) in [
        ("true", Some(true)),
        ("1 > 2", Some(false)),
        ("\"a\" in [\"a\"]", Some(true)),
        ("smoke || true", None),
        ("level > 1", None),
    ] {
        assert_eq!(good(text).constant(), constant, "{text}");
    }
}

#[test]
fn what_cannot_hold_and_what_cannot_fail() {
    let range = |input: &Input| match &input.what {
        What::Value(metric) if metric.as_str() == "temperature" => {
            Some((Some(number("-40")), Some(number("85"))))
        }
        What::Value(metric) if metric.as_str() == "level" => Some((Some(Decimal::ZERO), None)),
        What::Value(metric) if metric.as_str() == "rate" => Some((Some(Decimal::TWO), Some(Decimal::TWO))),
        _ => None,
    };
    let (both, never, always) = ((true, true), (false, true), (true, false));
    for (text, expected) in [
        ("temperature > 60", both),
        ("temperature > 85", never),
        ("temperature >= 85", both),
        ("85 < temperature", never),
        ("temperature > -41", always),
        ("temperature == 90", never),
        ("temperature != 90", always),
        ("temperature in [90, 100]", never),
        ("!(temperature > 85)", always),
        ("temperature * 2 + 10 > 180", never),
        ("-temperature > 40", never),
        ("abs(temperature) > 85", never),
        ("abs(temperature) < 0", never),
        ("temperature / 10 > 8.5", never),
        ("temperature / level > 1000", both),
        ("temperature % 10 > 10", never),
        ("level % 10 < 0", never),
        ("level < 0", never),
        ("level > 1000000", both),
        ("abs(level) >= 0", always),
        ("abs(-5 - level) < 5", never),
        ("abs(-5 - level) < 6", both),
        ("rate == 2", always),
        ("rate in [2]", always),
        ("rate in [3]", never),
        ("temperature > 60 && temperature < 50", never),
        ("temperature > 60 && temperature <= 60", never),
        ("temperature >= 60 && temperature <= 60", both),
        ("temperature == 60 && temperature == 61", never),
        ("temperature > 50 || temperature < 60", always),
        ("temperature > 50 || temperature < 50", both),
        ("smoke && temperature > 60 && 50 > temperature", never),
        ("level > 60 && temperature < 50", both),
        ("smoke && temperature > 90", never),
        ("smoke || temperature > 90", both),
        ("smoke || temperature < 90", always),
        ("smoke == (temperature > 90)", both),
        ("true == (temperature > 90)", never),
        ("(smoke ? temperature : 20) > 85", never),
        ("(smoke ? temperature : 100) > 85", both),
        ("smoke ? temperature > 90 : temperature < 90", both),
        ("\"a\" == \"b\"", never),
        ("state == \"b\"", both),
        ("true", always),
    ] {
        assert_eq!(good(text).can(&range), expected, "{text}");
    }
    assert_eq!(good("temperature > 85").can(&|_| None), both, "without ranges nothing is certain");
}
