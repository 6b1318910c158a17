//! The frame of a packet (§2.1): where it ends, and of what type it is.

use super::connect::Connect;
use super::fields::{Fields, variable};
use super::{Fault, Level, Packet, Publish, answer, subscribe};

/// The bytes of one packet.
#[derive(Clone, Copy, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::device::mqtt) struct Frame<'b> {
    first: u8,
    body: &'b [u8],
    /// Of the whole packet.
    len: usize,
}

impl<'b> Frame<'b> {
    /// First byte of a CONNECT.
    pub(in crate::device::mqtt) const CONNECT: u8 = 0x10;

    /// The first packet of `bytes`; none while it is not complete.
    pub(in crate::device::mqtt) fn cut(
        bytes: &'b [u8],
        packet_bytes_max: usize,
    ) -> Result<Option<Self>, Fault> {
        let [first, rest @ ..] = bytes else { return Ok(None) };
        let Some((length, header)) = variable(rest)? else { return Ok(None) };
        let len = 1 + header + length as usize;
        if len > packet_bytes_max {
            return Err(Fault::TooLong(len));
        }
        Ok(bytes.get(1 + header..len).map(|body| Frame { first: *first, body, len }))
    }

    /// Whether it is a PUBLISH.
    pub(in crate::device::mqtt) fn is_publish(&self) -> bool {
        self.first >> 4 == 3
    }

    /// Bytes of the packet.
    pub(in crate::device::mqtt) fn len(&self) -> usize {
        self.len
    }

    /// The first packet of a connection.
    pub(in crate::device::mqtt) fn connect(&self) -> Result<Connect, Fault> {
        if self.first != Self::CONNECT {
            return Err(Fault::Protocol("the first packet is no CONNECT")); // [MQTT-3.1.0-1]
        }
        let connect = Connect::read(self.body)?;
        self.has_shortest_length(connect.level)?;
        Ok(connect)
    }

    /// Any later packet.
    pub(in crate::device::mqtt) fn decode(&self, level: Level) -> Result<Packet<'b>, Fault> {
        self.has_shortest_length(level)?;
        let (kind, flags) = (self.first >> 4, self.first & 0x0F);
        if kind == 3 {
            return Publish::read(flags, self.body, level).map(Packet::Publish);
        }
        // [MQTT-2.1.3-1], 3.1.1 [MQTT-2.2.2-2]
        if flags != if matches!(kind, 6 | 8 | 10) { 2 } else { 0 } {
            return Err(Fault::Malformed("flags"));
        }
        match (kind, level) {
            (1, _) => Err(Fault::Protocol("a second CONNECT")), // [MQTT-3.1.0-2]
            (4..=7, _) => answer::acknowledgement(kind, self.body, level),
            (8, _) => subscribe::subscribe(self.body, level),
            (10, _) => subscribe::unsubscribe(self.body, level),
            (12, _) => Fields::new(self.body).end().map(|()| Packet::PingReq),
            (14, _) => answer::disconnect(self.body, level),
            (2 | 9 | 11 | 13, _) => Err(Fault::Protocol("a packet that only a server sends")),
            // [MQTT-4.12.0-7]
            (15, Level::V5) => Err(Fault::Protocol("AUTH: no authentication method is offered")),
            _ => Err(Fault::Malformed("packet type")), // §2.1.2
        }
    }

    /// 5.0 forbids leading zeros in the length of a packet ([MQTT-1.5.5-1]); 3.1.1 §2.2.3 does not.
    fn has_shortest_length(&self, level: Level) -> Result<(), Fault> {
        let header = self.len - self.body.len();
        if level == Level::V5 && header > 2 && self.body.len() >> (7 * (header - 2)) == 0 {
            return Err(Fault::Malformed("a length longer than it has to be"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(Frame::cut(&[0x30, 62], 64), Ok(None), "it fits");
        assert_eq!(Frame::cut(&[0x30, 63], 64), Err(Fault::TooLong(65)), "before its bytes are there");
        assert_eq!(Frame::cut(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 64), Err(Fault::TooLong(268_435_460)));
        assert_eq!(Frame::cut(&[0x30, 0x80, 0x80, 0x80], 64), Ok(None));
        let long = Frame::cut(&[0x30, 0x80, 0x80, 0x80, 0x80], 64);
        assert_eq!(long, Err(Fault::Malformed("a length of more than four bytes")));
    }

    #[test]
    fn a_length_with_leading_zeros_is_one_of_version_4_only() {
        for bytes in [&[0xC0, 0x80, 0][..], &[0xC0, 0x80, 0x80, 0], &[0xC0, 0x80, 0x80, 0x80, 0]] {
            assert_eq!(cut(bytes).decode(Level::V4), Ok(Packet::PingReq), "{bytes:x?}");
            let fault = Fault::Malformed("a length longer than it has to be");
            assert_eq!(cut(bytes).decode(Level::V5), Err(fault), "{bytes:x?}");
        }
        let short = [&[0x30, 0x80, 1, 0, 1, b'a', 0][..], &[b'x'; 124]].concat();
        assert!(cut(&short).decode(Level::V5).is_ok(), "128 takes two bytes");
        let hello = b"\x10\x8D\0\0\x04MQTT\x05\x02\0\x3c\0\0\0";
        assert_eq!(cut(hello).connect().err(), Some(Fault::Malformed("a length longer than it has to be")));
    }

    #[test]
    fn every_type_has_its_flags_and_its_sender() {
        let server = Fault::Protocol("a packet that only a server sends");
        for (kind, flags, level, expected) in [
            (0, 0, Level::V4, Some(Fault::Malformed("packet type"))),
            (0, 0, Level::V5, Some(Fault::Malformed("packet type"))),
            (1, 0, Level::V4, Some(Fault::Protocol("a second CONNECT"))),
            (2, 0, Level::V4, Some(server)),
            (9, 0, Level::V5, Some(server)),
            (11, 0, Level::V4, Some(server)),
            (12, 0, Level::V5, None),
            (13, 0, Level::V5, Some(server)),
            (14, 0, Level::V4, None),
            (15, 0, Level::V4, Some(Fault::Malformed("packet type"))),
            (15, 0, Level::V5, Some(Fault::Protocol("AUTH: no authentication method is offered"))),
        ] {
            let bytes = [kind << 4 | flags, 0];
            assert_eq!(cut(&bytes).decode(level).err(), expected, "{kind} at {level:?}");
        }
        for kind in (0..16u8).filter(|kind| *kind != 3) {
            let good = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
            for flags in (0..16).filter(|flags| *flags != good) {
                for level in [Level::V4, Level::V5] {
                    let bytes = [kind << 4 | flags, 0];
                    assert_eq!(cut(&bytes).decode(level), Err(Fault::Malformed("flags")), "{kind} {flags}");
                }
            }
        }
        let noisy = cut(&[0xC0, 1, 0]).decode(Level::V4);
        assert_eq!(noisy, Err(Fault::Malformed("bytes behind its last field")));
        for first in [0, 0x20, 0x30, 0xC0, 0xE0, 0x11] {
            let fault = Fault::Protocol("the first packet is no CONNECT");
            assert_eq!(cut(&[first, 0]).connect().err(), Some(fault), "{first:x}");
        }
    }
}
