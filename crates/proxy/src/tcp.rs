//! A TCP stream of this thread's reactor whose reads and writes go straight to the system.
//!
//! The C library makes a point of cancellation of each, by two locked operations that cost as much as
//! a field of a head, and a request has four of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A TCP stream.
pub(crate) struct Tcp(TcpStream);

impl Tcp {
    /// A stream over `stream`, of the same reactor.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// What it is over.
    pub(crate) fn get_ref(&self) -> &TcpStream {
        &self.0
    }

    /// The stream without its reactor.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.0.into_std()
    }

    /// Whether the reactor has heard of nothing to read. Cheaper than a read that finds nothing, which also
    /// leaves word of whom to wake.
    pub(crate) fn is_known_silent(&self) -> bool {
        would_block(&self.0.try_io(Interest::READABLE, || Ok(())))
    }

    /// Reads what is there, if the reactor has heard of it.
    fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        let len = room.len();
        self.transfer(Interest::READABLE, len, || {
            rustix::net::recv(&self.0, room, RecvFlags::empty()).map(|(read, _)| read)
        })
    }

    /// Sends what the system takes, unless the reactor has heard that it takes nothing.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.transfer(Interest::WRITABLE, bytes.len(), || {
            rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL)
        })
    }

    /// Moves up to `len` bytes by `call`. Once it has moved a part, there is no more to move: as by tokio's
    /// own read and write, the reactor is told so, which saves the call that would find out.
    fn transfer(
        &self,
        interest: Interest,
        len: usize,
        call: impl FnOnce() -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        let mut part = None;
        let moved = self.0.try_io(interest, || {
            let moved = call()?;
            if (1..len).contains(&moved) {
                part = Some(moved);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(moved)
        });
        part.map_or(moved, Ok)
    }
}

fn would_block<T>(moved: &io::Result<T>) -> bool {
    matches!(moved, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for Tcp {
    /// Room that is not initialised is filled tokio's way: it is large, and the wrapper weighs nothing
    /// beside what is copied.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.initialized().len() < buf.capacity() {
            return Pin::new(&mut self.0).poll_read(cx, buf);
        }
        loop {
            // Asked first, because it sees to it that a stream which always has bytes yields to others.
            ready!(self.0.poll_read_ready(cx))?;
            let read = self.receive(buf.initialize_unfilled());
            if !would_block(&read) {
                return Poll::Ready(read.map(|read| buf.advance(read)));
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let sent = self.send(buf);
            if !would_block(&sent) {
                return Poll::Ready(sent);
            }
            ready!(self.0.poll_write_ready(cx))?;
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Tcp, Tcp) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Tcp::new(one.unwrap()), Tcp::new(other.unwrap().0))
    }

    /// More than the system buffers, so that both sides must wait for each other.
    #[tokio::test]
    async fn what_is_sent_arrives_whole_and_then_the_end() {
        let sent: Vec<u8> = (0..32_u32 << 20).map(|n| (n ^ (n >> 13)) as u8).collect();
        let (mut one, mut other) = pair().await;
        let send = async {
            one.write_all(&sent).await.unwrap();
            one.shutdown().await.unwrap();
        };
        let receive = async {
            let (mut received, mut piece) = (Vec::new(), vec![0; 10_000]);
            loop {
                match other.read(&mut piece).await.unwrap() {
                    0 => return received,
                    read => received.extend_from_slice(&piece[..read]),
                }
            }
        };
        let ((), received) = tokio::join!(send, receive);
        assert!(received == sent);
    }

    #[tokio::test]
    async fn silence_is_known_and_a_peer_that_is_gone_shows() {
        let (mut one, other) = pair().await;
        let mut piece = [0; 8];
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(1), one.read(&mut piece))
                .await
                .is_err()
        );
        assert!(one.is_known_silent());
        other.get_ref().set_zero_linger().unwrap();
        drop(other);
        let read = one.read(&mut piece).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut sent = one.write(b"late").await;
        while sent.is_ok() {
            sent = one.write(b"later").await;
        }
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
