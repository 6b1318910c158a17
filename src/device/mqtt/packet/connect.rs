//! CONNECT (§3.1): who knocks, and what it asks for.

use super::super::topic;
use super::fields::Fields;
use super::properties::{
    self, ALIAS_MAX, AUTH_DATA, AUTH_METHOD, MESSAGE_EXPIRY, PACKET_MAX, PROBLEM_INFO, Place, Properties,
    RECEIVE_MAX, SESSION_EXPIRY, WILL_DELAY,
};
use super::{Fault, Level};
use crate::store::sessions::Message;

/// A client that knocks. It has no `Debug`: there is a password in it.
#[derive(Clone, PartialEq)]
pub(in crate::device::mqtt) struct Connect {
    pub level: Level,
    /// May be empty.
    pub client_id: String,
    /// Clean session of 3.1.1, clean start of 5.0.
    pub clean: bool,
    /// Seconds; 0 is for ever.
    pub keep_alive: u16,
    pub will: Option<Will>,
    /// User name and password; what is left out of them is empty. What of a password is not UTF-8 is replaced by U+FFFD.
    pub login: Option<(String, String)>,
    /// Unacknowledged deliveries it takes, not 0.
    pub receive_max: u16,
    /// Longest packet it takes, bytes, not 0.
    pub packet_max: usize,
    /// For how long its session is kept after it has left, seconds; `u32::MAX` is for ever.
    pub expiry_s: u32,
    /// Highest topic alias it takes.
    pub alias_max: u16,
    /// Whether it wants reason strings and user properties in all packets.
    pub problem_info: bool,
    /// It wants 5.0's enhanced authentication, which is not offered.
    pub enhanced_auth: bool,
}

/// What is published when a client is lost.
#[derive(Clone, PartialEq)]
pub(in crate::device::mqtt) struct Will {
    /// Without an expiry.
    pub message: Message,
    /// For how long it is worth something once it is published, seconds.
    pub expiry_s: Option<u32>,
    /// How long the client may be gone before, seconds.
    pub delay_s: u32,
}

/// Connect flags (§3.1.2.3).
const RESERVED: u8 = 0x01;
const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS: u8 = 0x18;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

impl Connect {
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut fields = Fields::new(body);
        let name = fields.binary()?;
        let level = match (name, fields.byte()?) {
            (b"MQTT", 4) => Level::V4,
            (b"MQTT", 5) => Level::V5,
            (b"MQTT" | b"MQIsdp", other) => return Err(Fault::Level(other)), // [MQTT-3.1.2-2]
            _ => return Err(Fault::Malformed("protocol name")),              // [MQTT-3.1.2-1]
        };
        let flags = fields.byte()?;
        checked(flags, level)?;
        let mut connect = Self {
            level,
            client_id: String::new(),
            clean: flags & CLEAN != 0,
            keep_alive: fields.short()?,
            will: None,
            login: None,
            receive_max: u16::MAX,
            packet_max: usize::MAX,
            expiry_s: if level == Level::V5 || flags & CLEAN != 0 { 0 } else { u32::MAX },
            alias_max: 0,
            problem_info: true,
            enhanced_auth: false,
        };
        if level == Level::V5 {
            connect.ask(Properties::take(&mut fields, Place::Connect)?)?;
        }
        connect.client_id = fields.text()?.to_owned();
        if flags & WILL != 0 {
            connect.will = Some(will(&mut fields, flags, level)?);
        }
        let user = if flags & USER_NAME == 0 { "" } else { fields.text()? };
        let password = if flags & PASSWORD == 0 { &[] } else { fields.binary()? };
        if flags & (USER_NAME | PASSWORD) != 0 {
            connect.login = Some((user.to_owned(), String::from_utf8_lossy(password).into_owned()));
        }
        fields.end()?;
        Ok(connect)
    }

    /// Takes in what the properties ask for (§3.1.2.11).
    fn ask(&mut self, properties: Properties<'_>) -> Result<(), Fault> {
        let mut auth_data = false;
        for property in properties {
            let property = property?;
            let (short, long) = (property.number as u16, property.number);
            match property.id {
                SESSION_EXPIRY => self.expiry_s = long,
                RECEIVE_MAX => self.receive_max = short,
                PACKET_MAX => self.packet_max = usize::try_from(long).unwrap_or(usize::MAX),
                ALIAS_MAX => self.alias_max = short,
                PROBLEM_INFO => self.problem_info = long == 1,
                AUTH_METHOD => self.enhanced_auth = true,
                AUTH_DATA => auth_data = true,
                _ => {}
            }
        }
        // §3.1.2.11.10
        if auth_data && !self.enhanced_auth {
            return Err(Fault::Protocol("authentication data without a method"));
        }
        Ok(())
    }
}

fn checked(flags: u8, level: Level) -> Result<(), Fault> {
    let wrong = if flags & RESERVED != 0 {
        "reserved connect flag" // [MQTT-3.1.2-3]
    } else if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        "QoS or retain of no will" // [MQTT-3.1.2-11], [MQTT-3.1.2-13]; 3.1.1 [MQTT-3.1.2-15]
    } else if flags & WILL_QOS == WILL_QOS {
        "will with QoS 3" // [MQTT-3.1.2-12]
    } else if level == Level::V4 && flags & (USER_NAME | PASSWORD) == PASSWORD {
        "a password without a user name" // 3.1.1 [MQTT-3.1.2-22]
    } else {
        return Ok(());
    };
    Err(Fault::Malformed(wrong))
}

/// The will (§3.1.3.2 to §3.1.3.4).
fn will(fields: &mut Fields<'_>, flags: u8, level: Level) -> Result<Will, Fault> {
    let (mut expiry_s, mut delay_s, mut handed_on) = (None, 0, Box::default());
    if level == Level::V5 {
        let properties = Properties::take(fields, Place::Will)?;
        let section = properties.raw();
        for property in properties {
            let property = property?;
            match property.id {
                MESSAGE_EXPIRY => expiry_s = Some(property.number),
                WILL_DELAY => delay_s = property.number,
                _ => {}
            }
        }
        handed_on = properties::forwarded(section, Place::Will);
    }
    let topic = fields.text()?;
    if !topic::is_name(topic) {
        return Err(Fault::TopicName);
    }
    let message = Message {
        topic: topic.into(),
        payload: fields.binary()?.into(),
        qos: (flags & WILL_QOS) >> 3,
        retain: flags & WILL_RETAIN != 0,
        properties: handed_on,
        expires_ms: None,
    };
    Ok(Will { message, expiry_s, delay_s })
}

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::*;

    const SHORT: Fault = Fault::Malformed("it ends within a field");

    fn read(body: &[u8]) -> Result<Connect, Fault> {
        let bytes = [&[0x10, body.len() as u8], body].concat();
        Frame::cut(&bytes, 256).expect("well framed").expect("complete").connect()
    }

    /// A 3.1.1 CONNECT of client x.
    fn four(flags: u8, tail: &[u8]) -> Result<Connect, Fault> {
        read(&[b"\0\x04MQTT\x04", &[flags][..], b"\0\x3c\0\x01x", tail].concat())
    }

    /// A 5.0 CONNECT of client x.
    fn five(flags: u8, properties: &[u8], tail: &[u8]) -> Result<Connect, Fault> {
        let head = [flags, 0, 60, properties.len() as u8];
        read(&[b"\0\x04MQTT\x05", &head[..], properties, b"\0\x01x", tail].concat())
    }

    fn told(result: Result<Connect, Fault>) -> Option<Fault> {
        result.err()
    }

    #[test]
    fn flags_and_fields_have_to_fit() {
        let (plain, malformed) = (None, Fault::Malformed);
        for (flags, tail, four_says, five_says) in [
            (0x02, &[][..], plain, plain),
            (0x00, &[], plain, plain),
            (0x03, &[], Some(malformed("reserved connect flag")), Some(malformed("reserved connect flag"))),
            (0x42, b"\0\x01p", Some(malformed("a password without a user name")), plain),
            (0x82, b"\0\x01u", plain, plain),
            (0xC2, b"\0\x01u\0\x01p", plain, plain),
            (0xC2, b"\0\x01u\0\x02\0\xFF", plain, plain),
            (0xC2, b"\0\x01u", Some(SHORT), Some(SHORT)),
            (0x82, b"\0\x01\0", Some(malformed("U+0000 in a text")), Some(malformed("U+0000 in a text"))),
            (
                0x82,
                b"\0\x01\xFF",
                Some(malformed("a text that is not utf-8")),
                Some(malformed("a text that is not utf-8")),
            ),
            (
                0x0A,
                &[],
                Some(malformed("QoS or retain of no will")),
                Some(malformed("QoS or retain of no will")),
            ),
            (
                0x22,
                &[],
                Some(malformed("QoS or retain of no will")),
                Some(malformed("QoS or retain of no will")),
            ),
            (0x1E, b"\0\x01t\0\x01m", Some(malformed("will with QoS 3")), Some(malformed("will with QoS 3"))),
            (
                0x02,
                &[0],
                Some(malformed("bytes behind its last field")),
                Some(malformed("bytes behind its last field")),
            ),
        ] {
            assert_eq!(told(four(flags, tail)), four_says, "{flags:x} {tail:x?}");
            assert_eq!(told(five(flags, &[], tail)), five_says, "{flags:x} {tail:x?}");
        }
        for (tail, fault) in [
            (&b"\0\x01t\0\x01m"[..], None),
            (b"\0\x01t\0\0", None),
            (b"\0\0\0\x01m", Some(Fault::TopicName)),
            (b"\0\x01#\0\x01m", Some(Fault::TopicName)),
            (b"\0\x01\0\0\x01m", Some(malformed("U+0000 in a text"))),
            (b"\0\x01\xFF\0\x01m", Some(malformed("a text that is not utf-8"))),
            (b"\0\x09t", Some(SHORT)),
            (b"\0\x01t", Some(SHORT)),
        ] {
            assert_eq!(told(four(0x06, tail)), fault, "{tail:x?}");
            assert_eq!(told(five(0x06, &[], &[&[0], tail].concat())), fault, "{tail:x?}");
        }
    }

    #[test]
    fn other_protocols_are_told_apart() {
        for (body, fault) in [
            (&b"\0\x04MQTT\x03\x02\0\x3c\0\x01x"[..], Fault::Level(3)),
            (b"\0\x04MQTT\x06\x02\0\x3c\0\0\x01x", Fault::Level(6)),
            (b"\0\x04MQTT\x84\x02\0\x3c\0\x01x", Fault::Level(0x84)),
            (b"\0\x06MQIsdp\x03\x02\0\x3c\0\x01x", Fault::Level(3)),
            (b"\0\x04mqtt\x04\x02\0\x3c\0\x01x", Fault::Malformed("protocol name")),
            (b"\0\x04AMQP\0", Fault::Malformed("protocol name")),
            (b"\0\x04MQTT", SHORT),
            (b"\0\x04MQTT\x04\x02\0", SHORT),
            (b"\0\x04MQTT\x04\x02\0\x3c", SHORT),
            (b"\0\x04MQTT\x05\x02\0\x3c\0", SHORT),
            (b"", SHORT),
            (b"\0\x04MQTT\x04\x02\0\x3c\0\x01\0", Fault::Malformed("U+0000 in a text")),
        ] {
            assert_eq!(told(read(body)), Some(fault), "{body:x?}");
        }
    }

    #[test]
    fn version_4_says_what_it_wants() {
        let read = four(0x36, b"\0\x01t\0\x01m").expect("a CONNECT");
        assert_eq!((read.client_id.as_str(), read.clean, read.keep_alive), ("x", true, 60));
        assert_eq!((read.receive_max, read.packet_max, read.alias_max), (u16::MAX, usize::MAX, 0));
        assert_eq!((read.expiry_s, read.enhanced_auth, read.login), (0, false, None));
        let will = read.will.expect("a will");
        assert_eq!((&*will.message.topic, &*will.message.payload), ("t", &b"m"[..]));
        assert_eq!((will.message.qos, will.message.retain, will.message.properties.len()), (2, true, 0));
        assert_eq!((will.expiry_s, will.delay_s), (None, 0));
        assert_eq!(four(0, &[]).expect("a CONNECT").expiry_s, u32::MAX, "a session that is kept");
    }

    #[test]
    fn version_5_says_what_it_wants() {
        let asked = b"\x11\0\0\x01\0\x21\0\x05\x27\0\0\x10\0\x22\0\x0a\x17\0\x19\x01\x26\0\x01k\0\x01v\x15\0\x01m\x16\0\x01d";
        let will = b"\x10\x18\0\0\0\x09\x02\0\0\0\x08\x26\0\x01k\0\0";
        let tail = [&will[..], b"\0\x01t\0\x01m\0\x01u\0\x01p"].concat();
        let read = five(0xCC, asked, &tail).expect("a CONNECT");
        assert_eq!((read.expiry_s, read.receive_max, read.packet_max), (256, 5, 4096));
        assert_eq!((read.alias_max, read.problem_info, read.enhanced_auth), (10, false, true));
        assert_eq!((read.clean, read.login), (false, Some(("u".to_owned(), "p".to_owned()))));
        let will = read.will.expect("a will");
        assert_eq!((will.expiry_s, will.delay_s, will.message.qos), (Some(8), 9, 1));
        assert_eq!(*will.message.properties, b"\x26\0\x01k\0\0"[..]);
        assert_eq!(will.message.expires_ms, None);

        let read = five(0x40, &[], b"\0\x01p").expect("a CONNECT");
        assert_eq!((read.expiry_s, read.problem_info), (0, true));
        assert_eq!(read.login, Some((String::new(), "p".to_owned())));
    }

    #[test]
    fn wrong_properties_are_told() {
        for (properties, fault) in [
            (&b"\x21\0\0"[..], Fault::Protocol("a maximum of 0")),
            (b"\x27\0\0\0\0", Fault::Protocol("a maximum of 0")),
            (b"\x22\0\0\x22\0\0", Fault::Protocol("a property twice")),
            (b"\x16\0\x01d", Fault::Protocol("authentication data without a method")),
            (b"\x17\x02", Fault::Protocol("a property that is 0 or 1 has another value")),
            (b"\x18\0\0\0\x01", Fault::Malformed("a property of other packets")),
            (b"\x12\0\x01i", Fault::Malformed("unknown property")),
            (b"\x11\0\0\0", SHORT),
        ] {
            assert_eq!(told(five(0x02, properties, &[])), Some(fault), "{properties:x?}");
        }
        for (will, fault) in [
            (&b"\x05\x11\0\0\0\x01\0\x01t\0\0"[..], Fault::Malformed("a property of other packets")),
            (b"\x02\x01\x02\0\x01t\0\0", Fault::Protocol("a property that is 0 or 1 has another value")),
            (b"\x04\x08\0\x01#\0\x01t\0\0", Fault::Protocol("response topic is empty or has a wildcard")),
            (b"\x80\0\0\x01t\0\0", Fault::Malformed("a variable byte integer longer than it has to be")),
        ] {
            assert_eq!(told(five(0x06, &[], will)), Some(fault), "{will:x?}");
        }
    }
}
