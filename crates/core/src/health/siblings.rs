//! A region among its siblings: whether others fare alike, and whether anything is left without it.
//!
//! What all regions show is the service's fault or this side's, and to take regions out for it only
//! piles load on those that are left. Compared is what was met, by class: a region that is cut off
//! and one that is overloaded by its traffic do not fare alike, although both fail.

use std::time::{Duration, Instant};

use super::Health;
use super::change::Stage;
use super::region::Region;
use super::window::Counts;
use crate::cell::ErrorClass;

/// Attempts from which a sibling tells something; fewer, if all of them failed.
const TESTED: u64 = 5;
const TESTED_FAILING: u64 = 2;
/// A sibling fares alike if it shows so much of what the region shows.
const ALIKE: f64 = 0.5;
/// Natural logarithm of how unlikely a difference must be to count.
const BEYOND_CHANCE: f64 = 12.0;
/// Attempts from which a standard deviation is granted to chance. Fewer show too much by chance.
const MANY: u64 = 20;
/// And so much more than it usually does.
const ABOVE_USUAL: f64 = 0.05;
/// Two regions are slow for the same reason if both take so many times as long as usual.
const SLOWER: f64 = 1.5;
/// A region that went out within this time still counts as a sibling that failed.
const FALL_REMEMBERED: Duration = Duration::from_secs(30);
/// It fails alike only if who took over fails from so soon on.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What a region is judged to be among its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Others do better, or may.
    Worse,
    /// Everybody fares alike.
    Shared,
    /// There is nobody else.
    Alone,
}

/// What a region showed when it was taken out because of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fall {
    pub(super) at: Instant,
    pub(super) met: Counts,
    /// How many times slower than usual it was.
    pub(super) slower: f64,
}

/// The regions of an upstream, as one of them sees them.
#[derive(Clone, Copy)]
pub(super) struct Siblings<'a> {
    pub(super) all: &'a [Region],
    pub(super) me: usize,
    pub(super) now: Instant,
}

impl<'a> Siblings<'a> {
    fn others(self) -> impl Iterator<Item = &'a Region> {
        let others = self.all.iter().enumerate();
        others
            .filter(move |(at, _)| *at != self.me)
            .map(|(_, region)| region)
    }

    /// Whether another region is usable at all, if only on trial.
    pub(super) fn any_up(self) -> bool {
        self.others().any(Region::up)
    }

    /// Whether another region can take over.
    pub(super) fn any_takes_over(self) -> bool {
        self.others().any(takes_over)
    }

    /// Whether a region that met `met` within `span`, and was well last at `well`, fails alone.
    pub(super) fn failing(self, met: &Counts, span: Duration, well: Instant) -> Verdict {
        self.verdict(
            |fall| well <= fall.at + AT_ONCE && alike(met, &fall.met),
            |other| {
                let theirs = other.met(span, self.now);
                match tested(&theirs) {
                    true => alike(met, &theirs) && theirs.share() > other.usual() + ABOVE_USUAL,
                    false => other
                        .shown(self.now)
                        .is_some_and(|shown| alike(met, &shown.met)),
                }
            },
        )
    }

    /// Whether a region whose answers take `ratio` times as long as usual since `since` is slow
    /// alone; `times` counts as slow.
    pub(super) fn slow(self, times: f64, since: Option<Instant>) -> Verdict {
        let bound = 1.0 + (times - 1.0) * ALIKE;
        self.verdict(
            |fall| fall.slower >= bound && since <= Some(fall.at + AT_ONCE * 2),
            |other| match other.slower() {
                0.0 => other
                    .shown(self.now)
                    .is_some_and(|shown| shown.slower >= bound),
                ratio => ratio >= bound,
            },
        )
    }

    fn verdict(
        self,
        fell_alike: impl Fn(&Fall) -> bool,
        alike: impl Fn(&Region) -> bool,
    ) -> Verdict {
        let mut shared = false;
        for other in self.others() {
            if other.fall(self.now).is_some_and(&fell_alike) {
                shared = true;
            } else if takes_over(other) {
                if !alike(other) {
                    return Verdict::Worse;
                }
                shared = true;
            }
        }
        if shared {
            Verdict::Shared
        } else {
            Verdict::Alone
        }
    }

    /// Whether a sibling is about to tell more than it has: what was asked of it within `span` is
    /// still under way, or too little failed.
    pub(super) fn unsettled(self, span: Duration) -> bool {
        let unsettled = |other: &Region| {
            let theirs = other.met(span, self.now);
            let failing = theirs.answered == 0 && theirs.failed() > 0;
            let under_way = theirs.ended() == 0 && other.cell.in_flight() > 0;
            !tested(&theirs) && (failing || under_way)
        };
        self.others()
            .filter(|other| takes_over(other))
            .any(unsettled)
    }

    /// Whether the others are as silent as this region, which is for `lasted`: nobody that is asked
    /// answers.
    pub(super) fn silent(self, lasted: Duration) -> bool {
        let up = || self.others().filter(|other| other.up());
        let heard = |other: &Region| {
            let last = other.heard();
            last.is_some_and(|at| self.now.saturating_duration_since(at) < lasted / 2)
        };
        let waits = |other: &Region| other.anybody_waits() >= Some(lasted / 2);
        !up().any(heard) && up().any(waits)
    }

    /// The least share of failures among those that can take over; none if none of them was asked.
    pub(super) fn least_share(self, span: Duration) -> Option<f64> {
        let shares = self.others().filter(|other| takes_over(other));
        shares
            .map(|other| other.met(span, self.now))
            .filter(tested)
            .map(|met| met.share())
            .min_by(f64::total_cmp)
    }

    /// The share of failures of all others together; none if nothing was asked of them.
    pub(super) fn share(self, span: Duration) -> Option<f64> {
        let mut all = Counts::default();
        for other in self.others() {
            all.add(&other.met(span, self.now));
        }
        (all.ended() > 0).then(|| all.share())
    }
}

/// Whether so many attempts tell something.
pub(super) fn tested(met: &Counts) -> bool {
    met.ended() >= TESTED || met.answered == 0 && met.failed() >= TESTED_FAILING
}

/// Whether a region can take traffic that another one loses.
fn takes_over(region: &Region) -> bool {
    region.up() && matches!(region.stage(), Stage::Serving | Stage::Ramp)
}

/// Whether what `theirs` met is at least [`ALIKE`] of what `mine` did, by kind. Connections that are
/// not made and connections that break are one kind: which it is depends on who has warm ones.
fn alike(mine: &Counts, theirs: &Counts) -> bool {
    use ErrorClass::{Connect, Declared, Reset, ServerError, Timeout, Tls};
    let kinds: [&[ErrorClass]; 4] = [
        &[Connect, Tls, Reset],
        &[Timeout],
        &[ServerError],
        &[Declared],
    ];
    let common = kinds.map(|kind| mine.share_of(kind).min(theirs.share_of(kind)));
    let few = theirs.ended() < MANY;
    let chance = if few {
        0.0
    } else {
        0.5 / (theirs.ended() as f64).sqrt()
    };
    common.iter().sum::<f64>() >= ALIKE * mine.share() - chance
        || !kinds.iter().any(|kind| stands_out(kind, mine, theirs))
}

/// Whether errors of these classes are more frequent in `mine` than chance explains if `theirs` is how
/// things are: by the likelihood ratio of the two shares.
fn stands_out(kind: &[ErrorClass], mine: &Counts, theirs: &Counts) -> bool {
    let (own, ended) = (mine.share_of(kind), mine.ended() as f64);
    // Laplace's rule of succession, so that few attempts prove nothing.
    let failed = theirs.share_of(kind) * theirs.ended() as f64;
    let other = (failed + 1.0) / (theirs.ended() as f64 + 2.0);
    let part = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    own > other && ended * (part(own, other) + part(1.0 - own, 1.0 - other)) > BEYOND_CHANCE
}

impl Fall {
    /// Whether a region that shows what `self` is has the fault that made `other` fall.
    pub(super) fn resembles(&self, other: &Self) -> bool {
        let slow = |fall: &Self| fall.slower > SLOWER;
        let failing = self.met.failed() > 0 && other.met.failed() > 0;
        failing && alike(&self.met, &other.met) || slow(self) && slow(other)
    }

    /// This one, as far as what was shown before is not more: the edges of a fault show less of it.
    pub(super) fn or_more(self, before: &Self) -> Self {
        let more = before.met.share() > self.met.share();
        Self {
            at: self.at,
            met: if more { before.met } else { self.met },
            slower: self.slower.max(before.slower),
        }
    }

    /// Whether it is still remembered at `now`.
    pub(super) fn remembered(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) <= FALL_REMEMBERED
    }
}

/// The worse of two healths, where only `Degraded` of the second counts.
pub(super) fn worst(a: Health, b: Health) -> Health {
    if a == Health::Degraded || b != Health::Degraded {
        a
    } else if a.usable() {
        b
    } else {
        a
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorClass::{Connect, Reset, ServerError};

    fn met(answered: u64, errors: &[(ErrorClass, u64)]) -> Counts {
        let mut counts = Counts {
            answered,
            ..Counts::default()
        };
        for (class, count) in errors {
            counts.errors[*class as usize] = *count;
        }
        counts
    }

    #[test]
    fn regions_fare_alike_that_meet_the_same() {
        let check = |mine: Counts, theirs: Counts, expected| {
            assert_eq!(alike(&mine, &theirs), expected, "{mine:?} {theirs:?}");
        };
        let failing = met(0, &[(ServerError, 20)]);
        check(failing, failing, true);
        check(failing, met(10, &[(ServerError, 10)]), true);
        check(failing, met(11, &[(ServerError, 8)]), false);
        check(failing, met(35, &[(ServerError, 25)]), false);
        check(failing, met(33, &[(ServerError, 27)]), true);
        check(failing, met(100, &[]), false);
        check(
            met(5, &[(ServerError, 3)]),
            met(90, &[(ServerError, 10)]),
            true,
        );
        check(met(0, &[(ServerError, 4)]), met(100, &[]), false);
        // Cut off there, overloaded here.
        check(met(0, &[(Reset, 20)]), met(5, &[(ServerError, 15)]), false);
        check(met(0, &[(Reset, 10), (ServerError, 10)]), failing, true);
        // No connections here, those that there were broken there.
        check(met(0, &[(Connect, 20)]), met(0, &[(Reset, 5)]), true);
    }

    #[test]
    fn the_worse_of_two_healths_counts() {
        use Health::{Degraded, Healthy, Unhealthy, Unknown};
        assert_eq!(worst(Healthy, Unknown), Healthy);
        assert_eq!(worst(Unknown, Degraded), Degraded);
        assert_eq!(worst(Degraded, Healthy), Degraded);
        assert_eq!(worst(Unhealthy, Degraded), Unhealthy);
    }
}
