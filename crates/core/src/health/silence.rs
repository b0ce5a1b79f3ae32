//! No byte from anywhere in the region, while requests wait.
//!
//! A region that is cut off answers nothing and refuses nothing; time-outs tell seconds later. But
//! attempts that were made since the last byte, that should be answered by now, and are not, tell at
//! once. Two measures of "should be", either is enough:
//! * beyond four times the time in which 99 of 100 answers come: three attempts;
//! * beyond four times a lower quantile: so many attempts that all of them being slow by chance is
//!   one case in e^20. With one slow route in the mix, p99 is that route's, and would be blind.
//!
//! Attempts of one instant count as two: a client that asks twenty slow things at once is one event.
//! Of those who waited before the last byte as many count as usually wait for quick answers
//! ([`Crowd`]): clients that ask one after the other ask nothing new of a region that is silent.

use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::histogram::Histogram;
use super::window::Marks;
use crate::cell::{LatencyCounts, Tally};
use crate::plan;

/// Times the usual time to answer.
const TIMES: u32 = 4;
/// Attempts that must wait.
const WAITING_MIN: f64 = 3.0;
/// The same for doubt, at half the time.
const DOUBT_WAITING: f64 = 2.0;
/// The threshold while nothing is usual yet.
const UNKNOWN: Duration = Duration::from_secs(1);
/// Answers from which the usual time is known.
const KNOWN_ANSWERS: f64 = 30.0;
/// Half of the usual times is forgotten within this.
const HALF_LIFE: Duration = Duration::from_secs(30);
/// Natural logarithm of how unlikely an unlucky row of slow answers must be.
const SURPRISE: f64 = 20.0;
/// Attempts of one look count as so many at most.
const PER_LOOK: u64 = 2;
/// After a false alarm all thresholds are twice as long, up to this many times, for a while.
const FALSE_ALARMS_MAX: u32 = 3;
const FALSE_ALARM_FORGOTTEN: Duration = Duration::from_secs(60);
/// More silence confirms a suspicion after twice the threshold and this.
const MARGIN: Duration = Duration::from_millis(50);

/// A silence that raises a suspicion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Alarm {
    /// How long it lasts.
    pub(super) lasted: Duration,
    /// Attempts since the last byte that wait.
    pub(super) waiting: u64,
    /// The time in which 99 of 100 answers came lately.
    pub(super) usual: Option<Duration>,
    /// The time beyond which the silence was too long.
    pub(super) threshold: Duration,
}

/// How long a region has been silent, and for whom.
#[derive(Debug)]
pub(super) struct Silence {
    heard: Option<Duration>,
    since: Instant,
    looked: Instant,
    /// Totals when the silence began.
    sent: u64,
    settled: u64,
    /// Attempts that waited then: what they will take is not known, so they may all be slow.
    before: u64,
    /// Attempts made since, those of one look counted as two at most.
    counted: u64,
    last_sent: u64,
    marks: Marks<(u64, u64)>,
    spacing: Duration,
    usual: Histogram,
    crowd: Crowd,
    false_alarms: u32,
    last_false: Option<Instant>,
}

impl Silence {
    pub(super) fn new(now: Instant, tally: &Tally) -> Self {
        Self {
            heard: tally.heard,
            since: now,
            looked: now,
            sent: tally.sent,
            settled: tally.settled,
            before: tally.waiting(),
            counted: 0,
            last_sent: tally.sent,
            marks: Marks::new(32),
            spacing: Duration::ZERO,
            usual: Histogram::new(now, HALF_LIFE),
            crowd: Crowd::new(now),
            false_alarms: 0,
            last_false: None,
        }
    }

    /// Enters what a look found; `answers` are those since the last one, `origin` that of the
    /// region's cell.
    pub(super) fn enter(
        &mut self,
        tally: &Tally,
        answers: &LatencyCounts,
        origin: Instant,
        now: Instant,
    ) {
        self.usual.enter(now, answers);
        self.crowd.enter(answers, now);
        self.looked = now;
        if tally.heard != self.heard || tally.waiting() == 0 {
            let heard = tally.heard.filter(|heard| self.heard != Some(*heard));
            self.begin(tally, heard.map_or(now, |heard| origin + heard));
            return;
        }
        let more = tally.sent - self.last_sent;
        self.last_sent = tally.sent;
        self.counted += more.min(PER_LOOK);
        if more > 0 {
            if self.marks.thin_out() {
                self.spacing = now.saturating_duration_since(self.since) / 16;
            }
            let made = (self.counted, tally.sent - self.sent);
            self.marks.note(now, self.spacing, made);
        }
    }

    /// Begins anew: a byte came, or nobody waits.
    fn begin(&mut self, tally: &Tally, since: Instant) {
        self.heard = tally.heard;
        self.since = since;
        self.sent = tally.sent;
        self.settled = tally.settled;
        self.before = tally.waiting();
        self.last_sent = tally.sent;
        self.counted = 0;
        self.spacing = Duration::ZERO;
        self.marks.clear();
    }

    /// How long nothing was heard while somebody waited.
    pub(super) fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Attempts that wait for longer than `limit`, by weight and in number: those made since the last
    /// byte, and of the others as many as should have been answered by now.
    fn waiting(&self, limit: Duration, tally: &Tally, now: Instant) -> (f64, u64) {
        let (weight, made) = self.waiting_since(limit, tally, now);
        let quick = self.quick(limit, tally);
        (weight + quick, made + quick as u64)
    }

    /// Those who waited before the last byte and usually do not wait for `limit`.
    fn quick(&self, limit: Duration, tally: &Tally) -> f64 {
        let settled = tally.settled - self.settled;
        let left = self.before.saturating_sub(settled) as f64;
        left.min(self.crowd.within(limit)).floor()
    }

    fn waiting_since(&self, limit: Duration, tally: &Tally, now: Instant) -> (f64, u64) {
        let mark = now.checked_sub(limit).and_then(|at| self.marks.before(at));
        let Some((_, (counted, made))) = mark else {
            return (0.0, 0);
        };
        let settled = tally.settled - self.settled;
        let left = made.saturating_sub(settled);
        (*counted as f64 * left as f64 / (*made).max(1) as f64, left)
    }

    /// For how long nothing was heard, up to the last look, while somebody who asked since the last
    /// byte waits; none if nobody does.
    pub(super) fn anybody_waits(&self, tally: &Tally) -> Option<Duration> {
        let asked = self.counted > 0 || self.quick(self.lasted(self.looked), tally) > 0.0;
        let waits = asked && tally.waiting() > 0;
        waits.then(|| self.looked.saturating_duration_since(self.since))
    }

    /// Whether it lasts for half as long as raises a suspicion.
    pub(super) fn doubtful(&self, policy: plan::Silence, tally: &Tally, now: Instant) -> bool {
        let mut limits = self.limits(policy, now).into_iter().flatten();
        let waited = |(limit, _): (Duration, f64)| {
            self.lasted(now) >= limit / 2 && self.waiting(limit / 2, tally, now).0 >= DOUBT_WAITING
        };
        limits.any(waited)
    }

    /// The silence, if it is too long.
    pub(super) fn alarm(
        &self,
        policy: plan::Silence,
        tally: &Tally,
        now: Instant,
    ) -> Option<Alarm> {
        let lasted = self.lasted(now);
        self.limits(policy, now)
            .into_iter()
            .flatten()
            .find_map(|(limit, needed)| {
                if lasted < limit {
                    return None;
                }
                let (weight, waiting) = self.waiting(limit, tally, now);
                (weight >= needed).then_some(Alarm {
                    lasted,
                    waiting,
                    usual: self.usual(0.99),
                    threshold: limit,
                })
            })
    }

    /// Times beyond which silence is too long, each with the attempts that must wait for so long.
    fn limits(&self, policy: plan::Silence, now: Instant) -> [Option<(Duration, f64)>; 3] {
        let factor = self.caution(now);
        let floor = match policy {
            plan::Silence::After(limit) => return [Some((limit, WAITING_MIN)), None, None],
            plan::Silence::Auto { at_least } => at_least,
        };
        if self.usual(0.5).is_none() {
            let slowest = self.usual.quantile(1.0).unwrap_or_default() * TIMES;
            let limit = floor.max(UNKNOWN).max(slowest) * factor;
            return [Some((limit, self.needed(limit))), None, None];
        }
        [0.5, 0.9, 0.99].map(|q| {
            let limit = floor.max(self.usual(q)? * TIMES) * factor;
            let needed = if q == 0.99 {
                WAITING_MIN
            } else {
                self.needed(limit)
            };
            Some((limit, needed))
        })
    }

    /// Attempts of which it would be a surprise that all of them take longer than `limit`.
    fn needed(&self, limit: Duration) -> f64 {
        let (known, before) = (self.usual.answers(), self.before as f64);
        if known < 1.0 {
            return WAITING_MIN;
        }
        let slow = before - before.min(self.crowd.within(limit));
        let slower = self.usual.slower_than(limit) * (known + 1.0) + slow;
        (SURPRISE / ((known + 1.0 + before) / slower).ln()).max(WAITING_MIN)
    }

    /// The usual time of the part `q` of answers, once it is known. Those that waited when the
    /// silence began count as slower than any.
    fn usual(&self, q: f64) -> Option<Duration> {
        let (answers, before) = (self.usual.answers(), self.before as f64);
        let known = answers >= KNOWN_ANSWERS && answers >= q * (answers + before);
        known.then(|| self.usual.quantile(q)).flatten()
    }

    /// After how much silence a suspicion raised at `threshold` is confirmed by nothing else;
    /// `vouched`: probes were well meanwhile, so that only what is beyond any usual answer counts.
    pub(super) fn confirmed_after(&self, threshold: Duration, vouched: bool) -> Duration {
        if vouched {
            let usual = self.usual(0.99).unwrap_or_default();
            return (threshold * 4).max(usual * TIMES) + MARGIN;
        }
        threshold * 2 + MARGIN
    }

    /// A suspicion was wrong.
    pub(super) fn was_false(&mut self, now: Instant) {
        self.false_alarms = (self.caution(now).ilog2() + 1).min(FALSE_ALARMS_MAX);
        self.last_false = Some(now);
    }

    fn caution(&self, now: Instant) -> u32 {
        let recent = |at: Instant| now.saturating_duration_since(at) < FALSE_ALARM_FORGOTTEN;
        if self.last_false.is_some_and(recent) {
            1 << self.false_alarms
        } else {
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: plan::Silence = plan::Silence::Auto {
        at_least: Duration::from_millis(300),
    };

    /// A region that has answered for a minute and then does as told, looked at every 50 ms.
    struct World {
        silence: Silence,
        tally: Tally,
        origin: Instant,
        ms: u64,
    }

    impl World {
        /// `answers` as (milliseconds, of 100).
        fn new(answers: &[(u64, u32)]) -> Self {
            let origin = Instant::now();
            let silence = Silence::new(origin, &Tally::default());
            let tally = Tally::default();
            let mut world = Self {
                silence,
                tally,
                origin,
                ms: 0,
            };
            let mut known = LatencyCounts::default();
            for (ms, count) in answers {
                known.0[LatencyCounts::bucket(Duration::from_millis(*ms))] += count;
            }
            world.look(true, &known);
            world
        }

        fn look(&mut self, heard: bool, answers: &LatencyCounts) {
            self.ms += 50;
            let now = self.origin + Duration::from_millis(self.ms);
            if heard {
                self.tally.heard = Some(now - self.origin);
            }
            self.silence.enter(&self.tally, answers, self.origin, now);
        }

        /// Sends `per_look` requests a look that nobody answers; after how many ms the alarm comes.
        fn alarm(&mut self, policy: plan::Silence, per_look: &[u64], most: u64) -> Option<u64> {
            let start = self.ms;
            for look in 0.. {
                self.tally.sent += per_look[look % per_look.len()];
                self.look(false, &LatencyCounts::default());
                let now = self.origin + Duration::from_millis(self.ms);
                if self.silence.alarm(policy, &self.tally, now).is_some() {
                    return Some(self.ms - start);
                }
                if self.ms - start > most {
                    return None;
                }
            }
            None
        }
    }

    fn check(answers: &[(u64, u32)], per_look: &[u64], expected: std::ops::Range<u64>) {
        let found = World::new(answers).alarm(AUTO, per_look, 99_000);
        assert!(
            found.is_some_and(|ms| expected.contains(&ms)),
            "{answers:?} {per_look:?}: {found:?}"
        );
    }

    #[test]
    fn silence_is_found_in_a_time_that_fits_the_region() {
        // Fast, at 50 and at 1,000 requests a second: the floor, and a few looks.
        check(&[(20, 100)], &[2, 3], 350..500);
        check(&[(20, 100)], &[50], 350..500);
        // Far away: four times its usual time.
        check(&[(200, 100)], &[2, 3], 800..1_100);
        // A route that takes 5 s in ten of 100 cases must not make it blind.
        check(&[(20, 90), (5_000, 10)], &[2, 3], 500..700);
        check(&[(20, 90), (5_000, 10)], &[50], 500..700);
        // Long polls only: nobody expects them soon.
        check(&[(20_000, 100)], &[1], 80_000..99_000);
        // Nothing known yet.
        check(&[], &[2, 3], 1_050..1_300);
        // Two a second.
        check(&[(20, 100)], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1_300..1_500);
    }

    #[test]
    fn a_fixed_limit_is_taken_as_it_is() {
        let after = plan::Silence::After(Duration::from_millis(2_000));
        let found = World::new(&[(20, 100)]).alarm(after, &[5], 60_000);
        assert!(
            found.is_some_and(|ms| (2_050..2_200).contains(&ms)),
            "{found:?}"
        );
    }

    #[test]
    fn twenty_slow_requests_at_once_are_one_event() {
        let mut world = World::new(&[(20, 90), (5_000, 10)]);
        world.tally.sent += 20;
        let found = world.alarm(AUTO, &[0], 19_000);
        assert_eq!(found, None);
    }

    /// `quick` clients that ask one after the other, answered after 4 ms, and `slow` long polls.
    fn loop_alarm(quick: u64, slow: u64) -> Option<u64> {
        let mut world = World::new(&[]);
        world.tally.sent += quick + slow;
        for _ in 0..60 {
            let answered = quick * 12;
            world.tally.sent += answered;
            world.tally.settled += answered;
            let mut answers = LatencyCounts::default();
            answers.0[LatencyCounts::bucket(Duration::from_millis(4))] = answered as u32;
            world.look(true, &answers);
        }
        world.alarm(AUTO, &[0], 19_000)
    }

    #[test]
    fn clients_that_ask_one_after_the_other_are_seen_to_wait() {
        let found = loop_alarm(40, 0);
        assert!(
            found.is_some_and(|ms| (300..=450).contains(&ms)),
            "{found:?}"
        );
        let found = loop_alarm(8, 40);
        assert!(
            found.is_some_and(|ms| (300..=450).contains(&ms)),
            "{found:?}"
        );
        assert_eq!(loop_alarm(1, 40), None, "long polls are expected to wait");
        assert_eq!(loop_alarm(0, 40), None);
    }

    #[test]
    fn a_byte_or_nobody_waiting_begins_anew() {
        let mut world = World::new(&[(20, 100)]);
        for _ in 0..100 {
            world.tally.sent += 3;
            world.look(world.ms.is_multiple_of(250), &LatencyCounts::default());
            let now = world.origin + Duration::from_millis(world.ms);
            assert_eq!(world.silence.alarm(AUTO, &world.tally, now), None);
        }
        world.tally.settled = world.tally.sent;
        world.look(false, &LatencyCounts::default());
        assert!(world.silence.anybody_waits(&world.tally).is_none());
        assert!(world.alarm(AUTO, &[2, 3], 5_000).is_some());
    }

    #[test]
    fn those_who_left_do_not_wait() {
        let mut world = World::new(&[(20, 100)]);
        world.tally.sent += 10;
        world.look(false, &LatencyCounts::default());
        world.tally.settled += 9;
        assert_eq!(world.alarm(AUTO, &[0], 5_000), None);
    }

    #[test]
    fn false_alarms_make_cautious_for_a_minute() {
        let check = |seconds: u64, expected: std::ops::Range<u64>| {
            let mut world = World::new(&[(20, 100)]);
            let now = world.origin + Duration::from_millis(world.ms);
            world.silence.was_false(now);
            world.silence.was_false(now);
            world.ms += seconds * 1_000;
            world.look(true, &LatencyCounts::default());
            let found = world.alarm(AUTO, &[2, 3], 60_000);
            assert!(found.is_some_and(|ms| expected.contains(&ms)), "{found:?}");
        };
        check(1, 1_200..1_400);
        check(61, 350..500);
    }
}
