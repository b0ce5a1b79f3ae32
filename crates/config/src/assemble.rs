//! A bundle's texts to one tree: each file is parsed, what it includes is put beside it, and the
//! environment's values come into their places. Everything that is wrong in any of the files is found
//! before anybody looks at what the tree means.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::{BYTES_MAX, Bundle};
use crate::environment::{self, Environment};
use crate::gaps::Gaps;
use crate::include::{self, Entry, Listed, Shelf, Unread, tidy};
use crate::mask::Masks;
use crate::problem::Problem;
use crate::raw;
use crate::schema;
use crate::source::{Builder, Sources};
use crate::span::Span;
use crate::yaml::{self, Node, Pieces};

/// Values of all files together, what aliases repeat included; each one's are bounded by the reader.
const NODES_MAX: usize = if cfg!(test) { 20_000 } else { 8_000_000 };

/// The tree of a configuration.
pub(crate) struct Assembled<'b> {
    /// None when there is nothing to go on with.
    pub(crate) root: Option<Node<'b>>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) sources: Sources,
    /// What came from the environment.
    pub(crate) masks: Masks,
    /// What may be missing, so that what refers to it would be a false problem.
    pub(crate) gaps: Gaps,
    /// Whether it would be too large to be compiled.
    pub(crate) is_too_large: bool,
    /// The included files, and the patterns that were looked for.
    pub(crate) watched: BTreeSet<PathBuf>,
}

struct Assembly<'b> {
    bundle: &'b Bundle,
    texts: HashMap<PathBuf, &'b Arc<str>>,
    builder: Builder<'b>,
    trees: Vec<Node<'b>>,
    problems: Vec<Problem>,
    watched: BTreeSet<PathBuf>,
    nodes: usize,
    gaps: Gaps,
    is_too_large: bool,
}

/// Reads every text of `bundle` that its main file asks for.
pub(crate) fn assemble<'b>(bundle: &'b Bundle, environment: &dyn Environment) -> Assembled<'b> {
    let texts = bundle.files.iter().map(|(path, text)| (tidy(path), text));
    let mut assembly = Assembly {
        bundle,
        texts: texts.collect(),
        builder: Builder::default(),
        trees: Vec::new(),
        problems: Vec::new(),
        watched: BTreeSet::new(),
        nodes: 0,
        gaps: Gaps::default(),
        is_too_large: false,
    };
    match include::walk(&mut assembly, &bundle.main) {
        Err(Unread { code, message }) => assembly.problems.push(Problem::error(code, message)),
        Ok(walked) => {
            assembly.problems.extend(walked.problems);
            assembly.watched.extend(walked.patterns);
            if walked.is_partial {
                assembly.gaps.unread();
            }
        }
    }
    assembly.finish(environment)
}

impl<'b> Assembly<'b> {
    fn finish(mut self, environment: &dyn Environment) -> Assembled<'b> {
        let mut trees = self.trees.into_iter();
        let mut root = trees.next();
        if let Some(root) = &mut root {
            trees.for_each(|tree| include::merge(root, tree, &mut self.problems));
        }
        let sources = self.builder.finish();
        let filled = root
            .as_mut()
            .map(|root| environment::fill(root, environment, &sources));
        let (masks, mut problems) = filled.unwrap_or_default();
        self.problems.append(&mut problems);
        Assembled {
            root,
            problems: self.problems,
            sources,
            masks,
            gaps: self.gaps,
            is_too_large: self.is_too_large,
            watched: self.watched,
        }
    }

    fn unread(&self, path: &Path) -> Option<&'b Unread> {
        let mut unread = self.bundle.unread.iter();
        let found = unread.find(|(unread, _)| tidy(unread) == path);
        found.map(|(_, why)| why)
    }

    fn is_first(&self) -> bool {
        self.builder.files() == 1
    }

    /// The tree of one file, moved to where it starts; none when it says nothing.
    fn parse(&mut self, text: &'b str, start: usize) -> Option<Node<'b>> {
        let (root, mut problems) = yaml::parse(text);
        let broken = root.is_none() && problems.iter().all(|one| one.code == "invalid_yaml");
        let root = root.or_else(|| {
            let pieces = broken.then(|| pieces(text)).flatten()?;
            // A section that can be read by itself is not where the text is broken.
            if let Some(broken) = pieces.broken {
                problems = vec![broken];
            }
            problems.extend(pieces.problems);
            self.gaps.file(pieces.names);
            Some(pieces.root)
        });
        problems.iter_mut().for_each(|problem| problem.shift(start));
        self.problems.append(&mut problems);
        let mut root = root?;
        if start > 0 {
            root.shift(start);
        }
        if root.is_empty() {
            self.report_empty(start);
            return None;
        }
        if !self.is_first() && !root.is_map() {
            let problem = Problem::error("wrong_type", "an included file must be a mapping");
            self.problems.push(problem.at(root.span));
            return None;
        }
        Some(root)
    }

    fn report_empty(&mut self, start: usize) {
        let help = "an empty file is never a configuration; was it being written just now?";
        let problem = match self.is_first() {
            true => Problem::error("empty_file", "the configuration is empty"),
            false => {
                let span = Span { start, len: 0 };
                Problem::error("empty_file", "an included file is empty").at(span)
            }
        };
        self.problems.push(problem.help(help.to_owned()));
    }
}

impl Shelf for Assembly<'_> {
    fn open(&mut self, path: &Path) -> Result<Vec<Entry>, Unread> {
        let path = tidy(path);
        let Some(text) = self.texts.get(&path).copied() else {
            return Err(self
                .unread(&path)
                .cloned()
                .unwrap_or_else(|| missing(&path)));
        };
        if self.builder.bytes() + text.len() > BYTES_MAX as usize || self.nodes > NODES_MAX {
            self.is_too_large = true;
            return Err(too_large());
        }
        let start = self.builder.push(&path.display().to_string(), text);
        if !self.is_first() {
            self.watched.insert(path);
        }
        let Some(mut root) = self.parse(text, start) else {
            self.gaps.unread();
            return Ok(Vec::new());
        };
        let entries = include::take(&mut root, &mut self.problems);
        if !(entries.is_empty() && self.is_first()) {
            self.nodes += root.nodes();
        }
        self.trees.push(root);
        Ok(entries)
    }

    /// What a bundle holds in a directory is all that there is.
    fn list(&mut self, directory: &Path) -> Result<Vec<Listed>, Unread> {
        let directory = tidy(directory);
        if let Some(unread) = self.unread(&directory) {
            return Err(unread.clone());
        }
        let unread = self.bundle.unread.iter().map(|(path, _)| path);
        let known = self.bundle.files.iter().map(|(path, _)| path).chain(unread);
        let listed: BTreeSet<Listed> = known
            .filter_map(|path| listed(&tidy(path), &directory))
            .collect();
        Ok(listed.into_iter().collect())
    }
}

/// The sections of a broken text that could be read.
pub(crate) fn pieces(text: &str) -> Option<Pieces<'_>> {
    yaml::pieces(text, schema::keys::<raw::Config>(), include::KEY)
}

/// The entry of a directory that leads to a path below it.
fn listed(path: &Path, directory: &Path) -> Option<Listed> {
    let mut rest = path.strip_prefix(directory).ok()?.components();
    let name = rest.next()?.as_os_str().to_str()?.to_owned();
    Some(Listed {
        name,
        is_directory: rest.next().is_some(),
    })
}

fn missing(path: &Path) -> Unread {
    Unread {
        code: "missing_file",
        message: format!("there is no file `{}`", path.display()),
    }
}

pub(crate) fn too_large() -> Unread {
    Unread {
        code: "too_large",
        message: "the files together are larger than is accepted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Variables;

    /// Each file's aliases stay within the reader's bound, but not those of all files together.
    #[test]
    fn alias_bombs_do_not_add_up() {
        let ten = |item: &str| [item; 10].join(", ");
        let bomb = |n: usize| {
            let (a, b, c) = (ten("x"), ten("*a"), ten("*b"));
            format!("a{n}: &a [{a}]\nb{n}: &b [{b}]\nc{n}: &c [{c}]\n")
        };
        let bundle = (0..40).fold(Bundle::of("m", "include: '*.y'\n"), |bundle, n| {
            bundle.with(format!("{n:02}.y"), bomb(n))
        });
        let assembled = assemble(&bundle, &Variables::default());
        let codes: BTreeSet<_> = assembled
            .problems
            .iter()
            .map(|problem| problem.code)
            .collect();
        assert_eq!(codes, BTreeSet::from(["too_large"]));
        assert!(assembled.is_too_large);
        let root = assembled.root.unwrap();
        assert!(root.nodes() < NODES_MAX + 2_000, "{}", root.nodes());
    }
}
