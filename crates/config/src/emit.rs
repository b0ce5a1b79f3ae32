//! Writing YAML: just enough for a resolved configuration. Block style, one key a line; texts are
//! always in quotes, so that no reader can take them for something else.

use std::fmt::Write;

/// A value to be written.
#[derive(Clone, Debug)]
pub(crate) enum Doc {
    /// Written as it is: numbers, words, values with units.
    Plain(String),
    /// Written in quotes.
    Text(String),
    List(Vec<Doc>),
    Map(Vec<(String, Doc)>),
}

impl Doc {
    pub(crate) fn plain(value: impl ToString) -> Self {
        Self::Plain(value.to_string())
    }

    pub(crate) fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    /// A mapping; keys without a value are left out.
    pub(crate) fn map<const N: usize>(entries: [(&str, Option<Doc>); N]) -> Self {
        let given = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Self::Map(given.collect())
    }
}

/// The document as YAML, with a newline at its end.
pub(crate) fn yaml(doc: &Doc) -> String {
    let mut out = String::new();
    write_block(&mut out, doc, 0);
    out
}

/// Writes a value that starts on a line of its own.
fn write_block(out: &mut String, doc: &Doc, depth: usize) {
    match doc {
        Doc::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                indent(out, depth);
                write_entry(out, key, value, depth);
            }
        }
        Doc::List(items) if !items.is_empty() => {
            for item in items {
                indent(out, depth);
                write_item(out, item, depth);
            }
        }
        leaf => {
            indent(out, depth);
            write_leaf(out, leaf);
        }
    }
}

fn write_entry(out: &mut String, key: &str, value: &Doc, depth: usize) {
    out.push_str(&self::key(key));
    out.push(':');
    if is_leaf(value) {
        out.push(' ');
        return write_leaf(out, value);
    }
    out.push('\n');
    write_block(out, value, depth + 1);
}

/// Mappings in lists start on the line of their dash.
fn write_item(out: &mut String, item: &Doc, depth: usize) {
    out.push_str("- ");
    match item {
        Doc::Map(entries) if !entries.is_empty() => {
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    indent(out, depth + 1);
                }
                write_entry(out, key, value, depth + 1);
            }
        }
        leaf => write_leaf(out, leaf),
    }
}

fn is_leaf(doc: &Doc) -> bool {
    match doc {
        Doc::Plain(_) | Doc::Text(_) => true,
        Doc::Map(entries) => entries.is_empty(),
        Doc::List(items) => items
            .iter()
            .all(|item| matches!(item, Doc::Plain(_) | Doc::Text(_))),
    }
}

fn write_leaf(out: &mut String, doc: &Doc) {
    let line = match doc {
        Doc::Plain(text) => text.clone(),
        Doc::Text(text) => quote(text),
        Doc::Map(_) => "{}".to_owned(),
        Doc::List(items) => format!(
            "[{}]",
            items.iter().map(inline).collect::<Vec<_>>().join(", ")
        ),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{line}");
}

fn inline(doc: &Doc) -> String {
    match doc {
        Doc::Text(text) => quote(text),
        Doc::Plain(text) => text.clone(),
        Doc::List(_) | Doc::Map(_) => String::new(),
    }
}

fn key(key: &str) -> String {
    let plain = key
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c));
    let starts = key.bytes().next().is_some_and(|c| c.is_ascii_alphabetic());
    let reserved = ["true", "false", "null"].contains(&key.to_ascii_lowercase().as_str());
    if plain && starts && !reserved {
        key.to_owned()
    } else {
        quote(key)
    }
}

/// A text in double quotes; JSON's escapes are YAML's.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_written_in_block_style() {
        let doc = Doc::map([
            ("a", Some(Doc::plain(1))),
            ("b", None),
            ("null", Some(Doc::text("x: \"y\"\n"))),
            ("c", Some(Doc::List(vec![Doc::plain(1), Doc::text("2")]))),
            (
                "d",
                Some(Doc::List(vec![Doc::map([
                    ("e", Some(Doc::plain("5s"))),
                    ("f", Some(Doc::Map(vec![]))),
                ])])),
            ),
            ("g", Some(Doc::map([("h", Some(Doc::List(vec![])))]))),
        ]);
        let expected = "a: 1\n\"null\": \"x: \\\"y\\\"\\n\"\nc: [1, \"2\"]\nd:\n  - e: 5s\n    f: {}\ng:\n  h: []\n";
        assert_eq!(yaml(&doc), expected);
    }
}
