//! From `host:port` to a connection, and how long the network took for it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::error::ProbeError;

/// Connects to `address`, trying what its name stands for in turn, each with its share of the time
/// that is left. The time to connect goes to `rtt`: with it a round trip is measured even if the
/// rest of the probe fails. The name's resolution is no part of it.
pub(crate) async fn connect(
    address: &str,
    deadline: Instant,
    rtt: &mut Option<Duration>,
) -> Result<TcpStream, ProbeError> {
    let resolved = lookup_host(address)
        .await
        .map_err(|error| ProbeError::Resolve(error.to_string()))?;
    let candidates: Vec<SocketAddr> = resolved.collect();
    let mut failure = ProbeError::Resolve("it has no address".to_owned());
    for (position, candidate) in candidates.iter().enumerate() {
        let started = Instant::now();
        let share =
            deadline.saturating_duration_since(started) / (candidates.len() - position) as u32;
        match timeout_at(started + share, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) => {
                *rtt = Some(started.elapsed());
                return stream
                    .set_nodelay(true)
                    .map(|()| stream)
                    .map_err(|error| failed(&error));
            }
            Ok(Err(error)) => failure = failed(&error),
            Err(_) => failure = ProbeError::ConnectTimeout(share),
        }
    }
    Err(failure)
}

fn failed(error: &io::Error) -> ProbeError {
    ProbeError::Connect(error.to_string())
}
