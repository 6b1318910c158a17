//! What fuzzing reaches of the front's private cores: the packet decoder as a connection uses it, and the exchange with what
//! it journals thrown away. Plain values in and out.
//!
//! Guarantees nothing of its own: the promises are the cores', the oracles are in `tests/fuzz/targets/`.

use std::fmt::Write as _;
use std::sync::Arc;

use tokio::sync::Notify;

use super::exchange::{self, Asked, Counts, Outgoing};
use super::packet::{Connect, Fault, Frame, Level, Packet};
use crate::store::sessions::{Message, Options, Saved, SessionId};

/// What was understood of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Each packet as a text.
    pub said: Vec<String>,
    /// Bytes of all of them.
    pub bytes: usize,
    /// What ended it.
    pub fault: Option<String>,
}

/// Reads a stream that comes in pieces. It begins with CONNECT, unless the protocol `level` (4 or 5) is known.
pub fn hear<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    level: Option<u8>,
    packet_bytes_max: usize,
) -> Heard {
    let (mut heard, mut buffer) = (Heard::default(), Vec::new());
    let mut level = level.map(|level| if level == 5 { Level::V5 } else { Level::V4 });
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let (told, len) = match one(&buffer, &mut level, packet_bytes_max) {
                Ok(Some(understood)) => understood,
                Ok(None) => break,
                Err(fault) => {
                    heard.fault = Some(fault.to_string());
                    return heard;
                }
            };
            heard.said.push(told);
            heard.bytes += len;
            buffer.drain(..len);
        }
    }
    heard
}

fn one(
    bytes: &[u8],
    level: &mut Option<Level>,
    packet_bytes_max: usize,
) -> Result<Option<(String, usize)>, Fault> {
    let Some(frame) = Frame::cut(bytes, packet_bytes_max)? else { return Ok(None) };
    let told = match *level {
        None => {
            let connect = frame.connect()?;
            *level = Some(connect.level);
            knocked(&connect)
        }
        Some(level) => told(&frame.decode(level)?),
    };
    Ok(Some((told, frame.len())))
}

fn knocked(connect: &Connect) -> String {
    let Connect { level, client_id, clean, keep_alive, receive_max, packet_max, expiry_s, .. } = connect;
    let mut text = format!(
        "connect {level:?} {client_id:?} {clean} {keep_alive} {receive_max} {packet_max} {expiry_s} {:?}",
        connect.login
    );
    if let Some(will) = &connect.will {
        let Message { topic, payload, qos, retain, .. } = &will.message;
        // Writing to a String cannot fail.
        let _ =
            write!(text, " will {topic:?} {payload:?} {qos} {retain} {:?} {}", will.expiry_s, will.delay_s);
    }
    text
}

fn told(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(publish) => format!(
            "publish {} {} {} {} {:?} {:?} {:?} {:?} {:?}",
            publish.qos,
            publish.dup,
            publish.retain,
            publish.pkid,
            publish.topic,
            publish.alias,
            publish.expiry_s,
            publish.forwarded(),
            publish.payload
        ),
        Packet::PubAck { pkid, reason } => format!("puback {pkid} {reason}"),
        Packet::PubRec { pkid, reason } => format!("pubrec {pkid} {reason}"),
        Packet::PubRel { pkid, reason } => format!("pubrel {pkid} {reason}"),
        Packet::PubComp { pkid, reason } => format!("pubcomp {pkid} {reason}"),
        Packet::Subscribe { pkid, identifier, wishes } => {
            let wishes: Vec<_> = wishes.iter().map(|wish| (&wish.filter, wish.options)).collect();
            format!("subscribe {pkid} {identifier:?} {wishes:?}")
        }
        Packet::Unsubscribe { pkid, filters } => format!("unsubscribe {pkid} {filters:?}"),
        Packet::PingReq => "pingreq".into(),
        Packet::Disconnect { reason, expiry_s } => format!("disconnect {reason} {expiry_s:?}"),
    }
}

/// Bounds of a probed exchange.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Sessions of absent clients.
    pub sessions: usize,
    /// Subscriptions of a session.
    pub subscriptions: usize,
    /// Messages that wait for one session.
    pub queue: usize,
    /// Bytes of all that is kept.
    pub kept_bytes: usize,
    /// Retained messages.
    pub retained: usize,
    /// Unacknowledged deliveries of a client.
    pub inflight: usize,
}

/// A message that goes to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// PUBLISH: payload, QoS, packet id, dup.
    Publish(Box<[u8]>, u8, u16, bool),
    /// PUBREL.
    Release(u16),
}

/// How much an exchange holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Sessions of absent clients.
    pub absent: usize,
    /// Messages that wait or are under way.
    pub queued: usize,
    /// Bytes of all that is kept.
    pub bytes: usize,
    /// Retained messages.
    pub retained: usize,
    /// Messages that were dropped, expired, or refused for want of room; only rises.
    pub dropped: u64,
}

/// An exchange whose sessions are numbers.
pub struct Exchange(exchange::Exchange);

impl Exchange {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        let bounds = exchange::Bounds {
            sessions_max: bounds.sessions,
            subscriptions_max: bounds.subscriptions,
            queue_max: bounds.queue,
            kept_bytes_max: bounds.kept_bytes,
            retained_max: bounds.retained,
            session_max_s: 3600,
            inflight_max: bounds.inflight,
        };
        Self(exchange::Exchange::new(bounds, Saved::default(), 0))
    }

    /// CONNECT of a 5.0 client; its session, and whether that was there.
    pub fn open(
        &mut self,
        client: &str,
        clean: bool,
        expiry_s: u32,
        receive_max: u16,
        ms: i64,
    ) -> (u64, bool) {
        let asked = Asked { clean, expiry_s, receive_max, level5: true };
        let opened = self.0.open(client, &asked, Arc::new(Notify::new()), ms);
        (opened.session.0, opened.present)
    }

    /// The client has left, with a will or without; true when the will is to be published at once.
    pub fn close(&mut self, session: u64, will: Option<(&str, u32)>, ms: i64) -> bool {
        let will = will.map(|(topic, delay_s)| (message(topic, b"will", 1, false, None), delay_s));
        self.0.close(SessionId(session), None, Vec::new(), will, ms).is_some()
    }

    /// SUBSCRIBE to one filter; the code of the SUBACK.
    pub fn subscribe(&mut self, session: u64, filter: &str, qos: u8, no_local: bool, ms: i64) -> u8 {
        let options = Options { qos, no_local, ..Options::default() };
        let (codes, _) = self.0.subscribe(SessionId(session), None, &[(filter, options)], ms);
        codes.first().copied().unwrap_or(0x80)
    }

    /// UNSUBSCRIBE.
    pub fn unsubscribe(&mut self, session: u64, filter: &str) {
        self.0.unsubscribe(SessionId(session), &[filter.to_owned()]);
    }

    /// A publish of a session; for how many it waits.
    pub fn publish(
        &mut self,
        from: u64,
        topic: &str,
        payload: &[u8],
        (qos, retain): (u8, bool),
        expires_ms: Option<i64>,
        ms: i64,
    ) -> usize {
        self.0.publish(Some(SessionId(from)), message(topic, payload, qos, retain, expires_ms), ms).receivers
    }

    /// What a client is sent now.
    pub fn next(&mut self, session: u64, ms: i64) -> Option<Sent> {
        Some(match self.0.next(SessionId(session), ms)? {
            Outgoing::Publish { message, qos, pkid, dup, .. } => {
                Sent::Publish(message.payload.clone(), qos, pkid, dup)
            }
            Outgoing::Release { pkid } => Sent::Release(pkid),
        })
    }

    /// PUBACK.
    pub fn acknowledged(&mut self, session: u64, pkid: u16) {
        self.0.acknowledged(SessionId(session), pkid);
    }

    /// PUBREC; false when nothing is known under the id.
    pub fn recorded(&mut self, session: u64, pkid: u16) -> bool {
        self.0.recorded(SessionId(session), pkid)
    }

    /// PUBCOMP; false when nothing is known under the id.
    pub fn completed(&mut self, session: u64, pkid: u16) -> bool {
        self.0.completed(SessionId(session), pkid)
    }

    /// Lets time pass; how many wills are due.
    pub fn tick(&mut self, ms: i64) -> usize {
        self.0.tick(ms).len()
    }

    /// All that is journaled is on disk.
    pub fn commit(&mut self) {
        while let Some((mark, _)) = self.0.journal() {
            self.0.committed(mark);
        }
    }

    /// How much there is.
    #[must_use]
    pub fn held(&self) -> Held {
        let Counts { absent, queued, queued_bytes, retained, .. } = self.0.counts();
        let Counts { dropped_full, dropped_slow, dropped_expired, dropped_too_long, .. } = self.0.counts();
        let dropped = dropped_full + dropped_slow + dropped_expired + dropped_too_long;
        Held { absent, queued, bytes: queued_bytes, retained, dropped }
    }
}

fn message(topic: &str, payload: &[u8], qos: u8, retain: bool, expires_ms: Option<i64>) -> Message {
    let (topic, payload, properties) = (topic.into(), payload.into(), Box::default());
    Message { topic, payload, qos, retain, properties, expires_ms }
}
