//! The last bytes that went by.

/// A ring of the bytes that were pushed last.
#[derive(Debug)]
pub(super) struct Tail {
    ring: Box<[u8]>,
    /// Where the next byte goes, and, once the ring is full, where the oldest one is.
    next: usize,
    len: usize,
}

impl Tail {
    /// Room for so many bytes.
    pub(super) fn new(room: usize) -> Self {
        Self {
            ring: vec![0; room].into(),
            next: 0,
            len: 0,
        }
    }

    /// How many bytes are kept.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Keeps the last bytes of what was there and `data` behind it.
    pub(super) fn push(&mut self, data: &[u8]) {
        let room = self.ring.len();
        let data = &data[data.len().saturating_sub(room)..];
        if data.is_empty() {
            return;
        }
        let (to_end, rest) = data.split_at(data.len().min(room - self.next));
        self.ring[self.next..self.next + to_end.len()].copy_from_slice(to_end);
        self.ring[..rest.len()].copy_from_slice(rest);
        self.next = (self.next + data.len()) % room;
        self.len = (self.len + data.len()).min(room);
    }

    /// Whether `data` is what is kept from position `at` on, counted from the oldest byte. False if it
    /// reaches beyond the youngest.
    pub(super) fn has(&self, at: usize, data: &[u8]) -> bool {
        if data.is_empty() {
            return true;
        }
        if at + data.len() > self.len {
            return false;
        }
        let room = self.ring.len();
        let start = (self.next + room - self.len + at) % room;
        let (to_end, rest) = data.split_at(data.len().min(room - start));
        self.ring[start..start + to_end.len()] == *to_end && self.ring[..rest.len()] == *rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes pieces of these sizes of a run of numbers through a ring of `room`.
    fn check(room: usize, sizes: &[usize]) {
        let mut tail = Tail::new(room);
        let mut all: Vec<u8> = Vec::new();
        for &size in sizes {
            let piece: Vec<u8> = (0..size).map(|at| (all.len() + at) as u8).collect();
            all.extend(&piece);
            tail.push(&piece);
            let kept = &all[all.len().saturating_sub(room)..];
            assert_eq!(tail.len(), kept.len(), "{room} {sizes:?}");
            for at in 0..kept.len() {
                assert!(tail.has(at, &kept[at..]), "{room} {sizes:?} {at}");
                assert!(tail.has(at, &kept[at..=at]) && tail.has(at, &[]));
                let wrong = kept[at].wrapping_add(1);
                assert!(!tail.has(at, &[wrong]), "{room} {sizes:?} {at}");
            }
            assert!(!tail.has(kept.len(), &[0]), "nothing is beyond");
        }
    }

    #[test]
    fn the_last_bytes_are_kept_whatever_the_pieces() {
        check(4, &[1, 1, 1, 1, 1, 1, 1]);
        check(4, &[3, 3, 3]);
        check(4, &[4, 4, 1]);
        check(4, &[9, 2, 5, 0, 3]);
        check(1, &[1, 2, 1]);
        check(7, &[2, 3, 4, 5, 6, 7, 8]);
        check(0, &[0]);
    }
}
