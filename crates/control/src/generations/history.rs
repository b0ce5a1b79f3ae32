//! The generations that are kept, in order, and how that is written.
//!
//! `history.json` says what there is; `generation-N.json` has the texts of one, with its entry, so that a
//! history that was lost can be put together again. The texts are written before what refers to them
//! and removed after, so a process that is killed in between leaves at most a file too many.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_config::Bundle;

use super::entry::{Entry, Fate};
use crate::state::{StateDir, StateError};

const NAME: &str = "history.json";
const PREFIX: &str = "generation-";
const SUFFIX: &str = ".json";

/// What is kept of all generations but their texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    /// The last number given out.
    pub(super) last: u64,
    /// The one that serves, or served last.
    pub(super) serving: u64,
    /// The content hash of the file when it was last read and good.
    #[serde(default)]
    pub(super) file: Option<Arc<str>>,
    /// The content hash with which the file is not served, unless somebody asks.
    #[serde(default)]
    pub(super) withheld: Option<Arc<str>>,
    /// Oldest first, by number.
    pub(super) entries: Vec<Entry>,
}

/// The texts of one generation.
#[derive(Serialize, Deserialize)]
struct Texts<E, B> {
    entry: E,
    bundle: B,
}

impl History {
    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.number == number)
    }

    pub(super) fn serving(&self) -> Option<&Entry> {
        self.get(self.serving)
    }

    /// The one that was replaced by what serves: not what was rolled back from, and of what was
    /// brought back the one before the original.
    pub(super) fn before(&self) -> Option<&Entry> {
        let serving = self.serving()?;
        let older = |entry: &&Entry| entry.number < serving.content();
        let stayed = |entry: &&Entry| entry.fate.is_none() && entry.hash != serving.hash;
        self.entries.iter().rev().filter(older).find(stayed)
    }

    pub(super) fn good(&self) -> Vec<Entry> {
        let good = |entry: &&Entry| {
            let tried = entry.proven || entry.number == self.serving;
            tried && entry.fate.is_none()
        };
        let mut all: Vec<_> = self.entries.iter().rev().filter(good).cloned().collect();
        all.sort_by_key(|entry| entry.number != self.serving);
        all
    }

    pub(super) fn serves(&mut self, entry: Entry) {
        let number = entry.number;
        if self.get(number).is_none() {
            self.entries.push(entry);
            self.entries.sort_by_key(|entry| entry.number);
        }
        self.serving = number;
        self.last = self.last.max(number);
    }

    pub(super) fn proven(&mut self) {
        let serving = self.serving;
        if let Some(entry) = self.get_mut(serving) {
            entry.proven = true;
        }
    }

    pub(super) fn ended(&mut self, number: u64, fate: Fate) {
        if let Some(entry) = self.get_mut(number) {
            entry.fate = Some(fate);
        }
    }

    pub(super) fn held(&mut self, number: u64, why: &str) {
        if let Some(entry) = self.get_mut(number) {
            entry.held = Some(why.to_owned());
        }
    }

    /// Forgets the oldest beyond `keep`, but never the serving one.
    pub(super) fn keep(&mut self, keep: usize) {
        let serving = self.serving;
        while self.entries.len() > keep {
            let oldest = self
                .entries
                .iter()
                .position(|entry| entry.number != serving);
            let Some(oldest) = oldest else { return };
            self.entries.remove(oldest);
        }
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.number == number)
    }
}

/// What `store` holds; what is wrong with it goes to `problems`.
pub(super) fn read(store: &StateDir, problems: &mut Vec<StateError>) -> History {
    match store.read::<History>(NAME) {
        Ok(Some(history)) => history,
        Ok(None) => rebuilt(store, problems),
        Err(error) => {
            problems.push(error);
            rebuilt(store, problems)
        }
    }
}

/// A history out of the texts that are there.
fn rebuilt(store: &StateDir, problems: &mut Vec<StateError>) -> History {
    let mut history = History::default();
    let names = store.names().unwrap_or_else(|error| {
        problems.push(error);
        Vec::new()
    });
    for number in names.iter().filter_map(|name| number(name)) {
        history.last = history.last.max(number);
        match store.read::<Texts<Entry, Bundle>>(&name(number)) {
            Ok(Some(texts)) if texts.entry.number == number => history.entries.push(texts.entry),
            Ok(_) => {}
            Err(error) => problems.push(error),
        }
    }
    history.entries.sort_by_key(|entry| entry.number);
    // Nobody knows any more which have proven themselves; without this none could be gone back to.
    history
        .entries
        .iter_mut()
        .for_each(|entry| entry.proven = true);
    history.serving = history.entries.last().map_or(0, |entry| entry.number);
    history
}

pub(super) fn bundle(store: &StateDir, number: u64) -> Result<Option<Bundle>, StateError> {
    let texts = store.read::<Texts<Entry, Bundle>>(&name(number))?;
    Ok(texts.map(|texts| texts.bundle))
}

pub(super) fn write_bundle(
    store: &StateDir,
    entry: &Entry,
    bundle: &Bundle,
) -> Result<(), StateError> {
    store.write(&name(entry.number), &Texts { entry, bundle })
}

/// Writes what there is, then removes the texts that it does not name.
pub(super) fn write(store: &StateDir, history: &History) -> Result<(), StateError> {
    store.write(NAME, history)?;
    for name in store.names()? {
        if number(&name).is_some_and(|number| history.get(number).is_none()) {
            store.remove(&name)?;
        }
    }
    Ok(())
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number}{SUFFIX}")
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Cause, Origin};

    fn entry(number: u64, hash: &str, restores: Option<u64>) -> Entry {
        Entry {
            restores,
            ..Entry::new(number, hash.into(), Origin::itself(Cause::File))
        }
    }

    fn rolled_back() -> Fate {
        Fate::RolledBack {
            by: Origin::itself(Cause::Rollback),
        }
    }

    /// `A B a1` is: A, B, and A again, which brings back number 1.
    fn history(steps: &str) -> History {
        let mut history = History::default();
        for (at, step) in steps.split(' ').enumerate() {
            let number = at as u64 + 1;
            let restores = step.get(1..).and_then(|digits| digits.parse().ok());
            if restores.is_some() {
                history.ended(number - 1, rolled_back());
            }
            history.proven();
            history.serves(entry(number, &step[..1].to_uppercase(), restores));
        }
        history
    }

    #[test]
    fn a_rollback_goes_to_what_served_before() {
        let check = |steps: &str, expected: Option<u64>| {
            let found = history(steps).before().map(|entry| entry.number);
            assert_eq!(found, expected, "{steps}");
        };
        check("A", None);
        check("A B", Some(1));
        check("A B C", Some(2));
        check("A B C b2", Some(1));
        check("A B a1", None);
        check("A B a1 C", Some(3));
        check("A B a1 C a3", None);
        check("A B a1 C D c4", Some(3));
        check("A B A", Some(2));
    }

    #[test]
    fn the_best_to_go_back_to_served_last() {
        let mut all = history("A B C");
        let numbers =
            |all: &History| -> Vec<u64> { all.good().iter().map(|entry| entry.number).collect() };
        assert_eq!(numbers(&all), [3, 2, 1]);
        all.entries[0].proven = false;
        assert_eq!(numbers(&all), [3, 2]);
        all.proven();
        all.entries[0].proven = true;
        all.ended(2, Fate::Crashed);
        assert_eq!(numbers(&all), [3, 1]);
        all.serving = 1;
        assert_eq!(numbers(&all), [1, 3]);
        all.ended(1, rolled_back());
        assert_eq!(numbers(&all), [3]);
    }

    #[test]
    fn only_so_many_are_kept_and_always_the_serving_one() {
        let mut all = history("A B C D");
        all.keep(2);
        let numbers: Vec<_> = all.entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [3, 4]);
        all.serving = 3;
        all.keep(1);
        assert_eq!(all.entries[0].number, 3);
        assert_eq!(all.last, 4);
    }

    #[test]
    fn a_lost_history_is_put_together_again() {
        let place = tempfile::tempdir().unwrap();
        let store = StateDir::open(place.path()).unwrap();
        let all = history("A B");
        for entry in &all.entries {
            let bundle = Bundle::of("t.yaml", &*entry.hash);
            write_bundle(&store, entry, &bundle).unwrap();
        }
        write(&store, &all).unwrap();
        let mut problems = Vec::new();
        assert_eq!(read(&store, &mut problems), all);
        for damage in ["", "{", "{\"tidegate_state\":9}"] {
            std::fs::write(place.path().join(NAME), damage).unwrap();
            std::fs::write(place.path().join("generation-7.json"), damage).unwrap();
            let found = read(&store, &mut problems);
            let numbers: Vec<_> = found.entries.iter().map(|entry| entry.number).collect();
            assert_eq!((numbers, found.serving, found.last), (vec![1, 2], 2, 7));
            assert_eq!(std::mem::take(&mut problems).len(), 2, "{damage:?}");
        }
        assert_eq!(&*bundle(&store, 2).unwrap().unwrap().files[0].1, "B");
    }

    #[test]
    fn what_nothing_refers_to_goes() {
        let place = tempfile::tempdir().unwrap();
        let store = StateDir::open(place.path()).unwrap();
        let mut all = history("A B C");
        for entry in &all.entries {
            write_bundle(&store, entry, &Bundle::of("t.yaml", "x")).unwrap();
        }
        all.keep(2);
        write(&store, &all).unwrap();
        let left = store.names().unwrap();
        assert_eq!(left, ["generation-2.json", "generation-3.json", NAME]);
    }
}
