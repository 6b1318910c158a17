//! The last message of each topic that is to be retained (MQTT 5.0 §3.3.1.3). Pure.
//!
//! Guarantees: one message a topic, found by filter in the order of the topics. Bounds are those of the exchange.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::super::topic;
use super::queue::is_expired;
use crate::store::sessions::Message;

/// See the module.
#[derive(Default)]
pub(super) struct Retained {
    by_topic: BTreeMap<Box<str>, Arc<Message>>,
}

impl Retained {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// All, by topic.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.by_topic.values()
    }

    /// Puts a message in place of the one before, which is returned.
    pub(super) fn insert(&mut self, message: Arc<Message>) -> Option<Arc<Message>> {
        self.by_topic.insert(message.topic.clone(), message)
    }

    /// Takes the message of a topic out.
    pub(super) fn remove(&mut self, topic: &str) -> Option<Arc<Message>> {
        self.by_topic.remove(topic)
    }

    /// Those that a filter covers and that are worth something, from the topic behind `after` on.
    pub(super) fn covering(
        &self,
        filter: &str,
        after: Option<&str>,
        now_ms: i64,
    ) -> impl Iterator<Item = &Arc<Message>> {
        // Whatever is covered begins with what stands before the first wildcard; `a/#` covers `a` too.
        let wildcard = filter.find(['+', '#']).unwrap_or(filter.len());
        let prefix = filter[..wildcard].trim_end_matches('/');
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.by_topic
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(topic, _)| topic.starts_with(prefix))
            .filter(move |(topic, message)| topic::covers(filter, topic) && !is_expired(message, now_ms))
            .map(|(_, message)| message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(topic: &str, expires_ms: Option<i64>) -> Arc<Message> {
        let (payload, properties) = (Box::default(), Box::default());
        Arc::new(Message { topic: topic.into(), payload, qos: 0, retain: true, properties, expires_ms })
    }

    #[test]
    fn what_has_expired_is_not_found() {
        let mut retained = Retained::default();
        retained.insert(message("a", Some(5)));
        assert_eq!(retained.covering("a", None, 4).count(), 1);
        assert_eq!(retained.covering("a", None, 5).count(), 0);
        assert!(retained.insert(message("a", None)).is_some());
        assert_eq!((retained.covering("#", None, 5).count(), retained.len()), (1, 1));
        assert!(retained.remove("a").is_some() && retained.remove("a").is_none());
    }

    proptest! {
        #[test]
        fn a_filter_finds_what_it_covers(
            topics in prop::collection::btree_set("[ab$/]{1,6}", 0..30),
            filter in prop::sample::select(&["#", "+", "a/#", "a//#", "a/+", "+/b", "a", "a/b", "$/#", "/+", "ab/#"][..]),
            after in prop::option::of("[ab$/]{1,6}"),
        ) {
            let mut retained = Retained::default();
            for topic in &topics {
                retained.insert(message(topic, None));
            }
            // What follows a topic is asked for only after a covered one.
            let after = after.as_deref().filter(|after| topic::covers(filter, after));
            let behind = |topic: &str| after.is_none_or(|after| topic > after);
            let expected: Vec<_> =
                topics.iter().filter(|topic| topic::covers(filter, topic) && behind(topic)).cloned().collect();
            let found: Vec<_> =
                retained.covering(filter, after, 0).map(|message| message.topic.to_string()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
