//! The questions that make one reading: DL/T 645 answers in several frames, an M-Bus meter has to be selected first.
//!
//! Guarantees: bounded in steps and bytes; what belongs together comes out together, or nothing does. Pure.

use jiff::civil;

use super::question::{Answer, Asked, Question};
use super::{Address, Cjt188, Line, Meter, Source, Timing};
use crate::codec::cjt188::IdentifierOrder;
use crate::codec::dlt645::{Edition, FOLLOW_FRAMES_MAX, Identifier};
use crate::codec::{Item, cjt188, dlt645, mbus, modbus};

/// Telegrams of one M-Bus reading.
pub const TELEGRAMS_MAX: u8 = 16;

/// Silences after which a CJ/T 188 meter is asked with the other order of bytes.
const ORDER_AFTER: u32 = 3;

/// What is wanted of a meter.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// Registers or bits.
    Modbus(modbus::Request),
    /// The items of an identifier.
    Dlt645(Identifier),
    /// Its clock.
    Dlt645Clock(Edition),
    /// The items of an identifier.
    Cjt188(cjt188::Identifier),
    /// All records.
    Mbus,
}

impl Want {
    /// What brings a point of a meter; none when the meter does not speak of such things.
    #[must_use]
    pub fn of(address: &Address, source: &Source) -> Option<Self> {
        match (address, source) {
            (Address::Modbus(unit), Source::Modbus { table, address, kind, .. }) => {
                modbus::Request::new(*unit, *table, *address, kind.width()).ok().map(Self::Modbus)
            }
            (Address::Dlt645(_), Source::Dlt645 { identifier, .. }) => Some(Self::Dlt645(*identifier)),
            (Address::Cjt188(_), Source::Cjt188 { identifier, .. }) => Some(Self::Cjt188(*identifier)),
            (Address::Mbus(_), Source::Mbus { .. }) => Some(Self::Mbus),
            _ => None,
        }
    }
}

/// What an exchange gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Registers or bits from an address on, as they came.
    Registers {
        /** The first address. */
        start: u16,
        /** As they came. */
        data: Vec<u8>,
    },
    /// Items, and what the meter's clock showed with them.
    Items {
        /** What the answer holds. */
        items: Vec<Item>,
        /** The meter's clock, milliseconds as if its zone were UTC; none when it has none, or a wrong one. */
        clock_ms: Option<i64>,
    },
    /// The meter's clock alone.
    Clock(Option<i64>),
    /// The answer to a single question.
    Answer(Answer),
    /// It went to all, and nobody answers.
    Told,
}

/// What follows an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The next question: [`Exchange::question`].
    Ask,
    /// It is complete.
    Done(Content),
    /// The answers make no reading.
    Unusable(String),
}

/// What is remembered of a meter from exchange to exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    ser: u8,
    order: IdentifierOrder,
    silences: u32,
    /// M-Bus: the link is to be reset first.
    reset: bool,
    fcb: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self { ser: 0, order: IdentifierOrder::HighFirst, silences: 0, reset: true, fcb: true }
    }
}

impl Habits {
    /// Of a meter that nothing is known of; its next CJ/T 188 question has the serial number after this one.
    #[must_use]
    pub fn numbered(ser: u8) -> Self {
        Self { ser, ..Self::default() }
    }

    /// The link of an M-Bus meter is to be reset before the next question.
    pub fn reset_link(&mut self) {
        self.reset = true;
    }

    /// The meter said nothing: perhaps it wants the other order of bytes, and its link is to be reset.
    pub fn silent(&mut self) {
        self.silences += 1;
        self.reset = true;
        if self.silences.is_multiple_of(ORDER_AFTER) {
            self.order = self.order.other();
        }
    }

    /// The meter answered with what was wanted.
    pub fn answered(&mut self, exchange: &Exchange) {
        self.silences = 0;
        self.reset = false;
        if let Of::Mbus { fcb, .. } = &exchange.of {
            self.fcb = !fcb;
        }
    }
}

/// One reading in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    line: Line,
    timing: Timing,
    of: Of,
}

#[derive(Clone, Debug, PartialEq)]
enum Of {
    Single(Asked),
    Two(Asked, Asked),
    Modbus(modbus::Request),
    Dlt645 { address: dlt645::Address, identifier: Identifier, seq: u8, data: Vec<u8> },
    Clock { address: dlt645::Address, edition: Edition, date: Option<Vec<u8>>, time: Option<Vec<u8>> },
    Cjt188 { request: cjt188::Request, meter: Cjt188 },
    Mbus { address: mbus::Address, step: Link, fcb: bool, telegrams: u8, records: Vec<mbus::Record> },
}

/// Where an M-Bus exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Reset,
    Select,
    Data,
}

impl Exchange {
    /// Of a meter; none when the meter does not speak of such things.
    #[must_use]
    pub fn new(meter: &Meter, want: Want, habits: &mut Habits) -> Option<Self> {
        let of = match (&meter.address, want) {
            (Address::Modbus(_), Want::Modbus(request)) => Of::Modbus(request),
            (Address::Dlt645(address), Want::Dlt645(identifier)) => {
                Of::Dlt645 { address: *address, identifier, seq: 0, data: Vec::new() }
            }
            (Address::Dlt645(address), Want::Dlt645Clock(edition)) => {
                Of::Clock { address: *address, edition, date: None, time: None }
            }
            (Address::Cjt188(own), Want::Cjt188(identifier)) => {
                habits.ser = habits.ser.wrapping_add(1);
                let request = cjt188::Request::Read {
                    kind: own.kind,
                    address: own.address,
                    identifier,
                    order: own.order.unwrap_or(habits.order),
                    ser: habits.ser,
                    any_ser: own.any_ser,
                    leader: own.leader,
                };
                Of::Cjt188 { request, meter: own.clone() }
            }
            (Address::Mbus(address), Want::Mbus) => {
                let step = match address {
                    // Nobody answers a reset of 253 before one is selected.
                    mbus::Address::Secondary(_) => Link::Select,
                    mbus::Address::Primary(_) if habits.reset => Link::Reset,
                    mbus::Address::Primary(_) => Link::Data,
                };
                let fcb = step != Link::Data || habits.fcb;
                Of::Mbus { address: *address, step, fcb, telegrams: 0, records: Vec::new() }
            }
            _ => return None,
        };
        Some(Self { line: meter.line, timing: meter.timing, of })
    }

    /// Of one question, whatever it is.
    #[must_use]
    pub fn single(question: Question) -> Self {
        Self { line: question.line, timing: question.timing, of: Of::Single(question.asked) }
    }

    /// Of one question, and another one when that is answered; the second answer counts.
    #[must_use]
    pub fn two(question: Question, then: Asked) -> Self {
        Self { line: question.line, timing: question.timing, of: Of::Two(question.asked, then) }
    }

    /// What is to be asked now.
    #[must_use]
    pub fn question(&self) -> Question {
        let asked = match &self.of {
            Of::Single(asked) | Of::Two(asked, _) => asked.clone(),
            Of::Modbus(request) => Asked::Modbus(*request),
            Of::Dlt645 { address, identifier, seq: 0, .. } => {
                Asked::Dlt645(dlt645::Request::Read { address: *address, identifier: *identifier })
            }
            Of::Dlt645 { address, identifier, seq, .. } => Asked::Dlt645(dlt645::Request::Follow {
                address: *address,
                identifier: *identifier,
                seq: *seq,
            }),
            Of::Clock { address, edition, date, time } => {
                let [day, hour] = clock_identifiers(*edition);
                let identifier = if date.is_some() && time.is_none() { hour } else { day };
                Asked::Dlt645(dlt645::Request::Read { address: *address, identifier })
            }
            Of::Cjt188 { request, .. } => Asked::Cjt188(request.clone()),
            Of::Mbus { address, step, fcb, .. } => Asked::Mbus(telegram(*address, *step, *fcb)),
        };
        Question { asked, line: self.line, timing: self.timing }
    }

    /// The unit of a Modbus question.
    #[must_use]
    pub fn unit(&self) -> Option<u8> {
        match &self.of {
            Of::Single(asked) | Of::Two(asked, _) => asked.unit(),
            Of::Modbus(request) => Some(request.unit()),
            _ => None,
        }
    }

    /// Takes the answer to [`Exchange::question`].
    #[must_use]
    pub fn answered(&mut self, answer: Answer) -> Step {
        match (&mut self.of, answer) {
            (Of::Single(_), answer) => Step::Done(Content::Answer(answer)),
            (Of::Two(_, then), _) => {
                self.of = Of::Single(then.clone());
                Step::Ask
            }
            (Of::Modbus(request), Answer::Modbus(data)) => {
                Step::Done(Content::Registers { start: request.start(), data })
            }
            (Of::Dlt645 { identifier, seq, data, .. }, Answer::Dlt645(answer)) => {
                data.extend(answer.data);
                if answer.more {
                    *seq += 1;
                    let most = usize::from(*seq) >= FOLLOW_FRAMES_MAX;
                    return if most { Step::Unusable("an answer without end".into()) } else { Step::Ask };
                }
                match dlt645::items(*identifier, data) {
                    Ok(items) => Step::Done(Content::Items { items, clock_ms: None }),
                    Err(error) => Step::Unusable(error.to_string()),
                }
            }
            (Of::Clock { date, time, .. }, Answer::Dlt645(answer)) => clock_step(date, time, answer.data),
            (Of::Cjt188 { request, meter }, Answer::Cjt188(answer)) => {
                let identifier = match request {
                    cjt188::Request::Read { identifier, .. } => *identifier,
                    cjt188::Request::ReadAddress { .. } => {
                        return Step::Done(Content::Answer(Answer::Cjt188(answer)));
                    }
                };
                match cjt188::items(answer.kind, identifier, &answer.data, meter.unit) {
                    Ok(reading) => {
                        let clock_ms = reading.clock.and_then(as_utc_ms);
                        Step::Done(Content::Items { items: reading.items, clock_ms })
                    }
                    Err(error) => Step::Unusable(error.to_string()),
                }
            }
            (Of::Mbus { step, fcb, telegrams, records, .. }, Answer::Mbus(answer)) => match step {
                Link::Reset | Link::Select => {
                    *step = Link::Data;
                    Step::Ask
                }
                Link::Data => {
                    *telegrams += 1;
                    match answer.telegram() {
                        Ok(telegram) => records.extend(telegram.records),
                        Err(error) => return Step::Unusable(error.to_string()),
                    }
                    if answer.more && *telegrams < TELEGRAMS_MAX {
                        *fcb = !*fcb;
                        return Step::Ask;
                    }
                    Step::Done(Content::Items { items: mbus::items(&*records), clock_ms: None })
                }
            },
            _ => Step::Unusable("an answer in another protocol".into()),
        }
    }
}

/// Date and time of a DL/T 645 meter.
fn clock_identifiers(edition: Edition) -> [Identifier; 2] {
    match edition {
        Edition::V2007 => [Identifier::v2007(0x0400_0101), Identifier::v2007(0x0400_0102)],
        Edition::V1997 => [Identifier::v1997(0xC010), Identifier::v1997(0xC011)],
    }
}

/// Date, time, and the date again: at midnight the two could be of different days.
fn clock_step(date: &mut Option<Vec<u8>>, time: &mut Option<Vec<u8>>, data: Vec<u8>) -> Step {
    match (&*date, &*time) {
        (None, _) => {
            *date = Some(data);
            Step::Ask
        }
        (Some(_), None) => {
            *time = Some(data);
            Step::Ask
        }
        (Some(before), Some(time)) if *before == data => {
            Step::Done(Content::Clock(dlt645::clock_ms(before, time, 0)))
        }
        _ => Step::Unusable("the meter's date changed while its clock was read".into()),
    }
}

fn as_utc_ms(clock: civil::DateTime) -> Option<i64> {
    Some(clock.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

fn telegram(address: mbus::Address, step: Link, fcb: bool) -> mbus::Request {
    let (link, id) = match address {
        mbus::Address::Primary(address) => (address, None),
        mbus::Address::Secondary(id) => (mbus::SELECTED, Some(id)),
    };
    match (step, id) {
        (Link::Select, Some(id)) => mbus::Request::Select { id },
        (Link::Data, id) => mbus::Request::Data { address: link, fcb, id },
        (Link::Reset | Link::Select, _) => mbus::Request::Reset { address: link },
    }
}

#[cfg(test)]
mod tests;
