//! Presence of devices: what shells learn and what readings tell, kept with the rows that told it.
//!
//! Guarantees: what is known of a device is a function of what is committed, but for how long it has been silent: that
//! begins anew when the spine is opened on a store. A device that the plan does not have is not kept. Told after the
//! commit, like alarms.

use std::collections::HashMap;

use super::Spine;
use crate::ingest::Plan;
use crate::model::{DeviceId, Presence, Stamp};
use crate::rules::presence::{Standing, Watch};
use crate::rules::rate::Bucket;
use crate::store::{Store, StoreError, Txn};

/// A device that came or went in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The device.
    pub device: DeviceId,
    /// What is known of it now.
    pub standing: Standing,
}

/// What the spine keeps of one device.
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) bucket: Bucket,
    pub(super) watch: Watch,
}

/// Every device of a plan, by name.
pub(super) fn devices(plan: &Plan, now: Stamp) -> (Vec<Device>, HashMap<DeviceId, usize>) {
    let (mut devices, mut by_id) = (Vec::new(), HashMap::new());
    for point in plan.points.iter().flatten() {
        by_id.entry(point.device.clone()).or_insert_with_key(|id| {
            let watch = Watch::new(plan.silence.get(id).copied(), None, now);
            devices.push(Device { id: id.clone(), bucket: Bucket::new(plan.rate), watch });
            devices.len() - 1
        });
    }
    (devices, by_id)
}

impl Spine {
    /// Takes up what was known of every device; one that the plan no longer has is forgotten.
    pub(super) fn restore_presence(&mut self, store: &mut Store, now: Stamp) -> Result<(), StoreError> {
        let mut gone = Vec::new();
        for (id, standing) in store.presence()? {
            let Some(at) = self.by_id.get(id.as_str()) else {
                gone.push(id);
                continue;
            };
            if let Some(standing) = standing {
                self.engine.online(&self.devices[*at].id, standing.online, false, now);
            }
            let silence = self.plan.silence.get(id.as_str()).copied();
            self.devices[*at].watch = Watch::new(silence, standing, now);
        }
        let mut txn = store.begin()?;
        for id in gone {
            txn.drop_presence(&id)?;
        }
        txn.commit()
    }

    /// Takes what a shell learned; gives back the devices that it said are gone, as indices.
    pub(super) fn told(
        &mut self,
        txn: &mut Txn<'_>,
        told: &[Presence],
        received: Stamp,
    ) -> Result<Vec<usize>, StoreError> {
        let mut gone = Vec::new();
        for Presence { device, online, cause } in told {
            let Some(&at) = self.by_id.get(device) else { continue };
            if !online {
                gone.push(at);
            }
            if self.devices[at].watch.told(*online, *cause, received) {
                self.presence_changed(txn, at, received)?;
            }
        }
        Ok(gone)
    }

    /// A reading of now came from a device.
    pub(super) fn heard(&mut self, txn: &mut Txn<'_>, at: usize, received: Stamp) -> Result<(), StoreError> {
        if self.devices[at].watch.heard(received) {
            self.presence_changed(txn, at, received)?;
        }
        Ok(())
    }

    /// Finds those that have been silent for too long.
    pub(super) fn listen(&mut self, txn: &mut Txn<'_>, now: Stamp) -> Result<(), StoreError> {
        for at in 0..self.devices.len() {
            if self.devices[at].watch.tick(now) {
                self.presence_changed(txn, at, now)?;
            }
        }
        Ok(())
    }

    fn presence_changed(&mut self, txn: &mut Txn<'_>, at: usize, now: Stamp) -> Result<(), StoreError> {
        let Device { id, watch, .. } = &self.devices[at];
        let Some(standing) = watch.standing() else { return Ok(()) };
        txn.set_presence(id, standing)?;
        let device = id.clone();
        self.engine.online(&device, standing.online, true, now);
        self.presence.push(PresenceChange { device, standing });
        self.follow(txn, now)
    }

    /// The devices that came or went since the last call; for the log, after the commit.
    pub fn take_presence(&mut self) -> Vec<PresenceChange> {
        std::mem::take(&mut self.presence)
    }

    /// Goes on with how long devices have been silent from the spine before a change of plan. Not after a batch that found
    /// no room: while it waited nobody was listened to.
    pub fn remember_silence(&mut self, before: &Spine) {
        for device in &mut self.devices {
            if let Some(at) = before.by_id.get(&device.id) {
                device.watch.resume(&before.devices[*at].watch);
            }
        }
    }
}
