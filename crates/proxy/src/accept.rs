//! The accept loop of one listener on one worker.
//!
//! The loop runs as a service of the chassis, whose futures must be `Send`; connections are not.
//! So the loop holds only what may move and hands each accepted socket to the thread's
//! [`Handler`], which the worker installed before.
//!
//! While the listener is full nothing is accepted: clients wait in the kernel's backlog. At
//! shutdown what waits there is still accepted, since those clients believe to be connected.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::listener;

/// Pause after the system ran out of descriptors or memory; existing connections may free some.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// A client's socket.
pub(crate) struct Accepted {
    /// The socket.
    pub(crate) stream: TcpStream,
    /// Who connected.
    pub(crate) client: SocketAddr,
    /// Its place in the listener, free again when dropped.
    pub(crate) place: OwnedSemaphorePermit,
}

/// What a thread does with accepted sockets; the number is the listener's position.
pub(crate) type Handler = Rc<dyn Fn(usize, Accepted)>;

thread_local! {
    static HANDLER: RefCell<Option<Handler>> = const { RefCell::new(None) };
}

/// Says what this thread does with accepted sockets.
pub(crate) fn install(handler: Handler) {
    HANDLER.set(Some(handler));
}

/// Forgets what [`install`] said.
pub(crate) fn uninstall() {
    HANDLER.take();
}

/// Accepts the clients of one listener on one worker.
pub(crate) struct AcceptService {
    /// The listener's name.
    pub(crate) listener: Arc<str>,
    /// The listener's position.
    pub(crate) position: usize,
    /// The worker's number.
    pub(crate) worker: usize,
    /// The listener's places.
    pub(crate) places: Arc<Semaphore>,
    /// Told once whether the socket could be taken.
    pub(crate) ready: mpsc::Sender<io::Result<()>>,
}

#[async_trait]
impl Service for AcceptService {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let claimed = self.claim(fds);
        let (socket, result) = match claimed {
            Ok(socket) => (Some(socket), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // Nobody to tell means that the start was given up; the shutdown that follows ends us.
        let _ = self.ready.send(result);
        if let Some(socket) = socket {
            self.accept_until(socket, shutdown).await;
        }
    }

    fn name(&self) -> &str {
        &self.listener
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

impl AcceptService {
    fn claim(&self, fds: Option<ListenFds>) -> io::Result<TcpListener> {
        let fds = fds.ok_or(io::ErrorKind::NotFound)?;
        TcpListener::from_std(listener::claim(&fds, &self.listener, self.worker)?)
    }

    async fn accept_until(&self, socket: TcpListener, mut shutdown: ShutdownWatch) {
        tokio::select! {
            biased;
            // An error means that nobody can tell us to stop any more: that is a stop as well.
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = self.accept_always(&socket) => {}
        }
        if let Err(error) = self.accept_backlog(socket) {
            tracing::warn!(listener = %self.listener, %error, "clients in the backlog are lost");
        }
    }

    async fn accept_always(&self, socket: &TcpListener) {
        loop {
            match self.accept(socket).await {
                Ok(accepted) => self.hand_over(accepted),
                Err(error) if is_exhausted(&error) => {
                    tracing::error!(listener = %self.listener, %error, "cannot accept");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                // The client gave up before it was accepted.
                Err(error) => tracing::debug!(listener = %self.listener, %error, "not accepted"),
            }
        }
    }

    /// The next client. A place is held only while asking the kernel: a worker that waits must not
    /// keep the last one from another worker.
    async fn accept(&self, socket: &TcpListener) -> io::Result<Accepted> {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                return Err(io::Error::other("the listener is closed"));
            };
            if let Some((accepted, place)) = poll_accept_once(socket, place).await {
                let (stream, client) = accepted?;
                return Ok(Accepted {
                    stream,
                    client,
                    place,
                });
            }
        }
    }

    /// Accepts what waits in the backlog, as far as there are places, and closes the socket.
    fn accept_backlog(&self, socket: TcpListener) -> io::Result<()> {
        // Asked directly: the runtime may not have heard yet that somebody waits.
        let socket = socket.into_std()?;
        while let Ok(place) = self.places.clone().try_acquire_owned() {
            match socket.accept() {
                Ok((stream, client)) => {
                    stream.set_nonblocking(true)?;
                    let stream = TcpStream::from_std(stream)?;
                    self.hand_over(Accepted {
                        stream,
                        client,
                        place,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_exhausted(&error) => return Err(error),
                Err(_gave_up) => {}
            }
        }
        Ok(())
    }

    fn hand_over(&self, accepted: Accepted) {
        let handler = HANDLER.with_borrow(Option::clone);
        match handler {
            Some(handler) => handler(self.position, accepted),
            None => tracing::error!(listener = %self.listener, "a thread without a handler"),
        }
    }
}

/// Asks once; gives the place back and waits if nobody is there. `None`: worth asking again.
async fn poll_accept_once(
    socket: &TcpListener,
    place: OwnedSemaphorePermit,
) -> Option<(io::Result<(TcpStream, SocketAddr)>, OwnedSemaphorePermit)> {
    let mut place = Some(place);
    poll_fn(|cx| {
        if place.is_none() {
            return Poll::Ready(None);
        }
        match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(place.take().map(|place| (accepted, place))),
            Poll::Pending => {
                place = None;
                Poll::Pending
            }
        }
    })
    .await
}

/// Whether the system has run out of something, as against one client's trouble.
fn is_exhausted(error: &io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM have no kinds of their own in `std`.
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(
        error.raw_os_error(),
        Some(ENOMEM | ENFILE | EMFILE | ENOBUFS)
    )
}
