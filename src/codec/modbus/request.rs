//! The question for items of a table, FC 1 to 4, and what its answer is.
//!
//! Guarantees: a question that no slave can answer cannot be made; an answer has the unit, the function and the byte count
//! of its question. Modbus numbers nothing, so the late answer to an equal question looks like the answer: the bus listens
//! after a timeout for that reason. It says nothing about values: see [`RegisterKind`](super::RegisterKind).

use super::{
    Body, Direction, Exception, Fault, Frame, RequestError, Table, crc16, examine, one_slave, possible,
};

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
        let unit = one_slave(unit)?;
        let count = possible(start, count.into(), table.count_max())?;
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

    /// Whether `bytes` begin with the answer to this question but for its checksum.
    #[must_use]
    pub fn damaged(&self, bytes: &[u8]) -> bool {
        let head = [self.unit, self.table.function(), self.data_bytes() as u8];
        bytes.starts_with(&head) && matches!(examine(bytes, Direction::Response), Err(Fault::Crc { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{scan, sealed};
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

    #[test]
    fn damaged_is_the_answer_with_another_checksum_and_nothing_else() {
        let question = Request::new(1, Table::Holding, 0, 2).expect("a possible question");
        let mut answer = sealed(vec![1, 3, 4, 0xAB, 0xCD, 0x12, 0x34]);
        assert!(!question.damaged(&answer));
        answer[4] ^= 0x10;
        assert!(question.damaged(&answer));
        assert!(question.damaged(&[&answer[..], &[0, 0]].concat()));
        assert!(!question.damaged(&answer[..8]), "the end may still come");
        for at in 0..3 {
            let mut other = answer.clone();
            other[at] ^= 6;
            assert!(!question.damaged(&other), "byte {at} is of another answer");
        }
    }
}
