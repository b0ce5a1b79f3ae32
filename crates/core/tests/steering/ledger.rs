//! What happened in a world: shares by second, times, switches, overload.

use std::time::Duration;

use crate::scene::Scene;

/// Seconds over which a PoP's main region is found.
const WINDOW: usize = 5;
/// The main region has changed once another one leads by this part of the requests.
const LEAD: f64 = 0.25;
/// A region whose queue is longer is overloaded.
const QUEUE: Duration = Duration::from_millis(100);

/// One second of one world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Second {
    /// Requests that came in.
    pub(crate) demand: u32,
    /// First attempts, by region.
    pub(crate) first: Vec<u32>,
    /// Attempts, by region.
    pub(crate) attempts: Vec<u32>,
    /// The same by PoP and region.
    pub(crate) by_pop: Vec<Vec<u32>>,
    /// Whether each region was overloaded for some of it.
    pub(crate) overloaded: Vec<bool>,
    /// Requests that were lost.
    pub(crate) lost: u32,
}

/// All of one world.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pub(crate) seconds: Vec<Second>,
    /// Milliseconds until the answer, as clients saw it.
    pub(crate) took: Vec<f32>,
    pub(crate) requests: u64,
    pub(crate) rescued: u64,
    pub(crate) lost: u64,
    /// Clients that came back to another region than the last time.
    pub(crate) moved: u64,
}

impl Ledger {
    pub(crate) fn new(scene: &Scene) -> Self {
        let (regions, pops) = (scene.regions.len(), scene.pops.len());
        let second = Second {
            first: vec![0; regions],
            attempts: vec![0; regions],
            by_pop: vec![vec![0; regions]; pops],
            overloaded: vec![false; regions],
            ..Second::default()
        };
        Self {
            seconds: vec![second; scene.length.as_secs() as usize + 1],
            took: Vec::new(),
            requests: 0,
            rescued: 0,
            lost: 0,
            moved: 0,
        }
    }

    pub(crate) fn second(&mut self, now: Duration) -> &mut Second {
        let last = self.seconds.len() - 1;
        &mut self.seconds[(now.as_secs() as usize).min(last)]
    }

    pub(crate) fn attempted(&mut self, now: Duration, pop: usize, region: usize, first: bool) {
        let second = self.second(now);
        second.attempts[region] += 1;
        if first {
            second.first[region] += 1;
            second.by_pop[pop][region] += 1;
        }
    }

    pub(crate) fn waits(&mut self, now: Duration, region: usize, queue: Duration) {
        if queue > QUEUE {
            self.second(now).overloaded[region] = true;
        }
    }

    /// Region-seconds of overload, from second `from` on.
    pub(crate) fn overload(&self, from: usize) -> usize {
        let seconds = self.seconds.iter().skip(from);
        let of = |second: &Second| second.overloaded.iter().filter(|over| **over).count();
        seconds.map(of).sum()
    }

    /// The part of the first attempts that went to a region in these seconds.
    pub(crate) fn share(&self, region: usize, seconds: std::ops::Range<usize>) -> f64 {
        let seconds = &self.seconds[seconds];
        let of: u32 = seconds.iter().map(|second| second.first[region]).sum();
        let all: u32 = seconds.iter().flat_map(|second| &second.first).sum();
        f64::from(of) / f64::from(all.max(1))
    }

    /// Requests a second that went to a region in these seconds.
    pub(crate) fn rate(&self, region: usize, seconds: std::ops::Range<usize>) -> f64 {
        let count = seconds.len().max(1) as f64;
        let of: u32 = self.seconds[seconds]
            .iter()
            .map(|second| second.attempts[region])
            .sum();
        f64::from(of) / count
    }

    /// When the main region of a PoP changed: second, PoP, from, to.
    pub(crate) fn switches(&self) -> Vec<(usize, usize, usize, usize)> {
        let pops = self.seconds.first().map_or(0, |second| second.by_pop.len());
        (0..pops).flat_map(|pop| self.switches_of(pop)).collect()
    }

    fn switches_of(&self, pop: usize) -> Vec<(usize, usize, usize, usize)> {
        let (mut main, mut switches) = (None, Vec::new());
        for (at, window) in self.seconds.chunks(WINDOW).enumerate() {
            let regions = window[0].by_pop[pop].len();
            let count = |region: usize| -> u32 {
                window.iter().map(|second| second.by_pop[pop][region]).sum()
            };
            let all = (0..regions).map(count).sum::<u32>().max(1);
            let leader = (0..regions)
                .max_by_key(|region| count(*region))
                .unwrap_or(0);
            let share = |region| f64::from(count(region)) / f64::from(all);
            match main {
                None => main = Some(leader),
                Some(old) if old != leader && share(leader) > share(old) + LEAD => {
                    switches.push((at * WINDOW, pop, old, leader));
                    main = Some(leader);
                }
                Some(_) => {}
            }
        }
        switches
    }

    /// The milliseconds that this part of the answers took at most.
    pub(crate) fn quantile(&self, part: f64) -> f32 {
        let mut took = self.took.clone();
        took.sort_unstable_by(f32::total_cmp);
        let at = (took.len() as f64 * part) as usize;
        took.get(at.min(took.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f32::NAN)
    }
}
