//! Certificates for the corpus, made once per process, and the time that judges them.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tidegate_config::Memory;

/// The middle of 2026.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_782_000_000)
}

/// `certs/{edge,other,expired,future,soon}.{pem,key}`, `certs/ca.pem`, secrets, and files that are
/// something else.
pub(crate) fn files() -> Memory {
    static FILES: OnceLock<Memory> = OnceLock::new();
    FILES.get_or_init(make).clone()
}

fn make() -> Memory {
    let (edge, edge_key) = pair(2020, 2040);
    let (other, other_key) = pair(2020, 2040);
    let (expired, expired_key) = pair(2010, 2015);
    let (future, future_key) = pair(2030, 2040);
    let (soon, soon_key) = pair_until(2020, (2026, 6, 30));
    let locked = edge_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let files = Memory::new()
        .with("certs/ca.pem", other.clone())
        .with("certs/edge.pem", edge)
        .with("certs/edge.key", edge_key)
        .with("certs/other.pem", other)
        .with("certs/other.key", other_key)
        .with("certs/expired.pem", expired)
        .with("certs/expired.key", expired_key)
        .with("certs/future.pem", future)
        .with("certs/future.key", future_key)
        .with("certs/soon.pem", soon)
        .with("certs/soon.key", soon_key)
        .exposed("certs/soon.key")
        .with("certs/locked.key", locked)
        .with("certs/readme.txt", "not a certificate")
        .with(
            "secrets/new.key",
            format!("{}\n", "0123456789abcdef".repeat(4)),
        )
        .with("secrets/old.key", "fedcba9876543210".repeat(2))
        .with("secrets/short.key", "0123456789\n")
        .with("secrets/long.key", "01234567".repeat(1000))
        .with("secrets/empty.key", "\n")
        .with("secrets/even.key", "x".repeat(64))
        .with("secrets/open.key", "0123456789abcdef".repeat(4))
        .exposed("secrets/open.key");
    crate::places::add_to(files)
}

fn pair(from: i32, until: i32) -> (String, String) {
    pair_until(from, (until, 1, 1))
}

fn pair_until(from: i32, (year, month, day): (i32, u8, u8)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["shop.example.com".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(year, month, day);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}
