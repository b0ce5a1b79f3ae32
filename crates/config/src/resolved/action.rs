//! What routes do besides sending requests on, as it would be written.

use tidegate_core::action::PathRewrite;
use tidegate_core::plan::{
    Actions, Edit, Fault, FieldEdits, HostRewrite, Redirect, RedirectTo, Reply, Respond,
};

use super::{duration, percent, texts, truth};
use crate::emit::Doc;

/// Where clients are sent.
pub(super) fn redirect(actions: Option<&Actions>) -> Option<Doc<'static>> {
    let Some(Reply::Redirect(redirect)) = &actions?.reply else {
        return None;
    };
    let Redirect {
        status,
        to,
        keep_query,
    } = redirect;
    let (whole, parts) = match to {
        RedirectTo::Url(url) => {
            let fragment = url.fragment.as_ref();
            let fragment = fragment.map_or_else(String::new, |fragment| format!("#{fragment}"));
            (Some(format!("{}{}{fragment}", url.origin, url.rest)), None)
        }
        RedirectTo::Parts(parts) => (None, Some(parts)),
    };
    let host = parts.and_then(|parts| parts.host.as_ref());
    Some(Doc::map([
        ("to", whole.map(Doc::text)),
        (
            "scheme",
            parts.and_then(|parts| parts.scheme).map(Doc::word),
        ),
        ("host", host.map(Doc::text)),
        ("port", parts.and_then(|parts| parts.port).map(Doc::plain)),
        (
            "path",
            parts.and_then(|parts| parts.path.as_ref()).map(path),
        ),
        ("status", Some(Doc::plain(status.as_u16()))),
        ("keep_query", Some(truth(*keep_query))),
    ]))
}

/// What is always answered.
pub(super) fn respond(actions: Option<&Actions>) -> Option<Doc<'static>> {
    let Some(Reply::Respond(respond)) = &actions?.reply else {
        return None;
    };
    let Respond {
        status,
        content_type,
        body,
        fields,
    } = respond;
    let body = (!body.is_empty()).then(|| String::from_utf8_lossy(body));
    Some(Doc::map([
        ("status", Some(Doc::plain(status.as_u16()))),
        (
            "content_type",
            body.as_ref().map(|_| Doc::text(content_type)),
        ),
        ("body", body.map(Doc::text)),
        ("headers", Some(edits(fields))),
    ]))
}

/// What upstreams get to see.
pub(super) fn rewrite(actions: Option<&Actions>) -> Option<Doc<'static>> {
    let actions = actions.filter(|actions| actions.path.is_some() || actions.host.is_some())?;
    let host = actions.host.as_ref().map(|host| match host {
        HostRewrite::Fixed(host) => Doc::text(host),
        HostRewrite::Upstream => Doc::word("upstream"),
    });
    Some(Doc::map([
        ("path", actions.path.as_ref().map(path)),
        ("host", host),
    ]))
}

/// What is edited of header fields.
pub(super) fn headers(actions: Option<&Actions>) -> Option<Doc<'static>> {
    let actions = actions?;
    let some = |edits: &FieldEdits| (!edits.is_empty()).then(|| field_edits(edits));
    let (request, response) = (some(&actions.request), some(&actions.response));
    let any = request.is_some() || response.is_some();
    any.then(|| Doc::map([("request", request), ("response", response)]))
}

/// What is injected.
pub(super) fn fault(actions: Option<&Actions>) -> Option<Doc<'static>> {
    let Fault { delay, abort } = &actions?.fault;
    let delay = delay.map(|delay| {
        Doc::map([
            ("time", Some(duration(delay.time))),
            ("share", Some(percent(delay.share.share()))),
        ])
    });
    let abort = abort.map(|abort| {
        Doc::map([
            ("status", Some(Doc::plain(abort.status.as_u16()))),
            ("share", Some(percent(abort.share.share()))),
        ])
    });
    let any = delay.is_some() || abort.is_some();
    any.then(|| Doc::map([("delay", delay), ("abort", abort)]))
}

fn path(rewrite: &PathRewrite) -> Doc<'static> {
    match rewrite {
        PathRewrite::Prefix { to, .. } => Doc::map([("prefix", Some(Doc::text(to)))]),
        PathRewrite::Regex { regex, to } => Doc::map([
            ("regex", Some(Doc::text(regex.text()))),
            ("to", Some(Doc::text(to))),
        ]),
        PathRewrite::Whole(template) => Doc::text(template),
    }
}

fn field_edits(edits: &FieldEdits) -> Doc<'static> {
    Doc::map([
        ("set", Some(self::edits(&edits.set))),
        ("append", Some(self::edits(&edits.append))),
        ("remove", Some(texts(edits.remove.iter()))),
    ])
}

fn edits(list: &[Edit]) -> Doc<'static> {
    let entries = list.iter();
    let entries = entries.map(|edit| (edit.name.to_string().into(), Doc::text(&edit.value)));
    Doc::Map(entries.collect())
}
