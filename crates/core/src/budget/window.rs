//! Events per second over the last seconds, counted by many threads at once.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use super::WINDOW_S;

/// One slot a second, and more slots than the window needs, so that threads whose clocks differ a
/// little do not fight over one. A slot is its second above its count.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Window([AtomicU64; SLOTS]);

const SLOTS: usize = 16;

impl Window {
    pub(super) fn new() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Counts one event; false when the slot belongs to a later second already.
    pub(super) fn enter(&self, second: u32) -> bool {
        let slot = self.slot(second);
        if second_of(slot.load(Ordering::SeqCst)) == second {
            slot.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        let step = |word| match second_of(word) {
            held if held > second => None,
            held if held == second => Some(word + 1),
            _ => Some(u64::from(second) << 32 | 1),
        };
        slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step)
            .is_ok()
    }

    /// Takes one event of that second back.
    pub(super) fn take_back(&self, second: u32) {
        self.slot(second).fetch_sub(1, Ordering::SeqCst);
    }

    /// Events of the window that ends with `second`; those of threads a little ahead included.
    pub(super) fn total(&self, second: u32) -> u64 {
        let words = self.0.iter().map(|slot| slot.load(Ordering::SeqCst));
        words
            .filter(|word| second_of(*word) + WINDOW_S >= second)
            .map(|word| word & 0xffff_ffff)
            .sum()
    }

    fn slot(&self, second: u32) -> &AtomicU64 {
        &self.0[second as usize % SLOTS]
    }
}

fn second_of(word: u64) -> u32 {
    (word >> 32) as u32
}
