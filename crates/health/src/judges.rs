//! When the judges look: one judge for each upstream, kept by its name across plans.
//!
//! A judge is pure and belongs to `core`; here is only its clock. Judges that are calm look at the
//! same moments, so that a process with nothing to do wakes a few times a second, however many
//! upstreams it has; one whose endpoints a probe has just changed looks at once.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::Live;
use tidegate_core::health::Judge;
use tokio::time::Instant;

use crate::report::Report;

/// The longest time between two looks at anything, the plan included.
pub(crate) const LOOK: Duration = Duration::from_millis(250);
/// Who is due within this looks now: they keep together.
const TOGETHER: Duration = Duration::from_millis(10);

type Name = Arc<str>;

/// The judges of the upstreams of one plan, in its order.
pub(crate) struct Judges {
    seats: Vec<Seat>,
    next: Instant,
}

struct Seat {
    upstream: Name,
    judge: Judge,
    due: Instant,
    /// By the region's position: whether it was in doubt after the last look.
    doubted: Vec<bool>,
    /// What probes changed since: region, and in words.
    causes: Vec<(Name, String)>,
}

/// A region about which doubt began or ended: upstream and region by their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) upstream: usize,
    pub(crate) region: usize,
    pub(crate) began: bool,
}

impl Judges {
    pub(crate) fn new(now: Instant) -> Self {
        let seats = Vec::new();
        Self { seats, next: now }
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// There is nothing to look at yet.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.next = now + LOOK;
    }

    /// Seats a judge for each upstream of `live`, at once due. Who judged an upstream of that name
    /// goes on; doubts are told again, because whoever was told them may be gone.
    pub(crate) fn follow(&mut self, live: &Live, now: Instant) {
        let seats = std::mem::take(&mut self.seats);
        let mut known: HashMap<Name, Judge> = seats
            .into_iter()
            .map(|seat| (seat.upstream, seat.judge))
            .collect();
        let seat = |upstream: &tidegate_core::plan::Upstream| Seat {
            judge: known.remove(&upstream.name).unwrap_or_default(),
            upstream: upstream.name.clone(),
            due: now,
            doubted: vec![false; upstream.regions.len()],
            causes: Vec::new(),
        };
        self.seats = live.plan.upstreams.iter().map(seat).collect();
        self.next = now;
    }

    /// Has the judge of the upstream at this position look at once, because a probe changed an
    /// endpoint of `region`; how, `cause` says in words.
    pub(crate) fn urge(&mut self, upstream: usize, region: &Name, cause: String, now: Instant) {
        if let Some(seat) = self.seats.get_mut(upstream) {
            seat.due = now;
            self.next = now;
            seat.causes.retain(|(of, _)| of != region);
            seat.causes.push((region.clone(), cause));
        }
    }

    /// Has everybody look who is due; `live` is what was last followed. Says which doubts began or
    /// ended.
    pub(crate) fn look(&mut self, live: &Live, now: Instant, report: &Report) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for (upstream, seat) in self.seats.iter_mut().enumerate() {
            if seat.due <= now + TOGETHER {
                seat.look(live, upstream, now, report);
                seat.doubt(upstream, &mut doubts);
            }
        }
        let due = self.seats.iter().map(|seat| seat.due).min();
        self.next = due.map_or(now + LOOK, |due| due.min(now + LOOK));
        doubts
    }
}

impl Seat {
    fn look(&mut self, live: &Live, upstream: usize, now: Instant, report: &Report) {
        let (wanted, bound) = (&live.plan.upstreams[upstream], &live.upstreams[upstream]);
        self.due = now + LOOK;
        let judge = &mut self.judge;
        let look = AssertUnwindSafe(|| judge.look(wanted, bound, now.into_std()));
        let Ok(changes) = catch_unwind(look) else {
            // A defect there must cost nobody his probes, nor other upstreams their judges.
            tracing::error!(upstream = %self.upstream, "the judge failed; it starts anew");
            self.judge = Judge::default();
            return;
        };
        for change in &changes {
            let region = wanted.regions[usize::from(change.position)].region;
            let region = &live.plan.region(region).name;
            let of_region = |(of, _): &&(Name, String)| of == region;
            let cause = self.causes.iter().find(of_region);
            let cause = cause.map(|(_, words)| words.as_str());
            report.changed(&self.upstream, region, change, cause);
        }
        self.causes.clear();
        self.due = now + self.judge.next_look().clamp(TOGETHER, LOOK);
    }

    fn doubt(&mut self, upstream: usize, doubts: &mut Vec<Doubt>) {
        for (region, doubted) in self.doubted.iter_mut().enumerate() {
            let began = u8::try_from(region).is_ok_and(|at| self.judge.in_doubt(at));
            if std::mem::replace(doubted, began) != began {
                doubts.push(Doubt {
                    upstream,
                    region,
                    began,
                });
            }
        }
    }
}
