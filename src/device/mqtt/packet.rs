//! MQTT 3.1.1 and 5.0 on the wire: bytes in any split → what a client says ([`Frame`]), and what a server says → bytes
//! (`write`). Sans-IO.
//!
//! Guarantees: a packet longer than the bound is refused by its header alone; every fault of one packet is a [`Fault`],
//! never a panic; nothing that a clause of the standards forbids comes through, nothing is repaired; a PUBLISH is read in
//! place, without a copy. What is made of any other packet is bounded by the packet's length.
//!
//! It knows one packet at a time: whether an id is in use, an alias known or a filter served is for those above.
//! Clauses are those of MQTT 5.0 (OASIS, 2019) where nothing else is said; `[MQTT-…]` is the number of a requirement.

mod answer;
mod connect;
mod fields;
mod frame;
mod properties;
mod publish;
mod subscribe;
#[cfg(test)]
mod tests;
mod write;

pub(super) use connect::{Connect, Will};
pub(super) use frame::Frame;
pub(super) use publish::Publish;
pub(super) use subscribe::Wish;
pub(super) use write::{
    Ack, Outgoing, Refusal, Terms, accept, acknowledge, disconnect, pingresp, publish, publish_len, refuse,
    suback, unsuback,
};

/// The version a client speaks: its protocol level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// 3.1.1.
    V4,
    /// 5.0.
    V5,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    #[error("protocol level {0}: 4 (3.1.1) and 5 (5.0) are spoken here")]
    Level(u8),
    #[error("packet of {0} bytes: longer than packet_bytes_max")]
    TooLong(usize),
    #[error("topic name is empty or has a wildcard")]
    TopicName,
    #[error("topic alias: 0, never given a topic, or more than were granted")]
    TopicAlias,
    #[error("more QoS 2 publishes unreleased than fit")]
    ReceiveMaximum,
    #[error("not among its rights")]
    Forbidden,
    #[error("nothing heard for 1.5 times the keep-alive")]
    KeepAlive,
    #[error("another connection took the client id")]
    TakenOver,
    #[error("its credentials are not valid any more")]
    Withdrawn,
    #[error("the gateway is stopping")]
    Stopping,
    #[error("the store has stopped")]
    Store,
}

impl Fault {
    /// Reason code of a 5.0 DISCONNECT (§3.14.2.1).
    pub(super) fn code(self) -> u8 {
        match self {
            Fault::Malformed(_) => 0x81,
            Fault::Protocol(_) => 0x82,
            Fault::Level(_) => 0x84,
            Fault::TooLong(_) => 0x95,
            Fault::TopicName => 0x90,
            Fault::TopicAlias => 0x94,
            Fault::ReceiveMaximum => 0x93,
            Fault::Forbidden => 0x87,
            Fault::KeepAlive => 0x8D,
            Fault::TakenOver => 0x8E,
            Fault::Withdrawn => 0x98,
            Fault::Stopping => 0x8B,
            Fault::Store => 0x83,
        }
    }

    /// Whether the gateway ended it, or the client itself by coming again: that tells nothing of the device.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Fault::TakenOver | Fault::Withdrawn | Fault::Stopping | Fault::Store)
    }

    /// Whether the client did it.
    pub(super) fn is_clients(self) -> bool {
        match self {
            Fault::Malformed(_)
            | Fault::Protocol(_)
            | Fault::Level(_)
            | Fault::TooLong(_)
            | Fault::TopicName
            | Fault::TopicAlias
            | Fault::ReceiveMaximum
            | Fault::Forbidden => true,
            Fault::KeepAlive | Fault::TakenOver | Fault::Withdrawn | Fault::Stopping | Fault::Store => false,
        }
    }
}

/// What a client sends after its CONNECT.
#[derive(PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Packet<'b> {
    Publish(Publish<'b>),
    /// A QoS 1 delivery has come.
    PubAck {
        pkid: u16,
        /// 0x80 and above: it was refused, and is done all the same.
        reason: u8,
    },
    /// A QoS 2 delivery is recorded.
    PubRec {
        pkid: u16,
        /// 0x80 and above: it was refused, and is done.
        reason: u8,
    },
    /// A QoS 2 publish will not be sent again.
    PubRel {
        pkid: u16,
        reason: u8,
    },
    /// A QoS 2 delivery is done.
    PubComp {
        pkid: u16,
        reason: u8,
    },
    Subscribe {
        pkid: u16,
        /// The client's number for all of them, not 0.
        identifier: Option<u32>,
        /// At least one.
        wishes: Vec<Wish>,
    },
    Unsubscribe {
        pkid: u16,
        /// At least one.
        filters: Vec<String>,
    },
    PingReq,
    Disconnect {
        /// 0 is a normal one, which drops the will; 3.1.1 knows no other.
        reason: u8,
        /// A new expiry of the session, seconds.
        expiry_s: Option<u32>,
    },
}
