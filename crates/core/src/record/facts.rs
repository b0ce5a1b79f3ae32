//! What a record keeps of a request: what routing, steering and expressions may ask, without secrets.
//!
//! A value that is likely to be a secret is not kept at all, not even hashed: who has the hash of a
//! short secret has the secret. That it was there is kept, so that whoever matches the request again
//! hears that he cannot know ([`Recalled::missed`]) instead of finding that it was not. What was
//! hashed of the request for its decision is kept with the decision, which needs no more.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::SystemTime;

use http::{HeaderName, Method};

use crate::hash::KeyFacts;
use crate::route::RequestFacts;

/// The most bytes that are kept of a target, and of all fields together.
const TARGET_MAX: usize = 1024;
const FIELDS_MAX: usize = 1536;
/// The length of a value that was not kept.
const WITHHELD: u16 = u16::MAX;
/// What stands in a query for a value that was not kept.
const NOT_KEPT: &str = "~";

/// Parts of names whose values are likely to be secrets.
const SECRETS: [&str; 17] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "api-key",
    "apikey",
    "api_key",
    "session",
    "signature",
    "credential",
    "jwt",
    "csrf",
    "xsrf",
    "client-cert",
    "referer",
];
/// Whole names of parameters of queries that are.
const PARAMETERS: [&str; 7] = ["key", "sig", "code", "pwd", "pass", "sid", "email"];

/// What was kept of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    method: Method,
    scheme: &'static str,
    at: SystemTime,
    client: Option<IpAddr>,
    host: Box<str>,
    /// Path and query; values of parameters that may be secrets are replaced.
    target: Box<str>,
    server_name: Option<Box<str>>,
    client_subject: Option<Box<str>>,
    /// Of each field: the lengths of name and value, then both.
    fields: Box<[u8]>,
    /// The target has a part that was not kept.
    target_cut: bool,
    /// Fields beyond what is kept were left out.
    fields_cut: bool,
}

/// One field that was kept.
struct Field<'a> {
    name: &'a [u8],
    /// None: its value was not kept.
    value: Option<&'a [u8]>,
}

impl Facts {
    /// Keeps what may be kept of `request`.
    pub fn of(request: &impl RequestFacts) -> Self {
        let mut fields = Packed::default();
        request.each_field(|name, value| fields.add(name, value));
        let (target, target_cut) = target_of(request.path_and_query());
        Self {
            method: request.method().clone(),
            scheme: request.scheme(),
            at: request.at(),
            client: request.client(),
            host: cut(request.host(), 256).into(),
            target: target.into(),
            server_name: request.server_name().map(|name| cut(name, 256).into()),
            client_subject: request.client_subject().map(|name| cut(name, 256).into()),
            fields: fields.bytes.into(),
            target_cut,
            fields_cut: fields.full,
        }
    }

    /// The request as it can be asked again.
    pub fn recall(&self) -> Recalled<'_> {
        Recalled {
            facts: self,
            missed: RefCell::default(),
        }
    }

    /// Method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Host without port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Path and query; `~` stands for values that were not kept.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The client's address.
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The fields in their order, values that were not kept as none.
    pub fn fields(&self) -> impl Iterator<Item = (String, Option<String>)> + '_ {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.each()
            .map(move |field| (text(field.name), field.value.map(text)))
    }

    /// Bytes that it takes beside itself.
    pub(super) fn heap_bytes(&self) -> usize {
        let optional = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        self.host.len()
            + self.target.len()
            + self.fields.len()
            + optional(&self.server_name)
            + optional(&self.client_subject)
    }

    fn each(&self) -> impl Iterator<Item = Field<'_>> {
        let mut rest = &*self.fields;
        std::iter::from_fn(move || {
            let (lengths, after) = rest.split_first_chunk::<4>()?;
            let [a, b, c, d] = *lengths;
            let (name, value) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let (name, after) = after.split_at_checked(name.into())?;
            let (value, after) = match value {
                WITHHELD => (None, after),
                length => {
                    let (value, after) = after.split_at_checked(length.into())?;
                    (Some(value), after)
                }
            };
            rest = after;
            Some(Field { name, value })
        })
    }
}

/// Fields one after the other.
#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    full: bool,
}

impl Packed {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        let kept = !is_secret(name) && value.len() < 512;
        let value = if kept { value } else { &[] };
        let takes = 4 + name.len() + value.len();
        if self.bytes.len() + takes > FIELDS_MAX {
            self.full = true;
            return;
        }
        let length = if kept { value.len() as u16 } else { WITHHELD };
        self.bytes.extend((name.len() as u16).to_be_bytes());
        self.bytes.extend(length.to_be_bytes());
        self.bytes.extend(name.iter().map(u8::to_ascii_lowercase));
        self.bytes.extend(value);
    }
}

/// Whether the value of a field or parameter of this name is likely to be a secret.
fn is_secret(name: &[u8]) -> bool {
    let holds = |part: &&str| {
        let mut windows = name.windows(part.len());
        windows.any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
    };
    SECRETS.iter().any(holds)
}

fn is_secret_parameter(name: &str) -> bool {
    let is = |whole: &&str| name.eq_ignore_ascii_case(whole);
    is_secret(name.as_bytes()) || PARAMETERS.iter().any(is)
}

/// Path and query without what may be a secret, and whether that is less than there was.
fn target_of(target: &str) -> (String, bool) {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    let mut kept = cut(path, TARGET_MAX).to_owned();
    let mut less = kept.len() < path.len();
    for (nth, pair) in query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .enumerate()
    {
        let shown = match pair.split_once('=') {
            Some((name, value)) if !value.is_empty() && is_secret_parameter(name) => {
                less = true;
                format!("{name}={NOT_KEPT}")
            }
            _ => pair.to_owned(),
        };
        if kept.len() + shown.len() > TARGET_MAX {
            return (kept, true);
        }
        kept.push(if nth == 0 { '?' } else { '&' });
        kept += &shown;
    }
    (kept, less)
}

/// The beginning of `text`, at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// A request that is asked again.
#[derive(Debug)]
pub struct Recalled<'a> {
    facts: &'a Facts,
    missed: RefCell<Vec<String>>,
}

impl Recalled<'_> {
    /// What was asked for since and had not been kept, each once: what follows from it is not certain.
    pub fn missed(&self) -> Vec<String> {
        self.missed.borrow().clone()
    }

    fn miss(&self, what: &str) {
        let mut missed = self.missed.borrow_mut();
        if !missed.iter().any(|have| have == what) {
            missed.push(what.to_owned());
        }
    }
}

impl KeyFacts for Recalled<'_> {
    fn client(&self) -> Option<IpAddr> {
        self.facts.client
    }

    fn find_field<'s, T>(
        &'s self,
        name: &HeaderName,
        mut find: impl FnMut(&'s [u8]) -> Option<T>,
    ) -> Option<T> {
        let mut known = false;
        for field in self.facts.each() {
            if field.name != name.as_str().as_bytes() {
                continue;
            }
            known = true;
            match field.value {
                None => self.miss(name.as_str()),
                Some(value) => {
                    if let Some(found) = find(value) {
                        return Some(found);
                    }
                }
            }
        }
        if !known && self.facts.fields_cut {
            self.miss(name.as_str());
        }
        None
    }

    fn path_and_query(&self) -> &str {
        if self.facts.target_cut {
            self.miss("a part of the query");
        }
        &self.facts.target
    }
}

impl RequestFacts for Recalled<'_> {
    fn method(&self) -> &Method {
        &self.facts.method
    }

    fn host(&self) -> &str {
        &self.facts.host
    }

    fn path(&self) -> &str {
        let target = &*self.facts.target;
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    fn query(&self) -> &str {
        let target = self.path_and_query();
        target.split_once('?').map_or("", |(_, query)| query)
    }

    fn scheme(&self) -> &'static str {
        self.facts.scheme
    }

    fn server_name(&self) -> Option<&str> {
        self.facts.server_name.as_deref()
    }

    fn client_subject(&self) -> Option<&str> {
        self.facts.client_subject.as_deref()
    }

    fn at(&self) -> SystemTime {
        self.facts.at
    }

    fn each_field<'s>(&'s self, mut show: impl FnMut(&'s [u8], &'s [u8])) {
        for field in self.facts.each() {
            match field.value {
                Some(value) => show(field.name, value),
                None => self.miss(&String::from_utf8_lossy(field.name)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Snapshot;

    fn facts(target: &str, fields: &[(&'static str, &str)]) -> Facts {
        let fields = fields.iter();
        let fields =
            fields.map(|(name, value)| (HeaderName::from_static(name), (*value).to_owned()));
        Facts::of(&Snapshot::new(Method::GET, "shop.example.com", target).with_fields(fields))
    }

    #[test]
    fn what_may_be_a_secret_is_not_kept() {
        let check = |name: &'static str, kept: bool| {
            let facts = facts("/", &[(name, "value-of-it")]);
            let found: Vec<_> = facts.fields().collect();
            let expected = kept.then(|| "value-of-it".to_owned());
            assert_eq!(found, [(name.to_owned(), expected)]);
            let shown = format!("{facts:?}");
            let bytes = &*facts.fields;
            let holds = bytes.windows(11).any(|window| window == b"value-of-it");
            assert!(!shown.contains("value-of-it") && holds == kept, "{name}");
        };
        for name in [
            "authorization",
            "cookie",
            "proxy-authorization",
            "x-api-key",
            "set-cookie",
            "x-auth-user",
            "x-amz-security-token",
            "x-csrf-token",
            "referer",
        ] {
            check(name, false);
        }
        for name in ["x-tier", "accept", "x-forwarded-for", "user-agent"] {
            check(name, true);
        }
    }

    #[test]
    fn values_of_queries_are_kept_by_their_names() {
        let check = |target: &str, expected: &str, missed: bool| {
            let facts = facts(target, &[]);
            assert_eq!(facts.target(), expected);
            let recalled = facts.recall();
            assert_eq!(recalled.path(), "/a");
            assert!(recalled.missed().is_empty(), "the path is whole");
            let _query = recalled.query();
            assert_eq!(!recalled.missed().is_empty(), missed, "{target}");
        };
        check("/a", "/a", false);
        check("/a?b=c&d", "/a?b=c&d", false);
        check("/a?access_token=xyz&b=c", "/a?access_token=~&b=c", true);
        check("/a?key=1&monkey=2&KEY=3", "/a?key=~&monkey=2&KEY=~", true);
    }

    #[test]
    fn who_asks_for_what_was_not_kept_hears_of_it() {
        let facts = facts(
            "/",
            &[("cookie", "a=b"), ("x-tier", "gold"), ("x-tier", "silver")],
        );
        let recalled = facts.recall();
        assert!(recalled.has_header(&HeaderName::from_static("x-tier"), "silver"));
        assert!(!recalled.has_header(&HeaderName::from_static("x-none"), "silver"));
        assert_eq!(recalled.missed(), Vec::<String>::new());
        assert!(!recalled.has_header(&HeaderName::from_static("cookie"), "a=b"));
        assert_eq!(recalled.missed(), ["cookie"]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "x".repeat(400);
        let many: Vec<_> = (0..40).map(|_| ("x-long", &*long)).collect();
        let facts = facts(&format!("/{long}?{long}&{long}&{long}"), &many);
        assert!(facts.heap_bytes() < 3_000, "{}", facts.heap_bytes());
        let recalled = facts.recall();
        assert!(!recalled.has_header(&HeaderName::from_static("x-other"), "1"));
        assert_eq!(
            recalled.missed(),
            ["x-other"],
            "it may have been among them"
        );
    }
}
