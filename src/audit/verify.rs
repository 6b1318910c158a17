//! The check of a trail, offline: from a database or a copy of it, and what a witness kept outside.
//!
//! Guarantees: a way of its own. It shares neither the statements nor the hashing of what writes the trail, so that a
//! fault there is not a fault here; it opens the database read-only and changes nothing. What it does not find: rows
//! that were never written, and rows cut behind the newest position that a witness holds.

mod source;
mod witness;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use super::Action;
use source::{Copy, Row};
pub use witness::Line;

/// How far the newest row may be ahead of the oldest one that no witness holds, milliseconds.
const STALE_MS: i64 = 15 * 60_000;
/// Faults that are told; the others are counted.
const FAULTS_MAX: usize = 100;

/// The check could not be made: nothing is said about the trail.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CannotRun(pub String);

/// What the check is made with.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Public keys that may have signed positions, 32 bytes each.
    pub keys: Vec<Vec<u8>>,
    /// Whether the signed positions in the database itself count.
    pub checkpoints: bool,
    /// What witnesses kept; none without any.
    pub witness: Option<Vec<Line>>,
}

/// What the trail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Whole, and a witness says so.
    Whole,
    /// Changed, cut or replaced.
    Tampered,
    /// Whole as far as it goes, but nobody outside vouches for its newest rows.
    Unwitnessed,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// At which row, where it is one.
    pub row: Option<u64>,
    /// What.
    pub what: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The trail's name towards witnesses.
    pub origin: String,
    /// Rows that were trimmed, and are vouched for by their hash alone.
    pub trimmed: u64,
    /// The newest row.
    pub rows: u64,
    /// Its hash, hex.
    pub head: String,
    /// Signed positions that lie on the chain.
    pub checkpoints: u64,
    /// The newest row that a witness holds; none without a witness.
    pub witnessed: Option<u64>,
    /// From the oldest row that no witness holds to the newest, milliseconds.
    pub lag_ms: i64,
    /// Whether there is a witness, and it is not too far behind.
    pub is_fresh: bool,
    /// The first ones of what does not hold.
    pub faults: Vec<Fault>,
    /// More of them.
    pub more_faults: u64,
    /// What is odd, but proves nothing.
    pub notes: Vec<String>,
}

impl Report {
    /// What the trail is.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.faults.is_empty(), self.is_fresh) {
            (false, _) => Verdict::Tampered,
            (true, true) => Verdict::Whole,
            (true, false) => Verdict::Unwitnessed,
        }
    }

    fn fault(&mut self, row: impl Into<Option<u64>>, what: impl Into<String>) {
        match self.faults.len() < FAULTS_MAX {
            true => self.faults.push(Fault { row: row.into(), what: what.into() }),
            false => self.more_faults += 1,
        }
    }

    fn note(&mut self, what: String) {
        if self.notes.len() < FAULTS_MAX {
            self.notes.push(what);
        }
    }
}

type Digest32 = [u8; 32];

/// A position that somebody vouches for.
struct Claim {
    head: Vec<u8>,
    who: String,
    is_witness: bool,
}

/// Checks the trail in a database file.
///
/// # Errors
/// [`CannotRun`]: there is no such database, it holds no trail, or there are signatures and no key.
pub fn verify(path: &Path, evidence: &Evidence) -> Result<Report, CannotRun> {
    let copy = Copy::open(path)?;
    let trail = copy.trail()?;
    let mut report = Report { origin: origin(&trail), ..Report::default() };
    let mut claims: BTreeMap<u64, Vec<Claim>> = BTreeMap::new();
    if evidence.checkpoints {
        signed(&copy, evidence, &mut claims, &mut report)?;
    }
    if let Some(lines) = &evidence.witness {
        vouched(lines, evidence, &mut claims, &mut report);
    }
    let mut walk = Walk::new(&trail, copy.base()?, claims, report);
    let damage = copy.rows(|row| walk.row(&row))?;
    if let Some(what) = damage {
        let next = walk.seq + 1;
        walk.report.fault(next, what);
    }
    walk.end(&copy)
}

/// Signed positions in the database.
fn signed(
    copy: &Copy,
    evidence: &Evidence,
    claims: &mut BTreeMap<u64, Vec<Claim>>,
    report: &mut Report,
) -> Result<(), CannotRun> {
    let checkpoints = match copy.checkpoints()? {
        Ok(checkpoints) => checkpoints,
        Err(damage) => {
            report.fault(None, damage);
            return Ok(());
        }
    };
    if evidence.keys.is_empty() && !checkpoints.is_empty() {
        return Err(CannotRun("there are signed positions and no key to check them with: --key HEX".into()));
    }
    for (size, head, signature) in checkpoints {
        if !is_signed(&evidence.keys, &report.origin, size, &head, &signature) {
            report.fault(size, "the signed position there is signed by another key, or was changed");
        }
        let claim = Claim { head, who: "the signed position".into(), is_witness: false };
        claims.entry(size).or_default().push(claim);
    }
    Ok(())
}

/// What witnesses kept.
fn vouched(lines: &[Line], evidence: &Evidence, claims: &mut BTreeMap<u64, Vec<Claim>>, report: &mut Report) {
    for Line { number, origin, size, head, signature } in lines {
        let who = format!("line {number} of the witness");
        if *origin != report.origin {
            let ours = report.origin.clone();
            report.fault(None, format!("{who} is about {origin}, and this is {ours}: a file of another gateway, or the database was replaced"));
            continue;
        }
        let has_key = !evidence.keys.is_empty();
        if has_key && !is_signed(&evidence.keys, origin, *size, head, signature) {
            report.fault(*size, format!("{who} is not signed by the key given"));
        }
        let claim = Claim { head: head.clone(), who, is_witness: true };
        claims.entry(*size).or_default().push(claim);
        report.witnessed = report.witnessed.max(Some(*size));
    }
}

fn origin(trail: &[u8]) -> String {
    format!("smallbrain/{}", hex(trail))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_signed(keys: &[Vec<u8>], origin: &str, size: u64, head: &[u8], signature: &[u8]) -> bool {
    let note = [origin, &size.to_string(), &STANDARD.encode(head), ""].join("\n");
    keys.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(note.as_bytes(), signature).is_ok())
}

fn genesis(trail: &[u8]) -> Digest32 {
    Sha256::digest([&[0], trail].concat()).into()
}

/// 0x01 || field(trail) || previous hash || field(each column); a field is 0x00 for NULL, or 0x01, its length and itself.
fn row_hash(trail: &[u8], row: &Row) -> Digest32 {
    let mut bytes = vec![1];
    let mut field = |value: Option<&[u8]>, raw: bool| match value {
        Some(value) if raw => bytes.extend_from_slice(value),
        Some(value) => {
            bytes.push(1);
            bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
            bytes.extend_from_slice(value);
        }
        None => bytes.push(0),
    };
    field(Some(trail), false);
    field(Some(&row.previous), true);
    for number in [row.seq, row.ts_ms, row.mono_ms] {
        field(Some(&number.to_be_bytes()), false);
    }
    field(Some(&row.boot), false);
    for text in &row.texts {
        field(text.as_deref(), false);
    }
    Sha256::digest(&bytes).into()
}

/// The chain, row by row.
struct Walk<'t> {
    trail: &'t [u8],
    /// The row before, and its hash.
    seq: u64,
    hash: Digest32,
    base: u64,
    claims: BTreeMap<u64, Vec<Claim>>,
    /// Of the row before, for the clock.
    last: Option<(Vec<u8>, i64, i64)>,
    /// Time of the oldest row that no witness holds.
    unwitnessed_ms: Option<i64>,
    /// What consumers have acknowledged, by consumer and lane.
    acked: HashMap<(String, String), u64>,
    /// Whether a row says that the trail was trimmed where it was.
    is_trim_told: bool,
    report: Report,
}

impl<'t> Walk<'t> {
    fn new(
        trail: &'t [u8],
        base: Option<(u64, Digest32)>,
        claims: BTreeMap<u64, Vec<Claim>>,
        report: Report,
    ) -> Self {
        let (seq, hash) = base.unwrap_or_else(|| (0, genesis(trail)));
        let mut walk = Self {
            trail,
            seq,
            hash,
            base: seq,
            claims,
            last: None,
            unwitnessed_ms: None,
            acked: HashMap::new(),
            is_trim_told: seq == 0,
            report: Report { trimmed: seq, ..report },
        };
        walk.compare();
        walk
    }

    fn row(&mut self, row: &Row) {
        let seq = row.seq.unsigned_abs();
        if row.seq < 0 || seq != self.seq + 1 {
            self.report.fault(seq, format!("follows row {}: rows are missing", self.seq));
        } else if row.previous != self.hash {
            self.report.fault(seq, "does not follow from the row before it");
        }
        if row_hash(self.trail, row) != row.hash {
            self.report.fault(seq, "its content is not what it was signed with");
        }
        self.is_known(seq, row);
        self.clock(seq, row);
        self.conserve(seq, row);
        // It goes on from what the row says, so that one change is one fault.
        (self.seq, self.hash) = (seq, row.hash);
        if seq > self.report.witnessed.unwrap_or(0) {
            self.unwitnessed_ms.get_or_insert(row.ts_ms);
        }
        self.compare();
    }

    /// Holds what is vouched for at the present row against it.
    fn compare(&mut self) {
        for Claim { head, who, is_witness } in self.claims.remove(&self.seq).unwrap_or_default() {
            if head != self.hash {
                self.report.fault(self.seq, format!("{who} has another hash there"));
            } else if !is_witness {
                self.report.checkpoints += 1;
            }
        }
    }

    fn is_known(&mut self, seq: u64, row: &Row) {
        let action = row.text(ACTION);
        if Action::named(action).is_none() {
            self.report.fault(seq, "its action is none of those there are");
        }
        if !["ok", "denied", "error"].contains(&row.text(OUTCOME)) {
            self.report.fault(seq, "its outcome is none of those there are");
        }
    }

    fn clock(&mut self, seq: u64, row: &Row) {
        if let Some((boot, ts_ms, mono_ms)) = &self.last
            && *boot == row.boot
        {
            if row.mono_ms < *mono_ms {
                self.report.note(format!("row {seq}: the monotonic clock went back within one run"));
            }
            if row.ts_ms < *ts_ms {
                let back_ms = ts_ms - row.ts_ms;
                self.report.note(format!("row {seq}: the clock went back by {back_ms} ms"));
            }
        }
        self.last = Some((row.boot.clone(), row.ts_ms, row.mono_ms));
    }

    /// Acknowledgements go on where they were; what was trimmed is told.
    fn conserve(&mut self, seq: u64, row: &Row) {
        let (action, object, is_ok) = (row.text(ACTION), row.text(OBJECT), row.text(OUTCOME) == "ok");
        if action == Action::StoreFork.as_str() && row.text(OUTCOME) == "error" {
            // A new epoch: every cursor begins anew.
            self.acked.clear();
        }
        if action == Action::RetentionDelete.as_str()
            && object.strip_prefix("audit:").and_then(range).is_some_and(|(_, to)| to == self.base)
        {
            self.is_trim_told = true;
        }
        if action != Action::ShareAck.as_str() || !is_ok {
            return;
        }
        let acked = object.split_once(':').and_then(|(lane, seqs)| Some((lane.to_owned(), range(seqs)?)));
        let Some((lane, (from, to))) = acked else {
            return self.report.fault(seq, "an acknowledgement of no range");
        };
        let before = self.acked.insert((row.text(ACTOR).to_owned(), lane), to);
        if before.is_some_and(|before| before + 1 != from) {
            self.report.fault(seq, "an acknowledgement that does not go on where the one before it ended");
        }
    }

    fn end(mut self, copy: &Copy) -> Result<Report, CannotRun> {
        if !self.is_trim_told {
            self.report.fault(self.base, "the trail begins behind it, and no row says that it was trimmed");
        }
        let (seq, base) = (self.seq, self.base);
        for (size, claims) in std::mem::take(&mut self.claims) {
            for Claim { who, .. } in claims {
                match size {
                    size if size > seq => {
                        self.report.fault(size, format!("{who} has {size} rows, and there are {seq}"))
                    }
                    // Trimmed since: what follows is bound to it.
                    size if size < base => {}
                    size => self.report.fault(size, format!("{who} is of a row that is missing")),
                }
            }
        }
        match copy.cursors()? {
            Ok(cursors) => self.cursors(cursors),
            Err(damage) => self.report.fault(None, damage),
        }
        let newest_ms = self.last.as_ref().map_or(0, |(_, ts_ms, _)| *ts_ms);
        let lag_ms = self.unwitnessed_ms.map_or(0, |oldest| newest_ms.saturating_sub(oldest));
        let mut report = self.report;
        (report.rows, report.head, report.lag_ms) = (self.seq, hex(&self.hash), lag_ms);
        report.is_fresh = report.witnessed.is_some() && lag_ms <= STALE_MS;
        Ok(report)
    }

    /// What consumers have by the trail is what they have by their cursors.
    fn cursors(&mut self, cursors: Vec<(String, String, u64)>) {
        for (consumer, lane, seq) in cursors {
            match self.acked.remove(&(consumer, lane.clone())) {
                Some(acked) if acked != seq => {
                    let what =
                        format!("lane {lane}: the cursor of a consumer is {seq}, and by the trail {acked}");
                    self.report.fault(None, what);
                }
                Some(_) => {}
                // From before there was a trail, or trimmed.
                None => {
                    self.report.note(format!("lane {lane}: a cursor at {seq} that the trail says nothing of"))
                }
            }
        }
        for ((_, lane), acked) in std::mem::take(&mut self.acked) {
            self.report
                .fault(None, format!("lane {lane}: acknowledged up to {acked}, and the cursor is gone"));
        }
    }
}

/// Where the texts of a row are.
const ACTOR: usize = 0;
const ACTION: usize = 2;
const OBJECT: usize = 3;
const OUTCOME: usize = 7;

/// "17-20".
fn range(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}
