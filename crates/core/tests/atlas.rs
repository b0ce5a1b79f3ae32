//! Databases of places: every layout and family of addresses, and every kind of damage.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "../../lab/src/geo.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the laboratory's writer, without the rest of it"
)]
mod lab;

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use tidegate_core::geo::{
    Atlas, Database, Fingerprint, Fingerprinter, InvalidDatabase, Origin, code,
};
use tidegate_core::plan::Location;
use tidegate_core::settings::Network;

use lab::{GeoDatabase, city, country};

fn europe() -> GeoDatabase {
    GeoDatabase::new("GeoLite2-City")
        .with("192.0.2.0/24", city("DE", "EU", (52.5, 13.4)))
        .with("192.0.2.128/25", city("FR", "EU", (48.9, 2.4)))
        .with("198.51.100.7", country("US", "NA"))
        .with(
            "203.0.113.0/24",
            json!({ "registered_country": { "iso_code": "AU" } }),
        )
        .with("203.0.113.64/26", json!({ "traits": {} }))
        .with("2001:db8::/32", city("IN", "AS", (19.1, 72.9)))
}

fn open(database: &GeoDatabase) -> Arc<Database> {
    Arc::new(Database::open("places.mmdb", database.bytes()).unwrap())
}

fn origin(country: &str, continent: &str, location: Option<(f64, f64)>) -> Origin {
    Origin {
        country: code(country),
        continent: code(continent),
        location: location.map(|(latitude, longitude)| Location {
            latitude,
            longitude,
        }),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_of_both_families_are_found() {
    let database = open(&europe());
    let check = |address: &str, expected: Option<Origin>| {
        assert_eq!(database.find(ip(address)), expected, "{address}");
    };
    let (berlin, paris) = (Some((52.5, 13.4)), Some((48.9, 2.4)));
    check("192.0.2.1", Some(origin("DE", "EU", berlin)));
    check("192.0.2.127", Some(origin("DE", "EU", berlin)));
    check("192.0.2.128", Some(origin("FR", "EU", paris)));
    check("::ffff:192.0.2.200", Some(origin("FR", "EU", paris)));
    check("198.51.100.7", Some(origin("US", "NA", None)));
    check("198.51.100.8", None);
    check("203.0.113.1", Some(origin("AU", "OC", None)));
    check("203.0.113.65", None);
    check(
        "2001:db8:9::1",
        Some(origin("IN", "AS", Some((19.1, 72.9)))),
    );
    check("2001:db9::1", None);
    check("127.0.0.1", None);
    assert_eq!(
        (&**database.name(), &*database.kind()),
        ("places.mmdb", "GeoLite2-City")
    );
    assert_eq!(database.built(), 1_782_000_000);
}

#[test]
fn listed_networks_come_before_the_database() {
    let listed = |text: &str, prefix, origin| {
        let network = Network {
            address: ip(text),
            prefix,
        };
        (network, origin)
    };
    let office = origin("JP", "AS", None);
    let networks = [
        listed("192.0.2.64", 26, office),
        listed("10.0.0.0", 8, office),
    ];
    let both = Atlas::new(&networks, Some(open(&europe())));
    let check = |atlas: &Atlas, address: &str, expected: Option<&str>| {
        let country = atlas.find(ip(address)).and_then(|origin| origin.country);
        assert_eq!(country, expected.and_then(code), "{address}");
    };
    check(&both, "192.0.2.1", Some("DE"));
    check(&both, "192.0.2.65", Some("JP"));
    check(&both, "10.9.9.9", Some("JP"));
    check(&both, "10.9.9.9", Some("JP"));
    check(&both, "11.0.0.0", None);
    let lists = Atlas::new(&networks, None);
    check(&lists, "192.0.2.1", None);
    check(&lists, "192.0.2.65", Some("JP"));
    let told: Vec<_> = lists.networks().map(|(network, _)| network).collect();
    assert_eq!(told, [networks[0].0, networks[1].0]);
}

#[test]
fn an_edition_is_what_an_atlas_says() {
    let network = |last: u8, code| {
        let network = Network {
            address: IpAddr::from([10, 0, 0, last]),
            prefix: 32,
        };
        (network, origin(code, "", None))
    };
    let (a, b) = (network(1, "DE"), network(2, "FR"));
    let edition = |networks: &[_], database| Atlas::new(networks, database).edition();
    let database = || Some(open(&europe()));
    assert_eq!(edition(&[a, b], database()), edition(&[b, a], database()));
    let all = [
        edition(&[], None),
        edition(&[a], None),
        edition(&[a, b], None),
        edition(&[network(1, "FR")], None),
        edition(&[a], database()),
        edition(
            &[a],
            Some(open(&europe().with("8.8.8.8", country("US", "NA")))),
        ),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
}

#[test]
fn a_fingerprint_is_the_same_in_pieces() {
    let bytes = europe().bytes();
    let mut pieces = Fingerprinter::default();
    bytes.chunks(7).for_each(|piece| pieces.add(piece));
    assert_eq!(pieces.finish(), Fingerprint::of(&bytes));
    assert_eq!(open(&europe()).fingerprint(), Fingerprint::of(&bytes));
    assert_ne!(Fingerprint::of(&bytes[1..]), Fingerprint::of(&bytes));
}

#[test]
fn what_is_no_database_of_places_is_refused() {
    let check = |what: &str, bytes: Vec<u8>, expected: &str| {
        let error = Database::open("x", bytes).expect_err(what);
        assert!(error.to_string().contains(expected), "{what}: {error}");
    };
    check("nothing", Vec::new(), "is empty");
    check("text", b"country,code".to_vec(), "not a whole database");
    check("zeros", vec![0; 100_000], "not a whole database");
    check("gzip", b"\x1f\x8b\x08rest".to_vec(), "unpack it");
    check("zip", b"PK\x03\x04rest".to_vec(), "unpack it");
    let numbers =
        json!({ "autonomous_system_number": 64_496, "autonomous_system_organization": "x" });
    let asn = GeoDatabase::new("GeoLite2-ASN").with("192.0.2.0/24", numbers);
    let error = Database::open("x", asn.bytes()).unwrap_err();
    assert_eq!(error, InvalidDatabase::Placeless("GeoLite2-ASN".to_owned()));
    check(
        "no network",
        GeoDatabase::new("GeoLite2-City").bytes(),
        "tells no places",
    );
    let whole = europe().bytes();
    for cut in [1, 10, 100, whole.len() / 2, whole.len() - 1] {
        check(
            "cut off",
            whole[..whole.len() - cut].to_vec(),
            "not a whole database",
        );
        check("begun late", whole[cut..].to_vec(), "");
    }
}

/// What no look-up asks for may be anything: whole databases are not refused for a name.
#[test]
fn damage_that_nobody_can_meet_does_no_harm() {
    let mut bytes = europe().bytes();
    let name = b"Somewhere";
    let at = bytes.windows(name.len()).position(|part| part == name);
    bytes[at.unwrap()] = 0xff;
    let database = Database::open("x", bytes).unwrap();
    let berlin = Some(origin("DE", "EU", Some((52.5, 13.4))));
    assert_eq!(database.find(ip("192.0.2.1")), berlin);
}

#[test]
fn a_tree_with_more_ways_than_addresses_is_refused() {
    let mut bytes = europe().bytes();
    let reader = maxminddb::Reader::from_source(bytes.clone()).unwrap();
    let nodes = reader.metadata().node_count as usize;
    let mut set = |node: usize, side: usize, to: usize| {
        let [_, number @ ..] = (to as u32).to_be_bytes();
        bytes[node * 6 + side * 3..][..3].copy_from_slice(&number);
    };
    // Two ways from each of 60 nodes to the next, and from the last one to nothing.
    for node in 0..60 {
        let next = if node == 59 { nodes } else { node + 1 };
        set(node, 0, next);
        set(node, 1, next);
    }
    let error = Database::open("x", bytes.clone()).unwrap_err();
    assert!(error.to_string().contains("circles"), "{error}");
    // And a circle that is one.
    bytes[..6].fill(0);
    let error = Database::open("x", bytes).unwrap_err();
    assert!(error.to_string().contains("cycle"), "{error}");
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Overwrite(usize, Vec<u8>),
    Cut(usize, usize),
    Insert(usize, Vec<u8>),
}

impl Damage {
    fn any() -> impl Strategy<Value = Self> {
        let place = || any::<prop::sample::Index>().prop_map(|at| at.index(1 << 20));
        // From the front, where the tree is, and from the back, where the metadata is.
        let near = || prop_oneof![place(), 0..64_usize, (1_usize << 20) - 300..1 << 20];
        prop_oneof![
            4 => (near(), 1..=u8::MAX).prop_map(|(at, bits)| Self::Flip(at, bits)),
            2 => (near(), prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(at, new)| Self::Overwrite(at, new)),
            1 => (near(), 1..200_usize).prop_map(|(at, count)| Self::Cut(at, count)),
            1 => (near(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, new)| Self::Insert(at, new)),
        ]
    }

    /// Places are parts of 2 to the power of 20.
    fn done_to(&self, bytes: &mut Vec<u8>) {
        let Some(last) = bytes.len().checked_sub(1) else {
            return;
        };
        let at = |place: &usize| (place * last) >> 20;
        match self {
            Self::Flip(place, bits) => bytes[at(place)] ^= bits,
            Self::Overwrite(place, new) => {
                let room = &mut bytes[at(place)..];
                let count = new.len().min(room.len());
                room[..count].copy_from_slice(&new[..count]);
            }
            Self::Cut(place, count) => {
                let end = (at(place) + count).min(bytes.len());
                bytes.drain(at(place)..end);
            }
            Self::Insert(place, new) => {
                let at = at(place);
                bytes.splice(at..at, new.iter().copied());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// No damage makes opening or asking panic; what opens all the same gives answers that make sense.
    #[test]
    fn damage_is_an_error_or_a_sane_answer(
        damage in prop::collection::vec(Damage::any(), 1..5),
        addresses in prop::collection::vec(any::<u128>(), 8),
    ) {
        let mut bytes = europe().bytes();
        damage.iter().for_each(|damage| damage.done_to(&mut bytes));
        let Ok(database) = Database::open("x", bytes) else { return Ok(()) };
        let listed = ["192.0.2.1", "192.0.2.200", "198.51.100.7", "2001:db8::1"].map(ip);
        let random = addresses.iter().flat_map(|bits| {
            [IpAddr::V6((*bits).into()), IpAddr::V4((*bits as u32).into())]
        });
        for address in listed.into_iter().chain(random) {
            let Some(origin) = database.find(address) else { continue };
            prop_assert!(origin != Origin::default());
            let mut codes = origin.country.into_iter().chain(origin.continent);
            prop_assert!(codes.all(|code| code.iter().all(u8::is_ascii_uppercase)));
            if let Some(place) = origin.location {
                prop_assert!(place.latitude.abs() <= 90.0 && place.longitude.abs() <= 180.0);
            }
        }
    }

    /// Bytes that never were a database.
    #[test]
    fn noise_is_refused(
        noise in prop::collection::vec(any::<u8>(), 0..400),
        metadata in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = noise;
        bytes.extend(b"\xab\xcd\xefMaxMind.com");
        bytes.extend(metadata);
        prop_assert!(Database::open("x", bytes).is_err());
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is written is what is read, whatever the order of networks and the length of texts.
    #[test]
    fn what_is_written_is_read(
        networks in prop::collection::vec((any::<u32>(), 1..=32_u8, "[A-Z]{2}", 0..70_000_usize), 1..12),
    ) {
        let network = |address: u32, prefix: u8| {
            let kept = address & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            (IpAddr::V4(kept.into()), prefix)
        };
        let mut database = GeoDatabase::new("any");
        for (address, prefix, code, length) in &networks {
            let (address, prefix) = network(*address, *prefix);
            let record = json!({ "names": "n".repeat(*length), "country": { "iso_code": code } });
            database = database.with(&format!("{address}/{prefix}"), record);
        }
        let database = open(&database);
        for (address, ..) in &networks {
            let address = IpAddr::V4((*address).into());
            let holds = |(at, prefix): (IpAddr, u8)| Network { address: at, prefix }.contains(address);
            let all = networks.iter().filter(|(at, prefix, ..)| holds(network(*at, *prefix)));
            let (.., expected, _) = all.max_by_key(|(_, prefix, ..)| *prefix).unwrap();
            let found = database.find(address).and_then(|origin| origin.country);
            prop_assert_eq!(found, code(expected));
        }
    }
}
