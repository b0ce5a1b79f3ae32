//! A coarse deadline wheel: one per thread, for every deadline of every connection on it.
//!
//! A timer of the runtime costs an allocation and a walk through its tree whenever it is set; a
//! request sets several deadlines and nearly none of them ever comes. Here a deadline that moves
//! later is one store: the timer stays queued where it was, and when the sweeper passes there it
//! is queued anew. Only a deadline that moves *earlier* than where it is queued touches the slots.
//!
//! Two levels of slots, 10 ms and 5.12 s wide, reach 5 minutes; what lies further waits in the
//! last slot and is queued anew from there. The sweeper sleeps until the next slot that is not
//! empty, so that a process without traffic does not wake up at all.
//!
//! A deadline is never early, and late by one tick plus what the thread is busy with.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use slots::{Hears, Slots};

use crate::clock;
pub(crate) use crate::clock::now;

mod slots;

/// How fine deadlines are.
pub(crate) const TICK: Duration = Duration::from_millis(10);
const TICKS_PER_SECOND: u64 = 100;
/// Later deadlines than this from the wheel's start count as this: 30 years.
const LAST_TICK: u64 = 30 * 365 * 86_400 * TICKS_PER_SECOND;

/// A handle to the thread's wheel. Clones are the same wheel.
#[derive(Clone)]
pub(crate) struct Wheel(Rc<Inner>);

/// One deadline that can be set, moved and cleared at will. Dropping it clears it.
pub(crate) struct Timer {
    wheel: Rc<Inner>,
    key: u32,
}

/// The deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub(crate) struct Elapsed;

struct Inner {
    origin: Instant,
    slots: RefCell<Slots>,
    sweeper: RefCell<Sweeper>,
}

/// What is known of the task that sweeps.
#[derive(Default)]
struct Sweeper {
    waker: Option<Waker>,
    /// The tick it sleeps until; none while it sleeps until it is woken.
    until: Option<u64>,
}

impl Wheel {
    /// A wheel without timers; `now` is where its count of ticks begins.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Rc::new(Inner {
            origin: now,
            slots: RefCell::default(),
            sweeper: RefCell::default(),
        }))
    }

    /// A timer with no deadline.
    pub(crate) fn timer(&self) -> Timer {
        self.timer_that(Hears::All)
    }

    /// A timer with no deadline, for somebody who waits in a region: hears what becomes of regions.
    pub(crate) fn timer_in_region(&self) -> Timer {
        self.timer_that(Hears::Regions)
    }

    fn timer_that(&self, hears: Hears) -> Timer {
        let key = self.0.slots.borrow_mut().insert(hears);
        Timer {
            wheel: self.0.clone(),
            key,
        }
    }

    /// Wakes every task that waits on a timer with a deadline, without any deadline having passed:
    /// for news that all of them must hear.
    pub(crate) fn wake_all(&self) {
        self.wake(Hears::All);
    }

    /// Wakes those of them who wait in a region.
    pub(crate) fn wake_in_regions(&self) {
        self.wake(Hears::Regions);
    }

    fn wake(&self, news: Hears) {
        let waiting = self.0.slots.borrow_mut().take_wakers(news);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Wakes the owners of timers as their deadlines pass. Must run exactly once per wheel, on its
    /// thread, for as long as there are timers.
    pub(crate) fn run(&self) -> impl Future<Output = Infallible> + use<> {
        let wheel = self.0.clone();
        async move {
            let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
            let mut due = Vec::new();
            poll_fn(|cx| {
                loop {
                    let Some(at) = wheel.sweep(cx, &mut due) else {
                        return Poll::Pending;
                    };
                    alarm.as_mut().reset(at.into());
                    ready!(alarm.as_mut().poll(cx));
                }
            })
            .await
        }
    }
}

impl Inner {
    /// The first tick that is not before `at`, so that no deadline is early.
    fn tick_from(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin);
        ticks(since) + u64::from(!since.subsec_nanos().is_multiple_of(TICK.subsec_nanos()))
    }

    /// The last tick that has passed.
    fn tick_now(&self) -> u64 {
        ticks(now().saturating_duration_since(self.origin))
    }

    fn instant(&self, tick: u64) -> Instant {
        let rest = (tick % TICKS_PER_SECOND) as u32 * TICK.subsec_nanos();
        self.origin + Duration::new(tick / TICKS_PER_SECOND, rest)
    }

    /// Wakes whatever is due and returns the moment to come back at, if timers are left.
    fn sweep(&self, cx: &mut Context<'_>, due: &mut Vec<Waker>) -> Option<Instant> {
        let next = {
            let mut slots = self.slots.borrow_mut();
            slots.advance(self.tick_now(), due);
            slots.next_stop()
        };
        {
            let mut sweeper = self.sweeper.borrow_mut();
            sweeper.until = next;
            if !sweeper
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                sweeper.waker = Some(cx.waker().clone());
            }
        }
        // Whoever is woken finds its deadline passed.
        clock::spent();
        // No borrow is held here: a waker may run, or drop, anything.
        due.drain(..).for_each(Waker::wake);
        next.map(|tick| self.instant(tick))
    }

    /// Wakes the sweeper unless it comes back by `tick` anyway.
    fn expect_by(&self, tick: u64) {
        let waker = {
            let mut sweeper = self.sweeper.borrow_mut();
            if sweeper.until.is_some_and(|until| until <= tick) {
                return;
            }
            sweeper.until = Some(tick);
            sweeper.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Whole ticks of a span. Without 128-bit arithmetic, for this runs several times a request.
fn ticks(span: Duration) -> u64 {
    let whole = span.as_secs().saturating_mul(TICKS_PER_SECOND);
    whole.min(LAST_TICK) + u64::from(span.subsec_nanos() / TICK.subsec_nanos())
}

impl Timer {
    /// Sets the deadline, or moves it. A moment that has passed is due at once.
    pub(crate) fn set(&self, at: Instant) {
        let tick = self.wheel.tick_from(at);
        let queued = {
            let mut slots = self.wheel.slots.borrow_mut();
            if slots.is_empty() {
                slots.skip_to(self.wheel.tick_now());
            }
            slots.arm(self.key, tick)
        };
        if let Some(stop) = queued {
            self.wheel.expect_by(stop);
        }
    }

    /// Takes the deadline back.
    pub(crate) fn clear(&self) {
        self.wheel.slots.borrow_mut().disarm(self.key);
    }

    /// The deadline, to the tick; none while cleared.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.wheel
            .slots
            .borrow()
            .deadline(self.key)
            .map(|tick| self.wheel.instant(tick))
    }

    /// Ready once the deadline has passed, and until it is set anew or cleared. Pending for ever
    /// while cleared; the last task that asked is woken.
    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wheel.slots.borrow_mut().poll_expired(self.key, cx)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let waker = self.wheel.slots.borrow_mut().remove(self.key);
        drop(waker);
    }
}

/// Runs `future` until `at` at most. The timer must be free for it, and is cleared afterwards even
/// when this is dropped half-way. What is ready at the deadline counts as in time.
pub(crate) async fn within<F: Future>(
    timer: &Timer,
    at: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    struct Cleared<'a>(&'a Timer);
    impl Drop for Cleared<'_> {
        fn drop(&mut self) {
            self.0.clear();
        }
    }
    timer.set(at);
    let cleared = Cleared(timer);
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => cleared.0.poll_expired(cx).map(|()| Err(Elapsed)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::{advance, sleep, timeout};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Runs `test` beside a swept wheel. The clock is paused: it moves when everything waits.
    async fn with_wheel<F: Future>(test: impl FnOnce(Wheel) -> F) -> F::Output {
        let wheel = Wheel::new(now());
        let local = LocalSet::new();
        local.spawn_local(wheel.run());
        local.run_until(test(wheel)).await
    }

    async fn expired(timer: &Timer) {
        poll_fn(|cx| timer.poll_expired(cx)).await;
    }

    /// How long it took until the timer expired.
    async fn wait(timer: &Timer) -> Duration {
        let start = now();
        expired(timer).await;
        now() - start
    }

    fn assert_about(took: Duration, expected: Duration) {
        assert!(
            took >= expected && took <= expected + 2 * TICK,
            "{took:?} for {expected:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_are_never_early_and_late_by_a_tick() {
        with_wheel(|wheel| async move {
            for after in [
                0, 1, 10, 15, 999, 5110, 5120, 5130, 80_000, 327_680, 400_000, 9_999_999,
            ] {
                advance(ms(3)).await;
                let timer = wheel.timer();
                timer.set(now() + ms(after));
                assert_about(wait(&timer).await, ms(after));
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_move_both_ways() {
        with_wheel(|wheel| async move {
            let check = async |first: u64, second: u64| {
                let timer = wheel.timer();
                timer.set(now() + ms(first));
                let other = async {
                    sleep(ms(50)).await;
                    timer.set(now() + ms(second));
                };
                let (took, ()) = tokio::join!(wait(&timer), other);
                assert_about(took, ms(50 + second));
            };
            check(1000, 3000).await;
            check(60_000, 100).await;
            check(60_000, 20_000).await;
            check(100, 600_000).await;
            check(1000, 0).await;
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_cleared_timer_never_expires_and_can_be_set_again() {
        with_wheel(|wheel| async move {
            let timer = wheel.timer();
            assert_eq!(timer.deadline(), None);
            assert!(timeout(HOUR, expired(&timer)).await.is_err());
            timer.set(now() + ms(100));
            timer.clear();
            assert!(timeout(HOUR, expired(&timer)).await.is_err());
            timer.set(now() + ms(100));
            assert_about(wait(&timer).await, ms(100));
            assert!(timer.deadline().is_some_and(|at| at <= now()));
            timer.set(now() + ms(200));
            assert_about(wait(&timer).await, ms(200));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn many_timers_expire_in_order() {
        with_wheel(|wheel| async move {
            let order: Rc<RefCell<Vec<u64>>> = Rc::default();
            let tasks: Vec<_> = (1..=200_u64)
                .map(|i| {
                    let after = i * 7919 % 20_011;
                    let (timer, order) = (wheel.timer(), order.clone());
                    timer.set(now() + ms(after * 10));
                    spawn_local(async move {
                        expired(&timer).await;
                        order.borrow_mut().push(after);
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert!(order.borrow().is_sorted());
            assert!(wheel.0.slots.borrow().is_empty());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_takes_a_timer_off_and_an_empty_wheel_sleeps() {
        with_wheel(|wheel| async move {
            let timers: Vec<_> = (1..100).map(|_| wheel.timer()).collect();
            timers
                .iter()
                .zip(1..)
                .for_each(|(timer, i)| timer.set(now() + ms(i * 977)));
            assert!(!wheel.0.slots.borrow().is_empty());
            drop(timers);
            sleep(HOUR).await;
            assert!(wheel.0.slots.borrow().is_empty());
            assert_eq!(wheel.0.sweeper.borrow().until, None);
            let timer = wheel.timer();
            timer.set(now() + ms(30));
            assert_about(wait(&timer).await, ms(30));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn within_is_bounded_by_its_deadline() {
        with_wheel(|wheel| async move {
            let timer = wheel.timer();
            assert_eq!(within(&timer, now() + ms(50), async { 7 }).await, Ok(7));
            assert_eq!(timer.deadline(), None);
            assert_eq!(
                within(&timer, now() + ms(50), sleep(ms(200))).await,
                Err(Elapsed)
            );
            assert_eq!(timer.deadline(), None);
            assert_eq!(within(&timer, now() + ms(200), sleep(ms(50))).await, Ok(()));
            assert!(
                timeout(ms(10), within(&timer, now() + HOUR, sleep(HOUR)))
                    .await
                    .is_err()
            );
            assert_eq!(timer.deadline(), None, "dropped half-way");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn news_wake_all_who_wait_and_hear_them() {
        with_wheel(|wheel| async move {
            let news = Rc::new(Cell::new(false));
            let waiting = |timer: Timer| {
                let news = news.clone();
                timer.set(now() + HOUR);
                spawn_local(poll_fn(move |cx| {
                    let pending = timer.poll_expired(cx).is_pending();
                    if news.get() {
                        Poll::Ready(pending)
                    } else {
                        Poll::Pending
                    }
                }))
            };
            let regions: Vec<_> = (0..3).map(|_| waiting(wheel.timer_in_region())).collect();
            let others: Vec<_> = (0..3).map(|_| waiting(wheel.timer())).collect();
            sleep(ms(100)).await;
            news.set(true);
            let start = now();
            wheel.wake_in_regions();
            for task in regions {
                assert!(task.await.unwrap(), "no deadline has passed");
            }
            assert!(!others.iter().any(tokio::task::JoinHandle::is_finished));
            wheel.wake_all();
            for task in others {
                assert!(task.await.unwrap(), "no deadline has passed");
            }
            assert_eq!(now(), start);
        })
        .await;
    }
}
