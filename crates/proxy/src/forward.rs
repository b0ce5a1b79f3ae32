//! What of a head goes on, and what is added: requests to the upstream, responses to the client.
//!
//! One walk over the fields serves both protocols; a [`Sink`] writes them as HTTP/1.1 lines or into
//! a `HeaderMap`. Fields that belong to one hop (RFC 9110 section 7.6.1) stop here; who the client
//! is follows by `Forwarded` (RFC 7239) and `X-Forwarded-*`, appended for trusted clients and
//! replaced for everybody else.

mod client;
mod passage;
mod sink;

use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;
use tidegate_core::plan::FieldEdits;
use tidegate_http1::Known;

use crate::action::fields::{AnswerEdits, Edited};
use crate::affinity;
use crate::deadline::Told;
use crate::head::{RequestHead, ResponseHead};
use crate::request_id::RequestId;
use crate::said;

pub(crate) use client::ClientWords;
use passage::{Passage, via_of};
pub(crate) use sink::Sink;

/// What an upstream request needs besides the client's head.
pub(crate) struct RequestAdditions<'a> {
    pub(crate) client: &'a ClientWords,
    pub(crate) request_id: &'a RequestId,
    /// How much time is left.
    pub(crate) told: &'a Told<'a>,
    /// The name in `Via`.
    pub(crate) pop: &'a str,
    /// Leave `Expect` out: the client has been told to continue, or the upstream speaks HTTP/2.
    pub(crate) without_expect: bool,
    /// The name of a cookie that is ours, if the client sent it: it stays out.
    pub(crate) without_cookie: Option<&'a str>,
}

/// Writes every field of an upstream request but `Host`, framing and upgrade.
pub(crate) fn request_fields(head: &RequestHead, add: &RequestAdditions<'_>, sink: &mut impl Sink) {
    let mut said = Said::default();
    match head {
        RequestHead::H1(head) => sink.add_lines(&head.fields, |field| {
            !field.hop_by_hop
                && !poses_as_known(field.known, field.name)
                && !add.told.replaces(field.known, field.name)
                && said.passes(add, field.known, field.value, add.without_cookie.is_some())
        }),
        RequestHead::H2(parts) => {
            for (name, value) in &parts.headers {
                let bytes = name.as_str().as_bytes();
                let known = Known::of(bytes);
                if !is_hop_by_hop(name)
                    && !poses_as_known(Known::Other, bytes)
                    && !add.told.replaces(known, bytes)
                    && said.passes(add, known, value.as_bytes(), true)
                {
                    sink.add_typed(name, value);
                }
            }
        }
    }
    match add.without_cookie {
        None => add_cookies(&said.cookies, sink),
        Some(name) => add_other_cookies(&said.cookies, name, sink),
    }
    add_time(add.told, sink);
    add_client_words(head, add, &said, sink);
    sink.add_passage(&Passage {
        via: via_of(head.version()),
        earlier: &said.via,
        pop: add.pop,
        request_id: add.request_id,
    });
}

/// What earlier hops said; lists are inline because there are rarely any.
#[derive(Default)]
struct Said<'a> {
    forwarded_for: SmallVec<[&'a [u8]; 2]>,
    forwarded: SmallVec<[&'a [u8]; 2]>,
    via: SmallVec<[&'a [u8]; 2]>,
    cookies: SmallVec<[&'a [u8]; 2]>,
    proto: bool,
    host: bool,
}

impl<'a> Said<'a> {
    /// Whether a field of the client's goes on as it is; notes what is written anew instead.
    /// `split`: cookies may have come in several fields, or are written anew for another reason.
    fn passes(
        &mut self,
        add: &RequestAdditions<'_>,
        known: Known,
        value: &'a [u8],
        split: bool,
    ) -> bool {
        match known {
            Known::Host
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::XRequestId
            | Known::TidegateRegion => {
                return false;
            }
            Known::XForwardedFor => self.forwarded_for.push(value),
            Known::Forwarded => self.forwarded.push(value),
            Known::Via => self.via.push(value),
            Known::Cookie if split => self.cookies.push(value),
            Known::XForwardedProto | Known::XForwardedHost | Known::TidegateMirror
                if !add.client.trusted() =>
            {
                return false;
            }
            Known::XForwardedProto => self.proto = true,
            Known::XForwardedHost => self.host = true,
            Known::Expect => return !add.without_expect,
            _ => {}
        }
        let anew = matches!(known, Known::XForwardedFor | Known::Forwarded | Known::Via)
            || (split && known == Known::Cookie);
        !anew
    }
}

/// HTTP/2 clients may split `Cookie`; what leaves again is one field (RFC 9113 section 8.2.3).
fn add_cookies(cookies: &[&[u8]], sink: &mut impl Sink) {
    match cookies {
        [] => {}
        [only] => sink.add(b"cookie", only),
        split => sink.add(b"cookie", &split.join(&b"; "[..])),
    }
}

/// The same but for the cookie that is ours.
fn add_other_cookies(cookies: &[&[u8]], name: &str, sink: &mut impl Sink) {
    let mut parts = affinity::others(cookies, name).flat_map(|pair| [&b"; "[..], pair]);
    if parts.next().is_some() {
        sink.add_parts(b"cookie", parts);
    }
}

/// What is left is never the same twice.
fn add_time(told: &Told<'_>, sink: &mut impl Sink) {
    if let Some(call) = &told.call {
        sink.add_unique("grpc-timeout", call.as_bytes());
    }
    if let Some((header, Some(left))) = &told.header {
        sink.add(header.as_str().as_bytes(), left.as_bytes());
    }
}

fn add_client_words(
    head: &RequestHead,
    add: &RequestAdditions<'_>,
    said: &Said<'_>,
    sink: &mut impl Sink,
) {
    let client = add.client;
    let authority = head.authority().as_bytes();
    // Of what an untrusted client says nothing is told.
    let alone = !client.trusted() && !authority.is_empty();
    if alone && sink.add_client(client, authority) {
        return;
    }
    let none: &[&[u8]] = &[];
    let (earlier_for, earlier_forwarded) = if client.trusted() {
        (&said.forwarded_for[..], &said.forwarded[..])
    } else {
        (none, none)
    };
    add_list(
        sink,
        b"x-forwarded-for",
        earlier_for,
        &[client.ip.as_bytes()],
    );
    if !said.proto {
        sink.add(b"x-forwarded-proto", client.scheme.as_bytes());
    }
    if !said.host && !authority.is_empty() {
        sink.add(b"x-forwarded-host", authority);
    }
    let host: [&[u8]; 4] = [client.forwarded.as_bytes(), b";host=\"", authority, b"\""];
    let own = if authority.is_empty() {
        &host[..1]
    } else {
        &host[..]
    };
    add_list(sink, b"forwarded", earlier_forwarded, own);
}

/// One field that lists what `earlier` hops said and then, as one member, the parts of `own`.
fn add_list(sink: &mut impl Sink, name: &[u8], earlier: &[&[u8]], own: &[&[u8]]) {
    let earlier = earlier.iter().flat_map(|member| [*member, b", "]);
    sink.add_parts(name, earlier.chain(own.iter().copied()));
}

/// Takes out of a request's trailers what only its head may say, what is ours to say, what is for us
/// alone and what the route takes out of heads or sets there: services that read trailers like fields
/// would believe it.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap, edits: Option<&FieldEdits>) {
    let is_foreign = |name: &&HeaderName| {
        let bytes = name.as_str().as_bytes();
        let known = Known::of(bytes);
        let is_edited = edits.is_some_and(|edits| edits.drops(bytes));
        is_edited || is_vouched_for(known) || poses_as_known(known, bytes)
    };
    let foreign: SmallVec<[HeaderName; 2]> = trailers.keys().filter(is_foreign).cloned().collect();
    for name in foreign {
        trailers.remove(name);
    }
}

/// Whether a request's field says what we vouch for, or is for us.
fn is_vouched_for(known: Known) -> bool {
    matches!(
        known,
        Known::Host
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Forwarded
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedProto
            | Known::XRequestId
            | Known::TidegateMirror
            | Known::TidegateRegion
    )
}

/// Whether a name becomes one that we vouch for once underscores are read as hyphens, as CGI-like
/// upstreams do: `X_Forwarded_For` must not slip past us.
fn poses_as_known(known: Known, name: &[u8]) -> bool {
    if known != Known::Other || !name.contains(&b'_') {
        return false;
    }
    let folded: SmallVec<[u8; 64]> = name
        .iter()
        .map(|&byte| if byte == b'_' { b'-' } else { byte })
        .collect();
    Known::of(&folded) != Known::Other
}

/// What an answer needs besides the upstream's head.
pub(crate) struct ResponseAdditions<'a> {
    pub(crate) request_id: &'a RequestId,
    pub(crate) pop: &'a str,
    /// `tidegate-region`, if the route reveals it.
    pub(crate) region: Option<&'a str>,
    /// `tidegate-attempts`, if the route reveals it.
    pub(crate) attempts: Option<u8>,
    /// `server-timing` metrics, if the route reveals them.
    pub(crate) server_timing: Option<&'a str>,
    /// A cookie of ours.
    pub(crate) set_cookie: Option<&'a str>,
    /// What the route edits.
    pub(crate) edits: Option<&'a AnswerEdits>,
}

/// Writes every field of an answer but its framing (`Content-Length` is written by the caller too).
pub(crate) fn response_fields(
    head: &ResponseHead,
    add: &ResponseAdditions<'_>,
    sink: &mut impl Sink,
) {
    let mut via: SmallVec<[&[u8]; 2]> = SmallVec::new();
    let keep = |known, value| match known {
        Known::ContentLength | Known::TransferEncoding | Known::XRequestId => false,
        Known::Via => {
            via.push(value);
            false
        }
        known => !said::is_for_us(known),
    };
    match add.edits {
        None => add_response_fields(head, sink, keep),
        Some(edits) => {
            let mut edited = Edited {
                sink: &mut *sink,
                edits: edits.edits(),
                says_wrong: false,
            };
            add_response_fields(head, &mut edited, keep);
        }
    }
    sink.add_passage(&Passage {
        via: via_of(head.version()),
        earlier: &via,
        pop: add.pop,
        request_id: add.request_id,
    });
    revealed_fields(add, sink);
    if let Some(edits) = add.edits {
        edits.write(false, sink);
    }
}

/// The fields that an answer of our own carries, too.
pub(crate) fn local_fields(add: &ResponseAdditions<'_>, sink: &mut impl Sink) {
    sink.add_unique("x-request-id", add.request_id.as_bytes());
    revealed_fields(add, sink);
}

/// The fields that tell of how the answer came about, as far as the route reveals it, and what binds
/// its client.
fn revealed_fields(add: &ResponseAdditions<'_>, sink: &mut impl Sink) {
    if let Some(region) = add.region {
        sink.add(b"tidegate-region", region.as_bytes());
    }
    if let Some(attempts) = add.attempts {
        sink.add(b"tidegate-attempts", attempts.to_string().as_bytes());
    }
    if let Some(timing) = add.server_timing {
        sink.add(b"server-timing", timing.as_bytes());
    }
    if let Some(cookie) = add.set_cookie {
        sink.add_unique("set-cookie", cookie.as_bytes());
    }
}

/// Writes the fields of an interim (1xx) answer.
pub(crate) fn interim_fields(head: &ResponseHead, sink: &mut impl Sink) {
    add_response_fields(head, sink, |known, _| {
        !matches!(known, Known::ContentLength | Known::TransferEncoding) && !said::is_for_us(known)
    });
}

/// Adds those fields that are not for this hop alone and that `keep` keeps.
fn add_response_fields<'a>(
    head: &'a ResponseHead,
    sink: &mut impl Sink,
    mut keep: impl FnMut(Known, &'a [u8]) -> bool,
) {
    match head {
        ResponseHead::H1(head) => sink.add_lines(&head.fields, |field| {
            !field.hop_by_hop && keep(field.known, field.value)
        }),
        ResponseHead::H2(parts) => {
            for (name, value) in &parts.headers {
                let known = Known::of(name.as_str().as_bytes());
                if !is_hop_by_hop(name) && keep(known, value.as_bytes()) {
                    sink.add_typed(name, value);
                }
            }
        }
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(
        name.as_str(),
        "keep-alive" | "proxy-connection" | "http2-settings"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_do_not_hide_a_known_name() {
        let check = |name: &str, poses| {
            assert_eq!(
                poses_as_known(Known::of(name.as_bytes()), name.as_bytes()),
                poses,
                "{name}"
            );
        };
        check("x_forwarded_for", true);
        check("Content_Length", true);
        check("x-forwarded-for", false);
        check("my_header", false);
        check("plain", false);
    }
}
