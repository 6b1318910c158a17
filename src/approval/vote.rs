//! Votes, and what is signed.
//!
//! ```text
//! digest = SHA-256(0x02 || LP(share) || LP(consumer) || LP(certificate) || LP(requester) || LP(purpose) || LP(tier) ||
//!                  LP(asked_ms) || LP(not_before_ms) || LP(not_after_ms) || LP(max_uses) || LP(reason))
//! text   = "smallbrain approval vote v1\n" id "\n" digest as hex "\n" ("yes" | "no") "\n" name "\n"
//! ```
//! LP is 0x01, a big-endian u32 length and the bytes; what is absent is one byte 0x00. Numbers are eight bytes, big endian.
//! A signature is Ed25519 over the text. A name is a word without spaces, so no line of the text can be two.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use super::{ApprovalId, Asked};
use crate::model::LineId;

/// What somebody hands in. Its `Debug` shows neither who nor what they wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Ballot {
    /// On which approval.
    pub approval: ApprovalId,
    /// Yes or no.
    pub yes: bool,
    /// Who, as the configuration calls them.
    pub name: Box<str>,
    /// Why, in words. Not signed.
    pub reason: Box<str>,
    /// Ed25519 over [`text`].
    pub signature: Vec<u8>,
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ballot({}: {})", self.approval, word(self.yes))
    }
}

/// A vote that was counted. Its `Debug` shows neither who nor what they wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Vote {
    /// Who.
    pub approver: LineId,
    /// As what.
    pub role: LineId,
    /// Yes or no.
    pub yes: bool,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Why, in words.
    pub reason: Box<str>,
    /// Ed25519 over [`text`].
    pub signature: Vec<u8>,
}

impl fmt::Debug for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vote({}: {})", self.role, word(self.yes))
    }
}

/// "yes" or "no".
#[must_use]
pub fn word(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

impl Asked {
    /// What voters sign of it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update([2]);
        let mut part = |bytes: Option<&[u8]>| match bytes {
            None => hash.update([0]),
            Some(bytes) => {
                hash.update([1]);
                hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
                hash.update(bytes);
            }
        };
        part(Some(self.share.as_str().as_bytes()));
        part(Some(self.consumer.as_str().as_bytes()));
        part(self.certificate.as_ref().map(<[u8; 32]>::as_slice));
        part(Some(self.requester.as_bytes()));
        part(Some(self.purpose.as_bytes()));
        part(Some(self.tier.as_str().as_bytes()));
        for ms in [self.asked_ms, self.not_before_ms, self.not_after_ms] {
            part(Some(&ms.to_be_bytes()));
        }
        let max_uses = self.max_uses.map(|most| u64::from(most).to_be_bytes());
        part(max_uses.as_ref().map(<[u8; 8]>::as_slice));
        part(Some(self.reason.as_bytes()));
        hash.finalize().into()
    }
}

/// What is signed.
#[must_use]
pub fn text(approval: ApprovalId, digest: &[u8; 32], yes: bool, name: &str) -> String {
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("smallbrain approval vote v1\n{approval}\n{digest}\n{}\n{name}\n", word(yes))
}

/// Whether a ballot is signed with the key of this public half.
#[must_use]
pub fn is_signed(ballot: &Ballot, asked: &Asked, public_key: &[u8; 32]) -> bool {
    let text = text(ballot.approval, &asked.digest(), ballot.yes, &ballot.name);
    UnparsedPublicKey::new(&ED25519, public_key).verify(text.as_bytes(), &ballot.signature).is_ok()
}

/// Whether bytes are signed with the key of this public half.
#[must_use]
pub fn has_signed(bytes: &[u8], signature: &[u8], public_key: &[u8; 32]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(bytes, signature).is_ok()
}

/// A voter's key; its bytes are never printed.
pub struct Signer(Ed25519KeyPair);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Of 32 secret bytes; none where they are no seed.
    #[must_use]
    pub fn from_seed(seed: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        key
    }

    /// Signs bytes that no text of a vote is, and that nobody else chose.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(bytes).as_ref());
        signature
    }

    /// A signed ballot.
    #[must_use]
    pub fn ballot(&self, approval: ApprovalId, asked: &Asked, yes: bool, name: &str, reason: &str) -> Ballot {
        let text = text(approval, &asked.digest(), yes, name);
        let signature = self.0.sign(text.as_bytes()).as_ref().to_vec();
        Ballot { approval, yes, name: name.into(), reason: reason.into(), signature }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            share: "S-003".parse().expect("a line"),
            consumer: "spiffe://city.example/one".parse().expect("a consumer"),
            certificate: None,
            requester: "li.clerk".into(),
            purpose: "traffic.peak".into(),
            tier: "T2".parse().expect("a tier"),
            asked_ms: 1,
            not_before_ms: 2,
            not_after_ms: 3,
            max_uses: None,
            reason: "".into(),
        }
    }

    #[test]
    fn every_field_counts_and_none_slides_into_the_next() {
        let plain = asked();
        let others = [
            Asked { share: "S-004".parse().expect("a line"), ..plain.clone() },
            Asked { consumer: "spiffe://city.example/two".parse().expect("a consumer"), ..plain.clone() },
            Asked { certificate: Some([0; 32]), ..plain.clone() },
            Asked { requester: "li.clerkt".into(), purpose: "raffic.peak".into(), ..plain.clone() },
            Asked { requester: "li".into(), ..plain.clone() },
            Asked { purpose: "other".into(), ..plain.clone() },
            Asked { tier: "T1".parse().expect("a tier"), ..plain.clone() },
            Asked { asked_ms: 2, not_before_ms: 1, ..plain.clone() },
            Asked { not_after_ms: 4, ..plain.clone() },
            Asked { max_uses: Some(0), ..plain.clone() },
            Asked { max_uses: Some(1), ..plain.clone() },
            Asked { reason: "x".into(), ..plain.clone() },
        ];
        let mut digests: Vec<_> = others.iter().chain([&plain]).map(Asked::digest).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), others.len() + 1);
    }

    #[test]
    fn a_signature_holds_for_its_approval_its_word_and_its_name_alone() {
        let (signer, asked, id) =
            (Signer::from_seed(&[7; 32]).expect("a seed"), asked(), ApprovalId([1; 16]));
        let key = signer.public_key();
        let good = signer.ballot(id, &asked, true, "zhang", "fine");
        assert!(is_signed(&good, &asked, &key));
        // The reason is not signed.
        assert!(is_signed(&Ballot { reason: "other".into(), ..good.clone() }, &asked, &key));
        for other in [
            Ballot { approval: ApprovalId([2; 16]), ..good.clone() },
            Ballot { yes: false, ..good.clone() },
            Ballot { name: "wang".into(), ..good.clone() },
            Ballot { signature: vec![0; 64], ..good.clone() },
            Ballot { signature: Vec::new(), ..good.clone() },
        ] {
            assert!(!is_signed(&other, &asked, &key), "{other:?}");
        }
        assert!(!is_signed(&good, &Asked { not_after_ms: 4, ..asked.clone() }, &key));
        assert!(!is_signed(&good, &asked, &Signer::from_seed(&[8; 32]).expect("a seed").public_key()));
        assert!(Signer::from_seed(&[7; 31]).is_none());
    }

    #[test]
    fn what_is_signed_is_a_text_of_five_lines() {
        let text = text(ApprovalId([0xab; 16]), &[0xcd; 32], false, "property-manager");
        let lines: Vec<&str> = text.split('\n').collect();
        let (id, digest) = ("ab".repeat(16), "cd".repeat(32));
        assert_eq!(lines, ["smallbrain approval vote v1", &id, &digest, "no", "property-manager", ""]);
    }
}
