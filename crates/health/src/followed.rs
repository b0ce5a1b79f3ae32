//! What is probed and judged: the upstreams of the plan that serves, and what only a plan that serves a
//! part has beside them.
//!
//! An endpoint that a staged plan brings gets requests as soon as that serves a part, so it is probed from
//! then on, as that plan wants it. What both plans have is the serving one's: one schedule and one judge,
//! by its rules. A region that only the staged plan has gets a judge that sees nothing but such regions:
//! two judges of one region would contradict each other.

use std::sync::Arc;

use tidegate_core::handle::{LiveRegion, LiveUpstream};
use tidegate_core::plan::Upstream;
use tidegate_core::{EndpointSlot, Live};

type Name = Arc<str>;

/// An upstream, or what of it is followed beside the serving plan's.
pub(crate) struct Followed {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) bound: Arc<LiveUpstream>,
    /// The names of its regions, by position.
    pub(crate) regions: Box<[Name]>,
    /// Whether a judge looks at it; else its regions are another one's.
    pub(crate) judged: bool,
    /// Whether it is of a plan that serves a part.
    pub(crate) beside: bool,
}

/// What of `alive` is followed: the serving plan first, whole. Those that are judged come first, so that
/// the judges' positions are theirs.
pub(crate) fn followed(alive: &[Arc<Live>]) -> Vec<Followed> {
    let Some((serving, others)) = alive.split_first() else {
        return Vec::new();
    };
    let whole = |at| Followed::whole(serving, at, false);
    let mut all: Vec<_> = (0..serving.upstreams.len()).map(whole).collect();
    for staged in others {
        for (at, upstream) in staged.plan.upstreams.iter().enumerate() {
            let mut serving = all.iter().filter(|known| !known.beside);
            let known = serving.find(|known| known.upstream.name == upstream.name);
            let own = match known {
                None => vec![Followed::whole(staged, at, true)],
                Some(known) => known.added_by(&Followed::whole(staged, at, true)),
            };
            all.extend(own);
        }
    }
    // Stable: the serving plan's stay in its order.
    all.sort_by_key(|followed| !followed.judged);
    all
}

/// Changes whenever what is [`followed`], or an endpoint of it, may have changed.
pub(crate) fn fingerprint(alive: &[Arc<Live>]) -> Vec<(u64, u64)> {
    let of = |live: &Arc<Live>| {
        let slots = live.upstreams.iter().flat_map(|upstream| &upstream.regions);
        let versions = slots.map(|region| region.endpoints.load().version).sum();
        (live.generation.0, versions)
    };
    alive.iter().map(of).collect()
}

impl Followed {
    pub(crate) fn whole(live: &Live, at: usize, beside: bool) -> Self {
        let upstream = live.plan.upstreams[at].clone();
        let regions = upstream.regions.iter();
        let regions = regions.map(|spec| live.plan.region(spec.region).name.clone());
        Self {
            regions: regions.collect(),
            bound: live.upstreams[at].clone(),
            upstream,
            judged: true,
            beside,
        }
    }

    /// What `other`, the same upstream of another plan, has and this has not: regions, which are judged,
    /// and endpoints of regions that both have, which are not.
    fn added_by(&self, other: &Self) -> Vec<Self> {
        let slot = |name: &Name| {
            let at = self.regions.iter().position(|own| own == name)?;
            Some(&self.bound.regions[at].endpoints)
        };
        let differs = |slot: &Arc<EndpointSlot>, at: usize| {
            !Arc::ptr_eq(slot, &other.bound.regions[at].endpoints)
        };
        let (mut news, mut others) = (Vec::new(), Vec::new());
        for (at, name) in other.regions.iter().enumerate() {
            match slot(name) {
                None => news.push(at),
                Some(slot) if differs(slot, at) => others.push(at),
                Some(_) => {}
            }
        }
        let parts = [(news, true), (others, false)].into_iter();
        let parts = parts.filter(|(regions, _)| !regions.is_empty());
        parts
            .map(|(regions, judged)| other.part(&regions, judged))
            .collect()
    }

    /// Only the regions at these positions.
    fn part(&self, positions: &[usize], judged: bool) -> Self {
        let upstream = Upstream {
            regions: picked(positions, |at| self.upstream.regions[at].clone()),
            ..(*self.upstream).clone()
        };
        let region = |at: usize| {
            let region = &self.bound.regions[at];
            LiveRegion {
                cell: region.cell.clone(),
                endpoints: region.endpoints.clone(),
                distance_km: region.distance_km,
                direction: region.direction,
                key: region.key,
            }
        };
        let bound = LiveUpstream {
            regions: picked(positions, region),
            budget: self.bound.budget.clone(),
        };
        Self {
            upstream: Arc::new(upstream),
            bound: Arc::new(bound),
            regions: picked(positions, |at| self.regions[at].clone()),
            judged,
            beside: self.beside,
        }
    }
}

fn picked<T>(positions: &[usize], pick: impl Fn(usize) -> T) -> Box<[T]> {
    positions.iter().map(|at| pick(*at)).collect()
}
