//! Health of endpoints and regions: the states, how probes move an endpoint, how endpoints roll up
//! into their region.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

use crate::plan::Probe;

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
    /// that was dead before we came is not tried first.
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
        (reached && from != to).then_some(to)
    }
}

/// The health of a region from that of its endpoints: usable when at least `min_healthy` (0 to 1)
/// of them are, and at least one. Unknown while nothing is known of any; an empty region is
/// unhealthy.
pub fn roll_up(endpoints: impl IntoIterator<Item = Health>, min_healthy: f64) -> Health {
    let (mut total, mut usable, mut known, mut degraded) = (0u32, 0u32, 0u32, 0u32);
    for health in endpoints {
        total += 1;
        usable += u32::from(health.usable());
        known += u32::from(health != Health::Unknown);
        degraded += u32::from(health == Health::Degraded);
    }
    match () {
        () if usable == 0 || f64::from(usable) < min_healthy * f64::from(total) => {
            Health::Unhealthy
        }
        () if known == 0 => Health::Unknown,
        () if usable < total || degraded > 0 => Health::Degraded,
        () => Health::Healthy,
    }
}
