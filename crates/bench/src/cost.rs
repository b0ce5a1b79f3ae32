//! CPU of a proxy per request at full load: 1 KB answers, HTTP/1.1, random routes.

use crate::bench::Bench;
use crate::cell::CONNECTIONS;
use crate::drive::{self, Asked};
use crate::error::BenchError;
use crate::peer::Process;

/// Turns of each of two processes.
const TURNS: u32 = 4;

/// How much is asked of whom.
pub(crate) struct Load<'a> {
    /// The proxy.
    pub(crate) process: &'a Process,
    /// In which dimension, for errors.
    pub(crate) cell: &'static str,
    /// The routes of the proxy.
    pub(crate) routes: u32,
    /// Requests, at 100 per cent.
    pub(crate) requests: u64,
}

impl Load<'_> {
    /// CPU time in microseconds per request.
    ///
    /// # Errors
    /// [`BenchError::Wrong`] unless all answers are right and as many as the upstream gave.
    pub(crate) async fn micros_each(&self, bench: &Bench<'_>) -> Result<f64, BenchError> {
        let before = self.process.cpu_exact()?;
        self.run(bench).await?;
        let cpu = self.process.cpu_exact()?.saturating_sub(before);
        Ok(cpu.as_secs_f64() * 1e6 / self.at_percent(bench) as f64)
    }

    /// Sends the requests and measures nothing: a warm-up.
    ///
    /// # Errors
    /// [`BenchError::Wrong`] unless all answers are right and as many as the upstream gave.
    pub(crate) async fn run(&self, bench: &Bench<'_>) -> Result<(), BenchError> {
        let requests = self.at_percent(bench);
        let asked = Asked {
            target: self.process.address(false),
            routes: self.routes,
        };
        let counted = bench.upstream.count().await?;
        let load = move || drive::closed(asked, CONNECTIONS, requests);
        let tally = drive::on_load_core(load).await?;
        let counted = bench.upstream.count().await?.saturating_sub(counted);
        let miscounted = (counted != requests)
            .then(|| format!("the upstream saw {counted} of {requests} requests"));
        let fault = tally.fault(requests).or(miscounted);
        fault.map_or(Ok(()), |why| Err(wrong(self.process, self.cell, why)))
    }

    fn at_percent(&self, bench: &Bench<'_>) -> u64 {
        let least = u64::from(CONNECTIONS);
        (self.requests * bench.options.percent / 100).max(least)
    }
}

/// CPU time in microseconds per request of two processes that are asked by turns, so that what the
/// machine does meanwhile meets both.
///
/// # Errors
/// [`BenchError::Wrong`] unless all answers are right and as many as the upstream gave.
pub(crate) async fn by_turns(
    bench: &Bench<'_>,
    two: [Load<'_>; 2],
) -> Result<[f64; 2], BenchError> {
    let mut each = [0.0; 2];
    for _ in 0..TURNS {
        for (load, each) in two.iter().zip(&mut each) {
            *each += load.micros_each(bench).await? / f64::from(TURNS);
        }
    }
    Ok(each)
}

/// An error that fails the run.
pub(crate) fn wrong(process: &Process, cell: &'static str, why: String) -> BenchError {
    let peer = process.name();
    BenchError::Wrong { peer, cell, why }
}
