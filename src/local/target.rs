//! What a text on the command line asks of a bus: a meter by its address, and what of it.
//!
//! Guarantees: what comes out only reads; what no meter can answer is refused with what would be right.

use std::str::FromStr;
use std::time::Duration;

use crate::codec::bcd::NameError;
use crate::codec::cjt188::{ANY_KIND, IdentifierOrder, LEADER_MAX, UnitPlace};
use crate::codec::modbus::{self, KindError, Order, RegisterKind, RequestError, Table};
use crate::codec::{cjt188, dlt645, mbus};
use crate::device::serial::exchange::Want;
use crate::device::serial::protocol::{KINDS, kind};
use crate::device::serial::question::{Asked, Question};
use crate::device::serial::{Address, Cjt188, Line, Meter, Parity};
use crate::wire::bus::{self as wire, direct};

/// Bits a second that a port can be set to.
const BAUDS: std::ops::RangeInclusive<u32> = 300..=921_600;

/// The longest time a meter may be given.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// A text that asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// An address or an identifier.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A unit beyond a byte.
    #[error("unit {0}: slaves have addresses 1 to 247")]
    Unit(u32),
    /// A unit or an address of registers.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A register type, or an order.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// Modbus.
    #[error(
        "register {0:?}: TABLE:ADDRESS[:TYPE[:ORDER]] with table holding, input, coil or discrete and an address from 0, \
         as holding:0:u32:CDAB"
    )]
    Register(String),
    /// A type that has one order only.
    #[error("an order for a type of {0} register: it has one only, leave it out")]
    OneOrder(u16),
    /// The type of a CJ/T 188 meter.
    #[error("meter type {0:?}: one of {names}, or two hex digits like 19", names = KINDS.map(|(name, _)| name).join(", "))]
    MeterType(String),
    /// Speed.
    #[error("baud {0}: {first} to {last} bits a second", first = BAUDS.start(), last = BAUDS.end())]
    Baud(u32),
    /// Parity.
    #[error("parity {0:?}: one of none, even, odd")]
    Parity(String),
    /// Stop bits.
    #[error("stop bits {0}: 1 or 2")]
    StopBits(u32),
    /// Time.
    #[error("timeout {0} ms: 1 to {max} ms", max = TIMEOUT_MAX.as_millis())]
    Timeout(u32),
    /// Nothing.
    #[error("which meter: one of --dlt645, --cjt188, --modbus, --mbus, or a device of the configuration")]
    Nothing,
}

/// One thing to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The meter, as good as it is known.
    pub meter: Meter,
    /// What of it.
    pub want: Want,
    /// The question alone, where what the answer holds is in no table.
    pub raw: Option<Question>,
    /// How a register is read, and its name.
    pub register: Option<(RegisterKind, String)>,
}

impl Target {
    /// What is asked for. Where the line is not told, it is that of the meter with this address among `known`, else of the
    /// first one with its protocol, else as it mostly is.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn of(direct: &wire::Direct, known: &[Meter]) -> Result<Self, TargetError> {
        let (address, want, register) = asked(direct.protocol.as_ref().ok_or(TargetError::Nothing)?)?;
        let protocol = address.protocol();
        let mut peers = known.iter().filter(|meter| meter.address.protocol() == protocol);
        let same = peers.clone().find(|meter| meter.address.to_string() == address.to_string());
        let line = same.or_else(|| peers.next()).map_or(protocol.line(), |meter| meter.line);
        let line = self::line(direct.line.as_ref(), line)?;
        let timing = protocol.timing(line, std::time::Duration::ZERO, timeout(direct.timeout_ms)?);
        let address = match (same, address) {
            // The configuration knows its habits.
            (Some(Meter { address: Address::Cjt188(known), .. }), Address::Cjt188(asked))
                if asked.kind == ANY_KIND || asked.kind == known.kind =>
            {
                Address::Cjt188(known.clone())
            }
            (_, address) => address,
        };
        let raw = raw(&address, &want).map(|asked| Question { asked, line, timing });
        let device = "meter".parse().expect("letters are a device's name");
        let meter = Meter { device, address, line, timing, watch_clock: false, points: Vec::new() };
        Ok(Self { meter, want, raw, register })
    }
}

/// Of whom, what, and how a register is read.
type Asking = (Address, Want, Option<(RegisterKind, String)>);

fn asked(protocol: &direct::Protocol) -> Result<Asking, TargetError> {
    Ok(match protocol {
        direct::Protocol::Dlt645(asked) => {
            (Address::Dlt645(asked.address.parse()?), Want::Dlt645(asked.identifier.parse()?), None)
        }
        direct::Protocol::Cjt188(asked) => {
            let (kind, address) = match asked.address.rsplit_once(':') {
                Some((name, address)) => {
                    (kind(name).ok_or_else(|| TargetError::MeterType(short(name)))?, address)
                }
                None => (ANY_KIND, asked.address.as_str()),
            };
            let address: cjt188::Address = address.parse()?;
            let identifier = match asked.identifier.as_str() {
                "" => cjt188::Identifier::READING,
                text => text.parse()?,
            };
            let any_ser = address.is_wildcard();
            let unit = UnitPlace::Behind;
            let meter = Cjt188 { address, kind, order: None, unit, any_ser, leader: LEADER_MAX };
            (Address::Cjt188(meter), Want::Cjt188(identifier), None)
        }
        direct::Protocol::Modbus(asked) => {
            let unit = u8::try_from(asked.unit).map_err(|_| TargetError::Unit(asked.unit))?;
            let (table, start, kind) = register(&asked.register)?;
            let request = modbus::Request::new(unit, table, start, kind.width())?;
            (Address::Modbus(unit), Want::Modbus(request), Some((kind, asked.register.clone())))
        }
        direct::Protocol::Mbus(asked) => {
            (Address::Mbus(mbus::Address::from_str(&asked.address)?), Want::Mbus, None)
        }
    })
}

/// The question for what no table knows: its answer is shown as it came.
fn raw(address: &Address, want: &Want) -> Option<Asked> {
    match (address, want) {
        (Address::Dlt645(address), Want::Dlt645(identifier)) if !dlt645::known(*identifier) => {
            let (address, identifier) = (*address, *identifier);
            Some(Asked::Dlt645(dlt645::Request::Read { address, identifier }))
        }
        (Address::Cjt188(own), Want::Cjt188(identifier)) if is_unknown(*identifier) => {
            Some(Asked::Cjt188(cjt188::Request::Read {
                kind: own.kind,
                address: own.address,
                identifier: *identifier,
                order: own.order.unwrap_or(IdentifierOrder::HighFirst),
                ser: 0,
                leader: own.leader,
                any_ser: own.any_ser,
            }))
        }
        _ => None,
    }
}

fn is_unknown(identifier: cjt188::Identifier) -> bool {
    cjt188::item_names(ANY_KIND, identifier).is_empty()
}

/// `holding:0:u32:CDAB`.
fn register(text: &str) -> Result<(Table, u16, RegisterKind), TargetError> {
    let wrong = || TargetError::Register(short(text));
    let (table, rest) = text.split_once(':').ok_or_else(wrong)?;
    let table = match table {
        "holding" => Table::Holding,
        "input" => Table::Input,
        "coil" => Table::Coil,
        "discrete" => Table::Discrete,
        _ => return Err(wrong()),
    };
    let (address, kind) = rest.split_once(':').map_or((rest, None), |(address, kind)| (address, Some(kind)));
    let address = address.parse().map_err(|_| wrong())?;
    let kind = match kind {
        None if table.is_bits() => RegisterKind::Bit,
        None => RegisterKind::U16,
        Some(kind) => ordered(kind)?,
    };
    if table.is_bits() != (kind == RegisterKind::Bit) {
        return Err(wrong());
    }
    Ok((table, address, kind))
}

/// `u32:CDAB`; a text's type has a colon of its own.
fn ordered(text: &str) -> Result<RegisterKind, TargetError> {
    match (text.parse::<RegisterKind>(), text.rsplit_once(':')) {
        (Ok(kind), _) => Ok(kind),
        (Err(error), None) => Err(error.into()),
        (Err(_), Some((name, order))) => {
            let (kind, order): (RegisterKind, Order) = (name.parse()?, order.parse()?);
            RegisterKind::named(name, order).ok_or(TargetError::OneOrder(kind.width()))
        }
    }
}

/// The line that is told, and for the rest `usual`.
///
/// # Errors
/// [`TargetError`].
pub fn line(told: Option<&wire::Line>, usual: Line) -> Result<Line, TargetError> {
    let Some(wire::Line { baud, parity, stop_bits }) = told else { return Ok(usual) };
    Ok(Line {
        baud: match baud {
            0 => usual.baud,
            baud if BAUDS.contains(baud) => *baud,
            baud => return Err(TargetError::Baud(*baud)),
        },
        parity: match parity.as_str() {
            "" => usual.parity,
            "none" => Parity::None,
            "even" => Parity::Even,
            "odd" => Parity::Odd,
            other => return Err(TargetError::Parity(short(other))),
        },
        stop_bits: match stop_bits {
            0 => usual.stop_bits,
            1 => 1,
            2 => 2,
            other => return Err(TargetError::StopBits(*other)),
        },
    })
}

/// A response timeout; none for 0.
///
/// # Errors
/// [`TargetError::Timeout`].
pub fn timeout(ms: u32) -> Result<Option<Duration>, TargetError> {
    match Duration::from_millis(ms.into()) {
        Duration::ZERO => Ok(None),
        timeout if timeout <= TIMEOUT_MAX => Ok(Some(timeout)),
        _ => Err(TargetError::Timeout(ms)),
    }
}

fn short(text: &str) -> String {
    text.chars().take(48).collect()
}
