//! `smallbrain check`: everything that is wrong with a configuration, or what it says.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Clock, SystemClock};
use crate::config::outage::{Load as LaneLoad, Outage};
use crate::config::{Config, Fault, Faults};
use crate::device::serial::PortSettings;
use crate::device::serial::schedule::Schedule;
use crate::share::Listener;

/// Exit code of a configuration that cannot be taken (`EX_CONFIG` of sysexits.h).
const FAULTY: u8 = 78;
/// Exit code when the output could not be written (`EX_SOFTWARE`).
const INTERNAL: u8 = 70;

/// Checks a file and tells the result: as text, or as a JSON array of faults, warnings, ports and lanes. Gives the exit code:
/// 0, 78 with faults or where a lane cannot keep its promise, 70 when `out` does not take it.
pub fn run(config: &Path, json: bool, out: &mut impl Write) -> u8 {
    let now_ms = SystemClock::default().now().wall_ms;
    let loaded = Config::load(config, now_ms, None);
    // A profile that is left out keeps nobody from starting, but somebody relies on it.
    let left_out = loaded.as_ref().map_or(Vec::new(), |config| config.emergency.faults().cloned().collect());
    let told = match (&loaded, json) {
        (Ok(config), true) => array(&left_out, &config.warnings, Some(config), out),
        (Err(faults), true) => array(&faults.faults, &faults.warnings, None, out),
        (Ok(config), false) => {
            let faults = Faults { faults: left_out.clone(), ..Faults::default() };
            write!(out, "{faults}").and_then(|()| summary(config, out))
        }
        (Err(faults), false) => listing(faults, out),
    };
    match (told, loaded) {
        (Err(_), _) => INTERNAL,
        (Ok(()), Ok(config)) if left_out.is_empty() && Outage::of(&config).short().count() == 0 => 0,
        (Ok(()), _) => FAULTY,
    }
}

/// One element of the JSON array.
#[derive(Serialize)]
#[serde(tag = "level", rename_all = "lowercase")]
enum Line<'c> {
    Error(&'c Fault),
    Warning(&'c Fault),
    Port(Load<'c>),
    Lane(Days),
}

/// What a lane gets, and how long it keeps that.
#[derive(Serialize)]
struct Days {
    lane: &'static str,
    bytes_a_day: u64,
    bytes_promised: u64,
    /// Without the city; none for ever.
    lasts_seconds: Option<u64>,
    kept: bool,
}

impl Days {
    fn of(load: &LaneLoad, promise: Duration) -> Self {
        let lasts = load.lasts();
        Self {
            lane: load.lane.as_str(),
            bytes_a_day: load.a_day,
            bytes_promised: load.promised,
            lasts_seconds: lasts.map(|lasts| lasts.as_secs()),
            kept: lasts.is_none_or(|lasts| lasts >= promise),
        }
    }
}

/// What a port has to do.
#[derive(Serialize)]
struct Load<'c> {
    port: &'c str,
    meters: usize,
    /// Those that are read by themselves.
    points: usize,
    /// Of one round over all points.
    questions: usize,
    /// Of one round, milliseconds.
    sweep_ms: u128,
    /// Share of its time that the periods need, thousandths.
    busy_permille: u64,
}

impl<'c> Load<'c> {
    fn of(settings: &'c PortSettings) -> Self {
        let budget = Schedule::new(settings, Duration::ZERO).budget();
        Self {
            port: &settings.name,
            meters: settings.meters.len(),
            points: settings
                .meters
                .iter()
                .flat_map(|meter| &meter.points)
                .filter(|point| point.polled)
                .count(),
            questions: budget.questions,
            sweep_ms: budget.sweep.as_millis(),
            busy_permille: budget.busy_permille,
        }
    }
}

fn array(
    faults: &[Fault],
    warnings: &[Fault],
    config: Option<&Config>,
    out: &mut impl Write,
) -> io::Result<()> {
    let told = faults.iter().map(Line::Error).chain(warnings.iter().map(Line::Warning));
    let ports = config.into_iter().flat_map(|config| &config.ports).map(|port| Line::Port(Load::of(port)));
    let lanes = config.into_iter().flat_map(|config| {
        let outage = Outage::of(config);
        outage.lanes.map(|load| Line::Lane(Days::of(&load, outage.promise)))
    });
    let all: Vec<Line<'_>> = told.chain(ports).chain(lanes).collect();
    serde_json::to_writer_pretty(&mut *out, &all)?;
    writeln!(out)
}

fn listing(faults: &Faults, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{faults}")?;
    writeln!(out, "{}", count(faults.count(), "fault"))
}

fn summary(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let warnings = Faults { warnings: config.warnings.clone(), ..Faults::default() };
    write!(out, "{warnings}")?;
    let points = || config.plan.points.iter().flatten();
    let mut devices: Vec<_> = points().map(|point| &point.device).collect();
    devices.dedup();
    let collected = points().filter(|point| point.treatment.is_some()).count();
    let files: Vec<String> = config.files.iter().map(|file| file.display().to_string()).collect();
    writeln!(out, "files       {}", files.join(", "))?;
    let gateway = &config.gateway;
    writeln!(out, "gateway     {} in {} {}", gateway.id, gateway.division_code, gateway.compound_code)?;
    let store = &config.store;
    let (mib, hours) = (store.bytes_max >> 20, store.retention.as_secs() / 3600);
    writeln!(out, "store       {}, {mib} MiB, readings for {hours} h", store.dir.display())?;
    writeln!(
        out,
        "devices     {} with {}, {collected} collected",
        devices.len(),
        count(points().count(), "point")
    )?;
    for settings in &config.ports {
        let Load { port, meters, points, questions, sweep_ms, busy_permille } = Load::of(settings);
        let (meters, points) = (count(meters, "meter"), count(points, "point"));
        let (round, sweep) = (count(questions, "question"), sweep_ms as f64 / 1000.0);
        let busy = busy_permille as f64 / 10.0;
        writeln!(
            out,
            "port        {port}: {meters}, {points}, a round of {round} in {sweep:.1} s, {busy:.1} % of the line"
        )?;
    }
    let (rules, aggregates) = (&config.plan.rules, config.plan.aggregates.len());
    let watched = rules.alarms.iter().map(|alarm| alarm.devices.len()).sum();
    writeln!(
        out,
        "rules       {} on {}, {}, {}",
        count(rules.alarms.len(), "alarm"),
        count(watched, "device"),
        count(rules.inhibits.len(), "inhibit"),
        count(aggregates, "aggregate")
    )?;
    writeln!(
        out,
        "notices     {}, {}, {}",
        count(rules.recipients.len(), "recipient"),
        count(rules.routes.len(), "route"),
        count(rules.commands.len(), "command")
    )?;
    let (collect, share) = (config.collect.len(), config.share.lines.len());
    writeln!(out, "lists       {} in, {} out", count(collect, "line"), count(share, "line"))?;
    for profile in config.emergency.in_force() {
        writeln!(out, "emergency   {profile} is in force")?;
    }
    for listener in listeners(config) {
        writeln!(out, "listener    {listener}")?;
    }
    let warnings = count(config.warnings.len(), "warning");
    outage(&Outage::of(config), out)?;
    match config.emergency.faults().count() {
        0 if Outage::of(config).short().count() > 0 => {
            writeln!(out, "a promise that cannot be kept, {warnings}")
        }
        0 => writeln!(out, "no faults, {warnings}"),
        left_out => writeln!(out, "{} in profiles that are left out, {warnings}", count(left_out, "fault")),
    }
}

/// What each lane gets in a day, and how long it keeps that without the city.
fn outage(outage: &Outage, out: &mut impl Write) -> io::Result<()> {
    let days = |lasts: Option<Duration>| match lasts.map(|lasts| lasts.as_secs_f64() / 86_400.0) {
        Some(days) if days < 3650.0 => format!("{days:.1} days"),
        _ => "more than 10 years".to_owned(),
    };
    let kib = |bytes: u64| bytes.div_ceil(1024);
    for load in outage.lanes.iter().filter(|load| load.lines > 0) {
        let (lane, a_day, promised) = (load.lane, kib(load.a_day), kib(load.promised));
        let lasts = days(load.lasts());
        writeln!(
            out,
            "lane        {lane}: {a_day} KiB a day, {promised} KiB promised, {lasts} without the city"
        )?;
    }
    let (history, promise) = (kib(outage.history_a_day), days(Some(outage.promise)));
    let (all, assumed) = (days(outage.lasts()), count(outage.assumed, "point"));
    writeln!(
        out,
        "outage      {promise} promised, all lanes together {all}, history {history} KiB a day gives way first, {assumed} \
         at no period taken as once a minute"
    )?;
    for complaint in outage.complaints() {
        writeln!(out, "error       {complaint}")?;
    }
    Ok(())
}

fn listeners(config: &Config) -> Vec<String> {
    let mqtt = config.mqtt.iter().flat_map(|mqtt| {
        let users = count(mqtt.access.users.len(), "user");
        let plain = mqtt.listen.map(|address| {
            format!("mqtt {address}, {}", if mqtt.access.anonymous { "anybody" } else { &users })
        });
        let tls = mqtt.tls.as_ref().map(|tls| {
            let by = if tls.files.client_ca.is_some() { " by certificate or password" } else { "" };
            format!("mqtt {} with TLS, {users}{by}", tls.listen)
        });
        plain.into_iter().chain(tls)
    });
    let share = config.share.listeners.iter().map(|listener| match listener {
        Listener::Loopback { address, consumer } => format!("share {address} for {consumer}"),
        Listener::Unix { path, consumer } => format!("share {} for {consumer}", path.display()),
        Listener::Tls { address, .. } => format!("share {address} by client certificate"),
    });
    let metrics = config.telemetry.listen.iter().map(|address| format!("metrics {address}"));
    mqtt.chain(share).chain(metrics).collect()
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
