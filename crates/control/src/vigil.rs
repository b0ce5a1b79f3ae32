//! The watch over a plan after its activation, and the way back when it does worse than what was there.
//!
//! While the serving plan has `rollback`, what requests met is counted up a few times within each watch,
//! so that there is something to compare with when the next plan comes. Nothing of this is on the path
//! of a request: counters that are there anyway are summed. What a plan is held against, and where it is
//! gone back to, is the last one that is trusted: one that has passed its watch, or had none. A plan
//! that follows within the watch of another is held against what was before both. Failures of what the
//! plan left as it was, after a region of that went down, are not held against it (see `untouched`). One
//! plan is left once and never a plan that was itself a way back, so two plans cannot take turns.

mod past;
mod untouched;

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::Live;
use tidegate_core::plan::Rollback;
use tidegate_telemetry::EventKind;
use tidegate_telemetry::metrics::Totals;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::origin::{Cause, Origin};
use crate::regression::{Before, Regression};
use crate::reload::{Activation, Reloader};
use crate::shared::Shared;
use past::{LOOKS, Past};
use untouched::Untouched;

/// Bounds of the time between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long failures of what a plan left as it was are given to turn out to be a region's that goes
/// down: longer than judges and probes take with their defaults. Never more than a quarter of a watch.
const DOUBT: Duration = Duration::from_secs(5);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Vigil(JoinHandle<()>);

struct Watching {
    reloader: Arc<Reloader>,
    shared: Shared,
    activations: watch::Receiver<Option<Activation>>,
    /// What served when this last looked: what the next plan is compared with.
    live: Option<Arc<Live>>,
    past: Past,
    /// What was before a plan that was left, until that is a watch ago: what was counted under it is
    /// nothing to be held against.
    kept: Option<(Instant, Trusted)>,
    under_watch: Option<UnderWatch>,
}

/// What a plan is held against.
struct Trusted {
    /// Where it is gone back to.
    generation: u64,
    before: Before,
    untouched: Untouched,
}

/// A plan whose watch is not over.
struct UnderWatch {
    generation: u64,
    since: Instant,
    begun: Totals,
    trusted: Trusted,
    /// Since when it would have been left, were it not for what may turn out to be a region's fault.
    doubt: Option<Instant>,
    /// Whether it was told that it is not left, and why.
    held: bool,
}

/// What a look comes to.
enum Verdict {
    /// Nothing is worse, or not surely.
    Fine,
    /// It may be a region that goes down.
    Doubtful,
    /// It is: these, as `upstream/region`.
    Held(Regression, Vec<String>),
    Worse(Regression),
}

impl Vigil {
    /// Watches over what `reloader` puts in place from now on. Needs a tokio runtime with time.
    pub fn start(reloader: Arc<Reloader>, shared: Shared) -> Self {
        let mut activations = reloader.activations();
        activations.mark_unchanged();
        let watching = Watching {
            reloader,
            live: shared.plan.newest(),
            shared,
            activations,
            past: Past::default(),
            kept: None,
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
                    Ok(()) => self.activated().await,
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

    /// Another plan serves: what was counted so far is what it is held against.
    async fn activated(&mut self) {
        let (Some(activation), Some(new)) = (
            *self.activations.borrow_and_update(),
            self.shared.plan.newest(),
        ) else {
            return;
        };
        // Yet another one serves by now, and will be told.
        if new.generation.0 != activation.generation {
            return;
        }
        let old = self.live.replace(new.clone());
        // Whatever was under watch is forgotten now.
        if self.limits().is_none() {
            return;
        }
        let (now, totals) = (Instant::now(), self.shared.metrics.totals());
        let mut last = self.under_watch.take().map(|watched| watched.trusted);
        let Some(old) = old.filter(|_| is_watched(&activation)) else {
            // A way back: what it is from was no measure.
            if let Some(trusted) = last {
                self.keep(now, trusted);
            }
            return;
        };
        let before = old.generation.0;
        let earlier = last
            .as_mut()
            .map(|last| std::mem::take(&mut last.untouched));
        let untouched = self.compare(old, new, earlier).await;
        let trusted = self.trusted(now, (before, &totals), last, untouched);
        self.under_watch = trusted.map(|trusted| UnderWatch {
            generation: activation.generation,
            since: now,
            begun: totals,
            trusted,
            doubt: None,
            held: false,
        });
    }

    /// What the new plan leaves as it is, of what was left as it is before. The old one is let go where
    /// that delays nobody.
    async fn compare(
        &self,
        old: Arc<Live>,
        new: Arc<Live>,
        earlier: Option<Untouched>,
    ) -> Untouched {
        let compare = move || {
            let mut untouched = Untouched::between(&old, &new);
            if let Some(earlier) = earlier {
                untouched.within(&earlier);
            }
            untouched
        };
        let compared = self.reloader.quiet().run(compare).await;
        compared.unwrap_or_default()
    }

    /// What the new plan is held against: what `last` was, if that was still under watch, or the plan
    /// before it, and what was counted until now.
    fn trusted(
        &mut self,
        now: Instant,
        (before, totals): (u64, &Totals),
        last: Option<Trusted>,
        mut untouched: Untouched,
    ) -> Option<Trusted> {
        if let Some(last) = last {
            return Some(Trusted { untouched, ..last });
        }
        if let Some((_, kept)) = self.kept.take_if(|(until, _)| now < *until) {
            untouched.begin_with(&kept.untouched);
            return Some(Trusted {
                generation: before,
                before: kept.before,
                untouched,
            });
        }
        Some(Trusted {
            generation: before,
            before: self.past.before(totals.clone())?,
            untouched,
        })
    }

    /// What was counted under a plan that is left is forgotten, and what was before it kept until there
    /// is as much again.
    fn keep(&mut self, now: Instant, trusted: Trusted) {
        if let Some(limits) = self.limits() {
            self.past.clear();
            self.kept = Some((now + limits.watch, trusted));
        }
    }

    async fn look(&mut self, limits: &Rollback) {
        let (now, totals) = (Instant::now(), self.shared.metrics.totals());
        if let Some(watched) = &mut self.under_watch {
            match watched.judge(now, &totals, limits) {
                Verdict::Worse(regression) => self.go_back(now, regression).await,
                Verdict::Held(regression, regions) => {
                    self.hold(now, limits, regression, regions).await
                }
                Verdict::Doubtful => {}
                Verdict::Fine => self.pass(now, limits),
            }
        }
        self.past.remember(now, totals, limits.watch);
    }

    /// Ends the watch if it is over: the plan is trusted.
    fn pass(&mut self, now: Instant, limits: &Rollback) {
        let over = |watched: &mut UnderWatch| now.duration_since(watched.since) > limits.watch;
        if let Some(passed) = self.under_watch.take_if(over) {
            let kept = self.kept.take();
            self.let_go((passed, kept));
        }
    }

    fn forget(&mut self) {
        self.past.clear();
        let watched = (self.under_watch.take(), self.kept.take());
        if let (None, None) = watched {
            return;
        }
        self.let_go(watched);
    }

    /// Drops what knows every route of a plan where that delays nobody.
    fn let_go(&self, what: impl Send + 'static) {
        self.reloader.quiet().let_go(what);
    }

    /// Says, once, why the plan is not left.
    async fn hold(
        &mut self,
        now: Instant,
        limits: &Rollback,
        regression: Regression,
        regions: Vec<String>,
    ) {
        let Some(watched) = self.under_watch.as_mut() else {
            return;
        };
        let generation = watched.generation;
        if !std::mem::replace(&mut watched.held, true) {
            let detail = format!(
                "{regression}, but {} went down meanwhile, and what fails needs that and is as it was",
                regions.join(", ")
            );
            self.reloader.generations().held(generation, &detail);
            self.shared.events.record(EventKind::RollbackHeld {
                generation,
                regions,
                detail,
            });
            self.reloader.keep().await;
        }
        self.pass(now, limits);
    }

    async fn go_back(&mut self, now: Instant, regression: Regression) {
        let Some(UnderWatch {
            generation,
            trusted,
            ..
        }) = self.under_watch.take()
        else {
            return;
        };
        let origin = Origin::itself(Cause::AutomaticRollback).because(regression.to_string());
        let target = Some(trusted.generation);
        self.keep(now, trusted);
        match self.reloader.leave(generation, target, origin).await {
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

impl UnderWatch {
    fn judge(&mut self, now: Instant, totals: &Totals, limits: &Rollback) -> Verdict {
        let Trusted {
            before, untouched, ..
        } = &mut self.trusted;
        untouched.look();
        let is = totals.since(&self.begun);
        let Some(found) = Regression::find(before, &is, limits) else {
            self.doubt = None;
            return Verdict::Fine;
        };
        let fallen = untouched.fallen();
        if !fallen.is_empty() {
            let blamed =
                Regression::find_but(before, &is, limits, |route| untouched.excuses(route));
            return blamed.map_or(Verdict::Held(found, fallen), Verdict::Worse);
        }
        let is_its_own = untouched.is_empty()
            || Regression::find_but(before, &is, limits, |route| untouched.has(route)).is_some();
        let since = *self.doubt.get_or_insert(now);
        match is_its_own || now.duration_since(since) >= DOUBT.min(limits.watch / 4) {
            true => Verdict::Worse(found),
            false => Verdict::Doubtful,
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
