//! What looks at an upstream's regions find for steering: shares beyond capacity, latencies held
//! steady, what is usable of each, and when a cold region has to be started.

#[path = "../support/mod.rs"]
mod support;

mod circuit;
mod closed;
mod latency;
mod loads;
mod standby;
mod tiers;
mod usable;
