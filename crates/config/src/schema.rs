//! The schema of the file, made of the raw types: editors complete and check with it, and the
//! reference is printed from it, so none of the three can say something different.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde_json::Value;

use crate::raw::Config;

/// The JSON Schema (2020-12) of a configuration. Values with units are strings with a pattern.
pub fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// The keys of a raw type in the order of its declaration, which the schema does not keep.
pub(crate) fn keys<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // Always fails: it only looks at what is asked for.
    let _ = T::deserialize(Spy(&mut keys));
    keys
}

/// Notes which keys a type asks for.
struct Spy<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Spy<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a mapping with fixed keys"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = keys;
        Err(Error::custom("the keys are known now"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
