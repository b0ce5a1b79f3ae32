//! How much of a region is usable, by the weight of its endpoints.

use crate::handle::LiveRegion;
use crate::health::{Health, OVERPROVISIONING};

/// The usable parts of a region, 0 to 1 each and together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usable {
    /// What is not degraded.
    pub(super) healthy: f64,
    /// What is.
    pub(super) degraded: f64,
}

impl Usable {
    /// What is usable of a region. Nothing of one that is down; what an operator drains or dials out is
    /// left out by every decision anyway, and usable at once when he takes that back. Of an endpoint that
    /// starts slowly or is on trial, the part that it takes by now.
    ///
    /// A region may be degraded although its endpoints are well, because it said so or fails more than
    /// is usual; then all of it is.
    pub(super) fn of(region: &LiveRegion) -> Self {
        let standing = region.cell.standing();
        if !standing.health.usable() {
            return Self::default();
        }
        let (found, lesser) = Self::of_endpoints(region);
        match standing.health == Health::Degraded && !lesser {
            true => Self {
                healthy: 0.0,
                degraded: found.part(),
            },
            false => found,
        }
    }

    /// Whether the region works worse than it should: it is degraded, and not for lack of endpoints.
    pub(super) fn ails(self, region: &LiveRegion) -> bool {
        region.cell.health() == Health::Degraded && self.healthy == 0.0 && self.degraded > 0.0
    }

    /// The same if this part counts as healthy, at most, and the rest as degraded.
    pub(super) fn eased(self, part: f64) -> Self {
        let most = self.part() * part;
        let healthy = match self.healthy > 0.0 {
            true => self.healthy.min(most),
            false => most,
        };
        Self {
            healthy,
            degraded: self.part() - healthy,
        }
    }

    /// All that is usable.
    pub(super) fn part(self) -> f64 {
        self.healthy + self.degraded
    }

    /// The part of what is offered that a region can carry whose capacity nobody told: all of it until
    /// less than 71.4 % are usable, as tiers do. Who sends to one of which nothing is has no other.
    pub(super) fn carries(self) -> f64 {
        match self.part() * OVERPROVISIONING {
            part if part > 0.0 => part.min(1.0),
            _ => 1.0,
        }
    }

    /// The same of its endpoints alone, and whether too few of them are well, so that the region counts
    /// as degraded for that.
    fn of_endpoints(region: &LiveRegion) -> (Self, bool) {
        let set = region.endpoints.load();
        let (mut sum, mut total, mut fit) = (Self::default(), 0.0, 0u32);
        for endpoint in &set.endpoints {
            let (health, weight) = (endpoint.cell.health(), f64::from(endpoint.weight));
            total += weight;
            fit += u32::from(health.usable() && health != Health::Degraded);
            let part = match health {
                Health::Degraded => &mut sum.degraded,
                health if health.usable() => &mut sum.healthy,
                _ => continue,
            };
            *part += weight * endpoint.cell.share().share();
        }
        let lesser = f64::from(fit) * OVERPROVISIONING < set.endpoints.len() as f64;
        if total > 0.0 {
            sum.healthy /= total;
            sum.degraded /= total;
        }
        (sum, lesser)
    }
}
