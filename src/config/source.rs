//! The files a configuration is made of: the one that was named, and what its `include` matches.
//!
//! Guarantees: bounded in number and size, in a fixed order (the named file first, then by pattern and file name), and
//! what cannot be read is a fault at the place that asked for it. Does not look into the files beyond `include`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::de::{DeTable, DeValue};

use super::fault::{Report, Span};
use crate::rules::pattern::fits;

/// Files of one configuration; one more is a fault.
const FILES_MAX: usize = 64;
/// Bytes of one file; a longer one is a fault.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One file, as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As it was named.
    pub(crate) path: PathBuf,
    /// What it says; empty when it could not be read.
    pub(crate) text: String,
}

/// All files of one configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The named one is the first.
    pub(crate) files: Vec<Source>,
    /// Where a change would be one of this configuration: the files' own directories, those that their links lead to,
    /// and those that `include` looks into.
    pub(crate) dirs: BTreeSet<PathBuf>,
    /// Keys at the top of a file that are not read.
    pub(crate) besides: Vec<String>,
}

impl Sources {
    /// Reads the named file and everything it includes.
    pub(crate) fn read(path: &Path, report: &mut Report) -> Self {
        let mut sources = Self::default();
        sources.add(path.to_owned(), Span::default(), report);
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        for (pattern, span) in includes(&sources.files[0].text) {
            match matching(&base.join(&pattern)) {
                Ok((dir, paths)) => {
                    sources.dirs.insert(dir);
                    for path in paths.into_iter().filter(|found| found != path) {
                        sources.add(path, span, report);
                    }
                }
                Err(why) => {
                    report.fault(span, why, "a path like \"conf.d/*.toml\": * only in the file's name")
                }
            }
        }
        sources
    }

    fn add(&mut self, path: PathBuf, asked: Span, report: &mut Report) {
        if self.files.iter().any(|file| file.path == path) {
            return;
        }
        if self.files.len() == FILES_MAX {
            report.fault(asked, format!("more than {FILES_MAX} files"), "put several sections into one file");
            return;
        }
        self.dirs.insert(directory(&path));
        if let Ok(target) = path.canonicalize() {
            self.dirs.insert(directory(&target));
        }
        let text = text_of(&path).unwrap_or_else(|why| {
            report.unreadable(asked, format!("{}: {why}", path.display()), "a readable TOML file");
            String::new()
        });
        self.files.push(Source { path, text });
    }

    /// Puts more at the end of a file, as if it stood there already; a fault where no `include` would read the file.
    pub(crate) fn append(&mut self, path: &Path, more: &str, report: &mut Report) {
        let there = located(path);
        if let Some(file) = self.files.iter_mut().find(|file| located(&file.path) == there) {
            file.text.push_str(more);
            return;
        }
        let base = directory(&self.files[0].path);
        let reads = |pattern: &str| {
            let (dir, name) = located(&base.join(pattern))?;
            let (its_dir, its_name) = there.as_ref()?;
            Some(dir == *its_dir && !its_name.starts_with('.') && fits(&name, its_name))
        };
        let patterns = includes(&self.files[0].text);
        if !patterns.iter().any(|(pattern, _)| reads(pattern) == Some(true)) {
            let known: Vec<_> = patterns.iter().map(|(pattern, _)| format!("{pattern:?}")).collect();
            let message = format!("no include reads {}", path.display());
            let help =
                format!("a file in a directory that is there, and that one of [{}] fits", known.join(", "));
            return report.fault(Span::default(), message, help);
        }
        self.files.push(Source { path: path.to_owned(), text: more.to_owned() });
    }

    /// SHA-256 over names and contents.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for file in &self.files {
            for part in [file.path.as_os_str().as_encoded_bytes(), file.text.as_bytes()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        hash.finalize().into()
    }
}

/// The directory of a file; `.` for a bare name.
pub(crate) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The real directory of a file that may not be there yet, and the file's name; none when the directory is not there.
fn located(path: &Path) -> Option<(PathBuf, String)> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    Some((directory(path).canonicalize().ok()?, name))
}

pub(super) fn text_of(path: &Path) -> Result<String, String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("not a file".to_owned());
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("{} bytes, at most {FILE_BYTES_MAX} are read", meta.len()));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// The well-formed entries of `include`; the ill-formed ones become faults when the file is read as a whole.
fn includes(text: &str) -> Vec<(String, Span)> {
    let (table, _) = DeTable::parse_recoverable(text);
    let Some(DeValue::Array(entries)) = table.get_ref().get("include").map(|value| value.get_ref()) else {
        return Vec::new();
    };
    let entry = |value: &toml::Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(pattern) if !pattern.is_empty() => {
            Some((pattern.to_string(), Span::of(0, value.span())))
        }
        _ => None,
    };
    entries.iter().filter_map(entry).collect()
}

/// The directory a pattern looks into, and the files there that fit, by name. A path without `*` is taken as it is.
fn matching(pattern: &Path) -> Result<(PathBuf, Vec<PathBuf>), String> {
    let dir = directory(pattern);
    if dir.to_string_lossy().contains('*') {
        return Err(format!("{}: * in the name of a directory", pattern.display()));
    }
    let Some(name) = pattern.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return Err(format!("{}: names no file", pattern.display()));
    };
    if !name.contains('*') {
        return Ok((dir, vec![pattern.to_owned()]));
    }
    let mut paths = Vec::new();
    // A directory that is not there holds no file yet: a package ships it empty, an operator fills it later.
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let file = file.to_string_lossy();
        // Editors keep their locks and backups in hidden files beside the real one, and rules their cases.
        if !file.starts_with('.') && !file.ends_with(".test.toml") && fits(&name, &file) {
            paths.push(pattern.with_file_name(&*file));
        }
    }
    paths.sort();
    Ok((dir, paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_read_in_order_and_hidden_files_and_cases_are_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let conf = dir.path().join("conf.d");
        std::fs::create_dir(&conf).expect("a directory");
        for name in ["b.toml", "a.toml", ".#a.toml", "a.test.toml", "c.txt"] {
            std::fs::write(conf.join(name), name).expect("a file");
        }
        let main = dir.path().join("main.toml");
        std::fs::write(&main, "include = ['conf.d/*.toml', 'none/*.toml', 'lost.toml', 7]").expect("a file");
        let mut report = Report::default();
        let sources = Sources::read(&main, &mut report);
        let names: Vec<_> = sources.files.iter().filter_map(|file| file.path.file_name()).collect();
        assert_eq!(names, ["main.toml", "a.toml", "b.toml", "lost.toml"]);
        assert_eq!(report.faults.len(), 1, "only the file that was named and is not there");
        assert!(sources.dirs.contains(&conf) && sources.dirs.contains(&dir.path().join("none")));
    }
}
