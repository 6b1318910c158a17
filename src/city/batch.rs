//! A batch as things to store, in the order of positions, each with the id that it has on every delivery.
//!
//! Guarantees: the same batch gives the same things; an id stands for one position or one range. Does not check a batch:
//! [`crate::share::position::Position::take`] did.

use prost::Message;
use serde_json::{Value, json};

use crate::model::Lane;
use crate::wire::{self, v1};

/// One thing of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'b> {
    /// A record.
    Record(&'b v1::Record),
    /// Positions that were lost.
    Gap(&'b v1::Gap),
    /// Positions of other consumers: how many, and where the span ends.
    Withheld {
        /** How many in the whole batch. */
        count: u64,
        /** The last position that the batch speaks for. */
        through: u64,
    },
}

impl Item<'_> {
    /// The last position it speaks for.
    pub(super) fn through(&self) -> u64 {
        match self {
            Item::Record(record) => record.seq,
            Item::Gap(gap) => gap.to_seq,
            Item::Withheld { through, .. } => *through,
        }
    }

    /// Its id: the record's own, or the range's.
    pub(super) fn id(&self, epoch: &str, lane: Lane) -> String {
        match self {
            Item::Record(record) => format!("{epoch}-{lane}-{}", record.seq),
            Item::Gap(gap) => format!("{epoch}-{lane}-gap-{}-{}", gap.from_seq, gap.to_seq),
            Item::Withheld { through, .. } => format!("{epoch}-{lane}-withheld-{through}"),
        }
    }

    /// As `smallbrain pull` prints it.
    pub(super) fn json(&self, lane: Lane) -> Value {
        match self {
            Item::Record(record) => json!({
                "lane": lane.as_str(), "seq": record.seq, "record_id": record.record_id,
                "share_item": record.share_item, "schema": record.schema, "body": body(record),
            }),
            Item::Gap(gap) => {
                let told = json!({ "from": gap.from_seq, "to": gap.to_seq, "reason": gap.reason });
                json!({ "lane": lane.as_str(), "gap": told })
            }
            Item::Withheld { count, through } => {
                json!({ "lane": lane.as_str(), "withheld": count, "through": through })
            }
        }
    }
}

/// A record's body as JSON.
pub(super) fn body(record: &v1::Record) -> Value {
    match v1::RecordBody::decode(record.body.clone()) {
        Ok(body) => wire::body_json(&body),
        Err(error) => json!({ "malformed": error.to_string() }),
    }
}

/// Everything in a batch, in the order of positions; what is withheld comes last, where the batch ends with it.
pub(super) fn items(batch: &v1::RecordBatch) -> Vec<Item<'_>> {
    let mut items = Vec::with_capacity(batch.records.len() + batch.gaps.len() + 1);
    let mut gaps = batch.gaps.iter().peekable();
    for record in &batch.records {
        while let Some(gap) = gaps.next_if(|gap| gap.from_seq < record.seq) {
            items.push(Item::Gap(gap));
        }
        items.push(Item::Record(record));
    }
    items.extend(gaps.map(Item::Gap));
    if items.last().is_none_or(|last| last.through() < batch.through_seq) {
        items.push(Item::Withheld { count: batch.withheld, through: batch.through_seq });
    }
    items
}

/// Bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Epoch, Seq};

    /// A batch of a lane: records at these positions, a gap, up to `through`.
    pub(in crate::city) fn batch(
        epoch: u8,
        lane: Lane,
        first: u64,
        seqs: &[u64],
        gap: Option<(u64, u64)>,
        through: u64,
    ) -> v1::RecordBatch {
        let epoch = Epoch([epoch; 16]);
        let record = |seq: &u64| {
            let id = wire::record_id(epoch, lane, Seq(*seq));
            let body = v1::RecordBody { purpose: format!("p{seq}"), ..v1::RecordBody::default() };
            let body = prost::bytes::Bytes::from(body.encode_to_vec());
            let hash = wire::record_hash(&[0; 32], &id, &body).to_vec();
            v1::Record { seq: *seq, record_id: id, body, record_hash: hash.into(), ..v1::Record::default() }
        };
        let gap = gap.map(|(from, to)| v1::Gap {
            from_seq: from,
            to_seq: to,
            reason: "budget".into(),
            lost_records: to - from + 1,
            ..v1::Gap::default()
        });
        let lost = gap.as_ref().map_or(0, |gap| gap.lost_records);
        v1::RecordBatch {
            stream_epoch: epoch.0.to_vec(),
            lane: wire::lane_number(lane),
            first_seq: first,
            records: seqs.iter().map(record).collect(),
            head_seq: through,
            through_seq: through,
            gaps: gap.into_iter().collect(),
            withheld: through + 1 - first - lost - seqs.len() as u64,
        }
    }

    #[test]
    fn things_come_in_order_and_the_last_one_ends_the_span() {
        type Case = (&'static [u64], Option<(u64, u64)>, u64, &'static [&'static str]);
        let cases: [Case; 5] = [
            (&[1, 2], None, 2, &["1", "2"]),
            (&[1, 4], Some((2, 3)), 4, &["1", "gap-2-3", "4"]),
            (&[1], Some((2, 3)), 3, &["1", "gap-2-3"]),
            (&[1], None, 5, &["1", "withheld-5"]),
            (&[], None, 5, &["withheld-5"]),
        ];
        for (seqs, gap, through, ids) in cases {
            let batch = batch(7, Lane::Bulk, 1, seqs, gap, through);
            let told: Vec<String> = items(&batch).iter().map(|item| item.id("e", Lane::Bulk)).collect();
            let ids: Vec<String> = ids.iter().map(|id| format!("e-bulk-{id}")).collect();
            assert_eq!(told, ids);
            assert_eq!(items(&batch).last().map(Item::through), Some(through));
        }
    }
}
