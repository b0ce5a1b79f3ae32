//! The part of what a region is offered that it takes, so that its capacity is used and not passed.
//!
//! Between two borders, `spill.at` and `spill.back` of the capacity, the part only drifts slowly to
//! where the region is full; beyond them it moves at once. So demand that rises is shed as soon as it
//! is noticed, demand that falls is taken back, and noise, which widens the borders by what counts of
//! that size vary anyway, moves next to nobody: that matters to clients that stay together.

use std::time::Duration;

use super::SLOW;
use crate::plan::Spill;

/// Counts may stray by so many standard deviations before that counts as a change.
const STRAYS: f64 = 3.0;
/// What is shed of less than this is not worth a draw.
const WHOLE: f64 = 0.999;

/// Attempts a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Offered, taken or shed.
    pub(super) offered: f64,
    /// Of them, those that cannot be shed.
    pub(super) bound: f64,
}

impl Load {
    /// The part, 0 to 1, to take from now on, after `take`, where `capacity` a second are possible. A
    /// region without any takes all: who sends there has no other.
    pub(super) fn take(&self, take: f64, spill: &Spill, capacity: f64, passed: Duration) -> f64 {
        if capacity <= 0.0 {
            return 1.0;
        }
        let (stray, goal) = (
            self.stray(take, spill.smoothing),
            self.fitting(capacity * spill.at),
        );
        let next = if take > self.fitting(capacity * spill.at + stray) {
            goal
        } else if take < self.fitting(capacity * spill.back - stray) {
            self.fitting(capacity * spill.back)
        } else {
            let slow = (spill.smoothing * SLOW).as_secs_f64();
            goal + (take - goal) * (-passed.as_secs_f64() / slow).exp()
        };
        if goal >= 1.0 && next > WHOLE {
            1.0
        } else {
            next
        }
    }

    /// The part to take so that `most` a second are there, what is bound included.
    fn fitting(&self, most: f64) -> f64 {
        let free = self.offered - self.bound;
        if free <= 0.0 {
            return 1.0;
        }
        ((most - self.bound) / free).clamp(0.0, 1.0)
    }

    /// By how much what `take` lets in may stray, if arrivals are independent: the variance of such an
    /// average is the rate over twice the time constant.
    fn stray(&self, take: f64, smoothing: Duration) -> f64 {
        let free = (self.offered - self.bound).max(0.0);
        let arrivals = self.bound + take * take * free;
        let twice = 2.0 * smoothing.as_secs_f64();
        match twice > 0.0 {
            true => STRAYS * (arrivals / twice).sqrt(),
            false => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: f64 = 100_000.0;
    const LOOK: Duration = Duration::from_millis(250);

    fn load(offered: f64, bound: f64) -> Load {
        Load {
            offered: offered * CAPACITY,
            bound: bound * CAPACITY,
        }
    }

    /// From `take`, at this load in parts of the capacity, after one look and after a minute.
    fn check(take: f64, (offered, bound): (f64, f64), at_once: f64, at_last: f64) {
        let (spill, load) = (Spill::default(), load(offered, bound));
        let next = load.take(take, &spill, CAPACITY, LOOK);
        let near = |actual: f64, expected: f64| (actual - expected).abs() < 0.005;
        assert!(near(next, at_once), "{take} {load:?}: {next} at once");
        let last = (0..1_200).fold(take, |take, _| load.take(take, &spill, CAPACITY, LOOK));
        assert!(near(last, at_last), "{take} {load:?}: {last} at last");
    }

    #[test]
    fn no_more_than_the_excess_is_shed() {
        check(1.0, (0.0, 0.0), 1.0, 1.0);
        check(1.0, (0.5, 0.0), 1.0, 1.0);
        check(1.0, (0.99, 0.0), 1.0, 1.0);
        check(1.0, (1.3, 0.0), 1.0 / 1.3, 1.0 / 1.3);
        check(1.0, (3.0, 0.0), 1.0 / 3.0, 1.0 / 3.0);
    }

    #[test]
    fn what_was_shed_is_taken_back_slowly_within_the_borders_and_at_once_beyond() {
        check(0.5, (1.9, 0.0), 0.5, 1.0 / 1.9);
        check(0.5, (1.3, 0.0), 0.9 / 1.3, 1.0 / 1.3);
        check(0.5, (0.95, 0.0), 0.9 / 0.95, 1.0);
        check(0.5, (0.89, 0.0), 1.0, 1.0);
    }

    #[test]
    fn what_cannot_be_shed_counts_first() {
        check(1.0, (1.5, 0.5), 0.5, 0.5);
        check(1.0, (2.0, 1.2), 0.0, 0.0);
        check(0.0, (2.0, 2.0), 1.0, 1.0);
    }

    #[test]
    fn without_capacity_nothing_is_shed() {
        let taken = load(3.0, 0.0).take(0.2, &Spill::default(), 0.0, LOOK);
        assert_eq!(taken, 1.0);
    }

    #[test]
    fn of_a_few_an_hour_nothing_is_concluded() {
        let few = Load {
            offered: 12.0,
            bound: 0.0,
        };
        let take = few.take(1.0, &Spill::default(), 10.0, LOOK);
        assert!(
            take > 0.99,
            "12 where 10 a second are possible may be chance: {take}"
        );
    }
}
