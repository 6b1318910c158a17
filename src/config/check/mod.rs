//! Raw → [`Config`]: references, bounds and the sense of the whole. Goes on after every fault.
//!
//! Guarantees: whatever is wrong is told at its place; what the parts below take is complete. Reads no file but secrets.

mod access;
mod aggregates;
mod alarms;
mod approval;
mod arguments;
mod audit;
pub(super) mod closed;
mod commands;
mod condition;
mod emergency;
mod entry;
mod fleet;
mod http;
mod inhibits;
mod listen;
pub(super) mod lists;
mod mapping;
mod notices;
mod ports;
mod protect;
mod protocol;
mod query;
mod room;
mod rules;
mod shared;
mod source;
mod treatments;
mod uplink;

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::emergency::Emergencies;
use super::fault::{Report, Span};
use super::raw::{self, Root};
use super::read::Key;
use super::source::directory;
use super::values::{Size, Zone};
use super::{Config, Names, Version};
use crate::aggregate::blocks::Bounds;
use crate::lists::Lists;
use crate::rules::rate::Rate;
use crate::{ingest, notify, share, store, wire};
use condition::Ground;
use fleet::Fleet;
use treatments::Keys;

/// Where nothing else is said.
const ZONE: Zone = Zone(8 * 3_600_000);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Bytes of a socket's path, with its end: `sun_path` of Linux.
const SOCKET_BYTES_MAX: usize = 108;

/// Where relative paths start.
#[derive(Debug)]
pub(crate) struct Places {
    base: PathBuf,
    credentials: Option<PathBuf>,
}

impl Places {
    /// Beside the named file; secrets first where systemd puts credentials.
    pub(crate) fn of(file: &Path) -> Self {
        let base = directory(file);
        let base = if base == Path::new(".") { PathBuf::new() } else { base };
        Self { base, credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) }
    }

    fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }

    fn secret(&self, text: &str) -> PathBuf {
        let credential = self.credentials.as_ref().map(|dir| dir.join(text)).filter(|path| path.exists());
        credential.unwrap_or_else(|| self.path(text))
    }
}

/// Checks everything; `None` when something is missing without which there is no configuration.
pub(crate) fn config(
    root: &Root,
    places: &Places,
    now_ms: i64,
    mut names: Names,
    lines: &closed::Lines,
    report: &mut Report,
) -> Option<Config> {
    let raw_gateway = report.need_table(&root.gateway, "[gateway]");
    let raw_store = report.need_table(&root.store, "[store]");
    let zone = raw_gateway.map_or(ZONE, |raw| raw.zone.or(ZONE));

    let gateway = raw_gateway.and_then(|raw| gateway(raw, report));
    let store = raw_store.and_then(|raw| store(raw, places, report));
    let mut fleet = Fleet::of(root, report);
    let ports = ports::ports(root, &fleet, places, zone, report);
    let keys = Keys::of(root, places, gateway.as_ref(), zone, now_ms, report);
    lists::collect(root, &mut fleet, &keys, report);
    entry::check(root, &fleet, report);
    let (epoch, dir) = (keys.epoch(), store.as_ref().map(|store| store.dir.join("keys")));
    let pseudonyms = dir.and_then(|dir| keys.settings(dir));
    let shared = shared::lists(root, report);
    let ground = Ground::of(&fleet, &shared);
    let mut rules = rules::rules(root, &fleet, zone, store.as_ref(), report);
    let mut alarms = alarms::alarms(root, &ground, report);
    let inhibits = inhibits::inhibits(root, &ground, &mut alarms, zone, now_ms, report);
    let commands = commands::commands(root, &ground, &mut alarms, report);
    let notices = notices::notices(root, &alarms, &commands, places, report);
    let approval = approval::rules(root, report);
    let emergency = emergency::settings(root, places, &approval, report);
    commands::ordered(root, report);
    let (mut shares, bulk) = lists::share(root, &ground, &alarms, &approval, zone, now_ms, report);
    let lists = closed::lists(root, lines, &ground, &alarms, zone, report);
    let budgets = protect::protect(root, &fleet, &mut rules, &mut shares, report);
    let lists = query::complete(lists, root, &fleet, &rules, &shares, &budgets, report);
    let listeners = listen::listeners(root, places, report);
    let uplinks = uplink::uplinks(root, places, report);
    let limits = listen::limits(root, report);
    let reflection = root.share_server.value().is_some_and(|raw| raw.reflection.or(false));
    let telemetry = listen::telemetry(root, report);
    listen::clashes(root, report);
    fleet.warn(root, report);
    lists::warn(root, &alarms, report);
    listen::warn(root, report);

    let series = fleet.intern(&mut names, report);
    let ports = ports::settings(ports, &fleet, &series);
    ports::warn(root, &ports, report);
    let mappings = mapping::mappings(root, &fleet, &series, zone, report);
    let mqtt = listen::mqtt(root, mappings, &fleet, places, store.as_ref(), report);
    commands::warn(root, &commands, mqtt.as_ref(), report);
    let http = http::http(root, mqtt.as_ref(), places, report);
    let default_ingest = raw::Ingest::default();
    let spine = root.ingest.value().unwrap_or(&default_ingest);
    let (rate, block, queue) = ingest(spine, &fleet, report);
    let trail = store.as_ref().map(|store| audit::audit(root, store, places, report));
    let (gateway, store, trail) = (gateway?, store?, trail?);
    let socket = socket(raw_gateway?, &store, report);

    let silence = fleet.silences(report);
    let watched = crate::rules::plan::Plan {
        alarms: alarms.all,
        inhibits,
        recipients: notices.recipients,
        routes: notices.routes,
        commands,
        devices: ground.known(),
        bulk,
        shared: shared.clone(),
        zone_ms: zone.0,
    };
    let plan = ingest::Plan {
        gateway: gateway.clone(),
        lists_digest: [0; 32],
        lists: Arc::new(Lists { kept_ms: millis(store.retention), ..lists }),
        points: rules.points(&fleet, &series, names.len(), &silence),
        rules: watched,
        aggregates: rules.aggregates,
        shares: shares.clone(),
        budgets,
        rate,
        silence,
        block,
        forms: entry::forms(root, &fleet),
        approval,
        emergency: Vec::new(),
    };
    Some(Config {
        share: share::Settings { gateway: gateway.clone(), listeners, lines: shares, limits, reflection },
        uplinks,
        gateway,
        store,
        trail,
        queue,
        mqtt,
        http,
        ports,
        collect: root.collect.list().iter().filter_map(|line| line.id.value().cloned()).collect(),
        plan,
        pseudonyms,
        notify: notify::Settings { webhooks: notices.webhooks, ..notify::Settings::default() },
        telemetry,
        socket,
        files: Vec::new(),
        names,
        warnings: Vec::new(),
        emergency: Emergencies { settings: emergency, ..Emergencies::default() },
        version: Version { digest: [0; 32], profiles: [0; 32], zone_ms: zone.0, epoch },
    })
}

fn gateway(raw: &raw::Gateway, report: &mut Report) -> Option<wire::Gateway> {
    let id = report.need(&raw.id, raw.at, "id", "\"gw-001\"");
    let division = report.need(&raw.division_code, raw.at, "division_code", "\"310115013007\"");
    let compound = report.need(&raw.compound_code, raw.at, "compound_code", "\"C0012\"");
    if let Some(code) = division
        && !(code.value.len() == 12 && code.value.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let help = "the 12-digit statistical division code of the neighbourhood committee: \"310115013007\"";
        report.fault(code.span, format!("division code {:?}", code.value), help);
    }
    Some(wire::Gateway {
        id: id?.value.to_string(),
        division_code: division?.value.clone(),
        compound_code: compound?.value.to_string(),
    })
}

fn store(raw: &raw::Store, places: &Places, report: &mut Report) -> Option<store::Settings> {
    let mib = |count: u64| Size(count << 20);
    let dir = report.need(&raw.dir, raw.at, "dir", "\"/var/lib/smallbrain\"");
    let size = report.bounded(&raw.size_max, mib(2048), mib(16)..=mib(1 << 20), "size_max");
    let reserve = report.bounded(&raw.reserve, mib(16), mib(1)..=mib(1024), "reserve");
    if reserve.0 > size.0 / 2 {
        let span = raw.reserve.span_or(raw.size_max.span_or(raw.at));
        let message = format!("a reserve of {reserve} in a store of {size}");
        report.fault(span, message, "at most half of size_max");
    }
    let window = Duration::ZERO..=Duration::from_secs(1);
    let group_window = report.bounded(&raw.group_window, Duration::from_millis(2), window, "group_window");
    let retention = report.bounded(&raw.retention, 7 * DAY, HOUR..=3660 * DAY, "retention");
    Some(store::Settings {
        dir: places.path(&dir?.value),
        bytes_max: size.0,
        reserve_bytes: reserve.0,
        group_window,
        retention,
        promises: room::promises(raw, size, reserve, report),
    })
}

fn socket(raw: &raw::Gateway, store: &store::Settings, report: &mut Report) -> PathBuf {
    let path = store.dir.join(raw.socket.or("smallbrain.sock".to_owned()));
    socket_path(&path, raw.socket.span_or(raw.at), report);
    path
}

fn socket_path(path: &Path, span: Span, report: &mut Report) {
    let bytes = path.as_os_str().len();
    if bytes >= SOCKET_BYTES_MAX {
        let help = format!("a path shorter than {SOCKET_BYTES_MAX} bytes, as Linux has it for sockets");
        report.fault(span, format!("a socket's path of {bytes} bytes"), help);
    }
}

fn ingest(raw: &raw::Ingest, fleet: &Fleet<'_>, report: &mut Report) -> (Rate, Bounds, usize) {
    let rate = Rate {
        per_second: report.bounded(&raw.device_rate, 200, 1..=100_000, "device_rate") as u32,
        burst: report.bounded(&raw.device_burst, 400, 1..=100_000, "device_burst") as u32,
    };
    let largest = fleet.templates.iter().max_by_key(|template| template.points.len());
    if let Some(template) = largest.filter(|template| template.points.len() > rate.burst as usize) {
        let points = template.points.len();
        let message = format!("device_burst = {}, but a message may carry {points} points", rate.burst);
        let help = format!("at least {points}, for template {}", template.name);
        report.fault(raw.device_burst.span_or(raw.at), message, help);
    }
    let age = Duration::from_millis(100)..=HOUR;
    let block = Bounds {
        rows_max: report.bounded(&raw.bulk_rows_max, 1000, 1..=10_000, "bulk_rows_max") as usize,
        age_max_ms: millis(report.bounded(&raw.bulk_age_max, Duration::from_secs(5), age, "bulk_age_max")),
    };
    (rate, block, report.bounded(&raw.queue, 256, 1..=65_536, "queue") as usize)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// As it would be written in the file.
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for u64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for Size {
    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        let ms = millis(*self);
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        match units.into_iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit)) {
            Some((unit, name)) => format!("\"{}{name}\"", ms / unit),
            None => format!("\"{ms}ms\""),
        }
    }
}

impl Report {
    /// The value of a key within bounds, or its default.
    fn bounded<T: Copy + PartialOrd + Shown>(
        &mut self,
        key: &Key<T>,
        default: T,
        range: RangeInclusive<T>,
        name: &str,
    ) -> T {
        self.ranged(key, range, name, &format!("; the default is {}", default.shown())).unwrap_or(default)
    }

    /// The value of a key within bounds, where its default is elsewhere.
    fn within<T: Copy + PartialOrd + Shown>(
        &mut self,
        key: &Key<T>,
        range: RangeInclusive<T>,
        name: &str,
    ) -> Option<T> {
        self.ranged(key, range, name, "")
    }

    fn ranged<T: Copy + PartialOrd + Shown>(
        &mut self,
        key: &Key<T>,
        range: RangeInclusive<T>,
        name: &str,
        more: &str,
    ) -> Option<T> {
        let at = key.get()?;
        if range.contains(&at.value) {
            return Some(at.value);
        }
        let (least, most) = (range.start().shown(), range.end().shown());
        let help = format!("{least} to {most}{more}");
        self.fault(at.span, format!("{name} = {} is out of range", at.value.shown()), help);
        None
    }

    fn need_table<'k, T>(&mut self, key: &'k Key<T>, header: &str) -> Option<&'k T> {
        if key.is_absent() {
            self.missing(Span::default(), format!("missing section {header}"), "see config.example.toml");
        }
        key.value()
    }

    /// Holds that a name stands once.
    fn once<K: Hash + Eq + Display>(&mut self, seen: &mut HashMap<K, Span>, key: K, span: Span, what: &str) {
        match seen.get(&key) {
            Some(first) => {
                self.twice(span, *first, format!("{what} {key} stands twice"), "each of them once")
            }
            None => drop(seen.insert(key, span)),
        }
    }

    /// Says that a name is nobody's.
    fn unknown<'w>(&mut self, span: Span, what: &str, name: &str, known: impl IntoIterator<Item = &'w str>) {
        let known: Vec<&str> = known.into_iter().collect();
        let help = match crate::spelling::nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None if known.is_empty() => format!("there is no {what} yet"),
            None => {
                let some: Vec<&str> = known.iter().copied().take(8).collect();
                let more = if known.len() > some.len() { ", …" } else { "" };
                format!("known: {}{more}", some.join(", "))
            }
        };
        self.missing(span, format!("unknown {what} {name:?}"), help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_credentials_first() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("key"), "x").expect("a file");
        let places = Places { base: "/etc/smallbrain".into(), credentials: Some(dir.path().to_owned()) };
        assert_eq!(places.secret("key"), dir.path().join("key"));
        assert_eq!(places.secret("other"), Path::new("/etc/smallbrain/other"));
        assert_eq!(places.secret("/abs"), Path::new("/abs"));
        assert_eq!(places.path("key"), Path::new("/etc/smallbrain/key"));
    }

    #[test]
    fn values_are_shown_as_they_are_written() {
        let ms = Duration::from_millis;
        for (duration, shown) in
            [(ms(0), "\"0ms\""), (ms(1500), "\"1500ms\""), (90 * MINUTE, "\"90m\""), (DAY, "\"1d\"")]
        {
            assert_eq!(duration.shown(), shown);
        }
    }
}
