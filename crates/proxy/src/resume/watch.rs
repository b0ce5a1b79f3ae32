//! Notices that a body has stopped.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tidegate_core::resume::Pace;

use crate::attempt::Place;
use crate::clock::now;
use crate::download::Flow;
use crate::leave::Trouble;
use crate::pipeline::Serving;
use crate::wheel::Timer;

/// Notices that nothing comes.
pub(super) struct Watch {
    pace: Pace,
    timer: Timer,
    /// Since when something is waited for.
    since: Option<Instant>,
    /// What was heard of regions: see `Worker::news`.
    heard: u64,
    /// The region is out.
    doubted: bool,
}

impl Watch {
    /// For a body that begins at `place`.
    pub(super) fn new(serving: &Serving, place: Place) -> Self {
        Self {
            pace: Pace::default(),
            timer: serving.context.worker.wheel.timer_in_region(),
            since: None,
            heard: serving.context.worker.news(),
            doubted: serving.trouble(place) == Trouble::Out,
        }
    }

    /// Another place has another pace.
    pub(super) fn begin_anew(&mut self, serving: &Serving, place: Place) {
        self.pace = Pace::default();
        self.since = None;
        self.heard = serving.context.worker.news();
        self.doubted = serving.trouble(place) == Trouble::Out;
    }

    /// Nothing is waited for.
    pub(super) fn rest(&mut self) {
        self.since = None;
    }

    /// Something came.
    pub(super) fn came(&mut self) {
        let waited = self.since.take();
        let waited = waited.map_or(Duration::ZERO, |since| {
            now().saturating_duration_since(since)
        });
        self.pace.came(waited);
    }

    /// Ready each time when what comes has stopped for so long that it counts as dead.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        serving: &Serving,
        place: Place,
        flow: &Flow,
    ) -> Poll<()> {
        let at = now();
        if serving.hears_news(&mut self.heard) {
            self.doubted = serving.trouble(place) == Trouble::Out;
        }
        let since = *self.since.get_or_insert(at);
        // The idle limit ends the request: it must not come first.
        let (rtt, most) = (flow.region().latency(), serving.route().idle_timeout / 2);
        let due = since
            + match self.doubted {
                true => self.pace.patience_in_doubt(rtt, most),
                false => self.pace.patience(rtt, most),
            };
        self.timer.set(due);
        ready!(self.timer.poll_expired(cx));
        // Should there be no better place, it is asked for again after as long a wait.
        self.since = Some(now());
        Poll::Ready(())
    }
}
