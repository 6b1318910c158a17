//! Frames: which bytes are one, by function-specific length and CRC, and what they say.
//!
//! Guarantees: any bytes give an answer in bounded time, a skip is one byte, more is needed only while fewer than
//! [`FRAME_BYTES_MAX`] bytes are there. A damaged length costs one byte at a time, so a whole frame behind it is found.

use std::fmt;

use super::{Exception, crc16};
use crate::codec::Scan;

/// Unit, 253 bytes of PDU, CRC (Serial Line V1.02 §2.5.1).
pub const FRAME_BYTES_MAX: usize = 256;

/// The encapsulated function of FC 43 that reads a device's identification (V1.1b3 §6.21).
pub(super) const MEI_IDENTIFICATION: u8 = 14;

/// Who sent it. The bytes alone do not always tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The master.
    Request,
    /// A slave.
    Response,
}

/// A whole frame with the right CRC. Its `Debug` shows no values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The slave's address; 0 is everybody.
    pub unit: u8,
    /// The function, without the exception's high bit.
    pub function: u8,
    /// The rest.
    pub body: Body<'a>,
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("unit", &self.unit)
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

/// What a frame says beside unit and function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// Question of FC 1 to 4.
    Read {
        /** First address. */
        start: u16,
        /** How many. */
        count: u16,
    },
    /// Answer of FC 1 and 2: the least significant bit of the first byte is the first item; filled up to a byte.
    Bits(&'a [u8]),
    /// Answer of FC 3, 4 and 23: registers, most significant byte first.
    Registers(&'a [u8]),
    /// FC 5, both directions.
    WriteCoil {
        /** Address. */
        address: u16,
        /** On or off. */
        on: bool,
    },
    /// FC 6, both directions.
    WriteRegister {
        /** Address. */
        address: u16,
        /** Value. */
        value: u16,
    },
    /// FC 15 and 16; the answer has no data.
    WriteMany {
        /** First address. */
        start: u16,
        /** How many. */
        count: u16,
        /** Packed bits or registers. */
        data: &'a [u8],
    },
    /// Question of FC 7 and 17, which is nothing more.
    Ask,
    /// Answer of FC 7: eight coils whose meaning is the slave's.
    Status(u8),
    /// Answer of FC 17: what the slave says of itself.
    Server(&'a [u8]),
    /// FC 22, both directions: the register becomes (itself and `and`) or (`or` and not `and`).
    MaskWrite {
        /** Address. */
        address: u16,
        /** Bits that stay. */
        and: u16,
        /** Bits that are set where they do not stay. */
        or: u16,
    },
    /// Question of FC 23: writes, then reads.
    ReadWrite {
        /** First address to read. */
        start: u16,
        /** How many to read. */
        count: u16,
        /** First address to write. */
        write_start: u16,
        /** Registers to write. */
        data: &'a [u8],
    },
    /// Question of FC 43/14.
    ReadIdentification {
        /** 1 basic, 2 regular, 3 extended, 4 one object. */
        code: u8,
        /** The first object. */
        object: u8,
    },
    /// Answer of FC 43/14.
    Identification {
        /** As asked. */
        code: u8,
        /** 1 to 3: what the slave has; 80H more: it gives single objects. */
        conformity: u8,
        /** The object to go on with, when there are more. */
        next: Option<u8>,
        /** The objects. */
        objects: Objects<'a>,
    },
    /// A slave says no.
    Exception(Exception),
    /// Any other function whose length is known.
    Other(&'a [u8]),
}

/// Objects of an answer of FC 43/14, each inside of the frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Objects<'a>(&'a [u8]);

impl<'a> Objects<'a> {
    /// Number and content of each.
    pub fn iter(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_at_checked(2)?;
            let (content, behind) = tail.split_at_checked(head[1].into())?;
            rest = behind;
            Some((head[0], content))
        })
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The function, or its byte count, is none that has a length.
    Unknown,
    /// So far so good, but the end is missing.
    Short,
    /// The checksum; both as on the wire.
    Crc {
        /** What it should be. */
        computed: [u8; 2],
        /** What came. */
        got: [u8; 2],
    },
    /// The checksum holds, but no device may say this.
    Content,
}

/// What the front of the received bytes is.
#[must_use]
pub fn scan(bytes: &[u8], direction: Direction) -> Scan<Frame<'_>> {
    match examine(bytes, direction) {
        Ok((len, frame)) => Scan::Frame { len, frame },
        Err(Fault::Short) => Scan::Need,
        Err(_) => Scan::Skip(1),
    }
}

/// The frame at the front and its length in bytes.
///
/// # Errors
/// Why there is none.
pub fn examine(bytes: &[u8], direction: Direction) -> Result<(usize, Frame<'_>), Fault> {
    let len = length(bytes, direction)?;
    let frame = bytes.get(..len).ok_or(Fault::Short)?;
    let (content, got) = frame.split_at(len - 2);
    let (computed, got) = (crc16(content).to_le_bytes(), [got[0], got[1]]);
    if computed != got {
        return Err(Fault::Crc { computed, got });
    }
    let body = body(content[1], &content[2..], direction).ok_or(Fault::Content)?;
    Ok((len, Frame { unit: content[0], function: content[1] & 0x7F, body }))
}

/// Bytes of the frame that begins here, from 4 to [`FRAME_BYTES_MAX`].
fn length(bytes: &[u8], direction: Direction) -> Result<usize, Fault> {
    let counted = |at: usize| bytes.get(at).map(|count| usize::from(*count)).ok_or(Fault::Short);
    let function = *bytes.get(1).ok_or(Fault::Short)?;
    let len = match (direction, function) {
        (Direction::Response, 1 | 2 | 17 | 20 | 21) => 5 + nonzero(counted(2)?)?,
        (Direction::Response, 3 | 4 | 23) => 5 + even(nonzero(counted(2)?)?)?,
        (Direction::Response, 0x81..=0x98 | 0xAB) | (Direction::Response, 7) => 5,
        (Direction::Request, 1..=4) | (_, 5 | 6 | 8) | (Direction::Response, 11 | 15 | 16) => 8,
        (Direction::Request, 7 | 11 | 17) => 4,
        (Direction::Request, 15) => 9 + nonzero(counted(6)?)?,
        (Direction::Request, 16) => 9 + even(nonzero(counted(6)?)?)?,
        (Direction::Request, 23) => 13 + even(nonzero(counted(10)?)?)?,
        (_, 22) => 10,
        (_, 0x2B) => identification(bytes, direction)?,
        _ => return Err(Fault::Unknown),
    };
    if len > FRAME_BYTES_MAX { Err(Fault::Unknown) } else { Ok(len) }
}

/// Bytes of a frame of FC 43/14 (V1.1b3 §6.21): an answer is as long as its objects say, one by one.
fn identification(bytes: &[u8], direction: Direction) -> Result<usize, Fault> {
    let byte = |at: usize| bytes.get(at).copied().ok_or(Fault::Short);
    if byte(2)? != MEI_IDENTIFICATION || !(1..=4).contains(&byte(3)?) {
        return Err(Fault::Unknown);
    }
    if direction == Direction::Request {
        return Ok(7);
    }
    let mut end = 8;
    for behind in (0..usize::from(byte(7)?)).rev() {
        // Number and length of each that follows, and the checksum, still have to fit.
        if end + 2 + 2 * behind + 2 > FRAME_BYTES_MAX {
            return Err(Fault::Unknown);
        }
        end += 2 + usize::from(byte(end + 1)?);
    }
    Ok(end + 2)
}

fn nonzero(count: usize) -> Result<usize, Fault> {
    if count == 0 { Err(Fault::Unknown) } else { Ok(count) }
}

fn even(count: usize) -> Result<usize, Fault> {
    if count % 2 == 1 { Err(Fault::Unknown) } else { Ok(count) }
}

/// `data` is between function and CRC; [`length`] has seen to it that it is long enough for its function.
fn body(function: u8, data: &[u8], direction: Direction) -> Option<Body<'_>> {
    let word = |at: usize| data.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    Some(match (direction, function) {
        (Direction::Request, 1..=4) => {
            let (start, count) = (word(0)?, word(2)?);
            let max = if function <= 2 { 2000 } else { 125 };
            if !(1..=max).contains(&count) {
                return None;
            }
            Body::Read { start, count }
        }
        (Direction::Response, 1 | 2) => Body::Bits(data.get(1..)?),
        (Direction::Response, 3 | 4 | 23) => Body::Registers(data.get(1..)?),
        (Direction::Response, 0x80..) => match *data.first()? {
            0 => return None,
            code => Body::Exception(Exception(code)),
        },
        (_, 5) => match word(2)? {
            0xFF00 => Body::WriteCoil { address: word(0)?, on: true },
            0 => Body::WriteCoil { address: word(0)?, on: false },
            _ => return None,
        },
        (_, 6) => Body::WriteRegister { address: word(0)?, value: word(2)? },
        (Direction::Request, 15 | 16) => {
            let (start, count, data) = (word(0)?, word(2)?, data.get(5..)?);
            let (max, bytes) =
                if function == 15 { (1968, count.div_ceil(8)) } else { (123, count.saturating_mul(2)) };
            if !(1..=max).contains(&count) || data.len() != usize::from(bytes) {
                return None;
            }
            Body::WriteMany { start, count, data }
        }
        (Direction::Response, 15 | 16) => {
            let (start, count) = (word(0)?, word(2)?);
            let max = if function == 15 { 1968 } else { 123 };
            if !(1..=max).contains(&count) {
                return None;
            }
            Body::WriteMany { start, count, data: &[] }
        }
        (Direction::Request, 7 | 17) => Body::Ask,
        (Direction::Response, 7) => Body::Status(*data.first()?),
        (Direction::Response, 17) => Body::Server(data.get(1..)?),
        (_, 22) => Body::MaskWrite { address: word(0)?, and: word(2)?, or: word(4)? },
        (Direction::Request, 23) => {
            let (count, written, data) = (word(2)?, word(6)?, data.get(9..)?);
            let possible = (1..=125).contains(&count) && (1..=121).contains(&written);
            if !possible || data.len() != 2 * usize::from(written) {
                return None;
            }
            Body::ReadWrite { start: word(0)?, count, write_start: word(4)?, data }
        }
        (Direction::Request, 0x2B) => Body::ReadIdentification { code: *data.get(1)?, object: *data.get(2)? },
        (Direction::Response, 0x2B) => Body::Identification {
            code: *data.get(1)?,
            conformity: *data.get(2)?,
            // Not only FF, as the standard has it: what is no "no" is a "yes".
            next: (*data.get(3)? != 0).then_some(*data.get(4)?),
            objects: Objects(data.get(6..)?),
        },
        _ => Body::Other(data),
    })
}

#[cfg(test)]
mod tests;
