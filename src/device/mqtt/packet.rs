//! MQTT 3.1.1 and 5.0 packets: bytes in any split → what a client says. What a server says is in `write`. Sans-IO.
//!
//! Guarantees: a packet longer than the bound is refused by its header alone; every fault of one packet is a [`Fault`],
//! never a panic; a PUBLISH is read in place, without a copy. Everything else a client sends goes through the codec of
//! `rumqttc`, after the checks that it leaves out (flags, packet id 0, U+0000). 5.0 properties that change nothing here
//! are read and dropped.

mod write;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::topic;
pub(super) use write::{
    Ack, Refusal, Terms, accept, acknowledge, disconnect, pingresp, publish, publish_len, refuse, suback,
    unsuback,
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
    #[error("topic alias: none was granted")]
    TopicAlias,
    #[error("more QoS 2 publishes unreleased than fit")]
    ReceiveMaximum,
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
    #[error("the router dropped its link")]
    Router,
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
            Fault::KeepAlive => 0x8D,
            Fault::TakenOver => 0x8E,
            Fault::Withdrawn => 0x98,
            Fault::Stopping => 0x8B,
            Fault::Store | Fault::Router => 0x83,
        }
    }

    /// Whether the client did it.
    pub(super) fn is_clients(self) -> bool {
        use Fault::{Level, Malformed, Protocol, ReceiveMaximum, TooLong, TopicAlias, TopicName};
        matches!(
            self,
            Malformed(_) | Protocol(_) | Level(_) | TooLong(_) | TopicName | TopicAlias | ReceiveMaximum
        )
    }
}

/// What a client sends.
#[derive(PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Packet<'b> {
    Publish(Publish<'b>),
    PubAck(u16),
    PubRel(u16),
    Subscribe {
        pkid: u16,
        wishes: Vec<Wish>,
    },
    Unsubscribe {
        pkid: u16,
        filters: Vec<String>,
    },
    PingReq,
    /// The will is dropped only by a normal one.
    Disconnect {
        normal: bool,
    },
}

/// A publish, in place.
#[derive(Clone, Copy, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Publish<'b> {
    /// 0, 1 or 2.
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    /// 0 with QoS 0, else not 0.
    pub pkid: u16,
    pub topic: &'b str,
    pub payload: &'b [u8],
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    pub filter: String,
    pub qos: u8,
    /// Asks for something that is not offered: no-local or a subscription id. The reason code that says so.
    pub refused: Option<u8>,
}

/// A client that knocks.
#[derive(Clone, PartialEq)]
pub(super) struct Connect {
    pub level: Level,
    pub client_id: String,
    pub clean: bool,
    /// Seconds; 0 is for ever.
    pub keep_alive: u16,
    pub will: Option<Message>,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// Unacknowledged publishes it takes.
    pub receive_max: u16,
    /// Longest packet it takes, bytes.
    pub packet_max: usize,
    /// It wants 5.0's enhanced authentication, which is not offered.
    pub enhanced_auth: bool,
}

/// Something to be fanned out or delivered.
#[derive(Clone, PartialEq)]
pub(super) struct Message {
    pub topic: Bytes,
    pub payload: Bytes,
    pub retain: bool,
}

/// The bytes of one packet.
#[derive(Clone, Copy, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Frame<'b> {
    first: u8,
    body: &'b [u8],
    /// The whole of it.
    bytes: &'b [u8],
}

impl<'b> Frame<'b> {
    /// First byte of a CONNECT.
    pub(super) const CONNECT: u8 = 0x10;

    /// The first packet of `bytes`, if it is complete.
    pub(super) fn cut(bytes: &'b [u8], packet_bytes_max: usize) -> Result<Option<Self>, Fault> {
        let [first, rest @ ..] = bytes else { return Ok(None) };
        let Some((length, header)) = variable(rest)? else { return Ok(None) };
        let end = 1 + header + length;
        if end > packet_bytes_max {
            return Err(Fault::TooLong(end));
        }
        Ok(bytes.get(..end).map(|bytes| Frame { first: *first, body: &bytes[1 + header..], bytes }))
    }

    /// Bytes of the packet.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The first packet of a connection.
    pub(super) fn connect(&self) -> Result<Connect, Fault> {
        const WRONG: Fault = Fault::Malformed("CONNECT");
        if self.first != Self::CONNECT {
            return Err(Fault::Protocol("the first packet is no CONNECT"));
        }
        let (level, flags) = match self.body {
            [0, 4, b'M', b'Q', b'T', b'T', level, flags, ..] => (*level, *flags),
            [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..] => return Err(Fault::Level(*level)),
            _ => return Err(WRONG),
        };
        let connect = match level {
            4 if flags & 0xC0 == 0x40 => return Err(Fault::Malformed("a password without a user name")),
            4 => match v4::Packet::read(&mut BytesMut::from(self.bytes), self.bytes.len()) {
                Ok(v4::Packet::Connect(connect)) => from_v4(connect),
                _ => return Err(WRONG),
            },
            5 => match self.v5()? {
                v5::Packet::Connect(connect, will, login) => from_v5(connect, will, login)?,
                _ => return Err(WRONG),
            },
            other => return Err(Fault::Level(other)),
        };
        let will = connect.will.as_ref().map(|will| std::str::from_utf8(&will.topic));
        let login = connect.login.iter().flat_map(|(user, password)| [user, password]);
        if flags & 1 != 0 || login.chain([&connect.client_id]).any(|text| text.contains('\0')) {
            return Err(WRONG);
        }
        match will {
            Some(Ok(name)) if !topic::is_name(name) => Err(Fault::TopicName),
            Some(Err(_)) => Err(Fault::Malformed("will topic")),
            _ => Ok(connect),
        }
    }

    /// Any later packet.
    pub(super) fn decode(&self, level: Level) -> Result<Packet<'b>, Fault> {
        let kind = self.first >> 4;
        if kind == 3 {
            return self.publish(level).map(Packet::Publish);
        }
        let flags = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
        if self.first & 0x0F != flags {
            return Err(Fault::Malformed("flags"));
        }
        match kind {
            1 => Err(Fault::Protocol("a second CONNECT")),
            4 => self.id(level).map(Packet::PubAck),
            5 | 7 => Err(Fault::Protocol("an answer to a QoS 2 delivery, and there is none")),
            6 => self.id(level).map(Packet::PubRel),
            8 => self.subscribe(level),
            10 => self.unsubscribe(level),
            12 if self.body.is_empty() => Ok(Packet::PingReq),
            14 => match (level, self.body) {
                (_, []) => Ok(Packet::Disconnect { normal: true }),
                (Level::V5, [code]) => Ok(Packet::Disconnect { normal: *code == 0 }),
                (Level::V5, [code, ..]) => self.v5().map(|_| Packet::Disconnect { normal: *code == 0 }),
                (Level::V4, _) => Err(Fault::Malformed("DISCONNECT")),
            },
            2 | 9 | 11 | 13 => Err(Fault::Protocol("a packet that only a server sends")),
            _ => Err(Fault::Malformed("packet type")),
        }
    }

    fn publish(&self, level: Level) -> Result<Publish<'b>, Fault> {
        const WRONG: Fault = Fault::Malformed("PUBLISH");
        let (qos, dup, retain) = (self.first >> 1 & 3, self.first & 8 != 0, self.first & 1 != 0);
        if qos == 3 || (qos == 0 && dup) {
            return Err(Fault::Malformed("flags"));
        }
        let (length, rest) = self.body.split_first_chunk::<2>().ok_or(WRONG)?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(WRONG)?;
        let (pkid, mut payload) = match qos {
            0 => (0, rest),
            _ => {
                let (id, rest) = rest.split_first_chunk::<2>().ok_or(WRONG)?;
                (u16::from_be_bytes(*id), rest)
            }
        };
        if qos > 0 && pkid == 0 {
            return Err(Fault::Malformed("packet id 0"));
        }
        if level == Level::V5 {
            let (length, header) = variable(payload)?.ok_or(WRONG)?;
            let (properties, rest) = payload.split_at_checked(header + length).ok_or(WRONG)?;
            payload = rest;
            if length > 0 {
                let properties = v5::PublishProperties::read(&mut Bytes::copy_from_slice(properties));
                let properties = properties.map_err(|_| WRONG)?.unwrap_or_default();
                if properties.topic_alias.is_some() {
                    return Err(Fault::TopicAlias);
                }
                if !properties.subscription_identifiers.is_empty() {
                    return Err(Fault::Protocol("a subscription id from a client"));
                }
            }
        }
        let topic = std::str::from_utf8(name).map_err(|_| Fault::Malformed("topic is not utf-8"))?;
        if !topic::is_name(topic) {
            return Err(Fault::TopicName);
        }
        Ok(Publish { qos, dup, retain, pkid, topic, payload })
    }

    /// The packet id of an acknowledgement.
    fn id(&self, level: Level) -> Result<u16, Fault> {
        let (id, rest) = self.body.split_first_chunk::<2>().ok_or(Fault::Malformed("packet id"))?;
        match (level, rest.len()) {
            (_, 0) | (Level::V5, 1) => {}
            (Level::V4, _) => return Err(Fault::Malformed("acknowledgement")),
            (Level::V5, _) => drop(self.v5()?),
        }
        some_id(u16::from_be_bytes(*id))
    }

    fn subscribe(&self, level: Level) -> Result<Packet<'b>, Fault> {
        let (pkid, wishes) = match level {
            Level::V4 => match v4::Packet::read(&mut BytesMut::from(self.bytes), self.bytes.len()) {
                Ok(v4::Packet::Subscribe(subscribe)) => {
                    let wish =
                        |f: v4::SubscribeFilter| Wish { filter: f.path, qos: f.qos as u8, refused: None };
                    (subscribe.pkid, subscribe.filters.into_iter().map(wish).collect())
                }
                _ => return Err(Fault::Malformed("SUBSCRIBE")),
            },
            Level::V5 => match self.v5()? {
                v5::Packet::Subscribe(subscribe) => {
                    let id = subscribe.properties.is_some_and(|properties| properties.id.is_some());
                    let wish = |f: v5::Filter| {
                        let refused = if id { Some(0xA1) } else { f.nolocal.then_some(0x83) };
                        Wish { filter: f.path, qos: f.qos as u8, refused }
                    };
                    (subscribe.pkid, subscribe.filters.into_iter().map(wish).collect())
                }
                _ => return Err(Fault::Malformed("SUBSCRIBE")),
            },
        };
        Ok(Packet::Subscribe { pkid: some_id(pkid)?, wishes })
    }

    fn unsubscribe(&self, level: Level) -> Result<Packet<'b>, Fault> {
        let (pkid, filters) = match level {
            Level::V4 => match v4::Packet::read(&mut BytesMut::from(self.bytes), self.bytes.len()) {
                Ok(v4::Packet::Unsubscribe(unsubscribe)) => (unsubscribe.pkid, unsubscribe.topics),
                _ => return Err(Fault::Malformed("UNSUBSCRIBE")),
            },
            Level::V5 => match self.v5()? {
                v5::Packet::Unsubscribe(unsubscribe) => (unsubscribe.pkid, unsubscribe.filters),
                _ => return Err(Fault::Malformed("UNSUBSCRIBE")),
            },
        };
        if filters.is_empty() {
            return Err(Fault::Protocol("UNSUBSCRIBE without a filter"));
        }
        Ok(Packet::Unsubscribe { pkid: some_id(pkid)?, filters })
    }

    fn v5(&self) -> Result<v5::Packet, Fault> {
        v5::Packet::read(&mut BytesMut::from(self.bytes), None).map_err(|_| Fault::Malformed("5.0 packet"))
    }
}

fn some_id(pkid: u16) -> Result<u16, Fault> {
    if pkid == 0 { Err(Fault::Malformed("packet id 0")) } else { Ok(pkid) }
}

/// A variable byte integer (§2.2.3) and the bytes it takes; none when it is not complete.
fn variable(bytes: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Fault::Malformed("length")) }
}

fn from_v4(connect: v4::Connect) -> Connect {
    Connect {
        level: Level::V4,
        client_id: connect.client_id,
        clean: connect.clean_session,
        keep_alive: connect.keep_alive,
        will: connect.last_will.map(|will| Message {
            topic: will.topic.into(),
            payload: Bytes::copy_from_slice(&will.message),
            retain: will.retain,
        }),
        login: connect.login.map(|login| (login.username, login.password)),
        receive_max: u16::MAX,
        packet_max: usize::MAX,
        enhanced_auth: false,
    }
}

fn from_v5(
    connect: v5::Connect,
    will: Option<v5::LastWill>,
    login: Option<v5::Login>,
) -> Result<Connect, Fault> {
    let properties = connect.properties.unwrap_or_default();
    let (receive_max, packet_max) = (properties.receive_maximum, properties.max_packet_size);
    if receive_max == Some(0) || packet_max == Some(0) {
        return Err(Fault::Protocol("a maximum of 0"));
    }
    Ok(Connect {
        level: Level::V5,
        client_id: connect.client_id,
        // The session expiry granted is 0: nothing is left to resume.
        clean: true,
        keep_alive: connect.keep_alive,
        will: will.map(|will| Message {
            topic: Bytes::copy_from_slice(&will.topic),
            payload: Bytes::copy_from_slice(&will.message),
            retain: will.retain,
        }),
        login: login.map(|login| (login.username, login.password)),
        receive_max: receive_max.unwrap_or(u16::MAX),
        packet_max: packet_max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX)),
        enhanced_auth: properties.authentication_method.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(bytes: &[u8]) -> Frame<'_> {
        Frame::cut(bytes, 1 << 20).expect("well framed").expect("complete")
    }

    #[test]
    fn frames_are_cut_when_they_are_complete() {
        let bytes = [0x30, 3, 0, 1, b'a', 0xC0, 0];
        for end in 0..5 {
            assert_eq!(Frame::cut(&bytes[..end], 64), Ok(None), "{end} bytes");
        }
        assert_eq!(cut(&bytes).len(), 5);
        assert_eq!(Frame::cut(&[0x30, 63], 64), Err(Fault::TooLong(65)), "before its bytes are there");
        assert_eq!(Frame::cut(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 64), Err(Fault::TooLong(268_435_460)));
        assert_eq!(Frame::cut(&[0x30, 0x80, 0x80, 0x80, 0x80], 64), Err(Fault::Malformed("length")));
    }

    #[test]
    fn version_5_packets_may_be_short_or_long() {
        for (bytes, expected) in [
            (&[0xE0, 0][..], Ok(Packet::Disconnect { normal: true })),
            (&[0xE0, 1, 0], Ok(Packet::Disconnect { normal: true })),
            (&[0xE0, 1, 4], Ok(Packet::Disconnect { normal: false })),
            (&[0xE0, 2, 0x82, 0], Ok(Packet::Disconnect { normal: false })),
            (&[0x40, 2, 0, 7], Ok(Packet::PubAck(7))),
            (&[0x40, 3, 0, 7, 0x10], Ok(Packet::PubAck(7))),
            (&[0x40, 4, 0, 7, 0, 0], Ok(Packet::PubAck(7))),
            (&[0x62, 4, 0, 7, 0x92, 0], Ok(Packet::PubRel(7))),
            (&[0x40, 2, 0, 0], Err(Fault::Malformed("packet id 0"))),
            (&[0x30, 7, 0, 0, 3, 0x23, 0, 1, b'x'], Err(Fault::TopicAlias)),
            (&[0x30, 6, 0, 1, b'a', 2, 0x0B, 1], Err(Fault::Protocol("a subscription id from a client"))),
            (&[0x30, 6, 0, 1, b'a', 9, 0x26, 0], Err(Fault::Malformed("PUBLISH"))),
            (&[0xF0, 2, 0, 0], Err(Fault::Malformed("packet type"))),
        ] {
            assert_eq!(cut(bytes).decode(Level::V5), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn every_wrong_connect_is_told() {
        let hello = |flags, tail: &[u8]| {
            let body = [&[0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 60, 0, 1, b'x'], tail].concat();
            [&[0x10, body.len() as u8], body.as_slice()].concat()
        };
        for (flags, tail, good) in [
            (0x02, &[][..], true),
            (0x00, &[], true),
            (0x03, &[], false),
            (0x42, &[0, 1, b'p'], false),
            (0x82, &[0, 1, b'u'], true),
            (0x82, &[0, 1, 0], false),
            (0x0A, &[], false),
            (0x06, &[0, 1, b't', 0, 1, b'm'], true),
            (0x06, &[0, 1, b'#', 0, 1, b'm'], false),
            (0x1E, &[0, 1, b't', 0, 1, b'm'], false),
            (0x06, &[0, 9, b't'], false),
        ] {
            assert_eq!(cut(&hello(flags, tail)).connect().is_ok(), good, "{flags:x} {tail:x?}");
        }
    }

    #[test]
    fn what_is_written_is_what_a_client_reads() {
        let message = Message { topic: "温度/1".into(), payload: "x".repeat(200).into(), retain: true };
        let mut out = BytesMut::new();
        publish(Level::V5, &message, Some(7), true, &mut out);
        assert_eq!(out.len(), publish_len(Level::V5, &message));
        let Ok(v5::Packet::Publish(read)) = v5::Packet::read(&mut out, None) else { panic!("a PUBLISH") };
        assert_eq!((read.topic, read.payload), (message.topic.clone(), message.payload.clone()));
        assert_eq!((read.pkid, read.dup, read.retain), (7, true, true));

        let terms = Terms { receive_max: 32, packet_bytes_max: 4096, assigned_id: Some("auto-1") };
        accept(Level::V5, false, &terms, &mut out);
        let Ok(v5::Packet::ConnAck(read)) = v5::Packet::read(&mut out, None) else { panic!("a CONNACK") };
        let properties = read.properties.expect("the terms");
        assert_eq!(properties.receive_max, Some(32));
        assert_eq!(properties.max_packet_size, Some(4096));
        assert_eq!(properties.topic_alias_max, Some(0));
        assert_eq!(properties.session_expiry_interval, Some(0));
        assert_eq!(properties.shared_subscription_available, Some(0));
        assert_eq!(properties.assigned_client_identifier.as_deref(), Some("auto-1"));

        unsuback(Level::V5, 3, &[0, 0x11], &mut out);
        let Ok(v5::Packet::UnsubAck(read)) = v5::Packet::read(&mut out, None) else { panic!("an UNSUBACK") };
        assert_eq!(read.reasons.len(), 2);
        acknowledge(Level::V5, Ack::Received, 9, 0x90, &mut out);
        let Ok(v5::Packet::PubAck(read)) = v5::Packet::read(&mut out, None) else { panic!("a PUBACK") };
        assert_eq!((read.pkid, read.reason), (9, v5::PubAckReason::TopicNameInvalid));
    }

    /// Bytes that look like packets now and then.
    fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
        let first =
            prop::sample::select(vec![0x10, 0x30, 0x32, 0x34, 0x3D, 0x40, 0x62, 0x82, 0xA2, 0xC0, 0xE0]);
        let packet = (first, prop::collection::vec(prop_oneof![any::<u8>(), 0..6u8], 0..30))
            .prop_map(|(first, body)| [&[first, body.len() as u8], body.as_slice()].concat());
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            prop::collection::vec(packet, 0..4).prop_map(|packets| packets.concat()),
        ]
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in likely_bytes(), five in any::<bool>()) {
            let level = if five { Level::V5 } else { Level::V4 };
            let mut rest = bytes.as_slice();
            while let Ok(Some(frame)) = Frame::cut(rest, 256) {
                let _ = frame.connect().is_ok();
                let _ = frame.decode(level);
                rest = &rest[frame.len()..];
            }
        }

        #[test]
        fn a_publish_reads_as_any_codec_reads_it(bytes in likely_bytes()) {
            let Ok(Some(frame)) = Frame::cut(&bytes, 256) else { return Ok(()) };
            let theirs = v4::Packet::read(&mut BytesMut::from(frame.bytes), 256);
            if let Ok(Packet::Publish(ours)) = frame.decode(Level::V4) {
                let Ok(v4::Packet::Publish(theirs)) = theirs else { panic!("they do not read {bytes:x?}") };
                prop_assert_eq!(ours.topic, &theirs.topic);
                prop_assert_eq!(ours.payload, &theirs.payload);
                prop_assert_eq!((ours.pkid, ours.retain), (theirs.pkid, theirs.retain));
            }
        }
    }
}
