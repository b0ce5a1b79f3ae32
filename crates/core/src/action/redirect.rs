//! The address that a redirect sends a client to, made of parts of its request.
//!
//! A redirect is a favourite way to send people elsewhere than its author meant. So what is filled in
//! for a host is escaped until nothing of it can end the host, and a path that begins with two slashes,
//! which browsers read as a host, gets a `/.` before it (RFC 3986 section 4.2). The outcome is visible
//! ASCII.

use super::path::{TARGET_MAX, escape, is_in_path};
use super::{Hole, Piece, Template, Unwritable};
use crate::plan::{Redirect, RedirectTo, UrlParts, UrlTemplate};
use crate::route::{Captures, RequestFacts};

impl Redirect {
    /// The address for a request whose path had these parts captured by its route's match: absolute,
    /// or a path.
    ///
    /// # Errors
    /// [`Unwritable`]: there is none.
    pub fn location(
        &self,
        request: &impl RequestFacts,
        captured: &Captures<'_>,
    ) -> Result<String, Unwritable> {
        let asked = Asked {
            scheme: request.scheme(),
            host: request.host(),
            path: match request.path() {
                path if path.starts_with('/') => path,
                _ => "/",
            },
            query: request.query(),
            captured,
        };
        let query = Some(asked.query).filter(|query| self.keep_query && !query.is_empty());
        let location = match &self.to {
            RedirectTo::Url(template) => template.fill(&asked, query)?,
            RedirectTo::Parts(parts) => parts.of(&asked, query)?,
        };
        match location.len() > TARGET_MAX {
            true => Err(Unwritable::TooLong),
            false => Ok(location),
        }
    }
}

/// What of a request can stand in an address.
struct Asked<'a> {
    scheme: &'static str,
    host: &'a str,
    path: &'a str,
    query: &'a str,
    captured: &'a Captures<'a>,
}

impl<'a> Asked<'a> {
    fn of(&self, hole: &Hole) -> &'a str {
        match hole {
            Hole::Scheme => self.scheme,
            Hole::Host => self.host,
            Hole::Path => self.path,
            Hole::Query => self.query,
            Hole::Captured(capture) => capture.of(self.captured),
            Hole::Group(..) => "",
        }
    }

    /// Appends a template's text, with what is filled in escaped where it does not fit.
    fn fill(&self, out: &mut String, template: &Template<Hole>, fits: impl Fn(&Hole, u8) -> bool) {
        for piece in template.pieces() {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Hole(hole) => escape(out, self.of(hole), |byte| fits(hole, byte)),
            }
        }
    }

    fn has_host_for(&self, template: &Template<Hole>) -> bool {
        !self.host.is_empty() || !template.holes().any(|hole| *hole == Hole::Host)
    }
}

impl UrlTemplate {
    fn fill(&self, asked: &Asked<'_>, query: Option<&str>) -> Result<String, Unwritable> {
        if !asked.has_host_for(&self.origin) || !asked.has_host_for(&self.rest) {
            return Err(Unwritable::NoHost);
        }
        let mut location = String::new();
        asked.fill(&mut location, &self.origin, fits_host);
        let mut rest = String::new();
        asked.fill(&mut rest, &self.rest, |hole, byte| match hole {
            Hole::Query => is_in_query(byte),
            _ => is_in_path(byte),
        });
        push_path(&mut location, &rest);
        let has_query = rest.contains('?');
        push_query(&mut location, query, if has_query { '&' } else { '?' });
        if let Some(fragment) = &self.fragment {
            location.push('#');
            location.push_str(fragment);
        }
        Ok(location)
    }
}

impl UrlParts {
    fn of(&self, asked: &Asked<'_>, query: Option<&str>) -> Result<String, Unwritable> {
        let mut location = String::new();
        if self.scheme.is_some() || self.host.is_some() || self.port.is_some() {
            self.origin(&mut location, asked)?;
        }
        let path = match &self.path {
            Some(rewrite) => rewrite.path(asked.path, asked.captured)?,
            None => {
                let mut path = String::with_capacity(asked.path.len());
                escape(&mut path, asked.path, is_in_path);
                path
            }
        };
        push_path(&mut location, &path);
        push_query(&mut location, query, '?');
        Ok(location)
    }

    fn origin(&self, location: &mut String, asked: &Asked<'_>) -> Result<(), Unwritable> {
        location.push_str(self.scheme.unwrap_or(asked.scheme));
        location.push_str("://");
        let before = location.len();
        match &self.host {
            Some(template) => asked.fill(location, template, fits_host),
            None => escape(location, asked.host, |byte| fits_host(&Hole::Host, byte)),
        }
        if location.len() == before {
            return Err(Unwritable::NoHost);
        }
        if let Some(port) = self.port {
            location.push(':');
            location.push_str(&port.to_string());
        }
        Ok(())
    }
}

/// Whether a byte of what is filled in may stand in a host: nothing that ends it. The request's own
/// host may be an address of IPv6.
fn fits_host(hole: &Hole, byte: u8) -> bool {
    let address = *hole == Hole::Host && b"[]:".contains(&byte);
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || address
}

/// Whether a byte is itself in a query (RFC 3986 section 3.4), or left alone there by browsers.
fn is_in_query(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Appends a path; after no host it must not look like one.
fn push_path(location: &mut String, path: &str) {
    if !path.starts_with('/') {
        location.push('/');
    }
    if location.is_empty() && path.starts_with("//") {
        location.push_str("/.");
    }
    location.push_str(path);
}

fn push_query(location: &mut String, query: Option<&str>, before: char) {
    if let Some(query) = query {
        location.push(before);
        escape(location, query, is_in_query);
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};

    use super::super::{Capture, PathRewrite};
    use super::*;
    use crate::route;
    use crate::snapshot::Snapshot;

    fn template(text: &str) -> Template<Hole> {
        let hole = |name: &str| {
            let mut named = Hole::NAMED.into_iter();
            let known = named.find(|(known, _)| *known == name);
            Some(known.map_or_else(
                || {
                    Hole::Captured(Capture {
                        name: name.into(),
                        at: 1,
                    })
                },
                |(_, hole)| hole,
            ))
        };
        Template::parse(text, hole).unwrap()
    }

    fn redirect(to: RedirectTo, keep_query: bool) -> Redirect {
        Redirect {
            status: StatusCode::PERMANENT_REDIRECT,
            to,
            keep_query,
        }
    }

    fn url(origin: &str, rest: &str) -> RedirectTo {
        RedirectTo::Url(UrlTemplate {
            origin: template(origin),
            rest: template(rest),
            fragment: None,
        })
    }

    fn asked(host: &str, target: &str) -> Snapshot {
        Snapshot::new(Method::GET, host, target)
    }

    #[track_caller]
    fn check(redirect: &Redirect, host: &str, target: &str, captured: &str, expected: &str) {
        let id = route::Template::new("/{id}").unwrap();
        let path = format!("/{}", if captured.is_empty() { "-" } else { captured });
        // A slash ends a segment: what holds one comes from `{id=**}`.
        let rest = route::Template::new("/{id=**}").unwrap();
        let captured = id.captures(&path).or_else(|| rest.captures(&path)).unwrap();
        let found = redirect.location(&asked(host, target), &captured);
        assert_eq!(found.as_deref(), Ok(expected), "{target} {path}");
    }

    #[test]
    fn an_address_is_filled_in() {
        let to = redirect(url("https://new.example", "{path}"), true);
        check(&to, "a", "/x?q=1", "", "https://new.example/x?q=1");
        check(&to, "a", "/x", "", "https://new.example/x");
        check(&to, "a", "*", "", "https://new.example/");
        let to = redirect(url("{scheme}://{host}", "/y?old={path}"), true);
        check(&to, "[::1]", "/x?q", "", "http://[::1]/y?old=/x&q");
        let to = redirect(url("https://a.example", "/?was={query}"), false);
        check(&to, "a", "/x?q=1", "", "https://a.example/?was=q=1");
        let mut to = url("", "/u/{id}");
        if let RedirectTo::Url(template) = &mut to {
            template.fragment = Some("top".into());
        }
        check(&redirect(to, true), "a", "/x?q", "7", "/u/7?q#top");
    }

    #[test]
    fn parts_are_swapped() {
        let parts = |parts| redirect(RedirectTo::Parts(parts), true);
        let https = parts(UrlParts {
            scheme: Some("https"),
            ..UrlParts::default()
        });
        check(&https, "a.example", "/x?q", "", "https://a.example/x?q");
        assert_eq!(
            https.location(&asked("", "/x"), &Captures::default()),
            Err(Unwritable::NoHost)
        );
        let port = parts(UrlParts {
            port: Some(8443),
            ..UrlParts::default()
        });
        check(&port, "a.example", "/x", "", "http://a.example:8443/x");
        let host = parts(UrlParts {
            host: Some(template("{id}.example")),
            ..UrlParts::default()
        });
        check(&host, "a", "/x", "shop", "http://shop.example/x");
        let path = parts(UrlParts {
            path: Some(PathRewrite::Prefix {
                matched: "/old".into(),
                to: "/".into(),
            }),
            ..UrlParts::default()
        });
        check(&path, "a", "/old/x?q", "", "/x?q");
        let dropped = redirect(path.to.clone(), false);
        check(&dropped, "a", "/old/x?q", "", "/x");
    }

    #[test]
    fn nobody_is_sent_where_the_author_did_not_mean() {
        let swap = redirect(
            RedirectTo::Parts(UrlParts {
                path: Some(PathRewrite::Prefix {
                    matched: "/old".into(),
                    to: "/".into(),
                }),
                ..UrlParts::default()
            }),
            true,
        );
        check(&swap, "a", "/old//evil.example", "", "/.//evil.example");
        check(&swap, "a", "/old/\\evil.example", "", "/%5Cevil.example");
        let to = redirect(url("", "{path}"), true);
        check(&to, "a", "//evil.example/", "", "/.//evil.example/");
        let host = redirect(url("https://{id}.example", "/"), true);
        for (captured, expected) in [
            ("evil.test/", "https://evil.test%2F.example/"),
            ("evil.test\\", "https://evil.test%5C.example/"),
            ("a@evil.test:1", "https://a%40evil.test%3A1.example/"),
            ("evil.test#", "https://evil.test%23.example/"),
            ("a\r\nx: y", "https://a%0D%0Ax%3A%20y.example/"),
        ] {
            check(&host, "a", "/", captured, expected);
        }
        check(
            &redirect(url("https://{host}", "/"), true),
            "u@evil",
            "/",
            "",
            "https://u%40evil/",
        );
    }
}
