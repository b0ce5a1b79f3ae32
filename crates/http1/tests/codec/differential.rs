//! The same bytes through this codec and through hyper and httparse.
//!
//! Both may refuse what the other takes (ours is the stricter). But wherever both take a message,
//! it must be the same message, and it must end at the same byte: anything else is the gap that
//! request smuggling lives in. The fuzz targets call the same functions.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate_http1::{Limits, RequestContext};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::transcript::{self, End, FieldList, Message, Transcript, sorted};

/// Wide enough for any test input, so that neither side ever waits for the other.
const PIPE_BYTES: usize = 1 << 20;

/// What hyper made of a stream.
struct Theirs {
    messages: Vec<Message>,
    /// Whether it found nothing to complain about.
    clean: bool,
}

/// Fails if this codec and another one understand the request stream `bytes` differently. Returns
/// how many messages both found.
pub(crate) fn request(bytes: &[u8]) -> usize {
    let ours = transcript::requests([bytes], &Limits::default());
    same_first_head(bytes, &ours);
    let theirs = block_on(serve(bytes));
    compare(&ours, &theirs, bytes);
    ours.messages.len().min(theirs.messages.len())
}

/// The same for answers. The first byte chooses the method of the request.
pub(crate) fn response(bytes: &[u8]) -> usize {
    let Some((choice, bytes)) = bytes.split_first() else {
        return 0;
    };
    let head_request = choice % 2 == 1;
    let context = RequestContext {
        head_request,
        ..RequestContext::default()
    };
    let mut ours = transcript::responses([bytes], context, &Limits::default());
    // Hyper passes interim heads by, and reads one answer to its one request.
    ours.messages
        .retain(|message| !message.start.starts_with('1'));
    ours.messages.truncate(1);
    let method = if head_request {
        Method::HEAD
    } else {
        Method::GET
    };
    let theirs = block_on(fetch(bytes, method));
    for (ours, theirs) in ours.messages.iter().zip(&theirs.messages) {
        assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(bytes));
    }
    let refused = matches!(ours.end, End::Refused(_));
    let extra = theirs.messages.len() > ours.messages.len() && !refused;
    assert!(
        !extra,
        "only hyper found an end: {:?}",
        String::from_utf8_lossy(bytes)
    );
    ours.messages.len().min(theirs.messages.len())
}

fn compare(ours: &Transcript, theirs: &Theirs, bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    for (ours, theirs) in ours.messages.iter().zip(&theirs.messages) {
        assert_eq!(ours, theirs, "{shown:?}");
    }
    if matches!(ours.end, End::Refused(_)) {
        return;
    }
    let counts = (ours.messages.len(), theirs.messages.len());
    assert!(
        counts.1 <= counts.0,
        "only hyper found another message {counts:?}: {shown:?}"
    );
    assert!(
        !theirs.clean || counts.0 <= counts.1,
        "hyper lost a message {counts:?}: {shown:?}"
    );
}

/// The head that we take first is the one that httparse finds in the same bytes.
fn same_first_head(bytes: &[u8], ours: &Transcript) {
    let Some(first) = ours.messages.first().or(ours.partial.as_ref()) else {
        return;
    };
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut head = httparse::Request::new(&mut headers);
    let parsed = head.parse(bytes).expect("httparse takes what we take");
    assert!(parsed.is_complete());
    let lines = head
        .headers
        .iter()
        .map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec()));
    assert_eq!(first.fields, sorted(lines.collect()));
    let method = head.method.expect("complete");
    assert!(first.start.starts_with(&format!("{method} ")));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

/// Has a hyper server read `bytes` and then the end of the stream.
async fn serve(bytes: &[u8]) -> Theirs {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(note(request, &seen).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .half_close(true)
        .header_read_timeout(None)
        .max_headers(Limits::FIELDS_MAX);
    let connection = builder.serve_connection(TokioIo::new(server), service);
    let (result, ()) = tokio::join!(connection, send(client, bytes));
    let messages = std::mem::take(&mut *seen.lock().expect("no test panicked here"));
    Theirs {
        messages,
        clean: result.is_ok(),
    }
}

async fn note(request: Request<Incoming>, seen: &Mutex<Vec<Message>>) -> Response<Empty<Bytes>> {
    let (head, body) = request.into_parts();
    if let Ok(body) = body.collect().await {
        let trailers = body.trailers().map(fields).unwrap_or_default();
        let message = Message {
            start: request_start(&head),
            fields: fields(&head.headers),
            body: body.to_bytes().to_vec(),
            trailers,
        };
        seen.lock().expect("no test panicked here").push(message);
    }
    Response::new(Empty::new())
}

fn request_start(head: &http::request::Parts) -> String {
    let authority = head
        .uri
        .authority()
        .map(|a| a.as_str().to_ascii_lowercase());
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    // An empty path before a query is `/` (RFC 9110 section 4.2.3); hyper shows it as sent.
    let root = if path.starts_with('?') { "/" } else { "" };
    format!(
        "{} {} {root}{path}",
        head.method,
        authority.unwrap_or_default()
    )
}

/// Has a hyper client read `bytes` as the answer to one request.
async fn fetch(bytes: &[u8], method: Method) -> Theirs {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(client)).await;
    let (mut sender, connection) = handshake.expect("nothing is exchanged yet");
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "a");
    let request = request
        .body(Empty::<Bytes>::new())
        .expect("a valid request");
    let answer = async {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?;
        Some(Message {
            start: head.status.as_str().to_owned(),
            fields: fields(&head.headers),
            trailers: body.trailers().map(fields).unwrap_or_default(),
            body: body.to_bytes().to_vec(),
        })
    };
    let (answer, result, ()) = tokio::join!(answer, connection, answer_with(server, bytes));
    Theirs {
        messages: answer.into_iter().collect(),
        clean: result.is_ok(),
    }
}

/// Waits for the request first: hyper takes an answer that comes before it for an error.
async fn answer_with(mut stream: DuplexStream, bytes: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let read = stream.read_buf(&mut request).await;
        if !read.is_ok_and(|count| count > 0) {
            return;
        }
    }
    send(stream, bytes).await;
}

/// Writes everything, ends the stream, and reads until the other side does.
async fn send(mut stream: DuplexStream, bytes: &[u8]) {
    // The other side may have refused and gone: then the rest does not matter.
    if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

fn fields(map: &HeaderMap) -> FieldList {
    let lines = map
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    sorted(lines.collect())
}
