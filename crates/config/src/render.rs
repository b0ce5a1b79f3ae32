//! A report as a good compiler would print it: file, line, column, excerpt, caret, hint.
//!
//! Nothing is asked of the environment (no terminal size, no `NO_COLOR`): the caller passes a
//! [`RenderStyle`], so the same report gives the same bytes. The excerpt comes from an untrusted
//! file, therefore control characters in it are replaced before they reach a terminal.

use std::fmt::{self, Display, Write};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};

use crate::excerpt::{CONTEXT, Excerpt, Lines, harmless};
use crate::problem::{Label, Problem, Severity};
use crate::report::Report;
use crate::source::Index;
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

/// One problem in the shape that the printer wants: what there is of it in one file.
struct Shown<'a> {
    head: Head<'a>,
    lines: &'a Lines<'a>,
    excerpt: Option<Excerpt>,
    /// Places in that file, each with a word if it needs one. The first is the main one.
    labels: Vec<(Span, Option<&'a str>)>,
}

/// What stands above an excerpt.
#[derive(Clone, Copy, Debug)]
enum Head<'a> {
    Problem(&'a Problem),
    /// The words of labels that point into another file.
    Elsewhere(&'a str),
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head.fmt(f)
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&harmless(match self.head {
            Head::Problem(problem) => &problem.message,
            Head::Elsewhere(text) => text,
        }))
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        let Head::Problem(problem) = self.head else {
            return None;
        };
        let (severity, code) = (problem.severity.as_str(), problem.code);
        Some(match problem.path.as_str() {
            "" => Box::new(format!("{severity}[{code}]")),
            path => Box::new(format!("{severity}[{code}] {path}")),
        })
    }

    fn severity(&self) -> Option<miette::Severity> {
        let Head::Problem(problem) = self.head else {
            return Some(miette::Severity::Advice);
        };
        Some(match problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        let Head::Problem(problem) = self.head else {
            return None;
        };
        let help = problem.help.as_ref()?;
        Some(Box::new(harmless(help)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt
            .as_ref()
            .map(|excerpt| excerpt as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let excerpt = self.excerpt.as_ref()?;
        let labels = self.labels.iter().enumerate();
        Some(Box::new(labels.map(|(index, (span, text))| {
            let (text, place) = (text.map(harmless), excerpt.place(self.lines, *span));
            match index {
                0 => LabeledSpan::new_primary_with_span(text, place),
                _ => LabeledSpan::new_with_span(text, place),
            }
        })))
    }
}

pub(crate) fn report(report: &Report, style: RenderStyle) -> String {
    let mut printer = Printer {
        report,
        index: Index::new(&report.text),
        handler: style.handler(),
        out: String::new(),
    };
    for problem in report.problems.iter().take(SHOWN_MAX) {
        printer.problem(problem);
        printer.out.push('\n');
    }
    printer.out.push_str(&summary(report));
    trim_lines(&printer.out)
}

struct Printer<'a> {
    report: &'a Report,
    index: Index<'a>,
    handler: GraphicalReportHandler,
    out: String,
}

impl Printer<'_> {
    fn problem(&mut self, problem: &Problem) {
        let main = problem.span.map(|span| self.index.local(span));
        let file = main.map_or(0, |(file, _)| file);
        let (near, far): (Vec<_>, Vec<_>) = related(&self.index, &problem.related)
            .into_iter()
            .partition(|(at, ..)| *at == file);
        // With one place the caret says it all; with several, each needs a word.
        let here = (!near.is_empty()).then_some("here");
        let main = main.map(|(_, span)| (span, here));
        let near = near.iter().map(|(_, span, text)| (*span, Some(*text)));
        let labels = match main {
            Some(main) => std::iter::once(main).chain(near).collect(),
            None => Vec::new(),
        };
        self.print(file, Head::Problem(problem), labels);
        for (file, span, text) in far {
            self.print(file, Head::Elsewhere(text), vec![(span, None)]);
        }
    }

    fn print(&mut self, file: usize, head: Head<'_>, labels: Vec<(Span, Option<&str>)>) {
        let name = self.report.text.name(file);
        let name = name.unwrap_or(&self.report.source_name);
        let lines = self.index.lines(file);
        let spans: Vec<Span> = labels.iter().map(|(span, _)| *span).collect();
        let shown = Shown {
            head,
            lines,
            excerpt: (!spans.is_empty()).then(|| Excerpt::new(name, lines, &spans)),
            labels,
        };
        // Writing to a string cannot fail; an excerpt that cannot be cut must not hide the message.
        if self.handler.render_report(&mut self.out, &shown).is_err() {
            let _ = writeln!(self.out, "{}: {shown}", harmless(name));
        }
    }
}

/// The labels of a problem with their files and their places there.
fn related<'a>(index: &Index<'_>, labels: &'a [Label]) -> Vec<(usize, Span, &'a str)> {
    let local = |label: &'a Label| {
        let (file, span) = index.local(label.span);
        (file, span, label.text.as_str())
    };
    labels.iter().map(local).collect()
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
