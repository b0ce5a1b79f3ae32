//! Quotes that change nothing: around plain names, which no reader of any version of YAML takes for
//! something else. All others stay.

use std::collections::BTreeMap;

use crate::span::Span;
use crate::yaml::{self, Kind, Node, Value, is_plain_text};

/// Words that some version of YAML takes for something else than a text.
const WORDS: [&str; 10] = [
    "y", "n", "yes", "no", "on", "off", "true", "false", "null", "none",
];

/// The text without needless quotes; none when it cannot be read.
pub(super) fn without_needless(text: &str) -> Option<String> {
    let (tree, problems) = yaml::parse(text);
    let tree = tree.filter(|_| problems.is_empty())?;
    let mut quoted = BTreeMap::new();
    find(text, &tree, &mut quoted);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end) in quoted {
        out.push_str(&text[done..start]);
        out.push_str(&text[start + 1..end - 1]);
        done = end;
    }
    Some(out + &text[done..])
}

/// Notes where scalars with needless quotes start and end; what aliases repeat is found once.
fn find(text: &str, node: &Node<'_>, quoted: &mut BTreeMap<usize, usize>) {
    let needless = |span: Span, value: &str| {
        let written = text.get(span.start..span.end()).unwrap_or_default();
        let inside = ['"', '\'']
            .iter()
            .find_map(|quote| written.strip_prefix(*quote)?.strip_suffix(*quote));
        (inside == Some(value) && is_name(value)).then_some((span.start, span.end()))
    };
    match &node.value {
        Value::Scalar(value, Kind::Text) => quoted.extend(needless(node.span, value)),
        Value::List(items) => items.iter().for_each(|item| find(text, item, quoted)),
        Value::Map(entries) => {
            for (key, value) in entries {
                quoted.extend(needless(key.span, &key.text));
                find(text, value, quoted);
            }
        }
        Value::Null | Value::Scalar(..) | Value::Broken => {}
    }
}

fn is_name(value: &str) -> bool {
    let is_part = |c: u8| c.is_ascii_alphanumeric() || b"_./-".contains(&c);
    let starts = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_word = WORDS.iter().any(|word| value.eq_ignore_ascii_case(word));
    starts && value.bytes().all(is_part) && !is_word && is_plain_text(value)
}
