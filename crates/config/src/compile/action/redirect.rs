//! Redirects: whole addresses, or the parts of the request's that change.

use http::{StatusCode, Uri};
use tidegate_core::action::{Hole, Template};
use tidegate_core::plan::{Redirect, RedirectTo, UrlParts, UrlTemplate};
use tidegate_core::route::RouteMatch;

use super::holes::Holes;
use super::rewrite;
use crate::compile::Context;
use crate::compile::fallback::REDIRECTS;
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::span::Span;
use crate::yaml::Field;

/// What stands in a hole while a text is looked at.
const SAMPLE: &str = "x";

/// A redirect. None when its address is broken, which was reported.
pub(super) fn compile(
    cx: &mut Context<'_>,
    raw: &raw::Redirect,
    span: Option<Span>,
    matches: &RouteMatch,
) -> Option<Redirect> {
    let status = status(cx, &raw.status);
    check_keys(cx, raw, span);
    let to = match raw.to.is_absent() {
        true => RedirectTo::Parts(parts(cx, raw, matches)?),
        false => RedirectTo::Url(url(cx, &raw.to, matches)?),
    };
    let own_query = match &to {
        RedirectTo::Url(url) => has_query(&url.rest),
        RedirectTo::Parts(_) => false,
    };
    Some(Redirect {
        status,
        to,
        keep_query: raw.keep_query.or(!own_query),
    })
}

fn has_query(rest: &Template<Hole>) -> bool {
    rest.texts().any(|text| text.contains('?'))
}

/// A whole address and parts of one, or neither.
fn check_keys(cx: &mut Context<'_>, raw: &raw::Redirect, span: Option<Span>) {
    let parts = [
        raw.scheme.span(),
        raw.host.span(),
        raw.port.span(),
        raw.path.span(),
    ];
    let mut given = parts.into_iter().flatten();
    match (raw.to.span(), given.next()) {
        (Some(to), Some(part)) => {
            let message = "a redirect has either a whole address in `to` or parts of one";
            let problem = Problem::error("conflicting_keys", message).at(part);
            let problem = problem.label(to.into(), "the whole address");
            cx.report(problem.help("remove one".to_owned()));
        }
        (None, None) => {
            let message = "the redirect leads nowhere";
            let problem = Problem::error("missing_key", message).at(span);
            let help = "give the whole address in `to`, or `scheme`, `host`, `port` or `path`";
            cx.report(problem.help(help.to_owned()));
        }
        _ => {}
    }
}

fn status(cx: &mut Context<'_>, field: &Field<u64>) -> StatusCode {
    let default = defaults::ROUTE_REDIRECT_STATUS;
    let written = field.get().copied().unwrap_or(default.into());
    let known = u16::try_from(written)
        .ok()
        .filter(|status| REDIRECTS.contains(status));
    if known.is_none() {
        let (what, help) = ("a status of a redirect", "301, 302, 303, 307 or 308");
        cx.invalid(field.span(), "status", what, &written.to_string(), help);
    }
    let status = StatusCode::from_u16(known.unwrap_or(default));
    status.unwrap_or(StatusCode::PERMANENT_REDIRECT)
}

fn parts(cx: &mut Context<'_>, raw: &raw::Redirect, matches: &RouteMatch) -> Option<UrlParts> {
    let scheme = raw.scheme.get().map(|scheme| match scheme {
        raw::Scheme::Http => "http",
        raw::Scheme::Https => "https",
    });
    let port = raw.port.get().map(|_| cx.number(&raw.port, 1..=65_535, 1));
    let host = host(cx, &raw.host, matches);
    let path = rewrite::path(cx, &raw.path, matches);
    // What is broken was reported.
    let broken =
        (!raw.host.is_absent() && host.is_none()) || (!raw.path.is_absent() && path.is_none());
    (!broken).then_some(UrlParts {
        scheme,
        host,
        port: port.and_then(|port| u16::try_from(port).ok()),
        path,
    })
}

fn host(
    cx: &mut Context<'_>,
    field: &Field<String>,
    matches: &RouteMatch,
) -> Option<Template<Hole>> {
    let text = field.get()?;
    let template = Holes::of_url(matches).read(cx, text, field.span())?;
    let sample: String = template.parts(|_| SAMPLE).collect();
    let port = sample.contains(':') && !sample.starts_with('[');
    if port || !is_origin(&format!("http://{sample}")) {
        let help = "a host without port, like `new.example.com` or `{tenant}.example.com`";
        cx.invalid(field.span(), "host", "a host", text, help);
        return None;
    }
    Some(template)
}

/// Whether this is a scheme and a host, perhaps with a port, and nothing else.
fn is_origin(text: &str) -> bool {
    let uri = text.parse::<Uri>().ok();
    uri.is_some_and(|uri| {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri.host().is_some_and(|host| !host.is_empty());
        scheme && host && !authority.contains('@') && uri.path() == "/" && uri.query().is_none()
    })
}

/// The hint for what is no address.
const URL: &str =
    "like `https://new.example.com{path}`, or a path that begins with one `/`, escaped";

fn url(cx: &mut Context<'_>, field: &Field<String>, matches: &RouteMatch) -> Option<UrlTemplate> {
    let text = field.get()?;
    let (whole, fragment) = match text.split_once('#') {
        Some((whole, fragment)) => (whole, Some(fragment)),
        None => (text.as_str(), None),
    };
    let (origin, rest) = whole.split_at(end_of_host(whole));
    let holes = Holes::of_url(matches);
    let origin = holes.read(cx, origin, field.span())?;
    let rest = holes.read(cx, rest, field.span())?;
    let sampled = |template: &Template<Hole>| -> String {
        let sample = |hole: &Hole| match hole {
            Hole::Scheme => "http",
            Hole::Path => "/",
            _ => SAMPLE,
        };
        template.parts(sample).collect()
    };
    let (host, path) = (sampled(&origin), sampled(&rest));
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
    let plain = |text: &str| text.bytes().all(fits);
    let valid = match host.is_empty() {
        true => path.starts_with('/') && !path.starts_with("//") || rest_is_path(&rest),
        false => is_origin(&host) && (path.is_empty() || path.starts_with(['/', '?'])),
    };
    if !valid || !plain(&path) || !fragment.is_none_or(plain) {
        let what = "an address to send clients to";
        cx.invalid(field.span(), "value", what, text, URL);
        return None;
    }
    Some(UrlTemplate {
        origin,
        rest,
        fragment: fragment.map(Into::into),
    })
}

/// Whether an address begins with the request's path.
fn rest_is_path(rest: &Template<Hole>) -> bool {
    use tidegate_core::action::Piece;
    matches!(rest.pieces().first(), Some(Piece::Hole(Hole::Path)))
}

/// Where scheme and host of an address end; 0 if it has none.
fn end_of_host(text: &str) -> usize {
    let Some(scheme) = text.find("://") else {
        return 0;
    };
    let after = scheme + 3;
    let rest = &text[after..];
    let ends = [
        rest.find(['/', '?']),
        rest.find("{path}"),
        rest.find("{query}"),
    ];
    after + ends.into_iter().flatten().min().unwrap_or(rest.len())
}
