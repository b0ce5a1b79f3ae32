//! A plan before it serves: what takes long of its arrival among the metrics is done while nobody waits.
//!
//! With thousands of routes it takes a millisecond to find what the series of a new plan have to take the
//! place of. Whoever serves requests would do it on the first request under that plan.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use tidegate_core::Plan;

use super::plan_series::Table;
use super::{Metrics, Name, OTHER, PlanSeries, RouteKey};

/// A plan that is about to serve: its series, and those that are to make room for them.
#[derive(Debug)]
pub struct Arriving {
    series: PlanSeries,
    gone: Vec<RouteKey>,
}

impl Metrics {
    /// Gets everything ready for `plan`, and forgets nothing yet: it may never serve. Takes a look at
    /// every series and every route.
    pub fn arriving(self: &Arc<Self>, plan: &Arc<Plan>) -> Arriving {
        let gone = self.without_room(plan);
        let table = entered(&mut self.tables(), plan);
        Arriving {
            series: PlanSeries::new(self.clone(), table),
            gone,
        }
    }

    /// The plan serves in a moment: series that it does not name make room. Keep what this returns until
    /// whoever serves requests has asked for [`route_series`](Self::route_series) of its own.
    pub fn arrive(&self, arriving: Arriving) -> PlanSeries {
        self.make_room(arriving.series.plan(), &arriving.gone);
        arriving.series
    }

    /// The series of `plan`, for as long as it serves. Cheap: all threads share one table, whose
    /// entries are resolved when they are first used. It goes away with the last that holds it, which takes
    /// milliseconds for a plan with many routes. A plan that was not [`arriving`](Self::arriving) arrives.
    pub fn route_series(self: &Arc<Self>, plan: &Arc<Plan>) -> PlanSeries {
        let mut tables = self.tables();
        let mut known = tables.iter().filter_map(Weak::upgrade);
        let table = known.find(|table| table.is_for(plan)).unwrap_or_else(|| {
            self.make_room(plan, &self.without_room(plan));
            entered(&mut tables, plan)
        });
        PlanSeries::new(self.clone(), table)
    }

    fn tables(&self) -> MutexGuard<'_, Vec<Weak<Table>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The series of routes that have to go so that those of `plan` find room.
    fn without_room(&self, plan: &Plan) -> Vec<RouteKey> {
        match self.routes.len() >= plan.metrics.max_series as usize {
            true => self.gone(plan),
            false => Vec::new(),
        }
    }

    /// Forgets series that `plan` does not name, so that they do not use up the bound for ever; of those
    /// of routes these.
    fn make_room(&self, plan: &Plan, gone: &[RouteKey]) {
        self.forget_routes(gone);
        let upstreams: HashSet<&str> = plan
            .upstreams
            .iter()
            .map(|upstream| &*upstream.name)
            .collect();
        let named = |upstream: &Name| upstreams.contains(&**upstream) || **upstream == *OTHER;
        self.upstreams
            .retain(|(upstream, _), _| upstreams.contains(&**upstream));
        self.services
            .retain(|upstream, _| upstreams.contains(&**upstream));
        self.starts.retain(|(upstream, ..)| named(upstream));
        self.turns.retain(|(upstream, ..)| named(upstream));
        self.ejections.retain(|(upstream, ..)| named(upstream));
    }
}

/// A new table for `plan`, among those of the plans that are alive.
fn entered(tables: &mut Vec<Weak<Table>>, plan: &Arc<Plan>) -> Arc<Table> {
    let table = Arc::new(Table::new(plan.clone()));
    tables.retain(|table| table.strong_count() > 0);
    tables.push(Arc::downgrade(&table));
    table
}
