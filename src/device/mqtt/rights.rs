//! What an identity may do: where it publishes, what it hears, whom it speaks for. Pure.

use std::collections::HashSet;

use super::topic;
use crate::model::DeviceId;

/// The rights of one identity; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Everything: who connects without a name, on a loopback address that says so.
    pub everything: bool,
    /// Topic filters below which it publishes.
    pub publish: Vec<Box<str>>,
    /// Topic filters that it may subscribe to, or to a part of.
    pub subscribe: Vec<Box<str>>,
    /// The devices that its messages may be of.
    pub devices: HashSet<DeviceId>,
}

impl Rights {
    /// Those of nobody in particular.
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether it may publish to a topic.
    #[must_use]
    pub fn may_publish(&self, name: &str) -> bool {
        self.everything || self.publish.iter().any(|filter| topic::covers(filter, name))
    }

    /// Whether it may subscribe to a filter: to one of its own, or one that asks for less. The filter of a shared
    /// subscription is what is shared.
    #[must_use]
    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.everything || self.subscribe.iter().any(|own| topic::includes(own, filter))
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
            publish: vec!["compound/door-1/up".into(), "zigbee2mqtt/#".into()],
            subscribe: vec!["compound/door-1/down/#".into(), "zigbee2mqtt/+/set".into()],
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
        ] {
            assert_eq!(rights.may_subscribe(filter), may, "{filter}");
        }
        assert!(rights.may_speak_for("door-1") && !rights.may_speak_for("door-2"));
        assert!(Rights::everything().may_subscribe("#") && Rights::everything().may_speak_for("any"));
        assert!(!Rights::default().may_publish("a"));
    }
}
