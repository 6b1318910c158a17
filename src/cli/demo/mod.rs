//! `smallbrain demo`: the whole road in one process, with simulated meters, doors, a fire alarm from sensor to closed, and
//! a city that is cut off in the middle. Ends with a table that proves the promises in numbers, and fails when one does not
//! hold.

mod city;
mod hook;
mod incident;
mod proof;
mod story;
mod thing;

use std::future::pending;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::city::City;
use self::hook::Hook;
use self::incident::Rows;
use self::proof::Proof;
use self::story::{Stage, Story};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::ingest::DeviceSeen;
use crate::model::Lane;
use crate::simulate::bus::{Cjt188Meter, Dlt645Meter, Fault, SimulatedBus, SimulatedMeter, SimulatedSlave};
use crate::simulate::{devices, load};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long the devices publish
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(6..=600))]
    seconds: u64,
    /// Where to keep the store [default: a temporary directory, removed afterwards]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Load readings a second besides the friendly devices
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
}

/// Friendly devices, by `devices::Kind`: doors, thermometers, smoke detectors, water meters.
const DEVICES: [u16; 4] = [4, 3, 10, 1];
/// On the bus, by the names of the demo's configuration.
const METERS: [&str; 4] = ["meter-1", "meter-2", "electricity-1", "water-meter-1"];
/// The file with what signs messages to the property management.
const SECRET: &str = "property.secret";
/// How long the city may take to catch up at the end.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);
/// How long the city is not cut off while the story goes on.
const STORY_MAX: Duration = Duration::from_secs(30);

/// Plays the whole road; false when a promise does not hold.
///
/// # Errors
/// What kept the demo from running.
pub async fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<bool> {
    let temporary;
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => {
            temporary = Scratch::new()?;
            temporary.0.clone()
        }
    };
    let play = Play::start(args, &dir).await?;
    let proof = play.perform(args, out).await?;
    proof.write(out)?;
    Ok(proof.holds())
}

/// A directory that goes with the demo.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("smallbrain-demo-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind at worst, in a directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Everything that runs.
struct Play {
    dir: PathBuf,
    daemon: Daemon,
    city: City,
    bus: SimulatedBus,
    hook: Hook,
    story: Option<Story>,
    stop: CancellationToken,
    friendly: Arc<devices::Counters>,
    heavy: Arc<load::Counters>,
    friendly_task: tokio::task::JoinHandle<devices::Report>,
    heavy_task: tokio::task::JoinHandle<Result<load::Report, load::LoadError>>,
}

impl Play {
    async fn start(args: &Args, dir: &Path) -> anyhow::Result<Self> {
        if dir.join("store").join("smallbrain.db").exists() {
            bail!("{}: holds a store already; name an empty directory", dir.display());
        }
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let bus = SimulatedBus::start(meters(), false, None).context("simulated serial bus")?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let hook = Hook::start().await?;
        let config = configure(dir, bus.path(), &hook, clock.now().wall_ms)?;
        let socket = config.socket.clone();
        let daemon = Daemon::start(config, clock.clone()).await?;
        let mqtt = daemon.addresses.mqtt.context("the demo's configuration has an MQTT listener")?;
        let gateway =
            daemon.addresses.share.first().context("the demo's configuration has a share listener")?;
        let stop = CancellationToken::new();
        let friendly = Arc::new(devices::Counters::default());
        let heavy = Arc::new(load::Counters::default());
        let friendly_settings = devices::Settings {
            port: mqtt.port(),
            counts: DEVICES,
            period: Duration::from_millis(200),
            ..devices::Settings::default()
        };
        let heavy_settings = load::Settings {
            server: mqtt.to_string(),
            connections: 20,
            rate: Some(f64::from(args.rate)),
            ledger: Some(dir.join("acked.txt")),
            ..load::Settings::default()
        };
        let city = City::new(format!("http://{gateway}"), clock);
        let stage = Stage { mqtt_port: mqtt.port(), socket, desk: city.desk(), hook: hook.clone() };
        Ok(Self {
            friendly_task: tokio::spawn(devices::run(friendly_settings, friendly.clone(), stop.clone())),
            heavy_task: tokio::spawn(load::run(heavy_settings, heavy.clone(), stop.clone())),
            dir: dir.to_owned(),
            daemon,
            city,
            bus,
            hook,
            story: Some(Story::begin(stage)),
            stop,
            friendly,
            heavy,
        })
    }

    /// The play in three acts: together, cut off, catching up.
    async fn perform(mut self, args: &Args, out: &mut dyn Write) -> anyhow::Result<Proof> {
        let third = Duration::from_secs(args.seconds) / 3;
        writeln!(out, "smallbrain demo: {} s, store in {}", args.seconds, self.dir.display())?;
        self.city.connect();
        self.act("the city pulls", third, out).await?;
        self.end_story(out).await?;
        self.city.cut().await.map_err(anyhow::Error::msg)?;
        self.act("the city is cut off", third, out).await?;
        self.city.reconnect();
        self.act("the city catches up", third, out).await?;
        self.finish(out).await
    }

    async fn act(&mut self, name: &str, length: Duration, out: &mut dyn Write) -> anyhow::Result<()> {
        let end = Instant::now() + length;
        while Instant::now() < end {
            let next = (Instant::now() + Duration::from_secs(1)).min(end);
            while Instant::now() < next {
                self.wait(next, out).await?;
            }
            self.progress(name, out)?;
        }
        Ok(())
    }

    /// Waits for the next line of the story and prints it, until `until` at most.
    async fn wait(&mut self, until: Instant, out: &mut dyn Write) -> anyhow::Result<()> {
        let story = async {
            match &mut self.story {
                Some(story) => story.line().await,
                None => pending().await,
            }
        };
        tokio::select! {
            line = story => match line {
                Some(line) => writeln!(out, "{line}")?,
                None => self.story = None,
            },
            () = sleep(until.saturating_duration_since(Instant::now())) => {}
            error = self.daemon.failed() => return Err(error.into()),
        }
        Ok(())
    }

    /// The story needs the city: it is waited for on a machine that is busy with other things, but not for ever.
    async fn end_story(&mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        let give_up = Instant::now() + STORY_MAX;
        while self.story.is_some() && Instant::now() < give_up {
            self.wait(give_up, out).await?;
        }
        if let Some(story) = self.story.take() {
            writeln!(
                out,
                "  the story did not end: {} s later it waits for {}",
                STORY_MAX.as_secs(),
                story.waits_for()
            )?;
        }
        Ok(())
    }

    fn progress(&self, name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        let published =
            self.friendly.published.load(Ordering::Relaxed) + self.heavy.sent.load(Ordering::Relaxed);
        let acked = self.friendly.acked.load(Ordering::Relaxed) + self.heavy.acked.load(Ordering::Relaxed);
        let stored = self.daemon.ledger().stored;
        let delivered = self.city.with(|city| city.delivered);
        let [alarm, aggregate, bulk] =
            [Lane::Alarm, Lane::Aggregate, Lane::Bulk].map(|lane| delivered[lane.index()]);
        writeln!(
            out,
            "{name:<20} published {published:>8}  acknowledged {acked:>8}  stored {stored:>8}  delivered: alarm {alarm:>3} aggregate {aggregate:>4} bulk {bulk:>5}",
        )?;
        Ok(out.flush()?)
    }

    /// The devices stop, the city takes the rest, the daemon stops; then everything is counted.
    async fn finish(mut self, out: &mut dyn Write) -> anyhow::Result<Proof> {
        self.stop.cancel();
        let friendly = self.friendly_task.await.context("the simulated devices")?;
        let heavy = self.heavy_task.await.context("the load generator")??;
        self.bus.unplug().await;
        let heads = quiet(&mut self.daemon, &self.city).await?;
        self.city.cut().await.map_err(anyhow::Error::msg)?;
        let ledger = self.daemon.ledger();
        let said = |seen: DeviceSeen| {
            Some((METERS.iter().find(|name| seen.device.as_str() == **name)?, seen.readings))
        };
        let meters: Vec<_> =
            self.daemon.devices().into_iter().filter_map(said).map(|(name, count)| (*name, count)).collect();
        writeln!(out, "stopping, then reading the store as an auditor would")?;
        self.daemon.stop().await?;
        let store = self.dir.join("store");
        let secret = self.dir.join(SECRET);
        let story = proof::Story {
            rows: Rows::read(&proof::open(store.clone())?, &store).await?,
            letters: self.hook.letters(),
            secret: std::fs::read_to_string(&secret).with_context(|| secret.display().to_string())?,
        };
        let counted = (ledger, &meters[..]);
        self.city.with(|city| Proof::collect(&self.dir, &friendly, &heavy, counted, heads, &story, city))
    }
}

/// Modbus, DL/T 645 and CJ/T 188 on one line, and noise before every fourth answer of one of them.
fn meters() -> Vec<SimulatedMeter> {
    vec![
        SimulatedSlave::new(1, 1).into(),
        SimulatedSlave::new(2, 2).with(Fault::GarbageBefore(3), 4).into(),
        Dlt645Meter::new(201_000_000_012, 3).at(2400).into(),
        Cjt188Meter::new(0x10, 805_000_001, 4).at(2400).into(),
    ]
}

/// Waits until windows and blocks of the end are sealed and the city has everything.
async fn quiet(daemon: &mut Daemon, city: &City) -> anyhow::Result<[u64; Lane::ALL.len()]> {
    let give_up = Instant::now() + CATCH_UP_MAX;
    // The last window ends within five seconds and waits one more for late readings.
    let settled = Instant::now() + Duration::from_secs(7);
    loop {
        let heads = daemon.heads().map(|seq| seq.0);
        let taken =
            city.with(|city| Lane::ALL.map(|lane| city.position.lanes.get(&lane).map_or(0, |mark| mark.seq)));
        if (Instant::now() > settled && heads == taken) || Instant::now() > give_up {
            return Ok(heads);
        }
        tokio::select! {
            () = sleep(Duration::from_millis(100)) => {}
            error = daemon.failed() => return Err(error.into()),
        }
    }
}

fn configure(dir: &Path, bus: &Path, hook: &Hook, now_ms: i64) -> anyhow::Result<Config> {
    for name in ["pseudonym.key", SECRET] {
        secret(&dir.join(name)).context(name)?;
    }
    let path = dir.join("smallbrain.toml");
    let text = include_str!("demo.toml")
        .replace("\"{bus}\"", &format!("{:?}", bus.display().to_string()))
        .replace("{hook}", &format!("http://{}", hook.address));
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    let mut config = Config::load(&path, now_ms, None).map_err(|faults| anyhow::anyhow!("{faults}"))?;
    // Robots of chat services take a message in three seconds; the demo's webhooks do not mind, and the city is cut off soon.
    config.notify.limits.pace.spacing = Duration::from_millis(50);
    Ok(config)
}

/// A new secret in a file of its owner alone.
fn secret(path: &Path) -> anyhow::Result<()> {
    let mut key = [0_u8; 32];
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("random numbers: {error}"))?;
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file =
        std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(hex.as_bytes())?)
}
