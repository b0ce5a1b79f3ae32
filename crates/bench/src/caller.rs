//! A caller of our own, for what `h2load` cannot do: a new connection for each request, handshakes of
//! a chosen kind, and many connections that are held.
//!
//! It runs in a process of its own on the core of the load and is told what to do line by line. It
//! checks every connection and every byte of every answer; the first thing that is wrong ends it.

mod lane;
mod order;
mod process;
mod session;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::task::JoinSet;

use crate::error::BenchError;
use lane::Lane;

pub(crate) use order::Order;
pub(crate) use process::{Caller, ca_file};

/// Connections that are opened at a time, each lane with an address of its own to call from.
pub(crate) const LANES: u32 = 16;

/// How to call. Also the arguments of the process.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Call {
    /// Whom
    #[arg(long)]
    pub(crate) target: SocketAddr,
    /// Over TLS 1.3, and who signs its certificate: a PEM file
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
    /// In HTTP/2, not HTTP/1.1
    #[arg(long)]
    pub(crate) h2: bool,
    /// Agree on a key by X25519MLKEM768, not by X25519
    #[arg(long)]
    pub(crate) hybrid: bool,
    /// Resume the session of the lane's connection before
    #[arg(long)]
    pub(crate) resume: bool,
}

impl Call {
    /// Plaintext, HTTP/1.1.
    pub(crate) fn plain(target: SocketAddr) -> Self {
        Self {
            target,
            ca: None,
            h2: false,
            hybrid: false,
            resume: false,
        }
    }

    /// Whether the target agrees to X25519MLKEM768 when that is preferred and X25519 is offered too.
    ///
    /// # Errors
    /// When it agrees to neither, or presents a certificate that is not signed by the authority.
    pub(crate) async fn agrees_to_hybrid(&self) -> io::Result<bool> {
        let preferring = Self {
            hybrid: true,
            ..self.clone()
        };
        tls::agrees_to_hybrid(&preferring).await
    }

    /// Carries out orders from standard input until that ends or something is wrong; each is
    /// answered in one line.
    ///
    /// # Errors
    /// When the settings cannot be made or standard input not be read.
    pub(crate) async fn serve_as_child(&self) -> Result<(), BenchError> {
        let io = |source| BenchError::io("the caller")(source);
        let mut lanes = lane::all(self).map_err(io)?;
        let mut lines = BufReader::new(stdin()).lines();
        while let Some(line) = lines.next_line().await.map_err(io)? {
            let started = Instant::now();
            let ended = match Order::parse(&line) {
                Some(order) => carry_out(order, &mut lanes).await,
                None => Err(io::Error::other(format!("no such order: {line}"))),
            };
            match ended {
                Ok(()) => println!("done {}", started.elapsed().as_secs_f64()),
                Err(error) => {
                    println!("fault {error}");
                    break;
                }
            }
        }
        Ok(())
    }
}

/// All lanes at once, each its share.
async fn carry_out(order: Order, lanes: &mut Vec<Lane>) -> io::Result<()> {
    let mut running = JoinSet::new();
    for (number, mut lane) in (0..LANES).zip(lanes.drain(..)) {
        let share = order.share(number, LANES);
        running.spawn(async move {
            lane.carry_out(share).await?;
            io::Result::Ok(lane)
        });
    }
    while let Some(ended) = running.join_next().await {
        lanes.push(ended.map_err(io::Error::other)??);
    }
    Ok(())
}
