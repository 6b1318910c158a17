//! Serial ports and who is on them.
//!
//! Guarantees: every meter has one address of its protocol, and none of that protocol on its port has the same; a setting
//! of the line is the device's, else its template's, else the port's, else the protocol's. Warns of periods that cannot be
//! kept, and of addresses that any meter answers. What the collection list does not take is not asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::fleet::Template;
use super::protocol::{Given, Protocol, Speech};
use super::{DAY, Fleet, MINUTE, Places, Shown};
use crate::codec::dlt645;
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Root};
use crate::config::read::At;
use crate::config::values::Zone;
use crate::device::serial::schedule::Schedule;
use crate::device::serial::{self, Address, Cjt188, Meter, Point, PortSettings};
use crate::model::{LineId, SeriesKey};
use crate::privacy::intake::Treatment;

/// What is 1000 ‰ of the time of a line.
const WHOLE: u64 = 1000;

/// A port as it is being made.
pub(super) struct Port {
    settings: PortSettings,
    given: Given,
    silence: Duration,
    members: Vec<Member>,
}

/// A device on a port.
struct Member {
    /// By index.
    device: usize,
    address: At<Address>,
    given: Given,
    speech: Speech,
}

/// Checks `[[port]]`, and what devices say about theirs.
pub(super) fn ports(
    root: &Root,
    fleet: &Fleet<'_>,
    places: &Places,
    zone: Zone,
    report: &mut Report,
) -> Vec<Port> {
    let (mut names, mut paths) = (HashMap::new(), HashMap::new());
    let mut ports: Vec<Port> = Vec::new();
    for raw in root.port.list() {
        if let Some(path) = raw.path.get() {
            report.once(&mut paths, places.path(&path.value).display().to_string(), path.span, "path");
        }
        if let Some(name) = raw.name.get() {
            report.once(&mut names, name.value.clone(), name.span, "port");
        }
        ports.extend(port(raw, places, zone, report));
    }
    let mut devices: HashMap<Span, Vec<usize>> = HashMap::new();
    for (index, device) in fleet.devices.iter().enumerate() {
        devices.entry(device.raw.at).or_default().push(index);
    }
    let mut addresses: HashMap<serial::Protocol, HashMap<String, Span>> = HashMap::new();
    for raw in root.device.list() {
        let own = devices.get(&raw.at).map_or(&[][..], Vec::as_slice);
        let template = own.first().map(|index| fleet.template_of(&fleet.devices[*index]));
        let given = Given::of(&raw.baud, &raw.parity, &raw.stop_bits, &raw.response_timeout, report);
        let Some((name, address)) = place(raw, template, report) else { continue };
        let (protocol, shown) = (address.value.protocol(), address.value.to_string());
        let what = if protocol == serial::Protocol::Modbus { "unit" } else { "address" };
        let key = format!("{shown} of port {}", name.value);
        report.once(addresses.entry(protocol).or_default(), key, address.span, what);
        if own.len() > 1 {
            let message = format!("one {what} for several devices");
            report.fault(address.span, message, "a [[device]] of its own for each");
        }
        match ports.iter_mut().find(|port| port.settings.name == name.value.as_str()) {
            Some(port) => {
                let Some(speech) = template.and_then(|template| template.speech) else { continue };
                port.members.extend(own.first().map(|device| Member {
                    device: *device,
                    address,
                    given,
                    speech,
                }));
            }
            None if names.contains_key(&name.value) => {}
            None => {
                let known = ports.iter().map(|port| port.settings.name.as_str());
                report.unknown(name.span, "port", name.value.as_str(), known);
            }
        }
    }
    ports.iter().for_each(|port| wildcards(port, fleet, report));
    ports
}

fn port(raw: &raw::Port, places: &Places, zone: Zone, report: &mut Report) -> Option<Port> {
    let name = report.need(&raw.name, raw.at, "name", "\"bus-1\"");
    let path = report.need(&raw.path, raw.at, "path", "\"/dev/serial/by-id/…\"");
    let given = Given::of(&raw.baud, &raw.parity, &raw.stop_bits, &raw.response_timeout, report);
    let line = given.line(serial::Protocol::Modbus.line());
    // 3.5 characters of 11 bits (MODBUS over Serial Line V1.02, 2.5.1.1).
    let least = Duration::from_micros(38_500_000_u64.div_ceil(line.baud.into()));
    if let Some(at) = raw.silence.get().filter(|at| at.value < least || at.value > Duration::from_secs(1)) {
        let ms = least.as_micros().div_ceil(1000);
        let help = format!("3.5 characters, {ms} ms at {} baud, to 1s", line.baud);
        report.fault(at.span, format!("silence = {} is out of range", at.value.shown()), help);
    }
    let settings = PortSettings {
        name: name?.value.to_string(),
        path: places.path(&path?.value).display().to_string(),
        line,
        echo: raw.echo.or(false),
        set_clocks: raw.set_clocks.or(false),
        zone_ms: zone.0,
        meters: Vec::new(),
    };
    Some(Port { settings, given, silence: raw.silence.or(Duration::ZERO), members: Vec::new() })
}

/// The port of a device and its address there, if it is on one.
fn place<'r>(
    raw: &'r raw::Device,
    template: Option<&Template<'_>>,
    report: &mut Report,
) -> Option<(&'r At<LineId>, At<Address>)> {
    let (unit, address) = (&raw.unit, &raw.address);
    let span = unit.get().map(|at| at.span).or(address.get().map(|at| at.span));
    let speech = template.and_then(|template| template.speech);
    match (raw.port.get(), span) {
        (Some(port), None) if unit.is_absent() && address.is_absent() => {
            let (name, example) = match speech.map(|speech| speech.protocol) {
                Some(Protocol::Modbus) | None => ("unit", "unit = 1"),
                Some(_) => ("address", "address = \"…\", as printed on the meter"),
            };
            report.missing(port.span, format!("a port without {name}"), example);
        }
        (None, Some(span)) if raw.port.is_absent() => {
            let name = if unit.get().is_some() { "a unit" } else { "an address" };
            report.missing(span, format!("{name} without port"), "port = \"bus-1\"");
        }
        (None, None) if raw.port.is_absent() => no_line(raw, report),
        _ => {}
    }
    if let (Some(port), Some(template)) = (raw.port.get(), template)
        && !template.raw.point.list().iter().any(raw::Point::is_on_bus)
    {
        let help = "modbus, dlt645, cjt188 or mbus = { … } at a point of its template";
        report.missing(port.span, "a device on a port, but no point of its template is on one", help);
    }
    let number = unit.get().and_then(|at| {
        let number = u8::try_from(at.value).ok().filter(|unit| (1..=247).contains(unit));
        if number.is_none() {
            report.fault(at.span, format!("unit = {} is out of range", at.value), "1 to 247");
        }
        Some(At { value: Address::Modbus(number?), span: at.span })
    });
    let found = match speech {
        Some(speech) if speech.protocol == Protocol::Modbus => {
            if let Some(at) = address.get() {
                report.fault(at.span, "an address of a Modbus device", "unit = 1");
            }
            number
        }
        Some(speech) => {
            if let Some(at) = unit.get() {
                let message = format!("a unit of a {} device", speech.protocol.title());
                report.fault(at.span, message, "address = \"…\", as printed on the meter");
            }
            address.get().and_then(|at| Some(At { value: parsed(at, &speech, report)?, span: at.span }))
        }
        None => None,
    };
    Some((raw.port.get()?, found?))
}

/// Settings of a line nobody is on.
fn no_line(raw: &raw::Device, report: &mut Report) {
    let line = [
        ("baud", raw.baud.get().map(|at| at.span)),
        ("parity", raw.parity.get().map(|at| at.span)),
        ("stop_bits", raw.stop_bits.get().map(|at| at.span)),
        ("response_timeout", raw.response_timeout.get().map(|at| at.span)),
    ];
    for (name, span) in line.into_iter().filter_map(|(name, span)| Some((name, span?))) {
        report.missing(span, format!("{name} without port"), "port = \"bus-1\"");
    }
}

fn parsed(text: &At<String>, speech: &Speech, report: &mut Report) -> Option<Address> {
    /// Everybody: nobody answers.
    const BROADCAST: &str = "999999999999";
    let parsed = match speech.protocol {
        Protocol::Modbus => return None,
        Protocol::Dlt645(_) => text.value.parse::<dlt645::Address>().map(Address::Dlt645),
        Protocol::Cjt188 => text.value.parse().map(|address| {
            let habits = speech.habits;
            Address::Cjt188(Cjt188 {
                address,
                kind: habits.kind,
                order: habits.order,
                unit: habits.unit,
                any_ser: habits.any_ser,
                leader: habits.leader,
            })
        }),
        Protocol::Mbus => text.value.parse().map(Address::Mbus),
    };
    if matches!(speech.protocol, Protocol::Dlt645(_)) && text.value == BROADCAST {
        let help = "the meter's own; AAAAAAAAAAAA for the only one on a port";
        report.fault(text.span, "everybody's address, which nobody answers", help);
        return None;
    }
    let help = "as printed on the meter: \"201000000012\"";
    parsed.map_err(|error| report.fault(text.span, error.to_string(), help)).ok()
}

fn is_wildcard(address: &Address) -> bool {
    match address {
        Address::Modbus(_) | Address::Mbus(_) => false,
        Address::Dlt645(address) => address.is_wildcard(),
        Address::Cjt188(meter) => meter.address.is_wildcard(),
    }
}

/// An address with wildcards is for a meter alone: several would answer at once.
fn wildcards(port: &Port, fleet: &Fleet<'_>, report: &mut Report) {
    for member in port.members.iter().filter(|member| is_wildcard(&member.address.value)) {
        let title = member.address.value.protocol();
        let same = port.members.iter().filter(|other| other.address.value.protocol() == title).count();
        let (name, span) = (&port.settings.name, member.address.span);
        let device = &fleet.devices[member.device];
        let writable =
            |point: &super::fleet::Point| point.place.as_ref().is_some_and(|place| place.writable.is_some());
        if same > 1 {
            let message = format!("an address with wildcards, and port {name} has {same} {title} devices");
            report.fault(span, message, "the whole address: several meters would answer at once");
        } else if fleet.template_of(device).points.iter().any(writable) {
            report.fault(span, "a valve of any meter", "the whole address, or no writable point");
        } else {
            let message = format!("any {title} meter on port {name} is taken for {}", device.id);
            report.warn(span, message, "the whole address, once it is known: `smallbrain scan` finds it");
        }
    }
}

/// The ports with their meters and the series of these.
pub(super) fn settings(
    ports: Vec<Port>,
    fleet: &Fleet<'_>,
    series: &[Arc<[SeriesKey]>],
) -> Vec<PortSettings> {
    let port = |port: Port| {
        let meter = |member: &Member| meter(&port, member, fleet, series.get(member.device)?);
        let meters: Vec<Meter> = port.members.iter().filter_map(meter).collect();
        let line = meters.first().map_or(port.settings.line, |meter| meter.line);
        PortSettings { meters, line, ..port.settings }
    };
    ports.into_iter().map(port).collect()
}

fn meter(port: &Port, member: &Member, fleet: &Fleet<'_>, series: &[SeriesKey]) -> Option<Meter> {
    let speech = &member.speech;
    let (device, protocol) = (&fleet.devices[member.device], speech.protocol.spoken());
    let given = member.given.or(speech.given).or(port.given);
    let line = given.line(protocol.line());
    let numbered = fleet.template_of(device).points.iter().zip(series);
    let points = numbered.filter_map(|(point, series)| {
        let place = point.place.as_ref()?;
        Some(Point {
            series: *series,
            source: place.source.clone(),
            unit: point.unit.clone(),
            period: place.period,
            // What nobody may take is not asked for, unless somebody on the spot wants to see it.
            polled: !matches!(point.treatment, None | Some(Treatment::Drop | Treatment::Refuse)),
            writable: place.writable.clone(),
        })
    });
    Some(Meter {
        device: device.id.clone(),
        address: member.address.value.clone(),
        line,
        timing: protocol.timing(line, port.silence, given.response_timeout),
        watch_clock: speech.clock,
        points: points.collect(),
    })
}

/// Ports that cannot do what they are told.
pub(super) fn warn(root: &Root, ports: &[PortSettings], report: &mut Report) {
    for settings in ports {
        let own = |raw: &&raw::Port| raw.name.value().is_some_and(|name| name.as_str() == settings.name);
        let Some(raw) = root.port.list().iter().find(own) else { continue };
        if let Some(clocks) = raw.set_clocks.get().filter(|at| at.value)
            && !settings.meters.iter().any(|meter| matches!(meter.address, Address::Dlt645(_)))
        {
            let message = format!("set_clocks on port {}, which has no DL/T 645 meter", settings.name);
            report.warn(clocks.span, message, "only those are told the time");
        }
        overload(settings, raw.name.span_or(raw.at), report);
    }
}

fn overload(settings: &PortSettings, span: Span, report: &mut Report) {
    let budget = Schedule::new(settings, Duration::ZERO).budget();
    let points = settings.meters.iter().flat_map(|meter| {
        meter.points.iter().filter(|point| point.polled).map(move |point| (point.period, meter))
    });
    let Some((period, meter)) = points.min_by_key(|(period, _)| *period) else { return };
    if budget.busy_permille <= WHOLE {
        return;
    }
    let message = format!(
        "port {}: a round takes {:.1} s and the periods need {} % of the line; the shortest, {} of {}, cannot be met",
        settings.name,
        budget.sweep.as_secs_f64(),
        budget.busy_permille / 10,
        period.shown(),
        meter.device,
    );
    let periods = match fitting(settings) {
        Some(period) => format!("periods of at least {}", period.shown()),
        None => "fewer points".to_owned(),
    };
    report.warn(span, message, format!("{periods}, a higher baud, or a part of the meters on another port"));
}

/// The shortest usual period that would fit if no point had a shorter one.
fn fitting(settings: &PortSettings) -> Option<Duration> {
    let seconds = [1, 2, 5, 10, 15, 20, 30].map(Duration::from_secs).into_iter();
    let usual =
        seconds.chain([1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 360, 720].map(|minutes| minutes * MINUTE));
    usual.chain([DAY]).find(|least| {
        let mut slower = settings.clone();
        let points = slower.meters.iter_mut().flat_map(|meter| &mut meter.points);
        points.for_each(|point| point.period = point.period.max(*least));
        Schedule::new(&slower, Duration::ZERO).budget().busy_permille <= WHOLE
    })
}
