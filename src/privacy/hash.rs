//! Hashes in hex, for trying out and for checking against other tools.
//!
//! Guarantees: SM3 of GB/T 32905-2016, HMAC of RFC 2104 over SHA-256 and SM3. They protect nobody: all mobile numbers can be
//! hashed in minutes, and a keyed hash without purpose and epoch links everything. What leaves is a
//! [pseudonym](super::pseudonym).

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sm3::{Digest, Sm3};

/// SM3.
#[must_use]
pub fn sm3(bytes: &[u8]) -> String {
    hex(&Sm3::digest(bytes))
}

/// HMAC-SHA-256.
#[must_use]
pub fn hmac_sha256(key: &[u8], bytes: &[u8]) -> String {
    keyed::<Hmac<Sha256>>(key, bytes)
}

/// HMAC-SM3.
#[must_use]
pub fn hmac_sm3(key: &[u8], bytes: &[u8]) -> String {
    keyed::<Hmac<Sm3>>(key, bytes)
}

fn keyed<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> String {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(bytes);
    hex(&mac.finalize().into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GB/T 32905-2016 A.1 and A.2; RFC 4231, case 2; HMAC-SM3 as OpenSSL has it.
    #[test]
    fn published_values() {
        let long = "abcd".repeat(16);
        for (got, expected) in [
            (sm3(b"abc"), "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
            (sm3(long.as_bytes()), "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
            (
                hmac_sha256(b"Jefe", b"what do ya want for nothing?"),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                hmac_sm3(b"password", "test中文".as_bytes()),
                "493e3f9a1896b43075fbe54658076727960d69632ac6b6ed932195857a6840c6",
            ),
        ] {
            assert_eq!(got, expected);
        }
    }
}
