//! Which protocol a client speaks: what ALPN agreed on, else what its first bytes say.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::BytesMut;

use crate::clock::now;
use crate::conn::Conn;
use crate::context::Context;
use crate::facts::ConnectionFacts;
use crate::io::Stream;
use crate::listener::ListenerContext;
use crate::wheel::Timer;
use crate::worker::Worker;
use crate::{h1, h2};

/// The first bytes of an HTTP/2 client (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that speaks HTTP/2.
pub(crate) struct Http2 {
    context: Rc<Context>,
    io: Stream,
    read_ahead: BytesMut,
}

impl Http2 {
    /// Serves it until it ends.
    pub(crate) fn serve(self) -> impl Future<Output = ()> {
        h2::server::serve(self.context, self.io, self.read_ahead)
    }
}

/// Serves one client's connection until it ends; one that speaks HTTP/2 is handed back, to be served where
/// it need not keep the room for the other protocol.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Rc<ListenerContext>,
    stream: Stream,
    facts: ConnectionFacts,
) -> Option<Http2> {
    trace(&facts);
    let context = Context::new(worker, listener, facts);
    let mut conn = Conn::new(stream);
    let h2 = match context.facts.tls.as_ref().and_then(|tls| tls.alpn) {
        Some(alpn) => alpn == "h2",
        None => detect(&context, &mut conn).await?,
    };
    if h2 {
        let (io, read_ahead) = conn.into_parts();
        return Some(Http2 {
            context,
            io,
            read_ahead,
        });
    }
    h1::server::serve(context, conn).await;
    None
}

fn trace(facts: &ConnectionFacts) {
    let tls = facts.tls.as_ref();
    tracing::debug!(
        listener = %facts.listener,
        client = %facts.client,
        sni = tls.and_then(|tls| tls.sni.as_deref()),
        alpn = tls.and_then(|tls| tls.alpn),
        client_certificates = tls.map(|tls| tls.client_certificates.len()),
        "connection accepted"
    );
}

/// Whether the first bytes are HTTP/2's; none if the connection ended or took too long to tell. Most
/// come with the connection: only who waits for them has a timer.
async fn detect(context: &Context, conn: &mut Conn) -> Option<bool> {
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(found) = poll_detect(cx, conn) {
            return Poll::Ready(found);
        }
        let timer = timer.get_or_insert_with(|| header_timer(context));
        match context.worker.is_stopping() {
            true => Poll::Ready(None),
            false => timer.poll_expired(cx).map(|()| None),
        }
    })
    .await
}

fn header_timer(context: &Context) -> Timer {
    let timer = context.worker.wheel.timer();
    timer.set(now() + context.listener.limits.header_timeout);
    timer
}

fn poll_detect(cx: &mut TaskContext<'_>, conn: &mut Conn) -> Poll<Option<bool>> {
    loop {
        let seen = conn.rbuf.len().min(PREFACE.len());
        if conn.rbuf[..seen] != PREFACE[..seen] {
            return Poll::Ready(Some(false));
        }
        if seen == PREFACE.len() {
            return Poll::Ready(Some(true));
        }
        match ready!(conn.poll_fill(cx)) {
            Ok(read) if read > 0 => {}
            _ => return Poll::Ready(None),
        }
    }
}
