//! The one place where a question that changes something is made.
//!
//! Guarantees: only for a point that the configuration makes writable, only within its limits, only exactly what was asked
//! for. DL/T 645 meters are told the time where the port says so, and nothing else: their writes need a programming key, and
//! a trip cannot be taken back from here.

use jiff::civil::DateTime;
use rust_decimal::Decimal;

use super::question::{Asked, Question};
use super::{Address, Meter, Point, PortSettings, Source, Writable};
use crate::codec::cjt188::{IdentifierOrder, ValveCommand};
use crate::codec::dlt645::TimeBroadcast;
use crate::codec::modbus::{RegisterKind, Table, Write};
use crate::model::Value;

/// The item of a CJ/T 188 meter that is its valve.
pub const VALVE: &str = "valve_open";

/// Why nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Read-only, as everything is by default.
    #[error("the point is read-only; writable = {{ min = …, max = … }} at its template makes it writable")]
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

/// The question that writes `value`, as a reading of the point, and nothing else.
///
/// # Errors
/// [`WriteError`].
pub fn question(meter: &Meter, point: &Point, value: &Value) -> Result<Question, WriteError> {
    let writable = point.writable.as_ref().ok_or(WriteError::ReadOnly)?;
    let asked = match (&meter.address, &point.source, value) {
        (Address::Modbus(unit), Source::Modbus { table: Table::Coil, address, .. }, Value::Flag(on)) => {
            Asked::ModbusWrite(Write::coil(*unit, *address, *on).map_err(|_| WriteError::Place("unit 0"))?)
        }
        (
            Address::Modbus(unit),
            Source::Modbus { table: Table::Holding, address, kind, .. },
            Value::Number(number),
        ) => {
            let registers = registers(*kind, *number, writable)?;
            Asked::ModbusWrite(
                Write::registers(*unit, *address, &registers).map_err(|_| WriteError::Place("unit 0"))?,
            )
        }
        (Address::Cjt188(own), Source::Cjt188 { item, .. }, Value::Flag(open)) if item == VALVE => {
            if own.address.is_wildcard() {
                return Err(WriteError::Place("the valve of any meter"));
            }
            Asked::Cjt188Valve(ValveCommand {
                kind: own.kind,
                address: own.address,
                order: own.order.unwrap_or(IdentifierOrder::HighFirst),
                ser: 0,
                open: *open,
            })
        }
        (_, Source::Modbus { table: Table::Discrete | Table::Input, .. }, _) => {
            return Err(WriteError::Place("an input"));
        }
        (Address::Dlt645(_) | Address::Mbus(_), ..) => {
            return Err(WriteError::Place("a meter of this protocol"));
        }
        (_, Source::Cjt188 { item, .. }, _) if item != VALVE => {
            return Err(WriteError::Place("anything but a valve"));
        }
        _ => return Err(WriteError::Kind),
    };
    Ok(Question { asked, line: meter.line, timing: meter.timing })
}

/// The time, for all DL/T 645 meters of a port: a question for each setting of the line that they have. A meter obeys
/// when it is no more than five minutes off, once a day (§7.6).
#[must_use]
pub fn times(settings: &PortSettings, local: DateTime) -> Vec<Question> {
    let mut questions: Vec<Question> = Vec::new();
    for meter in settings.meters.iter().filter(|meter| matches!(meter.address, Address::Dlt645(_))) {
        if questions.iter().all(|question| question.line != meter.line) {
            let time = TimeBroadcast {
                year: local.year(),
                month: local.month(),
                day: local.day(),
                hour: local.hour(),
                minute: local.minute(),
                second: local.second(),
            };
            let asked = Asked::Dlt645Time(time);
            questions.push(Question { asked, line: meter.line, timing: meter.timing });
        }
    }
    questions
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
