//! The accept loop of one listener on one worker.
//!
//! The loop runs as a service of the chassis, whose futures must be `Send`; connections are not.
//! So the loop holds only what may move and hands each accepted socket to the thread's
//! [`Handler`], which the worker installed before.
//!
//! While the listener is full nothing is accepted: clients wait in the kernel's backlog. At
//! shutdown what waits there is still accepted, since those clients believe to be connected.

mod backlog;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::listener;
use backlog::Backlog;

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
        let (backlog, result) = match claimed {
            Ok(backlog) => (Some(backlog), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // Nobody to tell means that the start was given up; the shutdown that follows ends us.
        let _ = self.ready.send(result);
        if let Some(backlog) = backlog {
            self.accept_until(backlog, shutdown).await;
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
    fn claim(&self, fds: Option<ListenFds>) -> io::Result<Backlog> {
        let fds = fds.ok_or(io::ErrorKind::NotFound)?;
        Backlog::new(listener::claim(&fds, &self.listener, self.worker)?)
    }

    async fn accept_until(&self, mut backlog: Backlog, mut shutdown: ShutdownWatch) {
        tokio::select! {
            biased;
            // An error means that nobody can tell us to stop any more: that is a stop as well.
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = self.accept_always(&mut backlog) => {}
        }
        if let Err(error) = self.accept_the_rest(&backlog.into_socket()) {
            tracing::warn!(listener = %self.listener, %error, "clients in the backlog are lost");
        }
    }

    async fn accept_always(&self, backlog: &mut Backlog) {
        loop {
            match self.accept(backlog).await {
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
    async fn accept(&self, backlog: &mut Backlog) -> io::Result<Accepted> {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                return Err(io::Error::other("the listener is closed"));
            };
            if let Some((accepted, place)) = poll_accept_once(backlog, place).await {
                let (stream, client) = accepted?;
                return Ok(Accepted {
                    stream,
                    client,
                    place,
                });
            }
        }
    }

    /// Accepts who still waits in the backlog, as far as there are places.
    fn accept_the_rest(&self, socket: &TcpListener) -> io::Result<()> {
        // Asked directly: the runtime may not have heard yet that somebody waits.
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
    backlog: &mut Backlog,
    place: OwnedSemaphorePermit,
) -> Option<(io::Result<(TcpStream, SocketAddr)>, OwnedSemaphorePermit)> {
    let mut place = Some(place);
    poll_fn(|cx| {
        if place.is_none() {
            return Poll::Ready(None);
        }
        match backlog.poll_accept(cx) {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::Context;

    use tokio::io::AsyncReadExt;
    use tokio::sync::watch;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;
    use crate::listener::Sockets;

    /// Two workers of one listener on one thread, and what they accepted.
    struct Stage {
        sockets: Sockets,
        address: SocketAddr,
        places: Arc<Semaphore>,
        shutdown: watch::Sender<bool>,
        accepted: Rc<RefCell<Vec<Accepted>>>,
        most: Rc<Cell<usize>>,
    }

    impl Stage {
        fn new(places: usize) -> Self {
            let sockets = Sockets::new();
            let address = sockets
                .bind("http", "127.0.0.1:0".parse().unwrap(), 2)
                .unwrap();
            let accepted: Rc<RefCell<Vec<Accepted>>> = Rc::default();
            let most: Rc<Cell<usize>> = Rc::default();
            let (list, peak) = (accepted.clone(), most.clone());
            install(Rc::new(move |_, one| {
                list.borrow_mut().push(one);
                peak.set(peak.get().max(list.borrow().len()));
            }));
            let places = Arc::new(Semaphore::new(places));
            Self {
                sockets,
                address,
                places,
                shutdown: watch::Sender::new(false),
                accepted,
                most,
            }
        }

        /// Starts both accept loops; each has taken its socket when this returns.
        async fn start(&self) -> Vec<tokio::task::JoinHandle<()>> {
            let (ready, readiness) = mpsc::channel();
            let tasks = (0..2)
                .map(|worker| {
                    let mut service = AcceptService {
                        listener: "http".into(),
                        position: 0,
                        worker,
                        places: self.places.clone(),
                        ready: ready.clone(),
                    };
                    let (table, shutdown) = (self.sockets.table(), self.shutdown.subscribe());
                    spawn_local(
                        async move { service.start_service(Some(table), shutdown, 1).await },
                    )
                })
                .collect();
            for _ in 0..2 {
                until(|| readiness.try_recv().ok()).await.unwrap();
            }
            tasks
        }

        async fn connect(&self, count: usize) -> Vec<TcpStream> {
            let mut clients = Vec::new();
            for _ in 0..count {
                clients.push(TcpStream::connect(self.address).await.unwrap());
            }
            clients
        }

        async fn until_accepted(&self, count: usize) {
            until(|| (self.accepted.borrow().len() >= count).then_some(())).await;
        }
    }

    async fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
        loop {
            match condition() {
                Some(value) => return value,
                None => yield_now().await,
            }
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, test);
        uninstall();
    }

    #[test]
    fn a_full_listener_lets_clients_wait_and_takes_them_as_places_come_free() {
        run(async {
            let stage = Stage::new(2);
            let _tasks = stage.start().await;
            let _clients = stage.connect(10).await;
            let mut served = 0;
            while served < 10 {
                stage.until_accepted(2.min(10 - served)).await;
                // Long enough for both loops to run: a third one would have come by now.
                for _ in 0..20 {
                    yield_now().await;
                }
                drop(stage.accepted.borrow_mut().remove(0));
                served += 1;
            }
            assert_eq!(stage.most.get(), 2);
            assert_eq!(stage.places.available_permits(), 2);
        });
    }

    #[test]
    fn the_last_place_is_anybodys() {
        run(async {
            let stage = Stage::new(1);
            let _tasks = stage.start().await;
            for _ in 0..16 {
                let _client = stage.connect(1).await;
                stage.until_accepted(1).await;
                stage.accepted.borrow_mut().clear();
            }
            assert_eq!(stage.most.get(), 1);
        });
    }

    #[test]
    fn accepted_sockets_do_not_wait_to_send_and_notice_dead_clients() {
        run(async {
            let stage = Stage::new(10);
            let _tasks = stage.start().await;
            let clients = stage.connect(1).await;
            stage.until_accepted(1).await;
            let accepted = stage.accepted.borrow();
            assert!(accepted[0].stream.nodelay().unwrap());
            assert!(
                socket2::SockRef::from(&accepted[0].stream)
                    .keepalive()
                    .unwrap()
            );
            assert_eq!(accepted[0].client, clients[0].local_addr().unwrap());
        });
    }

    #[test]
    fn a_shutdown_still_takes_the_backlog_and_then_closes() {
        run(async {
            let stage = Stage::new(10);
            let clients = stage.connect(5).await;
            stage.sockets.close();
            assert!(listener::claim(&stage.sockets.table(), "http", 0).is_err());
            drop(clients);

            let stage = Stage::new(10);
            let clients = stage.connect(5).await;
            stage.shutdown.send_replace(true);
            let tasks = stage.start().await;
            stage.sockets.close();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(stage.accepted.borrow().len(), clients.len());
            let refused = TcpStream::connect(stage.address).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        });
    }

    #[test]
    fn a_running_listener_stops_at_once() {
        run(async {
            let stage = Stage::new(10);
            let tasks = stage.start().await;
            let mut clients = stage.connect(1).await;
            stage.until_accepted(1).await;
            stage.sockets.close();
            stage.shutdown.send_replace(true);
            for task in tasks {
                task.await.unwrap();
            }
            assert!(TcpStream::connect(stage.address).await.is_err());
            let waiting = poll_fn(|cx: &mut Context<'_>| {
                let mut buf = [0];
                let mut buf = tokio::io::ReadBuf::new(&mut buf);
                Poll::Ready(clients[0].poll_peek(cx, &mut buf).is_pending())
            });
            assert!(waiting.await, "an accepted connection is not touched");
            stage.accepted.borrow_mut().clear();
            assert_eq!(clients[0].read(&mut [0]).await.unwrap(), 0);
        });
    }

    #[test]
    fn exhaustion_is_told_from_one_clients_trouble() {
        for (code, expected) in [
            (24, true),
            (23, true),
            (12, true),
            (105, true),
            (103, false),
        ] {
            assert_eq!(
                is_exhausted(&io::Error::from_raw_os_error(code)),
                expected,
                "{code}"
            );
        }
        assert!(!is_exhausted(&io::ErrorKind::WouldBlock.into()));
    }
}
