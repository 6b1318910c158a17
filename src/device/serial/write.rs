//! The one place where a question that changes something is made.
//!
//! Guarantees: only for a point that the configuration makes writable, only within its limits, only exactly what was asked
//! for. DL/T 645 meters are told the time where the port says so, and nothing else; M-Bus meters are told nothing.

use rust_decimal::Decimal;

use super::question::{Asked, Question};
use super::{Address, Meter, Point, PortSettings, Source, Writable};
use crate::codec::cjt188::{IdentifierOrder, ValveCommand};
use crate::codec::dlt645::TimeBroadcast;
use crate::codec::modbus::{RegisterKind, Table, Write, Written};
use crate::model::Value;

/// The item of a CJ/T 188 meter that is its valve.
pub const VALVE: &str = "valve_open";

/// Why nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A DL/T 645 meter.
    #[error(
        "DL/T 645 meters are never written from here: it takes the meter's password and programming key, and a supply that \
         was cut cannot be given back from here; use the vendor's tool"
    )]
    Dlt645,
    /// An M-Bus meter.
    #[error(
        "M-Bus meters are never written from here: what a write does is each vendor's own, and may change what is billed; \
         use the vendor's tool"
    )]
    Mbus,
    /// Read-only, as everything is by default.
    #[error(
        "the point is read-only; writable = true in its template makes it writable, for a register with min and max"
    )]
    ReadOnly,
    /// Not of the point's kind.
    #[error(
        "the value is not of the point's kind: numbers for registers, true or false for coils and valves"
    )]
    Kind,
    /// Outside.
    #[error("{value} is outside of what may be written, {min} to {max}")]
    Limits {
        /** Asked for. */
        value: Decimal,
        /** Smallest. */
        min: Decimal,
        /** Largest. */
        max: Decimal,
    },
    /// Rounding would write something else.
    #[error("{0} is no exact value of the registers")]
    Inexact(Decimal),
    /// The protocol, table or item.
    #[error("{0} cannot be written")]
    Place(&'static str),
}

/// Whether a point may be written at all.
///
/// # Errors
/// [`WriteError`]: first what no configuration changes, then the configuration.
pub fn writable<'a>(meter: &Meter, point: &'a Point) -> Result<&'a Writable, WriteError> {
    match (&meter.address, &point.source) {
        (Address::Dlt645(_), _) => Err(WriteError::Dlt645),
        (Address::Mbus(_), _) => Err(WriteError::Mbus),
        (_, Source::Modbus { table: Table::Discrete | Table::Input, .. }) => {
            Err(WriteError::Place("an input"))
        }
        (_, Source::Cjt188 { item, .. }) if item != VALVE => Err(WriteError::Place("anything but a valve")),
        (Address::Cjt188(own), _) if own.address.is_wildcard() => {
            Err(WriteError::Place("the valve of any meter"))
        }
        _ => point.writable.as_ref().ok_or(WriteError::ReadOnly),
    }
}

/// The question that writes `value`, as a reading of the point, and nothing else.
///
/// # Errors
/// [`WriteError`].
pub fn question(meter: &Meter, point: &Point, value: &Value) -> Result<Question, WriteError> {
    let writable = writable(meter, point)?;
    let asked = match (&meter.address, &point.source, value) {
        (Address::Modbus(unit), Source::Modbus { table: Table::Coil, address, .. }, Value::Flag(on)) => {
            modbus(*unit, *address, Written::Coil(*on))?
        }
        (
            Address::Modbus(unit),
            Source::Modbus { table: Table::Holding, address, kind, .. },
            Value::Number(number),
        ) => {
            let registers = registers(*kind, *number, writable)?;
            let written = match registers[..] {
                [register] => Written::Register(register),
                _ => Written::Registers(registers),
            };
            modbus(*unit, *address, written)?
        }
        (Address::Cjt188(own), Source::Cjt188 { .. }, Value::Flag(open)) => {
            Asked::Cjt188Valve(ValveCommand {
                kind: own.kind,
                address: own.address,
                order: own.order.unwrap_or(IdentifierOrder::HighFirst),
                ser: 0,
                open: *open,
            })
        }
        _ => return Err(WriteError::Kind),
    };
    Ok(Question { asked, line: meter.line, timing: meter.timing })
}

/// The time, for all DL/T 645 meters of a port: a question for each setting of the line that they have. A meter obeys
/// when it is no more than five minutes off, once a day (§7.6).
#[must_use]
pub fn times(settings: &PortSettings, utc_ms: i64) -> Vec<Question> {
    let mut questions: Vec<Question> = Vec::new();
    let Some(time) = TimeBroadcast::new(utc_ms, settings.zone_ms) else { return questions };
    for meter in settings.meters.iter().filter(|meter| matches!(meter.address, Address::Dlt645(_))) {
        if questions.iter().all(|question| question.line != meter.line) {
            let asked = Asked::Dlt645Time(time);
            questions.push(Question { asked, line: meter.line, timing: meter.timing });
        }
    }
    questions
}

fn modbus(unit: u8, address: u16, written: Written) -> Result<Asked, WriteError> {
    Write::new(unit, address, written).map(Asked::ModbusWrite).map_err(|_| WriteError::Place("this address"))
}

fn registers(kind: RegisterKind, reading: Decimal, writable: &Writable) -> Result<Vec<u16>, WriteError> {
    let Writable { min, max, scale, offset } = writable;
    if reading < *min || reading > *max {
        return Err(WriteError::Limits { value: reading, min: *min, max: *max });
    }
    let exact = || {
        let sample = reading.checked_sub(*offset)?.checked_div(*scale)?.normalize();
        (sample.checked_mul(*scale)?.checked_add(*offset)? == reading).then_some(sample)
    };
    let sample = exact().ok_or(WriteError::Inexact(reading))?;
    kind.write(&Value::Number(sample)).ok_or(WriteError::Inexact(reading))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::codec::cjt188::UnitPlace;
    use crate::codec::{cjt188, dlt645};
    use crate::device::serial::{Cjt188, Line, Parity, Timing};
    use crate::model::SeriesKey;

    const LINE: Line = Line { baud: 2400, parity: Parity::Even, stop_bits: 1 };

    fn decimal(text: &str) -> Decimal {
        text.parse().expect("a number in a test")
    }

    fn meter(address: Address) -> Meter {
        let ms = Duration::from_millis;
        Meter {
            device: "pump-1".parse().expect("a device id"),
            address,
            line: LINE,
            timing: Timing::of(LINE, ms(20), ms(50), ms(1000)),
            watch_clock: false,
            points: Vec::new(),
        }
    }

    fn point(source: Source, writable: bool) -> Point {
        let limits =
            Writable { min: decimal("5"), max: decimal("50"), scale: decimal("0.1"), offset: decimal("0") };
        let period = Duration::from_secs(10);
        Point {
            series: SeriesKey(1),
            source,
            unit: String::new(),
            period,
            polled: true,
            writable: writable.then_some(limits),
        }
    }

    fn register(table: Table, kind: RegisterKind, writable: bool) -> Point {
        point(Source::Modbus { table, address: 7, kind, absent: Vec::new() }, writable)
    }

    fn valve(item: &str, writable: bool) -> Point {
        let identifier = cjt188::Identifier::READING;
        point(Source::Cjt188 { identifier, item: item.to_owned() }, writable)
    }

    fn water(address: &str) -> Address {
        Address::Cjt188(Cjt188 {
            address: address.parse().expect("an address"),
            kind: 0x10,
            order: None,
            unit: UnitPlace::Behind,
            any_ser: false,
            leader: 4,
        })
    }

    fn electricity(writable: bool) -> Point {
        let identifier = dlt645::Identifier::v2007(0x0001_0000);
        point(Source::Dlt645 { identifier, item: None }, writable)
    }

    #[test]
    fn only_what_is_writable_is_written_and_only_within_its_limits() {
        use RegisterKind::{Bit, U16};
        let slave = || meter(Address::Modbus(3));
        let number = |text| Value::Number(decimal(text));
        let (holding, input) =
            (|writable| register(Table::Holding, U16, writable), register(Table::Input, U16, true));
        let limits =
            |value| WriteError::Limits { value: decimal(value), min: decimal("5"), max: decimal("50") };
        let meters = [slave(), meter(water("00000805000001")), meter(water("AAAAAAAAAAAAAA"))];
        let electric = meter(Address::Dlt645("161".parse().expect("an address")));
        let heat = meter(Address::Mbus("5".parse().expect("an address")));
        let record = |writable| point(Source::Mbus { item: "energy".into() }, writable);
        for (meter, point, value, expected) in [
            (&meters[0], holding(true), number("21.5"), Ok("0306000700d7")),
            (&meters[0], holding(true), number("5"), Ok("030600070032")),
            (&meters[0], holding(false), number("21.5"), Err(WriteError::ReadOnly)),
            (&meters[0], holding(true), number("4.9"), Err(limits("4.9"))),
            (&meters[0], holding(true), number("50.1"), Err(limits("50.1"))),
            (&meters[0], holding(true), number("21.55"), Err(WriteError::Inexact(decimal("21.55")))),
            (&meters[0], holding(true), Value::Flag(true), Err(WriteError::Kind)),
            (&meters[0], input, number("21.5"), Err(WriteError::Place("an input"))),
            (&meters[0], register(Table::Coil, Bit, true), Value::Flag(true), Ok("03050007ff00")),
            (&meters[0], register(Table::Coil, Bit, false), Value::Flag(true), Err(WriteError::ReadOnly)),
            (&meters[1], valve(VALVE, true), Value::Flag(false), Ok("a0170099")),
            (&meters[1], valve(VALVE, false), Value::Flag(false), Err(WriteError::ReadOnly)),
            (
                &meters[1],
                valve("current_volume", true),
                number("21.5"),
                Err(WriteError::Place("anything but a valve")),
            ),
            (
                &meters[2],
                valve(VALVE, true),
                Value::Flag(false),
                Err(WriteError::Place("the valve of any meter")),
            ),
            // What can never be is told before what the configuration could change.
            (
                &meters[0],
                register(Table::Discrete, Bit, false),
                Value::Flag(true),
                Err(WriteError::Place("an input")),
            ),
            (&electric, electricity(true), Value::Flag(false), Err(WriteError::Dlt645)),
            (&electric, electricity(false), number("1"), Err(WriteError::Dlt645)),
            (&heat, record(false), number("1"), Err(WriteError::Mbus)),
        ] {
            let sent = question(meter, &point, &value).map(|question| {
                question.asked.encode().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            });
            match (sent, expected) {
                (Ok(sent), Ok(part)) => assert!(sent.contains(part), "{sent} has {part}"),
                (sent, expected) => assert_eq!(sent.map(|_| ()), expected.map(|_| ()), "{point:?}"),
            }
        }
    }

    #[test]
    fn each_line_is_told_the_time_once() {
        let address = || Address::Dlt645("161".parse().expect("an address"));
        let mut fast = meter(address());
        fast.line.baud = 9600;
        let settings = PortSettings {
            name: "roof".into(),
            path: "/dev/null".into(),
            line: LINE,
            echo: false,
            set_clocks: true,
            zone_ms: 0,
            meters: vec![meter(address()), fast, meter(address()), meter(Address::Modbus(1))],
        };
        let bauds: Vec<u32> =
            times(&settings, 1_790_000_000_000).iter().map(|question| question.line.baud).collect();
        assert_eq!(bauds, [2400, 9600]);
    }
}
