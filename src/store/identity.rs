//! The file beside the database that knows it: a lock against a second daemon, and a memory of how far the lanes were,
//! so that a database that vanished or went back in time is noticed instead of believed.

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
use crate::model::{Epoch, Lane, Seq};

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq, Default)]
struct Memory {
    epoch: String,
    /// By lane: one that a later build adds is not there yet.
    heads: BTreeMap<String, u64>,
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

    /// Remembers, atomically and durably; does nothing when nothing changed.
    pub(super) fn write(&mut self, epoch: Epoch, heads: Heads) -> Result<(), StoreError> {
        let heads = Lane::ALL.iter().map(|lane| (lane.to_string(), heads[lane.index()].0)).collect();
        let memory = Memory { epoch: epoch.to_string(), heads };
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
