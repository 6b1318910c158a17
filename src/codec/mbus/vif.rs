//! What a value information block says (EN 13757-3, tables of VIF and VIFE): quantity, unit, power of ten, coding.
//!
//! Names and units are those that libmbus writes; [`super::items()`] makes item names and units of them. A code that is not
//! in the table keeps its number as it came, without a unit, under a name that tells the code. Not there: units that are not
//! metric, and months and years in seconds, because they have no fixed length.

use std::borrow::Cow;
use std::fmt::Write as _;

use m_bus_application_layer::value_information::ValueInformationBlock;

/// How the bytes of a value are meant where the data information does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Two's complement (type B).
    Signed,
    /// Codes, versions, bits (types C and D).
    Unsigned,
    /// Date and time (types F, G, I and J).
    Moment,
}

/// One or more codes in a row.
struct Row {
    first: u16,
    last: u16,
    scale: Scale,
    quantity: &'static str,
    unit: &'static str,
    coding: Coding,
}

#[derive(Clone, Copy)]
enum Scale {
    /// Power of ten of the first code, one more for each code.
    Ten(i32),
    /// Seconds, minutes, hours, days.
    Time,
    /// None.
    One,
}

const SECONDS: [i128; 4] = [1, 60, 3600, 86_400];

const fn ten(first: u16, last: u16, power: i32, quantity: &'static str, unit: &'static str) -> Row {
    Row { first, last, scale: Scale::Ten(power), quantity, unit, coding: Coding::Signed }
}

/// In seconds, minutes, hours and days.
const fn time(first: u16, quantity: &'static str) -> Row {
    Row { first, last: first + 3, scale: Scale::Time, quantity, unit: "s", coding: Coding::Signed }
}

const fn code(code: u16, quantity: &'static str) -> Row {
    Row { first: code, last: code, scale: Scale::One, quantity, unit: "", coding: Coding::Unsigned }
}

const fn moment(code: u16, quantity: &'static str) -> Row {
    Row { first: code, last: code, scale: Scale::One, quantity, unit: "-", coding: Coding::Moment }
}

/// VIF and VIFE: what follows is the manufacturer's.
const MANUFACTURER: u8 = 0x7F;

/// VIF of the main table; 1xx and 2xx are the VIFE behind FD and FB.
const ROWS: &[Row] = &[
    ten(0x00, 0x07, -3, "Energy", "Wh"),
    ten(0x08, 0x0F, 0, "Energy", "J"),
    ten(0x10, 0x17, -6, "Volume", "m^3"),
    ten(0x18, 0x1F, -3, "Mass", "kg"),
    time(0x20, "On time"),
    time(0x24, "Operating time"),
    ten(0x28, 0x2F, -3, "Power", "W"),
    ten(0x30, 0x37, 0, "Power", "J/h"),
    ten(0x38, 0x3F, -6, "Volume flow", "m^3/h"),
    ten(0x40, 0x47, -7, "Volume flow", "m^3/min"),
    ten(0x48, 0x4F, -9, "Volume flow", "m^3/s"),
    ten(0x50, 0x57, -3, "Mass flow", "kg/h"),
    ten(0x58, 0x5B, -3, "Flow temperature", "°C"),
    ten(0x5C, 0x5F, -3, "Return temperature", "°C"),
    ten(0x60, 0x63, -3, "Temperature difference", "K"),
    ten(0x64, 0x67, -3, "External temperature", "°C"),
    ten(0x68, 0x6B, -3, "Pressure", "bar"),
    moment(0x6C, "Time point (date)"),
    moment(0x6D, "Time point (date & time)"),
    ten(0x6E, 0x6E, 0, "H.C.A.", "Units for H.C.A."),
    time(0x70, "Averaging Duration"),
    time(0x74, "Actuality Duration"),
    code(0x78, "Fabrication No"),
    code(0x79, "(Enhanced) Identification"),
    code(0x7A, "Bus Address"),
    code(0x7E, "Any VIF"),
    code(0x7F, "Manufacturer specific"),
    ten(0x100, 0x103, -3, "Credit", "Currency units"),
    ten(0x104, 0x107, -3, "Debit", "Currency units"),
    code(0x108, "Access Number (transmission count)"),
    code(0x109, "Device type"),
    code(0x10A, "Manufacturer"),
    code(0x10B, "Parameter set identification"),
    code(0x10C, "Model version"),
    code(0x10D, "Hardware version"),
    code(0x10E, "Firmware version"),
    code(0x10F, "Software version"),
    code(0x110, "Customer location"),
    code(0x111, "Customer"),
    code(0x117, "Error flags"),
    code(0x118, "Error mask"),
    code(0x11A, "Digital Output"),
    code(0x11B, "Digital Input"),
    code(0x120, "First storage # for cyclic storage"),
    code(0x121, "Last storage # for cyclic storage"),
    code(0x122, "Size of storage block"),
    time(0x124, "Storage interval"),
    time(0x12C, "Duration since last readout"),
    moment(0x130, "Start of tariff"),
    time(0x134, "Period of tariff"),
    ten(0x13A, 0x13A, 0, "Dimensionless", ""),
    ten(0x140, 0x14F, -9, "Voltage", "V"),
    ten(0x150, 0x15F, -12, "Current", "A"),
    code(0x160, "Reset counter"),
    code(0x161, "Cumulation counter"),
    code(0x162, "Control signal"),
    code(0x163, "Day of week"),
    code(0x164, "Week number"),
    moment(0x170, "Date and time of battery change"),
    ten(0x200, 0x201, 5, "Energy", "Wh"),
    ten(0x202, 0x203, 3, "Reactive energy", "varh"),
    ten(0x204, 0x205, 3, "Apparent energy", "VAh"),
    ten(0x208, 0x209, 8, "Energy", "J"),
    ten(0x210, 0x211, 2, "Volume", "m^3"),
    ten(0x214, 0x217, 0, "Reactive power", "var"),
    ten(0x218, 0x219, 5, "Mass", "kg"),
    ten(0x21A, 0x21B, -1, "Relative humidity", "%"),
    ten(0x228, 0x229, 5, "Power", "W"),
    ten(0x22C, 0x22F, -3, "Frequency", "Hz"),
    ten(0x230, 0x231, 8, "Power", "J/h"),
    ten(0x234, 0x237, 0, "Apparent power", "VA"),
    ten(0x274, 0x277, -3, "Cold / Warm Temperature Limit", "°C"),
    ten(0x278, 0x27F, -3, "Cumul count max power", "W"),
];

/// What a block says.
pub(super) struct Vif {
    /// As libmbus names it, or the text that the meter sends in its place.
    pub quantity: Cow<'static, str>,
    /// Of the value after scaling.
    pub unit: &'static str,
    /// The value is `10^power * factor` times the number.
    pub power: i32,
    pub factor: i128,
    pub coding: Coding,
    /// Whether the slave says that the value is wrong, or not one value.
    pub faulty: bool,
    /// What VIFE make of the quantity, in the words of an item's name.
    pub qualifier: String,
    /// Whether they make another unit of it, too.
    pub other_unit: bool,
}

impl Vif {
    pub(super) fn read(block: &ValueInformationBlock<'_>) -> Self {
        let extensions = block.value_information_extension.iter().flat_map(|vifes| vifes.iter());
        let vifes: Vec<u8> = extensions.map(|vife| vife.data & 0x7F).collect();
        let vif = block.value_information.data;
        let (code, vifes) = match (vif, vifes.split_first()) {
            (0xFD, Some((first, rest))) => (0x100 | u16::from(*first), rest),
            (0xFB, Some((first, rest))) => (0x200 | u16::from(*first), rest),
            _ => (u16::from(vif & 0x7F), vifes.as_slice()),
        };
        let mut read = match &block.plaintext_vife {
            Some(text) => {
                let text = text.as_ascii_str().unwrap_or_default().chars().rev().collect::<String>();
                Self::of(text.into(), "-", Coding::Signed)
            }
            None => Self::of_code(code),
        };
        read.combine(vifes, code == u16::from(MANUFACTURER));
        read
    }

    fn of(quantity: Cow<'static, str>, unit: &'static str, coding: Coding) -> Self {
        let (qualifier, other_unit) = (String::new(), false);
        Self { quantity, unit, power: 0, factor: 1, coding, faulty: false, qualifier, other_unit }
    }

    fn of_code(code: u16) -> Self {
        let Some(row) = ROWS.iter().find(|row| (row.first..=row.last).contains(&code)) else {
            let table = ["", "FD", "FB"][usize::from(code >> 8)];
            let quantity = format!("Unknown (VIF=0x{table}{:02X})", code & 0xFF);
            return Self::of(quantity.into(), "", Coding::Signed);
        };
        let step = code - row.first;
        let (power, factor) = match row.scale {
            Scale::Ten(power) => (power + i32::from(step), 1),
            Scale::Time => (0, SECONDS[usize::from(step)]),
            Scale::One => (0, 1),
        };
        Self { power, factor, ..Self::of(row.quantity.into(), row.unit, row.coding) }
    }

    /// The VIFE that may follow any VIF (EN 13757-3, combinable VIFE); from the manufacturer's VIF or VIFE on, they are his.
    fn combine(&mut self, vifes: &[u8], mut own: bool) {
        let mut vifes = vifes.iter();
        while let Some(vife) = vifes.next() {
            match *vife {
                code if own => self.qualify("", "x", code),
                0x00 => {}
                // The slave's error codes, and profiles, which are not one value.
                0x01..=0x0F | 0x13 | 0x15..=0x1C | 0x1E | 0x1F => self.faulty = true,
                code @ 0x70..=0x77 => self.power += i32::from(code & 7) - 6,
                0x7D => self.power += 3,
                0x7C => {
                    let code = vifes.next().copied().unwrap_or(0);
                    self.qualify(extended(code), "x7c", code);
                }
                code => {
                    own = code == MANUFACTURER;
                    self.other_unit |= matches!(code, 0x20..=0x38 | 0x3D);
                    self.qualify(combinable(code), "x", code);
                }
            }
        }
    }

    /// Adds a word, or the code where there is no word for it.
    fn qualify(&mut self, word: &str, prefix: &str, code: u8) {
        let gap = if self.qualifier.is_empty() { "" } else { "_" };
        let text = &mut self.qualifier;
        let written = if word.is_empty() {
            write!(text, "{gap}{prefix}{code:02x}")
        } else {
            write!(text, "{gap}{word}")
        };
        written.expect("a string takes everything");
    }
}

fn combinable(vife: u8) -> &'static str {
    match vife {
        0x12 => "average",
        0x20 => "per_second",
        0x21 => "per_minute",
        0x22 => "per_hour",
        0x23 => "per_day",
        0x24 => "per_week",
        0x25 => "per_month",
        0x26 => "per_year",
        0x28 => "per_input_pulse_0",
        0x29 => "per_input_pulse_1",
        0x2A => "per_output_pulse_0",
        0x2B => "per_output_pulse_1",
        0x39 => "start",
        0x3A => "uncorrected",
        0x3B => "positive",
        0x3C => "negative",
        0x3E => "base",
        0x40 => "lower_limit",
        0x48 => "upper_limit",
        0x7E => "future",
        0x7F => "manufacturer",
        _ => "",
    }
}

fn extended(vife: u8) -> &'static str {
    match vife {
        0x01 => "l1",
        0x02 => "l2",
        0x03 => "l3",
        0x04 => "n",
        0x05 => "l1_l2",
        0x06 => "l2_l3",
        0x07 => "l3_l1",
        0x08 => "quadrant_1",
        0x09 => "quadrant_2",
        0x0A => "quadrant_3",
        0x0B => "quadrant_4",
        0x0C => "net",
        0x10 => "absolute",
        _ => "",
    }
}
