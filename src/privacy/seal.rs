//! Values sealed to a public key (age, X25519): only who has the other half, elsewhere, can open them.
//!
//! ```text
//! sealed = "age:" + base64 (RFC 4648 §4) of a binary age file (age-encryption.org/v1) of the value as a text
//! ```
//!
//! Guarantees: this gateway cannot open what it sealed, because it never has the identity; the same value sealed twice gives
//! two texts, so sealed values cannot be compared. A sealed text is longer by some hundred bytes, a few of them more or less
//! each time, so it tells about how long the value is.

use std::fmt;
use std::io::Write;

use age::x25519::Recipient;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::model::Value;

/// What a sealed text begins with.
pub const PREFIX: &str = "age:";

/// Seals to one recipient.
#[derive(Clone, PartialEq)]
pub struct Sealer(Recipient);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// To a recipient `age1…`, as `age-keygen` prints it.
    ///
    /// # Errors
    /// What is wrong with the text; an identity, which has no business here, is named as such.
    pub fn new(recipient: &str) -> Result<Self, &'static str> {
        let recipient = recipient.trim();
        // The text of an identity is a secret: it is not shown again.
        if recipient.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") {
            return Err(
                "this is the secret half of a key: take the line of its public key (age1…), and make a new key",
            );
        }
        recipient
            .parse()
            .map(Self)
            .map_err(|_| "no age recipient: age1 and 58 characters, as age-keygen prints it")
    }

    /// The sealed text; `None` when the system gives no random numbers.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let plain = match value {
            Value::Text(text) => text.to_string(),
            Value::Number(number) => number.normalize().to_string(),
            Value::Flag(flag) => flag.to_string(),
        };
        let recipient: &dyn age::Recipient = &self.0;
        let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient)).ok()?;
        let mut sealed = Vec::new();
        let mut writer = encryptor.wrap_output(&mut sealed).ok()?;
        writer.write_all(plain.as_bytes()).ok()?;
        writer.finish().ok()?;
        Some(Value::Text(format!("{PREFIX}{}", STANDARD.encode(sealed)).into()))
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret;
    use age::x25519::Identity;
    use rust_decimal::Decimal;

    use super::*;

    fn sealed(identity: &Identity, value: &Value) -> String {
        let sealer = Sealer::new(&identity.to_public().to_string()).expect("a recipient");
        match sealer.apply(value) {
            Some(Value::Text(sealed)) => sealed.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_has_the_identity_can_open_it_and_nobody_else() {
        let (own, other) = (Identity::generate(), Identity::generate());
        for (value, plain) in [
            (Value::Text("13800138000".into()), "13800138000"),
            (Value::Number(Decimal::new(1250, 2)), "12.5"),
            (Value::Flag(true), "true"),
            (Value::Text("".into()), ""),
        ] {
            let text = sealed(&own, &value);
            let bytes = STANDARD.decode(text.strip_prefix(PREFIX).expect("the prefix")).expect("base64");
            assert_eq!(age::decrypt(&own, &bytes).expect("opened"), plain.as_bytes());
            assert!(age::decrypt(&other, &bytes).is_err());
            assert_ne!(sealed(&own, &value), text, "never the same text twice");
            assert!(plain.is_empty() || !text.contains("13800138000"));
        }
    }

    #[test]
    fn recipients_are_checked() {
        let identity = Identity::generate();
        let secret = identity.to_string();
        for (text, message) in [
            (secret.expose_secret(), "secret half"),
            ("", "no age recipient"),
            ("age1", "no age recipient"),
            ("ssh-ed25519 AAAA", "no age recipient"),
        ] {
            let error = Sealer::new(text).expect_err("no recipient");
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(format!("{:?}", Sealer::new(&identity.to_public().to_string()).expect("good")), "Sealer");
    }
}
