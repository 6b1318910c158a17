//! The session of one client: what it has been promised and what it still owes. Sans-IO: packets come in as arguments,
//! answers go into a buffer; what needs the spine or the router is returned.
//!
//! Guarantees: acknowledgements leave in the order in which their publishes came, none before [`Session::committed`]
//! says so; a QoS 2 publish is handed on once however often it is sent; every set in here has a bound.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;

use super::outbox::{Outbox, Sent};
use super::packet::{self, Ack, Connect, Fault, Level, Message, Publish, Wish};
use super::topic;

/// QoS 2 publishes of one client between PUBLISH and PUBREL; one more closes the connection.
pub(super) const UNRELEASED_MAX: usize = 1024;
/// Bytes of a topic filter, and of a topic that is fanned out.
pub(super) const FILTER_BYTES_MAX: usize = 1024;
/// Levels of a topic filter.
const LEVELS_MAX: usize = 32;

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing; with the reason code for 5.0.
    No(u8),
    /// The receipt of this batch. Batches are numbered from 1 and commit in order.
    Batch(u64),
}

/// One acknowledgement in the queue.
#[derive(Debug)]
struct Due {
    pkid: u16,
    ack: Ack,
    reason: u8,
    /// 0 is always committed.
    batch: u64,
}

/// What a client wants to hear.
#[derive(Clone, Debug, PartialEq)]
struct Subscription {
    filter: String,
    /// 0 or 1.
    qos: u8,
}

/// What outlives a connection of a client that asks for it (clean session 0).
pub(super) struct Kept {
    /// QoS 2 packet ids seen and not released; true when their PUBREC may be sent.
    unreleased: BTreeMap<u16, bool>,
    subscriptions: Vec<Subscription>,
    outbox: Outbox,
}

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub inflight_max: usize,
    pub subscriptions_max: usize,
}

/// See the module.
pub(super) struct Session {
    level: Level,
    clean: bool,
    keep_alive: Duration,
    bounds: Bounds,
    due: VecDeque<Due>,
    committed: u64,
    kept: Kept,
}

/// The answer to a SUBSCRIBE; the SUBACK goes out after the router knows.
#[derive(Debug, PartialEq)]
pub(super) struct Granted {
    pub pkid: u16,
    /// One for each filter, as SUBACK wants them.
    pub codes: Vec<u8>,
    /// What the router does not know yet.
    pub fresh: Vec<String>,
    /// All that was granted; retained messages are due for them.
    pub granted: Vec<String>,
}

impl Session {
    /// A session as a client asks for it, or the one it left.
    pub(super) fn new(connect: &Connect, bounds: Bounds, kept: Option<Kept>) -> Self {
        let mut kept = kept.filter(|_| !connect.clean).unwrap_or_else(|| Kept {
            unreleased: BTreeMap::new(),
            subscriptions: Vec::new(),
            outbox: Outbox::default(),
        });
        kept.outbox.open(connect.level, usize::from(connect.receive_max), connect.packet_max);
        Self {
            level: connect.level,
            clean: connect.clean,
            keep_alive: Duration::from_secs(u64::from(connect.keep_alive)),
            bounds,
            due: VecDeque::new(),
            committed: 0,
            kept,
        }
    }

    /// How long a client may be silent; none when for ever.
    pub(super) fn patience(&self) -> Option<Duration> {
        (!self.keep_alive.is_zero()).then(|| self.keep_alive * 3 / 2)
    }

    /// Whether no further publish may be read.
    pub(super) fn is_full(&self) -> bool {
        self.due.len() >= self.bounds.inflight_max
    }

    /// A publish has come. False when it is the repetition of a QoS 2 publish: then it is answered already and must
    /// not be handed on.
    pub(super) fn arrives(&mut self, publish: &Publish<'_>) -> Result<bool, Fault> {
        if publish.qos < 2 {
            return Ok(true);
        }
        match self.kept.unreleased.get(&publish.pkid) {
            // Its PUBREC is in the queue.
            Some(false) => Ok(false),
            Some(true) => {
                self.due.push_back(Due { pkid: publish.pkid, ack: Ack::PubRec, reason: 0, batch: 0 });
                Ok(false)
            }
            None if self.kept.unreleased.len() >= UNRELEASED_MAX => Err(Fault::ReceiveMaximum),
            None => Ok(true),
        }
    }

    /// A publish was handed on; its acknowledgement waits.
    pub(super) fn owe(&mut self, publish: &Publish<'_>, wait: Wait) {
        let ack = match publish.qos {
            0 => return,
            1 => Ack::PubAck,
            _ => {
                self.kept.unreleased.insert(publish.pkid, false);
                Ack::PubRec
            }
        };
        let (reason, batch) = match wait {
            Wait::No(reason) => (reason, 0),
            Wait::Batch(batch) => (0, batch),
        };
        self.due.push_back(Due { pkid: publish.pkid, ack, reason, batch });
    }

    /// All batches up to this one are on disk.
    pub(super) fn committed(&mut self, batch: u64) {
        self.committed = self.committed.max(batch);
    }

    /// Gives out what may go, in order. Returns how many.
    pub(super) fn acknowledge(&mut self, out: &mut BytesMut) -> u64 {
        let mut count = 0;
        while let Some(due) = self.due.pop_front_if(|due| due.batch <= self.committed) {
            if due.ack == Ack::PubRec {
                if due.reason < 0x80 {
                    self.kept.unreleased.insert(due.pkid, true);
                } else {
                    self.kept.unreleased.remove(&due.pkid);
                }
            }
            packet::acknowledge(self.level, due.ack, due.pkid, due.reason, out);
            count += 1;
        }
        count
    }

    /// PUBREL: the client will not send this one again.
    pub(super) fn released(&mut self, pkid: u16, out: &mut BytesMut) -> Result<(), Fault> {
        let reason = match self.kept.unreleased.get(&pkid) {
            Some(false) => return Err(Fault::Protocol("PUBREL before PUBREC")),
            Some(true) => 0,
            None => 0x92,
        };
        self.kept.unreleased.remove(&pkid);
        packet::acknowledge(self.level, Ack::PubComp, pkid, reason, out);
        Ok(())
    }

    /// SUBSCRIBE. `admit` says whether the router can take one more filter.
    pub(super) fn subscribe(
        &mut self,
        pkid: u16,
        wishes: Vec<Wish>,
        mut admit: impl FnMut(&str) -> bool,
    ) -> Granted {
        let mut answer = Granted { pkid, codes: vec![], fresh: vec![], granted: vec![] };
        for wish in wishes {
            let full = self.kept.subscriptions.len() >= self.bounds.subscriptions_max;
            let known = self.kept.subscriptions.iter_mut().find(|known| known.filter == wish.filter);
            let refused = wish.refused.or_else(|| refused(&wish.filter));
            let qos = wish.qos.min(1);
            let code = match (refused, known) {
                (Some(code), _) => code,
                (None, Some(known)) => {
                    known.qos = qos;
                    qos
                }
                (None, None) if full || !admit(&wish.filter) => 0x97,
                (None, None) => {
                    self.kept.subscriptions.push(Subscription { filter: wish.filter.clone(), qos });
                    answer.fresh.push(wish.filter.clone());
                    qos
                }
            };
            if code < 0x80 {
                answer.granted.push(wish.filter);
            }
            answer.codes.push(if self.level == Level::V4 { code.min(0x80) } else { code });
        }
        answer
    }

    /// UNSUBSCRIBE: answers, and returns what the router need not send any more.
    pub(super) fn unsubscribe(&mut self, pkid: u16, filters: Vec<String>, out: &mut BytesMut) -> Vec<String> {
        let mut gone = Vec::new();
        let mut codes = Vec::with_capacity(filters.len());
        for filter in filters {
            match self.kept.subscriptions.iter().position(|known| known.filter == filter) {
                Some(at) => {
                    self.kept.subscriptions.swap_remove(at);
                    gone.push(filter);
                    codes.push(0);
                }
                None => codes.push(0x11),
            }
        }
        packet::unsuback(self.level, pkid, &codes, out);
        gone
    }

    /// All filters, for a router that does not know them yet.
    pub(super) fn filters(&self) -> impl Iterator<Item = &str> {
        self.kept.subscriptions.iter().map(|subscription| subscription.filter.as_str())
    }

    /// Delivers a message at the best QoS of the subscriptions that cover it.
    pub(super) fn deliver(&mut self, message: Message, out: &mut BytesMut) -> Sent {
        let Ok(name) = std::str::from_utf8(&message.topic) else { return Sent::Dropped };
        let covering = self.kept.subscriptions.iter().filter(|s| topic::covers(&s.filter, name));
        match covering.map(|subscription| subscription.qos).max() {
            Some(qos) => self.kept.outbox.send(message, qos, out),
            None => Sent::Unwanted,
        }
    }

    /// PUBACK of a delivery.
    pub(super) fn delivered(&mut self, pkid: u16, out: &mut BytesMut) {
        self.kept.outbox.acknowledged(pkid, out);
    }

    /// Sends again what the connection before did not see acknowledged (MQTT 3.1.1 §4.4).
    pub(super) fn resume(&mut self, out: &mut BytesMut) {
        self.kept.outbox.resume(out);
    }

    /// Whether something stays when the connection ends.
    pub(super) fn keeps(&self) -> bool {
        !self.clean
    }

    /// The connection is over. What is kept of a QoS 2 publish that never reached the disk is nothing: the client
    /// sends it again.
    pub(super) fn park(mut self) -> Option<Kept> {
        for due in self.due.iter().filter(|due| due.ack == Ack::PubRec) {
            if due.batch <= self.committed {
                self.kept.unreleased.insert(due.pkid, true);
            } else {
                self.kept.unreleased.remove(&due.pkid);
            }
        }
        (!self.clean).then_some(self.kept)
    }
}

/// The reason code for a filter that is not served.
fn refused(filter: &str) -> Option<u8> {
    if !topic::is_filter(filter) {
        Some(0x8F)
    } else if filter.starts_with("$share/") {
        Some(0x9E)
    } else if filter.starts_with('$') {
        Some(0x87)
    } else if filter.len() > FILTER_BYTES_MAX || filter.split('/').count() > LEVELS_MAX {
        Some(0x97)
    } else {
        None
    }
}
