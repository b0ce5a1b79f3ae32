//! An emulated WAN link: a TCP forwarder that delays, limits, and breaks in the ways real paths break.
//!
//! Each byte is stamped with the time it is due and waits in a bounded queue, so throughput is set by the window
//! and not by one packet a round trip. The kernel of the client completes a loopback connect at once, whatever we
//! do; therefore the round trip of the handshake is charged to the *first bytes* instead: an answer on a new
//! connection takes two round trips, as over a real ocean, but a probe that times `connect` alone reads about
//! zero. Modes switch while connections are open. No packet is ever lost or reordered inside a connection: TCP
//! would hide that. A request held by a black hole arrives when the path heals, even when its sender has long
//! closed in order and gone elsewhere; only a sender that reset takes its bytes with it.

mod acceptor;
mod connection;
mod pump;
mod shared;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::sync::locked;
use crate::tasks::{EndOnDrop, Tasks};
use acceptor::{Acceptor, Applied};
use shared::Shared;
pub use shared::{LinkStats, Mode, Shape};

/// What a link is like when it starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkSpec {
    /// Delay and rate; can be changed later by [`Link::set_shape`].
    pub shape: Shape,
    /// Bytes a connection may have on the way in one direction before the sender is held back. At least 1.
    /// Rate is at most this per one-way delay.
    pub buffer_bytes: usize,
    /// Connections open at a time; one more is reset.
    pub connections_max: usize,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for LinkSpec {
    /// No delay, no limit of rate, 1 MiB on the way, 4,096 connections.
    fn default() -> Self {
        Self {
            shape: Shape::default(),
            buffer_bytes: 1024 * 1024,
            connections_max: 4096,
            seed: 1,
        }
    }
}

impl LinkSpec {
    /// A link whose round trip takes `rtt`.
    #[must_use]
    pub fn with_rtt(rtt: Duration) -> Self {
        let shape = Shape {
            delay_one_way: rtt / 2,
            ..Shape::default()
        };
        Self {
            shape,
            ..Self::default()
        }
    }
}

/// Why a link could not start or switch.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The loopback port could not be bound or listened on.
    #[error("link cannot listen on {addr}")]
    Listen {
        /// The address it must keep.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The runtime that ran the link is gone.
    #[error("link on {addr} has stopped")]
    Stopped {
        /// Where it listened.
        addr: SocketAddr,
    },
}

/// A running link. Dropping it resets its connections and frees its port.
pub struct Link {
    addr: SocketAddr,
    shared: Arc<Shared>,
    applied: watch::Receiver<Applied>,
    _tasks: EndOnDrop,
}

impl Link {
    /// Starts a link to `upstream` on an ephemeral loopback port, in [`Mode::Up`].
    ///
    /// # Errors
    /// [`LinkError::Listen`] when no loopback port can be had.
    pub async fn start(upstream: SocketAddr, spec: LinkSpec) -> Result<Self, LinkError> {
        let tasks = Tasks::new();
        let shared = Arc::new(Shared::new(upstream, spec));
        let acceptor = Acceptor::bind(Arc::clone(&shared), tasks.clone())?;
        let (addr, applied) = (acceptor.addr(), acceptor.applied());
        tasks.spawn(acceptor.run());
        Ok(Self {
            addr,
            shared,
            applied,
            _tasks: EndOnDrop(tasks),
        })
    }

    /// Where clients connect; the same for the link's whole life.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Switches the mode, and returns when it holds for new connections as well. From the call on, no further
    /// byte passes but by the new mode's rules.
    ///
    /// # Errors
    /// [`LinkError::Listen`] when the port cannot be opened again, [`LinkError::Stopped`] after its runtime ended.
    pub async fn set(&self, mode: Mode) -> Result<(), LinkError> {
        let number = self.shared.command(mode);
        let mut applied = self.applied.clone();
        let seen = applied.wait_for(|applied| applied.number >= number).await;
        let stopped = LinkError::Stopped { addr: self.addr };
        let failed = seen.map_err(|_| stopped)?.failed.clone();
        match failed {
            Some(source) => {
                let source = std::io::Error::new(source.kind(), source);
                Err(LinkError::Listen {
                    addr: self.addr,
                    source,
                })
            }
            None => Ok(()),
        }
    }

    /// The mode in force.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.order().mode
    }

    /// Changes delay, jitter and rate for bytes that arrive from now on. Order is kept: a shorter delay does not
    /// let them overtake bytes already on the way.
    pub fn set_shape(&self, shape: Shape) {
        *locked(&self.shared.shape) = shape;
    }

    /// Changes the one-way delay alone.
    pub fn set_delay(&self, one_way: Duration) {
        locked(&self.shared.shape).delay_one_way = one_way;
    }

    /// Delay, jitter and rate in force.
    #[must_use]
    pub fn shape(&self) -> Shape {
        *locked(&self.shared.shape)
    }

    /// What has gone through so far.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.shared.counters.stats()
    }
}
