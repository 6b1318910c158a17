//! What waits for one client at QoS 1 and 2, and how far each delivery has come. Pure.
//!
//! Guarantees: deliveries leave in order, no more of them unacknowledged than the window; a delivery keeps its packet id
//! over connections and restarts, because the id is a function of its number; a QoS 2 delivery does not leave before its
//! number is on disk, nor its PUBREL before the client's PUBREC is, so that an id that a client holds never comes to mean
//! something else. Bounds of messages and bytes are those of the exchange.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Mark, Outgoing};
use crate::store::sessions::{Message, SavedDelivery};

/// Numbers between the oldest delivery and the newest; one more would share a packet id.
const SPAN_MAX: u64 = 65_535;

/// What is handed to one session.
#[derive(Clone)]
pub(super) struct Parcel {
    pub(super) message: Arc<Message>,
    /// Of the delivery.
    pub(super) qos: u8,
    /// The retain flag of the delivery.
    pub(super) retain: bool,
    /// Of the subscriptions that it is for.
    pub(super) identifiers: Box<[u32]>,
}

impl Parcel {
    /// Whether it is worth nothing any more.
    pub(super) fn is_expired(&self, now_ms: i64) -> bool {
        is_expired(&self.message, now_ms)
    }

    pub(super) fn send(&self, pkid: u16, dup: bool) -> Outgoing {
        Outgoing::Publish {
            message: Arc::clone(&self.message),
            qos: self.qos,
            pkid,
            dup,
            retain: self.retain,
            identifiers: self.identifiers.clone(),
        }
    }
}

/// Whether a message is worth nothing any more.
pub(super) fn is_expired(message: &Message, now_ms: i64) -> bool {
    message.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Never sent.
    New,
    /// The process before may have sent it.
    Restored,
    /// Sent on a connection before this one.
    Again,
    /// Sent on this connection.
    Flying,
    /// The client has recorded it; its PUBREL is due.
    Recorded,
    /// PUBREL is sent.
    Releasing,
}

/// A delivery and where it is.
pub(super) struct Delivery {
    pub(super) seq: u64,
    pub(super) parcel: Parcel,
    /// The change that has to be on disk before the next step.
    mark: Mark,
    stage: Stage,
}

impl Delivery {
    fn pkid(&self) -> u16 {
        ((self.seq - 1) % SPAN_MAX + 1) as u16
    }

    /// A late command does harm, so what may not have reached the client is not sent any more. Of a QoS 2 delivery that
    /// was sent the client may hold the id: that one goes its way (MQTT 5.0 §4.4).
    fn is_over(&self, now_ms: i64) -> bool {
        let sent = self.stage == Stage::Again && self.parcel.qos == 2;
        self.parcel.is_expired(now_ms) && !sent
    }
}

/// What to do next.
pub(super) enum Step {
    /// Nothing, or wait.
    Rest,
    /// This one has expired and is taken out.
    Expired(Delivery),
    /// Send this.
    Send(Outgoing),
}

/// What a client says to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::device::mqtt) enum Answer {
    /// PUBACK.
    Acknowledged,
    /// PUBREC, with any reason.
    Recorded,
    /// PUBCOMP.
    Completed,
}

/// What became of a PUBREC.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// The delivery with this number has been recorded now; its mark is to be told.
    Now(u64),
    /// It had been.
    Before,
    /// No QoS 2 delivery with this id is under way.
    Unknown,
}

/// See the module.
pub(super) struct Queue {
    /// By number.
    items: VecDeque<Delivery>,
    next_seq: u64,
    /// So many in front have been sent on this connection.
    sent: usize,
    /// Of these, whose PUBREL is due.
    due: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { items: VecDeque::new(), next_seq: 1, sent: 0, due: 0 }
    }
}

impl Queue {
    /// The queue of a session as it was saved. At most `window` of its deliveries were under way. An empty one goes on
    /// from `seq`.
    pub(super) fn restore(saved: Vec<SavedDelivery>, window: usize, seq: u64) -> Self {
        let items: VecDeque<Delivery> = saved
            .into_iter()
            .enumerate()
            .map(|(at, saved)| Delivery {
                seq: saved.seq,
                parcel: Parcel {
                    message: saved.message,
                    qos: saved.qos,
                    retain: saved.retain,
                    identifiers: saved.identifiers,
                },
                mark: Mark::NONE,
                stage: match saved.recorded {
                    true => Stage::Recorded,
                    false if at < window => Stage::Restored,
                    false => Stage::New,
                },
            })
            .collect();
        let next_seq = items.back().map_or(seq.max(1), |delivery| delivery.seq + 1);
        Self { items, next_seq, sent: 0, due: 0 }
    }

    /// How many wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// All that wait or are under way.
    pub(super) fn parcels(&self) -> impl Iterator<Item = &Parcel> {
        self.items.iter().map(|delivery| &delivery.parcel)
    }

    /// Whether one more fits below `max`, under an id of its own.
    pub(super) fn has_room(&self, max: usize) -> bool {
        let oldest = self.items.front().map_or(self.next_seq, |delivery| delivery.seq);
        self.items.len() < max && self.next_seq - oldest < SPAN_MAX
    }

    /// The number of the next delivery.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Adds a delivery under [`Queue::next_seq`], which is on disk when `mark` is.
    pub(super) fn push(&mut self, parcel: Parcel, mark: Mark) {
        self.items.push_back(Delivery { seq: self.next_seq, parcel, mark, stage: Stage::New });
        self.next_seq += 1;
    }

    /// A connection begins: what is not done is sent again.
    pub(super) fn again(&mut self) {
        for delivery in self.items.iter_mut().take(self.sent) {
            delivery.stage = match delivery.stage {
                Stage::Recorded | Stage::Releasing => Stage::Recorded,
                _ => Stage::Again,
            };
        }
        (self.sent, self.due) = (0, 0);
    }

    /// What may be sent now.
    pub(super) fn next(&mut self, window: usize, committed: Mark, now_ms: i64) -> Step {
        if self.due > 0 {
            let mut sent = self.items.iter_mut().take(self.sent);
            let due = sent.find(|one| one.stage == Stage::Recorded && one.mark <= committed);
            if let Some(delivery) = due {
                delivery.stage = Stage::Releasing;
                self.due -= 1;
                return Step::Send(Outgoing::Release { pkid: delivery.pkid() });
            }
        }
        while let Some(delivery) = self.items.get_mut(self.sent) {
            let on_disk = delivery.mark <= committed;
            match delivery.stage {
                Stage::Recorded => {
                    self.sent += 1;
                    if on_disk {
                        delivery.stage = Stage::Releasing;
                        return Step::Send(Outgoing::Release { pkid: delivery.pkid() });
                    }
                    self.due += 1;
                }
                _ if delivery.is_over(now_ms) => {
                    return self.take(self.sent).map_or(Step::Rest, Step::Expired);
                }
                _ if self.sent >= window || (delivery.parcel.qos == 2 && !on_disk) => break,
                stage => {
                    self.sent += 1;
                    delivery.stage = Stage::Flying;
                    return Step::Send(delivery.parcel.send(delivery.pkid(), stage != Stage::New));
                }
            }
        }
        Step::Rest
    }

    /// Whether an answer belongs to another step than the one that the delivery with this id is at (MQTT 5.0 §4.3).
    pub(super) fn is_misplaced(&self, answer: Answer, pkid: u16) -> bool {
        let Some(delivery) = self.find(pkid).map(|at| &self.items[at]) else { return false };
        match (answer, delivery.parcel.qos) {
            (Answer::Acknowledged, qos) => qos == 2,
            (Answer::Recorded, qos) => qos == 1,
            (Answer::Completed, qos) => qos == 1 || delivery.stage == Stage::Flying,
        }
    }

    /// PUBACK, or a delivery that is given up: it is taken out.
    pub(super) fn acknowledged(&mut self, pkid: u16) -> Option<Delivery> {
        let at = self.find(pkid)?;
        if self.items[at].stage == Stage::Flying { self.take(at) } else { None }
    }

    /// PUBREC; [`Queue::next`] gives the PUBREL when the mark given to [`Queue::mark`] is on disk.
    pub(super) fn recorded(&mut self, pkid: u16) -> Recorded {
        let Some(delivery) = self.find(pkid).map(|at| &mut self.items[at]) else { return Recorded::Unknown };
        match delivery.stage {
            Stage::Flying if delivery.parcel.qos == 2 => {
                delivery.stage = Stage::Recorded;
                self.due += 1;
                Recorded::Now(delivery.seq)
            }
            Stage::Releasing => {
                delivery.stage = Stage::Recorded;
                self.due += 1;
                Recorded::Before
            }
            Stage::Recorded => Recorded::Before,
            _ => Recorded::Unknown,
        }
    }

    /// The next step of a delivery waits for this change.
    pub(super) fn mark(&mut self, seq: u64, mark: Mark) {
        if let Ok(at) = self.items.binary_search_by_key(&seq, |delivery| delivery.seq) {
            self.items[at].mark = mark;
        }
    }

    /// PUBCOMP: it is taken out.
    pub(super) fn completed(&mut self, pkid: u16) -> Option<Delivery> {
        let at = self.find(pkid)?;
        if self.items[at].stage == Stage::Releasing { self.take(at) } else { None }
    }

    /// Takes out what has expired before it was sent.
    pub(super) fn expire(&mut self, now_ms: i64) -> Vec<Delivery> {
        let is_over = |delivery: &Delivery| delivery.stage != Stage::Recorded && delivery.is_over(now_ms);
        if !self.items.iter().skip(self.sent).any(is_over) {
            return Vec::new();
        }
        let waiting = self.items.split_off(self.sent);
        let (over, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_over);
        self.items.extend(waiting);
        over
    }

    /// Where a delivery is that was sent on this connection.
    fn find(&self, pkid: u16) -> Option<usize> {
        let oldest = self.items.front()?;
        let ahead = (u64::from(pkid) + SPAN_MAX - u64::from(oldest.pkid())) % SPAN_MAX;
        let at = self.items.binary_search_by_key(&(oldest.seq + ahead), |delivery| delivery.seq).ok()?;
        (pkid != 0 && at < self.sent).then_some(at)
    }

    fn take(&mut self, at: usize) -> Option<Delivery> {
        let delivery = self.items.remove(at)?;
        if at < self.sent {
            self.sent -= 1;
        }
        if self.items.is_empty() {
            // A burst leaves nothing behind.
            self.items = VecDeque::new();
        }
        Some(delivery)
    }

    /// As a restart would find it.
    #[cfg(test)]
    pub(super) fn saved(&self) -> Vec<SavedDelivery> {
        let saved = |delivery: &Delivery| SavedDelivery {
            seq: delivery.seq,
            message: Arc::clone(&delivery.parcel.message),
            qos: delivery.parcel.qos,
            retain: delivery.parcel.retain,
            identifiers: delivery.parcel.identifiers.clone(),
            recorded: matches!(delivery.stage, Stage::Recorded | Stage::Releasing),
        };
        self.items.iter().map(saved).collect()
    }
}
