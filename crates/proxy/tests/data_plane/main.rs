//! The data plane end to end: real sockets, real TLS, real upstreams, nothing mocked.
//!
//! One module for each promise. Clients are plain sockets or the bare `h2` crate, upstreams are the
//! laboratory's regions (hyper) or scripts of exact bytes, so neither end shares code with what is
//! tested. Tests wait for conditions, never for time, and say nothing about how long things take.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod accepted;
mod accounts;
mod actions;
mod affinity;
mod bad_answers;
mod balancing;
mod bodies;
mod bounds;
mod corners;
mod deadlines;
mod downgrade;
mod drain_home;
mod evidence;
mod failover;
mod fallback;
mod grpc;
mod harness;
mod headers;
mod hedging;
mod isolation;
mod leaving;
mod limits;
mod mirror;
mod orca;
mod override_region;
mod pins;
mod places;
mod probing;
mod redispatch;
mod refusals;
mod region_down;
mod residency;
mod resume;
mod shutdown;
mod smuggling;
mod spillover;
mod split;
mod staged;
mod standby;
mod streaming;
mod tls;
mod tunnels;
