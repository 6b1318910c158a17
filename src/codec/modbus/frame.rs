//! Frames: which bytes are one, by function-specific length and CRC, and what they say.
//!
//! Guarantees: any bytes give an answer in bounded time, a skip is one byte, more is needed only while fewer than
//! [`FRAME_BYTES_MAX`] bytes are there. A damaged length costs one byte at a time, so a whole frame behind it is found.

use std::fmt;

use super::crc16;
use crate::codec::Scan;

/// Unit, 253 bytes of PDU, CRC (Serial Line V1.02 §2.5.1).
pub const FRAME_BYTES_MAX: usize = 256;

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
    /// A slave says no.
    Exception(Exception),
    /// Any other function whose length is known.
    Other(&'a [u8]),
}

/// Why a slave says no (V1.1b3 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception(pub u8);

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "illegal function",
            2 => "illegal data address",
            3 => "illegal data value",
            4 => "device failure",
            5 => "acknowledge",
            6 => "busy",
            7 => "negative acknowledge",
            8 => "memory parity error",
            0x0A => "gateway path unavailable",
            0x0B => "gateway target did not answer",
            code => return write!(f, "exception {code}"),
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
        _ => return Err(Fault::Unknown),
    };
    if len > FRAME_BYTES_MAX { Err(Fault::Unknown) } else { Ok(len) }
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
        (_, 15 | 16) => {
            let (start, count) = (word(0)?, word(2)?);
            let (max, bytes) =
                if function == 15 { (1968, count.div_ceil(8)) } else { (123, count.saturating_mul(2)) };
            let values = data.get(5..).unwrap_or_default();
            let whole = direction == Direction::Response || values.len() == usize::from(bytes);
            if !(1..=max).contains(&count) || !whole {
                return None;
            }
            Body::WriteMany { start, count, data: values }
        }
        _ => Body::Other(data),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Request, Table};
    use super::*;

    fn sealed(mut content: Vec<u8>) -> Vec<u8> {
        let crc = crc16(&content);
        content.extend(crc.to_le_bytes());
        content
    }

    /// Reads a whole capture in the given pieces, the way a bus does.
    fn frames(pieces: &[&[u8]], direction: Direction) -> Vec<(usize, Vec<u8>)> {
        let (mut buffer, mut gone, mut found) = (Vec::new(), 0, Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                let used = match scan(&buffer, direction) {
                    Scan::Need => break,
                    Scan::Skip(count) => count,
                    Scan::Frame { len, .. } => {
                        found.push((gone, buffer[..len].to_vec()));
                        len
                    }
                };
                assert!((1..=buffer.len()).contains(&used));
                buffer.drain(..used);
                gone += used;
            }
            assert!(buffer.len() < FRAME_BYTES_MAX, "what waits is bounded");
        }
        found
    }

    #[test]
    fn what_no_device_may_say_is_no_frame_even_with_a_good_checksum() {
        use Direction::{Request, Response};
        for (content, direction, fault) in [
            (vec![1, 3, 0, 0, 0, 0], Request, Fault::Content),
            (vec![1, 3, 0, 0, 0, 126], Request, Fault::Content),
            (vec![1, 1, 0, 0, 7, 209], Request, Fault::Content),
            (vec![1, 5, 0, 0, 1, 0], Request, Fault::Content),
            (vec![1, 16, 0, 0, 0, 2, 2, 0, 0], Request, Fault::Content),
            (vec![1, 0x83, 0], Response, Fault::Content),
            (vec![1, 3, 3, 0, 0, 0], Response, Fault::Unknown),
            (vec![1, 3, 0], Response, Fault::Unknown),
            (vec![1, 3, 252, 0], Response, Fault::Unknown),
            (vec![1, 99, 0, 0], Response, Fault::Unknown),
            (vec![1, 3, 4, 0], Response, Fault::Short),
        ] {
            let bytes = sealed(content.clone());
            assert_eq!(examine(&bytes, direction), Err(fault), "{content:?}");
        }
    }

    #[test]
    fn a_long_length_in_the_garbage_gives_way_to_the_frame_behind_it() {
        let good = sealed(vec![9, 4, 2, 1, 2]);
        let mut capture = vec![0x07, 0x03, 0x04];
        capture.extend(&good);
        capture.extend([0; 8]);
        assert_eq!(frames(&[&capture], Direction::Response), [(3, good)]);
    }

    fn responses() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (1..248u8, 1..5u8, proptest::collection::vec(any::<u8>(), 1..60)).prop_map(
                |(unit, function, mut data)| {
                    if function > 2 && data.len() % 2 == 1 {
                        data.push(0);
                    }
                    let mut content = vec![unit, function, data.len() as u8];
                    content.extend(data);
                    sealed(content)
                }
            ),
            (1..248u8, 1..5u8, 1..12u8).prop_map(|(unit, function, code)| sealed(vec![
                unit,
                function | 0x80,
                code
            ])),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_split_end_and_the_split_does_not_matter(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            at in 0..600usize,
            asked in any::<bool>(),
        ) {
            let direction = if asked { Direction::Request } else { Direction::Response };
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(frames(&[&bytes], direction), frames(&[head, tail], direction));
        }

        #[test]
        fn a_frame_is_found_whole_wherever_it_is_split(frame in responses(), at in 0..70usize) {
            let (head, tail) = frame.split_at(at.min(frame.len()));
            prop_assert_eq!(frames(&[head, tail], Direction::Response), vec![(0, frame.clone())]);
        }

        /// The length being the same, CRC-16 sees every change within 16 bits.
        #[test]
        fn one_wrong_byte_never_makes_another_answer(
            frame in responses(),
            at in any::<proptest::sample::Index>(),
            flip in 1..=255u8,
        ) {
            let Ok((_, whole)) = examine(&frame, Direction::Response) else { panic!("a frame") };
            let count = match whole.body {
                Body::Bits(data) => data.len() * 8,
                Body::Registers(data) => data.len() / 2,
                _ => 1,
            };
            let table = [Table::Coil, Table::Discrete, Table::Holding, Table::Input][usize::from(whole.function) - 1];
            let question = Request::new(whole.unit, table, 0, count as u16).expect("a possible question");
            let mut damaged = frame.clone();
            damaged[at.index(frame.len())] ^= flip;
            for (_, bytes) in frames(&[&damaged], Direction::Response) {
                let Ok((_, other)) = examine(&bytes, Direction::Response) else { panic!("a frame") };
                prop_assert!(!matches!(question.answer(&other), Some(Ok(_))));
            }
        }
    }
}
