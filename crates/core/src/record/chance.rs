//! What was left to chance before a region was looked at: the upstream of a split, a fault, a copy.
//!
//! A record keeps what the route leaves to chance by its names, which all records of its requests share,
//! and the numbers by which it went for the one request: so it can be told without the plan, and what
//! is told is reckoned as it was for the request.

use std::sync::Arc;

use crate::action::Injected;
use crate::lot::Lot;
use crate::plan::{Fault, HashKey, Plan, Route};
use crate::route::RequestFacts;
use crate::split::score;
use crate::standing::Dial;

/// What a route leaves to chance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chances {
    /// The upstreams that it is split between; empty if it is not.
    pub split: Box<[Share]>,
    /// What it injects.
    pub fault: Fault,
    /// Which upstream gets a copy of some requests, and of how many.
    pub mirror: Option<(Arc<str>, Dial)>,
}

/// One upstream of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name.
    pub upstream: Arc<str>,
    /// Its weight.
    pub weight: u32,
}

/// The numbers by which chance went for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Its lot.
    pub lot: Lot,
    /// What its split went by. None: its route is not split, or what was hashed is not known any more.
    pub split: Option<Number>,
    /// Whether it may be copied as far as the request goes: it is neither a copy nor a tunnel. False if
    /// that is not known any more.
    pub copyable: bool,
}

/// The number that a split went by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// The number.
    pub value: u64,
    /// The part of the request that it is the hash of. None: it is of the lot.
    pub of: Option<HashKey>,
}

impl Chances {
    /// What `route` leaves to chance. None: nothing.
    pub fn of(plan: &Plan, route: &Route) -> Option<Arc<Self>> {
        let name = |at| plan.upstream(at).name.clone();
        let split = route.split.iter().flat_map(|split| &*split.targets);
        let chances = Self {
            split: split
                .map(|target| Share {
                    upstream: name(target.upstream),
                    weight: target.weight,
                })
                .collect(),
            fault: route
                .actions
                .as_ref()
                .map(|all| all.fault)
                .unwrap_or_default(),
            mirror: route
                .mirror
                .map(|mirror| (name(mirror.upstream), mirror.share)),
        };
        (chances != Self::default()).then(|| Arc::new(chances))
    }

    /// The part of all weights that this upstream has, 0 to 1.
    pub fn part(&self, share: &Share) -> f64 {
        f64::from(share.weight) / self.weights().max(1) as f64
    }

    fn weights(&self) -> u64 {
        self.split.iter().map(|one| u64::from(one.weight)).sum()
    }

    /// What each upstream of the split drew by this number, scaled so that the lowest, which wins, is 1 on
    /// average. Nothing is drawn for a weight of 0.
    pub fn scores(&self, number: u64) -> impl Iterator<Item = (&Share, f64)> {
        let all = self.weights();
        let weighty = self.split.iter().filter(|share| share.weight > 0);
        weighty.map(move |share| {
            let score = score(number, &share.upstream, share.weight);
            (share, score * all as f64)
        })
    }
}

impl Drawn {
    /// The numbers of `request`, which takes `route`. `copyable`: it is neither a copy nor a tunnel.
    pub fn of(
        lot: Lot,
        route: Option<&Route>,
        request: &impl RequestFacts,
        copyable: bool,
    ) -> Self {
        let split = route.and_then(|route| route.split.as_ref());
        let split = split.map(|split| {
            let (value, of) = split.number(request, || lot.split());
            let of = of.cloned();
            Number { value, of }
        });
        Self {
            lot,
            split,
            copyable,
        }
    }

    /// Those of a request that is not there any more.
    pub fn unseen(lot: Lot, route: Option<&Route>) -> Self {
        let split = route.and_then(|route| route.split.as_ref());
        let by_lot = split.filter(|split| split.hash_on.is_empty());
        Self {
            lot,
            split: by_lot.map(|_| Number {
                value: lot.split(),
                of: None,
            }),
            copyable: false,
        }
    }

    /// What was injected by a route that leaves this to chance.
    pub fn injected(&self, chances: Option<&Chances>) -> Injected {
        chances.map_or_else(Injected::default, |all| all.fault.draw(self.lot))
    }

    /// Who was to get a copy.
    pub fn copied_to<'a>(&self, chances: Option<&'a Chances>) -> Option<&'a Arc<str>> {
        let (to, share) = chances?.mirror.as_ref()?;
        (self.copyable && share.passes(self.lot.mirror())).then_some(to)
    }
}

impl Number {
    /// What the number is, in words.
    pub fn told(&self) -> String {
        match &self.of {
            Some(key) => format!("by the hash of {key}"),
            None => "by chance".to_owned(),
        }
    }
}
