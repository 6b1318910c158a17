//! The sample file through the operators by name, in the library and through the binary.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use smallbrain::privacy::named;

/// One line of the samples.
struct Sample {
    id: String,
    operator: String,
    parameters: BTreeMap<String, String>,
    input: Json,
    expected: Json,
}

fn samples() -> Vec<Sample> {
    let text = include_str!("data/desensitize.jsonl");
    let sample = |line: &str| {
        let json: Json = serde_json::from_str(line).expect("a sample is JSON");
        let text = |key: &str| json[key].as_str().expect("a text").to_owned();
        let parameters = json["params"].as_object().into_iter().flatten();
        // On the command line a number is a text too.
        let written = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Sample {
            id: text("id"),
            operator: text("operator"),
            parameters: parameters.map(|(name, value)| (name.clone(), written(value))).collect(),
            input: json["input"].clone(),
            expected: json["expected"].clone(),
        }
    };
    text.lines().map(sample).collect()
}

/// Runs `smallbrain desensitize` over one line: exit code, what it wrote, what it complained of.
fn desensitize(
    operator: &str,
    parameters: &BTreeMap<String, String>,
    line: &str,
) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smallbrain"));
    command
        .args(["desensitize", operator])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in parameters {
        command.args(["--param", &format!("{name}={value}")]);
    }
    let mut child = command.spawn().expect("the binary");
    // It may have ended already, over its parameters.
    let _ = child.stdin.take().expect("a pipe").write_all(line.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_sample() {
    let mut wrong = Vec::new();
    let samples = samples();
    for Sample { id, operator, parameters, input, expected } in &samples {
        match named::apply(operator, parameters, input) {
            Ok(got) if got == *expected => {}
            Ok(got) => wrong.push(format!("{id} {operator} of {input}: {got} instead of {expected}")),
            Err(error) => wrong.push(format!("{id}: {error}")),
        }
    }
    assert!(samples.len() > 40 && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One of each operator: the way through the arguments and the pipes is the same for all.
#[test]
fn samples_through_the_binary() {
    let mut seen = Vec::new();
    for Sample { id, operator, parameters, input, expected } in samples() {
        if seen.contains(&operator) {
            continue;
        }
        let (code, output, complaints) = desensitize(&operator, &parameters, &format!("{input}\n"));
        assert_eq!((code, complaints.as_str()), (Some(0), ""), "{id}");
        let got: Json = serde_json::from_str(&output).expect("one JSON value");
        assert_eq!(got, expected, "{id}");
        seen.push(operator);
    }
    assert!(seen.len() > 8, "{seen:?}");
}

#[test]
fn what_is_wrong_is_told_and_nothing_else() {
    let none = BTreeMap::new();
    let (code, output, complaints) = desensitize("mask_mobile", &none, "13800138000 Zhang San\n\"x\"\n");
    assert_eq!((code, output.lines().count()), (Some(1), 2), "{complaints}");
    assert!(complaints.contains("line 1") && !complaints.contains("Zhang") && !complaints.contains("1380"));
    let (code, output, complaints) = desensitize("pseudonym_hmac_sm3", &none, "\"x\"\n");
    assert_eq!((code, output.as_str()), (Some(2), ""));
    for name in ["master_key_hex", "type", "purpose", "subscriber", "epoch"] {
        assert!(complaints.contains(&format!("missing parameter {name}")), "{complaints}");
    }
}
