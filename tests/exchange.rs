//! The exchange with the city from a seed: the real store, the real session, the real ledger of a consumer, and between
//! them a network that loses, halves and delays. Gateway and city are killed at any step, the disk gets full, lines of the
//! share list come and go, older copies of the store come back.
//!
//! Held at every step (`exchange/stream.rs`, `city.rs`, `gateway.rs`): the city has what was sealed, minus declared gaps,
//! minus what its lines do not permit; no position ever has two bodies; acks never go back; credit and batches are bounded;
//! an alarm waits for no more than the batch on its way; a lane that waits gets one batch in sixteen. After quiet nothing
//! is owed (`restore.rs`).
//!
//! `SIM_SEED=17 cargo test --test exchange` runs one seed again and tells its last steps, `SIM_SEEDS=200` runs more of them,
//! `SIM_STEPS=50000` longer ones.

#[path = "exchange/city.rs"]
mod city;
#[path = "exchange/gateway.rs"]
mod gateway;
#[path = "exchange/network.rs"]
mod network;
#[path = "exchange/random.rs"]
mod random;
#[path = "exchange/restore.rs"]
mod restore;
#[path = "exchange/stream.rs"]
mod stream;
#[path = "exchange/truth.rs"]
mod truth;
#[path = "exchange/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use world::{Trace, World};

/// The consumer that everything is for.
const CITY: &str = "spiffe://city.example/sim";

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a good name")
}

/// Counts what happened at all, so that a run in which nothing was tried cannot pass.
macro_rules! seen {
    ($($name:ident)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Seen { $(pub(crate) $name: u64,)* }

        impl Seen {
            fn add(&mut self, other: &Seen) {
                $(self.$name += other.$name;)*
            }
            fn never(&self) -> Vec<&'static str> {
                [$((stringify!($name), self.$name),)*]
                    .into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
            }
        }
    };
}

seen! {
    records batches commits withheld lost redelivered fetched alarms_first floors storms
    kills city_kills falls cuts half_open replaced duplicates drained
    late_acks reordered_acks full tidied purges revoked starved
    restores forks told harmless resets
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A directory in memory where there is one: a simulated power cut needs no real disk.
fn memory_dir() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn run(seed: u64, steps: u64, trace: Trace) -> Seen {
    let root = tempfile::Builder::new().prefix("exchange").tempdir_in(memory_dir()).expect("a directory");
    let mut world = World::new(seed, root.path(), trace);
    for _ in 0..steps {
        world.act();
    }
    world.quiet()
}

#[test]
fn the_city_has_what_was_sealed_whatever_happens() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(40),
    };
    let (steps, begun) = (number("SIM_STEPS").unwrap_or(10_000), Instant::now());
    let is_one = seeds.end - seeds.start == 1;
    let (next, all) = (AtomicU64::new(seeds.start), Mutex::new(Seen::default()));
    let work = || loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= seeds.end {
            return;
        }
        let trace = Trace::default();
        match catch_unwind(AssertUnwindSafe(|| run(seed, steps, trace.clone()))) {
            Ok(seen) => all.lock().unwrap_or_else(PoisonError::into_inner).add(&seen),
            Err(panic) => {
                next.store(seeds.end, Relaxed);
                let trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
                let lines: Vec<&str> = trace.iter().map(String::as_str).collect();
                eprintln!("{}\nrepeat with SIM_SEED={seed}", lines.join("\n"));
                resume_unwind(panic);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                resume_unwind(panic);
            }
        }
    });
    let seen = *all.lock().unwrap_or_else(PoisonError::into_inner);
    let steps = steps * (seeds.end - seeds.start);
    let per_second = steps as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{steps} steps, {per_second:.0} a second: {seen:?}");
    let never = seen.never();
    assert!(never.is_empty() || is_one, "not everything was tried: {never:?}");
}
