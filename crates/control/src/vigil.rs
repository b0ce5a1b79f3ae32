//! The watch over a plan after its activation, and the way back when it does worse than the one before.
//!
//! While the serving plan has `rollback`, what requests met is counted up a few times within each watch,
//! so that there is something to compare with when the next plan comes. Nothing of this is on the path
//! of a request: counters that are there anyway are summed. One plan is left once and never a plan that
//! was itself a way back, so two plans cannot take turns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::plan::Rollback;
use tidegate_telemetry::Metrics;
use tidegate_telemetry::metrics::Totals;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::origin::{Cause, Origin};
use crate::regression::{Before, Regression};
use crate::reload::{Activation, Reloader};
use crate::shared::Shared;

/// How often is counted within a watch.
const LOOKS: u32 = 24;
/// What is shortly before: the last of so many parts of a watch.
const SHORTLY: usize = 3;
/// Bounds of the time between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Vigil(JoinHandle<()>);

struct Watching {
    reloader: Arc<Reloader>,
    shared: Shared,
    activations: watch::Receiver<Option<Activation>>,
    /// What was counted at each look, oldest first, of about one watch.
    past: VecDeque<(Instant, Totals)>,
    under_watch: Option<UnderWatch>,
}

/// A plan whose watch is not over.
struct UnderWatch {
    activation: Activation,
    since: Instant,
    first: Totals,
    shortly: Totals,
    last: Totals,
}

impl Vigil {
    /// Watches over what `reloader` puts in place from now on. Needs a tokio runtime with time.
    pub fn start(reloader: Arc<Reloader>, shared: Shared) -> Self {
        let mut activations = reloader.activations();
        activations.mark_unchanged();
        let watching = Watching {
            reloader,
            shared,
            activations,
            past: VecDeque::new(),
            under_watch: None,
        };
        Self(tokio::spawn(watching.run()))
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watching {
    async fn run(mut self) {
        loop {
            let limits = self.limits();
            let pause = limits.map(|limits| pause(&limits));
            tokio::select! {
                biased;
                changed = self.activations.changed() => match changed {
                    Ok(()) => self.activated(),
                    Err(_ended) => return,
                },
                () = sleep(pause.unwrap_or(PAUSE_MAX)), if limits.is_some() => {}
            }
            match self.limits() {
                Some(limits) => self.look(&limits).await,
                None => self.forget(),
            }
        }
    }

    fn limits(&self) -> Option<Rollback> {
        self.shared.plan.serving().as_ref()?.plan.rollback
    }

    /// Another plan serves: what was counted so far is what it is compared with.
    fn activated(&mut self) {
        let activation = *self.activations.borrow_and_update();
        self.under_watch = None;
        let Some(activation) = activation.filter(is_watched) else {
            return;
        };
        let last = totals(&self.shared.metrics);
        let nth = |from_end: usize| {
            let at = self.past.len().checked_sub(from_end);
            at.and_then(|at| self.past.get(at))
        };
        let (first, shortly) = (self.past.front(), nth(LOOKS as usize / SHORTLY / 2));
        let (Some((_, first)), Some((_, shortly))) = (first, shortly.or(first)) else {
            return;
        };
        self.under_watch = Some(UnderWatch {
            activation,
            since: Instant::now(),
            first: first.clone(),
            shortly: shortly.clone(),
            last,
        });
    }

    async fn look(&mut self, limits: &Rollback) {
        let (now, totals) = (Instant::now(), totals(&self.shared.metrics));
        if let Some(watched) = &self.under_watch {
            let before = Before {
                first: &watched.first,
                shortly: &watched.shortly,
                last: &watched.last,
            };
            let found = Regression::find(&before, &totals, limits);
            if found.is_some() || now.duration_since(watched.since) > limits.watch {
                let activation = watched.activation;
                self.under_watch = None;
                if let Some(regression) = found {
                    self.go_back(activation, regression).await;
                }
            }
        }
        self.remember(now, totals, limits.watch);
    }

    /// Counts of more than a watch ago are of no use.
    fn remember(&mut self, now: Instant, totals: Totals, watch: Duration) {
        let pause = watch / LOOKS;
        let due = self
            .past
            .back()
            .is_none_or(|(at, _)| now.duration_since(*at) >= pause / 2);
        if due {
            self.past.push_back((now, totals));
        }
        while self
            .past
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > watch)
        {
            self.past.pop_front();
        }
    }

    fn forget(&mut self) {
        self.past.clear();
        self.under_watch = None;
    }

    async fn go_back(&self, activation: Activation, regression: Regression) {
        let origin = Origin::itself(Cause::AutomaticRollback).because(regression.to_string());
        let Activation {
            generation, before, ..
        } = activation;
        match self.reloader.leave(generation, before, origin).await {
            Ok(outcome) if outcome.verdict.serves() => {
                self.shared.metrics.rolled_back(regression.cause());
            }
            Ok(outcome) => {
                tracing::error!("{regression}, and it cannot be rolled back: {outcome}");
            }
            Err(error) => {
                tracing::error!("{regression}, and it cannot be rolled back: {error}");
            }
        }
    }
}

/// The first plan has nothing before it; a way back is not left.
fn is_watched(activation: &Activation) -> bool {
    activation.before.is_some() && !activation.cause.is_rollback()
}

fn pause(limits: &Rollback) -> Duration {
    (limits.watch / LOOKS).clamp(PAUSE_MIN, PAUSE_MAX)
}

fn totals(metrics: &Metrics) -> Totals {
    metrics.totals()
}
