//! `smallbrain decode PROTOCOL [HEX…]`: what captured bytes say, one JSON object a line.
//!
//! A protocol is one line of [`PROTOCOLS`] and one file below: a function from the bytes of a line to its object. Guarantees:
//! one object for each line of hex, in order, whatever the line holds; memory is bounded by the longest line. It opens no
//! port and reads no configuration.

mod cjt188;
mod dlt645;
mod mbus;
mod modbus;

pub use modbus::ReadAs;

use std::io::{self, BufRead, Write};
use std::str::FromStr;

use serde::Serialize;

/// Characters of one line; a longer one is answered with the reason `too_long` and not decoded.
pub const LINE_CHARS_MAX: usize = 1 << 20;

/// Appends the object of one line of bytes.
type Decode = fn(&[u8], &Options, &mut Vec<u8>) -> io::Result<()>;

/// All decoders, by the name of their protocol.
const PROTOCOLS: &[(&str, Decode)] = &[
    ("cjt188", |bytes, _, out| object(&cjt188::line(bytes), out)),
    ("dlt645", |bytes, _, out| object(&dlt645::line(bytes), out)),
    ("mbus", |bytes, _, out| object(&mbus::line(bytes), out)),
    ("modbus", |bytes, options, out| object(&modbus::line(bytes, options), out)),
];

/// Why nothing more is decoded. A line that is no frame is not an error but an answer.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No decoder of that name.
    #[error("protocol {0:?} is not known; decoders exist for: {list}", list = names())]
    Protocol(String),
    /// An option of another protocol.
    #[error("--as reads registers of Modbus; {0} fixes the types of its values itself: leave --as out")]
    ReadAs(String),
    /// Input or output.
    #[error("decode: {0}")]
    Io(#[from] io::Error),
}

fn names() -> String {
    PROTOCOLS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// An option that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Not a direction.
    #[error("direction {0:?}: one of request, response, stream")]
    Direction(String),
    /// Not a register type.
    #[error("type {0:?}: TYPE[:ORDER][@AT] like int16, float32:CDAB, uint64:HGFEDCBA@4, text:8@10, bit3")]
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

/// Arguments of `decode`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example: smallbrain decode modbus --direction response 01040202223849")]
pub struct Args {
    #[arg(help = format!("One of {}", names()))]
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
    /// request, response or stream; worked out line by line when not given. Protocols whose frames say it do not need it
    #[arg(long)]
    pub direction: Option<Direction>,
    /// Modbus: also read the registers of answers as TYPE[:ORDER][@AT], e.g. float32:CDAB@2; may be repeated
    #[arg(long = "as", value_name = "TYPE")]
    pub read_as: Vec<ReadAs>,
}

/// [`run_with`] the default options.
///
/// # Errors
/// [`DecodeError`].
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
/// An unknown protocol or an option that is not the protocol's; input or output that breaks.
pub fn run_with(
    protocol: &str,
    options: &Options,
    hex: &[String],
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<(), DecodeError> {
    let known = PROTOCOLS.iter().find(|(name, _)| *name == protocol);
    let (_, decode) = known.ok_or_else(|| DecodeError::Protocol(protocol.into()))?;
    if protocol != "modbus" && !options.read_as.is_empty() {
        return Err(DecodeError::ReadAs(protocol.into()));
    }
    let mut decoder = Decoder { decode: *decode, options, bytes: Vec::new(), objects: Vec::new() };
    if !hex.is_empty() {
        if hex.iter().all(|text| text.len() <= 2) {
            decoder.line(hex.concat().as_bytes(), &mut output)?;
        } else {
            hex.iter().try_for_each(|text| decoder.line(text.as_bytes(), &mut output))?;
        }
        return Ok(decoder.flush(&mut output)?);
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
                decoder.line(&line, &mut output)?;
                line.clear();
            }
        }
        input.consume(taken);
        decoder.flush(&mut output)?;
    }
    decoder.line(&line, &mut output)?;
    Ok(decoder.flush(&mut output)?)
}

/// Bytes of finished objects that are written at once.
const OBJECTS_BYTES: usize = 64 << 10;

struct Decoder<'o> {
    decode: Decode,
    options: &'o Options,
    bytes: Vec<u8>,
    objects: Vec<u8>,
}

impl Decoder<'_> {
    fn line(&mut self, text: &[u8], output: &mut impl Write) -> io::Result<()> {
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        if text.len() > LINE_CHARS_MAX {
            object(&NoFrame::because("too_long"), &mut self.objects)?;
        } else if parse_hex(text, &mut self.bytes) {
            (self.decode)(&self.bytes, self.options, &mut self.objects)?;
        } else {
            object(&NoFrame::because("hex"), &mut self.objects)?;
        }
        self.objects.push(b'\n');
        if self.objects.len() < OBJECTS_BYTES { Ok(()) } else { self.write(output) }
    }

    fn write(&mut self, output: &mut impl Write) -> io::Result<()> {
        output.write_all(&self.objects)?;
        self.objects.clear();
        Ok(())
    }

    fn flush(&mut self, output: &mut impl Write) -> io::Result<()> {
        self.write(output)?;
        output.flush()
    }
}

/// Blanks, colons, dashes and commas between the digits are taken as they come.
pub(super) fn parse_hex(text: &[u8], bytes: &mut Vec<u8>) -> bool {
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

fn object(line: &impl Serialize, out: &mut Vec<u8>) -> io::Result<()> {
    Ok(serde_json::to_writer(out, line)?)
}

/// A line that is no frame, and why.
#[derive(Serialize)]
struct NoFrame {
    valid: bool,
    reason: &'static str,
}

impl NoFrame {
    fn because(reason: &'static str) -> Self {
        Self { valid: false, reason }
    }
}

/// Bytes as lower-case hex digits.
pub(super) struct Hex<T>(pub(super) T);

impl<T: AsRef<[u8]>> Serialize for Hex<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        let bytes = self.0.as_ref().iter();
        let text: String = bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0F)]).collect();
        serializer.serialize_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    /// The objects of lines of hex, or of the input when there are none.
    pub(super) fn lines(protocol: &str, options: &Options, hex: &[&str], input: &[u8]) -> Vec<Json> {
        let hex: Vec<String> = hex.iter().map(|text| (*text).to_owned()).collect();
        let mut output = Vec::new();
        run_with(protocol, options, &hex, input, &mut output).expect("memory does not break");
        let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("an object")).collect()
    }

    #[test]
    fn bytes_as_arguments_and_lines_of_input_are_the_same() {
        let expected =
            json!({"valid": true, "unit": 1, "fc": 4, "kind": "read_input", "start": 0, "count": 2});
        let options = Options::default();
        let bytes = ["01", "04", "00", "00", "00", "02", "71", "CB"];
        assert_eq!(lines("modbus", &options, &bytes, b""), std::slice::from_ref(&expected));
        let input = b"01:04:00:00:00:02:71:CB\r\n\n \n01 04 00 00 00 02 71 cb";
        assert_eq!(lines("modbus", &options, &[], input), [expected.clone(), expected]);
    }

    #[test]
    fn a_line_without_end_is_refused_and_the_next_one_is_read() {
        let mut input = vec![b'0'; LINE_CHARS_MAX + 10];
        input.extend(b"\n668203b17e\n");
        let got = lines("modbus", &Options::default(), &[], &input);
        assert_eq!(got[0], json!({"valid": false, "reason": "too_long"}));
        assert_eq!(got[1], json!({"valid": true, "unit": 102, "fc": 2, "exception": 3}));
    }

    #[test]
    fn what_is_no_hex_is_said_by_every_decoder() {
        for (protocol, _) in PROTOCOLS {
            let got = lines(protocol, &Options::default(), &["zzzz", "0104 0"], b"");
            let expected = json!({"valid": false, "reason": "hex"});
            assert_eq!(got, [expected.clone(), expected], "{protocol}");
        }
    }

    #[test]
    fn wrong_options_are_named() {
        let refused = run("profibus", &[], &b""[..], io::sink());
        assert!(refused.is_err_and(|error| error.to_string().contains("profibus")));
        assert!("sideways".parse::<Direction>().is_err());
        let options = Options { read_as: vec!["int16".parse().expect("a type")], ..Options::default() };
        for (protocol, _) in PROTOCOLS {
            let ran = run_with(protocol, &options, &[], &b""[..], io::sink());
            assert_eq!(ran.is_ok(), *protocol == "modbus", "{protocol}");
        }
    }

    proptest! {
        #[test]
        fn any_line_gives_one_object(
            line in proptest::collection::vec(any::<u8>(), 0..80),
            bytes in proptest::collection::vec(any::<u8>(), 1..80),
        ) {
            let mut line = line;
            line.retain(|byte| *byte != b'\n');
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let expected = usize::from(!line.trim_ascii().is_empty());
            for (protocol, _) in PROTOCOLS {
                prop_assert_eq!(lines(protocol, &Options::default(), &[], &line).len(), expected);
                prop_assert_eq!(lines(protocol, &Options::default(), &[], hex.as_bytes()).len(), 1);
            }
        }
    }
}
