//! A cookie in the `Cookie` field (RFC 6265 section 4.2.1), which HTTP/2 clients may split.

use http::header;
use tidegate_http1::Known;

use crate::head::RequestHead;

/// The cookies of one name in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    None,
    /// The value of the only one.
    One(&'a [u8]),
    /// More than one, so that nobody knows which is meant.
    Many,
}

impl<'a> Found<'a> {
    fn and(self, line: &'a [u8], name: &str) -> Self {
        let values = pairs(line).filter_map(|pair| value_of(pair, name));
        values.fold(self, |found, value| match found {
            Self::None => Self::One(value),
            Self::One(_) | Self::Many => Self::Many,
        })
    }
}

/// The cookies of this name.
pub(super) fn find<'a>(head: &'a RequestHead, name: &str) -> Found<'a> {
    let and = |found: Found<'a>, line| found.and(line, name);
    match head {
        RequestHead::H1(head) => head.fields.get_all(Known::Cookie).fold(Found::None, and),
        RequestHead::H2(parts) => {
            let lines = parts.headers.get_all(header::COOKIE).iter();
            lines.map(|value| value.as_bytes()).fold(Found::None, and)
        }
    }
}

/// The cookies of these lines but those of this name, as they are written.
pub(crate) fn others<'a>(
    lines: &'a [&'a [u8]],
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> + Clone {
    let pairs = lines.iter().flat_map(|line| pairs(line));
    pairs.filter(move |pair| value_of(pair, name).is_none())
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty())
}

/// A space before `=` is none of RFC 6265's, but browsers and services read it away (RFC 6265bis).
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let rest = pair.strip_prefix(name.as_bytes())?.trim_ascii_start();
    rest.strip_prefix(b"=").map(<[u8]>::trim_ascii_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_once_or_not_at_all() {
        let check = |lines: &[&str], expected: Found<'_>, others_are: &[&str]| {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let found = lines
                .iter()
                .fold(Found::None, |found, line| found.and(line, "at"));
            assert_eq!(found, expected, "{lines:?}");
            let others: Vec<_> = others(&lines, "at").collect();
            let others_are: Vec<_> = others_are.iter().map(|pair| pair.as_bytes()).collect();
            assert_eq!(others, others_are, "{lines:?}");
        };
        check(&[], Found::None, &[]);
        check(&["a=b; c=d"], Found::None, &["a=b", "c=d"]);
        check(&["at=x"], Found::One(b"x"), &[]);
        check(&["a=b; at=x;c=d"], Found::One(b"x"), &["a=b", "c=d"]);
        check(&["a=b", "at=x"], Found::One(b"x"), &["a=b"]);
        check(&["at=x=y"], Found::One(b"x=y"), &[]);
        check(&["at="], Found::One(b""), &[]);
        check(&["at =\tx "], Found::One(b"x"), &[]);
        check(&["at=x; at=x"], Found::Many, &[]);
        check(&["at=x; b=c", "at=y"], Found::Many, &["b=c"]);
        check(
            &["at; At=x; that=y; att=z;"],
            Found::None,
            &["at", "At=x", "that=y", "att=z"],
        );
    }
}
