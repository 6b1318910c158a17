//! Water, gas and heat meters of CJ/T 188-2004: questions, frames and answers.
//!
//! The text of the standard was not at hand: what stands here agrees across implementations and captured frames. The valve
//! of a meter that was made writable moves; every other write is refused, and all are counted.

use std::time::Duration;

use jiff::civil::{self, DateTime};
use rust_decimal::Decimal;

use super::bytes::{address, addressed, bcd, date, mix, signature, sum, time, wave};
use super::fault::{Manner, Twist};

/// Longest data of a question.
const DATA_MAX: usize = 64;

/// In which order the bytes of an identifier go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// 90 1F.
    HighFirst,
    /// 1F 90.
    LowFirst,
}

/// A number that a meter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cjt188Item {
    /// Cumulative volume now, m³.
    Volume,
    /// Cumulative volume at the last settlement, m³; not of a heat meter.
    SettlementVolume,
    /// Cumulative heat now, kWh.
    Heat,
    /// Cumulative heat at the last settlement, kWh.
    SettlementHeat,
    /// Heat power, kW.
    Power,
    /// Flow, m³/h.
    Flow,
    /// Supply temperature, °C.
    Supply,
    /// Return temperature, °C.
    Return,
    /// Hours of work.
    Hours,
    /// What was counted so many months ago, 1 to 12: m³, or kWh of a heat meter.
    Month(u8),
}

use Cjt188Item::{Flow, Heat, Hours, Month, Power, Return, SettlementHeat, SettlementVolume, Supply, Volume};

/// One water, gas or heat meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cjt188Meter {
    /// 10 to 13 water, 20 and 21 heat, 30 gas (hexadecimal).
    pub kind: u8,
    /// Fourteen digits, of which the first four are the maker's.
    pub address: u64,
    /// The only order it understands; none for both.
    pub order: Option<Order>,
    /// The order in which it answers; none for that of the question.
    pub answer_order: Option<Order>,
    /// Units before their values, as some heat meters have it.
    pub unit_first: bool,
    /// The serial number of all its answers; none for that of the question.
    pub constant_ser: Option<u8>,
    /// It sleeps, and hears only what comes after at least so many FE.
    pub wakeup: u8,
    /// Unit code of volumes: 2C is m³.
    pub volume_unit: u8,
    /// Decimals of the flow.
    pub flow_places: u32,
    /// What its clock says at the start; none sends zeros.
    pub clock: Option<DateTime>,
    /// Its valve obeys.
    pub writable: bool,
    /// Whether the valve is closed.
    pub valve_closed: bool,
    /// Whether it says that its battery is low.
    pub battery_low: bool,
    /// Identifiers with what it says for them instead, after the serial number.
    pub said: Vec<(u16, Vec<u8>)>,
    /// Makes its values its own.
    pub seed: u64,
    /// No value moves, and each says whose it is and which.
    pub fixed: bool,
    /// How it behaves on the line.
    pub manner: Manner,
    /// How many questions wanted to change something in it.
    pub writes_seen: u64,
}

impl Cjt188Meter {
    /// A healthy one that takes both orders and sends three FE first; `kind` is 0x10 for water, 0x20 for heat, 0x30 for gas.
    #[must_use]
    pub fn new(kind: u8, address: u64, seed: u64) -> Self {
        Self {
            kind,
            address: address % 100_000_000_000_000,
            order: None,
            answer_order: None,
            unit_first: false,
            constant_ser: None,
            wakeup: 0,
            volume_unit: 0x2C,
            flow_places: 4,
            clock: Some(civil::date(2026, 1, 1).at(8, 0, 0, 0)),
            writable: false,
            valve_closed: false,
            battery_low: false,
            said: Vec::new(),
            seed,
            fixed: false,
            manner: Manner::new(Duration::from_millis(50), 3),
            writes_seen: 0,
        }
    }

    /// The same with values that do not move, each of which says whose it is and which.
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// The same, which says these bytes for an identifier, after the serial number.
    #[must_use]
    pub fn saying(mut self, identifier: u16, bytes: &[u8]) -> Self {
        self.said.push((identifier, bytes.to_vec()));
        self
    }

    /// What it says for an item.
    #[must_use]
    pub fn value(&self, item: Cjt188Item, elapsed: Duration) -> Decimal {
        let places = match item {
            Flow => self.flow_places,
            Hours => 0,
            _ => 2,
        };
        Decimal::new(self.number(item, elapsed), places)
    }

    /// In units of the last place.
    fn number(&self, item: Cjt188Item, elapsed: Duration) -> i64 {
        if self.fixed {
            return signature(self.seed, item.code());
        }
        let seconds = elapsed.as_secs();
        let counted = |which: u64, seconds: u64| {
            (mix(self.seed ^ which) % 1_000_000 + seconds * (1 + self.seed % 3)) as i64
        };
        let which = u64::from(self.is_heat());
        match item {
            Volume => counted(0, seconds),
            SettlementVolume => counted(0, 0) * 9 / 10,
            Heat => counted(1, seconds),
            SettlementHeat => counted(1, 0) * 9 / 10,
            Power => 500 + wave(self.seed, seconds),
            Flow => 3_000 + wave(self.seed, seconds),
            Supply => 5_500 + wave(self.seed, seconds),
            Return => 4_000 + wave(self.seed, seconds) / 2,
            Hours => 1_000 + seconds as i64 / 3600,
            Month(month) => counted(which, 0) / 13 * (13 - i64::from(month.min(12))),
        }
    }

    fn is_heat(&self) -> bool {
        self.kind & 0xF0 == 0x20
    }

    pub(super) fn stranger(&self) -> Self {
        let next = (self.address + 1) % 100_000_000_000_000;
        Self { address: next, seed: self.seed.wrapping_add(1), said: Vec::new(), ..self.clone() }
    }

    /// Whether it answers a question with so many FE before it; its valve may have moved.
    pub(super) fn takes(&mut self, question: &Question, leader: usize) -> bool {
        let own = [0xAA, self.kind].contains(&question.kind)
            && addressed(&question.address, &address::<7>(self.address))
            && self.order.is_none_or(|order| order == question.order)
            && leader >= self.wakeup.into();
        if !own || !(READS.contains(&question.control) || WRITES.contains(&question.control)) {
            return false;
        }
        self.writes_seen += u64::from(WRITES.contains(&question.control));
        match (self.valve(question), &question.rest[..]) {
            (true, [0x55]) => self.valve_closed = false,
            (true, [0x99]) => self.valve_closed = true,
            _ => {}
        }
        true
    }

    /// Whether the question moves a valve that obeys.
    fn valve(&self, question: &Question) -> bool {
        self.writable && question.control == 0x04 && question.identifier == 0xA017
    }

    pub(super) fn answer(&self, question: &Question, elapsed: Duration, twist: Twist) -> Vec<u8> {
        let asked = self.constant_ser.unwrap_or(question.ser);
        let (ser, source) = match twist {
            Twist::OtherItem => (asked.wrapping_add(1), &self.stranger()),
            _ => (asked, self),
        };
        let content = match (question.control, twist) {
            (_, Twist::Refuse(status)) => Err([status, 0]),
            (0x03, _) if question.identifier == 0x810A => Ok(Vec::new()),
            (0x04, _) if self.valve(question) => Ok(self.status().to_vec()),
            (0x01, _) => source.content(question.identifier, elapsed).ok_or(self.status()),
            _ => Err(self.status()),
        };
        match content {
            Ok(content) => {
                let [high, low] = question.identifier.to_be_bytes();
                let head = match self.answer_order.unwrap_or(question.order) {
                    Order::HighFirst => [high, low, ser],
                    Order::LowFirst => [low, high, ser],
                };
                self.frame(question.control | 0x80, &twist.cut([&head, &content[..]].concat()))
            }
            Err([st0, st1]) => self.frame(question.control | 0xC0, &[ser, st0, st1]),
        }
    }

    /// Valve in bits 0 and 1, battery in bit 2.
    fn status(&self) -> [u8; 2] {
        [u8::from(self.valve_closed) | u8::from(self.battery_low) << 2, 0]
    }

    /// What it says for an identifier, after the serial number.
    fn content(&self, identifier: u16, elapsed: Duration) -> Option<Vec<u8>> {
        if let Some((_, bytes)) = self.said.iter().find(|(said, _)| *said == identifier) {
            return Some(bytes.clone());
        }
        let digits = |item, bytes| bcd(self.number(item, elapsed).unsigned_abs(), bytes);
        let measured = |(item, unit)| match self.unit_first {
            true => [vec![unit], digits(item, 4)].concat(),
            false => [digits(item, 4), vec![unit]].concat(),
        };
        let volume = self.volume_unit;
        let clock = || match self.clock {
            Some(start) => {
                let now = start.saturating_add(elapsed);
                let century = bcd(now.year().unsigned_abs() as u64 / 100, 1);
                [&time(now), &date(now)[..], &century].concat()
            }
            None => vec![0; 7],
        };
        match identifier {
            0x901F if self.is_heat() => {
                let fields =
                    [(SettlementHeat, 0x05), (Heat, 0x05), (Power, 0x17), (Flow, 0x35), (Volume, volume)];
                let mut content = fields.into_iter().flat_map(measured).collect::<Vec<_>>();
                content.extend([Supply, Return, Hours].into_iter().flat_map(|item| digits(item, 3)));
                Some([&content, &clock()[..], &self.status()].concat())
            }
            0x901F => {
                let fields = [(Volume, volume), (SettlementVolume, volume)];
                let content = fields.into_iter().flat_map(measured).collect::<Vec<_>>();
                Some([&content, &clock()[..], &self.status()].concat())
            }
            0xD120..=0xD12B => {
                let unit = if self.is_heat() { 0x05 } else { volume };
                Some(measured((Month((identifier - 0xD11F) as u8), unit)))
            }
            _ => None,
        }
    }

    fn frame(&self, control: u8, data: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x68, self.kind];
        frame.extend_from_slice(&address::<7>(self.address));
        frame.extend_from_slice(&[control, data.len() as u8]);
        frame.extend_from_slice(data);
        frame.extend_from_slice(&[sum(&frame), 0x16]);
        frame
    }
}

impl Cjt188Item {
    /// Below 100.
    fn code(self) -> u64 {
        match self {
            Volume => 1,
            SettlementVolume => 2,
            Heat => 3,
            SettlementHeat => 4,
            Power => 5,
            Flow => 6,
            Supply => 7,
            Return => 8,
            Hours => 9,
            Month(month) => 20 + u64::from(month % 16),
        }
    }
}

/// Functions that read: data, address, key version.
const READS: [u8; 3] = [0x01, 0x03, 0x09];
/// Functions that change something: data, address, the counter's setting.
const WRITES: [u8; 3] = [0x04, 0x15, 0x16];

/// What a master asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    kind: u8,
    address: [u8; 7],
    control: u8,
    identifier: u16,
    order: Order,
    ser: u8,
    rest: Vec<u8>,
}

/// The question that ends here, and its bytes without the leader.
pub(super) fn question(heard: &[u8]) -> Option<(usize, Question)> {
    let (content, [check, 0x16]) = heard.split_last_chunk::<2>()? else { return None };
    (3..=DATA_MAX).find_map(|count| {
        let frame = &content[content.len().checked_sub(11 + count)?..];
        let [0x68, kind, a, b, c, d, e, f, g, control, length, first, second, ser, rest @ ..] = frame else {
            return None;
        };
        let whole = usize::from(*length) == count && *control & 0x80 == 0 && sum(frame) == *check;
        // High bytes of the identifiers there are; none of them is a low byte.
        let (identifier, order) = match (*first, *second) {
            (low, high @ (0x81 | 0x90 | 0xA0 | 0xD1)) => (u16::from_be_bytes([high, low]), Order::LowFirst),
            (high, low) => (u16::from_be_bytes([high, low]), Order::HighFirst),
        };
        let question = || Question {
            kind: *kind,
            address: [*a, *b, *c, *d, *e, *f, *g],
            control: *control,
            identifier,
            order,
            ser: *ser,
            rest: rest.to_vec(),
        };
        whole.then(|| (13 + count, question()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::bytes::hex;
    use super::*;

    const START: Duration = Duration::ZERO;

    /// Asks without a leader; empty when it is silent.
    fn ask(meter: &mut Cjt188Meter, question_: &str, twist: Twist) -> Vec<u8> {
        let sent = hex(question_);
        let (len, question) = question(&sent).expect("a question");
        let leader = sent.len() - len;
        if meter.takes(&question, leader) { meter.answer(&question, START, twist) } else { Vec::new() }
    }

    fn read(kind: u8, address: &[u8; 7], control: u8, data: &[u8]) -> String {
        let mut frame = vec![0x68, kind];
        frame.extend_from_slice(address);
        frame.extend_from_slice(&[control, data.len() as u8]);
        frame.extend_from_slice(data);
        frame.extend_from_slice(&[sum(&frame), 0x16]);
        frame.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Captured frames; what a meter said after its serial number is given, everything else is built.
    #[test]
    fn answers_are_those_of_the_samples() {
        use Order::{HighFirst, LowFirst};
        for (address, data, answer_order, said, sample) in [
            (
                805_000_001,
                [0x1F, 0x90, 0],
                Some(HighFirst),
                "002301002c000000002c0000000000000000 00",
                "6810010000050800008116901f00002301002c000000002c0000000000000000004816",
            ),
            (
                51_327_643,
                [0x90, 0x1F, 0],
                None,
                "47700100295148010029202005282058240000",
                "6810437632510000008116901f0047700100295148010029202005282058240000a716",
            ),
            (
                201_809_230_001,
                [0x90, 0x1F, 1],
                None,
                "600000002c600000002c602020000000000000",
                "6810010023091820008116901f01600000002c600000002c602020000000000000dc16",
            ),
            (
                78_330_007_061_326,
                [0x1F, 0x90, 4],
                Some(LowFirst),
                "006800002c000000002c000000000000000000",
                "68102613060700337881161f9004006800002c000000002c0000000000000000007316",
            ),
        ] {
            let meter = Cjt188Meter { answer_order, ..Cjt188Meter::new(0x10, address, 1) };
            let question = read(0x10, &super::address(address), 0x01, &data);
            let mut told = meter.clone().saying(0x901F, &hex(said));
            assert_eq!(ask(&mut told, &question, Twist::Right), hex(sample), "{sample}");
        }
        // The address alone is read in either order.
        let mut meter = Cjt188Meter::new(0x10, 20_260_324_152_900, 1);
        let question = read(0xAA, &[0xAA; 7], 0x03, &[0x0A, 0x81, 2]);
        assert_eq!(ask(&mut meter, &question, Twist::Right), hex("68100029152403262083030a81023616"));
    }

    /// The shape of an answer of numbers: the first sample again, this time from numbers and a clock that is not there.
    #[test]
    fn numbers_are_in_their_places() {
        let mut water = Cjt188Meter { clock: None, ..Cjt188Meter::new(0x10, 805_000_001, 3) }.fixed();
        let answer = ask(&mut water, "6810aaaaaaaaaaaaaa01031f9001d216", Twist::Right);
        // Seed 3: 3.01 m³ now, 3.02 at the settlement.
        assert_eq!(answer[..11], hex("6810010000050800008116")[..]);
        assert_eq!(answer[11..33], hex("1f9001 010300002c 020300002c 00000000000000 0000")[..]);

        let heat = Cjt188Meter::new(0x20, 1, 3).fixed();
        let question = read(0x20, &[1, 0, 0, 0, 0, 0, 0], 0x01, &[0x90, 0x1F, 7]);
        let values = "0403000005 0303000005 0503000017 0603000035 010300002c";
        let rest = "070300 080300 090300 00000801012620 0000";
        let answer = ask(&mut heat.clone(), &question, Twist::Right);
        assert_eq!(answer[10], 0x2E);
        assert_eq!(answer[11..57], hex(&format!("901f07{values}{rest}"))[..]);
        let values = "0504030000 0503030000 1705030000 3506030000 2c01030000";
        let answer = ask(&mut Cjt188Meter { unit_first: true, ..heat.clone() }, &question, Twist::Right);
        assert_eq!(answer[11..57], hex(&format!("901f07{values}{rest}"))[..]);
        assert_eq!(heat.value(Cjt188Item::Flow, START), Decimal::new(306, 4));
        assert_eq!(heat.value(Cjt188Item::Return, START), Decimal::new(308, 2));

        let question = read(0x10, &super::address(805_000_001), 0x01, &[0x2B, 0xD1, 9]);
        let answer = ask(&mut water, &question, Twist::Right);
        assert_eq!(answer[9..19], hex("8108 2bd109 320300002c")[..]);
    }

    #[test]
    fn it_is_silent_where_it_has_to_be() {
        let meter = Cjt188Meter::new(0x10, 12, 1);
        let question = "6810120000000000000103901f003d16";
        let deaf =
            |meter: Cjt188Meter, question: &str| ask(&mut meter.clone(), question, Twist::Right).is_empty();
        assert!(!deaf(meter.clone(), question));
        assert!(deaf(Cjt188Meter { order: Some(Order::LowFirst), ..meter.clone() }, question));
        assert!(!deaf(Cjt188Meter { order: Some(Order::HighFirst), ..meter.clone() }, question));
        assert!(deaf(Cjt188Meter::new(0x10, 13, 1), question));
        assert!(deaf(Cjt188Meter::new(0x20, 12, 1), question));
        let sleeper = Cjt188Meter { wakeup: 4, ..meter };
        assert!(deaf(sleeper.clone(), &format!("fefefe{question}")));
        assert!(!deaf(sleeper, &format!("fefefefe{question}")));
    }

    #[test]
    fn only_the_valve_of_a_writable_meter_moves_and_every_write_counts() {
        let mut meter = Cjt188Meter::new(0x10, 19_121_301, 1);
        let close = "fefefe6810011312190000000404a01701991016";
        assert_eq!(ask(&mut meter, close, Twist::Right)[9..14], hex("c403 01 0000")[..]);
        assert!(!meter.valve_closed);
        meter.writable = true;
        assert_eq!(ask(&mut meter, close, Twist::Right)[9..16], hex("8405 a01701 0100")[..]);
        assert!(meter.valve_closed);
        let open = read(0x10, &super::address(19_121_301), 0x04, &[0x17, 0xA0, 2, 0x55]);
        ask(&mut meter, &open, Twist::Right);
        assert!(!meter.valve_closed);
        for control in [0x15, 0x16] {
            let write =
                read(0x10, &super::address(19_121_301), control, &[0xA0, 0x18, 3, 1, 2, 3, 4, 5, 6, 7]);
            assert_eq!(ask(&mut meter, &write, Twist::Right)[9], control | 0xC0);
        }
        assert_eq!(meter.writes_seen, 5);
    }

    #[test]
    fn unknown_items_and_faults_have_their_form() {
        let mut meter =
            Cjt188Meter { battery_low: true, constant_ser: Some(9), ..Cjt188Meter::new(0x10, 12, 1) };
        let unknown = read(0x10, &[0x12, 0, 0, 0, 0, 0, 0], 0x01, &[0x90, 0x2F, 3]);
        assert_eq!(ask(&mut meter, &unknown, Twist::Right)[9..14], hex("c103 09 0400")[..]);
        let question = "6810120000000000000103901f003d16";
        let right = ask(&mut meter, question, Twist::Right);
        assert_eq!(right[13], 9);
        assert_eq!(ask(&mut meter, question, Twist::OtherItem)[13], 10);
        assert_eq!(ask(&mut meter, question, Twist::Refuse(2))[9..14], hex("c103 09 0200")[..]);
        let short = ask(&mut meter, question, Twist::Short);
        assert_eq!((short.len(), short[10]), (right.len() - 1, right[10] - 1));
    }
}
