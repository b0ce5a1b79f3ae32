//! The schema of the file, made of the raw types: editors complete and check with it, and the
//! reference is printed from it, so none of the three can say something different.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde_json::{Value, json};

use crate::raw::Config;

/// What stands for a value of the environment, anywhere in a text.
const VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}";

/// Keywords whose values are schemas, lists of them, or mappings to them.
const ONE: [&str; 2] = ["items", "additionalProperties"];
const LISTS: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
const MAPPINGS: [&str; 2] = ["properties", "$defs"];

/// The JSON Schema (2020-12) of a configuration. Values with units are strings with a pattern, and
/// wherever there is a value `${NAME}` may stand for it.
pub fn schema() -> Value {
    let mut schema = of_values();
    admit_variables(&mut schema);
    schema
}

/// The same of a configuration after the environment was put in.
pub(crate) fn of_values() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// Lets `${NAME}` stand for every scalar of a schema and of those in it.
fn admit_variables(schema: &mut Value) {
    let Value::Object(keywords) = schema else {
        return;
    };
    for name in ONE {
        keywords.get_mut(name).into_iter().for_each(admit_variables);
    }
    for name in LISTS {
        let list = keywords.get_mut(name).and_then(Value::as_array_mut);
        list.into_iter().flatten().for_each(admit_variables);
    }
    for name in MAPPINGS {
        let mapping = keywords.get_mut(name).and_then(Value::as_object_mut);
        let schemas = mapping.into_iter().flat_map(|mapping| mapping.values_mut());
        schemas.for_each(admit_variables);
    }
    // What stands for one of several values may stand for any of them.
    let is_choice = |of: &Value| {
        of.as_object()
            .is_some_and(|of| !of.contains_key("required"))
    };
    let choices = keywords.get("oneOf").and_then(Value::as_array);
    if choices.is_some_and(|list| list.iter().any(is_choice))
        && let Some(list) = keywords.remove("oneOf")
    {
        keywords.insert("anyOf".to_owned(), list);
    }
    let variable = || json!({ "type": "string", "pattern": VARIABLE });
    let of = keywords.get("type").and_then(Value::as_str);
    let mut scalars = ["integer", "number", "boolean"].into_iter();
    let (scalar, is_text) = (scalars.find(|one| of == Some(one)), of == Some("string"));
    if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str) {
        let pattern = format!("{pattern}|{VARIABLE}");
        keywords.insert("pattern".to_owned(), pattern.into());
    } else if let Some(known) = keywords.remove("enum") {
        keywords.remove("type");
        keywords.insert("anyOf".to_owned(), json!([{ "enum": known }, variable()]));
    } else if let Some(known) = keywords.remove("const") {
        keywords.remove("type");
        keywords.insert("anyOf".to_owned(), json!([{ "const": known }, variable()]));
    } else if let Some(of) = scalar {
        keywords.insert("type".to_owned(), json!([of, "string"]));
        keywords.insert("pattern".to_owned(), VARIABLE.into());
    } else if is_text {
        // A free text is what was written, whatever YAML takes it for.
        keywords.insert("type".to_owned(), json!(["string", "number", "boolean"]));
    }
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
