//! What the fields of a consumer's frames say: acks, cursors, witnesses, times.

use prost_types::Duration as ProtoDuration;

use super::{HEARTBEAT_MS, HEARTBEAT_RANGE_MS};
use crate::ingest::Ack;
use crate::model::{Consumer, Epoch, Lane, Seq};
use crate::share::refused::Refused;
use crate::store::Heads;
use crate::wire::{self, v1};

/// An ack as the store takes it; an empty epoch means the present one.
///
/// # Errors
/// [`Refused`] when it has no position, another epoch, or a hash that is not 32 bytes.
pub fn parse_ack(consumer: Consumer, ack: &v1::CumulativeAck, epoch: Epoch) -> Result<Ack, Refused> {
    let upto = ack.upto.as_ref().ok_or(Refused::Malformed("an ack needs a position"))?;
    // Whether the position is ahead of the head is the store's to say: it knows the newest one.
    let (lane, upto) = position(upto, epoch, &[Seq(u64::MAX); Lane::ALL.len()])?;
    let head_hash = match ack.head_hash.len() {
        0 => None,
        _ => Some(
            ack.head_hash.as_slice().try_into().map_err(|_| Refused::Malformed("head_hash has 32 bytes"))?,
        ),
    };
    Ok(Ack { consumer, epoch, lane, upto, head_hash })
}

/// A cursor's lane and position; an empty epoch means the present one.
///
/// # Errors
/// [`Refused`] when the lane is none, the epoch is another one, or the position is ahead of the head.
pub fn position(cursor: &v1::Cursor, epoch: Epoch, heads: &Heads) -> Result<(Lane, Seq), Refused> {
    let lane = wire::lane(cursor.lane).ok_or(Refused::Lane(cursor.lane))?;
    if !cursor.stream_epoch.is_empty() {
        let theirs: [u8; 16] = cursor
            .stream_epoch
            .as_slice()
            .try_into()
            .map_err(|_| Refused::Malformed("stream_epoch has 16 bytes or none"))?;
        if theirs != epoch.0 {
            return Err(Refused::Epoch { ours: epoch, theirs: Epoch(theirs) });
        }
    }
    let (seq, head) = (Seq(cursor.seq), heads[lane.index()]);
    if seq > head {
        return Err(Refused::Ahead { lane, seq, head });
    }
    Ok((lane, seq))
}

pub(super) fn heartbeat_ms(asked: Option<ProtoDuration>) -> Result<u64, Refused> {
    let Some(asked) = asked.filter(|asked| *asked != ProtoDuration::default()) else {
        return Ok(HEARTBEAT_MS);
    };
    let asked =
        std::time::Duration::try_from(asked).map_err(|_| Refused::Malformed("idle_heartbeat is negative"))?;
    let (least, most) = HEARTBEAT_RANGE_MS;
    Ok(u64::try_from(asked.as_millis()).unwrap_or(most).clamp(least, most))
}

pub(super) fn duration(ms: u64) -> ProtoDuration {
    ProtoDuration {
        seconds: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1000 * 1_000_000).unwrap_or(0),
    }
}

/// A witnessed position: rows of the trail, and the hash of the last.
///
/// # Errors
/// [`Refused`] when it covers no row or its head is no hash.
pub fn parse_witness(witness: &v1::AuditWitness) -> Result<(u64, [u8; 32]), Refused> {
    let head = witness.head.as_slice().try_into().ok().filter(|_| witness.size > 0);
    let head = head.ok_or(Refused::Malformed("a witness has a size from 1 and a head of 32 bytes"))?;
    Ok((witness.size, head))
}
