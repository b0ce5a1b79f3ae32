//! Properties of the pure core, over arbitrary tables, worlds and faults.

mod balance;
mod budget;
mod choose;
mod handle;
mod places;
mod recall;
mod routes;
mod simulation;
mod split;
mod stage;
mod steer;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod zones;
