//! How the devices of a model speak: one protocol, the settings of the line, the habits of its vendor.
//!
//! Guarantees: all points of a model are of one protocol and edition; a key of another protocol is a fault.

use std::time::Duration;

use crate::codec::cjt188::{self, IdentifierOrder, LEADER, LEADER_MAX, UnitPlace};
use crate::codec::dlt645::Edition;
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, MeterType};
use crate::config::read::{At, Key};
use crate::device::serial::{self, Line, Parity};
use crate::model::Metric;

/// What is spoken on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Modbus,
    Dlt645(Edition),
    Cjt188,
    Mbus,
}

impl Protocol {
    /// Of a point, as far as it says one, and where.
    fn of(raw: &raw::Point) -> Option<(Self, Span)> {
        let edition = |at: &At<raw::Dlt645>| Some((Self::Dlt645(at.value.di.value()?.edition()), at.span));
        let said = [
            raw.modbus.get().map(|at| (Self::Modbus, at.span)),
            raw.dlt645.get().and_then(edition),
            raw.cjt188.get().map(|at| (Self::Cjt188, at.span)),
            raw.mbus.get().map(|at| (Self::Mbus, at.span)),
        ];
        let mut said = said.into_iter().flatten();
        said.next().filter(|_| said.next().is_none())
    }

    /// For people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Modbus => "Modbus",
            Self::Dlt645(Edition::V2007) => "DL/T 645-2007",
            Self::Dlt645(Edition::V1997) => "DL/T 645-1997",
            Self::Cjt188 => "CJ/T 188",
            Self::Mbus => "M-Bus",
        }
    }

    /// Whatever the edition.
    pub(super) fn spoken(self) -> serial::Protocol {
        match self {
            Self::Modbus => serial::Protocol::Modbus,
            Self::Dlt645(_) => serial::Protocol::Dlt645,
            Self::Cjt188 => serial::Protocol::Cjt188,
            Self::Mbus => serial::Protocol::Mbus,
        }
    }
}

/// Settings of a line, as far as one place gives them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    baud: Option<u32>,
    parity: Option<Parity>,
    stop_bits: Option<u8>,
    pub(super) response_timeout: Option<Duration>,
}

impl Given {
    pub(super) fn of(
        baud: &Key<u64>,
        parity: &Key<Parity>,
        stop_bits: &Key<u64>,
        response_timeout: &Key<Duration>,
        report: &mut Report,
    ) -> Self {
        let timeouts = Duration::from_millis(10)..=Duration::from_secs(10);
        Self {
            baud: report.within(baud, 300..=921_600, "baud").map(|baud| baud as u32),
            parity: parity.value().copied(),
            stop_bits: report.within(stop_bits, 1..=2, "stop_bits").map(|bits| bits as u8),
            response_timeout: report.within(response_timeout, timeouts, "response_timeout"),
        }
    }

    /// With what `other` gives where this gives nothing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            baud: self.baud.or(other.baud),
            parity: self.parity.or(other.parity),
            stop_bits: self.stop_bits.or(other.stop_bits),
            response_timeout: self.response_timeout.or(other.response_timeout),
        }
    }

    pub(super) fn line(self, default: Line) -> Line {
        Line {
            baud: self.baud.unwrap_or(default.baud),
            parity: self.parity.unwrap_or(default.parity),
            stop_bits: self.stop_bits.unwrap_or(default.stop_bits),
        }
    }
}

/// How the devices of a model speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speech {
    pub(super) protocol: Protocol,
    pub(super) given: Given,
    /// DL/T 645: whether the clock is read.
    pub(super) clock: bool,
    /// CJ/T 188.
    pub(super) habits: Habits,
}

/// What CJ/T 188 leaves to vendors; see [`crate::device::serial::Cjt188`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) kind: u8,
    pub(super) order: Option<IdentifierOrder>,
    pub(super) unit: UnitPlace,
    pub(super) any_ser: bool,
    pub(super) leader: u8,
}

/// The byte T of a model's meters.
pub(super) fn meter_type(raw: &raw::Template) -> u8 {
    raw.meter_type.or(MeterType(cjt188::ANY_KIND)).0
}

/// Checks what a model says about its protocol; none when no point is on a bus.
pub(super) fn speech(raw: &raw::Template, report: &mut Report) -> Option<Speech> {
    let mut protocol: Option<(Protocol, Span)> = None;
    for point in raw.point.list() {
        let Some((own, span)) = Protocol::of(point) else { continue };
        let (first, before) = *protocol.get_or_insert((own, span));
        if own != first {
            let point = point.metric.value().map_or("", Metric::as_str);
            let message = format!("point {point}: {} in a template of {}", own.title(), first.title());
            report.twice(span, before, message, "one protocol and one edition for all points of a template");
        }
    }
    let protocol = protocol.map(|(protocol, _)| protocol);
    strays(raw, report);
    let given = Given::of(&raw.baud, &raw.parity, &raw.stop_bits, &raw.response_timeout, report);
    let leader = report.bounded(&raw.leader, LEADER.into(), 0..=LEADER_MAX.into(), "leader");
    Some(Speech {
        protocol: protocol?,
        given,
        clock: raw.clock.or(false),
        habits: Habits {
            kind: meter_type(raw),
            order: raw.identifier_order.value().copied(),
            unit: if raw.unit_first.or(false) { UnitPlace::InFront } else { UnitPlace::Behind },
            any_ser: raw.any_serial.or(false),
            leader: leader as u8,
        },
    })
}

/// Keys of a protocol that no point names.
fn strays(raw: &raw::Template, report: &mut Report) {
    fn span<T>(key: &Key<T>) -> Option<Span> {
        key.get().map(|at| at.span)
    }
    let has = |of: fn(&raw::Point) -> bool| raw.point.list().iter().any(of);
    let (dlt645, cjt188) = (has(|point| !point.dlt645.is_absent()), has(|point| !point.cjt188.is_absent()));
    let bus = has(raw::Point::is_on_bus);
    let keys = [
        ("baud", span(&raw.baud), bus, "a bus"),
        ("parity", span(&raw.parity), bus, "a bus"),
        ("stop_bits", span(&raw.stop_bits), bus, "a bus"),
        ("response_timeout", span(&raw.response_timeout), bus, "a bus"),
        ("clock", span(&raw.clock), dlt645, "DL/T 645"),
        ("meter_type", span(&raw.meter_type), cjt188, "CJ/T 188"),
        ("leader", span(&raw.leader), cjt188, "CJ/T 188"),
        ("identifier_order", span(&raw.identifier_order), cjt188, "CJ/T 188"),
        ("unit_first", span(&raw.unit_first), cjt188, "CJ/T 188"),
        ("any_serial", span(&raw.any_serial), cjt188, "CJ/T 188"),
    ];
    for (name, span, spoken, of) in keys {
        if let Some(span) = span.filter(|_| !spoken) {
            let message = format!("{name} in a template without points of {of}");
            report.missing(span, message, format!("only templates with points of {of} have it"));
        }
    }
}
