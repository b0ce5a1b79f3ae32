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
use tokio::task::coop;

/// A TCP stream.
pub(crate) struct Tcp {
    stream: TcpStream,
    /// Whom the reactor will wake for a read: where its waker's data are, 0 for nobody. It keeps that waker until
    /// there is something to read, so that nobody else has the place meanwhile.
    reader: usize,
}

impl Tcp {
    /// A stream over `stream`, of the same reactor.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, reader: 0 }
    }

    /// What it is over.
    pub(crate) fn get_ref(&self) -> &TcpStream {
        &self.stream
    }

    /// The stream without its reactor.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.stream.into_std()
    }

    /// Whether the reactor has heard of nothing to read. Cheaper than a read that finds nothing, which also
    /// leaves word of whom to wake.
    pub(crate) fn is_known_silent(&self) -> bool {
        would_block(&self.stream.try_io(Interest::READABLE, || Ok(())))
    }

    /// Whether the reactor has heard of nothing to read, and will wake this task when it does.
    fn will_wake(&self, cx: &Context<'_>) -> bool {
        self.reader != 0 && self.reader == cx.waker().data().addr() && self.is_known_silent()
    }

    /// Reads what is there, if the reactor has heard of it.
    fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        let len = room.len();
        self.transfer(Interest::READABLE, len, || {
            rustix::net::recv(&self.stream, room, RecvFlags::empty()).map(|(read, _)| read)
        })
    }

    /// Sends what the system takes, unless the reactor has heard that it takes nothing.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.transfer(Interest::WRITABLE, bytes.len(), || {
            rustix::net::send(&self.stream, bytes, SendFlags::NOSIGNAL)
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
        let moved = self.stream.try_io(interest, || {
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

/// Whom the reactor wakes now that a read is pending. Nobody, if the task was told to let others have their turn:
/// then the reactor was not asked.
fn waits_for_the_reactor(cx: &Context<'_>) -> usize {
    match coop::has_budget_remaining() {
        true => cx.waker().data().addr(),
        false => 0,
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
        if self.will_wake(cx) {
            return Poll::Pending;
        }
        self.reader = 0;
        if buf.initialized().len() < buf.capacity() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        loop {
            // Asked first, because it sees to it that a stream which always has bytes yields to others.
            let Poll::Ready(ready) = self.stream.poll_read_ready(cx) else {
                self.reader = waits_for_the_reactor(cx);
                return Poll::Pending;
            };
            ready?;
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
            ready!(self.stream.poll_write_ready(cx))?;
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::{sleep, timeout};

    use super::*;

    const PLENTY: Duration = Duration::from_secs(30);

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
            timeout(Duration::from_millis(1), one.read(&mut piece))
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

    /// Reads into nothing: whether that has to wait.
    fn waits(stream: &mut Tcp, wakes: &Arc<Wakes>) -> bool {
        let waker = Waker::from(wakes.clone());
        let mut piece = [0; 8];
        let read = Pin::new(stream).poll_read(
            &mut Context::from_waker(&waker),
            &mut ReadBuf::new(&mut piece),
        );
        read.is_pending()
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Wakes {
        async fn come(&self) {
            while self.0.swap(0, Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn who_waits_is_woken_however_often_it_asks_and_whoever_asked_before() {
        let (mut one, mut other) = pair().await;
        let (first, second) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
        for asks in [
            &[&first][..],
            &[&first, &first],
            &[&first, &second, &second],
            &[&second, &first, &second, &first],
        ] {
            assert!(asks.iter().all(|who| waits(&mut one, who)));
            other.write_all(b"word").await.unwrap();
            let come = asks[asks.len() - 1].come();
            timeout(PLENTY, come).await.expect("the last is woken");
            assert!(!waits(&mut one, &first));
        }
    }

    /// A task that has used up its turn is put off without the reactor being asked.
    #[tokio::test]
    async fn a_read_that_is_put_off_waits_for_the_reactor_when_it_asks_again() {
        let (mut one, mut other) = pair().await;
        let mut piece = [0; 8];
        let mut put_off = false;
        let read = poll_fn(move |cx| {
            if !std::mem::replace(&mut put_off, true) {
                while coop::has_budget_remaining() {
                    let _used = pin!(coop::consume_budget()).poll(cx);
                }
            }
            Pin::new(&mut one).poll_read(cx, &mut ReadBuf::new(&mut piece))
        });
        let write = async move {
            sleep(Duration::from_millis(20)).await;
            other.write_all(b"word").await.map(|()| other)
        };
        // Apart, because the end of the time would wake it too.
        let (read, write) = (tokio::spawn(read), tokio::spawn(write));
        let both = async { tokio::join!(read, write) };
        let (read, wrote) = timeout(PLENTY, both).await.expect("the reader is woken");
        assert!(read.unwrap().is_ok() && wrote.unwrap().is_ok());
    }
}
