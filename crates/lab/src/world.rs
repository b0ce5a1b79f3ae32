//! A map in one process: regions, each behind its own link.
//!
//! What a test says about a site it says by name, and a wrong name is an error that lists the right ones.

use std::net::SocketAddr;
use std::time::Duration;

use crate::link::{Link, LinkError, LinkSpec};
use crate::region::{Region, RegionError, RegionSpec};

/// One region and the link in front of it.
pub struct Site {
    /// The backend. Talk to it directly to see what arrived.
    pub region: Region,
    /// The path to it. Clients and proxies connect here.
    pub link: Link,
}

impl Site {
    /// The region's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.region.name()
    }

    /// The address to put into a configuration: the near end of the link.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.link.addr()
    }
}

/// Why a world could not start or a site was not found.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A region could not start.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The link of a region could not start.
    #[error("link to region {region}")]
    Link {
        /// The region.
        region: String,
        /// Why.
        #[source]
        source: LinkError,
    },
    /// Two regions have the same name.
    #[error("region {name} is in the world twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// There is no such region.
    #[error("no region {name} in this world; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
}

/// What a world will consist of.
#[derive(Default)]
pub struct WorldBuilder {
    sites: Vec<(RegionSpec, LinkSpec)>,
}

impl WorldBuilder {
    /// Adds a plaintext region with the default behaviour, `rtt` away.
    #[must_use]
    pub fn region(self, name: &str, rtt: Duration) -> Self {
        self.site(RegionSpec::new(name), LinkSpec::with_rtt(rtt))
    }

    /// Adds a region and a link in every detail.
    #[must_use]
    pub fn site(mut self, region: RegionSpec, link: LinkSpec) -> Self {
        self.sites.push((region, link));
        self
    }

    /// Starts everything.
    ///
    /// # Errors
    /// The first part that did not start; those already started are gone by then.
    pub async fn start(self) -> Result<World, WorldError> {
        let mut world = World {
            sites: Vec::with_capacity(self.sites.len()),
        };
        for (region, link) in self.sites {
            world.add(region, link).await?;
        }
        Ok(world)
    }
}

/// Running regions behind running links. Dropping it ends them all.
pub struct World {
    sites: Vec<Site>,
}

impl World {
    /// An empty map to add regions to.
    #[must_use]
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    async fn add(&mut self, region: RegionSpec, link: LinkSpec) -> Result<(), WorldError> {
        let name = region.name.clone();
        if self.sites.iter().any(|site| site.name() == name) {
            return Err(WorldError::Twice { name });
        }
        let region = Region::start(region).await?;
        let link = Link::start(region.addr(), link).await;
        let link = link.map_err(|source| WorldError::Link {
            region: name,
            source,
        })?;
        self.sites.push(Site { region, link });
        Ok(())
    }

    /// All sites, in the order they were added.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The site called `name`.
    ///
    /// # Errors
    /// [`WorldError::Unknown`] with the names there are.
    pub fn site(&self, name: &str) -> Result<&Site, WorldError> {
        let found = self.sites.iter().find(|site| site.name() == name);
        found.ok_or_else(|| WorldError::Unknown {
            name: name.to_owned(),
            known: self
                .sites
                .iter()
                .map(Site::name)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// Name and address of every region, ready for a configuration.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.sites.iter().map(|site| (site.name(), site.addr()))
    }

    /// How often a request with this `x-lab-id` arrived in all regions together.
    #[must_use]
    pub fn times_seen(&self, id: &str) -> u64 {
        self.sites
            .iter()
            .map(|site| site.region.times_seen(id))
            .sum()
    }
}
