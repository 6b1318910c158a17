//! Link frames: `FE… 68 T A0…A6 C L data CS 16`, and which bytes are one.
//!
//! Guarantees: any bytes give an answer in bounded time and without allocation; garbage that looks like a start byte is
//! given up at its first impossible byte; more is needed only while fewer than [`FRAME_BYTES_MAX`] bytes are there; what
//! is skipped never reaches beyond a false start byte, so a whole frame behind it is found. FE is a leader only before a
//! start byte: in the data, the address and the checksum it is a byte like others.

use std::fmt;

use super::{ANY_KIND, Address};
use crate::codec::{Scan, bcd};

/// Leader bytes that are taken as part of a frame; more are garbage.
pub const LEADER_BYTES_MAX: usize = 64;
/// The longest data of a read, 64H.
pub const DATA_BYTES_MAX: usize = 100;
/// Leader, start byte to length, data, checksum and end byte.
pub const FRAME_BYTES_MAX: usize = LEADER_BYTES_MAX + OVERHEAD_BYTES + DATA_BYTES_MAX;
/// A frame without leader and data.
pub(super) const OVERHEAD_BYTES: usize = DATA + 2;

const LEADER: u8 = 0xFE;
const START: u8 = 0x68;
const END: u8 = 0x16;

// Offsets from the start byte.
const KIND: usize = 1;
const ADDRESS: usize = 2;
const CONTROL: usize = 9;
const LENGTH: usize = 10;
const DATA: usize = 11;

/// Functions, the low five bits of the control byte.
pub mod function {
    /// Read data.
    pub const READ: u8 = 0x01;
    /// Read the address.
    pub const READ_ADDRESS: u8 = 0x03;
    /// Write data.
    pub const WRITE: u8 = 0x04;
    /// Read the version of the key.
    pub const READ_KEY_VERSION: u8 = 0x09;
    /// Write the address.
    pub const WRITE_ADDRESS: u8 = 0x15;
    /// Set the electronics to what the mechanical counter shows.
    pub const SYNCHRONISE: u8 = 0x16;
}

/// A whole frame with the right checksum. Its `Debug` shows no values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// FE bytes before the start byte.
    pub leader: usize,
    /// Type of the meter, T: 10 to 19 water, 20 to 29 heat, 30 to 39 gas, 40 to 49 others, AA any.
    pub kind: u8,
    /// Of the meter, in both directions.
    pub address: Address,
    /// The control byte.
    pub control: u8,
    /// Between length and checksum, at least three bytes.
    pub data: &'a [u8],
}

impl Frame<'_> {
    /// Whether a meter sent it (D7); a question and the echo of one have it not.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.control & 0x80 != 0
    }

    /// Whether the meter could not do what it was asked (D6).
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.control & 0x40 != 0
    }

    /// Whether the meter has more than it sent (D5).
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.control & 0x20 != 0
    }

    /// One of [`function`].
    #[must_use]
    pub fn function(&self) -> u8 {
        self.control & 0x1F
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:02x} {} {:02x}, {} bytes)", self.kind, self.address, self.control, self.data.len())
    }
}

/// Why bytes hold no frame; the later, the nearer they are to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No start byte.
    Start,
    /// A byte that no frame can have there.
    Malformed,
    /// So far so good, but the end is missing.
    Truncated,
    /// The sum is wrong.
    Checksum {
        /** What it should be. */
        computed: u8,
        /** What came. */
        got: u8,
    },
}

impl Fault {
    /// As `decode` prints it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Start => "no_start",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Checksum { .. } => "checksum",
        }
    }
}

/// What the front of the received bytes is.
#[must_use]
pub fn scan(bytes: &[u8]) -> Scan<Frame<'_>> {
    let leader = leader(bytes);
    match bytes.get(leader) {
        _ if leader > LEADER_BYTES_MAX => Scan::Skip(leader - LEADER_BYTES_MAX),
        None => Scan::Need,
        Some(&START) => match parse(bytes, leader) {
            Ok((len, frame)) => Scan::Frame { len, frame },
            Err(Fault::Truncated) => Scan::Need,
            Err(_) => Scan::Skip(leader + 1),
        },
        Some(_) => {
            let rest = &bytes[leader..];
            let garbage = rest.iter().position(|byte| matches!(*byte, START | LEADER)).unwrap_or(rest.len());
            Scan::Skip(leader + garbage)
        }
    }
}

/// The frame that begins at the first start byte that has one, garbage before it or not.
///
/// # Errors
/// What is wrong with the start byte that comes nearest to a frame.
pub fn examine(bytes: &[u8]) -> Result<Frame<'_>, Fault> {
    let mut nearest = Fault::Start;
    for at in (0..bytes.len()).filter(|at| bytes[*at] == START) {
        let leader =
            bytes[..at].iter().rev().take(LEADER_BYTES_MAX).take_while(|byte| **byte == LEADER).count();
        match parse(&bytes[at - leader..], leader) {
            Ok((_, frame)) => return Ok(frame),
            Err(fault) => nearest = nearest.max(fault),
        }
    }
    Err(nearest)
}

/// The frame at the front that would be one but for its checksum.
pub(super) fn damaged(bytes: &[u8]) -> Option<Frame<'_>> {
    let candidate = outline(bytes, leader(bytes)).ok()?;
    (candidate.computed != candidate.got).then_some(candidate.frame)
}

/// As sent.
pub(super) fn sealed(leader: u8, kind: u8, address: Address, control: u8, data: &[u8]) -> Vec<u8> {
    let leader = usize::from(leader);
    let length = u8::try_from(data.len()).expect("questions have a few bytes");
    let mut bytes = Vec::with_capacity(leader + OVERHEAD_BYTES + data.len());
    bytes.resize(leader, LEADER);
    bytes.extend([START, kind]);
    bytes.extend(address.wire());
    bytes.extend([control, length]);
    bytes.extend(data);
    bytes.extend([sum(&bytes[leader..]), END]);
    bytes
}

fn leader(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte == LEADER).count()
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// What looks like a frame up to its end byte.
struct Outline<'a> {
    len: usize,
    frame: Frame<'a>,
    computed: u8,
    got: u8,
}

fn parse(bytes: &[u8], leader: usize) -> Result<(usize, Frame<'_>), Fault> {
    let Outline { len, frame, computed, got } = outline(bytes, leader)?;
    if computed == got { Ok((len, frame)) } else { Err(Fault::Checksum { computed, got }) }
}

/// In the order of the wire, so that garbage is given up at its first impossible byte.
fn outline(bytes: &[u8], leader: usize) -> Result<Outline<'_>, Fault> {
    let whole = bytes.get(leader..).ok_or(Fault::Truncated)?;
    let byte = |at: usize| whole.get(at).copied().ok_or(Fault::Truncated);
    let must = |possible: bool| if possible { Ok(()) } else { Err(Fault::Malformed) };
    must(byte(0)? == START)?;
    let kind = byte(KIND)?;
    must(is_kind(kind))?;
    must(whole[ADDRESS..].iter().take(7).all(|byte| *byte == 0xAA || bcd::is_bcd(*byte)))?;
    let wire = whole[ADDRESS..].first_chunk().ok_or(Fault::Truncated)?;
    let address = Address::from_wire(*wire).ok_or(Fault::Malformed)?;
    let control = byte(CONTROL)?;
    must(is_control(control))?;
    let length = usize::from(byte(LENGTH)?);
    must(is_length(control, length))?;
    let data = whole.get(DATA..DATA + length).ok_or(Fault::Truncated)?;
    let got = byte(DATA + length)?;
    must(byte(DATA + length + 1)? == END)?;
    Ok(Outline {
        len: leader + OVERHEAD_BYTES + length,
        frame: Frame { leader, kind, address, control, data },
        computed: sum(&whole[..DATA + length]),
        got,
    })
}

/// Whether meters of this type exist.
#[must_use]
pub fn is_kind(kind: u8) -> bool {
    matches!(kind, 0x10..=0x19 | 0x20..=0x29 | 0x30..=0x39 | 0x40..=0x49 | ANY_KIND)
}

/// A known function; a question, an answer, an answer that has more, or a refusal.
fn is_control(control: u8) -> bool {
    use function::{READ, READ_ADDRESS, READ_KEY_VERSION, SYNCHRONISE, WRITE, WRITE_ADDRESS};
    matches!(control & 0x1F, READ | READ_ADDRESS | WRITE | READ_KEY_VERSION | WRITE_ADDRESS | SYNCHRONISE)
        && matches!(control >> 5, 0b000 | 0b100 | 0b101 | 0b110)
}

/// Questions that read and refusals have three bytes, all others at least as many.
fn is_length(control: u8, length: usize) -> bool {
    use function::{READ, READ_ADDRESS, READ_KEY_VERSION};
    if matches!(control, READ | READ_ADDRESS | READ_KEY_VERSION) || control & 0x40 != 0 {
        length == 3
    } else {
        (3..=DATA_BYTES_MAX).contains(&length)
    }
}
