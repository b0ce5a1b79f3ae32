//! Bytes in memory, in the order in which they came.
//!
//! A piece of a body is a part of the buffer that it was read into, and holds all of that buffer. So
//! only pieces that are most of their buffer are kept where they are; smaller ones are copied
//! together, so that what is counted is what is held, however finely a client cuts its body.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// Pieces of at least this size are kept where they are, whoever read them: no buffer has more than
/// twice as much.
const BY_REFERENCE: usize = 128 * 1024;
/// Smallest and largest room that is made for copies at a time.
const ROOM: (u64, u64) = (4 * 1024, 256 * 1024);

/// Bytes in order. The first piece is kept where it is: most bodies have no other.
pub(super) struct Run {
    by_reference: usize,
    /// Each with where it ends.
    pieces: SmallVec<[(u64, Bytes); 1]>,
    /// Copies of small pieces, behind `pieces`.
    tail: BytesMut,
    bytes: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self::of_pieces(BY_REFERENCE)
    }
}

impl Run {
    /// Nothing yet. Pieces of at least `by_reference` bytes are most of their buffer.
    pub(super) fn of_pieces(by_reference: usize) -> Self {
        Self {
            by_reference: by_reference.min(BY_REFERENCE),
            pieces: SmallVec::new(),
            tail: BytesMut::new(),
            bytes: 0,
        }
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, data: &Bytes) {
        if self.bytes == 0 || data.len() >= self.by_reference {
            self.close();
            self.add(data.clone());
        } else {
            self.copy(data);
        }
        self.bytes += data.len() as u64;
    }

    fn add(&mut self, piece: Bytes) {
        let begin = self.pieces.last().map_or(0, |(end, _)| *end);
        self.pieces.push((begin + piece.len() as u64, piece));
    }

    fn copy(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let room = self.tail.capacity() - self.tail.len();
            if room == 0 {
                self.close();
                // As much as there is already: few allocations, and never more than half of it unused.
                let size = self.bytes.clamp(ROOM.0, ROOM.1) as usize;
                self.tail = BytesMut::with_capacity(size.max(data.len().min(ROOM.1 as usize)));
                continue;
            }
            let (now, later) = data.split_at(data.len().min(room));
            self.tail.extend_from_slice(now);
            data = later;
        }
    }

    /// Lets `pieces` have everything.
    pub(super) fn close(&mut self) {
        if !self.tail.is_empty() {
            let copies = self.tail.split().freeze();
            self.add(copies);
        }
    }

    /// All of it, once it is closed.
    pub(super) fn pieces(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        debug_assert!(self.tail.is_empty(), "closed before");
        self.pieces.iter().map(|(_, piece)| piece)
    }

    /// What begins at byte `at`, up to the end of its piece; nothing behind the end.
    pub(super) fn from(&mut self, at: u64) -> Option<Bytes> {
        self.close();
        self.closed_from(at)
    }

    /// The same, of a run that is closed.
    pub(super) fn closed_from(&self, at: u64) -> Option<Bytes> {
        debug_assert!(self.tail.is_empty(), "closed before");
        let nth = self.pieces.partition_point(|(end, _)| *end <= at);
        let (end, piece) = self.pieces.get(nth)?;
        let begin = end - piece.len() as u64;
        Some(piece.slice((at - begin) as usize..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of these sizes come out in order, wherever reading begins, and as few as expected.
    fn check(sizes: &[usize], pieces: usize) {
        let all: Vec<u8> = (0..sizes.iter().sum()).map(|at: usize| at as u8).collect();
        let mut run = Run::default();
        let mut rest = Bytes::from(all.clone());
        for size in sizes {
            run.push(&rest.split_to(*size));
        }
        assert_eq!(run.bytes(), all.len() as u64);
        for from in [0, 1, all.len() / 2, all.len() - 1] {
            let mut read = Vec::new();
            while let Some(piece) = run.from((from + read.len()) as u64) {
                read.extend_from_slice(&piece);
            }
            assert!(read == all[from..], "{sizes:?} from {from}");
        }
        assert_eq!(run.pieces().len(), pieces, "{sizes:?}");
        assert_eq!(run.from(all.len() as u64), None);
    }

    #[test]
    fn what_was_added_is_read() {
        check(&[5], 1);
        check(&[5, 7, 9], 2);
        check(&[200_000, 1, 200_000, 1, 1], 4);
        check(&[1; 5000], 3);
        check(&[16_384; 64], 8);
    }

    #[test]
    fn what_is_most_of_its_buffer_is_kept_there() {
        let mut run = Run::of_pieces(100);
        let buffer = Bytes::from(vec![7; 300]);
        for (piece, copied) in [(buffer.slice(..99), false), (buffer.slice(..99), true)] {
            run.push(&piece);
            let same = run
                .from(run.bytes() - 99)
                .is_some_and(|kept| kept.as_ptr() == piece.as_ptr());
            assert_eq!(same, !copied);
        }
        let large = buffer.slice(100..200);
        run.push(&large);
        assert_eq!(
            run.from(198).map(|kept| kept.as_ptr()),
            Some(large.as_ptr())
        );
    }

    #[test]
    fn small_pieces_hold_no_large_buffers() {
        let mut run = Run::default();
        run.push(&Bytes::from_static(b"first"));
        let large = Bytes::from(vec![7; BY_REFERENCE]);
        run.push(&large.slice(..100));
        assert!(large.is_unique());
        run.push(&large);
        assert!(!large.is_unique());
    }
}
