//! Every operator by its name: values, what is refused at once, and that nothing of a number comes out.

use proptest::prelude::*;

use super::*;

const MASTER: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn parameters(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn pseudonym<'p>(subject: &'p str, subscriber: &'p str, epoch: &'p str) -> [(&'p str, &'p str); 5] {
    [
        ("master_key_hex", MASTER),
        ("type", subject),
        ("purpose", "traffic-flow"),
        ("subscriber", subscriber),
        ("epoch", epoch),
    ]
}

/// Parameters with which an operator runs.
fn sample(operator: &Operator) -> BTreeMap<String, String> {
    match operator.name {
        "pseudonym_hmac_sha256" | "pseudonym_hmac_sm3" => {
            parameters(&pseudonym("mobile", "city-brain", "2026-11"))
        }
        "hmac_sha256" | "hmac_sm3" => parameters(&[("key_hex", MASTER)]),
        "generalise_number" => parameters(&[("bands", "0,18,60")]),
        "generalise_time" => parameters(&[("unit", "day")]),
        "generalise_age" => parameters(&[("bands", "0-17,18+")]),
        "generalise_place" => parameters(&[("level", "street")]),
        "round_base" => parameters(&[("base", "5")]),
        "truncate" => parameters(&[("keep", "2")]),
        "seal" => parameters(&[("to", RECIPIENT)]),
        "dominance" => parameters(&[("p", "50%")]),
        _ => BTreeMap::new(),
    }
}

#[test]
fn every_name_of_the_catalogue_is_an_operator() {
    for operator in OPERATORS {
        let named = Named::new(operator.name, &sample(operator)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(format!("{named:?}"), "Named(What)");
        let same = OPERATORS.iter().filter(|other| other.name == operator.name).count();
        assert_eq!(same, 1, "{}", operator.name);
    }
}

#[test]
fn values() {
    for (name, given, input, expected) in [
        (
            "sm3",
            &[][..],
            json!("abc"),
            json!("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
        ),
        ("sm3", &[], json!(7), json!(null)),
        (
            "hmac_sm3",
            &[("key", "password")],
            json!("test中文"),
            json!("493e3f9a1896b43075fbe54658076727960d69632ac6b6ed932195857a6840c6"),
        ),
        (
            "pseudonym_hmac_sm3",
            &pseudonym("mobile", "city-brain", "2026-11"),
            json!("138-0013-8000"),
            json!("p1_g6zvo4vydiieofbchl632nq2ri"),
        ),
        (
            "pseudonym_hmac_sha256",
            &pseudonym("mobile", "city-brain", "2026-11"),
            json!(13_800_138_000_u64),
            json!("p1_2zf5yendmy777beoiv2uj2jg6q"),
        ),
        ("pseudonym_hmac_sha256", &pseudonym("mobile", "city-brain", "2026-11"), json!(""), json!(null)),
        ("generalise_number", &[("bands", "0, 18, 60")], json!(18.5), json!("18-60")),
        (
            "generalise_time",
            &[("unit", "hour")],
            json!("2026-11-21T16:49:37Z"),
            json!("2026-11-22T00:00:00+08:00"),
        ),
        ("generalise_time", &[("unit", "hour"), ("tz", "UTC")], json!(1_795_190_400), json!(null)),
        ("generalise_age", &[("bands", "0-17,18+")], json!("17"), json!(null)),
        ("generalise_age", &[("bands", "0-17,18+")], json!({ "age": 17 }), json!(null)),
        (
            "generalise_place",
            &[("level", "street")],
            json!("310115013007|C0012|B3|2|0401"),
            json!("310115013"),
        ),
        ("round_base", &[("base", "5")], json!(-8), json!(-10)),
        ("round_base", &[("base", "0.25")], json!(1.3), json!(1.25)),
        ("round_base", &[("base", "5")], json!("8"), json!(null)),
        ("truncate", &[("keep", "2")], json!("E07-4711"), json!("E0")),
        ("k_threshold", &[], json!(5), json!(5)),
        ("k_threshold", &[("k", "10")], json!(9), json!(null)),
        ("k_threshold", &[], json!(0), json!(null)),
        (
            "k_threshold",
            &[("zero", "public")],
            json!({ "count_distinct_subjects": 0, "events": 0 }),
            json!(0),
        ),
        ("k_threshold", &[], json!({ "events": 40 }), json!(null)),
        ("k_threshold", &[], json!(-7), json!(null)),
        ("k_threshold", &[], json!(7.5), json!(null)),
        (
            "complementary_1d",
            &[],
            json!({ "B1": 12, "B2": 3, "B3": 9, "total": 24 }),
            json!({ "B1": 12, "B2": null, "B3": null, "total": 24 }),
        ),
        ("complementary_1d", &[], json!({ "B1": 3, "total": 3 }), json!({ "B1": null, "total": null })),
        ("complementary_1d", &[], json!({ "B1": "many" }), json!(null)),
        ("complementary_1d", &[], json!([1, 2]), json!(null)),
        ("dominance", &[("p", "50%")], json!([900, 60, 40]), json!(null)),
        ("dominance", &[("p", "0.9")], json!([900, 60, 40]), json!(1000)),
        ("dominance", &[("p", "90")], json!({ "contributions": [899.5, 60, 40.5] }), json!(1000)),
        ("dominance", &[("n", "2"), ("k", "95")], json!({ "values": [900, 60, 40] }), json!(null)),
        ("dominance", &[("p", "50%")], json!({ "total": 1000, "largest": 900 }), json!(null)),
        ("dominance", &[("p", "50%")], json!({ "total": 1000, "largest": 500 }), json!(1000)),
        ("dominance", &[("p", "50%"), ("n", "2")], json!({ "total": 1000, "largest": 1 }), json!(null)),
        ("dominance", &[("p", "50%")], json!([1, "x"]), json!(null)),
        ("dominance", &[("p", "50%")], json!({ "flat-1": 900, "flat-2": 60, "total": 960 }), json!(null)),
        ("dominance", &[("dominance", "50%")], json!({ "flat-1": 30, "flat-2": 30 }), json!(60)),
        ("dominance", &[("p", "50%")], json!({ "kWh": [30, 30], "days": [1] }), json!(null)),
        ("mask_mobile", &[], json!(null), json!(null)),
        ("id18", &[], json!(null), json!(false)),
        ("detect_and_label", &[], json!(7), json!(null)),
    ] {
        let got = apply(name, &parameters(given), &input).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(got, expected, "{name} {given:?} of {input}");
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    for (name, given, parts) in [
        (
            "mask_mobil",
            &[][..],
            &["operator \"mask_mobil\" is not known: did you mean mask_mobile?", "luhn"][..],
        ),
        ("sm3", &[("key", "x")], &["sm3: unknown parameter \"key\"; it takes none"]),
        (
            "pseudonym_hmac_sha256",
            &[("master_key_hex", "0001"), ("type", "shoe"), ("purpose", "a|b"), ("epoch", ""), ("salt", "x")],
            &[
                "unknown parameter \"salt\"; it takes master_key_hex",
                "missing parameter subscriber: who it is for",
                "master_key_hex: the master key has 2 bytes",
                "type: \"shoe\" is not known; there are mobile",
                "purpose: it has a |",
                "epoch: it is empty",
            ],
        ),
        ("hmac_sm3", &[], &["key: missing: key_hex"]),
        ("hmac_sm3", &[("key_hex", "")], &["key: it is empty"]),
        ("hmac_sm3", &[("key_hex", "00"), ("key", "x")], &["key: given twice"]),
        (
            "generalise_time",
            &[("unit", "7min"), ("tz", "Mars")],
            &["tz: zone \"Mars\"", "unit: unit \"7min\""],
        ),
        ("generalise_age", &[("bands", "0-6,6-7")], &["bands: band \"6-7\" does not begin above"]),
        ("generalise_place", &[("level", "room")], &["level: \"room\" is not known; there are building"]),
        ("generalise_number", &[("bands", "0,x")], &["bands: \"x\" is no number"]),
        ("round_base", &[("base", "0")], &["base: a base that is not above zero"]),
        ("round_base", &[], &["missing parameter base: above zero"]),
        ("truncate", &[("keep", "0")], &["keep: 1 to 64 characters"]),
        ("seal", &[("to", "age1x")], &["to: no age recipient"]),
        ("k_threshold", &[("k", "0"), ("zero", "yes")], &["k: 0 hides nobody", "zero: \"yes\""]),
        ("dominance", &[], &["p: missing"]),
        ("dominance", &[("p", "50"), ("k", "50")], &["p: given with k"]),
        ("dominance", &[("p", "120%")], &["p: \"120%\" is no share"]),
        ("fail_closed_digits", &[("min_run", "0")], &["min_run: 0"]),
    ] {
        let error = Named::new(name, &parameters(given)).expect_err(name).to_string();
        for part in parts {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains("0001"), "a key is not shown");
    }
}

proptest! {
    /// Whatever the number and however it is written: no output has seven of its digits in a row.
    #[test]
    fn no_operator_tells_a_number(
        digits in prop::sample::select(vec!["13800138000", "11010519491231002X", "4111111111111111", "440524188001010014"]),
        separator in prop::sample::select(vec!["", " ", "-", "\u{200b}"]),
        wide in any::<bool>(),
        before in "[\\p{Han}，。:\"]{0,4}",
        after in "[\\p{Han}，。:\"]{0,4}",
    ) {
        let spelled: Vec<String> = digits
            .chars()
            .map(|c| match c.to_digit(10) {
                Some(digit) if wide => char::from_u32(0xff10 + digit).unwrap_or(c).to_string(),
                _ => c.to_string(),
            })
            .collect();
        let number = spelled.join(separator);
        for operator in OPERATORS.iter().filter(|operator| operator.name != "detect_and_label") {
            let named = Named::new(operator.name, &sample(operator)).expect("good parameters");
            for text in [number.clone(), format!("{before}{number}{after}")] {
                let output = named.apply(&Json::String(text)).to_string();
                let plain: String = output
                    .chars()
                    .filter(|c| !matches!(c, ' ' | '-' | '\u{200b}'))
                    .map(|c| char::from_u32(u32::from(c).wrapping_sub(0xff10 - 0x30)).filter(char::is_ascii_digit).unwrap_or(c))
                    .collect();
                for seven in digits.as_bytes().windows(7) {
                    let seven = std::str::from_utf8(seven).expect("ASCII");
                    prop_assert!(!plain.contains(seven), "{}", operator.name);
                }
            }
            let json: Json = serde_json::from_str(digits).unwrap_or(Json::Null);
            let output = named.apply(&json).to_string();
            prop_assert!(operator.name == "round_base" || operator.name == "k_threshold" || !output.contains(&digits[..7]), "{}", operator.name);
        }
    }

    /// The same value, key, purpose, subscriber and epoch give the same token; another subscriber, purpose or epoch none
    /// that can be linked.
    #[test]
    fn tokens_join_within_their_scope_alone(code in "[0-9A-Z]{1,18}", subscriber in "[a-z]{1,8}", month in 1..13_u8) {
        let epoch = format!("2026-{month:02}");
        for name in ["pseudonym_hmac_sha256", "pseudonym_hmac_sm3"] {
            let token = |subscriber: &str, epoch: &str| {
                let given = parameters(&pseudonym("code", subscriber, epoch));
                apply(name, &given, &Json::String(code.clone())).expect("good parameters")
            };
            let own = token(&subscriber, &epoch);
            prop_assert_eq!(&own, &token(&subscriber, &epoch));
            prop_assert_ne!(&own, &token(&format!("{subscriber}x"), &epoch));
            prop_assert_ne!(&own, &token(&subscriber, "2027-01"));
        }
    }

    #[test]
    fn any_value_is_taken(text in "\\PC{0,24}", number in any::<f64>()) {
        let number = Number::from_f64(number).map_or(Json::Null, Json::Number);
        for operator in OPERATORS {
            let named = Named::new(operator.name, &sample(operator)).expect("good parameters");
            for input in [Json::String(text.clone()), number.clone(), json!([text]), json!({ "total": number }), json!(true)] {
                let _ = named.apply(&input);
            }
        }
    }
}
