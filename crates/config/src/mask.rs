//! What came from the environment, so that it is used and never shown.
//!
//! Messages quote values wherever something is wrong with them, and the resolved configuration is made
//! from what was compiled. Instead of teaching every place of the compiler which of its values are
//! secret, everything that leaves it goes through here: a value from the environment becomes `${NAME}`
//! again. Where that cannot be done exactly (a message about a part of such a value), rather too much is
//! hidden than too little.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::emit;
use crate::environment::{START, are_steps, escaped};
use crate::problem::{Problem, quoted};
use crate::span::Span;
use crate::units;
use crate::yaml::{self, Kind, Node, Value};

/// A shorter value is hidden only where it is the whole of what is quoted: half of all words have an `a`.
const PART_MIN: usize = 4;

/// A scalar that has values from the environment.
#[derive(Clone, Debug)]
pub(crate) struct Hidden {
    pub(crate) span: Span,
    /// As it stands in the file: `https://${HOST}:8080`.
    pub(crate) written: String,
    pub(crate) expanded: String,
    /// The variables with what the environment gave; defaults stand in the file for all to see.
    pub(crate) values: Vec<(String, String)>,
}

/// Every scalar of a configuration that has values from the environment.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    scalars: Vec<Hidden>,
    /// Their indices by where they start.
    by_start: BTreeMap<usize, usize>,
    /// What is not to be seen, and what is shown for it.
    shown: BTreeMap<String, String>,
}

impl Masks {
    /// Whether nothing came from the environment.
    pub fn is_empty(&self) -> bool {
        self.scalars.is_empty()
    }

    /// The text with `${NAME}` wherever it has a value from the environment.
    pub fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // The longest first: a value may be a part of another.
        let mut needles: Vec<_> = self.shown.iter().collect();
        needles.sort_by_key(|(needle, _)| std::cmp::Reverse(needle.len()));
        for (needle, shown) in needles {
            if needle.len() < PART_MIN {
                text = text.replace(&format!("`{needle}`"), &format!("`{shown}`"));
            } else if text.contains(needle.as_str()) {
                text = replace_words(&text, needle, shown);
            }
        }
        text
    }

    pub(crate) fn add(&mut self, hidden: Hidden) {
        if !hidden.values.is_empty() {
            for form in forms(&hidden.expanded) {
                let shown = || hidden.written.clone();
                self.shown.entry(form).or_insert_with(shown);
            }
        }
        for (name, value) in &hidden.values {
            for form in forms(value) {
                let shown = || format!("{START}{name}}}");
                self.shown.entry(form).or_insert_with(shown);
            }
        }
        self.by_start.insert(hidden.span.start, self.scalars.len());
        self.scalars.push(hidden);
    }

    /// Hides values in everything that a problem says.
    pub(crate) fn hide_in(&self, problem: &mut Problem) {
        if self.is_empty() {
            return;
        }
        let labels = problem.related.iter().map(|label| label.span);
        let spans: Vec<Span> = problem.span.into_iter().chain(labels).collect();
        let here: Vec<&Hidden> = spans.iter().filter_map(|span| self.at(*span)).collect();
        let hide = |text: &mut String| *text = self.hide_here(text, &here);
        hide(&mut problem.message);
        problem.help.iter_mut().for_each(hide);
        for label in &mut problem.related {
            label.text = self.hide_here(&label.text, &here);
        }
    }

    /// The scalar that a place is in.
    fn at(&self, span: Span) -> Option<&Hidden> {
        let (_, index) = self.by_start.range(..=span.start).next_back()?;
        let hidden = &self.scalars[*index];
        (span.start < hidden.span.end()).then_some(hidden)
    }

    /// The same for a text about some of the scalars, which may quote parts of them.
    fn hide_here(&self, text: &str, here: &[&Hidden]) -> String {
        let mut text = self.hide(text);
        for hidden in here.iter().filter(|hidden| !hidden.values.is_empty()) {
            for form in forms(&hidden.expanded) {
                text = replace_words(&text, &form, &hidden.written);
            }
            text = hide_parts(&text, hidden);
        }
        text
    }

    /// A resolved configuration with variables as they were written. `root` is the tree that it was
    /// compiled from. It loads again to the same plan in the same environment.
    pub(crate) fn resolved(&self, resolved: String, root: &Node<'_>) -> String {
        if self.is_empty() && !resolved.contains(START) {
            return resolved;
        }
        let Some(tree) = yaml::parse(&resolved).0 else {
            return self.hide(&resolved);
        };
        let mut edits = Vec::new();
        self.edit(&tree, Source::Same(root), escaped, &mut edits);
        applied(&resolved, &edits, |node| self.is_bool(node))
    }

    fn is_bool(&self, node: &Node<'_>) -> bool {
        matches!(node.value, Value::Scalar(_, Kind::Bool))
    }

    fn edit<'n, 'a>(
        &self,
        node: &'n Node<'a>,
        source: Source<'_>,
        escape: fn(&str) -> String,
        edits: &mut Vec<(&'n Node<'a>, String)>,
    ) {
        match &node.value {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let source = source.below(|source| source.item(index));
                    self.edit(item, source, escape, edits);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    let source = source.below(|source| source.entry(&key.text));
                    // What is left there in `${}` is no variable.
                    let escape = match are_steps(&key.text, value) {
                        true => str::to_owned,
                        false => escape,
                    };
                    self.edit(value, source, escape, edits);
                }
            }
            Value::Scalar(text, _) => {
                let shown = self.written(text, source, escape);
                if shown != *text {
                    edits.push((node, shown));
                }
            }
            Value::Null | Value::Broken => {}
        }
    }

    /// A scalar of the resolved configuration as it may be shown.
    fn written(&self, text: &str, source: Source<'_>, escape: fn(&str) -> String) -> String {
        let hidden = source.node().and_then(|node| self.at(node.span));
        let is_its = |hidden: &&Hidden| forms(&hidden.expanded).any(|form| form == text);
        if let Some(hidden) = hidden.filter(is_its) {
            return hidden.written.clone();
        }
        let shown = self.shown.get(text).filter(|_| text.len() >= PART_MIN);
        match (shown, hidden, source) {
            (_, None, Source::Same(node)) if is_scalar(node, text) => escape(text),
            (Some(shown), ..) => shown.clone(),
            (None, Some(hidden), Source::Same(_)) => hidden.written.clone(),
            _ => self.hide(&escape(text)),
        }
    }
}

/// What a value of the resolved configuration was made from.
#[derive(Clone, Copy)]
enum Source<'n> {
    /// What stands at the same path.
    Same(&'n Node<'n>),
    /// A scalar above, of which a mapping was made.
    Above(&'n Node<'n>),
    /// Nothing: a default.
    None,
}

impl<'n> Source<'n> {
    fn below(self, step: impl FnOnce(&'n Node<'n>) -> Option<&'n Node<'n>>) -> Self {
        let Self::Same(node) = self else {
            return self;
        };
        match step(node) {
            Some(below) => Self::Same(below),
            None if matches!(node.value, Value::Scalar(..)) => Self::Above(node),
            None => Self::None,
        }
    }

    fn node(self) -> Option<&'n Node<'n>> {
        match self {
            Self::Same(node) | Self::Above(node) => Some(node),
            Self::None => None,
        }
    }
}

fn is_scalar(node: &Node<'_>, expected: &str) -> bool {
    matches!(&node.value, Value::Scalar(text, _) if text == expected)
}

/// What a value may look like where it is shown: as it is, as messages quote it, and as what it means.
fn forms(value: &str) -> impl Iterator<Item = String> {
    let number = |n: f64| n.to_string();
    let all = [
        Some(value.to_owned()),
        Some(quoted(value).trim_matches('`').to_owned()).filter(|_| !value.is_empty()),
        Some(value.to_lowercase()),
        value.parse().ok().map(number),
        units::duration(value).ok().map(units::show_duration),
        units::size(value).ok().map(units::show_size),
        units::percent(value).ok().map(units::show_percent),
    ];
    all.into_iter().flatten().filter(|form| !form.is_empty())
}

/// Replaces `needle` wherever it is not a part of a longer word.
fn replace_words(text: &str, needle: &str, shown: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(at) = rest.find(needle) {
        let end = at + needle.len();
        let left = rest[..at].chars().next_back().or(before);
        let is_word = is_boundary(left, needle.chars().next())
            && is_boundary(needle.chars().next_back(), rest[end..].chars().next());
        out.push_str(&rest[..at]);
        out.push_str(if is_word { shown } else { needle });
        before = needle.chars().next_back();
        rest = &rest[end..];
    }
    out + rest
}

fn is_boundary(left: Option<char>, right: Option<char>) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !(is_word(left) && is_word(right))
}

/// Hides what messages quote of a scalar: whatever stands in backticks and is a part of a value or holds
/// one, and longer parts anywhere.
fn hide_parts(text: &str, hidden: &Hidden) -> String {
    let mut text = text.to_owned();
    for (name, value) in hidden.values.iter().filter(|(_, value)| !value.is_empty()) {
        let shown = format!("{START}{name}}}");
        let pieces = text.split('`').enumerate().map(|(index, piece)| {
            let token = piece.trim_end_matches("...");
            let is_quoted = index % 2 == 1 && !token.is_empty();
            match piece.contains(&shown) {
                true => piece.to_owned(),
                false if is_quoted && value.contains(token) => shown.clone(),
                false if is_quoted => without_parts(&piece.replace(value, &shown), value, &shown),
                false => without_parts(piece, value, &shown),
            }
        });
        text = pieces.collect::<Vec<_>>().join("`");
    }
    text
}

/// Replaces every run of characters of at least [`PART_MIN`] that is a part of a value.
fn without_parts(text: &str, value: &str, shown: &str) -> String {
    let has = |part: &str| value.contains(part);
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
        let longest = ends.take_while(|end| has(&rest[..*end])).last();
        match longest.filter(|end| *end >= PART_MIN && has_letters(&rest[..*end])) {
            Some(end) => {
                out.push_str(shown);
                rest = &rest[end..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// Whether more than spaces and marks are in it.
fn has_letters(text: &str) -> bool {
    text.chars().filter(|c| c.is_alphanumeric()).count() >= PART_MIN - 1
}

/// The text with some of its scalars replaced.
fn applied(
    text: &str,
    edits: &[(&Node<'_>, String)],
    is_plain: impl Fn(&Node<'_>) -> bool,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (node, shown) in edits {
        let range: Range<usize> = node.span.start..node.span.end();
        out.push_str(&text[done..range.start]);
        match is_plain(node) {
            true => out.push_str(shown),
            false => emit::write_quoted(&mut out, shown),
        }
        done = range.end;
    }
    out + &text[done..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(written: &str, expanded: &str, values: &[(&str, &str)]) -> Masks {
        let owned = |(name, value): &(&str, &str)| (String::from(*name), String::from(*value));
        let mut masks = Masks::default();
        masks.add(Hidden {
            span: Span { start: 7, len: 3 },
            written: written.to_owned(),
            expanded: expanded.to_owned(),
            values: values.iter().map(owned).collect(),
        });
        masks
    }

    #[test]
    fn values_are_hidden_as_whole_words() {
        let masks = masks("http://${HOST}", "http://secret", &[("HOST", "secret")]);
        let check = |text: &str, expected: &str| assert_eq!(masks.hide(text), expected);
        check("`http://secret` is none", "`http://${HOST}` is none");
        check("`secret`: too short", "`${HOST}`: too short");
        check("/base/secret/x", "/base/${HOST}/x");
        check("secretary", "secretary");
    }

    #[test]
    fn short_values_are_hidden_where_they_are_quoted() {
        let masks = masks("${N}", "5", &[("N", "5")]);
        let check = |text: &str, expected: &str| assert_eq!(masks.hide(text), expected);
        check(
            "`5`: no unit; from `5ms` to 5",
            "`${N}`: no unit; from `5ms` to 5",
        );
    }

    #[test]
    fn problems_at_a_scalar_show_no_part_of_it() {
        let masks = masks(
            "${URL}",
            "ftp://user:pass@host:99",
            &[("URL", "ftp://user:pass@host:99")],
        );
        let span = Span { start: 7, len: 3 };
        let check = |message: &str, expected: &str| {
            let mut problem = Problem::error("x_y", message).at(span);
            masks.hide_in(&mut problem);
            assert_eq!(problem.message, expected);
        };
        check("unknown scheme `ftp`", "unknown scheme `${URL}`");
        check("user:pass has no place", "${URL} has no place");
        check("`ftp://user:p...` is long", "`${URL}` is long");
    }

    #[test]
    fn what_a_number_means_is_hidden_as_well() {
        let masks = masks("${N}", "7e4", &[("N", "7e4")]);
        let mut problem =
            Problem::error("x_y", "70000 is out of range").at(Span { start: 7, len: 3 });
        masks.hide_in(&mut problem);
        assert_eq!(problem.message, "${N} is out of range");
    }
}
