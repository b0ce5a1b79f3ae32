//! Expressions: CEL, from text to what `core` evaluates.
//!
//! The parser is a library's, the rest is ours: every name, function and type is known when a file is
//! loaded, so that an expression can fail on a request only by what that request lacks. Problems are
//! shown where they are in the expression, not only at its key. What CEL has and this does not is
//! refused by name.

mod call;
mod extent;
mod facts;
mod lint;
mod lower;
mod operator;
mod parse;
mod place;
mod thing;
mod zone;

use std::sync::Arc;

use tidegate_core::expression::{Expression, MAX_SOURCE};

use crate::compile::Context;
use crate::problem::{Problem, Severity};
use crate::raw;
use crate::yaml::Field;

use lower::Lowering;
use place::Places;

/// Something wrong at a place of an expression: bytes of its text.
struct Complaint {
    problem: Problem,
    start: usize,
    end: usize,
}

/// What `what` (as in "`when` must be") asks of requests; none if it is absent or was reported.
pub(crate) fn condition(
    cx: &mut Context<'_>,
    field: &Field<raw::Expression>,
    what: &str,
) -> Option<Arc<Expression>> {
    let text = field.get()?.as_ref();
    let (expression, complaints) = compiled(text, what);
    let places = Places::new(&cx.text, field.span(), text);
    for complaint in complaints {
        let span = places.span(complaint.start, complaint.end);
        cx.report(complaint.problem.at(span));
    }
    expression.map(Arc::new)
}

fn compiled(text: &str, what: &str) -> (Option<Expression>, Vec<Complaint>) {
    if text.len() > MAX_SOURCE {
        let message = format!(
            "an expression of {} bytes, at most {MAX_SOURCE} are allowed",
            text.len()
        );
        let problem = Problem::error("expression_too_complex", message);
        return (None, vec![Complaint::whole(problem, text)]);
    }
    let parsed = match parse::parse(text) {
        Ok(parsed) => parsed,
        Err(complaint) => return (None, vec![*complaint]),
    };
    let mut lowering = Lowering::new(text, &parsed.places);
    let root = lowering.root(&parsed.root, what);
    let mut complaints = lowering.complaints;
    let Some(root) = root.filter(|_| complaints.iter().all(Complaint::is_warning)) else {
        return (None, complaints);
    };
    if complaints.is_empty() {
        complaints.extend(lint::constant(&root, text));
    }
    match Expression::new(text.into(), root) {
        Ok(expression) => (Some(expression), complaints),
        Err(error) => {
            let problem = Problem::error("expression_too_complex", error.to_string());
            let help = "write it as several routes or rules, or with plain matchers".to_owned();
            complaints.push(Complaint::whole(problem.help(help), text));
            (None, complaints)
        }
    }
}

impl Complaint {
    /// About all of it.
    fn whole(problem: Problem, text: &str) -> Self {
        Self {
            problem,
            start: 0,
            end: text.len(),
        }
    }

    fn is_warning(&self) -> bool {
        self.problem.severity == Severity::Warning
    }
}
