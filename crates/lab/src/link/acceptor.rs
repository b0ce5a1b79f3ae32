//! Takes a link's connections in, and opens and shuts its port as the mode says.
//!
//! The port must survive [`Mode::Refuse`]: a second socket is bound to it for the link's whole life and never
//! listens, so nobody else is given the port and a connect meets no listener. Both sockets set SO_REUSEADDR,
//! which lets them share the address as long as at most one of them listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::LinkError;
use super::connection::carry;
use super::shared::{Mode, Order, Shared};
use crate::tasks::Tasks;

const BACKLOG: i32 = 1024;
/// A plug that does not connect within this time found the queue full already.
const PLUG_WAIT: Duration = Duration::from_millis(250);

/// The last order that holds for the listener, and how it went.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) number: u64,
    pub(super) failed: Option<Arc<std::io::Error>>,
}

pub(super) struct Acceptor {
    addr: SocketAddr,
    shared: Arc<Shared>,
    tasks: Tasks,
    applied: watch::Sender<Applied>,
    listener: Option<TcpListener>,
    /// Whether the link is unreachable: nothing is accepted, so that the queue stays full.
    plugged: bool,
    /// Fills the accept queue meanwhile.
    plug: Option<TcpStream>,
    /// Plugs that may still stand in the accept queue.
    plugged_from: Vec<SocketAddr>,
    _reservation: Socket,
}

impl Acceptor {
    pub(super) fn bind(shared: Arc<Shared>, tasks: Tasks) -> Result<Self, LinkError> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let fail = |addr| move |source| LinkError::Listen { addr, source };
        let reservation = reusable(any).map_err(fail(any))?;
        let addr = local_addr(&reservation).map_err(fail(any))?;
        let listener = listen(addr).map_err(fail(addr))?;
        Ok(Self {
            addr,
            shared,
            tasks,
            applied: watch::Sender::new(Applied {
                number: 0,
                failed: None,
            }),
            listener: Some(listener),
            plugged: false,
            plug: None,
            plugged_from: Vec::new(),
            _reservation: reservation,
        })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    pub(super) async fn run(mut self) {
        let mut orders = self.shared.subscribe();
        // An order given before this task first ran has not been seen as a change.
        orders.mark_changed();
        loop {
            let accepting = self.listener.as_ref().filter(|_| !self.plugged);
            tokio::select! {
                biased;
                changed = orders.changed() => match changed {
                    Ok(()) => {
                        let order = *orders.borrow_and_update();
                        self.obey(order).await;
                    }
                    Err(_) => return,
                },
                (stream, peer) = accept(accepting) => self.admit(stream, peer),
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        let done = self.switch(order.mode).await;
        let failed = done.err().map(Arc::new);
        self.applied.send_replace(Applied {
            number: order.number,
            failed,
        });
    }

    async fn switch(&mut self, mode: Mode) -> std::io::Result<()> {
        if mode == Mode::Refuse {
            self.unplug()?;
            self.listener = None;
            return Ok(());
        }
        if self.listener.is_none() {
            self.listener = Some(listen(self.addr)?);
        }
        if mode == Mode::Unreachable {
            self.plug_queue().await
        } else {
            self.unplug()
        }
    }

    /// Makes the accept queue as short as it goes and fills it.
    async fn plug_queue(&mut self) -> std::io::Result<()> {
        let Some(listener) = self.listener.as_ref().filter(|_| !self.plugged) else {
            return Ok(());
        };
        self.plugged = true;
        SockRef::from(listener).listen(0)?;
        if let Ok(plug) = tokio::time::timeout(PLUG_WAIT, TcpStream::connect(self.addr)).await {
            let plug = plug?;
            self.plugged_from.push(plug.local_addr()?);
            self.plug = Some(plug);
        }
        Ok(())
    }

    fn unplug(&mut self) -> std::io::Result<()> {
        self.plugged = false;
        self.plug = None;
        match &self.listener {
            Some(listener) => SockRef::from(listener).listen(BACKLOG),
            None => Ok(()),
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        if let Some(at) = self.plugged_from.iter().position(|plug| *plug == peer) {
            self.plugged_from.swap_remove(at);
            return;
        }
        // Until an orderly end is reached, letting go of a socket means RST.
        let _ = stream.set_zero_linger();
        let _ = stream.set_nodelay(true);
        if let Some(open) = self.shared.admit() {
            self.tasks
                .spawn(carry(stream, open, Arc::clone(&self.shared)));
        }
    }
}

/// The next connection; never ready without a listener.
async fn accept(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Out of descriptors, or a client that gave up in the queue: neither ends the link.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn reusable(addr: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn local_addr(socket: &Socket) -> std::io::Result<SocketAddr> {
    let addr = socket.local_addr()?.as_socket();
    addr.ok_or_else(|| std::io::Error::other("bound socket has no internet address"))
}

fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = reusable(addr)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
