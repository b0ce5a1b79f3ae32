//! Writing YAML: just enough for a resolved configuration. Block style, one key a line; texts are
//! always in quotes, so that no reader can take them for something else.

use std::borrow::Cow;

/// A value to be written.
#[derive(Clone, Debug)]
pub(crate) enum Doc<'a> {
    /// Written as it is: numbers, words, values with units.
    Plain(Cow<'a, str>),
    /// Written in quotes.
    Text(Cow<'a, str>),
    List(Vec<Doc<'a>>),
    Map(Vec<(Cow<'a, str>, Doc<'a>)>),
}

impl<'a> Doc<'a> {
    pub(crate) fn plain(value: impl ToString) -> Self {
        Self::Plain(value.to_string().into())
    }

    /// The same of what need not be copied.
    pub(crate) fn word(value: &'a str) -> Self {
        Self::Plain(value.into())
    }

    pub(crate) fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string().into())
    }

    /// The same of what need not be copied.
    pub(crate) fn quote(value: &'a str) -> Self {
        Self::Text(value.into())
    }

    /// A mapping; keys without a value are left out.
    pub(crate) fn map<const N: usize>(entries: [(&'a str, Option<Doc<'a>>); N]) -> Self {
        let given = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key.into(), value?)));
        let mut all = Vec::with_capacity(N);
        all.extend(given);
        Self::Map(all)
    }
}

/// The document as YAML, with a newline at its end.
pub(crate) fn yaml(doc: &Doc<'_>) -> String {
    let mut out = String::new();
    write_block(&mut out, doc, 0);
    out
}

/// Goes on with a list below a key of its own. One item at a time, because a list may be so long that
/// it is not to be held as a document as well.
pub(crate) fn append_list<'a>(out: &mut String, name: &str, items: impl Iterator<Item = Doc<'a>>) {
    let mut items = items.peekable();
    out.push_str(name);
    if items.peek().is_none() {
        return out.push_str(": []\n");
    }
    out.push_str(":\n");
    for item in items {
        indent(out, 1);
        write_item(out, &item, 1);
    }
}

/// Writes a value that starts on a line of its own.
fn write_block(out: &mut String, doc: &Doc<'_>, depth: usize) {
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

fn write_entry(out: &mut String, key: &str, value: &Doc<'_>, depth: usize) {
    write_key(out, key);
    out.push(':');
    if is_leaf(value) {
        out.push(' ');
        return write_leaf(out, value);
    }
    out.push('\n');
    write_block(out, value, depth + 1);
}

/// Mappings in lists start on the line of their dash.
fn write_item(out: &mut String, item: &Doc<'_>, depth: usize) {
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

fn is_leaf(doc: &Doc<'_>) -> bool {
    match doc {
        Doc::Plain(_) | Doc::Text(_) => true,
        Doc::Map(entries) => entries.is_empty(),
        Doc::List(items) => items
            .iter()
            .all(|item| matches!(item, Doc::Plain(_) | Doc::Text(_))),
    }
}

fn write_leaf(out: &mut String, doc: &Doc<'_>) {
    match doc {
        Doc::Map(_) => out.push_str("{}"),
        Doc::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_inline(out, item);
            }
            out.push(']');
        }
        scalar => write_inline(out, scalar),
    }
    out.push('\n');
}

fn write_inline(out: &mut String, doc: &Doc<'_>) {
    match doc {
        Doc::Text(text) => write_quoted(out, text),
        Doc::Plain(text) => out.push_str(text),
        Doc::List(_) | Doc::Map(_) => {}
    }
}

fn write_key(out: &mut String, key: &str) {
    let plain = key
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c));
    let starts = key.bytes().next().is_some_and(|c| c.is_ascii_alphabetic());
    let is_key = |word: &str| key.eq_ignore_ascii_case(word);
    if plain && starts && !["true", "false", "null"].into_iter().any(is_key) {
        out.push_str(key);
    } else {
        write_quoted(out, key);
    }
}

/// A text in double quotes; JSON's escapes are YAML's.
pub(crate) fn write_quoted(out: &mut String, text: &str) {
    let stays = |c: u8| matches!(c, b' '..=b'~') && c != b'"' && c != b'\\';
    if text.bytes().all(stays) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
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

    #[test]
    fn a_long_list_is_written_like_a_short_one() {
        let check = |items: Vec<Doc<'static>>| {
            let whole = yaml(&Doc::map([("l", Some(Doc::List(items.clone())))]));
            let mut out = String::new();
            append_list(&mut out, "l", items.into_iter());
            assert_eq!(out, whole);
        };
        check(vec![]);
        let map = |n| Doc::map([("a", Some(Doc::plain(n))), ("b", Some(Doc::word("c")))]);
        check(vec![map(1), map(2)]);
    }
}
