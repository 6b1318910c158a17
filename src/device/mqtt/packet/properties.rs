//! The properties of 5.0 (§2.2.2) that a client may send.
//!
//! Guarantees: only those that may stand where they stand, each once but user properties, each of its type and within its
//! values; none of it is copied.

use super::super::topic;
use super::Fault;
use super::fields::Fields;

pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
pub(super) const CONTENT_TYPE: u8 = 0x03;
pub(super) const RESPONSE_TOPIC: u8 = 0x08;
pub(super) const CORRELATION_DATA: u8 = 0x09;
pub(super) const SUBSCRIPTION_ID: u8 = 0x0B;
pub(super) const SESSION_EXPIRY: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const AUTH_METHOD: u8 = 0x15;
pub(super) const AUTH_DATA: u8 = 0x16;
pub(super) const PROBLEM_INFO: u8 = 0x17;
pub(super) const WILL_DELAY: u8 = 0x18;
pub(super) const RESPONSE_INFO: u8 = 0x19;
pub(super) const SERVER_REFERENCE: u8 = 0x1C;
pub(super) const REASON_STRING: u8 = 0x1F;
pub(super) const RECEIVE_MAX: u8 = 0x21;
pub(super) const ALIAS_MAX: u8 = 0x22;
pub(super) const ALIAS: u8 = 0x23;
pub(super) const USER_PROPERTY: u8 = 0x26;
pub(super) const PACKET_MAX: u8 = 0x27;

/// Where properties stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Connect,
    Will,
    Publish,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    Answer,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

/// The type of a value.
#[derive(Clone, Copy)]
enum Kind {
    Byte,
    Short,
    Long,
    Variable,
    Binary,
    Text,
    Pair,
}

/// Type and places of a property: Table 2-4, without what only a server sends.
fn rule(id: u8) -> Option<(Kind, &'static [Place])> {
    use Kind::{Binary, Byte, Long, Pair, Short, Text, Variable};
    use Place::{Answer, Connect, Disconnect, Publish, Subscribe, Unsubscribe, Will};
    Some(match id {
        PAYLOAD_FORMAT => (Byte, &[Publish, Will]),
        MESSAGE_EXPIRY => (Long, &[Publish, Will]),
        CONTENT_TYPE => (Text, &[Publish, Will]),
        RESPONSE_TOPIC => (Text, &[Publish, Will]),
        CORRELATION_DATA => (Binary, &[Publish, Will]),
        SUBSCRIPTION_ID => (Variable, &[Publish, Subscribe]),
        SESSION_EXPIRY => (Long, &[Connect, Disconnect]),
        AUTH_METHOD => (Text, &[Connect]),
        AUTH_DATA => (Binary, &[Connect]),
        PROBLEM_INFO => (Byte, &[Connect]),
        WILL_DELAY => (Long, &[Will]),
        RESPONSE_INFO => (Byte, &[Connect]),
        SERVER_REFERENCE => (Text, &[Disconnect]),
        REASON_STRING => (Text, &[Answer, Disconnect]),
        RECEIVE_MAX => (Short, &[Connect]),
        ALIAS_MAX => (Short, &[Connect]),
        ALIAS => (Short, &[Publish]),
        USER_PROPERTY => (Pair, &[Connect, Will, Publish, Answer, Subscribe, Unsubscribe, Disconnect]),
        PACKET_MAX => (Long, &[Connect]),
        _ => return None,
    })
}

/// A property.
#[derive(Clone, Copy)]
pub(super) struct Property<'b> {
    pub id: u8,
    /// Of one that is a number; else 0.
    pub number: u32,
    /// The whole of it, with its id.
    raw: &'b [u8],
}

/// A section of properties, one after another. Ends with the first fault.
pub(super) struct Properties<'b> {
    rest: Fields<'b>,
    place: Place,
    /// One bit for each id.
    seen: u64,
}

impl<'b> Properties<'b> {
    /// The section at the front of some fields: its length, and so many bytes.
    pub(super) fn take(fields: &mut Fields<'b>, place: Place) -> Result<Self, Fault> {
        let length = fields.variable()?;
        Ok(Self::new(fields.take(length as usize)?, place))
    }

    fn new(section: &'b [u8], place: Place) -> Self {
        Self { rest: Fields::new(section), place, seen: 0 }
    }

    /// What has not been walked over yet.
    pub(super) fn raw(&self) -> &'b [u8] {
        self.rest.rest()
    }

    /// Walks to the end: nothing in there changes anything, but all of it has to be right.
    pub(super) fn check(mut self) -> Result<(), Fault> {
        self.try_for_each(|property| property.map(drop))
    }

    fn property(&mut self) -> Result<Property<'b>, Fault> {
        let before = self.raw();
        let id = self.rest.byte()?;
        let Some((kind, places)) = rule(id) else { return Err(Fault::Malformed("unknown property")) };
        if !places.contains(&self.place) {
            return Err(Fault::Malformed("a property of other packets")); // §2.2.2.2
        }
        if id != USER_PROPERTY && self.seen & 1 << id != 0 {
            return Err(Fault::Protocol("a property twice"));
        }
        self.seen |= 1 << id;
        let number = self.value(id, kind)?;
        let length = before.len() - self.raw().len();
        Ok(Property { id, number, raw: &before[..length] })
    }

    fn value(&mut self, id: u8, kind: Kind) -> Result<u32, Fault> {
        let number = match kind {
            Kind::Byte => u32::from(self.rest.byte()?),
            Kind::Short => u32::from(self.rest.short()?),
            Kind::Long => self.rest.long()?,
            Kind::Variable => self.rest.variable()?,
            Kind::Binary => {
                self.rest.binary()?;
                0
            }
            Kind::Text => {
                let text = self.rest.text()?;
                if id == RESPONSE_TOPIC && !topic::is_name(text) {
                    return Err(Fault::Protocol("response topic is empty or has a wildcard")); // [MQTT-3.3.2-14]
                }
                0
            }
            Kind::Pair => {
                self.rest.text()?;
                self.rest.text()?;
                0
            }
        };
        match (id, number) {
            // §3.3.2.3.2, §3.1.2.11.6, §3.1.2.11.7
            (PAYLOAD_FORMAT | PROBLEM_INFO | RESPONSE_INFO, 2..) => {
                Err(Fault::Protocol("a property that is 0 or 1 has another value"))
            }
            (RECEIVE_MAX | PACKET_MAX, 0) => Err(Fault::Protocol("a maximum of 0")), // §3.1.2.11.3, §3.1.2.11.4
            (ALIAS, 0) => Err(Fault::TopicAlias),                                    // [MQTT-3.3.2-8]
            (SUBSCRIPTION_ID, 0) => Err(Fault::Protocol("subscription identifier 0")), // §3.8.2.1.2
            // [MQTT-3.3.4-6]
            (SUBSCRIPTION_ID, _) if self.place == Place::Publish => {
                Err(Fault::Protocol("a subscription identifier from a client"))
            }
            _ => Ok(number),
        }
    }
}

impl<'b> Iterator for Properties<'b> {
    type Item = Result<Property<'b>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let property = self.property();
        if property.is_err() {
            self.rest = Fields::new(&[]);
        }
        Some(property)
    }
}

/// The properties of a checked section that are handed on with the message, in their order (§3.3.2.3): those that speak
/// of the message, not of this one packet or the time it has.
pub(super) fn forwarded(section: &[u8], place: Place) -> Box<[u8]> {
    let mut kept = Vec::with_capacity(section.len());
    for property in Properties::new(section, place).map_while(Result::ok) {
        if !matches!(property.id, ALIAS | MESSAGE_EXPIRY | WILL_DELAY) {
            kept.extend_from_slice(property.raw);
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One good property of each id, and the places where it may stand (Table 2-4; S what only a server sends).
    const TABLE: [(&[u8], &str); 27] = [
        (&[0x01, 1], "WP"),
        (&[0x02, 0, 0, 0, 9], "WP"),
        (&[0x03, 0, 1, b'c'], "WP"),
        (&[0x08, 0, 1, b't'], "WP"),
        (&[0x09, 0, 2, 0, 0xFF], "WP"),
        (&[0x0B, 1], "S"),
        (&[0x11, 0, 0, 0, 9], "CD"),
        (&[0x12, 0, 1, b'i'], ""),
        (&[0x13, 0, 9], ""),
        (&[0x15, 0, 1, b'm'], "C"),
        (&[0x16, 0, 1, 0xFF], "C"),
        (&[0x17, 1], "C"),
        (&[0x18, 0, 0, 0, 9], "W"),
        (&[0x19, 1], "C"),
        (&[0x1A, 0, 1, b'r'], ""),
        (&[0x1C, 0, 1, b's'], "D"),
        (&[0x1F, 0, 1, b'r'], "AD"),
        (&[0x21, 0, 9], "C"),
        (&[0x22, 0, 9], "C"),
        (&[0x23, 0, 9], "P"),
        (&[0x24, 1], ""),
        (&[0x25, 1], ""),
        (&[0x26, 0, 1, b'k', 0, 1, b'v'], "CWPASUD"),
        (&[0x27, 0, 0, 0, 9], "C"),
        (&[0x28, 1], ""),
        (&[0x29, 1], ""),
        (&[0x2A, 1], ""),
    ];
    const PLACES: [(char, Place); 7] = [
        ('C', Place::Connect),
        ('W', Place::Will),
        ('P', Place::Publish),
        ('A', Place::Answer),
        ('S', Place::Subscribe),
        ('U', Place::Unsubscribe),
        ('D', Place::Disconnect),
    ];

    #[test]
    fn a_property_stands_where_it_may_and_once() {
        for (bytes, places) in TABLE {
            for (letter, place) in PLACES {
                let good = Properties::new(bytes, place).check();
                assert_eq!(good.is_ok(), places.contains(letter), "{bytes:x?} {place:?}");
                if good.is_err() {
                    continue;
                }
                let twice = Properties::new(&[bytes, bytes].concat(), place).check();
                let expected =
                    if bytes[0] == 0x26 { Ok(()) } else { Err(Fault::Protocol("a property twice")) };
                assert_eq!(twice, expected, "{bytes:x?} {place:?}");
                for end in 1..bytes.len() {
                    let short = Properties::new(&bytes[..end], place).check();
                    assert!(matches!(short, Err(Fault::Malformed(_))), "{:x?} {place:?}", &bytes[..end]);
                }
            }
        }
    }

    #[test]
    fn ids_that_are_none_are_refused() {
        let known = |id| TABLE.iter().any(|(bytes, _)| bytes[0] == id);
        for id in (0..=u8::MAX).filter(|id| !known(*id)) {
            for (_, place) in PLACES {
                let section = [id, 0, 0, 0, 0];
                assert_eq!(
                    Properties::new(&section, place).check(),
                    Err(Fault::Malformed("unknown property")),
                    "{id:x}"
                );
            }
        }
    }

    #[test]
    fn values_have_their_bounds() {
        for (bytes, place, fault) in [
            (&[0x01, 2][..], Place::Publish, Fault::Protocol("a property that is 0 or 1 has another value")),
            (&[0x01, 2], Place::Will, Fault::Protocol("a property that is 0 or 1 has another value")),
            (&[0x17, 2], Place::Connect, Fault::Protocol("a property that is 0 or 1 has another value")),
            (&[0x19, 0xFF], Place::Connect, Fault::Protocol("a property that is 0 or 1 has another value")),
            (&[0x21, 0, 0], Place::Connect, Fault::Protocol("a maximum of 0")),
            (&[0x27, 0, 0, 0, 0], Place::Connect, Fault::Protocol("a maximum of 0")),
            (&[0x23, 0, 0], Place::Publish, Fault::TopicAlias),
            (&[0x0B, 0], Place::Subscribe, Fault::Protocol("subscription identifier 0")),
            (&[0x0B, 1], Place::Publish, Fault::Protocol("a subscription identifier from a client")),
            (
                &[0x0B, 0x81, 0],
                Place::Subscribe,
                Fault::Malformed("a variable byte integer longer than it has to be"),
            ),
            (
                &[0x0B, 0x80, 0x80, 0x80, 0x80, 1],
                Place::Subscribe,
                Fault::Malformed("a length of more than four bytes"),
            ),
            (
                &[0x08, 0, 3, b'a', b'/', b'+'],
                Place::Publish,
                Fault::Protocol("response topic is empty or has a wildcard"),
            ),
            (&[0x08, 0, 0], Place::Will, Fault::Protocol("response topic is empty or has a wildcard")),
            (&[0x03, 0, 1, 0], Place::Publish, Fault::Malformed("U+0000 in a text")),
            (&[0x03, 0, 1, 0xFF], Place::Publish, Fault::Malformed("a text that is not utf-8")),
            (&[0x26, 0, 1, b'k', 0, 1, 0xFF], Place::Publish, Fault::Malformed("a text that is not utf-8")),
        ] {
            assert_eq!(Properties::new(bytes, place).check(), Err(fault), "{bytes:x?} {place:?}");
        }
        let section = Properties::take(&mut Fields::new(&[3, 0x01, 1]), Place::Publish);
        assert_eq!(section.err(), Some(Fault::Malformed("it ends within a field")), "shorter than it says");
    }

    #[test]
    fn what_speaks_of_the_message_is_handed_on_in_order() {
        let section = b"\x26\0\x01b\0\x012\x02\0\0\0\x09\x01\x01\x23\0\x07\x26\0\x01a\0\x011\x09\0\x01x";
        let expected = b"\x26\0\x01b\0\x012\x01\x01\x26\0\x01a\0\x011\x09\0\x01x";
        assert_eq!(*forwarded(section, Place::Publish), expected[..]);
        assert_eq!(*forwarded(b"\x18\0\0\0\x09\x03\0\x01c", Place::Will), b"\x03\0\x01c"[..]);
        assert!(forwarded(&[], Place::Publish).is_empty());
    }
}
