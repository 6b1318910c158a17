//! Serial ports and who is on them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Fleet, Places, Shown};
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Root};
use crate::config::read::{At, Key};
use crate::device::serial::{Address, Line, Meter, Parity, Point, PortSettings, Source, Timing};
use crate::model::{LineId, SeriesKey};

/// A port, and its slaves as (device by index, unit).
pub(super) struct Port {
    settings: PortSettings,
    slaves: Vec<(usize, u8)>,
}

/// Checks `[[port]]`, and `port` and `unit` of the devices.
pub(super) fn ports(root: &Root, fleet: &Fleet<'_>, places: &Places, report: &mut Report) -> Vec<Port> {
    let (mut names, mut paths) = (HashMap::new(), HashMap::new());
    let mut ports: Vec<Port> = Vec::new();
    for raw in root.port.list() {
        if let Some(path) = raw.path.get() {
            report.once(&mut paths, places.path(&path.value).display().to_string(), path.span, "path");
        }
        if let Some(name) = raw.name.get() {
            report.once(&mut names, name.value.clone(), name.span, "port");
        }
        ports.extend(port(raw, places, report).map(|settings| Port { settings, slaves: Vec::new() }));
    }
    let mut members: HashMap<Span, Vec<usize>> = HashMap::new();
    for (index, device) in fleet.devices.iter().enumerate() {
        members.entry(device.raw.at).or_default().push(index);
    }
    let mut units = HashMap::new();
    for raw in root.device.list() {
        let devices = members.get(&raw.at).map_or(&[][..], Vec::as_slice);
        let Some((name, unit)) = address(raw, report) else { continue };
        report.once(&mut units, format!("{} of port {}", unit.value, name.value), unit.span, "unit");
        if devices.len() > 1 {
            report.fault(unit.span, "one unit for several devices", "a [[device]] of its own for each");
        }
        let modbus = |index: &usize| fleet.template_of(&fleet.devices[*index]).raw.point.list();
        if devices.first().is_some_and(|index| modbus(index).iter().all(|point| point.modbus.is_absent())) {
            let help = "modbus = { table = …, address = …, type = … } at a point of its template";
            report.missing(name.span, "a device on a port without a Modbus point", help);
        }
        match ports.iter_mut().find(|port| port.settings.name == name.value.as_str()) {
            Some(port) => port.slaves.extend(devices.iter().map(|device| (*device, unit.value))),
            None if names.contains_key(&name.value) => {}
            None => {
                let known = ports.iter().map(|port| port.settings.name.as_str());
                report.unknown(name.span, "port", name.value.as_str(), known);
            }
        }
    }
    ports
}

/// The port and unit of a device, if it has both.
fn address<'r>(raw: &'r raw::Device, report: &mut Report) -> Option<(&'r At<LineId>, At<u8>)> {
    match (&raw.port, &raw.unit) {
        (Key::Is(port), Key::Absent) => report.missing(port.span, "a port without unit", "unit = 1"),
        (Key::Absent, Key::Is(unit)) => report.missing(unit.span, "a unit without port", "port = \"bus-1\""),
        _ => {}
    }
    let unit = raw.unit.get()?;
    let number = u8::try_from(unit.value).ok().filter(|unit| (1..=247).contains(unit));
    if number.is_none() {
        report.fault(unit.span, format!("unit = {} is out of range", unit.value), "1 to 247");
    }
    Some((raw.port.get()?, At { value: number?, span: unit.span }))
}

fn port(raw: &raw::Port, places: &Places, report: &mut Report) -> Option<PortSettings> {
    let name = report.need(&raw.name, raw.at, "name", "\"bus-1\"");
    let path = report.need(&raw.path, raw.at, "path", "\"/dev/serial/by-id/…\"");
    let baud = report.bounded(&raw.baud, 9600, 300..=921_600, "baud");
    let stop_bits = report.bounded(&raw.stop_bits, 1, 1..=2, "stop_bits");
    let timeouts = Duration::from_millis(10)..=Duration::from_secs(10);
    let response_timeout =
        report.bounded(&raw.response_timeout, Duration::from_secs(1), timeouts, "response_timeout");
    // 3.5 characters of 11 bits (MODBUS over Serial Line V1.02, 2.5.1.1).
    let least = Duration::from_micros(38_500_000_u64.div_ceil(baud));
    let silence = raw.silence.or(least.max(Duration::from_millis(20)));
    if let Some(at) = raw.silence.get().filter(|at| at.value < least || at.value > Duration::from_secs(1)) {
        let help = format!("3.5 characters, {} ms at {baud} baud, to 1s", least.as_micros().div_ceil(1000));
        report.fault(at.span, format!("silence = {} is out of range", at.value.shown()), help);
    }
    let line = Line { baud: baud as u32, parity: raw.parity.or(Parity::None), stop_bits: stop_bits as u8 };
    let _ = (silence, response_timeout, Timing::of(line, silence, silence, response_timeout));
    Some(PortSettings {
        name: name?.value.to_string(),
        path: places.path(&path?.value).display().to_string(),
        line,
        echo: raw.echo.or(false),
        set_clocks: false,
        zone_ms: 0,
        meters: Vec::new(),
    })
}

/// The ports with their slaves and the series of these.
pub(super) fn settings(
    ports: Vec<Port>,
    fleet: &Fleet<'_>,
    series: &[Arc<[SeriesKey]>],
) -> Vec<PortSettings> {
    let slave = |(device, unit): (usize, u8)| {
        let points = &fleet.template_of(&fleet.devices[device]).points;
        let numbered = points.iter().zip(series.get(device)?.iter());
        let points = numbered.filter_map(|(point, series)| {
            let modbus = point.modbus.as_ref()?;
            Some(Point {
                series: *series,
                source: Source::Modbus {
                    table: modbus.table,
                    address: modbus.address,
                    kind: modbus.kind,
                    absent: modbus.absent.clone(),
                },
                unit: String::new(),
                period: modbus.period,
                writable: None,
            })
        });
        let line = Line { baud: 9600, parity: Parity::None, stop_bits: 1 };
        let ms = Duration::from_millis;
        Some(Meter {
            device: fleet.devices[device].id.clone(),
            address: Address::Modbus(unit),
            line,
            timing: Timing::of(line, ms(20), ms(50), ms(1000)),
            watch_clock: false,
            points: points.collect(),
        })
    };
    let port = |port: Port| PortSettings {
        meters: port.slaves.into_iter().filter_map(slave).collect(),
        ..port.settings
    };
    ports.into_iter().map(port).collect()
}
