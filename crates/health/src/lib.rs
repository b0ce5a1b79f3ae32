//! Active probes: whether endpoints are alive, how far away their regions are, and what follows for
//! the regions.
//!
//! One task follows the plan, starts every check at its time and writes what it learns to the
//! board; the data plane reads it there and does not know this crate. Checks have connections of
//! their own, which stay from one HTTP check to the next: a failure is believed only from a new
//! one, and one check in so many connects anew, to see that it still can and to measure the round
//! trip that steering orders regions by. In between, an answer is an upper bound of it. (The
//! kernel's own estimate is no better: it holds the peer's delayed acknowledgements.) A doubt is
//! settled fast: see [`Prober`]. Nothing here decides where a request goes.
//!
//! The same task has the judges of `core` look at what requests and probes left on the board.

mod agenda;
mod answer;
mod ask;
mod check;
mod connect;
mod error;
mod expect;
mod extract;
mod followed;
mod grpc;
mod http1;
mod http2;
mod judges;
mod kept;
mod link;
mod pace;
#[cfg(test)]
#[path = "../tests/health/plan.rs"]
mod plan;
mod prober;
mod report;
mod request;
mod show;
mod steps;
mod survey;
mod target;
mod template;
mod tls;
mod verdict;

pub use prober::Prober;
pub use survey::{Surveyed, survey};
