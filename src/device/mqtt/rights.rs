//! What an identity may do: where it publishes, what it hears, whom it speaks for. Pure.

use std::collections::HashSet;

use super::topic;
use crate::model::DeviceId;

/// Where the gateway alone publishes.
const OWN: [&str; 2] = ["smallbrain/lists/", "smallbrain/incidents/"];

/// Topic filters, of which those without a wildcard are found at once: a gateway speaks for many devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    plain: HashSet<Box<str>>,
    wild: Vec<Box<str>>,
}

impl Filters {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.wild.is_empty()
    }

    /// Whether one of them covers a topic.
    #[must_use]
    pub fn cover(&self, name: &str) -> bool {
        self.plain.contains(name) || self.wild.iter().any(|filter| topic::covers(filter, name))
    }

    /// Whether one of them covers all that a filter covers.
    #[must_use]
    pub fn include(&self, filter: &str) -> bool {
        self.plain.contains(filter) || self.wild.iter().any(|own| topic::includes(own, filter))
    }
}

/// They are taken as they are; a filter that is none covers nothing but itself.
impl<T: Into<Box<str>>> FromIterator<T> for Filters {
    fn from_iter<I: IntoIterator<Item = T>>(filters: I) -> Self {
        let (wild, plain): (Vec<Box<str>>, Vec<_>) =
            filters.into_iter().map(Into::into).partition(|filter| filter.contains(['+', '#']));
        Self { plain: plain.into_iter().collect(), wild }
    }
}

/// The rights of one identity; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Everything: who connects without a name, on a loopback address that says so.
    pub everything: bool,
    /// Where it publishes.
    pub publish: Filters,
    /// What it may subscribe to, or to a part of.
    pub subscribe: Filters,
    /// The devices that its messages may be of.
    pub devices: HashSet<DeviceId>,
}

impl Rights {
    /// Those of nobody in particular.
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether it may publish to a topic; to the gateway's own nobody may.
    #[must_use]
    pub fn may_publish(&self, name: &str) -> bool {
        let is_own = OWN.iter().any(|own| name.starts_with(own));
        !is_own && (self.everything || self.publish.cover(name))
    }

    /// Whether it may subscribe to a filter: to one of its own, or one that asks for less. The filter of a shared
    /// subscription is what is shared.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.everything || self.subscribe.include(filter)
    }

    /// Whether a message of it may be of this device.
    #[must_use]
    pub fn may_speak_for(&self, device: &str) -> bool {
        self.everything || self.devices.contains(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_its_own() {
        let rights = Rights {
            everything: false,
            publish: ["compound/door-1/up", "zigbee2mqtt/#"].into_iter().collect(),
            subscribe: ["compound/door-1/down/#", "zigbee2mqtt/+/set", "time"].into_iter().collect(),
            devices: HashSet::from(["door-1".parse().expect("a device")]),
        };
        for (topic, may) in [
            ("compound/door-1/up", true),
            ("compound/door-2/up", false),
            ("compound/door-1/up/x", false),
            ("zigbee2mqtt/living room", true),
            ("$SYS/x", false),
        ] {
            assert_eq!(rights.may_publish(topic), may, "{topic}");
        }
        for (filter, may) in [
            ("compound/door-1/down", true),
            ("compound/door-1/down/#", true),
            ("compound/door-1/down/+/x", true),
            ("compound/+/down/#", false),
            ("#", false),
            ("zigbee2mqtt/door/set", true),
            ("zigbee2mqtt/+/set", true),
            ("zigbee2mqtt/+/get", false),
            ("zigbee2mqtt/#", false),
            ("time", true),
            ("+", false),
        ] {
            assert_eq!(rights.may_subscribe(filter), may, "{filter}");
        }
        assert!(rights.may_speak_for("door-1") && !rights.may_speak_for("door-2"));
        assert!(Rights::everything().may_subscribe("#") && Rights::everything().may_speak_for("any"));
        assert!(!Rights::default().may_publish("a"));
    }
}
