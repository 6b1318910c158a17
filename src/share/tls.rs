//! Mutual TLS of the city's listener: what handshakes go by, and who is connected.
//!
//! Guarantees: a client shows a certificate of a known authority that is in force and on no revocation list, or there is no
//! connection; there are no resumed sessions, so that every connection shows its own. Renewed files are for new handshakes at
//! once and end no connection; a connection whose certificate was revoked, has lost its authority or has run out is cut at
//! the next look. Files that cannot be used are told once, and those before them stay. Bounded by the connections of the
//! listener. Does not say who a consumer is (the one URI SAN, see `calls`), and does not accept sockets (`connections` does).
//!
//! A revocation list is held against the certificates whose authority it is of; a certificate without a list is taken. A list
//! that has run out counts as before: an authority that is late must not take a compound off the air.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{self, CertificateError, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::connections::{Held, Opened};
use super::counters::{Counters, Turned};
use super::listen::BindError;
use crate::clock::Clock;
use crate::privacy::release::ShareLine;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// No certificate is for a time before this build: a clock behind it was never set (2026-01-01, milliseconds).
const CLOCK_FLOOR_MS: i64 = 1_767_225_600_000;
/// Later than the end of every certificate (9999-12-31), seconds.
const NEVER: u64 = 253_402_300_800;

/// The files of a TLS listener. They may be renewed in place.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Roots of clients.
    pub client_ca: PathBuf,
    /// Revocation lists.
    pub client_crl: Option<PathBuf>,
}

/// What handshakes go by.
pub(super) struct Terms {
    server: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
    /// End of the server's certificate, seconds since 1970.
    expires: Option<u64>,
    digest: [u8; 32],
}

/// Time for rustls.
struct Wall(Arc<dyn Clock>);

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wall")
    }
}

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.now().wall_ms))
    }
}

fn unix(wall_ms: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(wall_ms.try_into().unwrap_or(0)))
}

/// When a certificate ends, seconds since 1970: asked of the one parser that is here anyway, as the reason why it does not
/// hold at the end of time.
fn expires(certificate: &CertificateDer<'_>) -> Option<u64> {
    let leaf = webpki::EndEntityCert::try_from(certificate).ok()?;
    let (at, usage) =
        (UnixTime::since_unix_epoch(Duration::from_secs(NEVER)), webpki::KeyUsage::server_auth());
    match leaf.verify_for_usage(&[], &[], &[], at, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
        _ => None,
    }
}

impl TlsFiles {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`BindError`].
    pub(super) fn load(&self, clock: &Arc<dyn Clock>) -> Result<Terms, BindError> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| BindError::File(path.clone(), error));
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        let client_ca = read(&self.client_ca)?;
        let client_crl = self.client_crl.as_ref().map(read).transpose()?;
        let mut digest = Sha256::new();
        for part in [&certificate, &key, &client_ca].into_iter().chain(&client_crl) {
            digest.update(Sha256::digest(part));
        }
        let chain = certificates(&self.certificate, &certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| wrong(&self.key, &error))?;
        let clients = self.clients(&client_ca, client_crl.as_deref())?;
        let expires = chain.first().and_then(expires);
        let mut server = ServerConfig::builder_with_details(
            Arc::new(ring::default_provider()),
            Arc::new(Wall(clock.clone())),
        )
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&self.certificate, &error))?
        .with_client_cert_verifier(clients.clone())
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&self.certificate, &error))?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Terms { server: Arc::new(server), clients, expires, digest: digest.finalize().into() })
    }

    fn clients(
        &self,
        client_ca: &[u8],
        client_crl: Option<&[u8]>,
    ) -> Result<Arc<dyn ClientCertVerifier>, BindError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.client_ca, client_ca)? {
            roots.add(root).map_err(|error| wrong(&self.client_ca, &error))?;
        }
        let provider = Arc::new(ring::default_provider());
        let mut clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let mut blamed = &self.client_ca;
        if let (Some(path), Some(text)) = (&self.client_crl, client_crl) {
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
            let lists = lists.map_err(|error| wrong(path, &error))?;
            if lists.is_empty() {
                return Err(BindError::Tls(path.clone(), "no revocation list in PEM form".to_owned()));
            }
            clients = clients.with_crls(lists).allow_unknown_revocation_status();
            blamed = path;
        }
        clients.build().map_err(|error| wrong(blamed, &error))
    }
}

fn wrong(path: &Path, error: &dyn std::error::Error) -> BindError {
    BindError::Tls(path.to_owned(), super::listen::chain(error))
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, BindError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| wrong(path, &error))?;
    if found.is_empty() {
        return Err(BindError::Tls(path.to_owned(), "no certificate in PEM form".to_owned()));
    }
    Ok(found)
}

/// Why a certificate does not hold at a time.
fn turned(error: &rustls::Error, wall_ms: i64) -> Turned {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidYet, NotValidYetContext, Revoked, UnknownIssuer,
    };
    match error {
        rustls::Error::NoCertificatesPresented => Turned::NoCertificate,
        rustls::Error::InvalidCertificate(why) => match why {
            Expired | ExpiredContext { .. } => Turned::Expired,
            NotValidYet | NotValidYetContext { .. } if wall_ms < CLOCK_FLOOR_MS => Turned::WaitingForTime,
            NotValidYet | NotValidYetContext { .. } => Turned::NotYetValid,
            UnknownIssuer | BadSignature => Turned::UnknownIssuer,
            Revoked => Turned::Revoked,
            _ => Turned::Other,
        },
        _ => Turned::Other,
    }
}

struct Peer {
    chain: Vec<CertificateDer<'static>>,
    cut: CancellationToken,
}

#[derive(Default)]
struct Peers {
    next: u64,
    connected: HashMap<u64, Peer>,
}

struct State {
    terms: Arc<Terms>,
    /// What is wrong with the files now, and has been said.
    told: Option<String>,
}

/// The certificates of one listener.
pub(super) struct Tls {
    files: TlsFiles,
    state: Mutex<State>,
    peers: Arc<Mutex<Peers>>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    /// [`BindError`].
    pub(super) fn new(
        files: TlsFiles,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Result<Self, BindError> {
        let terms = Arc::new(files.load(&clock)?);
        let state = Mutex::new(State { terms, told: None });
        let tls = Self { files, state, peers: Arc::default(), clock, counters };
        tls.tell_expiry();
        Ok(tls)
    }

    fn terms(&self) -> Arc<Terms> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).terms.clone()
    }

    /// One handshake.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<Opened<TlsStream<TcpStream>>, Turned> {
        let terms = self.terms();
        let handshake = TlsAcceptor::from(terms.server.clone()).accept(stream);
        let stream = timeout(HANDSHAKE, handshake).await.map_err(|_| Turned::Timeout)?;
        let stream = stream.map_err(|error| {
            let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            cause.map_or(Turned::Other, |cause| turned(cause, self.clock.now().wall_ms))
        })?;
        let chain = stream.get_ref().1.peer_certificates().ok_or(Turned::NoCertificate)?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let held = self.hold(chain, &terms)?;
        Ok(Opened { stream, held: Some(held) })
    }

    /// Keeps who is connected, until the answer goes.
    fn hold(&self, chain: Vec<CertificateDer<'static>>, shaken: &Arc<Terms>) -> Result<Held, Turned> {
        let cut = CancellationToken::new();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock of the peers: a renewal is either seen here, or looks at this one itself.
        let terms = self.terms();
        if !Arc::ptr_eq(&terms, shaken) {
            self.verify(&terms, &chain)?;
        }
        let number = peers.next;
        peers.next += 1;
        peers.connected.insert(number, Peer { chain, cut: cut.clone() });
        drop(peers);
        let peers = self.peers.clone();
        let gone = move || {
            peers.lock().unwrap_or_else(PoisonError::into_inner).connected.remove(&number);
        };
        Ok(Held::new(cut, gone))
    }

    fn verify(&self, terms: &Terms, chain: &[CertificateDer<'static>]) -> Result<(), Turned> {
        let wall_ms = self.clock.now().wall_ms;
        let (leaf, between) = chain.split_first().ok_or(Turned::NoCertificate)?;
        let verified = terms.clients.verify_client_cert(leaf, between, unix(wall_ms));
        verified.map(drop).map_err(|error| turned(&error, wall_ms))
    }

    fn tell_expiry(&self) {
        let now = u64::try_from(self.clock.now().wall_ms / 1000).unwrap_or(0);
        if let Some(expires) = self.terms().expires {
            self.counters.certificate_expires(expires.saturating_sub(now));
        }
    }

    /// Looks at the files, and at everybody who is connected.
    fn look(&self) {
        let loaded = self.files.load(&self.clock);
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match loaded {
                Ok(terms) => {
                    state.told = None;
                    if terms.digest != state.terms.digest {
                        tracing::info!(certificate = %self.files.certificate.display(), "certificates were renewed");
                        state.terms = Arc::new(terms);
                    }
                }
                Err(error) => {
                    let said = error.to_string();
                    if state.told.as_ref() != Some(&said) {
                        tracing::warn!(%error, "renewed certificates cannot be used, the present ones stay");
                        state.told = Some(said);
                    }
                }
            }
        }
        self.tell_expiry();
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let terms = self.terms();
        for peer in peers.connected.values().filter(|peer| !peer.cut.is_cancelled()) {
            if let Err(turned) = self.verify(&terms, &peer.chain) {
                tracing::warn!(
                    reason = turned.as_str(),
                    "a connection's certificate does not hold any more: cut"
                );
                self.counters.turned(turned);
                peer.cut.cancel();
            }
        }
    }

    /// Looks every so often, and at once when a configuration comes into force; never ends.
    pub(super) async fn watch(&self, mut reloads: watch::Receiver<Arc<[ShareLine]>>, every: Duration) {
        let mut is_told = true;
        loop {
            tokio::select! {
                () = sleep(every) => {}
                told = reloads.changed(), if is_told => is_told = told.is_ok(),
            }
            self.look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_valid_yet_waits_for_time_only_while_the_clock_was_never_set() {
        let error = |why| rustls::Error::InvalidCertificate(why);
        let set = CLOCK_FLOOR_MS;
        for (what, wall_ms, reason) in [
            (error(CertificateError::NotValidYet), 0, "waiting_for_time"),
            (error(CertificateError::NotValidYet), set - 1, "waiting_for_time"),
            (error(CertificateError::NotValidYet), set, "not_yet_valid"),
            (error(CertificateError::Expired), 0, "expired"),
            (error(CertificateError::UnknownIssuer), 0, "unknown_issuer"),
            (error(CertificateError::Revoked), set, "revoked"),
            (error(CertificateError::BadEncoding), set, "other"),
            (rustls::Error::NoCertificatesPresented, set, "no_certificate"),
            (rustls::Error::HandshakeNotComplete, set, "other"),
        ] {
            assert_eq!(turned(&what, wall_ms).as_str(), reason, "{what}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_read_from_it() {
        let mut params = rcgen::CertificateParams::new(vec!["gateway".into()]).expect("params");
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().expect("key");
        let made = params.self_signed(&key).expect("signed");
        assert_eq!(expires(made.der()), Some(1_927_843_200));
    }
}
