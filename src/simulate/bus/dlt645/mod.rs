//! Electricity meters of DL/T 645-2007 and -1997: questions, frames and answers.
//!
//! Source: DL/T 645-2007 clauses 5 and 7, appendices A and C. Nothing is ever written: what would write is refused with
//! "unauthorised" and counted, to one meter or to all.

mod items;
#[cfg(test)]
mod tests;
mod values;

use std::time::Duration;

use jiff::civil::{self, DateTime};

use super::bytes::{address, addressed, mix, sum};
use super::fault::{Manner, Twist};

/// Bytes of data in a frame (clause 5.2.4).
const DATA_MAX: usize = 200;

/// Which edition a meter speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// DL/T 645-1997: identifiers of two bytes.
    V1997,
    /// DL/T 645-2007: identifiers of four bytes.
    V2007,
}

/// One electricity meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dlt645Meter {
    /// Twelve digits.
    pub address: u64,
    /// What it speaks.
    pub edition: Edition,
    /// Tariffs besides the total, at most 63.
    pub tariffs: u8,
    /// Three, or one: then blocks hold FF for the missing phases.
    pub phases: u8,
    /// What its clock says at the start.
    pub clock: DateTime,
    /// Status words 1 to 7; the lower byte of the first is the status word of 1997.
    pub status: [u16; 7],
    /// Identifiers with what it says for them instead, plain (without +33H), lowest byte first.
    pub said: Vec<(u32, Vec<u8>)>,
    /// Bytes of values in one frame; the rest follows in further frames.
    pub chunk: usize,
    /// Makes its values its own.
    pub seed: u64,
    /// No value moves, and each says whose it is and which.
    pub fixed: bool,
    /// How it behaves on the line.
    pub manner: Manner,
    /// How many questions wanted to change something, in it or in all.
    pub writes_seen: u64,
}

impl Dlt645Meter {
    /// A healthy three-phase meter of 2007 with four tariffs, which sends four FE first.
    #[must_use]
    pub fn new(address: u64, seed: u64) -> Self {
        Self {
            address: address % 1_000_000_000_000,
            edition: Edition::V2007,
            tariffs: 4,
            phases: 3,
            clock: civil::date(2026, 1, 1).at(8, 0, 0, 0),
            status: [0; 7],
            said: Vec::new(),
            chunk: DATA_MAX - 8,
            seed,
            fixed: false,
            manner: Manner::new(Duration::from_millis(30), 4),
            writes_seen: 0,
        }
    }

    /// The same of 1997.
    #[must_use]
    pub fn v1997(address: u64, seed: u64) -> Self {
        Self { edition: Edition::V1997, ..Self::new(address, seed) }
    }

    /// The same with values that do not move, each of which says whose it is and which.
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// The same, which says these plain bytes, lowest first, for an identifier.
    #[must_use]
    pub fn saying(mut self, identifier: u32, bytes: &[u8]) -> Self {
        self.said.push((identifier, bytes.to_vec()));
        self
    }

    pub(super) fn stranger(&self) -> Self {
        let next = (self.address + 1) % 1_000_000_000_000;
        Self { address: next, seed: self.seed.wrapping_add(1), said: Vec::new(), ..self.clone() }
    }

    /// Whether it answers. The broadcast address is heard and not answered, but by a meter of 1997 that is read.
    pub(super) fn takes(&mut self, question: &Question) -> bool {
        let own = addressed(&question.address, &address::<6>(self.address));
        let all = question.address == [0x99; 6];
        self.writes_seen += u64::from((own || all) && WRITES.contains(&question.control));
        match (self.edition, question.control) {
            (Edition::V1997, 0x01 | 0x02) => own || all,
            (Edition::V1997, 0x04 | 0x0A | 0x0C | 0x0F | 0x10) => own,
            (Edition::V2007, 0x11..=0x1C) => own,
            _ => false,
        }
    }

    pub(super) fn answer(&self, question: &Question, elapsed: Duration, twist: Twist) -> Vec<u8> {
        let function = question.control;
        let own = address(self.address);
        let refused = |code| frame(own, function | 0xC0, &[code]);
        let (read, size) = match self.edition {
            Edition::V1997 => (0x01, 2),
            Edition::V2007 => (0x11, 4),
        };
        match (function, twist) {
            (_, Twist::Refuse(code)) => refused(code),
            (0x13, _) => frame(own, 0x93, &twist.cut(own.to_vec())),
            // Without a password, whatever was sent as one.
            _ if WRITES.contains(&function) => refused(0x04),
            _ => {
                let Some((identifier, rest)) = question.data.split_at_checked(size) else {
                    return Vec::new();
                };
                let number = identifier.iter().rev().fold(0, |all, byte| all << 8 | u32::from(*byte));
                let number = if twist == Twist::OtherItem { self.other(number) } else { number };
                let Some(content) = self.content(number, elapsed) else { return refused(0x02) };
                // A follow-up has the number of its frame behind the values.
                let sequence = if function == read { 0 } else { rest.first().copied().unwrap_or_default() };
                if function != read && sequence == 0 {
                    return refused(0x02);
                }
                let mut frames = content.chunks(self.chunk.clamp(1, DATA_MAX - 5)).skip(sequence.into());
                let Some(values) = frames.next() else { return refused(0x02) };
                let more = if frames.next().is_some() { 0x20 } else { 0 };
                let mut data = number.to_le_bytes()[..size].to_vec();
                data.extend_from_slice(&twist.cut(values.to_vec()));
                if function != read {
                    data.push(sequence);
                }
                frame(own, function | 0x80 | more, &data)
            }
        }
    }

    /// An identifier that the meter has, and that was not asked for.
    fn other(&self, asked: u32) -> u32 {
        let known = match self.edition {
            Edition::V1997 => [0x9010, 0x9020],
            Edition::V2007 => [0x0001_0000, 0x0002_0000],
        };
        if asked == known[0] { known[1] } else { known[0] }
    }

    /// What its clock says.
    fn now(&self, elapsed: Duration) -> DateTime {
        self.clock.saturating_add(elapsed)
    }

    /// Steps of its counters in a second.
    fn pace(&self) -> u64 {
        1 + self.seed % 5
    }

    /// What its counters say at the start.
    fn begin(&self) -> u64 {
        mix(self.seed) % 1_000_000
    }
}

/// Functions that change something in a meter, of either edition.
const WRITES: [u8; 16] =
    [0x04, 0x08, 0x0A, 0x0C, 0x0F, 0x10, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D];

/// What a master asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    address: [u8; 6],
    control: u8,
    /// Plain.
    data: Vec<u8>,
}

/// The question that ends here, and its bytes without the leader.
pub(super) fn question(heard: &[u8]) -> Option<(usize, Question)> {
    let (content, [check, 0x16]) = heard.split_last_chunk::<2>()? else { return None };
    (0..=DATA_MAX).find_map(|count| {
        let frame = &content[content.len().checked_sub(10 + count)?..];
        let [0x68, a, b, c, d, e, f, 0x68, control, length, data @ ..] = frame else { return None };
        let whole = usize::from(*length) == count && *control & 0x80 == 0 && sum(frame) == *check;
        whole.then(|| {
            let data = data.iter().map(|byte| byte.wrapping_sub(0x33)).collect();
            (12 + count, Question { address: [*a, *b, *c, *d, *e, *f], control: *control, data })
        })
    })
}

/// Data is plain; it goes over the wire with 33H added to each byte, and the sum is over what is sent.
fn frame(address: [u8; 6], control: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x68];
    frame.extend_from_slice(&address);
    frame.extend_from_slice(&[0x68, control, data.len() as u8]);
    frame.extend(data.iter().map(|byte| byte.wrapping_add(0x33)));
    frame.extend_from_slice(&[sum(&frame), 0x16]);
    frame
}
