//! Questions, and which frames answer them.
//!
//! Guarantees: an answer has the address (wildcards fit any), the type unless any was asked for, the function, the
//! identifier in either byte order, and the serial number of its question; the echo of a question is no answer to it; an
//! answer that says it has more is a refusal and not half a value. A [`Request`] only reads.

use std::fmt;

use super::frame::{self, Frame, OVERHEAD_BYTES, function};
use super::items::{self, Status};
use super::{ANY_KIND, Address, Identifier, IdentifierOrder};

/// Leader bytes of a question to a meter that is awake.
pub const LEADER: u8 = 4;
/// The longest leader: battery meters wake up by it (32 bytes take 147 ms at 2400 baud).
pub const LEADER_MAX: u8 = 32;

/// A reading question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What a meter measures.
    Read {
        /** Type of the meter; [`ANY_KIND`] fits all. */
        kind: u8,
        /** Whose; with wildcards only one meter may be on the line. */
        address: Address,
        /** What. */
        identifier: Identifier,
        /** How the identifier is written. */
        order: IdentifierOrder,
        /** Serial number: the answer repeats it, so every question has the next one. */
        ser: u8,
        /** FE bytes before the question, at most [`LEADER_MAX`]. */
        leader: u8,
        /** The meter puts a number of its own into its answers: any is taken, and late answers cannot be told. */
        any_ser: bool,
    },
    /// The address of the only meter on the line. Wakes it up, and takes any serial number: there is nobody else.
    ReadAddress {
        /** How the identifier is written. */
        order: IdentifierOrder,
        /** Serial number. */
        ser: u8,
    },
}

/// What a meter answered. Its `Debug` shows no values.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Type of the meter.
    pub kind: u8,
    /// Who answered.
    pub address: Address,
    /// How the meter writes the identifier.
    pub order: IdentifierOrder,
    /// After identifier and serial number.
    pub data: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({:02x} {} {:?}, {} bytes)", self.kind, self.address, self.order, self.data.len())
    }
}

/// Why a meter gives no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// ST0 of the refusal; 0 for an answer that has more.
    pub code: u8,
    /// What the meter says of itself; none in an answer that has more.
    pub status: Option<Status>,
}

impl Refusal {
    const INCOMPLETE: Self = Self { code: 0, status: None };

    /// Whether the value is there but longer than one frame. CJ/T 188 has no question for the rest.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.status.is_none()
    }

    /// Whether the same question will be refused again: an answer that has more has it always. The status of a refusal
    /// does not say why the meter refuses, so that one is not lasting.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.is_incomplete()
    }

    /// What to do about it. The status tells of battery and valve, and not why the meter refuses.
    #[must_use]
    pub fn advice(&self) -> String {
        let Some(status) = self.status else {
            return "the protocol cannot ask for the rest: read another identifier".to_owned();
        };
        let told = match (status.battery_low(), status.valve_abnormal()) {
            (Some(true), _) => ", only that its battery is low",
            (_, Some(true)) => ", only that its valve does not go where it should",
            _ => "",
        };
        format!(
            "the meter does not say why{told}; try another identifier, or in its template another identifier_order or \
             meter_type"
        )
    }

    /// The bits by name.
    pub fn bits(&self) -> impl Iterator<Item = &'static str> {
        [
            ("more_data", self.is_incomplete()),
            ("valve_abnormal", self.status.and_then(Status::valve_abnormal) == Some(true)),
            ("battery_low", self.status.and_then(Status::battery_low) == Some(true)),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            None => f.write_str("answer has more data than one frame"),
            Some(Status([st0, st1])) => write!(f, "refused with status {st0:02x}{st1:02x}"),
        }
    }
}

impl Request {
    /// As sent, with its leader.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let asked = self.asked();
        let leader = match self {
            Self::Read { leader, .. } => (*leader).min(LEADER_MAX),
            Self::ReadAddress { .. } => LEADER_MAX,
        };
        frame::sealed(leader, asked.kind, asked.address, asked.function, &asked.head())
    }

    /// Bytes of the longest normal answer, with a leader.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        let asked = self.asked();
        let data = items::data_bytes_max(asked.kind, asked.identifier);
        usize::from(LEADER) + OVERHEAD_BYTES + asked.head().len() + data
    }

    /// The answer or refusal, if `frame` is one to this question.
    #[must_use]
    pub fn answer(&self, frame: &Frame<'_>) -> Option<Result<Answer, Refusal>> {
        let asked = self.asked();
        // A wildcard in the answer to "who are you" names nobody.
        if matches!(self, Self::ReadAddress { .. }) && frame.address.is_wildcard() {
            return None;
        }
        let answer = |(order, data): (IdentifierOrder, &[u8])| Answer {
            kind: frame.kind,
            address: frame.address,
            order,
            data: data.to_vec(),
        };
        Some(asked.reply(frame)?.map(answer))
    }

    /// Whether the front of `bytes` is the answer to this question but for its checksum.
    #[must_use]
    pub fn damaged(&self, bytes: &[u8]) -> bool {
        frame::damaged(bytes).is_some_and(|frame| self.answer(&frame).is_some())
    }

    fn asked(&self) -> Asked {
        match *self {
            Self::Read { kind, address, identifier, order, ser, any_ser, .. } => {
                let function = match identifier {
                    Identifier::ADDRESS => function::READ_ADDRESS,
                    Identifier::KEY_VERSION => function::READ_KEY_VERSION,
                    _ => function::READ,
                };
                Asked { kind, address, function, identifier, order, ser, any_ser }
            }
            Self::ReadAddress { order, ser } => Asked {
                kind: ANY_KIND,
                address: Address::ANY,
                function: function::READ_ADDRESS,
                identifier: Identifier::ADDRESS,
                order,
                ser,
                any_ser: true,
            },
        }
    }
}

/// Opens or closes a valve. This is a write: it may only be built for a point that the configuration makes writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValveCommand {
    /// Type of the meter.
    pub kind: u8,
    /// Whose valve; the configuration gives it, never a wildcard.
    pub address: Address,
    /// How the identifier is written.
    pub order: IdentifierOrder,
    /// Serial number: the answer repeats it.
    pub ser: u8,
    /// Open it, or close it.
    pub open: bool,
}

impl ValveCommand {
    const OPEN: u8 = 0x55;
    const CLOSE: u8 = 0x99;

    /// As sent. The leader is long, because battery meters sleep.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let asked = self.asked();
        let [first, second, ser] = asked.head();
        let order = if self.open { Self::OPEN } else { Self::CLOSE };
        frame::sealed(LEADER_MAX, asked.kind, asked.address, asked.function, &[first, second, ser, order])
    }

    /// Bytes of the answer: its frame with identifier, serial number and status, and some leader.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        usize::from(LEADER) + frame::OVERHEAD_BYTES + 5
    }

    /// Whether the meter took or refused the command, if `frame` is its answer. The valve moves for seconds after it: its
    /// state is in the next reading.
    #[must_use]
    pub fn answers(&self, frame: &Frame<'_>) -> Option<Result<(), Refusal>> {
        Some(self.asked().reply(frame)?.map(|_| ()))
    }

    /// What the data of a write to [`Identifier::VALVE`], after identifier and serial number, tells the valve.
    #[must_use]
    pub fn opens(data: &[u8]) -> Option<bool> {
        match data {
            [Self::OPEN] => Some(true),
            [Self::CLOSE] => Some(false),
            _ => None,
        }
    }

    fn asked(&self) -> Asked {
        let &Self { kind, address, order, ser, .. } = self;
        let identifier = Identifier::VALVE;
        Asked { kind, address, function: function::WRITE, identifier, order, ser, any_ser: false }
    }
}

/// What a frame must fit to be the answer.
struct Asked {
    kind: u8,
    address: Address,
    function: u8,
    identifier: Identifier,
    order: IdentifierOrder,
    ser: u8,
    any_ser: bool,
}

impl Asked {
    fn head(&self) -> [u8; 3] {
        let [first, second] = self.identifier.wire(self.order);
        [first, second, self.ser]
    }

    /// The order of the identifier and the data behind the serial number.
    fn reply<'a>(&self, frame: &Frame<'a>) -> Option<Result<(IdentifierOrder, &'a [u8]), Refusal>> {
        let theirs = frame.is_answer()
            && frame.function() == self.function
            && (self.kind == ANY_KIND || frame.kind == self.kind)
            && self.address.fits(frame.address);
        if !theirs {
            return None;
        }
        let numbered = |ser: u8| self.any_ser || ser == self.ser;
        if frame.is_error() {
            let &[ser, st0, st1] = frame.data else { return None };
            return numbered(ser).then_some(Err(Refusal { code: st0, status: Some(Status([st0, st1])) }));
        }
        let (&[first, second, ser], data) = frame.data.split_first_chunk()?;
        let order = [self.order, self.order.other()]
            .into_iter()
            .find(|order| self.identifier.wire(*order) == [first, second])?;
        let reply = if frame.has_more() { Err(Refusal::INCOMPLETE) } else { Ok((order, data)) };
        numbered(ser).then_some(reply)
    }
}
