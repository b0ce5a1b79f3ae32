//! What copies may take up on one worker, and the count of what became of each.

use std::cell::Cell;
use std::rc::Rc;

use tidegate_telemetry::labels::MirrorResult;

use crate::held::HeldUpstream;

/// Copies that are under way on one worker at once, at most.
const COPIES: u32 = 256;
/// Bytes that copies of bodies take on one worker, at most. One alone may take more, if its route says so.
const BYTES: u64 = 32 << 20;

/// What a worker's copies take up.
#[derive(Default)]
pub(crate) struct Copies {
    under_way: Cell<u32>,
    bytes: Cell<u64>,
}

/// The bytes of one copy, given back when this is dropped.
pub(super) struct Room {
    copies: Rc<Copies>,
    bytes: u64,
}

/// One copy that is under way, with its bytes.
pub(super) struct Place(Room);

/// One request of which a copy is due. Whatever becomes of it is counted when this is dropped.
pub(super) struct Due {
    upstream: Rc<HeldUpstream>,
    result: MirrorResult,
}

impl Copies {
    /// Whether no other copy can be sent now.
    pub(super) fn are_full(&self) -> bool {
        self.under_way.get() >= COPIES
    }

    /// Room for a copy's body, nothing of it taken.
    pub(super) fn room(self: &Rc<Self>) -> Room {
        Room {
            copies: self.clone(),
            bytes: 0,
        }
    }
}

impl Room {
    /// Takes so many bytes more; false if there is no room for them.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let taken = self.copies.bytes.get();
        let alone = taken == self.bytes;
        let fits = alone || taken + bytes <= BYTES;
        if fits {
            self.copies.bytes.set(taken + bytes);
            self.bytes += bytes;
        }
        fits
    }

    /// A place among the copies that are under way; none if there is none left.
    pub(super) fn enter(self) -> Option<Place> {
        if self.copies.are_full() {
            return None;
        }
        let under_way = &self.copies.under_way;
        under_way.set(under_way.get() + 1);
        Some(Place(self))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let bytes = &self.copies.bytes;
        bytes.set(bytes.get() - self.bytes);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let under_way = &self.0.copies.under_way;
        under_way.set(under_way.get() - 1);
    }
}

impl Due {
    /// A copy for `upstream`, which is skipped for its body's sake unless something else becomes of it.
    pub(super) fn new(upstream: &Rc<HeldUpstream>) -> Self {
        Self {
            upstream: upstream.clone(),
            result: MirrorResult::SkippedBody,
        }
    }

    /// What becomes of it, as far as is known.
    pub(super) fn becomes(&mut self, result: MirrorResult) {
        self.result = result;
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.upstream.series.service().mirrored(self.result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bounded_and_come_back() {
        let copies = Rc::<Copies>::default();
        let (mut one, mut other) = (copies.room(), copies.room());
        assert!(one.take(BYTES - 10) && other.take(10) && !other.take(1) && !one.take(1));
        drop(one);
        assert!(other.take(BYTES), "it is alone");
        let mut third = copies.room();
        assert!(!third.take(1));
        drop(other);
        assert!(third.take(1));
        drop(third);
        assert_eq!(copies.bytes.get(), 0);
    }

    #[test]
    fn so_many_copies_are_under_way_and_no_more() {
        let copies = Rc::<Copies>::default();
        let mut places: Vec<_> = (0..COPIES)
            .map(|_| copies.room().enter().unwrap())
            .collect();
        assert!(copies.are_full() && copies.room().enter().is_none());
        places.pop();
        assert!(!copies.are_full() && copies.room().enter().is_some());
        drop(places);
        assert_eq!((copies.under_way.get(), copies.bytes.get()), (0, 0));
    }
}
