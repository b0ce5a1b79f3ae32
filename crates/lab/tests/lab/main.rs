//! The lab tried on real sockets: each endpoint, each link mode, and the client's books.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests as well")]

mod client;
mod content;
mod death;
mod grpc;
mod link;
mod modes;
mod raw;
mod region;
mod support;
mod tls;
mod websocket;
mod world;
