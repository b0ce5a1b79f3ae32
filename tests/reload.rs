//! Promises 5 and 9: a reload is all or nothing, drops nothing, carries over what was observed,
//! and the plan that serves needs nobody to go on serving.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::Value;
use tidegate_lab::tls::Alpn;
use tidegate_lab::{LinkSpec, RegionSpec, World};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Config, HOST, Keys, Session, Tidegate, Traffic, ask, until};

const ROUTES: &str = "
  - { name: all, upstream: shop }
";

async fn world() -> World {
    let builder = World::builder()
        .region("eu-west", Duration::from_millis(2))
        .region("us-east", Duration::from_millis(4));
    builder.start().await.unwrap()
}

/// A configuration that only knows this path.
fn only(world: &World, path: &str) -> String {
    let route = format!("  - {{ match: {{ path: {path} }}, upstream: shop }}\n");
    Config::of(world).routes(&route).yaml()
}

async fn status_of(tidegate: &Tidegate, path: &str) -> StatusCode {
    ask(tidegate.http(), http::Method::GET, path).await.status
}

async fn generation(tidegate: &Tidegate) -> u64 {
    tidegate.status().await["generation"].as_u64().unwrap()
}

async fn serves(tidegate: &Tidegate, path: &str) {
    until(&format!("{path} is served"), || async {
        status_of(tidegate, path).await == StatusCode::OK
    })
    .await;
}

/// Every occasion on which the files are read again lets the new route serve, once.
#[tokio::test]
async fn every_way_to_reload_works() {
    let world = world().await;
    let tidegate = Tidegate::start(&only(&world, "/0")).await;
    assert_eq!(status_of(&tidegate, "/0").await, StatusCode::OK);
    assert_eq!(status_of(&tidegate, "/1").await, StatusCode::NOT_FOUND);

    tidegate.save(&only(&world, "/1"));
    serves(&tidegate, "/1").await;
    assert_eq!(status_of(&tidegate, "/0").await, StatusCode::NOT_FOUND);

    std::fs::write(tidegate.config(), only(&world, "/2")).unwrap();
    serves(&tidegate, "/2").await;

    let causes = tidegate.events("plan_activated").await;
    let causes: Vec<_> = causes
        .iter()
        .map(|event| event["trigger"].clone())
        .collect();
    assert_eq!(causes, ["start", "file", "file"]);

    tidegate.save(&only(&world, "/3"));
    let reply = tidegate.admin_post("/reload").await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    // The answer comes after the swap: no wait is needed.
    assert_eq!(status_of(&tidegate, "/3").await, StatusCode::OK);
    assert_eq!(generation(&tidegate).await, 4);
}

/// A directory that is no place of the configuration's own can be swapped under it, as Kubernetes
/// does with its volumes: the file is a link through a link.
#[tokio::test]
async fn a_link_that_turns_is_a_change() {
    let world = world().await;
    let place = tempfile::tempdir().unwrap();
    for version in ["a", "b"] {
        let directory = place.path().join(version);
        std::fs::create_dir(&directory).unwrap();
        let config = only(&world, &format!("/{version}"));
        std::fs::write(directory.join("tidegate.yaml"), config).unwrap();
    }
    let turn = |version: &str| {
        let new = place.path().join("new");
        std::os::unix::fs::symlink(version, &new).unwrap();
        std::fs::rename(new, place.path().join("current")).unwrap();
    };
    turn("a");
    let path = place.path().join("current/tidegate.yaml");
    let tidegate = Tidegate::start_at(tempfile::tempdir().unwrap(), &path).await;
    assert_eq!(status_of(&tidegate, "/a").await, StatusCode::OK);
    turn("b");
    serves(&tidegate, "/b").await;
}

/// SIGHUP reads the files whether or not anything noticed a change.
#[tokio::test]
async fn a_signal_reloads() {
    let world = world().await;
    let tidegate = Tidegate::start(&Config::of(&world).yaml()).await;
    tidegate.signal(Signal::HUP);
    until("the signal's reload has ended", || async {
        tidegate.status().await["last_reload"]["cause"] == "signal"
    })
    .await;
    let last = tidegate.status().await["last_reload"].take();
    assert_eq!(last["verdict"], "unchanged", "{last}");
    assert_eq!(generation(&tidegate).await, 1);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_where() {
    let world = world().await;
    let good = Config::of(&world).routes(ROUTES).yaml();
    let tidegate = Tidegate::start(&good).await;
    let before = tidegate.admin_get("/plan").await;
    let bad = good.replace("retry:", "retri:");
    let line = 1 + bad.lines().position(|line| line.contains("retri")).unwrap();
    tidegate.save(&bad);
    until("the refusal is an event", || async {
        !tidegate.events("reload_refused").await.is_empty()
    })
    .await;
    let place = format!("tidegate.yaml:{line}:5");
    let event = tidegate.events("reload_refused").await.remove(0);
    assert!(
        event["problem"].as_str().unwrap().contains(&place),
        "{event}"
    );
    let reply = tidegate.admin_post("/reload").await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    let problem = &reply.json()["reload"]["report"]["problems"][0];
    assert_eq!(
        (&problem["line"], &problem["column"]),
        (&line.into(), &5.into())
    );
    assert_eq!(problem["help"], "did you mean `retry`?");
    let told = tidegate.diagnostics();
    assert!(told.contains(&place) && told.contains("^^^^^"), "{told}");
    assert_eq!(status_of(&tidegate, "/").await, StatusCode::OK);
    assert_eq!(tidegate.admin_get("/plan").await.body, before.body);
    assert_eq!(generation(&tidegate).await, 1);
}

#[tokio::test]
async fn an_unchanged_file_makes_no_generation() {
    let world = world().await;
    let good = Config::of(&world).yaml();
    let tidegate = Tidegate::start(&good).await;
    for same in [good.clone(), format!("# a comment\n{good}")] {
        tidegate.save(&same);
        let reply = tidegate.admin_post("/reload").await;
        assert_eq!(reply.json()["verdict"], "unchanged", "{reply:?}");
    }
    assert_eq!(generation(&tidegate).await, 1);
    let metrics = tidegate.metrics().await;
    let reloads = |result| metrics.sum("tidegate_reloads_total", &[("result", result)]);
    assert_eq!((reloads("applied"), reloads("refused")), (0, 0));
}

#[tokio::test]
async fn what_needs_a_restart_is_refused_by_name() {
    let world = world().await;
    let good = Config::of(&world).yaml();
    let cases = [
        ("threads: 2", "threads: 3", "threads"),
        (
            "shutdown_timeout: 10m",
            "shutdown_timeout: 9m",
            "shutdown_timeout",
        ),
        ("name: http,", "name: web,", "listeners.http (removed)"),
        (
            "name: http,",
            "name: http, limits: { connections: 9 },",
            "listeners.http.limits",
        ),
        ("threads: 2", "threads: 2\naccess_log: off", "access_log"),
    ];
    let tidegate = Tidegate::start(&good).await;
    for (from, to, field) in cases {
        let changed = only(&world, "/new").replace(from, to);
        assert!(changed.contains(to), "{changed}");
        tidegate.save(&changed);
        let reply = tidegate.admin_post("/reload").await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}");
        let fields = &reply.json()["reload"]["fields"];
        assert_eq!(fields[0], field, "{fields}");
        assert_eq!(status_of(&tidegate, "/").await, StatusCode::OK, "{field}");
    }
    assert_eq!(generation(&tidegate).await, 1);
}

/// Ten reloads under traffic: not a request lost, not a connection cut.
#[tokio::test]
async fn reloads_lose_nothing_and_cut_no_connection() {
    let world = world().await;
    let version = |number: u32| {
        let route = format!("  - {{ name: v{number}, upstream: shop, timeout: {number}m }}\n");
        Config::of(&world).routes(&route).yaml()
    };
    let tidegate = Tidegate::start_healthy(&version(1)).await;
    let mut held = Session::h1(tidegate.http()).await;
    held.get("/").await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    for number in 2..12 {
        traffic.more(15).await;
        tidegate.save(&version(number));
        let reply = tidegate.admin_post("/reload").await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    }
    assert_eq!(generation(&tidegate).await, 11);
    held.get("/").await;
    let books = traffic.stop().await;
    books.assert_nothing_lost();
    let metrics = tidegate.metrics().await;
    let accepted = metrics.sum("tidegate_downstream_connections_total", &[]);
    assert_eq!(
        accepted,
        books.connections() + 1,
        "no connection was opened anew"
    );
    assert_eq!(metrics.sum("tidegate_retries_total", &[]), 0);
}

/// A WebSocket that was open before goes on after its route is gone.
#[tokio::test]
async fn a_tunnel_outlives_its_plan() {
    let world = world().await;
    let tidegate = Tidegate::start(&only(&world, "/ws")).await;
    let stream = TcpStream::connect(tidegate.http()).await.unwrap();
    let url = format!("ws://{HOST}/ws");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    for path in ["/ws", "/other"] {
        tidegate.save(&only(&world, path));
        let reply = tidegate.admin_post("/reload").await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        let message = Message::text(path);
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    assert_eq!(status_of(&tidegate, "/ws").await, StatusCode::NOT_FOUND);
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    drop(socket);
    let log = tidegate.logged(2).await;
    let tunnel = log
        .iter()
        .find(|line| line["path"] == "/ws" && line["status"] == 101);
    assert_eq!(tunnel.unwrap()["reason"], "tunnelled", "{log:?}");
}

/// What is alive of a generation, as the admin API tells it; null if nothing is.
async fn alive(tidegate: &Tidegate, generation: u64) -> Value {
    let mut told = tidegate.admin_get("/generations").await.json();
    let alive = told["alive"].as_array_mut().unwrap();
    let found = alive.iter_mut().find(|one| one["generation"] == generation);
    found.map(Value::take).unwrap_or_default()
}

/// Fifty reloads under traffic, through all of which a WebSocket runs: it holds its route and no plan,
/// and everybody's requests go on.
#[tokio::test]
async fn a_tunnel_holds_no_plan_and_reloads_under_traffic_lose_nothing() {
    let world = world().await;
    let version = |number: u64| {
        let mut routes = String::from("  - { name: all, upstream: shop }\n");
        for route in 0..100 + number {
            routes += &format!("  - {{ match: {{ path: /r/{route} }}, upstream: shop }}\n");
        }
        Config::of(&world).routes(&routes).yaml()
    };
    let tidegate = Tidegate::start_healthy(&version(1)).await;
    let stream = TcpStream::connect(tidegate.http()).await.unwrap();
    let url = format!("ws://{HOST}/ws");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    for number in 2..52 {
        traffic.more(3).await;
        tidegate.save(&version(number));
        let reply = tidegate.admin_post("/reload").await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    }
    until("every plan but the last to be gone", || async {
        let told = tidegate.admin_get("/generations").await.json();
        let alive = told["alive"].as_array().unwrap();
        let whole = alive.iter().filter(|one| one["whole"] == true);
        let whole: Vec<_> = whole.map(|one| one["generation"].clone()).collect();
        whole == [51] && alive.len() == 2
    })
    .await;
    let first = alive(&tidegate, 1).await;
    let held = &first["pinned_by"];
    assert_eq!(
        (&held["tunnels"], &held["routes"]),
        (&1.into(), &1.into()),
        "{first}"
    );
    let bytes = |alive: &Value| alive["bytes"].as_u64().unwrap();
    let last = alive(&tidegate, 51).await;
    assert!(
        bytes(&first) > 0 && bytes(&first) * 20 < bytes(&last),
        "{first} {last}"
    );
    let message = Message::text("still here");
    socket.send(message.clone()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), message);
    traffic.stop().await.assert_nothing_lost();
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    drop(socket);
    until("nothing of the first to be alive", || async {
        alive(&tidegate, 1).await.is_null()
    })
    .await;
    until("the tunnel's line", || async {
        let log = tidegate.access_log();
        log.iter().any(|line| line["status"] == 101)
    })
    .await;
    let log = tidegate.access_log();
    let tunnel = log.iter().find(|line| line["status"] == 101).unwrap();
    assert_eq!(
        (&tunnel["route"], &tunnel["generation"]),
        (&"all".into(), &1.into())
    );
}

/// Connections and TLS towards an upstream belong to what it is, not to a plan: a reload that changes
/// something else opens none anew.
#[tokio::test]
async fn connections_behind_tls_are_carried_over() {
    for alpn in [Alpn::H1, Alpn::H2] {
        let keys = Keys::new();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), keys.pem()).unwrap();
        let spec = RegionSpec {
            tls: Some(keys.issue().server_config(alpn).unwrap()),
            ..RegionSpec::new("eu-west")
        };
        let builder = World::builder().site(spec, LinkSpec::default());
        let world = builder.start().await.unwrap();
        let version = |routes: &str| {
            let mut config = Config::of(&world).routes(routes);
            config.upstream += "    tls: { server_name: shop.example.com, ca: ca.pem }\n";
            config.yaml()
        };
        let tidegate = Tidegate::start_in(directory, &version(ROUTES)).await;
        tidegate.region_is("eu-west", "healthy").await;
        let mut session = Session::h1(tidegate.http()).await;
        session.get("/").await;
        let more = format!("{ROUTES}  - {{ match: {{ path: /more }}, upstream: shop }}\n");
        tidegate.save(&version(&more));
        let reply = tidegate.admin_post("/reload").await;
        assert_eq!(reply.json()["verdict"], "activated", "{reply:?}");
        session.get("/more").await;
        let log = tidegate.logged(2).await;
        assert_eq!(log[1]["generation"], 2, "{}", log[1]);
        assert_eq!(log[1]["attempts"][0]["reused"], true, "{alpn:?} {}", log[1]);
    }
}

/// What was observed belongs to regions and endpoints, not to a plan.
#[tokio::test]
async fn what_was_observed_is_carried_over() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&Config::of(&world).yaml()).await;
    let mut session = Session::h1(tidegate.http()).await;
    for _ in 0..5 {
        session.get("/").await;
    }
    let site = world.site("us-east").unwrap();
    site.link.set(tidegate_lab::Mode::Refuse).await.unwrap();
    tidegate.region_is("us-east", "unhealthy").await;
    tidegate.admin_post("/regions/us-east/drain").await;
    let upstream_connections = site_connections(&world, "eu-west");

    tidegate.save(&only(&world, "/new"));
    let reply = tidegate.admin_post("/reload").await;
    assert_eq!(reply.json()["verdict"], "activated", "{reply:?}");
    let (eu, us) = (
        tidegate.region("eu-west").await,
        tidegate.region("us-east").await,
    );
    assert_eq!(us["endpoints"][0]["health"], "unhealthy", "{us}");
    assert_eq!(us["draining"], true, "{us}");
    assert_eq!(eu["health"], "healthy", "{eu}");
    assert!(eu["rtt_us"].as_u64().is_some(), "{eu}");
    assert!(eu["service_us"].as_u64().is_some(), "{eu}");
    assert!(eu["endpoints"][0]["attempts"].as_u64() >= Some(5), "{eu}");

    // The connection that the pool kept serves under the new plan.
    session.get("/new").await;
    let log = tidegate.logged(6).await;
    assert_eq!(log[5]["generation"], 2, "{}", log[5]);
    assert_eq!(log[5]["attempts"][0]["reused"], true, "{}", log[5]);
    assert!(site_connections(&world, "eu-west") >= upstream_connections);
    assert_eq!(counted(&tidegate.status().await), 6);
}

fn site_connections(world: &World, region: &str) -> u64 {
    world.site(region).unwrap().region.snapshot().connections
}

/// Attempts at the endpoints of the first region.
fn counted(status: &Value) -> u64 {
    let endpoint = &status["upstreams"][0]["regions"][0]["endpoints"][0];
    endpoint["attempts"].as_u64().unwrap()
}

/// Static stability: without its file, and then with a truncated one, the last good plan serves.
#[tokio::test]
async fn a_file_that_disappears_stops_nothing() {
    let world = world().await;
    let good = Config::of(&world).yaml();
    let tidegate = Tidegate::start_healthy(&good).await;
    let traffic = Traffic::start(tidegate.http(), &Traffic::replayable());
    traffic.more(15).await;
    std::fs::remove_file(tidegate.config()).unwrap();
    let reply = tidegate.admin_post("/reload").await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{reply:?}");
    traffic.more(15).await;
    std::fs::write(tidegate.config(), "").unwrap();
    let reply = tidegate.admin_post("/reload").await;
    assert!(reply.text().contains("empty"), "{reply:?}");
    std::fs::write(tidegate.config(), &good[..good.len() / 2]).unwrap();
    let reply = tidegate.admin_post("/reload").await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{reply:?}");
    traffic.more(15).await;
    traffic.stop().await.assert_nothing_lost();
    assert_eq!(generation(&tidegate).await, 1);
}
