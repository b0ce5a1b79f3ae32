//! What routes match.

use tidegate_core::route::{RouteMatch, TimeWindow, ValueMatch};

use crate::compile::path_text;
use crate::emit::Doc;
use crate::resolved::texts;

/// What a route matches. Keys that ask for nothing are left out, but for those that every match had
/// from the first version on.
pub(super) fn matches(matches: &RouteMatch) -> Doc<'_> {
    let clients = matches.clients.as_ref();
    let clients = clients.map(|networks| {
        let shown = networks.iter();
        texts(shown.map(|net| format!("{}/{}", net.address, net.prefix)))
    });
    let subject = matches.client_subject.as_ref();
    Doc::map([
        ("host", matches.host.as_deref().map(Doc::quote)),
        ("path", matches.path.as_ref().map(path_text).map(Doc::text)),
        ("methods", Some(texts(matches.methods.iter()))),
        ("headers", Some(values(&matches.headers))),
        ("query", some_values(&matches.query)),
        ("cookies", some_values(&matches.cookies)),
        ("clients", clients),
        (
            "server_name",
            matches.server_name.as_deref().map(Doc::quote),
        ),
        (
            "client_certificate",
            subject.map(|subject| Doc::map([("subject", Some(value(subject)))])),
        ),
        ("time", matches.time.as_deref().map(window)),
        (
            "when",
            matches.when.as_ref().map(|when| Doc::quote(when.source())),
        ),
    ])
}

fn some_values<N: AsRef<str>>(list: &[(N, ValueMatch)]) -> Option<Doc<'_>> {
    (!list.is_empty()).then(|| values(list))
}

fn values<N: AsRef<str>>(list: &[(N, ValueMatch)]) -> Doc<'_> {
    let entries = list.iter();
    let entries = entries.map(|(name, wanted)| (name.as_ref().into(), value(wanted)));
    Doc::Map(entries.collect())
}

fn value(wanted: &ValueMatch) -> Doc<'_> {
    let form = |key, value| Doc::map([(key, Some(value))]);
    match wanted {
        ValueMatch::Exact(text) => Doc::quote(text),
        ValueMatch::Prefix(text) => form("prefix", Doc::quote(text)),
        ValueMatch::Regex(pattern) => form("regex", Doc::quote(pattern.text())),
        ValueMatch::Present => form("present", Doc::word("true")),
        ValueMatch::Absent => form("absent", Doc::word("true")),
    }
}

fn window(window: &TimeWindow) -> Doc<'_> {
    let clock = |minutes: u16| Doc::text(format!("{:02}:{:02}", minutes / 60, minutes % 60));
    Doc::map([
        ("days", Some(texts(window.days.names()))),
        ("from", Some(clock(window.from))),
        ("to", Some(clock(window.to))),
        ("zone", Some(Doc::quote(window.zone.name()))),
    ])
}
