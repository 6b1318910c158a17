//! The fixed data structure of old meters (EN 1434-3; control information 73): two counters.
//!
//! Guarantees: what has not exactly the standard's length is an error. Clock and date counters are not read.

use super::telegram::{Error, Function, Header, Record, Telegram};
use super::value;
use crate::model::Value;

/// The unit of the second counter that stands for: as the first one, of the past.
const HISTORIC: u8 = 0x3E;

/// What a meter with the fixed data structure sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Who sends it.
    pub header: Header,
    /// Whether the counters are of a fixed day of the past.
    pub stored: bool,
    counters: [Counter; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Counter {
    unit: u8,
    number: Option<i128>,
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Counter({:02x})", self.unit)
    }
}

impl Fixed {
    /// From the control information on.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(data: &[u8]) -> Result<Self, Error> {
        let [0x73, a, b, c, d, access_no, status, first, second, counters @ ..] = data else {
            return Err(Error::Header);
        };
        let [one, two] = match counters.len() {
            8 => [&counters[..4], &counters[4..]],
            0..8 => return Err(Error::Truncated(1)),
            _ => return Err(Error::Malformed(2)),
        };
        let binary = status & 1 != 0;
        let number = |bytes| if binary { value::signed(bytes) } else { value::bcd(bytes) };
        let counter = |unit: u8, bytes| Counter { unit: unit & 0x3F, number: number(bytes) };
        let medium = MEDIA[usize::from(first >> 6 | second >> 6 << 2)];
        let id = u32::from_le_bytes([*a, *b, *c, *d]);
        Ok(Self {
            header: Header { id, medium: medium.into(), access_no: *access_no, status: *status, maker: None },
            stored: status & 2 != 0,
            counters: [counter(*first, one), counter(*second, two)],
        })
    }

    /// The counters as sent: the name of the unit as libmbus has it, and the number without scaling.
    pub fn counters(&self) -> impl Iterator<Item = (String, Option<i128>)> + '_ {
        self.counters.iter().map(|counter| (label(counter.unit), counter.number))
    }

    /// The counters as records in units without prefix.
    #[must_use]
    pub fn telegram(&self) -> Telegram {
        let [first, second] = self.counters;
        let historic = second.unit == HISTORIC;
        let then = Counter { unit: if historic { first.unit } else { second.unit }, ..second };
        let records = vec![record(first, self.stored), record(then, self.stored || historic)];
        Telegram { header: Some(self.header.clone()), records, more: false }
    }
}

fn record(counter: Counter, stored: bool) -> Record {
    let (quantity, unit, power) = scale(counter.unit);
    let value = counter.number.and_then(|number| value::scaled(number, power, 1));
    Record {
        function: Function::Instantaneous,
        storage: stored.into(),
        tariff: None,
        device: None,
        quantity: quantity.into(),
        plain_text: false,
        unit,
        qualifier: String::new(),
        other_unit: false,
        value: value.filter(|_| !quantity.is_empty()).map(Value::Number),
        moment: false,
    }
}

/// Quantity, unit and power of ten of a unit code; the codes of a quantity are one power apart.
fn scale(unit: u8) -> (&'static str, &'static str, i32) {
    let step = |first: u8| i32::from(unit - first);
    match unit {
        0x02..=0x0A => ("Energy", "Wh", step(0x02)),
        0x0B..=0x13 => ("Energy", "J", 3 + step(0x0B)),
        0x14..=0x1C => ("Power", "W", step(0x14)),
        0x1D..=0x25 => ("Power", "J/h", 3 + step(0x1D)),
        0x26..=0x2E => ("Volume", "m^3", step(0x26) - 6),
        0x2F..=0x37 => ("Volume flow", "m^3/h", step(0x2F) - 6),
        0x38 => ("Temperature", "°C", -3),
        0x39 => ("H.C.A.", "Units for H.C.A.", 0),
        0x3F => ("Dimensionless", "", 0),
        _ => ("", "", 0),
    }
}

fn label(unit: u8) -> String {
    const NAMES: [&str; 18] = [
        "Wh", "kWh", "MWh", "kJ", "MJ", "GJ", "W", "kW", "MW", "kJ/h", "MJ/h", "GJ/h", "ml", "l", "m^3",
        "ml/h", "l/h", "m^3/h",
    ];
    match unit {
        0x00 => "h,m,s".into(),
        0x01 => "D,M,Y".into(),
        0x02..=0x37 => {
            let (name, times) =
                (NAMES[usize::from(unit - 2) / 3], ["", " * 10", " * 100"][usize::from(unit - 2) % 3]);
            format!("{name}{times}")
        }
        0x38 => "°C * 10^-3".into(),
        0x39 => "Units for H.C.A.".into(),
        HISTORIC => "reserved but historic".into(),
        0x3F => "without units".into(),
        _ => "reserved".into(),
    }
}

const MEDIA: [&str; 16] = [
    "Other",
    "Oil",
    "Electricity",
    "Gas",
    "Heat",
    "Steam",
    "Hot Water",
    "Water",
    "H.C.A.",
    "Reserved",
    "Gas Mode 2",
    "Heat Mode 2",
    "Hot Water Mode 2",
    "Water Mode 2",
    "H.C.A. Mode 2",
    "Reserved",
];
