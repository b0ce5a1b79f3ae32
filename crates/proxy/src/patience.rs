//! How long an attempt is waited for, and whose time that is.
//!
//! `per_try` is the upstream's: the time of connecting and that from the whole request to the
//! answer's head, together, and besides every single stretch in which it does not take what is there
//! to be sent. An upload that moves is no wait, and a client that stalls has the route's idle limit,
//! so that neither poisons the record of an upstream that has nothing to answer yet. Whatever the
//! limit, the request's deadline comes first.
//!
//! One timer of the request keeps all of these moments, and those at which an attempt is looked at
//! for other reasons; only the soonest is set.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tidegate_core::retry::{Failure, Phase};

use crate::attempt::{Attempt, Fault};
use crate::clock::now;
use crate::pipeline::Serving;
use crate::wheel::Timer;

/// An attempt for which there is no room elsewhere asks again after so long, and up to twice that.
const AGAIN: Duration = Duration::from_millis(25);

/// The moments at which an attempt is looked at without anything having arrived.
#[derive(Default)]
pub(crate) struct Patience {
    limit: Option<Limit>,
    hedge: Option<Instant>,
    again: Option<Instant>,
}

/// A moment at which waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) at: Instant,
    pub(crate) end: End,
}

/// Which limit ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client sends nothing.
    Client,
    /// `connection.connect_timeout`.
    Connect,
    /// `retry.per_try`.
    PerTry,
    /// `retry.first_byte`.
    FirstByte,
    /// The upstream takes nothing for the route's `idle_timeout`.
    Blocked,
    /// The request's deadline.
    Deadline,
}

/// What a moment has come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A hedge.
    Hedge,
    /// To ask once more whether there is room elsewhere.
    Again,
    /// The end.
    Limit(End),
}

impl Patience {
    /// Waits until `limit`, which takes the place of the one before.
    pub(crate) fn until(&mut self, limit: Option<Limit>, timer: &Timer) {
        self.limit = limit;
        self.arm(timer);
    }

    /// A hedge is due then.
    pub(crate) fn hedge_at(&mut self, at: Option<Instant>, timer: &Timer) {
        self.hedge = at;
        self.arm(timer);
    }

    /// Asks again soon; `draw`, from 0 to 1, keeps those who wait from marching in step.
    pub(crate) fn again(&mut self, draw: f64, timer: &Timer) {
        self.again = Some(now() + AGAIN.mul_f64(1.0 + draw));
        self.arm(timer);
    }

    fn arm(&self, timer: &Timer) {
        let limit = self.limit.map(|limit| limit.at);
        match [limit, self.hedge, self.again].into_iter().flatten().min() {
            Some(at) => timer.set(at),
            None => timer.clear(),
        }
    }

    /// Ready with what is due. A limit stays due until another takes its place.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, timer: &Timer) -> Poll<Due> {
        loop {
            ready!(timer.poll_expired(cx));
            let due = self.take_due(now());
            if let Some(Due::Limit(_)) = due {
                return Poll::Ready(Due::Limit(
                    self.limit.map_or(End::Deadline, |limit| limit.end),
                ));
            }
            self.arm(timer);
            if let Some(due) = due {
                return Poll::Ready(due);
            }
        }
    }

    fn take_due(&mut self, at: Instant) -> Option<Due> {
        let is_due = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= at);
        match self.limit {
            Some(limit) if limit.at <= at => Some(Due::Limit(limit.end)),
            _ if is_due(self.hedge) => self.hedge.take().map(|_| Due::Hedge),
            _ if is_due(self.again) => self.again.take().map(|_| Due::Again),
            _ => None,
        }
    }
}

/// The sooner of the two; the first if both come at once.
fn sooner(first: Limit, second: Option<Limit>) -> Limit {
    match second {
        Some(second) if second.at < first.at => second,
        _ => first,
    }
}

/// As [`sooner`], where there may be none.
fn soonest(first: Option<Limit>, second: Option<Limit>) -> Option<Limit> {
    match first {
        Some(first) => Some(sooner(first, second)),
        None => second,
    }
}

impl Serving {
    fn deadline_limit(&self) -> Option<Limit> {
        let end = End::Deadline;
        self.deadline.map(|at| Limit { at, end })
    }

    /// What connecting has left of `per_try`; none if there is none, or it was overstepped already.
    fn try_left(&self, attempt: &Attempt) -> Option<Duration> {
        let per_try = self.upstream().0.retry.per_try?;
        (!attempt.overdue).then(|| per_try.saturating_sub(attempt.connecting))
    }

    fn try_limit(&self, attempt: &Attempt, from: Instant) -> Option<Limit> {
        let end = End::PerTry;
        let left = self.try_left(attempt)?;
        Some(Limit {
            at: from + left,
            end,
        })
    }

    /// While `attempt` connects.
    pub(crate) fn limit_of_connect(&self, attempt: &Attempt) -> Limit {
        let connect = Limit {
            at: attempt.began + self.upstream().0.connection.connect_timeout,
            end: End::Connect,
        };
        let own = sooner(connect, self.try_limit(attempt, attempt.began));
        sooner(own, self.deadline_limit())
    }

    /// While bytes of the request are still to move; `blocked`: it is the upstream that holds them up.
    pub(crate) fn limit_of_upload(&self, attempt: &Attempt, blocked: bool) -> Limit {
        let at = now();
        let end = if blocked { End::Blocked } else { End::Client };
        let idle = Limit {
            at: at + self.route().idle_timeout,
            end,
        };
        let own = self.try_limit(attempt, at).filter(|_| blocked);
        sooner(sooner(idle, own), self.deadline_limit())
    }

    /// While the upstream owes its head; it has had the whole request since `sent`.
    pub(crate) fn limit_of_head(&self, attempt: &Attempt, sent: Instant) -> Option<Limit> {
        let first_byte = self.upstream().0.retry.first_byte;
        let first_byte = first_byte.filter(|_| !attempt.overdue).map(|limit| Limit {
            at: sent + limit,
            end: End::FirstByte,
        });
        let own = soonest(self.try_limit(attempt, sent), first_byte);
        soonest(own, self.deadline_limit())
    }

    /// What is noted of an attempt whose time is over in `phase`.
    pub(crate) fn overdue(&self, attempt: &Attempt, end: End, phase: Phase) -> Fault {
        let detail = match end {
            End::PerTry => "no answer within per_try",
            End::FirstByte => "no answer within first_byte",
            End::Blocked => "it took no more of the request for idle_timeout",
            // The first two end in words of their own.
            End::Client | End::Connect | End::Deadline => "the request's deadline passed",
        };
        let mut fault = Fault::of(Failure::Timeout, phase, detail.to_owned());
        if attempt.overdue || !self.had_whole(attempt, end) {
            fault.says = None;
        }
        fault
    }

    /// Whether the place had all the time that it may take. What earlier attempts, the client's upload
    /// or the client's own deadline left of it is no measure of a place.
    fn had_whole(&self, attempt: &Attempt, end: End) -> bool {
        let took = now().saturating_duration_since(attempt.began);
        let waited = took.saturating_sub(attempt.uploading);
        end != End::Deadline || waited >= self.route().timeout
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::wheel::Wheel;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What is due, in order, until the limit, and after how many milliseconds, to the wheel's tick.
    async fn check(limit: u64, hedge: Option<u64>, again: bool, expected: &[(Due, u64)]) {
        let wheel = Wheel::new(now());
        let local = LocalSet::new();
        local.spawn_local(wheel.run());
        let look = async {
            let (timer, start, mut patience) = (wheel.timer(), now(), Patience::default());
            let end = End::PerTry;
            patience.hedge_at(hedge.map(|after| start + ms(after)), &timer);
            if again {
                patience.again(0.0, &timer);
            }
            let at = start + ms(limit);
            patience.until(Some(Limit { at, end }), &timer);
            let mut seen = Vec::new();
            while !matches!(seen.last(), Some((Due::Limit(_), _))) {
                let due = std::future::poll_fn(|cx| patience.poll(cx, &timer)).await;
                let tens = (now() - start).as_millis() as u64 / 10;
                seen.push((due, tens * 10));
            }
            seen
        };
        assert_eq!(local.run_until(look).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn the_soonest_moment_comes_first_and_each_once() {
        let limit = Due::Limit(End::PerTry);
        check(100, None, false, &[(limit, 100)]).await;
        check(100, Some(40), false, &[(Due::Hedge, 40), (limit, 100)]).await;
        let all = [(Due::Again, 30), (Due::Hedge, 60), (limit, 100)];
        check(100, Some(60), true, &all).await;
        check(20, Some(60), true, &[(limit, 20)]).await;
        check(0, Some(0), true, &[(limit, 0)]).await;
    }

    #[test]
    fn of_two_limits_the_sooner_counts_and_the_place_is_asked_first() {
        let start = now();
        let limit = |at, end| Limit {
            at: start + ms(at),
            end,
        };
        let check = |first, second: Option<u64>, expected| {
            let first = limit(first, End::PerTry);
            let second = second.map(|at| limit(at, End::Deadline));
            assert_eq!(sooner(first, second).end, expected);
        };
        check(10, None, End::PerTry);
        check(10, Some(11), End::PerTry);
        check(10, Some(10), End::PerTry);
        check(10, Some(9), End::Deadline);
    }
}
