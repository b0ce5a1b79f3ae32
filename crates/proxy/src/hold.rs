//! A small answer is passed on once its body is here too.
//!
//! A region that dies between head and body then costs an attempt and not the request. The wait is
//! short, and it is the body's: what is announced as longer, or not announced at all, is relayed as
//! it comes.

use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http::Method;
use smallvec::SmallVec;
use tidegate_core::Termination;
use tidegate_core::retry::Phase;

use crate::attempt::{EndedBy, Fault};
use crate::body::Piece;
use crate::clock::now;
use crate::exchange::{Exchange, ExchangeError};
use crate::head::{ResponseHead, is_bodiless};
use crate::pipeline::{Client, Serving};

/// Longer bodies are not waited for, in bytes.
const HELD_BYTES: u64 = 16 * 1024;

/// A body that takes longer is relayed as it comes.
const PATIENCE: Duration = Duration::from_millis(50);

/// What of an answer's body is here before its head is passed on: mostly all of it, in one piece.
pub(crate) type Ahead = SmallVec<[Piece; 1]>;

impl Serving {
    /// Waits a moment for the rest of a small answer.
    pub(crate) async fn hold<C: Client>(
        &mut self,
        exchange: &mut Exchange,
        head: &ResponseHead,
        client: &mut C,
    ) -> Result<Ahead, EndedBy> {
        let mut ahead = Ahead::new();
        if self.body.is_done() && is_small(self.head.method(), head) {
            let mut limited = false;
            poll_fn(|cx| {
                if poll_rest(cx, exchange, &mut ahead)?.is_ready() {
                    return Poll::Ready(Ok(()));
                }
                if client.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(EndedBy::Client(Termination::ClientGone)));
                }
                if !limited {
                    self.timer.set(now() + PATIENCE);
                    limited = true;
                }
                self.timer.poll_expired(cx).map(Ok)
            })
            .await?;
        }
        Ok(ahead)
    }
}

fn is_small(method: &Method, head: &ResponseHead) -> bool {
    !is_bodiless(method, head.status())
        && head
            .announced_length()
            .is_some_and(|length| (1..=HELD_BYTES).contains(&length))
}

/// Takes what is here; ready once that is all.
fn poll_rest(
    cx: &mut TaskContext<'_>,
    exchange: &mut Exchange,
    ahead: &mut Ahead,
) -> Result<Poll<()>, EndedBy> {
    while !exchange.is_ended() {
        match exchange.poll_body(cx) {
            Poll::Ready(Some(piece)) => ahead.push(piece.map_err(before_commit)?),
            Poll::Ready(None) => break,
            Poll::Pending => return Ok(Poll::Pending),
        }
    }
    Ok(Poll::Ready(()))
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
