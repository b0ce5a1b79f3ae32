//! What is due when: a heap of moments with cheap replacement.
//!
//! Replaced and removed entries stay in the heap until their moment comes; the map knows better.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::FixedState;
use tokio::time::Instant;

/// A map by ids that are counted up here: nobody outside can choose them to collide.
pub(crate) type ById<T> = HashMap<u64, T, FixedState>;

/// Moments by id; each id has at most one.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    due: ById<Instant>,
}

impl Agenda {
    /// Puts `id` down for `at`, instead of what it was put down for.
    pub(crate) fn set(&mut self, id: u64, at: Instant) {
        if self.due.insert(id, at) != Some(at) {
            self.heap.push(Reverse((at, id)));
        }
    }

    /// Strikes `id` out.
    pub(crate) fn remove(&mut self, id: u64) {
        self.due.remove(&id);
    }

    /// The earliest moment.
    pub(crate) fn next(&mut self) -> Option<Instant> {
        self.skip_stale();
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out the earliest id, if its moment has come.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<u64> {
        self.next().filter(|at| *at <= now)?;
        let Reverse((_, id)) = self.heap.pop()?;
        self.due.remove(&id);
        Some(id)
    }

    fn skip_stale(&mut self) {
        while let Some(Reverse((at, id))) = self.heap.peek() {
            if self.due.get(id) == Some(at) {
                return;
            }
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_comes_first_and_the_last_word_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut agenda = Agenda::default();
        for (id, seconds) in [(1, 5), (2, 3), (3, 4), (2, 6), (4, 1), (2, 6)] {
            agenda.set(id, at(seconds));
        }
        agenda.remove(4);
        assert_eq!(agenda.next(), Some(at(4)));
        assert_eq!(agenda.take_due(at(3)), None);
        let taken: Vec<_> = std::iter::from_fn(|| agenda.take_due(at(9))).collect();
        assert_eq!(taken, [3, 1, 2]);
        assert_eq!(agenda.next(), None);
    }

    #[test]
    fn an_id_can_come_back_for_the_same_moment() {
        let now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.set(1, now);
        agenda.remove(1);
        agenda.set(1, now);
        assert_eq!(
            (agenda.take_due(now), agenda.take_due(now)),
            (Some(1), None)
        );
    }
}
