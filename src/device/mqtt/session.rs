//! The session of one client: what it has been promised and what it still owes. Sans-IO: packets come in as arguments,
//! answers go into a buffer; what needs the spine or the router is returned.
//!
//! Guarantees: acknowledgements leave in the order in which their publishes came, none before [`Session::committed`]
//! says so; a QoS 2 publish is handed on once however often it is sent; every set in here has a bound.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;

use super::outbox::{Outbox, Sent};
use super::packet::{self, Ack, Connect, Fault, Level, Publish, Wish};
use super::topic;
use crate::store::sessions::Message;

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
    /// One for each filter.
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
                self.due.push_back(Due { pkid: publish.pkid, ack: Ack::Recorded, reason: 0, batch: 0 });
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
            1 => Ack::Received,
            _ => {
                self.kept.unreleased.insert(publish.pkid, false);
                Ack::Recorded
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
            if due.ack == Ack::Recorded {
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
        packet::acknowledge(self.level, Ack::Complete, pkid, reason, out);
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
            let refused = wish.options.no_local.then_some(0x83).or_else(|| refused(&wish.filter));
            let qos = wish.options.qos.min(1);
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
            answer.codes.push(code);
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
        let covering = self.kept.subscriptions.iter().filter(|s| topic::covers(&s.filter, &message.topic));
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
        for due in self.due.iter().filter(|due| due.ack == Ack::Recorded) {
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

#[cfg(test)]
mod tests {
    use super::super::packet::{Frame, Packet};
    use super::*;
    use crate::store::sessions::Options;
    use bytes::Buf;
    use proptest::prelude::*;

    fn session(clean: bool, kept: Option<Kept>) -> Session {
        let connect = Connect {
            level: Level::V4,
            client_id: "d1".into(),
            clean,
            keep_alive: 10,
            will: None,
            login: None,
            receive_max: u16::MAX,
            packet_max: 100,
            expiry_s: 0,
            alias_max: 0,
            problem_info: true,
            enhanced_auth: false,
        };
        Session::new(&connect, Bounds { inflight_max: 4, subscriptions_max: 2 }, kept)
    }

    fn publish(qos: u8, pkid: u16) -> Publish<'static> {
        let (alias, expiry_s, properties) = (None, None, &[][..]);
        Publish {
            qos,
            dup: false,
            retain: false,
            pkid,
            topic: "a",
            alias,
            expiry_s,
            properties,
            payload: b"",
        }
    }

    fn message(bytes: usize) -> Message {
        super::super::router::message("a", "x".repeat(bytes).as_bytes(), false)
    }

    fn wish(filter: &str, qos: u8) -> Wish {
        Wish { filter: filter.into(), options: Options { qos, ..Options::default() } }
    }

    #[test]
    fn acknowledgements_leave_in_order_of_arrival() {
        let mut session = session(true, None);
        for (qos, pkid, wait) in
            [(1, 1, Wait::Batch(1)), (0, 0, Wait::Batch(1)), (1, 2, Wait::No(0)), (2, 3, Wait::Batch(2))]
        {
            assert_eq!(session.arrives(&publish(qos, pkid)), Ok(true));
            session.owe(&publish(qos, pkid), wait);
        }
        session.owe(&publish(1, 4), Wait::No(0));
        assert!(session.is_full());
        let mut out = BytesMut::new();
        assert_eq!(session.acknowledge(&mut out), 0);
        session.committed(1);
        assert_eq!(session.acknowledge(&mut out), 2);
        assert_eq!(out[..], [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
        session.committed(2);
        assert_eq!(session.acknowledge(&mut out), 2);
        assert_eq!(out[8..], [0x50, 2, 0, 3, 0x40, 2, 0, 4]);
    }

    #[test]
    fn a_qos_2_id_is_taken_until_it_is_released() {
        let mut first = session(false, None);
        let mut out = BytesMut::new();
        assert_eq!(first.arrives(&publish(2, 1)), Ok(true));
        first.owe(&publish(2, 1), Wait::Batch(1));
        assert_eq!(first.arrives(&publish(2, 1)), Ok(false));
        assert!(first.released(1, &mut out).is_err(), "not committed yet");
        assert_eq!(first.arrives(&publish(2, 2)), Ok(true));
        first.owe(&publish(2, 2), Wait::Batch(2));
        first.committed(1);
        let mut second = session(false, first.park());
        assert_eq!(second.arrives(&publish(2, 1)), Ok(false), "it is on disk");
        assert_eq!(second.arrives(&publish(2, 2)), Ok(true), "it never was");
        second.acknowledge(&mut out);
        second.released(1, &mut out).expect("known");
        assert_eq!(out[..], [0x50, 2, 0, 1, 0x70, 2, 0, 1]);
        let mut third = session(true, second.park());
        assert_eq!(third.arrives(&publish(2, 1)), Ok(true), "a clean session knows nothing");
    }

    #[test]
    fn unreleased_ids_are_bounded() {
        let mut session = session(true, None);
        for pkid in 1..=UNRELEASED_MAX as u16 {
            assert_eq!(session.arrives(&publish(2, pkid)), Ok(true));
            session.owe(&publish(2, pkid), Wait::No(0));
        }
        assert_eq!(session.arrives(&publish(2, u16::MAX)), Err(Fault::ReceiveMaximum));
    }

    #[test]
    fn subscriptions_are_granted_replaced_and_bounded() {
        let mut session = session(true, None);
        for (filter, qos, code, fresh) in [
            ("a/+", 2, 1, true),
            ("a/+", 0, 0, false),
            ("#/a", 0, 0x8F, false),
            ("router/is/full", 0, 0x97, false),
            ("b", 0, 0, true),
            ("c", 0, 0x97, false),
        ] {
            let granted = session.subscribe(1, vec![wish(filter, qos)], |filter| filter != "router/is/full");
            assert_eq!((granted.codes[0], granted.fresh.len() == 1), (code, fresh), "{filter}");
        }
        let mut out = BytesMut::new();
        assert_eq!(session.unsubscribe(2, vec!["b".into(), "b".into(), "z".into()], &mut out), ["b"]);
        assert_eq!(session.filters().collect::<Vec<_>>(), ["a/+"]);
    }

    #[test]
    fn a_slow_consumer_loses_what_does_not_fit() {
        let mut out = BytesMut::new();
        let mut one = session(true, None);
        one.subscribe(1, vec![wish("a", 1)], |_| true);
        let sent: Vec<_> = (0..201).map(|_| one.deliver(message(10), &mut out)).collect();
        assert_eq!(sent.iter().filter(|sent| **sent == Sent::Yes).count(), 200, "window and queue");
        assert_eq!(sent[200], Sent::Dropped);
        let first_window = out.len();
        one.delivered(1, &mut out);
        one.delivered(1, &mut out);
        assert!(out.len() > first_window, "the window moves on");
        assert_eq!(one.deliver(message(10), &mut out), Sent::Yes);
        assert_eq!(one.deliver(message(100), &mut out), Sent::Dropped, "longer than the client takes");

        let mut zero = session(true, None);
        zero.subscribe(1, vec![wish("a", 0)], |_| true);
        out.clear();
        while zero.deliver(message(80), &mut out) == Sent::Yes {}
        assert!(out.len() <= super::super::outbox::OUT_BYTES_MAX + 100);
        assert_eq!(zero.deliver(Message { topic: "b".into(), ..message(1) }, &mut out), Sent::Unwanted);
    }

    #[test]
    fn deliveries_that_were_not_acknowledged_come_again() {
        let mut out = BytesMut::new();
        let mut first = session(false, None);
        first.subscribe(1, vec![wish("a", 1)], |_| true);
        first.deliver(message(1), &mut out);
        first.deliver(message(2), &mut out);
        first.delivered(1, &mut out);
        let mut second = session(false, first.park());
        out.clear();
        second.resume(&mut out);
        assert_eq!(out[..], *b"\x3a\x07\0\x01a\0\x02xx");
        assert_eq!(second.filters().collect::<Vec<_>>(), ["a"]);
    }

    /// Everything a session answers to a stream of packets that comes in the given pieces.
    fn answers(pieces: &[&[u8]]) -> (BytesMut, Option<Fault>) {
        let (mut session, mut read, mut out) = (session(true, None), BytesMut::new(), BytesMut::new());
        for piece in pieces {
            read.extend_from_slice(piece);
            loop {
                let used = match Frame::cut(&read, 256) {
                    Ok(None) => break,
                    Ok(Some(frame)) => match step(&mut session, frame, &mut out) {
                        Ok(()) => frame.len(),
                        Err(fault) => return (out, Some(fault)),
                    },
                    Err(fault) => return (out, Some(fault)),
                };
                read.advance(used);
            }
        }
        (out, None)
    }

    fn step(session: &mut Session, frame: Frame<'_>, out: &mut BytesMut) -> Result<(), Fault> {
        match frame.decode(Level::V4)? {
            Packet::Publish(publish) => {
                if session.arrives(&publish)? {
                    session.owe(&publish, Wait::No(0));
                }
                session.acknowledge(out);
            }
            Packet::PubAck { pkid, .. } => session.delivered(pkid, out),
            Packet::PubRel { pkid, .. } => session.released(pkid, out)?,
            Packet::PubRec { .. } | Packet::PubComp { .. } => return Err(Fault::Protocol("not delivered")),
            Packet::Subscribe { pkid, wishes, .. } => {
                packet::suback(Level::V4, pkid, &session.subscribe(pkid, wishes, |_| true).codes, out);
            }
            Packet::Unsubscribe { pkid, filters } => drop(session.unsubscribe(pkid, filters, out)),
            Packet::PingReq => packet::pingresp(out),
            Packet::Disconnect { .. } => {}
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_split_changes_nothing(
            packets in prop::collection::vec(prop_oneof![
                (1u16..4, 0..2u8).prop_map(|(id, more)| vec![0x32 + 2 * more, 6, 0, 1, b'a', 0, id as u8, b'x']),
                (1u8..4).prop_map(|id| vec![0x62, 2, 0, id]),
                (1u8..4).prop_map(|id| vec![0x82, 6, 0, id, 0, 1, b'a', 1]),
                (1u8..4).prop_map(|id| vec![0xA2, 5, 0, id, 0, 1, b'a']),
                Just(vec![0xC0, 0]),
                prop::collection::vec(any::<u8>(), 0..6),
            ], 0..12),
            cuts in prop::collection::vec(1usize..9, 1..100),
        ) {
            let bytes = packets.concat();
            let mut rest = bytes.as_slice();
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(answers(&pieces), answers(&[&bytes]));
        }
    }
}
