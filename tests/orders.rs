//! What an operator orders while the process serves: dials and drains, by the command line and by the
//! admin listener, and what becomes of requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tidegate_lab::{Cut, Death, Ending, Mode, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Config, Finished, HOST, Session, Tidegate, ask, tidegate, until};

async fn world() -> World {
    let world = World::builder().region("eu-west", Duration::from_millis(2));
    let world = world.region("us-east", Duration::from_millis(6));
    world.start().await.unwrap()
}

/// A process with two healthy regions, the first of them preferred.
async fn start(world: &World) -> Tidegate {
    Tidegate::start_healthy(&Config::of(world).yaml()).await
}

/// Runs a command against the process.
async fn command(process: &Tidegate, arguments: &[&str]) -> Finished {
    let admin = process.admin().to_string();
    let mut all: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
    all.extend(["--admin".to_owned(), admin]);
    tokio::task::spawn_blocking(move || tidegate(all))
        .await
        .unwrap()
}

/// Runs a command that succeeds; what it prints.
async fn done(process: &Tidegate, arguments: &[&str]) -> String {
    let run = command(process, arguments).await;
    assert_eq!((run.code, &*run.stderr), (0, ""), "{arguments:?}");
    run.stdout
}

/// How many of so many requests each region serves.
async fn served(process: &Tidegate, requests: usize) -> BTreeMap<String, usize> {
    const SESSIONS: usize = 8;
    let address = process.http();
    let sessions = (0..SESSIONS).map(|_| async move {
        let mut session = Session::h1(address).await;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..requests / SESSIONS {
            let reply = session.get("/").await;
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            *counts.entry(reply.region().to_owned()).or_default() += 1;
        }
        counts
    });
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    for counts in futures_util::future::join_all(sessions).await {
        for (region, count) in counts {
            *all.entry(region).or_default() += count;
        }
    }
    all
}

/// Bounds of five standard deviations: one run in two million is beyond them by chance.
fn assert_share(counts: &BTreeMap<String, usize>, region: &str, share: f64) {
    let all = counts.values().sum::<usize>() as f64;
    let is = counts.get(region).copied().unwrap_or_default() as f64 / all;
    let bound = 5.0 * (share * (1.0 - share) / all).sqrt();
    assert!(
        (is - share).abs() <= bound,
        "{region}: {is}, not {share} ± {bound}: {counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_lets_a_region_take_its_part() {
    let world = world().await;
    let process = start(&world).await;
    assert_share(&served(&process, 400).await, "eu-west", 1.0);
    let told = done(&process, &["dial", "eu-west", "25%"]).await;
    assert_eq!(told, "eu-west takes at most 25% of its share of shop\n");
    assert_share(&served(&process, 4_000).await, "eu-west", 0.25);
    let table = done(&process, &["regions"]).await;
    let line = table.lines().find(|line| line.starts_with("eu-west"));
    assert!(line.unwrap().contains("  25%*  "), "{table}");
    done(&process, &["dial", "eu-west", "--reset"]).await;
    assert_share(&served(&process, 400).await, "eu-west", 1.0);
    let dials = process.metrics().await;
    let eu = [("upstream", "shop"), ("region", "eu-west")];
    assert_eq!(dials.sum("tidegate_region_dial_ratio", &eu), 1);
}

/// Nothing is left, and the region that is dialed to 0 gets nothing all the same; the last one is not
/// dialed to 0 by a slip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_at_0_excludes_even_when_the_other_is_dead() {
    let world = world().await;
    let process = start(&world).await;
    done(&process, &["dial", "eu-west", "0%"]).await;
    assert_share(&served(&process, 80).await, "us-east", 1.0);
    for refused in [["dial", "us-east", "0%"], ["drain", "us-east", "--now"]] {
        let run = command(&process, &refused).await;
        assert_eq!((run.code, &*run.stdout), (1, ""), "{refused:?}");
        let told = run.stderr.contains("upstream `shop`") && run.stderr.contains("--force");
        assert!(told, "{}", run.stderr);
    }
    let us = world.site("us-east").unwrap();
    us.link.set(Mode::Refuse).await.unwrap();
    process.region_is("us-east", "unhealthy").await;
    let before = world.site("eu-west").unwrap().region.ids().len();
    let mut session = Session::h1(process.http()).await;
    let reply = session.get("/").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    assert_eq!(world.site("eu-west").unwrap().region.ids().len(), before);
    let told = process.admin_get("/explain?url=/").await.json();
    assert!(
        told["excluded"].to_string().contains("dialed_out"),
        "{told}"
    );
    // It is the only one that could serve, so back it goes.
    done(&process, &["dial", "eu-west", "--reset"]).await;
    assert_share(&served(&process, 80).await, "eu-west", 1.0);
}

/// A request whose answer goes on for longer than any test, once it has begun.
async fn stream(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /slow-body/1048576/500 HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.windows(5).any(|bytes| bytes.starts_with(b"\r\n\r\n")) {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
    }
    stream
}

/// What waits when the time is over is made elsewhere; a stream goes on, and is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_with_a_deadline_moves_what_waits_and_counts_what_is_left() {
    let world = world().await;
    let eu = &world.site("eu-west").unwrap().region;
    let config = Config {
        retry: "{ attempts: 4, per_try: 15m }".to_owned(),
        health: ", region: { silence: off }".to_owned(),
        ..Config::of(&world).routes("  - { name: all, upstream: shop, timeout: 30m }\n")
    };
    let process = Tidegate::start_healthy(&config.yaml()).await;
    let address = process.http();
    let mut streaming = stream(address).await;
    eu.change(|how| how.death = Some(Death::AtHead(Ending::Cut(Cut::BlackHole))));
    let waits = tokio::spawn(async move { Session::h1(address).await.get("/").await });
    until("both are in the first region", || async {
        let eu = process.region("eu-west").await;
        (&eu["in_flight"], &eu["waiting"]) == (&json!(2), &json!(1))
    })
    .await;
    let told = done(&process, &["drain", "eu-west", "--deadline", "10m"]).await;
    assert!(told.contains("in 10m what waits there"), "{told}");
    assert!(
        told.contains("2 in flight, 1 of them wait for an answer"),
        "{told}"
    );
    assert_share(&served(&process, 80).await, "us-east", 1.0);
    assert_eq!(
        process.region("eu-west").await["in_flight"],
        2,
        "they have time"
    );
    let table = done(&process, &["regions"]).await;
    assert!(table.contains(" left\n"), "{table}");
    done(&process, &["drain", "eu-west", "--deadline", "100ms"]).await;
    let reply = waits.await.unwrap();
    assert_eq!((reply.status, reply.region()), (StatusCode::OK, "us-east"));
    until("what is left is told", || async {
        !process.events("drain_due").await.is_empty()
    })
    .await;
    let due = process.events("drain_due").await.remove(0);
    let told = ["in_flight", "left", "waiting"].map(|name| due[name].clone());
    assert_eq!(told, [json!(2), json!(1), json!(0)], "{due}");
    let piece = streaming.read_u8().await;
    assert!(piece.is_ok(), "what is under way goes on: {piece:?}");
    eu.change(|how| how.death = None);
    let told = done(&process, &["drain", "eu-west", "--undo"]).await;
    assert_eq!(told, "eu-west is not drained any more (shop)\n");
    until("the first region serves again", || async {
        served(&process, 8).await.contains_key("eu-west")
    })
    .await;
}

/// Orders are kept through reloads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_survive_a_reload() {
    let world = world().await;
    let process = start(&world).await;
    done(&process, &["drain", "eu-west", "--deadline", "10m"]).await;
    done(&process, &["dial", "us-east", "40%", "--upstream", "shop"]).await;
    let mut other = Config::of(&world);
    other.upstream += "    balance: random\n";
    process.save(&other.yaml());
    let reply = process.admin_post("/reload").await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    let regions = process.admin_get("/regions").await.json();
    assert!(
        regions[0]["drain"]["deadline_s"].as_u64() > Some(500),
        "{regions}"
    );
    let dials = &regions[1]["upstreams"][0]["dials"];
    assert_eq!(
        (&dials["operator"], &dials["by"]),
        (&json!(0.4), &json!("operator"))
    );
    assert_share(&served(&process, 80).await, "us-east", 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_tell_what_they_cannot_do() {
    let world = world().await;
    let process = start(&world).await;
    let check = async |arguments: &[&str], code: i32, part: &str| {
        let run = command(&process, arguments).await;
        assert_eq!((run.code, &*run.stdout), (code, ""), "{arguments:?}");
        assert!(run.stderr.contains(part), "{arguments:?}: {}", run.stderr);
        assert!(!run.stderr.contains('\x1b'), "{}", run.stderr);
    };
    check(&["drain", "eu-wset"], 1, "did you mean `eu-west`?").await;
    check(
        &["dial", "eu-west", "5%", "--upstream", "shap"],
        1,
        "`shop`",
    )
    .await;
    check(&["dial", "eu-west", "200%"], 2, "`200%` is no dial").await;
    check(&["dial", "eu-west"], 2, "<TO>").await;
    check(&["drain", "eu-west", "--deadline", "soon"], 2, "`deadline`").await;
    check(
        &["drain", "eu-west", "--now", "--deadline", "5m"],
        2,
        "--deadline",
    )
    .await;
    let nobody = tidegate(["regions", "--admin", "127.0.0.1:1"]);
    assert_eq!((nobody.code, &*nobody.stdout), (2, ""));
    assert!(nobody.stderr.contains("127.0.0.1:1") && nobody.stderr.contains("TIDEGATE_ADMIN"));
    assert_eq!(tidegate(["regions", "--admin", "nonsense"]).code, 2);
    // As JSON, a refusal is an answer too.
    let run = command(&process, &["drain", "eu-wset", "--json"]).await;
    assert_eq!((run.code, &run.json()["closest"]), (1, &json!("eu-west")));
    let regions: Value = command(&process, &["regions", "--json"]).await.json();
    assert_eq!(regions[0]["name"], json!("eu-west"));
    let reply = ask(process.admin(), Method::GET, "/regions").await;
    assert_eq!(reply.json()[0]["upstreams"][0]["standby"], json!("hot"));
}
