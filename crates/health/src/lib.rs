//! Active probes: whether endpoints are alive, how far away their regions are, and what follows for
//! the regions.
//!
//! One task follows the plan, starts every check at its time and writes what it learns to the
//! board; the data plane reads it there and does not know this crate. Each check opens a
//! connection of its own, because the time to connect is the round trip that steering orders
//! regions by. A doubt is settled fast: see [`Prober`]. Nothing here decides where a request goes.

mod agenda;
mod check;
mod connect;
mod error;
mod exchange;
mod pace;
mod prober;
mod target;
mod tls;
mod verdict;

pub use prober::Prober;
