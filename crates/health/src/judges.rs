//! When the judges look: one judge for each upstream, kept by its name across plans, and beside it an
//! allotter, which finds out for steering what each region can take.
//!
//! Both are pure and belong to `core`; here is only their clock. The allotter looks after the judge, so
//! that it sees what that just decided. Judges that are calm look at the
//! same moments, so that a process with nothing to do wakes a few times a second, however many
//! upstreams it has; one whose endpoints a probe has just changed looks at once, but not for each
//! of a thousand endpoints that change together.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::Allotter;
use tidegate_core::health::Judge;
use tokio::time::Instant;

use crate::followed::Followed;
use crate::report::Report;

/// The longest time between two looks at anything, the plan included.
pub(crate) const LOOK: Duration = Duration::from_millis(250);
/// The shortest time between two looks of one judge, unless a probe urges it.
const SHORTEST: Duration = Duration::from_millis(10);
/// The same if a probe does: a look costs as much as the upstream has endpoints.
const URGED: Duration = Duration::from_millis(5);

type Name = Arc<str>;

/// The judges of the upstreams that are followed and judged, in their order.
pub(crate) struct Judges {
    seats: Vec<Seat>,
    next: Instant,
    /// From which the common moments are counted.
    origin: Instant,
}

struct Seat {
    upstream: Name,
    beside: bool,
    judge: Judge,
    allotter: Allotter,
    looked: Option<Instant>,
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
        Self {
            seats: Vec::new(),
            next: now,
            origin: now,
        }
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// There is nothing to look at yet.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.next = now + LOOK;
    }

    /// Seats a judge for each upstream that is judged, at once due. Who judged an upstream of that name,
    /// or the same part of it, goes on; doubts are told again, because whoever was told them may be gone.
    pub(crate) fn follow(&mut self, followed: &[Followed], now: Instant) {
        let seats = std::mem::take(&mut self.seats);
        let mut known: HashMap<(Name, bool), (Judge, Allotter)> = seats
            .into_iter()
            .map(|seat| ((seat.upstream, seat.beside), (seat.judge, seat.allotter)))
            .collect();
        let seat = |one: &Followed| {
            let name = &one.upstream.name;
            let own = known.remove(&(name.clone(), one.beside));
            // An upstream that only served a part may have become one of the whole.
            let own = own.or_else(|| known.remove(&(name.clone(), !one.beside)));
            let (judge, allotter) = own.unwrap_or_default();
            Seat {
                judge,
                allotter,
                upstream: name.clone(),
                beside: one.beside,
                looked: None,
                due: now,
                doubted: vec![false; one.regions.len()],
                causes: Vec::new(),
            }
        };
        let judged = followed.iter().filter(|one| one.judged);
        self.seats = judged.map(seat).collect();
        self.next = now;
    }

    /// Has the judge of the upstream at this position look at once, because a probe changed an
    /// endpoint of `region`; how, `cause` says in words.
    pub(crate) fn urge(&mut self, upstream: usize, region: &Name, cause: String, now: Instant) {
        if let Some(seat) = self.seats.get_mut(upstream) {
            let earliest = seat.looked.map_or(now, |looked| now.max(looked + URGED));
            seat.due = seat.due.min(earliest);
            self.next = self.next.min(seat.due);
            seat.causes.retain(|(of, _)| of != region);
            seat.causes.push((region.clone(), cause));
        }
    }

    /// Has everybody look who is due; at what was last followed. Says which doubts began or ended.
    pub(crate) fn look(
        &mut self,
        followed: &[Followed],
        now: Instant,
        report: &Report,
    ) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        let seats = self.seats.iter_mut().zip(followed);
        for (upstream, (seat, one)) in seats.enumerate() {
            if seat.due <= now {
                let every = seat.look(one, now, report);
                seat.due = self.origin + moment_after(now - self.origin, every);
                seat.doubt(upstream, &mut doubts);
            }
        }
        let due = self.seats.iter().map(|seat| seat.due).min();
        self.next = due.map_or(now + LOOK, |due| due.min(now + LOOK));
        doubts
    }
}

/// The first common moment after `at`, of those that are `every` apart.
fn moment_after(at: Duration, every: Duration) -> Duration {
    let every = every.clamp(SHORTEST, LOOK).as_nanos();
    Duration::from_nanos_u128((at.as_nanos() / every + 1) * every)
}

impl Seat {
    /// Looks; says after how long to look again.
    fn look(&mut self, one: &Followed, now: Instant, report: &Report) -> Duration {
        self.looked = Some(now);
        let every = self.judge(one, now, report);
        self.allot(one, now);
        every
    }

    fn judge(&mut self, one: &Followed, now: Instant, report: &Report) -> Duration {
        let (wanted, bound) = (&one.upstream, &one.bound);
        let judge = &mut self.judge;
        let look = AssertUnwindSafe(|| judge.look(wanted, bound, now.into_std()));
        let Ok(changes) = catch_unwind(look) else {
            // A defect there must cost nobody his probes, nor other upstreams their judges.
            tracing::error!(upstream = %self.upstream, "the judge failed; it starts anew");
            self.judge = Judge::default();
            return LOOK;
        };
        for change in &changes {
            let Some(region) = one.regions.get(usize::from(change.position)) else {
                continue;
            };
            let of_region = |(of, _): &&(Name, String)| of == region;
            let cause = self.causes.iter().find(of_region);
            let cause = cause.map(|(_, words)| words.as_str());
            report.changed(&self.upstream, region, change, cause);
        }
        self.causes.clear();
        self.judge.next_look()
    }

    /// Without an allotter that works, the last allotments stay in force.
    fn allot(&mut self, one: &Followed, now: Instant) {
        let (wanted, bound) = (&one.upstream, &one.bound);
        let allotter = &mut self.allotter;
        let look = AssertUnwindSafe(|| allotter.look(wanted, bound, now.into_std()));
        if catch_unwind(look).is_err() {
            tracing::error!(upstream = %self.upstream, "the allotter failed; it starts anew");
            self.allotter = Allotter::default();
        }
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

#[cfg(test)]
mod tests {
    use tidegate_core::plan::{Probe, ProbeKind};
    use tidegate_core::{Board, InFlight, PlanHandle};
    use tidegate_telemetry::{Events, Metrics};

    use super::*;
    use crate::followed::followed;
    use crate::plan::{Spec, plan_of};

    /// Three upstreams, and judges that look when their time comes.
    struct Scene {
        board: Board,
        followed: Vec<Followed>,
        judges: Judges,
        report: Report,
        start: Instant,
    }

    impl Scene {
        fn start() -> Self {
            let start = Instant::now();
            let board = Board::new(start.into_std());
            let spec = || Spec::new(&["192.0.2.1:80"], Probe::new(ProbeKind::Tcp));
            let plan = plan_of(&[spec(), spec(), spec()]);
            let live = PlanHandle::new().activate(plan, &board);
            let followed = followed(&[live]);
            let mut judges = Judges::new(start);
            judges.follow(&followed, start);
            let (metrics, events) = (Metrics::new(), Events::new());
            Self {
                board,
                followed,
                judges,
                report: Report { metrics, events },
                start,
            }
        }

        /// Looks `count` times, each at its time; the milliseconds from the start of each.
        fn moments(&mut self, count: usize) -> Vec<u128> {
            let moment = |_| {
                let now = self.judges.next();
                assert!(
                    self.judges
                        .look(&self.followed, now, &self.report)
                        .is_empty()
                );
                (now - self.start).as_millis()
            };
            (0..count).map(moment).collect()
        }
    }

    #[test]
    fn calm_judges_look_together_and_seldom() {
        assert_eq!(Scene::start().moments(5), [0, 250, 500, 750, 1_000]);
    }

    #[test]
    fn a_judge_with_something_under_way_looks_often() {
        let mut scene = Scene::start();
        let endpoint = scene.board.endpoint("shop-1", "eu", "192.0.2.1:80");
        let attempt = InFlight::begin(endpoint, scene.board.region("shop-1", "eu"));
        assert_eq!(scene.moments(4), [0, 50, 100, 150]);
        let due = |seat: &Seat| (seat.due - scene.start).as_millis();
        let due: Vec<_> = scene.judges.seats.iter().map(due).collect();
        assert_eq!(due, [250, 200, 250]);
        drop(attempt);
        assert_eq!(scene.moments(4), [200, 250, 500, 750]);
    }

    #[test]
    fn a_judge_that_is_urged_looks_at_once() {
        let mut scene = Scene::start();
        scene.moments(1);
        let at = scene.start + Duration::from_millis(60);
        scene
            .judges
            .urge(1, &"eu".into(), "a probe failed".into(), at);
        assert_eq!(scene.moments(3), [60, 250, 500]);
        let burst = scene.start + Duration::from_millis(501);
        scene
            .judges
            .urge(1, &"eu".into(), "so did another".into(), burst);
        assert_eq!(scene.moments(2), [505, 750], "not for each of many");
        scene
            .judges
            .urge(9, &"eu".into(), "of no upstream".into(), at);
    }

    #[test]
    fn what_a_region_can_take_is_found_at_the_same_looks_and_kept_across_plans() {
        let mut scene = Scene::start();
        let cell = scene.board.region("shop-1", "eu");
        let endpoint = scene.board.endpoint("shop-1", "eu", "192.0.2.1:80");
        scene.moments(1);
        for _ in 0..100 {
            drop(InFlight::begin(endpoint.clone(), cell.clone()));
        }
        scene.moments(1);
        let offered = cell.allotment().offered;
        assert!(offered > 100.0, "100 in 250 ms: {offered} a second");
        scene.judges.follow(&scene.followed, scene.judges.next());
        scene.moments(1);
        let kept = cell.allotment().offered;
        assert!(
            kept > 0.7 * offered,
            "nobody starts anew: {kept} after {offered}"
        );
    }

    #[test]
    fn without_upstreams_the_plan_is_still_looked_at() {
        let mut scene = Scene::start();
        scene.followed = Vec::new();
        scene.judges.follow(&scene.followed, scene.start);
        assert_eq!(scene.moments(3), [0, 250, 500]);
    }
}
