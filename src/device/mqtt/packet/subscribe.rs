//! SUBSCRIBE and UNSUBSCRIBE of a client (§3.8, §3.10). Whether a filter is one is not asked here: that has a reason code.

use super::fields::Fields;
use super::properties::{Place, Properties, SUBSCRIPTION_ID};
use super::{Fault, Level, Packet};
use crate::store::sessions::Options;

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::device::mqtt) struct Wish {
    /// A text, unchecked.
    pub filter: String,
    /// Checked.
    pub options: Options,
}

/// SUBSCRIBE.
pub(super) fn subscribe<'b>(body: &[u8], level: Level) -> Result<Packet<'b>, Fault> {
    let mut fields = Fields::new(body);
    let pkid = fields.pkid()?;
    let mut identifier = None;
    if level == Level::V5 {
        for property in Properties::take(&mut fields, Place::Subscribe)? {
            let property = property?;
            if property.id == SUBSCRIPTION_ID {
                identifier = Some(property.number);
            }
        }
    }
    let mut wishes = Vec::new();
    while !fields.is_empty() {
        let filter = fields.text()?;
        let options = options(fields.byte()?, level)?;
        // [MQTT-3.8.3-4]
        if options.no_local && filter.starts_with("$share/") {
            return Err(Fault::Protocol("no-local on a shared subscription"));
        }
        wishes.push(Wish { filter: filter.to_owned(), options });
    }
    if wishes.is_empty() {
        return Err(Fault::Protocol("SUBSCRIBE without a filter")); // [MQTT-3.8.3-2], 3.1.1 [MQTT-3.8.3-3]
    }
    Ok(Packet::Subscribe { pkid, identifier, wishes })
}

/// Subscription options (§3.8.3.1); of 3.1.1 only the QoS ([MQTT-3.8.3-4] there).
fn options(byte: u8, level: Level) -> Result<Options, Fault> {
    let (qos, retain_handling) = (byte & 3, byte >> 4 & 3);
    match level {
        Level::V4 if byte > 2 => Err(Fault::Malformed("requested QoS")),
        Level::V5 if byte & 0xC0 != 0 => Err(Fault::Malformed("subscription options")), // [MQTT-3.8.3-5]
        Level::V5 if qos == 3 => Err(Fault::Protocol("subscription with QoS 3")),
        Level::V5 if retain_handling == 3 => Err(Fault::Protocol("retain handling 3")),
        _ => {
            Ok(Options { qos, no_local: byte & 4 != 0, retain_as_published: byte & 8 != 0, retain_handling })
        }
    }
}

/// UNSUBSCRIBE.
pub(super) fn unsubscribe<'b>(body: &[u8], level: Level) -> Result<Packet<'b>, Fault> {
    let mut fields = Fields::new(body);
    let pkid = fields.pkid()?;
    if level == Level::V5 {
        Properties::take(&mut fields, Place::Unsubscribe)?.check()?;
    }
    let mut filters = Vec::new();
    while !fields.is_empty() {
        filters.push(fields.text()?.to_owned());
    }
    if filters.is_empty() {
        return Err(Fault::Protocol("UNSUBSCRIBE without a filter")); // [MQTT-3.10.3-2]
    }
    Ok(Packet::Unsubscribe { pkid, filters })
}

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::*;

    const V4: Level = Level::V4;
    const V5: Level = Level::V5;
    const SHORT: Fault = Fault::Malformed("it ends within a field");

    fn decode(first: u8, body: &[u8], level: Level) -> Result<Packet<'static>, Fault> {
        let bytes = [&[first, body.len() as u8], body].concat();
        let frame = Frame::cut(&bytes, 256).expect("well framed").expect("complete");
        match frame.decode(level)? {
            Packet::Subscribe { pkid, identifier, wishes } => {
                Ok(Packet::Subscribe { pkid, identifier, wishes })
            }
            Packet::Unsubscribe { pkid, filters } => Ok(Packet::Unsubscribe { pkid, filters }),
            other => panic!("{other:?}"),
        }
    }

    fn wish(filter: &str, byte: u8) -> Wish {
        let (qos, retain_handling) = (byte & 3, byte >> 4);
        let options =
            Options { qos, no_local: byte & 4 != 0, retain_as_published: byte & 8 != 0, retain_handling };
        Wish { filter: filter.to_owned(), options }
    }

    #[test]
    fn subscribe_has_filters_with_options() {
        for (body, level, identifier, wishes) in [
            (&b"\0\x07\0\x01a\x02"[..], V4, None, vec![wish("a", 2)]),
            (b"\0\x07\0\x01a\x01\0\x03+/#\0", V4, None, vec![wish("a", 1), wish("+/#", 0)]),
            (b"\0\x07\0\0\0", V4, None, vec![wish("", 0)]),
            (b"\0\x07\0\0\x01a\x2E", V5, None, vec![wish("a", 0x2E)]),
            (b"\0\x07\x02\x0B\x01\0\x01a\x10", V5, Some(1), vec![wish("a", 0x10)]),
            (b"\0\x07\x05\x0B\xFF\xFF\xFF\x7F\0\x01a\0", V5, Some(268_435_455), vec![wish("a", 0)]),
            (b"\0\x07\0\0\x0a$share/g/a\x09", V5, None, vec![wish("$share/g/a", 9)]),
            (b"\0\x07\0\0\x06$share\x04", V5, None, vec![wish("$share", 4)]),
        ] {
            let expected = Ok(Packet::Subscribe { pkid: 7, identifier, wishes });
            assert_eq!(decode(0x82, body, level), expected, "{body:x?}");
        }
    }

    #[test]
    fn wrong_subscribes_are_told() {
        for (body, level, fault) in [
            (&b"\0\x07"[..], V4, Fault::Protocol("SUBSCRIBE without a filter")),
            (b"\0\x07\0", V5, Fault::Protocol("SUBSCRIBE without a filter")),
            (b"\0\x07", V5, SHORT),
            (b"\0", V4, SHORT),
            (b"\0\0\0\x01a\0", V4, Fault::Malformed("packet id 0")),
            (b"\0\x07\0\x01a", V4, SHORT),
            (b"\0\x07\0\x04a\0\0", V4, SHORT),
            (b"\0\x07\0\x01a\0\0", V4, SHORT),
            (b"\0\x07\0\x01\0\0", V4, Fault::Malformed("U+0000 in a text")),
            (b"\0\x07\0\x01\xFF\0", V4, Fault::Malformed("a text that is not utf-8")),
            (b"\0\x07\0\x01a\x03", V4, Fault::Malformed("requested QoS")),
            (b"\0\x07\0\x01a\x04", V4, Fault::Malformed("requested QoS")),
            (b"\0\x07\0\x01a\x80", V4, Fault::Malformed("requested QoS")),
            (b"\0\x07\0\0\x01a\x03", V5, Fault::Protocol("subscription with QoS 3")),
            (b"\0\x07\0\0\x01a\x30", V5, Fault::Protocol("retain handling 3")),
            (b"\0\x07\0\0\x01a\x40", V5, Fault::Malformed("subscription options")),
            (b"\0\x07\0\0\x01a\x80", V5, Fault::Malformed("subscription options")),
            (b"\0\x07\0\0\x0a$share/g/a\x04", V5, Fault::Protocol("no-local on a shared subscription")),
            (b"\0\x07\x02\x0B\0\0\x01a\0", V5, Fault::Protocol("subscription identifier 0")),
            (b"\0\x07\x04\x0B\x01\x0B\x02\0\x01a\0", V5, Fault::Protocol("a property twice")),
            (b"\0\x07\x02\x01\x01\0\x01a\0", V5, Fault::Malformed("a property of other packets")),
        ] {
            assert_eq!(decode(0x82, body, level), Err(fault), "{body:x?}");
        }
    }

    #[test]
    fn unsubscribe_has_filters() {
        let gone = |filters: &[&str]| {
            Ok(Packet::Unsubscribe {
                pkid: 7,
                filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
            })
        };
        for (body, level, expected) in [
            (&b"\0\x07\0\x01a\0\x01b"[..], V4, gone(&["a", "b"])),
            (b"\0\x07\0\0\x01a", V5, gone(&["a"])),
            (b"\0\x07\x07\x26\0\x01k\0\x01v\0\x01a", V5, gone(&["a"])),
            (b"\0\x07", V4, Err(Fault::Protocol("UNSUBSCRIBE without a filter"))),
            (b"\0\x07\0", V5, Err(Fault::Protocol("UNSUBSCRIBE without a filter"))),
            (b"\0\0\0\x01a", V4, Err(Fault::Malformed("packet id 0"))),
            (b"\0\x07\0\x02a", V4, Err(SHORT)),
            (b"\0\x07\0\x01a\0", V4, Err(SHORT)),
            (b"\0\x07\0\x01\0", V4, Err(Fault::Malformed("U+0000 in a text"))),
            (b"\0\x07\x02\x0B\x01\0\x01a", V5, Err(Fault::Malformed("a property of other packets"))),
        ] {
            assert_eq!(decode(0xA2, body, level), expected, "{body:x?}");
        }
    }
}
