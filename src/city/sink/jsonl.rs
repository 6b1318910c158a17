//! JSON lines: a directory per gateway, in it a file per day and `cursor.json`. One collector a directory.
//!
//! Guarantees: lines are on disk before the cursor moves past them, and the cursor's file is replaced as a whole. After a
//! crash a torn last line is cut off, and whole lines behind the cursor count as stored: the cursor goes on from them. A line
//! that was written is never changed. Does not remove old files.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Kept, SinkError, State, beginning, lane};
use crate::audit::checkpoint::Checkpoint;
use crate::city::batch::items;
use crate::clock::{Clock, SystemClock};
use crate::share::position::{Mark, Position};
use crate::wire::{self, v1};

const CURSOR: &str = "cursor.json";

/// The directory of all gateways, locked against a second collector.
#[derive(Debug)]
pub struct Directory {
    dir: PathBuf,
    clock: SystemClock,
    /// Drawers by gateway: what still writes is not opened a second time.
    open: Mutex<BTreeMap<String, Weak<Mutex<Book>>>>,
    _lock: File,
}

/// What is known of one gateway's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    position: Position,
    /// The newest file, "2026-11-22.jsonl".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// How much of it counts, bytes.
    #[serde(default)]
    length: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<String>,
}

/// One gateway's files.
#[derive(Debug)]
pub struct Files {
    clock: SystemClock,
    book: Arc<Mutex<Book>>,
}

/// The same, on the thread that may wait for a disk.
#[derive(Debug)]
struct Book {
    dir: PathBuf,
    cursor: Cursor,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SinkError + '_ {
    move |error| SinkError::File(path.to_owned(), error)
}

/// Does something on a thread that may wait for a disk.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(SinkError::Away("the thread of the disk", error.to_string())))
}

impl Directory {
    /// Makes the directory, and locks it.
    pub(super) fn open(dir: &Path) -> Result<Self, SinkError> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        let path = dir.join(".lock");
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = open.map_err(at(&path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| SinkError::InUse(dir.to_owned()))?;
        Ok(Self { dir: dir.to_owned(), clock: SystemClock::default(), open: Mutex::default(), _lock: lock })
    }

    pub(super) async fn drawer(&self, gateway: &str) -> Result<(Files, State), SinkError> {
        let is_open =
            |open: &BTreeMap<String, Weak<_>>| open.get(gateway).is_some_and(|it| it.strong_count() > 0);
        if is_open(&self.open.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Err(SinkError::Away("the directory", format!("{gateway} is still being written")));
        }
        let dir = self.dir.join(gateway);
        let book = on_disk(move || Book::open(dir)).await?;
        let state = State {
            position: book.cursor.position.clone(),
            checkpoint: book.cursor.checkpoint.as_ref().and_then(Kept::checkpoint),
            accepted: book.cursor.accepted.clone(),
        };
        let book = Arc::new(Mutex::new(book));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(gateway.to_owned(), Arc::downgrade(&book));
        Ok((Files { clock: self.clock, book }, state))
    }
}

impl Files {
    pub(super) async fn store(
        &mut self,
        batch: &v1::RecordBatch,
        position: &Position,
    ) -> Result<(), SinkError> {
        let lane = wire::lane(batch.lane).ok_or(SinkError::Lane(batch.lane))?;
        let mut text = String::new();
        for item in items(batch) {
            text.push_str(&item.json(lane).to_string());
            text.push('\n');
        }
        self.append(text, position.clone()).await
    }

    pub(super) async fn reset(&mut self, from: &str, to: &str) -> Result<(), SinkError> {
        let text = format!("{}\n", json!({ "reset": { "from": from, "to": to } }));
        self.append(text, beginning(to)).await
    }

    pub(super) async fn witness(&mut self, made: &Checkpoint) -> Result<(), SinkError> {
        let kept = Kept::from(made);
        self.with(move |book| {
            book.cursor.checkpoint = Some(kept);
            book.save()
        })
        .await
    }

    pub(super) async fn accept(&mut self, word: &str) -> Result<(), SinkError> {
        let word = word.to_owned();
        self.with(move |book| {
            (book.cursor.accepted, book.cursor.checkpoint) = (Some(word), None);
            book.save()
        })
        .await
    }

    async fn append(&mut self, text: String, position: Position) -> Result<(), SinkError> {
        let day = wire::event_time(&wire::timestamp(self.clock.now().wall_ms));
        let file = format!("{}.jsonl", day.get(..10).unwrap_or("unknown"));
        self.with(move |book| book.append(file, &text, position)).await
    }

    async fn with(
        &self,
        work: impl FnOnce(&mut Book) -> Result<(), SinkError> + Send + 'static,
    ) -> Result<(), SinkError> {
        let book = self.book.clone();
        on_disk(move || work(&mut book.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

impl Book {
    /// Opens a directory, and brings in order what a crash left.
    fn open(dir: PathBuf) -> Result<Self, SinkError> {
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        let path = dir.join(CURSOR);
        let cursor = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| SinkError::Spoilt(path.clone(), error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Cursor::default(),
            Err(error) => return Err(SinkError::File(path, error)),
        };
        let mut book = Self { dir, cursor };
        if book.recover()? {
            book.save()?;
        }
        Ok(book)
    }

    /// Goes on over whole lines behind the cursor; tells whether there were any.
    fn recover(&mut self) -> Result<bool, SinkError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let name = entry.map_err(at(&self.dir))?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".jsonl") && self.cursor.file.as_ref().is_none_or(|file| name >= *file) {
                files.push(name);
            }
        }
        files.sort();
        let before = self.cursor.clone();
        for name in files {
            let known = self.cursor.file.as_ref() == Some(&name);
            let from = if known { self.cursor.length } else { 0 };
            let length = self.follow(&self.dir.join(&name), from)?;
            (self.cursor.file, self.cursor.length) = (Some(name), length);
        }
        Ok(self.cursor != before)
    }

    /// Reads a file from an offset to its last whole line, and cuts off what follows; tells how long it is then.
    fn follow(&mut self, path: &Path, from: u64) -> Result<u64, SinkError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(at(path))?;
        let whole = file.metadata().map_err(at(path))?.len();
        if whole < from {
            let why = format!("{whole} bytes, its cursor knows {from}");
            return Err(SinkError::Spoilt(path.to_owned(), why));
        }
        file.seek(SeekFrom::Start(from)).map_err(at(path))?;
        let mut reader = BufReader::new(&file);
        let (mut length, mut line) = (from, Vec::new());
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(at(path))?;
            if read == 0 || line.last() != Some(&b'\n') {
                break;
            }
            let told: Value = serde_json::from_slice(&line)
                .map_err(|error| SinkError::Spoilt(path.to_owned(), error.to_string()))?;
            advance(&mut self.cursor.position, &told);
            length += read as u64;
        }
        if length < whole {
            file.set_len(length).map_err(at(path))?;
        }
        // Lines that were written, but maybe never synced, are about to count.
        file.sync_all().map_err(at(path))?;
        Ok(length)
    }

    fn append(&mut self, file: String, text: &str, position: Position) -> Result<(), SinkError> {
        // A clock that was put back writes on in the newest file.
        let file = self.cursor.file.clone().filter(|newest| *newest > file).unwrap_or(file);
        let is_new = self.cursor.file.as_ref() != Some(&file);
        let length = if is_new { 0 } else { self.cursor.length };
        let path = self.dir.join(&file);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let mut opened = open.map_err(at(&path))?;
        // What an attempt left that did not succeed.
        opened.set_len(length).map_err(at(&path))?;
        opened.seek(SeekFrom::Start(length)).map_err(at(&path))?;
        opened.write_all(text.as_bytes()).map_err(at(&path))?;
        opened.sync_data().map_err(at(&path))?;
        if is_new {
            File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(at(&self.dir))?;
        }
        self.cursor.position = position;
        (self.cursor.file, self.cursor.length) = (Some(file), length + text.len() as u64);
        self.save()
    }

    /// Replaces the cursor's file as a whole: after a power cut it holds the old one or the new one.
    fn save(&self) -> Result<(), SinkError> {
        let (path, beside) = (self.dir.join(CURSOR), self.dir.join(".cursor.json.new"));
        let save = || {
            let mut file = File::create(&beside)?;
            file.write_all(&serde_json::to_vec(&self.cursor)?)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        save().map_err(at(&path))
    }
}

/// Moves a position past a line that is stored.
fn advance(position: &mut Position, line: &Value) {
    if let Some(to) = line["reset"]["to"].as_str() {
        *position = beginning(to);
        return;
    }
    let Some(lane) = line["lane"].as_str().and_then(lane) else { return };
    let ends = [&line["seq"], &line["gap"]["to"], &line["through"]];
    let Some(seq) = ends.into_iter().find_map(Value::as_u64) else { return };
    if let (None, Some(id)) = (&position.epoch, line["record_id"].as_str()) {
        position.epoch = id.split('-').next().map(str::to_owned);
    }
    position.lanes.insert(lane, Mark { seq, hash: None });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::city::batch::tests::batch;
    use crate::model::Lane;

    fn text(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn newest(dir: &Path) -> PathBuf {
        let mut all: Vec<PathBuf> = fs::read_dir(dir)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        all.sort();
        all.pop().expect("a file")
    }

    fn position(epoch: u8, seq: u64) -> Position {
        let mark = Mark { seq, hash: Some("ab".repeat(32)) };
        Position { epoch: Some(format!("{epoch:02x}").repeat(16)), lanes: [(Lane::Bulk, mark)].into() }
    }

    #[tokio::test]
    async fn what_a_crash_left_is_there_once() {
        // What stands in the file behind the cursor, and where pulling goes on.
        let record = |seq: u64| {
            let id = format!("{}-bulk-{seq}", "07".repeat(16));
            format!("{}\n", json!({ "lane": "bulk", "seq": seq, "record_id": id }))
        };
        let cases: [(&str, String, u64, usize); 6] = [
            ("nothing", String::new(), 2, 2),
            ("a torn line", "{\"lane\":\"bu".into(), 2, 2),
            ("a line without its end", record(3).trim_end().into(), 2, 2),
            ("whole lines", record(3) + &record(4), 4, 4),
            ("whole lines and a torn one", record(3) + "{", 3, 3),
            ("a gap and withheld", "{\"lane\":\"bulk\",\"gap\":{\"from\":3,\"to\":5}}\n{\"lane\":\"bulk\",\"withheld\":2,\"through\":7}\n".into(), 7, 4),
        ];
        for (what, left, seq, lines) in cases {
            let root = tempfile::tempdir().expect("a directory");
            let sink = Directory::open(root.path()).expect("a directory");
            let (mut files, state) = sink.drawer("a").await.expect("a drawer");
            assert_eq!(state.position, Position::default());
            files.store(&batch(7, Lane::Bulk, 1, &[1, 2], None, 2), &position(7, 2)).await.expect("stored");
            let path = newest(&root.path().join("a"));
            let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
            file.write_all(left.as_bytes()).expect("written");
            drop(files);
            let (mut files, state) = sink.drawer("a").await.expect("a drawer");
            assert_eq!(state.position.lanes[&Lane::Bulk].seq, seq, "{what}");
            assert_eq!(text(&path).len(), lines, "{what}");
            let next = batch(7, Lane::Bulk, seq + 1, &[seq + 1], None, seq + 1);
            files.store(&next, &position(7, seq + 1)).await.expect("stored");
            let told = text(&newest(&root.path().join("a")));
            let seqs: Vec<u64> = told.iter().filter_map(|line| line["seq"].as_u64()).collect();
            let mut once = seqs.clone();
            once.dedup();
            assert_eq!((seqs.last(), seqs.len()), (Some(&(seq + 1)), once.len()), "{what}");
        }
    }

    #[tokio::test]
    async fn a_crash_before_the_first_cursor_keeps_what_was_written() {
        let root = tempfile::tempdir().expect("a directory");
        let sink = Directory::open(root.path()).expect("a directory");
        let (mut files, _) = sink.drawer("a").await.expect("a drawer");
        files.store(&batch(7, Lane::Bulk, 1, &[1, 2], None, 2), &position(7, 2)).await.expect("stored");
        drop(files);
        fs::remove_file(root.path().join("a").join(CURSOR)).expect("removed");
        let (_, state) = sink.drawer("a").await.expect("a drawer");
        assert_eq!(state.position.epoch, Some("07".repeat(16)));
        assert_eq!(state.position.lanes[&Lane::Bulk], Mark { seq: 2, hash: None });
    }

    #[tokio::test]
    async fn a_reset_begins_anew_and_changes_nothing_that_is_there() {
        let root = tempfile::tempdir().expect("a directory");
        let sink = Directory::open(root.path()).expect("a directory");
        let (mut files, _) = sink.drawer("a").await.expect("a drawer");
        files.store(&batch(7, Lane::Bulk, 1, &[1], None, 1), &position(7, 1)).await.expect("stored");
        files.reset(&"07".repeat(16), &"08".repeat(16)).await.expect("noted");
        files.store(&batch(8, Lane::Bulk, 1, &[1], None, 1), &position(8, 1)).await.expect("stored");
        let told = text(&newest(&root.path().join("a")));
        let kinds: Vec<bool> = told.iter().map(|line| line["reset"].is_object()).collect();
        assert_eq!(kinds, [false, true, false]);
        assert_ne!(told[0]["record_id"], told[2]["record_id"]);
        // The line of the reset counts also when the cursor did not follow it any more.
        let mut at = position(7, 1);
        advance(&mut at, &told[1]);
        assert_eq!(at, beginning(&"08".repeat(16)));
    }

    #[tokio::test]
    async fn a_directory_has_one_collector_and_a_short_file_is_told() {
        let root = tempfile::tempdir().expect("a directory");
        let sink = Directory::open(root.path()).expect("a directory");
        assert!(matches!(Directory::open(root.path()), Err(SinkError::InUse(_))));
        let (mut files, _) = sink.drawer("a").await.expect("a drawer");
        files.store(&batch(7, Lane::Bulk, 1, &[1], None, 1), &position(7, 1)).await.expect("stored");
        assert!(matches!(sink.drawer("a").await, Err(SinkError::Away(..))), "it is open");
        drop(files);
        let path = newest(&root.path().join("a"));
        OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(3)).expect("cut");
        assert!(matches!(sink.drawer("a").await, Err(SinkError::Spoilt(..))));
    }

    #[tokio::test]
    async fn what_is_kept_of_the_trail_comes_back_until_the_operator_says_otherwise() {
        let root = tempfile::tempdir().expect("a directory");
        let sink = Directory::open(root.path()).expect("a directory");
        let (mut files, _) = sink.drawer("a").await.expect("a drawer");
        let signer = crate::audit::checkpoint::Signer::from_seed(&[7; 32]).expect("a seed");
        let made = signer.sign(b"t", crate::audit::chain::Head { seq: 3, hash: [3; 32] }, 5);
        files.witness(&made).await.expect("kept");
        drop(files);
        let (mut files, state) = sink.drawer("a").await.expect("a drawer");
        assert_eq!(state.checkpoint, Some(made));
        files.accept("smallbrain/75/1").await.expect("taken");
        drop(files);
        let (_, state) = sink.drawer("a").await.expect("a drawer");
        assert_eq!((state.checkpoint, state.accepted.as_deref()), (None, Some("smallbrain/75/1")));
    }
}
