//! Attacks on the trail: what the chain alone, signed positions and a witness each find, and that no flipped bit passes.

#[path = "audit/trail.rs"]
mod trail;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::Value;
use smallbrain::audit::chain::Head;
use smallbrain::audit::checkpoint::{Checkpoint, Signer};
use smallbrain::audit::verify::{Evidence, Line, Verdict, verify};
use smallbrain::audit::{Action, Entry, Outcome};
use smallbrain::model::Stamp;
use smallbrain::store::{Settings, Store};

/// 2026-11-21 in +08:00.
pub(crate) const NOW_MS: i64 = 1_795_190_400_000;
/// Rows of the trail under attack, how often one is signed, and up to where the witness has it.
const ROWS: u64 = 200;
const EVERY: u64 = 20;
const WITNESSED: u64 = 180;

fn signer() -> Signer {
    Signer::from_seed(&[7; 32]).expect("a seed")
}

fn at(row: u64) -> Stamp {
    Stamp { wall_ms: NOW_MS + row as i64 * 1000, mono_ms: row * 1000 }
}

fn open(dir: &Path) -> Store {
    let settings = Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 0,
        group_window: Duration::ZERO,
        retention: Duration::from_secs(3600),
        promises: smallbrain::store::room::Promises::of(64 << 20),
    };
    Store::open(settings, [3; 32], at(0)).expect("the store opens")
}

/// Rows of every shape: with and without what may be absent.
fn entry(row: u64) -> Entry {
    let entry = Entry::by(
        "spiffe://city.example/test",
        "consumer",
        Action::ShareDeliver,
        format!("bulk:{row}-{row}"),
    );
    match row % 3 {
        0 => Entry { list: Some("share/S-1@4".into()), purpose: Some("test".into()), ..entry },
        1 => entry.with("{\"S-1\":12}"),
        _ => entry.not(Outcome::Denied, "expired"),
    }
}

/// A trail with signed positions, and what a witness has of it.
struct Site {
    dir: tempfile::TempDir,
    name: Vec<u8>,
    witness: Vec<Line>,
}

impl Site {
    fn new(rows: u64, every: u64, witnessed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = open(dir.path());
        let (name, mut witness) = (store.trail().to_vec(), Vec::new());
        for row in 1..=rows {
            let mut txn = store.begin().expect("a transaction");
            txn.audit(&entry(row), at(row)).expect("a row");
            if row % every == 0 {
                let checkpoint = signer().sign(&name, txn.audit_head(), at(row).wall_ms);
                txn.checkpoint(&checkpoint).expect("kept");
                if row <= witnessed {
                    witness.push(line(&checkpoint));
                }
            }
            txn.commit().expect("committed");
        }
        store.close().expect("closed");
        Self { dir, name, witness }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("smallbrain.db")
    }

    /// The database without what keeps it from being changed.
    fn broken_into(&self) -> Connection {
        let conn = Connection::open(self.path()).expect("opened");
        for trigger in ["audit_no_update", "audit_no_delete", "audit_dense"] {
            conn.execute_batch(&format!("DROP TRIGGER {trigger}")).expect("dropped");
        }
        conn
    }

    fn verdict(&self, checkpoints: bool, witness: bool) -> Verdict {
        let evidence = Evidence {
            keys: vec![signer().public_key().to_vec()],
            checkpoints,
            witness: witness.then(|| self.witness.clone()),
        };
        verify(&self.path(), &evidence).expect("it runs").verdict()
    }
}

fn line(checkpoint: &Checkpoint) -> Line {
    let Checkpoint { origin, head, signature, .. } = checkpoint.clone();
    Line { number: 1, origin, size: head.seq, head: head.hash.to_vec(), signature }
}

/// The columns of all rows.
fn rows(conn: &Connection) -> Vec<Vec<Value>> {
    let mut statement = conn.prepare("SELECT * FROM audit ORDER BY seq").expect("prepared");
    let read = |row: &rusqlite::Row<'_>| (0..16).map(|at| row.get(at)).collect();
    statement.query_map([], read).expect("asked").collect::<Result<_, _>>().expect("read")
}

/// Writes rows anew: numbered from 1, and with hashes that fit where `hashed`.
fn rewrite(site: &Site, conn: &Connection, mut rows: Vec<Vec<Value>>, hashed: bool) {
    conn.execute("DELETE FROM audit", []).expect("deleted");
    let mut head = Head::genesis(&site.name);
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    let number = |value: &Value| match value {
        Value::Integer(number) => *number,
        _ => 0,
    };
    for (row, seq) in rows.iter_mut().zip(1_i64..) {
        row[0] = Value::Integer(seq);
        if hashed {
            let entry = Entry {
                actor: text(&row[4]).expect("an actor"),
                role: text(&row[5]).expect("a role"),
                action: Action::named(&text(&row[6]).expect("an action")).expect("known"),
                object: text(&row[7]).expect("an object"),
                list: text(&row[8]),
                purpose: text(&row[9]),
                approval: text(&row[10]),
                outcome: match text(&row[11]).as_deref() {
                    Some("ok") => Outcome::Ok,
                    _ => Outcome::Denied,
                },
                reason: text(&row[12]),
                detail: text(&row[13]),
            };
            let stamp = Stamp { wall_ms: number(&row[1]), mono_ms: number(&row[2]) as u64 };
            row[14] = Value::Blob(head.hash.to_vec());
            head = head.next(&site.name, &[3; 16], stamp, &entry);
            row[15] = Value::Blob(head.hash.to_vec());
        }
        let marks = vec!["?"; 16].join(", ");
        conn.execute(&format!("INSERT INTO audit VALUES ({marks})"), rusqlite::params_from_iter(row.iter()))
            .expect("inserted");
    }
}

fn edited(conn: &Connection) -> Vec<Vec<Value>> {
    let mut rows = rows(conn);
    rows[99][7] = Value::Text("bulk:1-1".into());
    rows
}

fn sql(statement: &'static str) -> impl Fn(&Site, &Connection) {
    move |_, conn| conn.execute_batch(statement).expect(statement)
}

type Attack = Box<dyn Fn(&Site, &Connection)>;

/// Name, what is done, and whether it is caught by the chain, with signed positions, with a witness too.
fn attacks() -> Vec<(&'static str, Attack, [bool; 3])> {
    let rewritten = |change: fn(Vec<Vec<Value>>) -> Vec<Vec<Value>>, hashed: bool| {
        move |site: &Site, conn: &Connection| rewrite(site, conn, change(rows(conn)), hashed)
    };
    let drop_later = "DELETE FROM audit_checkpoint WHERE size >= 100";
    vec![
        ("edit a field", Box::new(sql("UPDATE audit SET object = 'bulk:1-1' WHERE seq = 100")), [true; 3]),
        ("NULL to empty", Box::new(sql("UPDATE audit SET reason = '' WHERE seq = 99")), [true; 3]),
        (
            "move text between columns",
            Box::new(sql("UPDATE audit SET actor = actor || 'c', actor_role = 'onsumer' WHERE seq = 100")),
            [true; 3],
        ),
        ("delete in the middle", Box::new(sql("DELETE FROM audit WHERE seq = 100")), [true; 3]),
        (
            "delete and renumber",
            Box::new(rewritten(
                |mut rows| {
                    rows.remove(99);
                    rows
                },
                false,
            )),
            [true; 3],
        ),
        (
            "swap two rows",
            Box::new(rewritten(
                |mut rows| {
                    rows.swap(98, 99);
                    rows
                },
                false,
            )),
            [true; 3],
        ),
        (
            "insert a forged row",
            Box::new(rewritten(
                |mut rows| {
                    rows.insert(99, rows[99].clone());
                    rows
                },
                false,
            )),
            [true; 3],
        ),
        ("cut the last 10 rows", Box::new(sql("DELETE FROM audit WHERE seq > 190")), [false, true, true]),
        (
            "cut rows and their signed positions",
            Box::new(sql("DELETE FROM audit WHERE seq > 170; DELETE FROM audit_checkpoint WHERE size > 170")),
            [false, false, true],
        ),
        (
            "edit and hash the rest anew",
            Box::new(|site, conn| rewrite(site, conn, edited(conn), true)),
            [false, true, true],
        ),
        (
            "the same, and drop later signed positions",
            Box::new(move |site, conn| {
                rewrite(site, conn, edited(conn), true);
                conn.execute_batch(drop_later).expect("dropped");
            }),
            [false, false, true],
        ),
        (
            "delete, hash anew and sign anew with the key",
            Box::new(move |site, conn| {
                let mut left = rows(conn);
                left.remove(99);
                rewrite(site, conn, left, true);
                conn.execute_batch("DELETE FROM audit_checkpoint").expect("deleted");
                for row in rows(conn)
                    .iter()
                    .filter(|row| matches!(row[0], Value::Integer(seq) if (seq as u64).is_multiple_of(EVERY)))
                {
                    let (Value::Integer(seq), Value::Blob(hash)) = (&row[0], &row[15]) else { continue };
                    let head = Head { seq: *seq as u64, hash: hash[..].try_into().expect("32 bytes") };
                    let signed = signer().sign(&site.name, head, NOW_MS);
                    conn.execute(
                        "INSERT INTO audit_checkpoint VALUES (?, ?, ?, ?)",
                        (seq, hash, NOW_MS, signed.signature),
                    )
                    .expect("inserted");
                }
            }),
            [false, false, true],
        ),
        (
            "wipe all",
            Box::new(sql("DELETE FROM audit; DELETE FROM audit_checkpoint; DELETE FROM audit_base")),
            [false, false, true],
        ),
        (
            "cut only what no witness has",
            Box::new(sql("DELETE FROM audit WHERE seq > 180; DELETE FROM audit_checkpoint WHERE size > 180")),
            [false, false, false],
        ),
    ]
}

#[test]
fn what_is_caught_is_as_it_is_said() {
    let attacks = attacks();
    let mut caught = [0; 3];
    for (name, attack, expected) in &attacks {
        let site = Site::new(ROWS, EVERY, WITNESSED);
        assert_eq!(site.verdict(true, true), Verdict::Whole, "before {name}");
        attack(&site, &site.broken_into());
        let found = [(false, false), (true, false), (true, true)]
            .map(|(checkpoints, witness)| site.verdict(checkpoints, witness) == Verdict::Tampered);
        assert_eq!(found, *expected, "{name}");
        for (count, found) in caught.iter_mut().zip(found) {
            *count += usize::from(found);
        }
    }
    assert_eq!((attacks.len(), caught), (14, [7, 9, 13]));
}

#[test]
fn a_gateway_of_another_name_and_a_trim_that_nobody_told_are_seen() {
    // A wiped database that began anew has another name.
    let site = Site::new(40, 20, 40);
    let other = Site::new(40, 20, 40);
    let conn = other.broken_into();
    conn.execute("UPDATE meta SET value = zeroblob(16) WHERE key = 'trail'", []).expect("renamed");
    rewrite(
        &Site { name: vec![0; 16], dir: tempfile::tempdir().expect("a directory"), witness: vec![] },
        &conn,
        rows(&conn),
        true,
    );
    conn.execute("DELETE FROM audit_checkpoint", []).expect("deleted");
    drop(conn);
    let evidence = Evidence { keys: vec![], checkpoints: true, witness: Some(site.witness.clone()) };
    let report = verify(&other.path(), &evidence).expect("it runs");
    assert_eq!(report.verdict(), Verdict::Tampered);
    assert!(report.faults[0].what.contains("another gateway"), "{report:?}");
    // Rows cut from the front, with a base that fits.
    let conn = site.broken_into();
    conn.execute_batch(
        "INSERT INTO audit_base SELECT 1, seq, row_hash FROM audit WHERE seq = 10; DELETE FROM audit WHERE seq <= 10",
    )
    .expect("cut");
    drop(conn);
    assert_eq!(site.verdict(true, true), Verdict::Tampered);
}

#[test]
fn a_witness_that_is_behind_is_stale_and_none_is_no_witness() {
    // The rows are a second apart: 1,000 rows are more than a quarter of an hour.
    for (witnessed, expected) in [(1000, Verdict::Whole), (200, Verdict::Whole), (20, Verdict::Unwitnessed)] {
        let site = Site::new(1000, EVERY, witnessed);
        assert_eq!(site.verdict(true, true), expected, "witnessed up to {witnessed}");
        assert_eq!(site.verdict(true, false), Verdict::Unwitnessed);
    }
}

/// Everything the rows say, with the types they say it in.
fn content(path: &Path) -> Option<Vec<Vec<Value>>> {
    let uri = format!("file:{}?immutable=1", path.display());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(uri, flags).ok()?;
    let mut statement = conn.prepare("SELECT * FROM audit ORDER BY seq").ok()?;
    let read = |row: &rusqlite::Row<'_>| (0..16).map(|at| row.get(at)).collect();
    statement.query_map([], read).ok()?.collect::<Result<_, _>>().ok()
}

#[test]
fn no_flipped_bit_passes() {
    let site = Site::new(3, 3, 3);
    // Small pages and nothing else: the rows alone, with a page above them.
    let conn = Connection::open(site.path()).expect("opened");
    conn.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 512").expect("set");
    let other = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
        AND name NOT IN ('meta', 'audit', 'audit_base', 'audit_checkpoint', 'cursor')";
    let others: Vec<String> = {
        let mut statement = conn.prepare(other).expect("prepared");
        let names = statement.query_map([], |row| row.get(0)).expect("asked");
        names.collect::<Result<_, _>>().expect("read")
    };
    for table in others {
        conn.execute_batch(&format!("DROP TABLE {table}")).expect("dropped");
    }
    conn.execute_batch("VACUUM").expect("vacuumed");
    let pages: Vec<u64> = {
        let mut statement = conn.prepare("SELECT pageno FROM dbstat WHERE name = 'audit'").expect("dbstat");
        let pages = statement.query_map([], |row| row.get::<_, i64>(0)).expect("asked");
        pages.map(|page| page.expect("read") as u64).collect()
    };
    drop(conn);
    assert!(pages.len() > 2, "{pages:?}");
    let path = site.path();
    let before = content(&path).expect("readable");
    assert_eq!(site.verdict(true, true), Verdict::Whole);
    let evidence = Evidence {
        keys: vec![signer().public_key().to_vec()],
        checkpoints: true,
        witness: Some(site.witness.clone()),
    };
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).expect("opened");
    let (mut caught, mut slack) = (0, 0);
    for offset in pages.iter().flat_map(|page| (page - 1) * 512..page * 512) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("read");
        for bit in 0..8 {
            file.write_all_at(&[byte[0] ^ (1 << bit)], offset).expect("flipped");
            match verify(&path, &evidence).map(|report| report.verdict()) {
                Ok(Verdict::Tampered) | Err(_) => caught += 1,
                Ok(verdict) => {
                    assert_eq!(
                        content(&path).as_ref(),
                        Some(&before),
                        "bit {bit} of byte {offset}: {verdict:?}"
                    );
                    slack += 1;
                }
            }
        }
        file.write_all_at(&byte, offset).expect("restored");
    }
    assert_eq!(site.verdict(true, true), Verdict::Whole);
    // Every bit of a text or a hash is content.
    let bytes = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        _ => 0,
    };
    let bits: usize = before.iter().flatten().map(|value| 8 * bytes(value)).sum();
    assert!(caught >= bits, "{caught} caught of {bits}, {slack} in free space");
}
