//! Reading YAML under an explicit budget. A syntax error stops the reader, so it is one problem;
//! duplicate keys do not: all of them are reported, and compilation goes on with the first.

use std::collections::{HashMap, HashSet};

use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Options};

use crate::problem::{Problem, quoted};
use crate::span::Span;
use crate::yaml::node::{Node, Value};
use crate::yaml::paths::fill_paths;
use crate::yaml::plain;

/// Room for 100,000 routes of some thirty keys and values each; everything else is far below.
const NODES_MAX: usize = 8_000_000;

/// Deeper than any key of the schema; a stack is never at risk.
const DEPTH_MAX: usize = 32;

/// Aliases may be used freely, but what they expand to stays bounded.
const EXPANDED_EVENTS_MAX: usize = 250_000;

/// The tree of `text`, as far as it can be had, and what is wrong with it. No tree without a
/// problem.
pub(crate) fn parse(text: &str) -> (Option<Node<'_>>, Vec<Problem>) {
    if let Some(root) = plain::parse(text) {
        return (Some(root), Vec::new());
    }
    match read(text, DuplicateKeyPolicy::Error) {
        Ok(root) => (Some(root), Vec::new()),
        Err(error) if matches!(error.without_snippet(), Error::DuplicateMappingKey { .. }) => {
            reread(text, &error)
        }
        Err(error) => (None, vec![syntax_problem(text, &error)]),
    }
}

/// Reads a text with duplicate keys once more, keeping them, so that all of them can be named.
fn reread<'a>(text: &'a str, first_error: &Error) -> (Option<Node<'a>>, Vec<Problem>) {
    match read(text, DuplicateKeyPolicy::LastWins) {
        Err(error) => (None, vec![syntax_problem(text, &error)]),
        Ok(mut root) => {
            let mut problems = Vec::new();
            find_duplicates(&root, &mut problems);
            fill_paths(&mut problems, &root);
            drop_duplicates(&mut root);
            if problems.is_empty() {
                problems.push(syntax_problem(text, first_error));
            }
            (Some(root), problems)
        }
    }
}

/// The tree by the full reader.
pub(super) fn read(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Node<'_>, Error> {
    let mut root: Node<'_> = serde_saphyr::from_str_with_options(text, options(duplicate_keys))?;
    root.restore_numbers(text);
    Ok(root)
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: EXPANDED_EVENTS_MAX,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: duplicate_keys,
        strict_booleans: true,
        emit_comments: false,
        with_snippet: false,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
    }
}

fn find_duplicates(node: &Node<'_>, problems: &mut Vec<Problem>) {
    match &node.value {
        Value::List(items) => items
            .iter()
            .for_each(|item| find_duplicates(item, problems)),
        Value::Map(entries) => {
            let mut seen = HashMap::new();
            for (key, value) in entries {
                match seen.get(&key.text) {
                    None => drop(seen.insert(&key.text, key.span)),
                    Some(first) => problems.push(duplicate_key(&key.text, key.span, *first)),
                }
                find_duplicates(value, problems);
            }
        }
        Value::Null | Value::Scalar(..) | Value::Broken => {}
    }
}

/// Keeps the first of each key.
fn drop_duplicates(node: &mut Node<'_>) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(drop_duplicates),
        Value::Map(entries) => {
            let mut seen = HashSet::new();
            entries.retain(|(key, _)| seen.insert(key.text.to_string()));
            entries
                .iter_mut()
                .for_each(|(_, value)| drop_duplicates(value));
        }
        Value::Null | Value::Scalar(..) | Value::Broken => {}
    }
}

fn duplicate_key(key: &str, span: Span, first: Span) -> Problem {
    Problem::error(
        "duplicate_key",
        format!("the key {} appears twice in one mapping", quoted(key)),
    )
    .at(span)
    .label(Some(first), "first here")
    .help("remove one of the two".to_owned())
}

fn syntax_problem(text: &str, error: &Error) -> Problem {
    let error = error.without_snippet();
    let (code, message, help) = explain(error);
    let span = error_span(text, error);
    let in_braces = span.filter(|span| is_in_variable(text, *span));
    let help = in_braces.map_or(help, |_| {
        Some("inside `[]` and `{}`, put `${NAME}` in quotes")
    });
    Problem::error(code, message)
        .at(span)
        .help(help.map(str::to_owned))
}

/// Whether YAML stumbled over the braces of `${NAME}`, which it takes for a mapping there.
fn is_in_variable(text: &str, span: Span) -> bool {
    let line_start = text[..span.start]
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    let before = &text[line_start..span.start];
    let unclosed = before
        .rfind("${")
        .is_some_and(|at| !before[at..].contains('}'));
    unclosed || before.ends_with('$') || before.ends_with("${")
}

fn explain(error: &Error) -> (&'static str, String, Option<&'static str>) {
    match error {
        Error::MultipleDocuments { .. } => (
            "several_documents",
            "there is more than one YAML document in the file".to_owned(),
            Some("remove the `---` line and what belongs to the other document"),
        ),
        _ if is_limit(error) => (
            "too_large",
            "the file is larger, deeper or expands to more than is accepted".to_owned(),
            Some("nesting, aliases and the number of values are bounded"),
        ),
        Error::NullIntoString { .. } => (
            "invalid_yaml",
            "a key must be a text, found nothing".to_owned(),
            Some("give the key a name, or put `~` in quotes"),
        ),
        _ => ("invalid_yaml", message(error), syntax_hint(&message(error))),
    }
}

/// Whether a bound stopped the reader. Some bounds arrive wrapped, so the words count as well.
fn is_limit(error: &Error) -> bool {
    matches!(error, Error::Budget { .. }) || error.to_string().contains("limit exceeded")
}

/// The reader's message without the place, which is shown otherwise.
fn message(error: &Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}

fn syntax_hint(message: &str) -> Option<&'static str> {
    let hints = [
        ("tabs disallowed", "indent with spaces"),
        (
            "mapping values are not allowed",
            "put a text that contains `: ` in quotes",
        ),
        (
            "did not find expected ',' or",
            "put a text that contains `{`, `}`, `[`, `]` or `,` in quotes",
        ),
        ("unclosed quote", "close the quote on the same line"),
        (
            "mismatched bracket",
            "close it with the bracket of its own kind",
        ),
        (
            "invalid indentation in multiline quoted",
            "close the quote on the same line",
        ),
        ("unclosed bracket", "close the bracket"),
        (
            "unknown anchor",
            "define the anchor (`&name`) before its alias (`*name`)",
        ),
        ("expected string scalar", "keys must be plain texts"),
    ];
    hints
        .into_iter()
        .find_map(|(part, hint)| message.contains(part).then_some(hint))
}

/// Some of the reader's errors count characters only.
fn error_span(text: &str, error: &Error) -> Option<Span> {
    let span = error.location()?.span();
    let start = match span.byte_offset() {
        Some(bytes) => usize::try_from(bytes).ok()?,
        None => byte_offset(text, usize::try_from(span.offset()).ok()?),
    };
    Some(
        Span {
            start,
            len: usize::try_from(span.len()).ok()?,
        }
        .within(text),
    )
}

fn byte_offset(text: &str, characters: usize) -> usize {
    text.char_indices()
        .nth(characters)
        .map_or(text.len(), |(offset, _)| offset)
}
