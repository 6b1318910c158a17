//! The HTTP intake: where it listens, its TLS and its bounds.
//!
//! Guarantees: who may post is known, because `[mqtt]` says so; keys that are written are used. Does not bind anything.

use std::net::SocketAddr;
use std::time::Duration;

use super::listen::file;
use super::{MINUTE, Places};
use crate::config::fault::Report;
use crate::config::raw::{self, Root};
use crate::config::values::Size;
use crate::device::http::{Limits, Settings};
use crate::device::mqtt::{self, tls};

/// Checks `[http]`.
pub(super) fn http(
    root: &Root,
    mqtt: Option<&mqtt::Settings>,
    places: &Places,
    report: &mut Report,
) -> Option<Settings> {
    let raw = root.http.value()?;
    if root.mqtt.is_absent() {
        let help = "[mqtt]: its users, limits and mappings are those of [http] too";
        report.missing(raw.at, "[http] without [mqtt]", help);
    }
    let listen = raw.listen.or(SocketAddr::from(([127, 0, 0, 1], 8080)));
    let tls = tls(raw, mqtt, places, report);
    if !raw.tls.or(false) && !listen.ip().is_loopback() {
        let help = "tls = true for devices that can; a network of their own for those that cannot";
        report.warn(raw.listen.span_or(raw.at), format!("passwords in clear text on {listen}"), help);
    }
    Some(Settings { listen, tls, limits: limits(raw, report) })
}

fn limits(raw: &raw::Http, report: &mut Report) -> Limits {
    let default = Limits::DEFAULT;
    let (body_max, second) = (Size(1 << 10)..=Size(16 << 20), Duration::from_secs(1));
    Limits {
        connections_max: report.bounded(
            &raw.connections_max,
            default.connections_max as u64,
            1..=1000,
            "connections_max",
        ) as usize,
        body_bytes_max: report.bounded(&raw.body_max, Size(default.body_bytes_max), body_max, "body_max").0,
        head_timeout: report.bounded(
            &raw.head_timeout,
            default.head_timeout,
            second..=MINUTE,
            "head_timeout",
        ),
        body_timeout: report.bounded(
            &raw.body_timeout,
            default.body_timeout,
            second..=MINUTE,
            "body_timeout",
        ),
    }
}

/// The files of TLS: its own, or those of MQTT.
fn tls(
    raw: &raw::Http,
    mqtt: Option<&mqtt::Settings>,
    places: &Places,
    report: &mut Report,
) -> Option<tls::Files> {
    let own = [&raw.certificate, &raw.key, &raw.client_ca];
    if !raw.tls.or(false) {
        if let Some(unused) = own.into_iter().find_map(|key| key.get()) {
            report.fault(unused.span, "a file of TLS, which is switched off", "tls = true");
        }
        return None;
    }
    if own.iter().all(|key| key.is_absent()) {
        let theirs = mqtt.and_then(|mqtt| mqtt.tls.as_ref()).map(|tls| tls.files.clone());
        if theirs.is_none() {
            let help = "certificate = \"gateway.pem\" and key = \"gateway.key\", or [mqtt.tls], whose files it takes";
            report.missing(raw.tls.span_or(raw.at), "TLS without a certificate", help);
        }
        return theirs;
    }
    let certificate = file(&raw.certificate, raw.at, "certificate", places, report);
    let key = file(&raw.key, raw.at, "key", places, report);
    let asked = !raw.client_ca.is_absent();
    let client_ca = asked.then(|| file(&raw.client_ca, raw.at, "client_ca", places, report));
    let client_ca = client_ca.map_or(Some(None), |path| path.map(Some))?;
    Some(tls::Files { certificate: certificate?, key: key?, client_ca })
}
