//! Every endpoint of a plan asked once, for somebody who waits for the answer: can it be found,
//! connected to, trusted, and does it answer its probe as expected?
//!
//! The same checks as those of the [`Prober`](crate::Prober), so that what succeeds here succeeds there. It
//! writes nothing to the board and keeps no connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tidegate_core::plan::{ConnectionPolicy, Plan, Probe, ProbeKind, Upstream};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::check::{Check, Seen};

/// Endpoints asked at the same time; each takes two sockets at most.
const AT_ONCE: usize = 128;

/// What was found at one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Surveyed {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The region's name.
    pub region: Arc<str>,
    /// `host:port` as configured.
    pub endpoint: Arc<str>,
    /// What the name stands for, sorted; empty when it cannot be resolved.
    pub addresses: Vec<SocketAddr>,
    /// How long a connection took, or why there is none.
    pub connect: Result<Duration, String>,
    /// Whether the TLS of the upstream's requests comes about; none without TLS or a connection.
    pub tls: Option<Result<(), String>>,
    /// How long the probe's answer took, if it asks anything, or why it failed; none without a probe.
    pub probe: Option<Result<Option<Duration>, String>>,
}

impl Surveyed {
    /// Whether requests would get there and the probe would call it healthy.
    pub fn is_reached(&self) -> bool {
        self.connect.is_ok()
            && !matches!(self.tls, Some(Err(_)))
            && !matches!(self.probe, Some(Err(_)))
    }
}

/// The checks of one upstream.
struct Checks {
    connection: Check,
    probe: Option<Check>,
}

/// Asks every endpoint of `plan` as its requests and its probe would, each within `limit` and 128 at a
/// time. In the order of the plan.
pub async fn survey(plan: &Plan, limit: Duration) -> Vec<Surveyed> {
    let asked = plan.upstreams.iter().flat_map(|upstream| {
        let checks = Arc::new(Checks::new(upstream, limit));
        upstream.regions.iter().flat_map(move |region| {
            let (checks, name) = (checks.clone(), plan.region(region.region).name.clone());
            region.endpoints.iter().map(move |endpoint| {
                let (checks, region) = (checks.clone(), name.clone());
                async move {
                    let (upstream, endpoint) = (upstream.name.clone(), endpoint.address.clone());
                    checks.ask(upstream, region, endpoint, limit).await
                }
            })
        })
    });
    futures_util::stream::iter(asked)
        .buffered(AT_ONCE)
        .collect()
        .await
}

impl Checks {
    fn new(upstream: &Upstream, limit: Duration) -> Self {
        let policy = &upstream.connection;
        let probe = upstream.health.probe.as_ref().map(|probe| Probe {
            timeout: limit,
            ..probe.clone()
        });
        Self {
            connection: Check::new(only_connects(limit), policy.clone()),
            probe: probe.map(|probe| Check::new(probe, ConnectionPolicy::clone(policy))),
        }
    }

    async fn ask(
        &self,
        upstream: Arc<str>,
        region: Arc<str>,
        endpoint: Arc<str>,
        limit: Duration,
    ) -> Surveyed {
        let probed = async {
            let check = self.probe.as_ref()?;
            Some(check.run(&check.ask(&endpoint), None).await)
        };
        let ask = self.connection.ask(&endpoint);
        let (addresses, connected, probed) = tokio::join!(
            addresses(&endpoint, limit),
            self.connection.run(&ask, None),
            probed,
        );
        let (connect, tls) = self.connected(connected);
        let answered = |seen: Seen| seen.result.map(|()| seen.answered);
        Surveyed {
            upstream,
            region,
            addresses,
            connect,
            tls,
            probe: probed.map(|seen| answered(seen).map_err(|error| error.to_string())),
            endpoint,
        }
    }

    fn connected(&self, seen: Seen) -> (Result<Duration, String>, Option<Result<(), String>>) {
        let result = seen.result.map_err(|error| error.to_string());
        match seen.rtt {
            None => (result.map(|()| Duration::ZERO), None),
            Some(took) => (Ok(took), self.connection.secures().then_some(result)),
        }
    }
}

/// A probe that asks nothing.
fn only_connects(limit: Duration) -> Probe {
    Probe {
        kind: ProbeKind::Tcp,
        port: None,
        tls: None,
        interval: limit,
        fast_interval: None,
        jitter: 0.0,
        timeout: limit,
        rise: 1,
        fall: 1,
    }
}

async fn addresses(endpoint: &str, limit: Duration) -> Vec<SocketAddr> {
    let Ok(Ok(found)) = timeout(limit, lookup_host(endpoint)).await else {
        return Vec::new();
    };
    let mut addresses: Vec<_> = found.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
