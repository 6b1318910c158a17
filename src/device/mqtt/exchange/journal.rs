//! What has to be on disk, in the order in which it happened, and who waits for it. Pure.
//!
//! Guarantees: changes are numbered from 1 without a gap; what one call changed is taken in one piece, so that a publish
//! is on disk with all that it queued or not at all; of a retained topic that changes again before it is taken, only the
//! last state is written. It has no bound of its own: who fills it waits for its marks, and watches [`Journal::backlog`].

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::Mark;
use crate::store::sessions::{Change, SessionId};

/// Changes taken at once; the rest of the call that has the last one comes with it.
const TAKEN_MAX: usize = 4096;
/// Places kept for changes while there are none.
const IDLE_PLACES: usize = 256;

struct Noted {
    change: Change,
    /// The first of its call.
    begins: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Journal {
    pending: VecDeque<Noted>,
    /// The number of the last change taken.
    taken: u64,
    committed: Mark,
    /// The next change is the first of its call.
    begins: bool,
    /// Numbers of the pending changes of retained topics.
    retained: HashMap<Box<str>, u64>,
    waiting: BTreeSet<(Mark, SessionId)>,
}

impl Journal {
    /// A call begins.
    pub(super) fn begin(&mut self) {
        self.begins = true;
    }

    /// Adds a change.
    pub(super) fn push(&mut self, change: Change) -> Mark {
        let begins = std::mem::take(&mut self.begins);
        self.pending.push_back(Noted { change, begins });
        self.last()
    }

    /// Adds a change of a retained topic, in place of one that is still pending.
    pub(super) fn push_retained(&mut self, topic: &str, change: Change) -> Mark {
        let pending = self.retained.get(topic).and_then(|number| {
            let at = number.checked_sub(self.taken + 1)?;
            Some((*number, self.pending.get_mut(usize::try_from(at).ok()?)?))
        });
        if let Some((number, noted)) = pending {
            noted.change = change;
            return Mark(number);
        }
        let mark = self.push(change);
        self.retained.insert(topic.into(), mark.0);
        mark
    }

    /// The last change.
    pub(super) fn last(&self) -> Mark {
        Mark(self.taken + self.pending.len() as u64)
    }

    /// The last change, when there was one after `before`.
    pub(super) fn since(&self, before: Mark) -> Mark {
        if self.last() > before { self.last() } else { Mark::NONE }
    }

    /// Takes the oldest changes; the mark of the last of them.
    pub(super) fn take(&mut self) -> Option<(Mark, Vec<Change>)> {
        let cut = self.pending.iter().skip(TAKEN_MAX).position(|noted| noted.begins);
        let count = cut.map_or(self.pending.len(), |cut| TAKEN_MAX + cut);
        if count == 0 {
            return None;
        }
        let changes = self.pending.drain(..count).map(|noted| noted.change).collect();
        self.pending.shrink_to(IDLE_PLACES);
        self.taken += count as u64;
        let taken = self.taken;
        self.retained.retain(|_, number| *number > taken);
        Some((Mark(taken), changes))
    }

    /// Changes not yet taken.
    pub(super) fn backlog(&self) -> usize {
        self.pending.len()
    }

    /// A session is named by [`Journal::commit`] when this change is on disk.
    pub(super) fn wait(&mut self, mark: Mark, session: SessionId) {
        if mark > self.committed {
            self.waiting.insert((mark, session));
        }
    }

    /// All changes up to this one are on disk. Who waited for one of them.
    pub(super) fn commit(&mut self, mark: Mark) -> BTreeSet<SessionId> {
        // Nothing is on disk that was not taken.
        self.committed = self.committed.max(mark.min(Mark(self.taken)));
        let later = self.waiting.split_off(&(Mark(self.committed.0 + 1), SessionId(0)));
        let over = std::mem::replace(&mut self.waiting, later);
        over.into_iter().map(|(_, session)| session).collect()
    }

    /// The last change known to be on disk.
    pub(super) fn committed(&self) -> Mark {
        self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forget(session: u64) -> Change {
        Change::Forget { session: SessionId(session) }
    }

    fn unretain(topic: &str) -> Change {
        Change::Unretain { topic: topic.into() }
    }

    #[test]
    fn what_one_call_changed_is_taken_in_one_piece() {
        let mut journal = Journal::default();
        assert_eq!((journal.take(), journal.since(Mark::NONE)), (None, Mark::NONE));
        for _ in 0..TAKEN_MAX - 1 {
            journal.begin();
            journal.push(forget(1));
        }
        journal.begin();
        for _ in 0..10 {
            journal.push(forget(2));
        }
        journal.begin();
        journal.push(forget(3));
        assert_eq!(journal.backlog(), TAKEN_MAX + 10);
        let (mark, changes) = journal.take().expect("changes");
        assert_eq!((mark.0 as usize, changes.len()), (TAKEN_MAX + 9, TAKEN_MAX + 9));
        assert_eq!(journal.take(), Some((Mark(TAKEN_MAX as u64 + 10), vec![forget(3)])));
        assert_eq!(journal.take(), None);
    }

    #[test]
    fn only_the_last_state_of_a_retained_topic_is_written() {
        let mut journal = Journal::default();
        let first = journal.push_retained("a", unretain("a"));
        let other = journal.push(forget(1));
        assert_eq!(journal.push_retained("a", unretain("a/new")), first);
        assert_eq!(journal.since(other), Mark::NONE);
        assert_eq!(journal.take(), Some((other, vec![unretain("a/new"), forget(1)])));
        assert_eq!(journal.push_retained("a", unretain("a")), Mark(3), "what is taken is not changed");
    }

    #[test]
    fn who_waits_is_named_once_it_is_on_disk() {
        let mut journal = Journal::default();
        (0..4).for_each(|_| _ = journal.push(forget(1)));
        assert_eq!(journal.commit(Mark(u64::MAX)), BTreeSet::new());
        assert_eq!((journal.committed(), journal.take().is_some()), (Mark::NONE, true));
        let [one, two] = [SessionId(1), SessionId(2)];
        for (mark, session) in [(1, one), (2, one), (2, two), (4, one)] {
            journal.wait(Mark(mark), session);
        }
        journal.wait(Mark::NONE, two);
        assert_eq!(journal.commit(Mark(1)), BTreeSet::from([one]));
        assert_eq!(journal.commit(Mark(3)), BTreeSet::from([one, two]));
        assert_eq!(journal.commit(Mark(2)), BTreeSet::new());
        assert_eq!(journal.committed(), Mark(3));
        assert_eq!(journal.commit(Mark(4)), BTreeSet::from([one]));
    }
}
