//! What every way of asking an endpoint gives.

/// As much of an answer is read, head and body together, give or take one read. What is longer has
/// told enough, and its connection is not used again.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An answer that came whole, or as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 200 to 599.
    pub(crate) status: u16,
    /// Whether the connection can take another request: the endpoint lets it, the answer was read
    /// to its end, and nothing came behind it.
    pub(crate) reusable: bool,
}
