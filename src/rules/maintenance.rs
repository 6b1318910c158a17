//! Devices and places that people work on: their alarms are suppressed until a moment that was said before.

/// Work on devices.
#[derive(Clone, Debug, PartialEq)]
pub struct Maintenance {
    /// Its number: dense, from 1.
    pub id: u64,
    /// Which devices, as a pattern in which `*` stands for anything.
    pub devices: String,
    /// And at which places, likewise; a device without a place fits "*" only.
    pub places: String,
    /// When it began, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// When it ends by itself, milliseconds since 1970 UTC.
    pub until_ms: i64,
    /// Who said so.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
}
