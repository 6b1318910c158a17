//! The gateway's gRPC side: what the city pulls.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::model::Consumer;
use crate::privacy::release::ShareLine;
use crate::wire::Gateway;

/// What the share server needs to know. `lines` are swapped live, the rest holds for the life of the daemon.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who and where the gateway is.
    pub gateway: Gateway,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// The share list.
    pub lines: Vec<ShareLine>,
}

/// One listener of the city's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Plain text on a loopback address; whoever connects is this consumer.
    Loopback {
        /** Loopback only. */
        address: SocketAddr,
        /** Who it is. */
        consumer: Consumer,
    },
    /// Plain text on a Unix socket; whoever may open it is this consumer.
    Unix {
        /** The socket. */
        path: PathBuf,
        /** Who it is. */
        consumer: Consumer,
    },
    /// Mutual TLS; the client certificate's one URI SAN is the consumer.
    Tls {
        /** Any address. */
        address: SocketAddr,
        /** PEM chain. */
        certificate: PathBuf,
        /** PEM key. */
        key: PathBuf,
        /** PEM roots of clients. */
        client_ca: PathBuf,
    },
}
