//! What goes out to one client, and what it says to that (MQTT 5.0 §4.3, §4.4, §4.9).

use super::queue::{Answer, Delivery, Recorded, Step};
use super::{Exchange, Mark, Outgoing, weight};
use crate::store::sessions::{Change, SessionId};

impl Exchange {
    /// What may be sent to a client now. Call until there is nothing; its `wake` tells when there is more.
    pub(in crate::device::mqtt) fn next(&mut self, session: SessionId, now_ms: i64) -> Option<Outgoing> {
        let committed = self.journal.committed();
        loop {
            let known = self.sessions.get_mut(&session)?;
            let window = known.here.as_ref()?.window;
            match known.queue.next(window, committed, now_ms) {
                Step::Send(outgoing) => return Some(outgoing),
                Step::Expired(delivery) => {
                    self.counts.dropped_expired += 1;
                    self.journal.begin();
                    self.done(session, &delivery);
                }
                Step::Rest => break,
            }
        }
        let here = self.sessions.get_mut(&session)?.here.as_mut()?;
        if let Some(retained) = here.hand_out(&self.retained, now_ms) {
            return Some(retained);
        }
        while let Some(parcel) = here.lane.pop_front() {
            let weight = weight(&parcel.message);
            here.lane_bytes -= weight;
            self.lane_bytes -= weight;
            if !parcel.is_expired(now_ms) {
                return Some(parcel.send(0, false));
            }
            self.counts.dropped_expired += 1;
        }
        None
    }

    /// A delivery is longer than what its client takes: done as if delivered (MQTT 5.0 §3.1.2.11.4).
    pub(in crate::device::mqtt) fn discard(&mut self, session: SessionId, pkid: u16) {
        self.counts.dropped_too_long += 1;
        self.acknowledged(session, pkid);
    }

    /// Whether a client answers a delivery with what does not belong to it: a protocol error (MQTT 5.0 §4.3, §4.13).
    pub(in crate::device::mqtt) fn is_misplaced(
        &self,
        session: SessionId,
        answer: Answer,
        pkid: u16,
    ) -> bool {
        self.sessions.get(&session).is_some_and(|known| known.queue.is_misplaced(answer, pkid))
    }

    /// PUBACK, or a PUBREC with a reason code from 0x80 on: the delivery is done.
    pub(in crate::device::mqtt) fn acknowledged(&mut self, session: SessionId, pkid: u16) {
        let known = self.sessions.get_mut(&session);
        if let Some(delivery) = known.and_then(|known| known.queue.acknowledged(pkid)) {
            self.journal.begin();
            self.done(session, &delivery);
        }
    }

    /// PUBREC: PUBREL comes from [`Exchange::next`] once that is on disk. False when nothing is known under the id.
    pub(in crate::device::mqtt) fn recorded(&mut self, session: SessionId, pkid: u16) -> bool {
        let Some(known) = self.sessions.get_mut(&session) else { return false };
        match known.queue.recorded(pkid) {
            Recorded::Unknown => return false,
            Recorded::Before => {}
            Recorded::Now(seq) if known.is_kept() => {
                self.journal.begin();
                let mark = self.journal.push(Change::Recorded { session, seq });
                known.queue.mark(seq, mark);
                self.journal.wait(mark, session);
            }
            Recorded::Now(_) => {}
        }
        true
    }

    /// PUBCOMP: the delivery is done. False when nothing is known under the id.
    pub(in crate::device::mqtt) fn completed(&mut self, session: SessionId, pkid: u16) -> bool {
        let known = self.sessions.get_mut(&session);
        let delivery = known.and_then(|known| known.queue.completed(pkid));
        if let Some(delivery) = &delivery {
            self.journal.begin();
            self.done(session, delivery);
        }
        delivery.is_some()
    }

    /// A QoS 2 publish of a client was taken by the [`Exchange::publish`] just before: both are on disk together or not
    /// at all. PUBREC after the mark.
    pub(in crate::device::mqtt) fn received(&mut self, session: SessionId, pkid: u16) -> Mark {
        self.tell(session, Change::Received { session, pkid })
    }

    /// PUBREL of a client; PUBCOMP after the mark.
    pub(in crate::device::mqtt) fn released(&mut self, session: SessionId, pkid: u16) -> Mark {
        self.journal.begin();
        self.tell(session, Change::Released { session, pkid })
    }

    /// A change of a session that wants to know when it is on disk.
    fn tell(&mut self, session: SessionId, change: Change) -> Mark {
        if !self.is_kept(session) {
            return Mark::NONE;
        }
        let mark = self.journal.push(change);
        self.journal.wait(mark, session);
        mark
    }

    /// A delivery that was taken out of a queue.
    pub(super) fn done(&mut self, session: SessionId, delivery: &Delivery) {
        self.kept_bytes -= weight(&delivery.parcel.message);
        if self.is_kept(session) {
            self.journal.push(Change::Done { session, seq: delivery.seq });
        }
    }
}
