//! Where clients are, as far as a connection knows.
//!
//! A client that connects itself is looked up with its first request; one that a trusted proxy speaks
//! for, whenever the connection brings another client's request. What was found holds until what tells
//! it changes.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;

use tidegate_core::geo::{Atlas, Origin};

/// The client that was looked up last. Nothing until one is: most upstreams do not ask.
#[derive(Debug, Default)]
pub(crate) struct LastOrigin(OnceCell<Box<Cell<Found>>>);

#[derive(Clone, Copy, Debug)]
struct Found {
    edition: u64,
    client: IpAddr,
    origin: Option<Origin>,
}

impl LastOrigin {
    /// Where `client` is; none if the atlas does not tell.
    pub(crate) fn of(&self, client: IpAddr, atlas: &Atlas) -> Option<Origin> {
        let find = || Found {
            edition: atlas.edition(),
            client,
            origin: atlas.find(client),
        };
        let last = self.0.get_or_init(|| Box::new(Cell::new(find())));
        let found = last.get();
        if found.client == client && found.edition == atlas.edition() {
            return found.origin;
        }
        last.set(find());
        last.get().origin
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::settings::Network;

    use super::*;

    fn atlas(network: [u8; 4], country: &[u8; 2]) -> Atlas {
        let network = Network {
            address: network.into(),
            prefix: 24,
        };
        let origin = Origin {
            country: Some(*country),
            ..Origin::default()
        };
        Atlas::new(&[(network, origin)], None)
    }

    #[test]
    fn what_was_found_holds_for_the_same_client_and_edition() {
        let (old, new) = (atlas([192, 0, 2, 0], b"DE"), atlas([192, 0, 2, 0], b"FR"));
        let (one, other) = (
            IpAddr::from([192, 0, 2, 1]),
            IpAddr::from([198, 51, 100, 1]),
        );
        let last = LastOrigin::default();
        let check = |client, atlas: &Atlas, expected: Option<&[u8; 2]>| {
            let found = last.of(client, atlas).and_then(|origin| origin.country);
            assert_eq!(found, expected.copied(), "{client}");
        };
        check(one, &old, Some(b"DE"));
        check(one, &old, Some(b"DE"));
        check(other, &old, None);
        check(one, &old, Some(b"DE"));
        check(one, &new, Some(b"FR"));
        check(other, &new, None);
    }
}
