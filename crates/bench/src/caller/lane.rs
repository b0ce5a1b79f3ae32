//! A lane: one connection at a time is opened, from an address that is the lane's own.
//!
//! With a thousand addresses of the loopback network to call from, ports that wait after a close are
//! never missed, and connections can be closed the way clients do, in both directions, not cut.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};

use super::order::Order;
use super::session::{Pipe, Session};
use super::{Call, LANES, tls};

/// Much longer than a connection, a handshake or an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// One of a caller's lanes.
pub(super) struct Lane {
    call: Call,
    source: SocketAddr,
    /// Each lane has a store of tickets of its own, so that each connection finds one.
    tls: Option<Arc<ClientConfig>>,
    /// Whether the next session has one to resume.
    has_ticket: bool,
    held: Vec<Session>,
}

/// The lanes of a caller.
pub(super) fn all(call: &Call) -> io::Result<Vec<Lane>> {
    (0..LANES).map(|number| Lane::new(call, number)).collect()
}

impl Lane {
    pub(super) fn new(call: &Call, number: u32) -> io::Result<Self> {
        Ok(Self {
            source: SocketAddr::from((source(std::process::id(), number), 0)),
            tls: tls::config(call)?,
            has_ticket: false,
            held: Vec::new(),
            call: call.clone(),
        })
    }

    /// Does its share.
    pub(super) async fn carry_out(&mut self, share: Order) -> io::Result<()> {
        match share {
            Order::Visit(count) => {
                for _ in 0..count {
                    let session = in_time(self.open()).await?;
                    in_time(session.close()).await?;
                }
            }
            Order::Open(count) => {
                for _ in 0..count {
                    let session = in_time(self.open()).await?;
                    self.held.push(session);
                }
            }
            Order::Ask => {
                for session in &mut self.held {
                    in_time(session.ask()).await?;
                }
            }
        }
        Ok(())
    }

    /// A new connection that has had its first answer.
    async fn open(&mut self) -> io::Result<Session> {
        let pipe = self.pipe().await?;
        let mut session = Session::new(pipe, self.call.h2).await?;
        session.ask().await?;
        // Tickets come before the first answer, if at all.
        self.has_ticket = self.call.resume;
        Ok(session)
    }

    async fn pipe(&self) -> io::Result<Pipe> {
        let stream = connect(self.source, self.call.target).await?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let stream = tls::connect(stream, config).await?;
        tls::check(stream.get_ref().1, &self.call, self.has_ticket)?;
        Ok(Box::new(stream))
    }
}

pub(super) async fn connect(source: SocketAddr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(source)?;
    socket.set_nodelay(true)?;
    socket.connect(target).await
}

/// An address of the loopback network that differs by lane and by process.
fn source(process: u32, lane: u32) -> Ipv4Addr {
    let [.., high, low] = process.to_be_bytes();
    // The second byte runs from 2, so that nothing that listens is met.
    Ipv4Addr::new(127, 2 + (lane % 250) as u8, high, low)
}

async fn in_time<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::other(format!("nothing for {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, what).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_stay_in_the_loopback_network() {
        let all = [(1, 0), (1, 1), (256, 0), (65_535, 15)];
        let mut addresses = all.map(|(process, lane)| source(process, lane)).to_vec();
        assert!(addresses.iter().all(Ipv4Addr::is_loopback));
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), all.len());
    }
}
