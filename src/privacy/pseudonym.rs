//! Keyed names: the same subject, purpose, subscriber and epoch give the same token, anything else an unlinkable one.
//!
//! ```text
//! K     = HKDF-SHA256(ikm = master, salt = empty, info = "scn/pseud/v1|" purpose "|" subscriber "|" epoch), 32 bytes
//! token = "p1_" + base32 lower (HMAC-SHA256(K, subject || 0x1f || normalised)[0..16])
//! ```
//! (HKDF: RFC 5869; HMAC: RFC 2104; base32: RFC 4648 §6, lower case, no padding; "p1" names the algorithms.)
//!
//! Guarantees: no token without a key of at least 32 bytes that nobody but the owner can read; no `Debug` and no error
//! shows a key or a value. It does not detect what kind of name a text is, and a token stays personal information: it
//! can be linked within its purpose.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::Value;

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
pub struct MasterKey(Arc<[u8]>);

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

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// What kind of name it is; decides how it is normalised first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Mobile number.
    Mobile,
    /// 18-digit resident id.
    Id18,
    /// Vehicle plate.
    Plate,
    /// Anything else: a card number, an employee number.
    Code,
}

impl Subject {
    /// The name in the token's input.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Mobile => "mobile",
            Subject::Id18 => "id18",
            Subject::Plate => "plate",
            Subject::Code => "code",
        }
    }

    /// One spelling for all the ways to write a name: full-width forms (U+FF01–FF5E) as ASCII, nothing invisible, no
    /// separators, upper case, a mobile number without its country code.
    fn normalise(self, text: &str) -> String {
        let name: String =
            text.chars().map(half_width).filter(|&c| self.keeps(c)).flat_map(char::to_uppercase).collect();
        if self == Subject::Mobile { national(&name) } else { name }
    }

    fn keeps(self, c: char) -> bool {
        match self {
            // Made of letters and digits only: everything else separates.
            Subject::Id18 | Subject::Plate => c.is_alphanumeric(),
            Subject::Mobile => c.is_alphanumeric() || c == '+',
            Subject::Code => !c.is_whitespace() && !is_invisible(c) && !is_dash(c),
        }
    }
}

fn half_width(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    }
}

/// Zero-width, bidirectional and control characters.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}')
}

/// Without +86, 0086, or a bare 86 before the eleven digits of a mobile number.
fn national(number: &str) -> String {
    let is_mobile = |rest: &&str| rest.len() == 11 && rest.starts_with('1');
    let national = number
        .strip_prefix("+86")
        .or_else(|| number.strip_prefix("0086"))
        .or_else(|| number.strip_prefix("86").filter(is_mobile))
        .unwrap_or(number);
    national.replace('+', "")
}

/// One purpose's pseudonyms.
#[derive(Clone)]
pub struct Pseudonymiser {
    /// Keyed; cloned for each token.
    mac: Hmac<Sha256>,
    subject: Subject,
}

impl fmt::Debug for Pseudonymiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonymiser")
    }
}

impl Pseudonymiser {
    /// For one purpose, subscriber and epoch of key. None of the three may contain a `|`, which separates them.
    #[must_use]
    pub fn new(master: &MasterKey, purpose: &str, subscriber: &str, epoch: &str, subject: Subject) -> Self {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(None, &master.0)
            .expand(format!("scn/pseud/v1|{purpose}|{subscriber}|{epoch}").as_bytes(), &mut key)
            .expect("32 bytes are within the 255 blocks of HKDF");
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Self { mac, subject }
    }

    /// The token; `None` for a value that is no text or number, or has nothing left after normalising.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let name = match value {
            Value::Text(text) => self.subject.normalise(text),
            Value::Number(number) => self.subject.normalise(&number.normalize().to_string()),
            Value::Flag(_) => return None,
        };
        if name.is_empty() {
            return None;
        }
        let mut mac = self.mac.clone();
        mac.update(self.subject.as_str().as_bytes());
        mac.update(&[0x1f]);
        mac.update(name.as_bytes());
        let tag = mac.finalize().into_bytes();
        let mut token = String::from("p1_");
        base32_lower(&tag[..16], &mut token);
        Some(Value::Text(token.into()))
    }
}

/// RFC 4648 §6 in lower case without padding.
fn base32_lower(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut rest: u32 = 0;
    let mut bits = 0;
    for byte in bytes {
        rest = rest << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(DIGITS[(rest >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        out.push(char::from(DIGITS[(rest << (5 - bits)) as usize & 31]));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;

    fn master() -> MasterKey {
        MasterKey::new(&(0..32).collect::<Vec<u8>>()).expect("32 different bytes")
    }

    fn pseudonymiser(subscriber: &str, subject: Subject) -> Pseudonymiser {
        Pseudonymiser::new(&master(), "traffic-flow", subscriber, "2026-11", subject)
    }

    fn token(subject: Subject, text: &str) -> Option<Value> {
        pseudonymiser("city-brain", subject).apply(&Value::Text(text.into()))
    }

    /// Reference vectors D084, D085, D090, D091; below each, other spellings of the same name.
    #[test]
    fn vectors() {
        const MOBILE: &str = "p1_2zf5yendmy777beoiv2uj2jg6q";
        const ID18: &str = "p1_r5m3arqsev6b3bqs7hmgtrl35y";
        const PLATE: &str = "p1_dtltbpbcwj23aa54s7es6d2ime";
        for (subject, text, expected) in [
            (Subject::Mobile, "138-0013-8000", MOBILE),
            (Subject::Mobile, "+86 138 0013 8000", MOBILE),
            (Subject::Mobile, "13800138000", MOBILE),
            (Subject::Mobile, "008613800138000", MOBILE),
            (Subject::Mobile, "86-138-0013-8000", MOBILE),
            (Subject::Mobile, "(+86) 138.0013.8000", MOBILE),
            (Subject::Mobile, "１３８００１３８０００", MOBILE),
            (Subject::Mobile, "＋８６　１３８－００１３－８０００", MOBILE),
            (Subject::Mobile, "138\u{200b}0013\u{feff}8000\u{200d}", MOBILE),
            (Subject::Id18, "11010519491231002x", ID18),
            (Subject::Id18, "110105 19491231 002X", ID18),
            (Subject::Id18, "１１０１０５１９４９１２３１００２ｘ", ID18),
            (Subject::Plate, "沪a·d12345", PLATE),
            (Subject::Plate, "沪AD12345", PLATE),
            (Subject::Plate, "沪A•D12345", PLATE),
            (Subject::Plate, "沪Ａ D-12345", PLATE),
        ] {
            assert_eq!(token(subject, text), Some(Value::Text(expected.into())), "{subject:?}");
        }
        let number = Value::Number(Decimal::new(138_001_380_000, 1));
        let expected = Some(Value::Text(MOBILE.into()));
        assert_eq!(pseudonymiser("city-brain", Subject::Mobile).apply(&number), expected);
    }

    #[test]
    fn names_that_must_not_meet() {
        for (subject, one, other) in [
            (Subject::Code, "1.2", "12"),
            (Subject::Code, "A/7", "A7"),
            (Subject::Plate, "沪AD12345", "沪AD12346"),
            (Subject::Mobile, "13800138000", "13900139000"),
        ] {
            assert_ne!(token(subject, one), token(subject, other), "{subject:?} {one}");
        }
        assert_eq!(token(Subject::Code, "a-7 "), token(Subject::Code, "Ａ7"));
        assert_ne!(token(Subject::Code, "13800138000"), token(Subject::Mobile, "13800138000"));
    }

    #[test]
    fn nothing_gives_no_token() {
        for text in ["", " ", "--", "\u{200b}"] {
            assert_eq!(token(Subject::Code, text), None, "{text:?}");
            assert_eq!(token(Subject::Mobile, text), None, "{text:?}");
        }
        assert_eq!(token(Subject::Mobile, "+86"), None);
        assert_eq!(pseudonymiser("city-brain", Subject::Code).apply(&Value::Flag(true)), None);
    }

    #[test]
    fn base32_of_the_rfc() {
        for (bytes, expected) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            let mut out = String::new();
            base32_lower(bytes.as_bytes(), &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn debug_tells_nothing() {
        let shown = format!("{:?} {:?}", master(), pseudonymiser("city-brain", Subject::Mobile));
        assert_eq!(shown, "MasterKey Pseudonymiser");
    }

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

    proptest! {
        #[test]
        fn equal_within_a_purpose_different_across(text in "[0-9A-Z]{1,20}", other in "[0-9A-Z]{1,20}") {
            let value = Value::Text(text.as_str().into());
            let own = pseudonymiser("city-brain", Subject::Code);
            let token = own.apply(&value);
            prop_assert_eq!(&token, &pseudonymiser("city-brain", Subject::Code).apply(&value));
            prop_assert_ne!(&token, &pseudonymiser("street-office", Subject::Code).apply(&value));
            let (purpose, epoch) = (
                Pseudonymiser::new(&master(), "parking", "city-brain", "2026-11", Subject::Code),
                Pseudonymiser::new(&master(), "traffic-flow", "city-brain", "2026-12", Subject::Code),
            );
            prop_assert_ne!(&token, &purpose.apply(&value));
            prop_assert_ne!(&token, &epoch.apply(&value));
            prop_assert_eq!(token == own.apply(&Value::Text(other.as_str().into())), text == other);
            let Some(Value::Text(token)) = token else { return Err(TestCaseError::fail("no token")) };
            prop_assert!(token.len() == 29 && token.starts_with("p1_"));
        }
    }
}
