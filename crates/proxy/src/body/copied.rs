//! The copy of a body for somebody else than its upstream: made while it is read, sent once it is whole.

use bytes::Bytes;
use http::HeaderMap;

use super::Piece;
use super::run::Run;

/// A body as far as it was read, all of it in memory.
pub(crate) struct CopiedBody {
    run: Run,
    trailers: Option<Box<HeaderMap>>,
    given_bytes: u64,
}

impl CopiedBody {
    /// Nothing yet, of a body whose pieces are most of their buffer from `by_reference` bytes on.
    pub(crate) fn new(by_reference: usize) -> Self {
        Self {
            run: Run::of_pieces(by_reference),
            trailers: None,
            given_bytes: 0,
        }
    }

    /// Bytes of content.
    pub(crate) fn bytes(&self) -> u64 {
        self.run.bytes()
    }

    /// Adds what was read.
    pub(crate) fn push(&mut self, piece: &Piece) {
        match piece {
            Piece::Data(data) => self.run.push(data),
            Piece::Trailers(trailers) => self.trailers = Some(trailers.clone()),
        }
    }

    /// The first so many bytes; none if there are fewer.
    pub(crate) fn first_bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut start = [0; N];
        for (at, byte) in start.iter_mut().enumerate() {
            *byte = *self.run.from(at as u64)?.first()?;
        }
        Some(start)
    }

    /// The next piece; none after the last.
    pub(crate) fn next_piece(&mut self) -> Option<Piece> {
        let data: Option<Bytes> = self.run.from(self.given_bytes);
        match data {
            Some(data) => {
                self.given_bytes += data.len() as u64;
                Some(Piece::Data(data))
            }
            None => self.trailers.take().map(Piece::Trailers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_what_was_read() {
        let mut copy = CopiedBody::new(usize::MAX);
        for text in ["he", "l", "lo, ", "world"] {
            copy.push(&Piece::Data(Bytes::from_static(text.as_bytes())));
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("1"));
        copy.push(&Piece::Trailers(Box::new(trailers.clone())));
        assert_eq!(copy.bytes(), 12);
        assert_eq!(copy.first_bytes::<5>(), Some(*b"hello"));
        assert_eq!(copy.first_bytes::<13>(), None);
        let mut read = Vec::new();
        while let Some(Piece::Data(data)) = copy.next_piece().inspect(|piece| {
            if let Piece::Trailers(found) = piece {
                assert_eq!(**found, trailers);
            }
        }) {
            read.extend_from_slice(&data);
        }
        assert_eq!(read, b"hello, world");
        assert!(copy.next_piece().is_none());
    }
}
