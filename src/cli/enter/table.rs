//! Reports from a CSV file: one a row, each told what became of it.
//!
//! Guarantees: a bad row does not stop the others; a row's request is made of the file's name, the row's number and its
//! cells, so that the same file enters nothing twice. The file is read row by row.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value};

use super::{Args, Client, row_request};
use crate::wire::bus as wire;

/// Columns that are no fields.
const DEVICE: &str = "device";
const AT: &str = "at";

/// What became of a row.
pub(super) struct Row {
    /// Its line in the file, from 1; the header is line 1.
    pub(super) line: u64,
    /// The answer, or why not.
    pub(super) end: Result<wire::SubmitManualEntryResponse, String>,
}

/// Enters every row; true when all were taken.
pub(super) async fn enter(
    args: &Args,
    client: &mut Client,
    form: &wire::GetFormResponse,
    path: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| path.display().to_string())?;
    let header = reader.headers().with_context(|| path.display().to_string())?.clone();
    if let Some(twice) =
        header.iter().enumerate().find(|(at, name)| header.iter().take(*at).any(|other| other == *name))
    {
        anyhow::bail!("{}: column {:?} stands twice", path.display(), twice.1);
    }
    let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let shown = args.shown(form.zone_ms);
    let (mut taken, mut failed) = (0_u64, 0_u64);
    for (number, record) in reader.records().enumerate() {
        let line = record.as_ref().map_or_else(
            |error| error.position().map_or(0, csv::Position::line),
            |record| record.position().map_or(0, csv::Position::line),
        );
        let end = match record {
            Err(error) => Err(malformed(&error)),
            Ok(record) => match report(args, form, &header, &record, row_request(&file, number, &record)) {
                Err(error) => Err(error.to_string()),
                Ok(report) => match client.submit_manual_entry(report).await {
                    Ok(done) => Ok(done.into_inner()),
                    Err(status) if status.code() == tonic::Code::Unavailable => {
                        anyhow::bail!("line {line}: {}", status.message());
                    }
                    Err(status) => Err(status.message().to_owned()),
                },
            },
        };
        if end.is_ok() {
            taken += 1
        } else {
            failed += 1
        }
        shown.row(out, &Row { line, end })?;
    }
    shown.rows(out, taken, failed)?;
    Ok(failed == 0)
}

/// Without the row: what it holds may be of a person.
fn malformed(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} cells, and the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8: save the file as CSV UTF-8".into(),
        _ => "not readable as CSV".into(),
    }
}

fn report(
    args: &Args,
    form: &wire::GetFormResponse,
    header: &csv::StringRecord,
    record: &csv::StringRecord,
    request: String,
) -> anyhow::Result<wire::SubmitManualEntryRequest> {
    let (mut device, mut at) = (args.device.as_deref().unwrap_or_default(), args.at.as_deref());
    let mut values = Map::new();
    // An empty cell says nothing.
    for (name, cell) in header.iter().zip(record).filter(|(_, cell)| !cell.is_empty()) {
        match name {
            DEVICE => device = cell,
            AT => at = Some(cell),
            field => drop(values.insert(field.to_owned(), Value::String(cell.to_owned()))),
        }
    }
    args.report(form, request, device, at, values)
}
