//! One concrete stream type for clients and upstreams, plaintext or TLS: an enum, not a trait
//! object, so that reads and writes are static calls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tcp::Tcp;
use crate::tls::client::UpstreamStream;
use crate::tls::server::ClientStream;
use crate::upstream::socket::Socket;

/// A byte stream to a client or an upstream.
pub(crate) enum Stream {
    /// Plaintext, from a client.
    Plain(Tcp),
    /// TLS, from a client.
    ServerTls(Box<ClientStream>),
    /// Plaintext, to an upstream.
    Upstream(Socket),
    /// TLS, to an upstream.
    UpstreamTls(Box<UpstreamStream<Socket>>),
    /// Both ends in memory, for tests of races under a paused clock.
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
}

macro_rules! each {
    ($self:expr, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($io) => $call,
            Stream::ServerTls($io) => $call,
            Stream::Upstream($io) => $call,
            Stream::UpstreamTls($io) => $call,
            #[cfg(test)]
            Stream::Memory($io) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
