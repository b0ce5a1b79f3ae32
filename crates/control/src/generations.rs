//! The generations of this process, and those that are kept of earlier ones.
//!
//! Each is a number, the texts that it was made of, and who brought it and why. Numbers never come
//! twice as long as there is a state directory: a restart with what served last goes on under the same
//! number, everything else gets the next. The last few can be gone back to; what is kept for that is
//! the texts, never what they became, so that the one validator judges them again. What is not served
//! although it is in the file, after a rollback, is remembered here by its content hash.
//!
//! Without a state directory all of this is in memory, and ends with the process.

mod entry;
mod history;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_config::Bundle;

use crate::state::{StateDir, StateError};
use history::History;

pub use entry::{Entry, Fate, Instead, Why};

/// Texts that are kept in memory, without a state directory, take no more than this, in bytes. The
/// serving one and the one before it are kept whatever they take.
const TEXTS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Texts that are kept whatever they take.
const TEXTS_MIN: usize = 2;

/// The generations. Changes are in memory at once, and on the disk after [`Generations::flush`]. That,
/// [`Generations::open`] and [`Generations::bundle`] block on the disk; all else is cheap.
#[derive(Debug)]
pub struct Generations {
    state: Mutex<State>,
    store: Option<StateDir>,
}

#[derive(Debug)]
struct State {
    history: History,
    /// Texts that are not on the disk, oldest first.
    texts: Vec<(u64, Arc<Bundle>)>,
    keep: usize,
    instead: Option<Instead>,
    /// Whether something has served in this process.
    started: bool,
}

/// A generation cannot be gone back to.
#[derive(Debug, thiserror::Error)]
pub enum NoGeneration {
    /// None before the one that serves.
    #[error("nothing before generation {0} is kept")]
    NothingBefore(u64),
    /// Not this one.
    #[error("generation {number} is not kept; there are: {}", listed(known))]
    Unknown {
        /// Which was asked for.
        number: u64,
        /// Those that are.
        known: Vec<u64>,
    },
    /// It is, but its texts cannot be read.
    #[error("generation {number} cannot be read: {why}")]
    Unreadable {
        /// Which.
        number: u64,
        /// Why.
        why: String,
    },
}

impl Generations {
    /// What is kept in `store`, and what is wrong there.
    pub(crate) fn open(store: Option<StateDir>) -> (Self, Vec<StateError>) {
        let mut problems = Vec::new();
        let read = store
            .as_ref()
            .map(|store| history::read(store, &mut problems));
        let state = State {
            history: read.unwrap_or_default(),
            texts: Vec::new(),
            keep: tidegate_core::settings::State::default().keep,
            instead: None,
            started: false,
        };
        let generations = Self {
            state: Mutex::new(state),
            store,
        };
        (generations, problems)
    }

    /// Where they are kept; none: in memory only.
    pub fn store(&self) -> Option<&StateDir> {
        self.store.as_ref()
    }

    /// Those that are known, oldest first; the serving one included.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().history.entries.clone()
    }

    /// The serving one; none before the first.
    pub fn serving(&self) -> Option<Entry> {
        self.lock().history.serving().cloned()
    }

    /// What serves instead of the file, and why; none while the file does.
    pub fn instead(&self) -> Option<Instead> {
        self.lock().instead.clone()
    }

    /// The texts that generation `number` was made of. Blocks on the disk.
    ///
    /// # Errors
    /// [`NoGeneration`] when they are not kept.
    pub fn bundle(&self, number: u64) -> Result<Arc<Bundle>, NoGeneration> {
        let known = {
            let state = self.lock();
            let mut texts = state.texts.iter();
            if let Some((_, bundle)) = texts.find(|(of, _)| *of == number) {
                return Ok(bundle.clone());
            }
            state.numbers()
        };
        let unknown = |known| NoGeneration::Unknown { number, known };
        let store = self.store.as_ref().ok_or_else(|| unknown(known.clone()))?;
        match history::bundle(store, number) {
            Ok(Some(bundle)) => Ok(Arc::new(bundle)),
            Ok(None) => Err(unknown(known)),
            Err(error) => Err(NoGeneration::Unreadable {
                number,
                why: error.to_string(),
            }),
        }
    }

    /// Which one a rollback goes back to: `to`, or the one that served before.
    ///
    /// # Errors
    /// [`NoGeneration`] when it is not kept.
    pub fn target(&self, to: Option<u64>) -> Result<Entry, NoGeneration> {
        let state = self.lock();
        let history = &state.history;
        let found = match to {
            Some(number) => history.get(number),
            None => history.before(),
        };
        found.cloned().ok_or_else(|| match to {
            Some(number) => NoGeneration::Unknown {
                number,
                known: state.numbers(),
            },
            None => NoGeneration::NothingBefore(history.serving),
        })
    }

    /// Those that have proven that they can serve, the best first: the one that served last, then by
    /// age.
    pub(crate) fn good(&self) -> Vec<Entry> {
        self.lock().history.good()
    }

    /// The last number given out; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.lock().history.last
    }

    /// Whether the file is not to be served while it has this content hash, unless somebody asks.
    pub(crate) fn withholds(&self, hash: &str) -> bool {
        let state = self.lock();
        state.history.withheld.as_deref() == Some(hash)
    }

    pub(crate) fn set_keep(&self, keep: usize) {
        self.lock().keep = keep;
    }

    /// Enters that the file on the disk has this content.
    pub(crate) fn saw_file(&self, hash: &Arc<str>) {
        self.lock().history.file = Some(hash.clone());
    }

    /// Enters that `number` was given out, whatever becomes of what has it.
    pub(crate) fn gave(&self, number: u64) {
        let history = &mut self.lock().history;
        history.last = history.last.max(number);
    }

    /// Enters what serves from now on. Whatever is replaced within one process has proven that it can
    /// serve.
    pub(crate) fn serves(&self, entry: Entry, bundle: Bundle) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.started, true) {
            state.history.proven();
        }
        let (number, keep) = (entry.number, state.keep);
        state.history.serves(entry);
        state.history.keep(keep);
        state.remember(number, Arc::new(bundle));
    }

    /// Enters why something else than the file serves; none: the file does.
    pub(crate) fn serves_instead(&self, instead: Option<Instead>) {
        let mut state = self.lock();
        match instead.as_ref().map(|instead| instead.why) {
            None => state.history.withheld = None,
            Some(why) if why.is_asked_for() => {
                state.history.withheld = state.history.file.clone();
            }
            Some(_) => {}
        }
        state.instead = instead;
    }

    /// Enters why something else than the file serves since the start. What was withheld before still is.
    pub(crate) fn begins_instead(&self, instead: Option<Instead>) {
        let mut state = self.lock();
        if instead.is_none() {
            state.history.withheld = None;
        }
        state.instead = instead;
    }

    /// Whether the file has this content, as it was last read.
    pub(crate) fn is_file(&self, hash: &str) -> bool {
        self.lock().history.file.as_deref() == Some(hash)
    }

    /// Enters what became of a generation.
    pub(crate) fn ended(&self, number: u64, fate: Fate) {
        self.lock().history.ended(number, fate);
    }

    /// Enters why a generation was not rolled back from although requests fare worse under it.
    pub(crate) fn held(&self, number: u64, why: &str) {
        self.lock().history.held(number, why);
    }

    /// Enters that the serving one can serve.
    pub(crate) fn proven(&self) {
        self.lock().history.proven();
    }

    /// Writes what is new: first the texts, then what refers to them, then what nothing refers to any
    /// more goes. Whether there is a place for it that outlives the process. Blocks on the disk; one at
    /// a time, on the quiet thread.
    ///
    /// # Errors
    /// [`StateError`]; it stays in memory, and the next call tries again.
    pub(crate) fn flush(&self) -> Result<bool, StateError> {
        let Some(store) = &self.store else {
            return Ok(false);
        };
        let (history, texts) = {
            let state = self.lock();
            (state.history.clone(), state.texts.clone())
        };
        for (number, bundle) in &texts {
            if let Some(entry) = history.get(*number) {
                history::write_bundle(store, entry, bundle)?;
            }
        }
        history::write(store, &history)?;
        let written = |number: u64| texts.iter().any(|(of, _)| *of == number);
        self.lock().texts.retain(|(number, _)| !written(*number));
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn numbers(&self) -> Vec<u64> {
        let entries = self.history.entries.iter();
        entries.map(|entry| entry.number).collect()
    }

    fn remember(&mut self, number: u64, bundle: Arc<Bundle>) {
        self.texts.retain(|(of, _)| *of != number);
        self.texts.push((number, bundle));
        let known = &self.history;
        self.texts.retain(|(of, _)| known.get(*of).is_some());
        let mut bytes: usize = self.texts.iter().map(|(_, texts)| texts.bytes()).sum();
        while bytes > TEXTS_BYTES_MAX && self.texts.len() > TEXTS_MIN {
            bytes -= self.texts.remove(0).1.bytes();
        }
    }
}

fn listed(numbers: &[u64]) -> String {
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(", "),
    }
}
