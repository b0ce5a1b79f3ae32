//! What an expression says that its writer can hardly mean.

use http::Method;
use tidegate_core::Snapshot;
use tidegate_core::expression::{Comparison, Expression, Fact, Node, Range};

use super::Complaint;
use crate::problem::{Problem, quoted};

/// Whether a node is a value that is known when it is compiled.
pub(super) fn is_literal(node: &Node) -> bool {
    matches!(
        node,
        Node::Bool(_) | Node::Int(_) | Node::Double(_) | Node::Text(_) | Node::Time(_)
    )
}

/// A warning about an expression that says the same of every request.
pub(super) fn constant(root: &Node, text: &str) -> Option<Complaint> {
    if asks_request(root) {
        return None;
    }
    let expression = Expression::new(text.into(), root.clone()).ok()?;
    let nobody = Snapshot::new(Method::GET, "", "/");
    let (message, help) = match expression.decide(&nobody) {
        Ok(true) => ("this holds for every request".to_owned(), "remove it"),
        Ok(false) => (
            "this holds for no request".to_owned(),
            "what it guards never happens",
        ),
        Err(fault) => (
            format!("this can never be evaluated: {fault}"),
            "what it guards never happens",
        ),
    };
    let problem = Problem::warning("constant_expression", message).help(help.to_owned());
    Some(Complaint::whole(problem, text))
}

/// A warning about a comparison that comes out the same for every request.
pub(super) fn impossible(how: Comparison, left: &Node, right: &Node) -> Option<Problem> {
    let (fact, text) = match (left, right) {
        (Node::Fact(fact), Node::Text(text)) | (Node::Text(text), Node::Fact(fact)) => (fact, text),
        _ => return None,
    };
    if !matches!(how, Comparison::Equal | Comparison::NotEqual) {
        return None;
    }
    let (what, right) = match fact {
        Fact::Host if text.bytes().any(|c| c.is_ascii_uppercase()) => {
            ("host", text.to_ascii_lowercase())
        }
        Fact::Method if is_standard(&text.to_ascii_uppercase()) && !is_standard(text) => {
            ("method", text.to_ascii_uppercase())
        }
        Fact::Scheme if !matches!(&**text, "http" | "https") => ("scheme", "https".to_owned()),
        _ => return None,
    };
    let message = format!("no {what} is ever {}", quoted(text));
    let problem = Problem::warning("impossible_comparison", message);
    Some(problem.help(format!("did you mean `{right}`?")))
}

fn is_standard(method: &str) -> bool {
    let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    methods.contains(&method)
}

/// Whether a tree looks at the request at all.
fn asks_request(node: &Node) -> bool {
    match node {
        Node::Bool(_)
        | Node::Int(_)
        | Node::Double(_)
        | Node::Text(_)
        | Node::Time(_)
        | Node::Nothing
        | Node::Local(_) => false,
        Node::Fact(_)
        | Node::HasFact(_)
        | Node::Header(_)
        | Node::HasHeader(_)
        | Node::Entry(..)
        | Node::HasEntry(..)
        | Node::ClientIn(_)
        | Node::Exists(Range::Names(_), _)
        | Node::ForAll(Range::Names(_), _) => true,
        node => node.children().iter().any(asks_request),
    }
}
