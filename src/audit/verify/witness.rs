//! What a witness kept: one JSON object a line, {origin, size, head (hex), signature (base64 or hex), …}.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::CannotRun;

/// A position as a witness kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which line of its file, from 1.
    pub number: usize,
    /// The trail's name.
    pub origin: String,
    /// Rows.
    pub size: u64,
    /// Hash of the last of them.
    pub head: Vec<u8>,
    /// The gateway's signature.
    pub signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Raw {
    origin: String,
    size: u64,
    head: String,
    signature: String,
}

impl Line {
    /// The lines of a witness's file; empty ones are none.
    ///
    /// # Errors
    /// [`CannotRun`] with the first line that is not one.
    pub fn all(text: &str) -> Result<Vec<Self>, CannotRun> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(at, line)| {
                let number = at + 1;
                let cannot = |why: String| CannotRun(format!("line {number} of the witness: {why}"));
                let raw: Raw = serde_json::from_str(line).map_err(|error| cannot(error.to_string()))?;
                let head = bytes(&raw.head).ok_or_else(|| cannot("head is not in hex digits".into()))?;
                let signature = bytes(&raw.signature).or_else(|| STANDARD.decode(&raw.signature).ok());
                let signature =
                    signature.ok_or_else(|| cannot("signature is neither hex nor base64".into()))?;
                Ok(Self { number, origin: raw.origin, size: raw.size, head, signature })
            })
            .collect()
    }
}

/// The bytes of hex digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}
