//! How an order of the city ended, as who asked for it is told.

use std::fmt;

use super::LineId;

/// The end of an order. No reading and no person is in it; its `Debug` leaves out what the consumer wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct OrderEnd {
    /// The run's number.
    pub run: u64,
    /// Which command.
    pub command: LineId,
    /// The consumer's own id of the call.
    pub request: String,
    /// "done", "failed" or "expired".
    pub status: &'static str,
    /// Why, in words of this build.
    pub detail: &'static str,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

impl fmt::Debug for OrderEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderEnd({} of {}: {}, {})", self.run, self.command, self.status, self.detail)
    }
}
