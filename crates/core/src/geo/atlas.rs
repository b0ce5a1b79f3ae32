//! What tells where clients are: lists of networks, and a database in MaxMind's format.

use std::fmt;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use twox_hash::XxHash64;

use crate::geo::networks::Networks;
use crate::geo::{Database, Origin};
use crate::settings::Network;

/// Tells where an address is. Networks that the configuration lists come before the database, the
/// longest prefix first; what one of them says is all that is said of an address in it.
pub struct Atlas {
    networks: Networks,
    database: Option<Arc<Database>>,
    edition: u64,
}

impl Atlas {
    /// An atlas of these networks, and of a database if there is one. Of a network that is listed
    /// twice the first counts. The database is shared: plans with the same one have one copy.
    pub fn new(networks: &[(Network, Origin)], database: Option<Arc<Database>>) -> Self {
        let networks = Networks::new(networks);
        Self {
            edition: edition(&networks, database.as_deref()),
            networks,
            database,
        }
    }

    /// Where this address is; none if nothing says so.
    pub fn find(&self, address: IpAddr) -> Option<Origin> {
        let listed = self.networks.find(address);
        listed.or_else(|| self.database.as_ref()?.find(address))
    }

    /// The database, if there is one.
    pub fn database(&self) -> Option<&Arc<Database>> {
        self.database.as_ref()
    }

    /// The listed networks with what is said of them, longest prefixes first.
    pub fn networks(&self) -> impl Iterator<Item = (Network, &Origin)> {
        self.networks.iter().map(|(bits, prefix, v6, origin)| {
            let address = match v6 {
                true => Ipv6Addr::from_bits(bits).into(),
                false => std::net::Ipv4Addr::from_bits((bits >> 96) as u32).into(),
            };
            (Network { address, prefix }, origin)
        })
    }

    /// A number that is the same for atlases that say the same, and another one for others: what was
    /// found in one holds for the next of the same edition.
    pub fn edition(&self) -> u64 {
        self.edition
    }
}

fn edition(networks: &Networks, database: Option<&Database>) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    let print = database.map(Database::fingerprint).unwrap_or_default();
    hasher.write_u64(print.bytes);
    hasher.write_u64(print.hash);
    for (bits, prefix, v6, origin) in networks.iter() {
        hasher.write_u128(bits);
        hasher.write(&[prefix, u8::from(v6)]);
        for code in [origin.country, origin.continent] {
            hasher.write(&code.unwrap_or_default());
        }
        let degrees = origin
            .location
            .map(|place| (place.latitude, place.longitude));
        let (north, east) = degrees.unwrap_or((f64::NAN, f64::NAN));
        hasher.write_u64(north.to_bits());
        hasher.write_u64(east.to_bits());
    }
    hasher.finish()
}

impl fmt::Debug for Atlas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = self.networks.iter().count();
        write!(f, "Atlas({networks} networks, {:?})", self.database)
    }
}
