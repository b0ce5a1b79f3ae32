//! The texts of a configuration exactly as they were read: the main file and what it includes.
//!
//! A bundle is what is kept, sent and read again to make the same plan: a generation's history, a
//! candidate, a rollback. It is taken before the environment is put in, so that no secret is ever in
//! it. Certificates, keys and other files that a configuration names are no part of it: they are read
//! from their paths each time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::files;
use crate::problem::Problem;
use crate::report::Report;

/// Largest configuration that is read, all files together: room for 100,000 routes with long matches.
pub(crate) const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The texts of one configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The file that everything starts from, as it was named.
    pub main: PathBuf,
    /// Every file with its text: the main one first, the others in the order in which they are put
    /// together.
    pub files: Vec<(PathBuf, Arc<str>)>,
}

impl Bundle {
    /// Reads the configuration at `main` and all that it includes. Nothing is judged but what cannot
    /// be read.
    ///
    /// # Errors
    /// The main file is not there, no regular file, not UTF-8, or larger than 64 MiB.
    pub fn read(main: &Path) -> Result<Self, Report> {
        let text = read_text(main).map_err(|problem| {
            Report::new(&main.display().to_string(), "".into(), vec![problem])
        })?;
        Ok(Self::of(main, text))
    }

    /// A configuration of one text. `main` is its path, or any name for messages; what it names is
    /// looked up from its directory.
    pub fn of(main: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        let main = main.into();
        Self {
            files: vec![(main.clone(), text.into())],
            main,
        }
    }

    /// How many bytes its texts have.
    pub fn bytes(&self) -> usize {
        self.files.iter().map(|(_, text)| text.len()).sum()
    }

    /// Whether `other` has the same files with the same texts, so that it would become the same plan in
    /// the same environment. Where it was read from does not count, only where its files lie from its
    /// main one.
    pub fn is_same(&self, other: &Self) -> bool {
        let mut pairs = self.files.iter().zip(&other.files);
        self.files.len() == other.files.len()
            && pairs.all(|((path, text), (other_path, other_text))| {
                self.relative(path) == other.relative(other_path) && text == other_text
            })
    }

    /// The text of the main file; empty when a bundle from elsewhere has none.
    pub(crate) fn main_text(&self) -> &str {
        let mut files = self.files.iter();
        let main = files.find(|(path, _)| *path == self.main);
        main.map_or("", |(_, text)| text)
    }

    fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        let directory = self.main.parent().unwrap_or(Path::new(""));
        match path == self.main {
            true => Path::new(""),
            false => path.strip_prefix(directory).unwrap_or(path),
        }
    }
}

fn read_text(path: &Path) -> Result<String, Problem> {
    let bytes = files::read_bounded(path, BYTES_MAX).map_err(|error| {
        let message = format!("cannot read the configuration: {error}");
        Problem::error("unreadable_file", message)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let message = format!("the configuration is not UTF-8 (byte {offset})");
        Problem::error("not_utf8", message)
    })
}
