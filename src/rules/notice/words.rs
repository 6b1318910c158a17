//! The words that people read about alarms, in Chinese and in English. Every match is exhaustive: a new name does not compile
//! without its words.

use crate::model::{Actor, Life, Severity, Step};

/// How bad.
#[must_use]
pub fn severity(severity: Severity, english: bool) -> &'static str {
    let (chinese, in_english) = match severity {
        Severity::Info => ("提示", "info"),
        Severity::Minor => ("一般", "minor"),
        Severity::Major => ("重要", "major"),
        Severity::Critical => ("紧急", "critical"),
    };
    if english { in_english } else { chinese }
}

/// Where an incident is.
#[must_use]
pub fn life(life: Life, english: bool) -> &'static str {
    let (chinese, in_english) = match life {
        Life::PreAlarm => ("预警", "pre-alarm"),
        Life::Raised => ("待处理", "raised"),
        Life::Confirmed => ("已确认", "confirmed"),
        Life::Dispatched => ("已派人", "dispatched"),
        Life::Handled => ("已处理", "handled"),
        Life::Closed => ("已关闭", "closed"),
        Life::Suppressed => ("已抑制", "suppressed"),
    };
    if english { in_english } else { chinese }
}

/// What happened.
#[must_use]
pub fn step(step: Step, english: bool) -> &'static str {
    let (chinese, in_english) = match step {
        Step::PreAlarm => ("预警", "pre-alarm"),
        Step::Raised => ("告警", "raised"),
        Step::Suppressed => ("抑制", "suppressed"),
        Step::Cleared => ("恢复正常", "back to normal"),
        Step::Returned => ("再次出现", "came back"),
        Step::Escalated => ("无人应答，升级", "nobody answered"),
        Step::Confirmed => ("确认", "confirmed"),
        Step::Dispatched => ("派人处理", "somebody was sent"),
        Step::Handled => ("处理", "handled"),
        Step::Closed => ("关闭", "closed"),
        Step::Noted => ("备注", "a note"),
    };
    if english { in_english } else { chinese }
}

/// Who, by kind: the name of a person stays in the gateway.
#[must_use]
pub fn actor(actor: &Actor, english: bool) -> &'static str {
    let (chinese, in_english) = match actor {
        Actor::Gateway => ("网关", "the gateway"),
        Actor::Person(_) => ("小区人员", "the compound"),
        Actor::Consumer(_) => ("城市平台", "the city"),
    };
    if english { in_english } else { chinese }
}

/// What happened and who did it, where that is not the gateway: 已由小区人员确认.
#[must_use]
pub fn state(event_step: Step, by: &Actor, english: bool) -> String {
    let (what, who) = (step(event_step, english), actor(by, english));
    match (by, english) {
        (Actor::Gateway, _) => what.to_owned(),
        (_, false) => format!("已由{who}{what}"),
        (_, true) => format!("{what} by {who}"),
    }
}
