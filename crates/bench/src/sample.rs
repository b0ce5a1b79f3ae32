//! Samples: a few requests of our own client, every byte of whose answers is checked.
//!
//! The load generator counts statuses and bytes; that the bytes are the right ones is known from
//! these, before and after each round.

mod call;

use std::time::{Duration, Instant};

use tidegate_lab::tls::{Alpn, TlsError};
use tidegate_lab::{Authority, Client, ClientSpec, Protocol, RequestSpec};

use crate::cell::{Cell, Wire};
use crate::error::BenchError;
use crate::peer::{HOST, Process};

/// Requests of a sample.
const REQUESTS: u64 = 16;

/// How long a proxy may take to serve after its start.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// What came of a sample.
struct Sample {
    /// Requests with a right answer.
    right: u64,
    /// How all of them ended.
    words: String,
}

fn spec(
    cell: &Cell,
    what: RequestSpec,
    process: &Process,
    ca: &Authority,
) -> Result<ClientSpec, TlsError> {
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
        mix: vec![what],
        ..ClientSpec::new(process.address(cell.wire.is_tls()), HOST)
    })
}

async fn take(cell: &Cell, process: &Process, ca: &Authority) -> Result<Sample, BenchError> {
    let Some(what) = cell.transfer.sample() else {
        return call::take(process.address(true), ca).await;
    };
    let client = Client::start(spec(cell, what, process, ca)?);
    let client = client.map_err(|error| BenchError::Load(error.to_string()))?;
    let snapshot = client.finish().await;
    Ok(Sample {
        right: snapshot.ok(),
        words: format!("{:?}", snapshot.outcomes),
    })
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
        let sample = take(cell, process, ca).await?;
        if sample.right == REQUESTS {
            return Ok(());
        }
        if process.has_ended() || Instant::now() > until {
            let why = format!("{} {}", sample.words, process.words());
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
    let sample = take(cell, process, ca).await?;
    if sample.right == REQUESTS {
        return Ok(());
    }
    Err(BenchError::Wrong {
        peer: process.name(),
        cell: cell.name,
        why: format!("a sample after the round: {}", sample.words),
    })
}
