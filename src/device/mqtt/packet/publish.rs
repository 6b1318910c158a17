//! PUBLISH of a client (§3.3), in place: without properties nothing is allocated.

use super::super::topic;
use super::fields::Fields;
use super::properties::{self, ALIAS, MESSAGE_EXPIRY, Place, Properties};
use super::{Fault, Level};

/// A publish.
#[derive(Clone, Copy, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::device::mqtt) struct Publish<'b> {
    /// 0, 1 or 2.
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    /// 0 with QoS 0, else not 0.
    pub pkid: u16,
    /// A name without wildcards; empty only with an alias.
    pub topic: &'b str,
    /// Never 0; whether so many were granted is not known here.
    pub alias: Option<u16>,
    /// For how long it is worth something, seconds.
    pub expiry_s: Option<u32>,
    /// All of 5.0's properties, checked, without their length.
    pub properties: &'b [u8],
    pub payload: &'b [u8],
}

impl<'b> Publish<'b> {
    /// `flags` are the lower four bits of the first byte.
    pub(super) fn read(flags: u8, body: &'b [u8], level: Level) -> Result<Self, Fault> {
        let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
        // [MQTT-3.3.1-4], [MQTT-3.3.1-2]
        if qos == 3 || (qos == 0 && dup) {
            return Err(Fault::Malformed("flags"));
        }
        let mut fields = Fields::new(body);
        let topic = fields.text()?;
        let pkid = if qos == 0 { 0 } else { fields.pkid()? };
        let (mut alias, mut expiry_s, mut section) = (None, None, &[][..]);
        if level == Level::V5 {
            let properties = Properties::take(&mut fields, Place::Publish)?;
            section = properties.raw();
            for property in properties {
                let property = property?;
                match property.id {
                    ALIAS => alias = u16::try_from(property.number).ok(),
                    MESSAGE_EXPIRY => expiry_s = Some(property.number),
                    _ => {}
                }
            }
        }
        match (topic, alias) {
            ("", Some(_)) => {}
            ("", None) if level == Level::V5 => {
                return Err(Fault::Protocol("neither a topic name nor an alias")); // §3.3.2.1
            }
            _ if !topic::is_name(topic) => return Err(Fault::TopicName), // [MQTT-3.3.2-2], [MQTT-4.7.3-1]
            _ => {}
        }
        Ok(Self {
            qos,
            dup,
            retain,
            pkid,
            topic,
            alias,
            expiry_s,
            properties: section,
            payload: fields.rest(),
        })
    }

    /// The properties that are handed on with the message, in their order (§3.3.2.3): all but alias and expiry.
    pub(in crate::device::mqtt) fn forwarded(&self) -> Box<[u8]> {
        properties::forwarded(self.properties, Place::Publish)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Frame, Packet};
    use super::*;

    const PLAIN: Publish<'_> = Publish {
        qos: 0,
        dup: false,
        retain: false,
        pkid: 0,
        topic: "a",
        alias: None,
        expiry_s: None,
        properties: b"",
        payload: b"",
    };

    fn decode(bytes: &[u8], level: Level) -> Result<Packet<'_>, Fault> {
        Frame::cut(bytes, 256).expect("well framed").expect("complete").decode(level)
    }

    #[test]
    fn good_ones_are_read_in_place() {
        const V4: Level = Level::V4;
        const V5: Level = Level::V5;
        let name = "温度/1";
        let long = [b"\x30\x0a\0\x08", name.as_bytes()].concat();
        for (bytes, level, expected) in [
            (&b"\x30\x03\0\x01a"[..], V4, PLAIN),
            (b"\x30\x04\0\x01a\0", V5, PLAIN),
            (b"\x31\x05\0\x01axy", V4, Publish { retain: true, payload: b"xy", ..PLAIN }),
            (
                b"\x3d\x06\0\x01a\x01\0x",
                V4,
                Publish { qos: 2, dup: true, retain: true, pkid: 256, payload: b"x", ..PLAIN },
            ),
            (b"\x32\x05\0\x01a\0\x07", V4, Publish { qos: 1, pkid: 7, ..PLAIN }),
            (b"\x32\x07\0\x01a\0\x07\0x", V5, Publish { qos: 1, pkid: 7, payload: b"x", ..PLAIN }),
            (&long, V4, Publish { topic: name, ..PLAIN }),
            (
                b"\x30\x08\0\x01a\x03\x23\0\x01x",
                V5,
                Publish { alias: Some(1), properties: b"\x23\0\x01", payload: b"x", ..PLAIN },
            ),
            (
                b"\x30\x06\0\0\x03\x23\xFF\xFF",
                V5,
                Publish { topic: "", alias: Some(u16::MAX), properties: b"\x23\xFF\xFF", ..PLAIN },
            ),
            (
                b"\x30\x0b\0\x01a\x07\x02\0\0\x01\0\x01\0",
                V5,
                Publish { expiry_s: Some(256), properties: b"\x02\0\0\x01\0\x01\0", ..PLAIN },
            ),
        ] {
            assert_eq!(decode(bytes, level), Ok(Packet::Publish(expected)), "{bytes:x?}");
        }
    }

    #[test]
    fn wrong_ones_are_told() {
        const V4: Level = Level::V4;
        const V5: Level = Level::V5;
        let short = Fault::Malformed("it ends within a field");
        for (bytes, level, fault) in [
            (&b"\x36\x05\0\x01a\0\x07"[..], V4, Fault::Malformed("flags")),
            (b"\x38\x03\0\x01a", V4, Fault::Malformed("flags")),
            (b"\x38\x04\0\x01a\0", V5, Fault::Malformed("flags")),
            (b"\x30\x00", V4, short),
            (b"\x30\x03\0\x02a", V4, short),
            (b"\x32\x04\0\x01a\0", V4, short),
            (b"\x30\x03\0\x01a", V5, short),
            (b"\x30\x05\0\x01a\x02\0", V5, short),
            (b"\x30\x04\0\x01a\x80", V5, short),
            (b"\x32\x05\0\x01a\0\0", V4, Fault::Malformed("packet id 0")),
            (b"\x30\x03\0\x01\0", V4, Fault::Malformed("U+0000 in a text")),
            (b"\x30\x03\0\x01\xFF", V4, Fault::Malformed("a text that is not utf-8")),
            (b"\x30\x05\0\x03\xED\xA0\x80", V4, Fault::Malformed("a text that is not utf-8")),
            (b"\x30\x02\0\0", V4, Fault::TopicName),
            (b"\x30\x03\0\x01+", V4, Fault::TopicName),
            (b"\x30\x06\0\x03a/#\0", V5, Fault::TopicName),
            (b"\x30\x07\0\x01#\x03\x23\0\x01", V5, Fault::TopicName),
            (b"\x30\x03\0\0\0", V5, Fault::Protocol("neither a topic name nor an alias")),
            (b"\x30\x07\0\x01a\x03\x23\0\0", V5, Fault::TopicAlias),
            (b"\x30\x06\0\x01a\x02\x0B\x01", V5, Fault::Protocol("a subscription identifier from a client")),
            (
                b"\x30\x05\0\x01a\x81\0",
                V5,
                Fault::Malformed("a variable byte integer longer than it has to be"),
            ),
            (b"\x30\x0a\0\x01a\x06\x23\0\x01\x23\0\x01", V5, Fault::Protocol("a property twice")),
        ] {
            assert_eq!(decode(bytes, level), Err(fault), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_handed_on_has_neither_alias_nor_expiry() {
        let bytes = b"\x30\x12\0\0\x0e\x23\0\x01\x09\0\x01c\x02\0\0\0\x09\x01\x01x";
        let Ok(Packet::Publish(publish)) = decode(bytes, Level::V5) else { panic!("a PUBLISH") };
        assert_eq!(*publish.forwarded(), b"\x09\0\x01c\x01\x01"[..]);
        assert_eq!(publish.payload, b"x");
    }
}
