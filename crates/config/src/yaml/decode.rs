//! The tree to raw types, by serde's derive. Unlike other deserializers this one goes on: an
//! unknown key, a value of the wrong type and a broken element are reported and left out.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

use crate::later;
use crate::misplaced;
use crate::problem::{Problem, quoted};
use crate::span::Span;
use crate::suggest;
use crate::yaml::error::DecodeError;
use crate::yaml::field::FIELD;
use crate::yaml::node::{Key, Kind, Node, Value};
use crate::yaml::word_or::WORD_OR;

/// Decodes a whole tree; the value's default with problems when the root itself is wrong.
pub(crate) fn decode<'de, T: Deserialize<'de> + Default>(root: &'de Node<'_>) -> (T, Vec<Problem>) {
    let sink = Sink::default();
    let value = T::deserialize(Decoder {
        node: root,
        sink: &sink,
    });
    let value = value.unwrap_or_else(|error| {
        sink.report(error.into_problem(root.span));
        T::default()
    });
    (value, sink.0.into_inner())
}

/// Where problems go while decoding continues.
#[derive(Default)]
struct Sink(RefCell<Vec<Problem>>);

impl Sink {
    fn report(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }
}

#[derive(Clone, Copy)]
struct Decoder<'de, 'a, 's> {
    node: &'de Node<'a>,
    sink: &'s Sink,
}

/// A hint for a mapping that is not there.
fn shape(known: &[&str]) -> String {
    let keys: Vec<String> = known.iter().take(4).map(|key| quoted(key)).collect();
    let more = if known.len() > keys.len() {
        ", ..."
    } else {
        ""
    };
    format!(
        "its keys are {}{more}; write `{{}}` for an empty one",
        keys.join(", ")
    )
}

impl<'de, 'a, 's> Decoder<'de, 'a, 's> {
    fn wrong(self, expected: &str) -> DecodeError {
        match &self.node.value {
            Value::Scalar(text, _) => DecodeError::wrong_type(expected, quoted(text)),
            other => DecodeError::wrong_type(expected, other.noun()),
        }
    }

    fn scalar(self, expected: &str) -> Result<&'de str, DecodeError> {
        match &self.node.value {
            Value::Scalar(text, _) => Ok(text),
            _ => Err(self.wrong(expected)),
        }
    }

    fn entries(self, expected: &str) -> Result<&'de [(Key<'a>, Node<'a>)], DecodeError> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.wrong(expected)),
        }
    }

    fn number<T: std::str::FromStr>(self, expected: &str) -> Result<T, DecodeError> {
        match &self.node.value {
            Value::Scalar(text, _) => text.parse().map_err(|_| self.wrong(expected)),
            _ => Err(self.wrong(expected)),
        }
    }

    fn report_unknown(self, key: &Key<'_>, known: &'static [&'static str]) {
        let help = later::hint(&key.text)
            .or_else(|| misplaced::hint(&key.text, known))
            .unwrap_or_else(|| suggest::one_of(&key.text, known.iter().copied()));
        let message = format!("unknown key {}", quoted(&key.text));
        self.sink.report(
            Problem::error("unknown_key", message)
                .at(key.span)
                .help(help),
        );
    }
}

impl<'de> Deserializer<'de> for Decoder<'de, '_, '_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Null | Value::Broken => visitor.visit_unit(),
            Value::Scalar(..) => self.deserialize_str(visitor),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Scalar(text, Kind::Bool) => visitor.visit_bool(text == "true"),
            _ => Err(self.wrong("`true` or `false`")),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_u64(self.number("a whole number")?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_f64(self.number("a number")?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(self.scalar("a text")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::List(items) => visitor.visit_seq(ListAccess {
                items: items.iter(),
                sink: self.sink,
            }),
            Value::Scalar(text, _) => Err(self
                .wrong("a list")
                .help(format!("write it as `[{}]`", text.escape_debug()))),
            _ => Err(self.wrong("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let entries = self.entries("a mapping")?;
        visitor.visit_map(EntryAccess::new(entries.iter().collect(), self.sink))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == FIELD {
            return visitor.visit_seq(FieldAccess {
                decoder: self,
                part: 0,
            });
        }
        let entries = self
            .entries("a mapping")
            .map_err(|error| error.help(shape(known)))?;
        let is_known = |key: &Key<'_>| known.contains(&key.text.as_ref());
        let (kept, unknown): (Vec<_>, Vec<_>) = entries.iter().partition(|(key, _)| is_known(key));
        unknown
            .iter()
            .for_each(|(key, _)| self.report_unknown(key, known));
        visitor.visit_map(EntryAccess::new(kept, self.sink))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let expected = format!("one of `{}`", variants.join("`, `"));
        let word: StrDeserializer<'_, DecodeError> = self.scalar(&expected)?.into_deserializer();
        visitor.visit_enum(word)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Scalar(text, _) if name == WORD_OR => visitor.visit_borrowed_str(text),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    // Raw types use the widths above only; ranges are checked where the value is compiled.
    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 char bytes byte_buf option unit unit_struct tuple
        tuple_struct identifier
    }
}

/// A value together with its place: start, length, value.
struct FieldAccess<'de, 'a, 's> {
    decoder: Decoder<'de, 'a, 's>,
    part: u8,
}

impl<'de> SeqAccess<'de> for FieldAccess<'de, '_, '_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Span { start, len } = self.decoder.node.span;
        self.part += 1;
        match self.part {
            1 => seed.deserialize(Offset(start)).map(Some),
            2 => seed.deserialize(Offset(len)).map(Some),
            3 => self.decoder.value(seed).map(Some),
            _ => Ok(None),
        }
    }
}

impl<'de> Decoder<'de, '_, '_> {
    /// Decodes the value of a field; what is wrong with it is reported here, because here its place
    /// is known.
    fn value<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DecodeError> {
        seed.deserialize(self).map_err(|error| {
            let message = error.to_string();
            if !matches!(self.node.value, Value::Broken) {
                self.sink.report(error.into_problem(self.node.span));
            }
            serde::de::Error::custom(message)
        })
    }
}

/// A byte offset as a value.
struct Offset(usize);

impl<'de> Deserializer<'de> for Offset {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_u64(self.0 as u64)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct ListAccess<'de, 'a, 's> {
    items: std::slice::Iter<'de, Node<'a>>,
    sink: &'s Sink,
}

impl<'de> SeqAccess<'de> for ListAccess<'de, '_, '_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Decoder {
            node,
            sink: self.sink,
        })
        .map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

type EntryRef<'de, 'a> = &'de (Key<'a>, Node<'a>);

struct EntryAccess<'de, 'a, 's> {
    entries: std::vec::IntoIter<EntryRef<'de, 'a>>,
    value: Option<&'de Node<'a>>,
    sink: &'s Sink,
}

impl<'de, 'a, 's> EntryAccess<'de, 'a, 's> {
    fn new(entries: Vec<EntryRef<'de, 'a>>, sink: &'s Sink) -> Self {
        Self {
            entries: entries.into_iter(),
            value: None,
            sink,
        }
    }
}

impl<'de> MapAccess<'de> for EntryAccess<'de, '_, '_> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(KeyDecoder(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        let no_key = || serde::de::Error::custom("a value was asked for before its key");
        let node = self.value.take().ok_or_else(no_key)?;
        seed.deserialize(Decoder {
            node,
            sink: self.sink,
        })
    }
}

/// A key: a text, with its place when it is asked for as a field.
struct KeyDecoder<'de, 'a>(&'de Key<'a>);

impl<'de> Deserializer<'de> for KeyDecoder<'de, '_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(&self.0.text)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(KeyAccess {
            key: self.0,
            part: 0,
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A key together with its place: start, length, text.
struct KeyAccess<'de, 'a> {
    key: &'de Key<'a>,
    part: u8,
}

impl<'de> SeqAccess<'de> for KeyAccess<'de, '_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        self.part += 1;
        match self.part {
            1 => seed.deserialize(Offset(self.key.span.start)).map(Some),
            2 => seed.deserialize(Offset(self.key.span.len)).map(Some),
            3 => seed.deserialize(KeyDecoder(self.key)).map(Some),
            _ => Ok(None),
        }
    }
}
