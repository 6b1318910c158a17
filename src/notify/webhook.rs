//! Sending a letter and reading its answer.
//!
//! Guarantees: one attempt takes at most `Limits::total`, follows no redirect, asks no proxy, repeats nothing by itself and
//! reads at most [`ANSWER_BYTES_MAX`] bytes; no error holds the address.

use std::error::Error;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

use super::letter::{self, Failure};
use super::{Address, Limits, Webhook};
use crate::rules::notice::Notice;

/// Bytes read of an answer; what is longer is not read on.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes kept of what the system says about a connection.
const CAUSE_BYTES_MAX: usize = 200;

/// Whoever dials one webhook.
pub(super) struct Dialler {
    client: Client,
    total: Duration,
}

/// The innermost cause: the others only say "error sending request".
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    // Where there is none inside, it is reqwest's own text, which would show the address.
    let text = if error.source().is_none() { "it broke off".to_owned() } else { cause.to_string() };
    text[..text.floor_char_boundary(CAUSE_BYTES_MAX)].to_owned()
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() { Failure::Silent } else { Failure::Connection(cause(error)) }
}

/// Whether PEM roots can be used: what is wrong with them.
///
/// # Errors
/// Words for the operator.
pub fn check_roots(pem: &[u8]) -> Result<(), String> {
    let roots = Certificate::from_pem_bundle(pem).map_err(|_| "not PEM certificates".to_owned())?;
    if roots.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    let refused = |error: reqwest::Error| cause(&error);
    builder().tls_certs_only(roots).build().map(|_| ()).map_err(refused)
}

fn builder() -> reqwest::ClientBuilder {
    if CryptoProvider::get_default().is_none() {
        // Whoever was first, it is the only one that is built in.
        let _ = ring::default_provider().install_default();
    }
    Client::builder()
        .user_agent(concat!("smallbrain/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .http1_only()
        .pool_max_idle_per_host(0)
}

/// A client that trusts the webhook's own roots, else the system's.
fn client(address: &Address, ca: Option<&[u8]>, limits: Limits) -> Result<Client, Failure> {
    let tls = |error: reqwest::Error| Failure::Tls(cause(&error));
    let builder = builder().connect_timeout(limits.connect);
    let builder = match ca {
        Some(pem) => builder.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(tls)?),
        None if address.is_encrypted() => builder,
        // Without TLS it needs no roots, which a small system may not have.
        None => builder.tls_certs_only([]),
    };
    builder.build().map_err(tls)
}

impl Dialler {
    /// Ready for one webhook; reads the system's roots from the disk where the webhook has none of its own.
    pub(super) async fn new(webhook: &Webhook, limits: Limits) -> Result<Self, Failure> {
        let (address, ca) = (webhook.address.clone(), webhook.ca.clone());
        let client = tokio::task::spawn_blocking(move || client(&address, ca.as_deref(), limits)).await;
        let client = client.map_err(|error| Failure::Tls(error.to_string()))??;
        Ok(Self { client, total: limits.total })
    }

    /// One attempt: the proof of delivery.
    pub(super) async fn send(
        &self,
        webhook: &Webhook,
        notices: &[Notice],
        wall_ms: i64,
    ) -> Result<String, Failure> {
        let letter = letter::letter(webhook, notices, wall_ms);
        let mut request = self.client.post(letter.url).body(letter.body);
        for (name, value) in letter.headers {
            request = request.header(name, value);
        }
        let exchange = async {
            let mut response = request.send().await.map_err(|error| failure(&error))?;
            let answer = answer(&mut response).await;
            letter::verdict(webhook.form, response.status().as_u16(), &answer)
        };
        timeout(self.total, exchange).await.unwrap_or(Err(Failure::Silent))
    }
}

/// As much of the answer as comes, up to the bound.
async fn answer(response: &mut Response) -> Vec<u8> {
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ANSWER_BYTES_MAX - answer.len();
        answer.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if answer.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    answer
}
