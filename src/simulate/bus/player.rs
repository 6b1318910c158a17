//! Plays a script on a pseudo-terminal, and pulls and plugs the adapter when it is told to.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::pty::Pty;
use super::{Script, SimulatedMeter};

/// Pieces of answers that wait for their time: some long answers byte by byte. Beyond it new ones are not sent.
const PENDING_MAX: usize = 2048;

/// How long an adapter is away that is pulled again and again.
const PULLED: Duration = Duration::from_secs(1);

/// A bus that is being played. Dropping it unplugs the adapter.
#[derive(Debug)]
pub struct SimulatedBus {
    path: PathBuf,
    writes_seen: Arc<AtomicU64>,
    task: JoinHandle<io::Result<()>>,
}

impl SimulatedBus {
    /// Plays the meters on a new pty; `link` is a stable path to it; with `echo` the adapter hears itself. Inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// No pty, or the link cannot be made.
    pub fn start(
        meters: impl IntoIterator<Item = impl Into<SimulatedMeter>>,
        echo: bool,
        link: Option<PathBuf>,
    ) -> io::Result<Self> {
        Self::plug(Script::new(meters, echo), link, None)
    }

    /// With `pull`, the adapter is pulled whenever it was there for so long, is away for so long, and comes back.
    fn plug(script: Script, link: Option<PathBuf>, pull: Option<(Duration, Duration)>) -> io::Result<Self> {
        let adapter = Adapter::plug(link)?;
        let path = adapter.link.as_deref().unwrap_or(adapter.pty.path()).to_path_buf();
        let writes_seen = Arc::<AtomicU64>::default();
        let task = tokio::spawn(keep(adapter, script, pull, Arc::clone(&writes_seen)));
        Ok(Self { path, writes_seen, task })
    }

    /// What to open: the link, or the pty itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many questions wanted to change something, over all meters.
    #[must_use]
    pub fn writes_seen(&self) -> u64 {
        self.writes_seen.load(Relaxed)
    }

    /// Unplugs the adapter and waits until it is gone.
    pub async fn unplug(mut self) {
        self.task.abort();
        // An aborted task ends with an error that says so.
        let _ = (&mut self.task).await;
    }
}

impl Drop for SimulatedBus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Plays the meters until cancelled; the path to open is the first line on the standard output. With `recreate`, the
/// adapter is pulled after each such time and comes back a second later, under the same link.
///
/// # Errors
/// No pty, or the link cannot be made.
pub async fn run(
    meters: Vec<SimulatedMeter>,
    echo: bool,
    link: Option<PathBuf>,
    recreate: Option<Duration>,
) -> io::Result<()> {
    let pull = recreate.map(|after| (after, PULLED));
    let mut bus = SimulatedBus::plug(Script::new(meters, echo), link, pull)?;
    writeln!(io::stdout().lock(), "{}", bus.path().display())?;
    (&mut bus.task).await.map_err(io::Error::other)?
}

/// A pty and the link to it, which goes with it.
#[derive(Debug)]
struct Adapter {
    pty: Pty,
    link: Option<PathBuf>,
}

impl Adapter {
    fn plug(link: Option<PathBuf>) -> io::Result<Self> {
        let pty = Pty::open()?;
        if let Some(link) = &link {
            point(link, pty.path())?;
        }
        Ok(Self { pty, link })
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        if let Some(link) = &self.link
            && std::fs::read_link(link).is_ok_and(|target| target == self.pty.path())
        {
            let _ = std::fs::remove_file(link);
        }
    }
}

/// Replaces the link in one step, so that it always leads somewhere.
fn point(link: &Path, path: &Path) -> io::Result<()> {
    let mut new = link.as_os_str().to_owned();
    new.push(".new");
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(path, &new)?;
    std::fs::rename(&new, link)
}

/// The meters go on while the adapter is away.
async fn keep(
    mut adapter: Adapter,
    mut script: Script,
    pull: Option<(Duration, Duration)>,
    writes_seen: Arc<AtomicU64>,
) -> io::Result<()> {
    let start = Instant::now();
    loop {
        let played = play(&mut adapter.pty, &mut script, start, &writes_seen);
        let Some((after, away)) = pull else {
            played.await;
            return Ok(());
        };
        // Err is the regular end: the time is over.
        let _ = timeout(after, played).await;
        let link = adapter.link.clone();
        drop(adapter);
        sleep(away).await;
        adapter = Adapter::plug(link)?;
    }
}

/// Ends when the pty does.
async fn play(pty: &mut Pty, script: &mut Script, start: Instant, writes_seen: &AtomicU64) {
    let mut pending: Vec<(Instant, Vec<u8>)> = Vec::new();
    let mut buffer = [0; 256];
    loop {
        let next =
            pending.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(index, (at, _))| (index, *at));
        let due = next.map_or_else(Instant::now, |(_, at)| at);
        tokio::select! {
            read = pty.read(&mut buffer) => {
                let Ok(count @ 1..) = read else { return };
                let now = Instant::now();
                for (delay, bytes) in script.hear(&buffer[..count], now - start, pty.baud().ok()) {
                    if pending.len() < PENDING_MAX {
                        pending.push((now + delay, bytes));
                    }
                }
                writes_seen.store(script.writes_seen(), Relaxed);
            }
            () = sleep_until(due), if next.is_some() => {
                let Some((index, _)) = next else { continue };
                let (_, bytes) = pending.remove(index);
                if pty.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};

    use super::super::bytes::hex;
    use super::super::{Dlt645Meter, MbusMeter, Script, SimulatedMeter};
    use super::{Duration, Path, SimulatedBus, timeout};

    const LIMIT: Duration = Duration::from_secs(20);

    fn open(path: &Path, baud: u32) -> tokio_serial::Result<SerialStream> {
        tokio_serial::new(path.to_string_lossy(), baud).open_native_async()
    }

    async fn ask(port: &mut SerialStream, question: &str, answer: usize) -> Vec<u8> {
        let mut bytes = vec![0; answer];
        let asked = async {
            port.write_all(&hex(question)).await?;
            port.read_exact(&mut bytes).await
        };
        timeout(LIMIT, asked).await.expect("in time").expect("an answer");
        bytes
    }

    #[tokio::test]
    async fn a_meter_hears_the_speed_that_the_far_end_is_set_to() {
        let meters: [SimulatedMeter; 2] =
            [Dlt645Meter::new(260_305_510_020, 5).at(2400).into(), MbusMeter::new(5, 1, 1).into()];
        let bus = SimulatedBus::start(meters, false, None).expect("a pty");
        let mut port = open(bus.path(), 9600).expect("the far end");
        // The first meter is deaf, so that the answer of the second is the first to come.
        let question = "68200051050326681104333334335116";
        assert_eq!(ask(&mut port, &format!("{question} 1040054516"), 1).await, [0xE5]);
        port.set_baud_rate(2400).expect("a speed");
        assert!(ask(&mut port, question, 24).await.starts_with(&[0xFE, 0xFE, 0xFE, 0xFE, 0x68, 0x20]));
        assert_eq!(bus.writes_seen(), 0);
        ask(&mut port, "68 07 07 68 53 05 51 01 7a 08 00 2c 16 1040054516", 1).await;
        assert_eq!(bus.writes_seen(), 1);
        bus.unplug().await;
    }

    #[tokio::test]
    async fn a_pulled_adapter_comes_back_under_its_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let link = directory.path().join("adapter");
        let script = Script::new([MbusMeter::new(5, 1, 1)], false);
        let pull = Some((Duration::from_millis(200), Duration::from_millis(20)));
        let bus = SimulatedBus::plug(script, Some(link.clone()), pull).expect("a pty");
        let seen = async {
            let mut hang_ups = 0;
            while hang_ups < 3 {
                // It may be away at this moment.
                let Ok(mut port) = open(bus.path(), 2400) else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let mut said = Vec::new();
                if port.write_all(&hex("1040054516")).await.is_ok() {
                    // Ends with the hang-up, as an error or as an end.
                    let _ = port.read_to_end(&mut said).await;
                    hang_ups += usize::from(said == [0xE5]);
                }
            }
        };
        timeout(LIMIT, seen).await.expect("each adapter is pulled");
        bus.unplug().await;
        assert!(!link.exists());
    }
}
