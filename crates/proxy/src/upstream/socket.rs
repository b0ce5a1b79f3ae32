//! A TCP stream that can change its thread.
//!
//! A socket is registered with the reactor of the thread that polls it. Another thread that takes
//! the connection over registers it anew; whatever TLS session lies above stays as it is.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::gate::Ticket;
use crate::tcp::Tcp;

/// A TCP stream to an upstream. Empty only after a move between threads failed: every operation
/// then says "not connected".
pub(crate) struct Socket {
    stream: Option<Tcp>,
    /// The next read asks the system, whatever the reactor has heard.
    ask_system: bool,
    /// Dropped after the stream: what is counted as closed is closed.
    _ticket: Ticket,
}

impl Socket {
    /// A socket over a stream of this thread's reactor.
    pub(super) fn new(stream: TcpStream, ticket: Ticket) -> Self {
        Self {
            stream: Some(Tcp::new(stream)),
            ask_system: false,
            _ticket: ticket,
        }
    }

    /// Moves the socket to the reactor of the calling thread. That has heard nothing of it yet, and so
    /// the next read asks the system. On an error the socket is closed.
    pub(crate) fn rehome(&mut self) -> io::Result<()> {
        let stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        self.stream = Some(Tcp::new(TcpStream::from_std(stream.into_std()?)?));
        self.ask_system = true;
        Ok(())
    }

    /// Has the next read ask the system, so that what the reactor has not heard of yet is seen too.
    pub(super) fn ask_system(&mut self) {
        self.ask_system = true;
    }

    /// Whether a read would find nothing and ask nobody.
    pub(crate) fn is_known_silent(&self) -> bool {
        let stream = self.stream.as_ref().filter(|_| !self.ask_system);
        stream.is_some_and(Tcp::is_known_silent)
    }

    /// What the system says to a read, unless there is nothing to read yet.
    fn read_now(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let stream = SockRef::from(self.stream.as_ref()?.get_ref());
        match (&*stream).read(buf.initialize_unfilled()) {
            Ok(read) => {
                buf.advance(read);
                Some(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Whether the connection is open and nothing waits to be read, as the system sees it.
    #[cfg(test)]
    pub(crate) fn is_silent(&self) -> bool {
        let Some(stream) = &self.stream else {
            return false;
        };
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = SockRef::from(stream.get_ref()).peek(&mut byte);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn stream(self: Pin<&mut Self>) -> io::Result<Pin<&mut Tcp>> {
        let stream = self
            .get_mut()
            .stream
            .as_mut()
            .ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(stream))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if socket.ask_system {
            socket.ask_system = false;
            if let Some(read) = socket.read_now(buf) {
                return Poll::Ready(read);
            }
        }
        Pin::new(socket).stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
