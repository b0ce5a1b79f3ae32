//! What can be had of a text that YAML refuses as a whole: each section at the top by itself. One
//! unclosed quote then hides the section that it stands in, not the file.
//!
//! Only sections that are certainly what they look like count: known, there once, and read without a
//! problem of syntax. What else is wrong with the syntax is not told, because the first mistake may
//! have made it look wrong.

use std::collections::{BTreeSet, HashMap};

use crate::problem::Problem;
use crate::span::Span;
use crate::yaml::node::{Node, Value};
use crate::yaml::parse::parse;

/// The sections that could be read.
pub(crate) struct Pieces<'a> {
    /// A mapping of them, in the order of the text.
    pub(crate) root: Node<'a>,
    /// Their names.
    pub(crate) names: BTreeSet<String>,
    /// What is wrong in them: keys that are there twice.
    pub(crate) problems: Vec<Problem>,
    /// What keeps the first section that could not be read from being one.
    pub(crate) broken: Option<Problem>,
}

/// The sections of `text`, which is broken, of which `known` can be told apart. None when there is no
/// such, or when what is left out mentions `never_lost`.
pub(crate) fn pieces<'a>(text: &'a str, known: &[&str], never_lost: &str) -> Option<Pieces<'a>> {
    let starts = starts(text)?;
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (_, name) in &starts {
        *counts.entry(name).or_default() += 1;
    }
    let mut pieces = Pieces {
        root: Node {
            span: Span::default(),
            value: Value::Null,
        },
        names: BTreeSet::new(),
        problems: Vec::new(),
        broken: None,
    };
    let mut entries = Vec::new();
    let mut rest = text[..starts.first()?.0].to_owned();
    for (at, (start, name)) in starts.iter().enumerate() {
        let end = starts.get(at + 1).map_or(text.len(), |(next, _)| *next);
        let wanted = known.contains(name) && counts[name] == 1;
        let part = &text[*start..end];
        let read = match wanted {
            true => piece(part, name),
            false => Err(None),
        };
        match read {
            Err(why) => {
                rest.push_str(part);
                let why = why.map(|mut problem| {
                    problem.shift(*start);
                    *problem
                });
                pieces.broken = pieces.broken.take().or(why);
            }
            Ok((mut root, mut problems)) => {
                root.shift(*start);
                problems.iter_mut().for_each(|one| one.shift(*start));
                pieces.problems.append(&mut problems);
                pieces.names.insert((*name).to_owned());
                if let Value::Map(section) = root.value {
                    entries.extend(section);
                }
            }
        }
    }
    pieces.root.value = Value::Map(entries);
    (!pieces.names.is_empty() && !rest.contains(never_lost)).then_some(pieces)
}

/// A section by itself: a mapping of just this key, with a value; or why YAML refuses it, if it does.
fn piece<'a>(text: &'a str, name: &str) -> Result<(Node<'a>, Vec<Problem>), Option<Box<Problem>>> {
    let (root, mut problems) = parse(text);
    let Some(root) = root else {
        return Err(problems.pop().map(Box::new));
    };
    let is_it = match &root.value {
        Value::Map(entries) => match &entries[..] {
            [(key, value)] => key.text == name && !value.is_empty(),
            _ => false,
        },
        _ => false,
    };
    is_it.then_some((root, problems)).ok_or(None)
}

/// Where each key stands that starts a line; none when there are several documents, of which nobody
/// knows which one is meant.
fn starts(text: &str) -> Option<Vec<(usize, &str)>> {
    let mut starts = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if !starts.is_empty() && (line.starts_with("---") || line.starts_with("...")) {
            return None;
        }
        starts.extend(key(line).map(|key| (offset, key)));
        offset += line.len();
    }
    Some(starts)
}

/// The plain key that starts a line.
fn key(line: &str) -> Option<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let (key, rest) = line.split_at(line.find(|c| !word(c))?);
    let rest = rest.strip_prefix(':')?;
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic());
    (plain && (rest.is_empty() || rest.starts_with(char::is_whitespace))).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quote that is not closed goes on into the next section, which is not to blame.
    #[test]
    fn the_section_that_is_broken_is_blamed() {
        let text = "pop: {}\nroutes: [\"a]\nregions: { \"b\": {} }\n";
        let pieces = pieces(text, &["pop", "regions", "routes"], "include").unwrap();
        let span = pieces.broken.unwrap().span.unwrap();
        assert_eq!(span.position(text).line, 2);
    }

    #[test]
    fn what_is_read_by_itself_is_what_it_looks_like() {
        let known = ["regions", "routes", "pop", "include"];
        let check = |text: &str, expected: &[&str]| {
            let found = pieces(text, &known, "include").map(|pieces| pieces.names);
            let expected = expected.iter().map(|name| (*name).to_owned());
            assert_eq!(found.unwrap_or_default(), expected.collect(), "{text:?}");
        };
        check("regions: { a: {} }\nroutes: [\n", &["regions"]);
        check(
            "routes: [\nregions: { a: {} }\npop: {}\n",
            &["pop", "regions"],
        );
        check("routes: \"x\npop: { name: a }\n", &["pop"]);
        check("---\npop: {}\nroutes: [\n", &["pop"]);
        check("\tx\npop: {}\n", &["pop"]);
        check("routes:\n- a: [\npop: {}\n", &["pop"]);
        // Many keys cost no more than as many lines.
        check(&"k: 1\n".repeat(200_000), &[]);
        // Nothing stands there, or it stands there twice.
        check("routes: [\npop:\n", &[]);
        check("pop: {}\nroutes: [\npop: {}\n", &[]);
        // Anchors of other sections, several documents, sections that are none.
        check("regions: &a [\npop: *a\n", &[]);
        check("pop: {}\n---\nroutes: [\n", &[]);
        check("other: {}\nroutes: [\n", &[]);
        check("pop: {}\nroutes: [\n include: x\n", &[]);
    }
}
