//! The judge in a small world of its own: regions that answer, fail, fall silent and come back, in
//! virtual time, with real steering and real cells.

mod back;
mod calm;
mod detect;
mod endpoints;
mod shared;
#[path = "../support/mod.rs"]
mod support;
mod world;
