//! The whole of it against the codec of `rumqttc` as the other side: what we write, it reads; what it writes, we read;
//! and of the bytes of a fuzzer we take nothing that it reads otherwise.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes::{self as mqttbytes5, v5};

use super::*;
use crate::store::sessions::{Message, Options};

fn message(topic: &str, payload: &[u8], properties: &[u8]) -> Message {
    let (topic, payload, properties) = (topic.into(), payload.into(), properties.into());
    Message { topic, payload, qos: 2, retain: true, properties, expires_ms: Some(1) }
}

fn outgoing(message: &Message) -> Outgoing<'_> {
    Outgoing {
        message,
        qos: 0,
        pkid: 7,
        dup: true,
        retain: false,
        identifiers: &[],
        expiry_s: None,
        alias: None,
    }
}

fn written<T>(write: impl FnOnce(&mut BytesMut) -> T) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

fn read4(mut bytes: BytesMut) -> v4::Packet {
    let packet = v4::Packet::read(&mut bytes, 1 << 28).expect("a 3.1.1 packet");
    assert!(bytes.is_empty());
    packet
}

fn read5(mut bytes: BytesMut) -> v5::Packet {
    let packet = v5::Packet::read(&mut bytes, None).expect("a 5.0 packet");
    assert!(bytes.is_empty());
    packet
}

fn cut(bytes: &[u8]) -> Frame<'_> {
    Frame::cut(bytes, 1 << 20).expect("well framed").expect("complete")
}

const PLAIN: Terms<'_> = Terms {
    receive_max: 32,
    packet_bytes_max: 4096,
    assigned_id: None,
    expiry_s: None,
    alias_max: 16,
    keep_alive: None,
};

#[test]
fn the_terms_are_told_to_version_5() {
    let terms = |terms, present| match read5(written(|out| accept(Level::V5, present, &terms, out))) {
        v5::Packet::ConnAck(read) => (read.session_present, read.code, read.properties.expect("terms")),
        other => panic!("{other:?}"),
    };
    let (present, code, plain) = terms(PLAIN, false);
    assert_eq!((present, code), (false, v5::ConnectReturnCode::Success));
    assert_eq!(
        (plain.receive_max, plain.max_packet_size, plain.topic_alias_max),
        (Some(32), Some(4096), Some(16))
    );
    assert_eq!((plain.session_expiry_interval, plain.server_keep_alive), (None, None));
    assert_eq!((plain.assigned_client_identifier, plain.max_qos, plain.retain_available), (None, None, None));
    let (wildcard, shared) = (plain.wildcard_subscription_available, plain.shared_subscription_available);
    assert_eq!((wildcard, shared, plain.subscription_identifiers_available), (None, None, None));

    let all = Terms { assigned_id: Some("auto-1"), expiry_s: Some(60), keep_alive: Some(30), ..PLAIN };
    let (present, _, all) = terms(all, true);
    assert!(present);
    assert_eq!((all.session_expiry_interval, all.server_keep_alive), (Some(60), Some(30)));
    assert_eq!(all.assigned_client_identifier.as_deref(), Some("auto-1"));

    let endless = Terms { packet_bytes_max: usize::MAX, ..PLAIN };
    assert_eq!(terms(endless, false).2.max_packet_size, Some(u32::MAX));
    for present in [false, true] {
        let bytes = written(|out| accept(Level::V4, present, &PLAIN, out));
        assert_eq!(bytes[..], [0x20, 2, u8::from(present), 0]);
    }
}

#[test]
fn a_refusal_has_a_code_in_both_versions() {
    for (refusal, four, five) in [
        (Refusal::Level, 1, 0x84),
        (Refusal::ClientId, 2, 0x85),
        (Refusal::Busy, 3, 0x89),
        (Refusal::Will, 3, 0x95),
        (Refusal::Quota, 3, 0x97),
        (Refusal::Password, 4, 0x86),
        (Refusal::NotAuthorised, 5, 0x87),
        (Refusal::AuthMethod, 5, 0x8C),
    ] {
        assert_eq!(written(|out| refuse(Level::V4, refusal, out))[..], [0x20, 2, 0, four], "{refusal:?}");
        let bytes = written(|out| refuse(Level::V5, refusal, out));
        assert_eq!(bytes[..], [0x20, 3, 0, five, 0], "{refusal:?}");
        assert!(
            matches!(read5(bytes), v5::Packet::ConnAck(read) if read.code != v5::ConnectReturnCode::Success)
        );
    }
}

#[test]
fn answers_are_as_short_as_they_may_be() {
    for (ack, first) in
        [(Ack::Received, 0x40), (Ack::Recorded, 0x50), (Ack::Release, 0x62), (Ack::Complete, 0x70)]
    {
        for (level, reason, expected) in [
            (Level::V4, 0, &[first, 2, 1, 0][..]),
            (Level::V4, 0x90, &[first, 2, 1, 0]),
            (Level::V5, 0, &[first, 2, 1, 0]),
            (Level::V5, 0x92, &[first, 3, 1, 0, 0x92]),
        ] {
            assert_eq!(
                written(|out| acknowledge(level, ack, 256, reason, out))[..],
                *expected,
                "{ack:?} {level:?}"
            );
        }
    }
    let codes = [0, 1, 2, 0x87, 0x9E];
    for (level, subscribed, unsubscribed) in [
        (Level::V4, &[0x90, 7, 0, 3, 0, 1, 2, 0x80, 0x80][..], &[0xB0, 2, 0, 3][..]),
        (Level::V5, &[0x90, 8, 0, 3, 0, 0, 1, 2, 0x87, 0x9E], &[0xB0, 8, 0, 3, 0, 0, 1, 2, 0x87, 0x9E]),
    ] {
        assert_eq!(written(|out| suback(level, 3, &codes, out))[..], *subscribed, "{level:?}");
        assert_eq!(written(|out| unsuback(level, 3, &codes, out))[..], *unsubscribed, "{level:?}");
    }
    let many = written(|out| suback(Level::V5, 3, &[0; 200], out));
    assert!(matches!(read5(many), v5::Packet::SubAck(read) if read.return_codes.len() == 200));
    assert_eq!(written(pingresp)[..], [0xD0, 0]);
    assert!(written(|out| disconnect(Level::V4, Fault::Stopping, out)).is_empty());
    assert_eq!(written(|out| disconnect(Level::V5, Fault::Stopping, out))[..], [0xE0, 1, 0x8B]);
}

#[test]
fn every_fault_has_a_code_that_a_server_may_send() {
    for (fault, code, clients) in [
        (Fault::Malformed(""), 0x81, true),
        (Fault::Protocol(""), 0x82, true),
        (Fault::Level(3), 0x84, true),
        (Fault::TooLong(1), 0x95, true),
        (Fault::TopicName, 0x90, true),
        (Fault::TopicAlias, 0x94, true),
        (Fault::ReceiveMaximum, 0x93, true),
        (Fault::Forbidden, 0x87, true),
        (Fault::KeepAlive, 0x8D, false),
        (Fault::TakenOver, 0x8E, false),
        (Fault::Withdrawn, 0x98, false),
        (Fault::Stopping, 0x8B, false),
        (Fault::Store, 0x83, false),
    ] {
        assert_eq!((fault.code(), fault.is_clients()), (code, clients), "{fault:?}");
    }
}

#[test]
fn deliveries_are_written_byte_for_byte() {
    let plain = message("a/b", b"x", b"\x01\x01");
    let first =
        Outgoing { alias: Some((5, true)), expiry_s: Some(9), identifiers: &[1, 128], ..outgoing(&plain) };
    for (level, out, expected) in [
        (Level::V4, outgoing(&plain), &b"\x30\x06\0\x03a/bx"[..]),
        (Level::V5, outgoing(&plain), b"\x30\x09\0\x03a/b\x02\x01\x01x"),
        (Level::V4, Outgoing { qos: 1, ..outgoing(&plain) }, b"\x3a\x08\0\x03a/b\0\x07x"),
        (
            Level::V4,
            Outgoing { qos: 2, dup: false, retain: true, ..outgoing(&plain) },
            b"\x35\x08\0\x03a/b\0\x07x",
        ),
        (
            Level::V5,
            Outgoing { qos: 1, dup: false, ..first },
            b"\x32\x18\0\x03a/b\0\x07\x0f\x01\x01\x0b\x01\x0b\x80\x01\x02\0\0\0\x09\x23\0\x05x",
        ),
        (Level::V4, Outgoing { alias: Some((5, false)), ..first }, b"\x30\x06\0\x03a/bx"),
        (
            Level::V5,
            Outgoing { alias: Some((5, false)), ..outgoing(&plain) },
            b"\x30\x09\0\0\x05\x01\x01\x23\0\x05x",
        ),
    ] {
        let bytes = written(|bytes| publish(level, &out, bytes));
        assert_eq!(bytes[..], *expected, "{level:?} {expected:x?}");
        assert_eq!(publish_len(level, &out), expected.len(), "{level:?} {expected:x?}");
    }
}

fn topics() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/$温度]{1,12}", "[a-z/]{120,140}"]
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::sample::select(vec![100, 125, 16_360, 16_380]).prop_map(|count| vec![b'x'; count]),
    ]
}

fn number5() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(any::<u32>())
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("[a-z温]{0,3}", "[a-z温]{0,3}"), 0..3)
}

/// The properties of a publish in the order in which `rumqttc` writes them, and what is handed on of them.
fn properties5() -> impl Strategy<Value = v5::PublishProperties> {
    let bytes = prop::collection::vec(any::<u8>(), 0..5).prop_map(Bytes::from);
    let (flag, text) = (prop::option::of(0..2u8), prop::option::of("[a-z/温]{1,5}"));
    (flag, number5(), prop::option::of(1..=u16::MAX), text.clone(), prop::option::of(bytes), pairs(), text)
        .prop_map(
            |(format, expiry, alias, response_topic, correlation_data, user_properties, content_type)| {
                v5::PublishProperties {
                    payload_format_indicator: format,
                    message_expiry_interval: expiry,
                    topic_alias: alias,
                    response_topic,
                    correlation_data,
                    user_properties,
                    subscription_identifiers: vec![],
                    content_type,
                }
            },
        )
}

fn publish5(
    topic: &str,
    qos: u8,
    payload: &[u8],
    properties: Option<v5::PublishProperties>,
) -> (v5::Publish, BytesMut) {
    let mut packet =
        v5::Publish::new(topic, mqttbytes5::qos(qos).expect("a QoS"), payload.to_vec(), properties);
    packet.pkid = if qos == 0 { 0 } else { 7 };
    let bytes = written(|out| packet.write(out).expect("a PUBLISH"));
    (packet, bytes)
}

/// Good packets, and the version of their client.
const GOOD: [(Level, &[u8]); 12] = [
    (Level::V4, b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01x"),
    (
        Level::V5,
        b"\x10\x25\0\x04MQTT\x05\xc6\0\x3c\x05\x11\0\0\0\x09\0\x01x\
          \x05\x18\0\0\0\x01\0\x01t\0\x01m\0\x01u\0\x01p",
    ),
    (Level::V4, b"\x32\x07\0\x01a\0\x07\0x"),
    (Level::V5, b"\x30\x12\0\0\x0e\x23\0\x01\x09\0\x01c\x02\0\0\0\x09\x01\x01x"),
    (Level::V5, b"\x34\x0f\0\x01a\0\x09\x07\x26\0\x01k\0\x01vxy"),
    (Level::V5, b"\x40\x04\0\x07\x10\0"),
    (Level::V5, b"\x62\x03\0\x07\x92"),
    (Level::V5, b"\x82\x0b\0\x07\x02\x0B\x01\0\x03a/+\x2e"),
    (Level::V4, b"\x82\x06\0\x07\0\x01a\x01"),
    (Level::V5, b"\xA2\x06\0\x07\0\0\x01a"),
    (Level::V5, b"\xE0\x07\0\x05\x11\0\0\x01\0"),
    (Level::V4, b"\xC0\0"),
];

/// Bytes that look like packets now and then.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (
        prop::sample::select(&GOOD[..]),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    )
        .prop_map(|((_, packet), changes)| {
            let mut packet = packet.to_vec();
            for (at, byte) in changes {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            packet
        });
    let first = prop::sample::select(vec![0x10, 0x30, 0x32, 0x34, 0x3D, 0x40, 0x62, 0x82, 0xA2, 0xC0, 0xE0]);
    let framed = (first, prop::collection::vec(prop_oneof![any::<u8>(), 0..6u8], 0..30))
        .prop_map(|(first, body)| [&[first, body.len() as u8], body.as_slice()].concat());
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(framed, 0..4).prop_map(|packets| packets.concat()),
        prop::collection::vec(mutated, 1..3).prop_map(|packets| packets.concat()),
    ]
}

#[test]
fn what_is_mutated_is_good() {
    for (level, bytes) in GOOD {
        let frame = cut(bytes);
        let read = frame.connect().is_ok_and(|connect| connect.level == level) || frame.decode(level).is_ok();
        assert!(read && frame.len() == bytes.len(), "{bytes:x?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in likely_bytes(), five in any::<bool>()) {
        let level = if five { Level::V5 } else { Level::V4 };
        let mut rest = bytes.as_slice();
        while let Ok(Some(frame)) = Frame::cut(rest, 256) {
            let _ = frame.connect().is_ok();
            if let Ok(Packet::Publish(publish)) = frame.decode(level) {
                prop_assert!(publish.forwarded().len() <= publish.properties.len());
            }
            rest = &rest[frame.len()..];
        }
    }

    #[test]
    fn what_version_4_takes_is_what_any_codec_reads(bytes in likely_bytes()) {
        let Ok(Some(frame)) = Frame::cut(&bytes, 256) else { return Ok(()) };
        let Ok(ours) = frame.decode(Level::V4) else { return Ok(()) };
        let theirs = v4::Packet::read(&mut BytesMut::from(&bytes[..frame.len()]), 256).expect("they read it too");
        match (ours, theirs) {
            (Packet::Publish(ours), v4::Packet::Publish(theirs)) => {
                prop_assert_eq!(ours.topic, &theirs.topic);
                prop_assert_eq!(ours.payload, &theirs.payload);
                prop_assert_eq!((ours.qos, ours.dup, ours.retain), (theirs.qos as u8, theirs.dup, theirs.retain));
                prop_assert_eq!((ours.pkid, ours.properties.len()), (theirs.pkid, 0));
            }
            (Packet::Subscribe { pkid, identifier, wishes }, v4::Packet::Subscribe(theirs)) => {
                prop_assert_eq!((pkid, identifier, wishes.len()), (theirs.pkid, None, theirs.filters.len()));
                for (ours, theirs) in wishes.iter().zip(theirs.filters) {
                    let options = Options { qos: theirs.qos as u8, ..Options::default() };
                    prop_assert_eq!((&ours.filter, ours.options), (&theirs.path, options));
                }
            }
            (Packet::Unsubscribe { pkid, filters }, v4::Packet::Unsubscribe(theirs)) => {
                prop_assert_eq!((pkid, filters), (theirs.pkid, theirs.topics));
            }
            (Packet::PubAck { pkid, reason: 0 }, v4::Packet::PubAck(theirs)) => prop_assert_eq!(pkid, theirs.pkid),
            (Packet::PubRec { pkid, reason: 0 }, v4::Packet::PubRec(theirs)) => prop_assert_eq!(pkid, theirs.pkid),
            (Packet::PubRel { pkid, reason: 0 }, v4::Packet::PubRel(theirs)) => prop_assert_eq!(pkid, theirs.pkid),
            (Packet::PubComp { pkid, reason: 0 }, v4::Packet::PubComp(theirs)) => prop_assert_eq!(pkid, theirs.pkid),
            (Packet::PingReq, v4::Packet::PingReq)
            | (Packet::Disconnect { reason: 0, expiry_s: None }, v4::Packet::Disconnect) => {}
            (ours, theirs) => panic!("{ours:?} is {theirs:?}"),
        }
    }

    #[test]
    fn what_version_5_takes_is_what_any_codec_reads(bytes in likely_bytes()) {
        let Ok(Some(frame)) = Frame::cut(&bytes, 256) else { return Ok(()) };
        let Ok(ours) = frame.decode(Level::V5) else { return Ok(()) };
        let theirs = v5::Packet::read(&mut BytesMut::from(&bytes[..frame.len()]), None);
        match (ours, theirs) {
            (Packet::Publish(ours), Ok(v5::Packet::Publish(theirs))) => {
                let properties = theirs.properties.unwrap_or_default();
                prop_assert_eq!(ours.topic.as_bytes(), &theirs.topic);
                prop_assert_eq!(ours.payload, &theirs.payload);
                prop_assert_eq!((ours.qos, ours.dup, ours.retain), (theirs.qos as u8, theirs.dup, theirs.retain));
                prop_assert_eq!((ours.pkid, ours.alias), (theirs.pkid, properties.topic_alias));
                prop_assert_eq!(ours.expiry_s, properties.message_expiry_interval);
            }
            (Packet::Subscribe { pkid, identifier, wishes }, Ok(v5::Packet::Subscribe(theirs))) => {
                let id = theirs.properties.and_then(|properties| properties.id);
                prop_assert_eq!((pkid, identifier.map(|id| id as usize)), (theirs.pkid, id));
                prop_assert_eq!(wishes, theirs.filters.iter().map(wish5).collect::<Vec<_>>());
            }
            (Packet::Unsubscribe { pkid, filters }, Ok(v5::Packet::Unsubscribe(theirs))) => {
                prop_assert_eq!((pkid, filters), (theirs.pkid, theirs.filters));
            }
            (Packet::PubAck { pkid, .. }, Ok(v5::Packet::PubAck(theirs))) => prop_assert_eq!(pkid, theirs.pkid),
            (Packet::PubRec { pkid, .. }, Ok(v5::Packet::PubRec(theirs))) => prop_assert_eq!(pkid, theirs.pkid),
            (Packet::PubRel { pkid, .. }, Ok(v5::Packet::PubRel(theirs))) => prop_assert_eq!(pkid, theirs.pkid),
            (Packet::PubComp { pkid, .. }, Ok(v5::Packet::PubComp(theirs))) => prop_assert_eq!(pkid, theirs.pkid),
            (Packet::PingReq, Ok(v5::Packet::PingReq(_))) => {}
            (Packet::Disconnect { reason, expiry_s }, Ok(v5::Packet::Disconnect(theirs))) => {
                let expiry = theirs.properties.and_then(|properties| properties.session_expiry_interval);
                prop_assert_eq!((reason, expiry_s), (theirs.reason_code as u8, expiry));
            }
            // They want a reason and properties, which may be left out (§3.14.2.1, §3.14.2.2.1).
            (Packet::Disconnect { .. }, Err(_)) if frame.len() <= 3 => {}
            (ours, theirs) => panic!("{ours:?} is {theirs:?}"),
        }
    }

    #[test]
    fn a_publish_of_another_codec_is_taken(
        topic in topics(), payload in payloads(), qos in 0..3u8, properties in prop::option::of(properties5()),
    ) {
        let (packet, bytes) = publish5(&topic, qos, &payload, properties.clone());
        let Ok(Packet::Publish(read)) = cut(&bytes).decode(Level::V5) else { panic!("a PUBLISH") };
        prop_assert_eq!((read.topic, read.payload), (topic.as_str(), payload.as_slice()));
        prop_assert_eq!((read.qos, read.pkid), (qos, packet.pkid));
        let properties = properties.unwrap_or_default();
        prop_assert_eq!((read.alias, read.expiry_s), (properties.topic_alias, properties.message_expiry_interval));

        // What is handed on is what they would write without alias and expiry.
        let stripped = v5::PublishProperties { topic_alias: None, message_expiry_interval: None, ..properties };
        let (_, bytes) = publish5(&topic, qos, &payload, Some(stripped));
        let Ok(Packet::Publish(again)) = cut(&bytes).decode(Level::V5) else { panic!("a PUBLISH") };
        prop_assert_eq!(&*read.forwarded(), again.properties);
    }

    #[test]
    fn a_delivery_is_read_as_it_was_meant(
        topic in topics(), payload in payloads(), qos in 0..3u8, (dup, retain) in any::<(bool, bool)>(),
        properties in properties5(), identifiers in prop::collection::vec(1..268_435_456u32, 0..3),
        expiry_s in number5(), alias in prop::option::of((1..=u16::MAX, any::<bool>())),
    ) {
        let handed_on = v5::PublishProperties { topic_alias: None, message_expiry_interval: None, ..properties };
        let (_, bytes) = publish5(&topic, 0, &[], Some(handed_on.clone()));
        let Ok(Packet::Publish(section)) = cut(&bytes).decode(Level::V5) else { panic!("a PUBLISH") };
        let message = message(&topic, &payload, section.properties);
        let identifiers = &identifiers[..];
        let out = Outgoing { message: &message, qos, pkid: 7, dup, retain, identifiers, expiry_s, alias };

        let bytes = written(|bytes| publish(Level::V5, &out, bytes));
        prop_assert_eq!(bytes.len(), publish_len(Level::V5, &out));
        let v5::Packet::Publish(read) = read5(bytes) else { panic!("a PUBLISH") };
        let known = matches!(alias, Some((_, false)));
        prop_assert_eq!(&read.topic[..], if known { b"" } else { topic.as_bytes() });
        prop_assert_eq!(&read.payload[..], &payload[..]);
        prop_assert_eq!((read.qos as u8, read.dup, read.retain), (qos, dup && qos > 0, retain));
        prop_assert_eq!(read.pkid, if qos == 0 { 0 } else { 7 });
        prop_assert_eq!(read.properties.unwrap_or_default(), v5::PublishProperties {
            topic_alias: alias.map(|(alias, _)| alias),
            message_expiry_interval: expiry_s,
            subscription_identifiers: identifiers.iter().map(|id| *id as usize).collect(),
            ..handed_on
        });

        let bytes = written(|bytes| publish(Level::V4, &out, bytes));
        prop_assert_eq!(bytes.len(), publish_len(Level::V4, &out));
        let v4::Packet::Publish(read) = read4(bytes) else { panic!("a PUBLISH") };
        prop_assert_eq!((&read.topic, &read.payload[..]), (&topic, &payload[..]));
        prop_assert_eq!((read.qos as u8, read.dup, read.retain), (qos, dup && qos > 0, retain));
    }

    #[test]
    fn a_connect_of_another_codec_is_taken(
        (id, clean, keep_alive) in ("[a-z温]{0,8}", any::<bool>(), any::<u16>()),
        login in prop::option::of(("[a-z温]{1,5}", "[a-z温]{1,5}")),
        will in prop::option::of((topics(), prop::collection::vec(any::<u8>(), 0..9), 0..3u8, any::<bool>())),
        (expiry, receive_max, packet_max) in (number5(), prop::option::of(1..=u16::MAX), prop::option::of(1..=u32::MAX)),
        (alias_max, problem, will_expiry, delay) in (prop::option::of(any::<u16>()), prop::option::of(0..2u8), number5(), number5()),
        user_properties in pairs(),
    ) {
        let mut four = v4::Connect::new(id.clone());
        (four.clean_session, four.keep_alive) = (clean, keep_alive);
        four.login = login.clone().map(|(username, password)| v4::Login { username, password });
        four.last_will = will.clone().map(|(topic, payload, qos, retain)| {
            v4::LastWill::new(topic, payload, mqttbytes::qos(qos).expect("a QoS"), retain)
        });
        let bytes = written(|out| four.write(out).expect("a CONNECT"));
        let Ok(read) = cut(&bytes).connect() else { panic!("a CONNECT") };
        prop_assert_eq!((&read.client_id, read.clean, read.keep_alive), (&id, clean, keep_alive));
        prop_assert_eq!((&read.login, read.expiry_s), (&login, if clean { 0 } else { u32::MAX }));
        let meant = will.clone().map(|(topic, payload, qos, retain)| {
            Message { qos, retain, expires_ms: None, ..message(&topic, &payload, &[]) }
        });
        let plain = meant.clone().map(|message| Will { message, expiry_s: None, delay_s: 0 });
        prop_assert!(read.will == plain);

        let mut properties = v5::ConnectProperties::new();
        (properties.session_expiry_interval, properties.receive_maximum) = (expiry, receive_max);
        (properties.max_packet_size, properties.topic_alias_max) = (packet_max, alias_max);
        (properties.request_problem_info, properties.user_properties) = (problem, user_properties.clone());
        let five = v5::Connect { keep_alive, client_id: id.clone(), clean_start: clean, properties: Some(properties) };
        let will5 = will.map(|(topic, payload, qos, retain)| {
            let properties = v5::LastWillProperties {
                delay_interval: delay,
                payload_format_indicator: None,
                message_expiry_interval: will_expiry,
                content_type: None,
                response_topic: None,
                correlation_data: None,
                user_properties: user_properties.clone(),
            };
            v5::LastWill::new(topic, payload, mqttbytes5::qos(qos).expect("a QoS"), retain, Some(properties))
        });
        let login5 = login.clone().map(|(username, password)| v5::Login { username, password });
        let bytes = written(|out| five.write(&will5, &login5, out).expect("a CONNECT"));
        let Ok(read) = cut(&bytes).connect() else { panic!("a CONNECT") };
        prop_assert_eq!((&read.client_id, read.clean, read.keep_alive), (&id, clean, keep_alive));
        prop_assert_eq!((&read.login, read.expiry_s), (&login, expiry.unwrap_or(0)));
        prop_assert_eq!(read.receive_max, receive_max.unwrap_or(u16::MAX));
        prop_assert_eq!(read.packet_max, packet_max.map_or(usize::MAX, |max| max as usize));
        prop_assert_eq!((read.alias_max, read.problem_info), (alias_max.unwrap_or(0), problem != Some(0)));
        prop_assert_eq!(read.will.is_some(), meant.is_some());
        if let (Some(read), Some(meant)) = (read.will, meant) {
            prop_assert_eq!((read.expiry_s, read.delay_s), (will_expiry, delay.unwrap_or(0)));
            let pairs = user_properties.iter().map(|(key, value)| 5 + key.len() + value.len());
            prop_assert_eq!(read.message.properties.len(), pairs.sum::<usize>());
            let properties = read.message.properties.clone();
            prop_assert!(read.message == (Message { properties, ..meant }), "the will");
        }
    }
}

fn wish5(filter: &v5::Filter) -> Wish {
    let retain_handling = match filter.retain_forward_rule {
        v5::RetainForwardRule::OnEverySubscribe => 0,
        v5::RetainForwardRule::OnNewSubscribe => 1,
        v5::RetainForwardRule::Never => 2,
    };
    let (no_local, retain_as_published) = (filter.nolocal, filter.preserve_retain);
    let options = Options { qos: filter.qos as u8, no_local, retain_as_published, retain_handling };
    Wish { filter: filter.path.clone(), options }
}
