//! An HTTP/2 connection, polled by hand: whatever could have moved is asked, nothing is woken.
//!
//! Frames of one poll leave in one write, and so in one TLS record, as they do in other clients.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{FlowControl, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Link;

/// Windows that never make a proxy wait for us.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// A connection.
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
    connection: Connection<Pipe, Bytes>,
    request: Request<()>,
    body: Bytes,
    streams: Vec<Stream>,
}

/// A request that is not answered in full.
struct Stream {
    due: Duration,
    state: State,
}

enum State {
    Waiting(ResponseFuture),
    Reading { body: RecvStream, left: Bytes },
}

impl Http2 {
    /// Sends `request` again and again; `body` is that of the right answer.
    ///
    /// # Errors
    /// When the link breaks.
    pub(super) fn new(link: Link, request: Request<()>, body: Bytes) -> io::Result<Self> {
        let pipe = Pipe {
            link,
            out: Vec::new(),
        };
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW_BYTES).enable_push(false);
        builder.initial_connection_window_size(WINDOW_BYTES);
        let Poll::Ready(shaken) = poll(builder.handshake(pipe)) else {
            return Err(io::Error::other("the connection's preface cannot be sent"));
        };
        let (sender, connection) = shaken.map_err(io::Error::other)?;
        Ok(Self {
            sender,
            connection,
            request,
            body,
            streams: Vec::new(),
        })
    }

    /// Sends the request that was due at `due`.
    ///
    /// # Errors
    /// The link breaks, or the proxy allows no more streams.
    pub(super) fn send(&mut self, due: Duration) -> io::Result<()> {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(ready) = self.sender.poll_ready(&mut context) else {
            return Err(io::Error::other("no more streams are allowed"));
        };
        ready.map_err(io::Error::other)?;
        let sent = self.sender.send_request(self.request.clone(), true);
        let (answer, _) = sent.map_err(io::Error::other)?;
        let state = State::Waiting(answer);
        self.streams.push(Stream { due, state });
        self.exchange()
    }

    /// Reads all that there is; calls `answered` with when it was due for each answer that is
    /// complete.
    ///
    /// # Errors
    /// A wrong answer, or the end.
    pub(super) fn advance(&mut self, mut answered: impl FnMut(Duration)) -> io::Result<()> {
        self.exchange()?;
        let mut at = 0;
        while let Some(stream) = self.streams.get_mut(at) {
            match stream.advance(&self.body)? {
                true => answered(self.streams.swap_remove(at).due),
                false => at += 1,
            }
        }
        // What was read may make room to announce.
        self.exchange()
    }

    /// Reads and writes whatever can be.
    fn exchange(&mut self) -> io::Result<()> {
        match poll(&mut self.connection) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Err(error)) => Err(io::Error::other(error)),
        }
    }
}

impl Stream {
    /// Takes what there is; true when it was the last of a right answer.
    fn advance(&mut self, expected: &Bytes) -> io::Result<bool> {
        if let State::Waiting(answer) = &mut self.state {
            let Poll::Ready(answer) = poll(answer) else {
                return Ok(false);
            };
            let answer = answer.map_err(io::Error::other)?;
            if answer.status() != 200 {
                return Err(io::Error::other(format!("status {}", answer.status())));
            }
            let (body, left) = (answer.into_body(), expected.clone());
            self.state = State::Reading { body, left };
        }
        let State::Reading { body, left } = &mut self.state else {
            return Ok(false);
        };
        read(body, left)
    }
}

/// Compares what there is of `body` with what is `left` of the right one; true at the end of both.
fn read(body: &mut RecvStream, left: &mut Bytes) -> io::Result<bool> {
    let mut context = Context::from_waker(Waker::noop());
    while !body.is_end_stream() {
        let Poll::Ready(data) = body.poll_data(&mut context) else {
            return Ok(false);
        };
        let Some(data) = data.transpose().map_err(io::Error::other)? else {
            break;
        };
        if !left.starts_with(&data) {
            return Err(io::Error::other("an answer of another content"));
        }
        left.advance(data.len());
        let flow: &mut FlowControl = body.flow_control();
        flow.release_capacity(data.len())
            .map_err(io::Error::other)?;
    }
    match left.is_empty() {
        true => Ok(true),
        false => Err(io::Error::other("an answer that is too short")),
    }
}

fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The link as `h2` wants it.
struct Pipe {
    link: Link,
    out: Vec<u8>,
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.link.read(into.initialize_unfilled()) {
            Ok(None) => Poll::Pending,
            Ok(Some(bytes)) => {
                into.advance(bytes);
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.out.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { link, out } = self.get_mut();
        let written = match out.is_empty() {
            true => Ok(()),
            false => link.write(out),
        };
        out.clear();
        Poll::Ready(written)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
