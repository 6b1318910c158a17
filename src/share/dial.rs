//! Dialling the city: TCP and TLS of an uplink, and who answers there.
//!
//! Guarantees: over TLS the city's certificate chains to `ca`, is valid for the host's name and has exactly one URI SAN, the
//! configured consumer, before a byte of the contract leaves; plain text goes to a loopback address or a Unix socket only; the
//! files are read anew each time; a line that broke is not dialled again behind the caller's back. Does not decide when to
//! dial, and logs nothing.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};
use tonic::codegen::{Service, http::Uri};
use tonic::transport::{Channel, Endpoint};

use super::calls::one_name;
use super::listen::chain;
use crate::model::Consumer;

/// Time for the connection, and for the handshake.
const DIAL: Duration = Duration::from_secs(10);
/// HTTP/2 pings, and how long one may stay unanswered: a silent line is given up after their sum. No server has to allow
/// pings more often than every 20 s.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(40), Duration::from_secs(20));
/// HTTP/2 flow control window, bytes.
const FLOW_WINDOW: u32 = 1 << 20;
/// A clock before this was never set: 2026-01-01, when this program did not exist. Milliseconds since 1970 UTC.
const SET_MS: i64 = 1_767_225_600_000;

/// A gateway's standing connection to one city.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Where the city is.
    pub city: City,
    /// Who it is there; also what its certificate says.
    pub consumer: Consumer,
}

/// Where a city is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum City {
    /// Plain text to a loopback address, as "127.0.0.1:50051".
    Loopback(String),
    /// Plain text to a Unix socket.
    Unix(PathBuf),
    /// Mutual TLS.
    Tls {
        /** Name or address, as the certificate has it. */
        host: String,
        /** TCP. */
        port: u16,
        /** Whom it shows and trusts. */
        files: Files,
    },
}

impl std::fmt::Display for City {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            City::Loopback(authority) => write!(f, "http://{authority}"),
            City::Unix(path) => write!(f, "unix:{}", path.display()),
            City::Tls { host, port, .. } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// PEM files of an uplink; they may be renewed in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Roots of the city's certificate.
    pub ca: PathBuf,
    /// The gateway's certificate, then those between it and its root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What an address comes to, before the files are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// See [`City::Loopback`].
    Loopback(String),
    /// See [`City::Unix`].
    Unix(String),
    /// See [`City::Tls`].
    Tls(String, u16),
}

impl std::str::FromStr for Address {
    type Err = &'static str;

    /// Reads `https://host:port`, `http://127.0.0.1:port` or `unix:path`.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err("no path after unix:") } else { Ok(Address::Unix(path.into())) };
        }
        let uri: Uri = text.parse().map_err(|_| "not an address")?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("nothing comes after the port");
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("no host in it")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match uri.scheme_str() {
            Some("https") => Ok(Address::Tls(bare.into(), uri.port_u16().unwrap_or(443))),
            Some("http") => {
                let is_loopback = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
                let port = uri.port_u16().ok_or("no port in it")?;
                if is_loopback {
                    Ok(Address::Loopback(format!("{host}:{port}")))
                } else {
                    Err("plain text is for loopback addresses")
                }
            }
            _ => Err("neither https://, http:// nor unix:"),
        }
    }
}

/// Why nobody, or nobody to trust, answers.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens, or the way there is broken.
    #[error("city {0}: {1}; it is dialled again")]
    Connect(String, String),
    /// A file.
    #[error("uplink file {0}: {1}; a PEM file that the daemon may read is needed")]
    File(PathBuf, String),
    /// The handshake.
    #[error("city {0}: tls: {1}; see ca, certificate and key of the uplink")]
    Tls(String, String),
    /// The certificate is somebody else's.
    #[error("city {0}: its certificate is not that of {1}: {2}")]
    Identity(String, Consumer, String),
    /// The city's certificate is not valid yet by a clock that was never set.
    #[error("city {0}: its certificate is not valid yet by a clock that was never set; waiting for time")]
    WaitingForTime(String),
}

impl DialError {
    /// One word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            DialError::Connect(..) => "connect",
            DialError::File(..) => "file",
            DialError::Tls(..) => "tls",
            DialError::Identity(..) => "identity",
            DialError::WaitingForTime(_) => "waiting_for_time",
        }
    }
}

/// A line to the city, and who answered.
#[derive(Clone, Debug)]
pub struct Line {
    /// One connection; calls fail when it has broken.
    pub channel: Channel,
    /// SHA-256 of the city's certificate; none in plain text.
    pub certificate: Option<[u8; 32]>,
}

impl Uplink {
    /// Dials once. `wall_ms` is the present time, milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, wall_ms: i64) -> Result<Line, DialError> {
        match &self.city {
            City::Loopback(authority) => {
                let stream = self.open(TcpStream::connect(authority.as_str())).await?;
                // Without it small frames wait for company; the connection works all the same.
                let _ = stream.set_nodelay(true);
                self.channel("http://localhost", stream, None).await
            }
            City::Unix(path) => {
                let stream = self.open(UnixStream::connect(path)).await?;
                self.channel("http://localhost", stream, None).await
            }
            City::Tls { host, port, files } => {
                let config = files.config()?;
                let stream = self.open(TcpStream::connect((host.as_str(), *port))).await?;
                let _ = stream.set_nodelay(true);
                let stream = self.shake(host, config, stream, wall_ms).await?;
                let certificate = self.identify(&stream)?;
                // An address of version 6 stands in brackets.
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                self.channel(&format!("https://{host}:{port}"), stream, Some(certificate)).await
            }
        }
    }

    async fn open<S>(&self, connecting: impl Future<Output = io::Result<S>>) -> Result<S, DialError> {
        let wrong = |why: String| DialError::Connect(self.city.to_string(), why);
        match timeout(DIAL, connecting).await {
            Ok(stream) => stream.map_err(|error| wrong(error.to_string())),
            Err(_) => Err(wrong("no answer within 10 s".into())),
        }
    }

    async fn shake(
        &self,
        host: &str,
        config: ClientConfig,
        stream: TcpStream,
        wall_ms: i64,
    ) -> Result<TlsStream<TcpStream>, DialError> {
        let wrong = |why: String| DialError::Tls(self.city.to_string(), why);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(error.to_string()))?;
        let shaken = timeout(DIAL, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
        match shaken.map_err(|_| wrong("no handshake within 10 s".into()))? {
            Ok(stream) => Ok(stream),
            Err(error) if wall_ms < SET_MS && is_early(&error) => {
                Err(DialError::WaitingForTime(self.city.to_string()))
            }
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// Holds that the certificate is the consumer's; its digest.
    fn identify(&self, stream: &TlsStream<TcpStream>) -> Result<[u8; 32], DialError> {
        let wrong = |why: String| DialError::Identity(self.city.to_string(), self.consumer.clone(), why);
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.ok_or_else(|| wrong("none came".into()))?;
        match one_name(leaf) {
            Ok(name) if name == self.consumer => Ok(Sha256::digest(leaf.as_ref()).into()),
            Ok(name) => Err(wrong(format!("its URI SAN is {name}"))),
            Err(why) => Err(wrong(why.into())),
        }
    }

    async fn channel<S>(
        &self,
        origin: &str,
        stream: S,
        certificate: Option<[u8; 32]>,
    ) -> Result<Line, DialError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let wrong = |error: &dyn std::error::Error| DialError::Connect(self.city.to_string(), chain(error));
        let origin: Uri = origin.parse().map_err(|error| wrong(&error))?;
        // TLS is below already: what the transport sees of the scheme is only told in the header.
        let endpoint = Endpoint::from_static("http://city")
            .origin(origin)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(FLOW_WINDOW)
            .initial_connection_window_size(FLOW_WINDOW);
        let once = Once(Some(TokioIo::new(stream)));
        let channel = endpoint.connect_with_connector(once).await.map_err(|error| wrong(&error))?;
        Ok(Line { channel, certificate })
    }
}

impl Files {
    fn config(&self) -> Result<ClientConfig, DialError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.ca)? {
            roots.add(root).map_err(|error| DialError::File(self.ca.clone(), error.to_string()))?;
        }
        let wrong = |path: &Path, why: String| DialError::File(path.to_owned(), why);
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|error| wrong(&self.key, format!("no private key in it: {error}")))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&self.ca, error.to_string()))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.certificate)?, key)
            .map_err(|error| wrong(&self.certificate, error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DialError> {
    std::fs::read(path).map_err(|error| DialError::File(path.to_owned(), error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let wrong = |why: String| DialError::File(path.to_owned(), format!("no certificate in it: {why}"));
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong("it has no PEM section of that kind".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// Whether a handshake ended because the certificate's time has not come.
fn is_early(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
        ))
    )
}

/// Hands out the connection that there is, and never another one.
struct Once<S>(Option<TokioIo<S>>);

impl<S: Send + 'static> Service<Uri> for Once<S> {
    type Response = TokioIo<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<S>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into());
        Box::pin(std::future::ready(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tls_loopback_or_a_socket() {
        let tls = |host: &str, port| Ok(Address::Tls(host.into(), port));
        for (text, is) in [
            ("https://city.example:50061", tls("city.example", 50061)),
            ("https://city.example/", tls("city.example", 443)),
            ("https://[::1]:50061", tls("::1", 50061)),
            ("http://127.0.0.1:50061", Ok(Address::Loopback("127.0.0.1:50061".into()))),
            ("http://[::1]:50061", Ok(Address::Loopback("[::1]:50061".into()))),
            ("unix:/run/city.sock", Ok(Address::Unix("/run/city.sock".into()))),
            ("unix:city.sock", Ok(Address::Unix("city.sock".into()))),
            ("unix:", Err("no path after unix:")),
            ("http://192.0.2.7:50061", Err("plain text is for loopback addresses")),
            ("http://localhost:50061", Err("plain text is for loopback addresses")),
            ("http://127.0.0.1", Err("no port in it")),
            ("https://city.example/v1", Err("nothing comes after the port")),
            ("city.example:50061", Err("neither https://, http:// nor unix:")),
            ("ftp://city.example", Err("neither https://, http:// nor unix:")),
            ("", Err("not an address")),
        ] {
            assert_eq!(text.parse(), is, "{text}");
        }
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_and_a_file_that_is_none() {
        let consumer: Consumer = "spiffe://brain.example/city/310115/brain/one".parse().expect("a consumer");
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it");
        let uplink = Uplink { city: City::Loopback(closed.to_string()), consumer: consumer.clone() };
        let error = uplink.dial(SET_MS).await.expect_err("nobody is there");
        assert_eq!(error.reason(), "connect", "{error}");
        let none = PathBuf::from("/nonexistent/ca.pem");
        let files = Files { ca: none.clone(), certificate: none.clone(), key: none };
        let city = City::Tls { host: "127.0.0.1".into(), port: closed.port(), files };
        let error = Uplink { city, consumer }.dial(SET_MS).await.expect_err("no file is there");
        assert_eq!(error.reason(), "file", "{error}");
    }
}
