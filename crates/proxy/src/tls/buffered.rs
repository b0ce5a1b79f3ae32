//! A socket that is read in big pieces below TLS.
//!
//! rustls asks for 4 KiB at a time, so that one full TLS record costs five system calls. Here a
//! read goes into a buffer of the thread; what the asker has no room for is kept for its next
//! call. A short message passes without any buffer of the connection's own, and an idle connection
//! holds none. Writes pass untouched.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most that is read at once: four full TLS records.
const READ: usize = 64 * 1024;

thread_local! {
    /// Where everything under TLS is read to first.
    pub(super) static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// A stream that reads ahead.
#[derive(Debug)]
pub(crate) struct Buffered<S> {
    inner: S,
    ahead: Bytes,
}

impl<S> Buffered<S> {
    /// A stream over `inner`, with nothing read ahead.
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            ahead: Bytes::new(),
        }
    }

    /// The stream below, to move it to another reactor. It must not be read from past this one.
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    fn take_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        let taken = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..taken]);
        self.ahead.advance(taken);
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            this.take_ahead(buf);
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() >= READ {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            let (now, later) = read
                .filled()
                .split_at(read.filled().len().min(buf.remaining()));
            buf.put_slice(now);
            this.ahead = Bytes::copy_from_slice(later);
            Poll::Ready(Ok(()))
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Whatever the size of the asker's buffer, the bytes are the same and none is lost.
    #[tokio::test]
    async fn bytes_come_out_as_they_went_in() {
        let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        for size in [1, 7, 4096, READ - 1, READ, 3 * READ] {
            let (mut writer, reader) = duplex(100_000);
            let expected = if size == 1 {
                sent[..5000].to_vec()
            } else {
                sent.clone()
            };
            let bytes = expected.clone();
            let sending = async move { writer.write_all(&bytes).await.unwrap() };
            let receiving = async {
                let (mut stream, mut all, mut buf) = (Buffered::new(reader), vec![], vec![0; size]);
                loop {
                    let read = stream.read(&mut buf).await.unwrap();
                    all.extend_from_slice(&buf[..read]);
                    if read == 0 {
                        break all;
                    }
                }
            };
            let ((), received) = tokio::join!(sending, receiving);
            assert!(received == expected, "buffer of {size}");
        }
    }

    #[tokio::test]
    async fn an_idle_stream_holds_no_buffer() {
        let (mut writer, reader) = duplex(1000);
        let mut stream = Buffered::new(reader);
        writer.write_all(b"hello").await.unwrap();
        let mut buf = [0; 2];
        stream.read_exact(&mut buf).await.unwrap();
        assert_eq!(stream.ahead, "llo");
        stream.read_exact(&mut [0; 3]).await.unwrap();
        assert!(stream.ahead.is_empty() && stream.ahead.as_ptr() == Bytes::new().as_ptr());
    }
}
