//! What a consumer keeps of a gateway's audit trail, so that the gateway cannot change it unnoticed. Pure.
//!
//! Guarantees: a checkpoint is taken only if it goes on from what was taken before: the same trail, never fewer rows, never
//! another head for a size that is known, and, where the gateway's public key is known, signed with it. Keeps the newest one;
//! whoever wants all of them stores each that is taken.

use crate::audit::checkpoint::Checkpoint;
use crate::wire::{self, v1};

/// A checkpoint that does not fit what is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Suspect {
    /// No checkpoint at all.
    #[error("it covers no row or its head is no hash")]
    Malformed,
    /// Another trail.
    #[error("it is of trail {theirs}, the one kept is of {ours}: the gateway has another store")]
    Origin {
        /** The one kept. */
        ours: String,
        /** The one told. */
        theirs: String,
    },
    /// Fewer rows than before.
    #[error("the trail has {told} rows, it had {kept}: it was cut or put back")]
    Shorter {
        /** As kept. */
        kept: u64,
        /** As told. */
        told: u64,
    },
    /// Another head.
    #[error("the trail of {size} rows has another head than the one kept: it was changed")]
    Changed {
        /** Rows. */
        size: u64,
    },
    /// Signed by somebody else.
    #[error("the checkpoint of {size} rows is not signed with the gateway's audit key")]
    Signature {
        /** Rows. */
        size: u64,
    },
}

/// What is known of a trail.
#[derive(Clone, Debug, Default)]
pub struct Book {
    key: Option<[u8; 32]>,
    newest: Option<Checkpoint>,
}

impl Book {
    /// An empty one; with the gateway's public audit key every signature is verified.
    #[must_use]
    pub fn new(key: Option<[u8; 32]>) -> Self {
        Self { key, newest: None }
    }

    /// The newest that was taken.
    #[must_use]
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.newest.as_ref()
    }

    /// Looks at what a gateway tells: the checkpoint when it is new, nothing when it is the one that is known.
    ///
    /// # Errors
    /// [`Suspect`].
    pub fn look(&self, told: &v1::AuditCheckpoint) -> Result<Option<Checkpoint>, Suspect> {
        let told = wire::checkpoint_of(told).ok_or(Suspect::Malformed)?;
        self.is_new(&told).map(|new| new.then_some(told))
    }

    /// Takes a checkpoint; tells whether it is new.
    ///
    /// # Errors
    /// [`Suspect`]; nothing is taken then.
    pub fn take(&mut self, told: Checkpoint) -> Result<bool, Suspect> {
        let new = self.is_new(&told)?;
        if new {
            self.newest = Some(told);
        }
        Ok(new)
    }

    fn is_new(&self, told: &Checkpoint) -> Result<bool, Suspect> {
        let size = told.head.seq;
        if self.key.is_some_and(|key| !told.is_signed_by(&key)) {
            return Err(Suspect::Signature { size });
        }
        let Some(kept) = &self.newest else { return Ok(true) };
        if kept.origin != told.origin {
            return Err(Suspect::Origin { ours: kept.origin.clone(), theirs: told.origin.clone() });
        }
        if size < kept.head.seq {
            return Err(Suspect::Shorter { kept: kept.head.seq, told: size });
        }
        if size == kept.head.seq && told.head != kept.head {
            return Err(Suspect::Changed { size });
        }
        Ok(size > kept.head.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::Head;
    use crate::audit::checkpoint::Signer;

    #[test]
    fn a_book_takes_what_goes_on_and_nothing_else() {
        let signer = Signer::from_seed(&[7; 32]).expect("a seed");
        let other = Signer::from_seed(&[8; 32]).expect("a seed");
        let made = |by: &Signer, trail: &[u8], seq, hash| by.sign(trail, Head { seq, hash: [hash; 32] }, 0);
        let key = signer.public_key().try_into().expect("32 bytes");
        let foreign = made(&other, b"t", 9, 9);
        for (book, checks) in [(Book::new(None), false), (Book::new(Some(key)), true)] {
            let mut book = book;
            let cases = [
                ("first", made(&signer, b"t", 3, 3), Ok(true)),
                ("again", made(&signer, b"t", 3, 3), Ok(false)),
                ("more", made(&signer, b"t", 5, 5), Ok(true)),
                ("less", made(&signer, b"t", 4, 4), Err(Suspect::Shorter { kept: 5, told: 4 })),
                ("another head", made(&signer, b"t", 5, 6), Err(Suspect::Changed { size: 5 })),
                (
                    "another trail",
                    made(&signer, b"u", 9, 9),
                    Err(Suspect::Origin { ours: "smallbrain/74".into(), theirs: "smallbrain/75".into() }),
                ),
                (
                    "another key",
                    foreign.clone(),
                    if checks { Err(Suspect::Signature { size: 9 }) } else { Ok(true) },
                ),
            ];
            for (what, told, expected) in cases {
                let look = book.look(&wire::checkpoint(&told));
                assert_eq!(look.map(|new| new.is_some()), expected, "{what}");
                assert_eq!(book.take(told), expected, "{what}");
            }
        }
        let none = v1::AuditCheckpoint::default();
        assert_eq!(Book::default().look(&none), Err(Suspect::Malformed));
    }
}
