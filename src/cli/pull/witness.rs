//! The file in which a city keeps the checkpoints of a gateway's audit trail: one line of JSON each, only ever appended.
//!
//! Guarantees: what [`WitnessFile::keep`] has returned from is on disk; a last line that a power cut tore is removed, because
//! it was never confirmed; two processes do not write one file. It does not judge: [`Book`] does.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::audit::chain::Head;
use crate::audit::checkpoint::Checkpoint;
use crate::share::witness::Book;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    origin: String,
    size: u64,
    /// Hex.
    head: String,
    /// Base64.
    signature: String,
    /// Milliseconds since 1970 UTC.
    at_ms: i64,
    /// The public key that the signature was verified with, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Line {
    fn of(made: &Checkpoint, key: Option<&[u8; 32]>) -> Self {
        Self {
            origin: made.origin.clone(),
            size: made.head.seq,
            head: hex(&made.head.hash),
            signature: STANDARD.encode(&made.signature),
            at_ms: made.at_ms,
            key: key.map(|key| hex(key)),
        }
    }

    fn checkpoint(self) -> Result<Checkpoint, String> {
        let hash = unhex(&self.head).ok_or("head is 64 hexadecimal digits")?;
        let signature = STANDARD.decode(&self.signature).map_err(|_| "signature is base64")?;
        Ok(Checkpoint {
            origin: self.origin,
            head: Head { seq: self.size, hash },
            at_ms: self.at_ms,
            signature,
        })
    }
}

/// The open file; locked as long as it lives.
#[derive(Debug)]
pub(super) struct WitnessFile {
    file: File,
    key: Option<[u8; 32]>,
}

impl WitnessFile {
    /// Opens or creates the file, and reads what it holds.
    ///
    /// # Errors
    /// With the file's name and the line, in the text.
    pub(super) fn open(path: &Path, key: Option<[u8; 32]>) -> io::Result<(Self, Book)> {
        let wrong = |text: &dyn std::fmt::Display| {
            io::Error::other(format!("witness file {}: {text}", path.display()))
        };
        let is_new = !path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = file.map_err(|error| wrong(&error))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => wrong(&"another process keeps it"),
            TryLockError::Error(error) => wrong(&error),
        })?;
        if is_new {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all())?;
        }
        let (newest, end) = read(&mut file).map_err(|text| wrong(&text))?;
        file.set_len(end)?;
        file.seek(SeekFrom::End(0))?;
        let mut book = Book::new(key);
        if let Some(newest) = newest {
            book.take(newest).map_err(|suspect| wrong(&suspect))?;
        }
        Ok((Self { file, key }, book))
    }

    /// Appends a checkpoint; it is on disk then.
    pub(super) fn keep(&mut self, made: &Checkpoint) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line::of(made, self.key.as_ref()))?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_all()
    }
}

/// The newest checkpoint, and where the last whole line ends.
fn read(file: &mut File) -> Result<(Option<Checkpoint>, u64), String> {
    let (mut book, mut end) = (Book::default(), 0);
    let mut lines = BufReader::new(file);
    for number in 1.. {
        let mut text = Vec::new();
        let length = lines.read_until(b'\n', &mut text).map_err(|error| error.to_string())?;
        if text.last() != Some(&b'\n') {
            break;
        }
        let line =
            serde_json::from_slice(&text).map_err(|error| error.to_string()).and_then(Line::checkpoint);
        let taken = line.and_then(|line| book.take(line).map_err(|suspect| suspect.to_string()));
        taken.map_err(|text| format!("line {number}: {text}"))?;
        end += length as u64;
    }
    Ok((book.newest().cloned(), end))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes from 64 digits.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::Signer;

    fn made(seq: u64) -> Checkpoint {
        let signer = Signer::from_seed(&[7; 32]).expect("a seed");
        signer.sign(b"trail", Head { seq, hash: [seq as u8; 32] }, 1_000)
    }

    #[test]
    fn what_was_kept_is_read_back_and_a_torn_line_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("witness.jsonl");
        let key = Signer::from_seed(&[7; 32]).expect("a seed").public_key().try_into().ok();
        for (size, key) in [(3, None), (5, key)] {
            let (mut file, book) = WitnessFile::open(&path, key).expect("opened");
            assert_eq!(book.newest().map(|kept| kept.head.seq), (size > 3).then_some(3));
            file.keep(&made(size)).expect("kept");
            let busy = WitnessFile::open(&path, None).expect_err("it is open").to_string();
            assert!(busy.contains("another process"), "{busy}");
        }
        let text = std::fs::read_to_string(&path).expect("text");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((&lines[0]["size"], &lines[0]["at_ms"]), (&3.into(), &1_000.into()));
        assert_eq!(lines[0]["head"], "03".repeat(32));
        assert!(lines[0]["key"].is_null() && lines[1]["key"].is_string());

        std::fs::write(&path, format!("{text}{{\"origin\":")).expect("written");
        let (_, book) = WitnessFile::open(&path, None).expect("opened");
        assert_eq!(book.newest(), Some(&made(5)));
        assert_eq!(std::fs::read_to_string(&path).expect("text"), text);
    }

    #[test]
    fn a_file_that_contradicts_itself_is_refused_with_its_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("witness.jsonl");
        let line = |made: &Checkpoint| serde_json::to_string(&Line::of(made, None)).expect("JSON") + "\n";
        let cases = [
            ("no JSON", "x\n".to_owned(), "line 1"),
            ("fewer rows", line(&made(5)) + &line(&made(3)), "line 2: the trail has 3 rows"),
            ("no head", line(&made(5)).replace("05", "zz"), "head is 64"),
        ];
        for (what, text, told) in cases {
            std::fs::write(&path, text).expect("written");
            let error = WitnessFile::open(&path, None).expect_err(what).to_string();
            assert!(error.contains(told) && error.contains("witness.jsonl"), "{what}: {error}");
        }
        std::fs::write(&path, line(&made(5))).expect("written");
        let error = WitnessFile::open(&path, Some([9; 32])).expect_err("another key").to_string();
        assert!(error.contains("not signed"), "{error}");
    }
}
