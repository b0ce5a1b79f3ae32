//! What happened lately: totals noted look by look, and their differences.
//!
//! Counters only grow, so a window is the difference between now and a note of some time ago. The
//! notes are bounded in number, whatever the rate of looks: a window of a minute has coarser notes
//! than one of a second, and as many.

use std::collections::VecDeque;
use std::ops::Sub;
use std::time::{Duration, Instant};

use super::evidence::Failures;
use crate::cell::{ErrorClass, LatencyCounts, Tally};

/// How attempts ended, in totals or in differences of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Answered without an error.
    pub(super) answered: u64,
    /// Failed, by class.
    pub(super) errors: [u64; ErrorClass::COUNT],
}

/// What happened within a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) counts: Counts,
    pub(super) within: Duration,
}

/// Values by the moment at which they were noted, oldest first, at most so many.
#[derive(Debug)]
pub(super) struct Marks<T> {
    marks: VecDeque<(Instant, T)>,
    most: usize,
}

/// What attempts at a region met lately.
#[derive(Debug)]
pub(super) struct Window {
    now: Counts,
    latency: LatencyCounts,
    counts: Marks<Counts>,
    latencies: Marks<LatencyCounts>,
}

/// Notes of counts in a window, and a few to spare: a window's edge is off by a 20th of it at most,
/// or by the time between two looks.
const COUNTS_PER_WINDOW: u32 = 20;
/// The same of latencies, which are larger and whose edge matters less.
const LATENCIES_PER_WINDOW: u32 = 5;

impl Counts {
    pub(super) fn failed(&self) -> u64 {
        self.errors.iter().sum()
    }

    pub(super) fn ended(&self) -> u64 {
        self.answered + self.failed()
    }

    /// The part that failed, 0 of nothing.
    pub(super) fn share(&self) -> f64 {
        self.failed() as f64 / self.ended().max(1) as f64
    }

    /// The part that failed with errors of these classes.
    pub(super) fn share_of(&self, classes: &[ErrorClass]) -> f64 {
        let failed: u64 = classes
            .iter()
            .map(|class| self.errors[*class as usize])
            .sum();
        failed as f64 / self.ended().max(1) as f64
    }

    /// What a difference of tallies counts.
    pub(super) fn met(delta: &Tally) -> Self {
        Self {
            answered: delta.latency.total(),
            errors: delta.errors,
        }
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.answered += more.answered;
        for (total, more) in self.errors.iter_mut().zip(more.errors) {
            *total += more;
        }
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        let mut errors = self.errors;
        for (now, before) in errors.iter_mut().zip(before.errors) {
            *now -= before;
        }
        Self {
            answered: self.answered - before.answered,
            errors,
        }
    }
}

impl Span {
    /// The same as evidence.
    pub(super) fn failures(&self, usual: f64, others: Option<f64>) -> Failures {
        Failures {
            failed: self.counts.failed(),
            of: self.counts.ended(),
            within: self.within,
            by_class: self.counts.errors,
            usual,
            others,
        }
    }
}

impl<T> Marks<T> {
    /// At most `most` marks, which is what memory is taken for.
    pub(super) fn new(most: usize) -> Self {
        Self {
            marks: VecDeque::with_capacity(most),
            most,
        }
    }

    /// Notes `value`, unless the newest mark is nearer than `spacing`. The oldest makes room.
    pub(super) fn note(&mut self, now: Instant, spacing: Duration, value: T) {
        if self.marks.back().is_some_and(|(at, _)| *at + spacing > now) {
            return;
        }
        if self.marks.len() == self.most {
            self.marks.pop_front();
        }
        self.marks.push_back((now, value));
    }

    /// Every second mark makes room for later ones once all are taken, so that they always reach
    /// back to the first; says whether it was time for that.
    pub(super) fn thin_out(&mut self) -> bool {
        let full = self.marks.len() == self.most;
        if full {
            let mut odd = true;
            self.marks.retain(|_| {
                odd = !odd;
                !odd
            });
        }
        full
    }

    /// The newest mark that is not later than `at`.
    pub(super) fn before(&self, at: Instant) -> Option<&(Instant, T)> {
        self.marks.iter().rev().find(|(marked, _)| *marked <= at)
    }

    /// The oldest mark.
    pub(super) fn oldest(&self) -> Option<&(Instant, T)> {
        self.marks.front()
    }

    pub(super) fn clear(&mut self) {
        self.marks.clear();
    }
}

impl Window {
    /// A window that begins now.
    pub(super) fn new(now: Instant, latency: LatencyCounts) -> Self {
        let mut window = Self {
            now: Counts::default(),
            latency,
            counts: Marks::new(COUNTS_PER_WINDOW as usize + 4),
            latencies: Marks::new(LATENCIES_PER_WINDOW as usize + 3),
        };
        window.restart(now);
        window
    }

    /// Enters what a look found: the counts since the last one, and the latencies in total.
    pub(super) fn enter(
        &mut self,
        now: Instant,
        span: Duration,
        met: &Counts,
        latency: &LatencyCounts,
    ) {
        self.now.add(met);
        self.latency.clone_from(latency);
        self.counts.note(now, span / COUNTS_PER_WINDOW, self.now);
        let spacing = span / LATENCIES_PER_WINDOW;
        self.latencies.note(now, spacing, latency.clone());
    }

    /// Totals since the window was made.
    pub(super) fn total(&self) -> Counts {
        self.now
    }

    /// What happened within the last `span`, or since the window began if that is later.
    pub(super) fn over(&self, now: Instant, span: Duration) -> Span {
        let start = now.checked_sub(span).and_then(|at| self.counts.before(at));
        match start.or_else(|| self.counts.oldest()) {
            None => Span::default(),
            Some((at, before)) => Span {
                counts: self.now - *before,
                within: now.saturating_duration_since(*at),
            },
        }
    }

    /// How long answers took within the last `span`.
    pub(super) fn latency(&self, now: Instant, span: Duration) -> LatencyCounts {
        let start = now
            .checked_sub(span)
            .and_then(|at| self.latencies.before(at));
        match start.or_else(|| self.latencies.oldest()) {
            None => LatencyCounts::default(),
            Some((_, before)) => self.latency.since(before),
        }
    }

    /// Forgets what happened before.
    pub(super) fn restart(&mut self, now: Instant) {
        self.counts.clear();
        self.latencies.clear();
        self.counts.note(now, Duration::ZERO, self.now);
        self.latencies
            .note(now, Duration::ZERO, self.latency.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn met(answered: u64, resets: u64) -> Counts {
        let mut errors = [0; ErrorClass::COUNT];
        errors[ErrorClass::Reset as usize] = resets;
        Counts { answered, errors }
    }

    /// Looks every `every` ms with 2 answers and 1 reset each; what the last second counts after.
    fn check(every: u64, looks: u64, ended: u64, within_ms: u64) {
        let start = Instant::now();
        let mut window = Window::new(start, LatencyCounts::default());
        let at = |look: u64| start + Duration::from_millis(every * look);
        for look in 1..=looks {
            window.enter(at(look), SECOND, &met(2, 1), &LatencyCounts::default());
        }
        let span = window.over(at(looks), SECOND);
        assert_eq!(span.counts.ended(), ended, "{every} ms, {looks} looks");
        assert_eq!(span.within, Duration::from_millis(within_ms));
        assert!((span.counts.share() - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_window_holds_what_happened_within_it() {
        check(50, 4, 12, 200);
        check(50, 20, 60, 1_000);
        check(50, 500, 60, 1_000);
        check(250, 500, 12, 1_000);
        check(10, 500, 300, 1_000);
        check(3_000, 5, 3, 3_000);
    }

    #[test]
    fn a_window_that_begins_again_has_seen_nothing() {
        let start = Instant::now();
        let mut window = Window::new(start, LatencyCounts::default());
        let mut latency = LatencyCounts::default();
        latency.0[7] = 5;
        window.enter(start + SECOND / 2, SECOND, &met(5, 5), &latency);
        assert_eq!(window.latency(start + SECOND / 2, SECOND).total(), 5);
        window.restart(start + SECOND / 2);
        let now = start + SECOND;
        assert_eq!(window.over(now, SECOND).counts, Counts::default());
        assert_eq!(window.latency(now, SECOND).total(), 0);
        assert_eq!(window.total(), met(5, 5));
    }

    #[test]
    fn marks_that_are_thinned_out_reach_back_to_the_first() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut marks = Marks::new(8);
        for ms in 0..1_000 {
            marks.thin_out();
            marks.note(at(ms), Duration::ZERO, ms);
        }
        assert_eq!(marks.oldest(), Some(&(start, 0)));
        assert!(marks.before(at(999)).is_some_and(|(_, ms)| *ms > 900));
    }
}
