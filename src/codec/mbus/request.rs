//! Questions to a slave, and which frames answer them.
//!
//! Guarantees: there is no question that writes anything but the link's own state; an answer is only what comes from the
//! slave that was asked. The frame count bit is the caller's: toggled for the next telegram, kept for a repetition.

use std::fmt;

use super::frame::{self, FRAME_BYTES_MAX, Fault, Frame};
use super::telegram::{self, Telegram};

/// The address of the slave that was selected by its identification number.
pub const SELECTED: u8 = 253;

/// The address that every slave answers to: only with one slave on the line.
const ANY: u8 = 254;

/// Control information: select a slave; an application's error.
const SELECT: u8 = 0x52;
const ERROR: u8 = 0x70;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Begin the frame count anew (SND_NKE); for [`SELECTED`] also: nobody is selected any more.
    Reset {
        /** Whom. */
        address: u8,
    },
    /// Select the slave with this identification number: its eight digits as hex digits, F stands for any digit.
    Select {
        /** Whom. */
        id: u32,
    },
    /// The next telegram (REQ_UD2).
    Data {
        /** Primary address, or [`SELECTED`]. */
        address: u8,
        /** Frame count bit. */
        fcb: bool,
        /** Whose telegram it must be, as in [`Request::Select`]. */
        id: Option<u32>,
    },
}

impl Request {
    /// As sent; M-Bus has no leader.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Reset { address } => frame::short(0x40, address),
            Self::Select { id } => {
                let [a, b, c, d] = id.to_le_bytes();
                // Manufacturer, version and medium: any.
                frame::long([0x53, SELECTED, SELECT, a, b, c, d, 0xFF, 0xFF, 0xFF, 0xFF])
            }
            Self::Data { address, fcb, .. } => frame::short(if fcb { 0x7B } else { 0x5B }, address),
        }
    }

    /// Bytes of the longest answer.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        match self {
            Self::Reset { .. } | Self::Select { .. } => 1,
            Self::Data { .. } => FRAME_BYTES_MAX,
        }
    }

    /// What the slave says, if `frame` answers this question; nothing for anything else, the question's own echo included.
    #[must_use]
    pub fn answer(&self, frame: &Frame<'_>) -> Option<Result<Answer, Refusal>> {
        match (self, *frame) {
            (Self::Reset { address }, Frame::Ack) => Some(Ok(Answer::acknowledged(*address))),
            (Self::Select { .. }, Frame::Ack) => Some(Ok(Answer::acknowledged(SELECTED))),
            (Self::Data { id, .. }, Frame::Long { control, address, data }) => {
                if !self.is_from(control, address, data) {
                    return None;
                }
                if data.first() == Some(&ERROR) {
                    return Some(Err(Refusal { code: data.get(1).copied().unwrap_or(0) }));
                }
                if id.is_some_and(|id| !telegram::id(data).is_some_and(|found| fits(id, found))) {
                    return None;
                }
                let more = telegram::records(data).is_ok_and(|telegram| telegram.more);
                Some(Ok(Answer { address, data: data.into(), more }))
            }
            _ => None,
        }
    }

    /// Whether the front is the answer to this question but for its checksum.
    #[must_use]
    pub fn damaged(&self, bytes: &[u8]) -> bool {
        match (frame::examine(bytes), bytes) {
            (Err(Fault::Checksum { .. }), [_, _, _, _, control, address, data @ ..]) => {
                matches!(self, Self::Data { .. }) && self.is_from(*control, *address, data)
            }
            _ => false,
        }
    }

    fn is_from(&self, control: u8, address: u8, data: &[u8]) -> bool {
        let Self::Data { address: asked, .. } = *self else { return false };
        let told = data.first().is_some_and(|ci| *ci == ERROR || telegram::is_known(*ci));
        frame::is_answer(control) && told && (asked == address || matches!(asked, SELECTED | ANY))
    }
}

/// Whether the digits are those that were asked for; F is any.
fn fits(asked: u32, found: u32) -> bool {
    (0..32).step_by(4).all(|shift| {
        let digit = asked >> shift & 0xF;
        digit == 0xF || digit == found >> shift & 0xF
    })
}

/// What a slave says. Its `Debug` shows no user data.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who.
    pub address: u8,
    /// From the control information on, for [`Answer::telegram`]; empty for an acknowledgement.
    pub data: Vec<u8>,
    /// Whether the slave has another telegram: ask again with the frame count bit toggled.
    pub more: bool,
}

impl Answer {
    fn acknowledged(address: u8) -> Self {
        Self { address, data: Vec::new(), more: false }
    }

    /// The records.
    ///
    /// # Errors
    /// [`telegram::Error`].
    pub fn telegram(&self) -> Result<Telegram, telegram::Error> {
        telegram::records(&self.data)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes, more: {})", self.address, self.data.len(), self.more)
    }
}

/// The application of a slave reports an error (EN 13757-3, application errors).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// As sent.
    pub code: u8,
}

impl Refusal {
    /// What it means.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self.code {
            0 => "unspecified error",
            1 => "control information is not implemented",
            2 => "buffer too long, truncated",
            3 => "too many records",
            4 => "premature end of record",
            5 => "more than 10 DIFE",
            6 => "more than 10 VIFE",
            8 => "application too busy",
            9 => "too many readouts",
            _ => "reserved error",
        }
    }

    /// Whether asking the same again is of no use: not while the slave is busy, and not when it does not say what is wrong.
    #[must_use]
    pub fn is_lasting(self) -> bool {
        (1..=6).contains(&self.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
