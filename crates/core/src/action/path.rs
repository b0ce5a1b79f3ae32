//! Rewriting a path.
//!
//! The query is no part of it and stays as it is. Paths are taken as they are written: nothing is
//! decoded. What a rewrite yields is escaped wherever RFC 3986 section 3.3 wants it, so it can be
//! written in any version of HTTP. Dot segments are refused, because after a rewrite they would lead
//! elsewhere than where the client, and every rule that looked at its path, saw them lead.

use std::fmt;
use std::sync::Arc;

use super::{Hole, Piece, Template, Unwritable};
use crate::route::{Captures, Pattern};

/// Longest target, path and query, that a rewrite may yield, in bytes.
pub const TARGET_MAX: usize = 16 * 1024;

/// How a path is rewritten.
#[derive(Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// The prefix that the route matches is another.
    Prefix {
        /// The prefix of the match, without the slash at its end.
        matched: Arc<str>,
        /// What stands for it; begins with a slash.
        to: Arc<str>,
    },
    /// The first part of the path that an expression matches is another. A path of which nothing
    /// matches stays as it is.
    Regex {
        /// The expression.
        regex: Arc<Pattern>,
        /// What stands for that part.
        to: Template<Hole>,
    },
    /// The whole path is another.
    Whole(Template<Hole>),
}

impl fmt::Debug for PathRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathRewrite({self})")
    }
}

/// What becomes of a path, for people: `{prefix} -> /v2`.
impl fmt::Display for PathRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix { matched, to } if matched.is_empty() => write!(f, "/** -> {to}"),
            Self::Prefix { matched, to } => write!(f, "{matched}/** -> {to}"),
            Self::Regex { regex, to } => write!(f, "~{} -> {to}", regex.text()),
            Self::Whole(template) => write!(f, "{template}"),
        }
    }
}

impl PathRewrite {
    /// What becomes of a target, path and query, whose path had these parts captured by its route's
    /// match. None if it stays as it is, as `*` always does.
    ///
    /// # Errors
    /// [`Unwritable`]: it must not be sent like this.
    pub fn target(
        &self,
        target: &str,
        captured: &Captures<'_>,
    ) -> Result<Option<String>, Unwritable> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        if !path.starts_with('/') {
            return Ok(None);
        }
        let mut rewritten = self.path(path, captured)?;
        if rewritten == path {
            return Ok(None);
        }
        if let Some(query) = query {
            rewritten.push('?');
            rewritten.push_str(query);
        }
        match rewritten.len() > TARGET_MAX {
            true => Err(Unwritable::TooLong),
            false => Ok(Some(rewritten)),
        }
    }

    /// What becomes of a path.
    ///
    /// # Errors
    /// As [`target`](Self::target).
    pub(super) fn path(&self, path: &str, captured: &Captures<'_>) -> Result<String, Unwritable> {
        let raw = match self {
            Self::Prefix { matched, to } => swapped(path, matched, to),
            Self::Regex { regex, to } => replaced(path, captured, regex, to),
            Self::Whole(template) => Some(filled(template, path, captured, &Captures::default())),
        };
        let Some(raw) = raw else {
            return Ok(path.to_owned());
        };
        if raw.len() > TARGET_MAX {
            return Err(Unwritable::TooLong);
        }
        let written = written(&raw);
        match written != path && has_dot_segment(&written) {
            true => Err(Unwritable::DotSegment),
            false => Ok(written),
        }
    }
}

/// The path with another prefix. None if it has not that prefix, by whole segments.
fn swapped(path: &str, matched: &str, to: &str) -> Option<String> {
    let rest = path.strip_prefix(matched)?;
    let whole = rest.is_empty() || rest.starts_with('/');
    // Their slashes must not add up.
    let to = match rest.is_empty() {
        true => to,
        false => to.strip_suffix('/').unwrap_or(to),
    };
    whole.then(|| format!("{to}{rest}"))
}

/// The path with another text where the expression matches first. None if it matches nothing.
fn replaced(
    path: &str,
    captured: &Captures<'_>,
    regex: &Pattern,
    to: &Template<Hole>,
) -> Option<String> {
    let (whole, groups) = regex.find(path)?;
    let (before, after) = (path.get(..whole.start)?, path.get(whole.end..)?);
    let middle = filled(to, path, captured, &groups);
    Some([before, &middle, after].concat())
}

/// Fills in what can stand in a path; `groups` are those of the rewrite's own expression.
fn filled(
    template: &Template<Hole>,
    path: &str,
    captured: &Captures<'_>,
    groups: &Captures<'_>,
) -> String {
    let mut text = String::new();
    for piece in template.pieces() {
        text.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Hole(Hole::Path) => path,
            Piece::Hole(Hole::Captured(capture)) => capture.of(captured),
            Piece::Hole(Hole::Group(capture)) => capture.of(groups),
            Piece::Hole(Hole::Scheme | Hole::Host | Hole::Query) => "",
        });
    }
    text
}

/// A path as it may be written: with a slash at its beginning, and escaped.
fn written(raw: &str) -> String {
    let mut path = String::with_capacity(raw.len() + 1);
    if !raw.starts_with('/') {
        path.push('/');
    }
    escape(&mut path, raw, is_in_path);
    path
}

/// Appends `text`, with every byte escaped that does not fit.
pub(super) fn escape(out: &mut String, text: &str, fits: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        match fits(byte) {
            true => out.push(char::from(byte)),
            false => {
                let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

/// Whether a byte is itself in a path (RFC 3986 section 3.3). `%` is, of what is escaped already.
pub(super) fn is_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

/// Whether `.` or `..` is a segment, however it is written. Escaped slashes and backslashes count as
/// slashes, because there are services that read them so.
fn has_dot_segment(path: &str) -> bool {
    if !path.contains("..") && !path.contains("/.") && !path.contains('%') {
        return false;
    }
    let plain = path.to_ascii_lowercase().replace("%2e", ".");
    let plain = plain.replace("%2f", "/").replace("%5c", "/");
    plain
        .split('/')
        .any(|segment| matches!(segment, "." | ".."))
}

/// Whether this can be the target of a request in origin form (RFC 9112 section 3.2.1).
pub fn is_origin_form(target: &str) -> bool {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let visible = target.bytes().all(|byte| byte.is_ascii_graphic());
    path.starts_with('/') && path.bytes().all(is_in_path) && visible && !target.contains('#')
}

#[cfg(test)]
mod tests {
    use super::super::Capture;
    use super::*;
    use crate::route;

    fn hole(name: &str) -> Option<Hole> {
        let capture = |at| Capture {
            name: name.into(),
            at,
        };
        let group = name.strip_prefix('$').and_then(|at| at.parse().ok());
        Some(match group {
            Some(at) => Hole::Group(capture(at)),
            None if name == "path" => Hole::Path,
            None => Hole::Captured(capture(1)),
        })
    }

    fn prefix(matched: &str, to: &str) -> PathRewrite {
        PathRewrite::Prefix {
            matched: matched.into(),
            to: to.into(),
        }
    }

    fn regex(regex: &str, to: &str) -> PathRewrite {
        PathRewrite::Regex {
            regex: Arc::new(Pattern::new(regex).unwrap()),
            to: Template::parse_with_groups(to, hole).unwrap(),
        }
    }

    fn whole(to: &str) -> PathRewrite {
        PathRewrite::Whole(Template::parse(to, hole).unwrap())
    }

    /// What `/{id}` captures of a path.
    fn captured<'p>(template: &'p route::Template, id: &'p str) -> Captures<'p> {
        template.captures(id).unwrap()
    }

    fn id() -> route::Template {
        route::Template::new("/{id}").unwrap()
    }

    #[track_caller]
    fn check(rewrite: &PathRewrite, target: &str, expected: &str) {
        let found = rewrite.target(target, &captured(&id(), "/7")).unwrap();
        let shown = found.as_deref().unwrap_or(target);
        assert_eq!(shown, expected, "{rewrite:?} of {target}");
        assert!(found.is_none_or(|found| is_origin_form(&found)));
    }

    #[test]
    fn a_prefix_is_swapped_by_whole_segments() {
        let v2 = prefix("/api", "/v2");
        check(&v2, "/api/x", "/v2/x");
        check(&v2, "/api/x?a=/api/b", "/v2/x?a=/api/b");
        check(&v2, "/api", "/v2");
        check(&v2, "/api/", "/v2/");
        check(&v2, "/apix", "/apix");
        check(&v2, "/api?", "/v2?");
        check(&v2, "/api//x", "/v2//x");
        check(&prefix("/api", "/"), "/api/x", "/x");
        check(&prefix("/api", "/"), "/api", "/");
        check(&prefix("/api", "/"), "/api/", "/");
        check(&prefix("", "/all"), "/x", "/all/x");
        check(&prefix("", "/all"), "/", "/all/");
        check(&prefix("", "/all"), "*", "*");
    }

    #[test]
    fn an_expression_replaces_what_it_matches_first() {
        check(&regex("^/a/(.*)$", "/b/$1"), "/a/x/y?q", "/b/x/y?q");
        check(&regex("^/a/(.*)$", "/b/$1"), "/c/x", "/c/x");
        check(&regex("/a", "/b"), "/a/a", "/b/a");
        check(
            &regex("^/(.)/(.)", "/$2/$1x/{id}{path}$$"),
            "/p/q/r",
            "/q/px/7/p/q/r$/r",
        );
        check(&regex("^/a(b)?", "/$1c"), "/a", "/c");
        check(&regex("^/", ""), "/a", "/a");
        check(&regex("^/.*", ""), "/a", "/");
    }

    #[test]
    fn a_whole_path_may_hold_parts_of_the_old_one() {
        check(&whole("/fixed"), "/a?q=1", "/fixed?q=1");
        check(&whole("/u/{id}"), "/users/7", "/u/7");
        check(&whole("/old{path}"), "/a", "/old/a");
        check(&whole("/a"), "/a", "/a");
    }

    #[test]
    fn what_a_path_must_not_hold_is_escaped() {
        let check = |value: &str, expected: &str| {
            let (id, path) = (id(), format!("/{value}"));
            let found = whole("/u/{id}")
                .target("/old", &captured(&id, &path))
                .unwrap();
            assert_eq!(found.as_deref(), Some(expected));
        };
        check("a b", "/u/a%20b");
        check("a\r\nb\0", "/u/a%0D%0Ab%00");
        check("a?b#c", "/u/a%3Fb%23c");
        check("é", "/u/%C3%A9");
        check("a%20b", "/u/a%20b");
        check("a\\b", "/u/a%5Cb");
    }

    #[test]
    fn dot_segments_are_not_moved() {
        let refused = |rewrite: &PathRewrite, target| {
            let found = rewrite.target(target, &captured(&id(), "/.."));
            assert_eq!(found, Err(Unwritable::DotSegment), "{target}");
        };
        refused(&prefix("/files", "/static"), "/files/../secret");
        refused(&prefix("/files", "/static"), "/files/%2E./secret");
        refused(&prefix("/files", "/static"), "/files/x/.");
        refused(&prefix("/files", "/static"), "/files/..%2fsecret");
        refused(&prefix("/files", "/static"), "/files/a%5C%2e%2E%5cb");
        refused(&whole("/u/{id}"), "/users/..");
        refused(&regex("x", "."), "/a/.x/b");
        // What is not rewritten is nobody's business.
        check(&regex("^/x", "/y"), "/a/../x", "/a/../x");
        check(
            &prefix("/files", "/static"),
            "/files/...?a=../b",
            "/static/...?a=../b",
        );
    }

    #[test]
    fn a_target_has_a_bound() {
        let long = format!("/{}", "a".repeat(TARGET_MAX));
        let found = prefix("", "/b").target(&long, &Captures::default());
        assert_eq!(found, Err(Unwritable::TooLong));
        let query = format!("/a?{}", "a".repeat(TARGET_MAX));
        assert_eq!(
            prefix("", "/b").target(&query, &Captures::default()),
            Err(Unwritable::TooLong)
        );
    }
}
