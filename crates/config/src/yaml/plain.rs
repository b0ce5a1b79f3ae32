//! The fast way through the YAML that almost every configuration is written in: block and flow
//! collections, plain and quoted scalars without escapes, comments.
//!
//! A file with 10,000 routes is read ten times faster than by the full reader. There is one judge of
//! what YAML means, and this is not it: whatever is rare, doubtful or wrong (anchors, tags, escapes,
//! scalars over several lines, duplicate keys, tabs, any error) makes it give up, and the full reader
//! takes the whole text. What it does accept is the tree that the full reader would give, places
//! included; tests hold the two together.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::span::Span;
use crate::yaml::node::{Key, Kind, Node, Value};

/// Half of what the full reader accepts, so that its bounds are never passed here.
const TEXT_BYTES_MAX: usize = 32 * 1024 * 1024;
const NODES_MAX: usize = 4_000_000;
const DEPTH_MAX: usize = 16;

/// Longer keys may not be keys (YAML 1.2.2, section 7.4).
const KEY_BYTES_MAX: usize = 256;

/// Mappings with more keys are checked for duplicates by hash.
const FEW_KEYS: usize = 16;

/// The tree of `text`; `None` when the full reader has to read it.
pub(crate) fn parse(text: &str) -> Option<Node<'_>> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut reader = Reader {
        text,
        at: 0,
        indent: None,
        nodes: 0,
    };
    reader.next_line()?;
    let root = reader.mapping(reader.indent?, 0)?;
    reader.indent.is_none().then_some(root)
}

struct Reader<'a> {
    text: &'a str,
    /// Where reading goes on: between lines, at the first character that is not a space.
    at: usize,
    /// Between lines: how far the next one with content is indented; `None` at the end.
    indent: Option<usize>,
    nodes: usize,
}

/// Where an inline value stands, for where it may end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Block,
    Flow,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// From the start of a line to the next content.
    fn next_line(&mut self) -> Option<()> {
        loop {
            let start = self.at;
            self.skip_spaces();
            match self.peek() {
                None => {
                    self.indent = None;
                    return Some(());
                }
                Some(b'\n') => self.at += 1,
                Some(b'#') => self.skip_comment()?,
                Some(_) => {
                    self.indent = Some(self.at - start);
                    return Some(());
                }
            }
        }
    }

    /// To the start of the next line.
    fn skip_comment(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let len = rest.find('\n').unwrap_or(rest.len());
        let usual = |c: char| matches!(c, ' '..='~') || (!c.is_ascii() && c.is_alphanumeric());
        self.at = (self.at + len + 1).min(self.text.len());
        rest[..len].chars().all(usual).then_some(())
    }

    /// Over spaces and a comment to the next content. Nothing else may follow a value.
    fn end_line(&mut self) -> Option<()> {
        let value_end = self.at;
        self.skip_spaces();
        match self.peek() {
            None => {}
            Some(b'\n') => self.at += 1,
            Some(b'#') if self.at > value_end => self.skip_comment()?,
            Some(_) => return None,
        }
        self.next_line()
    }

    /// Whether the line ends here, but for a comment.
    fn at_end_of_line(&self) -> bool {
        matches!(self.peek(), None | Some(b'\n' | b'#'))
    }

    fn at_dash(&self) -> bool {
        let rest = &self.text.as_bytes()[self.at..];
        rest.first() == Some(&b'-') && matches!(rest.get(1), None | Some(b' ' | b'\n'))
    }

    fn node(&mut self, start: usize, len: usize, value: Value<'a>) -> Option<Node<'a>> {
        self.nodes += 1;
        let span = Span { start, len };
        (self.nodes < NODES_MAX).then_some(Node { span, value })
    }

    /// A collection that starts here, this far from the margin.
    fn block(&mut self, column: usize, depth: usize) -> Option<Node<'a>> {
        match self.at_dash() {
            true => self.list(column, depth),
            false => self.mapping(column, depth),
        }
    }

    /// A list that is not indented further than its key. To the full reader it starts with its first
    /// item, if that is on the line of the dash.
    fn list_at_key(&mut self, column: usize, depth: usize) -> Option<Node<'a>> {
        let dash = self.at;
        let mut list = self.list(column, depth)?;
        if let Value::List(items) = &list.value {
            list.span.start = items.first()?.span.start;
        }
        let same_line = !self.text[dash..list.span.start].contains('\n');
        same_line.then_some(list)
    }

    fn mapping(&mut self, column: usize, depth: usize) -> Option<Node<'a>> {
        let start = self.at;
        let mut entries = Vec::new();
        loop {
            let key = self.key()?;
            if !self.at_end_of_line() && self.peek()? != b' ' {
                return None;
            }
            self.skip_spaces();
            let value = match self.at_end_of_line() {
                true => self.below_key(column, depth),
                false => self.inline(column, depth),
            };
            entries.push((key, value?));
            if self.indent != Some(column) || self.at_dash() {
                break;
            }
        }
        self.end_block(column)?;
        are_unique(&entries).then(|| self.node(start, 0, Value::Map(entries)))?
    }

    fn list(&mut self, column: usize, depth: usize) -> Option<Node<'a>> {
        let start = self.at;
        let mut items = Vec::new();
        loop {
            let dash = self.at;
            self.at += 1;
            self.skip_spaces();
            let item = if self.at_end_of_line() {
                self.end_line()?;
                let below = self.indent.filter(|indent| *indent > column)?;
                self.block(below, deeper(depth)?)
            } else if self.starts_key() {
                self.mapping(column + self.at - dash, deeper(depth)?)
            } else {
                self.inline(column, depth)
            };
            items.push(item?);
            if self.indent != Some(column) || !self.at_dash() {
                break;
            }
        }
        self.end_block(column)?;
        self.node(start, 0, Value::List(items))
    }

    /// What is indented further than a block that has ended continues something: not here.
    fn end_block(&self, column: usize) -> Option<()> {
        self.indent
            .is_none_or(|indent| indent <= column)
            .then_some(())
    }

    /// The value of a key that stands alone on its line. A list need not be indented further.
    fn below_key(&mut self, column: usize, depth: usize) -> Option<Node<'a>> {
        self.end_line()?;
        let (below, depth) = (self.indent?, deeper(depth)?);
        if below > column {
            return self.block(below, depth);
        }
        let is_list = below == column && self.at_dash();
        is_list.then(|| self.list_at_key(column, depth))?
    }

    /// A value on this line, up to the next content.
    fn inline(&mut self, column: usize, depth: usize) -> Option<Node<'a>> {
        let node = self.value(Within::Block, column, depth)?;
        self.end_line()?;
        self.end_block(column)?;
        Some(node)
    }

    fn value(&mut self, within: Within, column: usize, depth: usize) -> Option<Node<'a>> {
        match self.peek()? {
            b'{' => self.flow_mapping(column, deeper(depth)?),
            b'[' => self.flow_list(column, deeper(depth)?),
            quote @ (b'"' | b'\'') => self.quoted(quote),
            _ => self.plain(within),
        }
    }

    fn flow_mapping(&mut self, column: usize, depth: usize) -> Option<Node<'a>> {
        let start = self.at;
        self.at += 1;
        let mut entries = Vec::new();
        self.skip_flow_space(column)?;
        while self.peek()? != b'}' {
            if !entries.is_empty() {
                self.take(b',')?;
                self.skip_flow_space(column)?;
            }
            let key = self.key()?;
            self.take(b' ')?;
            self.skip_flow_space(column)?;
            entries.push((key, self.value(Within::Flow, column, depth)?));
            self.skip_flow_space(column)?;
        }
        self.at += 1;
        let value = are_unique(&entries).then_some(Value::Map(entries))?;
        self.node(start, 1, value)
    }

    fn flow_list(&mut self, column: usize, depth: usize) -> Option<Node<'a>> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        self.skip_flow_space(column)?;
        while self.peek()? != b']' {
            if !items.is_empty() {
                self.take(b',')?;
                self.skip_flow_space(column)?;
            }
            items.push(self.value(Within::Flow, column, depth)?);
            self.skip_flow_space(column)?;
        }
        self.at += 1;
        self.node(start, 1, Value::List(items))
    }

    /// Over spaces, ends of lines and comments inside a flow collection, whose lines have to be
    /// indented further than the block around it.
    fn skip_flow_space(&mut self, column: usize) -> Option<()> {
        self.skip_spaces();
        if !self.at_end_of_line() {
            return Some(());
        }
        let after_space = self.text[..self.at].ends_with(' ');
        if self.peek()? == b'#' && !after_space {
            return None;
        }
        self.end_line_of_flow()?;
        self.indent
            .is_some_and(|indent| indent > column)
            .then_some(())
    }

    fn end_line_of_flow(&mut self) -> Option<()> {
        match self.peek()? {
            b'#' => self.skip_comment()?,
            _ => self.at += 1,
        }
        self.next_line()
    }

    /// A key and its colon.
    fn key(&mut self) -> Option<Key<'a>> {
        let start = self.at;
        let len = self.key_len()?;
        let text = &self.text[start..start + len];
        self.nodes += 1;
        self.at += len;
        self.take(b':')?;
        (kind(text)? == Kind::Text).then_some(Key {
            span: Span { start, len },
            text: Cow::Borrowed(text),
        })
    }

    fn starts_key(&self) -> bool {
        let colon = self.key_len().map(|len| self.at + len);
        colon.is_some_and(|colon| {
            matches!(
                self.text.as_bytes()[colon..],
                [b':'] | [b':', b' ' | b'\n', ..]
            )
        })
    }

    /// How long the name is that starts here.
    fn key_len(&self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_name = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        let len = rest.iter().take_while(|c| is_name(c)).count();
        let starts = rest.first()?.is_ascii_alphabetic();
        (starts && len <= KEY_BYTES_MAX).then_some(len)
    }

    fn quoted(&mut self, quote: u8) -> Option<Node<'a>> {
        let start = self.at;
        let rest = &self.text.as_bytes()[start + 1..];
        let usual = |c: &u8| matches!(c, b' '..=b'~') && *c != quote && *c != b'\\';
        let len = rest.iter().take_while(|c| usual(c)).count();
        self.at += 1 + len;
        self.take(quote)?;
        // Two single quotes are one inside; two scalars never touch.
        if self.peek() == Some(quote) {
            return None;
        }
        let text = Cow::Borrowed(&self.text[start + 1..start + 1 + len]);
        self.node(start, len + 2, Value::Scalar(text, Kind::Text))
    }

    fn plain(&mut self, within: Within) -> Option<Node<'a>> {
        let start = self.at;
        let len = self.plain_len(within)?;
        let text = self.text[start..start + len].trim_end_matches(' ');
        self.at += text.len();
        let kind = kind(text)?;
        self.node(start, text.len(), Value::Scalar(Cow::Borrowed(text), kind))
    }

    /// Up to the end of the line, a comment, or in a flow collection what ends a value there;
    /// spaces at its end included. Whoever comes next has to make sure that it does not go on.
    fn plain_len(&self, within: Within) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let mut before = b'-';
        for (len, &c) in rest.iter().enumerate() {
            match c {
                b'\n' => return Some(len),
                b'#' if before == b' ' => return Some(len),
                b',' | b']' | b'}' if within == Within::Flow => return Some(len),
                b'[' | b'{' if within == Within::Flow => return None,
                b':' if !rest.get(len + 1).is_some_and(|c| is_inside(*c)) => return None,
                b' '..=b'~' => before = c,
                _ => return None,
            }
        }
        Some(rest.len())
    }
}

/// Whether a colon before this is part of a plain scalar, wherever it stands.
fn is_inside(after_colon: u8) -> bool {
    !matches!(after_colon, b' ' | b'\n' | b',' | b'[' | b']' | b'{' | b'}')
}

fn deeper(depth: usize) -> Option<usize> {
    (depth < DEPTH_MAX).then_some(depth + 1)
}

fn are_unique(entries: &[(Key<'_>, Node<'_>)]) -> bool {
    let mut keys = entries.iter().map(|(key, _)| &key.text);
    match entries.len() > FEW_KEYS {
        true => {
            let mut seen = HashSet::with_capacity(entries.len());
            keys.all(|key| seen.insert(key))
        }
        false => keys.enumerate().all(|(at, key)| {
            let earlier = &entries[..at];
            earlier.iter().all(|(other, _)| other.text != *key)
        }),
    }
}

/// What a plain scalar is; `None` when it takes more than a glance to tell.
fn kind(text: &str) -> Option<Kind> {
    match text.as_bytes() {
        [b'a'..=b'z' | b'A'..=b'Z', ..] => word(text),
        [b'/' | b'$', ..] => Some(Kind::Text),
        [b'0'..=b'9', ..] => number(text),
        [b'-', rest @ ..] if rest.first()?.is_ascii_digit() => {
            number(&text[1..]).filter(|kind| *kind == Kind::Number)
        }
        _ => None,
    }
}

/// Whether a word without spaces and marks is a text without quotes.
pub(crate) fn is_plain_text(text: &str) -> bool {
    kind(text) == Some(Kind::Text)
}

fn word(text: &str) -> Option<Kind> {
    let doubtful = ["true", "false", "null", "nan", "inf", "infinity"];
    match text {
        "true" | "false" => Some(Kind::Bool),
        _ if doubtful.iter().any(|word| text.eq_ignore_ascii_case(word)) => None,
        _ => Some(Kind::Text),
    }
}

/// What starts with a digit: a number, or certainly none.
fn number(text: &str) -> Option<Kind> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let usual = whole == "0" || !whole.starts_with('0');
    // Letters of no base, and what an address or a range has.
    let is_text = |c: u8| matches!(c.to_ascii_lowercase(), b'g'..=b'm' | b'p'..=b'w' | b'%' | b'/');
    match digits(whole) && digits(fraction) {
        true if usual && text.len() <= 15 => Some(Kind::Number),
        true => None,
        false if text.bytes().any(is_text) => Some(Kind::Text),
        false if text.bytes().filter(|c| *c == b'.').count() > 1 => Some(Kind::Text),
        false => None,
    }
}

#[cfg(test)]
mod tests;
