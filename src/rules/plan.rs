//! What the configuration makes of alarms: what is watched, who is told, what is done.

use std::collections::HashMap;

use super::cel::{Condition, Input, What};
use super::command::Command;
use super::listed;
use super::notice::{Recipient, Route};
use super::schedule::Schedule;
use super::{thinning, trigger};
use crate::model::{DeviceId, LineId, Metric, Place, Severity};

/// An alarm of the configuration.
#[derive(Clone, Debug)]
pub struct Alarm {
    /// Its id.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// What to do (处置建议).
    pub advice: String,
    /// How bad.
    pub severity: Severity,
    /// Whom it watches.
    pub devices: Vec<DeviceId>,
    /// What it is of: the first metric that it reads.
    pub metric: Metric,
    /// Unit of the metric.
    pub unit: String,
    /// When it begins; none for absence.
    pub when: Option<Condition>,
    /// Where it ends; none where `when` does not hold.
    pub clear: Option<Condition>,
    /// The early sign.
    pub early: Option<Condition>,
    /// What has to follow.
    pub then: Option<Condition>,
    /// What has to happen besides.
    pub trigger: trigger::Rule,
    /// For so long after it was closed a new one is suppressed, and one that comes back is not told again; milliseconds.
    pub cooldown_ms: u64,
    /// Whether it closes itself once it is cleared.
    pub closes_itself: bool,
    /// Commands when it is raised, as indices into the plan's commands.
    pub commands: Vec<usize>,
    /// Commands when it is cleared or closed, whichever is first.
    pub commands_end: Vec<usize>,
}

impl Alarm {
    /// Whether its events tell the value of its metric: not of one that is only looked up in lists, whose value may be the
    /// pseudonym of somebody.
    #[must_use]
    pub fn tells_its_value(&self) -> bool {
        let conditions = [&self.when, &self.clear, &self.early, &self.then];
        let inputs = conditions.into_iter().flatten().flat_map(|condition| condition.inputs());
        let inputs: Vec<&Input> = inputs.collect();
        let is_key =
            |input: &Input| matches!(&input.what, What::Listed { metric, .. } if *metric == self.metric);
        let reads = |input: &Input| match &input.what {
            What::Value(metric) | What::Quality(metric) | What::Over { metric, .. } => *metric == self.metric,
            What::Online | What::Listed { .. } => false,
        };
        !inputs.iter().any(|input| is_key(input)) || inputs.iter().any(|input| reads(input))
    }
}

/// What keeps alarms from being raised.
#[derive(Clone, Debug)]
pub struct Inhibit {
    /// Its id.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// Which alarms, as indices; none for all.
    pub alarms: Option<Vec<usize>>,
    /// Which devices; none for all.
    pub devices: Option<Vec<DeviceId>>,
    /// While this holds (weather), about named devices only …
    pub when: Option<Condition>,
    /// … and for so long after it, milliseconds.
    pub lasts_ms: u64,
    /// Between these times (a holiday), milliseconds since 1970 UTC.
    pub between_ms: Option<(i64, i64)>,
    /// Always at these times of the week, where neither of the others is given.
    pub schedule: Schedule,
}

/// What is known of a device besides its readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Where {
    /// Its template.
    pub class: String,
    /// Where it is.
    pub place: Option<Place>,
}

/// Which single readings a share line of lane bulk takes, besides what their points let pass.
#[derive(Clone, Debug, Default)]
pub struct Bulk {
    /// Only those while this holds of their device; an error, or what is unknown, is not shared.
    pub when: Option<Condition>,
    /// Only those that this line was not told yet.
    pub thinning: thinning::Rule,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The alarms.
    pub alarms: Vec<Alarm>,
    /// What inhibits them.
    pub inhibits: Vec<Inhibit>,
    /// Who can be told.
    pub recipients: Vec<Recipient>,
    /// Who is told what.
    pub routes: Vec<Route>,
    /// What can be done.
    pub commands: Vec<Command>,
    /// The devices.
    pub devices: HashMap<DeviceId, Where>,
    /// The share lines of lane bulk that do not take everything.
    pub bulk: HashMap<LineId, Bulk>,
    /// The lists that the city may share.
    pub shared: Vec<listed::Line>,
    /// The gateway's zone, milliseconds east of UTC.
    pub zone_ms: i64,
}
