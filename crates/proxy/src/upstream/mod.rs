//! Connections to upstreams: made by [`connect`], kept by [`pool`], moved between threads as
//! [`socket::Socket`]s.
//!
//! A connection belongs to the thread that uses it. What idles lies in the directory that all
//! threads see, because taking over a warm connection over an ocean beats a handshake; what is in
//! use is never shared, except that an HTTP/2 connection takes streams from any thread.

mod checked;
pub(crate) mod connect;
mod key;
pub(crate) mod pool;
mod resolve;
mod shelf;
pub(crate) mod socket;
mod target;
