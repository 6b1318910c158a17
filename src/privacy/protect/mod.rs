//! How the numbers of windows are protected before they leave: in one of two modes, never mixed.
//!
//! - [`Sdc`]: exact numbers; cells about fewer than k subjects are held back, and with them as many others as it takes
//!   that nobody can calculate them ([`table`], in space and in time; [`flow`] is the attacker).
//! - [`Dp`]: noise on every public cell ([`laplace`]), drawn once, paid from a budget ([`budget`]).
//!
//! Guarantees: a cell is decided once and is the same for every consumer; whether a cell is held back, and nothing else
//! of it, is told: not which rule did it. Pure: randomness and what was released before are arguments. Does not store
//! what it decided, and does not say that what it lets out is anonymous.

pub mod budget;
pub mod flow;
pub mod laplace;
pub mod one;
pub mod released;
pub mod table;

use std::fmt;

use rust_decimal::Decimal;

pub use self::budget::Ratio;
use crate::model::{LineId, Metric};

/// How the cells of an aggregate are protected.
#[derive(Clone, Debug, PartialEq)]
pub enum Protect {
    /// Exact numbers, or none.
    Sdc(Sdc),
    /// Noise.
    Dp(Dp),
}

/// Who is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subjects {
    /// Each device is one: a meter and its household.
    Device,
    /// Each value of this metric is one: a keyed name.
    Metric(Metric),
}

/// Exact numbers about k subjects or more.
#[derive(Clone, Debug, PartialEq)]
pub struct Sdc {
    /// The smallest number of subjects that is told of; at least 2.
    pub k: u64,
    /// Who they are.
    pub subjects: Subjects,
    /// The largest part of a sum that may be one subject's, percent; none where that does not matter.
    pub dominance: Option<Decimal>,
    /// Whether it is told that there was nobody.
    pub zero_public: bool,
}

/// Noise on every cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Dp {
    /// What a window may tell of a subject.
    pub epsilon: Ratio,
    /// How often a subject counts in a window at most.
    pub contribution: u64,
    /// Who they are.
    pub subjects: Subjects,
    /// What is paid from.
    pub budget: LineId,
}

impl Protect {
    /// Who is protected.
    #[must_use]
    pub fn subjects(&self) -> &Subjects {
        match self {
            Protect::Sdc(Sdc { subjects, .. }) | Protect::Dp(Dp { subjects, .. }) => subjects,
        }
    }

    /// The word of its mode.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self {
            Protect::Sdc(_) => "sdc",
            Protect::Dp(_) => "dp",
        }
    }
}

impl fmt::Display for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subjects::Device => f.write_str("device"),
            Subjects::Metric(metric) => metric.fmt(f),
        }
    }
}

/// What it does, without spaces around what may be compared: "k=5 subjects=card zero=hidden".
impl fmt::Display for Protect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protect::Sdc(Sdc { k, subjects, dominance, zero_public }) => {
                let zero = if *zero_public { "public" } else { "hidden" };
                write!(f, "k={k} subjects={subjects} zero={zero}")?;
                dominance.map_or(Ok(()), |percent| write!(f, " dominance={}%", percent.normalize()))
            }
            Protect::Dp(Dp { epsilon, contribution, subjects, budget }) => {
                write!(f, "epsilon={epsilon} contribution={contribution} subjects={subjects} budget={budget}")
            }
        }
    }
}

/// Why a cell is held back. It stays in the gateway: outside, the first three look the same, because which of them it was
/// says how many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is about fewer than k subjects.
    Few,
    /// One subject has too much of it.
    Dominance,
    /// Another one could be calculated with it.
    Complementary,
    /// The budget of its period is spent.
    Budget,
    /// It was open when the protection changed.
    Policy,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 5] =
        [Reason::Few, Reason::Dominance, Reason::Complementary, Reason::Budget, Reason::Policy];

    /// Its word in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Few => "few",
            Reason::Dominance => "dominance",
            Reason::Complementary => "complementary",
            Reason::Budget => "budget",
            Reason::Policy => "policy",
        }
    }

    /// From its word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}
