//! Alarms, what keeps them from being raised, whom they tell and what they do, as written.

use std::time::Duration;

use toml::de::DeValue;

use crate::config::fault::{Report, Span};
use crate::config::read::{At, Node, Read, parsed, section, words};
use crate::config::values::Until;
use crate::model::{Consumer, LineId, Metric, Severity, Step};
use crate::notify::Form;
use crate::rules::notice::{self, Role};
use crate::rules::schedule::time_of_day;
use crate::rules::trigger::OnError;

section! {
    /// When something is the matter.
    Alarm, "[[alarm]]", {
        id: LineId,
        title: String,
        advice: String,
        devices: Vec<At<String>>,
        when: String,
        clear: String,
        early: String,
        hold: Duration,
        times: u64,
        then: String,
        within: Duration,
        absent: Duration,
        metric: Metric,
        daily as "at": Clock,
        confirm: Confirm,
        schedule: Vec<At<String>>,
        severity: Severity,
        close: Close,
        cooldown: Duration,
        on_error: OnError,
        commands: Vec<At<LineId>>,
        commands_end: Vec<At<LineId>>,
        consent: LineId,
    }
}

section! {
    /// How many devices of a place have to say so.
    Confirm, "alarm.confirm", {
        devices: u64,
        within: Duration,
    }
}

section! {
    /// What keeps alarms from being raised.
    Inhibit, "[[inhibit]]", {
        id: LineId,
        title: String,
        alarms: Vec<At<String>>,
        devices: Vec<At<String>>,
        when: String,
        lasts: Duration,
        between: Vec<At<Until>>,
        schedule: Vec<At<String>>,
    }
}

section! {
    /// Somebody who is told.
    Recipient, "[[recipient]]", {
        id: LineId,
        title: String,
        role: Role,
        webhook: Webhook,
        consumer: Consumer,
        command: LineId,
        fields: Vec<At<notice::Field>>,
        quiet: Vec<At<String>>,
        digest: Duration,
        language: Language,
    }
}

section! {
    /// Where messages are posted.
    Webhook, "recipient.webhook", {
        url: String,
        form: Form,
        secret: String,
        ca: String,
    }
}

section! {
    /// Who is told what.
    Route, "[[route]]", {
        alarms: Vec<At<String>>,
        severities: Vec<At<Severity>>,
        places: Vec<At<String>>,
        schedule: Vec<At<String>>,
        steps: Vec<At<Step>>,
        to: Vec<At<LineId>>,
        escalate: Vec<Escalate>,
    }
}

section! {
    /// Who is told when nobody has answered.
    Escalate, "route.escalate", {
        after: Duration,
        to: Vec<At<LineId>>,
    }
}

section! {
    /// Something that devices can be told to do.
    Command, "[[command]]", {
        id: LineId,
        title: String,
        device: String,
        publish: Publish,
        write: Write,
        interlock: String,
        expect: String,
        expires: Duration,
        level: u64,
        arguments: Arguments,
        state: Metric,
        unattended: bool,
    }
}

section! {
    /// An MQTT message.
    Publish, "command.publish", {
        topic: String,
        payload: String,
    }
}

section! {
    /// A writable point and what it is to be.
    Write, "command.write", {
        metric: Metric,
        value: Plain,
    }
}

/// Who closes an incident that is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// Somebody, with a reason.
    Person,
    /// It closes itself.
    Itself,
}

words!(Close, "person" => Close::Person, "self" => Close::Itself);
words!(OnError, "raise" => OnError::Raise, "stay" => OnError::Stay);

/// In which language somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// Chinese.
    Chinese,
    /// English.
    English,
}

words!(Language, "zh" => Language::Chinese, "en" => Language::English);

words!(Form, "wecom" => Form::Wecom, "dingtalk" => Form::Dingtalk, "json" => Form::Json);
words!(
    Role,
    "property" => Role::Property,
    "committee" => Role::Committee,
    "street" => Role::Street,
    "police" => Role::Police,
    "resident" => Role::Resident,
);
words!(
    notice::Field,
    "alarm" => notice::Field::Alarm,
    "severity" => notice::Field::Severity,
    "state" => notice::Field::State,
    "time" => notice::Field::Time,
    "place" => notice::Field::Place,
    "device" => notice::Field::Device,
    "value" => notice::Field::Value,
    "advice" => notice::Field::Advice,
);
// Whom an escalation tells is said by the escalation itself.
words!(
    Step,
    "pre_alarm" => Step::PreAlarm,
    "raised" => Step::Raised,
    "suppressed" => Step::Suppressed,
    "cleared" => Step::Cleared,
    "returned" => Step::Returned,
    "confirmed" => Step::Confirmed,
    "dispatched" => Step::Dispatched,
    "handled" => Step::Handled,
    "closed" => Step::Closed,
    "noted" => Step::Noted,
);

/// A time of the day, as minutes since midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock(pub(crate) u16);

impl Read for Clock {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let help = "a time of the day: \"10:00\"";
        let minute = parsed(node, help, report, time_of_day)?;
        if minute == 24 * 60 {
            report.fault(node.span, "the end of a day is no time of it", "\"00:00\"");
        }
        Some(Clock(minute))
    }
}

/// The arguments of a command with the values that each may have, in the order of their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments(pub(crate) Vec<Argument>);

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) name: At<String>,
    /// None where what stands there is no list of texts, and told.
    pub(crate) values: Option<Vec<At<String>>>,
}

impl Read for Arguments {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Table(table) = node.value else {
            node.unexpected("a table: { level = [\"low\", \"high\"] }", report);
            return None;
        };
        let one = |(key, value): (&toml::Spanned<_>, _), report: &mut Report| {
            let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
            let span = Span::of(node.span.file(), key.span());
            let name = At { value: key.get_ref().to_string(), span };
            Argument { name, values: Vec::read(&node.inner(value), report) }
        };
        Some(Arguments(table.iter().map(|entry| one(entry, report)).collect()))
    }
}

/// A number, flag or text, with or without quotes.
#[derive(Clone, Debug)]
pub(crate) struct Plain(pub(crate) String);

impl Read for Plain {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        Some(Plain(match node.value {
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            _ => node.text("a value: true, 21.5, \"true\"", report)?.to_owned(),
        }))
    }
}
