//! Active probes in the virtual world: paced like the real ones, which live in another crate.

use std::time::Duration;

use tidegate_core::plan::Probe;

use crate::clock::Event;
use crate::physics::Traits;
use crate::scenario::Effect;
use crate::world::World;

/// The schedules of all endpoints.
pub(crate) struct Probers {
    /// Per region and endpoint: the number of its schedule. A probe of an older one is not made.
    numbers: Vec<Vec<u64>>,
    /// Per region, whether it was in doubt at the last look.
    doubts: Vec<bool>,
}

const PROBE: Traits = Traits {
    bad_route: false,
    bad_client: false,
    slow_upload: false,
    probe: true,
};

impl Probers {
    pub(crate) fn new(endpoints: &[usize]) -> Self {
        Self {
            numbers: endpoints.iter().map(|count| vec![0; *count]).collect(),
            doubts: vec![false; endpoints.len()],
        }
    }
}

impl World {
    pub(crate) fn begin_probes(&mut self) {
        for region in 0..self.probers.numbers.len() {
            for endpoint in 0..self.probers.numbers[region].len() {
                self.agenda
                    .enter(Duration::ZERO, Event::Probe(region, endpoint, 0));
            }
        }
    }

    /// Regions that have come into doubt are probed at once.
    pub(crate) fn hasten_probes(&mut self) {
        for region in 0..self.probers.doubts.len() {
            let doubt = self.judge.in_doubt(region as u8);
            if std::mem::replace(&mut self.probers.doubts[region], doubt) || !doubt {
                continue;
            }
            for endpoint in 0..self.probers.numbers[region].len() {
                self.reschedule(region, endpoint, Duration::ZERO);
            }
        }
    }

    fn reschedule(&mut self, region: usize, endpoint: usize, after: Duration) {
        let number = &mut self.probers.numbers[region][endpoint];
        *number += 1;
        let probe = Event::Probe(region, endpoint, *number);
        self.enter_in(after, probe);
    }

    pub(crate) fn probe(&mut self, region: usize, endpoint: usize, number: u64) {
        if self.probers.numbers[region][endpoint] != number {
            return;
        }
        let (well, took) = self.what_a_probe_sees(region, endpoint);
        self.enter_in(took, Event::Probed(region, endpoint, well, took));
        // A probe that is late raises a doubt before it has failed.
        let pace = Pace::of(&self.scenario.probe());
        let next = if took > pace.fast {
            pace.fast
        } else {
            self.pause(region, endpoint, well)
        };
        self.reschedule(region, endpoint, next);
    }

    fn what_a_probe_sees(&mut self, region: usize, endpoint: usize) -> (bool, Duration) {
        let (rtt, timeout) = (
            self.physics.sites[region].rtt,
            self.scenario.probe().timeout,
        );
        let http = self.scenario.http_probe;
        match self.physics.strikes(region, endpoint, PROBE) {
            Some(Effect::Refuse) => (false, rtt),
            Some(Effect::Silence) => (false, timeout),
            Some(Effect::Reset | Effect::Status(_)) if http => (false, 2 * rtt),
            Some(Effect::Slow(times)) if http => {
                let took = rtt + self.physics.answer_in(region, endpoint, times, self.now);
                (took < timeout, took.min(timeout))
            }
            _ if http => {
                let took = rtt + self.physics.answer_in(region, endpoint, 1.0, self.now);
                (took < timeout, took.min(timeout))
            }
            _ => (true, rtt),
        }
    }

    /// Until the next probe: less when the result contradicts what is believed, or in doubt.
    fn pause(&mut self, region: usize, endpoint: usize, well: bool) -> Duration {
        let set = self.upstream().regions[region].endpoints.load_full();
        let believed = set.endpoints[endpoint].cell.probed_health().usable();
        let pace = Pace::of(&self.scenario.probe());
        let doubt = believed != well || self.judge.in_doubt(region as u8);
        let base = if doubt { pace.fast } else { pace.calm };
        base.mul_f64(0.9 + 0.2 * self.physics.rng.f64())
    }

    pub(crate) fn probed(&mut self, region: usize, endpoint: usize, well: bool, took: Duration) {
        let (now, probe) = (self.instant(), self.scenario.probe());
        let http = self.scenario.http_probe;
        let rtt = self.physics.sites[region].rtt;
        let live = &self.upstream().regions[region];
        live.cell.probed(well);
        if well {
            live.cell.observe_rtt(rtt, now);
            if http {
                live.cell.observe_probe(took - rtt, now);
            }
        }
        let set = live.endpoints.load_full();
        set.endpoints[endpoint].cell.probed(well, &probe);
        self.look();
    }
}

/// The two times between probes.
struct Pace {
    calm: Duration,
    fast: Duration,
}

impl Pace {
    fn of(probe: &Probe) -> Self {
        let spare = probe.interval - probe.timeout;
        let fast = (spare / (probe.fall - 1)).min(probe.interval / 4);
        Self {
            calm: probe.interval,
            fast: fast.max(Duration::from_millis(250)),
        }
    }
}
