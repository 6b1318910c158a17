//! Orders of the city: what a consumer asks a command for, and why it is not taken. Pure.
//!
//! Guarantees: an order names arguments only by values that the configuration has. Its `Debug` shows nothing that the consumer
//! wrote. What it does not do: say who may order what; the share list does.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;

use crate::model::{Consumer, LineId};
use crate::rules::cel::Seen;

/// Orders that are not over, of all consumers; one more is refused.
pub const ORDERS_MAX: usize = 256;

/// A value for each argument, by name.
pub type Arguments = BTreeMap<String, String>;

/// Who asked for a run, and with what.
#[derive(Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who.
    pub consumer: Consumer,
    /// The consumer's own id of the call.
    pub request: String,
    /// The line of the share list that gives it the command; its result goes out under it.
    pub share: LineId,
    /// With what.
    pub arguments: Arguments,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, share, arguments, request: _ } = self;
        write!(f, "Asked({consumer} under {share}, {} arguments)", arguments.len())
    }
}

/// What a consumer orders.
#[derive(Clone, PartialEq, Eq)]
pub struct Order {
    /// Which command.
    pub command: LineId,
    /// By whom and with what.
    pub asked: Asked,
    /// Not sent after this, milliseconds since 1970 UTC.
    pub not_after_ms: i64,
    /// The state that the consumer believes the device to be in; none: any.
    pub expect_state: Option<Box<str>>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Order({} by {:?})", self.command, self.asked)
    }
}

impl Order {
    /// Whether the device is in the state that the consumer believes; `None` when it does not say.
    #[must_use]
    pub fn state_is(&self, seen: Option<Seen<'_>>) -> Option<bool> {
        let expected = self.expect_state.as_deref()?;
        Some(match seen {
            None => false,
            Some(Seen::Number(number)) => {
                Decimal::from_str_exact(expected).is_ok_and(|other| other == number)
            }
            Some(Seen::Flag(flag)) => expected == if flag { "true" } else { "false" },
            Some(Seen::Text(text)) => expected == text,
        })
    }
}

/// Why an order is not taken. Tells no value of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is no such command.
    #[error("no command {0} may be ordered from here: the catalogue has those that may")]
    Unknown(LineId),
    /// Its arguments are others.
    #[error("command {command} takes {takes}: give each one of its values, and nothing else")]
    Arguments {
        /** Which command. */
        command: LineId,
        /** Its arguments with their values. */
        takes: String,
    },
    /// It has no state that could be expected.
    #[error("command {0} has no state: leave expect_state empty")]
    Stateless(LineId),
    /// Its time is over already.
    #[error("not_after of the order of {0} is over: order it again with a later one")]
    Late(LineId),
    /// The device is in another state.
    #[error("the device of {0} is not in the expected state: look at it, and order again")]
    State(LineId),
    /// What has to hold does not.
    #[error("the interlock of {0} does not hold now: order it again when it does")]
    Interlock(LineId),
    /// Too many wait.
    #[error("{0} orders are not over: wait until some of them are")]
    Full(usize),
}

/// A command's arguments and their values, for people.
pub(super) fn takes(arguments: &BTreeMap<String, Vec<String>>) -> String {
    if arguments.is_empty() {
        return "no arguments".into();
    }
    let one = |(name, values): (&String, &Vec<String>)| format!("{name} = {}", values.join(" | "));
    arguments.iter().map(one).collect::<Vec<_>>().join(", ")
}
