//! Steering by the client's place: who is sent where, and that a database of places can be replaced,
//! lost and damaged under traffic without anybody noticing but the operator.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use tidegate_lab::geo::{city, country};
use tidegate_lab::{GeoDatabase, RequestSpec, World};

use crate::harness::{Config, Session, Tidegate, Traffic, tidegate, until};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Clients of the documentation's networks: one whose place the database tells, and one in Brazil.
const CLIENT: &str = "192.0.2.1";
const BRAZILIAN: &str = "203.0.113.9";

const GEO: &str = "geo:
  database: places.mmdb
  networks:
    127.0.0.0/8: { country: FR }
    198.51.100.0/24: { country: CA }
    198.51.100.77: { location: [48.9, 2.4] }
";

const STEERING: &str = "    steering:
      policy: geo
      rules:
        - { countries: [CH], continents: [EU], regions: [eu-west] }
        - { continents: [NA], regions: [us-east, eu-west] }
";

async fn world() -> World {
    let builder = World::builder()
        .region("us-east", Duration::from_millis(2))
        .region("eu-west", Duration::from_millis(6));
    builder.start().await.unwrap()
}

/// Two regions on two continents, behind a listener that believes its own machine.
fn config(world: &World) -> String {
    let mut config = Config::of(world);
    config.top += GEO;
    STEERING.clone_into(&mut config.upstream);
    let yaml = config.yaml();
    let trusting = yaml.replace(
        "name: http, bind: \"127.0.0.1:0\"",
        "name: http, bind: \"127.0.0.1:0\", trusted: [127.0.0.1]",
    );
    let placed = trusting
        .replace("us-east: { jur", "us-east: { location: [39.0, -77.5], jur")
        .replace("eu-west: { jur", "eu-west: { location: [53.35, -6.26], jur");
    assert!(
        placed.contains("trusted") && placed.matches("location").count() == 3,
        "{placed}"
    );
    placed
}

/// The client of the documentation's first network is on this continent.
fn database(code: &str, continent: &str) -> Vec<u8> {
    GeoDatabase::new("GeoLite2-City")
        .with("192.0.2.0/24", country(code, continent))
        .with("203.0.113.0/24", city("BR", "SA", (-23.5, -46.6)))
        .with("2001:db8::/32", city("DE", "EU", (52.5, 13.4)))
        .bytes()
}

struct Placed {
    world: World,
    tidegate: Tidegate,
}

impl Placed {
    async fn new() -> Self {
        let world = world().await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("places.mmdb"), database("DE", "EU")).unwrap();
        let tidegate = Tidegate::start_in(directory, &config(&world)).await;
        let healthy = || async {
            let eu = tidegate.region("eu-west").await;
            let us = tidegate.region("us-east").await;
            eu["health"] == "healthy" && us["health"] == "healthy"
        };
        until("both regions are healthy", healthy).await;
        Self { world, tidegate }
    }

    fn file(&self) -> PathBuf {
        self.tidegate.directory().join("places.mmdb")
    }

    fn put(&self, content: &[u8]) {
        let beside = self.tidegate.directory().join("places.tmp");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, self.file()).unwrap();
    }

    /// The region that serves a client for whom a trusted proxy speaks.
    async fn region_of(&self, client: &str) -> String {
        let mut session = Session::h1(self.tidegate.http()).await;
        region(&mut session, &[(FORWARDED_FOR, client)]).await
    }

    async fn goes_to(&self, client: &str, region: &str) {
        until(&format!("{client} goes to {region}"), || async {
            self.region_of(client).await == region
        })
        .await;
    }

    async fn refusals(&self, count: usize) {
        until(&format!("{count} refusals are told"), || async {
            self.tidegate.events("geo_refused").await.len() == count
        })
        .await;
    }
}

async fn region(session: &mut Session, headers: &[(&str, &str)]) -> String {
    let reply = session.send(Method::GET, "/", headers, "").await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply.region().to_owned()
}

#[tokio::test]
async fn clients_go_to_the_regions_of_their_places() {
    let placed = Placed::new().await;
    let address = placed.tidegate.http();
    for mut session in [Session::h1(address).await, Session::h2c(address).await] {
        // A trusted proxy speaks for one client after the other on the same connection.
        for (client, expected) in [
            (CLIENT, "eu-west"),
            ("2001:db8::9", "eu-west"),
            ("198.51.100.7", "us-east"),
            ("198.51.100.77", "eu-west"),
            (BRAZILIAN, "us-east"),
            ("198.51.100.77, 127.0.0.1", "eu-west"),
            ("198.51.100.77, 198.51.100.7", "us-east"),
        ] {
            let found = region(&mut session, &[(FORWARDED_FOR, client)]).await;
            assert_eq!(found, expected, "{client}");
        }
        assert_eq!(
            region(&mut session, &[]).await,
            "eu-west",
            "its own address is listed"
        );
    }
    // An explanation of a request tells the same.
    let told = placed
        .tidegate
        .admin_get("/explain?url=/&header=x-forwarded-for:%20192.0.2.1")
        .await
        .json();
    assert_eq!(told["candidates"][0]["region"], "eu-west", "{told}");
    assert_eq!(told["origin"], "DE, EU", "{told}");
}

#[tokio::test]
async fn nobody_is_believed_who_is_not_trusted() {
    let world = world().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("places.mmdb"), database("US", "NA")).unwrap();
    let yaml = config(&world).replace(", trusted: [127.0.0.1]", "");
    let tidegate = Tidegate::start_in(directory, &yaml).await;
    let mut session = Session::h1(tidegate.http()).await;
    let found = region(&mut session, &[(FORWARDED_FOR, CLIENT)]).await;
    assert_eq!(found, "eu-west", "its own address is in France");
}

#[tokio::test]
async fn a_database_is_replaced_lost_and_damaged_under_traffic() {
    let placed = Placed::new().await;
    let from = |client: &'static str| {
        let name = HeaderName::from_static(FORWARDED_FOR);
        move |spec: RequestSpec| spec.with(name.clone(), HeaderValue::from_static(client))
    };
    let mix = Traffic::replayable();
    let mix: Vec<_> = mix.iter().cloned().map(from(CLIENT)).collect();
    let both = [
        mix.clone(),
        Traffic::replayable()
            .into_iter()
            .map(from(BRAZILIAN))
            .collect(),
    ];
    let traffic = Traffic::start(placed.tidegate.http(), &both.concat());
    traffic.more_from("eu-west", 10).await;

    placed.put(&database("US", "NA"));
    placed.goes_to(CLIENT, "us-east").await;
    traffic.more(10).await;

    std::fs::remove_file(placed.file()).unwrap();
    placed.refusals(1).await;
    assert_eq!(placed.region_of(CLIENT).await, "us-east");
    traffic.more(10).await;

    let whole = database("DE", "EU");
    placed.put(&whole[..whole.len() - 40]);
    placed.refusals(2).await;
    assert_eq!(placed.region_of(CLIENT).await, "us-east");
    let status = placed.tidegate.status().await;
    let problem = status["geo"]["database"]["problem"].as_str().unwrap();
    assert!(
        problem.contains("places.mmdb") && problem.contains("not a whole"),
        "{problem}"
    );

    // What has nothing to do with it can be changed all the same.
    let changed =
        config(&placed.world) + "  - { name: more, match: { path: /more }, upstream: shop }\n";
    placed.tidegate.save(&changed);
    let reply = placed.tidegate.admin_post("/reload").await;
    assert_eq!(reply.json()["verdict"], "activated", "{reply:?}");
    assert_eq!(
        reply.json()["warnings"][0]["code"],
        "database_kept",
        "{reply:?}"
    );
    assert_eq!(placed.region_of(CLIENT).await, "us-east");
    traffic.more(10).await;

    placed.put(&whole);
    placed.goes_to(CLIENT, "eu-west").await;
    traffic.more_from("eu-west", 10).await;
    let books = traffic.stop().await;
    books.assert_nothing_lost();

    let status = placed.tidegate.status().await;
    assert_eq!(
        status["geo"]["database"]["problem"],
        Value::Null,
        "{status}"
    );
    let metrics = placed.tidegate.metrics().await;
    let reloads = |result| metrics.sum("tidegate_geo_reloads_total", &[("result", result)]);
    assert_eq!(reloads("applied"), 2);
    assert!(reloads("refused") >= 2);
    assert_eq!(metrics.sum("tidegate_requests_lost_total", &[]), 0);
}

#[tokio::test]
async fn a_database_that_is_no_good_is_refused_at_first() {
    let world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.yaml");
    std::fs::write(&path, config(&world)).unwrap();
    for command in ["check", "run"] {
        let run = tidegate([command.as_ref(), path.as_os_str()]);
        assert_eq!(run.code, 1, "{command}: {}", run.stderr);
        let told = run.stderr + &run.stdout;
        assert!(
            told.contains("missing_file") && told.contains("places.mmdb"),
            "{told}"
        );
    }
}
