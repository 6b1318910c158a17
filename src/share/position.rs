//! A consumer's side of the contract as a pure ledger: where it stands in each lane, and whether a batch holds what the
//! contract promises.
//!
//! Guarantees: a batch is taken whole or not at all; records, gaps and withheld positions cover its span exactly; ids
//! are the ones they must be; each record's hash is its own, and chains to the one before wherever that is known. Does
//! not store anything: it is serialisable, so that its owner can.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Lane;
use crate::wire::{self, v1};

/// What does not hold in a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A lane that was not asked for.
    #[error("a batch of lane {0}, which is none")]
    Lane(i32),
    /// Another epoch: the store was created, restored or forked.
    #[error(
        "epoch {theirs} instead of {ours}: the gateway's store is another one; start anew from position 0"
    )]
    Epoch {
        /** What it was. */
        ours: String,
        /** What it is. */
        theirs: String,
    },
    /// The batch does not go on where the last one ended.
    #[error("lane {lane}: the batch starts at {first}, expected {expected}")]
    Start {
        /** Lane. */
        lane: Lane,
        /** Its first position. */
        first: u64,
        /** The one after the cursor. */
        expected: u64,
    },
    /// Positions that are told twice, out of order, or not at all.
    #[error("lane {lane}: positions {first} to {through} are not covered: {told} told of {span}")]
    Density {
        /** Lane. */
        lane: Lane,
        /** First of the span. */
        first: u64,
        /** Last of the span. */
        through: u64,
        /** Records, gaps and withheld. */
        told: u64,
        /** Positions of the span. */
        span: u64,
    },
    /// A record or a gap at a place where it cannot be.
    #[error("lane {lane}: position {seq} is out of order or outside of the batch")]
    Order {
        /** Lane. */
        lane: Lane,
        /** Position. */
        seq: u64,
    },
    /// A record id that is not the one of its position.
    #[error("lane {lane}: record {seq} calls itself {id:?}")]
    Id {
        /** Lane. */
        lane: Lane,
        /** Position. */
        seq: u64,
        /** What it calls itself. */
        id: String,
    },
    /// A hash that is not the record's own.
    #[error("lane {lane}: the hash of record {seq} does not hold: it was changed on the way or on disk")]
    Hash {
        /** Lane. */
        lane: Lane,
        /** Position. */
        seq: u64,
    },
    /// A record that does not follow the one before it.
    #[error("lane {lane}: record {seq} does not follow record {before} as it was delivered")]
    Chain {
        /** Lane. */
        lane: Lane,
        /** Position. */
        seq: u64,
        /** The one before. */
        before: u64,
    },
}

/// Where a consumer stands in one lane.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Everything up to and including this is taken.
    pub seq: u64,
    /// Hash of the record at `seq`, as hex; none when that position held no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

impl Mark {
    /// The hash as bytes.
    #[must_use]
    pub fn hash_bytes(&self) -> Option<[u8; 32]> {
        let text = self.hash.as_deref().filter(|text| text.len() == 64 && text.is_ascii())?;
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(bytes)
    }
}

/// Where a consumer stands. A lane without a mark resumes at the ack that the gateway has stored.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// The epoch as hex; none before the first contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// By lane.
    #[serde(default)]
    pub lanes: BTreeMap<Lane, Mark>,
}

/// What a batch brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Taken {
    /// Records.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Positions declared lost.
    pub lost: u64,
    /// Positions for other consumers.
    pub withheld: u64,
}

impl Position {
    /// Notes the gateway's epoch, or holds it against the known one.
    ///
    /// # Errors
    /// [`Broken::Epoch`].
    pub fn meet(&mut self, epoch: &[u8]) -> Result<(), Broken> {
        let theirs = hex(epoch);
        match &self.epoch {
            Some(ours) if *ours != theirs => Err(Broken::Epoch { ours: ours.clone(), theirs }),
            _ => {
                self.epoch = Some(theirs);
                Ok(())
            }
        }
    }

    /// Checks a batch and moves past it.
    ///
    /// # Errors
    /// [`Broken`]: what does not hold; nothing moves then.
    pub fn take(&mut self, batch: &v1::RecordBatch) -> Result<Taken, Broken> {
        let lane = wire::lane(batch.lane).ok_or(Broken::Lane(batch.lane))?;
        self.meet(&batch.stream_epoch)?;
        let mark = self.lanes.get(&lane);
        let expected = mark.map_or(batch.first_seq, |mark| mark.seq.saturating_add(1));
        if batch.first_seq != expected || batch.first_seq == 0 {
            return Err(Broken::Start { lane, first: batch.first_seq, expected });
        }
        let known = mark.and_then(|mark| Some((mark.seq, mark.hash_bytes()?)));
        let taken = self.covered(lane, batch)?;
        let last = chained(lane, batch, known)?;
        let hash = last.filter(|(seq, _)| *seq == batch.through_seq).map(|(_, hash)| hex(&hash));
        self.lanes.insert(lane, Mark { seq: batch.through_seq, hash });
        Ok(taken)
    }

    /// The cursor of a lane, if it has one.
    #[must_use]
    pub fn cursor(&self, lane: Lane) -> Option<v1::Cursor> {
        let mark = self.lanes.get(&lane)?;
        let epoch = self.epoch.as_deref().map(unhex).unwrap_or_default();
        Some(v1::Cursor { stream_epoch: epoch, lane: wire::lane_number(lane), seq: mark.seq })
    }

    /// Every position of the span told once, and every record under its own name.
    fn covered(&self, lane: Lane, batch: &v1::RecordBatch) -> Result<Taken, Broken> {
        let span = batch.first_seq..=batch.through_seq;
        let mut taken = Taken { withheld: batch.withheld, ..Taken::default() };
        let mut next = batch.first_seq;
        let mut gaps = batch.gaps.iter().peekable();
        let prefix = format!("{}-{lane}-", self.epoch.as_deref().unwrap_or_default());
        for record in &batch.records {
            while let Some(gap) = gaps.next_if(|gap| gap.from_seq < record.seq) {
                taken.lost = taken.lost.saturating_add(inside(lane, gap, &mut next)?);
            }
            if !span.contains(&record.seq) || record.seq < next {
                return Err(Broken::Order { lane, seq: record.seq });
            }
            next = record.seq.saturating_add(1);
            // A collector stores by the text of an id: "+5" and "05" are not 5.
            let own = record.record_id.strip_prefix(&prefix);
            let own = own.filter(|seq| seq.starts_with(|first| matches!(first, '1'..='9')));
            let own = own.and_then(|seq| seq.parse().ok());
            if own != Some(record.seq) {
                return Err(Broken::Id { lane, seq: record.seq, id: record.record_id.clone() });
            }
            taken.records += 1;
            taken.bytes += record.body.len() as u64;
        }
        for gap in gaps {
            taken.lost = taken.lost.saturating_add(inside(lane, gap, &mut next)?);
        }
        if next > batch.through_seq.saturating_add(1) {
            return Err(Broken::Order { lane, seq: next - 1 });
        }
        let (first, through) = (batch.first_seq, batch.through_seq);
        let span = through.saturating_add(1).saturating_sub(first);
        let told = taken.records.saturating_add(taken.lost).saturating_add(taken.withheld);
        if told != span {
            return Err(Broken::Density { lane, first, through, told, span });
        }
        Ok(taken)
    }
}

/// How many positions a gap covers, which lie at or after `next`.
fn inside(lane: Lane, gap: &v1::Gap, next: &mut u64) -> Result<u64, Broken> {
    if gap.from_seq < *next || gap.to_seq < gap.from_seq {
        return Err(Broken::Order { lane, seq: gap.from_seq });
    }
    *next = gap.to_seq.saturating_add(1);
    Ok(*next - gap.from_seq)
}

/// Checks every hash; `known` and the answer are (seq, hash) of a record.
fn chained(
    lane: Lane,
    batch: &v1::RecordBatch,
    mut known: Option<(u64, [u8; 32])>,
) -> Result<Option<(u64, [u8; 32])>, Broken> {
    if batch.first_seq == 1 {
        known = Some((0, [0; 32]));
    }
    for record in &batch.records {
        let before = known.filter(|(seq, _)| seq.checked_add(1) == Some(record.seq)).map(|(_, hash)| hash);
        let told: Option<[u8; 32]> = record.prev_hash.as_ref().try_into().ok();
        if let (Some(before), Some(told)) = (before, told)
            && before != told
        {
            return Err(Broken::Chain { lane, seq: record.seq, before: record.seq - 1 });
        }
        let prev = told.or(before).ok_or(Broken::Hash { lane, seq: record.seq })?;
        let hash = wire::record_hash(&prev, &record.record_id, &record.body);
        if record.record_hash != hash[..] {
            return Err(Broken::Hash { lane, seq: record.seq });
        }
        known = Some((record.seq, hash));
    }
    Ok(known)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2);
    pairs.filter_map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Consumer, Seq};
    use crate::share::batch::{InForce, Wanted, cut};
    use crate::share::fake::{EPOCH, Fake, line};

    fn batch(after: u64) -> v1::RecordBatch {
        let fake = Fake::new();
        for seq in 1..=8u64 {
            fake.seal(Lane::Bulk, if seq == 6 { "B" } else { "A" }, seq.to_string());
        }
        fake.lose(Lane::Bulk, 3, 4);
        let wanted = Wanted::everything("c".parse::<Consumer>().expect("consumer").into());
        let page = fake.read(Lane::Bulk, Seq(after), 100, 1000);
        let force = InForce::of(vec![line("A", Lane::Bulk, &["c"])]);
        cut(EPOCH, &page, &wanted.rights(&force, 0), 100, 1000).batch
    }

    #[test]
    fn a_good_batch_moves_the_mark_and_the_next_one_goes_on_from_there() {
        let mut position = Position::default();
        let taken = position.take(&batch(0)).expect("holds");
        assert_eq!(taken, Taken { records: 5, bytes: 5, lost: 2, withheld: 1 });
        let mark = &position.lanes[&Lane::Bulk];
        assert_eq!(mark.seq, 8);
        assert_eq!(
            mark.hash_bytes().map(|hash| hash.to_vec()),
            Some(batch(0).records[4].record_hash.to_vec())
        );
        assert_eq!(position.cursor(Lane::Bulk).map(|c| (c.seq, c.stream_epoch)), Some((8, EPOCH.0.to_vec())));
        assert_eq!(position.take(&batch(0)), Err(Broken::Start { lane: Lane::Bulk, first: 1, expected: 9 }));
        let json = serde_json::to_string(&position).expect("json");
        assert_eq!(serde_json::from_str::<Position>(&json).expect("json"), position);
    }

    #[test]
    fn whatever_does_not_hold_is_said_and_moves_nothing() {
        type Spoil = fn(&mut v1::RecordBatch);
        let cases: [(&str, Spoil, &str); 13] = [
            ("lane", |b| b.lane = 99, "which is none"),
            ("epoch", |b| b.stream_epoch = vec![1; 16], "another one"),
            ("start", |b| b.first_seq = 2, "expected 1"),
            ("left out", |b| drop(b.records.remove(1)), "not covered"),
            ("twice", |b| b.records[1] = b.records[0].clone(), "out of order"),
            ("beyond", |b| b.through_seq = 7, "out of order"),
            ("gap over a record", |b| b.gaps[0].from_seq = 2, "out of order"),
            ("gap hidden", |b| b.gaps.clear(), "not covered"),
            ("name", |b| b.records[0].record_id.push('0'), "calls itself"),
            (
                "sign",
                |b| b.records[0].record_id = b.records[0].record_id.replace("-1", "-+1"),
                "calls itself",
            ),
            (
                "zero",
                |b| b.records[0].record_id = b.records[0].record_id.replace("-1", "-01"),
                "calls itself",
            ),
            ("body", |b| b.records[0].body = "9".into(), "does not hold"),
            ("chain", |b| b.records[0].prev_hash = vec![9; 32].into(), "does not follow"),
        ];
        for (what, spoil, says) in cases {
            let mut position = Position::default();
            position.meet(&EPOCH.0).expect("first contact");
            position.lanes.insert(Lane::Bulk, Mark::default());
            let before = position.clone();
            let mut batch = batch(0);
            spoil(&mut batch);
            let error = position.take(&batch).expect_err(what).to_string();
            assert!(error.contains(says), "{what}: {error}");
            assert_eq!(position, before, "{what}");
        }
    }
}
