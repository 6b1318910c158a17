//! TLS 1.2 and 1.3 for devices: the server's certificate, the authority of client certificates, and the names in them.
//!
//! Guarantees: certificates that are renewed in place are taken for the next connection, within a second; a file that
//! is wrong leaves the one before in force and is told once; a client certificate that its authority has not signed, or
//! that has run out, ends the handshake, and none at all does not. Sessions are not resumed, so that every connection
//! is checked against the present files. No revocation lists; no certificates of X.509 version 1. Accepts nothing itself.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, version};
use tokio_rustls::server::TlsStream;

/// How often renewed files are looked for, while connections come.
const LOOK_MS: u64 = 1000;

/// Where it listens with which files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address.
    pub listen: SocketAddr,
    /// The files.
    pub files: Files,
}

/// PEM files; they may be renewed in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate, then those between it and its root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Roots of client certificates; without them no client is asked for one.
    pub client_ca: Option<PathBuf>,
}

/// Files that TLS cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("{0}: {1}; a PEM file that the daemon may read is needed")]
    File(PathBuf, io::Error),
    /// It does not hold what it is for.
    #[error("{0}: no {1} in PEM form: {2}; see mqtt.tls in the configuration")]
    Pem(PathBuf, &'static str, pem::Error),
    /// The certificate does not fit its key, or cannot be used.
    #[error("{0} with key {1}: {2}; a certificate of X.509 version 3 and the key it was made for are needed")]
    Pair(PathBuf, PathBuf, rustls::Error),
    /// The roots of client certificates cannot be used.
    #[error("{0}: {1}; the certificate of the authority that signs those of clients is needed")]
    ClientCa(PathBuf, VerifierBuilderError),
    /// One of them is no certificate.
    #[error("{0}: {1}; the certificate of the authority that signs those of clients is needed")]
    Root(PathBuf, rustls::Error),
    /// No version of TLS is to be had.
    #[error("tls: {0}; this build cannot serve it")]
    Provider(rustls::Error),
}

/// See the module.
pub struct Tls {
    files: Files,
    held: Mutex<Held>,
}

struct Held {
    acceptor: TlsAcceptor,
    digest: [u8; 32],
    looked_mono_ms: u64,
    /// What is wrong with the files now, and has been said.
    told: Option<String>,
}

impl Tls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: &Files) -> Result<Self, TlsError> {
        let texts = Texts::read(files)?;
        let held =
            Held { acceptor: texts.acceptor(files)?, digest: texts.digest(), looked_mono_ms: 0, told: None };
        Ok(Self { files: files.clone(), held: Mutex::new(held) })
    }

    /// What a new connection is accepted with; looks for renewed files first.
    pub fn acceptor(&self, mono_ms: u64) -> TlsAcceptor {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.look(&self.files, mono_ms) {
            Some(Ok(())) => {
                tracing::info!(certificate = %self.files.certificate.display(), "certificates of devices were renewed")
            }
            Some(Err(error)) => tracing::warn!(%error, "certificates of devices: those before stay in force"),
            None => {}
        }
        held.acceptor.clone()
    }
}

impl Held {
    /// What is new: other files are in force, or are wrong.
    fn look(&mut self, files: &Files, mono_ms: u64) -> Option<Result<(), TlsError>> {
        if mono_ms.saturating_sub(self.looked_mono_ms) < LOOK_MS {
            return None;
        }
        self.looked_mono_ms = mono_ms;
        let renewed = Texts::read(files).and_then(|texts| {
            let digest = texts.digest();
            let changed = digest != self.digest;
            changed.then(|| Ok((texts.acceptor(files)?, digest))).transpose()
        });
        match renewed {
            Ok(renewed) => {
                self.told = None;
                (self.acceptor, self.digest) = renewed?;
                Some(Ok(()))
            }
            Err(error) => {
                let said = self.told.replace(error.to_string());
                (said != self.told).then_some(Err(error))
            }
        }
    }
}

/// What the files hold.
struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Texts {
    fn read(files: &Files) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| TlsError::File(path.clone(), error));
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_ref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten()
        {
            digest.update(Sha256::digest(part));
        }
        digest.finalize().into()
    }

    fn acceptor(&self, files: &Files) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&self.certificate, &files.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| TlsError::Pem(files.key.clone(), "private key", error))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(TlsError::Provider)?;
        let builder = match self.client_ca.as_deref().zip(files.client_ca.as_deref()) {
            Some((text, path)) => builder.with_client_cert_verifier(verifier(text, path, provider)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Pair(files.certificate.clone(), files.key.clone(), error))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| TlsError::Pem(path.to_owned(), "certificate", error);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(wrong)?;
    if chain.is_empty() { Err(wrong(pem::Error::NoItemsFound)) } else { Ok(chain) }
}

/// Whoever shows a certificate has to show a good one; who shows none goes on to the password.
fn verifier(
    text: &[u8],
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(text, path)? {
        roots.add(root).map_err(|error| TlsError::Root(path.to_owned(), error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::ClientCa(path.to_owned(), error))
}

/// The names in the client's certificate, which the handshake has verified: the common names of its subject, then its
/// DNS and URI names (RFC 5280 §4.1.2.6, §4.2.1.6). None when it showed no certificate.
#[must_use]
pub fn names<S>(stream: &TlsStream<S>) -> Vec<String> {
    let chain = stream.get_ref().1.peer_certificates();
    chain.and_then(<[_]>::first).map_or_else(Vec::new, names_of)
}

fn names_of(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok(leaf) = webpki::EndEntityCert::try_from(leaf) else { return Vec::new() };
    let names = common_names(leaf.subject()).chain(leaf.valid_dns_names()).chain(leaf.valid_uri_names());
    names.map(str::to_owned).collect()
}

/// The common names in the content of a `Name` (RFC 5280 §4.1.2.4): sets of pairs of an identifier and a text.
fn common_names(subject: &[u8]) -> impl Iterator<Item = &str> {
    const IDENTIFIER: (u8, &[u8]) = (6, &[0x55, 4, 3]);
    const TEXTS: [u8; 3] = [12, 19, 22]; // UTF8String, PrintableString, IA5String
    elements(subject).flat_map(|(_, set)| elements(set)).filter_map(|(_, pair)| {
        let mut pair = elements(pair);
        let (tag, text) = pair.next().filter(|first| *first == IDENTIFIER).and(pair.next())?;
        TEXTS.contains(&tag).then(|| std::str::from_utf8(text).ok())?
    })
}

/// The elements (tag and content) of a DER encoding, up to the first that is none (X.690 §8.1).
fn elements(mut der: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [tag, length, rest @ ..] = der else { return None };
        let (length, rest) = match length {
            0..=0x7F => (usize::from(*length), rest),
            // Two bytes count what a certificate has room for.
            0x81 | 0x82 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7F))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        der = rest;
        Some((*tag, content))
    })
}

#[cfg(test)]
mod tests;
