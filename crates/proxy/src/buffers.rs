//! Spare buffers of a thread.
//!
//! A connection owns buffers only while something is in them, so a busy one would allocate them
//! anew for every request. What it gives back waits here for the next, a while: the head of an
//! answer that is being written may still be a part of it.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::BytesMut;

/// What a new buffer has room for: most heads, and a small body.
const SIZE: usize = 4 * 1024;
/// Larger ones are not kept.
const SIZE_MAX: usize = 16 * 1024;
/// So many are kept, a thread.
const SPARE_MAX: usize = 64;

thread_local! {
    static SPARE: RefCell<VecDeque<BytesMut>> = const { RefCell::new(VecDeque::new()) };
}

/// An empty buffer with room.
pub(crate) fn take() -> BytesMut {
    SPARE
        .with_borrow_mut(reclaim)
        .unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

/// The first buffer, unless somebody still holds a part of it: then it waits on.
fn reclaim(spare: &mut VecDeque<BytesMut>) -> Option<BytesMut> {
    let mut first = spare.pop_front()?;
    if first.try_reclaim(SIZE) {
        return (first.capacity() <= SIZE_MAX).then_some(first);
    }
    spare.push_back(first);
    None
}

/// Gives an empty buffer back: to the front if it can be used at once.
pub(crate) fn give(mut buffer: BytesMut) {
    debug_assert!(buffer.is_empty());
    let whole = buffer.try_reclaim(SIZE);
    SPARE.with_borrow_mut(|spare| match whole {
        _ if spare.len() == SPARE_MAX || buffer.capacity() > SIZE_MAX => {}
        true => spare.push_front(buffer),
        false => spare.push_back(buffer),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare() -> usize {
        SPARE.with_borrow(VecDeque::len)
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
    fn few_are_kept_and_none_that_is_large() {
        give(BytesMut::with_capacity(SIZE_MAX + 1));
        assert_eq!(spare(), 0);
        let many: Vec<_> = (0..=SPARE_MAX).map(|_| take()).collect();
        many.into_iter().for_each(give);
        assert_eq!(spare(), SPARE_MAX);
    }
}
