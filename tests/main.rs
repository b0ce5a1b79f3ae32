//! Integration tests of the real binary, and guards over the repository: one test binary, one
//! module per promise.
//!
//! The binary runs as a child process with ephemeral ports; the regions behind it, the links and
//! the clients are the laboratory's, in the process of the test. Nothing waits by sleeping,
//! nothing asserts how long something took, and nothing is left behind.

#![allow(
    clippy::unwrap_used,
    reason = "what a test cannot do without is what it fails on"
)]

mod harness;

mod actions;
mod architecture;
mod candidate;
mod certificates;
mod cli;
mod connect;
mod demo;
mod diff;
mod docs;
mod explain;
mod failover;
mod files;
mod generations;
mod health;
mod inflight;
mod limits;
mod matching;
mod mirroring;
mod orders;
mod places;
mod reload;
mod residency;
mod rollback;
mod serving;
mod soak;
mod standby;
mod telemetry;
