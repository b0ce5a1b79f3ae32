//! What to do about problems whose code says it all. Whoever reports a problem knows more and gives a
//! better hint; this is for the others, so that none is without one.

/// What to do about a problem of this code; none where only the place can tell.
pub(crate) fn of_code(code: &str) -> Option<&'static str> {
    let hint = match code {
        "empty_certificates" => "list one: `{ chain: FILE, key: FILE }`",
        "empty_list" => "list something, or remove the key",
        "empty_regions" => "give it a region, with its `endpoints`",
        "include_cycle" => "remove one `include` of the circle",
        "include_too_deep" => "let the main file include it directly",
        "invalid_certificate" => {
            "name a PEM file that starts with `-----BEGIN CERTIFICATE-----`, the own certificate first"
        }
        "invalid_expression" => "write what is to hold, or remove the key",
        "invalid_key" => "name a PEM file with an unencrypted key: `-----BEGIN PRIVATE KEY-----`",
        "invalid_pattern" => "put `\\` before a character that is meant as it is, or close it",
        "invalid_yaml" => "correct the syntax here, or on the line before",
        "missing_file" => "paths are relative to the directory of the configuration",
        "missing_key" => "add it; docs/configuration.md says what it takes",
        "too_many_regions" | "too_many_steps" => "remove some, or put several together",
        "wrong_type" => "write it as `key: value` lines",
        "unused_region" => "give an upstream endpoints there, or remove it",
        "unused_upstream" => "name it in a route, or remove it",
        "unreadable_file" => "look at the file's owner and rights",
        _ => return None,
    };
    Some(hint)
}

/// How a value is written where one of another kind was found.
pub(crate) fn of_type(expected: &str, found: &str) -> Option<&'static str> {
    let hint = match (expected, found) {
        ("a whole number", _) => "write 1 to 19 digits, like `3`, without a unit",
        ("a number", _) => "write digits, like `2` or `0.5`, without a unit",
        ("`true` or `false`", _) => "write one of the two, without quotes",
        ("a mapping", _) => "write its keys below, indented, or remove it",
        (_, "nothing") => "write a value, or remove the key",
        ("a text", _) => "write one value",
        _ => return None,
    };
    Some(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_values_are_explained() {
        let check = |expected: &str, found: &str, part: Option<&str>| {
            let hint = of_type(expected, found);
            assert_eq!(hint.is_some(), part.is_some(), "{expected}, {found}");
            assert!(hint.unwrap_or("").contains(part.unwrap_or("")), "{hint:?}");
        };
        check("a whole number", "`three`", Some("digits"));
        check("a text", "nothing", Some("remove the key"));
        check("a text", "a list", Some("one value"));
        check("a list", "`a`", None);
    }
}
