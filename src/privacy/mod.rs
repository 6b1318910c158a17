//! The two doors. Inwards ([`intake`]) the collection list decides what may be kept, outwards ([`release`]) the share
//! list decides what may leave; both answer with [`Cleared`], and nothing else can build one.
//!
//! Guarantees: default deny at both doors; what a policy cannot be applied to is refused, never passed on as it is; no
//! error and no `Debug` here shows a value or a key. What it does not do: decide what the lists say (configuration),
//! count what is refused (the caller, by the [`Loss`](crate::model::Loss) it gets).
//!
//! The only way to a cleared reading is through the door:
//!
//! ```
//! use smallbrain::model::{Quality, Reading, SeriesKey, Value};
//! use smallbrain::privacy::{Cleared, intake};
//!
//! let reading = Reading {
//!     series: SeriesKey(0),
//!     value: Value::Flag(true),
//!     time_ms: 0,
//!     received_ms: 0,
//!     device_time: false,
//!     quality: Quality::Good,
//! };
//! let cleared: Cleared<Reading> = intake::clear(Some(&intake::Treatment::Keep), reading).unwrap();
//! assert_eq!(cleared.get().value, Value::Flag(true));
//! ```
//!
//! The same with another last but one line does not compile, be it the constructor
//!
//! ```compile_fail
//! use smallbrain::model::{Quality, Reading, SeriesKey, Value};
//! use smallbrain::privacy::{Cleared, intake};
//!
//! let reading = Reading {
//!     series: SeriesKey(0),
//!     value: Value::Flag(true),
//!     time_ms: 0,
//!     received_ms: 0,
//!     device_time: false,
//!     quality: Quality::Good,
//! };
//! let cleared: Cleared<Reading> = Cleared(reading);
//! assert_eq!(cleared.get().value, Value::Flag(true));
//! ```
//!
//! or what only the store may call, because what it gives back was cleared when it was stored:
//!
//! ```compile_fail
//! use smallbrain::model::{Quality, Reading, SeriesKey, Value};
//! use smallbrain::privacy::{Cleared, intake};
//!
//! let reading = Reading {
//!     series: SeriesKey(0),
//!     value: Value::Flag(true),
//!     time_ms: 0,
//!     received_ms: 0,
//!     device_time: false,
//!     quality: Quality::Good,
//! };
//! let cleared: Cleared<Reading> = intake::restored(reading);
//! assert_eq!(cleared.get().value, Value::Flag(true));
//! ```

pub mod generalise;
pub mod intake;
pub mod protect;
pub mod pseudonym;
pub mod release;

use crate::model::{Quality, Reading};

/// Something that a policy let through. Store, share and uplink take nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleared<T>(T);

impl Cleared<Reading> {
    /// The same reading, with what was found of it after the door.
    #[must_use]
    pub fn of_quality(mut self, quality: Quality) -> Self {
        self.0.quality = quality;
        self
    }
}

impl<T> Cleared<T> {
    /// What was let through.
    pub fn get(&self) -> &T {
        &self.0
    }
}
