//! Every problem of one configuration together with the text they point into. Sorted by place, so
//! that the same file gives the same bytes on every machine and in every run.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::problem::{Label, Problem, Severity};
use crate::render::{self, RenderStyle};
use crate::span::Span;

/// The problems of one configuration. As an error, it means that the configuration is refused.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the text is called in messages: usually the path as given.
    pub source_name: String,
    /// The text that spans point into; empty when it could not be read.
    pub text: Arc<str>,
    /// The problems in the order of the text; those without a place come first. What aliases
    /// repeat is told once.
    pub problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn new(source_name: &str, text: Arc<str>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.span, problem.severity));
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
    /// path, line, column, offset, length, help, related}]}`. Lines and columns count from 1;
    /// place and help are `null` when there is none.
    pub fn to_json(&self) -> Value {
        json!({
            "source": self.source_name,
            "errors": self.errors(),
            "warnings": self.warnings(),
            "problems": self.problems.iter().map(|problem| self.problem_json(problem)).collect::<Vec<_>>(),
        })
    }

    fn problem_json(&self, problem: &Problem) -> Value {
        let mut value = json!({
            "code": problem.code,
            "severity": problem.severity.as_str(),
            "message": problem.message,
            "path": problem.path,
            "help": problem.help,
            "related": problem.related.iter().map(|label| self.label_json(label)).collect::<Vec<_>>(),
        });
        self.add_place(&mut value, problem.span);
        value
    }

    fn label_json(&self, label: &Label) -> Value {
        let mut value = json!({ "text": label.text });
        self.add_place(&mut value, Some(label.span));
        value
    }

    fn add_place(&self, value: &mut Value, span: Option<Span>) {
        let position = span.map(|span| span.position(&self.text));
        value["line"] = json!(position.map(|position| position.line));
        value["column"] = json!(position.map(|position| position.column));
        value["offset"] = json!(span.map(|span| span.start));
        value["length"] = json!(span.map(|span| span.len));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(RenderStyle::PLAIN))
    }
}

impl std::error::Error for Report {}
