//! Connections that clients hold idle, to see which of them a proxy cuts.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::drive::{self, Connection};
use crate::error::BenchError;

/// What is asked on each: an answer that is not counted upstream.
const PATH: &str = "/r/0/healthz";

/// Connections that have served a request and are idle since.
pub(super) struct Held {
    connections: Vec<Connection>,
    request: Bytes,
}

impl Held {
    /// Opens `count` and uses each once.
    ///
    /// # Errors
    /// When one of them does not serve.
    pub(super) async fn open(target: SocketAddr, count: usize) -> Result<Self, BenchError> {
        let request = drive::request(PATH);
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            let connection = first(target, &request).await;
            connections.push(connection.map_err(BenchError::io("an idle connection"))?);
        }
        Ok(Self {
            connections,
            request,
        })
    }

    /// Uses each once more; how many are gone.
    pub(super) async fn gone(self) -> usize {
        let mut gone = 0;
        for mut connection in self.connections {
            let answer = connection.ask(&self.request).await;
            gone += usize::from(!answer.is_ok_and(|answer| answer.status == 200));
        }
        gone
    }
}

async fn first(target: SocketAddr, request: &[u8]) -> std::io::Result<Connection> {
    let mut connection = Connection::open(target).await?;
    let answer = connection.ask(request).await?;
    match answer.status == 200 && !answer.closes {
        true => Ok(connection),
        false => Err(std::io::Error::other(format!("{answer:?}"))),
    }
}
