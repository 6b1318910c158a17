//! `smallbrain decode cjt188`: what the bytes of one line say.
//!
//! The control byte tells questions from answers. Units are taken to be behind their values, as the standard has it; an
//! answer that looks otherwise is marked `looks_unit_first`.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::codec::Scan;
use crate::codec::cjt188::{
    self, Fault, Frame, Identifier, IdentifierOrder, ItemError, Reading, Status, UnitPlace, Valve,
    ValveCommand, function,
};
use crate::model::Value;

#[derive(Serialize, Default)]
pub(super) struct Line<'a> {
    valid: bool,
    #[serde(flatten)]
    frame: Option<Decoded<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Vec<Decoded<'a>>>,
    /// Bytes behind the last frame.
    #[serde(skip_serializing_if = "is_zero")]
    skipped: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    computed_cs: Option<Hex<[u8; 1]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    got_cs: Option<Hex<[u8; 1]>>,
}

#[derive(Serialize, Default)]
struct Decoded<'a> {
    #[serde(rename = "type")]
    kind_byte: Hex<[u8; 1]>,
    addr: String,
    ctrl: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    di: Option<Hex<[u8; 2]>>,
    /// As it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    di_order: Option<Hex<[u8; 2]>>,
    ser: Hex<[u8; 1]>,
    #[serde(skip_serializing_if = "is_false")]
    wildcard: bool,
    #[serde(skip_serializing_if = "is_zero")]
    leader: usize,
    #[serde(skip_serializing_if = "is_zero")]
    garbage_before: usize,
    /// The meter has more than it sent.
    #[serde(skip_serializing_if = "is_false")]
    more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Named<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_hex: Option<Hex<[u8; 2]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valve: Option<Option<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    battery_low: Option<Option<bool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_time: Option<Option<String>>,
    /// Where it makes no time and is not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_device_time: Option<Hex<&'a [u8]>>,
    #[serde(skip_serializing_if = "is_false")]
    looks_unit_first: bool,
    #[serde(skip_serializing_if = "is_false")]
    bad_bcd: bool,
    #[serde(skip_serializing_if = "is_false")]
    length_mismatch: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    valve_command: Option<&'static str>,
    /// What is not told otherwise, after identifier and serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_after_di: Option<Hex<&'a [u8]>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: String,
    /// Exact; null where the meter has none.
    value: Option<String>,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_code: Option<Hex<[u8; 1]>>,
    /// The digits as they came, lowest first, where they make no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<Hex<&'a [u8]>>,
}

#[derive(Default)]
struct Hex<B>(B);

impl<B: AsRef<[u8]>> fmt::Display for Hex<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<B: AsRef<[u8]>> Serialize for Hex<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// All frames of a line, and what lies between them.
pub(super) fn line(bytes: &[u8]) -> Line<'_> {
    let (mut frames, mut at, mut garbage) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let skipped = match cjt188::scan(&bytes[at..]) {
            Scan::Frame { len, frame } => {
                frames.push(Decoded { garbage_before: garbage, ..decoded(&frame) });
                garbage = 0;
                at += len;
                continue;
            }
            // The line ends: what begins here is no frame, but one may begin within.
            Scan::Need => 1,
            Scan::Skip(count) => count,
        };
        at += skipped;
        garbage += skipped;
    }
    match frames.len() {
        0 => diagnosis(bytes),
        1 => Line { valid: true, frame: frames.pop(), skipped: garbage, ..Line::default() },
        _ => Line { valid: true, frames: Some(frames), skipped: garbage, ..Line::default() },
    }
}

/// Why there is no frame at all.
fn diagnosis(bytes: &[u8]) -> Line<'_> {
    let fault = cjt188::examine(bytes).err().unwrap_or(Fault::Start);
    let (computed_cs, got_cs) = match fault {
        Fault::Checksum { computed, got } => (Some(Hex([computed])), Some(Hex([got]))),
        _ => (None, None),
    };
    Line { reason: Some(fault.reason()), computed_cs, got_cs, ..Line::default() }
}

fn decoded<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    let mut line = Decoded {
        kind_byte: Hex([frame.kind]),
        addr: frame.address.to_string(),
        ctrl: format!("{:02X}", frame.control),
        kind: kind(frame),
        wildcard: frame.address.is_wildcard(),
        leader: frame.leader,
        more: frame.has_more(),
        ..Decoded::default()
    };
    if let (true, &[ser, st0, st1]) = (frame.is_error(), frame.data) {
        line.ser = Hex([ser]);
        line.status(Status([st0, st1]));
    } else if let Some((&[first, second, ser], data)) = frame.data.split_first_chunk() {
        let (identifier, order) = Identifier::from_wire([first, second]);
        line.di = Some(Hex(identifier.wire(IdentifierOrder::HighFirst)));
        line.di_order = Some(Hex(identifier.wire(order)));
        line.ser = Hex([ser]);
        line.content(frame, identifier, data);
    }
    line
}

fn kind(frame: &Frame<'_>) -> &'static str {
    match (frame.function(), frame.is_answer()) {
        _ if frame.is_error() => "error_response",
        (function::READ, false) => "read_request",
        (function::READ, true) => "read_response",
        (function::READ_ADDRESS, false) => "read_address_request",
        (function::READ_ADDRESS, true) => "read_address_response",
        (function::READ_KEY_VERSION, false) => "read_key_version_request",
        (function::READ_KEY_VERSION, true) => "read_key_version_response",
        (function::WRITE_ADDRESS, false) => "write_address_request",
        (function::WRITE_ADDRESS, true) => "write_address_response",
        (function::SYNCHRONISE, false) => "synchronise_request",
        (function::SYNCHRONISE, true) => "synchronise_response",
        (_, false) => "write_request",
        (_, true) => "write_response",
    }
}

impl<'a> Decoded<'a> {
    fn content(&mut self, frame: &Frame<'a>, identifier: Identifier, data: &'a [u8]) {
        let is_value = frame.function() == function::READ && frame.is_answer() && !frame.has_more();
        if is_value {
            match cjt188::items(frame.kind, identifier, data, UnitPlace::Behind) {
                Ok(reading) => {
                    self.looks_unit_first = cjt188::looks_unit_first(data);
                    return self.reading(reading);
                }
                Err(error) => self.length_mismatch = matches!(error, ItemError::Length { .. }),
            }
        } else if frame.control == function::WRITE && identifier == Identifier::VALVE {
            self.valve_command = ValveCommand::opens(data).map(|open| if open { "open" } else { "close" });
        }
        self.data_after_di = (!data.is_empty() && self.valve_command.is_none()).then_some(Hex(data));
    }

    fn reading(&mut self, reading: Reading<'a>) {
        let values = reading.items.into_iter().zip(reading.sent).map(|(item, sent)| {
            let value = match item.value {
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            let empty = sent.digits.iter().all(|byte| *byte == 0xFF);
            let known_unit = sent.unit_code.is_none() || !item.unit.is_empty();
            self.bad_bcd |= value.is_none() && !empty && known_unit;
            Named {
                name: item.name.into_owned(),
                raw: (value.is_none() && !empty).then_some(Hex(sent.digits)),
                value,
                unit: item.unit,
                unit_code: sent.unit_code.map(|code| Hex([code])),
            }
        });
        self.values = Some(values.collect());
        if let Some(status) = reading.status {
            self.status(status);
        }
        if let Some(bytes) = reading.clock_bytes {
            let empty = [[0; 7], [0xFF; 7]].contains(bytes);
            self.device_time = Some(reading.clock.map(|clock| clock.to_string()));
            self.raw_device_time = (reading.clock.is_none() && !empty).then_some(Hex(bytes));
        }
    }

    fn status(&mut self, status: Status) {
        self.status_hex = Some(Hex(status.0));
        self.battery_low = Some(status.battery_low());
        self.valve = Some(status.valve().map(|valve| match valve {
            Valve::Open => "open",
            Valve::Closed => "closed",
            Valve::Abnormal => "abnormal",
        }));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::{Options, run_with};

    fn line(hex: &str) -> Json {
        let mut output = Vec::new();
        run_with("cjt188", &Options::default(), &[hex.to_owned()], &b""[..], &mut output)
            .expect("memory does not break");
        serde_json::from_slice(&output).expect("one object")
    }

    /// Independent of the codec; without leader.
    fn framed(head: &str, data: &str) -> String {
        let content = format!("68{head}{:02x}{data}", data.len() / 2);
        let byte = |at: usize| u8::from_str_radix(&content[at..at + 2], 16).expect("hex");
        let sum = (0..content.len()).step_by(2).fold(0_u8, |sum, at| sum.wrapping_add(byte(at)));
        format!("{content}{sum:02x}16")
    }

    fn holds(got: &Json, expected: &Json) -> bool {
        match (got, expected) {
            (Json::Object(got), Json::Object(expected)) => {
                expected.iter().all(|(key, value)| got.get(key).is_some_and(|got| holds(got, value)))
            }
            (Json::Array(got), Json::Array(expected)) => {
                got.len() == expected.len()
                    && got.iter().zip(expected).all(|(got, expected)| holds(got, expected))
            }
            _ => got == expected,
        }
    }

    #[test]
    fn every_sample_says_what_is_expected() {
        let samples = include_str!("../../../tests/data/cjt188.jsonl");
        for sample in samples.lines() {
            let sample: Json = serde_json::from_str(sample).expect("the samples are JSON");
            let got = line(sample["hex"].as_str().expect("hex"));
            assert!(holds(&got, &sample["expect"]), "{got}\n{}", sample["expect"]);
        }
        assert_eq!(samples.lines().count(), 13);
    }

    #[test]
    fn a_heat_meter_has_all_its_quantities() {
        let data = "901f07 0000100005 7856341205 0012000017 1234000035 990000002c 554300 0201f0 563412
            59592330062420 0400"
            .split_whitespace()
            .collect::<String>();
        let got = line(&framed("200100000000001181", &data));
        let value = |name: &str, value: &str, unit: &str, code: &str| json!({"name": name, "value": value, "unit": unit, "unit_code": code});
        assert_eq!(
            got,
            json!({
                "valid": true, "type": "20", "addr": "11000000000001", "ctrl": "81", "kind": "read_response",
                "di": "901f", "di_order": "901f", "ser": "07",
                "values": [
                    value("settlement_heat", "1000.00", "kWh", "05"),
                    value("current_heat", "123456.78", "kWh", "05"),
                    value("power", "12.00", "kW", "17"),
                    value("flow", "0.3412", "m3/h", "35"),
                    value("volume", "0.99", "m3", "2c"),
                    {"name": "supply_temperature", "value": "43.55", "unit": "Cel"},
                    {"name": "return_temperature", "value": null, "unit": "Cel", "raw": "0201f0"},
                    {"name": "work_hours", "value": "123456", "unit": "h"},
                ],
                "bad_bcd": true,
                "status_hex": "0400", "valve": "open", "battery_low": true,
                "device_time": "2024-06-30T23:59:59",
            })
        );
    }

    #[test]
    fn what_makes_no_value_is_shown_as_it_came() {
        let water = |data: &str| line(&framed("100100000000000081", data));
        let unknown_unit = water("901f00010203047fffffffff2cffffffffffffffffff");
        assert!(
            holds(
                &unknown_unit,
                &json!({
                    "values": [
                        {"name": "current_volume", "value": null, "unit": "", "unit_code": "7f", "raw": "01020304"},
                        {"name": "settlement_volume", "value": null, "unit": "m3", "unit_code": "2c"},
                    ],
                    "status_hex": "ffff", "valve": null, "battery_low": null, "device_time": null,
                })
            ),
            "{unknown_unit}"
        );
        assert!(unknown_unit["bad_bcd"].is_null() && unknown_unit["raw_device_time"].is_null());
        let front = water("901f002c000001002c00000000000000000000000000");
        assert_eq!(front["looks_unit_first"], true, "{front}");
        for (data, expected) in [
            ("901f000102", json!({"length_mismatch": true, "data_after_di": "0102"})),
            ("8102000102", json!({"di": "8102", "data_after_di": "0102"})),
            ("20d10000010000 2c", json!({"di": "d120", "di_order": "20d1", "values": [{"value": "1.00"}]})),
        ] {
            let got = water(&data.replace(' ', ""));
            assert!(got["valid"] == true && holds(&got, &expected), "{got}");
        }
    }

    #[test]
    fn the_kind_follows_from_the_control_byte() {
        for (ctrl, data, expected) in [
            ("03", "810a01", json!({"kind": "read_address_request", "ctrl": "03"})),
            ("09", "810601", json!({"kind": "read_key_version_request"})),
            (
                "C1",
                "010500",
                json!({"kind": "error_response", "ctrl": "C1", "ser": "01", "status_hex": "0500",
                "valve": "closed", "battery_low": true}),
            ),
            ("A1", "901f0101", json!({"kind": "read_response", "more": true, "data_after_di": "01"})),
            ("04", "a0170155", json!({"kind": "write_request", "valve_command": "open"})),
            ("04", "17a00199", json!({"kind": "write_request", "di": "a017", "valve_command": "close"})),
            ("04", "a0170101", json!({"kind": "write_request", "data_after_di": "01"})),
            ("04", "a0100155", json!({"kind": "write_request", "di": "a010", "data_after_di": "55"})),
            ("84", "a017010000", json!({"kind": "write_response", "data_after_di": "0000"})),
            ("C4", "010000", json!({"kind": "error_response"})),
            ("15", "a0180101000000000000", json!({"kind": "write_address_request"})),
            ("96", "a01601", json!({"kind": "synchronise_response"})),
        ] {
            let got = line(&framed(&format!("1001000000000000{ctrl}"), data));
            assert!(got["valid"] == true && holds(&got, &expected), "{ctrl} {got}");
            assert!(got["valve_command"].is_null() == expected["valve_command"].is_null(), "{got}");
        }
    }

    #[test]
    fn what_a_line_carried_is_told_apart() {
        let (ask, answer) = ("6810120000000000000103901f003d16", "68100029152403262083030a81023616");
        assert_eq!(line(&format!("{ask}0000fe")), {
            let mut alone = line(ask);
            alone["skipped"] = json!(3);
            alone
        });
        let got = line(&format!("00{ask}ff68fefe{answer}fe"));
        let expected = json!({"valid": true, "skipped": 1, "frames": [
            {"kind": "read_request", "garbage_before": 1},
            {"kind": "read_address_response", "garbage_before": 2, "leader": 2},
        ]});
        assert!(holds(&got, &expected), "{got}");
        for (hex, reason) in [
            (&ask[..30], "truncated"),
            ("00ff", "no_start"),
            ("fefe", "no_start"),
            ("6850", "malformed"),
            ("zz", "hex"),
        ] {
            assert_eq!(line(hex), json!({"valid": false, "reason": reason}));
        }
    }
}
