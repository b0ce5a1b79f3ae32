//! Control with real files and real sockets: what a reload does and does not do, that changes on
//! the disk are noticed however they are made, and what the admin listener answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod admin;
mod candidate;
mod generations;
mod orders;
mod places;
mod reload;
mod say;
mod standby;
mod support;
mod watch;
