//! Where a choice gets endpoint sets from: of their slots, or of what its thread has seen of them.
//!
//! A slot's load is two locked operations, and a request needs one for each region and one more. Sets
//! change seldom, so a thread keeps what it saw last, and asks a slot for nothing but the number of its set.

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::Guard;
use smallvec::SmallVec;

use crate::endpoint::{EndpointSet, EndpointSlot};
use crate::recall::Recall;

/// Gives the endpoint sets of one upstream's regions.
pub trait Sets {
    /// Lets `look` see the set of this moment of the region at `position`, which is in `slot`.
    fn look<R>(
        &self,
        position: usize,
        slot: &EndpointSlot,
        look: impl FnOnce(&EndpointSet) -> R,
    ) -> R;

    /// The same set, to keep for a while.
    fn pin(&self, position: usize, slot: &EndpointSlot) -> Guard<Arc<EndpointSet>>;

    /// The last decisions for the upstream; none where they are not kept.
    fn recall(&self) -> Option<&Recall> {
        None
    }
}

/// Asks the slots every time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loaded;

impl Sets for Loaded {
    fn look<R>(&self, _: usize, slot: &EndpointSlot, look: impl FnOnce(&EndpointSet) -> R) -> R {
        look(&slot.load())
    }

    fn pin(&self, _: usize, slot: &EndpointSlot) -> Guard<Arc<EndpointSet>> {
        slot.load()
    }
}

/// The sets that one thread saw last of one upstream of one plan, and what it decided last.
#[derive(Debug, Default)]
pub struct KeptSets {
    /// By position. What is gone from its slot is kept until the next look.
    sets: RefCell<SmallVec<[Option<Arc<EndpointSet>>; 3]>>,
    recall: Recall,
}

impl KeptSets {
    #[inline(always)]
    fn with<R>(
        &self,
        position: usize,
        slot: &EndpointSlot,
        look: impl FnOnce(&Arc<EndpointSet>) -> R,
    ) -> R {
        let mut kept = self.sets.borrow_mut();
        let is = |set: &&Arc<EndpointSet>| set.version == slot.version();
        match kept.get(position).and_then(Option::as_ref).filter(is) {
            Some(set) => look(set),
            None => {
                if kept.len() <= position {
                    kept.resize(position + 1, None);
                }
                look(kept[position].insert(slot.load_full()))
            }
        }
    }
}

impl Sets for KeptSets {
    #[inline(always)]
    fn look<R>(
        &self,
        position: usize,
        slot: &EndpointSlot,
        look: impl FnOnce(&EndpointSet) -> R,
    ) -> R {
        self.with(position, slot, |set| look(set))
    }

    #[inline(always)]
    fn pin(&self, position: usize, slot: &EndpointSlot) -> Guard<Arc<EndpointSet>> {
        self.with(position, slot, |set| Guard::from_inner(set.clone()))
    }

    #[inline(always)]
    fn recall(&self) -> Option<&Recall> {
        Some(&self.recall)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::board::Board;
    use crate::plan::EndpointSpec;

    fn put(slot: &EndpointSlot, board: &Board, port: usize) {
        let spec = EndpointSpec::new(format!("127.0.0.1:{port}"));
        slot.replace("shop", "r0", &[spec], board);
    }

    #[test]
    fn what_is_kept_is_what_its_slot_has() {
        let (board, kept) = (Board::new(Instant::now()), KeptSets::default());
        let slots = [EndpointSlot::default(), EndpointSlot::default()];
        for round in 1..4 {
            for (at, slot) in slots.iter().enumerate().rev() {
                put(slot, &board, 10 * at + round);
                for _ in 0..2 {
                    let seen = kept.look(at, slot, |set| set.endpoints[0].address.clone());
                    assert_eq!(*seen, *format!("127.0.0.1:{}", 10 * at + round));
                    assert!(Arc::ptr_eq(&kept.pin(at, slot), &slot.load()));
                    assert!(Arc::ptr_eq(&Loaded.pin(at, slot), &slot.load()));
                }
            }
        }
    }

    /// However the replacements fall, none goes unnoticed.
    #[test]
    fn the_last_of_replacements_at_once_is_seen() {
        let (board, kept) = (Board::new(Instant::now()), KeptSets::default());
        let slot = EndpointSlot::default();
        for round in 0..50 {
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (slot, board) = (&slot, &board);
                    scope.spawn(move || put(slot, board, 4 * round + thread));
                }
            });
            assert!(Arc::ptr_eq(&kept.pin(0, &slot), &slot.load()));
        }
        assert_eq!(slot.version(), 200);
    }
}
