//! A report as a good compiler would print it: file, line, column, excerpt, caret, hint.
//!
//! Nothing is asked of the environment (no terminal size, no `NO_COLOR`): the caller passes a
//! [`RenderStyle`], so the same report gives the same bytes. The excerpt comes from an untrusted
//! file, therefore control characters in it are replaced before they reach a terminal.

use std::fmt::{self, Display, Write};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};

use crate::problem::{Problem, Severity, is_invisible};
use crate::report::Report;
use crate::span::Span;

/// Problems shown in full; the rest is only counted. A broken template can yield thousands.
const SHOWN_MAX: usize = 50;

/// How a report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderStyle {
    /// ANSI colours.
    pub colour: bool,
    /// Box-drawing characters instead of ASCII.
    pub unicode: bool,
    /// Columns at which messages wrap. At least 40 is used.
    pub width: usize,
}

impl RenderStyle {
    /// For files, pipes and tests: ASCII, no colour, 100 columns.
    pub const PLAIN: Self = Self {
        colour: false,
        unicode: false,
        width: 100,
    };
    /// For terminals: colour, box-drawing characters, 100 columns.
    pub const TERMINAL: Self = Self {
        colour: true,
        unicode: true,
        width: 100,
    };

    fn theme(self) -> GraphicalTheme {
        match (self.colour, self.unicode) {
            (true, true) => GraphicalTheme::unicode(),
            (false, true) => GraphicalTheme::unicode_nocolor(),
            (true, false) => GraphicalTheme::ascii(),
            (false, false) => GraphicalTheme::none(),
        }
    }

    fn handler(self) -> GraphicalReportHandler {
        GraphicalReportHandler::new_themed(self.theme())
            .with_width(self.width.max(40))
            .with_links(false)
            .with_context_lines(1)
            .without_syntax_highlighting()
    }
}

/// One problem in the shape that the printer wants.
struct Shown<'a> {
    problem: &'a Problem,
    source: &'a NamedSource<String>,
    text: &'a str,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        let (severity, code) = (self.problem.severity.as_str(), self.problem.code);
        Some(match self.problem.path.as_str() {
            "" => Box::new(format!("{severity}[{code}]")),
            path => Box::new(format!("{severity}[{code}] {path}")),
        })
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.problem
            .help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let main = self.problem.span?;
        let related = &self.problem.related;
        // With one place the caret says it all; with several, each needs a word.
        let here = (!related.is_empty()).then(|| "here".to_owned());
        let main = LabeledSpan::new_primary_with_span(here, self.bytes(main));
        let others = related.iter().map(|label| {
            LabeledSpan::new_with_span(Some(label.text.clone()), self.bytes(label.span))
        });
        Some(Box::new(std::iter::once(main).chain(others)))
    }
}

impl Shown<'_> {
    /// The span as the printer wants it: inside the text and on one line, because a label over
    /// many lines hides more than it shows. The start of a block is shown as its first word.
    fn bytes(&self, span: Span) -> (usize, usize) {
        let span = span.within(self.text);
        let (end, stops): (usize, &[char]) = match span.len {
            0 => (self.text.len(), &[' ', '\t', ':', ',', '\r', '\n']),
            _ => (span.end(), &['\r', '\n']),
        };
        let shown = self.text[span.start..end].split(stops).next();
        (span.start, shown.map_or(0, str::len))
    }
}

pub(crate) fn report(report: &Report, style: RenderStyle) -> String {
    let mut out = String::new();
    let text = harmless(&report.text);
    let source = NamedSource::new(harmless(&report.source_name), text.clone());
    let handler = style.handler();
    for problem in report.problems.iter().take(SHOWN_MAX) {
        let shown = Shown {
            problem,
            source: &source,
            text: &text,
        };
        // Writing to a string cannot fail; an excerpt that cannot be cut must not hide the message.
        if handler.render_report(&mut out, &shown).is_err() {
            let _ = writeln!(out, "{}: {shown}", report.source_name);
        }
        out.push('\n');
    }
    out.push_str(&summary(report));
    trim_lines(&out)
}

fn summary(report: &Report) -> String {
    let more = match report.problems.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" ({more} not shown)"),
    };
    let source = harmless(&report.source_name);
    match (report.errors(), report.warnings()) {
        (0, 0) => String::new(),
        (0, warnings) => format!("{source}: {}{more}\n", counted(warnings, "warning")),
        (errors, 0) => format!("{source}: {}{more}\n", counted(errors, "error")),
        (errors, warnings) => format!(
            "{source}: {}, {}{more}\n",
            counted(errors, "error"),
            counted(warnings, "warning")
        ),
    }
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// The text with everything that could move a cursor or reorder characters replaced byte for byte,
/// so that spans still fit.
fn harmless(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '\n' | '\r' | '\t' => out.push(c),
                c if c.is_control() || is_invisible(c) => {
                    out.extend(std::iter::repeat_n('?', c.len_utf8()))
                }
                c => out.push(c),
            }
            out
        })
}

fn trim_lines(text: &str) -> String {
    text.lines()
        .flat_map(|line| [line.trim_end(), "\n"])
        .collect()
}
