//! Addresses that we are to call or to send clients to. Only the two schemes that browsers and
//! webhooks have, and no user names: whatever is written here is shown.

use std::sync::Arc;

use http::Uri;

use crate::compile::Context;
use crate::span::Span;

/// Longest address.
const BYTES_MAX: usize = 2048;

/// An `http` or `https` address with a host; reported when it is none.
pub(crate) fn absolute(cx: &mut Context<'_>, text: &str, span: Option<Span>) -> Option<Arc<str>> {
    match fault(text) {
        None => Some(text.into()),
        Some(help) => {
            cx.invalid(span, "value", "an address to call", shown(text), help);
            None
        }
    }
}

/// The same, or a path that begins with a single `/`: where clients can be sent.
pub(crate) fn location(cx: &mut Context<'_>, text: &str, span: Option<Span>) -> Option<Arc<str>> {
    let path = text.starts_with('/') && !text.starts_with("//") && is_plain(text);
    match fault(text).filter(|_| !path) {
        None => Some(text.into()),
        Some(help) => {
            let what = "an address to send clients to";
            cx.invalid(span, "value", what, shown(text), help);
            None
        }
    }
}

/// Without what stands before a host: it may be a password, and messages are logged.
fn shown(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

fn is_plain(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    text.len() <= BYTES_MAX && text.bytes().all(fits)
}

/// What is wrong with an absolute address, as a hint.
fn fault(text: &str) -> Option<&'static str> {
    let uri = text.parse::<Uri>().ok().filter(|_| is_plain(text));
    let Some(uri) = uri else {
        return Some("like `https://status.example.com/`, escaped, at most 2048 characters");
    };
    let known = uri
        .scheme_str()
        .is_some_and(|scheme| matches!(scheme, "http" | "https"));
    let host = uri.host().is_some_and(|host| !host.is_empty());
    let user = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    match (known && host, user) {
        (false, _) => Some("it begins with `http://` or `https://` and a host"),
        (true, true) => Some("without a user name and a password: it is shown"),
        (true, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_called_is_an_address() {
        let check = |text: &str, good| assert_eq!(fault(text).is_none(), good, "{text}");
        check("https://status.example.com/", true);
        check("http://127.0.0.1:9000/start?region=a", true);
        check("http://[::1]:9000/", true);
        check("ftp://example.com/", false);
        check("example.com", false);
        check("/path", false);
        check("https:///path", false);
        check("https://user:secret@example.com/", false);
        check("https://example.com/a b", false);
        check("https://example.com/\r\nset-cookie:a", false);
        check("", false);
    }
}
