//! A small answer is passed on once its body is here too, and a call's head once its first message is.
//!
//! A region that dies between head and body then costs an attempt and not the request, and a call of
//! gRPC that ends in trailers without a message can be made again. The wait is short, and it is the
//! body's: what is announced as longer, or not announced at all, is relayed as it comes. A call is
//! never held before its client has sent all of it: it may be waiting for the head to go on.

use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http::Method;
use smallvec::SmallVec;
use tidegate_core::Termination;
use tidegate_core::retry::Phase;

use crate::attempt::{Attempt, EndedBy, Fault};
use crate::body::Piece;
use crate::clock::now;
use crate::exchange::{Exchange, ExchangeError};
use crate::head::{ResponseHead, is_bodiless};
use crate::leave::Leave;
use crate::pipeline::{Client, Serving};

/// Longer bodies are not waited for, in bytes.
const HELD_BYTES: u64 = 16 * 1024;

/// A body that takes longer is relayed as it comes.
const PATIENCE: Duration = Duration::from_millis(50);

/// A call whose first message takes longer has its head passed on before it.
const CALL_PATIENCE: Duration = Duration::from_secs(1);

/// What of an answer's body is here before its head is passed on: mostly all of it, in one piece.
pub(crate) type Ahead = SmallVec<[Piece; 1]>;

/// What a head is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// The whole body.
    Rest,
    /// The first message of a call, or its trailers.
    Message,
}

impl Held {
    fn patience(self) -> Duration {
        match self {
            Self::Rest => PATIENCE,
            Self::Message => CALL_PATIENCE,
        }
    }

    /// Takes what is here; ready once that is enough.
    fn poll(
        self,
        cx: &mut TaskContext<'_>,
        exchange: &mut Exchange,
        ahead: &mut Ahead,
    ) -> Result<Poll<()>, EndedBy> {
        while !exchange.is_ended() && (self == Self::Rest || ahead.is_empty()) {
            match exchange.poll_body(cx) {
                Poll::Ready(Some(piece)) => ahead.push(piece.map_err(before_commit)?),
                Poll::Ready(None) => break,
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(()))
    }
}

impl Serving {
    /// Waits a moment for the rest of a small answer, or the first message of a call.
    pub(crate) async fn hold<C: Client>(
        &mut self,
        attempt: &mut Attempt,
        exchange: &mut Exchange,
        head: &ResponseHead,
        client: &mut C,
    ) -> Result<Ahead, EndedBy> {
        let mut ahead = Ahead::new();
        let Some(held) = self.held(head) else {
            return Ok(ahead);
        };
        let mut limited = false;
        poll_fn(|cx| {
            if held.poll(cx, exchange, &mut ahead)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(EndedBy::Client(Termination::ClientGone)));
            }
            if self.hears_news(&mut attempt.heard)
                && let Leave::Now(ended) = self.leave(attempt.place, Phase::HeadReceived)
            {
                return Poll::Ready(Err(ended));
            }
            if !limited {
                self.timer.set(self.no_later(now() + held.patience()));
                limited = true;
            }
            self.timer.poll_expired(cx).map(Ok)
        })
        .await?;
        Ok(ahead)
    }

    fn held(&self, head: &ResponseHead) -> Option<Held> {
        match () {
            () if !self.body.is_done() => None,
            () if is_small(self.head.method(), head) => Some(Held::Rest),
            () if self.admitted.dialect.is_some() && head.is_grpc() => Some(Held::Message),
            () => None,
        }
    }
}

fn is_small(method: &Method, head: &ResponseHead) -> bool {
    !is_bodiless(method, head.status())
        && head
            .announced_length()
            .is_some_and(|length| (1..=HELD_BYTES).contains(&length))
}

/// The client has seen nothing yet: a body that breaks now is an attempt's failure.
fn before_commit(error: ExchangeError) -> EndedBy {
    match error {
        ExchangeError::Upstream {
            failure, detail, ..
        } => Fault::of(failure, Phase::HeadReceived, detail).into(),
        client @ ExchangeError::Client(_) => client.into(),
    }
}
