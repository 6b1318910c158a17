//! Times of the week: "Mon-Fri 22:00-06:00", in the gateway's zone.

/// Minutes of a week.
pub const WEEK_MINUTES: u16 = 7 * 24 * 60;

/// Stretches of the week; none of them is always.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Half-open, in minutes since Monday 00:00; one that wraps past Sunday is two.
    pub(crate) spans: Vec<(u16, u16)>,
}
