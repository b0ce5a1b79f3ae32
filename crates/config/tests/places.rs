//! A database of places that serves outlives its file, and is never there twice.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "../../lab/src/geo.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the laboratory's writer, without the rest of it"
)]
mod lab;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tidegate_config::{DatabaseRead, Loaded, Report, load, load_again};
use tidegate_core::geo::Database;

use lab::{GeoDatabase, city, country};

const TEXT: &str = r#"
listeners: [{ bind: 127.0.0.1:8080 }]
regions: { eu-west: {}, us-east: {} }
upstreams:
  shop:
    regions: { eu-west: { endpoints: ["a:1"] }, us-east: { endpoints: ["b:1"] } }
    steering: { policy: geo }
routes: [{ upstream: shop }]
"#;

/// A configuration and its database on the disk.
struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        let stage = Self(tempfile::tempdir().unwrap());
        stage.configure("geo: { database: places.mmdb }");
        stage.put(&berlin().bytes());
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn configure(&self, geo: &str) {
        std::fs::write(self.path("tidegate.yaml"), format!("{geo}\n{TEXT}")).unwrap();
    }

    fn put(&self, database: &[u8]) {
        std::fs::write(self.path("places.mmdb"), database).unwrap();
    }

    fn load(&self) -> Result<Loaded, Report> {
        load(&self.path("tidegate.yaml"))
    }

    fn again(&self, serving: &Loaded) -> Result<Loaded, Report> {
        load_again(&self.path("tidegate.yaml"), &serving.plan)
    }
}

fn berlin() -> GeoDatabase {
    GeoDatabase::new("GeoLite2-City").with("192.0.2.0/24", city("DE", "EU", (52.5, 13.4)))
}

fn database(loaded: &Loaded) -> &Arc<Database> {
    loaded.plan.atlas.as_ref().unwrap().database().unwrap()
}

fn country_of(loaded: &Loaded, address: [u8; 4]) -> Option<String> {
    let atlas = loaded.plan.atlas.as_ref()?;
    let country = atlas.find(IpAddr::from(address))?.country?;
    Some(String::from_utf8(country.to_vec()).unwrap())
}

#[test]
fn an_unchanged_database_is_shared() {
    let stage = Stage::new();
    let first = stage.load().unwrap();
    assert_eq!(first.database, Some(DatabaseRead::New));
    assert!(first.watched.contains(&stage.path("places.mmdb")));
    let second = stage.again(&first).unwrap();
    assert_eq!(second.database, Some(DatabaseRead::Same));
    assert!(Arc::ptr_eq(database(&first), database(&second)));
    assert_eq!(first.plan.content_hash, second.plan.content_hash);
    // Rewritten, with other networks beside it: still the same content.
    stage.put(&berlin().bytes());
    stage.configure("geo: { database: places.mmdb, networks: { 10.0.0.0/8: { country: FR } } }");
    let third = stage.again(&second).unwrap();
    assert!(Arc::ptr_eq(database(&first), database(&third)));
    assert_ne!(second.plan.content_hash, third.plan.content_hash);
    assert_eq!(country_of(&third, [10, 1, 1, 1]).as_deref(), Some("FR"));
    assert_eq!(country_of(&third, [192, 0, 2, 1]).as_deref(), Some("DE"));
}

#[test]
fn a_new_database_is_another_configuration() {
    let stage = Stage::new();
    let first = stage.load().unwrap();
    stage.put(
        &GeoDatabase::new("GeoLite2-Country")
            .with("192.0.2.0/24", country("FR", "EU"))
            .bytes(),
    );
    let second = stage.again(&first).unwrap();
    assert_eq!(second.database, Some(DatabaseRead::New));
    assert_ne!(first.plan.content_hash, second.plan.content_hash);
    assert_eq!(country_of(&first, [192, 0, 2, 1]).as_deref(), Some("DE"));
    assert_eq!(country_of(&second, [192, 0, 2, 1]).as_deref(), Some("FR"));
}

#[test]
fn the_last_good_database_outlives_its_file() {
    let stage = Stage::new();
    let first = stage.load().unwrap();
    let good = berlin().bytes();
    let larger = good.len() as u64 + 1;
    let check = |what: &str, expected: &str| {
        let report = stage.load().expect_err(what);
        assert!(report.errors() > 0, "{what}");
        let again = stage
            .again(&first)
            .unwrap_or_else(|report| panic!("{what}: {report}"));
        let Some(DatabaseRead::Kept { problem }) = &again.database else {
            panic!("{what}: {:?}", again.database)
        };
        assert!(problem.contains(expected), "{what}: {problem}");
        let codes: Vec<_> = again.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["database_kept"], "{what}");
        assert!(Arc::ptr_eq(database(&first), database(&again)), "{what}");
        assert_eq!(first.plan.content_hash, again.plan.content_hash, "{what}");
        assert!(again.watched.contains(&stage.path("places.mmdb")), "{what}");
    };
    std::fs::remove_file(stage.path("places.mmdb")).unwrap();
    check("vanished", "there is no file");
    stage.put(b"");
    check("empty", "is empty");
    stage.put(&good[..good.len() - 20]);
    check("half-written", "not a whole database");
    let asn = serde_json::json!({ "autonomous_system_number": 1 });
    stage.put(
        &GeoDatabase::new("GeoLite2-ASN")
            .with("192.0.2.0/24", asn)
            .bytes(),
    );
    check("of the wrong type", "GeoLite2-ASN");
    std::fs::remove_file(stage.path("places.mmdb")).unwrap();
    std::fs::create_dir(stage.path("places.mmdb")).unwrap();
    check("a directory", "not a regular file");
    std::fs::remove_dir(stage.path("places.mmdb")).unwrap();
    // A file without content behind it, as large as a file may be.
    let huge = std::fs::File::create(stage.path("places.mmdb")).unwrap();
    huge.set_len(2 << 30).unwrap();
    check("of two gigabytes", "`max_size` is 1GiB");
    huge.set_len(larger).unwrap();
    check("zeros", "not a whole database");
    stage.put(&good);
    let healed = stage.again(&first).unwrap();
    assert_eq!(healed.database, Some(DatabaseRead::Same));
    assert!(healed.warnings.is_empty());
}

#[test]
fn another_file_is_not_replaced_by_the_last_good_one() {
    let stage = Stage::new();
    let first = stage.load().unwrap();
    stage.configure("geo: { database: elsewhere.mmdb }");
    let report = stage.again(&first).unwrap_err();
    let codes: Vec<_> = report.problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["missing_file"]);
    std::fs::rename(stage.path("places.mmdb"), stage.path("elsewhere.mmdb")).unwrap();
    assert_eq!(
        stage.again(&first).unwrap().database,
        Some(DatabaseRead::New)
    );
}

#[test]
fn networks_beyond_count_are_refused() {
    let stage = Stage::new();
    let networks = (0..10_001_u32).map(|at| {
        let [a, b, c, d] = (at << 8).to_be_bytes();
        format!("    {a}.{b}.{c}.{d}/24: {{ country: DE }}\n")
    });
    let networks: String = networks.collect();
    stage.configure(&format!("geo:\n  networks:\n{networks}"));
    let report = stage.load().unwrap_err();
    let codes: Vec<_> = report.problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["too_many_networks"]);
}
