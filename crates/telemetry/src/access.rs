//! The access log: one JSON line for each request, with every attempt that it took.
//!
//! A worker formats its line into a buffer that it shares with nobody but the one thread that
//! writes, which swaps the buffer for an empty one every tenth of a second. So a request pays for
//! formatting and for a lock that is almost never contended; it never waits for a disk or a pipe.
//! When those are too slow the buffer fills up to its bound, and further records are dropped and
//! counted.

mod connection;
mod json;
mod record;
mod sink;
mod time;
mod writer;

pub use connection::ConnectionWords;
pub use record::{AccessRecord, Acts, AttemptRecord, Excluded, Saving, TlsRecord};
pub use sink::OpenError;
pub use time::rfc3339;
pub use writer::{AccessLog, AccessWriter};
