//! The only border between the words of the project and the generated types.
//!
//! Guarantees: a body is made once, here, from cleared values only, and equal input gives equal bytes; what is built is
//! a [`Sealed`], and the store takes nothing else. Does not read or send anything.

mod approval;
mod digest;
mod json;
mod order;
pub mod schema;
mod seal;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::audit::chain::Head;
use crate::audit::checkpoint::Checkpoint;
use crate::model::{Epoch, Lane, LineId, Seq, Severity};

pub use approval::{approval, approval_nameless, asked};
pub use digest::digest;
pub use json::{body_json, event_time, query_json};
pub use order::{command_result, result};
pub use seal::{Column, event, list_change, query_window, readings, window};

/// Generated from proto/.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("smallbrain.v1");
}

/// The contract with the city as an encoded `FileDescriptorSet`: what a generic client asks for by reflection.
pub const CONTRACT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));

/// The local socket's own services, generated from proto/: alarms, buses, commands, entries and on-boarding.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod bus {
    tonic::include_proto!("smallbrain.local.v1");
}

/// Who and where the gateway is, as records say it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Gateway {
    /// Its id.
    pub id: String,
    /// 12-digit division code.
    pub division_code: String,
    /// The compound's code.
    pub compound_code: String,
}

/// How long a body may get, bytes: what would be longer is split into several records. A single cell or reading is
/// never cut, so one with a longer text makes a longer body.
pub const BODY_BYTES_MAX: usize = 60 * 1024;

/// Schema of an alarm's change.
pub const ALARM: &str = "alarm/1";
/// Schema of a closed window.
pub const WINDOW: &str = "window/1";
/// Schema of single readings.
pub const READINGS: &str = "readings/1";
/// Schema of a change of the lists.
pub const LIST_CHANGE: &str = "list_change/1";
/// Schema of a digest of the trail.
pub const AUDIT: &str = "audit/1";

/// Schema of the end of an order.
pub const RESULT: &str = "result/1";

/// A schema's name as the constant it is; `None` for one that this build does not write.
#[must_use]
pub fn schema(name: &str) -> Option<&'static str> {
    [ALARM, WINDOW, READINGS, LIST_CHANGE, RESULT, AUDIT].into_iter().find(|known| *known == name)
}

/// A record's body on its way into a lane: made of cleared values, as the share line permits it. Only this module
/// builds one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    body: Bytes,
    share_item: LineId,
    schema: &'static str,
}

impl Sealed {
    /// A serialised RecordBody.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The share line that lets it out.
    #[must_use]
    pub fn share_item(&self) -> &LineId {
        &self.share_item
    }

    /// What the body holds.
    #[must_use]
    pub fn schema(&self) -> &'static str {
        self.schema
    }
}

/// The idempotency key, `<epoch as hex>-<lane>-<seq>`: the same on every delivery.
#[must_use]
pub fn record_id(epoch: Epoch, lane: Lane, seq: Seq) -> String {
    let mut id = String::with_capacity(64);
    for byte in epoch.0 {
        for digit in [byte >> 4, byte & 15] {
            id.push(char::from_digit(u32::from(digit), 16).expect("a nibble is a digit"));
        }
    }
    id.push('-');
    id.push_str(lane.as_str());
    id.push('-');
    id.push_str(&seq.0.to_string());
    id
}

/// `SHA-256(0x01 || prev || LP(record_id) || LP(body))`, LP being a big-endian u32 length and the bytes; the chain of a
/// lane starts from 32 zero bytes.
#[must_use]
pub fn record_hash(prev: &[u8; 32], record_id: &str, body: &[u8]) -> [u8; 32] {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(prev);
    hash.update(length(record_id.as_bytes()));
    hash.update(record_id);
    hash.update(length(body));
    hash.update(body);
    hash.finalize().into()
}

/// The lane's number on the wire.
#[must_use]
pub fn lane_number(lane: Lane) -> i32 {
    i32::from(match lane {
        Lane::Alarm => v1::Lane::Alarm,
        Lane::Event => v1::Lane::Event,
        Lane::Result => v1::Lane::Result,
        Lane::Aggregate => v1::Lane::Aggregate,
        Lane::Audit => v1::Lane::Audit,
        Lane::Bulk => v1::Lane::Bulk,
    })
}

/// The lane of a number on the wire; `None` for one that this build does not fill.
#[must_use]
pub fn lane(number: i32) -> Option<Lane> {
    Lane::ALL.into_iter().find(|lane| lane_number(*lane) == number)
}

/// A position on the wire.
#[must_use]
pub fn cursor(epoch: Epoch, lane: Lane, seq: Seq) -> v1::Cursor {
    v1::Cursor { stream_epoch: epoch.0.to_vec(), lane: lane_number(lane), seq: seq.0 }
}

/// The severity on the wire.
#[must_use]
pub fn severity(severity: Severity) -> v1::Severity {
    match severity {
        Severity::Info => v1::Severity::Info,
        Severity::Minor => v1::Severity::Minor,
        Severity::Major => v1::Severity::Major,
        Severity::Critical => v1::Severity::Critical,
    }
}

/// Milliseconds since 1970 UTC as a protobuf timestamp.
#[must_use]
pub fn timestamp(ms: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or(0);
    prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos }
}

/// A signed position of the trail as the contract has it.
#[must_use]
pub fn checkpoint(made: &Checkpoint) -> v1::AuditCheckpoint {
    v1::AuditCheckpoint {
        origin: made.origin.clone(),
        size: made.head.seq,
        head: made.head.hash.to_vec(),
        signature: made.signature.clone(),
        at: Some(timestamp(made.at_ms)),
    }
}

/// The same, read; `None` when its head is no hash or it covers no row.
#[must_use]
pub fn checkpoint_of(told: &v1::AuditCheckpoint) -> Option<Checkpoint> {
    let hash = told.head.as_slice().try_into().ok().filter(|_| told.size > 0)?;
    let at = told.at.unwrap_or_default();
    Some(Checkpoint {
        origin: told.origin.clone(),
        head: Head { seq: told.size, hash },
        at_ms: at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos) / 1_000_000),
        signature: told.signature.clone(),
    })
}

/// A protobuf timestamp as milliseconds since 1970 UTC; what lies beyond the numbers is their end.
#[must_use]
pub fn millis(time: &prost_types::Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_as_it_was_and_one_that_is_none_does_not() {
        let made = Checkpoint {
            origin: "smallbrain/07".into(),
            head: Head { seq: 3, hash: [9; 32] },
            at_ms: 1_700_000_000_123,
            signature: vec![1; 64],
        };
        let told = checkpoint(&made);
        assert_eq!(checkpoint_of(&told), Some(made));
        for wrong in [
            v1::AuditCheckpoint { head: vec![9; 31], ..told.clone() },
            v1::AuditCheckpoint { size: 0, ..told.clone() },
            v1::AuditCheckpoint::default(),
        ] {
            assert_eq!(checkpoint_of(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn ids_and_hashes_are_what_the_contract_says() {
        let id = record_id(Epoch([0xab; 16]), Lane::Bulk, Seq(7));
        assert_eq!(id, format!("{}-bulk-7", "ab".repeat(16)));
        assert_eq!(id, format!("{}-bulk-7", Epoch([0xab; 16])));
        let mut plain = vec![1];
        plain.extend([0; 32]);
        plain.extend([0, 0, 0, 39]);
        plain.extend(id.as_bytes());
        plain.extend([0, 0, 0, 3]);
        plain.extend(b"abc");
        assert_eq!(record_hash(&[0; 32], &id, b"abc"), <[u8; 32]>::from(Sha256::digest(&plain)));
    }

    #[test]
    fn lanes_and_schemas_come_back() {
        for known in Lane::ALL {
            assert_eq!(lane(lane_number(known)), Some(known));
        }
        for (number, what) in [(0, "unspecified"), (7, "not given yet"), (99, "unknown")] {
            assert_eq!(lane(number), None, "{what}");
        }
        assert_eq!(schema("alarm/1"), Some(ALARM));
        assert_eq!(schema("alarm/2"), None);
    }

    #[test]
    fn times_before_1970_keep_their_order() {
        for (ms, seconds, nanos) in [(0, 0, 0), (1_500, 1, 500_000_000), (-1, -1, 999_000_000)] {
            assert_eq!(timestamp(ms), prost_types::Timestamp { seconds, nanos });
            assert_eq!(millis(&timestamp(ms)), ms);
        }
    }
}
