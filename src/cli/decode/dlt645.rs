//! What a line of DL/T 645 bytes says, editions 1997 and 2007, told apart by the control byte.
//!
//! Guarantees: any bytes give one object; values are exact; bytes that belong to no frame are counted. Passwords, operators
//! and what is written are not printed.

use std::fmt::{self, Write};

use serde::{Serialize, Serializer};

use crate::codec::dlt645::{
    Address, Edition, Fault, Frame, Identifier, ItemError, Refusal, bad_digits, examine, items, scan,
};
use crate::codec::{Item, Scan};
use crate::model::Value;

/// One line of output.
#[derive(Serialize, Default)]
pub(super) struct Line {
    valid: bool,
    #[serde(flatten)]
    frame: Option<Decoded>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Vec<Decoded>>,
    /// Bytes behind the last frame.
    #[serde(skip_serializing_if = "is_zero")]
    skipped: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    computed_cs: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    got_cs: Option<Hex>,
}

#[derive(Serialize, Default)]
struct Decoded {
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    addr: String,
    #[serde(skip_serializing_if = "is_false")]
    wildcard: bool,
    ctrl: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    di: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u8>,
    /// The rest comes in further frames.
    #[serde(skip_serializing_if = "is_false")]
    more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Named>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_after_di: Option<Hex>,
    #[serde(skip_serializing_if = "is_false")]
    length_mismatch: bool,
    #[serde(skip_serializing_if = "is_false")]
    bad_bcd: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_in_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    /// Of a frame that nothing more is known of: without the 33H; of a heartbeat, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Hex>,
    #[serde(skip_serializing_if = "is_zero")]
    leader: usize,
    #[serde(skip_serializing_if = "is_zero")]
    garbage_before: usize,
}

#[derive(Serialize)]
struct Named {
    name: std::borrow::Cow<'static, str>,
    value: Option<Shown>,
    unit: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Text(String),
    Flag(bool),
}

#[derive(Serialize)]
struct Error {
    code: Hex,
    bits: Vec<&'static str>,
}

/// Lower-case digits.
struct Hex(Vec<u8>);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// All frames of a line; without any, why there is none.
pub(super) fn line(bytes: &[u8]) -> Line {
    let (mut frames, mut rest, mut skipped) = (Vec::new(), bytes, 0);
    while !rest.is_empty() {
        let taken = match scan(rest) {
            Scan::Frame { len, frame } => {
                frames.push(Decoded { garbage_before: skipped, ..decoded(&frame) });
                skipped = 0;
                rest = &rest[len..];
                continue;
            }
            Scan::Skip(count) => count,
            // Nothing more comes.
            Scan::Need => 1,
        };
        rest = &rest[taken..];
        skipped += taken;
    }
    match frames.len() {
        0 => fault(bytes),
        1 => Line { valid: true, frame: frames.pop(), skipped, ..Line::default() },
        _ => Line { valid: true, frames: Some(frames), skipped, ..Line::default() },
    }
}

fn fault(bytes: &[u8]) -> Line {
    let Fault { reason, computed, got } =
        examine(bytes).err().unwrap_or(Fault { reason: "malformed", computed: None, got: None });
    let hex = |byte: Option<u8>| byte.map(|byte| Hex(vec![byte]));
    Line { reason: Some(reason), computed_cs: hex(computed), got_cs: hex(got), ..Line::default() }
}

/// What the function bits mean, as question and as answer (2007 §5.2.3, 1C of the grid's supplement; 1997).
fn function(number: u8) -> Option<(Edition, &'static str, &'static str)> {
    use Edition::{V1997, V2007};
    Some(match number {
        0x01 => (V1997, "read_request", "read_response"),
        0x02 => (V1997, "follow_request", "follow_response"),
        0x03 => (V1997, "reread_request", "reread_response"),
        0x04 => (V1997, "write_request", "write_response"),
        0x08 => (V2007, "time_broadcast", "time_broadcast_response"),
        0x0A => (V1997, "write_address_request", "write_address_response"),
        0x0C => (V1997, "baud_request", "baud_response"),
        0x0F => (V1997, "password_request", "password_response"),
        0x10 => (V1997, "clear_demand_request", "clear_demand_response"),
        0x11 => (V2007, "read_request", "read_response"),
        0x12 => (V2007, "follow_request", "follow_response"),
        0x13 => (V2007, "read_address_request", "read_address_response"),
        0x14 => (V2007, "write_request", "write_response"),
        0x15 => (V2007, "write_address_request", "write_address_response"),
        0x16 => (V2007, "freeze_request", "freeze_response"),
        0x17 => (V2007, "baud_request", "baud_response"),
        0x18 => (V2007, "password_request", "password_response"),
        0x19 => (V2007, "clear_demand_request", "clear_demand_response"),
        0x1A => (V2007, "clear_meter_request", "clear_meter_response"),
        0x1B => (V2007, "clear_events_request", "clear_events_response"),
        0x1C => (V2007, "relay_control", "relay_control_response"),
        _ => return None,
    })
}

fn decoded(frame: &Frame<'_>) -> Decoded {
    let line = Decoded {
        addr: frame.address.to_string(),
        wildcard: frame.address.is_wildcard(),
        ctrl: format!("{:02X}", frame.control),
        more: frame.more(),
        leader: frame.leader,
        ..Decoded::default()
    };
    let Some((edition, question, answer)) = function(frame.function()) else {
        return match frame.control {
            0x00 | 0x80 => Decoded { kind: "heartbeat", data: Some(Hex(frame.raw().to_vec())), ..line },
            _ => Decoded { kind: "unknown", data: Some(Hex(frame.data())), ..line },
        };
    };
    let kind = match (frame.is_answer(), frame.is_refusal()) {
        (false, _) => question,
        (true, false) => answer,
        (true, true) => "error_response",
    };
    let protocol = Some(if edition == Edition::V1997 { "1997" } else { "2007" });
    let line = Decoded { kind, protocol, ..line };
    let data = frame.data();
    match (kind, frame.function()) {
        ("error_response", _) => match data[..] {
            [code] => {
                let bits = Refusal::new(edition, code).bits();
                Decoded { error: Some(Error { code: Hex(vec![code]), bits }), ..line }
            }
            _ => Decoded { data: Some(Hex(data)), ..line },
        },
        ("time_broadcast", _) => Decoded { values: Some(vec![broadcast_time(&data)]), ..line },
        ("read_address_response", _) => {
            let address = <[u8; 6]>::try_from(&*data).ok().and_then(Address::from_wire);
            Decoded { address_in_data: address.map(|address| address.to_string()), ..line }
        }
        (_, 0x01 | 0x11) if frame.is_answer() => read_answer(edition, &data, line),
        // How 1997 numbers them is not known.
        (_, 0x12) => follow(frame, edition, &data, line),
        (_, 0x01 | 0x02 | 0x03 | 0x04 | 0x11 | 0x14) => {
            let di = Identifier::split(edition, &data).map(|(identifier, _)| identifier.to_string());
            Decoded { di, ..line }
        }
        _ => line,
    }
}

fn read_answer(edition: Edition, data: &[u8], line: Decoded) -> Decoded {
    let Some((identifier, data)) = Identifier::split(edition, data) else {
        return Decoded { length_mismatch: true, ..line };
    };
    let line = Decoded { di: Some(identifier.to_string()), ..line };
    let data_after_di = Some(Hex(data.to_vec()));
    if line.more {
        return Decoded { data_after_di, ..line };
    }
    match items(identifier, data) {
        Ok(items) => {
            // Only then can there be digits that are none.
            let missing = items.iter().any(|item| item.value.is_none());
            let bad_bcd = missing && bad_digits(identifier, data);
            Decoded { values: Some(items.into_iter().map(named).collect()), bad_bcd, ..line }
        }
        Err(ItemError::Unknown(_)) => Decoded { data_after_di, ..line },
        Err(ItemError::Length { .. }) => Decoded { data_after_di, length_mismatch: true, ..line },
    }
}

/// One part of a long answer alone has no values.
fn follow(frame: &Frame<'_>, edition: Edition, data: &[u8], line: Decoded) -> Decoded {
    let Some((identifier, data)) = Identifier::split(edition, data) else { return line };
    let (seq, data) = data.split_last().map_or((None, data), |(seq, data)| (Some(*seq), data));
    let data_after_di = frame.is_answer().then(|| Hex(data.to_vec()));
    Decoded { di: Some(identifier.to_string()), seq, data_after_di, ..line }
}

fn named(item: Item) -> Named {
    let value = item.value.map(|value| match value {
        Value::Number(number) => Shown::Text(number.to_string()),
        Value::Flag(flag) => Shown::Flag(flag),
        Value::Text(text) => Shown::Text(text.into()),
    });
    Named { name: item.name, value, unit: item.unit }
}

/// As it stands there: whether a meter would take it for a time is its affair.
fn broadcast_time(data: &[u8]) -> Named {
    let value = (data.len() == 6).then(|| {
        let mut text = String::from("20");
        for (byte, behind) in data.iter().rev().zip(["-", "-", "T", ":", ":", ""]) {
            // Writing to a string does not end early.
            let _ = write!(text, "{byte:02x}{behind}");
        }
        Shown::Text(text)
    });
    Named { name: "time".into(), value, unit: "" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::super::parse_hex;
    use super::*;

    fn line(hex: &str) -> Json {
        let mut bytes = Vec::new();
        assert!(parse_hex(hex.as_bytes(), &mut bytes), "{hex}");
        serde_json::to_value(super::line(&bytes)).expect("a line is JSON")
    }

    #[test]
    fn every_sample_says_what_is_expected() {
        let samples = include_str!("../../../tests/data/dlt645.jsonl");
        for sample in samples.lines() {
            let sample: Json = serde_json::from_str(sample).expect("the samples are JSON");
            let got = line(sample["hex"].as_str().expect("hex"));
            for (key, expected) in sample["expect"].as_object().expect("an object") {
                assert_eq!(got.get(key), Some(expected), "{key}: {got}");
            }
            for flag in ["bad_bcd", "length_mismatch", "values", "error", "more", "skipped", "garbage_before"]
            {
                assert_eq!(got.get(flag).is_some(), sample["expect"].get(flag).is_some(), "{flag}: {got}");
            }
        }
        assert!(samples.lines().count() >= 24, "the samples are there");
    }

    /// Made by hand; `plain` without the 33H.
    fn wire(control: u8, plain: &str) -> Vec<u8> {
        let mut data = Vec::new();
        assert!(parse_hex(plain.as_bytes(), &mut data), "{plain}");
        let mut frame = vec![0x68, 0x12, 0x00, 0x00, 0x00, 0x10, 0x20, 0x68, control, data.len() as u8];
        frame.extend(data.iter().map(|byte| byte.wrapping_add(0x33)));
        frame.push(frame.iter().fold(0, |sum, byte| sum.wrapping_add(*byte)));
        frame.push(0x16);
        frame
    }

    #[test]
    fn what_the_samples_do_not_have() {
        let flag = |name: &str, value: bool| json!({"name": name, "value": value, "unit": ""});
        for (control, plain, protocol, kind, more) in [
            (0x12, "00000100 01", "2007", "follow_request", json!({"di": "00010000", "seq": 1})),
            (
                0xB2,
                "00000100 101112 01",
                "2007",
                "follow_response",
                json!({"di": "00010000", "seq": 1, "more": true, "data_after_di": "101112"}),
            ),
            (
                0xB1,
                "00000100 10111213",
                "2007",
                "read_response",
                json!({"di": "00010000", "more": true, "data_after_di": "10111213"}),
            ),
            (0x91, "00", "2007", "read_response", json!({"length_mismatch": true})),
            (0x91, "00000006 22", "2007", "read_response", json!({"di": "06000000", "data_after_di": "22"})),
            (
                0x91,
                "03050004 1000",
                "2007",
                "read_response",
                json!({"di": "04000503", "values": [
                    flag("status_3.second_period_set", false),
                    flag("status_3.auxiliary_supply", false),
                    flag("status_3.battery_supply", false),
                    flag("status_3.programming_allowed", false),
                    flag("status_3.relay_open", true),
                ]}),
            ),
            (0xD1, "0200", "2007", "error_response", json!({"data": "0200"})),
            (
                0x08,
                "050403020126",
                "2007",
                "time_broadcast",
                json!({"values": [{"name": "time", "value": "2026-01-02T03:04:05", "unit": ""}]}),
            ),
            // What others write: the item, never the password.
            (0x14, "01030004 02112233 00000000 08", "2007", "write_request", json!({"di": "04000301"})),
            (0x94, "", "2007", "write_response", json!({})),
            (0x1C, "02112233 00000000 1a00", "2007", "relay_control", json!({})),
            (0x9C, "", "2007", "relay_control_response", json!({})),
            (0x18, "000c0004 02112233 02445566", "2007", "password_request", json!({})),
            (0x13, "", "2007", "read_address_request", json!({})),
            (0x01, "1090", "1997", "read_request", json!({"di": "9010"})),
            (
                0xA1,
                "1f90 1011",
                "1997",
                "read_response",
                json!({"di": "901f", "more": true, "data_after_di": "1011"}),
            ),
            (0x04, "10c0 112233 44", "1997", "write_request", json!({"di": "c010"})),
            (0x0F, "112233", "1997", "password_request", json!({})),
            (0x80, "cdce", "", "heartbeat", json!({"data": "0001"})),
            (0x9F, "01", "", "unknown", json!({"data": "01"})),
        ] {
            let mut expected = json!({"valid": true, "addr": "201000000012", "kind": kind});
            expected["ctrl"] = json!(format!("{control:02X}"));
            if !protocol.is_empty() {
                expected["protocol"] = json!(protocol);
            }
            for (key, value) in more.as_object().expect("an object") {
                expected[key] = value.clone();
            }
            let got = serde_json::to_value(super::line(&wire(control, plain))).expect("a line is JSON");
            assert_eq!(got, expected, "{control:02x} {plain}");
        }
        assert_eq!(line("fefefefe68aaaaaaaaaaaa681300df16")["wildcard"], json!(true));
    }

    #[test]
    fn what_a_bus_carried_is_told_apart_and_garbage_counted() {
        let (question, answer) = (wire(0x11, "00000100"), wire(0x91, "00000100 26000000"));
        let both = [&[0xFF, 0x68, 0x00], &question[..], &[0xFE, 0xFE], &answer, &[0x68, 0x12]].concat();
        let got = serde_json::to_value(super::line(&both)).expect("a line is JSON");
        assert_eq!((&got["valid"], &got["skipped"]), (&json!(true), &json!(2)));
        let frames = got["frames"].as_array().expect("frames");
        assert_eq!(frames.len(), 2);
        assert_eq!((&frames[0]["kind"], &frames[0]["garbage_before"]), (&json!("read_request"), &json!(3)));
        assert_eq!((&frames[1]["kind"], &frames[1]["leader"]), (&json!("read_response"), &json!(2)));
        assert_eq!(frames[1]["values"][0]["value"], json!("0.26"));
        let one = serde_json::to_value(super::line(&[&[0xFF], &answer[..], &[0x00]].concat()))
            .expect("a line is JSON");
        assert_eq!(
            (&one["kind"], &one["garbage_before"], &one["skipped"]),
            (&json!("read_response"), &json!(1), &json!(1))
        );
    }

    #[test]
    fn a_line_without_a_frame_says_why() {
        let mut wrong = wire(0x91, "00000100 26000000");
        let at = wrong.len() - 2;
        let computed = wrong[at];
        wrong[at] = computed.wrapping_add(1);
        let got = serde_json::to_value(super::line(&wrong)).expect("a line is JSON");
        let hex = |byte: u8| format!("{byte:02x}");
        assert_eq!(
            got,
            json!({"valid": false, "reason": "checksum", "computed_cs": hex(computed), "got_cs": hex(wrong[at])})
        );
        assert_eq!(line("68120000001020689108"), json!({"valid": false, "reason": "truncated"}));
        assert_eq!(line("00ff00"), json!({"valid": false, "reason": "malformed"}));
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_object(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            control: u8,
            plain in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            prop_assert!(serde_json::to_value(super::line(&bytes)).is_ok());
            let frame = serde_json::to_value(super::line(&wire(control, &Hex(plain).to_string())));
            // A question cannot refuse, nor say that more follows.
            prop_assert_eq!(frame.expect("a line is JSON")["valid"] == json!(true), !(0x20..0x80).contains(&control));
        }
    }
}
