//! Writes: FC 5, 6 and 16.
//!
//! A write moves something in the world. It is only to be built for a point that the configuration makes writable.
//! Guarantees: there is no write to unit 0, which is everybody, and none that no slave can take. `Debug` shows no values.

use std::fmt;

use super::{Body, Exception, Frame, RequestError, one_slave, possible, sealed};

/// Registers of one write (V1.1b3 §6.12).
const REGISTERS_MAX: u16 = 123;

/// What is written.
#[derive(Clone, PartialEq, Eq)]
pub enum Written {
    /// A coil, FC 5.
    Coil(bool),
    /// One register, FC 6.
    Register(u16),
    /// 1 to 123 registers at once, FC 16.
    Registers(Vec<u16>),
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coil(_) => f.write_str("Coil"),
            Self::Register(_) => f.write_str("Register"),
            Self::Registers(values) => write!(f, "{} Registers", values.len()),
        }
    }
}

/// A write to one slave. Only for a point that the configuration makes writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    unit: u8,
    start: u16,
    written: Written,
}

impl Write {
    /// `start` is the address on the wire, from 0.
    ///
    /// # Errors
    /// [`RequestError`] when no single slave could take it.
    pub fn new(unit: u8, start: u16, written: Written) -> Result<Self, RequestError> {
        let unit = one_slave(unit)?;
        if let Written::Registers(values) = &written {
            possible(start, values.len(), REGISTERS_MAX)?;
        }
        Ok(Self { unit, start, written })
    }

    /// To whom.
    #[must_use]
    pub fn unit(&self) -> u8 {
        self.unit
    }

    fn function(&self) -> u8 {
        match self.written {
            Written::Coil(_) => 5,
            Written::Register(_) => 6,
            Written::Registers(_) => 16,
        }
    }

    /// As sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let [high, low] = self.start.to_be_bytes();
        let mut content = vec![self.unit, self.function(), high, low];
        match &self.written {
            Written::Coil(on) => content.extend([if *on { 0xFF } else { 0 }, 0]),
            Written::Register(value) => content.extend(value.to_be_bytes()),
            Written::Registers(values) => {
                let count = values.len() as u16;
                content.extend(count.to_be_bytes());
                content.push(2 * count as u8);
                content.extend(values.iter().flat_map(|value| value.to_be_bytes()));
            }
        }
        sealed(content)
    }

    /// Bytes of the whole answer.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        8
    }

    /// Whether `frame` says that this was written, or why not. The answer of FC 5 and 6 equals the question, so on a bus
    /// that hears itself the echo is to be taken away before, or it confirms what nobody did.
    #[must_use]
    pub fn answers(&self, frame: &Frame<'_>) -> Option<Result<(), Exception>> {
        if frame.unit != self.unit || frame.function != self.function() {
            return None;
        }
        let done = match (&self.written, frame.body) {
            (_, Body::Exception(exception)) => return Some(Err(exception)),
            (Written::Coil(wanted), Body::WriteCoil { address, on }) => {
                address == self.start && on == *wanted
            }
            (Written::Register(wanted), Body::WriteRegister { address, value }) => {
                address == self.start && value == *wanted
            }
            (Written::Registers(values), Body::WriteMany { start, count, data: [] }) => {
                start == self.start && usize::from(count) == values.len()
            }
            _ => false,
        };
        done.then_some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Direction, examine};
    use super::*;

    fn write(written: Written) -> Write {
        Write::new(17, 0x00AC, written).expect("a possible write")
    }

    /// V1.1b3 §6.5, §6.6, §6.12, with the unit of the serial line.
    #[test]
    fn writes_have_the_known_bytes_and_are_frames() {
        for (written, content) in [
            (Written::Coil(true), vec![17, 5, 0, 0xAC, 0xFF, 0]),
            (Written::Coil(false), vec![17, 5, 0, 0xAC, 0, 0]),
            (Written::Register(3), vec![17, 6, 0, 0xAC, 0, 3]),
            (Written::Registers(vec![0x000A, 0x0102]), vec![17, 16, 0, 0xAC, 0, 2, 4, 0, 0x0A, 1, 2]),
        ] {
            let bytes = write(written).encode();
            assert_eq!(bytes, sealed(content));
            assert!(matches!(examine(&bytes, Direction::Request), Ok((len, _)) if len == bytes.len()));
        }
    }

    #[test]
    fn impossible_writes_are_refused() {
        let registers = |count| Written::Registers(vec![0; count]);
        for (unit, start, written, error) in [
            (0, 0, Written::Coil(true), RequestError::Unit(0)),
            (248, 0, Written::Register(1), RequestError::Unit(248)),
            (1, 0, registers(0), RequestError::Count { count: 0, max: 123 }),
            (1, 0, registers(124), RequestError::Count { count: 124, max: 123 }),
            (1, 65_535, registers(2), RequestError::Range { start: 65_535, count: 2 }),
        ] {
            assert_eq!(Write::new(unit, start, written), Err(error));
        }
        assert!(Write::new(247, 0, registers(123)).is_ok_and(|write| write.encode().len() == 255));
    }

    #[test]
    fn only_its_own_answer_confirms_a_write() {
        let registers = || write(Written::Registers(vec![1, 2]));
        for (write, content, expected) in [
            (write(Written::Coil(true)), vec![17, 5, 0, 0xAC, 0xFF, 0], Some(Ok(()))),
            (write(Written::Coil(true)), vec![17, 5, 0, 0xAC, 0, 0], None),
            (write(Written::Coil(true)), vec![18, 5, 0, 0xAC, 0xFF, 0], None),
            (write(Written::Coil(true)), vec![17, 5, 0, 0xAD, 0xFF, 0], None),
            (write(Written::Coil(true)), vec![17, 0x85, 2], Some(Err(Exception(2)))),
            (write(Written::Coil(true)), vec![17, 0x86, 2], None),
            (write(Written::Register(3)), vec![17, 6, 0, 0xAC, 0, 3], Some(Ok(()))),
            (write(Written::Register(3)), vec![17, 6, 0, 0xAC, 0, 4], None),
            (registers(), vec![17, 16, 0, 0xAC, 0, 2], Some(Ok(()))),
            (registers(), vec![17, 16, 0, 0xAC, 0, 3], None),
            (registers(), vec![17, 16, 0, 0xAB, 0, 2], None),
            (registers(), vec![17, 0x90, 4], Some(Err(Exception(4)))),
        ] {
            let bytes = sealed(content);
            let (_, frame) = examine(&bytes, Direction::Response).expect("a frame");
            assert_eq!(write.answers(&frame), expected, "{write:?} {bytes:02x?}");
        }
    }

    #[test]
    fn what_is_written_is_not_in_a_log() {
        assert_eq!(
            format!("{:?}", write(Written::Register(4711))),
            "Write { unit: 17, start: 172, written: Register }"
        );
    }
}
