//! Pure decisions of Tidegate: which route, which regions in which order and why, which endpoint,
//! whether a failed attempt may be made again.
//!
//! Nothing here reads a clock, performs I/O or owns randomness: `now` and `rng` are arguments, so
//! every decision can be replayed, simulated and tested with literal rows. Four kinds of state have
//! four types: [`Plan`] (what is wanted), [`EndpointSet`] (who is there), [`Board`] (what is
//! observed) and [`View`] -> [`Decision`] (what follows from them).

pub mod action;
pub mod allot;
pub mod balance;
pub mod board;
pub mod budget;
pub mod cell;
pub mod choose;
pub mod decision;
pub mod endpoint;
pub mod ewma;
pub mod explain;
pub mod expression;
pub mod geo;
pub mod handle;
pub mod hash;
pub mod health;
pub mod hedge;
pub mod ids;
pub mod lazy;
pub mod limits;
pub mod lot;
pub mod news;
pub mod pins;
pub mod plan;
pub mod priority;
pub mod recall;
pub mod recent_min;
pub mod record;
pub mod resume;
pub mod retry;
pub mod route;
pub mod sets;
pub mod settings;
pub mod shadow;
pub mod snapshot;
mod split;
pub mod standby;
pub mod standing;
pub mod steer;
pub mod termination;
mod view;

pub use allot::Allotter;
pub use board::Board;
pub use cell::{Allotment, Demand, Drain, EndpointCell, InFlight, RegionCell};
pub use choose::{Ask, Choice, TriedEndpoints, choose, reach, should_leave};
pub use decision::{Candidate, Decision, Exclusion, View};
pub use endpoint::{Endpoint, EndpointSet, EndpointSlot};
pub use explain::Explanation;
pub use handle::{InvalidStage, Live, LiveRegion, LiveUpstream, Part, PlanHandle, Served, Stage};
pub use health::Health;
pub use hedge::HedgeCell;
pub use ids::{Generation, RegionIdx, RegionSet, RouteIdx, UpstreamIdx};
pub use lazy::LazyTable;
pub use lot::Lot;
pub use news::News;
pub use plan::Plan;
pub use snapshot::Snapshot;
pub use standing::{Dial, Standing};
pub use termination::Termination;
