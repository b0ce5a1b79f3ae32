//! The tree, and how the YAML reader fills it. Scalars keep the text they were written as: units,
//! names and versions are judged by what stands in the file, not by what YAML makes of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::span::Span;

/// A value and its place. Block mappings and lists have a place of length 0 at their start.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) span: Span,
    pub(crate) value: Value<'a>,
}

/// What stands at a node.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Null,
    Scalar(Cow<'a, str>, Kind),
    List(Vec<Node<'a>>),
    Map(Vec<(Key<'a>, Node<'a>)>),
    /// What could not be made a value; that was reported.
    Broken,
}

/// What YAML takes a scalar for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Bool,
}

/// A key of a mapping and its place.
#[derive(Debug)]
pub(crate) struct Key<'a> {
    pub(crate) span: Span,
    pub(crate) text: Cow<'a, str>,
}

impl Value<'_> {
    /// The kind of value, as messages call it.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Null | Self::Broken => "nothing",
            Self::Scalar(_, Kind::Text) => "a text",
            Self::Scalar(_, Kind::Number) => "a number",
            Self::Scalar(_, Kind::Bool) => "true or false",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl<'a> Node<'a> {
    /// Whether there is nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Whether there is a mapping, empty or not.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    /// Whether another tree says the same, wherever it stands.
    pub(crate) fn means(&self, other: &Node<'_>) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) | (Value::Broken, Value::Broken) => true,
            (Value::Scalar(a, kind), Value::Scalar(b, other)) => a == b && kind == other,
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.means(b))
            }
            (Value::Map(a), Value::Map(b)) => {
                let same = |((a, x), (b, y)): (&(Key<'_>, Self), &(Key<'_>, Node<'_>))| {
                    a.text == b.text && x.means(y)
                };
                a.len() == b.len() && a.iter().zip(b).all(same)
            }
            _ => false,
        }
    }

    /// An item of a list.
    pub(crate) fn item(&self, index: usize) -> Option<&Self> {
        match &self.value {
            Value::List(items) => items.get(index),
            _ => None,
        }
    }

    /// The value of a key of a mapping.
    pub(crate) fn entry(&self, name: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let mut entries = entries.iter();
        let found = entries.find(|(key, _)| key.text == name);
        found.map(|(_, value)| value)
    }

    /// Moves every place by so many bytes.
    pub(crate) fn shift(&mut self, by: usize) {
        self.span.start += by;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.shift(by)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    key.span.start += by;
                    value.shift(by);
                }
            }
            Value::Null | Value::Scalar(..) | Value::Broken => {}
        }
    }

    /// How many values there are, this one included.
    pub(crate) fn nodes(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::nodes).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|(_, v)| v.nodes()).sum::<usize>(),
            Value::Null | Value::Scalar(..) | Value::Broken => 1,
        }
    }

    fn new(spanned: Spanned<Value<'a>>) -> Self {
        Self {
            span: span(spanned.defined),
            value: spanned.value,
        }
    }

    /// Gives numbers back the text they were written as (`1.20` is not `1.2`).
    pub(crate) fn restore_numbers(&mut self, source: &'a str) {
        match &mut self.value {
            Value::Scalar(text, Kind::Number) => {
                if let Some(written) = source.get(self.span.start..self.span.end()) {
                    *text = Cow::Borrowed(written.trim_matches(['"', '\'']));
                }
            }
            Value::List(items) => items
                .iter_mut()
                .for_each(|item| item.restore_numbers(source)),
            Value::Map(entries) => entries
                .iter_mut()
                .for_each(|(_, v)| v.restore_numbers(source)),
            Value::Null | Value::Scalar(..) | Value::Broken => {}
        }
    }
}

/// The bytes of a location; the start of the text when it has none.
fn span(location: Location) -> Span {
    let bytes = location.span();
    let number = |value: Option<u64>| value.and_then(|value| usize::try_from(value).ok());
    Span {
        start: number(bytes.byte_offset()).unwrap_or(0),
        len: number(bytes.byte_len()).unwrap_or(0),
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<Value<'de>>::deserialize(deserializer).map(Node::new)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Scalar(
            Cow::Borrowed(if value { "true" } else { "false" }),
            Kind::Bool,
        ))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Value::Scalar(Cow::Owned(value.to_string()), Kind::Number))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Value::Scalar(Cow::Owned(value.to_string()), Kind::Number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Value::Scalar(Cow::Owned(value.to_string()), Kind::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Value::Scalar(Cow::Owned(value.to_owned()), Kind::Text))
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(Value::Scalar(Cow::Owned(value), Kind::Text))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Scalar(Cow::Borrowed(value), Kind::Text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Node<'de>>()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key {
                span: span(key.defined),
                text: Cow::Owned(key.value),
            };
            entries.push((key, map.next_value::<Node<'de>>()?));
        }
        Ok(Value::Map(entries))
    }
}
