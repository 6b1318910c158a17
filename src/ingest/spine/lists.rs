//! New lists come into force: new versions on disk, a row of the trail for each, and word to everybody whom it concerns.
//!
//! Guarantees: all of it in one transaction, so that a version, its row and its record are there together or not at all; the
//! same lists again change nothing. A consumer is told by way of the share lines it holds: of a line that is gone only those
//! hear that still hold another one that hung on it.

use std::collections::{BTreeMap, BTreeSet};

use super::Spine;
use crate::audit::{Action, Entry};
use crate::lists::Link;
use crate::lists::changes::{Change, changes, concerned};
use crate::model::{Lane, List, ListChange, Stamp};
use crate::privacy::release::ShareLine;
use crate::store::{Store, StoreError, Txn};
use crate::wire;

/// Records that tell a single change, of one load; beyond it each share line gets one that says how many more there are.
pub(super) const ANNOUNCED_MAX: usize = 1_000;

impl Spine {
    /// Brings the lists on disk up to those of the plan.
    pub(super) fn take_lists(&self, store: &mut Store, now: Stamp) -> Result<(), StoreError> {
        let mut txn = store.begin()?;
        let found = changes(&txn.newest_items()?, &self.plan.lists.items);
        if found.is_empty() {
            return Ok(());
        }
        let after = self.plan.lists.links();
        let mut links = txn.links()?;
        txn.set_links(&after)?;
        links.extend(after);
        for change in &found {
            txn.set_item(change, self.policy_version, now.wall_ms)?;
            let line = format!("{}/{}@{}", change.list, change.id, change.version);
            let mut entry = Entry::gateway(Action::ListChange, line.clone());
            entry.list = Some(line);
            entry.detail = Some(serde_json::json!({ "change": change.change.as_str() }).to_string());
            txn.audit(&entry, now)?;
        }
        self.announce(&mut txn, &found, &links, now)?;
        txn.commit()?;
        tracing::info!(changes = found.len(), version = self.policy_version, "the lists have changed");
        Ok(())
    }

    fn announce(
        &self,
        txn: &mut Txn<'_>,
        found: &[Change],
        links: &BTreeSet<Link>,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let (mut told, mut more) = (0, BTreeMap::new());
        for change in found {
            let lines = concerned(links, change.list, &change.id);
            let shares = self.plan.shares.iter().enumerate();
            for (at, share) in shares.filter(|(_, share)| lines.contains(&share.id)) {
                if told == ANNOUNCED_MAX {
                    *more.entry(at).or_insert(0) += 1;
                    continue;
                }
                told += usize::from(self.tell(txn, share, &self.line(change), now)?);
            }
        }
        for (at, count) in more {
            self.tell(txn, &self.plan.shares[at], &ListChange::More(count), now)?;
        }
        Ok(())
    }

    fn line(&self, change: &Change) -> ListChange {
        let own = self.plan.shares.iter().find(|share| change.list == List::Share && share.id == change.id);
        ListChange::Line {
            list: change.list,
            item: change.id.clone(),
            version: change.version,
            change: change.change,
            approval: own.map_or(String::new(), |share| share.approval.clone()),
        }
    }

    /// Whether the line had a record of it.
    fn tell(
        &self,
        txn: &mut Txn<'_>,
        share: &ShareLine,
        change: &ListChange,
        now: Stamp,
    ) -> Result<bool, StoreError> {
        let Some(cleared) = share.list_change(change, now.wall_ms) else { return Ok(false) };
        let sealed = wire::list_change(&self.plan.gateway, share, self.policy_version, &cleared, now.wall_ms);
        txn.seal(Lane::Event, &sealed, now.wall_ms)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
