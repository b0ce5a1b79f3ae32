//! A table whose entries are made when they are first used, and the memory for them as well.
//!
//! A plan with thousands of routes is bound by every worker while requests wait for it: room for every route
//! at once is hundreds of pages that the kernel has to find and clear. In blocks of a page it finds them
//! as they come into use.

use std::fmt;
use std::sync::OnceLock;

/// Entries of one block: 4 KiB of them where an entry is a pointer.
const BLOCK: usize = 256;

type Block<T> = Box<[OnceLock<T>; BLOCK]>;

/// Entries by position, none of them made at first.
pub struct LazyTable<T> {
    blocks: Box<[OnceLock<Block<T>>]>,
}

impl<T> LazyTable<T> {
    /// A table with room for `count` entries.
    pub fn new(count: usize) -> Self {
        let blocks = (0..count.div_ceil(BLOCK)).map(|_| OnceLock::new());
        Self {
            blocks: blocks.collect(),
        }
    }

    /// The entry at a position, which `make` makes if nobody has used it yet.
    ///
    /// # Panics
    /// When the table has no room for it.
    #[inline]
    pub fn get_or_init(&self, at: usize, make: impl FnOnce() -> T) -> &T {
        let block = self.blocks[at / BLOCK].get_or_init(block);
        block[at % BLOCK].get_or_init(make)
    }

    /// The entries that were made, some at a time, to let go of.
    pub fn into_parts(self) -> impl Iterator<Item = impl Sized> {
        self.blocks.into_iter().filter_map(OnceLock::into_inner)
    }
}

/// Its room alone: entries may be many.
impl<T> fmt::Debug for LazyTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room = self.blocks.len() * BLOCK;
        f.debug_struct("LazyTable").field("room", &room).finish()
    }
}

#[cold]
fn block<T>() -> Block<T> {
    Box::new([const { OnceLock::new() }; BLOCK])
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn an_entry_is_made_once_and_stays() {
        let table = LazyTable::new(BLOCK + 1);
        for at in [0, 1, BLOCK - 1, BLOCK] {
            assert_eq!(*table.get_or_init(at, || at), at);
            assert_eq!(*table.get_or_init(at, || unreachable!()), at);
        }
    }

    #[test]
    fn parts_hold_what_was_made_and_let_go_of_it() {
        let entry = Rc::new(());
        let table = LazyTable::new(3 * BLOCK);
        let used = [0, 1, 2 * BLOCK];
        for at in used {
            table.get_or_init(at, || entry.clone());
        }
        let mut held = Vec::new();
        for part in table.into_parts() {
            held.push(Rc::strong_count(&entry) - 1);
            drop(part);
        }
        assert_eq!(held, [3, 1]);
        assert_eq!(Rc::strong_count(&entry), 1);
    }

    #[test]
    fn a_table_without_room_has_no_parts() {
        assert_eq!(LazyTable::<u8>::new(0).into_parts().count(), 0);
    }
}
