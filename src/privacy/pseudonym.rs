//! Keyed names: HMAC-SHA256 under a key derived per purpose, subscriber and epoch.

use crate::model::Value;

/// The master key; its bytes are never printed.
#[derive(Clone)]
pub struct MasterKey(std::sync::Arc<[u8]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({} bytes)", self.0.len())
    }
}

impl MasterKey {
    /// Reads the key from a file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn from_file(path: &std::path::Path) -> Result<Self, std::io::Error> {
        Ok(Self(std::fs::read(path)?.into()))
    }
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

/// One purpose's pseudonyms.
#[derive(Clone, Debug)]
pub struct Pseudonymiser {}

impl Pseudonymiser {
    /// For one purpose, subscriber and epoch of key.
    #[must_use]
    pub fn new(master: &MasterKey, purpose: &str, subscriber: &str, epoch: &str, subject: Subject) -> Self {
        let _ = (master, purpose, subscriber, epoch, subject);
        Self {}
    }

    /// The token; `None` for a value that is no text or number.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let _ = value;
        todo!()
    }
}
