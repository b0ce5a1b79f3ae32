//! Keys that stand in a route and belong to an upstream, or the other way round. They are unknown where
//! they stand; the hint says where they are known. The lists are those that the decoder itself uses.

use crate::raw;
use crate::schema::keys;

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
