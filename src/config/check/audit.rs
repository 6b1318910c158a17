//! The trail: its key, and how much of it is kept.
//!
//! Guarantees: a key that is named is there, and its owner's alone; the trail leaves most of the store to the rest. Makes
//! no key: the daemon does, at its first start, where none is named.

use super::{DAY, HOUR, MINUTE, Places, Size};
use crate::audit::checkpoint::Signer;
use crate::config::fault::Report;
use crate::config::raw::{self, Root};
use crate::ingest::trail::Settings;
use crate::privacy::pseudonym::MasterKey;
use crate::store;

/// The key's file where none is named, in the store's directory.
const KEY: &str = "audit.key";

/// Checks `[audit]`.
pub(super) fn audit(root: &Root, store: &store::Settings, places: &Places, report: &mut Report) -> Settings {
    let default = raw::Audit::default();
    let raw = root.audit.value().unwrap_or(&default);
    let least = Size(1 << 20);
    let size = Size((256 << 20).min(store.bytes_max / 4));
    let size = report.bounded(&raw.size_max, size, least..=Size(1 << 40), "size_max");
    if size.0 > store.bytes_max / 2 {
        let message = format!("a trail of {size} in a store of {}", Size(store.bytes_max));
        report.fault(raw.size_max.span_or(raw.at), message, "at most half of store.size_max");
    }
    let keep = report.bounded(&raw.keep, 1095 * DAY, 30 * DAY..=3660 * DAY, "keep");
    let digest = report.bounded(&raw.digest, HOUR, MINUTE..=DAY, "digest");
    let Some(named) = raw.key.get() else {
        return Settings { key: store.dir.join(KEY), makes_key: true, keep, bytes_max: size.0, digest };
    };
    let key = places.secret(&named.value);
    let help = "a file of its owner alone (mode 0600) with 32 bytes, as `openssl rand -hex 32` makes them; without this \
                key the daemon makes one of its own in store.dir";
    match MasterKey::from_file(&key) {
        Err(error) => report.fault(named.span, error.to_string(), help),
        Ok(seed) => {
            if let Err(why) = Signer::from_seed(seed.secret()) {
                report.fault(named.span, format!("key file {}: {why}", key.display()), help);
            }
        }
    }
    Settings { key, makes_key: false, keep, bytes_max: size.0, digest }
}
