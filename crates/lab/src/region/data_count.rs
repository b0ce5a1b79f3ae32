//! How much of answers' bodies has gone out on an HTTP/2 connection: the DATA frames in what is written.
//!
//! The library keeps what it was given until the peer's windows take it, and tells nobody; the bytes below it do
//! (RFC 9113, section 4.1). Fed with HTTP/1.1 it counts nonsense and harms nothing.

const HEAD: usize = 9;
const DATA: u8 = 0;

/// Follows the frames of one direction.
#[derive(Default)]
pub(super) struct DataCount {
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the present frame that are still to come.
    left: usize,
    /// Payload of DATA frames so far.
    pub(super) total: u64,
}

impl DataCount {
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.have < HEAD {
                let n = bytes.len().min(HEAD - self.have);
                self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
                self.have += n;
                bytes = &bytes[n..];
                let [a, b, c, ..] = self.head;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
            } else {
                let n = bytes.len().min(self.left);
                bytes = &bytes[n..];
                self.left -= n;
                self.total += if self.head[3] == DATA { n as u64 } else { 0 };
            }
            if self.have == HEAD && self.left == 0 {
                self.have = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload).unwrap().to_be_bytes();
        [vec![a, b, c, kind, 0, 0, 0, 0, 1], vec![7; payload]].concat()
    }

    #[test]
    fn only_data_counts_however_it_is_cut() {
        let frames = [(4, 0), (0, 300), (1, 40), (0, 0), (0, 70_000), (6, 8)];
        let bytes: Vec<u8> = frames.iter().flat_map(|(k, n)| frame(*k, *n)).collect();
        for size in [1, 2, 9, 10, 4096, bytes.len()] {
            let mut count = DataCount::default();
            bytes.chunks(size).for_each(|part| count.feed(part));
            assert_eq!((count.total, count.have), (70_300, 0), "pieces of {size}");
        }
    }
}
