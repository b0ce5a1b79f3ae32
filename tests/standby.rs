//! Cold regions behind the real binary: started by a program or a webhook when the others fail, and
//! given traffic once they are healthy; what starts them may fail as it likes.

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::{Value, json};
use tidegate_lab::tls::{Alpn, Authority};
use tidegate_lab::{Mode, Region, RegionSpec, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Config, Session, Tidegate, until};

const SERVING: &str = "eu-west";
const COLD: &str = "us-east";

/// Two regions; the second one is off.
async fn world() -> World {
    let world = World::builder().region(SERVING, Duration::from_millis(2));
    let world = world.region(COLD, Duration::from_millis(4)).start().await;
    let world = world.unwrap();
    set(&world, COLD, Mode::Refuse).await;
    world
}

async fn set(world: &World, region: &str, mode: Mode) {
    let site = world.site(region).unwrap();
    site.link.set(mode).await.unwrap();
}

/// The configuration in which the second region is cold, and started like this.
fn yaml(world: &World, how: &str) -> String {
    let whole = Config::of(world).yaml();
    let hot = format!("{COLD}: {{ endpoints");
    assert!(whole.contains(&hot), "{whole}");
    let cold = format!("{COLD}: {{ standby: {{ cold: {{ {how} }} }}, endpoints");
    whole.replace(&hot, &cold)
}

async fn start(world: &World, how: &str) -> Tidegate {
    let process = Tidegate::start(&yaml(world, how)).await;
    process.region_is(SERVING, "healthy").await;
    process.region_is(COLD, "unhealthy").await;
    process
}

async fn served_by(process: &Tidegate) -> (StatusCode, String) {
    let reply = Session::h1(process.http()).await.get("/").await;
    (reply.status, reply.region().to_owned())
}

/// The starts that have ended so, and what is told of the first.
async fn ended(process: &Tidegate, result: &str) -> (usize, String) {
    let events = process.events("standby_start").await;
    let mut such = events.iter().filter(|event| event["result"] == result);
    let first = such.next();
    let detail = first.map_or("", |event| event["detail"].as_str().unwrap());
    (
        such.count() + usize::from(first.is_some()),
        detail.to_owned(),
    )
}

async fn until_ended(process: &Tidegate, result: &str) -> String {
    until(result, || async { ended(process, result).await.0 > 0 }).await;
    ended(process, result).await.1
}

/// The file that the program of a test writes.
fn written(directory: &Path) -> String {
    let text = std::fs::read_to_string(directory.join("started"));
    text.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_starts_a_region_that_serves_once_it_is_healthy() {
    let world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("started");
    let script = format!(
        "echo $TIDEGATE_UPSTREAM/$TIDEGATE_REGION | tee -a {}",
        file.display()
    );
    let how = format!("start: [sh, -c, \"{script}\"], below: 50%, timeout: 1h");
    let process = start(&world, &how).await;
    assert_eq!(
        served_by(&process).await,
        (StatusCode::OK, SERVING.to_owned())
    );
    assert_eq!(written(directory.path()), "", "nobody needs it yet");
    set(&world, SERVING, Mode::Refuse).await;
    let detail = until_ended(&process, "started").await;
    assert!(detail.contains("exit status: 0: shop/us-east"), "{detail}");
    assert_eq!(served_by(&process).await.0, StatusCode::SERVICE_UNAVAILABLE);
    // It is asked to start, and has not come up: a reload does not ask again.
    process.save(&yaml(&world, &how).replace("attempts: 4", "attempts: 3"));
    until("the reload", || async {
        process.status().await["generation"] == 2
    })
    .await;
    set(&world, COLD, Mode::Up).await;
    process.region_is(COLD, "healthy").await;
    assert_eq!(served_by(&process).await, (StatusCode::OK, COLD.to_owned()));
    assert_eq!(written(directory.path()), "shop/us-east\n", "once");
    let place = [
        ("upstream", "shop"),
        ("region", COLD),
        ("result", "started"),
    ];
    let counted = process
        .metrics()
        .await
        .sum("tidegate_standby_starts_total", &place);
    assert_eq!(counted, 1);
    // The first is back, and the cold one stands by again, although it is up.
    set(&world, SERVING, Mode::Up).await;
    process.region_is(SERVING, "healthy").await;
    until("it serves again", || async {
        served_by(&process).await.1 == SERVING
    })
    .await;
}

/// It serves nothing while the other does, has its connection open, and needs no start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_region_stands_by_and_serves_when_the_other_is_taken_away() {
    let world = World::builder().region(SERVING, Duration::from_millis(2));
    let world = world.region(COLD, Duration::from_millis(4)).start().await;
    let world = world.unwrap();
    let whole = Config::of(&world).yaml();
    // The nearer one stands by: it is not its place that keeps requests away.
    let hot = format!("{SERVING}: {{ endpoints");
    let warm = format!("{SERVING}: {{ standby: warm, endpoints");
    let process = Tidegate::start_healthy(&whole.replace(&hot, &warm)).await;
    let place = [("upstream", "shop"), ("region", SERVING)];
    until("its connection", || async {
        let metrics = process.metrics().await;
        metrics.sum("tidegate_upstream_idle_connections", &place) == 1
    })
    .await;
    for _ in 0..20 {
        assert_eq!(served_by(&process).await, (StatusCode::OK, COLD.to_owned()));
    }
    let reply = process.admin_post("/regions/us-east/drain").await;
    assert_eq!(
        reply.status,
        StatusCode::OK,
        "a warm one replaces it: {reply:?}"
    );
    assert_eq!(
        served_by(&process).await,
        (StatusCode::OK, SERVING.to_owned())
    );
    let log = process.logged(21).await;
    assert_eq!(log[20]["attempts"][0]["reused"], true, "{}", log[20]);
}

/// A draining region does not suffice either: what stands by is started for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_starts_a_region_when_the_other_is_drained() {
    let world = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/start", listener.local_addr().unwrap());
    let how = format!("webhook: \"{url}\", timeout: 1h");
    let process = start(&world, &how).await;
    let reply = process.admin_post("/regions/eu-west/drain").await;
    assert_eq!(
        reply.status,
        StatusCode::CONFLICT,
        "a cold region takes nothing yet"
    );
    process
        .admin_post("/regions/eu-west/drain?force=true")
        .await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let request = read_request(&mut stream).await;
    assert!(request.starts_with("POST /start HTTP/1.1\r\n"), "{request}");
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, json!({ "upstream": "shop", "region": COLD }));
    set(&world, COLD, Mode::Up).await;
    let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 6\r\n\r\nvm-117";
    stream.write_all(answer).await.unwrap();
    let detail = until_ended(&process, "started").await;
    assert_eq!(detail, "answered 202 Accepted: vm-117");
    process.region_is(COLD, "healthy").await;
    assert_eq!(served_by(&process).await, (StatusCode::OK, COLD.to_owned()));
}

/// By TLS, to whom the system trusts and to nobody else. Nothing that the webhook says of itself
/// counts but its status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_by_tls_must_be_trusted() {
    let authority = Authority::new("operators").unwrap();
    let leaf = authority.issue(&["127.0.0.1"]).unwrap();
    let hook = RegionSpec {
        tls: Some(leaf.server_config(Alpn::H1).unwrap()),
        ..RegionSpec::new("hook")
    };
    let hook = Region::start(hook).await.unwrap();
    let url = format!("https://{}/echo", hook.addr());
    let check = async |trusted: bool, result: &str, told: &str| {
        let world = world().await;
        set(&world, SERVING, Mode::Refuse).await;
        let directory = tempfile::tempdir().unwrap();
        let roots = directory.path().join("roots.pem");
        std::fs::write(&roots, authority.pem()).unwrap();
        let path = directory.path().join("tidegate.yaml");
        let how = format!("webhook: \"{url}\", timeout: 1h");
        std::fs::write(&path, yaml(&world, &how)).unwrap();
        let system = [("SSL_CERT_FILE", roots.as_path())];
        let environment = if trusted { &system[..] } else { &[] };
        let process = Tidegate::start_with(directory, &path, environment).await;
        let detail = until_ended(&process, result).await;
        assert!(detail.contains(told), "{detail}");
    };
    let echoed = "answered 200 OK: {\"region\":\"us-east\",\"upstream\":\"shop\"}";
    check(true, "started", echoed).await;
    check(false, "failed", "TLS: ").await;
    assert_eq!(hook.snapshot().requests_total(), 1);
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&piece[..read]);
    }
    String::from_utf8(request).unwrap()
}

/// It is given up in time and tried again, nothing of it is left behind, and serving goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_starter_that_hangs_hurts_nobody() {
    let world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("started");
    let script = format!("echo $$ >> {}; sleep 100000 & wait", file.display());
    // What serves before it is dialed to a tenth: it is to start, and the first goes on.
    let how = format!("start: [sh, -c, \"{script}\"], below: 50%, timeout: 1s");
    let mut process = start(&world, &how).await;
    process.admin_post("/regions/eu-west/dial?to=10%").await;
    let detail = until_ended(&process, "timeout").await;
    assert_eq!(detail, "given up after 1s");
    until("the next one", || async {
        written(directory.path()).lines().count() >= 2
    })
    .await;
    assert_eq!(
        served_by(&process).await,
        (StatusCode::OK, SERVING.to_owned())
    );
    process.signal(Signal::TERM);
    assert!(process.ended().await.success());
    for id in written(directory.path()).lines() {
        let id = Pid::from_raw(id.parse().unwrap()).unwrap();
        until("it is gone", || async { test_kill_process(id).is_err() }).await;
    }
}
