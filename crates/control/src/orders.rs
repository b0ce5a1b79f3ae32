//! What an operator orders of regions: drains, dials and the order in which they are asked, by name, for
//! every upstream that lives there, now or after a later reload.
//!
//! An order is an overlay: the plan stays as it is, and whoever looks sees who ordered what, why, since when
//! and until when. The cells on the board carry it for the data plane. The names are kept here as well,
//! because a reload may bring an upstream into a drained region, and it must come drained. One lock covers
//! orders, reloads and the question what would be left, so that two orders at the same moment cannot
//! together do what neither may. Orders survive reloads, and restarts if there is a state directory
//! ([`keep`]); what they name need not be in the plan. An order ends because somebody takes it back or
//! because its time is over, and both are told.

mod bereft;
mod book;
mod dial;
mod drain;
mod keep;
mod note;
mod order;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::Value;
use tidegate_core::{Board, Dial, Drain, InvalidStage, Live, Part, Plan, PlanHandle, Stage};
use tidegate_telemetry::{EventKind, Events};
use tokio::sync::Notify;

use crate::named::{self, Kind, Named, UnknownName};
use crate::origin::Author;
use crate::shared::Shared;

pub use bereft::{Bereft, Left};
pub use dial::{DialOrder, Dialed, InvalidDial, parse_dial};
pub use drain::{DrainOrder, Drained};
pub use note::Terms;

use book::{Book, Sequence};
use drain::Draining;
pub(crate) use drain::{Due, Pending, waiting};
use note::Note;
use order::{Order, What};

/// The orders that are in force.
#[derive(Debug, Default)]
pub struct Orders {
    book: Mutex<Book>,
    /// An order got a moment at which something happens by itself.
    deadline: Notify,
    /// Held by whoever writes them down.
    writing: Mutex<()>,
    /// Why they are not on the disk.
    unkept: Mutex<Option<String>>,
}

/// Why an order is not carried out. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is about something that the serving plan does not have.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// It is no order: twice the same region, or none.
    #[error("an order names every region once, and at least one")]
    NoOrder,
    /// It would leave something with nothing, and was not forced.
    #[error(transparent)]
    Bereft(#[from] Bereft),
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
        terms: &Terms,
        shared: &Shared,
        now: SystemTime,
    ) -> Result<Drained, Refused> {
        let mut book = self.lock();
        let live = shared.plan.newest();
        let before = book.drains.get(region).cloned();
        known(live.as_deref(), region, before.is_some())?;
        if !order.force && before.is_none() {
            bereft::check(live.as_deref(), region, |_, _| true)?;
        }
        let mut draining = before.clone().unwrap_or_else(|| Draining::new(terms, now));
        draining.follow(order, terms, now);
        book.drains.insert(region.into(), draining.clone());
        self.deadline.notify_one();
        let given = Order::drain(&region.into(), &draining);
        given.tell("given", &terms.author, &shared.events);
        let turn = Turn {
            before,
            after: Some(draining),
            by: &terms.author,
        };
        let drained = apply(live.as_deref(), region, turn, &shared.events, now);
        book.enter_all(shared);
        Ok(drained)
    }

    /// Ends the drain of `region`.
    ///
    /// # Errors
    /// [`Refused`] when the plan has no such region and none of that name is drained.
    pub fn undrain(
        &self,
        region: &str,
        by: &Author,
        shared: &Shared,
        now: SystemTime,
    ) -> Result<Drained, Refused> {
        let mut book = self.lock();
        let live = shared.plan.newest();
        known(live.as_deref(), region, book.drains.contains_key(region))?;
        let before = book.drains.remove(region);
        if let Some(before) = &before {
            let ended = Order::drain(&region.into(), before);
            ended.tell("taken_back", by, &shared.events);
        }
        let after = None;
        let turn = Turn { before, after, by };
        let drained = apply(live.as_deref(), region, turn, &shared.events, now);
        book.enter_all(shared);
        Ok(drained)
    }

    /// Dials `region` in every upstream of the serving plan, or in one only.
    ///
    /// # Errors
    /// [`Refused`] when the plan has no such region or upstream and no order is about them, or when
    /// something would be left with nothing and it is not forced.
    pub fn dial(
        &self,
        region: &str,
        order: DialOrder<'_>,
        terms: &Terms,
        shared: &Shared,
        now: SystemTime,
    ) -> Result<Dialed, Refused> {
        let DialOrder {
            upstream,
            to,
            force,
        } = order;
        let mut book = self.lock();
        let live = shared.plan.newest();
        let before = book.dials_of(region);
        known(live.as_deref(), region, !before.is_empty())?;
        let cells = live.as_deref().map(|live| named::regions(live, region));
        let is_ordered = before.iter().any(|one| one.what.is_dial_of(upstream));
        let cells = only(cells.unwrap_or_default(), upstream, is_ordered)?;
        if !force {
            let out = |name: &str, plans: Dial| {
                upstream.is_none_or(|upstream| upstream == name)
                    && to.unwrap_or(plans) == Dial::NONE
            };
            bereft::check(live.as_deref(), region, out)?;
        }
        let dialing = book.dials.entry(region.into()).or_default();
        dialing.set(upstream, to, Note::new(terms, now));
        if dialing.is_empty() {
            book.dials.remove(region);
        }
        self.deadline.notify_one();
        tell_dials(&before, &book.dials_of(region), &terms.author, shared);
        let word = (region, to);
        let dialing = book.dials.get(region);
        let dialed = dial::apply(word, dialing, &cells, &terms.author, &shared.events);
        book.enter_all(shared);
        Ok(dialed)
    }

    /// Puts the regions of `upstream` into this order: they come first, as far as they may be used, then the
    /// others as the plan has them.
    ///
    /// # Errors
    /// [`Refused`] when the plan has no such upstream, or it does not live in one of the regions.
    pub fn order(
        &self,
        upstream: &str,
        regions: &[&str],
        terms: &Terms,
        shared: &Shared,
        now: SystemTime,
    ) -> Result<Value, Refused> {
        let mut book = self.lock();
        let live = shared.plan.newest();
        let lives_in = regions_of(live.as_deref(), upstream)?;
        for (at, region) in regions.iter().enumerate() {
            if !lives_in.iter().any(|known| **known == **region) {
                return Err(UnknownName::region(region, lives_in).into());
            }
            if regions[..at].contains(region) {
                return Err(Refused::NoOrder);
            }
        }
        if regions.is_empty() {
            return Err(Refused::NoOrder);
        }
        let sequence = Sequence {
            regions: regions.iter().map(|region| (*region).into()).collect(),
            note: Note::new(terms, now),
        };
        book.sequences.insert(upstream.into(), sequence);
        self.deadline.notify_one();
        book.enter_all(shared);
        let given = book.order_of(upstream);
        if let Some(given) = &given {
            given.tell("given", &terms.author, &shared.events);
        }
        Ok(given.map_or(Value::Null, |given| given.to_json(live.as_deref(), now)))
    }

    /// Takes the order of the regions of `upstream` back; says which it was, null when there was none.
    ///
    /// # Errors
    /// [`Refused`] when the plan has no such upstream and no order is about it.
    pub fn unorder(
        &self,
        upstream: &str,
        by: &Author,
        shared: &Shared,
        now: SystemTime,
    ) -> Result<Value, Refused> {
        let mut book = self.lock();
        let live = shared.plan.newest();
        let Some(ended) = book.order_of(upstream) else {
            regions_of(live.as_deref(), upstream)?;
            return Ok(Value::Null);
        };
        book.remove(&ended.what);
        book.enter_all(shared);
        ended.tell("taken_back", by, &shared.events);
        Ok(ended.to_json(live.as_deref(), now))
    }

    /// Every order in force: drains, dials, orders of regions.
    pub(crate) fn list(&self) -> Vec<Order> {
        self.lock().list()
    }

    /// Lets `plan` serve with every order in force from the first request.
    pub(crate) fn activate(
        &self,
        plan: Arc<Plan>,
        handle: &PlanHandle,
        board: &Board,
    ) -> Arc<Live> {
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
    pub(crate) fn pending(&self, now: SystemTime) -> BTreeMap<Arc<str>, Pending> {
        let book = self.lock();
        let told = book.drains.iter();
        told.map(|(region, draining)| (region.clone(), draining.pending(now)))
            .collect()
    }

    /// When something happens by itself next; none while nothing will.
    pub(crate) fn next_deadline(&self) -> Option<SystemTime> {
        self.lock().next()
    }

    /// Waits until there may be another deadline.
    pub(crate) async fn new_deadline(&self) {
        self.deadline.notified().await;
    }

    /// Hurries the drains whose deadline has passed; says what was under way there.
    pub(crate) fn hurry(&self, shared: &Shared, now: SystemTime) -> Vec<Due> {
        let mut book = self.lock();
        let live = shared.plan.newest();
        let mut due = Vec::new();
        for (region, draining) in &mut book.drains {
            if draining.deadline.is_some_and(|deadline| deadline <= now) {
                let before = Some(draining.clone());
                draining.hurry();
                let after = Some(draining.clone());
                let cells = live.as_deref().map(|live| named::regions(live, region));
                due.extend(cells.iter().flatten().map(|named| Due::of(region, named)));
                let by = &draining.note.author.clone();
                let turn = Turn { before, after, by };
                apply(live.as_deref(), region, turn, &shared.events, now);
            }
        }
        if !due.is_empty() {
            book.enter_all(shared);
        }
        due
    }

    /// Takes back the orders whose time is over; says whether there were any.
    pub(crate) fn expire(&self, shared: &Shared, now: SystemTime) -> bool {
        let mut book = self.lock();
        let live = shared.plan.newest();
        let over = book.over(now);
        let by = Author::itself("its time is over");
        for order in &over {
            let before = match &order.what {
                What::Drain { region, .. } => book.drains.get(region).cloned(),
                _ => None,
            };
            book.remove(&order.what);
            order.tell("expired", &by, &shared.events);
            book.tell_cells(order, before, live.as_deref(), &by, shared);
        }
        if !over.is_empty() {
            book.enter_all(shared);
        }
        !over.is_empty()
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

/// Those of this upstream, or all. One that an order is about need not be there.
fn only<'a>(
    mut cells: Vec<Named<'a>>,
    upstream: Option<&str>,
    is_ordered: bool,
) -> Result<Vec<Named<'a>>, UnknownName> {
    let Some(upstream) = upstream else {
        return Ok(cells);
    };
    let names = cells.iter().map(|named| named.upstream.clone()).collect();
    cells.retain(|named| *named.upstream == *upstream);
    match cells.is_empty() && !is_ordered {
        true => Err(UnknownName::new(Kind::Upstream, upstream, names)),
        false => Ok(cells),
    }
}

/// The regions in which the plan has `upstream`.
fn regions_of(live: Option<&Live>, upstream: &str) -> Result<Vec<Arc<str>>, UnknownName> {
    let upstreams = || live.into_iter().flat_map(|live| &*live.plan.upstreams);
    let Some((live, wanted)) = live.zip(upstreams().find(|one| *one.name == *upstream)) else {
        let names = upstreams().map(|one| one.name.clone()).collect();
        return Err(UnknownName::new(Kind::Upstream, upstream, names));
    };
    let regions = wanted.regions.iter();
    let names = regions.map(|spec| live.plan.region(spec.region).name.clone());
    Ok(names.collect())
}

/// Tells which orders about a region have gone, and which are new.
fn tell_dials(before: &[Order], after: &[Order], by: &Author, shared: &Shared) {
    for ended in before {
        if !after.iter().any(|order| order.what.is_about(&ended.what)) {
            ended.tell("taken_back", by, &shared.events);
        }
    }
    for given in after.iter().filter(|order| !before.contains(order)) {
        given.tell("given", by, &shared.events);
    }
}

/// How a region was drained, and how it is, by whom.
struct Turn<'a> {
    before: Option<Draining>,
    after: Option<Draining>,
    by: &'a Author,
}

/// Tells the cells of the region how it is drained now. Another deadline is news as well.
fn apply(
    live: Option<&Live>,
    region: &str,
    turn: Turn<'_>,
    events: &Events,
    now: SystemTime,
) -> Drained {
    let cells = live.map(|live| named::regions(live, region));
    let cells = cells.unwrap_or_default();
    let after = turn.after.as_ref();
    let drain = after.map_or(Drain::No, |draining| draining.pace);
    let deadline =
        |draining: &Option<Draining>| draining.as_ref().and_then(|draining| draining.deadline);
    let deadline_s = after.and_then(|draining| draining.pending(now).deadline_s);
    let postponed = deadline(&turn.before) != deadline(&turn.after);
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
                who: turn.by.who.clone(),
                reason: turn.by.reason.clone(),
            });
        }
    }
    Drained::of(region, drain, deadline_s, changed, cells)
}
