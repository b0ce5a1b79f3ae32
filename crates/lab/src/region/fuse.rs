//! The end of a connection at an exact byte, below the HTTP library and above TCP.
//!
//! hyper can only end a connection in order. The handler of a request sets the fuse; the stream under hyper looks at
//! it whenever it is polled. A fuse that is *armed* blows once everything written so far has been flushed: hyper asks
//! the body of an answer again only after it took what that gave before, and flushes after it was told to wait, so a
//! body that arms it instead of giving more ends the connection behind its last byte. On HTTP/2 windows may hold that
//! back, so the bytes of DATA frames are waited for as well.

use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::data_count::DataCount;
use crate::death::Cut;
use crate::sync::locked;

/// A stream that knows its socket.
pub(super) trait Socket {
    fn socket(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// The fuse of one connection. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Fuse(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    state: State,
    reader: Option<Waker>,
    written: DataCount,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Whole,
    /// How, and once so many bytes of DATA are out.
    Armed(Cut, u64),
    Blown(Cut),
}

impl Fuse {
    /// Ends the connection at once. The first to set a fuse decides how.
    pub(super) fn blow(&self, how: Cut) {
        self.set(State::Blown(how));
    }

    /// Ends the connection behind what is written so far, and on HTTP/2 not before so many bytes of DATA are out.
    pub(super) fn arm(&self, how: Cut, data: u64) {
        self.set(State::Armed(how, data));
    }

    /// Bytes were written.
    pub(super) fn wrote(&self, bytes: &[u8]) {
        locked(&self.0).written.feed(bytes);
    }

    /// Bytes of DATA that were written so far, if it speaks HTTP/2.
    pub(super) fn data(&self) -> u64 {
        locked(&self.0).written.total
    }

    fn set(&self, state: State) {
        let mut inner = locked(&self.0);
        if !matches!(inner.state, State::Whole) {
            // Whoever is told again and again must not keep itself awake by it.
            return;
        }
        inner.state = state;
        // The connection's task always waits for the next request as well: this reaches it from any task.
        if let Some(waker) = inner.reader.take() {
            waker.wake();
        }
    }

    /// Remembers who reads, to be woken by a change.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        locked(&self.0).reader = Some(cx.waker().clone());
    }

    /// Ready while bytes may pass; an error or never once it has blown.
    pub(super) fn poll_whole(&self, socket: &TcpStream) -> Poll<io::Result<()>> {
        let state = locked(&self.0).state;
        match state {
            State::Whole | State::Armed(..) => Poll::Ready(Ok(())),
            State::Blown(how) => end(how, socket),
        }
    }

    /// Everything was flushed: what was armed blows.
    pub(super) fn poll_flushed(&self, socket: &TcpStream) -> Poll<io::Result<()>> {
        let mut inner = locked(&self.0);
        if let State::Armed(how, data) = inner.state
            && inner.written.total >= data
        {
            inner.state = State::Blown(how);
        }
        drop(inner);
        self.poll_whole(socket)
    }
}

/// RST is how a socket without linger closes, which it does when hyper has seen the error.
fn end(how: Cut, socket: &TcpStream) -> Poll<io::Result<()>> {
    let socket = SockRef::from(socket);
    let _ = match how {
        Cut::BlackHole => return Poll::Pending,
        Cut::Reset => socket.set_linger(Some(Duration::ZERO)),
        Cut::Fin => socket.shutdown(Shutdown::Write),
    };
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}
