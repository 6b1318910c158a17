//! The fields that packets are made of (§1.5), taken from the front of some bytes, in place.
//!
//! Guarantees: a text is UTF-8 without U+0000 and surrogates; a variable byte integer is the shortest of its value.

use super::Fault;

/// What is left to be read.
#[derive(Clone, Copy)]
pub(super) struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'b [u8] {
        self.0
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::Malformed("bytes behind its last field")) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    /// A two byte integer (§1.5.2).
    pub(super) fn short(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }

    /// A four byte integer (§1.5.3).
    pub(super) fn long(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer (§1.5.5).
    pub(super) fn variable(&mut self) -> Result<u32, Fault> {
        let (value, length) = variable(self.0)?.ok_or(SHORT)?;
        self.take(length)?;
        if length > 1 && value >> (7 * (length - 1)) == 0 {
            return Err(Fault::Malformed("a variable byte integer longer than it has to be")); // [MQTT-1.5.5-1]
        }
        Ok(value)
    }

    /// Binary data (§1.5.6).
    pub(super) fn binary(&mut self) -> Result<&'b [u8], Fault> {
        let length = self.short()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 string (§1.5.4, 3.1.1 §1.5.3).
    pub(super) fn text(&mut self) -> Result<&'b str, Fault> {
        let bytes = self.binary()?;
        if bytes.contains(&0) {
            return Err(Fault::Malformed("U+0000 in a text")); // [MQTT-1.5.4-2]
        }
        std::str::from_utf8(bytes).map_err(|_| Fault::Malformed("a text that is not utf-8")) // [MQTT-1.5.4-1]
    }

    /// A packet identifier, which is never 0 ([MQTT-2.2.1-3], 3.1.1 [MQTT-2.3.1-1]).
    pub(super) fn pkid(&mut self) -> Result<u16, Fault> {
        match self.short()? {
            0 => Err(Fault::Malformed("packet id 0")),
            pkid => Ok(pkid),
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'b [u8], Fault> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, tail) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = tail;
        Ok(*head)
    }
}

const SHORT: Fault = Fault::Malformed("it ends within a field");

/// A variable byte integer, perhaps longer than it has to be, and the bytes it takes; none when it is not complete.
pub(super) fn variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, Fault> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Fault::Malformed("a length of more than four bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_are_the_shortest() {
        for (bytes, expected) in [
            (&[0][..], Some(0)),
            (&[0x7F], Some(127)),
            (&[0x80, 1], Some(128)),
            (&[0xFF, 0x7F], Some(16_383)),
            (&[0x80, 0x80, 1], Some(16_384)),
            (&[0xFF, 0xFF, 0xFF, 0x7F], Some(268_435_455)),
            (&[0x80, 0], None),
            (&[0xFF, 0x80, 0], None),
            (&[0x80], None),
            (&[], None),
            (&[0x80, 0x80, 0x80, 0x80, 1], None),
        ] {
            assert_eq!(Fields::new(bytes).variable().ok(), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn texts_are_strict() {
        for (bytes, good) in [
            (&b"\0\0"[..], true),
            (b"\0\x01a", true),
            ("\0\u{6}温度".as_bytes(), true),
            ("\0\u{3}\u{feff}".as_bytes(), true),
            (b"\0\x02a\0", false),
            (b"\0\x03\xED\xA0\x80", false),
            (b"\0\x02\xC0\x80", false),
            (b"\0\x01\xE6", false),
            (b"\0\x02a", false),
            (b"\0", false),
        ] {
            assert_eq!(Fields::new(bytes).text().is_ok(), good, "{bytes:x?}");
        }
    }
}
