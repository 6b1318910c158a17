//! What goes over a wire: one question, and what the received bytes are to it.
//!
//! The only place where the protocols of a bus meet. Each codec says what a frame is and whether it answers; nothing here
//! looks into one.

use super::{Line, Timing};
use crate::codec::modbus::{Direction, Exception};
use crate::codec::{Scan, cjt188, dlt645, mbus, modbus};

/// One question to one meter, with how the line is set for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What is asked.
    pub asked: Asked,
    /// How the line is set.
    pub line: Line,
    /// The meter's times.
    pub timing: Timing,
}

/// What is asked, by protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Registers or bits.
    Modbus(modbus::Request),
    /// Who a slave is.
    ModbusInquiry(modbus::Inquiry),
    /// A change; only [`super::write`] makes one.
    ModbusWrite(modbus::Write),
    /// Anything of DL/T 645 that reads.
    Dlt645(dlt645::Request),
    /// The time, to all DL/T 645 meters; nobody answers.
    Dlt645Time(dlt645::TimeBroadcast),
    /// Anything of CJ/T 188 that reads.
    Cjt188(cjt188::Request),
    /// A valve; only [`super::write`] makes one.
    Cjt188Valve(cjt188::ValveCommand),
    /// M-Bus.
    Mbus(mbus::Request),
}

/// What a meter answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Values of registers or bits, as they came.
    Modbus(Vec<u8>),
    /// Who a slave is, or a part of it.
    ModbusInquiry(modbus::Finding),
    /// Data of an identifier, or an address.
    Dlt645(dlt645::Answer),
    /// Data of an identifier, or an address.
    Cjt188(cjt188::Answer),
    /// A telegram, or an acknowledgement.
    Mbus(mbus::Answer),
    /// It was written.
    Written,
}

/// A frame, as one question sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Its answer.
    Answer(Answer),
    /// Its refusal.
    Refused(Refusal),
    /// A frame, but to somebody else's question.
    Foreign,
}

/// A meter's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The protocol's code.
    pub code: u8,
    /// What it means for asking again.
    pub sense: Sense,
    /// What it means for people.
    pub text: String,
}

/// What a refusal means for asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// Perhaps only a part of what was asked together is not there.
    Part,
    /// The meter has no such thing.
    Lasting,
    /// It is busy, or something passing is wrong.
    Passing,
    /// A gateway got no answer from its target.
    Silent,
}

impl From<Exception> for Refusal {
    fn from(exception: Exception) -> Self {
        let sense = match exception.0 {
            2 | 3 => Sense::Part,
            _ if exception.is_lasting() => Sense::Lasting,
            _ if exception.is_silence() => Sense::Silent,
            _ => Sense::Passing,
        };
        Self { code: exception.0, sense, text: format!("{exception}: {}", exception.advice()) }
    }
}

impl Refusal {
    fn of(code: u8, lasting: bool, text: &impl ToString) -> Self {
        let sense = if lasting { Sense::Lasting } else { Sense::Passing };
        Self { code, sense, text: text.to_string() }
    }
}

impl From<dlt645::Refusal> for Refusal {
    fn from(refusal: dlt645::Refusal) -> Self {
        Self::of(refusal.code, refusal.is_lasting(), &refusal)
    }
}

impl From<cjt188::Refusal> for Refusal {
    fn from(refusal: cjt188::Refusal) -> Self {
        Self::of(refusal.code, refusal.is_lasting(), &format!("{refusal}: {}", refusal.advice()))
    }
}

impl From<mbus::Refusal> for Refusal {
    fn from(refusal: mbus::Refusal) -> Self {
        Self::of(refusal.code, refusal.is_lasting(), &refusal)
    }
}

impl Asked {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Modbus(request) => request.encode().to_vec(),
            Self::ModbusInquiry(inquiry) => inquiry.encode(),
            Self::ModbusWrite(write) => write.encode(),
            Self::Dlt645(request) => request.encode(),
            Self::Dlt645Time(time) => time.encode(),
            Self::Cjt188(request) => request.encode(),
            Self::Cjt188Valve(valve) => valve.encode(),
            Self::Mbus(request) => request.encode(),
        }
    }

    /// Bytes of the longest usual answer, for the time it takes on the wire; 0 when nobody answers.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        match self {
            Self::Modbus(request) => request.answer_bytes(),
            Self::ModbusInquiry(inquiry) => inquiry.answer_bytes(),
            Self::ModbusWrite(write) => write.answer_bytes(),
            Self::Dlt645(request) => request.answer_bytes(),
            Self::Dlt645Time(_) => 0,
            Self::Cjt188(request) => request.answer_bytes(),
            Self::Cjt188Valve(valve) => valve.answer_bytes(),
            Self::Mbus(request) => request.answer_bytes(),
        }
    }

    /// Whether nobody answers it.
    #[must_use]
    pub fn is_broadcast(&self) -> bool {
        matches!(self, Self::Dlt645Time(_))
    }

    /// Whether more than one meter may answer it: the line is listened to until all had the time to.
    #[must_use]
    pub fn is_for_many(&self) -> bool {
        match self {
            Self::Dlt645(dlt645::Request::ReadAddress { address }) => address.is_wildcard(),
            // A meter that is alone on its line may be read by wildcards only, as fast as any other.
            Self::Dlt645(dlt645::Request::Read { address, .. }) => {
                address.is_wildcard() && *address != dlt645::Address::ANY
            }
            Self::Cjt188(cjt188::Request::ReadAddress { .. }) => true,
            Self::Mbus(mbus::Request::Data { id: Some(id), .. }) => {
                (0..32).step_by(4).any(|shift| id >> shift & 0xF == 0xF)
            }
            _ => false,
        }
    }

    /// The unit of a Modbus question: its answers carry nothing else that tells one question from another.
    #[must_use]
    pub fn unit(&self) -> Option<u8> {
        match self {
            Self::Modbus(request) => Some(request.unit()),
            Self::ModbusInquiry(inquiry) => Some(inquiry.unit()),
            Self::ModbusWrite(write) => Some(write.unit()),
            _ => None,
        }
    }

    /// What the front of the received bytes is to this question.
    #[must_use]
    pub fn hear(&self, received: &[u8]) -> Scan<Heard> {
        match self {
            Self::Modbus(request) => {
                // The question itself may look like an answer of three bytes: an echo nobody configured.
                let own = |len: usize| received[..len] == request.encode();
                let answer =
                    |frame: &_| Some(request.answer(frame)?.map(|data| Answer::Modbus(data.to_vec())));
                heard(modbus::scan(received, Direction::Response), |len, frame| {
                    answer(frame).filter(|answer| answer.is_err() || !own(len))
                })
            }
            Self::ModbusInquiry(inquiry) => heard(modbus::scan(received, Direction::Response), |_, frame| {
                Some(inquiry.answer(frame)?.map(Answer::ModbusInquiry))
            }),
            Self::ModbusWrite(write) => heard(modbus::scan(received, Direction::Response), |_, frame| {
                Some(write.answers(frame)?.map(|()| Answer::Written))
            }),
            Self::Dlt645(request) => {
                heard(dlt645::scan(received), |_, frame| Some(request.answer(frame)?.map(Answer::Dlt645)))
            }
            Self::Dlt645Time(_) => Scan::Skip(received.len().max(1)),
            Self::Cjt188(request) => {
                heard(cjt188::scan(received), |_, frame| Some(request.answer(frame)?.map(Answer::Cjt188)))
            }
            Self::Cjt188Valve(valve) => heard(cjt188::scan(received), |_, frame| {
                Some(valve.answers(frame)?.map(|()| Answer::Written))
            }),
            Self::Mbus(request) => {
                heard(mbus::scan(received), |_, frame| Some(request.answer(frame)?.map(Answer::Mbus)))
            }
        }
    }

    /// Whether the front is the answer but for its checksum.
    #[must_use]
    pub fn damaged(&self, received: &[u8]) -> bool {
        match self {
            Self::Modbus(request) => request.damaged(received),
            Self::Dlt645(request) => request.damaged(received),
            Self::Cjt188(request) => request.damaged(received),
            Self::Mbus(request) => request.damaged(received),
            Self::ModbusInquiry(_) | Self::ModbusWrite(_) | Self::Dlt645Time(_) | Self::Cjt188Valve(_) => {
                false
            }
        }
    }
}

/// A frame is the answer, the refusal, or foreign.
fn heard<F, R: Into<Refusal>>(
    scan: Scan<F>,
    answer: impl FnOnce(usize, &F) -> Option<Result<Answer, R>>,
) -> Scan<Heard> {
    match scan {
        Scan::Need => Scan::Need,
        Scan::Skip(count) => Scan::Skip(count),
        Scan::Frame { len, frame } => {
            let frame = match answer(len, &frame) {
                Some(Ok(answer)) => Heard::Answer(answer),
                Some(Err(refusal)) => Heard::Refused(refusal.into()),
                None => Heard::Foreign,
            };
            Scan::Frame { len, frame }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::modbus::{Request, Table};

    #[test]
    fn an_echo_that_looks_like_an_answer_is_none() {
        let bits = Request::new(1, Table::Coil, 0x0300, 20).expect("a possible question");
        let heard = Asked::Modbus(bits).hear(&bits.encode());
        assert!(matches!(heard, Scan::Frame { len: 8, frame: Heard::Foreign }));
    }
}
