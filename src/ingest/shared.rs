//! What the city asks for when it shares a list, and why it does not get it.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::model::{Consumer, LineId};
use crate::rules::listed::Entry;

/// A list as it is to be from now on. Its `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Put {
    /// Who puts it.
    pub consumer: Consumer,
    /// Chosen by the consumer: the same one again changes nothing and is answered the same.
    pub request: String,
    /// SHA-256 of the request without its id.
    pub asked: [u8; 32],
    /// Which list.
    pub list: LineId,
    /// From 1, goes up.
    pub version: u64,
    /// When it is over, milliseconds since 1970 UTC.
    pub until_ms: i64,
    /// Each key once, in any order.
    pub entries: Vec<Entry>,
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, list, version, entries, .. } = self;
        write!(f, "Put({consumer}: {list}@{version}, {} entries)", entries.len())
    }
}

impl Put {
    /// What makes two versions of a list the same: its end and its entries, whatever their order.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        let mut hash = Sha256::new();
        hash.update(self.until_ms.to_le_bytes());
        for Entry { key, from_ms, until_ms } in entries {
            hash.update((key.len() as u64).to_le_bytes());
            hash.update(key.as_bytes());
            hash.update(from_ms.unwrap_or(i64::MIN).to_le_bytes());
            hash.update(until_ms.unwrap_or(i64::MAX).to_le_bytes());
        }
        hash.finalize().into()
    }
}

/// Why a list is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The configuration has no such list from this consumer.
    #[error("the gateway has no shared list {0} from this consumer: ask its operator for a [[shared_list]]")]
    NotTheirs(LineId),
    /// The gateway has a newer one, or another one of this version.
    #[error("list {list} is at version {ours} and version {theirs} does not follow: put a higher one")]
    Old {
        /** Which. */
        list: LineId,
        /** The gateway's. */
        ours: u64,
        /** Theirs. */
        theirs: u64,
    },
    /// More entries than it may have.
    #[error("list {list} may have {most} entries, not {found}: leave out what is over")]
    Full {
        /** Which. */
        list: LineId,
        /** As the configuration says. */
        most: usize,
        /** As they came. */
        found: usize,
    },
    /// The request's id was used for something else.
    #[error("this request_id came before with another request: choose a new one")]
    Reused,
}
