//! A pseudo-terminal: a serial port without hardware.
//!
//! The far end is opened by its path like any serial port, this end reads and writes bytes. Raw from the start, so that
//! nothing is echoed or translated. The speed that the far end was set to can be read, but bytes do not keep to it; parity
//! cannot even be read, because the driver clears it. Dropping it hangs up the far end.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::OptionalActions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

/// One end of a pseudo-terminal, and the path of the other.
#[derive(Debug)]
pub struct Pty {
    /// To tokio, a file descriptor that can be waited for is a pipe.
    receiver: Receiver,
    sender: Sender,
    /// Held open, or this end would read errors while nobody has the path open.
    _far: OwnedFd,
    path: PathBuf,
}

impl Pty {
    /// A new one; inside a tokio runtime.
    ///
    /// # Errors
    /// The operating system has none left.
    pub fn open() -> io::Result<Self> {
        let near = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&near)?;
        rustix::pty::unlockpt(&near)?;
        let name = rustix::pty::ptsname(&near, Vec::new())?;
        let far = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut termios = rustix::termios::tcgetattr(&far)?;
        termios.make_raw();
        rustix::termios::tcsetattr(&far, OptionalActions::Now, &termios)?;
        let flags = rustix::fs::fcntl_getfl(&near)?;
        rustix::fs::fcntl_setfl(&near, flags | OFlags::NONBLOCK)?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let sender = Sender::from_owned_fd_unchecked(near.try_clone()?)?;
        Ok(Self { receiver: Receiver::from_owned_fd_unchecked(near)?, sender, _far: far, path })
    }

    /// Of the far end: /dev/pts/…
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The speed that the far end is set to, in bauds.
    ///
    /// # Errors
    /// By the operating system.
    pub fn baud(&self) -> io::Result<u32> {
        // Linux gives the settings of the far end for this end.
        Ok(rustix::termios::tcgetattr(&self.sender)?.output_speed())
    }

    /// Waits for bytes from the far end; gives how many.
    ///
    /// # Errors
    /// By the operating system.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receiver.read(buffer).await
    }

    /// Sends all bytes to the far end; waits while its buffer of some kilobytes is full.
    ///
    /// # Errors
    /// By the operating system.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sender.write_all(bytes).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use tokio_serial::SerialPortBuilderExt;

    use super::*;

    #[tokio::test]
    async fn the_speed_of_the_far_end_is_seen() {
        let pty = Pty::open().expect("a pty");
        let path = pty.path().to_string_lossy().into_owned();
        for baud in [300, 2400, 9600, 115_200] {
            let _port = tokio_serial::new(&path, baud).open_native_async().expect("the far end");
            assert_eq!(pty.baud().expect("a speed"), baud);
        }
    }

    #[tokio::test]
    async fn every_byte_goes_both_ways_unchanged() {
        let mut pty = Pty::open().expect("a pty");
        let path = pty.path().to_string_lossy().into_owned();
        let mut port = tokio_serial::new(path, 9600).open_native_async().expect("the far end");
        let bytes: Vec<u8> = (0..=255).collect();
        let there_and_back = async {
            let mut buffer = [0; 256];
            port.write_all(&bytes).await?;
            let mut got = Vec::new();
            while got.len() < bytes.len() {
                let count = pty.read(&mut buffer).await?;
                got.extend_from_slice(&buffer[..count]);
            }
            pty.write_all(&got).await?;
            port.read_exact(&mut buffer).await?;
            io::Result::Ok(buffer)
        };
        let back = timeout(Duration::from_secs(5), there_and_back).await.expect("in time").expect("a line");
        assert_eq!(back[..], bytes[..]);
    }
}
