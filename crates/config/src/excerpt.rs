//! The few lines around a problem, cut from the text before the printer sees them. A file may be
//! one line of megabytes, and may hold characters that move cursors; neither reaches a terminal.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use crate::problem::is_invisible;
use crate::span::{Position, Span};

/// Lines shown before and after a place.
pub(crate) const CONTEXT: usize = 1;

/// Longer lines are cut around the place: so many characters before it, and so many in all.
const BEFORE: usize = 60;
const WIDTH: usize = 160;

/// Where the lines of a text start.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// Characters before every so many bytes, so that a column in a line of megabytes is counted from
    /// nearby.
    characters: Vec<usize>,
}

/// How many bytes apart characters are counted.
const STRIDE: usize = 1024;

/// Lines of a text, harmless and cut to a bearable width.
#[derive(Debug)]
pub(crate) struct Excerpt {
    name: String,
    text: String,
    /// Number of the first line, from 0.
    first: usize,
    lines: Vec<Cut>,
}

/// One line of an excerpt.
#[derive(Debug, Default)]
struct Cut {
    /// Where it starts in the excerpt.
    at: usize,
    /// The bytes of the text that are shown.
    shown: Range<usize>,
    /// Characters cut off in front of them.
    dropped: usize,
    /// Bytes that the excerpt puts in front of them.
    prefix: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        // What a last newline ends is no line of its own.
        let after_newlines = after_newlines.filter(|at| *at < text.len());
        Self {
            text,
            starts: std::iter::once(0).chain(after_newlines).collect(),
            characters: characters(text),
        }
    }

    /// Line and column of a byte, as [`Span::position`] has them.
    pub(crate) fn position(&self, byte: usize) -> Position {
        let at = self.text.floor_char_boundary(byte.min(self.text.len()));
        let (line, start) = match at == self.text.len() && self.text.ends_with('\n') {
            true => (self.starts.len() + 1, at),
            false => (self.of(at) + 1, self.starts[self.of(at)]),
        };
        Position {
            line,
            column: self.characters_before(at) - self.characters_before(start) + 1,
        }
    }

    fn characters_before(&self, byte: usize) -> usize {
        let known = byte / STRIDE;
        self.characters[known] + count_characters(&self.text.as_bytes()[known * STRIDE..byte])
    }

    /// Index of the line that holds a byte.
    fn of(&self, byte: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= byte)
            .saturating_sub(1)
    }

    /// The bytes of a line, its newline left out.
    fn range(&self, line: usize) -> Range<usize> {
        let start = self.starts[line];
        let end = self
            .starts
            .get(line + 1)
            .map_or(self.text.len(), |next| next - 1);
        start..start + self.text[start..end].trim_end_matches(['\r', '\n']).len()
    }
}

/// Characters before each stride of a text.
fn characters(text: &str) -> Vec<usize> {
    let mut before = 0;
    let strides = text.as_bytes().chunks(STRIDE).map(|chunk| {
        before += count_characters(chunk);
        before
    });
    std::iter::once(0).chain(strides).collect()
}

/// Characters that start within some bytes of a text.
fn count_characters(bytes: &[u8]) -> usize {
    let goes_on = |byte: &&u8| **byte & 0xC0 == 0x80;
    bytes.len() - bytes.iter().filter(goes_on).count()
}

impl Excerpt {
    /// The lines around `spans`, of which there must be one. Lines between that are not shown are
    /// left empty.
    pub(crate) fn new(name: &str, lines: &Lines<'_>, spans: &[Span]) -> Self {
        let places: Vec<(usize, usize)> = spans
            .iter()
            .map(|span| span.within(lines.text).start)
            .map(|start| (lines.of(start), start))
            .collect();
        let last_line = lines.starts.len() - 1;
        let first = places
            .iter()
            .map(|(line, _)| line.saturating_sub(CONTEXT))
            .min()
            .unwrap_or(0);
        let last = places
            .iter()
            .map(|(line, _)| (line + CONTEXT).min(last_line))
            .max()
            .unwrap_or(0);
        let mut excerpt = Self {
            name: harmless(name),
            text: String::new(),
            first,
            lines: Vec::new(),
        };
        for line in first..=last {
            let is_near = places.iter().any(|(at, _)| at.abs_diff(line) <= CONTEXT);
            let place = places
                .iter()
                .find(|(at, _)| *at == line)
                .map(|(_, start)| *start);
            excerpt.push(lines, is_near.then(|| lines.range(line)), place);
        }
        excerpt
    }

    fn push(&mut self, lines: &Lines<'_>, line: Option<Range<usize>>, place: Option<usize>) {
        let mut cut = Cut {
            at: self.text.len(),
            ..Cut::default()
        };
        if let Some(line) = line {
            cut.shown = window(lines.text, &line, place.unwrap_or(line.start));
            cut.dropped = lines.text[line.start..cut.shown.start].chars().count();
            let (before, after) = (cut.shown.start > line.start, cut.shown.end < line.end);
            cut.prefix = if before { 3 } else { 0 };
            self.text.push_str(if before { "..." } else { "" });
            self.text
                .push_str(&harmless(&lines.text[cut.shown.clone()]));
            self.text.push_str(if after { "..." } else { "" });
        }
        self.text.push('\n');
        self.lines.push(cut);
    }

    /// A place in the excerpt: on one line, because a label over many lines hides more than it
    /// shows. The start of a block is shown as its first word.
    pub(crate) fn place(&self, lines: &Lines<'_>, span: Span) -> (usize, usize) {
        let span = span.within(lines.text);
        let index = lines
            .of(span.start)
            .saturating_sub(self.first)
            .min(self.lines.len() - 1);
        let cut = &self.lines[index];
        let start = span.start.clamp(cut.shown.start, cut.shown.end);
        let rest = &lines.text[start..cut.shown.end];
        let len = match span.len {
            0 => rest.find([' ', '\t', ':', ',']).unwrap_or(rest.len()),
            len => len.min(rest.len()),
        };
        (cut.at + cut.prefix + (start - cut.shown.start), len)
    }

    fn cut_at(&self, offset: usize) -> &Cut {
        let next = self.lines.partition_point(|cut| cut.at <= offset);
        &self.lines[next.saturating_sub(1)]
    }
}

/// The part of a line that is shown.
fn window(text: &str, line: &Range<usize>, place: usize) -> Range<usize> {
    if text[line.clone()].chars().nth(WIDTH).is_none() {
        return line.clone();
    }
    let place = place.clamp(line.start, line.end);
    let before = text[line.start..place]
        .char_indices()
        .rev()
        .take(BEFORE)
        .last();
    let start = before.map_or(place, |(at, _)| line.start + at);
    let end = text[start..line.end]
        .char_indices()
        .nth(WIDTH)
        .map_or(line.end, |(at, _)| start + at);
    start..end
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.as_str().read_span(span, before, after)?;
        let cut = self.cut_at(span.offset());
        let column = match before + after {
            0 => (inner.column() + cut.dropped).saturating_sub(cut.prefix),
            _ => inner.column(),
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            inner.data(),
            *inner.span(),
            self.first + inner.line(),
            column,
            inner.line_count(),
        )))
    }
}

/// The text with everything that could move a cursor or reorder characters replaced byte for byte,
/// so that places still fit.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() || is_invisible(c) => {
                out.extend(std::iter::repeat_n('?', c.len_utf8()));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Span) -> (String, String) {
        let lines = Lines::new(text);
        let excerpt = Excerpt::new("x", &lines, &[span]);
        let (at, len) = excerpt.place(&lines, span);
        (excerpt.text.clone(), excerpt.text[at..at + len].to_owned())
    }

    #[test]
    fn a_place_is_found_again_in_its_excerpt() {
        let check = |text: &str, needle: &str, expected: &str| {
            let span = Span {
                start: text.find(needle).unwrap(),
                len: needle.len(),
            };
            assert_eq!(
                shown(text, span),
                (expected.to_owned(), needle.to_owned()),
                "{text:?}"
            );
        };
        check("a: 1\nb: 2\nc: 3\nd: 4\n", "b: 2", "a: 1\nb: 2\nc: 3\n");
        check("a: 1", "1", "a: 1\n");
        check("é: ü\r\nb: 2\r\n", "ü", "é: ü\nb: 2\n");
        check("\u{1b}[31m: x", "x", "?[31m: x\n");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}needle{}", "a".repeat(5000), "b".repeat(5000));
        let (excerpt, found) = shown(
            &text,
            Span {
                start: 5000,
                len: 6,
            },
        );
        assert_eq!(found, "needle");
        assert_eq!(
            excerpt,
            format!("...{}needle{}...\n", "a".repeat(60), "b".repeat(94))
        );
    }

    #[test]
    fn positions_are_those_that_counting_gives() {
        let texts = [
            String::new(),
            "a\n".to_owned(),
            "é\r\nb\n\nc".to_owned(),
            format!("{}\n{}\n", "ü".repeat(3000), "a".repeat(5000)),
        ];
        for text in &texts {
            let lines = Lines::new(text);
            for start in (0..text.len() + 3).step_by(1 + text.len() / 400) {
                let expected = Span { start, len: 1 }.position(text);
                assert_eq!(lines.position(start), expected, "byte {start}");
            }
        }
    }

    #[test]
    fn places_outside_the_text_do_no_harm() {
        assert_eq!(shown("ab", Span { start: 99, len: 9 }).1, "");
        assert_eq!(shown("", Span { start: 0, len: 0 }).1, "");
        assert_eq!(shown("a\n", Span { start: 2, len: 1 }).1, "");
    }

    #[test]
    fn an_empty_span_shows_the_first_word() {
        assert_eq!(shown("name: web", Span { start: 0, len: 0 }).1, "name");
    }
}
