//! The data of a telegram: header and records (EN 13757-3, variable data structure).
//!
//! Guarantees: a telegram is taken apart as a whole or not at all; the values are read from the bytes themselves. The crate
//! m-bus-application-layer splits the headers of the records; it is not asked for values, because it has them as floats.
//! Nothing here deciphers: an encrypted telegram is an error.

use std::borrow::Cow;
use std::fmt::Write as _;

use m_bus_application_layer::data_information::{
    DataInformation, DataInformationBlock, DataInformationError, FunctionField,
};
use m_bus_application_layer::value_information::ValueInformationBlock;

use super::vif::{Coding, Vif};
use super::{fixed, value};
use crate::model::Value;

const VARIABLE: u8 = 0x72;
const FIXED: u8 = 0x73;
const BARE: u8 = 0x78;
const SHORT_HEADER: u8 = 0x7A;

/// DIFE of one record at most (EN 13757-3); the crate bounds the VIFE.
const DIFES_MAX: usize = 10;

/// Why a telegram has no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a telegram of records.
    #[error("control information {0:02x}: records are behind 72, 73, 78 and 7a")]
    Unknown(u8),
    /// It ends before the first record.
    #[error("the telegram ends within its header")]
    Header,
    /// It ends too early.
    #[error("record {0}: the telegram ends before the record does")]
    Truncated(usize),
    /// It is not one by the standard.
    #[error("record {0}: no record begins like this; look at the bytes with `smallbrain decode mbus`")]
    Malformed(usize),
    /// It needs a key.
    #[error("encrypted in mode {0}: switch the encryption of the meter's wired interface off")]
    Encrypted(u8),
}

impl Error {
    /// The word for `decode`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown",
            Self::Header | Self::Truncated(_) => "truncated",
            Self::Malformed(_) => "malformed",
            Self::Encrypted(_) => "encrypted",
        }
    }
}

/// What a slave sends at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Telegram {
    /// Who sends it; not all slaves say it with each telegram.
    pub header: Option<Header>,
    /// In the order of the telegram.
    pub records: Vec<Record>,
    /// Whether another telegram holds more records.
    pub more: bool,
}

/// Who sends a telegram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Identification number: eight digits as hex digits, as in [`super::Address::Secondary`].
    pub id: u32,
    /// What it measures.
    pub medium: Cow<'static, str>,
    /// Counts the telegrams.
    pub access_no: u8,
    /// Bits: 2 power low, 3 permanent error, 4 temporary error, 5 to 7 the manufacturer's.
    pub status: u8,
    /// The fixed data structure does not tell it.
    pub maker: Option<Maker>,
}

/// Who made a slave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    /// Three letters (EN 62056-21).
    pub letters: String,
    /// Version, or generation, of the product.
    pub version: u8,
    /// Signature, or configuration.
    pub signature: u16,
}

/// Which value of a quantity a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Now, or at the storage's time.
    Instantaneous,
    /// Greatest.
    Maximum,
    /// Least.
    Minimum,
    /// While there was an error: not to be trusted.
    Error,
    /// What only the manufacturer knows; to the end of the telegram.
    Manufacturer,
    /// The same, and another telegram has more records.
    More,
}

/// One value of a telegram.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which value of the quantity.
    pub function: Function,
    /// 0 is now, others are values of the past.
    pub storage: u64,
    /// Tariff, 0 for the sum; none where the record has no place for it.
    pub tariff: Option<u64>,
    /// Part of the slave, 0 for the whole; none where the record has no place for it.
    pub device: Option<u64>,
    /// As libmbus names it, or the text that the meter sends in its place.
    pub quantity: Cow<'static, str>,
    /// Whether the quantity is the meter's text.
    pub plain_text: bool,
    /// Of the value; `-` for dates and for texts in the quantity's place.
    pub unit: &'static str,
    /// What VIFE make of the quantity, in the words of an item's name: `per_input_pulse_0`; mostly empty.
    pub qualifier: String,
    /// Whether they make another unit of it, too.
    pub other_unit: bool,
    /// Exact and in the unit. Dates are texts, as sent: also of days that do not exist. Hex digits for what only the
    /// manufacturer knows.
    pub value: Option<Value>,
    /// Whether the value is a date, a time or both.
    pub moment: bool,
}

/// Whether telegrams with this control information are known here.
pub(super) fn is_known(ci: u8) -> bool {
    matches!(ci, VARIABLE | FIXED | BARE | SHORT_HEADER)
}

/// The identification number, where the telegram has one.
pub(super) fn id(data: &[u8]) -> Option<u32> {
    match data {
        [VARIABLE | FIXED, a, b, c, d, ..] => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// Takes the data of an answer apart, from its control information on.
///
/// # Errors
/// [`Error`]; then none of it is to be trusted.
pub fn records(data: &[u8]) -> Result<Telegram, Error> {
    let (ci, rest) = data.split_first().ok_or(Error::Header)?;
    let (header, rest) = match *ci {
        VARIABLE => {
            let (header, rest) = rest.split_first_chunk().ok_or(Error::Header)?;
            let (header, mode) = long_header(*header);
            plain(mode)?;
            (Some(header), rest)
        }
        SHORT_HEADER => {
            let ([_, _, _, mode], rest) = rest.split_first_chunk().ok_or(Error::Header)?;
            plain(*mode)?;
            (None, rest)
        }
        BARE => (None, rest),
        FIXED => return fixed::Fixed::read(data).map(|fixed| fixed.telegram()),
        ci => return Err(Error::Unknown(ci)),
    };
    let (records, more) = variable(rest)?;
    Ok(Telegram { header, records, more })
}

/// The encryption mode is in the high byte of the configuration, bits 0 to 4.
fn plain(configuration: u8) -> Result<(), Error> {
    match configuration & 0x1F {
        0 => Ok(()),
        mode => Err(Error::Encrypted(mode)),
    }
}

/// And the high byte of its configuration.
fn long_header(bytes: [u8; 12]) -> (Header, u8) {
    let [a, b, c, d, low, high, version, medium, access_no, status, signature, mode] = bytes;
    let letters = u16::from_le_bytes([low, high]);
    let letter = |shift: u32| char::from((letters >> shift & 0x1F) as u8 + 64);
    let maker = Maker {
        letters: [letter(10), letter(5), letter(0)].iter().collect(),
        version,
        signature: u16::from_le_bytes([signature, mode]),
    };
    let id = u32::from_le_bytes([a, b, c, d]);
    (Header { id, medium: medium_name(medium), access_no, status, maker: Some(maker) }, mode)
}

fn variable(mut rest: &[u8]) -> Result<(Vec<Record>, bool), Error> {
    let mut records = Vec::new();
    while let Some((dif, behind)) = rest.split_first() {
        match dif {
            // Filler, and what only a master sends.
            0x2F | 0x7F => rest = behind,
            0x0F | 0x1F => {
                let more = *dif == 0x1F;
                records.push(manufacturers(behind, more));
                return Ok((records, more));
            }
            _ => {
                let (record, len) = record(rest).map_err(|fault| fault.at(records.len() + 1))?;
                records.push(record);
                rest = &rest[len..];
            }
        }
    }
    Ok((records, false))
}

enum RecordFault {
    Truncated,
    Malformed,
}

impl RecordFault {
    fn at(&self, number: usize) -> Error {
        match self {
            Self::Truncated => Error::Truncated(number),
            Self::Malformed => Error::Malformed(number),
        }
    }
}

impl From<DataInformationError> for RecordFault {
    fn from(error: DataInformationError) -> Self {
        match error {
            DataInformationError::NoData | DataInformationError::DataTooShort => Self::Truncated,
            _ => Self::Malformed,
        }
    }
}

/// The record at the front and its length in bytes.
fn record(bytes: &[u8]) -> Result<(Record, usize), RecordFault> {
    let block = DataInformationBlock::try_from(bytes)?;
    let information = DataInformation::try_from(&block)?;
    let difes = block.get_size() - 1;
    if difes > DIFES_MAX || block.data_information_field.is_special_function() {
        return Err(RecordFault::Malformed);
    }
    let behind = bytes.get(block.get_size()..).ok_or(RecordFault::Truncated)?;
    let vib = ValueInformationBlock::try_from(behind)?;
    let behind = behind.get(vib.get_size()..).ok_or(RecordFault::Truncated)?;
    // Only a variable length needs more than the field, and has none when it is reserved.
    let field = information.data_field_coding;
    let unknown = if behind.is_empty() { RecordFault::Truncated } else { RecordFault::Malformed };
    let len = field.data_size(behind).ok_or(unknown)?;
    let data = behind.get(..len).ok_or(RecordFault::Truncated)?;

    let vif = Vif::read(&vib);
    let record = Record {
        function: match information.function_field {
            FunctionField::MaximumValue => Function::Maximum,
            FunctionField::MinimumValue => Function::Minimum,
            FunctionField::ValueDuringErrorState => Function::Error,
            _ => Function::Instantaneous,
        },
        storage: information.storage_number,
        tariff: (difes > 0).then_some(information.tariff),
        device: (difes > 0).then_some(information.device),
        value: value::read(field, &vif, data),
        plain_text: vib.plaintext_vife.is_some(),
        moment: vif.coding == Coding::Moment,
        quantity: vif.quantity,
        unit: vif.unit,
        qualifier: vif.qualifier,
        other_unit: vif.other_unit,
    };
    Ok((record, block.get_size() + vib.get_size() + len))
}

fn manufacturers(data: &[u8], more: bool) -> Record {
    let mut hex = String::with_capacity(3 * data.len());
    for byte in data {
        let gap = if hex.is_empty() { "" } else { " " };
        write!(hex, "{gap}{byte:02X}").expect("a string takes everything");
    }
    Record {
        function: if more { Function::More } else { Function::Manufacturer },
        storage: 0,
        tariff: None,
        device: None,
        quantity: "".into(),
        plain_text: false,
        unit: "",
        qualifier: String::new(),
        other_unit: false,
        value: (!data.is_empty()).then(|| Value::Text(hex.into())),
        moment: false,
    }
}

/// Media of the variable data structure (EN 13757-3, device types), as libmbus names them.
fn medium_name(code: u8) -> Cow<'static, str> {
    let name = match code {
        0x00 => "Other",
        0x01 => "Oil",
        0x02 => "Electricity",
        0x03 => "Gas",
        0x04 => "Heat: Outlet",
        0x05 => "Steam",
        0x06 => "Warm water (30-90°C)",
        0x07 => "Water",
        0x08 => "Heat Cost Allocator",
        0x09 => "Compressed Air",
        0x0A => "Cooling load meter: Outlet",
        0x0B => "Cooling load meter: Inlet",
        0x0C => "Heat: Inlet",
        0x0D => "Heat / Cooling load meter",
        0x0E => "Bus/System",
        0x0F => "Unknown Medium",
        0x10 => "Irrigation Water",
        0x11 => "Water Logger",
        0x12 => "Gas Logger",
        0x13 => "Gas Converter",
        0x14 => "Calorific value",
        0x15 => "Hot water (>90°C)",
        0x16 => "Cold water",
        0x17 => "Dual water",
        0x18 => "Pressure",
        0x19 => "A/D Converter",
        0x1A => "Smoke Detector",
        0x1B => "Ambient Sensor",
        0x1C => "Gas Detector",
        0x20 => "Breaker: Electricity",
        0x21 => "Valve: Gas or Water",
        0x25 => "Customer Unit: Display Device",
        0x28 => "Waste Water",
        0x29 => "Garbage",
        0x30 => "Service Unit",
        0x36 => "Radio Converter: System",
        0x37 => "Radio Converter: Meter",
        0x22..=0x3F => "Reserved",
        code => return format!("Unknown medium (0x{code:02x})").into(),
    };
    name.into()
}
