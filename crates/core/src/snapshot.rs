//! A request's facts, kept: for questions that nobody sent, for decisions that are told or made again
//! later, and for a candidate that is tried on what the serving plan gets.
//!
//! It answers everything that routing and steering ask of a request, so that what is decided of it is
//! what would be decided of the request itself. It never has a body.

use std::net::IpAddr;
use std::time::SystemTime;

use http::{HeaderName, Method};

use crate::hash::KeyFacts;
use crate::route::RequestFacts;

/// What was known of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Method.
    pub method: Method,
    /// Host without port, as the client wrote it.
    pub host: Box<str>,
    /// Path and query, as they were written.
    pub target: Box<str>,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// The fields, in their order. What is no name of a field is left out.
    pub fields: Box<[(HeaderName, Box<[u8]>)]>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The name asked for in the TLS handshake.
    pub server_name: Option<Box<str>>,
    /// The subject of the client's certificate.
    pub client_subject: Option<Box<str>>,
    /// The moment of the request by the wall clock.
    pub at: SystemTime,
}

impl Snapshot {
    /// A plaintext request of which no more is known.
    pub fn new(method: Method, host: &str, target: &str) -> Self {
        Self {
            method,
            host: host.into(),
            target: target.into(),
            scheme: "http",
            fields: Box::default(),
            client: None,
            server_name: None,
            client_subject: None,
            at: SystemTime::UNIX_EPOCH,
        }
    }

    /// Keeps everything of `request`.
    pub fn of(request: &impl RequestFacts) -> Self {
        let mut fields = Vec::new();
        request.each_field(|name, value| {
            if let Ok(name) = HeaderName::from_bytes(name) {
                fields.push((name, value.into()));
            }
        });
        Self {
            method: request.method().clone(),
            host: request.host().into(),
            target: request.path_and_query().into(),
            scheme: request.scheme(),
            fields: fields.into(),
            client: request.client(),
            server_name: request.server_name().map(Into::into),
            client_subject: request.client_subject().map(Into::into),
            at: request.at(),
        }
    }

    /// The same with these fields, in the place of those that it has.
    #[must_use]
    pub fn with_fields(mut self, fields: impl IntoIterator<Item = (HeaderName, String)>) -> Self {
        let fields = fields.into_iter();
        self.fields = fields
            .map(|(name, value)| (name, value.into_bytes().into()))
            .collect();
        self
    }
}

impl KeyFacts for Snapshot {
    fn client(&self) -> Option<IpAddr> {
        self.client
    }

    fn find_field<'s, T>(
        &'s self,
        name: &HeaderName,
        mut find: impl FnMut(&'s [u8]) -> Option<T>,
    ) -> Option<T> {
        let mut values = self.fields.iter().filter(|(have, _)| have == name);
        values.find_map(|(_, value)| find(value))
    }

    fn path_and_query(&self) -> &str {
        &self.target
    }
}

impl RequestFacts for Snapshot {
    fn method(&self) -> &Method {
        &self.method
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    fn client_subject(&self) -> Option<&str> {
        self.client_subject.as_deref()
    }

    fn at(&self) -> SystemTime {
        self.at
    }

    fn each_field<'s>(&'s self, mut show: impl FnMut(&'s [u8], &'s [u8])) {
        let fields = self.fields.iter();
        fields.for_each(|(name, value)| show(name.as_str().as_bytes(), value));
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, COOKIE};

    use super::*;

    #[test]
    fn a_snapshot_of_a_snapshot_is_the_same() {
        let mut one = Snapshot::new(Method::PUT, "Shop.example.com", "/a/b?c=d&e").with_fields([
            (COOKIE, "a=1".to_owned()),
            (ACCEPT, "*/*".to_owned()),
            (COOKIE, "b=2".to_owned()),
        ]);
        one.scheme = "https";
        one.client = Some([192, 0, 2, 1].into());
        one.server_name = Some("shop.example.com".into());
        one.client_subject = Some("CN=one".into());
        assert_eq!(Snapshot::of(&one), one);
        assert_eq!((one.path(), one.query()), ("/a/b", "c=d&e"));
        assert!(one.has_header(&COOKIE, "b=2") && !one.has_header(&ACCEPT, "b=2"));
    }
}
