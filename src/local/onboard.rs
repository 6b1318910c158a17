//! Unknown devices, as the local socket tells them: who speaks and is not configured, and what a configuration for it must not
//! clash with.
//!
//! Guarantees: nothing can be changed through it; what it tells has no value that a device sent, for the quarantine keeps none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use tonic::{Request, Response, Status};

use crate::device::mqtt::onboard::{Listing, Onboard, Pending};
use crate::ingest::Point;
use crate::normalise::Kind;
use crate::wire::bus as wire;
use crate::wire::bus::onboard_service_server::OnboardService;
use crate::wire::timestamp;

/// The service; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Onboarding(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    onboard: Onboard,
    taken: RwLock<wire::TakenNames>,
}

impl Onboarding {
    /// Over the quarantine of this process.
    #[must_use]
    pub fn new(onboard: Onboard) -> Self {
        Self(Arc::new(Inner { onboard, taken: RwLock::default() }))
    }

    /// Takes the points of the configuration in force, in place of those before.
    pub fn set(&self, points: &[Option<Point>]) {
        *self.0.taken.write().unwrap_or_else(PoisonError::into_inner) = taken(points);
    }

    fn answer(&self) -> wire::ListPendingResponse {
        let Listing { devices, forgotten, unexamined } = self.0.onboard.listing();
        let taken = self.0.taken.read().unwrap_or_else(PoisonError::into_inner).clone();
        let devices = devices.into_iter().map(told).collect();
        wire::ListPendingResponse { devices, forgotten, unexamined, taken: Some(taken) }
    }
}

fn taken(points: &[Option<Point>]) -> wire::TakenNames {
    let (mut devices, mut templates, mut metrics) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for point in points.iter().flatten() {
        devices.insert(point.device.as_str());
        templates.insert(point.class.as_str());
        metrics.insert(point.metric.as_str(), (point.rule.kind, point.unit.as_str()));
    }
    let metric = |(name, (kind, unit)): (&str, (Kind, &str))| wire::TakenMetric {
        name: name.into(),
        kind: kind_name(kind).into(),
        unit: unit.into(),
    };
    wire::TakenNames {
        devices: devices.into_iter().map(Into::into).collect(),
        templates: templates.into_iter().map(Into::into).collect(),
        metrics: metrics.into_iter().map(metric).collect(),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Number => "number",
        Kind::Flag => "flag",
        Kind::Text => "text",
    }
}

fn told(pending: Pending) -> wire::PendingDevice {
    let field = |field: crate::device::mqtt::onboard::Field| wire::PendingField {
        path: field.path.into(),
        r#type: field.kind.as_str().into(),
        unit: field.unit.unwrap_or_default().into(),
        device_class: field.class.unwrap_or_default().into(),
        seen: field.seen,
    };
    wire::PendingDevice {
        name: pending.name.into(),
        user: pending.user.into(),
        profile: pending.profile.into(),
        topics: pending.topics.into_iter().map(Into::into).collect(),
        first_heard: Some(timestamp(pending.first_ms)),
        last_heard: Some(timestamp(pending.last_ms)),
        messages: pending.messages,
        mapped: pending.mapped,
        online: pending.online,
        fields: pending.fields.into_iter().map(field).collect(),
        fields_beyond: pending.fields_beyond,
        refused: pending.refused.into_iter().map(Into::into).collect(),
        unread_bytes: pending.unread_bytes.map(|bytes| bytes as u64),
    }
}

#[tonic::async_trait]
impl OnboardService for Onboarding {
    async fn list_pending(
        &self,
        _: Request<wire::ListPendingRequest>,
    ) -> Result<Response<wire::ListPendingResponse>, Status> {
        Ok(Response::new(self.answer()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::mqtt::onboard::Quarantine;
    use crate::device::mqtt::onboard::offer::{Offer, Why};
    use crate::model::Stamp;

    #[test]
    fn what_is_known_is_told_as_it_is() {
        let mut quarantine = Quarantine::default();
        let now = Stamp { wall_ms: 1_500, mono_ms: 0 };
        let payload = br#"{"contact":true,"voltage":3000,"battery":9}"#;
        quarantine.receive(&Offer::new(Why::UnknownDevice, "z2m", "", "zigbee2mqtt/hall", payload), now);
        quarantine
            .receive(&Offer::new(Why::NoMapping, "z2m", "", "zigbee2mqtt/hall/availability", b"online"), now);
        let all: Vec<_> = quarantine.listing().devices.into_iter().map(told).collect();
        let [hall] = &all[..] else { panic!("{all:?}") };
        assert_eq!((hall.name.as_str(), hall.user.as_str(), hall.messages), ("hall", "z2m", 2));
        assert_eq!((hall.mapped, hall.online, hall.last_heard), (true, Some(true), Some(timestamp(1_500))));
        let fields: Vec<_> = hall
            .fields
            .iter()
            .map(|field| (field.path.as_str(), field.r#type.as_str(), field.unit.as_str()))
            .collect();
        assert_eq!(
            fields,
            [("battery", "number", "%"), ("contact", "flag", ""), ("voltage", "number", "mV")]
        );
    }
}
