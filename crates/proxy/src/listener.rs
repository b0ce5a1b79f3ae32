//! A listener as the data plane knows it: what its connections need, and its sockets.
//!
//! Sockets are bound here and not by the chassis, because its listener hides the port that port 0
//! resolved to. There is one per worker, so that no two threads wait on the same queue; the kernel
//! spreads clients over them. They travel in the chassis' table of descriptors, from where a
//! successor process can take them over.
//!
//! Sharing a port is meant for our own workers only: a port on which anybody else listens, another
//! process of ours included, is refused like any port in use.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pingora_core::server::{Fds, ListenFds};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tidegate_core::settings::{Listener, ListenerLimits, Network};
use tidegate_telemetry::metrics::{ListenerSeries, Metrics};
use tokio::sync::Semaphore;

use crate::tls::TlsError;
use crate::tls::server::ServerTls;

/// Clients that the kernel keeps waiting per socket while we are busy; it may allow fewer.
const BACKLOG: i32 = 4096;
/// A silent client is asked whether it is still there after so long, and so often.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15));

/// What a connection needs to know of the listener that it came by.
#[derive(Clone)]
pub(crate) struct ListenerContext {
    /// The listener's name.
    pub(crate) name: Arc<str>,
    /// Limits of its clients.
    pub(crate) limits: ListenerLimits,
    /// Clients whose forwarding fields are believed.
    pub(crate) trusted: Vec<Network>,
    /// TLS, unless plaintext.
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// Places for connections; shared by all workers.
    pub(crate) places: Arc<Semaphore>,
    /// Counts its connections.
    pub(crate) series: ListenerSeries,
}

impl ListenerContext {
    /// Reads the TLS files, if the listener has any.
    pub(crate) fn new(listener: &Listener, metrics: &Metrics) -> Result<Self, TlsError> {
        let tls = listener.tls.as_ref().map(ServerTls::new).transpose()?;
        Ok(Self {
            name: listener.name.as_str().into(),
            limits: listener.limits.clone(),
            trusted: listener.trusted.clone(),
            tls: tls.map(Arc::new),
            places: Arc::new(Semaphore::new(
                listener.limits.connections.clamp(1, Semaphore::MAX_PERMITS),
            )),
            series: metrics.listener(&listener.name),
        })
    }

    /// Whether the listener believes this client's forwarding fields.
    pub(crate) fn trusts(&self, client: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(client))
    }
}

/// Every listening socket of the process, under names by which workers claim theirs. Closes them
/// when dropped.
pub(crate) struct Sockets(ListenFds);

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.lock().serialize().0).finish()
    }
}

impl Sockets {
    /// A table without sockets.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Fds::new())))
    }

    /// Binds `address` once per worker and listens. Returns what port 0 became.
    pub(crate) fn bind(
        &self,
        listener: &str,
        address: SocketAddr,
        workers: usize,
    ) -> io::Result<SocketAddr> {
        refuse_in_use(address)?;
        let mut address = address;
        for worker in 0..workers {
            let socket = bind_shared(address)?;
            address = socket.local_addr()?;
            self.0
                .lock()
                .add(key(listener, worker), socket.into_raw_fd());
        }
        Ok(address)
    }

    /// The table, to be handed to services.
    pub(crate) fn table(&self) -> ListenFds {
        self.0.clone()
    }

    /// Closes the table's sockets. Those that workers claimed go on until they drop them.
    pub(crate) fn close(&self) {
        self.0.lock().close_unclaimed(&HashSet::new());
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.close();
    }
}

/// The socket of one worker, not blocking. The table keeps its own descriptor of it.
pub(crate) fn claim(table: &ListenFds, listener: &str, worker: usize) -> io::Result<TcpListener> {
    let table = table.lock();
    let fd = *table
        .get(&key(listener, worker))
        .ok_or(io::ErrorKind::NotFound)?;
    #[expect(unsafe_code, reason = "the chassis' table holds plain numbers")]
    // SAFETY: the table owns the descriptor and closes it only under the lock that is held here.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(borrowed.try_clone_to_owned()?.into())
}

/// The chassis separates names by white space when it sends the table to a successor.
fn key(listener: &str, worker: usize) -> String {
    let name: String = listener.split_whitespace().collect::<Vec<_>>().join("_");
    format!("{name}#{worker}")
}

/// Fails if anybody listens there. A shared socket of the same user would be let in silently.
fn refuse_in_use(address: SocketAddr) -> io::Result<()> {
    match address.port() {
        0 => Ok(()),
        _ => socket(address)?.bind(&address.into()),
    }
}

fn bind_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    // Accepted sockets inherit these two, which saves two system calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `0.0.0.0` and `[::]` may be listeners side by side.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_claims_its_own_socket_of_one_port() {
        let sockets = Sockets::new();
        let address = sockets
            .bind("my http", "127.0.0.1:0".parse().unwrap(), 3)
            .unwrap();
        assert_ne!(address.port(), 0);
        for worker in 0..3 {
            let socket = claim(&sockets.table(), "my http", worker).unwrap();
            assert_eq!(socket.local_addr().unwrap(), address);
        }
        let missing = claim(&sockets.table(), "my http", 3).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let (names, _) = sockets.table().lock().serialize();
        assert!(names.iter().all(|name| !name.contains(' ')), "{names:?}");
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_its_owner_shares_it() {
        let (first, second) = (Sockets::new(), Sockets::new());
        let address = first
            .bind("http", "127.0.0.1:0".parse().unwrap(), 2)
            .unwrap();
        let error = second.bind("http", address, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert_eq!(second.bind("http", address, 2).unwrap(), address);
    }

    #[test]
    fn clients_are_trusted_by_network() {
        let listener = Listener {
            name: "http".into(),
            bind: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            limits: ListenerLimits {
                connections: 0,
                ..ListenerLimits::default()
            },
            trusted: vec![Network {
                address: "10.0.0.0".parse().unwrap(),
                prefix: 8,
            }],
        };
        let context = ListenerContext::new(&listener, &Metrics::new()).unwrap();
        assert!(context.trusts("10.1.2.3".parse().unwrap()));
        assert!(!context.trusts("192.0.2.1".parse().unwrap()));
        assert_eq!(
            context.places.available_permits(),
            1,
            "a listener that lets nobody in is none"
        );
    }
}
