//! M-Bus: what a frame and its telegram say.
//!
//! Guarantees: records have the keys, names, units and the six decimal places of libmbus' normalised output; the items that
//! a configuration can name stand in `values`, with exact decimals. An acknowledgement, one byte, is one only at the
//! beginning of the line or directly behind a frame.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::Serialize;

use super::Hex;
use crate::codec::mbus::{self, Fault, Fixed, Frame, Function, Header, Record, Refusal, Telegram};
use crate::model::Value;

/// The object of one line.
#[derive(Serialize, Default)]
pub(super) struct Line<'a> {
    valid: bool,
    link_frame_valid: bool,
    #[serde(flatten)]
    frame: Option<Decoded<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Vec<Decoded<'a>>>,
    #[serde(skip_serializing_if = "is_zero")]
    garbage_before: usize,
    /// Other bytes that belong to no frame.
    #[serde(skip_serializing_if = "is_zero")]
    skipped: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    computed_cs: Option<Hex<[u8; 1]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    got_cs: Option<Hex<[u8; 1]>>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Serialize, Default)]
struct Decoded<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<Upper<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ci: Option<Upper<u8>>,
    /// Whom a selection selects, F for any digit.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slave: Option<Slave>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Normalised>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Named>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    error_frame: bool,
    /// What the slave refuses, or why the telegram behind the link frame is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// What the master sends, where it is no question.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Hex<&'a [u8]>>,
    /// Offset in the line, where the line holds more than the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Slave {
    id: String,
    #[serde(flatten)]
    maker: Option<Maker>,
    medium: String,
    access_number: String,
    status: Upper<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Maker {
    manufacturer: String,
    version: String,
    product_name: &'static str,
    signature: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Normalised {
    function: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tariff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<String>,
    value: String,
}

#[derive(Serialize)]
struct Named {
    name: String,
    /// Exact; null for no value.
    value: Option<String>,
    unit: &'static str,
}

/// Two hex digits in upper case.
struct Upper<T>(T);

impl<T: fmt::UpperHex> Serialize for Upper<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02X}", self.0))
    }
}

/// The object of one line of bytes. The control bytes say the direction.
pub(super) fn line(bytes: &[u8]) -> Line<'_> {
    let (mut frames, mut fault) = (Vec::new(), None);
    let (mut at, mut skipped, mut garbage_before, mut behind_frame) = (0, 0, 0, true);
    while at < bytes.len() {
        match mbus::examine(&bytes[at..]) {
            Ok((len, frame)) if behind_frame || frame != Frame::Ack => {
                if frames.is_empty() {
                    garbage_before = at;
                }
                frames.push((at, frame));
                at += len;
                behind_frame = true;
            }
            other => {
                if let Some(new) = other.err().filter(|new| fault.is_none_or(|old| rank(old) < rank(*new))) {
                    fault = Some(new);
                }
                at += 1;
                skipped += 1;
                behind_frame = false;
            }
        }
    }
    if frames.is_empty() {
        return invalid(fault);
    }
    let (mut decoded, well): (Vec<_>, Vec<_>) = frames.iter().map(|(_, frame)| decoded(*frame)).unzip();
    let line = Line {
        valid: !well.contains(&false),
        link_frame_valid: true,
        garbage_before,
        skipped: skipped - garbage_before,
        ..Line::default()
    };
    if decoded.len() == 1 {
        return Line { frame: decoded.pop(), ..line };
    }
    for (decoded, (at, _)) in decoded.iter_mut().zip(&frames) {
        decoded.at = Some(*at);
    }
    Line { frames: Some(decoded), ..line }
}

/// What comes nearest to a frame says most about a line without any.
fn rank(fault: Fault) -> u8 {
    match fault {
        Fault::Checksum { .. } => 2,
        Fault::Truncated => 1,
        Fault::Malformed => 0,
    }
}

fn invalid(fault: Option<Fault>) -> Line<'static> {
    let (computed_cs, got_cs) = match fault {
        Some(Fault::Checksum { computed, got }) => (Some(Hex([computed])), Some(Hex([got]))),
        _ => (None, None),
    };
    let reason = Some(fault.unwrap_or(Fault::Malformed).reason());
    Line { reason, computed_cs, got_cs, ..Line::default() }
}

/// A frame, and whether its application data are well.
fn decoded(frame: Frame<'_>) -> (Decoded<'_>, bool) {
    match frame {
        Frame::Ack => (Decoded { kind: "ack", ..Decoded::default() }, true),
        Frame::Short { control, address } => {
            let kind = match control & 0x0F {
                0x00 => "reset_request",
                0x09 => "status_request",
                0x0A => "alarm_request",
                _ => "read_request",
            };
            (Decoded { kind, c: Some(Upper(control)), address: Some(address), ..Decoded::default() }, true)
        }
        Frame::Long { control, address, data } => {
            let (c, ci) = (Some(Upper(control)), data.first().copied().map(Upper));
            let head = Decoded { c, address: Some(address), ci, ..Decoded::default() };
            if control & 0x40 != 0 { (sent(head, data), true) } else { answered(head, data) }
        }
    }
}

fn sent<'a>(head: Decoded<'a>, data: &'a [u8]) -> Decoded<'a> {
    match *data {
        [0x52, a, b, c, d, ..] => {
            let id = format!("{:08X}", u32::from_le_bytes([a, b, c, d]));
            Decoded { kind: "select_request", id: Some(id), ..head }
        }
        _ => Decoded { kind: "write_request", data: Some(Hex(data)), ..head },
    }
}

fn answered<'a>(head: Decoded<'a>, data: &[u8]) -> (Decoded<'a>, bool) {
    if let [0x70, code @ ..] = data {
        let refusal = Refusal { code: code.first().copied().unwrap_or(0) };
        let reason = Some(refusal.text());
        return (Decoded { kind: "error_response", error_frame: true, reason, ..head }, true);
    }
    let head = Decoded { kind: "read_response", ..head };
    match mbus::records(data) {
        Ok(telegram) => {
            let records = match Fixed::read(data) {
                Ok(fixed) => counters(&fixed),
                Err(_) => telegram.records.iter().map(normalised).collect(),
            };
            let values = Some(named(&telegram));
            let slave = telegram.header.map(slave);
            (Decoded { slave, records: Some(records), values, ..head }, true)
        }
        Err(error) => (Decoded { error_frame: true, reason: Some(error.reason()), ..head }, false),
    }
}

fn slave(header: Header) -> Slave {
    let product_name = product_name(&header);
    Slave {
        id: format!("{:X}", header.id),
        maker: header.maker.map(|maker| Maker {
            manufacturer: maker.letters,
            version: maker.version.to_string(),
            product_name,
            signature: format!("{:04X}", maker.signature),
        }),
        medium: header.medium.into_owned(),
        access_number: header.access_no.to_string(),
        status: Upper(header.status),
    }
}

/// Products by manufacturer, version and, where both are used for several, medium.
const PRODUCTS: &[(&str, u8, Option<&str>, &str)] = &[
    ("ACW", 10, None, "Itron CF 51"),
    ("ACW", 14, None, "Itron BM +m"),
    ("ACW", 20, None, "Itron CYBLE M-Bus 1.4"),
    ("EFE", 0, Some("Heat: Outlet"), "Engelmann / Elster SensoStar 2"),
    ("EFE", 0, Some("Warm water (30-90°C)"), "Engelmann WaterStar"),
    ("EFE", 1, None, "Engelmann SensoStar 2C"),
    ("ELS", 2, None, "Elster TMP-A"),
    ("ELV", 22, None, "Elvaco CMa10"),
    ("GMC", 230, None, "GMC-I A230 EMMOD 206"),
    ("NZR", 1, None, "NZR DHZ 5/63"),
    ("SPX", 52, None, "Sensus PolluTherm"),
];

fn product_name(header: &Header) -> &'static str {
    let Some(maker) = &header.maker else { return "" };
    let product = PRODUCTS.iter().find(|(letters, version, medium, _)| {
        *letters == maker.letters
            && *version == maker.version
            && medium.is_none_or(|medium| medium == header.medium)
    });
    product.map_or("", |(.., name)| name)
}

fn normalised(record: &Record) -> Normalised {
    let value = match &record.value {
        Some(Value::Number(number)) => places(*number),
        // libmbus says UTC where the meter says nothing.
        Some(Value::Text(text)) if record.moment && text.contains('T') => format!("{text}Z"),
        Some(Value::Text(text)) => text.to_string(),
        Some(Value::Flag(_)) | None => String::new(),
    };
    Normalised {
        function: match record.function {
            Function::Instantaneous => "Instantaneous value",
            Function::Maximum => "Maximum value",
            Function::Minimum => "Minimum value",
            Function::Error => "Value during error state",
            Function::Manufacturer => "Manufacturer specific",
            Function::More => "More records follow",
        },
        storage_number: Some(record.storage.to_string()),
        tariff: record.tariff.map(|tariff| tariff.to_string()),
        device: record.device.map(|device| device.to_string()),
        unit: record.unit.into(),
        quantity: Some(record.quantity.to_string()),
        value,
    }
}

fn places(number: Decimal) -> String {
    format!("{:.6}", number.round_dp_with_strategy(6, RoundingStrategy::MidpointAwayFromZero))
}

fn counters(fixed: &Fixed) -> Vec<Normalised> {
    let function = if fixed.stored { "Stored value" } else { "Actual value" };
    let counter = |(unit, number): (String, Option<i128>)| Normalised {
        function,
        storage_number: None,
        tariff: None,
        device: None,
        unit,
        quantity: None,
        value: number.map(|number| number.to_string()).unwrap_or_default(),
    };
    fixed.counters().map(counter).collect()
}

fn named(telegram: &Telegram) -> Vec<Named> {
    let named = |item: crate::codec::Item| {
        let value = item.value.map(|value| match value {
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Text(text) => text.into(),
        });
        Named { name: item.name.into_owned(), value, unit: item.unit }
    };
    mbus::items(&telegram.records).into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::{Options, tests::lines as decoded};

    fn line(hex: &str) -> Json {
        decoded("mbus", &Options::default(), &[], hex.as_bytes()).swap_remove(0)
    }

    #[test]
    fn every_sample_says_what_is_expected() {
        let samples = include_str!("../../../tests/data/mbus.jsonl");
        assert!(samples.lines().count() >= 24, "the samples are there");
        for (number, sample) in samples.lines().enumerate() {
            let sample: Json = serde_json::from_str(sample).expect("the samples are JSON");
            let got = line(sample["hex"].as_str().expect("hex"));
            for (key, expected) in sample["expect"].as_object().expect("an object") {
                assert_eq!(*expected, got[key], "sample {number}, {key}");
            }
            let refused = sample["expect"]["ci"] == "70";
            let well = sample["expect"]["error_frame"].is_null() || refused;
            assert_eq!(got["valid"], well, "sample {number}");
        }
    }

    #[test]
    fn a_line_that_is_no_frame_says_why() {
        for (hex, expected) in [
            ("00", "malformed"),
            ("681f1f6808", "truncated"),
            ("107b017c17", "malformed"),
            ("00e5", "malformed"),
        ] {
            assert_eq!(
                line(hex),
                json!({"valid": false, "link_frame_valid": false, "reason": expected}),
                "{hex}"
            );
        }
        // An acknowledgement in what is no frame is none.
        let expected = json!({"valid": false, "link_frame_valid": false, "reason": "checksum",
            "computed_cs": "69", "got_cs": "15"});
        assert_eq!(line("6806066808017803e5001516"), expected);
    }

    #[test]
    fn questions_are_told_by_their_control_byte() {
        for (hex, expected) in [
            ("e5", json!({"kind": "ack"})),
            ("1040fd3d16", json!({"kind": "reset_request", "c": "40", "address": 253})),
            ("107b017c16", json!({"kind": "read_request", "c": "7B", "address": 1})),
            (
                "680b0b6853fd5278563412ffffffffb216",
                json!({"kind": "select_request", "c": "53", "address": 253, "ci": "52", "id": "12345678"}),
            ),
            (
                "680404685301b80a1616",
                json!({"kind": "write_request", "c": "53", "address": 1, "ci": "B8", "data": "b80a"}),
            ),
            (
                "68040468080170088116",
                json!({"kind": "error_response", "c": "08", "address": 1, "ci": "70", "error_frame": true,
                    "reason": "application too busy"}),
            ),
        ] {
            let mut whole = expected.clone();
            whole["valid"] = true.into();
            whole["link_frame_valid"] = true.into();
            assert_eq!(line(hex), whole, "{hex}");
        }
    }

    #[test]
    fn what_a_bus_carried_is_told_apart_and_garbage_counted() {
        let got = line("ffff1040fd3d16e500107b017c16");
        assert_eq!(
            got,
            json!({"valid": true, "link_frame_valid": true, "garbage_before": 2, "skipped": 1, "frames": [
                {"kind": "reset_request", "c": "40", "address": 253, "at": 2},
                {"kind": "ack", "at": 7},
                {"kind": "read_request", "c": "7B", "address": 1, "at": 9},
            ]})
        );
    }

    #[test]
    fn values_have_the_names_of_items() {
        let got = line("681f1f680802727856341224400107550000000313153100da023b13018b60043718021816");
        assert_eq!(
            got["values"],
            json!([
                {"name": "volume", "value": "12.565", "unit": "m3"},
                {"name": "volume_flow_max_5", "value": "0.113", "unit": "m3/h"},
                {"name": "energy_tariff_2_device_1", "value": "218370", "unit": "Wh"},
            ])
        );
    }
}
