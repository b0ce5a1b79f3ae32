//! Databases of places for the corpus.

#[path = "../../../lab/src/geo.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the laboratory's writer, without the rest of it"
)]
mod lab;

use tidegate_config::Memory;

use lab::{GeoDatabase, city};

/// `geo/{city,asn,half,packed,text,large}.mmdb`.
pub(crate) fn add_to(files: Memory) -> Memory {
    let whole = GeoDatabase::new("GeoLite2-City")
        .with("192.0.2.0/24", city("DE", "EU", (52.5, 13.4)))
        .with("2001:db8::/32", city("US", "NA", (39.0, -77.5)))
        .bytes();
    let number = serde_json::json!({ "autonomous_system_number": 64_496 });
    let numbers = GeoDatabase::new("GeoLite2-ASN").with("192.0.2.0/24", number);
    files
        .with("geo/half.mmdb", &whole[..whole.len() / 2])
        .with("geo/large.mmdb", [&whole[..], &[0; 2048]].concat())
        .with("geo/city.mmdb", whole)
        .with("geo/asn.mmdb", numbers.bytes())
        .with("geo/packed.mmdb.gz", *b"\x1f\x8b\x08\0")
        .with("geo/text.mmdb", *b"network,country\n")
        .with("geo/empty.mmdb", *b"")
}
