//! How a meter behaves on the line besides what it says: its delay, its speed, its leader, and what is wrong with it.

use std::time::Duration;

use super::{Cjt188Meter, Dlt645Meter, MbusMeter, SimulatedSlave};

/// What is wrong with a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Says nothing.
    Dead,
    /// Answers after so long.
    Late(Duration),
    /// So many bytes of noise before the answer.
    GarbageBefore(u8),
    /// So many bytes of noise after the answer.
    GarbageAfter(u8),
    /// This byte so many times before the answer: a long leader of FE, or the 00 or FF of a line that turns round.
    Preamble(u8, u8),
    /// One bit of the answer is wrong, and so is its checksum.
    Corrupt,
    /// The answer of another meter instead.
    WrongAddress,
    /// The answer of another meter, then its own.
    ForeignFirst,
    /// The answer to another question: Modbus another function, DL/T 645 another identifier, CJ/T 188 another serial
    /// number, M-Bus another kind of content.
    WrongItem,
    /// The last register or byte of the content is missing; length and checksum are right.
    Short,
    /// A second of noise instead of an answer.
    Babble,
    /// Refuses: the exception of Modbus, the error byte of DL/T 645, the status of CJ/T 188, the application error of M-Bus.
    Refuse(u8),
    /// The line gives the question back before the answer.
    Echo,
    /// Byte by byte, with so long between two.
    Split(Duration),
}

/// At which questions, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At every so many-th; 1 is always.
    Every(u32),
    /// At this one and all that follow.
    From(u32),
}

/// How a meter behaves on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// How long it thinks.
    pub delay: Duration,
    /// How many FE it sends before an answer.
    pub leader: u8,
    /// It hears only a port that is set to this; none hears every speed.
    pub baud: Option<u32>,
    /// What is wrong, and when.
    pub fault: Option<(Fault, When)>,
}

impl Manner {
    pub(super) fn new(delay: Duration, leader: u8) -> Self {
        Self { delay, leader, baud: None, fault: None }
    }

    /// What is wrong at this question.
    pub(super) fn fault(&self, question: u32) -> Option<Fault> {
        let (fault, when) = self.fault?;
        let now = match when {
            When::Every(every) => question.is_multiple_of(every.max(1)),
            When::From(first) => question >= first,
        };
        now.then_some(fault)
    }
}

/// What a fault changes in the content of an answer; everything else it does to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twist {
    Right,
    OtherItem,
    Short,
    Refuse(u8),
}

impl Twist {
    pub(super) fn of(fault: Option<Fault>) -> Self {
        match fault {
            Some(Fault::WrongItem) => Self::OtherItem,
            Some(Fault::Short) => Self::Short,
            Some(Fault::Refuse(code)) => Self::Refuse(code),
            _ => Self::Right,
        }
    }

    /// The content without its last byte, where that is the fault.
    pub(super) fn cut(self, mut content: Vec<u8>) -> Vec<u8> {
        if self == Self::Short {
            content.pop();
        }
        content
    }
}

macro_rules! mannered {
    ($($meter:ty),*) => {$(
        impl $meter {
            /// The same with a fault at every `every`-th question; 1 is always.
            #[must_use]
            pub fn with(mut self, fault: Fault, every: u32) -> Self {
                self.manner.fault = Some((fault, When::Every(every)));
                self
            }

            /// The same, healthy until the `question`-th question, and with a fault from then on.
            #[must_use]
            pub fn failing_from(mut self, fault: Fault, question: u32) -> Self {
                self.manner.fault = Some((fault, When::From(question)));
                self
            }

            /// The same, deaf to a port that is set to another speed.
            #[must_use]
            pub fn at(mut self, baud: u32) -> Self {
                self.manner.baud = Some(baud);
                self
            }
        }
    )*};
}

mannered!(SimulatedSlave, Dlt645Meter, Cjt188Meter, MbusMeter);
