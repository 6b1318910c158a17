//! Devices and places that people work on: their alarms are suppressed until a moment that was said before. Pure.

use std::fmt;

use super::pattern::fits;
use crate::model::{DeviceId, Place};

/// Work on devices. Its `Debug` shows neither who said so nor why.
#[derive(Clone, PartialEq)]
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

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, devices, places, until_ms, .. } = self;
        write!(f, "Maintenance({id}: {devices} at {places} until {until_ms})")
    }
}

impl Maintenance {
    /// Whether somebody works on that device at that time, milliseconds since 1970 UTC.
    #[must_use]
    pub fn covers(&self, device: &DeviceId, place: Option<&Place>, wall_ms: i64) -> bool {
        let is_there = match place {
            Some(place) => fits(&self.places, place.as_str()),
            None => self.places == "*",
        };
        (self.from_ms..self.until_ms).contains(&wall_ms) && is_there && fits(&self.devices, device.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_what_was_said_for_as_long_as_was_said() {
        for (devices, places, device, place, wall_ms, is) in [
            ("door-*", "*", "door-1", None, 10, true),
            ("door-*", "*", "door-1", Some("B3/lobby"), 19, true),
            ("door-*", "*", "door-1", None, 20, false),
            ("door-*", "*", "door-1", None, 9, false),
            ("door-*", "*", "pump-1", None, 10, false),
            ("*", "B3/*", "door-1", Some("B3/lobby"), 10, true),
            ("*", "B3/*", "door-1", Some("B4/lobby"), 10, false),
            ("*", "B3/*", "door-1", None, 10, false),
        ] {
            let work = Maintenance {
                id: 1,
                devices: devices.into(),
                places: places.into(),
                from_ms: 10,
                until_ms: 20,
                by: "".into(),
                reason: "".into(),
            };
            let (id, place) = (device.parse().expect("an id"), place.map(|at| at.parse().expect("a place")));
            let covers = work.covers(&id, place.as_ref(), wall_ms);
            assert_eq!(covers, is, "{devices} at {places}: {device} at {place:?}, {wall_ms}");
        }
    }
}
