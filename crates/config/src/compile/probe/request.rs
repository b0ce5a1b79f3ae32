//! One request of a probe, and the answer that is expected: the same for `http` and for each of
//! `steps`.

use std::sync::Arc;

use http::{HeaderName, Method, header};
use tidegate_core::plan::HttpProbe;

use crate::compile::{Context, headers, matches, syntax};
use crate::defaults;
use crate::problem::Problem;
use crate::raw;
use crate::yaml::{Entries, Field};

/// Most bytes of a request's content: a probe is not a load test.
const BODY_MAX: usize = 64 * 1024;

/// Most bytes that are looked for in an answer.
const EXPECT_BODY_MAX: usize = 4096;

/// Fields that a probe makes itself.
const MANAGED: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What is written of a request, whatever stands around it.
pub(super) struct Parts<'a> {
    pub(super) method: &'a Field<String>,
    pub(super) headers: &'a Field<Entries<String>>,
    pub(super) body: &'a Field<String>,
    pub(super) expect: &'a Field<Vec<Field<raw::StatusRange>>>,
    pub(super) expect_body: &'a Field<String>,
    pub(super) expect_headers: &'a Field<Entries<String>>,
}

/// Compiles a request to `path` of `host`, which were checked.
pub(super) fn compile(
    cx: &mut Context<'_>,
    path: &str,
    host: Option<Arc<str>>,
    parts: &Parts<'_>,
) -> HttpProbe {
    let request = HttpProbe {
        method: method(cx, parts.method),
        path: path.into(),
        host,
        headers: headers::compile(cx, parts.headers, "send", refused),
        body: text(cx, parts.body, BODY_MAX),
        expect: expect(cx, parts.expect),
        expect_body: text(cx, parts.expect_body, EXPECT_BODY_MAX),
        expect_headers: headers::compile(cx, parts.expect_headers, "expect", |_| None),
        extract: Box::default(),
    };
    check_content(cx, &request, parts);
    if request.expect_body.is_some() {
        check_answer(cx, &request, parts, parts.expect_body, "`expect_body`");
    }
    request
}

/// Content that no server agrees on the meaning of.
fn check_content(cx: &mut Context<'_>, request: &HttpProbe, parts: &Parts<'_>) {
    let without = [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];
    if request.body.is_some() && without.contains(&request.method) {
        let message = format!("content of a {} request has no meaning", request.method);
        let problem = Problem::warning("unusual_body", message).at(parts.body.span());
        let help = "many servers ignore or refuse it (RFC 9110, 9.3); write `method: POST`";
        cx.report(problem.help(help.to_owned()));
    }
}

/// Whether the answer can have a body, which `field` needs; reports it when it cannot.
pub(super) fn check_answer<T>(
    cx: &mut Context<'_>,
    request: &HttpProbe,
    parts: &Parts<'_>,
    field: &Field<T>,
    what: &str,
) {
    let never = |(first, last): &(u16, u16)| first == last && matches!(first, 204 | 304);
    let (reason, place) = if request.method == Method::HEAD {
        ("an answer to HEAD has no body", parts.method.span())
    } else if request.expect.iter().all(never) && !request.expect.is_empty() {
        (
            "an answer with status 204 or 304 has no body",
            parts.expect.span(),
        )
    } else {
        return;
    };
    let message = format!("{what} never fits: {reason}");
    let problem = Problem::error("impossible_answer", message).at(field.span());
    let problem = problem.label(place, "because of this");
    cx.report(problem.help("remove one of the two".to_owned()));
}

fn method(cx: &mut Context<'_>, field: &Field<String>) -> Method {
    let method = matches::method(cx, field).unwrap_or_default();
    if method == Method::CONNECT || method == Method::TRACE {
        let help = "`GET`, `HEAD`, `POST` or another that a service answers";
        cx.invalid(
            field.span(),
            "method",
            "a method of a probe",
            method.as_str(),
            help,
        );
    }
    method
}

fn refused(name: &HeaderName) -> Option<&'static str> {
    if *name == header::HOST {
        return Some("use the key `host`");
    }
    MANAGED
        .contains(name)
        .then_some("the probe makes it itself")
}

/// A text that is not empty; none when it is absent, or too long, which is reported.
fn text(cx: &mut Context<'_>, field: &Field<String>, bytes_max: usize) -> Option<Arc<str>> {
    let text = field.get()?;
    let help = format!("1 to {bytes_max} bytes; leave the key out for none");
    if text.is_empty() || text.len() > bytes_max {
        let message = format!("a text of {} bytes is out of range", text.len());
        let problem = Problem::error("out_of_range", message).at(field.span());
        cx.report(problem.help(help));
        return None;
    }
    Some(text.as_str().into())
}

/// The `Host` to send: a host, or a host and a port.
pub(super) fn host(cx: &mut Context<'_>, field: &Field<String>) -> Option<Arc<str>> {
    let text = field.get()?;
    let host = text
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .map_or(text.as_str(), |(host, _)| host);
    if let Err(help) = syntax::match_host(host).and_then(|host| match host.contains('*') {
        true => Err("without `*`".to_owned()),
        false => Ok(host),
    }) {
        cx.invalid(field.span(), "host", "a host", text, &help);
    }
    Some(text.as_str().into())
}

fn expect(cx: &mut Context<'_>, field: &Field<Vec<Field<raw::StatusRange>>>) -> Box<[(u16, u16)]> {
    let default = || syntax::status_range(defaults::EXPECT).into_iter().collect();
    let Some(list) = field.get() else {
        return default();
    };
    if list.is_empty() {
        let problem = Problem::error("empty_list", "no status would count as healthy");
        cx.report(problem.at(field.span()));
    }
    let mut ranges: Vec<_> = list
        .iter()
        .filter_map(|field| status_range(cx, field))
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges.into()
}

fn status_range(cx: &mut Context<'_>, field: &Field<raw::StatusRange>) -> Option<(u16, u16)> {
    let text = field.get()?.as_ref();
    let range = syntax::status_range(text);
    if range.is_none() {
        let help = "write a status from 100 to 599, or a range like `200-299`";
        cx.invalid(
            field.span(),
            "status",
            "a status or a range of statuses",
            text,
            help,
        );
    }
    range
}
