//! How many connections each user has open.
//!
//! Guarantees: no user has more than its bound; a seat is free again when its guard is dropped; a user without a
//! connection leaves nothing behind. Does not bound who has no name: the connections of all together are bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug)]
pub struct Seats {
    taken: Mutex<HashMap<Arc<str>, usize>>,
    max: usize,
}

/// One connection of a user.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    /// None of who has no name.
    user: Option<Arc<str>>,
}

impl Seats {
    /// For at most `max` connections of one user.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), max })
    }

    /// A seat, or none at the bound. To be asked for when the client's connection before this one has ended: a client
    /// that comes again must not stand in its own way.
    #[must_use]
    pub fn take(self: &Arc<Self>, user: &str) -> Option<Seat> {
        if user.is_empty() {
            return Some(Seat { seats: Arc::clone(self), user: None });
        }
        let mut taken = self.taken();
        let (user, count) =
            taken.get_key_value(user).map_or((user.into(), 0), |(user, count)| (Arc::clone(user), *count));
        if count >= self.max {
            return None;
        }
        taken.insert(Arc::clone(&user), count + 1);
        Some(Seat { seats: Arc::clone(self), user: Some(user) })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(user) = &self.user else { return };
        let mut taken = self.seats.taken();
        match taken.get_mut(user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(user)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_each_users_own_and_come_free() {
        let seats = Seats::new(2);
        let mut held: Vec<Option<Seat>> = Vec::new();
        for (user, seated) in
            [("a", true), ("a", true), ("a", false), ("b", true), ("", true), ("", true), ("", true)]
        {
            let seat = seats.take(user);
            assert_eq!(seat.is_some(), seated, "{user:?}");
            held.push(seat);
        }
        held.remove(0);
        assert!(seats.take("a").is_some() && seats.take("a").is_some(), "given back at once");
        drop(held);
        assert!(seats.taken().is_empty());
    }
}
