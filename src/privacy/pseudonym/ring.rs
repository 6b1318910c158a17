//! The secrets of epochs: a random one for each, so that an epoch's pseudonyms end with its file.
//!
//! ```text
//! keys/                 mode 0700, below the store
//!   epoch-2026-11.key   mode 0600, 32 random bytes
//! ```
//!
//! The key of an epoch is derived from the master key and the epoch's secret together. Who has the master key alone, also
//! later, cannot make or test a token of an epoch whose secret is gone.
//!
//! Guarantees: a secret is on disk before anybody gets it, and is never replaced; one that others can read, or that is cut
//! off, is refused. Destroying overwrites a file, syncs it and removes it; what a flash chip, a snapshot or a backup keeps
//! of it is out of reach, so neither may hold this directory for longer than the epochs are kept. Reads no clock: which
//! epoch it is comes in.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::epoch::Epoch;

/// Bytes of a secret.
const BYTES: usize = 32;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// A file or directory.
    #[error("epoch keys {path}: {why}")]
    Io {
        /** Which. */
        path: PathBuf,
        /** Why. */
        why: io::Error,
    },
    /// Others can read it.
    #[error("epoch keys {path}: mode {mode:04o} lets others than its owner use it: run `chmod go= {path}`")]
    Exposed {
        /** The file or directory. */
        path: PathBuf,
        /** Its permission bits. */
        mode: u32,
    },
    /// A file that is no secret.
    #[error("epoch key {0}: not 32 bytes: restore it, or remove it and let the epoch's names begin anew")]
    Cut(PathBuf),
    /// No random numbers.
    #[error("epoch keys: no random numbers from the system: {0}")]
    Random(getrandom::Error),
}

/// The random part of an epoch's key; its bytes are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) [u8; BYTES]);

impl Secret {
    /// Of bytes that came from somewhere else.
    #[must_use]
    pub fn new(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a turn of the ring did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Turned {
    /// The epochs that have a key since now.
    pub created: Vec<String>,
    /// The epochs whose key is gone since now.
    pub destroyed: Vec<String>,
    /// Whether there was a key of another epoch before, so that a new one is a rotation.
    pub rotated: bool,
}

/// Where the secrets are, and which of them are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Their directory.
    pub dir: PathBuf,
    /// The epoch of now.
    pub epoch: Epoch,
    /// How many epochs keep theirs, this one among them.
    pub keep: u32,
}

impl Settings {
    /// Opens the ring, takes the secret of the epoch and destroys those that are no longer kept.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn turn(&self) -> Result<(Secret, Turned), RingError> {
        let ring = Ring::open(&self.dir)?;
        let (secret, turned) = ring.key(self.epoch)?;
        Ok((secret, Turned { destroyed: ring.sweep(self.epoch, self.keep)?, ..turned }))
    }
}

/// The directory of the secrets.
#[derive(Debug)]
pub struct Ring {
    dir: PathBuf,
}

impl Ring {
    /// Opens the directory, and makes it if it is not there.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn open(dir: &Path) -> Result<Self, RingError> {
        let ring = Self { dir: dir.to_owned() };
        let io = |why| ring.io(dir, why);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        closed(dir, &fs::metadata(dir).map_err(io)?.permissions())?;
        Ok(ring)
    }

    /// The epochs that have a secret, in no order.
    ///
    /// # Errors
    /// [`RingError::Io`].
    pub fn epochs(&self) -> Result<Vec<Epoch>, RingError> {
        let io = |why| self.io(&self.dir, why);
        let mut epochs = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix("epoch-")?.strip_suffix(".key"));
            epochs.extend(name.and_then(Epoch::named));
        }
        Ok(epochs)
    }

    /// The secret of an epoch; made, and on disk, when it has none.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn key(&self, epoch: Epoch) -> Result<(Secret, Turned), RingError> {
        let others = self.epochs()?.into_iter().any(|other| other != epoch);
        let path = self.path(epoch);
        let made =
            if path.try_exists().map_err(|why| self.io(&path, why))? { false } else { self.make(&path)? };
        let created = if made { vec![epoch.to_string()] } else { Vec::new() };
        let turned = Turned { rotated: made && others, created, destroyed: Vec::new() };
        Ok((self.read(&path)?, turned))
    }

    /// Destroys the secrets of the epochs that ended before the newest `keep` began, of which `now` is the last; answers
    /// with their names. A length that is no longer in use ends by the calendar too; an endless one stays.
    ///
    /// # Errors
    /// [`RingError::Io`]; what was destroyed before it stays destroyed.
    pub fn sweep(&self, now: Epoch, keep: u32) -> Result<Vec<String>, RingError> {
        let oldest = now.before(keep.saturating_sub(1));
        let mut destroyed = Vec::new();
        for epoch in self.epochs()?.into_iter().filter(|epoch| epoch.ended_before(oldest)) {
            let path = self.path(epoch);
            self.destroy(&path).map_err(|why| self.io(&path, why))?;
            destroyed.push(epoch.to_string());
        }
        destroyed.sort();
        Ok(destroyed)
    }

    fn path(&self, epoch: Epoch) -> PathBuf {
        self.dir.join(format!("epoch-{epoch}.key"))
    }

    fn io(&self, path: &Path, why: io::Error) -> RingError {
        RingError::Io { path: path.into(), why }
    }

    fn read(&self, path: &Path) -> Result<Secret, RingError> {
        let io = |why| self.io(path, why);
        let file = File::open(path).map_err(io)?;
        closed(path, &file.metadata().map_err(io)?.permissions())?;
        let mut bytes = Vec::new();
        file.take(BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        bytes.try_into().map(Secret).map_err(|_| RingError::Cut(path.into()))
    }

    /// Whether this call made it: of two at once, one does.
    fn make(&self, path: &Path) -> Result<bool, RingError> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(RingError::Random)?;
        let new = self.dir.join(format!(".new-{}", std::process::id()));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            // A link, not a rename: what is there is never replaced.
            let made = match fs::hard_link(&new, path) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(error),
            };
            fs::remove_file(&new)?;
            File::open(&self.dir)?.sync_all()?;
            Ok(made)
        };
        write().map_err(|why| self.io(path, why))
    }

    fn destroy(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(&[0; BYTES])?;
        file.sync_all()?;
        fs::remove_file(path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Refuses what others than the owner can use.
fn closed(path: &Path, permissions: &Permissions) -> Result<(), RingError> {
    let mode = permissions.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(RingError::Exposed { path: path.into(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(name: &str) -> Epoch {
        Epoch::named(name).expect("a name")
    }

    #[test]
    fn an_epoch_keeps_its_secret_until_it_is_destroyed() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("store/keys");
        let ring = Ring::open(&keys).expect("made");
        let (november, turned) = ring.key(epoch("2026-11")).expect("a secret");
        assert_eq!((turned.created, turned.rotated), (vec!["2026-11".to_owned()], false));
        let (again, turned) = Ring::open(&keys).expect("there").key(epoch("2026-11")).expect("a secret");
        assert!(again == november && turned == Turned::default());
        let (december, turned) = ring.key(epoch("2026-12")).expect("a secret");
        assert!(december != november && turned.rotated && turned.created == ["2026-12"]);
        let file = keys.join("epoch-2026-11.key");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(ring.sweep(epoch("2026-12"), 2).expect("swept"), Vec::<String>::new());
        assert_eq!(ring.sweep(epoch("2027-01"), 2).expect("swept"), ["2026-11"]);
        assert!(!file.exists());
        let (anew, _) = ring.key(epoch("2026-11")).expect("another secret");
        assert!(anew != november, "what is destroyed does not come back");
        assert_eq!(fs::read_dir(&keys).expect("a directory").count(), 2, "nothing else is left");
    }

    #[test]
    fn a_turn_makes_one_and_destroys_the_old() {
        let dir = tempfile::tempdir().expect("a directory");
        let turn = |name| {
            let settings = Settings { dir: dir.path().join("keys"), epoch: epoch(name), keep: 2 };
            settings.turn().expect("turned").1
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (name, created, destroyed, rotated) in [
            ("2026-10", &["2026-10"][..], &[][..], false),
            ("2026-10", &[], &[], false),
            ("2026-11", &["2026-11"], &[], true),
            ("2026-12", &["2026-12"], &["2026-10"], true),
            ("2027-06", &["2027-06"], &["2026-11", "2026-12"], true),
        ] {
            let expected = Turned { created: names(created), destroyed: names(destroyed), rotated };
            assert_eq!(turn(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_swept() {
        let dir = tempfile::tempdir().expect("a directory");
        let ring = Ring::open(&dir.path().join("keys")).expect("made");
        for name in ["2026-08", "2026-09", "2026-10", "2026-11", "2027-02", "2026-W36", "2026-10-30", "none"]
        {
            ring.key(epoch(name)).expect("a secret");
        }
        fs::write(ring.dir.join("epoch-of-somebody.key"), "x").expect("a file");
        let expected = ["2026-08", "2026-09", "2026-W36"];
        assert_eq!(ring.sweep(epoch("2026-11"), 2).expect("swept"), expected);
        assert_eq!(ring.sweep(epoch("2026-11"), 2).expect("swept"), Vec::<String>::new());
        let left = ring.epochs().expect("readable").len();
        assert_eq!(left, 5, "this one, the one before, one ahead of a clock, a day of it, the endless one");
    }

    #[test]
    fn what_others_can_use_or_is_cut_off_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("keys");
        let ring = Ring::open(&keys).expect("made");
        let now = epoch("2026-11");
        ring.key(now).expect("a secret");
        let file = keys.join("epoch-2026-11.key");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("permissions");
        assert!(matches!(ring.key(now), Err(RingError::Exposed { mode: 0o640, .. })));
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("permissions");
        for bytes in [&[1; 31][..], &[1; 33], &[]] {
            fs::write(&file, bytes).expect("a file");
            assert!(matches!(ring.key(now), Err(RingError::Cut(_))), "{}", bytes.len());
        }
        fs::set_permissions(&keys, Permissions::from_mode(0o755)).expect("permissions");
        assert!(matches!(Ring::open(&keys), Err(RingError::Exposed { mode: 0o755, .. })));
    }

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret");
    }
}
