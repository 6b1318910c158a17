//! What the data of an answer says: quantities with their units, the clock, the status.
//!
//! Guarantees: data of the wrong length gives no items at all; a number is exact, with the places of its field; FF bytes,
//! digits above 9 and an unknown unit give no value, and a clock that cannot be gives no time, but the rest still counts.
//! It converts no units and does not judge a clock beyond the calendar. Some vendors mirror the status bits (masks C0 and
//! 20): those are not told apart from the standard's.

use jiff::civil::DateTime;

use super::{ANY_KIND, Identifier, UnitPlace};
use crate::codec::{Item, bcd};
use crate::model::Value;

/// Why data gives no items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// No table has it.
    #[error(
        "identifier {identifier} of a meter of type {kind:02x}: known are 901f and d120 to d12b, of types 10 to 39"
    )]
    Unknown {
        /** Type of the meter. */
        kind: u8,
        /** Asked. */
        identifier: Identifier,
    },
    /// Too short or too long.
    #[error("identifier {identifier}: {got} bytes of data, it has {expected}")]
    Length {
        /** Asked. */
        identifier: Identifier,
        /** By the table. */
        expected: usize,
        /** Came. */
        got: usize,
    },
}

/// What an answer says. Values of one reading are of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading<'a> {
    /// The quantities in the order of the frame, then the flags of the status.
    pub items: Vec<Item>,
    /// How the quantities came: for each of the first items.
    pub sent: Vec<Sent<'a>>,
    /// None where the identifier has no status.
    pub status: Option<Status>,
    /// The meter's own, civil time; none where it has no clock or the clock is wrong.
    pub clock: Option<DateTime>,
    /// As sent: ss mm hh DD MM YY YY by the standard.
    pub clock_bytes: Option<&'a [u8; 7]>,
}

/// How a quantity came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sent<'a> {
    /// None where the standard fixes the unit.
    pub unit_code: Option<u8>,
    /// The digits, lowest first.
    pub digits: &'a [u8],
}

impl std::fmt::Debug for Sent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sent({:02x?}, {} bytes)", self.unit_code, self.digits.len())
    }
}

/// What a meter says of itself, ST0 and ST1. ST1 and the upper bits of ST0 are the vendor's; FF FF says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub [u8; 2]);

/// Where a valve is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valve {
    /// Open; also of a meter without valve.
    Open,
    /// Closed.
    Closed,
    /// It does not go where it should.
    Abnormal,
}

impl Status {
    /// Bits 0 and 1 of ST0: 00 open, 01 closed, 1x abnormal.
    #[must_use]
    pub fn valve(self) -> Option<Valve> {
        self.st0().map(|st0| match st0 & 0b11 {
            0b00 => Valve::Open,
            0b01 => Valve::Closed,
            _ => Valve::Abnormal,
        })
    }

    /// None when the valve is abnormal.
    #[must_use]
    pub fn valve_open(self) -> Option<bool> {
        match self.valve()? {
            Valve::Open => Some(true),
            Valve::Closed => Some(false),
            Valve::Abnormal => None,
        }
    }

    /// Whether the valve does not go where it should.
    #[must_use]
    pub fn valve_abnormal(self) -> Option<bool> {
        self.valve().map(|valve| valve == Valve::Abnormal)
    }

    /// Bit 2 of ST0.
    #[must_use]
    pub fn battery_low(self) -> Option<bool> {
        self.st0().map(|st0| st0 & 0b100 != 0)
    }

    fn st0(self) -> Option<u8> {
        (self.0 != [0xFF; 2]).then_some(self.0[0])
    }
}

/// What an answer's `data`, after identifier and serial number, says.
///
/// # Errors
/// [`ItemError`]; then nothing of it may be used.
pub fn items(
    kind: u8,
    identifier: Identifier,
    data: &[u8],
    place: UnitPlace,
) -> Result<Reading<'_>, ItemError> {
    if identifier == Identifier::ADDRESS && data.is_empty() {
        // The address field of the frame says it.
        return Ok(Reading { items: vec![], sent: vec![], status: None, clock: None, clock_bytes: None });
    }
    let layout = match kind {
        ANY_KIND => layouts(kind, identifier).find(|layout| layout.bytes() == data.len()),
        _ => layouts(kind, identifier).next(),
    };
    let layout = layout.ok_or(ItemError::Unknown { kind, identifier })?;
    if layout.bytes() != data.len() {
        return Err(ItemError::Length { identifier, expected: layout.bytes(), got: data.len() });
    }
    let mut rest = data;
    let mut items = Vec::with_capacity(layout.fields.len() + FLAGS.len());
    let mut sent = Vec::with_capacity(layout.fields.len());
    for field in layout.fields {
        let (bytes, behind) = rest.split_at(field.form.bytes());
        let (unit, value, came) = field.form.read(bytes, place);
        items.push(Item { name: field.name.into(), value: value.map(Value::Number), unit });
        sent.push(came);
        rest = behind;
    }
    let Some((clock_bytes, &[st0, st1])) = rest.split_first_chunk() else {
        return Ok(Reading { items, sent, status: None, clock: None, clock_bytes: None });
    };
    let status = Status([st0, st1]);
    for (name, flag) in
        FLAGS.into_iter().zip([status.battery_low(), status.valve_open(), status.valve_abnormal()])
    {
        items.push(Item { name: name.into(), value: flag.map(Value::Flag), unit: "" });
    }
    let (status, clock_bytes) = (Some(status), Some(clock_bytes));
    Ok(Reading { items, sent, status, clock: clock_bytes.and_then(civil), clock_bytes })
}

/// The names that a reading of `identifier` from a meter of type `kind` holds; without any, nothing of it is known. For
/// [`ANY_KIND`] those of all types.
#[must_use]
pub fn item_names(kind: u8, identifier: Identifier) -> Vec<&'static str> {
    let mut names: Vec<_> =
        layouts(kind, identifier).flat_map(|layout| layout.fields).map(|field| field.name).collect();
    if layouts(kind, identifier).any(|layout| layout.state) {
        names.extend(FLAGS);
    }
    names
}

/// Whether `data`, after identifier and serial number, begins with a unit in front of its value although units are taken
/// to be behind: a known code at the first byte and none at the fifth. Good for a warning only.
#[must_use]
pub fn looks_unit_first(data: &[u8]) -> bool {
    matches!(data, &[first, _, _, _, fifth, ..] if unit(first).is_some() && unit(fifth).is_none())
}

/// Bytes of data after identifier and serial number, at most; what is not known is taken to be as long as the longest.
pub(super) fn data_bytes_max(kind: u8, identifier: Identifier) -> usize {
    layouts(kind, identifier).map(Layout::bytes).max().unwrap_or(HEAT_READING.bytes())
}

const FLAGS: [&str; 3] = ["battery_low", "valve_open", "valve_abnormal"];
/// Clock and status.
const STATE_BYTES: usize = 9;

#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    /// Four bytes and a unit.
    Metered { places: u32 },
    /// Three bytes.
    Plain { places: u32, unit: &'static str },
}

impl Form {
    fn bytes(self) -> usize {
        match self {
            Self::Metered { .. } => 5,
            Self::Plain { .. } => 3,
        }
    }

    fn read(self, bytes: &[u8], place: UnitPlace) -> (&'static str, Option<rust_decimal::Decimal>, Sent<'_>) {
        match (self, place, bytes) {
            (Self::Metered { places }, UnitPlace::Behind, [digits @ .., code])
            | (Self::Metered { places }, UnitPlace::InFront, [code, digits @ ..]) => {
                let sent = Sent { unit_code: Some(*code), digits };
                match unit(*code) {
                    Some((unit, tens)) => (unit, bcd::number(digits, places - tens, false), sent),
                    None => ("", None, sent),
                }
            }
            (Self::Metered { places } | Self::Plain { places, .. }, _, digits) => {
                let unit = if let Self::Plain { unit, .. } = self { unit } else { "" };
                (unit, bcd::number(digits, places, false), Sent { unit_code: None, digits })
            }
        }
    }
}

/// Fields, then clock and status or not.
#[derive(Clone, Copy)]
struct Layout {
    fields: &'static [Field],
    state: bool,
}

impl Layout {
    fn bytes(self) -> usize {
        let fields: usize = self.fields.iter().map(|field| field.form.bytes()).sum();
        fields + if self.state { STATE_BYTES } else { 0 }
    }
}

/// How the data of an identifier may be laid out: one way for a known type, all of them for any.
fn layouts(kind: u8, identifier: Identifier) -> impl Iterator<Item = Layout> {
    let month = identifier.0.checked_sub(0xD120).map(usize::from).filter(|month| *month < 12);
    let history = |fields: &'static [Field; 12]| {
        month.map(|month| Layout { fields: &fields[month..=month], state: false })
    };
    let (volume, heat) = match identifier {
        Identifier::READING => (Some(VOLUME_READING), Some(HEAT_READING)),
        _ => (history(&VOLUME_HISTORY), history(&HEAT_HISTORY)),
    };
    let is_volume = matches!(kind, 0x10..=0x19 | 0x30..=0x39 | ANY_KIND);
    let is_heat = matches!(kind, 0x20..=0x29 | ANY_KIND);
    volume.filter(|_| is_volume).into_iter().chain(heat.filter(|_| is_heat))
}

const fn metered(name: &'static str, places: u32) -> Field {
    Field { name, form: Form::Metered { places } }
}

const fn plain(name: &'static str, places: u32, unit: &'static str) -> Field {
    Field { name, form: Form::Plain { places, unit } }
}

/// Water and gas.
const VOLUME_READING: Layout =
    Layout { fields: &[metered("current_volume", 2), metered("settlement_volume", 2)], state: true };

/// Heat and cooling. The flow has four places, all other quantities two.
const HEAT_READING: Layout = Layout {
    fields: &[
        metered("settlement_heat", 2),
        metered("current_heat", 2),
        metered("power", 2),
        metered("flow", 4),
        metered("volume", 2),
        plain("supply_temperature", 2, "Cel"),
        plain("return_temperature", 2, "Cel"),
        plain("work_hours", 0, "h"),
    ],
    state: true,
};

/// Settlement day of last month, of the month before, …
static VOLUME_HISTORY: [Field; 12] = [
    metered("history_volume_1", 2),
    metered("history_volume_2", 2),
    metered("history_volume_3", 2),
    metered("history_volume_4", 2),
    metered("history_volume_5", 2),
    metered("history_volume_6", 2),
    metered("history_volume_7", 2),
    metered("history_volume_8", 2),
    metered("history_volume_9", 2),
    metered("history_volume_10", 2),
    metered("history_volume_11", 2),
    metered("history_volume_12", 2),
];

static HEAT_HISTORY: [Field; 12] = [
    metered("history_heat_1", 2),
    metered("history_heat_2", 2),
    metered("history_heat_3", 2),
    metered("history_heat_4", 2),
    metered("history_heat_5", 2),
    metered("history_heat_6", 2),
    metered("history_heat_7", 2),
    metered("history_heat_8", 2),
    metered("history_heat_9", 2),
    metered("history_heat_10", 2),
    metered("history_heat_11", 2),
    metered("history_heat_12", 2),
];

/// The unit of a code, and the power of ten that goes with it. 29 with two places is taken as litres; a meter that means
/// tenths of cubic metres needs a scale in its configuration.
fn unit(code: u8) -> Option<(&'static str, u32)> {
    Some(match code {
        0x01 => ("J", 0),
        0x02 => ("Wh", 0),
        0x05 => ("kWh", 0),
        0x08 => ("MWh", 0),
        0x0A => ("MWh", 2),
        0x0B => ("kJ", 0),
        0x0E => ("MJ", 0),
        0x11 => ("GJ", 0),
        0x13 => ("GJ", 2),
        0x14 => ("W", 0),
        0x17 => ("kW", 0),
        0x1A => ("MW", 0),
        0x29 => ("L", 0),
        0x2C => ("m3", 0),
        0x32 => ("L/h", 0),
        0x35 => ("m3/h", 0),
        _ => return None,
    })
}

/// ss mm hh DD MM YY 20. The standard is of 2004: a meter of another century has no clock.
fn civil(bytes: &[u8; 7]) -> Option<DateTime> {
    let mut pairs = [0; 7];
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = i8::try_from(bcd::pair(*byte)?).ok()?;
    }
    let [second, minute, hour, day, month, year, 20] = pairs else { return None };
    DateTime::new(2000 + i16::from(year), month, day, hour, minute, second, 0).ok()
}
