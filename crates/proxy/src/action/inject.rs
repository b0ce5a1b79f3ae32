//! Injected faults: a wait before anything is attempted, an error instead of it. Neither a region nor an
//! endpoint hears of them, no budget pays for them, and a client that goes away ends the wait.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use tidegate_core::Termination;
use tidegate_telemetry::labels::FaultKind;

use crate::answer::Answer;
use crate::clock::now;
use crate::pipeline::{Client, Serving};
use crate::problem::{self, Refusal};

/// How a request ends before anything was attempted for it.
pub(crate) enum Early {
    /// With this injected error.
    Aborted(StatusCode),
    /// For another reason.
    Failed(Termination),
}

impl Serving {
    /// Injects what was drawn for the request; says how that ends it, if it does.
    pub(crate) async fn inject<C: Client>(&mut self, client: &mut C) -> Option<Early> {
        let injected = self.admitted.acts.as_ref()?.injected();
        if let Some(time) = injected.delay
            && let Err(termination) = self.delay(time, client).await
        {
            return Some(Early::Failed(termination));
        }
        let status = injected.abort?;
        self.count_fault(FaultKind::Abort);
        Some(Early::Aborted(status))
    }

    /// Waits. The body is gathered before, if it is to be, so that the wait counts against the route's
    /// time; past its deadline nothing is waited for.
    async fn delay<C: Client>(
        &mut self,
        time: Duration,
        client: &mut C,
    ) -> Result<(), Termination> {
        if self.is_gathered() {
            self.gather(client).await?;
        }
        self.count_fault(FaultKind::Delay);
        self.timer.set(self.no_later(now() + time));
        let gone = poll_fn(|cx| match client.poll_gone(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => self.timer.poll_expired(cx).map(|()| false),
        })
        .await;
        self.timer.clear();
        match gone {
            true => Err(Termination::ClientGone),
            false => Ok(()),
        }
    }

    fn count_fault(&mut self, kind: FaultKind) {
        self.context.worker.shared.metrics.fault_injected(kind);
        self.finish.injected(kind);
    }

    /// The answer to a request that ended early.
    pub(crate) fn end_early(self: Box<Self>, early: Early) -> Box<Answer> {
        match early {
            Early::Failed(termination) => self.fail(termination),
            Early::Aborted(status) => self.abort(status),
        }
    }

    fn abort(mut self: Box<Self>, status: StatusCode) -> Box<Answer> {
        self.settle_body();
        let refusal = Refusal::new(Termination::FaultInjected, None).with_status(status);
        let refusal = refusal.spoken(self.admitted.dialect);
        self.finish.failed(Termination::FaultInjected);
        let words = self.words();
        problem::local(refusal, words, self.finish)
    }
}
