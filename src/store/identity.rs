//! The file beside the database that knows it: a lock against a second daemon, and a memory of how far the lanes were,
//! and how long the trail was, so that a database that vanished, went back in time or was cut is noticed instead of believed.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::Heads;
use super::error::StoreError;
use super::outbox::Head;
use crate::audit::chain;
use crate::model::{Epoch, Lane, Seq};

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq, Default)]
struct Memory {
    epoch: String,
    /// By lane: one that a later build adds is not there yet.
    heads: BTreeMap<String, u64>,
    /// Of the trail; an earlier build had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trail: Option<Seen>,
}

/// A row of a trail.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Seen {
    /// The trail's name, hex.
    name: String,
    /// The row's number.
    seq: u64,
    /// Its hash, hex.
    hash: String,
}

/// The lock and the memory.
#[derive(Debug)]
pub(super) struct Identity {
    dir: PathBuf,
    memory: Option<Memory>,
    _lock: File,
}

/// A file that only its owner may read.
pub(super) fn own_file(path: &Path, truncate: bool) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(truncate).write(true).mode(0o600).open(path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + '_ {
    move |error| StoreError::File { path: path.to_owned(), error }
}

impl Identity {
    /// Creates the directory if need be, takes the lock, reads the memory.
    pub(super) fn lock(dir: &Path) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(file_error(dir))?;
        let path = dir.join("lock");
        let lock = own_file(&path, false).map_err(file_error(&path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => StoreError::Locked(dir.to_owned()),
            other => StoreError::File { path: path.clone(), error: other.into() },
        })?;
        let mut text = String::new();
        let memory = File::open(dir.join("identity.json"))
            .and_then(|mut file| file.read_to_string(&mut text))
            .ok()
            .and_then(|_| serde_json::from_str(&text).ok());
        Ok(Self { dir: dir.to_owned(), memory, _lock: lock })
    }

    /// Whether there was a store here before.
    pub(super) fn existed(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether this file has seen positions of this epoch that the database does not have: it is an older copy.
    pub(super) fn is_ahead_of(&self, heads: &[Head; Lane::ALL.len()], epoch: &Epoch) -> bool {
        self.memory.as_ref().is_some_and(|memory| {
            memory.epoch == epoch.to_string()
                && Lane::ALL.iter().zip(heads).any(|(lane, head)| {
                    memory.heads.get(lane.as_str()).is_some_and(|seen| Seq(*seen) > head.seq)
                })
        })
    }

    /// Whether this file has seen a row of this trail that the database does not have, or has otherwise. `hash_at` tells
    /// the hash of a row, where the database knows it.
    pub(super) fn is_cut(
        &self,
        newest: chain::Head,
        name: &[u8],
        hash_at: impl FnOnce(u64) -> Result<Option<chain::Hash>, StoreError>,
    ) -> Result<bool, StoreError> {
        let seen = self.memory.as_ref().and_then(|memory| memory.trail.as_ref());
        let Some(Seen { seq, hash, .. }) = seen.filter(|seen| seen.name == hex(name)) else {
            return Ok(false);
        };
        if *seq > newest.seq {
            return Ok(true);
        }
        // A row that was trimmed since is not known any more, and what follows it is bound to it.
        Ok(hash_at(*seq)?.is_some_and(|ours| hex(&ours) != *hash))
    }

    /// What is known of the trail, as JSON for its row about a fork.
    pub(super) fn known_trail(&self) -> serde_json::Value {
        let seen = self.memory.as_ref().and_then(|memory| memory.trail.as_ref());
        seen.map_or_else(
            || serde_json::json!({}),
            |seen| serde_json::json!({ "known": seen.seq, "hash": seen.hash }),
        )
    }

    /// Remembers, atomically and durably; does nothing when nothing changed.
    pub(super) fn write(
        &mut self,
        epoch: Epoch,
        heads: Heads,
        trail: (&[u8], chain::Head),
    ) -> Result<(), StoreError> {
        let heads = Lane::ALL.iter().map(|lane| (lane.to_string(), heads[lane.index()].0)).collect();
        let seen = Seen { name: hex(trail.0), seq: trail.1.seq, hash: hex(&trail.1.hash) };
        let memory = Memory { epoch: epoch.to_string(), heads, trail: Some(seen) };
        if self.memory.as_ref() == Some(&memory) {
            return Ok(());
        }
        let (temporary, path) = (self.dir.join("identity.json.new"), self.dir.join("identity.json"));
        let text = serde_json::to_vec(&memory).map_err(|error| StoreError::Internal(error.to_string()))?;
        let mut file = own_file(&temporary, true).map_err(file_error(&temporary))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(file_error(&temporary))?;
        std::fs::rename(&temporary, &path).map_err(file_error(&path))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(file_error(&self.dir))?;
        self.memory = Some(memory);
        Ok(())
    }
}
