//! The orders that are in force, by what they are about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tidegate_core::{Board, Dial, Drain, Live, Plan};

use super::dial::{self, Dialing};
use super::drain::Draining;
use super::note::Note;
use super::order::{Order, What};
use super::{Turn, apply};
use crate::named;
use crate::origin::Author;
use crate::shared::Shared;

#[derive(Debug, Default)]
pub(super) struct Book {
    /// By region.
    pub(super) drains: BTreeMap<Arc<str>, Draining>,
    /// By region.
    pub(super) dials: BTreeMap<Arc<str>, Dialing>,
    /// By upstream.
    pub(super) sequences: BTreeMap<Arc<str>, Sequence>,
}

/// The order of an upstream's regions.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) regions: Vec<Arc<str>>,
    pub(super) note: Note,
}

impl Sequence {
    fn of(&self, upstream: &Arc<str>) -> Order {
        let what = What::Order {
            upstream: upstream.clone(),
            regions: self.regions.clone(),
        };
        let note = self.note.clone();
        Order { what, note }
    }

    fn place(&self, region: &str) -> Option<u8> {
        let place = self.regions.iter().position(|known| **known == *region);
        place.and_then(|place| u8::try_from(place).ok())
    }
}

impl Book {
    /// Gives the cells of a plan's regions the orders that are in force there.
    pub(super) fn enter(&self, plan: &Plan, board: &Board) {
        for upstream in &plan.upstreams {
            let sequence = self.sequences.get(&upstream.name);
            for spec in &upstream.regions {
                let region = &plan.region(spec.region).name;
                let cell = board.region(&upstream.name, region);
                let draining = self.drains.get(region);
                cell.set_drain(draining.map_or(Drain::No, |draining| draining.pace));
                let dialing = self.dials.get(region);
                cell.set_dial(dialing.and_then(|dialing| dialing.of(&upstream.name)));
                cell.set_place(sequence.and_then(|sequence| sequence.place(region)));
            }
        }
    }

    /// The same for the plan that serves, and for one that serves a part beside it: it may have cells of
    /// its own.
    pub(super) fn enter_all(&self, shared: &Shared) {
        if let Some(live) = shared.plan.newest() {
            self.enter(&live.plan, &shared.board);
        }
        if let Some(stage) = &*shared.plan.stage() {
            self.enter(&stage.live.plan, &shared.board);
        }
    }

    /// Every order: drains, dials, orders of regions.
    pub(super) fn list(&self) -> Vec<Order> {
        let drains = self.drains.iter();
        let mut all: Vec<_> = drains
            .map(|(region, draining)| Order::drain(region, draining))
            .collect();
        for (region, dialing) in &self.dials {
            all.extend(dialing.list(region));
        }
        let sequences = self.sequences.iter();
        all.extend(sequences.map(|(upstream, sequence)| sequence.of(upstream)));
        all
    }

    /// The orders about the dial of `region`.
    pub(super) fn dials_of(&self, region: &str) -> Vec<Order> {
        let dialing = self.dials.get_key_value(region);
        dialing.map_or_else(Vec::new, |(region, dialing)| dialing.list(region))
    }

    /// The order of the regions of `upstream`.
    pub(super) fn order_of(&self, upstream: &str) -> Option<Order> {
        let (upstream, sequence) = self.sequences.get_key_value(upstream)?;
        Some(sequence.of(upstream))
    }

    /// Tells the cells that `order` has ended; `before` is the drain that it was.
    pub(super) fn tell_cells(
        &self,
        order: &Order,
        before: Option<Draining>,
        live: Option<&Live>,
        by: &Author,
        shared: &Shared,
    ) {
        let events = &shared.events;
        match &order.what {
            What::Drain { region, .. } => {
                let after = None;
                let turn = Turn { before, after, by };
                apply(live, region, turn, events, SystemTime::now());
            }
            What::Dial { region, .. } => {
                let cells = live.map(|live| named::regions(live, region));
                let dialing = self.dials.get(region);
                let cells = cells.unwrap_or_default();
                dial::apply((region, None), dialing, &cells, by, events);
            }
            // No event tells more than that of the order.
            What::Order { .. } => {}
        }
    }

    /// Puts an order in force without a word to anybody.
    pub(super) fn put(&mut self, order: Order) {
        let Order { what, note } = order;
        match what {
            What::Drain {
                region,
                now,
                deadline,
            } => {
                let pace = if now { Drain::Now } else { Drain::Soft };
                let draining = Draining {
                    pace,
                    deadline,
                    note,
                };
                self.drains.insert(region, draining);
            }
            What::Dial {
                region,
                upstream,
                to,
            } => {
                let dialing = self.dials.entry(region).or_default();
                dialing.put(upstream, to.map(Dial::new), note);
            }
            What::Order { upstream, regions } => {
                self.sequences.insert(upstream, Sequence { regions, note });
            }
        }
    }

    /// Takes an order out, and nothing else that is about the same.
    pub(super) fn remove(&mut self, what: &What) {
        match what {
            What::Drain { region, .. } => drop(self.drains.remove(region)),
            What::Dial {
                region, upstream, ..
            } => {
                let Some(dialing) = self.dials.get_mut(region) else {
                    return;
                };
                dialing.remove(upstream.as_deref());
                if dialing.is_empty() {
                    self.dials.remove(region);
                }
            }
            What::Order { upstream, .. } => drop(self.sequences.remove(upstream)),
        }
    }

    /// The orders whose time is over.
    pub(super) fn over(&self, now: SystemTime) -> Vec<Order> {
        let mut all = self.list();
        all.retain(|order| order.note.is_over(now));
        all
    }

    /// When the next drain is due, or an order's time is over.
    pub(super) fn next(&self) -> Option<SystemTime> {
        let deadlines = self.drains.values().filter_map(|drain| drain.deadline);
        let expiries = self.list().into_iter().filter_map(|one| one.note.expires);
        deadlines.chain(expiries).min()
    }
}
