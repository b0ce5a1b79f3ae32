//! Samples: a few requests of our own client, every byte of whose answers is checked.
//!
//! The load generator counts statuses and bytes; that the bytes are the right ones is known from
//! these, before and after each round.

use std::time::{Duration, Instant};

use tidegate_lab::tls::{Alpn, TlsError};
use tidegate_lab::{Authority, Client, ClientSpec, Protocol, Snapshot};

use crate::cell::{Cell, Wire};
use crate::error::BenchError;
use crate::peer::{HOST, Process};

/// Requests of a sample.
const REQUESTS: u64 = 16;

/// How long a proxy may take to serve after its start.
const START_PATIENCE: Duration = Duration::from_secs(15);

fn spec(cell: &Cell, process: &Process, ca: &Authority) -> Result<ClientSpec, TlsError> {
    let alpn = match cell.wire.protocol() {
        Protocol::H1 => Alpn::H1,
        Protocol::H2 => Alpn::H2,
    };
    let tls = match cell.wire {
        Wire::H1 => None,
        Wire::TlsH1 | Wire::TlsH2 => Some(ca.client_config(alpn)?),
    };
    Ok(ClientSpec {
        tls,
        protocol: cell.wire.protocol(),
        concurrency: 4,
        requests: Some(REQUESTS),
        timeout: START_PATIENCE,
        mix: vec![cell.transfer.sample()],
        ..ClientSpec::new(process.address(cell.wire.is_tls()), HOST)
    })
}

async fn take(cell: &Cell, process: &Process, ca: &Authority) -> Result<Snapshot, BenchError> {
    let client = Client::start(spec(cell, process, ca)?);
    let client = client.map_err(|error| BenchError::Load(error.to_string()))?;
    Ok(client.finish().await)
}

/// Waits until a whole sample is right.
///
/// # Errors
/// [`BenchError::NotServing`] with the last outcomes or the proxy's own words.
pub(crate) async fn until_right(
    cell: &Cell,
    process: &mut Process,
    ca: &Authority,
) -> Result<(), BenchError> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        let snapshot = take(cell, process, ca).await?;
        if snapshot.ok() == REQUESTS {
            return Ok(());
        }
        if process.has_ended() || Instant::now() > until {
            let why = format!("{:?} {}", snapshot.outcomes, process.words());
            let peer = process.name();
            return Err(BenchError::NotServing { peer, why });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Takes a sample that must be right.
///
/// # Errors
/// [`BenchError::Wrong`] with the outcomes.
pub(crate) async fn must_be_right(
    cell: &Cell,
    process: &Process,
    ca: &Authority,
) -> Result<(), BenchError> {
    let snapshot = take(cell, process, ca).await?;
    if snapshot.ok() == REQUESTS {
        return Ok(());
    }
    Err(BenchError::Wrong {
        peer: process.name(),
        cell: cell.name,
        why: format!("a sample after the round: {:?}", snapshot.outcomes),
    })
}
