//! Telemetry as its users see it: the text of a scrape, the lines of the access log, the page of
//! documentation, and what recording costs.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod access;
mod allocation;
mod docs;
mod exposition;
mod parser;
mod support;
