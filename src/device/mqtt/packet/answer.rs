//! PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7) and DISCONNECT (§3.14) of a client.
//!
//! 5.0 may leave out a reason of 0 and properties; 3.1.1 knows neither.

use super::fields::Fields;
use super::properties::{Place, Properties, SESSION_EXPIRY};
use super::{Fault, Level, Packet};

/// An acknowledgement of this packet type: 4 PUBACK, 5 PUBREC, 6 PUBREL, 7 PUBCOMP.
pub(super) fn acknowledgement<'b>(kind: u8, body: &[u8], level: Level) -> Result<Packet<'b>, Fault> {
    let mut fields = Fields::new(body);
    let pkid = fields.pkid()?;
    let (reason, properties) = reasoned(&mut fields, level, Place::Answer)?;
    if let Some(properties) = properties {
        properties.check()?;
    }
    fields.end()?;
    match (kind, reason) {
        // §3.4.2.1, §3.5.2.1
        (4, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99) => Ok(Packet::PubAck { pkid, reason }),
        (5, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99) => Ok(Packet::PubRec { pkid, reason }),
        // §3.6.2.1, §3.7.2.1
        (6, 0 | 0x92) => Ok(Packet::PubRel { pkid, reason }),
        (7, 0 | 0x92) => Ok(Packet::PubComp { pkid, reason }),
        _ => Err(Fault::Protocol("a reason code that an acknowledgement does not have")),
    }
}

/// DISCONNECT.
pub(super) fn disconnect<'b>(body: &[u8], level: Level) -> Result<Packet<'b>, Fault> {
    let mut fields = Fields::new(body);
    let (reason, properties) = reasoned(&mut fields, level, Place::Disconnect)?;
    let mut expiry_s = None;
    for property in properties.into_iter().flatten() {
        let property = property?;
        if property.id == SESSION_EXPIRY {
            expiry_s = Some(property.number);
        }
    }
    fields.end()?;
    match reason {
        // Those that a client may send (§3.14.2.1).
        0 | 4 | 0x80..=0x83 | 0x90 | 0x93..=0x99 => Ok(Packet::Disconnect { reason, expiry_s }),
        _ => Err(Fault::Protocol("a reason code that a DISCONNECT of a client does not have")),
    }
}

/// Reason and properties at the end of a packet.
fn reasoned<'b>(
    fields: &mut Fields<'b>,
    level: Level,
    place: Place,
) -> Result<(u8, Option<Properties<'b>>), Fault> {
    if level == Level::V4 || fields.is_empty() {
        return Ok((0, None));
    }
    let reason = fields.byte()?;
    let properties = if fields.is_empty() { None } else { Some(Properties::take(fields, place)?) };
    Ok((reason, properties))
}

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::*;

    fn decode(bytes: &[u8], level: Level) -> Result<Packet<'_>, Fault> {
        Frame::cut(bytes, 256).expect("well framed").expect("complete").decode(level)
    }

    #[test]
    fn acknowledgements_are_short_or_long() {
        const V4: Level = Level::V4;
        const V5: Level = Level::V5;
        let behind = Fault::Malformed("bytes behind its last field");
        let short = Fault::Malformed("it ends within a field");
        for (tail, level, expected) in [
            (&[0, 7][..], V4, Ok((7, 0))),
            (&[0, 7], V5, Ok((7, 0))),
            (&[0, 7, 0], V5, Ok((7, 0))),
            (&[0, 7, 0, 0], V5, Ok((7, 0))),
            (&[1, 0, 0, 4, 0x1F, 0, 1, b'r'], V5, Ok((256, 0))),
            (&[0, 7, 0], V4, Err(behind)),
            (&[0, 7, 0, 0, 0], V5, Err(behind)),
            (&[0, 0], V4, Err(Fault::Malformed("packet id 0"))),
            (&[0, 0, 0, 0], V5, Err(Fault::Malformed("packet id 0"))),
            (&[], V4, Err(short)),
            (&[7], V5, Err(short)),
            (&[0, 7, 0, 4], V5, Err(short)),
            (&[0, 7, 0, 2, 0x01, 1], V5, Err(Fault::Malformed("a property of other packets"))),
        ] {
            for (first, packet) in [
                (0x40, (|pkid, reason| Packet::PubAck { pkid, reason }) as fn(u16, u8) -> Packet<'static>),
                (0x50, |pkid, reason| Packet::PubRec { pkid, reason }),
                (0x62, |pkid, reason| Packet::PubRel { pkid, reason }),
                (0x70, |pkid, reason| Packet::PubComp { pkid, reason }),
            ] {
                let bytes = [&[first, tail.len() as u8], tail].concat();
                let expected = expected.map(|(pkid, reason)| packet(pkid, reason));
                assert_eq!(decode(&bytes, level), expected, "{bytes:x?} {level:?}");
            }
        }
    }

    #[test]
    fn reasons_are_those_of_their_packet() {
        const PUBLISHED: &[u8] = &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
        const LEFT: &[u8] = &[0, 4, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
        for (head, good) in [
            (&[0x40, 3, 0, 7][..], PUBLISHED),
            (&[0x50, 3, 0, 7], PUBLISHED),
            (&[0x62, 3, 0, 7], &[0, 0x92]),
            (&[0x70, 3, 0, 7], &[0, 0x92]),
            (&[0xE0, 1], LEFT),
        ] {
            for reason in 0..=u8::MAX {
                let bytes = [head, &[reason]].concat();
                match decode(&bytes, Level::V5) {
                    Ok(
                        Packet::PubAck { reason: read, .. }
                        | Packet::PubRec { reason: read, .. }
                        | Packet::PubRel { reason: read, .. }
                        | Packet::PubComp { reason: read, .. }
                        | Packet::Disconnect { reason: read, .. },
                    ) => assert!(good.contains(&reason) && read == reason, "{bytes:x?}"),
                    Err(Fault::Protocol(_)) => assert!(!good.contains(&reason), "{bytes:x?}"),
                    other => panic!("{bytes:x?}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_client_leaves_with_a_reason_and_an_expiry() {
        let left = |reason, expiry_s| Ok(Packet::Disconnect { reason, expiry_s });
        for (bytes, level, expected) in [
            (&[0xE0, 0][..], Level::V4, left(0, None)),
            (&[0xE0, 0], Level::V5, left(0, None)),
            (&[0xE0, 1, 4], Level::V5, left(4, None)),
            (&[0xE0, 2, 0x82, 0], Level::V5, left(0x82, None)),
            (&[0xE0, 7, 0, 5, 0x11, 0, 0, 1, 0], Level::V5, left(0, Some(256))),
            (&[0xE0, 1, 0], Level::V4, Err(Fault::Malformed("bytes behind its last field"))),
            (&[0xE0, 3, 0, 0, 0], Level::V5, Err(Fault::Malformed("bytes behind its last field"))),
            (&[0xE0, 4, 0, 2, 0x11, 0], Level::V5, Err(Fault::Malformed("it ends within a field"))),
            (&[0xE0, 4, 0, 2, 0x17, 0], Level::V5, Err(Fault::Malformed("a property of other packets"))),
        ] {
            assert_eq!(decode(bytes, level), expected, "{bytes:x?}");
        }
    }
}
