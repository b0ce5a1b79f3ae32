//! HTTP/2 on both sides, straight on the `h2` crate, because a layer above it hides what promises
//! need: interim heads, GOAWAY's last stream, the exact reason of a reset.
//!
//! Both sides write through [`coalesce`], which turns the frames of one round into one system call.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod coalesce;
mod duplex;
mod given_up;
mod keep_alive;
pub(crate) mod server;
mod stream;
mod unread;
mod validate;

/// A peer may send so much of one stream before we have taken any of it, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// A peer may send so much of all streams together before we have taken any of it, in bytes.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Largest header list that is read, in bytes as RFC 9113 section 6.5.2 counts them.
const HEADER_LIST: u32 = 64 * 1024;
/// Bytes of one stream that may wait for the socket.
const SEND_BUFFER: usize = 128 * 1024;
