//! Several trees to one. Mappings at the top are put together by key, lists one after the other,
//! and everything else may be said only once: no file silently overrules another.

use std::collections::HashMap;

use crate::problem::{Problem, quoted};
use crate::yaml::{Key, Node, Value};

type Pair<'a> = (Key<'a>, Node<'a>);

/// Puts what `other` says beside what `root` says. Both are mappings, or nothing happens. Of a key that
/// both have, the first stays, and the second is a problem that shows both.
pub(crate) fn merge<'a>(root: &mut Node<'a>, other: Node<'a>, problems: &mut Vec<Problem>) {
    if let (Value::Map(known), Value::Map(sections)) = (&mut root.value, other.value) {
        extend(known, sections, &mut |first, second| {
            put_together(first, second, problems);
        });
    }
}

/// Adds what is new; hands over what is not.
fn extend<'a>(
    known: &mut Vec<Pair<'a>>,
    more: Vec<Pair<'a>>,
    twice: &mut dyn FnMut(&mut Pair<'a>, Pair<'a>),
) {
    let names = known.iter().enumerate();
    let places: HashMap<String, usize> = names
        .map(|(at, (key, _))| (key.text.to_string(), at))
        .collect();
    for entry in more {
        match places.get(entry.0.text.as_ref()) {
            Some(at) => twice(&mut known[*at], entry),
            None => known.push(entry),
        }
    }
}

/// One section of two files.
fn put_together<'a>(first: &mut Pair<'a>, (key, section): Pair<'a>, problems: &mut Vec<Problem>) {
    match (&mut first.1.value, section.value) {
        (Value::List(items), Value::List(more)) => items.extend(more),
        (Value::Map(entries), Value::Map(more)) => {
            extend(entries, more, &mut |first, second| {
                problems.push(twice(&second.0, &first.0));
            });
        }
        _ => problems.push(twice(&key, &first.0)),
    }
}

fn twice(key: &Key<'_>, first: &Key<'_>) -> Problem {
    let message = format!("the key {} stands in two files", quoted(&key.text));
    let help = "say it once; only lists, and mappings of different keys, are put together";
    Problem::error("duplicate_key", message)
        .at(key.span)
        .label(Some(first.span), "first here")
        .help(help.to_owned())
}
