//! Connections to upstreams: made by [`connect`], kept by [`pool`], moved between threads as
//! [`socket::Socket`]s.
//!
//! A connection belongs to the thread that uses it. What idles lies in the directory that all
//! threads see, because taking over a warm connection over an ocean beats a handshake; what is in
//! use is never shared, except that an HTTP/2 connection takes streams from any thread. How many are
//! open is counted by [`gate`], before which requests wait when the limit is reached.

mod checked;
pub(crate) mod connect;
pub(crate) mod directory;
pub(crate) mod gate;
mod key;
pub(crate) mod pool;
mod queue;
mod resolve;
mod shelf;
pub(crate) mod socket;
pub(crate) mod standby;
mod target;
#[cfg(test)]
mod testing;
mod wait;
