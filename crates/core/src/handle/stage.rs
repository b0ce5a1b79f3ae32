//! A plan that serves a part of what comes, beside the one that serves the rest.
//!
//! Which part is a function of the connection or of the request, never of chance: a connection stays with
//! its plan while the share stands still, and goes over at most once while it grows. What the two plans'
//! requests came to is counted, so that somebody can compare before the part becomes the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Live;
use crate::hash::{mixed, unit};
use crate::ids::{Generation, RouteIdx};
use crate::route::RequestFacts;
use crate::standing::Dial;

/// Keeps this draw apart from all others that are made of a connection's key.
const SALT: u64 = 0x7469_6465_7374_6167;

/// The part that a staged plan serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// This share of the connections.
    Share(Dial),
    /// The requests that take one of the routes of these names in the staged plan.
    Routes(Vec<Arc<str>>),
}

/// Why a plan cannot serve a part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStage {
    /// There is no plan beside which it could.
    #[error("no plan serves yet")]
    NothingServes,
    /// It is to serve by routes, and none is named.
    #[error("no route is named")]
    NoRoute,
    /// It has no route of this name.
    #[error("the staged plan has no route `{0}`")]
    UnknownRoute(Arc<str>),
}

/// A plan that serves a part.
#[derive(Debug)]
pub struct Stage {
    /// The plan, bound beside the serving one.
    pub live: Arc<Live>,
    /// What it serves.
    pub part: Part,
    /// By the index of the staged plan's routes: whether requests take it. Empty under a share.
    routes: Box<[bool]>,
    counts: Arc<Counts>,
}

/// What requests came to since a stage began, under each plan.
#[derive(Debug, Default)]
struct Counts {
    serving: Cell,
    staged: Cell,
}

/// On cache lines of its own: threads write it, as long as there is a stage.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    requests: AtomicU64,
    errors: AtomicU64,
    took_us: AtomicU64,
}

/// What requests under one plan came to since the stage began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests that have ended.
    pub requests: u64,
    /// Those that got no answer, or one with a status of 500 or above.
    pub errors: u64,
    /// How long all of them took together.
    pub took: Duration,
}

impl Stage {
    pub(super) fn new(live: Arc<Live>, part: Part) -> Result<Self, InvalidStage> {
        Ok(Self {
            routes: taken(&live, &part)?,
            live,
            part,
            counts: Arc::default(),
        })
    }

    pub(super) fn with(&self, part: Part) -> Result<Self, InvalidStage> {
        Ok(Self {
            routes: taken(&self.live, &part)?,
            live: self.live.clone(),
            part,
            counts: self.counts.clone(),
        })
    }

    /// The number of its plan.
    pub fn generation(&self) -> Generation {
        self.live.generation
    }

    /// Whether a request on the connection of this key is the staged plan's.
    pub fn takes(&self, key: u64, request: &impl RequestFacts) -> bool {
        match &self.part {
            Part::Share(_) => self.takes_connection(key),
            Part::Routes(_) => {
                let route = self.live.plan.table.find(request);
                route.is_some_and(|route| self.takes_route(route))
            }
        }
    }

    /// Whether everything on the connection of this key is; false under routes.
    pub fn takes_connection(&self, key: u64) -> bool {
        match self.part {
            Part::Share(share) => share.passes(unit(mixed(key ^ SALT))),
            Part::Routes(_) => false,
        }
    }

    fn takes_route(&self, route: RouteIdx) -> bool {
        self.routes.get(route.get()).copied().unwrap_or(false)
    }

    /// Counts a request that has ended under the plan of this number.
    pub fn count(&self, under: Generation, failed: bool, took: Duration) {
        self.cell(under).enter(failed, took);
    }

    /// What requests came to under the staged plan, since the stage began.
    pub fn staged(&self) -> Served {
        self.counts.staged.read()
    }

    /// What requests came to under any other plan, since the stage began.
    pub fn serving(&self) -> Served {
        self.counts.serving.read()
    }

    fn cell(&self, under: Generation) -> &Cell {
        match under == self.live.generation {
            true => &self.counts.staged,
            false => &self.counts.serving,
        }
    }
}

impl Cell {
    fn enter(&self, failed: bool, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.took_us.fetch_add(took, Ordering::Relaxed);
        if failed {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        // Last: whoever reads a request sees its error.
        self.requests.fetch_add(1, Ordering::Release);
    }

    fn read(&self) -> Served {
        let requests = self.requests.load(Ordering::Acquire);
        Served {
            requests,
            errors: self.errors.load(Ordering::Relaxed).min(requests),
            took: Duration::from_micros(self.took_us.load(Ordering::Relaxed)),
        }
    }
}

impl Served {
    /// The part of the requests that were errors; 0 of none.
    pub fn error_ratio(&self) -> f64 {
        match self.requests {
            0 => 0.0,
            requests => self.errors as f64 / requests as f64,
        }
    }
}

/// Which of the plan's routes `part` names.
fn taken(live: &Live, part: &Part) -> Result<Box<[bool]>, InvalidStage> {
    let names = match part {
        Part::Share(_) => return Ok(Box::default()),
        Part::Routes(names) => names,
    };
    let routes = &live.plan.routes;
    let known = |name: &Arc<str>| routes.iter().any(|route| route.name == *name);
    match names.iter().find(|name| !known(name)) {
        Some(unknown) => Err(InvalidStage::UnknownRoute(unknown.clone())),
        None if names.is_empty() => Err(InvalidStage::NoRoute),
        None => Ok(routes
            .iter()
            .map(|route| names.contains(&route.name))
            .collect()),
    }
}
