//! What tells where clients are: lists of networks, and a database in MaxMind's format.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

use crate::geo::Origin;
use crate::settings::Network;

/// Tells where an address is. Networks that the configuration lists come before the database, the
/// longest prefix first.
pub struct Atlas {
    networks: Box<[(Network, Origin)]>,
}

/// Why a database is no use.
#[derive(Debug, Error)]
pub enum AtlasError {
    /// It is not in MaxMind's format, or damaged.
    #[error("not a database in MaxMind's format: {0}")]
    Broken(String),
}

impl Atlas {
    /// An atlas of these networks, and of a database if its bytes are given.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn new(
        networks: impl Into<Box<[(Network, Origin)]>>,
        _database: Option<Vec<u8>>,
    ) -> Result<Self, AtlasError> {
        Ok(Self {
            networks: networks.into(),
        })
    }

    /// Where this address is; none if nothing says so.
    pub fn find(&self, _address: IpAddr) -> Option<Origin> {
        None
    }
}

impl fmt::Debug for Atlas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Atlas({} networks)", self.networks.len())
    }
}
