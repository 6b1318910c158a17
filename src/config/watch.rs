//! Live reload: notices that the files say something else, checks them, and hands on what came of it.
//!
//! Guarantees: a whole [`Config`] or all [`Faults`], never a part; the same bad content is told once; the key epoch of
//! pseudonyms never ends more than a minute late, and a profile for an emergency not after its end: where the files are bad
//! just then, it is taken out of what they said when they were good. The directories are watched, not the files, so that
//! renames, links and editors are noticed; where the system does not tell, a look every minute does. Swaps nothing:
//! that is the receiver's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout_at};

use super::emergency::{self, Found};
use super::fault::Report;
use super::source::Sources;
use super::{Config, Faults, Names, Version};
use crate::clock::Clock;
use crate::privacy::pseudonym::Epoch;

/// How long the directories have to be quiet before the files are read.
pub(crate) const QUIET: Duration = Duration::from_millis(500);
/// How often the files are read although nothing was noticed.
pub(crate) const LOOK: Duration = Duration::from_secs(60);
/// Restlessness after which the files are read all the same, in units of quiet.
const PATIENCE: u32 = 10;

/// A configuration file under watch.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    version: Version,
    names: Names,
    quiet: Duration,
    look: Duration,
    /// Where profiles for emergencies lie.
    emergency: Option<PathBuf>,
    /// When the next of them begins or ends.
    due_ms: Option<i64>,
    /// The files when they were good last.
    good: Option<Sources>,
    good_digest: [u8; 32],
}

/// What a look at the files came to, in the order in which it is to be told.
type Looked = Vec<Result<Config, Faults>>;

impl Watch {
    /// Watches the file that the present configuration came from.
    #[must_use]
    pub fn of(path: &Path, present: &Config) -> Self {
        let (version, names) = (present.version, present.names.clone());
        let mut watch = Self {
            path: path.to_owned(),
            version,
            names,
            quiet: QUIET,
            look: LOOK,
            emergency: None,
            due_ms: None,
            good: None,
            good_digest: present.version.digest,
        };
        watch.present(present);
        watch
    }

    /// Goes on from a configuration.
    fn present(&mut self, config: &Config) {
        (self.version, self.good_digest) = (config.version, config.version.digest);
        self.names = config.names.clone();
        self.emergency = config.emergency.settings.as_ref().map(|settings| settings.dir.clone());
        self.due_ms = config.emergency.due_ms();
    }

    /// How long nothing is due by time alone.
    fn rest(&self, now_ms: i64) -> Duration {
        let due = self.due_ms.map(|due_ms| u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0));
        due.map_or(self.look, |ms| self.look.min(Duration::from_millis(ms)))
    }

    /// Sends a configuration or its faults whenever the files or the epoch changed, or `reload` asks for it (SIGHUP).
    /// Ends when nobody receives any more. Waits while the channel is full.
    pub async fn run(
        mut self,
        clock: Arc<dyn Clock>,
        reload: Arc<Notify>,
        out: mpsc::Sender<Result<Config, Faults>>,
    ) {
        // One place: a hint only says that it is worth looking, and two say no more than one.
        let (hint, mut hints) = mpsc::channel(1);
        let mut watched = BTreeSet::new();
        let mut watcher = None;
        let mut forced = false;
        loop {
            let now_ms = clock.now().wall_ms;
            let Ok((watch, dirs, found)) = tokio::task::spawn_blocking(move || {
                let (dirs, found) = self.look(now_ms, forced);
                (self, dirs, found)
            })
            .await
            else {
                return;
            };
            self = watch;
            for found in found {
                if out.send(found).await.is_err() {
                    return;
                }
            }
            if dirs != watched {
                // What changed before the new watcher stood is seen by the look after it.
                watcher = watch_all(&dirs, hint.clone());
                watched = dirs;
                forced = false;
                continue;
            }
            forced = tokio::select! {
                _ = hints.recv() => { quiet(&mut hints, self.quiet).await; false }
                () = reload.notified() => true,
                () = sleep(self.rest(clock.now().wall_ms)) => false,
                () = out.closed() => break,
            };
        }
        drop(watcher);
    }

    /// Reads the files; checks them if they, the epoch or a profile's standing are new, or if it has to.
    pub(super) fn look(&mut self, now_ms: i64, forced: bool) -> (BTreeSet<PathBuf>, Looked) {
        let mut report = Report::default();
        let mut sources = Sources::read(&self.path, &mut report);
        // Where a link leads is another directory after it was swapped; what is not there cannot be watched yet.
        let dirs = std::mem::take(&mut sources.dirs).into_iter().chain(self.emergency.clone());
        let dirs = dirs.filter_map(|dir| dir.canonicalize().ok()).collect();
        let epoch = Epoch::at(self.version.epoch.length(), now_ms, self.version.zone_ms);
        let profiles =
            self.emergency.as_deref().map_or(self.version.profiles, |dir| Found::read(dir).digest());
        let version = Version { digest: sources.digest(), epoch, profiles, ..self.version };
        let is_due = self.due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        if version == self.version && !is_due && !forced {
            if self.good.is_none() && version.digest == self.good_digest {
                self.good = Some(sources);
            }
            return (dirs, Vec::new());
        }
        let found = emergency::load(&sources, report, now_ms, Some(&self.names));
        let mut looked = Vec::new();
        match &found {
            Ok(config) => {
                self.present(config);
                self.good = Some(sources);
            }
            Err(_) => {
                if is_due {
                    looked.extend(self.fall_back(now_ms).map(Ok));
                }
                self.version = version;
            }
        }
        looked.push(found);
        (dirs, looked)
    }

    /// What the files said when they were good, with the profiles that are in force now.
    fn fall_back(&mut self, now_ms: i64) -> Option<Config> {
        self.due_ms = None;
        let good = self.good.as_ref()?;
        let config = emergency::load(good, Report::default(), now_ms, Some(&self.names)).ok()?;
        self.present(&config);
        Some(config)
    }
}

/// Waits until the hints stop, but not for ever.
pub(crate) async fn quiet(hints: &mut mpsc::Receiver<()>, quiet: Duration) {
    let patience = Instant::now() + quiet * PATIENCE;
    while timeout_at(patience.min(Instant::now() + quiet), hints.recv()).await.is_ok() {
        if Instant::now() >= patience {
            return;
        }
    }
}

/// A watcher over directories; none where the system has no room for it.
pub(crate) fn watch_all(dirs: &BTreeSet<PathBuf>, hint: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        // Our own reading is an access too.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            let _ = hint.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(told)
        .inspect_err(|error| tracing::warn!(%error, "configuration is not watched, it is read every minute"))
        .ok()?;
    for dir in dirs {
        if let Err(error) = watcher.watch(dir, RecursiveMode::NonRecursive) {
            tracing::warn!(dir = %dir.display(), %error, "directory is not watched, it is read every minute");
        }
    }
    Some(watcher)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::model::Stamp;

    const NOVEMBER: i64 = 1_794_000_000_000;
    const DECEMBER: i64 = NOVEMBER + 31 * 86_400_000;

    #[derive(Default)]
    struct HandClock(AtomicI64);

    impl Clock for HandClock {
        fn now(&self) -> Stamp {
            Stamp { wall_ms: self.0.load(Ordering::SeqCst), mono_ms: 0 }
        }
    }

    fn text(id: &str) -> String {
        format!(
            "include = ['conf.d/*.toml']\n[gateway]\nid = '{id}'\ndivision_code = '310115013007'\n\
             compound_code = 'C1'\n[store]\ndir = 'data'\n"
        )
    }

    struct Rig {
        dir: tempfile::TempDir,
        clock: Arc<HandClock>,
        reload: Arc<Notify>,
        found: mpsc::Receiver<Result<Config, Faults>>,
    }

    impl Rig {
        fn start(look: Duration) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("smallbrain.toml");
            std::fs::write(&path, text("first")).expect("a file");
            let clock = Arc::new(HandClock(AtomicI64::new(NOVEMBER)));
            let config = Config::load(&path, NOVEMBER, None).expect("a good configuration");
            let mut watch = Watch::of(&path, &config);
            (watch.quiet, watch.look) = (Duration::from_millis(20), look);
            let reload = Arc::new(Notify::new());
            let (out, found) = mpsc::channel(4);
            tokio::spawn(watch.run(clock.clone(), reload.clone(), out));
            Self { dir, clock, reload, found }
        }

        fn swap(&self, name: &str, text: &str) {
            let new = self.dir.path().join(".new");
            std::fs::write(&new, text).expect("a file");
            std::fs::rename(new, self.dir.path().join(name)).expect("a rename");
        }

        async fn next(&mut self) -> Result<Config, Faults> {
            let next = tokio::time::timeout(Duration::from_secs(20), self.found.recv()).await;
            next.expect("something within 20 s").expect("the watch goes on")
        }
    }

    #[tokio::test]
    async fn a_swapped_file_is_taken_and_a_bad_one_is_told() {
        let mut rig = Rig::start(Duration::from_secs(3600));
        // Answered once the watch is on its way, so that what follows is noticed and not merely read at the start.
        rig.reload.notify_one();
        assert_eq!(rig.next().await.expect("a reload").gateway.id, "first");
        rig.swap("smallbrain.toml", &text("second"));
        assert_eq!(rig.next().await.expect("a good file").gateway.id, "second");
        rig.swap("smallbrain.toml", "gateway = 1");
        assert!(rig.next().await.expect_err("a bad file").count() > 0);
        rig.swap("smallbrain.toml", &text("third"));
        assert_eq!(rig.next().await.expect("a good file").gateway.id, "third");
        std::fs::create_dir(rig.dir.path().join("conf.d")).expect("a directory");
        rig.swap("conf.d/more.toml", "[ingest]\nqueue = 7");
        assert_eq!(rig.next().await.expect("one more file").queue, 7);
    }

    #[tokio::test]
    async fn a_new_month_reloads_without_a_change() {
        let mut rig = Rig::start(Duration::from_millis(20));
        rig.clock.0.store(DECEMBER, Ordering::SeqCst);
        let config = rig.next().await.expect("the same file");
        assert_eq!(config.version.epoch.to_string(), "2026-12");
        assert!(rig.found.try_recv().is_err(), "once");
    }

    #[tokio::test]
    async fn a_look_finds_what_nobody_told() {
        let mut rig = Rig::start(Duration::from_millis(20));
        std::fs::write(rig.dir.path().join("smallbrain.toml"), text("edited")).expect("a file");
        // A look may come between truncation and content: then the faults of the empty file come first.
        let found = match rig.next().await {
            Ok(config) => config,
            Err(_) => rig.next().await.expect("a good file"),
        };
        assert_eq!(found.gateway.id, "edited");
    }
}
