//! Connections that clients hold idle, to see which of them a proxy cuts.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::drive::{self, Connection};
use crate::error::BenchError;

/// What is asked on each: an answer that is not counted upstream.
const PATH: &str = "/r/0/healthz";

/// Connections that have served a request and are idle since.
pub(super) struct Held {
    /// None: it was cut.
    connections: Vec<Option<Connection>>,
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
            let connection = connection.map_err(BenchError::io("an idle connection"))?;
            connections.push(Some(connection));
        }
        Ok(Self {
            connections,
            request,
        })
    }

    /// Uses one of them, by turns, so that none is idle for longer than proxies let connections be.
    pub(super) async fn touch(&mut self, turn: usize) {
        let at = turn % self.connections.len();
        let Some(connection) = &mut self.connections[at] else {
            return;
        };
        let answer = connection.ask(&self.request).await;
        if !answer.is_ok_and(|answer| answer.status == 200) {
            self.connections[at] = None;
        }
    }

    /// Uses each once more; how many are gone.
    pub(super) async fn gone(mut self) -> usize {
        for turn in 0..self.connections.len() {
            self.touch(turn).await;
        }
        let gone = self.connections.iter().filter(|one| one.is_none());
        gone.count()
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Passes connections on, and forgets them when told to.
    #[tokio::test]
    async fn those_that_were_cut_are_counted() {
        let upstream = crate::upstream::start().await.unwrap().http1[0];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let passing = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = TcpStream::connect(upstream).await.unwrap();
                all.spawn(
                    async move { tokio::io::copy_bidirectional(&mut client, &mut server).await },
                );
            }
        });
        let kept = Held::open(target, 3).await.unwrap();
        let cut = Held::open(target, 2).await.unwrap();
        assert_eq!(kept.gone().await, 0);
        passing.abort();
        assert!(passing.await.unwrap_err().is_cancelled());
        assert_eq!(cut.gone().await, 2);
    }
}
