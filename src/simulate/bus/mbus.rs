//! Heat meters of M-Bus: link resets, selections, and data in two telegrams.
//!
//! Source: EN 13757-2 (link layer), EN 13757-3 (application layer, and clause on the frame count bit). Nothing is ever
//! written: whatever else a master sends to a meter is counted and not answered.

use std::time::Duration;

use jiff::civil::{self, DateTime};
use rust_decimal::Decimal;

use super::bytes::{bcd, mix, signature, sum, wave};
use super::fault::{Manner, Twist};

/// The address of the one meter that was selected.
const SELECTED: u8 = 253;
/// All meters, and they answer.
const ALL: u8 = 254;
/// All meters, and they do not answer.
const NOBODY: u8 = 255;
/// An acknowledgement.
const ACK: u8 = 0xE5;

/// A number that a meter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MbusItem {
    /// Volume in m³, of three places; in the first telegram.
    Volume,
    /// Energy in kWh; in the first telegram.
    Energy,
    /// Flow in m³/h, of three places; in the first telegram.
    Flow,
    /// Flow temperature in °C, of one place; in the first telegram.
    Supply,
    /// Return temperature in °C, of one place; in the second telegram.
    Return,
    /// Power in hundreds of watts; in the second telegram.
    Power,
    /// Volume at the end of last month in m³, of three places; in the second telegram.
    LastVolume,
}

use MbusItem::{Energy, Flow, LastVolume, Power, Return, Supply, Volume};

/// One heat meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MbusMeter {
    /// Primary address, 1 to 250.
    pub primary: u8,
    /// Identification number of eight digits.
    pub id: u32,
    /// Three letters as a number: (letter - 64) in five bits each.
    pub manufacturer: u16,
    /// Of the meter's generation.
    pub version: u8,
    /// 04 is heat.
    pub medium: u8,
    /// What its clock says at the start.
    pub clock: DateTime,
    /// Records of its telegrams instead of its own; all but the last are followed by 1F.
    pub telegrams: Option<Vec<Vec<u8>>>,
    /// Makes its values its own.
    pub seed: u64,
    /// No value moves, and each says whose it is and which.
    pub fixed: bool,
    /// How it behaves on the line.
    pub manner: Manner,
    /// How many questions wanted to change something in it.
    pub writes_seen: u64,
    /// How many telegrams it gave; goes around.
    pub access: u8,
    selected: bool,
    last: Option<Telegram>,
}

/// What was asked for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Telegram {
    /// The frame count bit of the question.
    count_bit: bool,
    number: usize,
    at: Duration,
}

impl MbusMeter {
    /// A healthy one.
    #[must_use]
    pub fn new(primary: u8, id: u32, seed: u64) -> Self {
        let letters = "SBM".bytes().fold(0, |all, letter| all << 5 | u16::from(letter - 64));
        Self {
            primary,
            id: id % 100_000_000,
            manufacturer: letters,
            version: 1,
            medium: 0x04,
            clock: civil::date(2026, 1, 1).at(8, 0, 0, 0),
            telegrams: None,
            seed,
            fixed: false,
            manner: Manner::new(Duration::from_millis(30), 0),
            writes_seen: 0,
            access: 0,
            selected: false,
            last: None,
        }
    }

    /// The same with values that do not move, each of which says whose it is and which.
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// What it says for an item.
    #[must_use]
    pub fn value(&self, item: MbusItem, elapsed: Duration) -> Decimal {
        let places = match item {
            Volume | Flow | LastVolume => 3,
            Supply | Return => 1,
            Energy | Power => 0,
        };
        Decimal::new(self.number(item, elapsed), places)
    }

    /// In units of the last place.
    fn number(&self, item: MbusItem, elapsed: Duration) -> i64 {
        if self.fixed {
            return signature(self.seed, item as u64 + 1);
        }
        let seconds = elapsed.as_secs();
        let counted = |which: u64, seconds: u64| {
            (mix(self.seed ^ which) % 1_000_000 + seconds * (1 + self.seed % 3)) as i64
        };
        match item {
            Volume => counted(0, seconds),
            LastVolume => counted(0, 0) * 9 / 10,
            Energy => counted(1, seconds),
            Flow => 100 + wave(self.seed, seconds),
            Power => 50 + wave(self.seed, seconds) / 10,
            Supply => 500 + wave(self.seed, seconds) / 2,
            Return => 350 + wave(self.seed, seconds) / 4,
        }
    }

    pub(super) fn stranger(&self) -> Self {
        let mut other = self.clone();
        other.primary = self.primary % 250 + 1;
        other.id = (self.id + 1) % 100_000_000;
        other.seed = self.seed.wrapping_add(1);
        other
    }

    /// Whether it answers; it keeps what it needs to repeat a telegram.
    pub(super) fn takes(&mut self, question: &Question, elapsed: Duration) -> bool {
        let address = question.address;
        if address == SELECTED && question.is_selection() {
            self.selected = self.matches(&question.data);
            self.last = None;
            return self.selected;
        }
        let own = address == self.primary || address == ALL || address == SELECTED && self.selected;
        if !own && address != NOBODY {
            return false;
        }
        match question.control & 0x4F {
            // Link reset; at 253 it also ends the selection.
            0x40 => {
                self.selected &= address != SELECTED;
                self.last = None;
            }
            // Application reset: from the first telegram on.
            0x43 if question.information == Some(0x50) => self.last = None,
            0x43 => {
                self.writes_seen += 1;
                return false;
            }
            0x4A => {}
            0x4B => self.next_telegram(question.control, elapsed),
            _ => return false,
        }
        own
    }

    /// The same frame count bit asks for the same telegram again.
    fn next_telegram(&mut self, control: u8, at: Duration) {
        let (counted, count_bit) = (control & 0x10 != 0, control & 0x20 != 0);
        let number = match self.last {
            Some(last) if counted && last.count_bit == count_bit => return,
            Some(last) => (last.number + 1) % self.telegrams(at).len().max(1),
            None => 0,
        };
        self.access = self.access.wrapping_add(1);
        self.last = Some(Telegram { count_bit, number, at });
    }

    /// Identification number with F for any digit, then maker, version and medium with FF for any.
    fn matches(&self, data: &[u8]) -> bool {
        let own = self.identity();
        let (Some((id, rest)), true) = (data.split_first_chunk::<4>(), data.len() >= own.len()) else {
            return false;
        };
        let digit = |asked: u8, own: u8| asked == 0x0F || asked == own;
        let digits = id
            .iter()
            .zip(&own)
            .all(|(asked, own)| digit(asked >> 4, own >> 4) && digit(asked & 15, own & 15));
        digits && rest.iter().zip(&own[4..]).all(|(asked, own)| *asked == 0xFF || asked == own)
    }

    fn identity(&self) -> Vec<u8> {
        let maker = self.manufacturer.to_le_bytes();
        [bcd(self.id.into(), 4), maker.to_vec(), vec![self.version, self.medium]].concat()
    }

    pub(super) fn answer(&self, question: &Question, twist: Twist) -> Vec<u8> {
        let (true, Some(last)) = (question.control & 0x4F == 0x4B, self.last) else {
            return twist.cut(vec![ACK]);
        };
        if let Twist::Refuse(code) = twist {
            return self.frame(&[0x70, code]);
        }
        let telegrams = self.telegrams(last.at);
        // 7A is a content without the identity.
        let information = if twist == Twist::OtherItem { 0x7A } else { 0x72 };
        let mut content = [&[information], &self.identity()[..], &[self.access, 0, 0, 0]].concat();
        content.extend_from_slice(telegrams.get(last.number).map_or(&[], Vec::as_slice));
        if last.number + 1 < telegrams.len() {
            content.push(0x1F);
        }
        self.frame(&twist.cut(content))
    }

    fn telegrams(&self, elapsed: Duration) -> Vec<Vec<u8>> {
        if let Some(telegrams) = &self.telegrams {
            return telegrams.clone();
        }
        let number = |item| self.number(item, elapsed);
        let digits = |head: &[u8], item, bytes| [head, &bcd(number(item).unsigned_abs(), bytes)].concat();
        let volume = (number(Volume) as i32).to_le_bytes();
        let now = self.clock.saturating_add(elapsed);
        let year = (now.year() - 2000).clamp(0, 127) as u8;
        let point = [
            now.minute() as u8,
            now.hour() as u8,
            now.day() as u8 | (year & 7) << 5,
            now.month() as u8 | (year >> 3) << 4,
        ];
        vec![
            [
                [&[0x04, 0x13], &volume[..]].concat(),
                digits(&[0x0C, 0x06], Energy, 4),
                digits(&[0x0B, 0x3B], Flow, 3),
                digits(&[0x0A, 0x5A], Supply, 2),
            ]
            .concat(),
            [
                digits(&[0x0A, 0x5E], Return, 2),
                digits(&[0x0B, 0x2D], Power, 3),
                [&[0x04, 0x6D], &point[..]].concat(),
                digits(&[0x4C, 0x13], LastVolume, 4),
            ]
            .concat(),
        ]
    }

    /// An answer with data: control 08 and the primary address.
    fn frame(&self, content: &[u8]) -> Vec<u8> {
        let body = [&[0x08, self.primary], content].concat();
        let length = body.len() as u8;
        [&[0x68, length, length, 0x68], &body[..], &[sum(&body), 0x16]].concat()
    }
}

/// What a master asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    control: u8,
    address: u8,
    /// The CI field of a long frame.
    information: Option<u8>,
    data: Vec<u8>,
}

impl Question {
    fn is_selection(&self) -> bool {
        self.control & 0x4F == 0x43 && self.information == Some(0x52)
    }
}

/// The question that ends here, and its bytes.
pub(super) fn question(heard: &[u8]) -> Option<(usize, Question)> {
    let (content, [check, 0x16]) = heard.split_last_chunk::<2>()? else { return None };
    // Bit 6 says that the frame is of the master.
    if let [.., 0x10, control, address] = content
        && *control & 0x40 != 0
        && sum(&[*control, *address]) == *check
    {
        return Some((
            5,
            Question { control: *control, address: *address, information: None, data: Vec::new() },
        ));
    }
    (3..=u8::MAX).find_map(|count| {
        let frame = &content[content.len().checked_sub(4 + usize::from(count))?..];
        let [0x68, one, two, 0x68, body @ ..] = frame else { return None };
        let [control, address, information, data @ ..] = body else { return None };
        let whole = *one == count && *two == count && *control & 0x40 != 0 && sum(body) == *check;
        whole.then(|| {
            let information = Some(*information);
            (
                frame.len() + 2,
                Question { control: *control, address: *address, information, data: data.to_vec() },
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::bytes::hex;
    use super::*;

    const START: Duration = Duration::ZERO;

    fn ask(meter: &mut MbusMeter, question_: &str, elapsed: Duration, twist: Twist) -> Vec<u8> {
        let sent = hex(question_);
        let (len, question) = question(&sent).expect("a question");
        assert_eq!(len, sent.len());
        if meter.takes(&question, elapsed) { meter.answer(&question, twist) } else { Vec::new() }
    }

    fn short(control: u8, address: u8) -> String {
        format!("10{control:02x}{address:02x}{:02x}16", control.wrapping_add(address))
    }

    fn select(identity: &str) -> String {
        let body = [&hex("53fd52")[..], &hex(identity)].concat();
        let text: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("680b0b68{text}{:02x}16", sum(&body))
    }

    /// Captured answers: the records of each are given, everything else is built.
    #[test]
    fn answers_are_those_of_the_samples() {
        for (primary, id, maker, version, medium, access, sample) in [
            (
                2,
                12_345_678,
                0x4024,
                1,
                0x07,
                0x55,
                "681f1f680802727856341224400107550000000313153100da023b13018b60043718021816",
            ),
            (
                25,
                23_006_207,
                0x192E,
                0x23,
                0x02,
                0x92,
                "68383868081972076200232e192302920000008c1004682817008c11046828170002fdc9ff01e60002fddbff01060002acff0109008240acff01fdff5b16",
            ),
            (
                1,
                70_112_345,
                0x1593,
                2,
                0x07,
                2,
                "682c2c680801724523117093150207020000000c1367452301046d3a0de602426ce1014c135169450042ec7e01110f006116",
            ),
            (
                253,
                12_345_678,
                0x1593,
                0x33,
                0x03,
                0x2A,
                "6820206808fd7278563412931533032a0000000c1427048502046d32371f1502fd1700008916",
            ),
        ] {
            let sample = hex(sample);
            let mut meter = MbusMeter::new(primary, id, 1);
            meter.manufacturer = maker;
            (meter.version, meter.medium, meter.access) = (version, medium, access - 1);
            meter.telegrams = Some(vec![sample[19..sample.len() - 2].to_vec()]);
            // The last one was read at 253.
            ask(&mut meter, &select("ffffffffffffffff"), START, Twist::Right);
            assert_eq!(ask(&mut meter, &short(0x5B, primary), START, Twist::Right), sample);
        }
        let mut meter = MbusMeter::new(1, 1, 1);
        assert_eq!(ask(&mut meter, "105b015c16", START, Twist::Refuse(2)), hex("68040468080170027b16"));
        let vendor = MbusMeter::new(1, 1, 1).manufacturer;
        assert_eq!(vendor, 19 << 10 | 2 << 5 | 13);
    }

    #[test]
    fn two_telegrams_by_the_frame_count_bit() {
        let mut meter = MbusMeter::new(5, 10_000_005, 3).fixed();
        let second = Duration::from_secs(1);
        assert_eq!(ask(&mut meter, &short(0x40, 5), START, Twist::Right), [0xE5]);
        let one = ask(&mut meter, &short(0x7B, 5), START, Twist::Right);
        assert_eq!(one[4..19], hex("08 05 72 05000010 4d4c 01 04 01 00 0000")[..]);
        let records = "0413 2d010000 0c06 02030000 0b3b 030300 0a5a 0403 1f";
        assert_eq!(one[19..one.len() - 2], hex(records)[..]);
        assert_eq!(
            ask(&mut meter, &short(0x7B, 5), second, Twist::Right),
            one,
            "not heard: again, byte for byte"
        );
        let two = ask(&mut meter, &short(0x5B, 5), second, Twist::Right);
        // 8 o'clock on the first of January 2026.
        let records = "0a5e 0503 0b2d 060300 046d 00084131 4c13 07030000";
        assert_eq!(two[15], 2);
        assert_eq!(two[19..two.len() - 2], hex(records)[..]);
        let again = ask(&mut meter, &short(0x7B, 5), second, Twist::Right);
        assert_eq!(
            (again[15], &again[19..again.len() - 2]),
            (3, &one[19..one.len() - 2]),
            "from the first on"
        );
        assert_eq!(meter.value(Volume, START), Decimal::new(301, 3));
        assert_eq!(meter.value(Power, START), Decimal::new(306, 0));
    }

    #[test]
    fn one_meter_is_selected_by_its_number() {
        let mut meter = MbusMeter::new(5, 12_345_678, 3);
        let mut asked = |question: &str| ask(&mut meter, question, START, Twist::Right).len();
        assert_eq!(asked(&short(0x5B, 253)), 0, "not selected yet");
        for (identity, answers) in [
            ("78563412 ffff ff ff", 1),
            ("78563412 4d4c 01 04", 1),
            ("ffff3412 ffff ff ff", 1),
            ("7f5634f2 ffff ff ff", 1),
            ("79563412 ffff ff ff", 0),
            ("78563412 4e4c 01 04", 0),
            ("78563412 ffff 02 ff", 0),
        ] {
            assert_eq!(asked(&select(identity)), answers, "{identity}");
            assert_eq!(asked(&short(0x5B, 253)) > 0, answers == 1, "{identity}");
        }
        assert_eq!(asked(&select("ffffffffffffffff")), 1);
        assert_eq!(asked(&short(0x40, 253)), 1);
        assert_eq!(asked(&short(0x5B, 253)), 0, "the link reset ended the selection");
        assert_eq!(asked(&short(0x5B, 254)), 43);
        assert_eq!(asked(&short(0x40, 255)), 0);
        assert_eq!(asked(&short(0x5B, 6)), 0);
    }

    #[test]
    fn what_would_write_is_counted_and_not_answered() {
        let mut meter = MbusMeter::new(5, 1, 3);
        // A new primary address, another speed; an application reset is none.
        for (body, answers, seen) in
            [("5305 51 017a08", 0, 1), ("7305 bb", 0, 2), ("5305 50", 1, 2), ("53ff b8", 0, 3)]
        {
            let body = hex(body);
            let text: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
            let length = body.len();
            let frame = format!("68{length:02x}{length:02x}68{text}{:02x}16", sum(&body));
            assert_eq!(ask(&mut meter, &frame, START, Twist::Right).len(), answers, "{frame}");
            assert_eq!(meter.writes_seen, seen, "{frame}");
        }
        assert_eq!(meter.primary, 5);
    }
}
