//! Questions about a slave itself: its exception status (FC 7), what it calls itself (FC 17), its identification
//! (FC 43/14, basic: vendor, product, revision).
//!
//! Sources: V1.1b3 §6.7, §6.13, §6.21. Guarantees: an answer has the unit and the function of its question; texts are
//! bounded and hold nothing that moves a terminal's cursor; what is asked on for "more follows" goes up, so it ends after
//! three questions. The meaning of a status, and of a server's bytes, is the manufacturer's.

use super::frame::MEI_IDENTIFICATION;
use super::{
    Body, Direction, Exception, FRAME_BYTES_MAX, Fault, Frame, RequestError, examine, one_slave, sealed,
};

/// Bytes of one text in UTF-8: the longest object of FC 43/14.
pub const IDENTITY_BYTES_MAX: usize = 244;

/// Read code of FC 43/14: the basic objects as a stream.
const BASIC: u8 = 1;

/// The last basic object.
const REVISION: u8 = 2;

/// A question about one slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inquiry {
    unit: u8,
    about: About,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Status,
    Server,
    Identification { from: u8 },
}

/// What a slave says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Eight coils.
    Status(u8),
    /// FC 17.
    Server(Server),
    /// FC 43/14.
    Identity {
        /// What this answer has of it; [`Identity::and`] puts answers together.
        identity: Identity,
        /// Asks for the rest, when there is one.
        next: Option<Inquiry>,
    },
}

/// What a slave calls itself, by FC 17.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Whether it says that it runs, where the indicator stands behind an identifier of one byte, as it mostly does.
    pub running: Option<bool>,
    /// The text behind that.
    pub text: Option<String>,
}

impl Server {
    /// From the bytes of [`Body::Server`].
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        match data {
            [_, run @ (0 | 0xFF), rest @ ..] => Self { running: Some(*run == 0xFF), text: text(rest) },
            _ => Self { running: None, text: text(data) },
        }
    }
}

/// Who made a slave, by FC 43/14; at most [`IDENTITY_BYTES_MAX`] bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Object 0.
    pub vendor: Option<String>,
    /// Object 1, the product code.
    pub product: Option<String>,
    /// Object 2, the revision.
    pub revision: Option<String>,
}

impl Identity {
    /// With what a later answer adds.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self {
            vendor: self.vendor.or(later.vendor),
            product: self.product.or(later.product),
            revision: self.revision.or(later.revision),
        }
    }
}

impl Inquiry {
    /// Exception status, FC 7.
    ///
    /// # Errors
    /// [`RequestError::Unit`].
    pub fn status(unit: u8) -> Result<Self, RequestError> {
        Ok(Self { unit: one_slave(unit)?, about: About::Status })
    }

    /// Server id, FC 17.
    ///
    /// # Errors
    /// [`RequestError::Unit`].
    pub fn server(unit: u8) -> Result<Self, RequestError> {
        Ok(Self { unit: one_slave(unit)?, about: About::Server })
    }

    /// Basic identification, FC 43/14.
    ///
    /// # Errors
    /// [`RequestError::Unit`].
    pub fn identification(unit: u8) -> Result<Self, RequestError> {
        Ok(Self { unit: one_slave(unit)?, about: About::Identification { from: 0 } })
    }

    /// Who is asked.
    #[must_use]
    pub fn unit(&self) -> u8 {
        self.unit
    }

    fn function(&self) -> u8 {
        match self.about {
            About::Status => 7,
            About::Server => 17,
            About::Identification { .. } => 0x2B,
        }
    }

    /// As sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = vec![self.unit, self.function()];
        if let About::Identification { from } = self.about {
            content.extend([MEI_IDENTIFICATION, BASIC, from]);
        }
        sealed(content)
    }

    /// Bytes of the longest answer.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        if self.about == About::Status { 5 } else { FRAME_BYTES_MAX }
    }

    /// What the slave says or its exception, if `frame` answers this question.
    #[must_use]
    pub fn answer(&self, frame: &Frame<'_>) -> Option<Result<Finding, Exception>> {
        if frame.unit != self.unit || frame.function != self.function() {
            return None;
        }
        Some(Ok(match (self.about, frame.body) {
            (_, Body::Exception(exception)) => return Some(Err(exception)),
            (About::Status, Body::Status(status)) => Finding::Status(status),
            (About::Server, Body::Server(data)) => Finding::Server(Server::of(data)),
            (About::Identification { from }, Body::Identification { code: BASIC, next, objects, .. }) => {
                let mut identity = Identity::default();
                for (object, content) in objects.iter() {
                    match object {
                        0 => identity.vendor = text(content),
                        1 => identity.product = text(content),
                        REVISION => identity.revision = text(content),
                        _ => {}
                    }
                }
                // A slave that begins again, or goes on with what is not basic, has said what it has.
                let next = next.filter(|next| *next > from && *next <= REVISION);
                let next = next.map(|from| Self { about: About::Identification { from }, ..*self });
                Finding::Identity { identity, next }
            }
            _ => return None,
        }))
    }

    /// Whether `bytes` begin with an answer to this question but for its checksum.
    #[must_use]
    pub fn damaged(&self, bytes: &[u8]) -> bool {
        let head = [self.unit, self.function()];
        bytes.starts_with(&head) && matches!(examine(bytes, Direction::Response), Err(Fault::Crc { .. }))
    }
}

/// What people may read of it; none when that is nothing.
fn text(bytes: &[u8]) -> Option<String> {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.retain(|character| !character.is_control() && !is_format(character));
    text.truncate(text.floor_char_boundary(IDENTITY_BYTES_MAX));
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Invisible characters that turn the direction of a text or break its line.
fn is_format(character: char) -> bool {
    matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identification(from: u8) -> Inquiry {
        Inquiry { unit: 5, about: About::Identification { from } }
    }

    fn found(inquiry: Inquiry, content: &[u8]) -> Option<Result<Finding, Exception>> {
        let bytes = sealed(content.to_vec());
        let (_, frame) = examine(&bytes, Direction::Response).expect("a frame");
        inquiry.answer(&frame)
    }

    fn objects(more: u8, next: u8, objects: &[(u8, &[u8])]) -> Vec<u8> {
        let mut content = vec![5, 0x2B, 14, 1, 0x81, more, next, objects.len() as u8];
        for (object, text) in objects {
            content.extend([*object, text.len() as u8]);
            content.extend(*text);
        }
        content
    }

    #[test]
    fn questions_have_the_known_bytes_and_are_frames() {
        let (status, server) = (Inquiry::status(5), Inquiry::server(5));
        for (inquiry, content) in [
            (status.expect("a slave"), vec![5, 7]),
            (server.expect("a slave"), vec![5, 17]),
            (Inquiry::identification(5).expect("a slave"), vec![5, 0x2B, 14, 1, 0]),
            (identification(2), vec![5, 0x2B, 14, 1, 2]),
        ] {
            let bytes = inquiry.encode();
            assert_eq!(bytes, sealed(content));
            assert!(matches!(examine(&bytes, Direction::Request), Ok((len, _)) if len == bytes.len()));
        }
        for unit in [0, 248] {
            assert_eq!(Inquiry::identification(unit), Err(RequestError::Unit(unit)));
        }
    }

    /// V1.1b3 §6.21, example of an answer in two transactions.
    #[test]
    fn an_identification_in_pieces_is_put_together() {
        let first = objects(0xFF, 2, &[(0, b"Company identification"), (1, b"Product code XX\0")]);
        let Some(Ok(Finding::Identity { identity, next: Some(next) })) = found(identification(0), &first)
        else {
            panic!("more follows")
        };
        assert_eq!(next, identification(2));
        let second = objects(0, 0, &[(2, b"V2.11")]);
        let Some(Ok(Finding::Identity { identity: rest, next: None })) = found(next, &second) else {
            panic!("the rest")
        };
        let whole = identity.and(rest);
        assert_eq!(whole.vendor.as_deref(), Some("Company identification"));
        assert_eq!(whole.product.as_deref(), Some("Product code XX"));
        assert_eq!(whole.revision.as_deref(), Some("V2.11"));
    }

    #[test]
    fn more_that_does_not_go_up_ends() {
        for (from, next, expected) in
            [(0, 0, None), (1, 1, None), (2, 1, None), (0, 3, None), (0, 1, Some(1))]
        {
            let Some(Ok(Finding::Identity { next, .. })) =
                found(identification(from), &objects(0xFF, next, &[(from, b"x")]))
            else {
                panic!("an answer")
            };
            assert_eq!(next, expected.map(identification), "from {from}");
        }
    }

    #[test]
    fn a_server_says_what_it_likes() {
        for (data, running, text) in [
            (&b"\x01\xFFMeter \x1B[2J7"[..], Some(true), Some("Meter [2J7")),
            (b"\x01\x00", Some(false), None),
            (b"ACME", None, Some("ACME")),
            ("Zähler\u{202E}".as_bytes(), None, Some("Zähler")),
            (b"A\xB5B", None, Some("A\u{FFFD}B")),
        ] {
            let server = Server { running, text: text.map(str::to_owned) };
            assert_eq!(Server::of(data), server);
        }
        assert!(Server::of(&[0xB5; 250]).text.is_some_and(|text| text.len() <= IDENTITY_BYTES_MAX));
    }

    #[test]
    fn only_the_own_answer_counts() {
        let (status, server) =
            (Inquiry { unit: 5, about: About::Status }, Inquiry { unit: 5, about: About::Server });
        for (inquiry, content, expected) in [
            (status, vec![5, 7, 0x6D], Some(Ok(Finding::Status(0x6D)))),
            (status, vec![6, 7, 0x6D], None),
            (status, vec![5, 17, 1, 0x6D], None),
            (status, vec![5, 0x87, 1], Some(Err(Exception(1)))),
            (server, vec![5, 0x91, 1], Some(Err(Exception(1)))),
            (server, vec![5, 0x87, 1], None),
            (identification(0), vec![5, 0xAB, 1], Some(Err(Exception(1)))),
            (identification(0), vec![5, 0x2B, 14, 2, 1, 0, 0, 0], None),
        ] {
            assert_eq!(found(inquiry, &content), expected, "{inquiry:?} {content:02x?}");
        }
    }

    #[test]
    fn damaged_is_an_answer_with_another_checksum() {
        let mut answer = sealed(objects(0, 0, &[(0, b"ACME")]));
        assert!(!identification(0).damaged(&answer));
        *answer.last_mut().expect("bytes") ^= 1;
        assert!(identification(0).damaged(&answer));
        assert!(!identification(0).damaged(&answer[..answer.len() - 1]));
        assert!(!(Inquiry { unit: 6, ..identification(0) }).damaged(&answer));
    }
}
