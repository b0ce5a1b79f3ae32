//! The client's request as the upstream gets it, in the protocol that the connection speaks.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use tidegate_core::plan::FieldEdits;
use tidegate_core::retry::{Failure, Phase};
use tidegate_http1::{Framing, RequestContext, encode};

use crate::action::fields::{self, Edited};
use crate::attempt::EndedBy;
use crate::body::UploadError;
use crate::deadline::Told;
use crate::exchange::{Exchange, ExchangeError};
use crate::forward::{RequestAdditions, Sink, request_fields};
use crate::h1::client as h1;
use crate::h2::client as h2;
use crate::mirror;
use crate::pipeline::Serving;
use crate::resume::Unconditional;
use crate::tunnel;
use crate::upstream::pool::{Checked, Link};

/// Room for the fields of most requests.
const FIELDS: usize = 24;

/// Starts the exchange on the connection that was checked out, if that takes it.
///
/// # Errors
/// As [`begin`], and when the connection takes no tunnel.
pub(crate) fn start(serving: &Serving, checked: Checked) -> Result<Exchange, EndedBy> {
    if let (Link::H2(handle), Some(_)) = (&checked.link, serving.head.upgrade())
        && !handle.takes_extended_connect()
    {
        return Err(no_extended_connect().into());
    }
    begin(serving, checked)
}

/// Starts the exchange. A stream that is to become a tunnel must be known to take that.
///
/// # Errors
/// The connection takes no stream, the request cannot be said in its protocol, or no time is left;
/// nothing was sent.
pub(crate) fn begin(serving: &Serving, checked: Checked) -> Result<Exchange, EndedBy> {
    let told = serving.tell_time()?;
    match checked.link {
        Link::H1(conn) => {
            let framing = h1_framing(serving);
            let context = RequestContext {
                head_request: *serving.head.method() == Method::HEAD,
                connect: false,
                upgrade: serving.admitted.upgrade,
            };
            let tls = checked.tls;
            let write = |out: &mut BytesMut| write_h1(serving, &told, (framing, tls), out);
            let exchange = h1::Exchange::start(conn, checked.home, context, framing, write);
            Ok(Exchange::H1(exchange))
        }
        Link::H2(handle) => {
            let request = h2_request(serving, &told, checked.tls)?;
            let upgrade = serving.admitted.upgrade;
            let end = serving.body.is_empty() && !upgrade;
            let mut exchange = h2::Exchange::start(handle, request, end)?;
            if upgrade {
                exchange.keep_open();
            }
            Ok(Exchange::H2(Box::new(exchange)))
        }
    }
}

fn additions<'a>(
    serving: &'a Serving,
    told: &'a Told<'a>,
    without_expect: bool,
) -> RequestAdditions<'a> {
    RequestAdditions {
        told,
        client: &serving.context.words,
        request_id: &serving.id,
        pop: &serving.admitted.route.pop,
        without_expect,
        without_cookie: serving.cookie_of_ours(),
    }
}

/// The client's fields and ours; for the rest of an answer that broke off, those that ask for it in the
/// place of the client's own range and conditions.
fn fields_of(serving: &Serving, additions: &RequestAdditions<'_>, sink: &mut impl Sink) {
    match fields::of_requests(serving.admitted.acts.as_ref()) {
        None => client_fields(serving, additions, sink),
        Some(edits) => edited_fields(serving, additions, edits, sink),
    }
    // Not the client's, so that no edit of the route holds for them.
    if let Some(part) = &serving.part {
        part.write(sink);
    }
}

/// The same as the route edits them.
#[cold]
fn edited_fields(
    serving: &Serving,
    additions: &RequestAdditions<'_>,
    edits: &FieldEdits,
    sink: &mut impl Sink,
) {
    let mut edited = Edited {
        sink,
        edits,
        says_wrong: false,
    };
    client_fields(serving, additions, &mut edited);
    let region = serving.finish.region();
    let words = serving.field_words(region.as_deref());
    words.write(edits, sink);
}

fn client_fields(serving: &Serving, additions: &RequestAdditions<'_>, sink: &mut impl Sink) {
    if serving.admitted.is_copy {
        let mark = mirror::mark(&serving.route().name);
        sink.add(mirror::FIELD.as_str().as_bytes(), mark.as_bytes());
    }
    match &serving.part {
        None => request_fields(&serving.head, additions, sink),
        Some(_) => request_fields(&serving.head, additions, &mut Unconditional(sink)),
    }
}

/// A body of unknown length is sent in chunks. A method that usually carries a body says that it is
/// empty (RFC 9110 section 8.6); a bodiless GET says nothing.
fn h1_framing(serving: &Serving) -> Framing {
    match serving.body.framing() {
        Framing::Length(0) => Framing::None,
        framing => framing,
    }
}

fn write_h1(
    serving: &Serving,
    told: &Told<'_>,
    (framing, tls): (Framing, bool),
    out: &mut BytesMut,
) {
    let head = &serving.head;
    let upgrade = head.upgrade();
    let method = if upgrade.is_some() {
        &Method::GET
    } else {
        head.method()
    };
    let host = match &serving.admitted.acts {
        None => head.authority(),
        Some(_) => serving.authority(tls),
    };
    encode::request_line_and_host(out, method, serving.target_bytes(), host.as_bytes());
    fields_of(serving, &additions(serving, told, serving.continued), out);
    if let Some(protocol) = upgrade {
        tunnel::write_upgrade(
            head,
            protocol,
            &mut serving.context.worker.rng.borrow_mut(),
            out,
        );
    } else if head.te_trailers() {
        encode::field(out, b"te", b"trailers");
        encode::field(out, b"connection", b"te");
    }
    match framing {
        Framing::Length(length) => encode::content_length(out, length),
        Framing::Chunked => encode::chunked(out),
        Framing::None if announces_empty(head.method()) && upgrade.is_none() => {
            encode::content_length(out, 0)
        }
        Framing::None | Framing::UntilClose => {}
    }
    encode::end(out);
}

fn announces_empty(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn h2_request(
    serving: &Serving,
    told: &Told<'_>,
    tls: bool,
) -> Result<http::Request<()>, ExchangeError> {
    let head = &serving.head;
    let mut fields = HeaderMap::with_capacity(FIELDS);
    fields_of(serving, &additions(serving, told, true), &mut fields);
    if head.te_trailers() {
        fields.add(b"te", b"trailers");
    }
    if let Framing::Length(length) = serving.body.framing() {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut request = http::Request::new(());
    *request.method_mut() = head.method().clone();
    if let Some(protocol) = head.upgrade() {
        *request.method_mut() = Method::CONNECT;
        request
            .extensions_mut()
            .insert(::h2::ext::Protocol::from(protocol));
        // What proves that an HTTP/1.1 key was read is made here, not by the upstream.
        fields.remove(header::SEC_WEBSOCKET_KEY);
    }
    *request.uri_mut() = uri(serving.authority(tls), serving.target(), tls)?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok(request)
}

fn no_extended_connect() -> ExchangeError {
    let detail = "the upstream speaks HTTP/2 and takes no extended CONNECT (RFC 8441)";
    ExchangeError::upstream(Failure::Connect, Phase::NothingSent, detail)
}

fn uri(authority: &str, path_and_query: &str, tls: bool) -> Result<Uri, ExchangeError> {
    let scheme = if tls { "https" } else { "http" };
    let path = if path_and_query == "*" {
        "/"
    } else {
        path_and_query
    };
    let built = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build();
    built.map_err(|_| UploadError::Malformed("target_not_for_http2").into())
}
