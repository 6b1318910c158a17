//! One question of a search, and which one is beside it or below it.

use super::Search;
use crate::codec::cjt188::{self, ANY_KIND, Identifier, IdentifierOrder, LEADER, LEADER_MAX};
use crate::codec::dlt645::{self, Edition};
use crate::codec::mbus::{self, SELECTED};
use crate::codec::modbus::{self, Identity, Inquiry, Table};
use crate::device::serial::exchange::Exchange;
use crate::device::serial::protocol::Protocol;
use crate::device::serial::question::{Asked, Question};

/// One question.
#[derive(Clone, Debug)]
pub(super) enum Probe {
    /// Who are you, to all of DL/T 645-2007.
    Address645,
    /// The forward energy, of one meter or by a wildcard that nothing comes below.
    Energy645 { address: dlt645::Address, edition: Edition },
    /// The forward energy of whose address ends with these, lowest first, as bytes of digits.
    Part645 { edition: Edition, low: Vec<u8> },
    /// Who are you, to all of CJ/T 188.
    Address188(IdentifierOrder),
    /// The present reading.
    Reading188 { kind: u8, address: cjt188::Address, order: IdentifierOrder, any_ser: bool },
    /// Register 0 of a unit.
    Unit(u8),
    /// Who made it, with what is known so far.
    Identity { inquiry: Inquiry, identity: Box<Identity>, facts: Vec<(&'static str, String)> },
    /// What it calls itself.
    Server { inquiry: Inquiry, facts: Vec<(&'static str, String)> },
    /// A link reset.
    Primary(u8),
    /// A telegram.
    Telegram { address: u8, acknowledged: bool },
    /// A telegram of whose identification number begins with so many digits of this, and F behind.
    Selected { id: u32, digits: u32 },
    /// Nobody is selected any more.
    Deselect,
}

/// The forward active energy, total.
pub(super) fn energy(edition: Edition) -> dlt645::Identifier {
    match edition {
        Edition::V2007 => dlt645::Identifier::v2007(0x0001_0000),
        Edition::V1997 => dlt645::Identifier::v1997(0x9010),
    }
}

/// Every meter of 1997.
fn nines() -> dlt645::Address {
    dlt645::Address::from_wire([0x99; 6]).expect("nines are digits")
}

impl Probe {
    /// The one DL/T 645 meter it is for.
    pub(super) fn only_645(&self) -> Option<dlt645::Address> {
        match self {
            Self::Energy645 { address, .. } => {
                Some(*address).filter(|address| !address.is_wildcard() && *address != nines())
            }
            _ => None,
        }
    }

    /// Those a search begins with, the first one last.
    pub(super) fn first(search: &Search) -> Vec<Self> {
        use IdentifierOrder::{HighFirst, LowFirst};
        let old = |address| Self::Energy645 { address, edition: Edition::V1997 };
        let any =
            |order| Self::Reading188 { kind: ANY_KIND, address: cjt188::Address::ANY, order, any_ser: true };
        match search.protocol {
            Protocol::Dlt645 => vec![old(nines()), old(dlt645::Address::ANY), Self::Address645],
            Protocol::Cjt188 => {
                vec![any(LowFirst), any(HighFirst), Self::Address188(LowFirst), Self::Address188(HighFirst)]
            }
            Protocol::Modbus => Some(*search.units.start())
                .filter(|first| *first <= UNIT_MAX)
                .map(Self::Unit)
                .into_iter()
                .collect(),
            Protocol::Mbus => {
                vec![
                    Self::Deselect,
                    Self::Selected { id: u32::MAX, digits: 0 },
                    Self::Primary(*search.units.start()),
                ]
            }
        }
    }

    /// The one that comes after it whatever it brings.
    pub(super) fn sibling(&self, search: &Search) -> Option<Self> {
        match self {
            Self::Part645 { edition, low } => {
                let (last, rest) = low.split_last()?;
                let next = next_pair(*last)?;
                Some(Self::Part645 { edition: *edition, low: [rest, &[next]].concat() })
            }
            Self::Unit(unit) => Some(unit + 1).filter(|next| *next <= last_unit(search)).map(Self::Unit),
            Self::Primary(address) => {
                address.checked_add(1).filter(|next| next <= search.units.end()).map(Self::Primary)
            }
            Self::Selected { id, digits: digits @ 1.. } => {
                let shift = 32 - 4 * digits;
                let last = id >> shift & 0xF == 9;
                (!last).then(|| Self::Selected { id: id + (1 << shift), digits: *digits })
            }
            _ => None,
        }
    }

    /// Itself and its siblings.
    pub(super) fn left(&self, search: &Search) -> usize {
        let behind = match self {
            Self::Part645 { low, .. } => {
                99 - low.last().map_or(99, |last| usize::from(10 * (last >> 4) + (last & 0xF)))
            }
            Self::Unit(unit) => last_unit(search).saturating_sub(*unit).into(),
            Self::Primary(address) => search.units.end().saturating_sub(*address).into(),
            Self::Selected { id, digits: digits @ 1.. } => 9 - (id >> (32 - 4 * digits) & 0xF) as usize,
            _ => 0,
        };
        1 + behind
    }

    /// The first one below a selection; none when all digits are told.
    pub(super) fn selected_deeper(id: u32, digits: u32) -> Option<Self> {
        let shift = 28_u32.checked_sub(4 * digits)?;
        Some(Self::Selected { id: id & !(0xF << shift), digits: digits + 1 })
    }

    pub(super) fn edition(&self) -> Edition {
        match self {
            Self::Energy645 { edition, .. } | Self::Part645 { edition, .. } => *edition,
            _ => Edition::V2007,
        }
    }

    /// What is sent for it; CJ/T 188 questions get the serial number `ser`.
    pub(super) fn exchange(&self, search: &Search, ser: u8) -> Exchange {
        let asked = match self {
            Self::Address645 => Asked::Dlt645(dlt645::Request::ReadAddress { address: dlt645::Address::ANY }),
            Self::Energy645 { address, edition } => {
                Asked::Dlt645(dlt645::Request::Read { address: *address, identifier: energy(*edition) })
            }
            Self::Part645 { edition, low } => {
                let mut wire = [0xAA; 6];
                wire[..low.len()].copy_from_slice(low);
                let address = dlt645::Address::from_wire(wire).expect("pairs of digits and wildcards");
                Asked::Dlt645(dlt645::Request::Read { address, identifier: energy(*edition) })
            }
            Self::Address188(order) => Asked::Cjt188(cjt188::Request::ReadAddress { order: *order, ser }),
            Self::Reading188 { kind, address, order, any_ser } => Asked::Cjt188(cjt188::Request::Read {
                kind: *kind,
                address: *address,
                identifier: Identifier::READING,
                order: *order,
                ser,
                leader: if address.is_wildcard() { LEADER_MAX } else { LEADER },
                any_ser: *any_ser,
            }),
            Self::Unit(unit) => {
                let request = modbus::Request::new(*unit, Table::Holding, 0, 1);
                Asked::Modbus(request.expect("units of a search are within 1 to 247"))
            }
            Self::Identity { inquiry, .. } | Self::Server { inquiry, .. } => Asked::ModbusInquiry(*inquiry),
            Self::Primary(address) => Asked::Mbus(mbus::Request::Reset { address: *address }),
            Self::Telegram { address, .. } => {
                Asked::Mbus(mbus::Request::Data { address: *address, fcb: true, id: None })
            }
            Self::Selected { id, .. } => Asked::Mbus(mbus::Request::Select { id: *id }),
            Self::Deselect => Asked::Mbus(mbus::Request::Reset { address: SELECTED }),
        };
        let timing = search.protocol.search_timing(search.line, search.response_timeout);
        let question = Question { asked, line: search.line, timing };
        match self {
            Self::Selected { id, .. } => {
                let data = mbus::Request::Data { address: SELECTED, fcb: true, id: Some(*id) };
                Exchange::two(question, Asked::Mbus(data))
            }
            _ => Exchange::single(question),
        }
    }
}

/// The last slave there may be (Modbus over Serial Line V1.02 §2.2).
const UNIT_MAX: u8 = 247;

fn last_unit(search: &Search) -> u8 {
    (*search.units.end()).min(UNIT_MAX)
}

/// The two digits after these; none after 99.
fn next_pair(pair: u8) -> Option<u8> {
    match (pair >> 4, pair & 0xF) {
        (9, 9) => None,
        (high, 9) => Some((high + 1) << 4),
        _ => Some(pair + 1),
    }
}
