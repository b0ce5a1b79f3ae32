//! One attempt's exchange with an upstream, whichever protocol it speaks, and how it fails.

use std::task::{Context, Poll};

use tidegate_core::retry::{Failure, Phase};

use crate::body::{Piece, ReplayBody, UploadError};
use crate::h1::client as h1;
use crate::h2::client as h2;
use crate::head::ResponseHead;

/// Why an exchange ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The upstream's doing.
    #[error("{detail}")]
    Upstream {
        /// Its kind.
        failure: Failure,
        /// How far the request had got.
        phase: Phase,
        /// What a person needs to know.
        detail: String,
    },
    /// The client's doing: its body could not be read.
    #[error(transparent)]
    Client(#[from] UploadError),
}

/// A response's head, interim or final.
pub(crate) enum HeadEvent {
    /// 1xx, to be passed on; more follows.
    Interim(ResponseHead),
    /// The answer's head.
    Final(ResponseHead),
}

/// One request under way at an upstream. What is large is boxed, because it is handed on often.
pub(crate) enum Exchange {
    /// HTTP/1.1: the connection is ours alone.
    H1(Box<h1::Exchange>),
    /// HTTP/2: one stream of a shared connection.
    H2(Box<h2::Exchange>),
}

impl Exchange {
    /// Sends as much of the body as is there and fits. Ready once all of it is sent.
    pub(crate) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut ReplayBody,
    ) -> Poll<Result<(), ExchangeError>> {
        match self {
            Self::H1(exchange) => exchange.poll_upload(cx, body),
            Self::H2(exchange) => exchange.poll_upload(cx, body),
        }
    }

    /// The next head. Not to be called after the final one.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<HeadEvent, ExchangeError>> {
        match self {
            Self::H1(exchange) => exchange.poll_head(cx),
            Self::H2(exchange) => exchange.poll_head(cx),
        }
    }

    /// The next piece of the answer's body; `None` after the last. Only after the final head.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, ExchangeError>>> {
        match self {
            Self::H1(exchange) => exchange.poll_body(cx),
            Self::H2(exchange) => exchange.poll_body(cx),
        }
    }

    /// Whether the answer has no more body: `poll_body` would say `None` without reading.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::H1(exchange) => exchange.is_ended(),
            Self::H2(exchange) => exchange.is_ended(),
        }
    }

    /// Whether bytes of the request wait that the upstream does not take.
    pub(crate) fn is_blocked(&self) -> bool {
        match self {
            Self::H1(exchange) => exchange.is_blocked(),
            Self::H2(exchange) => exchange.is_blocked(),
        }
    }

    /// Bytes that the upstream has taken: as long as they grow, it is not what is waited for.
    pub(crate) fn taken(&self) -> u64 {
        match self {
            Self::H1(exchange) => exchange.taken(),
            Self::H2(exchange) => exchange.taken(),
        }
    }

    /// Tells whether the answer's body is left lying because the client takes nothing.
    pub(crate) fn leave_unread(&mut self, unread: bool) {
        match self {
            Self::H1(_) => {}
            Self::H2(exchange) => exchange.leave_unread(unread),
        }
    }

    /// Whether other requests, whose clients do not read, may be why nothing comes.
    pub(crate) fn is_held_up(&self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(exchange) => exchange.is_held_up(),
        }
    }

    /// Whether the upstream can say that it has not begun what was sent (RFC 9113 section 8.7).
    pub(crate) fn is_refusable(&self) -> bool {
        matches!(self, Self::H2(_))
    }

    /// Cancels it on the wire. Nothing but its drop may follow.
    pub(crate) fn cancel(&mut self) {
        match self {
            Self::H1(exchange) => exchange.cancel(),
            Self::H2(exchange) => exchange.cancel(),
        }
    }

    /// How far the request got. What is ambiguous counts as sent.
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::H1(exchange) => exchange.phase(),
            Self::H2(exchange) => exchange.phase(),
        }
    }
}

impl ExchangeError {
    /// An upstream's failure.
    pub(crate) fn upstream(failure: Failure, phase: Phase, detail: impl Into<String>) -> Self {
        Self::Upstream {
            failure,
            phase,
            detail: detail.into(),
        }
    }
}
