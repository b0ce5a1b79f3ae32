//! The one clock of the data plane.
//!
//! It is tokio's, so that a test that pauses tokio's time pauses every deadline, idle limit and
//! measured duration with it. Outside a paused test it is the system's monotonic clock.
//!
//! A request asks for the moment a dozen times within a few microseconds, and each reading costs
//! as much as a field of its head. So the clock stands still for a turn: one poll of a task, which
//! begins when something has happened and ends when nothing is left to do.
//!
//! What a thread learned of when it last waited had happened by then, so the turns that follow begin at that
//! moment: reading the clock costs a turn as much as parsing a head's line. That holds for a few turns, and not
//! beyond one that took long (`spent`).

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// So many turns begin at the moment until which their thread waited: some 0.2 ms of work. What a place takes is
/// measured from up to so much before its request was sent, and no longer until so much after its answer came.
const TURNS: u8 = 32;

thread_local! {
    static TURN: Cell<Option<Instant>> = const { Cell::new(None) };
    static WAITED: Cell<Option<Waited>> = const { Cell::new(None) };
}

/// Until when the thread waited, and for how many turns that is good enough.
#[derive(Clone, Copy)]
struct Waited {
    until: Instant,
    turns: u8,
}

/// The thread has waited for something to happen. A thread that never says so reads the clock for every turn.
pub(crate) fn waited() {
    WAITED.set(Some(Waited {
        until: read(),
        turns: TURNS,
    }));
}

/// Time has passed that counts, or that others were told of: the next turn reads the clock.
pub(crate) fn spent() {
    WAITED.set(None);
}

/// The moment at which a turn begins.
fn beginning() -> Instant {
    match WAITED.get() {
        Some(Waited { until, turns }) if turns > 0 => {
            let turns = turns - 1;
            WAITED.set(Some(Waited { until, turns }));
            until
        }
        _ => read(),
    }
}

/// The moment; within a turn, that of its beginning.
pub(crate) fn now() -> Instant {
    TURN.get().unwrap_or_else(read)
}

/// The span from `since` until `at`, zero if that is not later. Most of what is timed begins and ends
/// within a turn, where there is nothing to compute.
pub(crate) fn span(since: Instant, at: Instant) -> Duration {
    match since == at {
        true => Duration::ZERO,
        false => at.saturating_duration_since(since),
    }
}

fn read() -> Instant {
    tokio::time::Instant::now().into_std()
}

pin_project_lite::pin_project! {
    /// A task each of whose polls is a turn.
    pub(crate) struct InTurns<F> {
        #[pin]
        task: F,
    }
}

/// Makes each poll of `task` a turn. A turn within another is part of it.
pub(crate) fn in_turns<F: Future>(task: F) -> InTurns<F> {
    InTurns { task }
}

impl<F: Future> Future for InTurns<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _turn = Turn::begin();
        self.project().task.poll(cx)
    }
}

/// Ends the turn that it began when it is dropped, so that a panic does not stop the clock.
struct Turn {
    outer: Option<Instant>,
}

impl Turn {
    fn begin() -> Self {
        let outer = TURN.get();
        TURN.set(Some(outer.unwrap_or_else(beginning)));
        Self { outer }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURN.set(self.outer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_stands_still_within_a_turn_only() {
        let passes = || {
            let before = now();
            std::thread::sleep(Duration::from_millis(1));
            now() > before
        };
        assert!(passes());
        let mut waited = false;
        let (first, second, still) = in_turns(async {
            let first = now();
            let still = !passes();
            tokio::task::yield_now().await;
            waited = true;
            (first, now(), still && !in_turns(async { passes() }).await)
        })
        .await;
        assert!(still && waited && second > first);
        assert!(passes());
    }

    #[test]
    fn turns_begin_where_their_thread_last_waited() {
        let turn = || {
            std::thread::sleep(Duration::from_millis(1));
            let _turn = Turn::begin();
            now()
        };
        assert!(turn() < turn());
        waited();
        let until = turn();
        assert!((1..TURNS).all(|_| turn() == until));
        assert!(turn() > until && turn() < turn());
        waited();
        let until = turn();
        spent();
        assert!(turn() > until && turn() < turn());
        waited();
        assert!(turn() > until && now() < now());
    }
}
