//! The proxies as they are set for region failover: several regions, the nearest first.
//!
//! Each is set as well as its documentation allows, by one yardstick: active checks every second,
//! quicker while in doubt; a few failures in a row, or what comes closest, take an endpoint out; a
//! try may take a second and a connect half of one; four tries, or more where that spares errors; a
//! POST is never sent twice by guess. Where two settings are sensible, both were tried on these faults,
//! and what left fewer errors and late answers is here, or what is judged safer to run. Tidegate alone runs with its defaults. Plaintext, no access log.

mod envoy;
mod haproxy;
mod nginx;
mod tidegate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tidegate_lab::Leaf;

use super::site::Site;
use super::{Kind, Peer, Process, Shape};
use crate::error::BenchError;
use crate::upstream::Addresses;

/// What the load asks of the settings, the same of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demands {
    /// Seconds until a try is given up that waits for its answer's head, or for the next bytes of it.
    pub(crate) try_s: u64,
    /// Whether requests have bodies of some 256 KiB, which are to reach the next region whole.
    pub(crate) uploads: bool,
}

impl Default for Demands {
    /// Small requests with quick answers.
    fn default() -> Self {
        Self {
            try_s: 1,
            uploads: false,
        }
    }
}

/// Where a service runs, the nearest region first.
#[derive(Clone, Debug)]
pub(crate) struct Regions {
    /// Name and endpoints of each; at least one region, each with at least one endpoint.
    pub(crate) all: Vec<(&'static str, Vec<SocketAddr>)>,
    /// Towards TLS: only Tidegate is set so.
    pub(crate) secured: Option<Secured>,
    /// Of the load.
    pub(crate) demands: Demands,
}

/// How Tidegate speaks HTTP/2 over TLS to its regions.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// PEM of whom to trust.
    pub(crate) ca: PathBuf,
    /// Connections kept to the next region in line; `None` leaves the key out.
    pub(crate) warm_standby: Option<u32>,
}

impl Regions {
    /// All endpoints with their region's name and place in line, and their number within it, from 1.
    fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        self.all
            .iter()
            .enumerate()
            .flat_map(|(place, (region, to))| {
                to.iter().enumerate().map(move |(n, to)| Endpoint {
                    place,
                    name: format!("{region}-{}", n + 1),
                    to: *to,
                })
            })
    }
}

/// One endpoint, as the templates want it.
struct Endpoint {
    /// Of its region: 0 is the nearest.
    place: usize,
    name: String,
    to: SocketAddr,
}

impl Kind {
    /// What was set for region failover, in a few words.
    pub(crate) fn failover_knobs(self) -> &'static str {
        match self {
            Self::Nginx => nginx::KNOBS,
            Self::Haproxy => haproxy::KNOBS,
            Self::Envoy => envoy::KNOBS,
            Self::Tidegate | Self::TidegateLogged => tidegate::KNOBS,
            Self::Copy => "has no regions",
        }
    }

    fn write_failover(self, site: &Site, regions: &Regions) -> Result<(), BenchError> {
        match self {
            Self::Nginx => site.write("nginx.conf", &nginx::configuration(site, regions)),
            Self::Haproxy => site.write("haproxy.cfg", &haproxy::configuration(site, regions)),
            Self::Envoy => site.write("envoy.yaml", &envoy::configuration(site, regions)),
            Self::Tidegate | Self::TidegateLogged => {
                site.write("tidegate.yaml", &tidegate::configuration(site, regions))
            }
            Self::Copy => Ok(()),
        }
    }
}

impl Peer {
    /// Starts it in front of these regions, on whatever core is free.
    ///
    /// # Errors
    /// When a file cannot be written or the program not be started.
    pub(crate) fn start_among(
        &self,
        regions: &Regions,
        leaf: &Leaf,
    ) -> Result<Process, BenchError> {
        let nearest = regions.all.iter().flat_map(|(_, to)| to).next();
        let nearest = nearest.copied().ok_or(BenchError::Missing("a region"))?;
        // The templates here look at the regions alone.
        let upstream = Addresses {
            http1: [nearest; 3],
            h2c: [nearest; 3],
        };
        let site = Site::new(&Shape::default(), upstream, leaf)?;
        self.kind.write_failover(&site, regions)?;
        let mut command = Command::new(&self.program);
        command.args(self.kind.arguments(&site));
        Process::start(self.kind, command, site)
    }
}

#[cfg(test)]
mod tests {
    use super::super::site::tests::site;
    use super::*;

    /// Three regions; endpoint `n` of region `r`, both from 1, is port `10 r + n`.
    pub(super) fn regions(endpoints: u16) -> Regions {
        let at = |region: u16| {
            let port = |n| SocketAddr::from(([127, 0, 0, 1], 10 * region + n));
            (1..=endpoints).map(port).collect()
        };
        Regions {
            all: vec![("near", at(1)), ("far", at(2)), ("farther", at(3))],
            secured: None,
            demands: Demands::default(),
        }
    }

    #[test]
    fn endpoints_are_named_by_region() {
        let all: Vec<_> = regions(2).endpoints().map(|e| (e.place, e.name)).collect();
        assert_eq!(all.len(), 6);
        assert_eq!(all[0], (0, "near-1".to_owned()));
        assert_eq!(all[5], (2, "farther-2".to_owned()));
    }

    #[test]
    fn everybody_has_every_endpoint() {
        let site = site(Shape::default());
        let regions = regions(2);
        for text in [
            nginx::configuration(&site, &regions),
            haproxy::configuration(&site, &regions),
            envoy::configuration(&site, &regions),
            tidegate::configuration(&site, &regions),
        ] {
            for endpoint in regions.endpoints() {
                let port = endpoint.to.port().to_string();
                assert!(text.contains(&port), "{port}: {text}");
            }
        }
    }
}
