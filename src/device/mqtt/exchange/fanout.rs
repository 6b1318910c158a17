//! What is published, and to whom it goes (MQTT 5.0 §3.3.4, §3.8.4, §4.8).

use std::sync::Arc;

use super::super::topic;
use super::queue::{Parcel, is_expired};
use super::session::Handout;
use super::tree::{self, Entry};
use super::{Exchange, Mark, Published, weight};
use crate::store::sessions::{Change, Message, Options, SessionId};

/// Reason code: a filter that is none (MQTT 5.0 §3.9.3).
const BAD_FILTER: u8 = 0x8F;
/// Reason code: more than one session may have.
const QUOTA: u8 = 0x97;
/// Reason code: there was no such subscription (§3.11.3).
const NO_SUBSCRIPTION: u8 = 0x11;

impl Exchange {
    /// SUBSCRIBE, after the rights have been asked: a code for each wish, as SUBACK wants them, and what has to be on disk
    /// before it goes out. Retained messages wait for the client at once, but not for a shared subscription.
    pub(in crate::device::mqtt) fn subscribe(
        &mut self,
        session: SessionId,
        identifier: Option<u32>,
        wishes: &[(&str, Options)],
        now_ms: i64,
    ) -> (Vec<u8>, Mark) {
        let before = self.journal.last();
        self.journal.begin();
        let grant = |(filter, options): &(&str, Options)| {
            let options = Options { qos: options.qos.min(2), ..*options };
            self.grant(session, filter, Entry { session, options, identifier }, now_ms)
        };
        let codes = wishes.iter().map(grant).collect();
        let mark = self.journal.since(before);
        self.journal.wait(mark, session);
        (codes, mark)
    }

    fn grant(&mut self, session: SessionId, filter: &str, entry: Entry, now_ms: i64) -> u8 {
        if !topic::is_subscription(filter) || filter.split('/').count() > tree::LEVELS_MAX {
            return BAD_FILTER;
        }
        let Some(known) = self.sessions.get_mut(&session) else { return QUOTA };
        let is_known = known.filters.iter().any(|known| **known == *filter);
        if !is_known && known.filters.len() >= self.bounds.subscriptions_max {
            return QUOTA;
        }
        let options = entry.options;
        let (group, shared) = topic::shared(filter).map_or((None, filter), |(group, of)| (Some(group), of));
        if self.tree.insert(group, shared, entry) {
            known.filters.reserve_exact(1);
            known.filters.push(filter.into());
        }
        if known.is_kept() {
            let (filter, identifier) = (filter.into(), entry.identifier);
            self.journal.push(Change::Subscribe { session, filter, options, identifier });
        }
        let wanted = match options.retain_handling {
            0 => true,
            1 => !is_known,
            _ => false,
        };
        if wanted && group.is_none() {
            self.hand_out(filter, entry, now_ms);
        }
        options.qos
    }

    /// Retained messages for a subscription.
    fn hand_out(&mut self, filter: &str, entry: Entry, now_ms: i64) {
        let Entry { session, options, identifier } = entry;
        let covered: Vec<_> = self.retained.covering(filter, None, now_ms).cloned().collect();
        let fleeting = covered.iter().any(|message| message.qos.min(options.qos) == 0);
        for message in covered {
            let qos = message.qos.min(options.qos);
            if qos > 0 {
                let identifiers = identifier.into_iter().collect();
                self.queue(session, Parcel { message, qos, retain: true, identifiers }, now_ms);
            }
        }
        let here = self.sessions.get_mut(&session).and_then(|known| known.here.as_mut());
        if let Some(here) = here.filter(|_| fleeting) {
            here.handouts.retain(|handout| *handout.filter != *filter);
            here.handouts.push(Handout { filter: filter.into(), qos: options.qos, identifier, after: None });
            here.wake.notify_one();
        }
    }

    /// UNSUBSCRIBE: a code for each filter, and what has to be on disk before UNSUBACK goes out.
    pub(in crate::device::mqtt) fn unsubscribe(
        &mut self,
        session: SessionId,
        filters: &[String],
    ) -> (Vec<u8>, Mark) {
        let before = self.journal.last();
        self.journal.begin();
        let codes = filters.iter().map(|filter| self.leave(session, filter)).collect();
        let mark = self.journal.since(before);
        self.journal.wait(mark, session);
        (codes, mark)
    }

    fn leave(&mut self, session: SessionId, filter: &str) -> u8 {
        let Some(known) = self.sessions.get_mut(&session) else { return NO_SUBSCRIPTION };
        let Some(at) = known.filters.iter().position(|known| **known == *filter) else {
            return NO_SUBSCRIPTION;
        };
        let filter = known.filters.swap_remove(at);
        if let Some(here) = &mut known.here {
            here.handouts.retain(|handout| handout.filter != filter);
        }
        let is_kept = known.is_kept();
        self.drop_subscription(session, &filter);
        if is_kept {
            self.journal.push(Change::Unsubscribe { session, filter });
        }
        0
    }

    /// Ends the subscriptions that a client has no right to any more; a shared one is asked for as subscribed.
    pub(in crate::device::mqtt) fn restrict(&mut self, session: SessionId, may: impl Fn(&str) -> bool) {
        let Some(known) = self.sessions.get(&session) else { return };
        let lost: Vec<_> = known.filters.iter().filter(|filter| !may(filter)).cloned().collect();
        self.journal.begin();
        for filter in lost {
            self.leave(session, &filter);
        }
    }

    pub(super) fn drop_subscription(&mut self, session: SessionId, filter: &str) {
        let (group, filter) = topic::shared(filter).map_or((None, filter), |(group, of)| (Some(group), of));
        self.tree.remove(group, filter, session);
    }

    /// A message for all who subscribe to its topic, and for those to come when it is to be retained. The topic is a good
    /// name and the right to publish there is asked for before.
    pub(in crate::device::mqtt) fn publish(
        &mut self,
        from: Option<SessionId>,
        message: Message,
        now_ms: i64,
    ) -> Published {
        let before = self.journal.last();
        self.journal.begin();
        let message = Arc::new(message);
        let retained = if message.retain { self.retain(&message, now_ms) } else { Mark::NONE };
        let parcels = self.parcels(from, &message);
        let mut receivers = 0;
        for (session, parcel) in parcels {
            receivers += usize::from(self.queue(session, parcel, now_ms));
        }
        let mark = retained.max(self.journal.since(before));
        if let Some(session) = from {
            self.journal.wait(mark, session);
        }
        Published { mark, receivers }
    }

    /// Who gets a message, and how.
    fn parcels(&mut self, from: Option<SessionId>, message: &Arc<Message>) -> Vec<(SessionId, Parcel)> {
        let Self { tree, sessions, bounds, .. } = self;
        let weight = weight(message);
        let rank = |entry: &Entry| {
            let Some(known) = sessions.get(&entry.session) else { return 0 };
            match (&known.here, message.qos.min(entry.options.qos)) {
                (None, 0) => 0,
                (Some(here), 0) if !here.has_room(weight) => 0,
                (_, 1..) if !known.queue.has_room(bounds.queue_max) => 0,
                (None, _) => 1,
                (Some(_), _) => tree::BEST,
            }
        };
        let mut found = tree.find(&message.topic, rank);
        found.own.retain(|entry| !(entry.options.no_local && from == Some(entry.session)));
        found.own.sort_unstable_by_key(|entry| entry.session);
        let parcel = |entries: &[Entry]| {
            let granted = entries.iter().map(|entry| entry.options.qos).max().unwrap_or(0);
            let as_published = entries.iter().any(|entry| entry.options.retain_as_published);
            Parcel {
                message: Arc::clone(message),
                qos: message.qos.min(granted),
                retain: message.retain && as_published,
                identifiers: entries.iter().filter_map(|entry| entry.identifier).collect(),
            }
        };
        // What is shared comes besides what is the session's own (§4.8.2).
        let own = found.own.chunk_by(|one, other| one.session == other.session);
        let shared = found.shared.chunks(1);
        own.chain(shared).map(|entries| (entries[0].session, parcel(entries))).collect()
    }

    /// Lets a parcel wait for a session; the client is woken. False when there is no room, which is counted, or when
    /// nobody is there to take what is fleeting.
    fn queue(&mut self, session: SessionId, parcel: Parcel, now_ms: i64) -> bool {
        if parcel.qos == 0 {
            return self.pass(session, parcel);
        }
        let weight = weight(&parcel.message);
        if !self.has_room(session, weight) {
            self.expire_queue(session, now_ms);
            if !self.has_room(session, weight) {
                self.counts.dropped_full += 1;
                return false;
            }
        }
        let Some(known) = self.sessions.get_mut(&session) else { return false };
        let mut mark = Mark::NONE;
        if known.is_kept() {
            mark = self.journal.push(Change::Queue {
                session,
                seq: known.queue.next_seq(),
                message: Arc::clone(&parcel.message),
                qos: parcel.qos,
                retain: parcel.retain,
                identifiers: parcel.identifiers.clone(),
            });
        }
        let waits_for_disk = parcel.qos == 2;
        known.queue.push(parcel, mark);
        self.kept_bytes += weight;
        if let Some(here) = &known.here {
            if waits_for_disk {
                self.journal.wait(mark, session);
            }
            here.wake.notify_one();
        }
        true
    }

    fn has_room(&self, session: SessionId, weight: usize) -> bool {
        self.has_bytes(weight)
            && self.sessions.get(&session).is_some_and(|known| known.queue.has_room(self.bounds.queue_max))
    }

    /// QoS 0: for who is there.
    fn pass(&mut self, session: SessionId, parcel: Parcel) -> bool {
        let here = self.sessions.get_mut(&session).and_then(|known| known.here.as_mut());
        let Some(here) = here else { return false };
        let weight = weight(&parcel.message);
        if !here.has_room(weight) || self.lane_bytes + weight > self.bounds.kept_bytes_max {
            self.counts.dropped_slow += 1;
            return false;
        }
        here.lane.push_back(parcel);
        here.lane_bytes += weight;
        self.lane_bytes += weight;
        here.wake.notify_one();
        true
    }

    /// Keeps a message for those who subscribe later; an empty one forgets the one before (§3.3.1.3). What finds no room
    /// takes the one before with it: an old value is not the last one.
    fn retain(&mut self, message: &Arc<Message>, now_ms: i64) -> Mark {
        let old = self.retained.remove(&message.topic);
        if let Some(old) = &old {
            self.kept_bytes -= weight(old);
        }
        let is_good = !message.payload.is_empty() && !is_expired(message, now_ms);
        if is_good && self.keep_retained(Arc::clone(message)) {
            let change = Change::Retain(Arc::clone(message));
            return self.journal.push_retained(&message.topic, change);
        }
        if is_good {
            self.counts.retained_refused += 1;
        }
        match old {
            Some(old) => self.unretain(&old),
            None => Mark::NONE,
        }
    }

    /// Puts a message among the retained ones if there is room.
    pub(super) fn keep_retained(&mut self, message: Arc<Message>) -> bool {
        let weight = weight(&message);
        if self.retained.len() >= self.bounds.retained_max || !self.has_bytes(weight) {
            return false;
        }
        self.kept_bytes += weight;
        if let Some(expires_ms) = message.expires_ms {
            self.remind(expires_ms);
        }
        self.retained.insert(message);
        true
    }

    pub(super) fn unretain(&mut self, old: &Message) -> Mark {
        let topic = old.topic.clone();
        self.journal.push_retained(&old.topic, Change::Unretain { topic })
    }
}
