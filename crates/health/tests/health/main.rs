//! The prober against real sockets: endpoints that work, lie, stall, refuse and come back.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod endpoints;
mod following;
mod grpc;
mod judged;
mod plan;
mod requests;
mod reuse;
mod server;
mod states;
mod steps;
mod support;
mod tls;
