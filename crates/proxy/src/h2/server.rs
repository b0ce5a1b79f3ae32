//! Serves HTTP/2 clients: one task for the connection, one for each of its streams.
//!
//! The connection's task reads, accepts streams and writes what they produced, once per round. A
//! connection without streams ends after the idle limit, and when the process stops every
//! connection is told so by GOAWAY (RFC 9113 section 6.8) and ends with its last stream.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, Handshake};
use h2::{Reason, RecvStream};
use tidegate_core::settings::ListenerLimits;

use super::coalesce::{Coalesce, Drain, coalesce};
use super::{CONNECTION_WINDOW, HEADER_LIST, SEND_BUFFER, STREAM_WINDOW, stream};
use crate::clock::{in_turns, now};
use crate::context::Context;
use crate::io::Stream;
use crate::wheel::Timer;

/// A client that was told to go away gets so long to finish what it was sending.
const GRACE: Duration = Duration::from_secs(1);
/// So many requests may be cancelled before the connection is suspected of doing nothing else.
const CANCELLED: u64 = 256;

/// Serves the client of `io` until either side ends the connection. `read_ahead` was read from it
/// while the protocol was found out.
pub(crate) async fn serve(context: Rc<Context>, io: Stream, read_ahead: BytesMut) {
    let (wire, drain) = coalesce(io, read_ahead.freeze());
    let timer = context.worker.wheel.timer();
    timer.set(now() + context.listener.limits.header_timeout);
    let handshake = builder(&context.listener.limits).handshake(wire);
    // Boxed, so that its room is given back once it is done.
    let handshake = Box::pin(shake_hands(&context, handshake, &drain, &timer));
    let Some(connection) = handshake.await else {
        return;
    };
    timer.clear();
    let counts = Rc::default();
    let mut server = Server {
        context,
        connection,
        drain,
        timer,
        counts,
        farewell: Farewell::Stay,
    };
    poll_fn(|cx| server.poll(cx)).await;
}

fn builder(limits: &ListenerLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(limits.h2_streams)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    builder
}

type Wire = Coalesce<Stream>;

/// The connection, unless the client ended it, broke the rules, or took too long.
async fn shake_hands(
    context: &Context,
    handshake: Handshake<Wire, Bytes>,
    drain: &Drain<Stream>,
    timer: &Timer,
) -> Option<Connection<Wire, Bytes>> {
    let mut handshake = pin!(handshake);
    poll_fn(|cx| {
        if let Poll::Ready(result) = handshake.as_mut().poll(cx) {
            return Poll::Ready(result.ok());
        }
        let broken = matches!(drain.poll_drain(cx), Poll::Ready(Err(_)));
        let over = timer.poll_expired(cx).is_ready() || context.worker.is_stopping();
        if broken || over {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    })
    .await
}

/// What the streams of one connection add up to.
#[derive(Default)]
pub(super) struct Counts {
    open: Cell<u64>,
    cancelled: Cell<u64>,
    accepted: Cell<u64>,
}

/// Counts one stream as open until it is dropped.
pub(super) struct Open(Rc<Counts>);

impl Open {
    fn new(counts: &Rc<Counts>) -> Self {
        counts.open.set(counts.open.get() + 1);
        counts.accepted.set(counts.accepted.get() + 1);
        Self(counts.clone())
    }

    /// Enters that the client cancelled the request.
    pub(super) fn cancelled(&self) {
        self.0.cancelled.set(self.0.cancelled.get() + 1);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

impl Counts {
    /// Whether the client does little but cancel what it asked for.
    fn is_abused(&self) -> bool {
        let cancelled = self.cancelled.get();
        cancelled > CANCELLED && cancelled * 2 > self.accepted.get()
    }
}

/// How far the connection's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Nobody has asked for it.
    Stay,
    /// The client was told to open no more streams.
    Told,
    /// The last word is being written.
    Cut,
}

/// The task of one connection.
struct Server {
    context: Rc<Context>,
    connection: Connection<Wire, Bytes>,
    drain: Drain<Stream>,
    timer: Timer,
    counts: Rc<Counts>,
    farewell: Farewell,
}

impl Server {
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            while let Poll::Ready(accepted) = self.connection.poll_accept(cx) {
                match accepted {
                    Some(Ok((request, respond))) => self.accept(request, respond),
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
            if let Poll::Ready(Err(_)) = self.drain.poll_drain(cx) {
                return Poll::Ready(());
            }
            if ready!(self.poll_farewell(cx)) {
                return Poll::Ready(());
            }
        }
    }

    fn accept(
        &mut self,
        request: http::Request<RecvStream>,
        respond: h2::server::SendResponse<Bytes>,
    ) {
        let open = Open::new(&self.counts);
        // Boxed here, because spawning moves its argument several times and this one has 8 KB.
        let serving = Box::pin(stream::serve(self.context.clone(), request, respond, open));
        tokio::task::spawn_local(in_turns(serving));
    }

    /// Ready when the connection must be polled again, with true when it is over.
    fn poll_farewell(&mut self, cx: &mut TaskContext<'_>) -> Poll<bool> {
        if self.counts.is_abused() && self.farewell != Farewell::Cut {
            return self.cut(Reason::ENHANCE_YOUR_CALM);
        }
        if self.context.worker.is_stopping() && self.farewell == Farewell::Stay {
            return self.tell();
        }
        self.arm();
        ready!(self.timer.poll_expired(cx));
        match self.farewell {
            Farewell::Stay => self.tell(),
            Farewell::Told => self.cut(Reason::NO_ERROR),
            Farewell::Cut => Poll::Ready(true),
        }
    }

    /// Without streams, time runs.
    fn arm(&mut self) {
        if self.counts.open.get() > 0 && self.farewell != Farewell::Cut {
            return self.timer.clear();
        }
        self.drain.release();
        if self.timer.deadline().is_none() {
            let limit = match self.farewell {
                Farewell::Stay => self.context.listener.limits.idle_timeout,
                Farewell::Told | Farewell::Cut => GRACE,
            };
            self.timer.set(now() + limit);
        }
    }

    fn tell(&mut self) -> Poll<bool> {
        self.connection.graceful_shutdown();
        self.step(Farewell::Told)
    }

    fn cut(&mut self, reason: Reason) -> Poll<bool> {
        self.connection.abrupt_shutdown(reason);
        self.step(Farewell::Cut)
    }

    fn step(&mut self, farewell: Farewell) -> Poll<bool> {
        self.farewell = farewell;
        self.timer.clear();
        Poll::Ready(false)
    }
}

#[cfg(test)]
mod tests;
