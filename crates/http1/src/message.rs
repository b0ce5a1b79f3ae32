//! What requests and responses have in common.

/// The version that a message was sent in. Others are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `HTTP/1.0`: closes by default, knows no chunks.
    Http10,
    /// `HTTP/1.1`
    Http11,
}
