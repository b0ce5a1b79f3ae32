//! What one message may cost before it is refused.
//!
//! Every number bounds memory or work that a stranger can ask for. Bodies are not here: they are
//! streamed, and how much of one may be kept is the proxy's decision.

/// Bounds on one message. All are inclusive: a head of exactly `head_bytes` is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, from its first byte to the end of its empty line; beyond it 431.
    pub head_bytes: usize,
    /// Field lines of a head or of a trailer section; beyond it 431. Values above
    /// [`Limits::FIELDS_MAX`] count as that.
    pub fields: usize,
    /// Bytes of the request target; beyond it 414.
    pub target_bytes: usize,
    /// Bytes of one chunk line (size and extensions, without its CRLF).
    pub chunk_line_bytes: usize,
    /// Bytes of all chunk extensions of one body together. They carry nothing that is forwarded,
    /// so a body of one-byte chunks with long extensions is only an attack.
    pub chunk_extension_bytes: usize,
    /// Bytes of a trailer section, its empty line included.
    pub trailer_bytes: usize,
}

impl Limits {
    /// The most field lines that a head can have, whatever `fields` says: the tokeniser's array
    /// lives on the stack.
    pub const FIELDS_MAX: usize = 256;

    pub(crate) fn fields_max(&self) -> usize {
        self.fields.min(Self::FIELDS_MAX)
    }

    /// The longest request line that can still be within the limits, without its CRLF.
    pub(crate) fn request_line_max(&self) -> usize {
        crate::request_line::METHOD_BYTES_MAX + self.target_bytes + " ".len() + " HTTP/1.1".len()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            fields: 128,
            target_bytes: 8 * 1024,
            chunk_line_bytes: 256,
            chunk_extension_bytes: 16 * 1024,
            trailer_bytes: 8 * 1024,
        }
    }
}
