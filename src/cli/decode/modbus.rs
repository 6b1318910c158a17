//! What captured bytes say in Modbus RTU.
//!
//! A line that is one frame is its object; a line that holds several, or one in garbage, has them under `frames`. Without
//! a direction, questions and answers are told apart by their lengths and checksums.

use std::borrow::Cow;
use std::str::FromStr;

use serde::Serialize;

use super::{Direction, Hex, OptionError, Options};
use crate::codec::modbus::{self, Body, Fault, Frame, Order, RegisterKind};
use crate::model::Value;

/// How an answer is read: `TYPE[:ORDER][@AT]`, AT in registers (for `bit`: in bits) from the first of the answer. A type
/// has the name that configurations have for it, or `uint16`, `int16`, `float16` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAs {
    name: String,
    order: String,
    kind: RegisterKind,
    at: usize,
}

impl FromStr for ReadAs {
    type Err = OptionError;
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let wrong = || OptionError::Type(text.into());
        let (rest, at) = text.split_once('@').unwrap_or((text, "0"));
        let ordered = rest.rsplit_once(':').filter(|(_, letters)| letters.starts_with(char::is_alphabetic));
        let (name, letters) = ordered.unwrap_or((rest, ""));
        let long = [("uint", 'u'), ("int", 'i'), ("float", 'f')];
        let short =
            long.iter().find_map(|(long, short)| Some(format!("{short}{}", name.strip_prefix(long)?)));
        let order = if letters.is_empty() { Order::Abcd } else { letters.parse().map_err(|_| wrong())? };
        let kind = RegisterKind::named(short.as_deref().unwrap_or(name), order).ok_or_else(wrong)?;
        let default = match kind {
            RegisterKind::Text { .. } => "AB",
            _ => &"ABCDEFGH"[..usize::from(2 * kind.width())],
        };
        let is_text = matches!(kind, RegisterKind::Text { .. });
        if !letters.is_empty() && letters.len() != default.len() && !is_text {
            return Err(wrong());
        }
        let order = if letters.is_empty() { default } else { letters };
        Ok(Self { name: name.into(), order: order.into(), kind, at: at.parse().map_err(|_| wrong())? })
    }
}

#[derive(Serialize, Default)]
pub(super) struct Line<'a> {
    valid: bool,
    #[serde(flatten)]
    frame: Option<Decoded<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Vec<Decoded<'a>>>,
    /// Bytes that belong to no frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    computed_crc: Option<Hex<[u8; 2]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    got_crc: Option<Hex<[u8; 2]>>,
}

impl Line<'_> {
    fn invalid(reason: &'static str) -> Self {
        Self { reason: Some(reason), ..Self::default() }
    }
}

#[derive(Serialize, Default)]
struct Decoded<'a> {
    unit: u8,
    fc: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registers: Option<Registers<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<Bits<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<u8>,
    /// Of FC 7.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u8>,
    /// Of FC 17.
    #[serde(flatten)]
    server: Option<Server>,
    /// Of FC 22.
    #[serde(flatten)]
    mask: Option<Mask>,
    /// Of FC 23.
    #[serde(skip_serializing_if = "Option::is_none")]
    write_start: Option<u16>,
    /// Of FC 43/14.
    #[serde(flatten)]
    identification: Option<Identification<'a>>,
    /// Content of FC 17, and of a function that is known by its length alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Hex<&'a [u8]>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    decode: Vec<Typed<'a>>,
    /// Offset in the line, where the line holds more than the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<usize>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written {
    Coil(bool),
    Register(u16),
}

#[derive(Serialize)]
struct Server {
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Serialize)]
struct Mask {
    and: u16,
    or: u16,
}

#[derive(Serialize)]
struct Identification<'a> {
    /// 1 basic, 2 regular, 3 extended, 4 one object.
    read_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conformity: Option<u8>,
    /// The object to go on with, when more follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<Vec<Object<'a>>>,
}

#[derive(Serialize)]
struct Object<'a> {
    id: u8,
    value: Cow<'a, str>,
}

#[derive(Serialize)]
struct Typed<'a> {
    at: usize,
    #[serde(rename = "type")]
    name: &'a str,
    order: &'a str,
    /// Null where the pattern is no value.
    value: Option<Shown>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    /// An exact number, or a text.
    Text(String),
    Flag(bool),
}

struct Registers<'a>(&'a [u8]);

impl Serialize for Registers<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])))
    }
}

/// The first so many bits of the bytes. How many of the last byte were asked for, an answer does not say.
struct Bits<'a>(&'a [u8], usize);

impl Serialize for Bits<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bits = self.0.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
        serializer.collect_seq(bits.take(self.1))
    }
}

/// The ways to read a line, the likelier first: eight bytes of FC 1 or 2 may be a question and an answer.
fn ways(direction: Option<Direction>) -> &'static [modbus::Direction] {
    use modbus::Direction::{Request, Response};
    match direction {
        Some(Direction::Request) => &[Request],
        Some(Direction::Response) => &[Response],
        Some(Direction::Stream) => &[Response, Request],
        None => &[Request, Response],
    }
}

/// The object of one line of bytes.
pub(super) fn line<'a>(bytes: &'a [u8], options: &'a Options) -> Line<'a> {
    let ways = ways(options.direction);
    if options.direction != Some(Direction::Stream) {
        let whole = ways.iter().find_map(|way| match modbus::examine(bytes, *way) {
            Ok((len, frame)) if len == bytes.len() => Some((frame, *way)),
            _ => None,
        });
        if let Some((frame, way)) = whole {
            return Line { valid: true, frame: Some(decoded(&frame, way, options)), ..Line::default() };
        }
    }
    let (mut frames, mut at, mut skipped) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        match ways.iter().find_map(|way| Some((modbus::examine(&bytes[at..], *way).ok()?, *way))) {
            Some(((len, frame), way)) => {
                frames.push(Decoded { at: Some(at), ..decoded(&frame, way, options) });
                at += len;
            }
            None => {
                at += 1;
                skipped += 1;
            }
        }
    }
    if frames.is_empty() {
        return diagnosis(bytes, ways);
    }
    let skipped = (skipped > 0).then_some(skipped);
    Line { valid: true, frames: Some(frames), skipped, ..Line::default() }
}

/// What is wrong with a line without any frame, by its beginning; a wrong checksum says more than a wrong length.
fn diagnosis<'a>(bytes: &[u8], ways: &[modbus::Direction]) -> Line<'a> {
    let faults = || ways.iter().filter_map(|way| modbus::examine(bytes, *way).err());
    for fault in faults() {
        if let Fault::Crc { computed, got } = fault
            && bytes.ends_with(&got)
        {
            let (computed_crc, got_crc) = (Some(Hex(computed)), Some(Hex(got)));
            return Line { computed_crc, got_crc, ..Line::invalid("crc") };
        }
    }
    let rank = |fault: &Fault| match fault {
        Fault::Content => 3,
        Fault::Crc { .. } => 2,
        Fault::Short => 1,
        Fault::Unknown => 0,
    };
    Line::invalid(match faults().max_by_key(rank) {
        Some(Fault::Content) => "content",
        Some(Fault::Crc { .. }) => "crc",
        Some(Fault::Short) => "short",
        Some(Fault::Unknown) | None => "function",
    })
}

fn decoded<'a>(frame: &Frame<'a>, way: modbus::Direction, options: &'a Options) -> Decoded<'a> {
    let mut line = Decoded { unit: frame.unit, fc: frame.function, ..Decoded::default() };
    if !matches!(frame.body, Body::Bits(_) | Body::Registers(_) | Body::Exception(_)) {
        line.kind = kind(frame.function);
    }
    match frame.body {
        Body::Read { start, count } => (line.start, line.count) = (Some(start), Some(count)),
        Body::Bits(data) => {
            line.bits = Some(Bits(data, usize::MAX));
            line.decode = typed(options, data, true);
        }
        Body::Registers(data) => {
            line.registers = Some(Registers(data));
            line.decode = typed(options, data, false);
        }
        Body::WriteCoil { address, on } => {
            (line.start, line.value) = (Some(address), Some(Written::Coil(on)));
        }
        Body::WriteRegister { address, value } => {
            (line.start, line.value) = (Some(address), Some(Written::Register(value)));
        }
        Body::WriteMany { start, count, data } => {
            (line.start, line.count) = (Some(start), Some(count));
            if way == modbus::Direction::Request {
                let coils = frame.function == 15;
                line.bits = coils.then_some(Bits(data, count.into()));
                line.registers = (!coils).then_some(Registers(data));
            }
        }
        Body::Ask => {}
        Body::Status(status) => line.status = Some(status),
        Body::Server(data) => {
            let modbus::Server { running, text } = modbus::Server::of(data);
            line.server = Some(Server { running, text });
            line.data = Some(Hex(data));
        }
        Body::MaskWrite { address, and, or } => {
            (line.start, line.mask) = (Some(address), Some(Mask { and, or }));
        }
        Body::ReadWrite { start, count, write_start, data } => {
            (line.start, line.count) = (Some(start), Some(count));
            (line.write_start, line.registers) = (Some(write_start), Some(Registers(data)));
        }
        Body::ReadIdentification { code, object } => {
            let object = Some(object);
            line.identification =
                Some(Identification { read_code: code, object, conformity: None, next: None, objects: None });
        }
        Body::Identification { code, conformity, next, objects } => {
            let object = |(id, value)| Object { id, value: String::from_utf8_lossy(value) };
            let (conformity, objects) = (Some(conformity), Some(objects.iter().map(object).collect()));
            line.identification =
                Some(Identification { read_code: code, object: None, conformity, next, objects });
        }
        Body::Exception(exception) => line.exception = Some(exception.0),
        Body::Other(data) => line.data = Some(Hex(data)),
    }
    line
}

/// What a frame is that says more than values.
fn kind(function: u8) -> Option<&'static str> {
    Some(match function {
        1 => "read_coils",
        2 => "read_discrete",
        3 => "read_holding",
        4 => "read_input",
        5 => "write_coil",
        6 => "write_register",
        7 => "read_exception_status",
        15 => "write_coils",
        16 => "write_registers",
        17 => "report_server_id",
        22 => "mask_write_register",
        23 => "read_write_registers",
        0x2B => "read_device_identification",
        _ => return None,
    })
}

fn typed<'a>(options: &'a Options, data: &[u8], bits: bool) -> Vec<Typed<'a>> {
    let fitting = options.read_as.iter().filter(|read| bits == (read.kind == RegisterKind::Bit));
    let typed = |read: &'a ReadAs| {
        let value = read.kind.read(data, read.at, &[]).map(|value| match value {
            Value::Number(number) => Shown::Text(number.to_string()),
            Value::Text(text) => Shown::Text(text.into()),
            Value::Flag(flag) => Shown::Flag(flag),
        });
        Typed { at: read.at, name: &read.name, order: &read.order, value }
    };
    fitting.map(typed).collect()
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use serde_json::{Value as Json, json};

    use super::super::tests::lines as decoded;
    use super::*;

    fn lines(options: &Options, hex: &[&str]) -> Vec<Json> {
        decoded("modbus", options, hex, b"")
    }

    /// The answer says how many bytes of bits, not how many bits: those that were not asked for are zero.
    fn same_bits(expected: &Json, got: &Json) -> bool {
        let (Some(expected), Some(got)) = (expected.as_array(), got.as_array()) else { return false };
        got.starts_with(expected)
            && got.len() == expected.len().next_multiple_of(8)
            && got[expected.len()..].iter().all(|bit| *bit == json!(0))
    }

    /// By value: 123456 and 123456.0 are the same decimal.
    fn same_decode(expected: &Json, got: &Json) -> bool {
        let decimal = |line: &Json| line["value"].as_str().and_then(|text| text.parse::<Decimal>().ok());
        let (Some(expected), Some(got)) = (expected.as_array(), got.as_array()) else { return false };
        expected.len() == got.len()
            && expected.iter().zip(got).all(|(expected, got)| {
                ["at", "type", "order"].iter().all(|key| expected[key] == got[key])
                    && decimal(expected).is_some()
                    && decimal(expected) == decimal(got)
            })
    }

    #[test]
    fn every_sample_says_what_is_expected_with_its_direction_and_without() {
        let samples = include_str!("../../../tests/data/modbus.jsonl");
        let mut seen = 0;
        for (number, sample) in samples.lines().enumerate() {
            let sample: Json = serde_json::from_str(sample).expect("the samples are JSON");
            let read_as = sample["expect"]["decode"].as_array().into_iter().flatten().map(|line| {
                let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                format!("{}:{}@{}", text("type"), text("order"), line["at"]).parse().expect("a type")
            });
            let mut options = Options { direction: None, read_as: read_as.collect() };
            let hex = sample["hex"].as_str().expect("hex");
            for direction in [None, sample["direction"].as_str()] {
                options.direction = direction.map(|text| text.parse().expect("a direction"));
                let got = lines(&options, &[hex]);
                assert_eq!(got.len(), 1, "sample {number}");
                for (key, expected) in sample["expect"].as_object().expect("an object") {
                    let same = match key.as_str() {
                        "bits" => same_bits(expected, &got[0][key]),
                        "decode" => same_decode(expected, &got[0][key]),
                        _ => *expected == got[0][key],
                    };
                    assert!(same, "sample {number} {direction:?}, {key}: {}", got[0]);
                }
                seen += 1;
            }
        }
        assert!(seen >= 30, "the samples are there");
    }

    #[test]
    fn a_line_that_is_no_frame_says_why() {
        for (hex, expected) in [
            ("010304", json!({"valid": false, "reason": "short"})),
            ("0163000000", json!({"valid": false, "reason": "function"})),
            ("01030000000045ca", json!({"valid": false, "reason": "content"})),
            (
                "0104020222d1ba",
                json!({"valid": false, "reason": "crc", "computed_crc": "3849", "got_crc": "d1ba"}),
            ),
        ] {
            assert_eq!(lines(&Options::default(), &[hex, hex]), [expected.clone(), expected]);
        }
    }

    #[test]
    fn what_a_bus_carried_is_told_apart_and_garbage_counted() {
        let got = lines(&Options::default(), &["ff01040000000271cb0001040447f12000a703"]);
        assert_eq!(
            got,
            [json!({"valid": true, "skipped": 2, "frames": [
                {"unit": 1, "fc": 4, "kind": "read_input", "start": 0, "count": 2, "at": 1},
                {"unit": 1, "fc": 4, "registers": [18417, 8192], "at": 10},
            ]})]
        );
    }

    #[test]
    fn wrong_types_are_named() {
        for text in [
            "float32:AB",
            "int8",
            "int16:CDAB",
            "int16@x",
            "float64:ABCD",
            "u16:BA",
            "text",
            "text:0",
            "text:4:XY",
            "float32:",
            "uint",
            "bit16",
        ] {
            assert_eq!(text.parse::<ReadAs>(), Err(OptionError::Type(text.into())));
        }
    }

    #[test]
    fn answers_are_read_as_every_type() {
        for (read_as, content, expected) in [
            ("bcd32:CDAB", &[3, 4, 0x56, 0x78, 0x12, 0x34][..], json!("12345678")),
            ("i32:CDAB", &[3, 4, 0xFF, 0xFE, 0xFF, 0xFF], json!("-2")),
            ("u16@1", &[4, 4, 0, 0, 0x12, 0x34], json!("4660")),
            ("u16@2", &[4, 4, 0, 0, 0x12, 0x34], json!(null)),
            ("high_byte", &[3, 2, 0x12, 0x34], json!("18")),
            ("bit4", &[3, 2, 0x12, 0x34], json!(true)),
            ("bit@9", &[1, 2, 0x00, 0x02], json!(true)),
            ("text:2", &[3, 4, b'A', b'B', b'1', 0], json!("AB1")),
            ("text:2:BA", &[3, 4, b'B', b'A', 0, b'1'], json!("AB1")),
        ] {
            let options = Options { read_as: vec![read_as.parse().expect("a type")], ..Options::default() };
            let got = lines(&options, &[&hex(content)]);
            assert_eq!(got[0]["decode"][0]["value"], expected, "{read_as}");
        }
        // Bits are not read as registers, nor registers as bits.
        for (read_as, content) in [("bit", &[3, 2, 0, 0][..]), ("u16", &[1, 2, 0, 0])] {
            let options = Options { read_as: vec![read_as.parse().expect("a type")], ..Options::default() };
            assert_eq!(lines(&options, &[&hex(content)])[0].get("decode"), None);
        }
    }

    /// Of unit 1, with the checksum.
    fn hex(content: &[u8]) -> String {
        let mut bytes = [&[1], content].concat();
        let crc = modbus::crc16(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_function_says_what_it_is_without_a_direction() {
        for (content, expected) in [
            (&[5, 0, 1, 0xFF, 0][..], json!({"kind": "write_coil", "start": 1, "value": true})),
            (&[6, 0, 1, 0, 3], json!({"kind": "write_register", "start": 1, "value": 3})),
            (&[7], json!({"kind": "read_exception_status"})),
            (&[7, 0x6D], json!({"kind": "read_exception_status", "status": 0x6D})),
            (
                &[15, 0, 1, 0, 3, 1, 5],
                json!({"kind": "write_coils", "start": 1, "count": 3, "bits": [1, 0, 1]}),
            ),
            (&[15, 0, 1, 0, 3], json!({"kind": "write_coils", "start": 1, "count": 3})),
            (
                &[16, 0, 1, 0, 1, 2, 0, 10],
                json!({"kind": "write_registers", "start": 1, "count": 1, "registers": [10]}),
            ),
            (&[16, 0, 1, 0, 1], json!({"kind": "write_registers", "start": 1, "count": 1})),
            (&[17], json!({"kind": "report_server_id"})),
            (
                &[17, 4, 9, 0xFF, b'A', b'B'],
                json!({"kind": "report_server_id", "running": true, "text": "AB", "data": "09ff4142"}),
            ),
            (
                &[22, 0, 4, 0, 0xF2, 0, 0x25],
                json!({"kind": "mask_write_register", "start": 4, "and": 0xF2, "or": 0x25}),
            ),
            (
                &[23, 0, 3, 0, 6, 0, 14, 0, 1, 2, 0, 0xFF],
                json!({"kind": "read_write_registers", "start": 3, "count": 6, "write_start": 14, "registers": [255]}),
            ),
            (&[23, 2, 0, 0xFE], json!({"registers": [254]})),
            (&[0x2B, 14, 1, 0], json!({"kind": "read_device_identification", "read_code": 1, "object": 0})),
            (
                b"\x2B\x0E\x01\x81\xFF\x02\x01\x00\x04ACME",
                json!({"kind": "read_device_identification", "read_code": 1, "conformity": 0x81, "next": 2,
                    "objects": [{"id": 0, "value": "ACME"}]}),
            ),
            (&[0xAB, 1], json!({"exception": 1})),
            (&[8, 0, 0, 0xA5, 0x37], json!({"data": "0000a537"})),
        ] {
            let got = lines(&Options::default(), &[&hex(content)]);
            let mut whole = json!({"valid": true, "unit": 1, "fc": content[0] & 0x7F});
            whole
                .as_object_mut()
                .expect("an object")
                .extend(expected.as_object().expect("an object").clone());
            assert_eq!(got, [whole]);
        }
    }
}
