//! The raw copy: one task a connection moves bytes both ways, nothing is read into.
//!
//! It is the limit: no proxy that is a process of its own can cost less by parsing faster.

use std::ffi::OsString;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use super::Site;
use crate::error::BenchError;

/// Large enough that system calls do not dominate large bodies; tokio's 8 KiB would.
const BUFFER_BYTES: usize = 64 * 1024;

/// Copies between clients and one upstream.
#[derive(clap::Args)]
pub(crate) struct Copy {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    /// Where to connect
    #[arg(long)]
    to: SocketAddr,
}

/// The arguments with which our own binary is the copy.
pub(super) fn arguments(site: &Site) -> Vec<OsString> {
    let (listen, to) = (site.http.to_string(), site.regions()[0].to_string());
    let words = ["copy", "--listen", &listen, "--to", &to];
    words.map(OsString::from).to_vec()
}

impl Copy {
    /// Serves until standard input ends.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(crate) async fn run(&self) -> Result<(), BenchError> {
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.map_err(BenchError::io("the copy's port"))?;
        tokio::select! {
            () = accept(listener, self.to) => {}
            () = crate::upstream::parent_gone() => {}
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, to: SocketAddr) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(copy(client, to));
    }
}

async fn copy(mut client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (up, down) = (BUFFER_BYTES, BUFFER_BYTES);
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, up, down).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidegate_lab::{Client, ClientSpec, Region, RegionSpec, RequestSpec};

    use super::*;

    #[tokio::test]
    async fn every_byte_arrives_both_ways() {
        let region = Region::start(RegionSpec::new("only")).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let copying = tokio::spawn(accept(listener, region.addr()));
        let spec = ClientSpec {
            requests: Some(6),
            mix: vec![RequestSpec::echo(300_000), RequestSpec::content(300_000)],
            ..ClientSpec::new(target, "bench")
        };
        let snapshot = Client::start(spec).unwrap().finish().await;
        copying.abort();
        assert_eq!(snapshot.ok(), 6, "{:?}", snapshot.outcomes);
    }
}
