//! What a step of the index reads.

use std::ops::Deref;

/// Longer labels lie elsewhere.
const SHORT: usize = 30;

/// A host or a segment of a path. It lies in its node if it is short, as almost all are: one memory
/// access less.
pub(super) enum Label {
    /// So many of these bytes.
    Short(u8, [u8; SHORT]),
    /// These bytes.
    Long(Box<[u8]>),
}

impl Label {
    /// A copy of `bytes`.
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match short.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                Self::Short(bytes.len() as u8, short)
            }
            None => Self::Long(bytes.into()),
        }
    }

    /// Bytes that it takes beside itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short(..) => 0,
            Self::Long(bytes) => bytes.len(),
        }
    }
}

impl Deref for Label {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_reads_as_it_was_given_whatever_its_length() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 300] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let label = Label::new(&bytes);
            assert_eq!(*label, *bytes);
            assert_eq!(label.heap_bytes() > 0, length > SHORT);
        }
    }
}
