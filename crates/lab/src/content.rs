//! Bytes that everybody can predict: the content of a file is a pure function of a seed and an offset.
//!
//! Every region serves the same content without sharing a disk, a client checks any part of an answer without
//! keeping it, and a byte out of place says exactly where. Words come from the SplitMix64 finaliser (Steele, Lea,
//! Flood, OOPSLA 2014) over seed and word index, so reading at an offset costs nothing extra. Not for secrets.

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// The seed of the content that all regions serve unless told otherwise.
pub const SEED: u64 = 0x71de_6a7e;

const WORD: u64 = 8;
const CHUNK: usize = 64 * 1024;

/// Writes the content at `offset` into all of `out`.
pub fn fill(seed: u64, offset: u64, out: &mut [u8]) {
    let mut at = offset;
    let mut rest = out;
    while !rest.is_empty() {
        let bytes = word(seed, at / WORD).to_le_bytes();
        // Below 8 by construction, so the narrowing keeps the value.
        let skip = (at % WORD) as usize;
        let n = rest.len().min(bytes.len() - skip);
        let (now, later) = rest.split_at_mut(n);
        now.copy_from_slice(&bytes[skip..skip + n]);
        at = at.wrapping_add(n as u64);
        rest = later;
    }
}

fn word(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `len` bytes of content from `offset` on.
#[must_use]
pub fn bytes(seed: u64, offset: u64, len: usize) -> Bytes {
    let mut out = BytesMut::zeroed(len);
    fill(seed, offset, &mut out);
    out.freeze()
}

/// The offset of the first byte of `got` that is not the content at `offset`; `None` when all of it is right.
#[must_use]
pub fn first_difference(seed: u64, offset: u64, got: &[u8]) -> Option<u64> {
    let mut expected = [0; 4096];
    let mut at = offset;
    for part in got.chunks(expected.len()) {
        let want = &mut expected[..part.len()];
        fill(seed, at, want);
        if let Some(n) = part.iter().zip(want.iter()).position(|(a, b)| a != b) {
            return Some(at + n as u64);
        }
        at += part.len() as u64;
    }
    None
}

/// SHA-256 of the first `len` bytes, in lower-case hex.
#[must_use]
pub fn sha256_hex(seed: u64, len: u64) -> String {
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < len {
        let n = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
        hash.update(bytes(seed, at, n));
        at += n as u64;
    }
    hex(&hash.finalize())
}

/// A strong entity tag (RFC 9110, section 8.8.3), quotes included, for the first `len` bytes.
///
/// It hashes seed and length. The content is a function of the two, so equal tags mean equal bytes, and a
/// file of many gigabytes needs no pass over its bytes before the first one is sent.
#[must_use]
pub fn etag(seed: u64, len: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(b"tidegate-lab content");
    hash.update(seed.to_le_bytes());
    hash.update(len.to_le_bytes());
    format!("\"{}\"", &hex(&hash.finalize())[..32])
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_never_changes() {
        // The published first output of SplitMix64 for seed 0: e220a8397b1dcdaf.
        assert_eq!(hex(&bytes(0, 0, 8)), "afcd1d7b39a820e2");
    }

    #[test]
    fn finds_the_first_wrong_byte() {
        let mut got = bytes(SEED, 5, 10_000).to_vec();
        assert_eq!(first_difference(SEED, 5, &got), None);
        got[9_000] ^= 1;
        assert_eq!(first_difference(SEED, 5, &got), Some(9_005));
        assert_eq!(first_difference(SEED, 5, &[]), None);
    }

    #[test]
    fn tags_differ_with_seed_and_length() {
        let tags = [etag(1, 10), etag(1, 11), etag(2, 10)];
        assert_eq!(tags[0], etag(1, 10));
        assert!(tags[0] != tags[1] && tags[0] != tags[2] && tags[1] != tags[2]);
        assert!(tags[0].starts_with('"') && tags[0].ends_with('"'));
    }

    #[test]
    fn hash_of_nothing_is_the_known_one() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_hex(SEED, 0), known);
        assert_eq!(
            sha256_hex(SEED, 70_000),
            hex(&Sha256::digest(bytes(SEED, 0, 70_000)))
        );
    }
}
