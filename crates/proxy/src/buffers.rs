//! Spare buffers of a thread.
//!
//! A connection owns buffers only while something is in them, so a busy one would allocate them
//! anew for every request. What it gives back waits here for the next, a while: the head of an
//! answer that is being written may still be a part of it. The last one that was given back goes first,
//! since it is the nearest to the core: a few buffers serve all connections of a thread that are busy in
//! turns.

use std::cell::RefCell;

use bytes::BytesMut;

/// What a new buffer has room for: most heads, and a small body.
const SIZE: usize = 4 * 1024;
/// Larger ones are not kept.
const SIZE_MAX: usize = 16 * 1024;
/// So many are kept, a thread.
const SPARE_MAX: usize = 64;
/// Of so many it is seen whether somebody still holds a part: heads are let go of soon.
const LOOKED_AT: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room.
pub(crate) fn take() -> BytesMut {
    SPARE
        .with_borrow_mut(reclaim)
        .unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

/// The last buffer, as a rule.
fn reclaim(spare: &mut Vec<BytesMut>) -> Option<BytesMut> {
    let found = match spare.last_mut()?.try_reclaim(SIZE) {
        true => spare.pop(),
        false => pass_over(spare),
    };
    found.filter(|found| found.capacity() <= SIZE_MAX)
}

/// The last buffer of which nobody holds a part. If all are held that are looked at, they make way for
/// others.
#[cold]
fn pass_over(spare: &mut Vec<BytesMut>) -> Option<BytesMut> {
    let looked_at = spare.len().min(LOOKED_AT);
    let from = spare.len() - looked_at;
    let mut last = spare[from..].iter_mut();
    let Some(at) = last.rposition(|buffer| buffer.try_reclaim(SIZE)) else {
        spare.rotate_right(looked_at);
        return None;
    };
    Some(spare.remove(from + at))
}

/// Gives an empty buffer back. Of one that was used, the capacity is what is left of it: how large it is shows
/// when it is taken.
pub(crate) fn give(buffer: BytesMut) {
    debug_assert!(buffer.is_empty());
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAX && buffer.capacity() <= SIZE_MAX {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    #[test]
    fn a_buffer_is_used_again_once_nobody_holds_a_part_of_it() {
        let mut buffer = take();
        buffer.extend_from_slice(b"head and rest");
        let place = buffer.as_ptr();
        let head = buffer.split_to(4).freeze();
        buffer.clear();
        give(buffer);
        drop(head);
        assert_eq!((take().as_ptr(), spare()), (place, 0));

        let mut buffer = take();
        buffer.extend_from_slice(b"held");
        let held = buffer.split_to(4).freeze();
        give(buffer);
        let mut other = take();
        other.extend_from_slice(b"else");
        assert_eq!(
            (&held[..], &other[..], spare()),
            (&b"held"[..], &b"else"[..], 1)
        );
    }

    #[test]
    fn the_last_goes_first_and_those_that_are_held_make_way() {
        let filled = || {
            let mut buffer = BytesMut::with_capacity(SIZE);
            buffer.extend_from_slice(b"held");
            buffer
        };
        let free = BytesMut::with_capacity(SIZE);
        let place = free.as_ptr();
        give(free);
        let mut held = Vec::new();
        for _ in 0..LOOKED_AT {
            let mut buffer = filled();
            held.push(buffer.split_to(4).freeze());
            give(buffer);
        }
        assert_ne!(take().as_ptr(), place);
        assert_eq!((take().as_ptr(), spare()), (place, LOOKED_AT));
        drop(held);
        let last = BytesMut::with_capacity(SIZE);
        let place = last.as_ptr();
        give(last);
        assert_eq!(take().as_ptr(), place);
    }

    #[test]
    fn few_are_kept_and_none_that_is_large() {
        give(BytesMut::with_capacity(SIZE_MAX + 1));
        assert_eq!(spare(), 0);
        let many: Vec<_> = (0..=SPARE_MAX).map(|_| take()).collect();
        many.into_iter().for_each(give);
        assert_eq!(spare(), SPARE_MAX);
    }
}
