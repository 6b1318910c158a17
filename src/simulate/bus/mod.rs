//! Meters on a pseudo-terminal, healthy and otherwise: Modbus RTU, DL/T 645, CJ/T 188 and M-Bus on one line.
//!
//! [`Script`] is the pure part: which bytes come back, and after which delay; the same seeds and the same questions give
//! the same bytes. It understands questions and builds answers by itself, bit by bit from the standards, so that it does
//! not share a mistake with the codecs it is there to try. [`SimulatedBus`] plays it on a pty.
//!
//! No meter ever does what a write asks, but a CJ/T 188 meter that was made writable and its valve; all of them count.
//! Nothing here keeps the bauds of a line, and a pty has no parity: its driver clears it, so nobody sees which one is set.

mod bytes;
mod cjt188;
mod dlt645;
mod fault;
mod mbus;
mod modbus;
mod player;
mod script;

use std::time::Duration;

pub use cjt188::{Cjt188Item, Cjt188Meter, Order};
pub use dlt645::{Dlt645Meter, Edition};
pub use fault::{Fault, Manner, When};
pub use mbus::{MbusItem, MbusMeter};
pub use modbus::{Signal, SimulatedSlave};
pub use player::{SimulatedBus, run};
pub use script::Script;

use fault::Twist;

/// One meter of any protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimulatedMeter {
    /// A Modbus RTU slave.
    Modbus(SimulatedSlave),
    /// An electricity meter, DL/T 645-2007 or -1997.
    Dlt645(Dlt645Meter),
    /// A water, gas or heat meter, CJ/T 188.
    Cjt188(Cjt188Meter),
    /// A heat meter, M-Bus.
    Mbus(MbusMeter),
}

/// What a master may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    Modbus(modbus::Question),
    Dlt645(dlt645::Question),
    Cjt188(cjt188::Question),
    Mbus(mbus::Question),
}

impl Question {
    /// The question whose last byte is the last of these, and how many bytes it has. So noise before a question never hides it.
    fn ending(heard: &[u8]) -> Option<(usize, Self)> {
        dlt645::question(heard)
            .map(|(len, question)| (len, Self::Dlt645(question)))
            .or_else(|| cjt188::question(heard).map(|(len, question)| (len, Self::Cjt188(question))))
            .or_else(|| mbus::question(heard).map(|(len, question)| (len, Self::Mbus(question))))
            .or_else(|| modbus::question(heard).map(|(len, question)| (len, Self::Modbus(question))))
    }
}

impl SimulatedMeter {
    /// How it behaves on the line.
    #[must_use]
    pub fn manner(&self) -> &Manner {
        match self {
            Self::Modbus(meter) => &meter.manner,
            Self::Dlt645(meter) => &meter.manner,
            Self::Cjt188(meter) => &meter.manner,
            Self::Mbus(meter) => &meter.manner,
        }
    }

    /// The same, to be changed.
    pub fn manner_mut(&mut self) -> &mut Manner {
        match self {
            Self::Modbus(meter) => &mut meter.manner,
            Self::Dlt645(meter) => &mut meter.manner,
            Self::Cjt188(meter) => &mut meter.manner,
            Self::Mbus(meter) => &mut meter.manner,
        }
    }

    /// How many questions wanted to change something in it.
    #[must_use]
    pub fn writes_seen(&self) -> u64 {
        match self {
            Self::Modbus(meter) => meter.writes_seen,
            Self::Dlt645(meter) => meter.writes_seen,
            Self::Cjt188(meter) => meter.writes_seen,
            Self::Mbus(meter) => meter.writes_seen,
        }
    }

    /// Takes a question with so many FE before it; whether it answers.
    fn takes(&mut self, question: &Question, leader: usize, elapsed: Duration) -> bool {
        match (self, question) {
            (Self::Modbus(meter), Question::Modbus(question)) => meter.takes(question),
            (Self::Dlt645(meter), Question::Dlt645(question)) => meter.takes(question),
            (Self::Cjt188(meter), Question::Cjt188(question)) => meter.takes(question, leader),
            (Self::Mbus(meter), Question::Mbus(question)) => meter.takes(question, elapsed),
            _ => false,
        }
    }

    /// The frame with which it answers a question it took; empty when there is nothing to say.
    fn answer(&self, question: &Question, elapsed: Duration, twist: Twist) -> Vec<u8> {
        match (self, question) {
            (Self::Modbus(meter), Question::Modbus(question)) => meter.answer(question, elapsed, twist),
            (Self::Dlt645(meter), Question::Dlt645(question)) => meter.answer(question, elapsed, twist),
            (Self::Cjt188(meter), Question::Cjt188(question)) => meter.answer(question, elapsed, twist),
            (Self::Mbus(meter), Question::Mbus(question)) => meter.answer(question, twist),
            _ => Vec::new(),
        }
    }

    /// Another meter of its kind: another address, other values.
    fn stranger(&self) -> Self {
        match self {
            Self::Modbus(meter) => Self::Modbus(meter.stranger()),
            Self::Dlt645(meter) => Self::Dlt645(meter.stranger()),
            Self::Cjt188(meter) => Self::Cjt188(meter.stranger()),
            Self::Mbus(meter) => Self::Mbus(meter.stranger()),
        }
    }
}

impl From<SimulatedSlave> for SimulatedMeter {
    fn from(meter: SimulatedSlave) -> Self {
        Self::Modbus(meter)
    }
}

impl From<Dlt645Meter> for SimulatedMeter {
    fn from(meter: Dlt645Meter) -> Self {
        Self::Dlt645(meter)
    }
}

impl From<Cjt188Meter> for SimulatedMeter {
    fn from(meter: Cjt188Meter) -> Self {
        Self::Cjt188(meter)
    }
}

impl From<MbusMeter> for SimulatedMeter {
    fn from(meter: MbusMeter) -> Self {
        Self::Mbus(meter)
    }
}
