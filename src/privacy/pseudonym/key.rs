//! The master key of pseudonyms, and who may read a file of secrets.
//!
//! Guarantees: a key has at least 32 bytes that are not all the same, in a file of its owner alone; no `Debug` and no error
//! shows one. It makes no key and writes none.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shortest master key, bytes.
pub const KEY_BYTES_MIN: usize = 32;
/// Largest key file, bytes.
const FILE_BYTES_MAX: u64 = 4096;
/// Where systemd shows a unit its credentials.
const CREDENTIALS: &str = "/run/credentials";

/// A key that cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Empty or too short.
    #[error(
        "the master key has {0} bytes and needs at least 32: make one with `openssl rand -hex 32` and keep it safe"
    )]
    Short(usize),
    /// The same byte throughout: nobody made that at random.
    #[error("all bytes of the master key are equal: make a random one with `openssl rand -hex 32`")]
    Equal,
    /// No bytes in hex digits.
    #[error("the key is no text of hex digits, two for a byte: make one with `openssl rand -hex 32`")]
    NotHex,
    /// Hex digits that are no bytes.
    #[error(
        "key file {0}: an odd number of hex digits, so part of the key is missing: restore it from the backup"
    )]
    OddHex(PathBuf),
    /// Not a key.
    #[error("key file {0}: more than 4096 bytes: this is not a key, see to the path")]
    Large(PathBuf),
    /// Others can read it.
    #[error("key file {path}: mode {mode:04o} lets others than its owner use it: run `chmod 600 {path}`")]
    Exposed {
        /** The file. */
        path: PathBuf,
        /** Its permission bits. */
        mode: u32,
    },
    /// It cannot be read.
    #[error("key file {path}: {why}")]
    Io {
        /** The file. */
        path: PathBuf,
        /** Why. */
        why: std::io::Error,
    },
    /// A file whose content is refused.
    #[error("key file {path}: {why}")]
    Content {
        /** The file. */
        path: PathBuf,
        /** Why. */
        why: Box<KeyError>,
    },
}

/// The master key; its bytes are never printed.
#[derive(Clone)]
pub struct MasterKey(pub(super) Arc<[u8]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    /// A key of at least [`KEY_BYTES_MIN`] bytes that are not all the same.
    ///
    /// # Errors
    /// [`KeyError::Short`], [`KeyError::Equal`].
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() < KEY_BYTES_MIN {
            return Err(KeyError::Short(bytes.len()));
        }
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(KeyError::Equal);
        }
        Ok(Self(bytes.into()))
    }

    /// From a text of hex digits.
    ///
    /// # Errors
    /// [`KeyError::NotHex`], and those of [`new`](Self::new).
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        Self::new(&hex(text.trim().as_bytes()).ok_or(KeyError::NotHex)?)
    }

    /// From a file that nobody but its owner may use: raw bytes, or hex digits with white space around them.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let io = |why| KeyError::Io { path: path.into(), why };
        let file = std::fs::File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if is_exposed(path, mode) {
            return Err(KeyError::Exposed { path: path.into(), mode });
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(KeyError::Large(path.into()));
        }
        let digits = bytes.trim_ascii();
        // A text of hex digits is never taken raw: 32 of them are only 16 bytes of key.
        if digits.iter().all(u8::is_ascii_hexdigit) {
            bytes = hex(digits).ok_or_else(|| KeyError::OddHex(path.into()))?;
        }
        Self::new(&bytes).map_err(|why| KeyError::Content { path: path.into(), why: Box::new(why) })
    }

    /// Its bytes: for a key of another kind that lies in a file by the same rules.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.0
    }
}

/// Whether others than its owner may use a file of secrets. systemd shows its access list for the unit's user as the group's
/// right to read; the directory is the unit's alone.
#[must_use]
pub fn is_exposed(path: &Path, mode: u32) -> bool {
    let allowed = if path.starts_with(CREDENTIALS) { 0o740 } else { 0o700 };
    mode & !allowed != 0
}

/// The bytes that hex digits stand for; `None` for anything else.
pub(crate) fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    // A sign would pass for a digit below.
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poor_keys_are_refused() {
        for (bytes, message) in [
            (vec![], "the master key has 0 bytes"),
            ((0..31).collect(), "the master key has 31 bytes"),
            (vec![0; 32], "all bytes of the master key are equal"),
        ] {
            let error = MasterKey::new(&bytes).expect_err("a poor key").to_string();
            assert!(error.starts_with(message) && error.contains("openssl rand -hex 32"), "{error}");
        }
    }

    #[test]
    fn key_files() {
        let hex_text = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let raw: Vec<u8> = (0..32).collect();
        let spaced = format!("  {}\n", hex_text.to_uppercase());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("master.key");
        let shown = path.display();
        for (content, mode, expected) in [
            (hex_text.as_bytes(), 0o600, Ok(())),
            (spaced.as_bytes(), 0o400, Ok(())),
            (&raw, 0o600, Ok(())),
            (
                &raw,
                0o640,
                Err(format!("mode 0640 lets others than its owner use it: run `chmod 600 {shown}`")),
            ),
            (
                &raw,
                0o604,
                Err(format!("mode 0604 lets others than its owner use it: run `chmod 600 {shown}`")),
            ),
            (&raw[..31], 0o600, Err("the master key has 31 bytes".into())),
            (b"", 0o600, Err("the master key has 0 bytes".into())),
            (b" \n", 0o600, Err("the master key has 0 bytes".into())),
            (&hex_text.as_bytes()[..62], 0o600, Err("the master key has 31 bytes".into())),
            (&hex_text.as_bytes()[..63], 0o600, Err("an odd number of hex digits".into())),
            (&[b'0'; 64], 0o600, Err("all bytes of the master key are equal".into())),
            (&[b'k'; 64], 0o600, Err("all bytes of the master key are equal".into())),
            (&[7; 5000], 0o600, Err("more than 4096 bytes".into())),
        ] {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, content).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("permissions");
            match (MasterKey::from_file(&path), expected) {
                (Ok(key), Ok(())) => assert_eq!(&key.0[..], &raw[..]),
                (Err(error), Err(part)) => {
                    let error = error.to_string();
                    assert!(error.starts_with(&format!("key file {shown}: {part}")), "{error}");
                }
                (got, expected) => panic!("{got:?} instead of {expected:?}"),
            }
        }
        let missing = MasterKey::from_file(&dir.path().join("none")).expect_err("no such file").to_string();
        assert!(missing.contains("none: No such file"), "{missing}");
    }

    #[test]
    fn a_unit_s_credential_may_show_its_access_list() {
        for (path, mode, exposed) in [
            ("/run/credentials/smallbrain.service/key", 0o440, false),
            ("/run/credentials/smallbrain.service/key", 0o400, false),
            ("/run/credentials/smallbrain.service/key", 0o444, true),
            ("/run/credentials-of-others/key", 0o440, true),
            ("/etc/smallbrain/key", 0o440, true),
            ("/etc/smallbrain/key", 0o600, false),
            ("/etc/smallbrain/key", 0o620, true),
        ] {
            assert_eq!(is_exposed(Path::new(path), mode), exposed, "{path} {mode:o}");
        }
    }

    #[test]
    fn hex_digits() {
        for (text, good) in
            [("00ff", Some(vec![0, 255])), ("0", None), ("0g", None), ("+1", None), ("", Some(vec![]))]
        {
            assert_eq!(hex(text.as_bytes()), good, "{text}");
        }
        assert!(matches!(MasterKey::from_hex("xy"), Err(KeyError::NotHex)));
        assert!(matches!(MasterKey::from_hex("0001"), Err(KeyError::Short(2))));
    }
}
