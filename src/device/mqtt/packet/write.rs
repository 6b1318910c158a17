//! The packets of a server → bytes, MQTT 3.1.1 and 5.0. Sans-IO; what comes in is known to fit a packet.

use bytes::{BufMut, BytesMut};

use super::properties::{
    ALIAS, ALIAS_MAX, ASSIGNED_CLIENT_ID, MESSAGE_EXPIRY, PACKET_MAX, RECEIVE_MAX, SERVER_KEEP_ALIVE,
    SESSION_EXPIRY, SUBSCRIPTION_ID,
};
use super::{Fault, Level};
use crate::store::sessions::Message;

/// What an accepted 5.0 client is told. Everything else is as the standard has it when nothing is said: QoS 2, retained
/// messages, wildcards, subscription identifiers and shared subscriptions are there.
pub(in crate::device::mqtt) struct Terms<'t> {
    /// Unacknowledged publishes taken from it, not 0.
    pub receive_max: u16,
    /// Longest packet taken from it, not 0.
    pub packet_bytes_max: usize,
    /// Its client id, when it has brought none.
    pub assigned_id: Option<&'t str>,
    /// How long its session is kept, seconds, when other than asked for.
    pub expiry_s: Option<u32>,
    /// Highest topic alias taken from it.
    pub alias_max: u16,
    /// Keep alive, seconds, when other than asked for.
    pub keep_alive: Option<u16>,
}

/// CONNACK of an accepted client; `present` says whether its session was there.
pub(in crate::device::mqtt) fn accept(level: Level, present: bool, terms: &Terms<'_>, out: &mut BytesMut) {
    let present = u8::from(present);
    if level == Level::V4 {
        return out.put_slice(&[0x20, 2, present, 0]);
    }
    let mut properties = BytesMut::with_capacity(64);
    if let Some(expiry_s) = terms.expiry_s {
        properties.put_u8(SESSION_EXPIRY);
        properties.put_u32(expiry_s);
    }
    properties.put_u8(RECEIVE_MAX);
    properties.put_u16(terms.receive_max);
    properties.put_u8(PACKET_MAX);
    properties.put_u32(u32::try_from(terms.packet_bytes_max).unwrap_or(u32::MAX));
    properties.put_u8(ALIAS_MAX);
    properties.put_u16(terms.alias_max);
    if let Some(id) = terms.assigned_id {
        properties.put_u8(ASSIGNED_CLIENT_ID);
        put_text(id, &mut properties);
    }
    if let Some(keep_alive) = terms.keep_alive {
        properties.put_u8(SERVER_KEEP_ALIVE);
        properties.put_u16(keep_alive);
    }
    out.put_u8(0x20);
    put_variable(2 + variable_len(properties.len()) + properties.len(), out);
    out.put_slice(&[present, 0]);
    put_variable(properties.len(), out);
    out.put_slice(&properties);
}

/// Why a client is not accepted: return code of 3.1.1 (§3.2.2.3), reason code of 5.0 (§3.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::device::mqtt) enum Refusal {
    Level,
    ClientId,
    Busy,
    /// Too many of one identity.
    Quota,
    /// A will that is too long.
    Will,
    Password,
    NotAuthorised,
    AuthMethod,
}

/// CONNACK of a refused client.
pub(in crate::device::mqtt) fn refuse(level: Level, refusal: Refusal, out: &mut BytesMut) {
    let (v4, v5) = match refusal {
        Refusal::Level => (1, 0x84),
        Refusal::ClientId => (2, 0x85),
        Refusal::Busy => (3, 0x89),
        Refusal::Will => (3, 0x95),
        Refusal::Quota => (3, 0x97),
        Refusal::Password => (4, 0x86),
        Refusal::NotAuthorised => (5, 0x87),
        Refusal::AuthMethod => (5, 0x8C),
    };
    match level {
        Level::V4 => out.put_slice(&[0x20, 2, 0, v4]),
        Level::V5 => out.put_slice(&[0x20, 3, 0, v5, 0]),
    }
}

/// First byte of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::device::mqtt) enum Ack {
    /// PUBACK.
    Received = 0x40,
    /// PUBREC.
    Recorded = 0x50,
    /// PUBREL.
    Release = 0x62,
    /// PUBCOMP.
    Complete = 0x70,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP; 3.1.1 knows no reason.
pub(in crate::device::mqtt) fn acknowledge(
    level: Level,
    ack: Ack,
    pkid: u16,
    reason: u8,
    out: &mut BytesMut,
) {
    let [high, low] = pkid.to_be_bytes();
    match (level, reason) {
        (Level::V5, 1..) => out.put_slice(&[ack as u8, 3, high, low, reason]),
        _ => out.put_slice(&[ack as u8, 2, high, low]),
    }
}

/// SUBACK: a granted QoS or a reason for each filter; 3.1.1 has one reason for all (§3.9.3 there).
pub(in crate::device::mqtt) fn suback(level: Level, pkid: u16, codes: &[u8], out: &mut BytesMut) {
    listed(0x90, level, pkid, codes.len(), out);
    match level {
        Level::V4 => out.extend(codes.iter().map(|code| (*code).min(0x80))),
        Level::V5 => out.put_slice(codes),
    }
}

/// UNSUBACK; 3.1.1 knows no codes.
pub(in crate::device::mqtt) fn unsuback(level: Level, pkid: u16, codes: &[u8], out: &mut BytesMut) {
    let codes = if level == Level::V4 { &[] } else { codes };
    listed(0xB0, level, pkid, codes.len(), out);
    out.put_slice(codes);
}

/// All but the codes.
fn listed(first: u8, level: Level, pkid: u16, count: usize, out: &mut BytesMut) {
    let properties: &[u8] = if level == Level::V4 { &[] } else { &[0] };
    out.put_u8(first);
    put_variable(2 + properties.len() + count, out);
    out.put_u16(pkid);
    out.put_slice(properties);
}

/// PINGRESP.
pub(in crate::device::mqtt) fn pingresp(out: &mut BytesMut) {
    out.put_slice(&[0xD0, 0]);
}

/// The reason of a closing, which only 5.0 can be told.
pub(in crate::device::mqtt) fn disconnect(level: Level, fault: Fault, out: &mut BytesMut) {
    if level == Level::V5 {
        out.put_slice(&[0xE0, 1, fault.code()]);
    }
}

/// A delivery.
pub(in crate::device::mqtt) struct Outgoing<'m> {
    /// What; its own QoS, retain flag and expiry do not count here.
    pub message: &'m Message,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Not sent with QoS 0.
    pub pkid: u16,
    /// Whether it was sent before; never said with QoS 0.
    pub dup: bool,
    pub retain: bool,
    /// Of the subscriptions that it is for, each 1 to 268,435,455; only 5.0 is told.
    pub identifiers: &'m [u32],
    /// For how long it is still worth something, seconds; only 5.0 is told.
    pub expiry_s: Option<u32>,
    /// A topic alias, not 0, and whether the topic is sent along because the client does not know it yet; only for 5.0.
    pub alias: Option<(u16, bool)>,
}

impl Outgoing<'_> {
    fn topic(&self, level: Level) -> &str {
        match (level, self.alias) {
            (Level::V5, Some((_, false))) => "",
            _ => &self.message.topic,
        }
    }

    fn properties_len(&self) -> usize {
        let identifiers = self.identifiers.iter().map(|identifier| 1 + variable_len(*identifier as usize));
        self.message.properties.len()
            + identifiers.sum::<usize>()
            + self.expiry_s.map_or(0, |_| 5)
            + self.alias.map_or(0, |_| 3)
    }

    fn body_len(&self, level: Level) -> usize {
        let properties = match level {
            Level::V4 => 0,
            Level::V5 => variable_len(self.properties_len()) + self.properties_len(),
        };
        let pkid = if self.qos > 0 { 2 } else { 0 };
        2 + self.topic(level).len() + pkid + properties + self.message.payload.len()
    }
}

/// Bytes of a delivery, exactly.
pub(in crate::device::mqtt) fn publish_len(level: Level, outgoing: &Outgoing<'_>) -> usize {
    let body = outgoing.body_len(level);
    1 + variable_len(body) + body
}

/// PUBLISH.
pub(in crate::device::mqtt) fn publish(level: Level, outgoing: &Outgoing<'_>, out: &mut BytesMut) {
    let Outgoing { message, qos, pkid, dup, retain, identifiers, expiry_s, alias } = outgoing;
    let body = outgoing.body_len(level);
    out.reserve(1 + variable_len(body) + body);
    out.put_u8(0x30 | u8::from(*dup && *qos > 0) << 3 | qos << 1 | u8::from(*retain));
    put_variable(body, out);
    put_text(outgoing.topic(level), out);
    if *qos > 0 {
        out.put_u16(*pkid);
    }
    if level == Level::V5 {
        put_variable(outgoing.properties_len(), out);
        out.put_slice(&message.properties);
        for identifier in *identifiers {
            out.put_u8(SUBSCRIPTION_ID);
            put_variable(*identifier as usize, out);
        }
        if let Some(expiry_s) = expiry_s {
            out.put_u8(MESSAGE_EXPIRY);
            out.put_u32(*expiry_s);
        }
        if let Some((alias, _)) = alias {
            out.put_u8(ALIAS);
            out.put_u16(*alias);
        }
    }
    out.put_slice(&message.payload);
}

fn put_text(text: &str, out: &mut BytesMut) {
    out.put_u16(
        u16::try_from(text.len()).expect("topics and client ids come from packets and are that short"),
    );
    out.put_slice(text.as_bytes());
}

/// A variable byte integer (§1.5.5) of up to four bytes.
fn put_variable(mut value: usize, out: &mut BytesMut) {
    while value > 0x7F {
        out.put_u8(0x80 | (value & 0x7F) as u8);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn variable_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
