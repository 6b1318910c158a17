//! Serial ports, and where the devices on them have a point: as written.

use std::time::Duration;

use toml::de::DeValue;

use crate::codec::cjt188::IdentifierOrder;
use crate::codec::modbus::{Order, RegisterKind, Table};
use crate::codec::{cjt188, dlt645};
use crate::config::fault::Report;
use crate::config::read::{At, Node, Read, parsed, section, words};
use crate::device::serial::Parity;
use crate::device::serial::protocol::{KINDS, kind};
use crate::model::LineId;

section! {
    /// A serial port.
    Port, "[[port]]", {
        name: LineId,
        path: String,
        baud: u64,
        parity: Parity,
        stop_bits: u64,
        response_timeout: Duration,
        silence: Duration,
        echo: bool,
        set_clocks: bool,
    }
}

words!(Parity, "none" => Parity::None, "even" => Parity::Even, "odd" => Parity::Odd);

section! {
    /// Where a Modbus slave has a point.
    Modbus, "point.modbus", {
        table: Table,
        address: u64,
        kind as "type": RegisterKind,
        order: Order,
        absent: Vec<At<Pattern>>,
        period: Duration,
    }
}

words!(
    Table,
    "holding" => Table::Holding,
    "input" => Table::Input,
    "coil" => Table::Coil,
    "discrete" => Table::Discrete,
);

/// A raw register pattern, an integer or a hexadecimal text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern(pub(crate) u64);

impl Read for Pattern {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        if matches!(node.value, DeValue::Integer(_)) {
            return u64::read(node, report).map(Pattern);
        }
        parsed(node, "a register pattern: 0x7fff or \"0x7fff\"", report, |text| {
            let digits =
                text.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            digits
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .map(Pattern)
                .ok_or(format!("{text:?} is no pattern"))
        })
    }
}

section! {
    /// Where a DL/T 645 meter has a point.
    Dlt645, "point.dlt645", {
        di: dlt645::Identifier,
        item: String,
        period: Duration,
    }
}

section! {
    /// Where a CJ/T 188 meter has a point.
    Cjt188, "point.cjt188", {
        di: cjt188::Identifier,
        item: String,
        period: Duration,
    }
}

section! {
    /// Where an M-Bus meter has a point.
    Mbus, "point.mbus", {
        item: String,
        period: Duration,
    }
}

/// The type of a CJ/T 188 meter: its byte T.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MeterType(pub(crate) u8);

impl Read for MeterType {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let names = KINDS.map(|(name, _)| name).join(", ");
        parsed(node, &format!("one of {names}, or the byte T: \"19\""), report, |text| {
            kind(text).map(Self).ok_or(format!("unknown meter type {text:?}"))
        })
    }
}

words!(IdentifierOrder, "901f" => IdentifierOrder::HighFirst, "1f90" => IdentifierOrder::LowFirst);
