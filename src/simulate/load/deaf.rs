//! A subscriber that never reads: CONNECT, SUBSCRIBE at QoS 1, and from the SUBACK on not a byte.
//!
//! It shares no code with the server under test. Whether the server closes its socket it does not know.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::publisher;
use super::{LoadError, Run};

const PATIENCE: Duration = Duration::from_secs(10);

/// The topic of one of them.
pub(super) fn topic(run: &Run, index: u32) -> String {
    format!("{}/deaf-{}/down", run.settings.prefix, index + 1)
}

/// Connects and subscribes; the socket is open while this is kept.
pub(super) async fn subscribe(run: &Run, index: u32) -> Result<TcpStream, LoadError> {
    let device = format!("deaf-{}", index + 1);
    let hello = publisher::connect(&device, None, true);
    let attempt = async {
        let mut stream = TcpStream::connect(run.server).await?;
        stream.write_all(&hello).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        stream.write_all(&publisher::subscribe(&topic(run, index))).await?;
        let mut granted = [0; 5];
        stream.read_exact(&mut granted).await?;
        match (publisher::connack(answer), granted) {
            (Some(0), [0x90, 3, 0, 1, 1]) => Ok(stream),
            _ => Err(io::Error::other("it is not let in, or may not subscribe at QoS 1")),
        }
    };
    let result = timeout(PATIENCE, attempt).await.unwrap_or_else(|elapsed| Err(elapsed.into()));
    result.map_err(|cause| LoadError::Connect { server: run.server, device, cause })
}
