//! multipart/form-data (RFC 7578; RFC 2046 §5.1.1) as cameras post it: the first JSON part is kept, every other one is skipped.
//! Sans-IO: bytes come in any split.
//!
//! Guarantees: of what is skipped nothing is held but the end that may belong to a boundary; the JSON is held up to a bound;
//! work grows with the bytes, however they are split. Does not decode transfer encodings, which RFC 7578 §4.7 does not know.

use super::form;

/// Bytes of the header of a part.
const HEAD_BYTES_MAX: usize = 4096;
/// Bytes of a boundary (RFC 2046 §5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Why nothing is taken of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MultipartError {
    /// It is not as the standard says.
    #[error("multipart body: {0}; every part needs the boundary, a header and an empty line in front")]
    Malformed(&'static str),
    /// The JSON part is too long.
    #[error("json part of more than {0} bytes; send less at once")]
    TooLong(usize),
    /// No part is JSON.
    #[error("no part is json; set the device to send its events as json instead of xml")]
    NoJson,
}

/// What was kept.
#[derive(Debug, PartialEq)]
pub(super) struct Parts {
    /// The first JSON part.
    pub(super) json: Vec<u8>,
    /// Parts beside it: pictures.
    pub(super) skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// In front of the first boundary.
    Preamble,
    /// Behind a boundary, up to the empty line; so far there is none in the first bytes.
    Head(usize),
    /// In the part that is kept.
    Json,
    /// In a part that is not.
    Skip,
    /// Behind the last boundary.
    End,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Multipart {
    /// CRLF, "--" and the boundary.
    delimiter: Vec<u8>,
    json_bytes_max: usize,
    state: State,
    held: Vec<u8>,
    json: Option<Vec<u8>>,
    skipped: u64,
}

impl Multipart {
    /// With the boundary of the content type.
    ///
    /// # Errors
    /// [`MultipartError::Malformed`] when it is none.
    pub(super) fn new(boundary: &str, json_bytes_max: usize) -> Result<Self, MultipartError> {
        if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
            return Err(MultipartError::Malformed("a boundary of 1 to 70 bytes is needed"));
        }
        Ok(Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            json_bytes_max,
            state: State::Preamble,
            // The first boundary may stand at the very beginning.
            held: b"\r\n".to_vec(),
            json: None,
            skipped: 0,
        })
    }

    /// More of the body.
    ///
    /// # Errors
    /// [`MultipartError`]; nothing more is to be fed then.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), MultipartError> {
        if self.state == State::End {
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(count) = self.step(&held[used..])? {
            used += count;
        }
        held.drain(..used);
        self.held = held;
        Ok(())
    }

    /// Takes something from the front; none when more bytes are needed for that.
    fn step(&mut self, held: &[u8]) -> Result<Option<usize>, MultipartError> {
        match self.state {
            State::End => Ok(Some(held.len()).filter(|count| *count > 0)),
            State::Head(seen) => self.head(held, seen),
            State::Preamble | State::Json | State::Skip => self.content(held),
        }
    }

    fn content(&mut self, held: &[u8]) -> Result<Option<usize>, MultipartError> {
        let at = find(held, &self.delimiter);
        // What may be the beginning of a boundary waits.
        let content = at.unwrap_or((held.len() + 1).saturating_sub(self.delimiter.len()));
        if let (State::Json, Some(json)) = (self.state, &mut self.json) {
            if json.len() + content > self.json_bytes_max {
                return Err(MultipartError::TooLong(self.json_bytes_max));
            }
            json.extend_from_slice(&held[..content]);
        }
        if at.is_some() {
            self.state = State::Head(0);
            return Ok(Some(content + self.delimiter.len()));
        }
        Ok(Some(content).filter(|count| *count > 0))
    }

    fn head(&mut self, held: &[u8], seen: usize) -> Result<Option<usize>, MultipartError> {
        const EMPTY_LINE: &[u8] = b"\r\n\r\n";
        if held.starts_with(b"--") {
            self.state = State::End;
            return Ok(Some(held.len()));
        }
        let from = seen.saturating_sub(EMPTY_LINE.len() - 1);
        let found = find(&held[from..], EMPTY_LINE).map(|at| from + at);
        if found.unwrap_or(held.len()) > HEAD_BYTES_MAX {
            return Err(MultipartError::Malformed("the header of a part is longer than 4096 bytes"));
        }
        let Some(length) = found else {
            self.state = State::Head(held.len());
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&held[..length]);
        let (padding, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        if !padding.trim().is_empty() {
            return Err(MultipartError::Malformed("something stands behind a boundary"));
        }
        if self.json.is_none() && is_json(fields) {
            self.json = Some(Vec::new());
            self.state = State::Json;
        } else {
            self.skipped += 1;
            self.state = State::Skip;
        }
        Ok(Some(length + EMPTY_LINE.len()))
    }

    /// Bytes of JSON held.
    pub(super) fn len(&self) -> usize {
        self.json.as_ref().map_or(0, Vec::len)
    }

    /// The body is over.
    ///
    /// # Errors
    /// [`MultipartError`] when there is no JSON part, or it has no end.
    pub(super) fn finish(self) -> Result<Parts, MultipartError> {
        match (self.state, self.json) {
            (State::Preamble, _) => {
                Err(MultipartError::Malformed("the boundary of the content type is not in it"))
            }
            (State::Json | State::Head(_), _) => Err(MultipartError::Malformed("it ends in the middle")),
            (State::Skip | State::End, None) => Err(MultipartError::NoJson),
            // A picture that is cut off at its end harms nobody.
            (State::Skip | State::End, Some(json)) => Ok(Parts { json, skipped: self.skipped }),
        }
    }
}

/// Whether a part is JSON: it says so, or it says nothing and is no file.
fn is_json(fields: &str) -> bool {
    let field = |name: &str| {
        let named =
            |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        fields.lines().find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value)
    };
    match field("content-type") {
        Some(kind) => form::is_json(form::essence(kind)),
        None => field("content-disposition").is_none_or(|told| form::parameter(told, "filename").is_none()),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JSON_BYTES_MAX: usize = 64;
    const EVENT: &str = "--MIME_boundary\r\nContent-Disposition: form-data; name=\"event_log\"\r\n\
                         Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"a\":\"b\"}\r\n";
    const PICTURE: &str = "--MIME_boundary\r\nContent-Disposition: form-data; name=\"Picture\"; filename=\"P.jpg\"\r\n\
                           Content-Type: image/jpeg\r\n\r\n\u{1}\r\n--MIME_\u{2}\r\n";
    const END: &str = "--MIME_boundary--\r\n";

    fn read(body: &[u8], split: usize) -> Result<Parts, MultipartError> {
        let mut parts = Multipart::new("MIME_boundary", JSON_BYTES_MAX)?;
        for chunk in body.chunks(split) {
            parts.feed(chunk)?;
            assert!(parts.held.len() <= split + HEAD_BYTES_MAX.min(body.len()) + 16, "no content is held");
        }
        parts.finish()
    }

    #[test]
    fn the_first_json_part_is_kept_and_the_others_are_counted() {
        let json = || b"{\"a\":\"b\"}".to_vec();
        let bare = "--MIME_boundary\r\nContent-Disposition: form-data; name=\"AccessControllerEvent\"\r\n\r\n{\"a\":\"b\"}\r\n";
        let file = bare.replace("name=", "filename=\"e\"; name=");
        let long = EVENT.replace("\"b\"", &format!("{:?}", "b".repeat(JSON_BYTES_MAX)));
        let malformed = |why| Err(MultipartError::Malformed(why));
        for (what, body, expected) in [
            ("an event with a picture", [EVENT, PICTURE, END].concat(), Ok((json(), 1))),
            ("the picture first", [PICTURE, EVENT, END].concat(), Ok((json(), 1))),
            ("a part without a type", [bare, PICTURE, PICTURE, END].concat(), Ok((json(), 2))),
            ("two events", [EVENT, EVENT, END].concat(), Ok((json(), 1))),
            ("a preamble and an epilogue", ["hello\r\n", EVENT, END, PICTURE].concat(), Ok((json(), 0))),
            ("a picture without an end", [EVENT, PICTURE].concat(), Ok((json(), 1))),
            ("padding", EVENT.replacen("boundary\r", "boundary \t\r", 1) + END, Ok((json(), 0))),
            ("no header", format!("--MIME_boundary\r\n\r\n{{}}\r\n{END}"), Ok((b"{}".to_vec(), 0))),
            ("a file without a type", [&file, END].concat(), Err(MultipartError::NoJson)),
            ("xml", EVENT.replace("json", "xml") + END, Err(MultipartError::NoJson)),
            ("long json", long + END, Err(MultipartError::TooLong(JSON_BYTES_MAX))),
            ("nothing", String::new(), malformed("the boundary of the content type is not in it")),
            ("no parts", "--MIME_boundary--".into(), Err(MultipartError::NoJson)),
            ("json without an end", EVENT[..EVENT.len() - 2].into(), malformed("it ends in the middle")),
            (
                "a longer boundary",
                EVENT.replace("dary", "daryx") + END,
                malformed("something stands behind a boundary"),
            ),
            (
                "a header without an end",
                format!("--MIME_boundary\r\nX: {}", "x".repeat(HEAD_BYTES_MAX)),
                malformed("the header of a part is longer than 4096 bytes"),
            ),
        ] {
            for split in [1, 7, body.len().max(1)] {
                let kept = read(body.as_bytes(), split).map(|parts| (parts.json, parts.skipped));
                assert_eq!(kept, expected, "{what}, {split} bytes at a time");
            }
        }
        for boundary in ["", &"x".repeat(71)] {
            assert!(Multipart::new(boundary, 1).is_err(), "{boundary:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_split_are_the_same(
            pieces in prop::collection::vec(prop_oneof![
                Just(EVENT.to_owned()), Just(PICTURE.to_owned()), Just(END.to_owned()),
                Just("--MIME_boundary".to_owned()), Just("\r\n".to_owned()), "[ -~\r\n]{0,40}",
            ], 0..8),
            split in 1..40_usize,
        ) {
            let body = pieces.concat();
            prop_assert_eq!(read(body.as_bytes(), split), read(body.as_bytes(), body.len().max(1)));
        }
    }
}
