//! The packets of a server → bytes, MQTT 3.1.1 and 5.0. Sans-IO; what comes in is known to fit.

use bytes::{BufMut, BytesMut};

use super::{Fault, Level, Message};

/// What an accepted 5.0 client is told.
pub(in crate::device::mqtt) struct Terms<'a> {
    pub receive_max: u16,
    pub packet_bytes_max: usize,
    pub assigned_id: Option<&'a str>,
}

/// CONNACK of an accepted client.
pub(in crate::device::mqtt) fn accept(
    level: Level,
    session_present: bool,
    terms: &Terms<'_>,
    out: &mut BytesMut,
) {
    let present = u8::from(session_present);
    if level == Level::V4 {
        return out.put_slice(&[0x20, 2, present, 0]);
    }
    let mut properties = BytesMut::with_capacity(64);
    properties.put_u8(0x11); // session expiry interval
    properties.put_u32(0);
    properties.put_u8(0x21); // receive maximum
    properties.put_u16(terms.receive_max);
    properties.put_u8(0x27); // maximum packet size
    properties.put_u32(u32::try_from(terms.packet_bytes_max).unwrap_or(u32::MAX));
    properties.put_u8(0x22); // topic alias maximum
    properties.put_u16(0);
    properties.put_slice(&[0x29, 0, 0x2A, 0]); // no subscription identifiers, no shared subscriptions
    if let Some(id) = terms.assigned_id {
        properties.put_u8(0x12);
        put_text(id.as_bytes(), &mut properties);
    }
    out.put_u8(0x20);
    put_length(2 + variable_len(properties.len()) + properties.len(), out);
    out.put_slice(&[present, 0]);
    put_length(properties.len(), out);
    out.put_slice(&properties);
}

/// Why a client is not accepted: return code of 3.1.1 (§3.2.2.3), reason code of 5.0 (§3.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::device::mqtt) enum Refusal {
    Level,
    ClientId,
    Busy,
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
        Refusal::Password => (4, 0x86),
        Refusal::NotAuthorised => (5, 0x87),
        Refusal::AuthMethod => (5, 0x8C),
    };
    match level {
        Level::V4 => out.put_slice(&[0x20, 2, 0, v4]),
        Level::V5 => out.put_slice(&[0x20, 3, 0, v5, 0]),
    }
}

/// First byte of the acknowledgements of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::device::mqtt) enum Ack {
    /// PUBACK.
    Received = 0x40,
    /// PUBREC.
    Recorded = 0x50,
    /// PUBCOMP.
    Complete = 0x70,
}

/// PUBACK, PUBREC or PUBCOMP; 3.1.1 knows no reason.
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

/// SUBACK.
pub(in crate::device::mqtt) fn suback(level: Level, pkid: u16, codes: &[u8], out: &mut BytesMut) {
    listed(0x90, level, pkid, codes, out);
}

/// UNSUBACK; 3.1.1 knows no codes.
pub(in crate::device::mqtt) fn unsuback(level: Level, pkid: u16, codes: &[u8], out: &mut BytesMut) {
    listed(0xB0, level, pkid, if level == Level::V4 { &[] } else { codes }, out);
}

fn listed(first: u8, level: Level, pkid: u16, codes: &[u8], out: &mut BytesMut) {
    let properties: &[u8] = if level == Level::V4 { &[] } else { &[0] };
    out.put_u8(first);
    put_length(2 + properties.len() + codes.len(), out);
    out.put_u16(pkid);
    out.put_slice(properties);
    out.put_slice(codes);
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

/// Bytes of a delivery.
pub(in crate::device::mqtt) fn publish_len(level: Level, message: &Message) -> usize {
    // Packet id and empty properties are counted whether or not they are sent.
    let body = 2 + message.topic.len() + 3 + message.payload.len() - usize::from(level == Level::V4);
    1 + variable_len(body) + body
}

/// A delivery: QoS 1 with a packet id, QoS 0 without.
pub(in crate::device::mqtt) fn publish(
    level: Level,
    message: &Message,
    pkid: Option<u16>,
    dup: bool,
    out: &mut BytesMut,
) {
    let qos = u8::from(pkid.is_some());
    let properties = usize::from(level == Level::V5);
    out.put_u8(0x30 | u8::from(dup) << 3 | qos << 1 | u8::from(message.retain));
    put_length(2 + message.topic.len() + usize::from(qos) * 2 + properties + message.payload.len(), out);
    put_text(&message.topic, out);
    if let Some(pkid) = pkid {
        out.put_u16(pkid);
    }
    if level == Level::V5 {
        out.put_u8(0);
    }
    out.put_slice(&message.payload);
}

fn put_text(text: &[u8], out: &mut BytesMut) {
    out.put_u16(
        u16::try_from(text.len()).expect("topics and client ids come from packets and are that short"),
    );
    out.put_slice(text);
}

fn put_length(mut length: usize, out: &mut BytesMut) {
    while length > 0x7F {
        out.put_u8(0x80 | (length & 0x7F) as u8);
        length >>= 7;
    }
    out.put_u8(length as u8);
}

fn variable_len(length: usize) -> usize {
    match length {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
