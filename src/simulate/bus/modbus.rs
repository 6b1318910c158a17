//! Modbus RTU slaves: registers and bits that are read. Whatever would write is refused with exception 1, and counted.
//!
//! Source: Modbus Application Protocol V1.1b3, Modbus over Serial Line V1.02.

use std::time::Duration;

use super::bytes::{crc, mix, wave};
use super::fault::{Manner, Twist};

/// Bytes of the longest frame.
const FRAME_BYTES_MAX: usize = 256;

/// What a register or bit says over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Signed tenths of a degree, slowly between 17.0 and 25.0.
    Temperature,
    /// Unsigned 32 bit in two registers, high first; only rises.
    Counter,
    /// Percent as a float in two registers, low word first; falls as the temperature rises.
    Humidity,
    /// Always the same.
    Fixed(u16),
}

/// One slave. Registers are the same in both register tables, bits in both bit tables; any other address is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedSlave {
    /// Address.
    pub unit: u8,
    /// Addresses of registers with what they say.
    pub registers: Vec<(u16, Signal)>,
    /// Addresses of bits that change now and then.
    pub bits: Vec<u16>,
    /// Makes its values its own.
    pub seed: u64,
    /// How it behaves on the line.
    pub manner: Manner,
    /// How many questions wanted to write, to it or to all.
    pub writes_seen: u64,
}

impl SimulatedSlave {
    /// A healthy one: temperature at register 0, a counter at 2 and 3, 230 at 4, humidity at 6 and 7, and bits 0 to 7.
    #[must_use]
    pub fn new(unit: u8, seed: u64) -> Self {
        Self {
            unit,
            registers: vec![
                (0, Signal::Temperature),
                (2, Signal::Counter),
                (4, Signal::Fixed(230)),
                (6, Signal::Humidity),
            ],
            bits: (0..8).collect(),
            seed,
            manner: Manner::new(Duration::from_millis(5), 0),
            writes_seen: 0,
        }
    }

    /// What a register says `elapsed` after the start.
    #[must_use]
    pub fn register(&self, address: u16, elapsed: Duration) -> Option<u16> {
        self.registers.iter().find_map(|(first, signal)| {
            let offset = address.checked_sub(*first)?;
            match (signal, offset) {
                (Signal::Temperature, 0) => Some(self.temperature(elapsed) as u16),
                (Signal::Counter, 0) => Some((self.counter(elapsed) >> 16) as u16),
                (Signal::Counter, 1) => Some(self.counter(elapsed) as u16),
                (Signal::Humidity, 0) => Some(self.humidity(elapsed).to_bits() as u16),
                (Signal::Humidity, 1) => Some((self.humidity(elapsed).to_bits() >> 16) as u16),
                (Signal::Fixed(value), 0) => Some(*value),
                _ => None,
            }
        })
    }

    /// What a bit says `elapsed` after the start.
    #[must_use]
    pub fn bit(&self, address: u16, elapsed: Duration) -> Option<bool> {
        let minute = elapsed.as_secs() / 60;
        self.bits.contains(&address).then(|| mix(self.seed ^ u64::from(address) << 32 ^ minute) & 3 == 0)
    }

    /// Up and down by 8 degrees in 20 minutes, and a tenth of noise each second.
    fn temperature(&self, elapsed: Duration) -> i16 {
        let slope = wave(self.seed, elapsed.as_secs()) * 80 / 600;
        170 + slope as i16 + (mix(self.seed ^ elapsed.as_secs()) % 3) as i16 - 1
    }

    fn humidity(&self, elapsed: Duration) -> f32 {
        f32::from(700 - self.temperature(elapsed)) / 10.0
    }

    fn counter(&self, elapsed: Duration) -> u32 {
        let a_second = 1 + self.seed % 5;
        (mix(self.seed) % 1_000_000 + elapsed.as_secs() * a_second) as u32
    }

    /// Whether it answers; a question to unit 0 is heard, and not answered.
    pub(super) fn takes(&mut self, question: &Question) -> bool {
        let concerned = question.unit == self.unit || question.unit == 0;
        self.writes_seen += u64::from(concerned && matches!(question.function, 5 | 6 | 15 | 16));
        question.unit == self.unit
    }

    pub(super) fn answer(&self, question: &Question, elapsed: Duration, twist: Twist) -> Vec<u8> {
        let Question { function, start, count, .. } = *question;
        let (said, data) = match twist {
            Twist::Refuse(code) => (function, Err(code)),
            _ if function > 4 => (function, Err(1)),
            // 1 and 2 are bits, 3 and 4 registers: the answers of a pair look alike.
            Twist::OtherItem => {
                (((function - 1) ^ 1) + 1, self.stranger().data(function, start, count, 0, elapsed).ok_or(2))
            }
            Twist::Right => (function, self.data(function, start, count, 0, elapsed).ok_or(2)),
            Twist::Short => (function, self.data(function, start, count, 1, elapsed).ok_or(2)),
        };
        match data {
            Ok(data) => sealed(&[&[self.unit, said, data.len() as u8], &data[..]].concat()),
            Err(code) => sealed(&[self.unit, said | 0x80, code]),
        }
    }

    pub(super) fn stranger(&self) -> Self {
        let mut other = Self { unit: self.unit % 247 + 1, seed: mix(self.seed), ..self.clone() };
        for (_, signal) in &mut other.registers {
            if let Signal::Fixed(value) = signal {
                *value ^= 0x5555;
            }
        }
        other
    }

    /// The values of an answer without its last `missing` registers or bytes; none when the slave has no such address.
    fn data(&self, function: u8, start: u16, count: u16, missing: u16, elapsed: Duration) -> Option<Vec<u8>> {
        let addresses = || (0..count).map(|offset| start.checked_add(offset));
        if function <= 2 {
            if !(1..=2000).contains(&count) {
                return None;
            }
            let bits = addresses().map(|address| self.bit(address?, elapsed)).collect::<Option<Vec<_>>>()?;
            let mut bytes: Vec<u8> = bits
                .chunks(8)
                .map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
                .collect();
            bytes.truncate(bytes.len().saturating_sub(missing.into()));
            return Some(bytes);
        }
        if count > 125 {
            return None;
        }
        // Between two values that exist there may be registers without meaning.
        let last = start.checked_add(count.checked_sub(1)?)?;
        self.register(start, elapsed).and(self.register(last, elapsed))?;
        let known = count.saturating_sub(missing);
        Some(
            addresses()
                .take(known.into())
                .flat_map(|address| {
                    address
                        .and_then(|address| self.register(address, elapsed))
                        .unwrap_or_default()
                        .to_be_bytes()
                })
                .collect(),
        )
    }
}

/// What a master asks of a slave, or of all with unit 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    unit: u8,
    function: u8,
    start: u16,
    count: u16,
}

/// The question that ends here.
pub(super) fn question(heard: &[u8]) -> Option<(usize, Question)> {
    let ending = |len: usize| {
        let frame = &heard[heard.len().checked_sub(len)?..];
        let (content, check) = frame.split_last_chunk::<2>()?;
        let (unit, function, start, count, shaped) = match *content {
            // Status, server id and identification, which it does not have.
            [unit, function @ (7 | 17)] | [unit, function @ 43, 14, _, _] => (unit, function, 0, 0, true),
            [unit, function, a, b, c, d, ref rest @ ..] => {
                let shaped = match function {
                    1..=6 => rest.is_empty(),
                    15 | 16 => rest.first().is_some_and(|count| usize::from(*count) + 1 == rest.len()),
                    _ => false,
                };
                (unit, function, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), shaped)
            }
            _ => return None,
        };
        let question = Question { unit, function, start, count };
        (shaped && crc(content) == *check).then_some((len, question))
    };
    ending(8).or_else(|| ending(4)).or_else(|| ending(7)).or_else(|| (10..=FRAME_BYTES_MAX).find_map(ending))
}

/// With its CRC.
fn sealed(content: &[u8]) -> Vec<u8> {
    [content, &crc(content)].concat()
}

#[cfg(test)]
mod tests {
    use super::super::bytes::hex;
    use super::*;

    fn ask(slave: &mut SimulatedSlave, question_: &str, twist: Twist) -> Vec<u8> {
        let bytes = hex(question_);
        let sent = sealed(&bytes);
        let (len, question) = question(&sent).expect("a question");
        assert_eq!(len, sent.len());
        if slave.takes(&question) {
            slave.answer(&question, Duration::from_secs(100), twist)
        } else {
            Vec::new()
        }
    }

    /// Answers from the protocol's text and from manuals.
    #[test]
    fn answers_are_those_of_the_samples() {
        let registers =
            [0xAE41, 0x5652, 0x4340].into_iter().zip(0x6B..).map(|(value, at)| (at, Signal::Fixed(value)));
        let mut slave = SimulatedSlave { registers: registers.collect(), ..SimulatedSlave::new(17, 0) };
        assert_eq!(ask(&mut slave, "1103006B0003", Twist::Right), hex("110306ae415652434049ad"));
        let mut slave =
            SimulatedSlave { registers: vec![(7, Signal::Fixed(0xABCD))], ..SimulatedSlave::new(1, 0) };
        assert_eq!(ask(&mut slave, "010300070001", Twist::Right), hex("010302abcd06e1"));
        let mut slave = SimulatedSlave::new(0x66, 0);
        assert_eq!(ask(&mut slave, "660200000001", Twist::Refuse(3)), hex("668203b17e"));
    }

    #[test]
    fn what_would_write_is_refused_and_counted() {
        let mut slave = SimulatedSlave::new(1, 7);
        for (write, answer) in [
            ("010500000000", "0185 01"),
            ("010600010003", "0186 01"),
            ("01 0F 0013 000A 02 CD01", "018F 01"),
            ("01 10 0001 0002 04 000A0102", "0190 01"),
        ] {
            assert_eq!(ask(&mut slave, write, Twist::Right), sealed(&hex(answer)), "{write}");
        }
        assert!(ask(&mut slave, "000600010003", Twist::Right).is_empty(), "nobody answers a question to all");
        assert!(ask(&mut slave, "020600010003", Twist::Right).is_empty());
        assert_eq!(slave.writes_seen, 5);
    }

    #[test]
    fn what_it_does_not_say_of_itself_is_refused_at_once() {
        let mut slave = SimulatedSlave::new(1, 7);
        for (asked, answer) in [("0107", "0187 01"), ("0111", "0191 01"), ("012B0E0100", "01AB 01")] {
            assert_eq!(ask(&mut slave, asked, Twist::Right), sealed(&hex(answer)), "{asked}");
        }
        assert_eq!(slave.writes_seen, 0);
    }

    #[test]
    fn only_what_is_there_is_answered() {
        let mut slave = SimulatedSlave::new(3, 42);
        for (question, head) in [
            ("030300000005", "03030A"),
            ("030400020002", "030404"),
            ("030100000008", "030101"),
            ("030200060002", "030201"),
            ("030300090001", "038302"),
            ("030300000000", "038302"),
            ("03030000007E", "038302"),
            ("030100070002", "038102"),
        ] {
            let answer = ask(&mut slave, question, Twist::Right);
            assert!(answer.starts_with(&hex(head)), "{question}: {answer:02x?}");
        }
        let right = ask(&mut slave, "030300040001", Twist::Right);
        assert_eq!(right, sealed(&hex("03030200E6")));
        assert_eq!(ask(&mut slave, "030300040001", Twist::Short), sealed(&hex("030300")));
        assert_eq!(ask(&mut slave, "030300040001", Twist::OtherItem), sealed(&hex("03040255B3")));
    }

    #[test]
    fn values_move_like_what_they_stand_for() {
        let slave = SimulatedSlave::new(1, 7);
        let mut last = 0;
        for second in (0..3600).step_by(10) {
            let elapsed = Duration::from_secs(second);
            let temperature = slave.register(0, elapsed).expect("a register");
            assert!((160..=260).contains(&temperature), "{temperature}");
            let counter = slave.counter(elapsed);
            assert!(counter >= last);
            last = counter;
        }
    }
}
