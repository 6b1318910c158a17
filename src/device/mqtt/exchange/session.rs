//! One session: what its client asked for, what waits for it, and its connection while there is one. Pure.
//!
//! Guarantees: what is fleeting (QoS 0) exists only while the client is there, and is bounded here; the other bounds are
//! those of the exchange.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::Outgoing;
use super::queue::{Parcel, Queue};
use super::retained::Retained;
use crate::store::sessions::Message;

/// QoS 0 messages that wait for one client.
pub(super) const LANE_MAX: usize = 100;
/// Their bytes; a longer single one goes alone.
pub(super) const LANE_BYTES_MAX: usize = 64 << 10;

/// See the module.
pub(super) struct Session {
    pub(super) client: Arc<str>,
    /// How long it is kept without its client, seconds; 0 is not at all.
    pub(super) expiry_s: u32,
    /// When its client left.
    pub(super) left_ms: i64,
    /// As subscribed, with `$share/…/` where it is shared; the options are in the tree.
    pub(super) filters: Vec<Box<str>>,
    pub(super) queue: Queue,
    /// QoS 2 publishes of an absent client that are taken and not released.
    pub(super) received: Vec<u16>,
    /// What is published for an absent client later.
    pub(super) will: Option<Box<Will>>,
    pub(super) here: Option<Here>,
}

impl Session {
    /// Whether it outlives its connection and the process.
    pub(super) fn is_kept(&self) -> bool {
        self.expiry_s > 0
    }

    /// When it ends without its client.
    pub(super) fn ends_ms(&self) -> i64 {
        self.left_ms.saturating_add(i64::from(self.expiry_s) * 1000)
    }
}

/// A will that waits for its delay.
pub(super) struct Will {
    pub(super) message: Message,
    pub(super) since_ms: i64,
    pub(super) due_ms: i64,
}

impl Will {
    /// To be published now; what is left to live counts from here.
    pub(super) fn publish(self, now_ms: i64) -> Message {
        let waited_ms = now_ms.saturating_sub(self.since_ms).max(0);
        let expires_ms = self.message.expires_ms.map(|expires_ms| expires_ms.saturating_add(waited_ms));
        Message { expires_ms, ..self.message }
    }
}

/// A connection.
pub(super) struct Here {
    pub(super) wake: Arc<Notify>,
    /// Deliveries that it takes unacknowledged.
    pub(super) window: usize,
    pub(super) lane: VecDeque<Parcel>,
    pub(super) lane_bytes: usize,
    pub(super) handouts: Vec<Handout>,
}

/// Retained messages that a subscription gets at QoS 0. They stay where they are until the client can take them, so that
/// a thousand of them are neither copied nor dropped.
pub(super) struct Handout {
    /// As subscribed.
    pub(super) filter: Box<str>,
    /// Of the subscription.
    pub(super) qos: u8,
    pub(super) identifier: Option<u32>,
    /// The last topic that was handed out.
    pub(super) after: Option<Box<str>>,
}

impl Here {
    pub(super) fn new(wake: Arc<Notify>, window: usize) -> Self {
        Self { wake, window, lane: VecDeque::new(), lane_bytes: 0, handouts: Vec::new() }
    }

    /// Whether a QoS 0 message of this weight fits.
    pub(super) fn has_room(&self, weight: usize) -> bool {
        self.lane.is_empty() || (self.lane.len() < LANE_MAX && self.lane_bytes + weight <= LANE_BYTES_MAX)
    }

    /// The next retained message at QoS 0.
    pub(super) fn hand_out(&mut self, retained: &Retained, now_ms: i64) -> Option<Outgoing> {
        while let Some(handout) = self.handouts.first_mut() {
            let next = retained
                .covering(&handout.filter, handout.after.as_deref(), now_ms)
                .find(|message| message.qos.min(handout.qos) == 0);
            if let Some(message) = next {
                handout.after = Some(message.topic.clone());
                let identifiers = handout.identifier.into_iter().collect();
                let parcel = Parcel { message: Arc::clone(message), qos: 0, retain: true, identifiers };
                return Some(parcel.send(0, false));
            }
            self.handouts.remove(0);
        }
        None
    }
}
