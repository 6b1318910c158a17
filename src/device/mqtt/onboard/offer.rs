//! A message that nobody is owed, with what the front knows of it, as the router carries it. Pure.
//!
//! Guarantees: what is encoded is decoded as it was; any bytes are decoded or are none; a payload above
//! [`PAYLOAD_BYTES_MAX`] stays behind and only its length goes along. `Debug` shows no payload.
//!
//! ```text
//! why u8 | payload's length u32 | lengths of user, device, topic u16 each | user | device | topic | payload
//! ```

use std::fmt;

use bytes::{BufMut, BytesMut};

/// Longest user, device and topic, bytes; what is longer is not offered.
pub const TEXT_BYTES_MAX: usize = 512;
/// Longest payload that goes along, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 32 << 10;

const HEADER_BYTES: usize = 11;

/// Why a message is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its topic is one of readings, its device is not configured.
    UnknownDevice,
    /// No mapping has its topic.
    NoMapping,
    /// It says where and how other messages tell values.
    Discovery,
    /// A device that is not configured came.
    Birth,
    /// Whether a device that is not configured is there.
    Availability,
}

impl Why {
    /// All of them, each at its number on the wire.
    pub const ALL: [Why; 5] =
        [Why::UnknownDevice, Why::NoMapping, Why::Discovery, Why::Birth, Why::Availability];

    /// The lower-case name: the topic in the router.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Why::UnknownDevice => "unknown_device",
            Why::NoMapping => "no_mapping",
            Why::Discovery => "discovery",
            Why::Birth => "birth",
            Why::Availability => "availability",
        }
    }
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Offer<'m> {
    /// Why.
    pub why: Why,
    /// Name of the sender's credentials; empty where it has none.
    pub user: &'m str,
    /// The device, where the front could tell from the topic; else empty.
    pub device: &'m str,
    /// As published.
    pub topic: &'m str,
    /// Length of the payload, bytes.
    pub bytes: usize,
    /// The payload; none of one that is too long.
    pub payload: Option<&'m [u8]>,
}

impl fmt::Debug for Offer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offer({} on {:?}, {} bytes)", self.why.as_str(), self.topic, self.bytes)
    }
}

impl<'m> Offer<'m> {
    /// Of a publish.
    #[must_use]
    pub fn new(why: Why, user: &'m str, device: &'m str, topic: &'m str, payload: &'m [u8]) -> Self {
        let bytes = payload.len();
        Self { why, user, device, topic, bytes, payload: (bytes <= PAYLOAD_BYTES_MAX).then_some(payload) }
    }

    /// A copy that holds on to nothing, with room for `more` bytes; none when a text is too long.
    #[must_use]
    pub fn encode(&self, more: usize) -> Option<BytesMut> {
        let texts = [self.user, self.device, self.topic];
        let lengths = texts.map(str::len);
        let bytes = u32::try_from(self.bytes).ok()?;
        if lengths.iter().any(|length| *length > TEXT_BYTES_MAX) {
            return None;
        }
        let payload = self.payload.unwrap_or_default();
        let whole = HEADER_BYTES + lengths.iter().sum::<usize>() + payload.len();
        let mut out = BytesMut::with_capacity(whole + more);
        out.put_u8(self.why as u8);
        out.put_u32(bytes);
        for length in lengths {
            out.put_u16(u16::try_from(length).ok()?);
        }
        texts.iter().for_each(|text| out.put_slice(text.as_bytes()));
        out.put_slice(payload);
        Some(out)
    }

    /// The offer; none of bytes that are none.
    #[must_use]
    pub fn decode(wire: &'m [u8]) -> Option<Self> {
        let (&[why], rest) = wire.split_first_chunk()?;
        let (bytes, mut rest) = rest.split_first_chunk()?;
        let mut lengths = [0; 3];
        for length in &mut lengths {
            let (two, behind) = rest.split_first_chunk()?;
            (*length, rest) = (usize::from(u16::from_be_bytes(*two)), behind);
        }
        let mut texts = [""; 3];
        for (text, length) in texts.iter_mut().zip(lengths) {
            let (bytes, behind) = rest.split_at_checked(length)?;
            (*text, rest) = (std::str::from_utf8(bytes).ok()?, behind);
        }
        let [user, device, topic] = texts;
        let bytes = usize::try_from(u32::from_be_bytes(*bytes)).ok()?;
        let payload = match rest.len() {
            length if length == bytes => Some(rest),
            0 => None,
            _ => return None,
        };
        let why = *Why::ALL.get(usize::from(why))?;
        Some(Self { why, user, device, topic, bytes, payload })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_too_long_stays_behind() {
        let long = vec![b'x'; PAYLOAD_BYTES_MAX + 1];
        let offer = Offer::new(Why::NoMapping, "u", "", "t", &long);
        let wire = offer.encode(0).expect("short texts");
        assert!(wire.len() < 64);
        let back = Offer::decode(&wire).expect("an offer");
        assert_eq!((back.bytes, back.payload), (PAYLOAD_BYTES_MAX + 1, None));
        let topic = "t".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(Offer::new(Why::NoMapping, "", "", &topic, b"").encode(0), None);
    }

    #[test]
    fn the_order_of_whys_is_their_number() {
        for (number, why) in Why::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, number, "{}", why.as_str());
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            why in 0..5usize, user in "\\PC{0,9}", device in "\\PC{0,9}",
            topic in "\\PC{0,40}", payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let offer = Offer::new(Why::ALL[why], &user, &device, &topic, &payload);
            let wire = offer.encode(8).expect("short texts");
            prop_assert_eq!(Offer::decode(&wire), Some(offer));
            for cut in 0..wire.len().min(HEADER_BYTES) {
                prop_assert!(Offer::decode(&wire[..cut]).is_none());
            }
        }

        #[test]
        fn any_bytes_are_an_offer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Offer::decode(&bytes);
        }
    }
}
