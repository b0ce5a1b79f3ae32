//! What an operator orders while the process serves: dials and drains, by the command line and by the
//! admin listener, and what becomes of requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
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
    let in_memory = "kept until this process ends (it has no state directory)\n";
    let expected = format!("eu-west takes at most 25% of its share of shop\n{in_memory}");
    assert_eq!(told, expected);
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
    assert!(
        told.starts_with("eu-west is not drained any more (shop)\n"),
        "{told}"
    );
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

/// Three regions, and a state directory that outlives processes.
struct Site {
    world: World,
    place: TempDir,
}

impl Site {
    async fn new() -> Self {
        let mut world = World::builder();
        for (name, ms) in [("eu-west", 2), ("us-east", 6), ("ap-south", 12)] {
            world = world.region(name, Duration::from_millis(ms));
        }
        let site = Self {
            world: world.start().await.unwrap(),
            place: tempfile::tempdir().unwrap(),
        };
        site.save(&Config::of(&site.world));
        site
    }

    fn file(&self) -> PathBuf {
        self.place.path().join("tidegate.yaml")
    }

    fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    fn kept(&self) -> PathBuf {
        self.state().join("orders.json")
    }

    fn save(&self, config: &Config) {
        let new = self.place.path().join("new.yaml");
        std::fs::write(&new, config.yaml()).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    async fn start(&self) -> Tidegate {
        let state: &Path = &self.state();
        let directory = tempfile::tempdir().unwrap();
        Tidegate::start_with(directory, &self.file(), &[("STATE_DIRECTORY", state)]).await
    }

    /// How many requests the region has seen.
    fn seen(&self, region: &str) -> usize {
        self.world.site(region).unwrap().region.ids().len()
    }
}

async fn end(mut process: Tidegate) {
    process.signal(Signal::TERM);
    assert!(process.ended().await.success());
}

async fn kill(mut process: Tidegate) {
    process.signal(Signal::KILL);
    assert!(!process.ended().await.success());
}

const BY_ANN: [&str; 4] = ["--author", "ann@edge", "--reason", "no power"];

/// Orders in words, with who gave them.
async fn listed(process: &Tidegate) -> Vec<(String, String)> {
    let told = process.admin_get("/orders").await.json();
    let orders = told["orders"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    orders
        .map(|order| (text(&order["words"]), text(&order["author"])))
        .collect()
}

/// Drain, dial and order hold from the first request after a restart, however the process ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_survive_a_restart_and_a_kill() {
    let site = Site::new().await;
    let process = site.start().await;
    let by = |arguments: &[&'static str]| [arguments, &BY_ANN].concat();
    let told = done(&process, &by(&["drain", "eu-west"])).await;
    assert!(!told.contains("kept until"), "{told}");
    done(&process, &by(&["order", "shop", "ap-south", "eu-west"])).await;
    done(&process, &by(&["dial", "us-east", "40%", "--for", "2h"])).await;
    let expected = [
        ("drain of eu-west", "ann@edge"),
        ("dial of us-east at 40%", "ann@edge"),
        ("order ap-south, eu-west for shop", "ann@edge"),
    ];
    let expected: Vec<_> = expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert_eq!(listed(&process).await, expected);
    assert_share(&served(&process, 80).await, "ap-south", 1.0);
    let drained = site.seen("eu-west");
    end(process).await;
    let process = site.start().await;
    assert_share(&served(&process, 400).await, "ap-south", 1.0);
    assert_eq!(listed(&process).await, expected);
    kill(process).await;
    let process = site.start().await;
    assert_share(&served(&process, 400).await, "ap-south", 1.0);
    assert_eq!(site.seen("eu-west"), drained, "it is drained");
    assert_eq!(listed(&process).await, expected);
    let restored = process.events("order").await;
    let words = |name: &str| {
        restored
            .iter()
            .map(|event| event[name].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(words("what"), ["restored"; 3], "{restored:?}");
    assert_eq!(words("given_by"), ["ann@edge"; 3]);

    let orders = process.admin_get("/orders").await.json();
    let dial = &orders["orders"][1];
    assert_eq!(
        (&dial["reason"], &dial["in_plan"]),
        (&json!("no power"), &json!(true))
    );
    let left = dial["expires_s"].as_u64().unwrap();
    assert!((7_000..=7_200).contains(&left), "{dial}");
    let explained = process.admin_get("/explain?url=/").await.json();
    assert_eq!(
        explained["candidates"][0]["because"], "ordered",
        "{explained}"
    );
    let regions = process.admin_get("/regions").await.json();
    assert_eq!(regions[0]["drain"]["author"], "ann@edge", "{regions}");
    assert_eq!(regions[2]["upstreams"][0]["place"], 1, "{regions}");
    let table = done(&process, &["regions"]).await;
    assert!(
        table.contains("100% #1") && table.contains("40%*"),
        "{table}"
    );
    let table = done(&process, &["orders"]).await;
    assert!(
        table.contains("no power") && table.contains("dial of us-east at 40%"),
        "{table}"
    );

    // Taken back by somebody else, who is named; and that is kept as well.
    done(&process, &["order", "shop", "--undo", "--author", "bob"]).await;
    done(&process, &["drain", "eu-west", "--undo", "--author", "bob"]).await;
    let ended = process.events("order").await;
    let ended = ended.last().unwrap();
    let told = ["what", "order", "given_by", "who"].map(|name| ended[name].as_str().unwrap());
    assert_eq!(told, ["taken_back", "drain of eu-west", "ann@edge", "bob"]);
    kill(process).await;
    let process = site.start().await;
    assert_share(&served(&process, 80).await, "eu-west", 1.0);
    assert_eq!(listed(&process).await.len(), 1);
}

/// What was ordered for a time is taken back when that is over, also while nothing runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_ends_when_its_time_is_over() {
    let site = Site::new().await;
    let process = site.start().await;
    for arguments in [
        ["drain", "eu-west", "--for", "150ms"].as_slice(),
        &["order", "shop", "ap-south", "--for", "150ms"],
        &["dial", "us-east", "0%", "--for", "150ms"],
    ] {
        done(&process, arguments).await;
    }
    until("all are over", || async {
        listed(&process).await.is_empty()
    })
    .await;
    assert_share(&served(&process, 80).await, "eu-west", 1.0);
    let events = process.events("order").await;
    let expired = events.iter().filter(|event| event["what"] == "expired");
    assert_eq!(expired.count(), 3, "{events:?}");
    let drains = process.events("drain").await;
    let last = drains.last().unwrap();
    assert_eq!(
        (&last["draining"], &last["who"]),
        (&json!(false), &json!("tidegate"))
    );
    done(&process, &["drain", "eu-west", "--for", "2h"]).await;
    end(process).await;
    let mut kept: Value = serde_json::from_slice(&std::fs::read(site.kept()).unwrap()).unwrap();
    kept["content"]["orders"][0]["expires_ms"] = json!(1_000);
    std::fs::write(site.kept(), kept.to_string()).unwrap();
    let process = site.start().await;
    assert_share(&served(&process, 80).await, "eu-west", 1.0);
    assert_eq!(process.events("order").await[0]["what"], "expired");
    assert!(listed(&process).await.is_empty());
}

/// What cannot be written down is in force all the same, and told until it can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_cannot_be_kept_is_in_force() {
    let site = Site::new().await;
    let process = site.start().await;
    let obstacle = site.state().join("orders.json.writing");
    std::fs::create_dir(&obstacle).unwrap();
    let told = done(&process, &["drain", "eu-west"]).await;
    assert!(
        told.contains("kept until this process ends only: "),
        "{told}"
    );
    assert_share(&served(&process, 80).await, "us-east", 1.0);
    let orders = process.status().await["orders"].clone();
    assert_eq!(
        (&orders["in_force"], &orders["kept"]),
        (&json!(1), &json!(false))
    );
    assert!(orders["problem"].is_string(), "{orders}");
    assert_eq!(process.events("state_problem").await.len(), 1);
    std::fs::remove_dir(&obstacle).unwrap();
    done(&process, &["dial", "us-east", "90%"]).await;
    let orders = process.status().await["orders"].clone();
    assert_eq!(
        (&orders["problem"], &orders["kept"]),
        (&Value::Null, &json!(true))
    );
    kill(process).await;
    let process = site.start().await;
    assert_eq!(listed(&process).await.len(), 2);
}

/// What is there and is none of ours is set aside, loudly, and nothing else happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_cannot_be_read_are_set_aside() {
    let site = Site::new().await;
    let process = site.start().await;
    done(&process, &["dial", "us-east", "90%"]).await;
    end(process).await;
    let good = std::fs::read_to_string(site.kept()).unwrap();
    for bad in [
        good[..good.len() / 2].to_owned(),
        good.replace("0.9", "1.5"),
        good.replace("us-east", &"x".repeat(100_000)),
        good.replace("us-east", "a\\u001b[2J"),
        "\u{0}".to_owned(),
    ] {
        assert_ne!(bad, good);
        std::fs::write(site.kept(), &bad).unwrap();
        let process = site.start().await;
        let problems = process.events("state_problem").await;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].to_string().contains("orders.json.aside"),
            "{problems:?}"
        );
        let metrics = process.metrics().await;
        assert_eq!(metrics.sum("tidegate_state_problems_total", &[]), 1);
        assert_share(&served(&process, 8).await, "eu-west", 1.0);
        assert!(site.state().join("orders.json.aside").exists());
        assert!(!site.kept().exists());
        kill(process).await;
    }
}

/// Whenever the process is killed, what is found is what was answered or what came after it, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_orders_are_written_leaves_the_old_or_the_new() {
    let site = Site::new().await;
    let mut last = 0;
    for round in 0..6 {
        let process = site.start().await;
        assert!(process.events("state_problem").await.is_empty());
        let orders = process.admin_get("/orders").await.json();
        let to = orders["orders"][0]["to"].as_f64().unwrap_or(0.0);
        let found = (to * 10_000.0).round() as u32;
        assert!(found == last || found == last + 1, "{found} after {last}");
        let admin = process.admin();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let orders = tokio::spawn(async move {
            for part in found + 1..found + 500 {
                let path = format!("/regions/us-east/dial?to={}%", f64::from(part) / 100.0);
                let reply = ask(admin, Method::POST, &path).await;
                assert_eq!(reply.status, StatusCode::OK);
                tell.send(part).unwrap();
            }
        });
        last = found;
        for _ in 0..=round {
            last = told.recv().await.unwrap();
        }
        kill(process).await;
        let _refused = orders.await;
        while let Ok(part) = told.try_recv() {
            last = part;
        }
    }
}

/// What is named need not be in the plan, and holds again when it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_wait_for_what_they_name() {
    let site = Site::new().await;
    let process = site.start().await;
    done(&process, &["drain", "eu-west"]).await;
    done(&process, &["order", "shop", "ap-south"]).await;
    let whole = Config::of(&site.world);
    let mut less = Config::of(&site.world);
    less.regions.retain(|(name, ..)| name == "us-east");
    site.save(&less);
    done(&process, &["reload"]).await;
    let orders = process.admin_get("/orders").await.json();
    for at in 0..2 {
        assert_eq!(orders["orders"][at]["in_plan"], false, "{orders}");
    }
    let table = done(&process, &["orders"]).await;
    assert!(table.contains("not in the plan"), "{table}");
    assert_share(&served(&process, 8).await, "us-east", 1.0);
    end(process).await;
    let process = site.start().await;
    assert_eq!(listed(&process).await.len(), 2);
    site.save(&whole);
    done(&process, &["reload"]).await;
    assert_share(&served(&process, 80).await, "ap-south", 1.0);
    assert_eq!(site.seen("eu-west"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_asked_for_in_bounds() {
    let site = Site::new().await;
    let process = site.start().await;
    let check = async |arguments: &[&str], code: i32, part: &str| {
        let run = command(&process, arguments).await;
        assert_eq!((run.code, &*run.stdout), (code, ""), "{arguments:?}");
        assert!(run.stderr.contains(part), "{arguments:?}: {}", run.stderr);
    };
    let long = "x".repeat(501);
    check(&["drain", "eu-west", "--reason", &long], 2, "at most 500").await;
    check(
        &["drain", "eu-west", "--author", "a\u{1b}[2J"],
        2,
        "printable",
    )
    .await;
    check(&["drain", "eu-west", "--for", "721h"], 2, "at most 30 days").await;
    check(&["drain", "eu-west", "--undo", "--for", "1h"], 2, "--for").await;
    check(&["order", "shop", "us-esat"], 1, "did you mean `us-east`?").await;
    check(&["order", "shup", "us-east"], 1, "did you mean `shop`?").await;
    check(&["order", "shop", "us-east", "us-east"], 2, "once").await;
    check(&["order", "shop"], 2, "<REGION>").await;
    for path in [
        "order",
        "order?regions=",
        "order?regions=,",
        "order?region=eu-west",
    ] {
        let reply = process.admin_post(&format!("/upstreams/shop/{path}")).await;
        let refused = [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND].contains(&reply.status);
        assert!(refused, "{path}: {reply:?}");
    }
    let told = done(&process, &["orders"]).await;
    assert!(told.starts_with("nothing is ordered"), "{told}");
    let told = done(&process, &["order", "shop", "--undo"]).await;
    assert_eq!(told, "there is no order for shop\n");
}

/// Orders that were forced are in force after a restart, and that is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forced_stays_in_force() {
    let site = Site::new().await;
    let process = site.start().await;
    for region in ["eu-west", "us-east", "ap-south"] {
        done(&process, &["drain", region, "--force"]).await;
    }
    kill(process).await;
    let process = site.start().await;
    let reply = Session::h1(process.http()).await.get("/").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    let events = process.events("order").await;
    let warned = events
        .iter()
        .find(|event| event["what"] == "leaves_nothing");
    assert!(
        warned.unwrap()["order"].to_string().contains("`shop`"),
        "{events:?}"
    );
    done(&process, &["drain", "us-east", "--undo"]).await;
    assert_share(&served(&process, 8).await, "us-east", 1.0);
}

/// A plan that serves a share has the orders from before it, and those that come while it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_hold_in_a_plan_that_serves_a_share() {
    let site = Site::new().await;
    let process = site.start().await;
    done(&process, &["drain", "us-east"]).await;
    let mut next = Config::of(&site.world);
    next.regions.swap(0, 1);
    let texts = json!({ "main": "next.yaml", "files": [["next.yaml", next.yaml()]] });
    let mut admin = Session::direct(process.admin()).await;
    let kind = [("content-type", "application/json")];
    let path = "/candidate?for=1h";
    let reply = admin
        .send(Method::POST, path, &kind, texts.to_string())
        .await;
    assert_eq!(reply.unwrap().status, StatusCode::OK);
    let staged = process.admin_post("/candidate/activate?share=50%25").await;
    assert_eq!(staged.status, StatusCode::OK, "{staged:?}");
    assert_share(&served(&process, 160).await, "eu-west", 1.0);
    done(&process, &["drain", "us-east", "--undo"]).await;
    until("the other plan goes to its first region", || async {
        served(&process, 80).await.contains_key("us-east")
    })
    .await;
    done(&process, &["order", "shop", "ap-south"]).await;
    assert_share(&served(&process, 160).await, "ap-south", 1.0);
    done(&process, &["order", "shop", "--undo"]).await;
    done(&process, &["drain", "us-east"]).await;
    assert_share(&served(&process, 160).await, "eu-west", 1.0);
}
