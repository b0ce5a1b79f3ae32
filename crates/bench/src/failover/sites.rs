//! The regions of one proxy: a service at each endpoint, and a link of its own before it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_lab::{Behaviour, Link, LinkSpec, Region, RegionSpec};
use tokio::task::JoinSet;

use super::fault::Change;
use crate::error::BenchError;

/// Names and round trips of the regions, the nearest first.
pub(super) const REGIONS: [(&str, Duration); 3] = [
    ("near", Duration::from_millis(2)),
    ("far", Duration::from_millis(40)),
    ("farther", Duration::from_millis(80)),
];

/// An endpoint and the way to it.
struct Place {
    region: Region,
    link: Arc<Link>,
}

/// The regions of one proxy, the nearest first.
pub(super) struct Sites {
    regions: Vec<(&'static str, Vec<Place>)>,
}

/// What has arrived at the near region since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Near {
    /// Requests of the load that the service has seen, checks left out.
    pub(super) requests: u64,
    /// Bytes that its links took from the proxy, whatever became of them.
    pub(super) bytes: u64,
    /// Connections that its links accepted.
    pub(super) connections: u64,
}

impl Sites {
    /// Starts `regions` (at most three) with `endpoints` each, which behave like `well`.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub(super) async fn start(
        regions: &[(&'static str, Duration)],
        endpoints: usize,
        tls: Option<&Arc<rustls::ServerConfig>>,
        well: &Behaviour,
    ) -> Result<Self, BenchError> {
        let mut all = Vec::new();
        for (name, rtt) in regions {
            let mut places = Vec::new();
            for n in 0..endpoints {
                places.push(place(name, *rtt, n, tls.cloned(), well).await?);
            }
            all.push((*name, places));
        }
        Ok(Self { regions: all })
    }

    /// Names and addresses, as a configuration wants them.
    pub(super) fn addresses(&self) -> Vec<(&'static str, Vec<SocketAddr>)> {
        let of = |places: &Vec<Place>| places.iter().map(|place| place.link.addr()).collect();
        self.regions
            .iter()
            .map(|(name, places)| (*name, of(places)))
            .collect()
    }

    /// Changes the near region, all its endpoints at once. Links have switched when the tasks that
    /// this adds to `switching` are over, each with what hindered its link.
    pub(super) fn change(&self, change: &Change, switching: &mut JoinSet<Result<(), BenchError>>) {
        for place in self.near() {
            match change {
                Change::Service(behaviour) => place.region.set(behaviour.clone()),
                Change::Link(mode) => {
                    let (link, mode) = (Arc::clone(&place.link), *mode);
                    switching.spawn(async move { Ok(link.set(mode).await?) });
                }
            }
        }
    }

    /// What has arrived at the near region so far.
    pub(super) fn at_near(&self) -> Near {
        let places = self.near().iter().map(|place| {
            let stats = place.link.stats();
            Near {
                requests: of_load(&place.region),
                bytes: stats.bytes_from_client,
                connections: stats.connections,
            }
        });
        places.fold(Near::default(), |sum, own| Near {
            requests: sum.requests + own.requests,
            bytes: sum.bytes + own.bytes,
            connections: sum.connections + own.connections,
        })
    }

    /// Requests that have arrived, by region in their order.
    pub(super) fn arrived(&self) -> [u64; 3] {
        let mut arrived = [0; 3];
        for (sum, (_, places)) in arrived.iter_mut().zip(&self.regions) {
            *sum = places.iter().map(|place| of_load(&place.region)).sum();
        }
        arrived
    }

    /// Requests that arrived more than once in all regions together, of the client to which this
    /// `x-lab-id` belongs.
    pub(super) fn twice(&self, id: &str) -> u64 {
        let client = id.split('-').next().unwrap_or(id);
        let mut seen: HashMap<String, u64> = HashMap::new();
        for (id, count) in self.ids() {
            if id.starts_with(client) {
                *seen.entry(id).or_default() += count;
            }
        }
        seen.values().filter(|count| **count > 1).count() as u64
    }

    /// Every `x-lab-id` and how often it arrived.
    fn ids(&self) -> impl Iterator<Item = (String, u64)> {
        let places = self.regions.iter().flat_map(|(_, places)| places);
        places.flat_map(|place| place.region.ids())
    }

    fn near(&self) -> &[Place] {
        self.regions.first().map_or(&[], |(_, places)| places)
    }
}

async fn place(
    name: &str,
    rtt: Duration,
    n: usize,
    tls: Option<Arc<rustls::ServerConfig>>,
    well: &Behaviour,
) -> Result<Place, BenchError> {
    let region = RegionSpec {
        behaviour: well.clone(),
        tls,
        // The same for every proxy.
        seed: 1 + n as u64,
        ..RegionSpec::new(name)
    };
    let region = Region::start(region).await?;
    let link = Link::start(region.addr(), LinkSpec::with_rtt(rtt)).await?;
    Ok(Place {
        region,
        link: Arc::new(link),
    })
}

/// Requests of the load: all but health checks.
fn of_load(region: &Region) -> u64 {
    let seen = region.snapshot();
    let load = seen
        .requests
        .iter()
        .filter(|(kind, _)| !kind.ends_with("/healthz"));
    load.map(|(_, count)| count).sum()
}
