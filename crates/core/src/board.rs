//! What is observed, by stable identity.
//!
//! The board hands out cells: the same `Arc` for the same (upstream, region, address), however many
//! plans come and go. Look-ups by name take a lock and happen when a plan is bound or discovery
//! changes a set, never for a request.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::budget::Budget;
use crate::cell::{Changes, EndpointCell, RegionCell};
use crate::endpoint::EndpointSlot;
use crate::hedge::HedgeCell;
use crate::news::News;

type Name = Arc<str>;

/// The store of observed state. One per process.
#[derive(Debug)]
pub struct Board {
    origin: Instant,
    regions: Store<(Name, Name), RegionCell>,
    endpoints: Store<(Name, Name, Name), EndpointCell>,
    changes: Store<(Name, Name), Changes>,
    slots: Store<(Name, Name), EndpointSlot>,
    budgets: Store<Name, Budget>,
    hedges: Store<Name, HedgeCell>,
    news: News,
}

#[derive(Debug)]
struct Store<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K: Hash + Eq + Clone, V> Store<K, V> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn get_or_insert(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        self.lock()
            .entry(key)
            .or_insert_with(|| Arc::new(make()))
            .clone()
    }

    fn all(&self) -> Vec<(K, Arc<V>)> {
        self.lock()
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn forget_unused(&self) {
        self.lock().retain(|_, value| Arc::strong_count(value) > 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Arc<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// An empty board; cells count time from `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            regions: Store::new(),
            endpoints: Store::new(),
            changes: Store::new(),
            slots: Store::new(),
            budgets: Store::new(),
            hedges: Store::new(),
            news: News::default(),
        }
    }

    /// The moment from which the cells count time.
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Who is told of changes of its regions' health and drains.
    pub fn news(&self) -> &News {
        &self.news
    }

    /// The cell of one region of one upstream, made at first use.
    pub fn region(&self, upstream: &str, region: &str) -> Arc<RegionCell> {
        self.regions
            .get_or_insert((upstream.into(), region.into()), || {
                RegionCell::with_news(self.origin, self.news.clone())
            })
    }

    /// The cell of one endpoint, made at first use.
    pub fn endpoint(&self, upstream: &str, region: &str, address: &str) -> Arc<EndpointCell> {
        let key = (upstream.into(), region.into(), address.into());
        self.endpoints.get_or_insert(key, || {
            let place = (upstream.into(), region.into());
            let changes = self.changes.get_or_insert(place, Changes::default);
            EndpointCell::with_changes(self.origin, (*changes).clone())
        })
    }

    /// The slot that holds the endpoints of one region of one upstream, made empty at first use.
    pub fn slot(&self, upstream: &str, region: &str) -> Arc<EndpointSlot> {
        self.slots
            .get_or_insert((upstream.into(), region.into()), EndpointSlot::default)
    }

    /// The same, if it was ever asked for.
    pub fn find_slot(&self, upstream: &str, region: &str) -> Option<Arc<EndpointSlot>> {
        let key = (upstream.into(), region.into());
        self.slots.lock().get(&key).cloned()
    }

    /// Puts `slot` into the place of the region's slot. Who holds the one before keeps it.
    pub(crate) fn put_slot(&self, upstream: &str, region: &str, slot: Arc<EndpointSlot>) {
        let key = (upstream.into(), region.into());
        self.slots.lock().insert(key, slot);
    }

    /// The retry budget of one upstream, made at first use with these shares within a region and across
    /// regions. One that is there keeps its own.
    pub(crate) fn budget_with(&self, upstream: &str, shares: (f64, f64)) -> Arc<Budget> {
        self.budgets.get_or_insert(upstream.into(), || {
            let budget = Budget::new(self.origin);
            budget.configure(shares.0, shares.1);
            budget
        })
    }

    /// The retry budget of one upstream, made at first use.
    pub fn budget(&self, upstream: &str) -> Arc<Budget> {
        self.budgets
            .get_or_insert(upstream.into(), || Budget::new(self.origin))
    }

    /// What is observed for the hedges of one route, made at first use.
    pub fn hedge(&self, route: &str) -> Arc<HedgeCell> {
        self.hedges
            .get_or_insert(route.into(), || HedgeCell::new(self.origin))
    }

    /// The same, made at first use with this share. One that is there keeps its own.
    pub(crate) fn hedge_with(&self, route: &str, share: f64) -> Arc<HedgeCell> {
        self.hedges.get_or_insert(route.into(), || {
            let cell = HedgeCell::new(self.origin);
            cell.configure(share);
            cell
        })
    }

    /// Every region cell with its (upstream, region), in no order.
    pub fn regions(&self) -> Vec<((Name, Name), Arc<RegionCell>)> {
        self.regions.all()
    }

    /// Every endpoint cell with its (upstream, region, address), in no order.
    pub fn endpoints(&self) -> Vec<((Name, Name, Name), Arc<EndpointCell>)> {
        self.endpoints.all()
    }

    /// Forgets what no plan, slot or request holds any more. A region that is being drained is
    /// kept, so that a reload cannot lose an operator's drain.
    pub fn forget_unused(&self) {
        self.slots.forget_unused();
        self.endpoints.forget_unused();
        self.changes
            .lock()
            .retain(|_, changes| !changes.is_unused());
        self.budgets.forget_unused();
        self.hedges.forget_unused();
        self.regions
            .lock()
            .retain(|_, cell| Arc::strong_count(cell) > 1 || cell.draining());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::EndpointSpec;

    fn spec(address: &str) -> EndpointSpec {
        EndpointSpec::new(address)
    }

    #[test]
    fn the_same_identity_has_the_same_cells() {
        let board = Board::new(Instant::now());
        assert!(Arc::ptr_eq(
            &board.region("u", "r"),
            &board.region("u", "r")
        ));
        assert!(Arc::ptr_eq(
            &board.endpoint("u", "r", "a"),
            &board.endpoint("u", "r", "a")
        ));
        assert!(Arc::ptr_eq(&board.slot("u", "r"), &board.slot("u", "r")));
        assert!(Arc::ptr_eq(&board.budget("u"), &board.budget("u")));
        assert!(Arc::ptr_eq(&board.hedge("u"), &board.hedge("u")));
        assert!(!Arc::ptr_eq(
            &board.region("u", "r"),
            &board.region("v", "r")
        ));
        assert!(!Arc::ptr_eq(
            &board.endpoint("u", "r", "a"),
            &board.endpoint("u", "s", "a")
        ));
    }

    #[test]
    fn what_nobody_holds_is_forgotten_but_never_a_drain() {
        let board = Board::new(Instant::now());
        let held = board.region("u", "held");
        board.region("u", "drained").set_draining(true);
        board.region("u", "gone");
        board
            .slot("u", "gone")
            .replace("u", "gone", &[spec("a:1")], &board);
        board.forget_unused();
        let mut names: Vec<_> = board
            .regions()
            .into_iter()
            .map(|((_, region), _)| region)
            .collect();
        names.sort();
        assert_eq!(names, ["drained".into(), "held".into()] as [Arc<str>; 2]);
        assert!(
            board.endpoints().is_empty(),
            "a slot's endpoints go with it"
        );
        drop(held);
    }

    #[test]
    fn endpoints_of_a_slot_that_is_held_stay() {
        let board = Board::new(Instant::now());
        let slot = board.slot("u", "r");
        assert!(slot.replace("u", "r", &[spec("a:1"), spec("b:1")], &board));
        let kept = slot.load_full().endpoints[0].cell.clone();
        assert!(slot.replace("u", "r", &[spec("a:1")], &board));
        board.forget_unused();
        assert_eq!(board.endpoints().len(), 1);
        assert!(Arc::ptr_eq(&kept, &slot.load_full().endpoints[0].cell));
        assert_eq!(slot.load().version, 2);
    }
}
