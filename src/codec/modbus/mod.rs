//! Modbus RTU: questions (FC 1 to 4), frames of either direction, register types.
//!
//! Sources: Modbus Application Protocol V1.1b3 (clause numbers below) and Modbus over Serial Line V1.02. Guarantees: no
//! panic on any bytes; a frame is only what has the right length and the right CRC; an answer is only what has the unit,
//! the function and the byte count of its question. Frames are told apart by length, not by silence, because user space
//! cannot measure 1.5 characters.

mod frame;
mod register;

pub use frame::{Body, Direction, Exception, FRAME_BYTES_MAX, Fault, Frame, examine, scan};
pub use register::{Order, RegisterKind};

/// The four tables of a slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// FC 1.
    Coil,
    /// FC 2.
    Discrete,
    /// FC 3.
    Holding,
    /// FC 4.
    Input,
}

impl Table {
    /// The function that reads it (V1.1b3 §6.1 to §6.4).
    #[must_use]
    pub fn function(self) -> u8 {
        match self {
            Table::Coil => 1,
            Table::Discrete => 2,
            Table::Holding => 3,
            Table::Input => 4,
        }
    }

    /// Whether its items are single bits and not registers.
    #[must_use]
    pub fn is_bits(self) -> bool {
        matches!(self, Table::Coil | Table::Discrete)
    }

    /// The most items one question may ask for.
    #[must_use]
    pub fn count_max(self) -> u16 {
        if self.is_bits() { 2000 } else { 125 }
    }
}

/// CRC-16 of Modbus over Serial Line V1.02 §6.2.2; on the wire the low byte goes first.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| (crc >> 8) ^ CRC_TABLE[usize::from((crc as u8) ^ byte)])
}

const CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// A question that no slave can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not the address of one slave.
    #[error("unit {0}: slaves have addresses 1 to 247")]
    Unit(u8),
    /// None, or more than fit into an answer.
    #[error("count {count}: 1 to {max} items fit into one answer")]
    Count {
        /** Asked. */
        count: u16,
        /** Possible. */
        max: u16,
    },
    /// Beyond the last address.
    #[error("{count} items from address {start}: the last address is 65535")]
    Range {
        /** First. */
        start: u16,
        /** How many. */
        count: u16,
    },
}

/// A question: so many items of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    unit: u8,
    table: Table,
    start: u16,
    count: u16,
}

impl Request {
    /// `start` is the address on the wire, from 0.
    ///
    /// # Errors
    /// [`RequestError`] when no slave could answer it.
    pub fn new(unit: u8, table: Table, start: u16, count: u16) -> Result<Self, RequestError> {
        if !(1..=247).contains(&unit) {
            return Err(RequestError::Unit(unit));
        }
        if !(1..=table.count_max()).contains(&count) {
            return Err(RequestError::Count { count, max: table.count_max() });
        }
        if start.checked_add(count - 1).is_none() {
            return Err(RequestError::Range { start, count });
        }
        Ok(Self { unit, table, start, count })
    }

    /// Who is asked.
    #[must_use]
    pub fn unit(&self) -> u8 {
        self.unit
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table
    }

    /// The first address.
    #[must_use]
    pub fn start(&self) -> u16 {
        self.start
    }

    /// How many items.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// As sent.
    #[must_use]
    pub fn encode(&self) -> [u8; 8] {
        let ([start_high, start_low], [count_high, count_low]) =
            (self.start.to_be_bytes(), self.count.to_be_bytes());
        let mut frame =
            [self.unit, self.table.function(), start_high, start_low, count_high, count_low, 0, 0];
        let crc = crc16(&frame[..6]).to_le_bytes();
        frame[6..].copy_from_slice(&crc);
        frame
    }

    /// Bytes of values in the answer.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        let count = usize::from(self.count);
        if self.table.is_bits() { count.div_ceil(8) } else { 2 * count }
    }

    /// Bytes of the whole answer.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        5 + self.data_bytes()
    }

    /// The values or the exception, if `frame` answers this question: same unit, same function, same byte count.
    #[must_use]
    pub fn answer<'a>(&self, frame: &Frame<'a>) -> Option<Result<&'a [u8], Exception>> {
        if frame.unit != self.unit || frame.function != self.table.function() {
            return None;
        }
        match frame.body {
            Body::Bits(data) | Body::Registers(data) if data.len() == self.data_bytes() => Some(Ok(data)),
            Body::Exception(exception) => Some(Err(exception)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Scan;

    #[test]
    fn a_question_has_the_known_bytes() {
        let request = Request::new(1, Table::Input, 0, 2).expect("a possible question");
        assert_eq!(request.encode(), [0x01, 0x04, 0x00, 0x00, 0x00, 0x02, 0x71, 0xCB]);
    }

    #[test]
    fn impossible_questions_are_refused() {
        for (unit, table, start, count, error) in [
            (0, Table::Coil, 0, 1, RequestError::Unit(0)),
            (248, Table::Coil, 0, 1, RequestError::Unit(248)),
            (1, Table::Holding, 0, 0, RequestError::Count { count: 0, max: 125 }),
            (1, Table::Holding, 0, 126, RequestError::Count { count: 126, max: 125 }),
            (1, Table::Discrete, 0, 2001, RequestError::Count { count: 2001, max: 2000 }),
            (1, Table::Input, 65_535, 2, RequestError::Range { start: 65_535, count: 2 }),
        ] {
            assert_eq!(Request::new(unit, table, start, count), Err(error));
        }
        assert!(Request::new(247, Table::Input, 65_535, 1).is_ok());
    }

    #[test]
    fn an_answer_has_unit_function_and_byte_count_of_the_question() {
        let two = [0x01, 0x03, 0x04, 0x47, 0xF1, 0x20, 0x00, 0xA6, 0xB4];
        let ask = |unit, table, count| Request::new(unit, table, 0, count).expect("a possible question");
        let Scan::Frame { frame, .. } = scan(&two, Direction::Response) else { panic!("a frame") };
        for (request, answers) in [
            (ask(1, Table::Holding, 2), true),
            (ask(2, Table::Holding, 2), false),
            (ask(1, Table::Input, 2), false),
            (ask(1, Table::Holding, 1), false),
            (ask(1, Table::Holding, 3), false),
        ] {
            assert_eq!(request.answer(&frame).is_some(), answers, "{request:?}");
        }
        let refused = [0x66, 0x82, 0x03, 0xB1, 0x7E];
        let Scan::Frame { frame, .. } = scan(&refused, Direction::Response) else { panic!("a frame") };
        assert_eq!(ask(0x66, Table::Discrete, 9).answer(&frame), Some(Err(Exception(3))));
        assert_eq!(ask(0x66, Table::Coil, 9).answer(&frame), None);
    }
}
