//! One long text made of the texts of several files, so that a place is one offset wherever it is.
//!
//! The same idea as a compiler's source map: whoever finds a problem knows nothing of files, and only
//! what prints it asks in which file and line an offset lies. A configuration of one file is its text,
//! not a copy of it. Lines are found by search in an index that is made once for each file that is
//! asked for: thousands of problems in a file of megabytes are no square of anything.

use std::cell::OnceCell;
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::excerpt::Lines;
use crate::span::{Position, Span};

/// What stands between two files, so that the end of one is not the start of the next.
const BETWEEN: &str = "\n";

/// The texts of one configuration.
#[derive(Clone, Debug)]
pub struct Sources {
    text: Arc<str>,
    /// Each file but the first: where it starts, and its name. In the order of the text.
    more: Arc<[(usize, String)]>,
}

/// Where something stands, as people say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file; none for the one that the report is named after.
    pub file: Option<String>,
    /// Line and column in it.
    pub position: Position,
    /// The bytes in it.
    pub span: Span,
}

/// The lines of the files, each counted when it is first asked for.
pub(crate) struct Index<'a> {
    sources: &'a Sources,
    lines: Vec<OnceCell<Lines<'a>>>,
}

/// Puts texts together.
#[derive(Default)]
pub(crate) struct Builder<'a> {
    parts: Vec<(usize, String, &'a Arc<str>)>,
    bytes: usize,
}

impl From<Arc<str>> for Sources {
    fn from(text: Arc<str>) -> Self {
        Self {
            text,
            more: Arc::default(),
        }
    }
}

impl From<&str> for Sources {
    fn from(text: &str) -> Self {
        Arc::<str>::from(text).into()
    }
}

impl Deref for Sources {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl Sources {
    /// How many files there are; one at least.
    pub fn files(&self) -> usize {
        self.more.len() + 1
    }

    /// The file that holds a byte, from 0.
    pub(crate) fn file_at(&self, byte: usize) -> usize {
        self.more.partition_point(|(start, _)| *start <= byte)
    }

    /// What a file is called; none for the first, whose name the report has.
    pub(crate) fn name(&self, file: usize) -> Option<&str> {
        let (_, name) = self.more.get(file.checked_sub(1)?)?;
        Some(name)
    }

    fn start(&self, file: usize) -> usize {
        match file.checked_sub(1) {
            None => 0,
            Some(index) => self.more[index].0,
        }
    }

    fn range(&self, file: usize) -> Range<usize> {
        let end = match self.more.get(file) {
            None => self.text.len(),
            Some((next, _)) => next - BETWEEN.len(),
        };
        self.start(file)..end
    }
}

impl<'a> Index<'a> {
    pub(crate) fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            lines: (0..sources.files()).map(|_| OnceCell::new()).collect(),
        }
    }

    /// The lines of one file.
    pub(crate) fn lines(&self, file: usize) -> &Lines<'a> {
        let text = || &self.sources.text[self.sources.range(file)];
        self.lines[file].get_or_init(|| Lines::new(text()))
    }

    /// The file of a place, and its bytes there.
    pub(crate) fn local(&self, span: Span) -> (usize, Span) {
        let file = self.sources.file_at(span.start);
        let start = span.start - self.sources.start(file);
        (file, Span { start, ..span })
    }

    /// A place as people say it.
    pub(crate) fn place(&self, span: Span) -> Place {
        let (file, span) = self.local(span);
        Place {
            file: self.sources.name(file).map(str::to_owned),
            position: self.lines(file).position(span.start),
            span,
        }
    }
}

impl<'a> Builder<'a> {
    /// Adds a file; says where it starts.
    pub(crate) fn push(&mut self, name: &str, text: &'a Arc<str>) -> usize {
        if !self.parts.is_empty() {
            self.bytes += BETWEEN.len();
        }
        let start = self.bytes;
        self.parts.push((start, name.to_owned(), text));
        self.bytes += text.len();
        start
    }

    /// How many files there are.
    pub(crate) fn files(&self) -> usize {
        self.parts.len()
    }

    /// How many bytes they have.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them. One file is shared, several are copied.
    pub(crate) fn finish(self) -> Sources {
        if let [(_, _, text)] = &self.parts[..] {
            return Arc::clone(text).into();
        }
        let texts: Vec<&str> = self.parts.iter().map(|(_, _, text)| &***text).collect();
        let rest = self.parts.iter().skip(1);
        Sources {
            text: texts.join(BETWEEN).into(),
            more: rest
                .map(|(start, name, _)| (*start, name.clone()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[&str]) -> Sources {
        let texts: Vec<Arc<str>> = texts.iter().map(|text| (*text).into()).collect();
        let mut builder = Builder::default();
        for (number, text) in texts.iter().enumerate() {
            builder.push(&format!("file{number}"), text);
        }
        builder.finish()
    }

    #[test]
    fn every_byte_is_found_in_its_file() {
        let texts = ["a: 1\nb: 2\n", "", "é: 1", "x\n\ny\n"];
        let sources = sources(&texts);
        let index = Index::new(&sources);
        let mut start = 0;
        for (file, text) in texts.iter().enumerate() {
            for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                let alone = Span { start: at, len: 1 };
                let together = Span {
                    start: start + at,
                    len: 1,
                };
                let place = index.place(together);
                assert_eq!(place.span, alone, "byte {at} of {text:?}");
                assert_eq!(
                    place.position,
                    alone.position(text),
                    "byte {at} of {text:?}"
                );
                assert_eq!(place.file.is_none(), file == 0);
            }
            start += text.len() + BETWEEN.len();
        }
    }

    #[test]
    fn places_beyond_the_end_are_in_the_last_file() {
        let sources = sources(&["a", "b"]);
        let place = Index::new(&sources).place(Span { start: 99, len: 1 });
        assert_eq!(place.file.as_deref(), Some("file1"));
        assert_eq!(place.position, Position { line: 1, column: 2 });
    }
}
