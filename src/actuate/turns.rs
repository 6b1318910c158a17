//! Whose turn it is: errands of one way one after the other, those of different ways side by side. Sans-IO.
//!
//! Guarantees: within a way errands leave in the order they came, and only when the one before has ended; no more than
//! [`AT_ONCE`] run, no more than [`WAITING_MAX`] wait and no more than [`WAITING_OF_ONE_MAX`] of them for one way: the next
//! one is given back. A way that is never free holds up no other.

use std::collections::VecDeque;

use crate::ingest::act::Errand;
use crate::model::DeviceId;
use crate::rules::due::Due;

/// Errands that run side by side.
pub(super) const AT_ONCE: usize = 16;
/// Errands that wait, of all ways.
pub(super) const WAITING_MAX: usize = 256;
/// Errands that wait for one way.
pub(super) const WAITING_OF_ONE_MAX: usize = 16;

/// What can do one errand at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A serial port with all its meters, by name.
    Port(String),
    /// A device of its own.
    Device(DeviceId),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<(Way, Errand, Due)>,
    busy: Vec<Way>,
}

impl Turns {
    /// Takes an errand; gives it back when too many wait.
    pub(super) fn offer(&mut self, way: Way, errand: Errand, due: Due) -> Result<(), Errand> {
        let of_one = self.waiting.iter().filter(|(known, ..)| *known == way).count();
        if of_one >= WAITING_OF_ONE_MAX || self.waiting.len() >= WAITING_MAX {
            return Err(errand);
        }
        self.waiting.push_back((way, errand, due));
        Ok(())
    }

    /// The next one that may run; its way is busy until [`Turns::free`].
    pub(super) fn next(&mut self) -> Option<(Way, Errand, Due)> {
        if self.busy.len() >= AT_ONCE {
            return None;
        }
        let at = self.waiting.iter().position(|(way, ..)| !self.busy.contains(way))?;
        let next = self.waiting.remove(at)?;
        self.busy.push(next.0.clone());
        Some(next)
    }

    /// What ran there has ended.
    pub(super) fn free(&mut self, way: &Way) {
        self.busy.retain(|busy| busy != way);
    }

    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.busy.len()
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::command::Action;

    fn errand(run: u64) -> Errand {
        let action = Action::Publish { topic: "t".into(), payload: "p".into() };
        Errand { run, device: "siren-1".parse().expect("a device"), action, expires_ms: 0 }
    }

    const DUE: Due = Due { wall_ms: 0, mono_ms: 0 };

    fn port(name: &str) -> Way {
        Way::Port(name.to_owned())
    }

    #[test]
    fn a_way_that_hangs_holds_up_no_other() {
        let mut turns = Turns::default();
        for run in 0..=WAITING_OF_ONE_MAX as u64 {
            assert!(turns.offer(port("roof"), errand(run), DUE).is_ok());
            if run == 0 {
                assert_eq!(turns.next().map(|(_, errand, _)| errand.run), Some(0));
            }
        }
        assert_eq!(turns.offer(port("roof"), errand(99), DUE).map_err(|back| back.run), Err(99));
        assert!(turns.next().is_none());
        assert!(turns.offer(port("cellar"), errand(100), DUE).is_ok());
        assert_eq!(turns.next().map(|(_, errand, _)| errand.run), Some(100));
        turns.free(&port("roof"));
        assert_eq!(turns.next().map(|(_, errand, _)| errand.run), Some(1));
    }

    proptest! {
        /// Each errand leaves once, in the order of its way, and nothing is ever beyond a bound.
        #[test]
        fn order_holds_and_so_do_the_bounds(steps in prop::collection::vec((0_usize..40, any::<bool>()), 0..600)) {
            let mut turns = Turns::default();
            let (mut run, mut taken, mut left) = (0, 0, 0);
            let mut last = vec![0; 40];
            let mut busy: Vec<Way> = Vec::new();
            for (number, ends) in steps {
                if ends && !busy.is_empty() {
                    turns.free(&busy.swap_remove(number % busy.len()));
                } else {
                    run += 1;
                    taken += usize::from(turns.offer(port(&number.to_string()), errand(run), DUE).is_ok());
                }
                while let Some((way, errand, _)) = turns.next() {
                    prop_assert!(!busy.contains(&way));
                    let Way::Port(name) = &way else { unreachable!() };
                    let number: usize = name.parse().expect("a number");
                    prop_assert!(errand.run > last[number]);
                    last[number] = errand.run;
                    busy.push(way);
                    left += 1;
                }
                prop_assert_eq!(turns.running(), busy.len());
                prop_assert!(turns.running() <= AT_ONCE && turns.waiting() <= WAITING_MAX);
                prop_assert_eq!(taken, left + turns.waiting());
                let idle = turns.waiting() == 0 || turns.running() > 0;
                prop_assert!(idle, "something waits and nothing runs");
            }
        }
    }
}
