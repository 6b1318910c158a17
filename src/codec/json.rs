//! JSON payload → values at given pointers, numbers with the digits they were written in.

/// How a device writes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// RFC 3339 with a zone, or without one in the given offset from UTC in milliseconds.
    Text {
        /** Offset of zone-less texts, milliseconds. */
        zone_ms: i64,
    },
    /// Seconds since 1970 UTC, fractions allowed.
    Seconds,
    /// Milliseconds since 1970 UTC.
    Millis,
}

/// Where the values of a payload are: slot → pointer.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pointers: Vec<String>,
    time: Option<(String, TimeForm)>,
}

impl Plan {
    /// `pointers[slot]` is an RFC 6901 pointer; an empty text is a slot that no payload fills.
    ///
    /// # Errors
    /// The pointer that is none.
    pub fn new(pointers: Vec<String>, time: Option<(String, TimeForm)>) -> Result<Self, String> {
        Ok(Self { pointers, time })
    }
}
