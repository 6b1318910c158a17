//! Where the city's side listens. Binding is apart from serving, so that an address in use, a key that is none or a
//! plain listener on an open address are told before the daemon says that it is ready.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use super::Listener;
use super::tls::TlsFiles;
use crate::clock::{Clock, SystemClock};
use crate::model::Consumer;

/// Who may open the city's Unix socket: owner and group.
const SOCKET_MODE: u32 = 0o660;

/// A listener that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Plain text on an address that others can reach.
    #[error("listen {0}: plain text is for loopback only; use a listener with certificates")]
    NotLoopback(SocketAddr),
    /// The address.
    #[error("listen {0}: {1}")]
    Tcp(SocketAddr, io::Error),
    /// The socket's path.
    #[error("socket {0}: {1}")]
    Unix(PathBuf, io::Error),
    /// Another process listens there.
    #[error("socket {0}: another process listens there")]
    InUse(PathBuf),
    /// A file of the certificates.
    #[error("certificate file {0}: {1}")]
    File(PathBuf, io::Error),
    /// What the files hold.
    #[error("certificate {0}: {1}")]
    Tls(PathBuf, String),
}

/// A listener with its address taken.
#[derive(Debug)]
pub enum Bound {
    /// Plain text on loopback.
    Loopback(Arc<TcpListener>, Consumer),
    /// Plain text on a Unix socket.
    Unix(UnixSocket, Consumer),
    /// Mutual TLS.
    Tls(Arc<TcpListener>, TlsFiles),
}

impl Bound {
    /// The address, for those that have one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Bound::Loopback(listener, _) | Bound::Tls(listener, _) => listener.local_addr().ok(),
            Bound::Unix(..) => None,
        }
    }
}

/// Takes the address, and reads the certificates where there are some.
///
/// # Errors
/// [`BindError`].
pub async fn bind(listener: &Listener) -> Result<Bound, BindError> {
    match listener {
        Listener::Loopback { address, .. } if !address.ip().is_loopback() => {
            Err(BindError::NotLoopback(*address))
        }
        Listener::Loopback { address, consumer } => {
            Ok(Bound::Loopback(tcp(*address).await?, consumer.clone()))
        }
        Listener::Unix { path, consumer } => Ok(Bound::Unix(unix(path, SOCKET_MODE)?, consumer.clone())),
        Listener::Tls { address, certificate, key, client_ca, client_crl } => {
            let files = TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: client_ca.clone(),
                client_crl: client_crl.clone(),
            };
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
            files.load(&clock)?;
            Ok(Bound::Tls(tcp(*address).await?, files))
        }
    }
}

async fn tcp(address: SocketAddr) -> Result<Arc<TcpListener>, BindError> {
    let listener = TcpListener::bind(address).await.map_err(|error| BindError::Tcp(address, error))?;
    Ok(Arc::new(listener))
}

/// Takes a socket's path; what a dead process left there is removed, anything else is not.
///
/// # Errors
/// [`BindError`].
pub fn unix(path: &Path, mode: u32) -> Result<UnixSocket, BindError> {
    let wrong = |error| BindError::Unix(path.to_owned(), error);
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(wrong(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is there",
            )));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(BindError::InUse(path.to_owned()));
        }
        Ok(_) => std::fs::remove_file(path).map_err(wrong)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(wrong)?;
    Ok(UnixSocket { listener, path: path.to_owned() })
}

/// A listening Unix socket; its file goes with it.
#[derive(Debug)]
pub struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Gone already is as good; a directory that became read-only is met at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An error with its causes in one line; a cause that the error has told already is not told again.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let told = inner.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        cause = inner.source();
    }
    text
}
