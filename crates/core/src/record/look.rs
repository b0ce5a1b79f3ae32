//! A choice of which is kept what it was made of.

use std::sync::Arc;

use arrayvec::ArrayVec;
use fastrand::Rng;

use super::Record;
use crate::balance::{Notes, Seen, Sight};
use crate::cell::Allotment;
use crate::choose::{Ask, Choice, settle};
use crate::decision::{Because, Decision, RegionRow, View};
use crate::handle::LiveUpstream;
use crate::ids::{RegionIdx, RegionSet};
use crate::plan::Upstream;
use crate::sets::Loaded;
use crate::view;

/// The most endpoints whose addresses are kept with a choice.
const NAMES_MAX: usize = 32;

/// One decision: what it came to and, if that was kept, what it was made of.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The state of chance before the first draw.
    pub seed: u64,
    /// The regions in their order, and the others with their reasons.
    pub decision: Decision,
    /// The place that was chosen.
    pub chosen: Option<Chosen>,
    /// What it was made of. None: that was not kept.
    pub inputs: Option<Box<Inputs>>,
}

/// A place that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The region.
    pub region: RegionIdx,
    /// Why it.
    pub because: Because,
    /// The endpoint's position in its set.
    pub at: u32,
    /// Its address.
    pub endpoint: Arc<str>,
}

/// What a decision was made of, beside the plan and chance.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// What the request asked for.
    pub ask: Ask,
    /// Regions whose answers took longer than what was left.
    pub too_slow: RegionSet,
    /// What steering saw of each region, in the upstream's order.
    pub rows: Box<[RegionRow]>,
    /// Regions whose dial was an operator's.
    pub dialed: RegionSet,
    /// What else was known of each region, for plans whose policies ask for other things.
    pub allotments: Box<[Allotment]>,
    /// What balancing saw, in its order. None: more than is kept.
    pub seen: Option<Box<[Seen]>>,
    /// The endpoints of which it saw something: position of the region, position in its set, address.
    pub endpoints: Box<[(u8, u32, Arc<str>)]>,
}

/// Chooses as [`choose`](crate::choose()) does, and keeps what that is made of.
pub fn look(
    upstream: (&Upstream, &LiveUpstream),
    ask: &Ask,
    rng: &mut Rng,
) -> (Decision, Option<Choice>, Looked) {
    let (wanted, observed) = upstream;
    let (seed, notes) = (rng.get_seed(), Notes::default());
    let mut view = View {
        steering: &wanted.steering,
        rows: ArrayVec::new(),
    };
    view.fill(wanted, observed, &view::Look::of(ask), &Loaded);
    let eligibility = ask.eligibility_now(upstream);
    let rows: Box<[_]> = view.rows.as_slice().into();
    let (decision, choice) = settle(&mut view, eligibility, upstream, ask, rng, &notes);
    let seen = notes.into_seen();
    let regions = observed.regions.iter();
    let dialed = rows.iter().zip(&observed.regions);
    let dialed = dialed.filter(|(_, region)| region.cell.dial().is_some());
    let inputs = Inputs {
        ask: ask.clone(),
        too_slow: eligibility.too_slow,
        dialed: dialed.map(|(row, _)| row.region).collect(),
        allotments: regions.map(|region| region.cell.allotment()).collect(),
        endpoints: endpoints(
            seen.as_deref().unwrap_or_default(),
            observed,
            choice.as_ref(),
        ),
        rows,
        seen,
    };
    let looked = Looked {
        inputs: Some(Box::new(inputs)),
        ..Looked::unseen(seed, decision.clone(), choice.as_ref())
    };
    (decision, choice, looked)
}

/// The addresses of the endpoints of which something was seen.
fn endpoints(
    seen: &[Seen],
    observed: &LiveUpstream,
    choice: Option<&Choice>,
) -> Box<[(u8, u32, Arc<str>)]> {
    let mut found: Vec<(u8, u32, Arc<str>)> = Vec::new();
    let mut position = 0;
    for one in seen {
        if one.sight == Sight::Set {
            position = one.of as u8;
        }
        let known = |(region, at, _): &(u8, u32, _)| (*region, *at) == (position, one.of);
        if !one.sight.is_of_endpoint() || found.len() >= NAMES_MAX || found.iter().any(known) {
            continue;
        }
        let of_choice = choice.filter(|choice| choice.position == position);
        let address = |endpoints: &[crate::Endpoint]| {
            let endpoint = endpoints.get(one.of as usize);
            endpoint.map(|endpoint| endpoint.address.clone())
        };
        let address = match (of_choice, observed.regions.get(usize::from(position))) {
            (Some(choice), _) => address(&choice.set.endpoints),
            (None, Some(region)) => address(&region.endpoints.load().endpoints),
            (None, None) => None,
        };
        found.extend(address.map(|address| (position, one.of, address)));
    }
    found.into()
}

impl Looked {
    /// A decision of which is not kept what it was made of.
    pub fn unseen(seed: u64, decision: Decision, choice: Option<&Choice>) -> Self {
        Self {
            seed,
            decision,
            chosen: choice.map(Chosen::of),
            inputs: None,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.inputs.as_ref().map_or(0, |inputs| {
            size_of::<Inputs>()
                + size_of_val(&*inputs.rows)
                + size_of_val(&*inputs.allotments)
                + size_of_val(&*inputs.endpoints)
                + inputs.seen.as_ref().map_or(0, |seen| size_of_val(&**seen))
        })
    }
}

impl Chosen {
    /// What is kept of a choice.
    pub fn of(choice: &Choice) -> Self {
        Self {
            region: choice.region,
            because: choice.because,
            at: u32::try_from(choice.at).unwrap_or(u32::MAX),
            endpoint: choice.endpoint().address.clone(),
        }
    }
}

impl Inputs {
    /// The address of the endpoint at `at` of the region at `position`, if something was seen of it.
    pub fn address(&self, position: u8, at: u32) -> Option<&Arc<str>> {
        let mut endpoints = self.endpoints.iter();
        let found = endpoints.find(|(region, have, _)| (*region, *have) == (position, at));
        found.map(|(_, _, address)| address)
    }
}

impl Record {
    /// Whether every decision of it is kept with what it was made of.
    pub fn is_whole(&self) -> bool {
        self.decisions.iter().all(|looked| looked.inputs.is_some())
    }
}
