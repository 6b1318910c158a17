//! Keyed names: the same subject, purpose, subscriber and epoch give the same token, anything else an unlinkable one.
//!
//! ```text
//! K     = HKDF(hash, ikm = master || secret, salt = empty, info = "scn/pseud/v1|" purpose "|" subscriber "|" epoch), 32 bytes
//! token = "p1_" + base32 lower (HMAC(hash, K, subject || 0x1f || normalised)[0..16])
//! ```
//! (HKDF: RFC 5869; HMAC: RFC 2104; SHA-256 or SM3, GB/T 32905; base32: RFC 4648 §6, lower case, no padding; "p1" names
//! this scheme. The secret is that of the epoch ([`Ring`]); it is empty for names that do not end with their epoch, and on
//! the command line.)
//!
//! Guarantees: no token without a key of at least 32 bytes that nobody but the owner can read, and none before the epoch's
//! secret is there where it is needed; no `Debug` and no error shows a key or a value. It does not detect what kind of name a
//! text is, and a token stays personal information: it can be linked within its purpose.

mod epoch;
mod key;
mod ring;
mod subject;

use std::fmt;
use std::sync::Arc;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sm3::Sm3;

pub use epoch::{Epoch, Length};
pub(crate) use key::hex;
pub use key::{KEY_BYTES_MIN, KeyError, MasterKey, is_exposed};
pub use ring::{Ring, RingError, Secret, Settings, Turned};
pub use subject::Subject;

use crate::model::Value;

/// Which hash keys and tokens are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Hash {
    /// SHA-256.
    #[default]
    Sha256,
    /// SM3, where SM algorithms are asked for.
    Sm3,
}

/// Within what tokens can be linked. None of the three may contain a `|`, which separates them.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'s> {
    /// What the data is taken for.
    pub purpose: &'s str,
    /// Who it is for.
    pub subscriber: &'s str,
    /// Until when: the name of an [`Epoch`].
    pub epoch: &'s str,
}

/// One purpose's pseudonyms.
#[derive(Clone)]
pub struct Pseudonymiser {
    subject: Subject,
    key: Key,
}

#[derive(Clone)]
enum Key {
    /// Waits for the epoch's secret.
    Half(Half),
    /// Cloned for each token.
    Sha256(Hmac<Sha256>),
    /// The same.
    Sm3(Hmac<Sm3>),
}

/// What the key is made of, but for the epoch's secret.
#[derive(Clone)]
struct Half {
    hash: Hash,
    master: MasterKey,
    info: Arc<str>,
}

impl Half {
    fn whole(&self, secret: &[u8]) -> Key {
        let material = [&self.master.0, secret].concat();
        let mut key = [0; 32];
        let fits = "32 bytes are within the 255 blocks of HKDF";
        let any = "HMAC takes a key of any length";
        match self.hash {
            Hash::Sha256 => {
                Hkdf::<Sha256>::new(None, &material).expand(self.info.as_bytes(), &mut key).expect(fits);
                Key::Sha256(Hmac::new_from_slice(&key).expect(any))
            }
            Hash::Sm3 => {
                Hkdf::<Sm3>::new(None, &material).expand(self.info.as_bytes(), &mut key).expect(fits);
                Key::Sm3(Hmac::new_from_slice(&key).expect(any))
            }
        }
    }
}

impl fmt::Debug for Pseudonymiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonymiser")
    }
}

impl Pseudonymiser {
    /// With the master key alone: whoever has that can make these tokens for good.
    #[must_use]
    pub fn new(hash: Hash, master: &MasterKey, scope: Scope<'_>, subject: Subject) -> Self {
        let Self { key, .. } = Self::of_epoch(hash, master, scope, subject);
        let key = if let Key::Half(half) = key { half.whole(&[]) } else { key };
        Self { subject, key }
    }

    /// With a secret of the epoch besides: makes no token before [`mix`](Self::mix) brings that.
    #[must_use]
    pub fn of_epoch(hash: Hash, master: &MasterKey, scope: Scope<'_>, subject: Subject) -> Self {
        let Scope { purpose, subscriber, epoch } = scope;
        let info = format!("scn/pseud/v1|{purpose}|{subscriber}|{epoch}").into();
        Self { subject, key: Key::Half(Half { hash, master: master.clone(), info }) }
    }

    /// Brings the secret of the epoch. Changes nothing where none is waited for.
    pub fn mix(&mut self, secret: &Secret) {
        if let Key::Half(half) = &self.key {
            self.key = half.whole(&secret.0);
        }
    }

    /// The token; `None` for a value that is no text or number, or has nothing left after normalising, and while the secret
    /// of the epoch is not there.
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
        let mut token = String::from("p1_");
        match &self.key {
            Key::Half(_) => return None,
            Key::Sha256(mac) => base32_lower(&self.tag(mac.clone(), &name)[..16], &mut token),
            Key::Sm3(mac) => base32_lower(&self.tag(mac.clone(), &name)[..16], &mut token),
        }
        Some(Value::Text(token.into()))
    }

    fn tag<M: Mac>(&self, mut mac: M, name: &str) -> Vec<u8> {
        mac.update(self.subject.as_str().as_bytes());
        mac.update(&[0x1f]);
        mac.update(name.as_bytes());
        mac.finalize().into_bytes().to_vec()
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

    fn scope<'s>(purpose: &'s str, subscriber: &'s str, epoch: &'s str) -> Scope<'s> {
        Scope { purpose, subscriber, epoch }
    }

    fn pseudonymiser(subscriber: &str, subject: Subject) -> Pseudonymiser {
        let scope = scope("traffic-flow", subscriber, "2026-11");
        Pseudonymiser::new(Hash::Sha256, &master(), scope, subject)
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

    /// Of another implementation of the same scheme.
    #[test]
    fn with_sm3() {
        let scope = scope("traffic-flow", "city-brain", "2026-11");
        let mobile = Pseudonymiser::new(Hash::Sm3, &master(), scope, Subject::Mobile);
        let token = mobile.apply(&Value::Text("+86 138 0013 8000".into()));
        assert_eq!(token, Some(Value::Text("p1_g6zvo4vydiieofbchl632nq2ri".into())));
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
    fn no_token_before_the_secret_and_another_with_another() {
        let value = Value::Text("13800138000".into());
        let scope = scope("traffic-flow", "city-brain", "2026-11");
        for hash in [Hash::Sha256, Hash::Sm3] {
            let waiting = Pseudonymiser::of_epoch(hash, &master(), scope, Subject::Mobile);
            assert_eq!(waiting.apply(&value), None);
            let with = |byte: u8| {
                let mut whole = waiting.clone();
                whole.mix(&Secret::new([byte; 32]));
                whole.apply(&value).expect("a token")
            };
            assert_eq!(with(1), with(1));
            assert_ne!(with(1), with(2));
            let alone = Pseudonymiser::new(hash, &master(), scope, Subject::Mobile);
            assert_ne!(alone.apply(&value), Some(with(1)));
            let mut mixed = alone.clone();
            mixed.mix(&Secret::new([1; 32]));
            assert_eq!(mixed.apply(&value), alone.apply(&value), "it waits for none");
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
            for (hash, scope) in [
                (Hash::Sha256, scope("parking", "city-brain", "2026-11")),
                (Hash::Sha256, scope("traffic-flow", "city-brain", "2026-12")),
                (Hash::Sm3, scope("traffic-flow", "city-brain", "2026-11")),
            ] {
                let other = Pseudonymiser::new(hash, &master(), scope, Subject::Code);
                prop_assert_ne!(&token, &other.apply(&value));
            }
            prop_assert_eq!(token == own.apply(&Value::Text(other.as_str().into())), text == other);
            let Some(Value::Text(token)) = token else { return Err(TestCaseError::fail("no token")) };
            prop_assert!(token.len() == 29 && token.starts_with("p1_"));
        }
    }
}
