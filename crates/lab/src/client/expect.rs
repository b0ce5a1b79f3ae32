//! Whether a body is the right one, decided while it arrives and without keeping it.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::snapshot::WrongBody;
use crate::content::{self, hex};

/// A receipt is short; more than this is not one.
const RECEIPT_BYTES_MAX: usize = 64 * 1024;

/// The right body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Every body will do.
    Anything,
    /// Every body of this length.
    Length(u64),
    /// The first `bytes` bytes of the [`content`](crate::content) of `seed`.
    Content {
        /// Which content.
        seed: u64,
        /// How much of it.
        bytes: u64,
    },
    /// So many bytes of the content of `seed`, from `first` on: the answer to a range.
    Part {
        /// Which content.
        seed: u64,
        /// Where it begins.
        first: u64,
        /// How much of it.
        bytes: u64,
    },
    /// A body with this hash.
    Sha256 {
        /// Lower-case hex.
        hex: String,
        /// Its length.
        bytes: u64,
    },
    /// What this very request uploaded.
    Upload,
    /// The JSON of `/sha256` for what this very request uploaded.
    UploadDigest,
}

/// What a request uploaded: content that no other request of the client has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upload {
    pub(super) seed: u64,
    pub(super) bytes: u64,
}

/// A body that is not the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) kind: WrongBody,
    /// Offset of the first wrong byte, or where the body ended or should have.
    pub(super) at: u64,
}

enum Check {
    Anything,
    Length {
        bytes: u64,
    },
    Content {
        seed: u64,
        first: u64,
        bytes: u64,
    },
    Hash {
        hash: Sha256,
        hex: String,
        bytes: u64,
    },
    Receipt {
        upload: Upload,
        text: Vec<u8>,
    },
}

/// Follows one body.
pub(super) struct BodyCheck {
    check: Check,
    got: u64,
}

#[derive(Deserialize)]
struct Receipt {
    sha256: String,
    bytes: u64,
}

impl BodyCheck {
    pub(super) fn new(expect: &Expect, upload: Upload) -> Self {
        let check = match expect {
            Expect::Anything => Check::Anything,
            Expect::Length(bytes) => Check::Length { bytes: *bytes },
            Expect::Content { seed, bytes } => Check::Content {
                seed: *seed,
                first: 0,
                bytes: *bytes,
            },
            Expect::Part { seed, first, bytes } => Check::Content {
                seed: *seed,
                first: *first,
                bytes: *bytes,
            },
            Expect::Upload => Check::Content {
                seed: upload.seed,
                first: 0,
                bytes: upload.bytes,
            },
            Expect::Sha256 { hex, bytes } => Check::Hash {
                hash: Sha256::new(),
                hex: hex.clone(),
                bytes: *bytes,
            },
            Expect::UploadDigest => Check::Receipt {
                upload,
                text: Vec::new(),
            },
        };
        Self { check, got: 0 }
    }

    /// Looks at the next piece.
    pub(super) fn feed(&mut self, data: &[u8]) -> Result<(), Mismatch> {
        let at = self.got;
        self.got += data.len() as u64;
        if self.limit().is_some_and(|limit| self.got > limit) {
            return Err(Mismatch {
                kind: WrongBody::Long,
                at: self.limit().unwrap_or(at),
            });
        }
        match &mut self.check {
            Check::Anything | Check::Length { .. } => {}
            Check::Content { seed, first, .. } => {
                if let Some(wrong) = content::first_difference(*seed, *first + at, data) {
                    return Err(Mismatch {
                        kind: WrongBody::Differs,
                        at: wrong - *first,
                    });
                }
            }
            Check::Hash { hash, .. } => hash.update(data),
            Check::Receipt { text, .. } => text.extend_from_slice(data),
        }
        Ok(())
    }

    /// Judges the body after its last piece.
    pub(super) fn finish(self) -> Result<(), Mismatch> {
        let at = self.got;
        let right = match &self.check {
            Check::Length { bytes } | Check::Content { bytes, .. } | Check::Hash { bytes, .. }
                if at < *bytes =>
            {
                return Err(Mismatch {
                    kind: WrongBody::Short,
                    at,
                });
            }
            Check::Hash {
                hash, hex: wanted, ..
            } => hex(&hash.clone().finalize()) == *wanted,
            Check::Receipt { upload, text } => receipt_is_right(text, *upload),
            _ => true,
        };
        if right {
            Ok(())
        } else {
            Err(Mismatch {
                kind: WrongBody::Differs,
                at,
            })
        }
    }

    fn limit(&self) -> Option<u64> {
        match &self.check {
            Check::Anything => None,
            Check::Length { bytes } | Check::Content { bytes, .. } | Check::Hash { bytes, .. } => {
                Some(*bytes)
            }
            Check::Receipt { .. } => Some(RECEIPT_BYTES_MAX as u64),
        }
    }
}

fn receipt_is_right(text: &[u8], upload: Upload) -> bool {
    serde_json::from_slice::<Receipt>(text).is_ok_and(|receipt| {
        receipt.bytes == upload.bytes
            && receipt.sha256 == content::sha256_hex(upload.seed, upload.bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLOAD: Upload = Upload { seed: 9, bytes: 40 };

    /// What is expected, the pieces that arrive, the verdict.
    type Case<'a> = (&'a Expect, &'a [&'a [u8]], Result<(), Mismatch>);

    fn judge(expect: &Expect, pieces: &[&[u8]]) -> Result<(), Mismatch> {
        let mut check = BodyCheck::new(expect, UPLOAD);
        pieces.iter().try_for_each(|piece| check.feed(piece))?;
        check.finish()
    }

    fn wrong(kind: WrongBody, at: u64) -> Result<(), Mismatch> {
        Err(Mismatch { kind, at })
    }

    #[test]
    fn bodies_are_judged() {
        let good = content::bytes(9, 0, 40);
        let mut bad = good.to_vec();
        bad[33] ^= 0x80;
        let hash = Expect::Sha256 {
            hex: content::sha256_hex(9, 40),
            bytes: 40,
        };
        let receipt = |bytes: u64| {
            format!(
                r#"{{"sha256":"{}","bytes":{bytes}}}"#,
                content::sha256_hex(9, 40)
            )
        };
        let (told, mistold) = (receipt(40), receipt(41));
        let long = [&good[..], b"x"].concat();
        let part = Expect::Part {
            seed: 9,
            first: 7,
            bytes: 33,
        };
        let cases: [Case<'_>; 18] = [
            (&Expect::Anything, &[b"whatever"], Ok(())),
            (&Expect::Length(3), &[b"ab", b"c"], Ok(())),
            (&Expect::Length(3), &[b"ab"], wrong(WrongBody::Short, 2)),
            (
                &Expect::Length(3),
                &[b"ab", b"cd"],
                wrong(WrongBody::Long, 3),
            ),
            (&Expect::Upload, &[&good[..7], &good[7..]], Ok(())),
            (
                &Expect::Upload,
                &[&bad[..7], &bad[7..]],
                wrong(WrongBody::Differs, 33),
            ),
            (&Expect::Upload, &[&good[..39]], wrong(WrongBody::Short, 39)),
            (&Expect::Upload, &[&long], wrong(WrongBody::Long, 40)),
            (&Expect::Upload, &[], wrong(WrongBody::Short, 0)),
            (
                &Expect::Content { seed: 8, bytes: 40 },
                &[&good],
                wrong(WrongBody::Differs, 0),
            ),
            (&part, &[&good[7..20], &good[20..]], Ok(())),
            (&part, &[&bad[7..]], wrong(WrongBody::Differs, 26)),
            (&hash, &[&good], Ok(())),
            (&hash, &[&bad], wrong(WrongBody::Differs, 40)),
            (&hash, &[&good[1..]], wrong(WrongBody::Short, 39)),
            (&Expect::UploadDigest, &[told.as_bytes()], Ok(())),
            (
                &Expect::UploadDigest,
                &[mistold.as_bytes()],
                wrong(WrongBody::Differs, 88),
            ),
            (
                &Expect::UploadDigest,
                &[b"{}"],
                wrong(WrongBody::Differs, 2),
            ),
        ];
        for (index, (expect, pieces, expected)) in cases.into_iter().enumerate() {
            assert_eq!(judge(expect, pieces), expected, "case {index}: {expect:?}");
        }
    }
}
