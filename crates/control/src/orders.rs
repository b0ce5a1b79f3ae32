//! What an operator orders of regions: drains and dials, by name, for every upstream that lives there,
//! now or after a later reload.
//!
//! The cells on the board carry an order for the data plane. The names are kept here as well, because
//! a reload may bring an upstream into a drained region, and it must come drained. One lock covers
//! orders, reloads and the question what would be left, so that two orders at the same moment cannot
//! together do what neither may. Orders survive reloads, not restarts.

mod bereft;
mod dial;
mod drain;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tidegate_core::{Board, Dial, Drain, InvalidStage, Live, Part, Plan, PlanHandle, Stage};
use tidegate_telemetry::{EventKind, Events};
use tokio::sync::Notify;

use crate::named::{self, Kind, Named, UnknownName};
use crate::shared::Shared;

pub use bereft::{Bereft, Left};
pub use dial::{Dialed, InvalidDial, parse_dial};
pub use drain::{DrainOrder, Drained};

use dial::Dialing;
use drain::Draining;
pub(crate) use drain::{Due, Pending, waiting};

/// The orders that are in force.
#[derive(Debug, Default)]
pub struct Orders {
    book: Mutex<Book>,
    /// A drain got a deadline.
    deadline: Notify,
}

/// By region.
#[derive(Debug, Default)]
struct Book {
    drains: BTreeMap<Arc<str>, Draining>,
    dials: BTreeMap<Arc<str>, Dialing>,
}

/// Why an order is not carried out. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is about something that the serving plan does not have.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// It would leave something with nothing, and was not forced.
    #[error(transparent)]
    Bereft(#[from] Bereft),
}

impl Book {
    /// Gives the cells of a plan's regions the orders that are in force there.
    fn enter(&self, plan: &Plan, board: &Board) {
        for upstream in &plan.upstreams {
            for spec in &upstream.regions {
                let region = &plan.region(spec.region).name;
                let cell = board.region(&upstream.name, region);
                let draining = self.drains.get(region);
                cell.set_drain(draining.map_or(Drain::No, |draining| draining.pace));
                let dialing = self.dials.get(region);
                cell.set_dial(dialing.and_then(|dialing| dialing.of(&upstream.name)));
            }
        }
    }

    /// The same for a plan that serves a part beside the other: it may have cells of its own.
    fn enter_staged(&self, shared: &Shared) {
        if let Some(stage) = &*shared.plan.stage() {
            self.enter(&stage.live.plan, &shared.board);
        }
    }
}

impl Orders {
    /// The drained regions, sorted.
    pub fn drained(&self) -> Vec<Arc<str>> {
        self.lock().drains.keys().cloned().collect()
    }

    /// Drains `region` in every upstream of the serving plan, at least so fast as before.
    ///
    /// # Errors
    /// [`Refused`] when the plan has no such region and none of that name is drained, or when something
    /// would be left with nothing and `order` does not force it.
    pub fn drain(
        &self,
        region: &str,
        order: DrainOrder,
        shared: &Shared,
        now: Instant,
    ) -> Result<Drained, Refused> {
        let mut book = self.lock();
        let live = shared.plan.newest();
        let is_drained = |book: &Book| book.drains.contains_key(region);
        known(live.as_deref(), region, is_drained(&book))?;
        if !order.force && !is_drained(&book) {
            bereft::check(live.as_deref(), region, |_, _| true)?;
        }
        let before = book.drains.get(region).copied();
        let draining = book.drains.entry(region.into()).or_default();
        draining.follow(order, now);
        let turn = Turn {
            before,
            after: Some(*draining),
        };
        self.deadline.notify_one();
        book.enter_staged(shared);
        Ok(apply(live.as_deref(), region, turn, &shared.events, now))
    }

    /// Ends the drain of `region`.
    ///
    /// # Errors
    /// [`Refused`] when the plan has no such region and none of that name is drained.
    pub fn undrain(&self, region: &str, shared: &Shared, now: Instant) -> Result<Drained, Refused> {
        let mut book = self.lock();
        let live = shared.plan.newest();
        known(live.as_deref(), region, book.drains.contains_key(region))?;
        let turn = Turn {
            before: book.drains.remove(region),
            after: None,
        };
        book.enter_staged(shared);
        Ok(apply(live.as_deref(), region, turn, &shared.events, now))
    }

    /// Dials `region` to `to` in every upstream of the serving plan, or in this one only; without `to`
    /// that is left to the plan again. A word on all upstreams takes back those on single ones.
    ///
    /// # Errors
    /// [`Refused`] when the plan has no such region or upstream, or when something would be left with
    /// nothing and it is not forced.
    pub fn dial(
        &self,
        region: &str,
        upstream: Option<&str>,
        to: Option<Dial>,
        force: bool,
        shared: &Shared,
    ) -> Result<Dialed, Refused> {
        let mut book = self.lock();
        let live = shared.plan.newest();
        known(live.as_deref(), region, book.dials.contains_key(region))?;
        let cells = live.as_deref().map(|live| named::regions(live, region));
        let cells = only(cells.unwrap_or_default(), upstream)?;
        if !force {
            let out = |name: &str, plans: Dial| {
                upstream.is_none_or(|upstream| upstream == name)
                    && to.unwrap_or(plans) == Dial::NONE
            };
            bereft::check(live.as_deref(), region, out)?;
        }
        let dialing = book.dials.entry(region.into()).or_default();
        dialing.set(upstream, to);
        if dialing.is_empty() {
            book.dials.remove(region);
        }
        book.enter_staged(shared);
        Ok(dial::apply(region, to, &cells, &shared.events))
    }

    /// Lets `plan` serve with every order in force from the first request.
    pub(crate) fn activate(&self, plan: Plan, handle: &PlanHandle, board: &Board) -> Arc<Live> {
        let book = self.lock();
        book.enter(&plan, board);
        handle.activate(plan, board)
    }

    /// Lets `plan` serve a part beside the plan that serves, with every order in force.
    ///
    /// # Errors
    /// [`InvalidStage`] when nothing serves, or the part is none of the plan's.
    pub(crate) fn stage(
        &self,
        plan: Arc<Plan>,
        part: Part,
        handle: &PlanHandle,
        board: &Board,
    ) -> Result<Arc<Stage>, InvalidStage> {
        let book = self.lock();
        book.enter(&plan, board);
        handle.stage_plan(plan, part, board)
    }

    /// Lets `plan`, which serves a share, serve everything, with every order in force. None when no plan
    /// serves a share.
    pub(crate) fn promote(
        &self,
        plan: &Plan,
        handle: &PlanHandle,
        board: &Board,
    ) -> Option<Arc<Live>> {
        let book = self.lock();
        book.enter(plan, board);
        handle.promote(board)
    }

    /// Until when the drained regions have time, and how they are drained.
    pub(crate) fn pending(&self, now: Instant) -> BTreeMap<Arc<str>, Pending> {
        let book = self.lock();
        let told = book.drains.iter();
        told.map(|(region, draining)| (region.clone(), draining.pending(now)))
            .collect()
    }

    /// The next deadline; none while no drain has one.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let book = self.lock();
        book.drains
            .values()
            .filter_map(|drain| drain.deadline)
            .min()
    }

    /// Waits until there may be another deadline.
    pub(crate) async fn new_deadline(&self) {
        self.deadline.notified().await;
    }

    /// Hurries the drains whose deadline has passed; says what was under way there.
    pub(crate) fn hurry(&self, shared: &Shared, now: Instant) -> Vec<Due> {
        let mut book = self.lock();
        let live = shared.plan.newest();
        let mut due = Vec::new();
        for (region, draining) in &mut book.drains {
            if draining.deadline.is_some_and(|deadline| deadline <= now) {
                let before = Some(*draining);
                draining.hurry();
                let after = Some(*draining);
                let cells = live.as_deref().map(|live| named::regions(live, region));
                due.extend(cells.iter().flatten().map(|named| Due::of(region, named)));
                let turn = Turn { before, after };
                apply(live.as_deref(), region, turn, &shared.events, now);
            }
        }
        if !due.is_empty() {
            book.enter_staged(shared);
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a region that neither the plan has nor an order is about.
fn known(live: Option<&Live>, region: &str, ordered: bool) -> Result<(), UnknownName> {
    let regions = live.into_iter().flat_map(|live| &*live.plan.regions);
    let names: Vec<_> = regions.map(|region| region.name.clone()).collect();
    match ordered || names.iter().any(|name| **name == *region) {
        true => Ok(()),
        false => Err(UnknownName::region(region, names)),
    }
}

/// Those of this upstream, or all.
fn only<'a>(
    mut cells: Vec<Named<'a>>,
    upstream: Option<&str>,
) -> Result<Vec<Named<'a>>, UnknownName> {
    let Some(upstream) = upstream else {
        return Ok(cells);
    };
    let names = cells.iter().map(|named| named.upstream.clone()).collect();
    cells.retain(|named| *named.upstream == *upstream);
    match cells.is_empty() {
        true => Err(UnknownName::new(Kind::Upstream, upstream, names)),
        false => Ok(cells),
    }
}

/// How a region was drained, and how it is.
struct Turn {
    before: Option<Draining>,
    after: Option<Draining>,
}

/// Tells the cells of the region how it is drained now. Another deadline is news as well.
fn apply(live: Option<&Live>, region: &str, turn: Turn, events: &Events, now: Instant) -> Drained {
    let cells = live.map(|live| named::regions(live, region));
    let cells = cells.unwrap_or_default();
    let drain = turn.after.map_or(Drain::No, |draining| draining.pace);
    let deadline = |draining: Option<Draining>| draining.and_then(|draining| draining.deadline);
    let deadline_s = turn
        .after
        .and_then(|draining| draining.pending(now).deadline_s);
    let postponed = deadline(turn.before) != deadline(turn.after);
    let mut changed = false;
    for named in &cells {
        if named.region.cell.set_drain(drain) | postponed {
            changed = true;
            events.record(EventKind::Drain {
                upstream: named.upstream.clone(),
                region: region.into(),
                draining: drain != Drain::No,
                now: drain == Drain::Now,
                deadline_s,
            });
        }
    }
    Drained::of(region, drain, deadline_s, changed, cells)
}
