//! The two doors. Inwards ([`intake`]) the collection list decides what may be kept, outwards ([`release`]) the share
//! list decides what may leave; both answer with [`Cleared`], and nothing else can build one.

pub mod generalise;
pub mod intake;
pub mod pseudonym;
pub mod release;

/// Something that a policy let through. Store, share and uplink take nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleared<T>(T);

impl<T> Cleared<T> {
    /// What was let through.
    pub fn get(&self) -> &T {
        &self.0
    }
}
