//! `smallbrain decode modbus [HEX…]`: what captured bytes say, one JSON object a line.
//!
//! Guarantees: one object for each line of hex, in order, whatever the line holds; garbage around frames is skipped and
//! counted; numbers that need to be exact are strings. It opens no port and reads no configuration.

mod dlt645;

use std::fmt;
use std::io::{self, BufRead, Write};
use std::str::FromStr;

use serde::Serialize;

use crate::codec::modbus::{self, Body, Fault, Frame, Order, RegisterKind};
use crate::model::Value;

/// Characters of one line; a longer one is answered with the reason `too_long` and not decoded.
pub const LINE_CHARS_MAX: usize = 1 << 20;

/// Why nothing more is decoded. A line that is no frame is not an error but an answer.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No decoder of that name.
    #[error("protocol {0:?} is not known; decoders exist for: modbus, dlt645")]
    Protocol(String),
    /// Input or output.
    #[error("decode: {0}")]
    Io(#[from] io::Error),
}

/// An option that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Not a direction.
    #[error("direction {0:?}: one of request, response, stream")]
    Direction(String),
    /// Not a register type.
    #[error("type {0:?}: TYPE[:ORDER][@AT] like int16, float32:CDAB, uint64:HGFEDCBA@4")]
    Type(String),
}

/// Which way the bytes of a line went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the master.
    Request,
    /// From a slave.
    Response,
    /// Both, with garbage in between.
    Stream,
}

impl FromStr for Direction {
    type Err = OptionError;
    fn from_str(text: &str) -> Result<Self, OptionError> {
        Ok(match text {
            "request" => Self::Request,
            "response" => Self::Response,
            "stream" => Self::Stream,
            _ => return Err(OptionError::Direction(text.into())),
        })
    }
}

/// How registers of an answer are read: `TYPE[:ORDER][@AT]`, AT in registers from the first of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAs {
    name: &'static str,
    order: String,
    kind: RegisterKind,
    at: usize,
}

impl FromStr for ReadAs {
    type Err = OptionError;
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let wrong = || OptionError::Type(text.into());
        let (rest, at) = text.split_once('@').unwrap_or((text, "0"));
        let (name, letters) = rest.split_once(':').unwrap_or((rest, ""));
        let order = match letters {
            "" | "AB" | "ABCD" | "ABCDEFGH" => Order::Abcd,
            "CDAB" | "GHEFCDAB" => Order::Cdab,
            "BADC" | "BADCFEHG" => Order::Badc,
            "DCBA" | "HGFEDCBA" => Order::Dcba,
            _ => return Err(wrong()),
        };
        let (name, kind) = match name {
            "uint16" => ("uint16", RegisterKind::U16),
            "int16" => ("int16", RegisterKind::I16),
            "float16" => ("float16", RegisterKind::F16),
            "uint32" => ("uint32", RegisterKind::U32(order)),
            "int32" => ("int32", RegisterKind::I32(order)),
            "float32" => ("float32", RegisterKind::F32(order)),
            "uint64" => ("uint64", RegisterKind::U64(order)),
            "int64" => ("int64", RegisterKind::I64(order)),
            "float64" => ("float64", RegisterKind::F64(order)),
            _ => return Err(wrong()),
        };
        let default = &"ABCDEFGH"[..usize::from(2 * kind.width())];
        if !letters.is_empty() && letters.len() != default.len() {
            return Err(wrong());
        }
        let order = if letters.is_empty() { default } else { letters };
        Ok(Self { name, order: order.into(), kind, at: at.parse().map_err(|_| wrong())? })
    }
}

/// Arguments of `decode`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: smallbrain decode modbus --direction response 01040202223849")]
pub struct Args {
    /// modbus or dlt645
    protocol: String,
    /// Frames as hex digits; without any, lines of hex digits on stdin
    hex: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// The verb.
///
/// # Errors
/// [`DecodeError`].
pub fn main(args: &Args, input: impl BufRead, output: impl Write) -> Result<(), DecodeError> {
    run_with(&args.protocol, &args.options, &args.hex, input, output)
}

/// How to look at the bytes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// request, response or stream; worked out line by line when not given
    #[arg(long)]
    pub direction: Option<Direction>,
    /// Also read the registers of answers as TYPE[:ORDER][@AT], e.g. float32:CDAB@2; may be repeated
    #[arg(long = "as", value_name = "TYPE")]
    pub read_as: Vec<ReadAs>,
}

/// [`run_with`] the default options.
///
/// # Errors
/// An unknown protocol; input or output that breaks.
pub fn run(
    protocol: &str,
    hex: &[String],
    input: impl BufRead,
    output: impl Write,
) -> Result<(), DecodeError> {
    run_with(protocol, &Options::default(), hex, input, output)
}

/// Decodes `hex` — arguments of one byte each are one line together, others a line each — or, when there are none, the
/// lines of `input`. Output is flushed whenever the input has to be waited for.
///
/// # Errors
/// An unknown protocol; input or output that breaks.
pub fn run_with(
    protocol: &str,
    options: &Options,
    hex: &[String],
    mut input: impl BufRead,
    output: impl Write,
) -> Result<(), DecodeError> {
    if !["modbus", "dlt645"].contains(&protocol) {
        return Err(DecodeError::Protocol(protocol.into()));
    }
    let mut decoder = Decoder { protocol, options, output: io::BufWriter::new(output), bytes: Vec::new() };
    if !hex.is_empty() {
        if hex.iter().all(|text| text.len() <= 2) {
            decoder.line(hex.concat().as_bytes())?;
        } else {
            hex.iter().try_for_each(|text| decoder.line(text.as_bytes()))?;
        }
        return Ok(decoder.output.flush()?);
    }
    let mut line = Vec::new();
    loop {
        let chunk = input.fill_buf()?;
        let taken = chunk.len();
        if taken == 0 {
            break;
        }
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            // One character over the bound is enough to know.
            let room = (LINE_CHARS_MAX + 1).saturating_sub(line.len());
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                decoder.line(&line)?;
                line.clear();
            }
        }
        input.consume(taken);
        decoder.output.flush()?;
    }
    decoder.line(&line)?;
    Ok(decoder.output.flush()?)
}

struct Decoder<'o, W: Write> {
    protocol: &'o str,
    options: &'o Options,
    output: io::BufWriter<W>,
    bytes: Vec<u8>,
}

impl<W: Write> Decoder<'_, W> {
    fn line(&mut self, text: &[u8]) -> io::Result<()> {
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let line = if text.len() > LINE_CHARS_MAX {
            Line::invalid("too_long")
        } else if parse_hex(text, &mut self.bytes) {
            if self.protocol == "dlt645" {
                serde_json::to_writer(&mut self.output, &dlt645::decode(&self.bytes))?;
                return self.output.write_all(b"\n");
            }
            decode(&self.bytes, self.options)
        } else {
            Line::invalid("hex")
        };
        serde_json::to_writer(&mut self.output, &line)?;
        self.output.write_all(b"\n")
    }
}

/// Blanks, colons, dashes and commas between the digits are taken as they come.
fn parse_hex(text: &[u8], bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    let mut high = None;
    for character in text {
        let digit = match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            b'A'..=b'F' => character - b'A' + 10,
            b' ' | b'\t' | b'\r' | b'\n' | b':' | b'-' | b',' => continue,
            _ => return false,
        };
        match high.take() {
            None => high = Some(digit << 4),
            Some(high) => bytes.push(high | digit),
        }
    }
    high.is_none()
}

#[derive(Serialize, Default)]
struct Line<'a> {
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
    computed_crc: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    got_crc: Option<Hex<'a>>,
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
    /// Content of a function that is known by its length alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Hex<'a>>,
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
struct Typed<'a> {
    at: usize,
    #[serde(rename = "type")]
    name: &'static str,
    order: &'a str,
    /// Exact; null where the pattern is no number.
    value: Option<String>,
}

struct Registers<'a>(&'a [u8]);

impl Serialize for Registers<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])))
    }
}

/// All bits of the bytes: how many of the last byte were asked for, the answer does not say.
struct Bits<'a>(&'a [u8]);

impl Serialize for Bits<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1)))
    }
}

enum Hex<'a> {
    Data(&'a [u8]),
    Crc([u8; 2]),
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Hex::Data(bytes) => bytes,
            Hex::Crc(crc) => crc,
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

fn decode<'a>(bytes: &'a [u8], options: &'a Options) -> Line<'a> {
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
            let (computed_crc, got_crc) = (Some(Hex::Crc(computed)), Some(Hex::Crc(got)));
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
    match frame.body {
        Body::Read { start, count } => {
            let kinds = ["read_coils", "read_discrete", "read_holding", "read_input"];
            line.kind = kinds.get(usize::from(frame.function) - 1).copied();
            (line.start, line.count) = (Some(start), Some(count));
        }
        Body::Bits(data) => line.bits = Some(Bits(data)),
        Body::Registers(data) => {
            line.registers = Some(Registers(data));
            line.decode = options.read_as.iter().map(|read| typed(read, data)).collect();
        }
        Body::WriteCoil { address, on } => {
            line.kind = Some("write_coil");
            (line.start, line.value) = (Some(address), Some(Written::Coil(on)));
        }
        Body::WriteRegister { address, value } => {
            line.kind = Some("write_register");
            (line.start, line.value) = (Some(address), Some(Written::Register(value)));
        }
        Body::WriteMany { start, count, data } => {
            let coils = frame.function == 15;
            line.kind = Some(if coils { "write_coils" } else { "write_registers" });
            (line.start, line.count) = (Some(start), Some(count));
            if way == modbus::Direction::Request {
                line.bits = coils.then_some(Bits(data));
                line.registers = (!coils).then_some(Registers(data));
            }
        }
        Body::Exception(exception) => line.exception = Some(exception.0),
        Body::Other(data) => line.data = Some(Hex::Data(data)),
    }
    line
}

fn typed<'a>(read: &'a ReadAs, data: &[u8]) -> Typed<'a> {
    let value = match read.kind.read(data, read.at, &[]) {
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    Typed { at: read.at, name: read.name, order: &read.order, value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;
    use serde_json::{Value as Json, json};

    use super::*;

    fn lines(options: &Options, hex: &[&str], input: &[u8]) -> Vec<Json> {
        let hex: Vec<String> = hex.iter().map(|text| (*text).to_owned()).collect();
        let mut output = Vec::new();
        run_with("modbus", options, &hex, input, &mut output).expect("memory does not break");
        output.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
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
        let samples = include_str!("../../tests/data/modbus.jsonl");
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
                let got = lines(&options, &[hex], b"");
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
            ("zzzz", json!({"valid": false, "reason": "hex"})),
            ("0104 0", json!({"valid": false, "reason": "hex"})),
            ("010304", json!({"valid": false, "reason": "short"})),
            ("0163000000", json!({"valid": false, "reason": "function"})),
            ("01030000000045ca", json!({"valid": false, "reason": "content"})),
            (
                "0104020222d1ba",
                json!({"valid": false, "reason": "crc", "computed_crc": "3849", "got_crc": "d1ba"}),
            ),
        ] {
            assert_eq!(lines(&Options::default(), &[hex, hex], b""), [expected.clone(), expected]);
        }
    }

    #[test]
    fn bytes_as_arguments_and_lines_of_input_are_the_same() {
        let expected =
            json!({"valid": true, "unit": 1, "fc": 4, "kind": "read_input", "start": 0, "count": 2});
        let options = Options::default();
        let bytes = ["01", "04", "00", "00", "00", "02", "71", "CB"];
        assert_eq!(lines(&options, &bytes, b""), std::slice::from_ref(&expected));
        let input = b"01:04:00:00:00:02:71:CB\r\n\n \n01 04 00 00 00 02 71 cb";
        assert_eq!(lines(&options, &[], input), [expected.clone(), expected]);
    }

    #[test]
    fn what_a_bus_carried_is_told_apart_and_garbage_counted() {
        let got = lines(&Options::default(), &["ff01040000000271cb0001040447f12000a703"], b"");
        assert_eq!(
            got,
            [json!({"valid": true, "skipped": 2, "frames": [
                {"unit": 1, "fc": 4, "kind": "read_input", "start": 0, "count": 2, "at": 1},
                {"unit": 1, "fc": 4, "registers": [18417, 8192], "at": 10},
            ]})]
        );
    }

    #[test]
    fn a_line_without_end_is_refused_and_the_next_one_is_read() {
        let mut input = vec![b'0'; LINE_CHARS_MAX + 10];
        input.extend(b"\n668203b17e\n");
        let got = lines(&Options::default(), &[], &input);
        assert_eq!(got[0], json!({"valid": false, "reason": "too_long"}));
        assert_eq!(got[1], json!({"valid": true, "unit": 102, "fc": 2, "exception": 3}));
    }

    #[test]
    fn wrong_options_are_named() {
        let refused = run("profibus", &[], &b""[..], io::sink());
        assert!(refused.is_err_and(|error| error.to_string().contains("profibus")));
        for text in ["float32:AB", "int8", "int16:CDAB", "int16@x", "float64:ABCD"] {
            assert_eq!(text.parse::<ReadAs>(), Err(OptionError::Type(text.into())));
        }
        assert!("sideways".parse::<Direction>().is_err());
    }

    proptest! {
        #[test]
        fn any_line_gives_one_object(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut line = line;
            line.retain(|byte| *byte != b'\n');
            let expected = usize::from(!line.trim_ascii().is_empty());
            prop_assert_eq!(lines(&Options::default(), &[], &line).len(), expected);
        }
    }
}
