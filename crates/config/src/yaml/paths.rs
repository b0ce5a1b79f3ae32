//! The path of a problem from its place. Found in one walk over the tree once all problems are
//! known, so that nothing carries paths around while everything is fine.

use std::collections::BTreeMap;

use crate::problem::Problem;
use crate::span::Span;
use crate::yaml::node::{Node, Value};

/// Writes the path of the key or value at its place into every problem that has none yet.
pub(crate) fn fill_paths(problems: &mut [Problem], root: &Node<'_>) {
    let mut wanted: BTreeMap<Span, Option<String>> = problems
        .iter()
        .filter_map(|problem| Some((problem.span?, None)))
        .collect();
    if !wanted.is_empty() {
        walk(root, &mut String::new(), &mut wanted);
    }
    for problem in problems
        .iter_mut()
        .filter(|problem| problem.path.is_empty())
    {
        let path = problem
            .span
            .and_then(|span| wanted.get(&span).cloned().flatten());
        problem.path = path.unwrap_or_default();
    }
}

fn walk(node: &Node<'_>, path: &mut String, wanted: &mut BTreeMap<Span, Option<String>>) {
    note(node.span, path, wanted);
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                descend(path, &format!("[{index}]"), |path| walk(item, path, wanted));
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                descend(path, &format!("{dot}{}", segment(&key.text)), |path| {
                    note(key.span, path, wanted);
                    walk(value, path, wanted);
                });
            }
        }
        Value::Scalar(..) => note_parts(node.span, path, wanted),
        Value::Null | Value::Broken => {}
    }
}

/// Places within a scalar: in a regular expression or another text with a grammar of its own.
fn note_parts(span: Span, path: &str, wanted: &mut BTreeMap<Span, Option<String>>) {
    let at = |start| Span { start, len: 0 };
    let within = wanted.range_mut(at(span.start)..=at(span.end()));
    for (_, found) in within.filter(|(part, _)| part.end() <= span.end()) {
        found.get_or_insert_with(|| path.to_owned());
    }
}

/// The first path wins: what aliases repeat is told where it is defined.
fn note(span: Span, path: &str, wanted: &mut BTreeMap<Span, Option<String>>) {
    if let Some(found) = wanted.get_mut(&span) {
        found.get_or_insert_with(|| path.to_owned());
    }
}

fn descend(path: &mut String, part: &str, visit: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push_str(part);
    visit(path);
    path.truncate(length);
}

/// A key as a part of a path: quoted unless it is a plain name, cut when it is very long.
fn segment(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !key.is_empty() && key.len() <= 60 && key.chars().all(plain) {
        return key.to_owned();
    }
    let shown: String = key.chars().take(60).flat_map(char::escape_debug).collect();
    format!("\"{shown}\"")
}
