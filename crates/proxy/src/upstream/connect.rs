//! New connections: name, TCP, TLS, all within one deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::plan::UpstreamProtocol;
use tidegate_core::retry::Failure;
use tokio::net::TcpStream;

use super::gate::Ticket;
use super::resolve::{Addresses, Resolver};
use super::socket::Socket;
use crate::clock::{self, now};
use crate::head::host_of;
use crate::io::Stream;
use crate::tls::client::{Profile, UpstreamStream, is_h2};

/// A new connection.
pub(crate) struct Connected {
    /// The stream, ready for HTTP.
    pub(crate) stream: Stream,
    /// Whether HTTP/2 is spoken on it, else HTTP/1.1.
    pub(crate) h2: bool,
    /// The time of TCP's handshake: one network round trip.
    pub(crate) rtt: Duration,
    /// The time of it all, name and TLS included.
    pub(crate) took: Duration,
}

/// Why there is no connection. Nothing of any request was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct ConnectError {
    /// Its kind.
    pub(crate) kind: ConnectErrorKind,
    /// What a person needs to know: address and cause.
    pub(crate) detail: Arc<str>,
}

/// Kinds of [`ConnectError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectErrorKind {
    /// The address answered that nobody listens there.
    Refused,
    /// Not done by the deadline.
    Timeout,
    /// The name has no address, or could not be asked for.
    Resolve,
    /// As many connections are open as `circuit_breaker` allows: none was tried.
    Full,
    /// TLS failed: certificate, version, protocol, or its set-up here.
    Tls,
    /// Anything else, such as no route.
    Other,
}

impl ConnectError {
    pub(super) fn new(kind: ConnectErrorKind, detail: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// What a verdict calls it.
    pub(crate) fn failure(&self) -> Failure {
        match self.kind {
            ConnectErrorKind::Timeout => Failure::ConnectTimeout,
            ConnectErrorKind::Full => Failure::Full,
            _ => Failure::Connect,
        }
    }

    fn timeout(address: &str, profile: &Profile) -> Self {
        let limit = profile.connect_timeout.as_millis();
        Self::new(
            ConnectErrorKind::Timeout,
            format!("no connection to {address} within {limit} ms"),
        )
    }

    fn tcp(address: SocketAddr, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectErrorKind::Refused,
            io::ErrorKind::TimedOut => ConnectErrorKind::Timeout,
            _ => ConnectErrorKind::Other,
        };
        Self::new(kind, format!("cannot connect to {address}: {error}"))
    }
}

/// Connects to `address` (`ip:port` or `host:port`) as `profile` says, within its connect limit,
/// to speak `protocol`: the profile's, or HTTP/1.1 where it leaves the choice. The ticket is given up
/// when the connection ends.
pub(crate) async fn connect(
    resolver: &Resolver,
    address: &str,
    profile: &Profile,
    protocol: UpstreamProtocol,
    ticket: Ticket,
) -> Result<Connected, ConnectError> {
    let began = now();
    let until = began + profile.connect_timeout;
    let connecting = establish(resolver, address, profile, protocol, ticket, until);
    let connected = tokio::time::timeout_at(until.into(), connecting).await;
    let (stream, h2, rtt) = connected.map_err(|_| ConnectError::timeout(address, profile))??;
    Ok(Connected {
        stream,
        h2,
        rtt,
        took: now().saturating_duration_since(began),
    })
}

async fn establish(
    resolver: &Resolver,
    address: &str,
    profile: &Profile,
    protocol: UpstreamProtocol,
    ticket: Ticket,
    until: Instant,
) -> Result<(Stream, bool, Duration), ConnectError> {
    let addresses = resolver.resolve(address).await?;
    let (stream, rtt) = dial_any(&addresses, until).await?;
    let socket = Socket::new(stream, ticket);
    if profile.tls.is_none() {
        let h2 = protocol == UpstreamProtocol::Http2;
        return Ok((Stream::Upstream(socket), h2, rtt));
    }
    let stream = shake_hands(socket, address, profile, protocol).await?;
    let h2 = agreed_on_h2(&stream, address, protocol)?;
    Ok((Stream::UpstreamTls(Box::new(stream)), h2, rtt))
}

/// Tries the addresses in turn. One that does not answer may use up only its share of the time.
async fn dial_any(
    addresses: &Addresses,
    until: Instant,
) -> Result<(TcpStream, Duration), ConnectError> {
    let mut last = ConnectError::new(ConnectErrorKind::Resolve, "no address to connect to");
    for (tried, address) in addresses.iter().enumerate() {
        let began = now();
        let left = (addresses.len() - tried) as u32;
        let share = until.saturating_duration_since(began) / left;
        match tokio::time::timeout(share, dial(*address)).await {
            Ok(Ok(stream)) => return Ok((stream, now().saturating_duration_since(began))),
            Ok(Err(error)) => last = ConnectError::tcp(*address, &error),
            Err(_) => last = ConnectError::tcp(*address, &io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last)
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn shake_hands(
    socket: Socket,
    address: &str,
    profile: &Profile,
    protocol: UpstreamProtocol,
) -> Result<UpstreamStream<Socket>, ConnectError> {
    let failed = |why: String| {
        ConnectError::new(
            ConnectErrorKind::Tls,
            format!("TLS with {address} failed: {why}"),
        )
    };
    let tls = match &profile.tls {
        Some(Ok(tls)) => tls,
        Some(Err(why)) => return Err(failed(why.to_string())),
        None => return Err(failed("the upstream has no TLS settings".to_owned())),
    };
    let host = host_of(address);
    let shaken = match protocol {
        UpstreamProtocol::Http1 => tls.connect_h1(host, socket).await,
        UpstreamProtocol::Http2 | UpstreamProtocol::Auto => tls.connect(host, socket).await,
    };
    // What was checked took as long as dozens of requests.
    clock::spent();
    shaken.map_err(|error| failed(error.to_string()))
}

fn agreed_on_h2(
    stream: &UpstreamStream<Socket>,
    address: &str,
    protocol: UpstreamProtocol,
) -> Result<bool, ConnectError> {
    match protocol {
        UpstreamProtocol::Http1 => Ok(false),
        UpstreamProtocol::Auto => Ok(is_h2(stream)),
        UpstreamProtocol::Http2 if is_h2(stream) => Ok(true),
        UpstreamProtocol::Http2 => Err(ConnectError::new(
            ConnectErrorKind::Tls,
            format!("{address} did not agree on h2, the only protocol allowed for it"),
        )),
    }
}
