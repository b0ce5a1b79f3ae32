//! Reading a body whole before the request is sent, so that a slow client's upload is never half sent
//! when a region dies.
//!
//! Only what must not be sent twice is gathered: everything else can be replayed. Nothing is chosen
//! or connected meanwhile, so the request meets the regions as they are once it can be sent at once.
//! A body that turns out not to fit streams on from where it is, as one that is not gathered.

use std::future::poll_fn;
use std::task::{Context as TaskContext, Poll};

use tidegate_core::Termination;
use tidegate_core::plan::BodyPolicy;
use tidegate_core::retry::Idempotency;
use tidegate_http1::Framing;

use crate::admit::Admitted;
use crate::body::{Caps, ReplayBody, Upload, UploadError};
use crate::clock::now;
use crate::context::Context;
use crate::pipeline::{Client, Serving};

/// The body of a request, framed so, with room for as much of it as can be of use.
pub(crate) fn replay_body(
    context: &Context,
    admitted: &Admitted,
    upload: Upload,
    framing: Framing,
) -> ReplayBody {
    let upstream = &admitted.upstream.wanted;
    let (policy, idempotency) = (&upstream.body, admitted.idempotency);
    let gathered = is_gathered(policy, idempotency, framing, admitted.upgrade);
    let caps = Caps::of(policy, idempotency, upstream.retry.attempts, gathered);
    let max = policy.max_bytes.unwrap_or(u64::MAX);
    let body = ReplayBody::new(upload, framing, caps, max, &context.worker.replay);
    body.edited_by(admitted.acts.as_ref())
}

/// Whether a request with such a body is read whole before it is sent.
fn is_gathered(
    policy: &BodyPolicy,
    idempotency: Idempotency,
    framing: Framing,
    upgrade: bool,
) -> bool {
    let room = policy.replay_bytes.saturating_add(policy.spool_bytes);
    let short = match framing {
        Framing::Length(length) => length <= policy.gather_bytes.min(room),
        Framing::None | Framing::Chunked | Framing::UntilClose => false,
    };
    idempotency.is_once() && short && !upgrade
}

/// Why gathering ended early.
enum Ended {
    Upload(UploadError),
    Client(Termination),
}

impl Serving {
    /// Reads the whole body of a request that is gathered. An error is the reason for which it ends, by
    /// the client.
    pub(crate) async fn gather<C: Client>(&mut self, client: &mut C) -> Result<(), Termination> {
        if self.head.expects_continue() && !self.continued {
            client.send_continue();
            self.continued = true;
        }
        let mut moved = None;
        match poll_fn(|cx| self.poll_gather(cx, client, &mut moved)).await {
            Ok(whole) => self.gathered(whole),
            Err(Ended::Client(termination)) => return Err(termination),
            Err(Ended::Upload(error)) => {
                self.finish.explain(error.to_string());
                return Err(error.termination());
            }
        }
        Ok(())
    }

    pub(crate) fn is_gathered(&self) -> bool {
        let policy = &self.upstream().0.body;
        let upgrade = self.admitted.upgrade;
        let (idempotency, framing) = (self.admitted.idempotency, self.body.framing());
        !self.body.is_read() && is_gathered(policy, idempotency, framing, upgrade)
    }

    /// Ready with whether the body is all there. `moved`: how much was when the limit was last set.
    fn poll_gather<C: Client>(
        &mut self,
        cx: &mut TaskContext<'_>,
        client: &mut C,
        moved: &mut Option<u64>,
    ) -> Poll<Result<bool, Ended>> {
        client.poll_flush(cx);
        if let Poll::Ready(done) = self.body.poll_gather(cx) {
            return Poll::Ready(done.map_err(Ended::Upload));
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Ended::Client(Termination::ClientGone)));
        }
        let read = Some(self.body.read_bytes());
        if std::mem::replace(moved, read) != read {
            let idle = now() + self.route().idle_timeout;
            self.timer.set(self.no_later(idle));
        }
        self.timer.poll_expired(cx).map(|()| {
            let late = self.deadline.is_some_and(|deadline| now() >= deadline);
            Err(Ended::Client(match late {
                true => Termination::DeadlineExceeded,
                false => Termination::ClientTimeout,
            }))
        })
    }

    /// The time for an answer begins with the end of the body.
    fn gathered(&mut self, whole: bool) {
        self.timer.clear();
        if whole {
            self.context.worker.shared.metrics.gathered();
            self.finish.gathered();
            self.time_runs(now());
        }
    }

    /// No other attempt follows: enters what became of the body, and keeps no more of it.
    pub(crate) fn settle_body(&mut self) {
        self.finish.received(self.body.read_bytes());
        if let Some(why) = self.body.lost() {
            self.finish.replay_lost(why);
        }
        self.body.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(idempotency: Idempotency, framing: Framing, upgrade: bool, expected: bool) {
        let policy = BodyPolicy {
            replay_bytes: 10,
            spool_bytes: 100,
            gather_bytes: 50,
            max_bytes: None,
        };
        let gathered = is_gathered(&policy, idempotency, framing, upgrade);
        assert_eq!(gathered, expected, "{idempotency:?} {framing:?} {upgrade}");
        let nowhere = BodyPolicy {
            replay_bytes: 0,
            spool_bytes: 0,
            ..policy
        };
        assert!(!is_gathered(&nowhere, idempotency, framing, upgrade));
    }

    #[test]
    fn what_must_not_be_sent_twice_and_is_short_is_gathered() {
        let length = Framing::Length;
        for once in [Idempotency::No, Idempotency::Keyed] {
            check(once, length(1), false, true);
            check(once, length(50), false, true);
            check(once, length(51), false, false);
            check(once, length(50), true, false);
            check(once, Framing::Chunked, false, false);
            check(once, Framing::None, false, false);
        }
        check(Idempotency::Safe, length(1), false, false);
        check(Idempotency::Idempotent, length(1), false, false);
    }
}
