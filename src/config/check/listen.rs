//! Everything that listens: the MQTT front, the city's side, telemetry.
//!
//! Guarantees: nothing in plain text and nothing without credentials listens beyond the machine; no two listeners share
//! an address. Does not bind anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Fleet, Places, access, socket_path};
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Root};
use crate::config::read::{At, Key};
use crate::config::values::Size;
use crate::device::mqtt;
use crate::model::Consumer;
use crate::share::quota::Limits;
use crate::{share, store, telemetry};

/// Checks `[mqtt]`.
pub(super) fn mqtt(
    root: &Root,
    mappings: Vec<Arc<mqtt::Mapping>>,
    fleet: &Fleet<'_>,
    places: &Places,
    store: Option<&store::Settings>,
    report: &mut Report,
) -> Option<mqtt::Settings> {
    let raw = root.mqtt.value()?;
    let default = raw.tls.is_absent().then_some(SocketAddr::from(([127, 0, 0, 1], 1883)));
    let listen = raw.listen.value().copied().or(default);
    let anonymous = raw.anonymous.or(false);
    let open = listen.filter(|address| !address.ip().is_loopback());
    if anonymous && (listen.is_none() || open.is_some()) {
        let message = match open {
            Some(address) => format!("anybody may connect to {address}"),
            None => "nobody is anonymous on the listener with TLS".to_owned(),
        };
        let help = "listen = \"127.0.0.1:1883\", or anonymous = false and a [[mqtt.user]] for each device";
        report.fault(raw.anonymous.span_or(raw.at), message, help);
    }
    let limits = access::limits(raw, store.map(|store| store.bytes_max), report);
    let tls = access::tls(raw, places, report);
    let access = access::access(root, raw, fleet, anonymous, report);
    if access.users.is_empty() && !anonymous && raw.user.is_absent() {
        let help = "anonymous = true on a loopback address, or a [[mqtt.user]] for each device";
        report.warn(raw.at, "nobody may connect to the MQTT front", help);
    }
    if let Some(address) = open.filter(|_| access.users.values().any(|user| user.password_hash.is_some())) {
        let help = "[mqtt.tls] for devices that can; a network of their own for those that cannot";
        report.warn(raw.listen.span_or(raw.at), format!("passwords in clear text on {address}"), help);
    }
    Some(mqtt::Settings {
        listen,
        tls,
        limits,
        access,
        mappings,
        tell_incidents: raw.tell_incidents.or(true),
    })
}

/// Checks `[share_server]`.
pub(super) fn listeners(root: &Root, places: &Places, report: &mut Report) -> Vec<share::Listener> {
    let mut listeners = Vec::new();
    let Some(server) = root.share_server.value() else { return listeners };
    if let Some(raw) = server.loopback.value() {
        let address = report.need(&raw.listen, raw.at, "listen", "\"127.0.0.1:50051\"");
        loopback_only(address, "tls = { … } to be reached from elsewhere", report);
        let consumer = consumer(&raw.consumer, raw.at, report);
        listeners.extend(
            address
                .zip(consumer)
                .map(|(address, consumer)| share::Listener::Loopback { address: address.value, consumer }),
        );
    }
    if let Some(raw) = server.unix.value() {
        let path = report.need(&raw.path, raw.at, "path", "\"/run/smallbrain/share.sock\"").map(|path| {
            let full = places.path(&path.value);
            socket_path(&full, path.span, report);
            full
        });
        let consumer = consumer(&raw.consumer, raw.at, report);
        listeners.extend(path.zip(consumer).map(|(path, consumer)| share::Listener::Unix { path, consumer }));
    }
    if let Some(raw) = server.tls.value() {
        let address = report.need(&raw.listen, raw.at, "listen", "\"0.0.0.0:50052\"");
        let asked = !raw.client_crl.is_absent();
        let mut file = |key, name| file(key, raw.at, name, places, report);
        let files =
            [file(&raw.certificate, "certificate"), file(&raw.key, "key"), file(&raw.client_ca, "client_ca")];
        if let (Some(address), [Some(certificate), Some(key), Some(client_ca)]) = (address, files) {
            let address = address.value;
            let client_crl = asked.then(|| file(&raw.client_crl, "client_crl")).flatten();
            listeners.push(share::Listener::Tls { address, certificate, key, client_ca, client_crl });
        }
    }
    listeners
}

/// Checks how much a consumer may have.
pub(super) fn limits(root: &Root, report: &mut Report) -> Limits {
    let Some(raw) = root.share_server.value() else { return Limits::DEFAULT };
    let calls = report.bounded(
        &raw.calls_rate,
        u64::from(Limits::DEFAULT.calls_per_second),
        1..=10_000,
        "calls_rate",
    );
    let mut bytes = |key: &Key<Size>, least: u64, name| {
        report.within(key, Size(least)..=Size(1 << 50), name).map(|size| size.0)
    };
    Limits {
        calls_per_second: u32::try_from(calls).unwrap_or(Limits::DEFAULT.calls_per_second),
        bytes_per_second: bytes(&raw.bytes_per_second, 1 << 10, "bytes_per_second"),
        bytes_per_day: bytes(&raw.bytes_per_day, 1 << 20, "bytes_per_day"),
    }
}

/// A file of certificates or their key; the path also when it is told that no file is there.
pub(super) fn file(
    key: &Key<String>,
    table: Span,
    name: &str,
    places: &Places,
    report: &mut Report,
) -> Option<PathBuf> {
    let at = report.need(key, table, name, &format!("\"{name}.pem\""))?;
    let path = places.secret(&at.value);
    if !path.is_file() {
        let help = "a PEM file beside this one, or the name of a systemd credential";
        report.fault(at.span, format!("{}: no such file", path.display()), help);
    }
    Some(path)
}

fn consumer(key: &Key<Consumer>, table: Span, report: &mut Report) -> Option<Consumer> {
    let example = "\"spiffe://brain.example/city/310115/brain/traffic\"";
    report.need(key, table, "consumer", example).map(|consumer| consumer.value.clone())
}

fn loopback_only(address: Option<&At<SocketAddr>>, help: &str, report: &mut Report) {
    if let Some(address) = address.filter(|address| !address.value.ip().is_loopback()) {
        let message = format!("plain text on {}, which is no loopback address", address.value);
        report.fault(address.span, message, format!("127.0.0.1:{}; {help}", address.value.port()));
    }
}

/// Checks `[telemetry]`.
pub(super) fn telemetry(root: &Root, report: &mut Report) -> telemetry::Settings {
    let default = raw::Telemetry::default();
    let raw = root.telemetry.value().unwrap_or(&default);
    loopback_only(raw.listen.get(), "a collector on this machine reads it", report);
    let log = raw.log.or("info".to_owned());
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&log) {
        let help = "a level (error, warn, info, debug, trace) or \"smallbrain=debug,info\"";
        report.fault(raw.log.span_or(raw.at), error.to_string(), help);
    }
    telemetry::Settings { listen: raw.listen.value().copied(), log }
}

/// No two listeners on one address.
pub(super) fn clashes(root: &Root, report: &mut Report) {
    let server = root.share_server.value();
    let addresses = [
        root.mqtt.value().and_then(|raw| raw.listen.get()),
        root.mqtt.value().and_then(|raw| raw.tls.value()?.listen.get()),
        root.http.value().and_then(|raw| raw.listen.get()),
        server.and_then(|raw| raw.loopback.value()?.listen.get()),
        server.and_then(|raw| raw.tls.value()?.listen.get()),
        root.telemetry.value().and_then(|raw| raw.listen.get()),
    ];
    let mut seen: Vec<&At<SocketAddr>> = Vec::new();
    // Port 0 is any free port.
    for at in addresses.into_iter().flatten().filter(|at| at.value.port() != 0) {
        let (ip, port) = (at.value.ip(), at.value.port());
        let taken = |other: &&&At<SocketAddr>| {
            let (other, its_port) = (other.value.ip(), other.value.port());
            port == its_port && (ip == other || ip.is_unspecified() || other.is_unspecified())
        };
        if let Some(first) = seen.iter().find(taken) {
            report.twice(at.span, first.span, format!("{} is taken", at.value), "a port for each listener");
        }
        seen.push(at);
    }
}

/// Who may come and finds nothing, and who is to come and finds no door.
pub(super) fn warn(root: &Root, report: &mut Report) {
    let Some(server) = root.share_server.value() else { return };
    let named = |consumer: &Consumer| {
        root.share.list().iter().any(|line| line.consumers.list().iter().any(|at| at.value == *consumer))
    };
    let doors = [
        server.loopback.value().and_then(|raw| raw.consumer.get()),
        server.unix.value().and_then(|raw| raw.consumer.get()),
    ];
    for door in doors.iter().flatten().filter(|door| !named(&door.value)) {
        report.warn(
            door.span,
            "no share line names this consumer",
            "it may connect and is refused: a [[share]] line",
        );
    }
    if server.tls.is_absent() {
        let dialled = root.uplink.list().iter().filter_map(|raw| raw.consumer.get());
        let doors: Vec<_> = doors.into_iter().flatten().chain(dialled).collect();
        let open = |consumer: &Consumer| doors.iter().any(|door| door.value == *consumer);
        let consumers = root.share.list().iter().flat_map(|line| line.consumers.list());
        for consumer in consumers.filter(|consumer| !open(&consumer.value)) {
            report.warn(
                consumer.span,
                "no listener lets this consumer in",
                "tls, a loopback or unix listener that is its, or an [[uplink]]",
            );
        }
    }
}
