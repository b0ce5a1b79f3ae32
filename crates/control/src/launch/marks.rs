//! Marks of starts that have not ended well yet, by the texts that were started.
//!
//! Taken over the texts and not over what they become, because compiling them may be what ends the
//! process.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidegate_config::Bundle;

use crate::state::{StateDir, StateError};

/// Texts get so many starts.
const TRIES: u32 = 2;
/// Marks of so many texts are kept; the oldest go first.
const MARKS_MAX: usize = 16;
const NAME: &str = "starts.json";

/// The marks, in memory and on the disk.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    store: Option<StateDir>,
    kept: Kept,
    /// The texts that this process was started with, until their start has ended well.
    begun: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    marks: Vec<Mark>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// SHA-256 of the texts.
    texts: String,
    tries: u32,
}

impl Marks {
    pub(super) fn read(store: Option<StateDir>, problems: &mut Vec<StateError>) -> Self {
        let read = store.as_ref().map(|store| store.read::<Kept>(NAME));
        let kept = read.and_then(|read| read.map_err(|error| problems.push(error)).ok());
        Self {
            kept: kept.flatten().unwrap_or_default(),
            store,
            begun: None,
        }
    }

    /// Whether these texts have had their starts.
    pub(crate) fn is_shunned(&self, texts: &str) -> bool {
        let mut marks = self.kept.marks.iter();
        marks.any(|mark| mark.texts == texts && mark.tries >= TRIES)
    }

    /// Marks a start with these texts. When this returns, it is on the disk.
    pub(super) fn begin(&mut self, texts: &str) -> Result<(), StateError> {
        let tries = self.remove(texts) + 1;
        self.put(texts, tries);
        self.begun = Some(texts.to_owned());
        self.write()
    }

    /// Takes away the mark of this process's start: what it was started with serves, or was replaced in
    /// good order.
    pub(crate) fn end_own(&mut self) -> Result<(), StateError> {
        let begun = self.begun.take();
        begun.map_or(Ok(()), |begun| self.end(&begun))
    }

    /// Takes back the last mark of these texts: they were not started after all.
    pub(super) fn cancel(&mut self, texts: &str) -> Result<(), StateError> {
        let tries = self.remove(texts);
        if tries > 1 {
            self.put(texts, tries - 1);
        }
        self.write()
    }

    /// Takes away the marks of these texts: they serve.
    pub(crate) fn end(&mut self, texts: &str) -> Result<(), StateError> {
        match self.remove(texts) {
            0 => Ok(()),
            _ => self.write(),
        }
    }

    fn remove(&mut self, texts: &str) -> u32 {
        let marks = &mut self.kept.marks;
        let at = marks.iter().position(|mark| mark.texts == texts);
        at.map_or(0, |at| marks.remove(at).tries)
    }

    fn put(&mut self, texts: &str, tries: u32) {
        let marks = &mut self.kept.marks;
        marks.push(Mark {
            texts: texts.to_owned(),
            tries,
        });
        let beyond = marks.len().saturating_sub(MARKS_MAX);
        marks.drain(..beyond);
    }

    fn write(&self) -> Result<(), StateError> {
        self.store
            .as_ref()
            .map_or(Ok(()), |store| store.write(NAME, &self.kept))
    }
}

/// SHA-256 of the texts of `bundle`, in lower-case hex.
pub(crate) fn texts_hash(bundle: &Bundle) -> String {
    let mut hash = Sha256::new();
    for (_, text) in &bundle.files {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(store: &StateDir) -> Marks {
        let mut problems = Vec::new();
        let marks = Marks::read(Some(store.clone()), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        marks
    }

    /// Each step by a process of its own.
    #[test]
    fn two_starts_that_do_not_end_well_are_enough() {
        let place = tempfile::tempdir().unwrap();
        let store = StateDir::open(place.path()).unwrap();
        let shunned = |texts: &str| marks(&store).is_shunned(texts);
        marks(&store).begin("a").unwrap();
        assert!(!shunned("a"));
        marks(&store).begin("b").unwrap();
        marks(&store).begin("a").unwrap();
        assert!(shunned("a") && !shunned("b"));
        marks(&store).cancel("a").unwrap();
        assert!(!shunned("a"));
        marks(&store).begin("a").unwrap();
        marks(&store).end("b").unwrap();
        assert!(shunned("a"));
        marks(&store).end("a").unwrap();
        marks(&store).begin("a").unwrap();
        assert!(!shunned("a"));
    }

    #[test]
    fn only_the_own_start_is_taken_back() {
        let place = tempfile::tempdir().unwrap();
        let store = StateDir::open(place.path()).unwrap();
        marks(&store).begin("b").unwrap();
        let mut own = marks(&store);
        own.begin("a").unwrap();
        own.end_own().unwrap();
        own.end_own().unwrap();
        marks(&store).begin("b").unwrap();
        marks(&store).begin("a").unwrap();
        assert!(!marks(&store).is_shunned("a") && marks(&store).is_shunned("b"));
    }

    #[test]
    fn marks_do_not_pile_up() {
        let mut marks = Marks::default();
        for number in 0..100 {
            marks.begin(&number.to_string()).unwrap();
        }
        assert_eq!(marks.kept.marks.len(), MARKS_MAX);
        assert_eq!(marks.kept.marks[0].texts, "84");
    }

    #[test]
    fn other_texts_have_another_hash() {
        let hash = |text: &str| texts_hash(&Bundle::of("a", text));
        assert_eq!(hash("x"), hash("x"));
        assert_ne!(hash("x"), hash("y"));
        assert_eq!(hash("").len(), 64);
    }
}
