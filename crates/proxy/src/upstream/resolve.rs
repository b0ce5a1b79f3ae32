//! From `host:port` to socket addresses, with a memory of a few seconds per thread.
//!
//! An IP address costs nothing. A name is asked of the system's resolver off this thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::{SmallVec, smallvec};

use super::connect::{ConnectError, ConnectErrorKind};
use crate::clock::now;

/// An answer is believed for so long.
const TTL: Duration = Duration::from_secs(5);
/// Names remembered; beyond it everything is forgotten.
const NAMES: usize = 1024;

/// The addresses of one name, in the resolver's order.
pub(crate) type Addresses = SmallVec<[SocketAddr; 4]>;

/// One per thread.
#[derive(Default)]
pub(crate) struct Resolver {
    known: RefCell<HashMap<Arc<str>, (Instant, Addresses)>>,
}

impl Resolver {
    /// The addresses of `address`, at least one.
    pub(crate) async fn resolve(&self, address: &str) -> Result<Addresses, ConnectError> {
        if let Ok(ip) = address.parse() {
            return Ok(smallvec![ip]);
        }
        if let Some(addresses) = self.recall(address) {
            return Ok(addresses);
        }
        let failed = |why: String| ConnectError::new(ConnectErrorKind::Resolve, why);
        let found: Addresses = tokio::net::lookup_host(address)
            .await
            .map_err(|error| failed(format!("cannot resolve {address}: {error}")))?
            .collect();
        if found.is_empty() {
            return Err(failed(format!("{address} has no address")));
        }
        self.remember(address, &found);
        Ok(found)
    }

    fn recall(&self, address: &str) -> Option<Addresses> {
        let known = self.known.borrow();
        let (at, addresses) = known.get(address)?;
        (now().saturating_duration_since(*at) < TTL).then(|| addresses.clone())
    }

    fn remember(&self, address: &str, found: &Addresses) {
        let mut known = self.known.borrow_mut();
        if known.len() >= NAMES {
            known.clear();
        }
        known.insert(address.into(), (now(), found.clone()));
    }
}
