//! What a virtual world consists of, and what happens in it.

use std::time::Duration;

use tidegate_core::Dial;
use tidegate_core::plan::{Location, Standby, Steering};

/// A world: regions, PoPs with their clients, and events.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// For titles and file names.
    pub(crate) name: &'static str,
    /// What is shown, in one line.
    pub(crate) about: &'static str,
    pub(crate) steering: Steering,
    pub(crate) regions: Vec<RegionSpec>,
    pub(crate) pops: Vec<PopSpec>,
    /// In the order of their times.
    pub(crate) events: Vec<(Duration, Event)>,
    pub(crate) length: Duration,
    /// Demand swings by this part of its mean, once a day of so long.
    pub(crate) swing: f64,
    pub(crate) day: Duration,
    /// Spread of measured round trips, as a part of the true one.
    pub(crate) noise: f64,
    /// Clients come back with the same hash so often (affinity, `hash_on`): this many of them a PoP.
    pub(crate) clients: Option<u64>,
}

/// A region as it really is.
#[derive(Clone, Debug)]
pub(crate) struct RegionSpec {
    pub(crate) name: &'static str,
    /// What its operator promises, in requests a second.
    pub(crate) capacity_rps: f64,
    /// What it really serves before a queue builds up.
    pub(crate) limit_rps: f64,
    pub(crate) service: Duration,
    pub(crate) endpoints: usize,
    pub(crate) weight: u32,
    pub(crate) tier: u16,
    pub(crate) standby: Standby,
    pub(crate) dial: Dial,
    pub(crate) location: Option<Location>,
    /// Whether the configuration tells its capacity.
    pub(crate) told: bool,
}

/// A PoP, and the demand of the clients near it.
#[derive(Clone, Debug)]
pub(crate) struct PopSpec {
    pub(crate) name: &'static str,
    /// Mean requests a second.
    pub(crate) rate: f64,
    /// Where in its day it starts, 0 to 1.
    pub(crate) phase: f64,
    /// Milliseconds to each region and back.
    pub(crate) rtt_ms: Vec<f64>,
    /// Its part of each region's capacity.
    pub(crate) pop_shares: Vec<f64>,
    /// Where its clients are.
    pub(crate) clients: Option<Location>,
}

/// What happens to a region or to demand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// The region answers nothing any more, and refuses nothing either.
    Silent(usize),
    /// The region refuses connections.
    Down(usize),
    /// It works again.
    Up(usize),
    /// So many parts of its endpoints die.
    Fewer(usize, f64),
    /// Demand is multiplied.
    Demand(f64),
    /// The way from a PoP to a region changes, in milliseconds of round trip.
    Way(usize, usize, f64),
    /// An operator dials a region.
    Dial(usize, f64),
}

impl Scene {
    /// Three regions of 150 requests a second each and three PoPs beside them, with a day of five
    /// minutes and little to do.
    pub(crate) fn usual(name: &'static str, steering: impl Into<Steering>) -> Self {
        let region = |name, latitude, longitude| RegionSpec {
            name,
            capacity_rps: 150.0,
            limit_rps: 190.0,
            service: Duration::from_millis(20),
            endpoints: 4,
            weight: 1,
            tier: 0,
            standby: Standby::Hot,
            dial: Dial::FULL,
            location: Some(Location {
                latitude,
                longitude,
            }),
            told: true,
        };
        let pop = |name, phase, rtt_ms: [f64; 3]| PopSpec {
            name,
            rate: 60.0,
            phase,
            rtt_ms: rtt_ms.to_vec(),
            // Most of the region beside it, and something of the others.
            pop_shares: rtt_ms.map(|ms| if ms < 60.0 { 0.6 } else { 0.2 }).to_vec(),
            clients: None,
        };
        Self {
            name,
            about: "",
            steering: steering.into(),
            regions: vec![
                region("eu-west", 53.3, -6.3),
                region("us-east", 39.0, -77.5),
                region("ap-south", 19.1, 72.9),
            ],
            pops: vec![
                pop("fra", 0.0, [25.0, 90.0, 120.0]),
                pop("nyc", 0.33, [75.0, 8.0, 200.0]),
                pop("sin", 0.66, [160.0, 220.0, 55.0]),
            ],
            events: Vec::new(),
            length: Duration::from_secs(300),
            swing: 0.0,
            day: Duration::from_secs(300),
            noise: 0.1,
            clients: None,
        }
    }

    pub(crate) fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    pub(crate) fn at(mut self, seconds: u64, event: Event) -> Self {
        self.events.push((Duration::from_secs(seconds), event));
        self
    }

    pub(crate) fn swinging(mut self, swing: f64) -> Self {
        self.swing = swing;
        self
    }

    pub(crate) fn regions(mut self, change: impl Fn(usize, &mut RegionSpec)) -> Self {
        let regions = self.regions.iter_mut().enumerate();
        regions.for_each(|(at, region)| change(at, region));
        self
    }

    pub(crate) fn pops(mut self, change: impl Fn(usize, &mut PopSpec)) -> Self {
        let pops = self.pops.iter_mut().enumerate();
        pops.for_each(|(at, pop)| change(at, pop));
        self
    }

    /// One PoP alone, whose part of every region is all of it.
    pub(crate) fn alone(mut self, pop: usize, rate: f64) -> Self {
        let mut only = self.pops.swap_remove(pop);
        only.rate = rate;
        only.pop_shares.fill(1.0);
        self.pops = vec![only];
        self
    }
}

impl Event {
    /// In a few words.
    pub(crate) fn told(&self, scene: &Scene) -> String {
        let name = |region: &usize| scene.regions[*region].name;
        match self {
            Self::Silent(region) => format!("{} falls silent", name(region)),
            Self::Down(region) => format!("{} dies", name(region)),
            Self::Up(region) => format!("{} is back", name(region)),
            Self::Fewer(region, part) if *part == 0.0 => format!("{} is whole", name(region)),
            Self::Fewer(region, part) => format!("{} loses {:.0} %", name(region), part * 100.0),
            Self::Demand(times) => format!("demand x {times}"),
            Self::Way(pop, region, ms) => {
                format!("{} to {}: {ms} ms", scene.pops[*pop].name, name(region))
            }
            Self::Dial(region, to) => format!("{} dialed to {:.0} %", name(region), to * 100.0),
        }
    }
}
