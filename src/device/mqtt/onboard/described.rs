//! What Home Assistant discovery said of values that other messages carry. Pure.
//!
//! Guarantees: at most [`DESCRIBED_MAX`] entities, the one described first makes room; units and classes are words of the
//! project's tables. Whether the entity or its values come first is all the same: both are looked up when somebody asks.

use std::collections::VecDeque;

use super::shape::{PATH_BYTES_MAX, Type};
use super::words;
use crate::codec::profile::Description;

/// Entities remembered.
pub(super) const DESCRIBED_MAX: usize = 1024;

/// One entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entity {
    /// Of the sender.
    user: Box<str>,
    /// Topic of the description.
    topic: Box<str>,
    /// Where its values are published.
    state_topic: Box<str>,
    /// RFC 6901; empty where the payload is the value.
    pub(super) pointer: Box<str>,
    /// Of its values.
    pub(super) kind: Type,
    pub(super) unit: Option<&'static str>,
    pub(super) class: Option<&'static str>,
}

impl Entity {
    /// What the convention of the values calls them: the pointer for JSON, its parts joined with a point for the others.
    pub(super) fn field(&self, is_json: bool) -> String {
        if is_json {
            self.pointer.to_string()
        } else {
            self.pointer.trim_start_matches('/').replace('/', ".")
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Described(VecDeque<Entity>);

impl Described {
    /// Takes a description that was published to a topic, in place of the one before it there.
    pub(super) fn take(&mut self, user: &str, topic: &str, told: &Description) {
        self.0.retain(|entity| *entity.topic != *topic || *entity.user != *user);
        let (Some(state_topic), false, false) = (&told.state_topic, told.removed, told.opaque_template)
        else {
            return;
        };
        let unit = told.unit.as_deref().and_then(words::unit);
        let pointer = told.pointer.clone().unwrap_or_default();
        if pointer.len() > PATH_BYTES_MAX || state_topic.len() > super::offer::TEXT_BYTES_MAX {
            return;
        }
        let kind = match told.component.as_deref() {
            Some("binary_sensor" | "switch") => Type::Flag,
            Some("sensor" | "number") if told.unit.is_some() => Type::Number,
            _ => Type::Text,
        };
        if self.0.len() >= DESCRIBED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Entity {
            user: user.into(),
            topic: topic.into(),
            state_topic: state_topic.clone(),
            pointer,
            kind,
            unit,
            class: told.device_class.as_deref().and_then(words::class),
        });
    }

    /// The entities whose values a user publishes to a topic.
    pub(super) fn of<'d>(&'d self, user: &'d str, topic: &'d str) -> impl Iterator<Item = &'d Entity> {
        self.0.iter().filter(move |entity| *entity.state_topic == *topic && *entity.user == *user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state_topic: &str, unit: &str) -> Description {
        Description {
            component: Some("sensor".into()),
            state_topic: Some(state_topic.into()),
            pointer: Some("/a/b".into()),
            device_class: Some("temperature".into()),
            unit: Some(unit.into()),
            ..Description::default()
        }
    }

    #[test]
    fn entities_are_replaced_removed_and_bounded() {
        let mut described = Described::default();
        described.take("u", "homeassistant/sensor/x/config", &told("t", "°C"));
        described.take("u", "homeassistant/sensor/x/config", &told("t", "13800138000"));
        let units: Vec<_> = described.of("u", "t").map(|entity| (entity.unit, entity.kind)).collect();
        assert_eq!(units, [(None, Type::Number)]);
        assert_eq!(described.of("other", "t").count(), 0);
        let entity = described.of("u", "t").next().expect("one");
        assert_eq!((entity.field(true).as_str(), entity.field(false).as_str()), ("/a/b", "a.b"));
        let gone = Description { removed: true, ..Description::default() };
        described.take("u", "homeassistant/sensor/x/config", &gone);
        assert_eq!(described.of("u", "t").count(), 0);
        let opaque = Description { opaque_template: true, ..told("t", "°C") };
        described.take("u", "homeassistant/sensor/x/config", &opaque);
        assert_eq!(described.of("u", "t").count(), 0);
        for number in 0..DESCRIBED_MAX + 1 {
            described.take("u", &format!("homeassistant/sensor/{number}/config"), &told("t", "°C"));
        }
        assert_eq!(described.of("u", "t").count(), DESCRIBED_MAX);
    }
}
