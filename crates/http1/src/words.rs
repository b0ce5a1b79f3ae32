//! Finds the byte at which a name, a value or a target ends, eight bytes at a time.
//!
//! Most of a head is in lines that are fine, so what counts is how fast the next odd byte is found,
//! and heads are too short for vector code to pay. A mark is the top bit of a byte. The lowest mark of
//! a word is always right; marks above it may not be, since a subtraction borrows from the next byte.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;
const WORD: usize = 8;

/// Where the first colon is.
#[inline]
pub(crate) fn colon(bytes: &[u8]) -> Option<usize> {
    first(bytes, |word| equal(word, b':'), |b| b == b':')
}

/// Where the first byte is that ends a piece of a field value: a tab, or one that no value may have.
#[inline]
pub(crate) fn value_end(bytes: &[u8]) -> Option<usize> {
    let marks = |word| below(word, b' ') | equal(word, 0x7F);
    first(bytes, marks, |b| b < b' ' || b == 0x7F)
}

/// Where the first byte is that no target may have: anything but visible ASCII, or `#`.
#[inline]
pub(crate) fn target_end(bytes: &[u8]) -> Option<usize> {
    let marks = |word| below(word, b'!') | equal(word, 0x7F) | equal(word, b'#') | (word & TOPS);
    first(bytes, marks, |b| b == b'#' || !b.is_ascii_graphic())
}

/// The bytes of a word that are `b`.
#[inline(always)]
fn equal(word: u64, b: u8) -> u64 {
    below(word ^ (ONES * u64::from(b)), 1)
}

/// The bytes of a word that are less than `b`, which is at most 128.
#[inline(always)]
fn below(word: u64, b: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(b)) & !word & TOPS
}

/// Where the first byte is that `is`, as `marks` says of eight at once.
#[inline(always)]
fn first(bytes: &[u8], marks: impl Fn(u64) -> u64, is: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<WORD>();
    for (index, word) in words.iter().enumerate() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return Some(index * WORD + marked.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|&b| is(b))?;
    Some(words.len() * WORD + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of a word and of what is left after one, before every other byte.
    #[test]
    fn the_first_odd_byte_is_found_wherever_it_is() {
        let check = |find: fn(&[u8]) -> Option<usize>, is: fn(u8) -> bool| {
            for len in 0..20_usize {
                for at in 0..len {
                    for (b, next) in (0..=255_u8).flat_map(|b| [(b, b), (b, b'!'), (b'a', b)]) {
                        let mut bytes = vec![b'a'; len];
                        bytes[at] = b;
                        if let Some(after) = bytes.get_mut(at + 1) {
                            *after = next;
                        }
                        let expected = bytes.iter().position(|&b| is(b));
                        assert_eq!(find(&bytes), expected, "{bytes:?}");
                    }
                }
            }
        };
        check(colon, |b| b == b':');
        check(value_end, |b| {
            b == b'\t' || !crate::grammar::is_value_byte(b)
        });
        check(target_end, |b| b == b'#' || !b.is_ascii_graphic());
    }
}
