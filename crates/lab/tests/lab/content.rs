//! Content is one function, however it is cut.

use proptest::prelude::*;
use tidegate_lab::content;

proptest! {
    #[test]
    fn any_cut_gives_the_same_bytes(seed: u64, cuts in prop::collection::vec(0_usize..200, 1..8)) {
        let whole = content::bytes(seed, 0, cuts.iter().sum());
        let mut at = 0;
        for cut in cuts {
            let part = content::bytes(seed, at as u64, cut);
            prop_assert_eq!(&part[..], &whole[at..at + cut]);
            prop_assert_eq!(content::first_difference(seed, at as u64, &part), None);
            at += cut;
        }
    }

    #[test]
    fn a_flipped_bit_is_found_where_it_is(
        seed: u64,
        offset in 0_u64..1 << 40,
        len in 1_usize..9_000,
        at: prop::sample::Index,
        bit in 0_u8..8,
    ) {
        let mut got = content::bytes(seed, offset, len).to_vec();
        let at = at.index(len);
        got[at] ^= 1 << bit;
        let expected = Some(offset + at as u64);
        prop_assert_eq!(content::first_difference(seed, offset, &got), expected);
    }
}
