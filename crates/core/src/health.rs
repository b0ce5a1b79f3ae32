//! Health of endpoints and regions: the states, how probes move an endpoint, how endpoints roll up
//! into their region.

mod baseline;
mod change;
mod comeback;
mod crowd;
mod evidence;
mod histogram;
pub mod judge;
mod outlier;
mod region;
mod roster;
mod sequential;
mod siblings;
mod silence;
mod slow;
mod slow_start;
mod unanswered;
mod window;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

use crate::plan::Probe;

pub use change::{Change, Stage};
pub use evidence::{Evidence, Failures, Row};
pub use judge::Judge;

/// What is believed of an endpoint or a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Health {
    /// Nothing observed yet; used like `Healthy`, after it.
    Unknown = 0,
    /// Works.
    Healthy = 1,
    /// Works worse than it should; used after the healthy ones.
    Degraded = 2,
    /// Does not work; not used.
    Unhealthy = 3,
    /// Being emptied; takes no new attempts.
    Draining = 4,
}

/// A change of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Health,
    /// After.
    pub to: Health,
}

impl Health {
    /// Every health; its position is its number.
    pub const ALL: [Self; 5] = [
        Self::Unknown,
        Self::Healthy,
        Self::Degraded,
        Self::Unhealthy,
        Self::Draining,
    ];

    /// Whether new attempts may go there.
    pub fn usable(self) -> bool {
        matches!(self, Self::Unknown | Self::Healthy | Self::Degraded)
    }

    /// The word for logs, metrics and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        }
    }

    pub(crate) fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Healthy,
            2 => Self::Degraded,
            3 => Self::Unhealthy,
            4 => Self::Draining,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Successes and failures in a row. Only one prober writes a cell, so relaxed counters suffice.
#[derive(Debug, Default)]
pub struct ProbeCounts {
    successes: AtomicU32,
    failures: AtomicU32,
}

impl ProbeCounts {
    /// Enters one result; the state that follows, if it differs from `from`. From `Unknown`, one
    /// result is enough either way: nobody has to wait for `rise` probes to start, and a region
    /// that was dead before we came is not tried first. Probes never end a drain.
    pub fn step(&self, success: bool, from: Health, probe: &Probe) -> Option<Health> {
        let (counter, other, limit, to) = if success {
            (&self.successes, &self.failures, probe.rise, Health::Healthy)
        } else {
            (
                &self.failures,
                &self.successes,
                probe.fall,
                Health::Unhealthy,
            )
        };
        other.store(0, Ordering::Relaxed);
        let in_a_row = counter.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let reached = in_a_row >= limit || from == Health::Unknown;
        (reached && from != to && from != Health::Draining).then_some(to)
    }
}

/// How much more than its share a region's fit endpoints are trusted to carry (ALGORITHMS 5.1,
/// Envoy's overprovisioning factor). One endpoint of many must not send a region's users abroad.
pub const OVERPROVISIONING: f64 = 1.4;

/// The health of a region from that of its endpoints.
///
/// Unhealthy when fewer than `min_healthy` (0 to 1) of them are usable, or none is; an empty region
/// is. Degraded when those that are usable and not degraded fall short of the whole even with
/// [`OVERPROVISIONING`], that is below 71.4 %. Unknown while nothing is known of any.
pub fn roll_up(endpoints: impl IntoIterator<Item = Health>, min_healthy: f64) -> Health {
    let (mut total, mut usable, mut known, mut fit) = (0u32, 0u32, 0u32, 0u32);
    for health in endpoints {
        total += 1;
        usable += u32::from(health.usable());
        known += u32::from(health != Health::Unknown);
        fit += u32::from(health.usable() && health != Health::Degraded);
    }
    match () {
        () if usable == 0 || below(usable, min_healthy, total) => Health::Unhealthy,
        () if known == 0 => Health::Unknown,
        () if below(fit, 1.0 / OVERPROVISIONING, total) => Health::Degraded,
        () => Health::Healthy,
    }
}

/// Whether `part` is less than `share` of `total`. The margin is for shares such as 0.55, of which
/// a hundred endpoints are 55.000000000000007.
fn below(part: u32, share: f64, total: u32) -> bool {
    f64::from(part) < share * f64::from(total) - 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `h`ealthy, `d`egraded, `u`nhealthy, `x` draining, `?` unknown.
    fn check(endpoints: &str, min_healthy: f64, expected: Health) {
        let health = |letter| match letter {
            'h' => Health::Healthy,
            'd' => Health::Degraded,
            'u' => Health::Unhealthy,
            'x' => Health::Draining,
            _ => Health::Unknown,
        };
        let actual = roll_up(endpoints.chars().map(health), min_healthy);
        assert_eq!(actual, expected, "{endpoints} at {min_healthy}");
    }

    #[test]
    fn endpoints_roll_up_into_their_region() {
        check("", 0.0, Health::Unhealthy);
        check("h", 0.3, Health::Healthy);
        check("u", 0.0, Health::Unhealthy);
        check("?", 0.3, Health::Unknown);
        check("??", 1.0, Health::Unknown);
        check("?h", 0.3, Health::Healthy);
        check("?u", 0.3, Health::Degraded);
        check("d", 0.3, Health::Degraded);
        check("hu", 0.3, Health::Degraded);
        check("hx", 0.3, Health::Degraded);
        check("xx", 0.0, Health::Unhealthy);
    }

    #[test]
    fn a_few_lost_endpoints_do_not_degrade_a_region() {
        check("hhhu", 0.3, Health::Healthy);
        check("hhhhhuu", 0.3, Health::Healthy);
        check("hhhhuu", 0.3, Health::Degraded);
        check("hhhd", 0.3, Health::Healthy);
        check("hhdd", 0.3, Health::Degraded);
    }

    #[test]
    fn the_minimum_is_met_exactly() {
        let of_hundred = |fit: usize| "h".repeat(fit) + &"u".repeat(100 - fit);
        check(&of_hundred(55), 0.55, Health::Degraded);
        check(&of_hundred(54), 0.55, Health::Unhealthy);
        check("huuuuuuuuu", 0.1, Health::Degraded);
        check("hhhuuuuuuu", 0.3, Health::Degraded);
        check("hhuuuuuuuu", 0.3, Health::Unhealthy);
        check("hhu", 1.0, Health::Unhealthy);
    }

    #[test]
    fn health_survives_its_number() {
        use Health::{Degraded, Draining, Healthy, Unhealthy, Unknown};
        for health in [Unknown, Healthy, Degraded, Unhealthy, Draining] {
            assert_eq!(Health::from_u8(health as u8), health);
        }
        assert_eq!(Health::from_u8(9), Unknown);
    }
}
