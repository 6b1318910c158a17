//! Frames of the link layer (EN 13757-2, format class FT 1.2 of EN 60870-5-1): which bytes are one, and what they say.
//!
//! Guarantees: any bytes give an answer in bounded time, a skip is one byte, more is needed only while fewer than
//! [`FRAME_BYTES_MAX`] bytes are there. What a frame cannot begin with is skipped as soon as it is seen. It does not know
//! who asked what: an acknowledgement is one byte, E5, and means something only after a question that it answers.

use std::fmt;

use crate::codec::Scan;

/// Start, length twice, start, 255 bytes from control to user data, checksum, end.
pub const FRAME_BYTES_MAX: usize = 261;

const ACK: u8 = 0xE5;
const SHORT: u8 = 0x10;
const LONG: u8 = 0x68;
const END: u8 = 0x16;

/// Bits of the control byte that are not frame count, access demand or flow control.
const CONTROL_KIND: u8 = 0xCF;

/// A whole frame with the right checksum. Its `Debug` shows no user data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A slave has understood.
    Ack,
    /// From the master: a reset or a question.
    Short {
        /** What for. */
        control: u8,
        /** Whom. */
        address: u8,
    },
    /// A slave's data, or data for a slave.
    Long {
        /** What for. */
        control: u8,
        /** Whose. */
        address: u8,
        /** From the control information on, at least that. */
        data: &'a [u8],
    },
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ack => f.write_str("Ack"),
            Self::Short { control, address } => write!(f, "Short({control:02x}, {address})"),
            Self::Long { control, address, data } => {
                write!(f, "Long({control:02x}, {address}, {} bytes)", data.len())
            }
        }
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Start, lengths, control or end.
    Malformed,
    /// So far so good, but the end is missing.
    Truncated,
    /// The checksum.
    Checksum {
        /** What it should be. */
        computed: u8,
        /** What came. */
        got: u8,
    },
}

impl Fault {
    /// The word for `decode`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Checksum { .. } => "checksum",
        }
    }
}

/// What the front of the received bytes is.
#[must_use]
pub fn scan(bytes: &[u8]) -> Scan<Frame<'_>> {
    match examine(bytes) {
        Ok((len, frame)) => Scan::Frame { len, frame },
        Err(Fault::Truncated) => Scan::Need,
        Err(_) => Scan::Skip(1),
    }
}

/// The frame at the front and its length in bytes.
///
/// # Errors
/// Why there is none.
pub fn examine(bytes: &[u8]) -> Result<(usize, Frame<'_>), Fault> {
    match *bytes.first().ok_or(Fault::Truncated)? {
        ACK => Ok((1, Frame::Ack)),
        SHORT => {
            expect(bytes, 1, |control| matches!(control & CONTROL_KIND, 0x40 | 0x49 | 0x4A | 0x4B))?;
            let content = sealed(bytes, 1, 2)?;
            Ok((5, Frame::Short { control: content[0], address: content[1] }))
        }
        LONG => {
            expect(bytes, 1, |length| length >= 3)?;
            expect(bytes, 2, |length| length == bytes[1])?;
            expect(bytes, 3, |start| start == LONG)?;
            expect(bytes, 4, |control| is_answer(control) || control & CONTROL_KIND == 0x43)?;
            let length = usize::from(*bytes.get(1).ok_or(Fault::Truncated)?);
            let content = sealed(bytes, 4, length)?;
            Ok((length + 6, Frame::Long { control: content[0], address: content[1], data: &content[2..] }))
        }
        _ => Err(Fault::Malformed),
    }
}

/// Whether the control byte is that of a slave's data (RSP_UD).
pub(super) fn is_answer(control: u8) -> bool {
    control & CONTROL_KIND == 0x08
}

/// Whether what is there so far may be a frame.
fn expect(bytes: &[u8], at: usize, good: impl Fn(u8) -> bool) -> Result<(), Fault> {
    bytes.get(at).is_none_or(|byte| good(*byte)).then_some(()).ok_or(Fault::Malformed)
}

/// The `length` bytes from `at` that a checksum and the end byte follow.
fn sealed(bytes: &[u8], at: usize, length: usize) -> Result<&[u8], Fault> {
    let whole = bytes.get(at..at + length + 2).ok_or(Fault::Truncated)?;
    let (content, seal) = whole.split_at(length);
    if seal[1] != END {
        return Err(Fault::Malformed);
    }
    let (computed, got) = (checksum(content), seal[0]);
    if computed == got { Ok(content) } else { Err(Fault::Checksum { computed, got }) }
}

fn checksum(content: &[u8]) -> u8 {
    content.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The frame of a reset or a question.
pub(super) fn short(control: u8, address: u8) -> Vec<u8> {
    vec![SHORT, control, address, checksum(&[control, address]), END]
}

/// A frame with user data; of more than 255 bytes from the control byte on there is none, and nothing here asks for one.
pub(super) fn long<const N: usize>(content: [u8; N]) -> Vec<u8> {
    const { assert!(N >= 3 && N <= 255) };
    let mut frame = vec![LONG, N as u8, N as u8, LONG];
    frame.extend(content);
    frame.extend([checksum(&content), END]);
    frame
}
