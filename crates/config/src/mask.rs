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
    /// compiled from. It loads again to the same plan in the same environment, and in any other to what
    /// the file means there: a value that only happens to be that of a variable stays as it is.
    pub(crate) fn resolved(&self, resolved: String, root: &Node<'_>) -> String {
        if self.is_empty() && !resolved.contains(START) {
            return resolved;
        }
        let Some(tree) = yaml::parse(&resolved).0 else {
            return self.hide(&resolved);
        };
        let mut edits = Vec::new();
        self.edit(&tree, Source::root(root), escaped, &mut edits);
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
                    let source = source.below(|source| self.item_of(source, item, index));
                    self.edit(item, source, escape, edits);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    let source = source.below(|source| entry_of(source, &key.text));
                    // What is left there in `${}` is no variable.
                    let escape = match are_steps(&key.text, value) {
                        true => str::to_owned,
                        false => escape,
                    };
                    self.edit(value, source, escape, edits);
                }
            }
            Value::Scalar(text, kind) => {
                let shown = self.written((text, *kind), source, escape);
                if shown != *text {
                    edits.push((node, shown));
                }
            }
            Value::Null | Value::Broken => {}
        }
    }

    /// What an item of a list was made from. Lists of words may be sorted: there it is the item that says
    /// the same.
    fn item_of<'n>(
        &self,
        list: &'n Node<'n>,
        item: &Node<'_>,
        index: usize,
    ) -> Option<&'n Node<'n>> {
        let same = list.item(index);
        let (Value::Scalar(text, _), Value::List(items)) = (&item.value, &list.value) else {
            return same;
        };
        let says = |node: &&Node<'_>| match &node.value {
            Value::Scalar(other, _) => other == text || forms(other).any(|form| form == *text),
            _ => false,
        };
        same.filter(says)
            .or_else(|| items.iter().find(says))
            .or(same)
    }

    /// A scalar of the resolved configuration as it may be shown.
    fn written(
        &self,
        (text, kind): (&str, Kind),
        source: Source<'_>,
        escape: fn(&str) -> String,
    ) -> String {
        let hidden = source.made_from().and_then(|node| self.at(node.span));
        let is_its = |hidden: &&Hidden| forms(&hidden.expanded).any(|form| form == text);
        if let Some(hidden) = hidden.filter(is_its) {
            return hidden.written.clone();
        }
        if hidden.is_none() && !self.may_come_to(text, kind, source) {
            return escape(text);
        }
        let shown = self.shown.get(text).filter(|_| text.len() >= PART_MIN);
        match (shown, hidden, source.way) {
            (Some(shown), ..) => shown.clone(),
            (None, Some(hidden), Way::Same) => hidden.written.clone(),
            _ => self.hide(&escape(text)),
        }
    }

    /// Whether a value that no variable stands at may have one's value in it all the same. Quantities are
    /// made of what stands beside them at most, names of anything in their route, upstream or listener.
    fn may_come_to(&self, text: &str, kind: Kind, source: Source<'_>) -> bool {
        let node = source.node;
        match (source.way, &node.value) {
            (Way::Same | Way::Above, Value::Scalar(..)) => false,
            (Way::Same | Way::Above, _) => self.has_hidden(node),
            (Way::None, _) if source.depth == 0 => false,
            (Way::None, Value::Map(entries)) if kind != Kind::Text || is_quantity(text) => {
                let mut values = entries.iter().map(|(_, value)| value);
                values.any(|value| !value.is_map() && self.has_hidden(value))
            }
            (Way::None, _) => self.has_hidden(source.item),
        }
    }

    /// Whether a value from the environment stands there or below.
    fn has_hidden(&self, node: &Node<'_>) -> bool {
        match &node.value {
            Value::List(items) => items.iter().any(|item| self.has_hidden(item)),
            Value::Map(entries) => entries.iter().any(|(_, value)| self.has_hidden(value)),
            Value::Scalar(..) => {
                let hidden = self.at(node.span);
                hidden.is_some_and(|hidden| !hidden.values.is_empty())
            }
            Value::Null | Value::Broken => false,
        }
    }
}

/// What a value of the resolved configuration was made from.
#[derive(Clone, Copy)]
struct Source<'n> {
    way: Way,
    /// What it was made from; of a default the mapping that it would stand in, or the nearest above.
    node: &'n Node<'n>,
    /// The route, upstream, listener or region that this is in, once it is in one.
    item: &'n Node<'n>,
    /// How many steps `node` is below the root.
    depth: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The node stands at the same path.
    Same,
    /// The node is a scalar above, of which a mapping was made.
    Above,
    /// There is none: a default.
    None,
}

/// How deep routes, upstreams, listeners and regions are.
const ITEM_DEPTH: usize = 2;

impl<'n> Source<'n> {
    fn root(node: &'n Node<'n>) -> Self {
        Self {
            way: Way::Same,
            node,
            item: node,
            depth: 0,
        }
    }

    fn below(self, step: impl FnOnce(&'n Node<'n>) -> Option<&'n Node<'n>>) -> Self {
        if self.way != Way::Same {
            return self;
        }
        let way = match step(self.node) {
            Some(node) => {
                let depth = self.depth + 1;
                let item = if depth > ITEM_DEPTH { self.item } else { node };
                return Self {
                    node,
                    item,
                    depth,
                    ..self
                };
            }
            None if matches!(self.node.value, Value::Scalar(..)) => Way::Above,
            None => Way::None,
        };
        Self { way, ..self }
    }

    fn made_from(self) -> Option<&'n Node<'n>> {
        (self.way != Way::None).then_some(self.node)
    }
}

/// What stands under a key, which fields may have in capitals.
fn entry_of<'n>(node: &'n Node<'n>, name: &str) -> Option<&'n Node<'n>> {
    node.entry(name).or_else(|| {
        let Value::Map(entries) = &node.value else {
            return None;
        };
        let is_it = |key: &str| key.eq_ignore_ascii_case(name);
        let found = entries.iter().find(|(key, _)| is_it(&key.text));
        found.map(|(_, value)| value)
    })
}

/// Whether this is a number, a time, a size or a share, and so no text that somebody wrote.
fn is_quantity(text: &str) -> bool {
    text.parse::<f64>().is_ok()
        || units::duration(text).is_ok()
        || units::size(text).is_ok()
        || units::percent(text).is_ok()
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
