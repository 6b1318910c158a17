//! What outlives a connection and a process of MQTT: sessions that their clients want kept, what is queued for them, and
//! retained messages. The exchange of the front thinks; here lies what it must not forget.
//!
//! Guarantees: the changes of a delivery are in the transaction of its samples, in their order; what is read at a start is
//! what was committed last, and nothing of a session that is over. What it does not do: bound or evict (the exchange
//! does: a message takes up to twice its bytes of the database, see `docs/ARCHITECTURE.md`), or let a session run out.

pub(super) mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

/// A publish on its way to those who subscribe to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// 1 to 65,535 bytes, no wildcard.
    pub topic: Box<str>,
    /// As published.
    pub payload: Box<[u8]>,
    /// As published: 0, 1 or 2.
    pub qos: u8,
    /// Whether it was published as one to be retained.
    pub retain: bool,
    /// MQTT 5.0 properties that are handed on (§3.3.2.3), in wire form and without their length: never an alias, an expiry or
    /// a subscription identifier.
    pub properties: Box<[u8]>,
    /// When it is worth nothing any more, milliseconds since 1970 UTC by the gateway's clock.
    pub expires_ms: Option<i64>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({} bytes at QoS {})", self.payload.len(), self.qos)
    }
}

/// What a client may ask of a subscription (MQTT 5.0 §3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The best QoS of a delivery.
    pub qos: u8,
    /// Not what the client itself publishes.
    pub no_local: bool,
    /// Deliver with the retain flag as published.
    pub retain_as_published: bool,
    /// 0: retained messages at every SUBSCRIBE, 1: only at the first, 2: never.
    pub retain_handling: u8,
}

impl Options {
    /// As the byte of a SUBSCRIBE (MQTT 5.0 §3.8.3.1).
    fn byte(self) -> u8 {
        self.qos
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | self.retain_handling << 4
    }

    fn of_byte(byte: u8) -> Self {
        Self {
            qos: byte & 3,
            no_local: byte & 4 != 0,
            retain_as_published: byte & 8 != 0,
            retain_handling: byte >> 4 & 3,
        }
    }
}

/// A session. Numbers rise in the order in which sessions begin; one is given once in the life of a process, and not again
/// while something of it lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session begins, or is taken up again: it does not run out while its client is there.
    Open {
        /** Which. */
        session: SessionId,
        /** Whose: user and client id. */
        client: Box<str>,
        /** How long it is kept after its client has left, seconds. */
        expiry_s: u32,
    },
    /// Its client has left.
    Left {
        /** Which. */
        session: SessionId,
        /** When, milliseconds since 1970 UTC. */
        at_ms: i64,
        /** For how long it is kept from then on, seconds. */
        expiry_s: u32,
    },
    /// It is over, and everything of it with it.
    Forget {
        /** Which. */
        session: SessionId,
    },
    /// A subscription, new or with other options.
    Subscribe {
        /** Whose. */
        session: SessionId,
        /** With `$share/…/` where it is shared. */
        filter: Box<str>,
        /** What it asks for. */
        options: Options,
        /** The client's number for it. */
        identifier: Option<u32>,
    },
    /// It ended.
    Unsubscribe {
        /** Whose. */
        session: SessionId,
        /** As subscribed. */
        filter: Box<str>,
    },
    /// Something waits for a client.
    Queue {
        /** Whose. */
        session: SessionId,
        /** Rising, dense while something waits. */
        seq: u64,
        /** What. */
        message: Arc<Message>,
        /** Of the delivery: 1 or 2. */
        qos: u8,
        /** The retain flag of the delivery. */
        retain: bool,
        /** Of the subscriptions that it is for. */
        identifiers: Box<[u32]>,
    },
    /// The client has recorded a QoS 2 delivery: from now on only its PUBREL is sent.
    Recorded {
        /** Whose. */
        session: SessionId,
        /** Which. */
        seq: u64,
    },
    /// A delivery is done, or nobody wants it any more.
    Done {
        /** Whose. */
        session: SessionId,
        /** Which. */
        seq: u64,
    },
    /// A QoS 2 publish of the client was taken; its id means the same publish until it is released. Comes with the samples
    /// of the publish, not in the exchange's order: after the session was forgotten it is none any more.
    Received {
        /** Whose. */
        session: SessionId,
        /** The client's packet id. */
        pkid: u16,
    },
    /// The client will not send it again.
    Released {
        /** Whose. */
        session: SessionId,
        /** The client's packet id. */
        pkid: u16,
    },
    /// The last message of a topic, for those who subscribe later.
    Retain(Arc<Message>),
    /// There is none any more.
    Unretain {
        /** Of this topic. */
        topic: Box<str>,
    },
}

impl Change {
    /// The message that it brings, if any.
    #[must_use]
    pub fn message(&self) -> Option<&Message> {
        match self {
            Change::Queue { message, .. } | Change::Retain(message) => Some(message),
            _ => None,
        }
    }
}

/// A session as it was when the process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// Its number.
    pub id: SessionId,
    /// Whose.
    pub client: Box<str>,
    /// How long it is kept after its client has left, seconds.
    pub expiry_s: u32,
    /// When that was, milliseconds since 1970 UTC; none when the process ended first.
    pub left_ms: Option<i64>,
    /// Filters with their options and the clients' numbers for them.
    pub subscriptions: Vec<(Box<str>, Options, Option<u32>)>,
    /// What waits, by number.
    pub queue: Vec<SavedDelivery>,
    /// Packet ids of QoS 2 publishes taken and not released.
    pub received: Vec<u16>,
}

/// Something that waits for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedDelivery {
    /// Its number in the session.
    pub seq: u64,
    /// What.
    pub message: Arc<Message>,
    /// 1 or 2.
    pub qos: u8,
    /// The retain flag of the delivery.
    pub retain: bool,
    /// Of the subscriptions that it is for.
    pub identifiers: Box<[u32]>,
    /// Whether the client has recorded it.
    pub recorded: bool,
}

/// Everything that was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// By number.
    pub sessions: Vec<SavedSession>,
    /// By topic.
    pub retained: Vec<Arc<Message>>,
}
