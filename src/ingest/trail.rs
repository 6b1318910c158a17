//! What the writer does for the trail beside its rows: the key, signed positions, the clock's steps, how far witnesses
//! are behind, and how much is kept.
//!
//! Guarantees: a position is told outside only after the commit that holds it and its signature; nothing is signed
//! without a key that its owner alone can read. It does not decide what is a row: that is the spine's part.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::Plan;
use super::spine::Spine;
use crate::audit::cadence::Cadence;
use crate::audit::checkpoint::{Checkpoint, Signer};
use crate::audit::{Action, Entry};
use crate::model::Stamp;
use crate::privacy::pseudonym::{KeyError, MasterKey};
use crate::store::{Keep, Store, StoreError, Txn, Witnessed};

/// How long the oldest row may wait for a witness before it is said.
pub const WITNESS_LAG_MAX: Duration = Duration::from_secs(15 * 60);
/// How far the wall clock may move against the monotonic one between two batches, milliseconds.
const STEP_MS: i64 = 2_000;
/// The public keys of the trail, one a line in hex, beside the database.
pub const PUBLIC_FILE: &str = "audit.pub";

/// How the trail is signed and kept. Holds for the life of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file of the key.
    pub key: PathBuf,
    /// Whether it is made when it is not there.
    pub makes_key: bool,
    /// How long rows are kept.
    pub keep: Duration,
    /// About how many bytes of rows are kept.
    pub bytes_max: u64,
    /// Between two digests of it in lane audit.
    pub digest: Duration,
}

/// The key of the trail cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The file, or what is in it.
    #[error("audit.key: {0}")]
    Key(#[from] KeyError),
    /// Not a key of this kind.
    #[error("audit.key: {}: {why}: make one with `openssl rand -hex 32`", .path.display())]
    Seed {
        /** The file. */
        path: PathBuf,
        /** Why. */
        why: &'static str,
    },
    /// It cannot be written.
    #[error("{}: {error}", .path.display())]
    Write {
        /** The file. */
        path: PathBuf,
        /** Why. */
        error: std::io::Error,
    },
}

/// A key that can sign.
#[derive(Debug)]
pub struct Key {
    signer: Signer,
    /// It was made now.
    is_new: bool,
}

impl Settings {
    /// Reads the key, or makes it of `entropy` where it is not there yet and may be made; its public half is left in `dir`.
    ///
    /// # Errors
    /// [`TrailError`]: readable by others, empty, too short, unreadable.
    pub fn key(&self, dir: &Path, entropy: [u8; 32]) -> Result<Key, TrailError> {
        let is_new = self.makes_key && !self.key.exists();
        if is_new {
            create(&self.key, &hex(&entropy))?;
        }
        let seed = MasterKey::from_file(&self.key)?;
        let signer = Signer::from_seed(seed.secret())
            .map_err(|why| TrailError::Seed { path: self.key.clone(), why })?;
        publish(&dir.join(PUBLIC_FILE), &hex(signer.public_key()))?;
        Ok(Key { signer, is_new })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn create(path: &Path, digits: &str) -> Result<(), TrailError> {
    let wrap = |error| TrailError::Write { path: path.to_owned(), error };
    let options = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).clone();
    let mut file = options.open(path).map_err(wrap)?;
    writeln!(file, "{digits}").and_then(|()| file.sync_all()).map_err(wrap)
}

/// Adds a public key to those that were ever in use.
fn publish(path: &Path, digits: &str) -> Result<(), TrailError> {
    if std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line == digits)) {
        return Ok(());
    }
    let wrap = |error| TrailError::Write { path: path.to_owned(), error };
    let options = std::fs::OpenOptions::new().create(true).append(true).mode(0o644).clone();
    let mut file = options.open(path).map_err(wrap)?;
    writeln!(file, "{digits}").and_then(|()| file.sync_all()).map_err(wrap)
}

/// Opens the spine; that its plan is in force is in the trail.
pub(super) fn opened(plan: &Plan, store: &mut Store, now: Stamp) -> Result<Spine, StoreError> {
    loaded(Spine::open(plan.clone(), store, now)?, store, now)
}

/// The same in a process that goes on.
pub(super) fn reopened(plan: &Plan, store: &mut Store, now: Stamp) -> Result<Spine, StoreError> {
    loaded(Spine::reopen(plan.clone(), store, now)?, store, now)
}

fn loaded(spine: Spine, store: &mut Store, now: Stamp) -> Result<Spine, StoreError> {
    let mut txn = store.begin()?;
    spine.loaded(&mut txn, now)?;
    txn.commit()?;
    Ok(spine)
}

/// The writer's part of the trail.
#[derive(Debug)]
pub(super) struct Trail {
    signer: Option<Signer>,
    cadence: Cadence,
    newest: watch::Sender<Option<Checkpoint>>,
    /// When the last batch was committed.
    last: Option<Stamp>,
    keep: Duration,
    bytes_max: u64,
    digest: Duration,
    /// Whether it was said that witnesses are behind, and that more is kept than should be.
    is_late: bool,
    is_held: bool,
}

impl Trail {
    /// Without a key: rows are written and kept, no position is signed.
    pub(super) fn new(store: &Store) -> Result<Self, StoreError> {
        let newest = store.checkpoint()?;
        Ok(Self {
            signer: None,
            cadence: Cadence::new(newest.as_ref().map_or(0, |checkpoint| checkpoint.head.seq)),
            newest: watch::Sender::new(newest),
            last: None,
            keep: Duration::MAX,
            bytes_max: u64::MAX,
            digest: Duration::from_secs(3600),
            is_late: false,
            is_held: false,
        })
    }

    /// From now on positions are signed, and so much is kept.
    pub(super) fn set(
        &mut self,
        settings: &Settings,
        key: Key,
        store: &mut Store,
        now: Stamp,
    ) -> Result<(), StoreError> {
        if key.is_new {
            let entry = Entry::gateway(Action::KeyCreate, format!("audit:{}", hex(key.signer.public_key())));
            let mut txn = store.begin()?;
            txn.audit(&entry, now)?;
            txn.commit()?;
        }
        (self.keep, self.bytes_max, self.digest) = (settings.keep, settings.bytes_max, settings.digest);
        self.signer = Some(key.signer);
        Ok(())
    }

    /// The newest signed position that is on disk.
    pub(super) fn checkpoints(&self) -> watch::Receiver<Option<Checkpoint>> {
        self.newest.subscribe()
    }

    /// Says in a batch that the clock has moved since the one before it.
    pub(super) fn clock(&self, txn: &mut Txn<'_>, now: Stamp) -> Result<(), StoreError> {
        let Some(last) = self.last else { return Ok(()) };
        let passed = i64::try_from(now.mono_ms.saturating_sub(last.mono_ms)).unwrap_or(i64::MAX);
        let expected = last.wall_ms.saturating_add(passed);
        let step = now.wall_ms.saturating_sub(expected);
        if step.abs() <= STEP_MS {
            return Ok(());
        }
        tracing::warn!(step_ms = step, "the clock of the system has moved");
        let entry = Entry::gateway(Action::ClockStep, format!("ms:{step}"));
        let entry = entry.with(serde_json::json!({ "from_ms": expected, "to_ms": now.wall_ms }));
        txn.audit(&entry, now).map(drop)
    }

    /// Signs the newest row of a batch, where it is time or `anyway`.
    pub(super) fn sign(
        &mut self,
        txn: &mut Txn<'_>,
        trail: &[u8],
        now: Stamp,
        anyway: bool,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let (Some(signer), head) = (&self.signer, txn.audit_head()) else { return Ok(None) };
        let is_due = self.cadence.is_due(head.seq, now.mono_ms);
        if !(is_due || anyway && self.cadence.is_behind(head.seq)) {
            return Ok(None);
        }
        let checkpoint = signer.sign(trail, head, now.wall_ms);
        txn.checkpoint(&checkpoint)?;
        Ok(Some(checkpoint))
    }

    /// A batch is on disk.
    pub(super) fn committed(&mut self, now: Stamp, signed: Option<Checkpoint>) {
        self.last = Some(now);
        if let Some(checkpoint) = signed {
            self.cadence.signed(checkpoint.head.seq);
            self.newest.send_replace(Some(checkpoint));
        }
    }

    /// The newest signed position on disk, or the one that is on its way.
    pub(super) fn newest(&self, signed: Option<&Checkpoint>) -> Option<Checkpoint> {
        signed.cloned().or_else(|| self.newest.borrow().clone())
    }

    /// Between two digests.
    pub(super) fn digest_every(&self) -> Duration {
        self.digest
    }

    /// Says once when witnesses fall behind, and once when they are there again; `is_late`: whether they are now.
    pub(super) fn witnessed(&mut self, is_late: bool, lag_ms: u64) {
        match (std::mem::replace(&mut self.is_late, is_late), is_late) {
            (false, true) => tracing::error!(
                lag_s = lag_ms / 1000,
                "no witness has the newest rows of the trail: does the city pull, and confirm what it has?"
            ),
            (true, false) => tracing::info!("the trail is witnessed again"),
            _ => {}
        }
    }

    /// Whether more is kept than should be.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Trims the trail by one step; true when there is more to do at once. `witnessed`: none when nobody could be one.
    pub(super) fn trim(
        &mut self,
        store: &mut Store,
        witnessed: Option<Witnessed>,
        now: Stamp,
    ) -> Result<bool, StoreError> {
        let keep = Keep {
            age_ms: i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX),
            bytes_max: self.bytes_max,
            witnessed: witnessed.map(|witnessed| witnessed.size),
        };
        let trimmed = store.trim_audit(&keep, now)?;
        if !std::mem::replace(&mut self.is_held, trimmed.held) && trimmed.held {
            tracing::error!("rows of the trail that should go are kept, because no witness has them");
        }
        Ok(trimmed.gone > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn settings(dir: &Path) -> Settings {
        let keep = Duration::from_secs(1);
        Settings { key: dir.join("audit.key"), makes_key: true, keep, bytes_max: 1 << 20, digest: keep }
    }

    #[test]
    fn a_key_is_made_once_and_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = settings(dir.path());
        let made = settings.key(dir.path(), [7; 32]).expect_err("nobody made that at random");
        assert!(made.to_string().contains("equal"), "{made}");
        std::fs::remove_file(&settings.key).expect("removed");
        let entropy = std::array::from_fn(|at| at as u8);
        let first = settings.key(dir.path(), entropy).expect("made");
        let again = settings.key(dir.path(), [9; 32]).expect("read");
        assert!(first.is_new && !again.is_new);
        assert_eq!(first.signer.public_key(), again.signer.public_key());
        let mode = std::fs::metadata(&settings.key).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let public = std::fs::read_to_string(dir.path().join(PUBLIC_FILE)).expect("written");
        assert_eq!(public, format!("{}\n", hex(first.signer.public_key())));
    }

    #[test]
    fn poor_keys_are_refused() {
        let random = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        for (text, mode, message) in [
            ("", 0o600, "has 0 bytes"),
            ("0011", 0o600, "has 2 bytes"),
            (random, 0o644, "lets others"),
            (&format!("{random}20"), 0o600, "has 32 bytes"),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let settings = settings(dir.path());
            std::fs::write(&settings.key, text).expect("written");
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&settings.key, permissions).expect("set");
            let error = settings.key(dir.path(), [1; 32]).expect_err(text);
            assert!(error.to_string().contains(message), "{error}");
        }
        let dir = tempfile::tempdir().expect("a directory");
        let named = Settings { makes_key: false, ..settings(dir.path()) };
        assert!(named.key(dir.path(), [1; 32]).is_err());
    }
}
