//! What the value of a header field, a query parameter or a cookie must be.
//!
//! A name may occur several times. A condition on its value holds if it holds for any of the values,
//! and `Absent` if there is none at all. Values are compared byte for byte as they were written:
//! nothing is decoded, no quotes are taken off.

use std::sync::Arc;

use http::header::COOKIE;

use super::{Pattern, RequestFacts};

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// Exactly this.
    Exact(Arc<str>),
    /// Anything.
    Present,
    /// Not there at all.
    Absent,
    /// It starts with this.
    Prefix(Arc<str>),
    /// The pattern is found in it.
    Regex(Arc<Pattern>),
}

impl From<&str> for ValueMatch {
    /// A bare text is exact.
    fn from(text: &str) -> Self {
        Self::Exact(text.into())
    }
}

impl ValueMatch {
    /// Whether a value that is there is as wanted.
    pub fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => wanted.as_bytes() == value,
            Self::Present => true,
            Self::Absent => false,
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Regex(pattern) => pattern.is_match(value),
        }
    }

    /// Whether the condition holds, where `any` says if any of the values is as it is asked.
    fn holds(&self, any: impl FnOnce(&dyn Fn(&[u8]) -> bool) -> bool) -> bool {
        match self {
            Self::Absent => !any(&|_| true),
            wanted => any(&|value| wanted.takes(value)),
        }
    }

    /// The same for the fields of a name.
    pub(super) fn holds_for_field(
        &self,
        request: &impl RequestFacts,
        name: &http::HeaderName,
    ) -> bool {
        self.holds(|takes| {
            let found = request.find_field(name, |value| takes(value).then_some(()));
            found.is_some()
        })
    }

    /// The same for the query parameters of a name.
    pub(super) fn holds_for_parameter(&self, query: &str, name: &str) -> bool {
        self.holds(|takes| parameters(query, name).any(|value| takes(value.as_bytes())))
    }

    /// The same for the cookies of a name.
    pub(super) fn holds_for_cookie(&self, request: &impl RequestFacts, name: &str) -> bool {
        self.holds(|takes| {
            let any = |line| cookies(line, name).any(takes).then_some(());
            request.find_field(&COOKIE, any).is_some()
        })
    }

    /// The same for what there is one of at most.
    pub(super) fn holds_for(&self, value: Option<&str>) -> bool {
        self.holds(|takes| value.is_some_and(|value| takes(value.as_bytes())))
    }

    /// Whether this holds wherever `other` does, as far as that can be told. Patterns are only compared.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present, other) => *other != Self::Absent,
            (Self::Prefix(a), Self::Exact(b) | Self::Prefix(b)) => b.starts_with(&**a),
            (Self::Regex(a), Self::Exact(b)) => a.is_match(b.as_bytes()),
            (a, b) => a == b,
        }
    }
}

/// The values of the parameters of a name, as written; one without `=` has an empty value.
fn parameters<'a>(query: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.filter_map(move |pair| match pair.strip_prefix(name)? {
        "" => Some(""),
        rest => rest.strip_prefix('='),
    })
}

/// The values of the cookies of a name in a line (RFC 6265 section 4.2.1). What has no `=` is none.
fn cookies<'a>(line: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter_map(move |pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Method};

    use super::*;
    use crate::Snapshot;

    fn forms() -> [ValueMatch; 5] {
        [
            ValueMatch::Exact("ab".into()),
            ValueMatch::Present,
            ValueMatch::Absent,
            ValueMatch::Prefix("a".into()),
            ValueMatch::Regex(Arc::new(Pattern::new("b$").unwrap())),
        ]
    }

    #[test]
    fn each_form_holds_if_it_does_for_any_of_the_values() {
        let check = |values: &[&str], expected: [bool; 5]| {
            let name = HeaderName::from_static("x-tier");
            let fields = values
                .iter()
                .map(|value| (name.clone(), (*value).to_owned()));
            let asked = Snapshot::new(Method::GET, "h", "/").with_fields(fields);
            let pairs: Vec<String> = values.iter().map(|value| format!("k={value}")).collect();
            let crumbs = pairs
                .iter()
                .map(|pair| (COOKIE, format!("o=1;  {pair} ;kk=ab")));
            let crumbs = Snapshot::new(Method::GET, "h", "/").with_fields(crumbs);
            let query = format!("kk=ab&{}&&=", pairs.join("&"));
            for (form, expected) in forms().iter().zip(expected) {
                let found = form.holds_for_field(&asked, &name);
                assert_eq!(found, expected, "{form:?} in {values:?}");
                let found = form.holds_for_parameter(&query, "k");
                assert_eq!(found, expected, "{form:?} in {query}");
                let found = form.holds_for_cookie(&crumbs, "k");
                assert_eq!(found, expected, "{form:?} in {crumbs:?}");
            }
        };
        check(&[], [false, false, true, false, false]);
        check(&["ab"], [true, true, false, true, true]);
        check(&["AB"], [false, true, false, false, false]);
        check(&[""], [false, true, false, false, false]);
        check(&["a"], [false, true, false, true, false]);
        check(&["x", "ab"], [true, true, false, true, true]);
        check(&["%61b"], [false, true, false, false, true]);
        check(&["\"ab\""], [false, true, false, false, false]);
    }

    #[test]
    fn a_parameter_may_have_no_value_but_a_cookie_must() {
        assert!(ValueMatch::Exact("".into()).holds_for_parameter("a&debug&b", "debug"));
        assert!(ValueMatch::Absent.holds_for_parameter("", "debug"));
        let asked =
            Snapshot::new(Method::GET, "h", "/").with_fields([(COOKIE, "debug".to_owned())]);
        assert!(ValueMatch::Absent.holds_for_cookie(&asked, "debug"));
    }

    #[test]
    fn what_is_covered_is_never_guessed() {
        let exact = |text: &str| ValueMatch::Exact(text.into());
        let prefix = |text: &str| ValueMatch::Prefix(text.into());
        let regex = |text: &str| ValueMatch::Regex(Arc::new(Pattern::new(text).unwrap()));
        let check = |a: ValueMatch, b: ValueMatch, expected| {
            assert_eq!(a.covers(&b), expected, "{a:?} {b:?}");
        };
        check(exact("a"), exact("a"), true);
        check(exact("a"), exact("b"), false);
        check(prefix("a"), exact("ab"), true);
        check(prefix("a"), prefix("ab"), true);
        check(prefix("ab"), prefix("a"), false);
        check(ValueMatch::Present, regex("x"), true);
        check(ValueMatch::Present, ValueMatch::Absent, false);
        check(ValueMatch::Absent, ValueMatch::Absent, true);
        check(ValueMatch::Absent, ValueMatch::Present, false);
        check(regex("^a"), exact("ab"), true);
        check(regex("^a"), exact("b"), false);
        check(regex("^a"), prefix("a"), false);
        check(regex("a"), regex("a"), true);
        check(regex("a"), regex("ab"), false);
        check(exact("a"), prefix("a"), false);
    }
}
