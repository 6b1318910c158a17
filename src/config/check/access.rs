//! Who may connect to the MQTT front and what for, and its TLS and bounds.
//!
//! Guarantees: a user has a password or a certificate to come with; its rights are topic filters without anything left to
//! fill in, and devices that there are; whoever says nothing of rights has those of the device of its own name.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use argon2::{ARGON2ID_IDENT, Params, PasswordHash};

use super::listen::file;
use super::{DAY, Fleet, MINUTE, Places, Shown as _, fleet, mapping};
use crate::config::fault::Report;
use crate::config::raw::{self, Root};
use crate::config::read::{At, Key};
use crate::config::values::Size;
use crate::device::mqtt::rights::{Filters, Rights};
use crate::device::mqtt::{self, Limits, tls, topic};
use crate::model::DeviceId;
use crate::rules::dedupe;
use crate::rules::pattern::fits;

/// KiB that checking one password may take.
const HASH_KIB_MAX: u32 = 65_536;
/// What stands for each device of a user.
const DEVICE: &str = "{device}";
/// Where devices hear commands, if nothing else is said.
const COMMANDS: &str = "compound/{device}/down/#";

/// Checks the bounds of `[mqtt]`, beside a store that may grow to `store_bytes_max`.
pub(super) fn limits(raw: &raw::Mqtt, store_bytes_max: Option<u64>, report: &mut Report) -> Limits {
    let mut limits = Limits::DEFAULT;
    // What a device sends again after a crash must still be known to the duplicate filter.
    let remembered = 1..=dedupe::REMEMBERED as u64;
    for (key, bound, range, name) in [
        (&raw.connections_max, &mut limits.connections_max, 1..=10_000, "connections_max"),
        (&raw.user_connections_max, &mut limits.user_connections_max, 1..=10_000, "user_connections_max"),
        (&raw.inflight_max, &mut limits.inflight_max, remembered, "inflight_max"),
        (&raw.subscriptions_max, &mut limits.subscriptions_max, 0..=1000, "subscriptions_max"),
        (&raw.topic_levels_max, &mut limits.topic_levels_max, 1..=128, "topic_levels_max"),
        (&raw.sessions_max, &mut limits.sessions_max, 0..=10_000, "sessions_max"),
        (&raw.queue_max, &mut limits.queue_max, 1..=100_000, "queue_max"),
        (&raw.retained_max, &mut limits.retained_max, 0..=100_000, "retained_max"),
    ] {
        *bound = report.bounded(key, *bound as u64, range, name) as usize;
    }
    for (key, bound, most, name) in [
        (&raw.connect_rate, &mut limits.connect_rate, 100_000, "connect_rate"),
        (&raw.publish_rate, &mut limits.publish_rate, 1_000_000, "publish_rate"),
        (&raw.publish_burst, &mut limits.publish_burst, 1_000_000, "publish_burst"),
    ] {
        *bound = report.bounded(key, u64::from(*bound), 1..=most, name) as u32;
    }
    for (key, bound, range, name) in [
        (&raw.packet_max, &mut limits.packet_bytes_max, Size(1 << 10)..=Size(1 << 20), "packet_max"),
        (&raw.topic_max, &mut limits.topic_bytes_max, Size(64)..=Size(4 << 10), "topic_max"),
        (&raw.kept_max, &mut limits.kept_bytes_max, Size(64 << 10)..=Size(64 << 20), "kept_max"),
    ] {
        *bound = report.bounded(key, Size(*bound as u64), range, name).0 as usize;
    }
    let bytes_rate = Size(1 << 10)..=Size(1 << 30);
    limits.bytes_rate = report.bounded(&raw.bytes_rate, Size(limits.bytes_rate), bytes_rate, "bytes_rate").0;
    let second = Duration::from_secs(1);
    for (key, bound, range, name) in [
        (&raw.connect_timeout, &mut limits.connect_timeout, second..=MINUTE, "connect_timeout"),
        (&raw.idle_max, &mut limits.idle_max, 10 * second..=DAY, "idle_max"),
        (&raw.session_max, &mut limits.session_max, MINUTE..=30 * DAY, "session_max"),
    ] {
        *bound = report.bounded(key, *bound, range, name);
    }
    // On disk a message takes up to twice its bytes, and readings need room beside all of them.
    let kept_most = store_bytes_max.map_or(u64::MAX, |bytes| bytes / 4);
    if limits.kept_bytes_max as u64 > kept_most {
        if let Some(at) = raw.kept_max.get() {
            let help = format!("{} at most: a quarter of store.size_max", Size(kept_most).shown());
            report.fault(
                at.span,
                format!("kept_max = {} is more than the store can hold", at.value.shown()),
                help,
            );
        }
        limits.kept_bytes_max = kept_most as usize;
    }
    limits
}

/// Checks `[mqtt.tls]`.
pub(super) fn tls(raw: &raw::Mqtt, places: &Places, report: &mut Report) -> Option<tls::Settings> {
    let raw = raw.tls.value()?;
    let listen = raw.listen.or(SocketAddr::from(([0, 0, 0, 0], 8883)));
    let certificate = file(&raw.certificate, raw.at, "certificate", places, report);
    let key = file(&raw.key, raw.at, "key", places, report);
    let asked = !raw.client_ca.is_absent();
    let client_ca = asked.then(|| file(&raw.client_ca, raw.at, "client_ca", places, report));
    let client_ca = client_ca.map_or(Some(None), |path| path.map(Some))?;
    Some(tls::Settings { listen, files: tls::Files { certificate: certificate?, key: key?, client_ca } })
}

/// Checks `commands` and `[[mqtt.user]]`.
pub(super) fn access(
    root: &Root,
    raw: &raw::Mqtt,
    fleet: &Fleet<'_>,
    anonymous: bool,
    report: &mut Report,
) -> mqtt::Access {
    let mut access = mqtt::Access { anonymous, ..mqtt::Access::default() };
    let known = Known::of(root, raw, fleet, report);
    let (mut names, mut certificates) = (HashMap::new(), HashMap::new());
    for raw in raw.user.list() {
        let name = report.need(&raw.name, raw.at, "name", "\"door-1\"");
        if let Some(name) = name {
            report.once(&mut names, name.value.clone(), name.span, "user");
        }
        let since = report.now();
        let password_hash = password_hash(raw, report);
        let certificate = raw.certificate.get();
        if let Some(certificate) = certificate {
            report.once(&mut certificates, certificate.value.clone(), certificate.span, "certificate");
            if !known.asks_for_certificates {
                let help = "client_ca = \"devices-ca.pem\" in [mqtt.tls], or password_hash";
                report.missing(certificate.span, "nobody is asked for a certificate", help);
            }
        }
        let own = name.map_or("", |name| &name.value);
        let rights = known.rights(raw, own, report);
        if (rights.publish.is_empty() && rights.subscribe.is_empty()) && report.now() == since {
            let help = "devices, publish or subscribe; or a [[device]] with the name of the user as its id";
            report.warn(raw.at, "it can do nothing", help);
        }
        if let Some(name) = name {
            report.about(since, &format!("user {}", name.value));
            if let Some(certificate) = certificate {
                access.certificates.insert(certificate.value.clone(), name.value.clone());
            }
            let user = mqtt::User { password_hash, rights: Arc::new(rights) };
            access.users.insert(name.value.clone(), user);
        }
    }
    access
}

fn password_hash(raw: &raw::User, report: &mut Report) -> Option<String> {
    let hash = match &raw.certificate {
        Key::Absent => report.need(&raw.password_hash, raw.at, "password_hash", "\"$argon2id$v=19$…\""),
        Key::Wrong | Key::Is(_) => raw.password_hash.get(),
    }?;
    if !is_hash(&hash.value) {
        let help = format!(
            "a PHC string with salt and hash: $argon2id$v=19$m=19456,t=2,p=1$…$…, m at most {HASH_KIB_MAX}"
        );
        report.fault(hash.span, "no argon2id password hash", help);
    }
    Some(hash.value.clone())
}

fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| {
        let params = Params::try_from(&hash);
        hash.algorithm == ARGON2ID_IDENT
            && hash.salt.is_some()
            && hash.hash.is_some()
            && params.is_ok_and(|params| params.m_cost() <= HASH_KIB_MAX)
    })
}

/// What the rights of a user are made from.
struct Known<'r> {
    fleet: &'r Fleet<'r>,
    /// Device → its index.
    devices: HashMap<&'r str, usize>,
    /// Template → the topics of its mappings.
    topics: HashMap<&'r str, Vec<&'r str>>,
    /// Where devices hear commands.
    commands: Vec<&'r str>,
    asks_for_certificates: bool,
}

impl<'r> Known<'r> {
    fn of(root: &'r Root, raw: &'r raw::Mqtt, fleet: &'r Fleet<'r>, report: &mut Report) -> Self {
        let mut topics: HashMap<_, Vec<_>> = HashMap::new();
        for mapping in root.mapping.list() {
            let Some(texts) = mapping.topic.value() else { continue };
            for template in fleet.templates.iter().filter(|template| mapping::hears(mapping, template)) {
                let texts = texts.0.iter().map(|topic| topic.value.as_str());
                topics.entry(template.name.as_str()).or_default().extend(texts);
            }
        }
        let mut commands = Vec::new();
        for at in raw.commands.list() {
            let Some(filter) = filter(at, report) else { continue };
            if has_device(filter) {
                commands.push(filter);
            } else {
                let help = format!(
                    "\"{COMMANDS}\"; who is to hear the commands of all devices has them in subscribe"
                );
                report.fault(at.span, "a topic of commands without {device}", help);
            }
        }
        if raw.commands.is_absent() {
            commands.push(COMMANDS);
        }
        let devices = fleet.devices.iter().enumerate().map(|(index, device)| (device.id.as_str(), index));
        let over_http = root.http.value().is_some_and(|http| !http.client_ca.is_absent());
        let over_mqtt = raw.tls.value().is_some_and(|tls| !tls.client_ca.is_absent());
        let asks_for_certificates = over_mqtt || over_http;
        Self { fleet, devices: devices.collect(), topics, commands, asks_for_certificates }
    }

    fn rights(&self, raw: &raw::User, name: &str, report: &mut Report) -> Rights {
        let devices = match &raw.devices {
            Key::Absent => self.devices.get(name).copied().into_iter().collect(),
            Key::Wrong => Vec::new(),
            Key::Is(patterns) => self.chosen(&patterns.value, report),
        };
        let ids: Vec<&DeviceId> = devices.iter().map(|index| &self.fleet.devices[*index].id).collect();
        let publish = match &raw.publish {
            Key::Absent => devices.iter().flat_map(|index| self.topics_of(*index)).collect(),
            given => filled(given.list(), &ids, report),
        };
        let subscribe = match &raw.subscribe {
            Key::Absent => self.commands.iter().flat_map(|filter| for_each(filter, &ids)).collect(),
            given => filled(given.list(), &ids, report),
        };
        Rights { everything: false, publish, subscribe, devices: ids.into_iter().cloned().collect() }
    }

    /// The devices that fit patterns, or are written out.
    fn chosen(&self, patterns: &[At<String>], report: &mut Report) -> Vec<usize> {
        let help =
            "the id of a device, a range of them or a part with *: \"door-1\", \"door-{1..20}\", \"door-*\"";
        let mut chosen = BTreeSet::new();
        for pattern in patterns {
            if pattern.value.contains('*') {
                let fit = self.devices.iter().filter(|(id, _)| fits(&pattern.value, id));
                let mut fit = fit.map(|(_, index)| *index).peekable();
                if fit.peek().is_none() {
                    report.missing(pattern.span, format!("no device {:?}", pattern.value), help);
                }
                chosen.extend(fit);
                continue;
            }
            for id in fleet::expand(pattern, report) {
                match self.devices.get(id.as_str()) {
                    Some(index) => drop(chosen.insert(*index)),
                    None => {
                        report.missing(pattern.span, format!("unknown device {:?}", id.as_str()), help);
                        break;
                    }
                }
            }
        }
        chosen.into_iter().collect()
    }

    /// Where a device publishes.
    fn topics_of(&self, device: usize) -> impl Iterator<Item = String> {
        let device = &self.fleet.devices[device];
        let template = self.fleet.template_of(device).name.as_str();
        let topics = self.topics.get(template).filter(|_| device.raw.port.is_absent());
        topics
            .into_iter()
            .flatten()
            .filter(|topic| has_device(topic) && !device.name.contains(['/', '+', '#']))
            .map(|topic| topic.replace(DEVICE, &device.name))
    }
}

/// Filters with a device in place of {device}.
fn filled(filters: &[At<String>], devices: &[&DeviceId], report: &mut Report) -> Filters {
    let mut all = Vec::new();
    for at in filters {
        let Some(filter) = filter(at, report) else { continue };
        if has_device(filter) && devices.is_empty() {
            report.missing(at.span, "{device}, but there is no device of the user", "devices = [\"door-1\"]");
        }
        all.extend(for_each(filter, devices));
    }
    all.into_iter().collect()
}

/// A topic filter in which {device} may be a level.
fn filter<'a>(at: &'a At<String>, report: &mut Report) -> Option<&'a str> {
    let levels = |level: &str| level == DEVICE || !level.contains(['{', '}']);
    let good = topic::is_filter(&at.value) && at.value.split('/').all(levels) && !at.value.starts_with('$');
    if !good {
        let help = "levels of plain text or {device}, + for any one, # for all that follow, and no $ in front: \"zigbee2mqtt/+/set\"";
        report.fault(at.span, format!("topic filter {:?}", at.value), help);
    }
    good.then_some(&at.value)
}

fn has_device(filter: &str) -> bool {
    filter.split('/').any(|level| level == DEVICE)
}

fn for_each(filter: &str, devices: &[&DeviceId]) -> Vec<String> {
    if has_device(filter) {
        devices.iter().map(|device| filter.replace(DEVICE, device.as_str())).collect()
    } else {
        vec![filter.to_owned()]
    }
}

#[cfg(test)]
mod tests;
