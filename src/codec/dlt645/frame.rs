//! Frames: which bytes are one, and what the link layer says of them (DL/T 645-2007 §5.2; 1997 has the same frame).
//!
//! Guarantees: any bytes give an answer in bounded time and without allocation; more is asked for only while fewer than
//! [`FRAME_BYTES_MAX`] bytes are there and all of them may begin a frame. The leader belongs to its frame. After a wrong
//! checksum the search goes on behind the first start byte, so a whole frame inside a damaged one is found.
//!
//! The checksum is a sum: it sees any one wrong byte but the length, which moves the checksum itself. A wrong length is
//! seen unless the data happen to hold that sum followed by the end byte.

use std::fmt;

use super::Address;
use crate::codec::Scan;

/// Leader, frame without data, data of an answer.
pub const FRAME_BYTES_MAX: usize = LEADER_BYTES_MAX + FRAME_BYTES + ANSWER_DATA_BYTES_MAX;

/// Bytes of a frame without leader and data.
pub(super) const FRAME_BYTES: usize = 12;
/// Data of an answer (§5.2.4).
pub(super) const ANSWER_DATA_BYTES_MAX: usize = 200;
/// Data of a question; writing has the longest (§5.2.4).
const QUESTION_DATA_BYTES_MAX: usize = 50;
/// The standard sends four (§5.3.1), answers have up to seven; what is more is garbage.
const LEADER_BYTES_MAX: usize = 64;

const LEADER: u8 = 0xFE;
const START: u8 = 0x68;
const END: u8 = 0x16;
/// What data bytes are moved by on the wire (§5.2.5).
const OFFSET: u8 = 0x33;

const ANSWER: u8 = 0x80;
const REFUSAL: u8 = 0x40;
const MORE: u8 = 0x20;

/// A whole frame with the right checksum, of either direction. Its `Debug` shows no data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// FE bytes in front.
    pub leader: usize,
    /// Whose answer, or who is asked.
    pub address: Address,
    /// C, with direction and state (§5.2.3).
    pub control: u8,
    /// As sent, with the 33H.
    data: &'a [u8],
}

impl Frame<'_> {
    /// Whether a meter sent it (D7).
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.control & ANSWER != 0
    }

    /// Whether the meter says no (D6).
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.control & REFUSAL != 0
    }

    /// Whether the rest has to be asked for (D5).
    #[must_use]
    pub fn more(&self) -> bool {
        self.control & MORE != 0
    }

    /// What is asked or answered (D4 to D0): 11H is reading of 2007, 01H of 1997.
    #[must_use]
    pub fn function(&self) -> u8 {
        self.control & 0x1F
    }

    /// The data as they are meant: without the 33H.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        self.data.iter().map(|byte| byte.wrapping_sub(OFFSET)).collect()
    }

    /// The data as they were sent; some vendors' heartbeats have no 33H.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        self.data
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("address", &self.address)
            .field("control", &self.control)
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// Why bytes hold no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `checksum`, `malformed` or `truncated`.
    pub reason: &'static str,
    /// What the checksum should be, where it is wrong.
    pub computed: Option<u8>,
    /// What it is.
    pub got: Option<u8>,
}

/// A front that has all bytes of a frame, checked but for checksum and end.
struct Candidate<'a> {
    frame: Frame<'a>,
    len: usize,
    computed: u8,
    got: u8,
    end: u8,
}

impl Candidate<'_> {
    fn is_whole(&self) -> bool {
        self.computed == self.got && self.end == END
    }
}

/// Why a front is no candidate.
enum Front {
    Short,
    /// So many bytes of garbage.
    Garbage(usize),
}

/// What the front of the received bytes is.
#[must_use]
pub fn scan(bytes: &[u8]) -> Scan<Frame<'_>> {
    match candidate(bytes) {
        Ok(found) if found.is_whole() => Scan::Frame { len: found.len, frame: found.frame },
        Ok(found) => Scan::Skip(found.frame.leader + 1),
        Err(Front::Garbage(count)) => Scan::Skip(count),
        Err(Front::Short) => Scan::Need,
    }
}

/// The first frame that `bytes` hold somewhere.
///
/// # Errors
/// Why there is none: a wrong checksum says more than anything else, then the first start byte counts.
pub fn examine(bytes: &[u8]) -> Result<Frame<'_>, Fault> {
    let plain = |reason| Fault { reason, computed: None, got: None };
    let mut best = None::<Fault>;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == START) {
        let leader =
            bytes[..at].iter().rev().take(LEADER_BYTES_MAX).take_while(|byte| **byte == LEADER).count();
        let fault = match candidate(&bytes[at - leader..]) {
            Ok(found) if found.is_whole() => return Ok(found.frame),
            Ok(Candidate { computed, got, .. }) if computed != got => {
                Fault { reason: "checksum", computed: Some(computed), got: Some(got) }
            }
            Ok(_) | Err(Front::Garbage(_)) => plain("malformed"),
            Err(Front::Short) => plain("truncated"),
        };
        if best.is_none_or(|best| best.computed.is_none() && fault.computed.is_some()) {
            best = Some(fault);
        }
    }
    Err(best.unwrap_or(plain("malformed")))
}

/// What stands at the front but for a wrong checksum or a wrong end; none when it is a good frame or no frame at all.
pub(super) fn damaged(bytes: &[u8]) -> Option<Frame<'_>> {
    candidate(bytes).ok().filter(|found| !found.is_whole()).map(|found| found.frame)
}

/// Judges every byte as soon as it is there: what looks like a start by chance is mostly seen through at the next byte.
fn candidate(bytes: &[u8]) -> Result<Candidate<'_>, Front> {
    let leader = bytes.iter().take_while(|byte| **byte == LEADER).count();
    if leader > LEADER_BYTES_MAX {
        return Err(Front::Garbage(leader - LEADER_BYTES_MAX));
    }
    let rest = &bytes[leader..];
    match rest.first() {
        None => return Err(Front::Short),
        Some(&START) => {}
        Some(_) => {
            let garbage = rest.iter().take_while(|byte| !matches!(**byte, START | LEADER)).count();
            return Err(Front::Garbage(leader + garbage));
        }
    }
    let garbage = Front::Garbage(leader + 1);
    let mut wire = [0; 6];
    let digits = &rest[1..rest.len().min(7)];
    wire[..digits.len()].copy_from_slice(digits);
    let Some(address) = Address::from_wire(wire) else { return Err(garbage) };
    if rest.get(7).is_some_and(|byte| *byte != START) {
        return Err(garbage);
    }
    let Some(&control) = rest.get(8) else { return Err(Front::Short) };
    let is_answer = control & ANSWER != 0;
    if !is_answer && control & (REFUSAL | MORE) != 0 {
        return Err(garbage);
    }
    let Some(count) = rest.get(9).map(|count| usize::from(*count)) else { return Err(Front::Short) };
    if count > if is_answer { ANSWER_DATA_BYTES_MAX } else { QUESTION_DATA_BYTES_MAX } {
        return Err(garbage);
    }
    let Some(&[got, end]) = rest.get(10 + count..FRAME_BYTES + count) else { return Err(Front::Short) };
    let computed = sum(&rest[..10 + count]);
    let frame = Frame { leader, address, control, data: &rest[10..10 + count] };
    Ok(Candidate { frame, len: leader + FRAME_BYTES + count, computed, got, end })
}

/// §5.2.6.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// A question as sent, with the leader of §5.3.1; `data` without the 33H.
pub(super) fn seal(address: Address, control: u8, data: &[u8]) -> Vec<u8> {
    const LEADER_SENT: [u8; 4] = [LEADER; 4];
    debug_assert!(data.len() <= QUESTION_DATA_BYTES_MAX, "questions are short");
    let mut frame = Vec::with_capacity(LEADER_SENT.len() + FRAME_BYTES + data.len());
    frame.extend(LEADER_SENT);
    frame.push(START);
    frame.extend(address.wire());
    frame.extend([START, control, data.len() as u8]);
    frame.extend(data.iter().map(|byte| byte.wrapping_add(OFFSET)));
    frame.extend([sum(&frame[LEADER_SENT.len()..]), END]);
    frame
}
