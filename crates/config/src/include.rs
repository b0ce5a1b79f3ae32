//! Which files a configuration is made of: the main one, and what `include` names, in one order that
//! does not depend on the directory's.
//!
//! The same walk is made twice, over the disk when texts are read and over a bundle when they are
//! compiled, so that what was read is what is compiled. An entry names files below the directory of
//! the file that it stands in, and none elsewhere: whoever may write a policy may not have any file of
//! the machine read and shown in a report. Depth, number and bytes are bounded, and no file comes in
//! twice. It never judges what is in a file.

mod glob;
mod merge;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::problem::{Problem, quoted};
use crate::span::Span;
use crate::yaml::{Node, Value};

use glob::Pattern;
pub(crate) use merge::merge;

/// The key that names files.
pub(crate) const KEY: &str = "include";

/// Files of one configuration, the main one included.
pub(crate) const FILES_MAX: usize = 1000;

/// Why a file or a directory is not read.
const UNREAD_CODES: [&str; 5] = [
    "unreadable_file",
    "missing_file",
    "not_utf8",
    "too_large",
    "too_many_files",
];

/// How deep files may name others.
const DEPTH_MAX: usize = 4;

/// Entries of one file's list, and bytes of one entry.
const ENTRIES_MAX: usize = 100;
const ENTRY_BYTES_MAX: usize = 1024;

/// One entry of `include`, and its place in the long text.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// What lies in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) is_directory: bool,
}

/// Why a file or a directory could not be read: a code and words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Unread {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// Who sends a bundle may send any word; only codes that are given here are told again.
impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Sent {
            code: String,
            message: String,
        }
        let Sent { code, message } = Sent::deserialize(from)?;
        let known = UNREAD_CODES.into_iter().find(|known| **known == *code);
        Ok(Self {
            code: known.unwrap_or("unreadable_file"),
            message,
        })
    }
}

/// Where the walk looks.
pub(crate) trait Shelf {
    /// Takes the file at `path`; what it includes.
    fn open(&mut self, path: &Path) -> Result<Vec<Entry>, Unread>;

    /// What lies in a directory, in any order; nothing when it is not there.
    fn list(&mut self, directory: &Path) -> Result<Vec<Listed>, Unread>;
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) problems: Vec<Problem>,
    /// The patterns that were looked for, below the directories of their files.
    pub(crate) patterns: BTreeSet<PathBuf>,
    /// Whether a file is missing from what was put together.
    pub(crate) is_partial: bool,
}

struct Walk<'s> {
    shelf: &'s mut dyn Shelf,
    /// Every file so far, with the entry that brought it; none for the main one.
    seen: Vec<(PathBuf, Option<Span>)>,
    /// The files that are being walked, the main one first.
    above: Vec<PathBuf>,
    walked: Walked,
}

/// Walks from the file at `main`, which comes first; files then come in the order of the entries, those
/// of one pattern by name, and each before what it includes itself.
///
/// # Errors
/// The main file cannot be taken.
pub(crate) fn walk(shelf: &mut dyn Shelf, main: &Path) -> Result<Walked, Unread> {
    let entries = shelf.open(main)?;
    let mut walk = Walk {
        shelf,
        seen: vec![(tidy(main), None)],
        above: Vec::new(),
        walked: Walked::default(),
    };
    walk.entries(main, entries);
    Ok(walk.walked)
}

impl Walk<'_> {
    fn entries(&mut self, file: &Path, entries: Vec<Entry>) {
        self.above.push(tidy(file));
        let directory = file.parent().unwrap_or(Path::new(""));
        if let Some(first_too_many) = entries.get(ENTRIES_MAX) {
            let message = format!("more than {ENTRIES_MAX} entries in one `include`");
            self.refuse("too_many_includes", message, first_too_many.span, None);
        }
        for entry in entries.iter().take(ENTRIES_MAX) {
            match checked(&entry.text) {
                Err(why) => {
                    let message = format!("{} cannot be included: {why}", quoted(&entry.text));
                    let help =
                        "name files below the directory of this one, as in `policies/*.yaml`";
                    self.refuse("invalid_include", message, entry.span, Some(help));
                }
                Ok(()) if Pattern::is_one(&entry.text) => self.pattern(directory, entry),
                Ok(()) => self.name(tidy(&directory.join(&entry.text)), entry.span),
            }
        }
        self.above.pop();
    }

    /// A plain name: the file has to be there, and to be new.
    fn name(&mut self, path: PathBuf, span: Span) {
        let shown = quoted(&path.display().to_string());
        let earlier = self.seen.iter().find(|(seen, _)| *seen == path);
        if self.above.contains(&path) {
            let message = format!("{shown} includes itself, directly or through others");
            self.refuse("include_cycle", message, span, None);
        } else if let Some((_, first)) = earlier {
            let problem = Problem::error("included_twice", format!("{shown} is included already"));
            let help = "each file comes in once; remove one of the two".to_owned();
            let problem = problem.at(span).label(*first, "first here").help(help);
            self.walked.problems.push(problem);
        } else {
            self.file(path, span);
        }
    }

    /// A pattern: the files that match it, but for those that are there already.
    fn pattern(&mut self, directory: &Path, entry: &Entry) {
        self.walked
            .patterns
            .insert(tidy(&directory.join(&entry.text)));
        let found = match matches(self.shelf, directory, &entry.text) {
            Ok(found) => found,
            Err(unread) => return self.refuse(unread.code, unread.message, entry.span, None),
        };
        if found.is_empty() {
            let message = format!("no file matches {}", quoted(&entry.text));
            let help = "nothing is included; a file that comes to match is, at the next reload";
            let problem = Problem::warning("no_file_matches", message).at(entry.span);
            self.walked.problems.push(problem.help(help.to_owned()));
        }
        for path in found {
            if self.seen.iter().all(|(seen, _)| *seen != path) {
                self.file(path, entry.span);
            }
        }
    }

    fn file(&mut self, path: PathBuf, span: Span) {
        if self.above.len() > DEPTH_MAX {
            let message = format!("files include each other more than {DEPTH_MAX} deep");
            return self.refuse("include_too_deep", message, span, None);
        }
        if self.seen.len() >= FILES_MAX {
            let Unread { code, message } = too_many();
            return self.refuse(code, message, span, None);
        }
        self.seen.push((path.clone(), Some(span)));
        match self.shelf.open(&path) {
            Ok(entries) => self.entries(&path, entries),
            Err(Unread { code, message }) => self.refuse(code, message, span, None),
        }
    }

    fn refuse(&mut self, code: &'static str, message: String, span: Span, help: Option<&str>) {
        let problem = Problem::error(code, message).at(span);
        self.walked
            .problems
            .push(problem.help(help.map(str::to_owned)));
        self.walked.is_partial = true;
    }
}

/// Whether a path has a name that is a pattern.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(Pattern::is_one)
}

/// The files below `directory` that match, sorted by the parts of their names.
fn matches(shelf: &mut dyn Shelf, directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, Unread> {
    let mut found = vec![tidy(directory)];
    let mut parts = parts(pattern).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let mut next = Vec::new();
        for directory in found {
            step(shelf, &directory, part, is_last, &mut next)?;
        }
        found = next;
    }
    Ok(found)
}

/// The files that match a pattern of [`Walked::patterns`] now; none when it cannot be told.
pub(crate) fn matching(shelf: &mut dyn Shelf, path: &Path) -> Vec<PathBuf> {
    let is_plain = |path: &&Path| !is_pattern(path);
    let directory = path
        .ancestors()
        .skip(1)
        .find(is_plain)
        .unwrap_or(Path::new(""));
    let pattern = path.strip_prefix(directory).ok().and_then(Path::to_str);
    let found = pattern.map(|pattern| matches(shelf, directory, pattern));
    found.and_then(Result::ok).unwrap_or_default()
}

/// One part of a pattern, in one directory.
fn step(
    shelf: &mut dyn Shelf,
    directory: &Path,
    part: &str,
    is_last: bool,
    next: &mut Vec<PathBuf>,
) -> Result<(), Unread> {
    if !is_last && !Pattern::is_one(part) {
        next.push(directory.join(part));
        return Ok(());
    }
    let pattern = Pattern::new(part);
    let mut listed = shelf.list(directory)?;
    listed.retain(|entry| entry.is_directory != is_last && pattern.matches(&entry.name));
    listed.sort();
    next.extend(listed.iter().map(|entry| directory.join(&entry.name)));
    match next.len() > FILES_MAX {
        true => Err(too_many()),
        false => Ok(()),
    }
}

fn too_many() -> Unread {
    Unread {
        code: "too_many_files",
        message: format!("a configuration has at most {FILES_MAX} files"),
    }
}

/// The entries of a file's `include`, which is taken out of its tree; what is wrong with them is added
/// to `problems`.
pub(crate) fn take(root: &mut Node<'_>, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let Value::Map(keys) = &mut root.value else {
        return Vec::new();
    };
    let Some(at) = keys.iter().position(|(key, _)| key.text == KEY) else {
        return Vec::new();
    };
    let (_, node) = keys.remove(at);
    let nodes = match node.value {
        Value::List(nodes) => nodes,
        _ => vec![node],
    };
    let mut entries = Vec::new();
    for node in &nodes {
        match &node.value {
            Value::Scalar(text, _) => entries.push(Entry {
                text: text.to_string(),
                span: node.span,
            }),
            other => {
                let message = format!("expected a path or a pattern, found {}", other.noun());
                let help = "write it as `include: [policies/*.yaml]`".to_owned();
                let problem = Problem::error("wrong_type", message);
                problems.push(problem.at(node.span).help(help));
            }
        }
    }
    entries
}

/// Why an entry names nothing that may be included.
fn checked(entry: &str) -> Result<(), &'static str> {
    let is_normal = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    match entry {
        "" => Err("it is empty"),
        _ if entry.len() > ENTRY_BYTES_MAX => Err("it is too long"),
        _ if entry.chars().any(char::is_control) => Err("it has control characters"),
        _ if entry.contains("${") => Err("the environment is not put in here"),
        _ if entry.ends_with('/') => Err("it names a directory"),
        _ if Path::new(entry).is_absolute() => Err("it is not relative"),
        _ if !Path::new(entry).components().all(is_normal) => Err("it has `..`"),
        _ if entry.contains("**") => {
            Err("`**` is not known; `*` stands for one name or a part of it")
        }
        _ if parts(entry).next().is_none() => Err("it names a directory"),
        _ => Ok(()),
    }
}

/// The names that a path is made of.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | "."))
}

/// The path without `.`, so that one file has one name.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}
