//! Promises 3, 5 and 9 for a plan that does not serve yet: what it would change is told before it does, it
//! serves a part and nobody is lost, and nothing of it reaches a region before it serves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate_lab::World;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{Config, Reply, Session, Tidegate, Traffic, tidegate, until};

/// Longer than any test.
const LONG: &str = "for=1h";

async fn world() -> World {
    let builder = World::builder()
        .region("eu-west", Duration::from_millis(1))
        .region("us-east", Duration::from_millis(1));
    builder.start().await.unwrap()
}

/// `/b` goes to `cart`, everything else to `shop`; both prefer the first of their regions.
fn two_services(world: &World, cart: [&str; 2]) -> Config {
    let mut config = Config::of(world);
    let address = |name: &str| {
        let mut places = world.endpoints();
        places.find(|(place, _)| *place == name).unwrap().1
    };
    config.upstream += "  cart:\n    regions:\n";
    for region in cart {
        let address = address(region);
        config.upstream += &format!("      {region}: {{ endpoints: [\"{address}\"] }}\n");
    }
    config.upstream += "    steering: { policy: priority }\n";
    config.routes("  - { name: carts, match: { path: /b/** }, upstream: cart }\n  - { name: all, upstream: shop }\n")
}

/// The texts of a configuration, as they are sent.
fn texts(config: &Config) -> String {
    let yaml = config.yaml();
    json!({ "main": "new.yaml", "files": [["new.yaml", yaml]] }).to_string()
}

async fn post(tidegate: &Tidegate, path: &str, body: String) -> Reply {
    let mut admin = Session::direct(tidegate.admin()).await;
    let kind = [("content-type", "application/json")];
    admin.send(Method::POST, path, &kind, body).await.unwrap()
}

async fn put(tidegate: &Tidegate, parameters: &str, config: &Config) -> Value {
    let path = format!("/candidate?{parameters}");
    let reply = post(tidegate, &path, texts(config)).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply.json()
}

async fn candidate(tidegate: &Tidegate) -> Value {
    tidegate.admin_get("/candidate").await.json()
}

/// The candidate once so many requests were compared.
async fn compared(tidegate: &Tidegate, requests: u64) -> Value {
    until("the requests are compared", || async {
        candidate(tidegate).await["compared"]["requests"] == requests
    })
    .await;
    candidate(tidegate).await
}

async fn becomes(tidegate: &Tidegate, state: &str) -> Value {
    until(&format!("it is {state}"), || async {
        candidate(tidegate).await["state"] == state
    })
    .await;
    candidate(tidegate).await
}

/// Waits until the tap is open: requests before are nobody's.
async fn begun(tidegate: &Tidegate) {
    until("the comparison has begun", || async {
        candidate(tidegate).await["compared_with"] != 0
    })
    .await;
}

async fn get(tidegate: &Tidegate, path: &str, times: usize) {
    let mut session = Session::h1(tidegate.http()).await;
    let fields = [("cookie", "session=hidden"), ("authorization", "hidden")];
    for _ in 0..times {
        let reply = session.send(Method::GET, path, &fields, "").await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
    }
}

/// Requests that regions have seen, probes left out.
fn seen(world: &World) -> u64 {
    let sites = world.sites().iter();
    let snapshots = sites.map(|site| site.region.snapshot());
    let counts = snapshots.map(|snapshot| {
        let requests = snapshot.requests.iter();
        let real = requests.filter(|(class, _)| !class.contains("healthz"));
        real.map(|(_, count)| count).sum::<u64>()
    });
    counts.sum()
}

fn aspects(of: &Value) -> Vec<(String, u64)> {
    let counts = of["aspects"].as_array().unwrap().iter();
    let told = counts.map(|count| {
        let aspect = count["aspect"].as_str().unwrap().to_owned();
        (aspect, count["requests"].as_u64().unwrap())
    });
    told.collect()
}

fn counted(names: &[&str], requests: u64) -> Vec<(String, u64)> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), requests))
        .collect()
}

/// A file of this configuration, and the directory that goes when it is dropped.
fn file(config: &Config) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("next.yaml");
    std::fs::write(&path, config.yaml()).unwrap();
    (directory, path)
}

/// Runs the command line beside what goes on, not before it.
async fn command(tidegate_under_test: &Tidegate, arguments: &[&str]) -> crate::harness::Finished {
    let mut all: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
    all.extend([
        "--admin".to_owned(),
        tidegate_under_test.admin().to_string(),
    ]);
    tokio::task::spawn_blocking(move || tidegate(all))
        .await
        .unwrap()
}

/// A route's regions change places: that, on that route, for as many requests as there were, and no
/// region hears of it. Nothing that is kept of requests tells a secret.
#[tokio::test]
async fn what_would_change_is_told_exactly_and_sends_nothing() {
    let world = world().await;
    let config = two_services(&world, ["eu-west", "us-east"]);
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    put(
        &tidegate,
        LONG,
        &two_services(&world, ["us-east", "eu-west"]),
    )
    .await;
    begun(&tidegate).await;
    let before = seen(&world);
    get(&tidegate, "/a?token=hidden", 30).await;
    get(&tidegate, "/b/c?token=hidden", 20).await;
    let told = compared(&tidegate, 50).await;
    assert_eq!(
        seen(&world) - before,
        50,
        "what clients asked for and no more"
    );
    let compared = &told["compared"];
    assert_eq!(
        (compared["differ"].as_u64(), compared["share"].as_f64()),
        (Some(20), Some(0.4))
    );
    assert_eq!(aspects(compared), counted(&["region", "order"], 20));
    let routes = compared["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 1, "{compared}");
    assert_eq!(
        (&routes[0]["route"], &routes[0]["requests"]),
        (&json!("carts"), &json!(20))
    );
    let reason = &routes[0]["reasons"][1];
    assert_eq!(reason["change"], "eu-west, us-east -> us-east, eu-west");
    let sample = &routes[0]["samples"][0];
    assert_eq!(
        (&sample["method"], &sample["path"]),
        (&json!("GET"), &json!("/b/c"))
    );
    assert_eq!(sample["after"]["regions"], json!(["us-east", "eu-west"]));
    assert!(!told.to_string().contains("hidden"), "{told}");
    let log = tidegate.logged(50).await;
    assert!(log.iter().all(|line| line["generation"] == 1));
}

#[tokio::test]
async fn a_change_of_residency_is_told_and_keeps_it_from_serving() {
    let world = world().await;
    let config = Config::of(&world).jurisdictions(&["eu", "us"]);
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let next = config.routes("  - { name: all, upstream: shop, residency: { allow: [eu] } }\n");
    put(&tidegate, "for=1s&activate=true&min_requests=10", &next).await;
    begun(&tidegate).await;
    get(&tidegate, "/", 10).await;
    let told = becomes(&tidegate, "kept").await;
    assert_eq!(
        aspects(&told["compared"]),
        counted(&["residency", "order"], 10)
    );
    let why = told["detail"].as_str().unwrap();
    assert!(
        why.contains("max_residency_change: 100% change, 0% may"),
        "{why}"
    );
    assert_eq!(tidegate.status().await["generation"], 1);
}

/// Under limits that hold it serves without anybody, and says who wanted it.
#[tokio::test]
async fn under_its_limits_it_serves_by_itself() {
    let world = world().await;
    let config = two_services(&world, ["eu-west", "us-east"]);
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let next = two_services(&world, ["us-east", "eu-west"]);
    let limits = "for=1s&activate=true&min_requests=10&max_region_change=50%25";
    put(&tidegate, limits, &next).await;
    begun(&tidegate).await;
    get(&tidegate, "/", 10).await;
    get(&tidegate, "/b/c", 5).await;
    let told = becomes(&tidegate, "activated").await;
    assert_eq!(told["generation"], 2);
    assert_eq!(tidegate.status().await["generation"], 2);
    let causes = tidegate.events("plan_activated").await;
    assert_eq!(causes[1]["trigger"], "candidate");
    get(&tidegate, "/b/c", 1).await;
    assert_eq!(
        tidegate.logged(16).await[15]["attempts"][0]["region"],
        "us-east"
    );
}

/// Another plan serves meanwhile: the comparison is with that one, from the beginning.
#[tokio::test]
async fn a_reload_begins_the_comparison_anew() {
    let world = world().await;
    let config = two_services(&world, ["eu-west", "us-east"]);
    let next = two_services(&world, ["us-east", "eu-west"]);
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    put(&tidegate, LONG, &next).await;
    begun(&tidegate).await;
    get(&tidegate, "/b/c", 7).await;
    let told = compared(&tidegate, 7).await;
    assert_eq!(
        (&told["compared_with"], &told["began_anew"]),
        (&json!(1), &json!(0))
    );
    tidegate.save(&next.yaml());
    tidegate.admin_post("/reload").await;
    until("it is compared with the new one", || async {
        candidate(&tidegate).await["compared_with"] == 2
    })
    .await;
    get(&tidegate, "/b/c", 3).await;
    let told = compared(&tidegate, 3).await;
    assert_eq!(told["began_anew"], 1);
    assert_eq!(told["compared"]["differ"], 0, "it is what serves");
}

/// Many clients, each with a connection of its own, that go on asking.
struct Crowd {
    asked: Arc<[AtomicU64; 2]>,
    leave: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Crowd {
    const CLIENTS: usize = 24;

    async fn gather(address: SocketAddr) -> Self {
        let (asked, leave) = (Arc::<[AtomicU64; 2]>::default(), watch::Sender::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..Self::CLIENTS {
            let (asked, leave) = (asked.clone(), leave.subscribe());
            let mut session = Session::h1(address).await;
            clients.spawn(async move {
                while !*leave.borrow() {
                    let reply = session.get("/").await;
                    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
                    let at = usize::from(reply.header("tidegate-region") == "us-east");
                    asked[at].fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
        Self {
            asked,
            leave,
            clients,
        }
    }

    /// Waits until this region has answered once more for each client.
    async fn more_from(&self, region: &str) {
        let count = &self.asked[usize::from(region == "us-east")];
        let goal = count.load(Ordering::Relaxed) + Self::CLIENTS as u64;
        until(&format!("{region} has answered"), || async {
            count.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    async fn leave(mut self) {
        self.leave.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}

/// Half, everything, and back again, under load: every request gets its right answer.
#[tokio::test]
async fn nobody_is_lost_between_two_plans() {
    let world = world().await;
    let config = Config::of(&world);
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let mut next = config.clone();
    next.regions.reverse();
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    let crowd = Crowd::gather(tidegate.http()).await;
    put(&tidegate, LONG, &next).await;
    let stage = |share: &str| format!("/candidate/activate?share={share}");
    let reply = tidegate.admin_post(&stage("50%25")).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    let status = tidegate.status().await;
    assert_eq!(
        (&status["generation"], &status["stage"]["generation"]),
        (&json!(1), &json!(2))
    );
    crowd.more_from("us-east").await;
    crowd.more_from("eu-west").await;
    let counted = tidegate.status().await["stage"].take();
    let requests = |plan: &str| counted[plan]["requests"].as_u64();
    assert!(
        requests("serving") > Some(9) && requests("staged") > Some(9),
        "{counted}"
    );
    let reply = tidegate.admin_post("/candidate/abandon").await;
    assert_eq!(reply.json()["state"], "abandoned", "{reply:?}");
    crowd.more_from("eu-west").await;
    for share in ["50%25", "100%25"] {
        tidegate.admin_post(&stage(share)).await;
        crowd.more_from("us-east").await;
    }
    let reply = tidegate.admin_post("/candidate/activate").await;
    assert_eq!(
        reply.json()["generation"],
        3,
        "the number under which it served a part"
    );
    assert_eq!(tidegate.status().await["stage"], Value::Null);
    crowd.more_from("us-east").await;
    let reply = tidegate.admin_post("/rollback").await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    crowd.more_from("eu-west").await;
    crowd.leave().await;
    traffic.stop().await.assert_nothing_lost();
    let lost = tidegate
        .metrics()
        .await
        .sum("tidegate_requests_lost_total", &[]);
    assert_eq!(lost, 0);
}

/// A part that fails more often than the rest is given back without anybody.
#[tokio::test]
async fn a_part_that_fails_is_abandoned() {
    let world = world().await;
    let config = Config::of(&world);
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    // Nobody listens at a port that was just let go of.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = nowhere.local_addr().unwrap();
    drop(nowhere);
    let mut next = config.clone();
    next.upstream +=
        &format!("  gone:\n    regions:\n      eu-west: {{ endpoints: [\"{dead}\"] }}\n");
    let next = next.routes("  - { name: all, upstream: gone }\n");
    put(&tidegate, LONG, &next).await;
    let path = "/candidate/activate?share=50%25&min_requests=10&max_error_rate=%2B10%25";
    let reply = tidegate.admin_post(path).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    until("the part is given back", || async {
        for _ in 0..8 {
            Session::h1(tidegate.http()).await.get("/").await;
        }
        candidate(&tidegate).await["state"] == "abandoned"
    })
    .await;
    let why = candidate(&tidegate).await["detail"].take();
    assert!(why.as_str().unwrap().contains("failed under it"), "{why}");
    get(&tidegate, "/", 20).await;
    let events = tidegate.events("candidate").await;
    let words: Vec<_> = events.iter().map(|event| event["what"].clone()).collect();
    assert_eq!(words, ["tried", "staged", "abandoned"]);
}

/// What people type, and what they are told.
#[tokio::test]
async fn the_command_line_tries_activates_and_abandons() {
    let world = world().await;
    let config = two_services(&world, ["eu-west", "us-east"]);
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let (_directory, next) = file(&two_services(&world, ["us-east", "eu-west"]));
    let next = next.to_str().unwrap();
    let asking = async {
        begun_by_command(&tidegate).await;
        get(&tidegate, "/", 15).await;
        get(&tidegate, "/b/c", 5).await;
    };
    let arguments = ["try", next, "--for", "3s", "--min-requests", "20"];
    let (tried, ()) = tokio::join!(command(&tidegate, &arguments), asking);
    assert_eq!(tried.code, 0, "{}{}", tried.stdout, tried.stderr);
    let expected = "25% of 20 requests would change (compared with generation 1 for 3s):\n";
    assert!(tried.stdout.starts_with(expected), "{}", tried.stdout);
    assert!(
        tried.stdout.contains("route carts: 5 of 5\n"),
        "{}",
        tried.stdout
    );
    let staged = command(&tidegate, &["activate", "--route", "carts"]).await;
    assert!(
        staged
            .stdout
            .starts_with("Generation 2 serves routes carts.\n"),
        "{}",
        staged.stdout
    );
    get(&tidegate, "/b/c", 1).await;
    let abandoned = command(&tidegate, &["abandon"]).await;
    assert_eq!(abandoned.code, 0, "{}", abandoned.stderr);
    let nothing = command(&tidegate, &["abandon"]).await;
    assert_eq!(nothing.code, 1);
    let whole = command(&tidegate, &["activate"]).await;
    let first = "Generation 3 serves everything.\nThe file is as it was: ";
    assert!(whole.stdout.starts_with(first), "{}", whole.stdout);
    let forgotten = command(&tidegate, &["abandon", "--forget"]).await;
    assert_eq!(
        (forgotten.code, &*forgotten.stdout),
        (0, "The candidate is forgotten.\n")
    );
    let none = command(&tidegate, &["activate"]).await;
    assert!(
        none.code == 1 && none.stderr.contains("there is no candidate"),
        "{}",
        none.stderr
    );
}

async fn begun_by_command(tidegate: &Tidegate) {
    until("there is a candidate", || async {
        tidegate.admin_get("/candidate").await.status == StatusCode::OK
    })
    .await;
    begun(tidegate).await;
}

#[tokio::test]
async fn what_cannot_serve_is_refused_with_words_and_changes_nothing() {
    let world = world().await;
    let config = Config::of(&world);
    let tidegate = Tidegate::start(&config.yaml()).await;
    let mut restart = config.clone();
    restart.top = "shutdown_timeout: 11m\n".to_owned();
    let reply = post(&tidegate, "/candidate", texts(&restart)).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(reply.json()["fields"], json!(["shutdown_timeout"]));
    let mut wrong = config.clone();
    wrong.retry = "{ attemps: 4 }".to_owned();
    let (_directory, path) = file(&wrong);
    let tried = command(&tidegate, &["try", path.to_str().unwrap()]).await;
    assert_eq!(tried.code, 1);
    assert!(
        tried.stderr.contains("attemps") && tried.stderr.contains("next.yaml:"),
        "{}",
        tried.stderr
    );
    let reply = tidegate.admin_get("/candidate").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    for bad in [
        "for=5",
        "max_region_change=5",
        "max_regon_change=5%25",
        "activate=yes",
    ] {
        let reply = post(&tidegate, &format!("/candidate?{bad}"), texts(&config)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(tidegate.status().await["generation"], 1);
}

/// Bodies are bounded, and no page of another origin brings one.
#[tokio::test]
async fn only_a_tool_may_bring_a_candidate_and_only_a_bounded_one() {
    let world = world().await;
    let config = Config::of(&world);
    let tidegate = Tidegate::start(&config.yaml()).await;
    let send = async |fields: &[(&str, &str)], body: String| {
        let mut admin = Session::direct(tidegate.admin()).await;
        let sent = admin.send(Method::POST, "/candidate", fields, body).await;
        sent.map(|reply| reply.status)
    };
    let json = ("content-type", "application/json");
    let foreign = ("origin", "http://pages.example.com");
    let status = send(&[json, foreign], texts(&config)).await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
    let status = send(&[("content-type", "text/plain")], texts(&config))
        .await
        .unwrap();
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let status = send(&[json], "{\"main\": 1}".to_owned()).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let large = " ".repeat(17 * 1024 * 1024);
    // It may be told, or cut off while it still sends.
    let status = send(&[json], large).await;
    assert!(status.is_err() || status.is_ok_and(|it| it == StatusCode::PAYLOAD_TOO_LARGE));
    let status = send(&[json], texts(&config)).await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

/// A file on the machine of the process is as good.
#[tokio::test]
async fn a_candidate_may_be_named_by_its_path() {
    let world = world().await;
    let config = two_services(&world, ["eu-west", "us-east"]);
    let tidegate = Tidegate::start(&config.yaml()).await;
    let (_directory, path) = file(&two_services(&world, ["us-east", "eu-west"]));
    let reply = tidegate
        .admin_post(&format!("/candidate?path={}", path.display()))
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    assert_eq!(
        reply.json()["changes"]["upstreams"]["changed"]["first"],
        json!(["cart"])
    );
    let reply = tidegate.admin_post("/candidate?path=next.yaml").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
}
