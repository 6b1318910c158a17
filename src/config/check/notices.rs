//! Who is told: recipients with one channel each, and routes.
//!
//! Guarantees: what a route names is there and can be reached; addresses are of HTTP without credentials in them; secrets
//! are in files of their owner alone. An address is never part of a message: tokens live there.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::alarms::{Alarms, TITLE_MAX, named};
use super::condition::{self, metric_of};
use super::inhibits::fitting;
use super::{DAY, Places, Shown as _, listen, millis};
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Close, Language, Root};
use crate::config::read::{At, Key};
use crate::model::{Lane, LineId, Metric, Severity, Step};
use crate::notify::{Address, AddressError, Form, Secret, Webhook, check_roots};
use crate::privacy::pseudonym::is_exposed;
use crate::rules::command::{Action, Command};
use crate::rules::notice::{Channel, Field, Recipient, Role, Route};
use crate::rules::pattern::fits;
use crate::rules::plan::Alarm;

/// Recipients of one configuration, and routes; one more is a fault.
const RECIPIENTS_MAX: usize = 100;
const ROUTES_MAX: usize = 100;
/// Bytes of a secret's file.
const SECRET_BYTES_MAX: u64 = 4096;
/// Which steps are told, if nothing else is said.
const STEPS: [Step; 3] = [Step::Raised, Step::Confirmed, Step::Closed];
const SECOND: Duration = Duration::from_secs(1);

/// Who can be told, who is told, and where webhooks are.
#[derive(Default)]
pub(super) struct Notices {
    pub(super) recipients: Vec<Recipient>,
    pub(super) routes: Vec<Route>,
    pub(super) webhooks: Vec<Webhook>,
}

/// Checks `[[recipient]]` and `[[route]]`.
pub(super) fn notices(
    root: &Root,
    alarms: &Alarms,
    commands: &[Command],
    places: &Places,
    report: &mut Report,
) -> Notices {
    let mut notices = Notices::default();
    let mut seen = HashMap::new();
    for (number, raw) in root.recipient.list().iter().enumerate() {
        if let Some(id) = report.need(&raw.id, raw.at, "id", "\"property\"") {
            report.once(&mut seen, id.value.clone(), id.span, "recipient");
        }
        if number == RECIPIENTS_MAX {
            report.fault(raw.at, "too many recipients", format!("at most {RECIPIENTS_MAX}"));
        }
        notices.recipients.extend(recipient(raw, root, places, &mut notices.webhooks, report));
    }
    for (number, raw) in root.route.list().iter().enumerate() {
        if number == ROUTES_MAX {
            report.fault(raw.at, "too many routes", format!("at most {ROUTES_MAX}"));
        }
        notices.routes.push(route(raw, root, alarms, report));
    }
    // What names another is an index, which is right only where none is left out.
    let whole = (alarms.all.len(), commands.len(), notices.recipients.len());
    if whole == (root.alarm.list().len(), root.command.list().len(), root.recipient.list().len()) {
        loops(root, &notices, alarms, commands, report);
        warn(root, &notices, alarms, report);
    }
    notices
}

fn recipient(
    raw: &raw::Recipient,
    root: &Root,
    places: &Places,
    webhooks: &mut Vec<Webhook>,
    report: &mut Report,
) -> Option<Recipient> {
    let role = report.need(&raw.role, raw.at, "role", "\"property\"");
    let title = condition::text(&raw.title, "title", TITLE_MAX, report);
    let digest = report.bounded(&raw.digest, Duration::ZERO, Duration::ZERO..=DAY, "digest");
    let quiet = raw.quiet.get().map(|_| condition::schedule(&raw.quiet, report));
    let fields = fields(raw, role.map(|role| role.value), report);
    let channel = channel(raw, root, report);
    let posted = raw.webhook.value().map(|webhook| posted(webhook, places, report));
    let recipient = Recipient {
        id: raw.id.value()?.clone(),
        title,
        role: role?.value,
        channel: channel?,
        fields,
        quiet,
        digest_ms: millis(digest),
        english: raw.language.or(Language::Chinese) == Language::English,
    };
    if let Some(Posted { address, form, secret, ca }) = posted.flatten() {
        webhooks.push(Webhook {
            recipient: recipient.id.clone(),
            address,
            form,
            secret,
            ca,
            digest_ms: recipient.digest_ms,
            fields: recipient.fields.clone(),
            english: recipient.english,
            gateway: root
                .gateway
                .value()
                .and_then(|raw| raw.id.value())
                .map_or_else(String::new, LineId::to_string),
        });
    }
    Some(recipient)
}

fn fields(raw: &raw::Recipient, role: Option<Role>, report: &mut Report) -> Vec<Field> {
    let Some(given) = raw.fields.get() else { return role.map_or(Vec::new(), |role| role.fields().to_vec()) };
    if given.value.is_empty() {
        report.fault(given.span, "a message of nothing", "[\"alarm\", \"state\"], or the role's own");
    }
    let mut all = Vec::new();
    for at in &given.value {
        if all.contains(&at.value) {
            report.fault(at.span, "a field that stands twice", "each of them once");
        }
        if role == Some(Role::Resident) && !Role::Resident.fields().contains(&at.value) {
            report.fault(at.span, "a field that is not for residents", "[\"alarm\", \"state\"]");
        }
        all.push(at.value);
    }
    all
}

fn channel(raw: &raw::Recipient, root: &Root, report: &mut Report) -> Option<Channel> {
    let given = [!raw.webhook.is_absent(), !raw.consumer.is_absent(), !raw.command.is_absent()];
    match given.iter().filter(|given| **given).count() {
        0 => {
            let help =
                "webhook = { url = \"https://…\" }, consumer = \"spiffe://…\", or command = \"siren-on\"";
            report.missing(raw.at, "a recipient that cannot be reached", help);
            return None;
        }
        1 => {}
        _ => {
            report.fault(raw.at, "a recipient with several channels", "one of webhook, consumer, command");
            return None;
        }
    }
    if let Some(consumer) = raw.consumer.get() {
        let mut lines = root.share.list().iter();
        let serves = |line: &raw::Share| {
            line.lane.value() == Some(&Lane::Alarm)
                && line.consumers.list().iter().any(|at| at.value == consumer.value)
        };
        if !lines.any(serves) {
            let help = "a [[share]] line with lane = \"alarm\" and it among consumers";
            report.missing(consumer.span, "no alarm share line serves this consumer", help);
        }
        return Some(Channel::Lane(consumer.value.clone()));
    }
    if let Some(at) = raw.command.get() {
        let known: Vec<Option<&LineId>> = root.command.list().iter().map(|raw| raw.id.value()).collect();
        let list = Key::Is(At { value: vec![at.clone()], span: at.span });
        return named(&list, &known, "command", report).first().copied().map(Channel::Command);
    }
    raw.webhook.value().map(|_| Channel::Webhook)
}

/// Where messages are posted, and how.
struct Posted {
    address: Address,
    form: Form,
    secret: Option<Secret>,
    ca: Option<Arc<[u8]>>,
}

fn posted(raw: &raw::Webhook, places: &Places, report: &mut Report) -> Option<Posted> {
    let url = report.need(&raw.url, raw.at, "url", "\"https://…\"");
    let form = raw.form.or(Form::Json);
    let address = url.and_then(|url| address(url, report));
    let secret = raw.secret.get().and_then(|at| {
        let read = read_secret(&places.secret(&at.value));
        let help =
            "a file of its owner alone (mode 0600) with the secret, beside this file or a systemd credential";
        read.map_err(|why| report.fault(at.span, why, help)).ok()
    });
    if let Some(at) = raw.secret.get().filter(|_| form == Form::Wecom) {
        report.fault(at.span, "a secret with form = \"wecom\"", "its key is part of the url");
    }
    let ca = raw.ca.get().and_then(|at| {
        let path = listen::file(&raw.ca, raw.at, "ca", places, report)?;
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        let checked = read.and_then(|pem| check_roots(&pem).map(|()| Arc::from(pem)));
        checked
            .map_err(|why| report.fault(at.span, format!("{}: {why}", path.display()), "a PEM file of roots"))
            .ok()
    });
    Some(Posted { address: address?, form, secret, ca })
}

/// An address to which something can be posted; what is wrong is said without what is in it.
fn address(url: &At<String>, report: &mut Report) -> Option<Address> {
    let address = url.value.parse::<Address>().map_err(|error| {
        let message = match error {
            AddressError::Form(_) => "the url cannot be read",
            AddressError::Scheme => "a url of another scheme than https or http",
            AddressError::Login => "a url with a user or password",
            AddressError::Long(_) => "a url of more than 2048 bytes",
        };
        let help = "\"https://host/path\"; user and password are no part of it: secret = \"…\"";
        report.fault(url.span, message, help);
    });
    let address = address.ok()?;
    if !address.is_encrypted() && !address.is_loopback() {
        report.warn(url.span, "messages in clear text", "https, or an address of this machine");
    }
    Some(address)
}

/// A secret out of a file that nobody but its owner may read.
fn read_secret(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let told = |why: std::io::Error| format!("secret file {shown}: {why}");
    let file = std::fs::File::open(path).map_err(told)?;
    let mode = file.metadata().map_err(told)?.permissions().mode() & 0o777;
    if is_exposed(path, mode) {
        return Err(format!("secret file {shown}: others may use it (mode {mode:03o}); chmod 600 it"));
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("secret file {shown}: more than {SECRET_BYTES_MAX} bytes"));
    }
    Secret::new(&bytes).ok_or_else(|| format!("secret file {shown}: it is empty"))
}

fn route(raw: &raw::Route, root: &Root, alarms: &Alarms, report: &mut Report) -> Route {
    let known: Vec<Option<&LineId>> = root.recipient.list().iter().map(|raw| raw.id.value()).collect();
    report.need(&raw.to, raw.at, "to", "[\"property\"]");
    for (name, span) in [
        ("to", raw.to.get().filter(|at| at.value.is_empty()).map(|at| at.span)),
        ("severities", raw.severities.get().filter(|at| at.value.is_empty()).map(|at| at.span)),
        ("steps", raw.steps.get().filter(|at| at.value.is_empty()).map(|at| at.span)),
    ] {
        if let Some(span) = span {
            report.fault(span, format!("a route with nothing in {name}"), "one or more, or without the key");
        }
    }
    let places = raw.places.get().map(|patterns| {
        for pattern in &patterns.value {
            let places = root.device.list().iter().filter_map(|device| device.place.value());
            if !places.map(|place| place.as_str()).any(|place| fits(&pattern.value, place)) {
                let message = format!("no device is at {:?}", pattern.value);
                report.warn(
                    pattern.span,
                    message,
                    "the place of a [[device]], or a part of it with *: \"B3/*\"",
                );
            }
        }
        patterns.value.iter().map(|at| at.value.clone()).collect()
    });
    Route {
        alarms: fitting(&raw.alarms, &alarms.ids, report),
        severities: raw.severities.get().map(|all| all.value.iter().map(|at| at.value).collect()),
        places,
        schedule: condition::schedule(&raw.schedule, report),
        steps: match raw.steps.get() {
            Some(steps) => steps.value.iter().map(|at| at.value).collect(),
            None => STEPS.to_vec(),
        },
        to: named(&raw.to, &known, "recipient", report),
        escalate: escalations(raw, &known, report),
    }
}

fn escalations(raw: &raw::Route, known: &[Option<&LineId>], report: &mut Report) -> Vec<(u64, Vec<usize>)> {
    let mut all = Vec::new();
    let mut last: Option<(Duration, Span)> = None;
    for raw in raw.escalate.list() {
        let after = report.need(&raw.after, raw.at, "after", "\"5m\"");
        let within = report.within(&raw.after, SECOND..=7 * DAY, "after");
        let to = report.need(&raw.to, raw.at, "to", "[\"street\"]");
        if let Some(to) = to.filter(|to| to.value.is_empty()) {
            report.fault(to.span, "an escalation to nobody", "one or more recipients");
        }
        let to = named(&raw.to, known, "recipient", report);
        let (Some(after), Some(_)) = (after, within) else { continue };
        if let Some((before, span)) = last.filter(|(before, _)| *before >= after.value) {
            let message = format!("{} after {}", after.value.shown(), before.shown());
            report.twice(after.span, span, message, "each step later than the one before it");
        }
        last = Some((after.value, after.span));
        all.push((millis(after.value), to));
    }
    all
}

/// A recipient that is a command must not set what the alarms read that run it.
fn loops(root: &Root, notices: &Notices, alarms: &Alarms, commands: &[Command], report: &mut Report) {
    for raw in root.recipient.list() {
        let Some(at) = raw.command.get() else { continue };
        let Some(command) = commands.iter().find(|command| command.id == at.value) else { continue };
        let Some(own) = notices.recipients.iter().position(|own| raw.id.value() == Some(&own.id)) else {
            continue;
        };
        let sets = |metric: &Metric| match &command.action {
            Action::Write { metric: written, .. } => metric == written,
            Action::Publish { .. } => {
                let expected = command.expect.iter().flat_map(|expect| expect.inputs());
                expected.filter(|input| input.device.is_none()).any(|input| metric_of(input) == Some(metric))
            }
        };
        let routes = notices.routes.iter().filter(|route| {
            route.to.contains(&own) || route.escalate.iter().any(|(_, to)| to.contains(&own))
        });
        let told = routes.flat_map(|route| {
            alarms.all.iter().enumerate().filter(|(index, alarm)| {
                route.alarms.as_ref().is_none_or(|alarms| alarms.contains(index))
                    && route.severities.as_ref().is_none_or(|all| all.contains(&alarm.severity))
            })
        });
        let reads = |alarm: &Alarm| {
            let conditions = [&alarm.when, &alarm.clear, &alarm.early, &alarm.then];
            let mut inputs = conditions.into_iter().flatten().flat_map(|condition| condition.inputs());
            inputs.any(|input| match &input.device {
                Some(device) => *device == command.device && metric_of(input).is_some_and(sets),
                None => alarm.devices.contains(&command.device) && metric_of(input).is_some_and(sets),
            })
        };
        if let Some((_, alarm)) = told.into_iter().find(|(_, alarm)| reads(alarm)) {
            let message = format!("{} sets what alarm {} reads, which runs it", command.id, alarm.id);
            report.fault(at.span, message, "a route without that alarm, or another command");
        }
    }
}

/// Who is told nothing, and what nobody is told that somebody has to close.
fn warn(root: &Root, notices: &Notices, alarms: &Alarms, report: &mut Report) {
    for raw in root.recipient.list() {
        let Some(id) = raw.id.get() else { continue };
        let named = |list: &Key<Vec<At<LineId>>>| list.list().iter().any(|at| at.value == id.value);
        let mut routes = root.route.list().iter();
        if !routes.any(|route| named(&route.to) || route.escalate.list().iter().any(|step| named(&step.to))) {
            report.warn(id.span, format!("no route leads to {}", id.value), "a [[route]] with it in to");
        }
    }
    for raw in root.alarm.list() {
        let Some(id) = raw.id.get() else { continue };
        let said = raw.close.get().filter(|close| close.value == Close::Person);
        let severe = raw.severity.value().is_some_and(|severity| *severity >= Severity::Major);
        // Where there is no route at all, people look themselves.
        let by_default = raw.close.is_absent() && severe && !notices.routes.is_empty();
        let Some(index) = alarms.all.iter().position(|alarm| alarm.id == id.value) else { continue };
        let alarm = &alarms.all[index];
        let takes = |route: &Route| {
            route.alarms.as_ref().is_none_or(|alarms| alarms.contains(&index))
                && route.severities.as_ref().is_none_or(|all| all.contains(&alarm.severity))
                && route.steps.contains(&Step::Raised)
        };
        if (said.is_some() || by_default) && !notices.routes.iter().any(takes) {
            let span = said.map_or(id.span, |close| close.span);
            let help = "a [[route]] that takes it when it is raised, or close = \"self\"";
            report.warn(
                span,
                format!("somebody has to close {}, and no route tells anybody", id.value),
                help,
            );
        }
    }
}
