//! Questions, and which frames answer them.
//!
//! Guarantees: an answer is only what has the direction, the address, the function and the identifier (and the number, of
//! a follow-up) of its question; wildcards of the question fit any digits. Nothing here writes to a meter.
//!
//! Long answers: an answer of 2007 that says [`Answer::more`] is continued with [`Request::Follow`], numbers from 1, and
//! the data are put together in that order; whoever asks gives up after [`FOLLOW_FRAMES_MAX`]. How 1997 asks for the rest
//! is not known for certain, so there a long answer counts as a refusal without a value.

use std::fmt;

use super::frame::{ANSWER_DATA_BYTES_MAX, FRAME_BYTES, damaged, seal};
use super::{Address, Edition, Frame, Identifier, items};

/// Frames of one long answer, the first one included, after which putting it together is given up.
pub const FOLLOW_FRAMES_MAX: usize = 64;

/// Leader bytes an answer may have on the wire, for its time.
const ANSWER_LEADER_BYTES: usize = 8;

/// A question that changes nothing in the meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reads one item or block: C = 11H (2007 §7.1) or 01H (1997).
    Read {
        /** Who. Of 1997, 999999999999 is any meter, if there is only one on the line. */
        address: Address,
        /** What. */
        identifier: Identifier,
    },
    /// Reads the rest of a long answer: C = 12H (§7.2). Of 2007 only, and only after an answer with [`Answer::more`].
    Follow {
        /** Who. */
        address: Address,
        /** What, as in the first question. */
        identifier: Identifier,
        /** 1 for the first frame behind the first answer. */
        seq: u8,
    },
    /// Asks for the address: C = 13H (§7.4). Only with one meter on the line, else the answers collide.
    ReadAddress {
        /** Mostly [`Address::ANY`]. */
        address: Address,
    },
}

/// What a meter answers. Its `Debug` shows no data.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who answered, without wildcards.
    pub address: Address,
    /// Whether the rest has to be asked for with [`Request::Follow`].
    pub more: bool,
    /// Without the 33H, the identifier and the number. Of [`Request::ReadAddress`]: the address.
    pub data: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("address", &self.address)
            .field("more", &self.more)
            .field("data_bytes", &self.data.len())
            .finish()
    }
}

impl Request {
    /// As sent, with the leader.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut data = self.identifier().map(Identifier::wire).unwrap_or_default();
        if let Self::Follow { seq, .. } = self {
            data.push(*seq);
        }
        seal(self.address(), self.function(), &data)
    }

    /// Bytes of the longest answer on the wire. An unknown or a very long block counts as a full frame.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        let data = match self {
            Self::Read { identifier, .. } => {
                items::bytes_max(*identifier).map_or(usize::MAX, |bytes| identifier.wire().len() + bytes)
            }
            Self::Follow { .. } => usize::MAX,
            Self::ReadAddress { .. } => 6,
        };
        ANSWER_LEADER_BYTES + FRAME_BYTES + data.min(ANSWER_DATA_BYTES_MAX)
    }

    /// What `frame` says to this question; none when it is not its answer: another meter's or another question's, the
    /// echo of a question, a heartbeat.
    #[must_use]
    pub fn answer(&self, frame: &Frame<'_>) -> Option<Result<Answer, Refusal>> {
        if !frame.is_answer() || frame.function() != self.function() {
            return None;
        }
        let data = frame.data();
        if frame.is_refusal() {
            let &[code] = &data[..] else { return None };
            let refusal = Refusal { code, edition: self.edition(), incomplete: false };
            return self.is_from(frame.address).then_some(Err(refusal));
        }
        if matches!(self, Self::ReadAddress { .. }) {
            // The address field may repeat the wildcards of the question.
            let address = Address::from_wire(data.as_slice().try_into().ok()?)?;
            let known = !frame.more() && frame.address.fits(address) && self.is_from(address);
            return known.then_some(Ok(Answer { address, more: false, data }));
        }
        if !self.is_from(frame.address) {
            return None;
        }
        let mut data = &*data;
        if let Some(identifier) = self.identifier() {
            data = data.strip_prefix(&*identifier.wire())?;
        }
        if let Self::Follow { seq, .. } = self {
            data = data.strip_suffix(&[*seq])?;
        }
        if frame.more() && self.edition() == Edition::V1997 {
            return Some(Err(Refusal { code: 0, edition: Edition::V1997, incomplete: true }));
        }
        Some(Ok(Answer { address: frame.address, more: frame.more(), data: data.to_vec() }))
    }

    /// Whether the front of `bytes` is the answer to this question but for its checksum or its end.
    #[must_use]
    pub fn damaged(&self, bytes: &[u8]) -> bool {
        damaged(bytes).is_some_and(|frame| self.answer(&frame).is_some())
    }

    fn address(&self) -> Address {
        match self {
            Self::Read { address, .. } | Self::Follow { address, .. } | Self::ReadAddress { address } => {
                *address
            }
        }
    }

    fn identifier(&self) -> Option<Identifier> {
        match self {
            Self::Read { identifier, .. } | Self::Follow { identifier, .. } => Some(*identifier),
            Self::ReadAddress { .. } => None,
        }
    }

    fn edition(&self) -> Edition {
        self.identifier().map_or(Edition::V2007, Identifier::edition)
    }

    fn function(&self) -> u8 {
        match (self, self.edition()) {
            (Self::Read { .. }, Edition::V1997) => 0x01,
            (Self::Read { .. }, Edition::V2007) => 0x11,
            (Self::Follow { .. }, _) => 0x12,
            (Self::ReadAddress { .. }, _) => 0x13,
        }
    }

    /// Whether `answered` is a meter's own address and one that was asked.
    fn is_from(&self, answered: Address) -> bool {
        let any = self.edition() == Edition::V1997 && self.address() == broadcast();
        !answered.is_wildcard() && (any || self.address().fits(answered))
    }
}

/// 999999999999: everybody. 2007 never answers it (§5.2.1), single meters of 1997 do.
pub(super) fn broadcast() -> Address {
    Address::from_wire([0x99; 6]).expect("nines are digits")
}

/// A meter says no (2007 App. C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error byte without the 33H; any number of bits.
    pub code: u8,
    edition: Edition,
    /// The answer of 1997 has a rest that cannot be asked for.
    incomplete: bool,
}

/// Names and sentences of the bits, lowest first; bits without a meaning have no name.
const BITS_2007: [(&str, &str); 7] = [
    ("other_error", "the meter reports an error without a cause"),
    ("no_requested_data", "the meter has no such item"),
    ("unauthorised", "the password is wrong or the operator is not authorised"),
    ("baud_not_changeable", "the line speed cannot be changed"),
    ("year_zones_exceeded", "more year zones than the meter has"),
    ("day_periods_exceeded", "more day periods than the meter has"),
    ("tariffs_exceeded", "more tariffs than the meter has"),
];
const BITS_1997: [(&str, &str); 7] = [
    ("illegal_data", "the meter calls the data illegal"),
    ("invalid_data_identifier", "the meter has no such item"),
    ("wrong_password", "the password is wrong"),
    ("", ""),
    ("year_zones_exceeded", "more year zones than the meter has"),
    ("day_periods_exceeded", "more day periods than the meter has"),
    ("tariffs_exceeded", "more tariffs than the meter has"),
];

impl Refusal {
    /// Of a meter of `edition`.
    #[must_use]
    pub fn new(edition: Edition, code: u8) -> Self {
        Self { code, edition, incomplete: false }
    }

    /// Names of the bits that are set, for machines.
    #[must_use]
    pub fn bits(&self) -> Vec<&'static str> {
        self.set().map(|(name, _)| name).collect()
    }

    /// One English sentence for each of [`Refusal::bits`].
    #[must_use]
    pub fn texts(&self) -> Vec<&'static str> {
        self.set().map(|(_, text)| text).collect()
    }

    /// Whether asking again gives the same: the meter has no such item, or one longer than can be read.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.incomplete || self.code & 2 != 0
    }

    fn set(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let table = if self.edition == Edition::V1997 { BITS_1997 } else { BITS_2007 };
        let code = self.code;
        let incomplete =
            self.incomplete.then_some(("incomplete", "the answer is longer than one frame of 1997"));
        let named = table.into_iter().enumerate();
        let set = named.filter(move |(bit, (name, _))| code >> bit & 1 == 1 && !name.is_empty());
        incomplete.into_iter().chain(set.map(|(_, names)| names))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {:02x}", self.code)?;
        self.texts().iter().try_for_each(|text| write!(f, ": {text}"))
    }
}
