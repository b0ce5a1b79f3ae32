//! What raw types are made of: a value that may be absent or broken, and a mapping in the order of
//! the file. A broken value was reported when it was decoded; the rest of its mapping survives.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::span::Span;

/// Name by which the decoder recognises a [`Field`] and hands over its place.
pub(crate) const FIELD: &str = "$field";

/// A key's value: absent, broken (a place without a value; already reported) or given.
#[derive(Clone, Debug)]
pub(crate) struct Field<T> {
    span: Option<Span>,
    value: Option<T>,
}

/// One key of a mapping whose keys are names.
#[derive(Clone, Debug)]
pub(crate) struct Entry<T> {
    pub(crate) name: String,
    pub(crate) name_span: Option<Span>,
    pub(crate) value: Field<T>,
}

/// A mapping whose keys are names, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Entries<T>(pub(crate) Vec<Entry<T>>);

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self {
            span: None,
            value: None,
        }
    }
}

impl<T> Field<T> {
    /// The value, if it was given and not broken.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The value's place; none when it is absent.
    pub(crate) fn span(&self) -> Option<Span> {
        self.span
    }

    /// Whether the key is absent, as opposed to broken.
    pub(crate) fn is_absent(&self) -> bool {
        self.span.is_none()
    }
}

impl<T: Copy> Field<T> {
    /// The value, or `default` when it is absent or broken.
    pub(crate) fn or(&self, default: T) -> T {
        self.value.unwrap_or(default)
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(FIELD, &[], FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    /// Start, length, value. The decoder has reported a value that fails, so its error ends here.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let missing = || A::Error::custom("a field has three parts");
        let start = seq.next_element()?.ok_or_else(missing)?;
        let len = seq.next_element()?.ok_or_else(missing)?;
        let value = seq.next_element().ok().flatten();
        Ok(Field {
            span: Some(Span { start, len }),
            value,
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Field<String>>()? {
            let value = map.next_value()?;
            entries.push(Entry {
                name_span: key.span,
                name: key.value.unwrap_or_default(),
                value,
            });
        }
        Ok(Entries(entries))
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": "object", "additionalProperties": values })
    }
}
