//! The demo's webhooks: one loopback server that takes what recipients are told, and keeps every byte of it.
//!
//! Guarantees: what is answered with success is kept, [`LETTERS_MAX`] at most; beyond that it answers that it is full. It
//! believes nothing: whether a signature is right is asked afterwards ([`Letter::is_signed`]).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Letters kept.
const LETTERS_MAX: usize = 1000;
/// What robots of chat services answer when they have it.
const TAKEN: &str = r#"{"errcode":0,"errmsg":"ok"}"#;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// The path without its slash: the recipient's id.
    pub(super) to: String,
    pub(super) timestamp: String,
    pub(super) signature: String,
    pub(super) body: Bytes,
}

impl Letter {
    /// The texts in it: of the JSON form, or the lines of a chat message.
    pub(super) fn texts(&self) -> Vec<String> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |item: &Value| item["text"].as_str().map(str::to_owned);
        match (&body["notices"], body.pointer("/text/content")) {
            (Value::Array(items), _) => items.iter().filter_map(text).collect(),
            (_, Some(Value::String(lines))) => lines.lines().map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether HMAC-SHA256 over time and body is what it says.
    pub(super) fn is_signed(&self, secret: &[u8]) -> bool {
        self.signature == self.signature_by(secret)
    }

    fn signature_by(&self, secret: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length will do");
        [self.timestamp.as_bytes(), b".", &self.body].into_iter().for_each(|part| mac.update(part));
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={hex}")
    }

    /// One as it should be.
    #[cfg(test)]
    pub(super) fn signed(to: &str, body: &str, secret: &[u8]) -> Self {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut letter = Self { to: to.into(), timestamp: "1".into(), signature: String::new(), body };
        letter.signature = letter.signature_by(secret);
        letter
    }
}

/// The server, and what it has. Clones are the same; it ends with the last of them.
#[derive(Clone)]
pub(super) struct Hook {
    pub(super) address: SocketAddr,
    letters: Letters,
    _stop: Arc<DropGuard>,
}

type Letters = Arc<Mutex<Vec<Letter>>>;

impl Hook {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the demo's webhook")?;
        let address = listener.local_addr().context("the demo's webhook")?;
        let (letters, stop) = (Letters::default(), CancellationToken::new());
        let routes = Router::new().fallback(take).with_state(letters.clone());
        let ends = stop.clone();
        let server =
            axum::serve(listener, routes).with_graceful_shutdown(async move { ends.cancelled().await });
        tokio::spawn(async move { server.await });
        Ok(Self { address, letters, _stop: Arc::new(stop.drop_guard()) })
    }

    pub(super) fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a recipient was told with this in it, the first of them.
    pub(super) fn told(&self, to: &str, words: &str) -> Option<String> {
        let letters = self.letters();
        let texts = letters.iter().filter(|letter| letter.to == to).flat_map(Letter::texts);
        texts.into_iter().find(|text| text.contains(words))
    }
}

async fn take(
    State(letters): State<Letters>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let header =
        |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut letters = letters.lock().unwrap_or_else(PoisonError::into_inner);
    if letters.len() >= LETTERS_MAX {
        return (StatusCode::SERVICE_UNAVAILABLE, "");
    }
    letters.push(Letter {
        to: uri.path().trim_start_matches('/').to_owned(),
        timestamp: header("x-smallbrain-timestamp"),
        signature: header("x-smallbrain-signature"),
        body,
    });
    (StatusCode::OK, TAKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(body: &'static str) -> Letter {
        Letter {
            to: "property".into(),
            timestamp: "1790000000123".into(),
            // Made with Python's hmac and hashlib.
            signature: "sha256=3dae54cb82761c8d9a490235080b3a54bc4dd33c5619b12af3921fe7a6e42128".into(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn texts_are_those_of_either_form() {
        for (body, texts) in [
            (r#"{"notices":[{"text":"a"},{"text":"b"}]}"#, vec!["a", "b"]),
            (r#"{"msgtype":"text","text":{"content":"a\nb"}}"#, vec!["a", "b"]),
            ("no JSON", vec![]),
            ("{}", vec![]),
        ] {
            assert_eq!(letter(body).texts(), texts, "{body}");
        }
    }

    #[test]
    fn one_other_byte_is_not_signed() {
        assert!(letter("body").is_signed(b"secret"));
        assert!(!letter("bodY").is_signed(b"secret"));
        assert!(!letter("body").is_signed(b"secreT"));
    }
}
