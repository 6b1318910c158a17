//! Where a device on a bus has a point: registers, items of an identifier, records; and whether it may be written.
//!
//! Guarantees: what is accepted can be asked for, its value is of the point's kind, and a unit that the standard fixes
//! converts to the point's; nothing is writable that cannot be written, and no number without limits.

use std::borrow::Cow;
use std::time::Duration;

use rust_decimal::Decimal;

use super::{DAY, MINUTE};
use crate::codec::modbus::{Order, RegisterKind, Request, Table};
use crate::codec::{cjt188, dlt645, unit};
use crate::config::fault::{Report, Span};
use crate::config::raw;
use crate::config::read::{At, Key};
use crate::device::serial::write::VALVE;
use crate::device::serial::{Source, Writable};
use crate::model::Value;
use crate::normalise::{Kind, Rule};

/// The longest answer of a DL/T 645 identifier, of those that have a name here: a demand with 63 tariffs.
const DLT645_BYTES_MAX: usize = 64 * 8;

/// Where a device has a point.
pub(super) struct Place {
    pub(super) source: Source,
    pub(super) period: Duration,
    pub(super) writable: Option<Writable>,
}

/// Checks `modbus`, `dlt645`, `cjt188`, `mbus` and `writable` of a point of a model with this type byte.
pub(super) fn place(raw: &raw::Point, rule: &Rule, meter: u8, report: &mut Report) -> Option<Place> {
    let spans = [
        ("modbus", raw.modbus.get().map(|at| at.span)),
        ("dlt645", raw.dlt645.get().map(|at| at.span)),
        ("cjt188", raw.cjt188.get().map(|at| at.span)),
        ("mbus", raw.mbus.get().map(|at| at.span)),
    ];
    let mut given = spans.into_iter().filter_map(|(name, span)| Some((name, span?)));
    let Some((first, span)) = given.next() else {
        if let Some(at) = raw.writable.get().filter(|at| at.value) {
            report.missing(at.span, "writable without a place on a bus", "modbus = { … } says where it is");
        }
        return None;
    };
    if let Some((name, span)) = given.next() {
        report.fault(span, format!("{name} beside {first}"), "one place on a bus for a point");
        return None;
    }
    let unit = raw.unit.value().map_or("", String::as_str);
    let wanted = Wanted { kind: rule.kind, unit, span: raw.unit.span_or(span) };
    let (source, period) = if let Some(raw) = raw.modbus.value() {
        (modbus(raw, rule.kind, report), period(&raw.period, Duration::from_secs(10), report))
    } else if let Some(raw) = raw.dlt645.value() {
        (dlt645(raw, &wanted, report), period(&raw.period, MINUTE, report))
    } else if let Some(raw) = raw.cjt188.value() {
        (cjt188(raw, meter, &wanted, report), period(&raw.period, 15 * MINUTE, report))
    } else {
        let raw = raw.mbus.value()?;
        (mbus(raw, &wanted, report), period(&raw.period, 15 * MINUTE, report))
    };
    let source = source?;
    let writable = writable(raw, &source, rule, report);
    Some(Place { source, period, writable })
}

fn period(key: &Key<Duration>, default: Duration, report: &mut Report) -> Duration {
    report.bounded(key, default, Duration::from_millis(100)..=DAY, "period")
}

/// What a point is to be.
struct Wanted<'p> {
    kind: Kind,
    unit: &'p str,
    span: Span,
}

impl Wanted<'_> {
    /// Holds that an item can be it. `unit` is that of the item, or another of the same quantity; none is not known.
    fn fits(&self, item: &str, flag: bool, unit: Option<&str>, report: &mut Report) {
        if flag != (self.kind == Kind::Flag) {
            let is = if flag { "a flag" } else { "no flag" };
            let help = if flag { "kind = \"flag\"" } else { "kind = \"number\", or \"text\"" };
            return report.fault(self.span, format!("{item} is {is}"), help);
        }
        let Some(unit) =
            unit.filter(|unit| self.kind == Kind::Number && !unit::same_quantity(unit, self.unit))
        else {
            return;
        };
        let message = match (unit, self.unit) {
            ("", wanted) => format!("{item} has no unit, and does not convert to {wanted}"),
            (_, "") => format!("{item} comes in a unit, and the point has none"),
            (_, wanted) => format!("{item} does not convert to {wanted}"),
        };
        let help = if unit.is_empty() {
            "no unit".to_owned()
        } else {
            format!("unit = \"{unit}\", or another of the same quantity")
        };
        report.fault(self.span, message, help);
    }
}

fn modbus(raw: &raw::Modbus, kind: Kind, report: &mut Report) -> Option<Source> {
    let table = report.need(&raw.table, raw.at, "table", "\"holding\"");
    let address = report.need(&raw.address, raw.at, "address", "0");
    let bits = table.is_some_and(|table| table.value.is_bits());
    let register = match &raw.kind {
        Key::Absent if bits => Some(RegisterKind::Bit),
        key => report.need(key, raw.at, "type", "\"i16\"").map(|register| register.value),
    };
    let span = raw.kind.span_or(raw.at);
    if let (Some(register), Some(_)) = (register, table) {
        if bits != (register == RegisterKind::Bit) {
            let help = "\"bit\" for coil and discrete; u16, i32, bit0 … for holding and input";
            report.fault(span, "a type that the table does not hold", help);
        }
        let gives = match register {
            RegisterKind::Bit | RegisterKind::BitOf(_) => Kind::Flag,
            RegisterKind::Text { .. } => Kind::Text,
            _ => Kind::Number,
        };
        if kind != gives {
            let help = "kind = \"flag\" for bits, \"text\" for text:N, \"number\" for all others";
            report.fault(span, "a type that gives another kind of value than the point's", help);
        }
    }
    if let (Some(order), Some(register)) = (raw.order.get(), register)
        && register.order().is_none()
    {
        let help = "only texts and types of 32 and 64 bits have one";
        report.fault(order.span, "an order of bytes in one register", help);
    }
    let width = register.map_or(1, RegisterKind::width);
    let start = address.and_then(|address| u16::try_from(address.value).ok());
    if let Some(address) = address {
        // Whatever the unit is, a slave that has all there is can answer.
        let table = table.map_or(Table::Holding, |table| table.value);
        if start.is_none_or(|start| Request::new(1, table, start, width).is_err()) {
            let message = format!("address {} with {width} registers", address.value);
            report.fault(address.span, message, format!("0 to {}, as on the wire", u16::MAX - (width - 1)));
        }
    }
    for pattern in raw.absent.list() {
        let bits = register.map_or(64, RegisterKind::pattern_bits);
        if bits < 64 && pattern.value.0 >> bits != 0 {
            let message = format!("a pattern of more than {bits} bits");
            report.fault(pattern.span, message, "as many bits as the type has");
        }
    }
    Some(Source::Modbus {
        table: table?.value,
        address: start?,
        kind: register?.in_order(raw.order.or(Order::Abcd)),
        absent: raw.absent.list().iter().map(|pattern| pattern.value.0).collect(),
    })
}

fn dlt645(raw: &raw::Dlt645, wanted: &Wanted<'_>, report: &mut Report) -> Option<Source> {
    let identifier = report.need(&raw.di, raw.at, "di", "\"00010000\"")?;
    let Some(names) = dlt645::item_names(identifier.value) else {
        let help = "one of App. A of DL/T 645-2007: \"00010000\" is the forward active energy";
        report.fault(identifier.span, format!("identifier {} is not known", identifier.value), help);
        return None;
    };
    let names: Vec<&str> = names.iter().map(Cow::as_ref).collect();
    let name = match raw.item.get() {
        Some(item) => known(item, &names, report)?,
        None if names.len() == 1 => names[0],
        None => {
            let help = format!("item = \"{}\", or another of its {}", names[0], names.len());
            report.fault(raw.at, format!("{} holds several items", identifier.value), help);
            return None;
        }
    };
    // The codec itself says what the item is, of an answer in which all is zero.
    let zero = (1..=DLT645_BYTES_MAX).find_map(|bytes| {
        let items = dlt645::items(identifier.value, &vec![0; bytes]).ok()?;
        items.into_iter().find(|item| item.name == name)
    });
    if let Some(zero) = zero {
        wanted.fits(name, matches!(zero.value, Some(Value::Flag(_))), Some(zero.unit), report);
    }
    Some(Source::Dlt645 { identifier: identifier.value, item: raw.item.value().cloned() })
}

fn cjt188(raw: &raw::Cjt188, meter: u8, wanted: &Wanted<'_>, report: &mut Report) -> Option<Source> {
    let identifier = raw.di.or(cjt188::Identifier::READING);
    let item = report.need(&raw.item, raw.at, "item", "\"current_volume\"")?;
    let names = cjt188::item_names(meter, identifier);
    if names.is_empty() {
        let message = format!("identifier {identifier} of a meter of type {meter:02x} is not known");
        report.fault(
            raw.di.span_or(raw.at),
            message,
            "\"901f\", or \"d120\" to \"d12b\", of water, gas and heat",
        );
        return None;
    }
    let name = known(item, &names, report)?;
    let unit = match name {
        "power" => Some("kW"),
        "flow" => Some("m3/h"),
        "supply_temperature" | "return_temperature" => Some("Cel"),
        "work_hours" => Some("h"),
        _ if name.contains("volume") => Some("m3"),
        _ if name.contains("heat") => Some("GJ"),
        _ => None,
    };
    wanted.fits(name, unit.is_none(), unit, report);
    Some(Source::Cjt188 { identifier, item: item.value.clone() })
}

/// Which records a meter has, only the meter knows.
fn mbus(raw: &raw::Mbus, wanted: &Wanted<'_>, report: &mut Report) -> Option<Source> {
    const QUANTITIES: [(&str, &str); 7] = [
        ("volume_flow", "m3/h"),
        ("volume", "m3"),
        ("energy", "kWh"),
        ("power", "kW"),
        ("flow_temperature", "Cel"),
        ("return_temperature", "Cel"),
        ("external_temperature", "Cel"),
    ];
    let item = report.need(&raw.item, raw.at, "item", "\"volume\"")?;
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !item.value.bytes().all(word) {
        let help = "the name of a record: \"energy\", \"volume_flow\", \"volume_1\"; `smallbrain decode mbus` shows them";
        report.fault(item.span, format!("item {:?}", item.value), help);
        return None;
    }
    let of = |(name, _): &&(&str, &str)| {
        let rest = item.value.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_') && !rest.contains("_per_"))
    };
    let unit = QUANTITIES.iter().find(of).map(|(_, unit)| *unit);
    wanted.fits(&item.value, false, unit, report);
    Some(Source::Mbus { item: item.value.clone() })
}

/// One of the names there are.
fn known<'n>(item: &At<String>, names: &[&'n str], report: &mut Report) -> Option<&'n str> {
    let found = names.iter().copied().find(|name| *name == item.value);
    if found.is_none() {
        report.unknown(item.span, "item", &item.value, names.iter().copied());
    }
    found
}

fn writable(raw: &raw::Point, source: &Source, rule: &Rule, report: &mut Report) -> Option<Writable> {
    let asked = raw.writable.get().filter(|at| at.value)?;
    let refused = match source {
        Source::Modbus { table: Table::Coil, .. } => None,
        Source::Modbus { table: Table::Holding, kind, .. } => kind
            .write(&Value::Number(Decimal::ZERO))
            .is_none()
            .then_some("only numbers of whole registers can be written; not bits, halves and texts"),
        Source::Modbus { .. } => Some("an input cannot be written"),
        Source::Cjt188 { item, .. } if item == VALVE => None,
        Source::Cjt188 { .. } => Some("of a CJ/T 188 meter only valve_open is ever written"),
        Source::Dlt645 { .. } => Some(
            "a DL/T 645 meter is never written: that needs its password, and a trip cannot be taken back",
        ),
        Source::Mbus { .. } => Some("an M-Bus meter is never written"),
    };
    if let Some(why) = refused {
        report.fault(asked.span, "the point cannot be writable", why);
        return None;
    }
    if rule.kind != Kind::Number {
        let (min, max, scale, offset) = (Decimal::ZERO, Decimal::ONE, Decimal::ONE, Decimal::ZERO);
        return Some(Writable { min, max, scale, offset });
    }
    let (Some(min), Some(max)) = (raw.min.value(), raw.max.value()) else {
        if raw.min.is_absent() || raw.max.is_absent() {
            report.fault(
                asked.span,
                "writable without limits",
                "min and max: nothing beyond them is written",
            );
        }
        return None;
    };
    Some(Writable { min: *min, max: *max, scale: rule.scale, offset: rule.offset })
}
