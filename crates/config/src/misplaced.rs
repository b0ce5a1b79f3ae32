//! Keys that stand in a route and belong to an upstream, or the other way round. They are unknown where
//! they stand; the hint says where they are known. The lists are those that the decoder itself uses.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Visitor};

use crate::raw;

/// Where a key belongs that stands in a route or an upstream, which know the `known` ones; none where
/// it belongs nowhere.
pub(crate) fn hint(key: &str, known: &[&str]) -> Option<String> {
    let (route, upstream) = (keys::<raw::Route>(), keys::<raw::Upstream>());
    if known != route && known != upstream {
        return None;
    }
    let sections = [
        ("an upstream: `upstreams.NAME", upstream),
        ("an upstream: `upstreams.NAME.retry", keys::<raw::Retry>()),
        (
            "an upstream: `upstreams.NAME.connection",
            keys::<raw::Connection>(),
        ),
        (
            "an upstream: `upstreams.NAME.steering",
            keys::<raw::Steering>(),
        ),
        ("an upstream: `upstreams.NAME.health", keys::<raw::Health>()),
        ("a route: `routes[N]", route),
    ];
    let (place, _) = sections.into_iter().find(|(_, keys)| keys.contains(&key))?;
    Some(format!("it belongs to {place}.{key}`"))
}

/// The keys of a mapping.
fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(Asker) {
        Err(Keys(keys)) => keys,
        Ok(_) => &[],
    }
}

/// Decodes nothing: it fails with the keys that it was asked for.
struct Asker;

#[derive(Debug)]
struct Keys(&'static [&'static str]);

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only the keys were asked for")
    }
}

impl std::error::Error for Keys {}

impl serde::de::Error for Keys {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Asker {
    type Error = Keys;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Keys> {
        Err(Keys(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Keys> {
        Err(Keys(keys))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_where_they_belong() {
        let (route, upstream) = (keys::<raw::Route>(), keys::<raw::Upstream>());
        let check = |key: &str, known: &[&str], place: Option<&str>| {
            let expected = place.map(|place| format!("`{place}.{key}`"));
            let hint = hint(key, known);
            let found = hint.as_deref().and_then(|hint| hint.split(": ").nth(1));
            assert_eq!(found, expected.as_deref(), "{key}");
        };
        check("retry", route, Some("upstreams.NAME"));
        check("per_try", route, Some("upstreams.NAME.retry"));
        check("per_try", upstream, Some("upstreams.NAME.retry"));
        check("residency", upstream, Some("routes[N]"));
        check("retyr", route, None);
        check("retry", keys::<raw::Connection>(), None);
    }
}
