//! Clients, choices and looks in one circuit, on a clock of its own.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_core::plan::{Steering, Upstream};
use tidegate_core::{Allotter, Ask, RegionSet, choose};

use crate::support::{UPSTREAM, World};

/// Looks are so far apart while something goes on.
const LOOK: Duration = Duration::from_millis(50);

/// What one second showed of one region.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    /// Attempts begun there.
    pub(crate) begun: u32,
    /// The part that it takes, at the second's end.
    pub(crate) take: f64,
}

/// One upstream under load.
pub(crate) struct Circuit {
    pub(crate) world: World,
    /// So many clients come at once.
    pub(crate) bunch: u32,
    allotter: Allotter,
    rng: Rng,
    now: Instant,
    /// When the next client comes.
    next: Instant,
}

impl Circuit {
    /// Regions of two endpoints with these capacities, each 20 ms farther than the one before.
    pub(crate) fn new(steering: Steering, capacities: &[f64]) -> Self {
        Self::changed(steering, capacities, |_| {})
    }

    pub(crate) fn changed(
        steering: Steering,
        capacities: &[f64],
        change: impl FnOnce(&mut Upstream),
    ) -> Self {
        let world = World::changed(steering, &vec![2; capacities.len()], |upstream| {
            for (region, capacity) in upstream.regions.iter_mut().zip(capacities) {
                region.capacity_rps = Some(*capacity);
            }
            change(upstream);
        });
        let round_trips: Vec<u64> = (1..=capacities.len() as u64).map(|at| at * 20).collect();
        world.measure(&round_trips);
        let now = world.now;
        Self {
            world,
            bunch: 1,
            allotter: Allotter::default(),
            rng: Rng::with_seed(12),
            now,
            next: now,
        }
    }

    /// Looks, without anything that comes in between.
    pub(crate) fn look(&mut self) {
        let (wanted, live) = self.world.live.upstream(UPSTREAM);
        self.allotter.look(wanted, live, self.now);
    }

    /// Has clients come at random, `rate(second)` of them a second, for so many seconds; `ask` makes of
    /// each what it asks. Says what each second showed of each region.
    pub(crate) fn run_as(
        &mut self,
        seconds: usize,
        rate: impl Fn(usize) -> f64,
        mut ask: impl FnMut(&mut Rng, &mut Ask),
    ) -> Vec<Vec<Second>> {
        let second = |at| {
            let mut shown = vec![Second::default(); self.world.live.upstreams[0].regions.len()];
            for _ in 0..1_000 / LOOK.as_millis() {
                self.until_look(rate(at), &mut ask, &mut shown);
                self.look();
            }
            let regions = &self.world.live.upstreams[0].regions;
            for (second, region) in shown.iter_mut().zip(regions) {
                second.take = region.cell.allotment().take.share();
            }
            shown
        };
        (0..seconds).map(second).collect()
    }

    /// The same of clients that ask for nothing special.
    pub(crate) fn run(&mut self, seconds: usize, rate: impl Fn(usize) -> f64) -> Vec<Vec<Second>> {
        self.run_as(seconds, rate, |_, _| {})
    }

    fn until_look(
        &mut self,
        rate: f64,
        ask: &mut impl FnMut(&mut Rng, &mut Ask),
        shown: &mut [Second],
    ) {
        let until = self.now + LOOK;
        self.next = self.next.max(self.now);
        while self.next < until {
            (0..self.bunch).for_each(|_| self.arrive(ask, shown));
            let gap = -(1.0 - self.rng.f64()).ln() * f64::from(self.bunch) / rate;
            self.next += Duration::from_secs_f64(gap.min(3_600.0));
        }
        self.now = until;
    }

    fn arrive(&mut self, ask: &mut impl FnMut(&mut Rng, &mut Ask), shown: &mut [Second]) {
        let mut one = Ask::new(RegionSet::ALL, self.next);
        ask(&mut self.rng, &mut one);
        let choice = choose(self.world.live.upstream(UPSTREAM), &one, &mut self.rng).1;
        if let Some(choice) = choice {
            drop(choice.begin(&self.world.live.upstreams[0]));
            shown[usize::from(choice.position)].begun += 1;
        }
    }
}

/// Attempts a second of each region over the seconds.
pub(crate) fn mean(seconds: &[Vec<Second>]) -> Vec<f64> {
    let of = |region: usize| {
        let sum: u32 = seconds.iter().map(|second| second[region].begun).sum();
        f64::from(sum) / seconds.len() as f64
    };
    (0..seconds[0].len()).map(of).collect()
}

/// The least and the greatest part that a region took.
pub(crate) fn takes(seconds: &[Vec<Second>], region: usize) -> (f64, f64) {
    let takes = || seconds.iter().map(|second| second[region].take);
    (takes().fold(1.0, f64::min), takes().fold(0.0, f64::max))
}
