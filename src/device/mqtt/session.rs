//! What one connection has promised its client: acknowledgements in order, QoS 2 ids, topic aliases. Sans-IO: packets come
//! in as arguments, answers go into a buffer.
//!
//! Guarantees: acknowledgements leave in the order in which their packets came, none before what it waits for is on disk; a
//! QoS 2 publish is handed on once however often it is sent; every set in here has a bound.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;

use super::exchange::Mark;
use super::packet::{self, Ack, Connect, Fault, Level, Outgoing, Publish};

/// QoS 2 publishes of a 3.1.1 client between PUBLISH and PUBREL; one more closes the connection. A 5.0 client is told
/// [`Bounds::inflight_max`].
pub(super) const UNRELEASED_MAX: usize = 1024;
/// Topic aliases of a connection, either way.
pub(super) const ALIASES_MAX: u16 = 16;

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing; with the reason code for 5.0.
    No(u8),
    /// The receipt of this batch. Batches are numbered from 1 and commit in order.
    Batch(u64),
    /// The exchange's journal up to here; with the reason code for 5.0.
    Mark(Mark, u8),
}

/// One answer in the queue.
#[derive(Debug)]
struct Due {
    pkid: u16,
    answer: Answer,
    wait: Wait,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Ack(Ack),
    Subscribed(Vec<u8>),
    Unsubscribed(Vec<u8>),
}

impl Due {
    fn reason(&self) -> u8 {
        match self.wait {
            Wait::No(reason) | Wait::Mark(_, reason) => reason,
            Wait::Batch(_) => 0,
        }
    }
}

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Acknowledgements owed.
    pub inflight_max: usize,
    /// How long a client may be silent that does not say.
    pub idle_max: Duration,
}

/// See the module.
pub(super) struct Session {
    level: Level,
    keep_alive: Duration,
    bounds: Bounds,
    due: VecDeque<Due>,
    /// The last batch that is on disk.
    committed: u64,
    /// QoS 2 packet ids seen and not released; true when their PUBREC may be sent.
    unreleased: BTreeMap<u16, bool>,
    aliases: Vec<Option<Box<str>>>,
    /// Topics that the client knows by number, from 1.
    told: Vec<Box<str>>,
    told_max: usize,
}

impl Session {
    /// A session for a client that was let in; `received` are the QoS 2 ids that an earlier connection left.
    pub(super) fn new(connect: &Connect, bounds: Bounds, received: Vec<u16>) -> Self {
        Self {
            level: connect.level,
            keep_alive: Duration::from_secs(u64::from(connect.keep_alive)),
            bounds,
            due: VecDeque::new(),
            committed: 0,
            unreleased: received.into_iter().map(|pkid| (pkid, true)).collect(),
            aliases: Vec::new(),
            told: Vec::new(),
            told_max: usize::from(connect.alias_max.min(ALIASES_MAX)),
        }
    }

    /// How long a client may be silent (MQTT 3.1.1 §3.1.2.10).
    pub(super) fn patience(&self) -> Duration {
        if self.keep_alive.is_zero() { self.bounds.idle_max } else { self.keep_alive * 3 / 2 }
    }

    /// Whether no further publish may be read.
    pub(super) fn is_full(&self) -> bool {
        self.due.len() >= self.bounds.inflight_max
    }

    /// The topic of a publish, for which a number may stand (MQTT 5.0 §3.3.2.3.4).
    pub(super) fn topic<'b>(&mut self, publish: &Publish<'b>) -> Result<Cow<'b, str>, Fault> {
        let Some(alias) = publish.alias else { return Ok(publish.topic.into()) };
        if alias > ALIASES_MAX {
            return Err(Fault::TopicAlias);
        }
        let at = usize::from(alias) - 1;
        if !publish.topic.is_empty() {
            if self.aliases.len() <= at {
                self.aliases.resize(at + 1, None);
            }
            self.aliases[at] = Some(publish.topic.into());
            return Ok(publish.topic.into());
        }
        let known = self.aliases.get(at).cloned().flatten();
        known
            .map(|topic| String::from(topic).into())
            .ok_or(Fault::Protocol("a topic alias that was never given"))
    }

    /// Lets a number stand for the topic of a delivery, where the client takes one and is not told of it in a packet that
    /// gets too long by that. False when the delivery is longer than `packet_max` bytes all the same ([MQTT-3.1.2-24]).
    pub(super) fn fit(&mut self, delivery: &mut Outgoing<'_>, packet_max: usize) -> bool {
        let topic = &*delivery.message.topic;
        let known = self.told.iter().position(|told| **told == *topic);
        let fresh = known.is_none() && self.told.len() < self.told_max;
        let alias = known.or_else(|| fresh.then_some(self.told.len())).map(|at| at + 1);
        delivery.alias = alias.and_then(|alias| Some((u16::try_from(alias).ok()?, fresh)));
        if packet::publish_len(self.level, delivery) <= packet_max {
            if fresh {
                self.told.push(topic.into());
            }
            return true;
        }
        if fresh {
            delivery.alias = None;
        }
        fresh && packet::publish_len(self.level, delivery) <= packet_max
    }

    /// A publish has come. False when it is the repetition of a QoS 2 publish: then it is answered already and must
    /// not be handed on.
    pub(super) fn arrives(&mut self, publish: &Publish<'_>) -> Result<bool, Fault> {
        if publish.qos < 2 {
            return Ok(true);
        }
        let unreleased_max = match self.level {
            Level::V4 => UNRELEASED_MAX,
            Level::V5 => self.bounds.inflight_max,
        };
        match self.unreleased.get(&publish.pkid) {
            // Its PUBREC is in the queue.
            Some(false) => Ok(false),
            Some(true) => {
                self.push(publish.pkid, Answer::Ack(Ack::Recorded), Wait::No(0));
                Ok(false)
            }
            None if self.unreleased.len() >= unreleased_max => Err(Fault::ReceiveMaximum),
            None => Ok(true),
        }
    }

    /// A publish was handed on; its acknowledgement waits.
    pub(super) fn owe(&mut self, qos: u8, pkid: u16, wait: Wait) {
        let ack = match qos {
            0 => return,
            1 => Ack::Received,
            _ => {
                self.unreleased.insert(pkid, false);
                Ack::Recorded
            }
        };
        self.push(pkid, Answer::Ack(ack), wait);
    }

    /// The answer to a SUBSCRIBE; a kept session has to remember first.
    pub(super) fn subscribed(&mut self, pkid: u16, codes: Vec<u8>, mark: Mark) {
        self.push(pkid, Answer::Subscribed(codes), Wait::Mark(mark, 0));
    }

    /// The answer to an UNSUBSCRIBE.
    pub(super) fn unsubscribed(&mut self, pkid: u16, codes: Vec<u8>, mark: Mark) {
        self.push(pkid, Answer::Unsubscribed(codes), Wait::Mark(mark, 0));
    }

    fn push(&mut self, pkid: u16, answer: Answer, wait: Wait) {
        self.due.push_back(Due { pkid, answer, wait });
    }

    /// All batches up to this one are on disk.
    pub(super) fn committed(&mut self, batch: u64) {
        self.committed = self.committed.max(batch);
    }

    /// Gives out what may go, in order. Returns how many publishes it answered.
    pub(super) fn acknowledge(&mut self, journaled: u64, out: &mut BytesMut) -> u64 {
        let mut count = 0;
        let committed = self.committed;
        while let Some(due) = self.due.pop_front_if(|due| is_over(due.wait, committed, journaled)) {
            let (pkid, reason) = (due.pkid, due.reason());
            match due.answer {
                Answer::Subscribed(codes) => packet::suback(self.level, pkid, &codes, out),
                Answer::Unsubscribed(codes) => packet::unsuback(self.level, pkid, &codes, out),
                Answer::Ack(ack) => {
                    if ack == Ack::Recorded {
                        self.recorded(pkid, reason);
                    }
                    packet::acknowledge(self.level, ack, pkid, reason, out);
                    count += u64::from(ack != Ack::Complete);
                }
            }
        }
        count
    }

    /// A PUBREC goes out: of a refusal nothing more will come.
    fn recorded(&mut self, pkid: u16, reason: u8) {
        if reason < 0x80 {
            self.unreleased.insert(pkid, true);
        } else {
            self.unreleased.remove(&pkid);
        }
    }

    /// PUBREL: the client will not send this one again. Its PUBCOMP waits until `forgotten`, with the session, is on disk:
    /// a restart must not take the next publish of that id for this one.
    pub(super) fn released(&mut self, pkid: u16, forgotten: impl FnOnce() -> Mark) -> Result<(), Fault> {
        let wait = match self.unreleased.remove(&pkid) {
            Some(false) => return Err(Fault::Protocol("PUBREL before PUBREC")),
            Some(true) => Wait::Mark(forgotten(), 0),
            None => Wait::No(0x92),
        };
        self.push(pkid, Answer::Ack(Ack::Complete), wait);
        Ok(())
    }

    /// The connection is over: the QoS 2 ids that were taken for good. What of a publish never reached the disk is nothing:
    /// the client sends it again. What the exchange has, it has.
    pub(super) fn received(mut self) -> Vec<u16> {
        for due in std::mem::take(&mut self.due) {
            if due.answer == Answer::Ack(Ack::Recorded) && is_over(due.wait, self.committed, u64::MAX) {
                self.recorded(due.pkid, due.reason());
            }
        }
        self.unreleased.into_iter().filter_map(|(pkid, taken)| taken.then_some(pkid)).collect()
    }
}

fn is_over(wait: Wait, committed: u64, journaled: u64) -> bool {
    match wait {
        Wait::No(_) => true,
        Wait::Batch(batch) => batch <= committed,
        Wait::Mark(mark, _) => mark.0 <= journaled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sessions::Message;

    fn session(level: Level, told_max: usize) -> Session {
        Session {
            level,
            keep_alive: Duration::ZERO,
            bounds: Bounds { inflight_max: 1, idle_max: Duration::ZERO },
            due: VecDeque::new(),
            committed: 0,
            unreleased: BTreeMap::new(),
            aliases: Vec::new(),
            told: Vec::new(),
            told_max,
        }
    }

    /// A delivery that fitted its client was given a new alias afterwards, and was three bytes longer than the client
    /// takes; one that an alias would have made short enough was dropped.
    #[test]
    fn an_alias_makes_no_delivery_too_long() {
        let topic = "compound/1";
        let message = |length: usize| Message {
            topic: topic.into(),
            payload: vec![b'.'; length].into(),
            qos: 0,
            retain: false,
            properties: Box::default(),
            expires_ms: None,
        };
        let mut session = session(Level::V5, 1);
        // 15 bytes beside the payload with the topic, 18 with topic and alias, 8 with the alias alone.
        for (length, fits, alias) in [
            (86, false, None),
            (85, true, None),
            (83, true, None),
            (82, true, Some((1, true))),
            (85, true, Some((1, false))),
            (92, true, Some((1, false))),
            (93, false, Some((1, false))),
        ] {
            let message = message(length);
            let mut delivery = Outgoing {
                message: &message,
                qos: 0,
                pkid: 0,
                dup: false,
                retain: false,
                identifiers: &[],
                expiry_s: None,
                alias: None,
            };
            assert_eq!((session.fit(&mut delivery, 100), delivery.alias), (fits, alias), "{length} bytes");
        }
    }
}
