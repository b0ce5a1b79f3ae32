//! Every problem of one configuration together with the text they point into. Sorted by place, so
//! that the same file gives the same bytes on every machine and in every run.

use std::collections::HashSet;
use std::fmt;

use serde_json::{Value, json};

use crate::hint;
use crate::problem::{Label, Problem, Severity};
use crate::render::{self, RenderStyle};
use crate::source::{Index, Place, Sources};
use crate::span::Span;

/// Longest excerpt for machines.
const EXCERPT_BYTES_MAX: usize = 200;

/// The problems of one configuration. As an error, it means that the configuration is refused.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the text is called in messages: usually the path as given.
    pub source_name: String,
    /// The text that spans point into; empty when it could not be read. Of several files it is one text:
    /// [`Report::place`] finds the file.
    pub text: Sources,
    /// The problems in the order of the text; those without a place come first. What aliases
    /// repeat is told once.
    pub problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn new(source_name: &str, text: Sources, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.span, problem.severity));
        for problem in problems.iter_mut().filter(|problem| problem.help.is_none()) {
            problem.help = hint::of_code(problem.code).map(str::to_owned);
        }
        let mut seen = HashSet::new();
        problems
            .retain(|problem| seen.insert((problem.span, problem.code, problem.message.clone())));
        Self {
            source_name: source_name.to_owned(),
            text,
            problems,
        }
    }

    /// How many problems refuse the configuration.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many problems only warn.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// Where a place of this report is, as people say it.
    pub fn place(&self, span: Span) -> Place {
        Index::new(&self.text).place(span)
    }

    fn count(&self, severity: Severity) -> usize {
        self.problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    }

    /// The report for people, with excerpts, and a last line that counts. Empty without problems.
    pub fn render(&self, style: RenderStyle) -> String {
        render::report(self, style)
    }

    /// The report for machines: `{source, errors, warnings, problems: [{code, severity, message,
    /// path, line, column, offset, length, excerpt, help, related}]}`. Lines and columns count from 1;
    /// `excerpt` is the line, of a long one what is around the place; place, excerpt and help are `null`
    /// when there is none. Places have a `file` when there are several files;
    /// offsets count from its start.
    pub fn to_json(&self) -> Value {
        let index = Index::new(&self.text);
        let problems = self.problems.iter();
        json!({
            "source": self.source_name,
            "errors": self.errors(),
            "warnings": self.warnings(),
            "problems": problems.map(|problem| self.problem_json(&index, problem)).collect::<Vec<_>>(),
        })
    }

    fn problem_json(&self, index: &Index<'_>, problem: &Problem) -> Value {
        let related = problem.related.iter();
        let mut value = json!({
            "code": problem.code,
            "severity": problem.severity.as_str(),
            "message": problem.message,
            "path": problem.path,
            "help": problem.help,
            "related": related.map(|label| self.label_json(index, label)).collect::<Vec<_>>(),
        });
        self.add_place(index, &mut value, problem.span);
        value["excerpt"] = json!(problem.span.map(|span| line(&self.text, span)));
        value
    }

    fn label_json(&self, index: &Index<'_>, label: &Label) -> Value {
        let mut value = json!({ "text": label.text });
        self.add_place(index, &mut value, Some(label.span));
        value
    }

    fn add_place(&self, index: &Index<'_>, value: &mut Value, span: Option<Span>) {
        let place = span.map(|span| index.place(span));
        let place = place.as_ref();
        value["line"] = json!(place.map(|place| place.position.line));
        value["column"] = json!(place.map(|place| place.position.column));
        value["offset"] = json!(place.map(|place| place.span.start));
        value["length"] = json!(place.map(|place| place.span.len));
        if self.text.files() > 1 {
            let file = place.map(|place| place.file.as_deref().unwrap_or(&self.source_name));
            value["file"] = json!(file);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(RenderStyle::PLAIN))
    }
}

impl std::error::Error for Report {}

/// The line of a place; of a long one what is around it.
fn line(text: &str, span: Span) -> &str {
    let start = span.within(text).start;
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let len = text[start..]
        .find(['\n', '\r'])
        .unwrap_or(text.len() - start);
    let from = line_start.max(start.saturating_sub(EXCERPT_BYTES_MAX / 2));
    let until = (start + len).min(from + EXCERPT_BYTES_MAX);
    &text[text.ceil_char_boundary(from)..text.floor_char_boundary(until)]
}
