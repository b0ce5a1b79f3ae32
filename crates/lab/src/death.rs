//! How a region dies within one request, at an exact byte, as plain data.
//!
//! A [`Link`](crate::Link) breaks all that passes at one moment; here the request itself says when, so that every
//! case of a table meets its fault in the same place however fast the machine is. What ends the connection ends
//! it for all requests on it, as a process does that dies. Health checks are exempt.

use http::StatusCode;

/// When and how a region fails a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// As soon as the head of the request is here; its body is not read.
    AtHead(Ending),
    /// Once so many bytes of the request's body were read, or at its end when it is shorter.
    InUpload {
        /// Bytes of the body.
        after: u64,
        /// How.
        how: Ending,
    },
    /// Once so many bytes of the answer's body were written; 0 is after the head. Exact: all of them arrive at a
    /// peer that reads, none beyond (at most so many, where other answers are on the way on the same HTTP/2
    /// connection). An answer that is not longer than that arrives whole.
    InAnswer {
        /// Bytes of the body.
        after: u64,
        /// How.
        how: Cut,
    },
}

/// What comes instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing.
    Cut(Cut),
    /// This status, without content. What was not read of the request is given up.
    Status(StatusCode),
    /// 200 and the fields of gRPC, then this code in trailers, and no message between.
    GrpcTrailers(u16),
    /// The same code among the fields, and nothing after them.
    GrpcTrailersOnly(u16),
}

/// How a connection stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// RST.
    Reset,
    /// An orderly end (FIN) that comes too early. What the peer still sends may be answered with RST.
    Fin,
    /// Nothing is read and nothing is written any more, while the connection stays.
    BlackHole,
}

impl Death {
    /// What happens before an answer is made: at how many bytes of the request's body (`None`: without reading
    /// it), and what then.
    pub(crate) fn before_answer(self) -> Option<(Option<u64>, Ending)> {
        match self {
            Self::AtHead(how) => Some((None, how)),
            Self::InUpload { after, how } => Some((Some(after), how)),
            Self::InAnswer { .. } => None,
        }
    }

    /// After how many bytes of the answer's body it ends, and how.
    pub(crate) fn within_answer(self) -> Option<(u64, Cut)> {
        match self {
            Self::InAnswer { after, how } => Some((after, how)),
            Self::AtHead(_) | Self::InUpload { .. } => None,
        }
    }
}
