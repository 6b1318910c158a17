//! Lists that the city shares, in the engine: a list that changes, or an entry that begins or ends, is looked at like whether
//! a device is there: by every alarm that looks into it, with the values that are known.
//!
//! Time is the wall clock, because the city's times are; what begins or ends is looked at with the next tick.

use std::sync::Arc;

use super::Engine;
use crate::model::{LineId, Stamp};
use crate::rules::listed::{Held, Lists};

impl Engine {
    /// Takes the lists as they are, before anything else is taken up: nothing follows from them by that alone.
    pub fn set_lists(&mut self, lists: Lists, now: Stamp) {
        self.lists = lists;
        self.listed_ms = now.wall_ms;
    }

    /// Looks once at everything that looks into lists: something may have begun or ended while nobody looked.
    pub fn look_into_lists(&mut self, now: Stamp) {
        let lists: Vec<LineId> = self.listing.keys().cloned().collect();
        for list in lists {
            self.look_into(&list, now);
        }
    }

    /// Takes a list in place of the one before; none when there is none any more.
    pub fn set_list(&mut self, list: &LineId, held: Option<Arc<Held>>, now: Stamp) {
        self.settle(now);
        match held {
            Some(held) => drop(self.lists.insert(list.clone(), held)),
            None => drop(self.lists.remove(list)),
        }
        self.look_into(list, now);
        self.expected(now);
    }

    /// What has begun or ended since the last look.
    pub(super) fn lists_pass(&mut self, now: Stamp) {
        let after_ms = std::mem::replace(&mut self.listed_ms, now.wall_ms);
        if self.lists.is_empty() {
            return;
        }
        let is_due = |held: &Held| held.next_ms(after_ms).is_some_and(|at_ms| at_ms <= now.wall_ms);
        let due: Vec<LineId> =
            self.lists.iter().filter(|(_, held)| is_due(held)).map(|(list, _)| list.clone()).collect();
        for list in due {
            self.look_into(&list, now);
        }
    }

    fn look_into(&mut self, list: &LineId, now: Stamp) {
        for slot in self.listing.get(list).cloned().unwrap_or_default() {
            self.feed(slot, false, now.wall_ms, now);
        }
    }
}
