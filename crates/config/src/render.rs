//! A report as a good compiler would print it: file, line, column, excerpt, caret, hint.
//!
//! Nothing is asked of the environment (no terminal size, no `NO_COLOR`): the caller passes a
//! [`RenderStyle`], so the same report gives the same bytes. The excerpt comes from an untrusted
//! file, therefore control characters in it are replaced before they reach a terminal.

use std::fmt::{self, Display, Write};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};

use crate::excerpt::{CONTEXT, Excerpt, Lines, harmless};
use crate::problem::{Problem, Severity};
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
            .with_context_lines(CONTEXT)
            .without_syntax_highlighting()
    }
}

/// One problem in the shape that the printer wants.
struct Shown<'a> {
    problem: &'a Problem,
    lines: &'a Lines<'a>,
    excerpt: Option<Excerpt>,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&harmless(&self.problem.message))
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
        let help = self.problem.help.as_ref()?;
        Some(Box::new(harmless(help)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt
            .as_ref()
            .map(|excerpt| excerpt as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (excerpt, main) = (self.excerpt.as_ref()?, self.problem.span?);
        let related = &self.problem.related;
        // With one place the caret says it all; with several, each needs a word.
        let here = (!related.is_empty()).then(|| "here".to_owned());
        let main = LabeledSpan::new_primary_with_span(here, excerpt.place(self.lines, main));
        let others = related.iter().map(|label| {
            let text = Some(harmless(&label.text));
            LabeledSpan::new_with_span(text, excerpt.place(self.lines, label.span))
        });
        Some(Box::new(std::iter::once(main).chain(others)))
    }
}

pub(crate) fn report(report: &Report, style: RenderStyle) -> String {
    let mut out = String::new();
    let lines = Lines::new(&report.text);
    let handler = style.handler();
    for problem in report.problems.iter().take(SHOWN_MAX) {
        let related = problem.related.iter().map(|label| label.span);
        let spans: Vec<Span> = problem.span.into_iter().chain(related).collect();
        let excerpt = problem
            .span
            .map(|_| Excerpt::new(&report.source_name, &lines, &spans));
        let shown = Shown {
            problem,
            lines: &lines,
            excerpt,
        };
        // Writing to a string cannot fail; an excerpt that cannot be cut must not hide the message.
        if handler.render_report(&mut out, &shown).is_err() {
            let _ = writeln!(out, "{}: {shown}", harmless(&report.source_name));
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

fn trim_lines(text: &str) -> String {
    text.lines()
        .flat_map(|line| [line.trim_end(), "\n"])
        .collect()
}
