//! Signed positions of the trail: what a witness keeps.
//!
//! ```text
//! note = "smallbrain/" || trail as hex || "\n" || size || "\n" || base64(head) || "\n"     (C2SP checkpoint body)
//! signature = Ed25519(key, note)
//! ```

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::chain::{Hash, Head};

/// A signed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// "smallbrain/<trail as hex>".
    pub origin: String,
    /// Rows, and the hash of the last.
    pub head: Head,
    /// When, milliseconds since 1970 UTC. Not signed: order is by size.
    pub at_ms: i64,
    /// Ed25519 over the note.
    pub signature: Vec<u8>,
}

/// The name of a trail towards witnesses.
#[must_use]
pub fn origin(trail: &[u8]) -> String {
    let mut origin = String::from("smallbrain/");
    for byte in trail {
        origin.push_str(&format!("{byte:02x}"));
    }
    origin
}

/// What is signed.
#[must_use]
pub fn note(origin: &str, size: u64, head: &Hash) -> String {
    format!("{origin}\n{size}\n{}\n", STANDARD.encode(head))
}

impl Checkpoint {
    /// Whether the signature is of this public key.
    #[must_use]
    pub fn is_signed_by(&self, public_key: &[u8]) -> bool {
        let note = note(&self.origin, self.head.seq, &self.head.hash);
        UnparsedPublicKey::new(&ED25519, public_key).verify(note.as_bytes(), &self.signature).is_ok()
    }
}

/// The gateway's key for its trail; its bytes are never printed.
pub struct Signer(Ed25519KeyPair);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Of 32 secret bytes.
    ///
    /// # Errors
    /// They are no seed of a key.
    pub fn from_seed(seed: &[u8]) -> Result<Self, &'static str> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| "an Ed25519 seed has 32 bytes")
    }

    /// The public half, 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Signs a position.
    #[must_use]
    pub fn sign(&self, trail: &[u8], head: Head, at_ms: i64) -> Checkpoint {
        let origin = origin(trail);
        let signature = self.0.sign(note(&origin, head.seq, &head.hash).as_bytes()).as_ref().to_vec();
        Checkpoint { origin, head, at_ms, signature }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_position_alone() {
        let signer = Signer::from_seed(&[7; 32]).expect("a seed");
        let head = Head { seq: 3, hash: [9; 32] };
        let good = signer.sign(b"trail", head, 5);
        assert!(good.is_signed_by(signer.public_key()));
        for other in [
            Checkpoint { origin: "smallbrain/00".into(), ..good.clone() },
            Checkpoint { head: Head { seq: 4, ..head }, ..good.clone() },
            Checkpoint { head: Head { hash: [8; 32], ..head }, ..good.clone() },
            Checkpoint { signature: vec![0; 64], ..good.clone() },
        ] {
            assert!(!other.is_signed_by(signer.public_key()), "{other:?}");
        }
        assert!(!good.is_signed_by(Signer::from_seed(&[8; 32]).expect("a seed").public_key()));
        assert!(Signer::from_seed(&[7; 31]).is_err());
    }
}
