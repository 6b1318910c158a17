//! Deliveries to one client, QoS 0 and 1. Sans-IO.
//!
//! Guarantees: no more than a window of unacknowledged deliveries, a bounded queue behind it, bounded bytes in the
//! output; what finds no room is dropped and reported to be counted. QoS 1 deliveries leave in order.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::packet::{self, Level, Outgoing};
use crate::store::sessions::Message;

/// Unacknowledged deliveries.
const WINDOW_MAX: usize = 100;
/// Their bytes; a longer single one goes alone.
const WINDOW_BYTES_MAX: usize = 256 * 1024;
/// Deliveries waiting for the window.
const WAITING_MAX: usize = 100;
/// Their bytes.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// Bytes in the output above which QoS 0 deliveries are dropped and nothing more is read from the client.
pub(super) const OUT_BYTES_MAX: usize = 64 * 1024;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is in the output or waits.
    Yes,
    /// No subscription covers it.
    Unwanted,
    /// There was no room.
    Dropped,
}

/// See the module.
pub(super) struct Outbox {
    level: Level,
    window: usize,
    packet_max: usize,
    last_id: u16,
    flying: VecDeque<(u16, Message)>,
    flying_bytes: usize,
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            level: Level::V4,
            window: WINDOW_MAX,
            packet_max: usize::MAX,
            last_id: 0,
            flying: VecDeque::new(),
            flying_bytes: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }
}

impl Outbox {
    /// Takes over the terms of a connection.
    pub(super) fn open(&mut self, level: Level, receive_max: usize, packet_max: usize) {
        self.level = level;
        self.window = receive_max.min(WINDOW_MAX);
        self.packet_max = packet_max;
    }

    /// Sends a message, or keeps it until there is room.
    pub(super) fn send(&mut self, message: Message, qos: u8, out: &mut BytesMut) -> Sent {
        let len = self.len(&message);
        if len > self.packet_max {
            return Sent::Dropped;
        }
        if qos == 0 {
            if out.len() > OUT_BYTES_MAX {
                return Sent::Dropped;
            }
            packet::publish(self.level, &outgoing(&message, None, false), out);
        } else if self.waiting.is_empty() && self.has_room(len) {
            self.fly(message, out);
        } else if self.waiting.len() < WAITING_MAX && self.waiting_bytes + len <= WAITING_BYTES_MAX {
            self.waiting_bytes += len;
            self.waiting.push_back(message);
        } else {
            return Sent::Dropped;
        }
        Sent::Yes
    }

    /// A delivery was acknowledged; an id that is not flying is an echo of an earlier connection.
    pub(super) fn acknowledged(&mut self, pkid: u16, out: &mut BytesMut) {
        let Some(at) = self.flying.iter().position(|(id, _)| *id == pkid) else { return };
        if let Some((_, message)) = self.flying.remove(at) {
            self.flying_bytes -= self.len(&message);
        }
        while let Some(len) = self.waiting.front().map(|message| self.len(message)) {
            if !self.has_room(len) {
                break;
            }
            if let Some(message) = self.waiting.pop_front() {
                self.waiting_bytes -= len;
                self.fly(message, out);
            }
        }
    }

    /// Sends all again that is flying, on a new connection.
    pub(super) fn resume(&mut self, out: &mut BytesMut) {
        for (pkid, message) in &self.flying {
            packet::publish(self.level, &outgoing(message, Some(*pkid), true), out);
        }
    }

    /// Bytes of a delivery at QoS 1.
    fn len(&self, message: &Message) -> usize {
        packet::publish_len(self.level, &outgoing(message, Some(1), false))
    }

    fn has_room(&self, len: usize) -> bool {
        self.flying.is_empty()
            || (self.flying.len() < self.window && self.flying_bytes + len <= WINDOW_BYTES_MAX)
    }

    fn fly(&mut self, message: Message, out: &mut BytesMut) {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.flying.iter().all(|(id, _)| *id != self.last_id) {
                break;
            }
        }
        packet::publish(self.level, &outgoing(&message, Some(self.last_id), false), out);
        self.flying_bytes += self.len(&message);
        self.flying.push_back((self.last_id, message));
    }
}

/// A delivery at QoS 1 with a packet id, at QoS 0 without.
fn outgoing(message: &Message, pkid: Option<u16>, dup: bool) -> Outgoing<'_> {
    Outgoing {
        message,
        qos: u8::from(pkid.is_some()),
        pkid: pkid.unwrap_or(0),
        dup,
        retain: message.retain,
        identifiers: &[],
        expiry_s: None,
        alias: None,
    }
}
