//! The exchange: every MQTT session, its subscriptions and its queue, shared subscriptions, retained messages, delayed
//! wills and expiries (MQTT 3.1.1 and 5.0, chapter 4). A pure state machine: time comes in, nothing is waited for; what it
//! does to the outside is to wake a session's `Notify`.
//!
//! Guarantees
//! - A message of QoS 1 or 2 that was queued for a kept session stays until its client has taken it, it has expired, or its
//!   session is over. A QoS 2 delivery is handed to a correct client once, over connections and restarts.
//! - What must survive a restart goes into a journal in the order of the calls, a call's changes in one piece. An answer that
//!   promises something is given with the [`Mark`] that has to be on disk before it is sent. [`Exchange::new`] makes the same
//!   exchange again from what the journal made of the store.
//! - Everything is bounded by [`Bounds`], and what finds no room is counted. The journal is bounded by who fills it: no
//!   publish is to be read while [`Exchange::backlog`] is high.
//!
//! It does not ask for rights, check topic names, or know packets. A will that waits dies with the process.

mod fanout;
mod flow;
mod journal;
mod queue;
mod retained;
mod session;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::store::sessions::{Change, Message, Saved, SavedSession, SessionId};
use journal::Journal;
pub(super) use queue::Answer;
use queue::{Delivery, Queue};
use retained::Retained;
use session::{Here, Session, Will};
use tree::{Entry, Tree};

/// The shortest rest between ticks: so late may a will or an expiry be.
const REST_MIN_MS: i64 = 100;
/// The longest.
const REST_MAX_MS: i64 = 60_000;

/// The bounds of the exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Sessions of absent clients; the one that left longest ago makes room.
    pub(super) sessions_max: usize,
    /// Subscriptions of one session.
    pub(super) subscriptions_max: usize,
    /// Messages at QoS 1 and 2 of one session, waiting or under way.
    pub(super) queue_max: usize,
    /// Bytes of everything queued at QoS 1 and 2, retained or a will that waits: topic, payload, properties and what the
    /// entry itself takes. A message queued for several counts for each. As much again may wait at QoS 0.
    pub(super) kept_bytes_max: usize,
    /// Retained messages.
    pub(super) retained_max: usize,
    /// How long a session is kept at most, seconds.
    pub(super) session_max_s: u32,
    /// Unacknowledged deliveries of one client.
    pub(super) inflight_max: usize,
}

/// The number of a change in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Mark(pub(super) u64);

impl Mark {
    /// Nothing to wait for.
    pub(super) const NONE: Self = Self(0);
}

/// What a CONNECT asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Clean session (3.1.1) or clean start (5.0).
    pub(super) clean: bool,
    /// How long the session is to be kept, seconds; `u32::MAX` for ever. With 3.1.1 a clean session is never kept.
    pub(super) expiry_s: u32,
    /// Unacknowledged deliveries that the client takes.
    pub(super) receive_max: u16,
    /// 5.0.
    pub(super) level5: bool,
}

/// What a CONNECT gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// Its session.
    pub(super) session: SessionId,
    /// Whether it is one that was kept.
    pub(super) present: bool,
    /// How long it is kept, seconds.
    pub(super) expiry_s: u32,
    /// QoS 2 publishes of the client that are taken and not released.
    pub(super) received: Vec<u16>,
    /// CONNACK after this, and nothing from [`Exchange::next`] before CONNACK.
    pub(super) mark: Mark,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    /// PUBACK or PUBREC after this.
    pub(super) mark: Mark,
    /// For how many subscribers it waits now.
    pub(super) receivers: usize,
}

/// A will whose delay is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LateWill {
    /// Whose, as given to [`Exchange::open`].
    pub(super) client: Arc<str>,
    /// What.
    pub(super) message: Message,
}

/// What goes to a client.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Outgoing {
    /// PUBLISH.
    Publish {
        /// What.
        message: Arc<Message>,
        /// Of the delivery.
        qos: u8,
        /// 0 with QoS 0.
        pkid: u16,
        /// It may have been sent before.
        dup: bool,
        /// Of the delivery.
        retain: bool,
        /// Of the subscriptions that it is for.
        identifiers: Box<[u32]>,
    },
    /// PUBREL.
    Release {
        /// Of the delivery.
        pkid: u16,
    },
}

/// How much there is, and what only rises from the start of the process on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Sessions.
    pub(super) sessions: usize,
    /// Those whose client is not there.
    pub(super) absent: usize,
    /// Subscriptions of all sessions.
    pub(super) subscriptions: usize,
    /// Messages waiting or under way, at any QoS.
    pub(super) queued: usize,
    /// Bytes of them, of what is retained and of wills that wait.
    pub(super) queued_bytes: usize,
    /// Retained messages.
    pub(super) retained: usize,
    /// Rises: QoS 1 and 2 messages that found no room in a session.
    pub(super) dropped_full: u64,
    /// Rises: QoS 0 messages for clients that did not take them in time.
    pub(super) dropped_slow: u64,
    /// Rises: messages that expired before they were sent.
    pub(super) dropped_expired: u64,
    /// Rises: messages longer than what their client takes.
    pub(super) dropped_too_long: u64,
    /// Rises: sessions that made room for others.
    pub(super) evicted: u64,
    /// Rises: messages that found no room among the retained ones.
    pub(super) retained_refused: u64,
}

/// See the module.
pub(super) struct Exchange {
    bounds: Bounds,
    sessions: BTreeMap<SessionId, Box<Session>>,
    clients: HashMap<Arc<str>, SessionId>,
    /// Sessions whose clients are not there, by when they left.
    absent: BTreeSet<(i64, SessionId)>,
    last_session: u64,
    tree: Tree,
    retained: Retained,
    /// Wills of sessions that ended before their delay.
    ended_wills: Vec<LateWill>,
    /// Of queues, of what is retained and of wills.
    kept_bytes: usize,
    /// Of QoS 0 messages.
    lane_bytes: usize,
    /// Nothing that a tick does is due before.
    due_ms: i64,
    journal: Journal,
    /// Only what rises.
    counts: Counts,
}

/// What a message costs where it waits.
fn weight(message: &Message) -> usize {
    message.topic.len() + message.payload.len() + message.properties.len() + size_of::<Delivery>()
}

impl Exchange {
    /// The exchange as it was saved. All clients are absent; those that were there have left now.
    pub(super) fn new(bounds: Bounds, saved: Saved, now_ms: i64) -> Self {
        let mut exchange = Self {
            bounds,
            sessions: BTreeMap::new(),
            clients: HashMap::new(),
            absent: BTreeSet::new(),
            last_session: saved.sessions.iter().map(|session| session.id.0).max().unwrap_or(0),
            tree: Tree::default(),
            retained: Retained::default(),
            ended_wills: Vec::new(),
            kept_bytes: 0,
            lane_bytes: 0,
            due_ms: i64::MAX,
            journal: Journal::default(),
            counts: Counts::default(),
        };
        for session in saved.sessions {
            exchange.restore(session, now_ms);
        }
        exchange.tick(now_ms);
        exchange.evict(now_ms);
        for message in saved.retained {
            exchange.journal.begin();
            let is_expired = queue::is_expired(&message, now_ms);
            if is_expired || !exchange.keep_retained(Arc::clone(&message)) {
                exchange.unretain(&message);
                exchange.counts.retained_refused += u64::from(!is_expired);
            }
        }
        exchange
    }

    fn restore(&mut self, saved: SavedSession, now_ms: i64) {
        let (session, expiry_s) = (saved.id, saved.expiry_s);
        self.journal.begin();
        if saved.left_ms.is_none() {
            self.journal.push(Change::Left { session, at_ms: now_ms, expiry_s });
        }
        for (filter, options, identifier) in &saved.subscriptions {
            let (group, filter) =
                super::topic::shared(filter).map_or((None, &**filter), |(g, f)| (Some(g), f));
            self.tree.insert(group, filter, Entry { session, options: *options, identifier: *identifier });
        }
        // An id that the client may hold of what was queued before is not given again soon.
        let first_seq = now_ms.unsigned_abs();
        let known = Session {
            client: saved.client.into(),
            expiry_s,
            left_ms: saved.left_ms.unwrap_or(now_ms),
            filters: saved.subscriptions.into_iter().map(|(filter, ..)| filter).collect(),
            queue: Queue::restore(saved.queue, self.bounds.inflight_max, first_seq),
            received: saved.received,
            will: None,
            here: None,
        };
        self.kept_bytes += known.queue.parcels().map(|parcel| weight(&parcel.message)).sum::<usize>();
        self.absent.insert((known.left_ms, session));
        self.clients.insert(Arc::clone(&known.client), session);
        self.sessions.insert(session, Box::new(known));
    }

    /// A client connects. Its session is taken up where there is one and it does not want a clean one; `wake` is notified
    /// whenever [`Exchange::next`] may have something, or one of its marks is on disk.
    pub(super) fn open(&mut self, client: &str, asked: &Asked, wake: Arc<Notify>, now_ms: i64) -> Opened {
        let before = self.journal.last();
        self.journal.begin();
        let is_over = |session: &SessionId| self.sessions.get(session).is_none_or(|s| s.ends_ms() <= now_ms);
        let mut found = self.clients.get(client).copied();
        if let Some(old) = found.filter(|old| asked.clean || is_over(old)) {
            self.forget(old, now_ms);
            found = None;
        }
        let session = found.unwrap_or_else(|| self.begin_session(client));
        let expiry_s = match asked {
            Asked { clean: true, level5: false, .. } => 0,
            _ => asked.expiry_s.min(self.bounds.session_max_s),
        };
        let mut received = Vec::new();
        if let Some(known) = self.sessions.get_mut(&session) {
            self.absent.remove(&(known.left_ms, session));
            received = std::mem::take(&mut known.received);
            if let Some(will) = known.will.take() {
                self.kept_bytes -= weight(&will.message);
            }
            if expiry_s > 0 {
                self.journal.push(Change::Open { session, client: client.into(), expiry_s });
            } else if known.is_kept() {
                // It ends with this connection, and with the process too.
                self.journal.push(Change::Forget { session });
            }
            known.expiry_s = expiry_s;
            known.queue.again();
            let window = usize::from(asked.receive_max).min(self.bounds.inflight_max).max(1);
            let here = known.here.replace(Here::new(wake, window));
            self.lane_bytes -= here.map_or(0, |here| here.lane_bytes);
        }
        let mark = self.journal.since(before);
        self.journal.wait(mark, session);
        Opened { session, present: found.is_some(), expiry_s, received, mark }
    }

    fn begin_session(&mut self, client: &str) -> SessionId {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        let client: Arc<str> = client.into();
        let known = Session {
            client: Arc::clone(&client),
            expiry_s: 0,
            left_ms: i64::MAX,
            filters: Vec::new(),
            queue: Queue::default(),
            received: Vec::new(),
            will: None,
            here: None,
        };
        self.sessions.insert(session, Box::new(known));
        self.clients.insert(client, session);
        session
    }

    /// A client has left. `expiry_s` is what a 5.0 DISCONNECT asks for (§3.14.2.2.2; none may be asked for that CONNECT did
    /// not), `received` its QoS 2 publishes that are taken and not released, `will` its will and the will's delay in
    /// seconds. Returns the will when it is to be published at once (§3.1.3.2.2), or finds no room.
    pub(super) fn close(
        &mut self,
        session: SessionId,
        expiry_s: Option<u32>,
        received: Vec<u16>,
        will: Option<(Message, u32)>,
        now_ms: i64,
    ) -> Option<Message> {
        let known = self.sessions.get_mut(&session)?;
        let asked_s = expiry_s.filter(|_| known.is_kept()).unwrap_or(known.expiry_s);
        let expiry_s = asked_s.min(self.bounds.session_max_s);
        if expiry_s == 0 {
            self.forget(session, now_ms);
            return will.map(|(message, _)| message);
        }
        self.lane_bytes -= known.here.take()?.lane_bytes;
        self.journal.begin();
        self.journal.push(Change::Left { session, at_ms: now_ms, expiry_s });
        (known.expiry_s, known.left_ms, known.received) = (expiry_s, now_ms, received);
        let ends_ms = known.ends_ms();
        self.absent.insert((now_ms, session));
        self.remind(ends_ms);
        let due_now = will.and_then(|(message, delay_s)| self.delay(session, message, delay_s, now_ms));
        self.evict(now_ms);
        due_now
    }

    /// Keeps a will for later; returns it when it is due or there is no room.
    fn delay(&mut self, session: SessionId, message: Message, delay_s: u32, now_ms: i64) -> Option<Message> {
        let weight = weight(&message);
        if delay_s == 0 || !self.has_bytes(weight) {
            return Some(message);
        }
        let due_ms = now_ms.saturating_add(i64::from(delay_s) * 1000);
        let known = self.sessions.get_mut(&session)?;
        known.will = Some(Box::new(Will { message, since_ms: now_ms, due_ms }));
        self.kept_bytes += weight;
        self.remind(due_ms);
        None
    }

    /// Whether a session outlives its connection and the process.
    pub(super) fn is_kept(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|known| known.is_kept())
    }

    /// Does what is due: gives out delayed wills, forgets sessions, messages and retained messages that have expired.
    pub(super) fn tick(&mut self, now_ms: i64) -> Vec<LateWill> {
        let over = |(_, id): &&(i64, SessionId)| self.sessions.get(id).is_none_or(|s| s.ends_ms() <= now_ms);
        let ended: Vec<_> = self.absent.iter().filter(over).map(|(_, session)| *session).collect();
        for session in ended {
            self.forget(session, now_ms);
        }
        let mut wills = std::mem::take(&mut self.ended_wills);
        for session in self.sessions.values_mut() {
            if let Some(will) = session.will.take_if(|will| will.due_ms <= now_ms) {
                wills.push(LateWill { client: Arc::clone(&session.client), message: will.publish(now_ms) });
            }
        }
        self.kept_bytes -= wills.iter().map(|will| weight(&will.message)).sum::<usize>();
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.journal.begin();
            self.expire_queue(session, now_ms);
        }
        self.expire_retained(now_ms);
        let absent = self.absent.iter().filter_map(|(_, session)| self.sessions.get(session));
        let ends = absent.flat_map(|s| [Some(s.ends_ms()), s.will.as_ref().map(|will| will.due_ms)]);
        let expiries = self.retained.all().map(|message| message.expires_ms);
        self.due_ms = ends.chain(expiries).flatten().min().unwrap_or(i64::MAX);
        wills
    }

    /// Milliseconds until the next [`Exchange::tick`], 100 to 60,000. A [`Exchange::close`], [`Exchange::open`] or retained
    /// publish may bring it nearer.
    pub(super) fn rest_ms(&self, now_ms: i64) -> i64 {
        self.due_ms.saturating_sub(now_ms).clamp(REST_MIN_MS, REST_MAX_MS)
    }

    /// The oldest changes that have to be written, in one transaction and in order: at most 4,096 and the rest of the call
    /// that has the last one. The mark is for [`Exchange::committed`].
    pub(super) fn journal(&mut self) -> Option<(Mark, Vec<Change>)> {
        self.journal.take()
    }

    /// All changes up to this one are on disk; who waits for one of them is woken.
    pub(super) fn committed(&mut self, mark: Mark) {
        for session in self.journal.commit(mark) {
            if let Some(here) = self.sessions.get(&session).and_then(|known| known.here.as_ref()) {
                here.wake.notify_one();
            }
        }
    }

    /// Whether it is on disk.
    #[cfg(test)]
    pub(super) fn is_committed(&self, mark: Mark) -> bool {
        mark <= self.journal.committed()
    }

    /// Changes not yet taken by [`Exchange::journal`].
    pub(super) fn backlog(&self) -> usize {
        self.journal.backlog()
    }

    /// All that is retained, by topic.
    pub(super) fn retained(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.retained.all()
    }

    /// How much there is.
    pub(super) fn counts(&self) -> Counts {
        let lane = |session: &Session| session.here.as_ref().map_or(0, |here| here.lane.len());
        Counts {
            sessions: self.sessions.len(),
            absent: self.absent.len(),
            subscriptions: self.sessions.values().map(|session| session.filters.len()).sum(),
            queued: self.sessions.values().map(|session| session.queue.len() + lane(session)).sum(),
            queued_bytes: self.kept_bytes + self.lane_bytes,
            retained: self.retained.len(),
            ..self.counts
        }
    }

    fn has_bytes(&self, weight: usize) -> bool {
        self.kept_bytes.saturating_add(weight) <= self.bounds.kept_bytes_max
    }

    fn remind(&mut self, at_ms: i64) {
        self.due_ms = self.due_ms.min(at_ms);
    }

    /// A session and everything of it is over; its will is due (§3.1.3.2.2).
    fn forget(&mut self, session: SessionId, now_ms: i64) {
        let Some(known) = self.sessions.remove(&session) else { return };
        self.clients.remove(&known.client);
        self.absent.remove(&(known.left_ms, session));
        for filter in &known.filters {
            self.drop_subscription(session, filter);
        }
        self.kept_bytes -= known.queue.parcels().map(|parcel| weight(&parcel.message)).sum::<usize>();
        self.lane_bytes -= known.here.as_ref().map_or(0, |here| here.lane_bytes);
        if known.is_kept() {
            self.journal.begin();
            self.journal.push(Change::Forget { session });
        }
        if let Some(will) = known.will {
            self.ended_wills.push(LateWill { client: known.client, message: will.publish(now_ms) });
            self.remind(now_ms);
        }
    }

    /// Sessions of absent clients beyond the bound make room, those that left first.
    fn evict(&mut self, now_ms: i64) {
        while self.absent.len() > self.bounds.sessions_max {
            let Some((_, oldest)) = self.absent.first().copied() else { return };
            self.forget(oldest, now_ms);
            self.counts.evicted += 1;
        }
    }

    /// Takes out of a queue what has expired.
    fn expire_queue(&mut self, session: SessionId, now_ms: i64) {
        let Some(known) = self.sessions.get_mut(&session) else { return };
        for delivery in known.queue.expire(now_ms) {
            self.counts.dropped_expired += 1;
            self.done(session, &delivery);
        }
    }

    fn expire_retained(&mut self, now_ms: i64) {
        let expired: Vec<_> =
            self.retained.all().filter(|message| queue::is_expired(message, now_ms)).cloned().collect();
        for message in expired {
            self.journal.begin();
            self.retained.remove(&message.topic);
            self.kept_bytes -= weight(&message);
            self.unretain(&message);
        }
    }
}
