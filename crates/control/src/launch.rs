//! What a start serves: the file, or the last good generation when the file must not, cannot or should
//! not be served.
//!
//! A start leaves a mark in the state directory before it does anything that could end the process, and
//! takes it away once it has served for a while or was ended in good order ([`Marks`]). What has the
//! marks of two starts is left for the last good generation, until it changes. What was rolled back from
//! is not served because it is still in the file. A file that is no good is no reason to serve nothing.
//! Whatever is served instead of the file is said loudly. Without a state directory none of this can be
//! known, and the file is all there is.

mod marks;

use std::path::PathBuf;

use tidegate_config::{Bundle, Loaded, Report};

use crate::generations::{Entry, Fate, Generations, Why};
use crate::reload::first_error;
use crate::state::{StateDir, StateError};

pub(crate) use marks::{Marks, texts_hash};

/// How a process is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The configuration.
    pub config: PathBuf,
    /// The state directory, whatever the configuration says.
    pub state: Option<PathBuf>,
    /// The state directory when the configuration names none: `$STATE_DIRECTORY`.
    pub state_default: Option<PathBuf>,
    /// Whether nothing but the file may serve when the file is no good.
    pub strict: bool,
}

/// What a start serves.
pub(crate) struct Launched {
    pub(crate) loaded: Loaded,
    pub(crate) generations: Generations,
    pub(crate) marks: Marks,
    /// The generation that is brought back, and why; none when the file is served.
    pub(crate) restored: Option<(Entry, Why, String)>,
    /// What is wrong with the state directory.
    pub(crate) problems: Vec<StateError>,
}

/// A start under way.
struct Start {
    generations: Generations,
    marks: Marks,
    problems: Vec<StateError>,
}

/// Why the file is not served, and what it takes to serve it all the same.
enum Refusal {
    /// It has problems.
    Invalid(Report),
    /// Something else was wanted when it was like this.
    Withheld(Box<Loaded>),
    /// The process did not live through its starts with it.
    Crashed(Bundle),
}

impl From<&std::path::Path> for Launch {
    fn from(config: &std::path::Path) -> Self {
        Self {
            config: config.to_owned(),
            ..Self::default()
        }
    }
}

impl Launch {
    /// Finds what to serve, and marks the start. Blocks on the disk.
    ///
    /// # Errors
    /// Every problem of the file, when it is no good and nothing may or can be served instead.
    pub(crate) fn launch(&self) -> Result<Launched, Report> {
        let path = std::path::absolute(&self.config).unwrap_or_else(|_| self.config.clone());
        let file = Bundle::read(&path);
        let mut start = Start::open(self.state_dir(file.as_ref().ok()));
        let tried = match file {
            Err(report) => Err(Refusal::Invalid(report)),
            Ok(bundle) => start.try_file(bundle, self),
        };
        match tried {
            Ok(loaded) => Ok(start.ended(*loaded, None)),
            Err(Refusal::Invalid(report)) if self.strict => Err(report),
            Err(refusal) => start.restore(refusal),
        }
    }

    /// The state directory, as far as that can be known before the file is compiled.
    fn state_dir(&self, file: Option<&Bundle>) -> Option<PathBuf> {
        let named = || file.and_then(tidegate_config::state_dir);
        let dir = self.state.clone().or_else(named);
        dir.or_else(|| self.state_default.clone())
    }
}

impl Start {
    fn open(dir: Option<PathBuf>) -> Self {
        let mut problems = Vec::new();
        let store = dir.and_then(|dir| StateDir::open(&dir).map_err(|e| problems.push(e)).ok());
        let (generations, found) = Generations::open(store.clone());
        problems.extend(found);
        Self {
            generations,
            marks: Marks::read(store, &mut problems),
            problems,
        }
    }

    fn try_file(&mut self, bundle: Bundle, launch: &Launch) -> Result<Box<Loaded>, Refusal> {
        let texts = texts_hash(&bundle);
        if self.marks.is_shunned(&texts) {
            return Err(Refusal::Crashed(bundle));
        }
        self.begin(&texts);
        let loaded = tidegate_config::load_bundle(&bundle, None).map_err(|report| {
            self.cancel(&texts);
            Refusal::Invalid(report)
        })?;
        if self.generations.store().is_none()
            && let Some(dir) = &loaded.settings.state.dir
            && launch.state.is_none()
        {
            // Only compiling told where to look.
            let problems = std::mem::take(&mut self.problems);
            *self = Self::open(Some(dir.clone()));
            self.problems.extend(problems);
            if self.marks.is_shunned(&texts) {
                return Err(Refusal::Crashed(bundle));
            }
            self.begin(&texts);
        }
        self.generations.saw_file(&loaded.plan.content_hash);
        if self.generations.withholds(&loaded.plan.content_hash) {
            self.cancel(&texts);
            return Err(Refusal::Withheld(Box::new(loaded)));
        }
        Ok(Box::new(loaded))
    }

    /// The best generation that can be served instead; the file after all if there is none.
    fn restore(mut self, refusal: Refusal) -> Result<Launched, Report> {
        let (why, detail) = self.words(&refusal);
        if let Refusal::Crashed(bundle) = &refusal {
            self.condemn(&texts_hash(bundle));
        }
        for entry in self.generations.good() {
            if let Some(loaded) = self.try_generation(&entry) {
                return Ok(self.ended(loaded, Some((entry, why, detail))));
            }
        }
        // Of a file that is no good, whoever started the process is told every problem.
        if !matches!(refusal, Refusal::Invalid(_)) {
            tracing::error!("nothing can serve instead of the file: {detail}");
        }
        match refusal {
            Refusal::Invalid(report) => Err(report),
            Refusal::Withheld(loaded) => Ok(self.ended(*loaded, None)),
            Refusal::Crashed(bundle) => {
                self.begin(&texts_hash(&bundle));
                let loaded = tidegate_config::load_bundle(&bundle, None)?;
                Ok(self.ended(loaded, None))
            }
        }
    }

    fn try_generation(&mut self, entry: &Entry) -> Option<Loaded> {
        let number = entry.number;
        let bundle = self.generations.bundle(number);
        let bundle = bundle
            .inspect_err(|error| tracing::error!("{error}"))
            .ok()?;
        let texts = texts_hash(&bundle);
        if self.marks.is_shunned(&texts) {
            return None;
        }
        self.begin(&texts);
        match tidegate_config::load_bundle(&bundle, None) {
            Ok(loaded) => Some(loaded),
            Err(report) => {
                self.cancel(&texts);
                tracing::error!("generation {number} cannot serve any more\n{report}");
                None
            }
        }
    }

    /// Why the file is not served, for people.
    fn words(&self, refusal: &Refusal) -> (Why, String) {
        match refusal {
            Refusal::Invalid(report) => {
                let detail = format!(
                    "it is refused with {} problem(s), the first: {}",
                    report.errors(),
                    first_error(report)
                );
                (Why::Invalid, detail)
            }
            Refusal::Crashed(_) => {
                let detail = "the process did not live through two starts with it; it is left \
                              until it changes, or `tidegate reload` asks for it";
                (Why::Crashed, detail.to_owned())
            }
            Refusal::Withheld(loaded) => self.withheld(&loaded.plan.content_hash),
        }
    }

    fn withheld(&self, hash: &str) -> (Why, String) {
        let entries = self.generations.entries();
        let mut of_file = entries.iter().rev().filter(|entry| *entry.hash == *hash);
        let until = "it is left until it changes, or `tidegate reload` asks for it";
        match of_file.find_map(|entry| entry.fate.as_ref().zip(Some(entry.number))) {
            Some((Fate::RolledBack { by }, number)) => {
                let detail =
                    format!("it is what generation {number} was rolled back from ({by}); {until}");
                (Why::RolledBack, detail)
            }
            _ => {
                let detail =
                    format!("something else was activated while it was like this; {until}");
                (Why::Activated, detail)
            }
        }
    }

    /// Enters of the generation that served last that the process did not live through it, if it has
    /// these texts.
    fn condemn(&self, texts: &str) {
        let Some(serving) = self.generations.serving() else {
            return;
        };
        let bundle = self.generations.bundle(serving.number);
        if bundle.is_ok_and(|bundle| texts_hash(&bundle) == texts) {
            self.generations.ended(serving.number, Fate::Crashed);
        }
    }

    fn begin(&mut self, texts: &str) {
        let begun = self.marks.begin(texts);
        self.problems.extend(begun.err());
    }

    fn cancel(&mut self, texts: &str) {
        let cancelled = self.marks.cancel(texts);
        self.problems.extend(cancelled.err());
    }

    fn ended(self, loaded: Loaded, restored: Option<(Entry, Why, String)>) -> Launched {
        self.generations.set_keep(loaded.settings.state.keep);
        Launched {
            loaded,
            generations: self.generations,
            marks: self.marks,
            restored,
            problems: self.problems,
        }
    }
}
