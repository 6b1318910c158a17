//! Who is told what, and when: recipients, routes, escalation, quiet hours. Pure.
//!
//! Guarantees: of one event everybody is told once, however many routes lead to them; who was told that an incident is raised
//! is told its other steps too, whatever the hour, as far as the route tells them; a text holds only what its recipient may
//! see, in one line of at most [`TEXT_BYTES_MAX`] bytes, and never the name or the words of a person, nor a value that is text.
//! It sends nothing and keeps nothing: what it gives out becomes rows of the ledger.

#[cfg(test)]
mod tests;
mod text;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use super::pattern;
use super::plan::Plan;
use super::schedule::Schedule;
use crate::model::{Actor, Consumer, Event, IncidentId, LineId, Place, Seq, Severity, Step};
pub use text::{TEXT_BYTES_MAX, text};

/// Whose view of an alarm somebody gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// 物业: where it is and what to do.
    Property,
    /// 居委会: where it is.
    Committee,
    /// 街道: where it is.
    Street,
    /// 公安: everything.
    Police,
    /// 居民: that it is there and how it ends.
    Resident,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 5] = [Role::Property, Role::Committee, Role::Street, Role::Police, Role::Resident];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Property => "property",
            Role::Committee => "committee",
            Role::Street => "street",
            Role::Police => "police",
            Role::Resident => "resident",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// What a message says where the configuration names no fields. Only the police are told a value: it may be a household's.
    #[must_use]
    pub fn fields(self) -> &'static [Field] {
        use Field::{Advice, Alarm, Device, Place, Severity, State, Time};
        match self {
            Role::Property => &[Alarm, Severity, State, Time, Place, Device, Advice],
            Role::Committee | Role::Street => &[Alarm, Severity, State, Time, Place],
            Role::Police => &Field::ALL,
            Role::Resident => &[Alarm, State],
        }
    }
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// What is the matter: the alarm's title.
    Alarm,
    /// How bad.
    Severity,
    /// What has become of it.
    State,
    /// When.
    Time,
    /// Where.
    Place,
    /// Which device.
    Device,
    /// The value that did it.
    Value,
    /// What to do.
    Advice,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 8] = [
        Field::Alarm,
        Field::Severity,
        Field::State,
        Field::Time,
        Field::Place,
        Field::Device,
        Field::Value,
        Field::Advice,
    ];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Field::Alarm => "alarm",
            Field::Severity => "severity",
            Field::State => "state",
            Field::Time => "time",
            Field::Place => "place",
            Field::Device => "device",
            Field::Value => "value",
            Field::Advice => "advice",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Field::ALL.into_iter().find(|field| field.as_str() == name)
    }
}

/// How a recipient is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Channel {
    /// A webhook; where it is, the shell knows by the recipient's id.
    Webhook,
    /// The alarm lane, as far as the share list lets; its acknowledgement is the proof.
    Lane(Consumer),
    /// A command to a device (a siren), as an index into the plan's commands.
    Command(usize),
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipient {
    /// The id in the configuration.
    pub id: LineId,
    /// For people.
    pub title: String,
    /// Whose view.
    pub role: Role,
    /// How.
    pub channel: Channel,
    /// What a message says.
    pub fields: Vec<Field>,
    /// When only what is critical may disturb.
    pub quiet: Option<Schedule>,
    /// At most one message in so many milliseconds, but for what is critical; what came in between is in the next one.
    pub digest_ms: u64,
    /// Whether messages are in English.
    pub english: bool,
}

/// Which events go to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// By alarm, as indices into the plan's alarms; none for all.
    pub alarms: Option<Vec<usize>>,
    /// By severity; none for all.
    pub severities: Option<Vec<Severity>>,
    /// By place, as patterns in which `*` stands for anything; none for all.
    pub places: Option<Vec<String>>,
    /// When.
    pub schedule: Schedule,
    /// Which steps are told.
    pub steps: Vec<Step>,
    /// To whom, as indices into the plan's recipients.
    pub to: Vec<usize>,
    /// When nobody has answered: after so many milliseconds since it was raised, to whom besides.
    pub escalate: Vec<(u64, Vec<usize>)>,
}

impl Route {
    /// Whether it tells that step of an incident: `alarm` is an index into the plan's alarms, `wall_ms` the moment that the
    /// schedule is asked for, milliseconds since 1970 UTC. What has no place fits only a route that names none, or `*`.
    #[must_use]
    pub fn takes(
        &self,
        alarm: usize,
        severity: Severity,
        place: Option<&Place>,
        step: Step,
        wall_ms: i64,
        zone_ms: i64,
    ) -> bool {
        let place = place.map_or("", Place::as_str);
        self.steps.contains(&step)
            && self.alarms.as_ref().is_none_or(|alarms| alarms.contains(&alarm))
            && self.severities.as_ref().is_none_or(|severities| severities.contains(&severity))
            && self.places.as_ref().is_none_or(|places| places.iter().any(|of| pattern::fits(of, place)))
            && self.schedule.at(wall_ms, zone_ms)
    }
}

/// What has become of a notice. The name is the same in the store for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is not sent yet, or not with success.
    Waiting,
    /// The other side said that it has it.
    Delivered,
    /// It was too late to matter.
    Expired,
    /// There were too many.
    Dropped,
}

impl Fate {
    /// All of them.
    pub const ALL: [Fate; 4] = [Fate::Waiting, Fate::Delivered, Fate::Expired, Fate::Dropped];

    /// The name in the store and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Waiting => "waiting",
            Fate::Delivered => "delivered",
            Fate::Expired => "expired",
            Fate::Dropped => "dropped",
        }
    }

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Fate::ALL.into_iter().find(|fate| fate.as_str() == name)
    }
}

/// One thing that somebody is to be told, in the ledger from its making to its fate.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Its number: dense, from 1.
    pub id: u64,
    /// About which incident.
    pub incident: IncidentId,
    /// What of it.
    pub step: Step,
    /// Of which alarm.
    pub alarm: LineId,
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub place: Option<Place>,
    /// To whom, by id.
    pub recipient: LineId,
    /// When it was made, milliseconds since 1970 UTC.
    pub made_ms: i64,
    /// Not before, milliseconds since 1970 UTC.
    pub due_ms: i64,
    /// The position in the alarm lane whose acknowledgement proves it; only of [`Channel::Lane`].
    pub seq: Option<Seq>,
    /// The run of a command whose end proves it; only of [`Channel::Command`].
    pub run: Option<u64>,
    /// What it says, ready for the recipient: one line of text, with only its fields.
    pub text: String,
    /// What has become of it.
    pub fate: Fate,
    /// How often it was tried.
    pub tries: u32,
    /// When its fate was sealed, milliseconds since 1970 UTC.
    pub done_ms: Option<i64>,
    /// What proves its fate, or the last error.
    pub proof: String,
}

/// A notice that has no number yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// To whom, as an index into the plan's recipients.
    pub recipient: usize,
    /// Not before, milliseconds since 1970 UTC.
    pub due_ms: i64,
    /// What it says; see [`Notice::text`].
    pub text: String,
}

/// What happened to an incident before: who was told of it follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Past {
    /// When it was raised, the gateway's wall clock; none before, and in the event that raises it.
    pub raised_ms: Option<i64>,
    /// How many steps of escalation were taken.
    pub escalated: u32,
}

/// A step of escalation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// When it is due, milliseconds since the incident was raised.
    pub after_ms: u64,
    /// Who is told then, as indices into the plan's recipients; rising, each once.
    pub to: Vec<usize>,
}

/// The routes that take a step of an incident, by the hour at which it was raised.
fn routes<'p>(plan: &'p Plan, event: &Event, step: Step, raised_ms: i64) -> impl Iterator<Item = &'p Route> {
    // An alarm that is no longer configured has no index: only a route of all alarms takes it.
    let alarm = plan.alarms.iter().position(|alarm| alarm.id == event.alarm).unwrap_or(usize::MAX);
    let (severity, place, zone_ms) = (event.severity, event.place.clone(), plan.zone_ms);
    plan.routes
        .iter()
        .filter(move |route| route.takes(alarm, severity, place.as_ref(), step, raised_ms, zone_ms))
}

/// All steps of escalation of an incident that was raised then, the earliest first.
fn escalations(plan: &Plan, event: &Event, raised_ms: i64) -> BTreeMap<u64, BTreeSet<usize>> {
    let mut steps = BTreeMap::<u64, BTreeSet<usize>>::new();
    for (after_ms, to) in routes(plan, event, Step::Raised, raised_ms).flat_map(|route| &route.escalate) {
        steps.entry(*after_ms).or_default().extend(to);
    }
    steps
}

/// The step of escalation that comes after the first `level` ones, over all routes that told that the incident was raised;
/// none after the last. Of the event only alarm, severity and place count. Two routes that escalate after the same time are
/// one step.
#[must_use]
pub fn escalation(plan: &Plan, event: &Event, raised_ms: i64, level: u32) -> Option<Escalation> {
    let mut steps = escalations(plan, event, raised_ms).into_iter();
    let (after_ms, to) = steps.nth(usize::try_from(level).unwrap_or(usize::MAX))?;
    Some(Escalation { after_ms, to: to.into_iter().collect() })
}

/// What is to be told of an event, at `wall_ms` by the gateway's clock: a draft for everybody whom a route or an escalation
/// that was taken leads to, in the order of the recipients. Of [`Step::Escalated`] it tells nobody: that is [`drafts`] with
/// [`escalation`]'s recipients.
#[must_use]
pub fn told(plan: &Plan, event: &Event, past: Past, wall_ms: i64) -> Vec<Draft> {
    let raised_ms = past.raised_ms.unwrap_or(wall_ms);
    let mut to = BTreeSet::<usize>::new();
    // The last moment of escalation that has come; none of the later ones were told anything.
    let taken = usize::try_from(past.escalated).unwrap_or(usize::MAX);
    let last_ms = escalations(plan, event, raised_ms).into_keys().take(taken).next_back();
    for route in routes(plan, event, event.step, raised_ms) {
        to.extend(&route.to);
        if route.steps.contains(&Step::Raised) {
            let taken = route.escalate.iter().filter(|(after_ms, _)| Some(*after_ms) <= last_ms);
            to.extend(taken.flat_map(|(_, to)| to));
        }
    }
    drafts(plan, &to.into_iter().collect::<Vec<_>>(), event, wall_ms)
}

/// Drafts of an event for these recipients, indices into the plan's; one of none is left out, and so is the consumer who did
/// it.
#[must_use]
pub fn drafts(plan: &Plan, to: &[usize], event: &Event, wall_ms: i64) -> Vec<Draft> {
    let mut drafts = Vec::with_capacity(to.len());
    for &index in to {
        let Some(recipient) = plan.recipients.get(index) else { continue };
        let is_actor = match (&recipient.channel, &event.by) {
            (Channel::Lane(consumer), Actor::Consumer(by)) => consumer == by,
            _ => false,
        };
        if is_actor {
            continue;
        }
        let due_ms = due_ms(recipient, event.severity, wall_ms, plan.zone_ms);
        let alarm = plan.alarms.iter().find(|alarm| alarm.id == event.alarm);
        drafts.push(Draft { recipient: index, due_ms, text: text(recipient, alarm, event, plan.zone_ms) });
    }
    drafts
}

/// Now, or the end of the quiet hours. Whoever pulls the lane is disturbed by nothing; quiet hours without an end put nothing
/// off.
fn due_ms(recipient: &Recipient, severity: Severity, wall_ms: i64, zone_ms: i64) -> i64 {
    let disturbs = severity != Severity::Critical && !matches!(recipient.channel, Channel::Lane(_));
    let quiet = recipient.quiet.as_ref().filter(|quiet| disturbs && quiet.at(wall_ms, zone_ms));
    quiet.and_then(|quiet| quiet.next_change_ms(wall_ms, zone_ms)).unwrap_or(wall_ms)
}
