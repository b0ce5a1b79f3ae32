//! Where the frames of a WebSocket begin and end (RFC 6455 section 5.2), so that a Close can follow
//! one of them. Payloads are not looked at.

/// A Close frame of a server: 1001, going away (RFC 6455 section 7.4.1).
pub(crate) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

const CLOSE: u8 = 0x8;
/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_MAX: usize = 14;

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; HEAD_MAX],
    /// Bytes of the head that have passed.
    have: usize,
    /// Bytes of the payload that are still to pass.
    left: u64,
    closed: bool,
}

impl Frames {
    /// These bytes have passed.
    pub(crate) fn pass(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let payload = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(data.len());
            self.left -= payload as u64;
            data = &data[payload..];
            if let [byte, rest @ ..] = data {
                self.enter(*byte);
                data = rest;
            }
        }
    }

    /// Whether a frame of one's own may follow: the last one is whole, and none was a Close.
    pub(crate) fn may_follow(&self) -> bool {
        self.have == 0 && self.left == 0 && !self.closed
    }

    fn enter(&mut self, byte: u8) {
        self.head[self.have] = byte;
        self.have += 1;
        let (extended, mask) = match self.head[1] {
            _ if self.have < 2 => return,
            second => (second & 0x7f, usize::from(second >> 7) * 4),
        };
        let lengths = match extended {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.have < 2 + lengths + mask {
            return;
        }
        self.left = match lengths {
            0 => u64::from(extended),
            _ => self.head[2..2 + lengths]
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        self.closed |= self.head[0] & 0xf == CLOSE;
        self.have = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = match length {
            0..126 => vec![first, mask | length as u8],
            126..65_536 => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
            _ => [&[first, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
        };
        frame.resize(frame.len() + usize::from(masked) * 4 + length, 0x88);
        frame
    }

    #[test]
    fn a_frame_may_follow_only_where_one_ends() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            for masked in [false, true] {
                let stream = [frame(0x81, length, masked), frame(0x02, 3, masked)].concat();
                let ends = [stream.len() - frame(0x02, 3, masked).len(), stream.len()];
                let mut frames = Frames::default();
                for at in 0..stream.len() {
                    frames.pass(&stream[at..=at]);
                    let expected = ends.contains(&(at + 1));
                    assert_eq!(frames.may_follow(), expected, "{length} {masked} {at}");
                }
                let mut whole = Frames::default();
                whole.pass(&stream);
                assert!(whole.may_follow());
                whole.pass(&stream[..1]);
                assert!(!whole.may_follow());
            }
        }
    }

    #[test]
    fn nothing_follows_a_close() {
        let mut frames = Frames::default();
        assert!(frames.may_follow());
        frames.pass(&frame(0x89, 2, false));
        assert!(frames.may_follow());
        frames.pass(&GOING_AWAY);
        assert!(!frames.may_follow());
        frames.pass(&frame(0x81, 2, false));
        assert!(!frames.may_follow());
    }

    #[test]
    fn an_endless_length_overflows_nothing() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127]);
        frames.pass(&[0xff; 8]);
        frames.pass(&[0; 100]);
        assert!(!frames.may_follow());
    }
}
