//! The registry of gateways: who there is, how to get at them, and what to take.
//!
//! Guarantees: whole or not at all; every fault has its file and line; an id, and so a file, a subject and a lease, stands
//! for one gateway. Plain text only over loopback or a Unix socket.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::settings::{Tls, WORD, is_word, read};
use crate::config::Faults;
use crate::config::fault::Report;
use crate::config::read::{At, Node, Read, parsed, section};
use crate::config::source::{Sources, directory};
use crate::model::Lane;
use crate::share::client::Target;

/// Gateways of one registry; one more is a fault.
pub const GATEWAYS_MAX: usize = 10_000;

section! {
    /// Everything.
    Root, "the file", {
        gateway: Vec<RawGateway>,
    }
}

section! {
    /// A gateway.
    RawGateway, "[[gateway]]", named "gateway" id, {
        id: String,
        pull: String,
        push: bool,
        identity: String,
        audit_key: AuditKey,
        accept_trail: String,
        lanes: Vec<At<Lane>>,
        share_items: Vec<At<String>>,
        ca: String,
        certificate: String,
        key: String,
    }
}

/// The public key of a gateway's trail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditKey([u8; 32]);

impl Read for AuditKey {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let expected = "64 hex digits, as `smallbrain audit key` prints them";
        let key = |text: &str| crate::approval::bytes(text).map(Self).ok_or("not a public key");
        parsed(node, expected, report, key)
    }
}

/// How records come from a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The collector dials.
    Pull {
        /** Where it listens. */
        address: String,
        /** Who the collector is towards it. */
        tls: Tls,
    },
    /// The gateway dials.
    Push {
        /** The one URI SAN of its client certificate. */
        identity: String,
    },
}

/// A gateway of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its id.
    pub id: String,
    /// How records come.
    pub source: Source,
    /// The public key of its trail: with it every checkpoint is verified.
    pub audit_key: Option<[u8; 32]>,
    /// The operator's word that a trail which does not go on from the one that is kept is the right one. Each word holds once.
    pub accept_trail: Option<String>,
    /// Which lanes; empty means all that are granted.
    pub lanes: Vec<Lane>,
    /// Which lines of its share list; empty means all that are granted.
    pub share_items: Vec<String>,
}

impl Gateway {
    /// Where to dial; none when the gateway does.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        let Source::Pull { address, tls } = &self.source else { return None };
        Some(Target {
            gateway: address.clone(),
            ca: tls.ca.clone(),
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
        })
    }
}

/// All gateways by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// By id.
    pub gateways: BTreeMap<String, Arc<Gateway>>,
}

impl Registry {
    /// Reads and checks a file; `tls` holds for gateways that say nothing else.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(path: &Path, tls: &Tls) -> Result<Self, Faults> {
        Self::look(path, tls).0
    }

    /// The same, with the directories where a change would be one of the registry.
    pub(super) fn look(path: &Path, tls: &Tls) -> (Result<Self, Faults>, BTreeSet<PathBuf>) {
        let mut report = Report::default();
        let (sources, root) = read::<Root>(path, &mut report);
        let registry = root.check(&directory(path), tls, &mut report);
        let Sources { dirs, .. } = &sources;
        let dirs = dirs.iter().filter_map(|dir| dir.canonicalize().ok()).collect();
        let found = report.finish(&sources);
        (if found.count() == 0 { Ok(registry) } else { Err(found) }, dirs)
    }
}

impl Root {
    fn check(&self, base: &Path, tls: &Tls, report: &mut Report) -> Registry {
        let mut registry = Registry::default();
        let mut places = BTreeMap::new();
        for raw in self.gateway.list() {
            let Some(id) = report.need(&raw.id, raw.at, "id", "\"C1-north\"") else { continue };
            if !is_word(&id.value) {
                report.fault(id.span, format!("{:?} is no id of a gateway", id.value), WORD);
            }
            if let Some(first) = places.insert(&id.value, id.span) {
                report.twice(id.span, first, format!("gateway {} stands twice", id.value), "one of the two");
            }
            if places.len() == GATEWAYS_MAX + 1 {
                let help = "a second collector with a registry of its own";
                report.fault(id.span, format!("more than {GATEWAYS_MAX} gateways"), help);
            }
            let Some(source) = raw.source(base, tls, report) else { continue };
            let gateway = Gateway {
                id: id.value.clone(),
                source,
                audit_key: raw.audit_key.value().map(|key| key.0),
                accept_trail: raw.accept_trail.value().cloned(),
                lanes: raw.lanes.list().iter().map(|at| at.value).collect(),
                share_items: raw.share_items.list().iter().map(|at| at.value.clone()).collect(),
            };
            registry.gateways.insert(id.value.clone(), Arc::new(gateway));
        }
        registry
    }
}

impl RawGateway {
    fn source(&self, base: &Path, tls: &Tls, report: &mut Report) -> Option<Source> {
        let push = self.push.or(false);
        match (self.pull.get(), push) {
            (Some(pull), false) => {
                if !is_safe(&pull.value) {
                    let help = "https://host:50051; http://127.0.0.1:50051 and unix:/path on this machine";
                    report.fault(pull.span, format!("{:?} is no address to pull from", pull.value), help);
                }
                if self.certificate.is_absent() != self.key.is_absent() {
                    report.fault(self.at, "certificate and key go together", "both of them, or none");
                }
                let or = |own: Option<&String>, other: &Option<PathBuf>| {
                    own.map(|path| base.join(path)).or_else(|| other.clone())
                };
                let tls = Tls {
                    ca: or(self.ca.value(), &tls.ca),
                    certificate: or(self.certificate.value(), &tls.certificate),
                    key: or(self.key.value(), &tls.key),
                };
                Some(Source::Pull { address: pull.value.clone(), tls })
            }
            (None, true) => {
                let example = "\"spiffe://example/gateway/C1-north\"";
                let identity = report.need(&self.identity, self.at, "identity", example)?;
                Some(Source::Push { identity: identity.value.clone() })
            }
            (None, false) => {
                report.missing(
                    self.at,
                    "neither `pull` nor `push`",
                    "for example pull = \"https://host:50051\"",
                );
                None
            }
            (Some(pull), true) => {
                report.fault(pull.span, "`pull` and `push` at once", "one of the two");
                None
            }
        }
    }
}

/// TLS, or a line that does not leave the machine.
fn is_safe(address: &str) -> bool {
    if address.starts_with("https://") || address.starts_with("unix:/") {
        return true;
    }
    let Some(rest) = address.strip_prefix("http://") else { return false };
    let host = rest.split('/').next().unwrap_or(rest);
    host.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        || host.strip_prefix("localhost:").is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Registry, Faults> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gateways.toml");
        std::fs::write(&path, text).expect("a file");
        Registry::load(&path, &Tls { ca: Some("ca.pem".into()), ..Tls::default() })
    }

    #[test]
    fn a_gateway_says_how_it_is_reached_and_what_is_taken() {
        let key = "ab".repeat(32);
        let text = format!(
            "[[gateway]]\nid = 'a'\npull = 'https://a:1'\naudit_key = '{key}'\nlanes = ['alarm', 'audit']\n\
             [[gateway]]\nid = 'b'\npush = true\nidentity = 'spiffe://x/gateway/b'\n"
        );
        let registry = load(&text).unwrap_or_else(|faults| panic!("{faults}"));
        let a = &registry.gateways["a"];
        assert_eq!((a.audit_key, &a.lanes[..]), (Some([0xab; 32]), &[Lane::Alarm, Lane::Audit][..]));
        assert_eq!(a.target().and_then(|target| target.ca), Some("ca.pem".into()));
        assert_eq!(registry.gateways["b"].target().map(|target| target.gateway), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            ("[[gateway]]\nid = 'a.b'\npull = 'https://a:1'\n", 2, "no id of a gateway"),
            ("[[gateway]]\nid = 'a'\npull = 'http://10.0.0.1:1'\n", 3, "no address"),
            ("[[gateway]]\nid = 'a'\n", 1, "neither"),
            ("[[gateway]]\nid = 'a'\npull = 'https://a:1'\npush = true\n", 3, "at once"),
            ("[[gateway]]\nid = 'a'\npush = true\n", 1, "identity"),
            ("[[gateway]]\nid = 'a'\npull = 'https://a:1'\nlane = ['alarm']\n", 4, "unknown key"),
            ("[[gateway]]\nid = 'a'\npull = 'https://a:1'\nlanes = ['alrm']\n", 4, "unknown word"),
            ("[[gateway]]\nid = 'a'\npull = 'https://a:1'\naudit_key = 'ab'\n", 4, "not a public key"),
            (
                "[[gateway]]\nid = 'a'\npull = 'unix:/a'\n[[gateway]]\nid = 'a'\npull = 'unix:/b'\n",
                5,
                "twice",
            ),
            ("[[gateway\n", 1, ""),
        ];
        for (text, line, says) in cases {
            let faults = load(text).expect_err(text);
            let told = faults.faults.iter().any(|fault| fault.line == line && fault.message.contains(says));
            assert!(told, "{text}\n{faults}");
        }
    }
}
