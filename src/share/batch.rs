//! From a page of the store to a batch for one consumer: what the share list permits it now, and what fits. Pure.
//!
//! Guarantees: every position of the batch's span is a record in it, inside one of its gaps, or counted as withheld.

use std::sync::Arc;

use bytes::Bytes;

use super::refused::Refused;
use crate::approval::grants::Held;
use crate::approval::{ApprovalId, Grants, Missing};
use crate::ingest::handout::Delivered;
use crate::model::{Consumer, Epoch, Lane, LineId, Seq};
use crate::privacy::release::ShareLine;
use crate::store::{Page, StoredRecord};
use crate::wire::{self, v1};

/// At most this many records in a batch.
pub const BATCH_RECORDS_MAX: usize = 4096;
/// At most this many bytes of bodies in a batch.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// What is in force at one moment.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// The share list.
    pub lines: Arc<[ShareLine]>,
    /// What is granted.
    pub grants: Arc<Grants>,
}

impl InForce {
    /// Lines of which none needs more than its paper.
    #[must_use]
    pub fn of(lines: Vec<ShareLine>) -> Self {
        Self { lines: lines.into(), grants: Arc::default() }
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// By name.
    pub consumer: Consumer,
    /// SHA-256 of the client's certificate; none on a plain listener.
    pub certificate: Option<[u8; 32]>,
}

impl From<Consumer> for Caller {
    fn from(consumer: Consumer) -> Self {
        Self { consumer, certificate: None }
    }
}

/// What one consumer asked for; empty lists ask for everything.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who asks.
    pub caller: Caller,
    /// Lines of the share list.
    pub share_items: Vec<String>,
    /// Schemas it can read.
    pub schemas: Vec<String>,
}

impl Wanted {
    /// Of a caller who wants everything.
    #[must_use]
    pub fn everything(caller: Caller) -> Self {
        Self { caller, share_items: Vec::new(), schemas: Vec::new() }
    }

    /// The wanted lines that name the consumer and hold at `now_ms` (milliseconds since 1970 UTC); of those that have a
    /// tier the ones that are granted.
    #[must_use]
    pub fn rights<'a>(&'a self, force: &'a InForce, now_ms: i64) -> Rights<'a> {
        let Caller { consumer, certificate } = &self.caller;
        let holds = |line: &&ShareLine| {
            line.consumers.contains(consumer)
                && line.until_ms.is_none_or(|until| now_ms < until)
                && (self.share_items.is_empty() || self.share_items.iter().any(|id| id == line.id.as_str()))
        };
        let mut rights = Rights { lines: Vec::new(), missing: None, consumer, schemas: &self.schemas };
        for line in force.lines.iter().filter(holds) {
            let Some(tier) = &line.tier else {
                rights.lines.push((line, None));
                continue;
            };
            match force.grants.find(&line.id, tier, consumer, certificate.as_ref(), now_ms) {
                Ok(held) => rights.lines.push((line, Some(held))),
                // That something ended tells more than that there is nothing.
                Err(missing) if rights.missing.is_none_or(|(_, known)| known == Missing::None) => {
                    rights.missing = Some((&line.id, missing));
                }
                Err(_) => {}
            }
        }
        rights
    }
}

/// What a consumer may have at one moment.
#[derive(Clone, Debug)]
pub struct Rights<'a> {
    /// With the approval, where one is needed.
    lines: Vec<(&'a ShareLine, Option<Held>)>,
    /// A line that only an approval is missing for.
    missing: Option<(&'a LineId, Missing)>,
    consumer: &'a Consumer,
    schemas: &'a [String],
}

/// Whether a record may go.
enum Leave {
    No,
    Yes,
    /// Once a use of this approval has begun.
    Once(ApprovalId),
}

impl Rights<'_> {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Why there is nothing.
    #[must_use]
    pub fn refusal(&self) -> Refused {
        match self.missing {
            Some((line, missing)) => {
                Refused::Approval { consumer: self.consumer.clone(), line: line.clone(), missing }
            }
            None => Refused::NotListed(self.consumer.clone()),
        }
    }

    /// Whether there is anything in this lane: what happens to a line itself is for all who hold it.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> bool {
        self.lines.iter().any(|(line, _)| line.lane == lane || lane == Lane::Event)
    }

    /// One line that holds now, with the approval where one is needed.
    #[must_use]
    pub fn line(&self, id: &LineId) -> Option<(&ShareLine, Option<&Held>)> {
        let (line, held) = self.lines.iter().find(|(line, _)| line.id == *id)?;
        Some((line, held.as_ref()))
    }

    fn permits(&self, lane: Lane, record: &StoredRecord) -> Leave {
        let of =
            |line: &ShareLine| (line.lane == lane || lane == Lane::Event) && line.id == record.share_item;
        if !(self.schemas.is_empty() || self.schemas.iter().any(|schema| **schema == *record.schema)) {
            return Leave::No;
        }
        match self.lines.iter().find(|(line, _)| of(line)) {
            None => Leave::No,
            Some((_, Some(Held { id, in_use: false }))) => Leave::Once(*id),
            Some(_) => Leave::Yes,
        }
    }
}

/// A batch, and what it takes from the credit.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The batch; `through_seq` lies before `first_seq` when not one position could be told.
    pub batch: v1::RecordBatch,
    /// Bytes of its bodies.
    pub bytes: u64,
    /// Bytes of the record that did not fit any more.
    pub next_bytes: Option<u64>,
    /// The approval of which a use has to begin before the next record can go.
    pub wants_use: Option<ApprovalId>,
    /// Its records by line of the share list.
    pub lines: Vec<(LineId, u64)>,
    /// The line's purpose and its approval, where all are of one line.
    pub under: Option<(String, String)>,
}

impl Cut {
    /// What the trail has to say before it leaves; nothing where nothing leaves.
    #[must_use]
    pub fn delivered(&self, consumer: &Consumer, lane: Lane) -> Option<Delivered> {
        let (first, last) = (self.batch.records.first()?, self.batch.records.last()?);
        Some(Delivered {
            consumer: consumer.clone(),
            lane,
            from: Seq(first.seq),
            to: Seq(last.seq),
            lines: self.lines.clone(),
            under: self.under.clone(),
        })
    }
}

/// The longest run of the page that fits in `records_max` records and `bytes_max` bytes of bodies, strictly.
#[must_use]
pub fn cut(epoch: Epoch, page: &Page, rights: &Rights<'_>, records_max: usize, bytes_max: u64) -> Cut {
    let mut records: Vec<v1::Record> = Vec::with_capacity(page.records.len().min(records_max));
    let (mut bytes, mut withheld, mut through, mut next_bytes) = (0, 0, page.through, None);
    let (mut last, mut wants_use) = (None, None);
    let mut lines: Vec<(LineId, u64)> = Vec::new();
    for record in &page.records {
        match rights.permits(page.lane, record) {
            Leave::Yes => {}
            Leave::No => {
                withheld += 1;
                continue;
            }
            Leave::Once(id) => {
                through = Seq(record.seq.0 - 1);
                wants_use = Some(id);
                break;
            }
        }
        let length = record.body.len() as u64;
        if records.len() == records_max || bytes + length > bytes_max {
            through = Seq(record.seq.0 - 1);
            next_bytes = Some(length);
            break;
        }
        bytes += length;
        match lines.iter_mut().find(|(id, _)| *id == record.share_item) {
            Some((_, count)) => *count += 1,
            None => lines.push((record.share_item.clone(), 1)),
        }
        let follows = last.is_some_and(|last: Seq| last.next() == record.seq);
        last = Some(record.seq);
        records.push(v1::Record {
            seq: record.seq.0,
            record_id: wire::record_id(epoch, page.lane, record.seq),
            body: record.body.clone(),
            prev_hash: if follows { Bytes::new() } else { Bytes::copy_from_slice(&record.prev_hash) },
            record_hash: Bytes::copy_from_slice(&record.hash),
            share_item: record.share_item.to_string(),
            schema: record.schema.to_string(),
        });
    }
    let gaps = page.gaps.iter().filter(|gap| gap.from <= through);
    let gaps = gaps.map(|gap| v1::Gap {
        from_seq: gap.from.0,
        to_seq: gap.to.0,
        reason: gap.reason.clone(),
        lost_records: gap.to.0 + 1 - gap.from.0,
        first_sealed: gap.first_ms.map(wire::timestamp),
        last_sealed: gap.last_ms.map(wire::timestamp),
    });
    let batch = v1::RecordBatch {
        stream_epoch: epoch.0.to_vec(),
        lane: wire::lane_number(page.lane),
        first_seq: page.after.next().0,
        records,
        head_seq: page.head.0,
        through_seq: through.0,
        gaps: gaps.collect(),
        withheld,
    };
    let under = match &lines[..] {
        [(id, _)] => rights.lines.iter().find(|(line, _)| line.id == *id),
        _ => None,
    };
    let under = under.map(|(line, held)| {
        let approval = held.as_ref().map_or_else(|| line.approval.clone(), |held| held.id.to_string());
        (line.purpose.clone(), approval)
    });
    Cut { batch, bytes, next_bytes, wants_use, lines, under }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::fake::{line, page};

    /// (what, lines' ids, share_items, schemas, records_max, bytes_max) → (seqs, through, withheld, next_bytes)
    type Case = (
        &'static str,
        Vec<ShareLine>,
        &'static [&'static str],
        &'static [&'static str],
        usize,
        u64,
        (&'static [u64], u64, u64, Option<u64>),
    );

    #[test]
    fn a_batch_speaks_for_its_whole_span() {
        // Positions 1..=3 are a gap; 4 and 6 belong to line A, 5 and 7 to line B; 10 bytes each.
        let page = page(Lane::Bulk, &[(4, "A"), (5, "B"), (6, "A"), (7, "B")], &[(1, 3)], 10);
        let both = || vec![line("A", Lane::Bulk, &["c"]), line("B", Lane::Bulk, &["c"])];
        let mut expired = both();
        expired[1].until_ms = Some(1_000);
        let cases: Vec<Case> = vec![
            ("all", both(), &[], &[], 100, 1000, (&[4, 5, 6, 7], 7, 0, None)),
            ("filter", both(), &["A"], &[], 100, 1000, (&[4, 6], 7, 2, None)),
            ("schema", both(), &[], &["window/1"], 100, 1000, (&[], 7, 4, None)),
            ("expired", expired, &[], &[], 100, 1000, (&[4, 6], 7, 2, None)),
            ("other lane", vec![line("A", Lane::Alarm, &["c"])], &[], &[], 9, 99, (&[], 7, 4, None)),
            ("other consumer", vec![line("A", Lane::Bulk, &["d"])], &[], &[], 9, 99, (&[], 7, 4, None)),
            ("two records", both(), &[], &[], 2, 1000, (&[4, 5], 5, 0, Some(10))),
            ("39 bytes", both(), &[], &[], 100, 39, (&[4, 5, 6], 6, 0, Some(10))),
            ("no room but a gap", both(), &[], &[], 100, 9, (&[], 3, 0, Some(10))),
            ("withheld before the cut", both(), &["B"], &[], 1, 1000, (&[5], 6, 2, Some(10))),
        ];
        for (what, lines, items, schemas, records_max, bytes_max, expected) in cases {
            let wanted = Wanted {
                caller: Caller::from("c".parse::<Consumer>().expect("consumer")),
                share_items: items.iter().map(|item| (*item).to_owned()).collect(),
                schemas: schemas.iter().map(|schema| (*schema).to_owned()).collect(),
            };
            let force = InForce::of(lines);
            let cut = cut(Epoch([1; 16]), &page, &wanted.rights(&force, 1_000), records_max, bytes_max);
            let seqs: Vec<u64> = cut.batch.records.iter().map(|record| record.seq).collect();
            let told = (&seqs[..], cut.batch.through_seq, cut.batch.withheld, cut.next_bytes);
            assert_eq!(told, expected, "{what}");
            let gaps: u64 = cut.batch.gaps.iter().map(|gap| gap.lost_records).sum();
            let span = cut.batch.through_seq + 1 - cut.batch.first_seq;
            let named: u64 = cut.lines.iter().map(|(_, count)| count).sum();
            assert_eq!(named, seqs.len() as u64, "{what}");
            let delivered = cut.delivered(&wanted.caller.consumer, Lane::Bulk);
            let ends = delivered.as_ref().map(|told| (told.from.0, told.to.0));
            assert_eq!(ends, seqs.first().copied().zip(seqs.last().copied()), "{what}");
            let one_line = delivered.filter(|told| told.lines.len() == 1).and_then(|told| told.under);
            let approved = ("test".to_owned(), "AP-1".to_owned());
            assert_eq!(one_line, (cut.lines.len() == 1).then_some(approved), "{what}");
            assert_eq!(span, seqs.len() as u64 + gaps + cut.batch.withheld, "{what}");
        }
    }

    #[test]
    fn the_previous_hash_goes_along_where_it_does_not_stand_right_before() {
        let page = page(Lane::Bulk, &[(1, "A"), (2, "A"), (3, "B"), (4, "A")], &[], 10);
        let wanted = Wanted::everything("c".parse::<Consumer>().expect("consumer").into());
        let force = InForce::of(vec![line("A", Lane::Bulk, &["c"])]);
        let cut = cut(Epoch([1; 16]), &page, &wanted.rights(&force, 0), 100, 1000);
        let lengths: Vec<usize> = cut.batch.records.iter().map(|record| record.prev_hash.len()).collect();
        assert_eq!(lengths, [32, 0, 32]);
    }
}
