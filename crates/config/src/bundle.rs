//! The texts of a configuration exactly as they were read: the main file and what it includes.
//!
//! A bundle is what is kept, sent and read again to make the same plan: a generation's history, a
//! candidate, a rollback. It is taken before the environment is put in, so that no secret is ever in
//! it. Certificates, keys and other files that a configuration names are no part of it: they are read
//! from their paths each time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::assemble::{pieces, too_large};
use crate::files;
use crate::include::{self, Entry, Listed, Shelf, Unread, tidy};
use crate::problem::{Problem, quoted};
use crate::report::Report;
use crate::yaml;

/// Largest configuration that is read, all files together: room for 100,000 routes with long matches.
pub(crate) const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Entries of one directory that are looked at.
const LISTED_MAX: usize = 10_000;

/// The texts of one configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The file that everything starts from, as it was named.
    pub main: PathBuf,
    /// Every file with its text: the main one first, the others in the order in which they are put
    /// together.
    pub files: Vec<(PathBuf, Arc<str>)>,
    /// What is included and could not be read, to be told with its place when the bundle is compiled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unread: Vec<(PathBuf, Unread)>,
}

/// Reads files as the walk comes to them.
struct Reading {
    bundle: Bundle,
    bytes_left: u64,
}

impl Bundle {
    /// Reads the configuration at `main` and all that it includes. Nothing is judged: what is wrong with
    /// included files, or cannot be read, is told when the bundle is compiled, with its place.
    ///
    /// # Errors
    /// The main file is not there, no regular file, not UTF-8, or larger than 64 MiB.
    pub fn read(main: &Path) -> Result<Self, Report> {
        let mut reading = Reading::new(main);
        match include::walk(&mut reading, main) {
            Ok(_) => Ok(reading.bundle),
            Err(Unread { code, message }) => Err(Report::new(
                &main.display().to_string(),
                "".into(),
                vec![Problem::error(code, message)],
            )),
        }
    }

    /// A configuration of one text. `main` is its path, or any name for messages; what it names is
    /// looked up from its directory.
    pub fn of(main: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        let main = main.into();
        Self {
            files: vec![(main.clone(), text.into())],
            main,
            unread: Vec::new(),
        }
    }

    /// The same with one more file, for `include` to find. Paths are as they would be on a disk: those of
    /// included files begin with the directory of the main one.
    #[must_use]
    pub fn with(mut self, path: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        self.files.push((path.into(), text.into()));
        self
    }

    /// The same with other paths, those of files that could not be read included.
    #[must_use]
    pub fn moved(mut self, to: impl Fn(&Path) -> PathBuf) -> Self {
        self.main = to(&self.main);
        let files = self.files.iter_mut().map(|(path, _)| path);
        let unread = self.unread.iter_mut().map(|(path, _)| path);
        for path in files.chain(unread) {
            *path = to(path);
        }
        self
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
            && self.unread == other.unread
            && pairs.all(|((path, text), (other_path, other_text))| {
                self.relative(path) == other.relative(other_path) && text == other_text
            })
    }

    fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        let directory = self.main.parent().unwrap_or(Path::new(""));
        match path == self.main {
            true => Path::new(""),
            false => path.strip_prefix(directory).unwrap_or(path),
        }
    }
}

impl Reading {
    fn new(main: &Path) -> Self {
        Self {
            bundle: Bundle {
                main: main.to_owned(),
                files: Vec::new(),
                unread: Vec::new(),
            },
            bytes_left: BYTES_MAX,
        }
    }

    fn is_main(&self) -> bool {
        self.bundle.files.is_empty()
    }

    fn text(&mut self, path: &Path) -> Result<Arc<str>, Unread> {
        let bytes = files::read_bounded(path, self.bytes_left);
        let bytes = bytes.map_err(|error| self.unreadable(path, &error))?;
        self.bytes_left -= bytes.len() as u64;
        let text = String::from_utf8(bytes).map_err(|error| {
            let what = self.noun(path);
            let message = format!(
                "{what} is not UTF-8 (byte {})",
                error.utf8_error().valid_up_to()
            );
            let code = "not_utf8";
            Unread { code, message }
        })?;
        Ok(text.into())
    }

    fn noun(&self, path: &Path) -> String {
        match self.is_main() {
            true => "the configuration".to_owned(),
            false => quoted(&path.display().to_string()),
        }
    }

    fn unreadable(&self, path: &Path, error: &io::Error) -> Unread {
        let what = self.noun(path);
        match error.kind() {
            io::ErrorKind::NotFound if !self.is_main() => Unread {
                code: "missing_file",
                message: format!("there is no file {what}"),
            },
            io::ErrorKind::FileTooLarge if !self.is_main() => too_large(),
            _ => Unread {
                code: "unreadable_file",
                message: format!("cannot read {what}: {error}"),
            },
        }
    }

    fn note<T>(&mut self, path: &Path, read: Result<T, Unread>) -> Result<T, Unread> {
        if let Err(unread) = &read {
            self.bundle.unread.push((path.to_owned(), unread.clone()));
        }
        read
    }
}

impl Shelf for Reading {
    fn open(&mut self, path: &Path) -> Result<Vec<Entry>, Unread> {
        let text = self.text(path);
        let text = self.note(path, text)?;
        self.bundle.files.push((path.to_owned(), text.clone()));
        // Most configurations include nothing; those are not parsed twice.
        let read = || yaml::parse(&text).0.or_else(|| Some(pieces(&text)?.root));
        let tree = text.contains(include::KEY).then(read);
        let entries = tree.flatten();
        Ok(entries.map_or(Vec::new(), |mut root| {
            include::take(&mut root, &mut Vec::new())
        }))
    }

    fn list(&mut self, directory: &Path) -> Result<Vec<Listed>, Unread> {
        let path = match directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => directory,
        };
        let listed = list(path).map_err(|error| Unread {
            code: "unreadable_file",
            message: format!("cannot search the directory `{}`: {error}", path.display()),
        });
        self.note(&tidy(directory), listed)
    }
}

/// The files that the last name of a watched path stands for: those that match a pattern of an
/// `include` now, sorted; none for a path that is no pattern.
pub fn matching(path: &Path) -> Vec<PathBuf> {
    match include::is_pattern(path) {
        true => include::matching(&mut Reading::new(path), path),
        false => Vec::new(),
    }
}

/// What lies in a directory, links followed; names that are not UTF-8 are left out, because no pattern
/// can match them.
fn list(directory: &Path) -> io::Result<Vec<Listed>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut listed = Vec::new();
    for entry in entries {
        let entry = entry?;
        if listed.len() >= LISTED_MAX {
            return Err(io::Error::other(format!("more than {LISTED_MAX} entries")));
        }
        if let Ok(name) = entry.file_name().into_string() {
            listed.push(Listed {
                name,
                is_directory: entry.path().is_dir(),
            });
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who compiles it elsewhere must not take it for one without that file.
    #[test]
    fn what_could_not_be_read_is_sent_along() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("t.yaml");
        std::fs::write(&main, "include: [routes/*.yaml]\n").unwrap();
        std::fs::create_dir(dir.path().join("routes")).unwrap();
        std::fs::write(dir.path().join("routes/a.yaml"), b"\xff").unwrap();
        let bundle = Bundle::read(&main).unwrap();
        assert_eq!(bundle.unread.len(), 1);
        let sent = serde_json::to_string(&bundle).unwrap();
        let found: Bundle = serde_json::from_str(&sent).unwrap();
        assert_eq!(found, bundle);
        let moved = found.moved(|path| Path::new("/etc").join(path.file_name().unwrap()));
        assert_eq!(moved.unread[0].0, Path::new("/etc/a.yaml"));
        let odd = sent.replace("not_utf8", "<odd>");
        let found: Bundle = serde_json::from_str(&odd).unwrap();
        assert_eq!(found.unread[0].1.code, "unreadable_file");
        let whole = serde_json::to_string(&Bundle::of("t.yaml", "x")).unwrap();
        assert!(!whole.contains("unread"), "{whole}");
    }
}
