//! What is told of a window, by the names that the configuration and the wire have for it.
//!
//! Guarantees: a name has one meaning, and a set of them is told in one order, whatever order it was written in. Does
//! not compute anything.

use std::fmt;
use std::str::FromStr;

/// One number of a cell, or several of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statistic {
    /// Readings that the numbers are of.
    Count,
    /// Their exact sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Sum by count, or weighted by time where the point says so.
    Mean,
    /// The one with the latest event time.
    Last,
    /// What a counter grew by: the rises in event-time order, from the last value before the window on; a fall is none.
    Delta,
    /// How many different values there were.
    Distinct,
    /// The value that so many tenths of a percent of the readings do not exceed, within 1 % of it; 1 to 999.
    Quantile(u16),
    /// How many readings do not exceed each edge.
    Histogram,
    /// Percent of the readings that were expected, or of the time that has readings close enough.
    Coverage,
    /// Percent of the window during which the point was heard.
    Online,
}

/// What names there are, for "did you mean".
pub const NAMES: [&str; 15] = [
    "count",
    "sum",
    "min",
    "max",
    "mean",
    "last",
    "delta",
    "distinct",
    "p50",
    "p90",
    "p95",
    "p99",
    "histogram",
    "coverage",
    "online",
];

/// A name that is no statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no statistic of this name: one of count, sum, min, max, mean, last, delta, distinct, p0.1 to p99.9, histogram, coverage, online"
)]
pub struct NoStatistic;

impl Statistic {
    /// Whether texts have it.
    #[must_use]
    pub fn is_of_texts(self) -> bool {
        matches!(self, Statistic::Count | Statistic::Distinct)
    }

    /// Whether flags, taken as 0 and 1, have it.
    #[must_use]
    pub fn is_of_flags(self) -> bool {
        !matches!(self, Statistic::Quantile(_) | Statistic::Histogram)
    }

    /// Whether it asks which reading came after which.
    #[must_use]
    pub fn is_of_order(self) -> bool {
        self == Statistic::Delta || self.is_percent()
    }

    /// Whether it is a percentage of the window, which a silent point has too.
    #[must_use]
    pub fn is_percent(self) -> bool {
        matches!(self, Statistic::Coverage | Statistic::Online)
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Statistic::Count => "count",
            Statistic::Sum => "sum",
            Statistic::Min => "min",
            Statistic::Max => "max",
            Statistic::Mean => "mean",
            Statistic::Last => "last",
            Statistic::Delta => "delta",
            Statistic::Distinct => "distinct",
            Statistic::Histogram => "histogram",
            Statistic::Coverage => "coverage",
            Statistic::Online => "online",
            Statistic::Quantile(tenths) if tenths % 10 == 0 => return write!(f, "p{}", tenths / 10),
            Statistic::Quantile(tenths) => return write!(f, "p{}.{}", tenths / 10, tenths % 10),
        })
    }
}

impl FromStr for Statistic {
    type Err = NoStatistic;

    fn from_str(text: &str) -> Result<Self, NoStatistic> {
        const NAMED: [Statistic; 11] = [
            Statistic::Count,
            Statistic::Sum,
            Statistic::Min,
            Statistic::Max,
            Statistic::Mean,
            Statistic::Last,
            Statistic::Delta,
            Statistic::Distinct,
            Statistic::Histogram,
            Statistic::Coverage,
            Statistic::Online,
        ];
        let quantile = || {
            let digits =
                |text: &str, len| text.len() <= len && text.bytes().all(|byte| byte.is_ascii_digit());
            let (whole, tenth) = text.strip_prefix('p')?.split_once('.').unwrap_or((&text[1..], "0"));
            let tenths = whole.parse::<u16>().ok().filter(|_| digits(whole, 2))? * 10
                + tenth.parse::<u16>().ok().filter(|_| digits(tenth, 1))?;
            (1..1000).contains(&tenths).then_some(Statistic::Quantile(tenths))
        };
        NAMED.into_iter().find(|named| named.to_string() == text).or_else(quantile).ok_or(NoStatistic)
    }
}

/// What an aggregate tells; each once, in the order of [`Statistic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics(Vec<Statistic>);

impl Statistics {
    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Statistic> + '_ {
        self.0.iter().copied()
    }

    /// Whether one is among them.
    #[must_use]
    pub fn has(&self, statistic: Statistic) -> bool {
        self.0.contains(&statistic)
    }

    /// Whether texts can be aggregated by all of them.
    #[must_use]
    pub fn are_of_texts(&self) -> bool {
        self.iter().all(Statistic::is_of_texts)
    }
}

impl FromIterator<Statistic> for Statistics {
    fn from_iter<I: IntoIterator<Item = Statistic>>(all: I) -> Self {
        let mut all: Vec<Statistic> = all.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }
}

/// What is told where nothing else is said.
impl Default for Statistics {
    fn default() -> Self {
        use Statistic::{Count, Last, Max, Mean, Min, Sum};
        [Count, Sum, Min, Max, Mean, Last].into_iter().collect()
    }
}

/// Names with commas between them.
impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, statistic) in self.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            statistic.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for Statistics {
    type Err = NoStatistic;

    fn from_str(text: &str) -> Result<Self, NoStatistic> {
        text.split(',').map(str::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in NAMES.into_iter().chain(["p0.1", "p99.9", "p5", "p12.5"]) {
            let read = name.parse::<Statistic>().map(|statistic| statistic.to_string());
            assert_eq!(read.as_deref(), Ok(name));
        }
        for name in
            ["", "p", "p0", "p0.0", "p100", "p99.99", "p-5", "p+5", "p5.", "p.5", "Count", "median", "p5 "]
        {
            assert_eq!(name.parse::<Statistic>(), Err(NoStatistic), "{name:?}");
        }
    }

    #[test]
    fn one_order() {
        let written = "online,p99.9,last,p50,count,last";
        let read: Statistics = written.parse().expect("statistics");
        assert_eq!(read.to_string(), "count,last,p50,p99.9,online");
        assert_eq!(Statistics::default().to_string(), "count,sum,min,max,mean,last");
        assert!("count,".parse::<Statistics>().is_err());
        assert!(!read.are_of_texts());
        assert!("distinct,count".parse::<Statistics>().expect("statistics").are_of_texts());
    }
}
