//! The way of a request through every kind of listener, and the end of the process.

use std::time::Duration;

use http::{Method, StatusCode};
use rustix::process::Signal;
use tidegate_lab::content;
use tidegate_lab::tls::Alpn;
use tidegate_lab::{LinkSpec, Mode, RegionSpec, World};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::harness::{Config, Keys, Reply, Session, Tidegate, until};

async fn world() -> World {
    let builder = World::builder().region("eu-west", Duration::from_millis(2));
    builder.start().await.unwrap()
}

/// Reads, uploads and errors come out right on this connection.
async fn check(mut session: Session, protocol: &str) {
    let reply = session.get("/bytes/200000").await;
    assert_eq!(reply.status, StatusCode::OK, "{protocol}");
    assert_eq!(reply.body.len(), 200_000, "{protocol}");
    let wrong = content::first_difference(content::SEED, 0, &reply.body);
    assert_eq!(wrong, None, "{protocol}");
    assert_eq!(reply.header("tidegate-region"), "eu-west", "{protocol}");
    assert!(!reply.header("x-request-id").is_empty(), "{protocol}");
    assert!(reply.header("via").contains("tidegate"), "{protocol}");
    let body = content::bytes(7, 0, 300_000);
    let reply = session
        .send(Method::POST, "/echo", &[], body.clone())
        .await
        .unwrap();
    assert_eq!(reply.body, body, "{protocol}");
    let reply = session.get("/status/404").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND, "{protocol}");
    let reply = session.send(Method::HEAD, "/bytes/10", &[], "").await;
    let reply = reply.unwrap();
    assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
    assert_eq!(reply.header("content-length"), "10", "{protocol}");
}

#[tokio::test]
async fn every_protocol_of_every_listener_serves() {
    let (world, keys) = (world().await, Keys::new());
    let directory = tempfile::tempdir().unwrap();
    keys.write_to(directory.path());
    let config = Config::of(&world).tls().yaml();
    let tidegate = Tidegate::start_in(directory, &config).await;
    let (http, https) = (tidegate.http(), tidegate.listener("https"));
    check(Session::h1(http).await, "h1").await;
    check(Session::h2c(http).await, "h2c").await;
    for (alpn, h2) in [
        (Alpn::Absent, false),
        (Alpn::H1, false),
        (Alpn::H2, true),
        (Alpn::Both, true),
    ] {
        let session = Session::tls(https, keys.client(alpn)).await;
        assert_eq!(session.is_h2(), h2, "{alpn:?}");
        check(session, &format!("{alpn:?}")).await;
    }
}

/// Regions behind TLS: probes and requests trust the given authority, and the region chooses the
/// protocol.
#[tokio::test]
async fn upstreams_behind_tls_serve() {
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
        let mut config = Config::of(&world);
        config.upstream += "    tls: { server_name: shop.example.com, ca: ca.pem }\n";
        let tidegate = Tidegate::start_in(directory, &config.yaml()).await;
        tidegate.region_is("eu-west", "healthy").await;
        check(Session::h1(tidegate.http()).await, "h1 to TLS").await;
        check(Session::h2c(tidegate.http()).await, "h2 to TLS").await;
    }
}

/// A region whose certificate nobody vouches for gets no request.
#[tokio::test]
async fn upstreams_that_cannot_be_trusted_get_nothing() {
    let keys = Keys::new();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), Keys::new().pem()).unwrap();
    let spec = RegionSpec {
        tls: Some(keys.issue().server_config(Alpn::Both).unwrap()),
        ..RegionSpec::new("eu-west")
    };
    let builder = World::builder().site(spec, LinkSpec::default());
    let world = builder.start().await.unwrap();
    let mut config = Config::of(&world);
    config.upstream += "    tls: { server_name: shop.example.com, ca: ca.pem }\n";
    let tidegate = Tidegate::start_in(directory, &config.yaml()).await;
    let reply = Session::h1(tidegate.http()).await.get("/").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
    tidegate.region_is("eu-west", "unhealthy").await;
    let seen = world.site("eu-west").unwrap().region.snapshot();
    assert_eq!(seen.requests_total(), 0);
}

/// A gRPC call: HTTP/2 all the way, the status in trailers, or in the head when there is no body.
#[tokio::test]
async fn grpc_gets_its_trailers() {
    let world = world().await;
    let mut config = Config::of(&world);
    config.upstream += "    protocol: http2\n";
    let tidegate = Tidegate::start_healthy(&config.yaml()).await;
    let mut session = Session::h2c(tidegate.http()).await;
    let call = [("te", "trailers"), ("content-type", "application/grpc")];
    let message = &b"\0\0\0\0\x02hi"[..];
    let reply = session.send(Method::POST, "/grpc/unary", &call, message);
    let reply = reply.await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, message));
    assert_eq!(reply.header("content-type"), "application/grpc");
    assert_eq!(reply.trailers["grpc-status"], "0");
    let reply = session.send(Method::POST, "/grpc/stream/50", &call, "");
    let reply = reply.await.unwrap();
    assert_eq!(
        (reply.body.len(), &reply.trailers["grpc-status"]),
        (50 * 37, &"0".parse().unwrap())
    );
    let reply = session.send(Method::POST, "/grpc/status/7", &call, "");
    assert_eq!(reply.await.unwrap().header("grpc-status"), "7");
    // What we refuse ourselves is UNAVAILABLE in their words.
    let link = &world.site("eu-west").unwrap().link;
    link.set(Mode::Refuse).await.unwrap();
    let reply = session.send(Method::POST, "/grpc/unary", &call, message);
    let reply = reply.await.unwrap();
    assert_eq!(
        (reply.status, reply.header("grpc-status")),
        (StatusCode::OK, "14")
    );
}

#[tokio::test]
async fn what_the_upstream_is_told_about_the_client() {
    let (world, keys) = (world().await, Keys::new());
    let directory = tempfile::tempdir().unwrap();
    keys.write_to(directory.path());
    let config = Config::of(&world).tls().yaml();
    let tidegate = Tidegate::start_in(directory, &config).await;
    let mut session = Session::tls(tidegate.listener("https"), keys.client(Alpn::H1)).await;
    let lies = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-hop", "1"),
        ("connection", "x-hop"),
    ];
    let reply = session.send(Method::GET, "/headers", &lies, "").await;
    let fields = reply.unwrap().json();
    let of = |name: &str| {
        let all = fields.as_array().unwrap().iter();
        let mut values = all.filter(|pair| pair[0] == name).map(|pair| &pair[1]);
        values
            .next()
            .and_then(|value| value.as_str())
            .map(str::to_owned)
    };
    assert_eq!(of("host").as_deref(), Some("shop.example.com"));
    assert_eq!(of("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(of("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(of("x-hop"), None, "{fields}");
    assert!(
        of("x-request-id").is_some() && of("via").is_some(),
        "{fields}"
    );
}

#[tokio::test]
async fn readiness_follows_the_regions() {
    let world = world().await;
    let tidegate = Tidegate::start_healthy(&Config::of(&world).yaml()).await;
    let ready = async || tidegate.admin_get("/readyz").await.status;
    assert_eq!(ready().await, StatusCode::OK);
    let link = &world.site("eu-west").unwrap().link;
    link.set(Mode::Refuse).await.unwrap();
    until("it is not ready without a region", || async {
        ready().await == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    assert_eq!(tidegate.admin_get("/healthz").await.status, StatusCode::OK);
    link.set(Mode::Up).await.unwrap();
    until("it is ready again", || async {
        ready().await == StatusCode::OK
    })
    .await;
}

async fn under_way(tidegate: &Tidegate, requests: u32) {
    until(&format!("{requests} requests are under way"), || async {
        tidegate.region("eu-west").await["in_flight"] == requests
    })
    .await;
}

/// A process in which one request waits for its region, on `session`'s protocol.
struct Waiting {
    world: World,
    tidegate: Tidegate,
    /// The answer, with the client's connection, which stays open.
    answer: JoinHandle<(Session, hyper::Result<Reply>)>,
}

impl Waiting {
    async fn new(h2: bool) -> Self {
        let world = world().await;
        let config = Config {
            probe: "off".to_owned(),
            retry: "{ per_try: off }".to_owned(),
            routes: "  - { upstream: shop, timeout: 10m, idle_timeout: 10m }\n".to_owned(),
            ..Config::of(&world)
        };
        let tidegate = Tidegate::start(&config.yaml()).await;
        let mut session = match h2 {
            true => Session::h2c(tidegate.http()).await,
            false => Session::h1(tidegate.http()).await,
        };
        session.get("/").await;
        // Counted a moment after its answer; the next one must not be taken for it.
        under_way(&tidegate, 0).await;
        let link = &world.site("eu-west").unwrap().link;
        link.set(Mode::BlackHole).await.unwrap();
        let answer = tokio::spawn(async move {
            let sent = session.send(Method::POST, "/echo", &[], "unhurried");
            let reply = sent.await;
            (session, reply)
        });
        under_way(&tidegate, 1).await;
        Self {
            world,
            tidegate,
            answer,
        }
    }

    /// Tells it to end, and waits until it accepts no more.
    async fn told_to_end(&mut self) {
        let address = self.tidegate.http();
        self.tidegate.signal(Signal::TERM);
        until("nothing new is accepted", || async {
            TcpStream::connect(address).await.is_err()
        })
        .await;
    }
}

#[tokio::test]
async fn the_end_waits_for_requests_under_way_and_for_nothing_else() {
    for h2 in [false, true] {
        let mut waiting = Waiting::new(h2).await;
        // A connection without a request holds nothing up.
        let idle = TcpStream::connect(waiting.tidegate.http()).await.unwrap();
        waiting.told_to_end().await;
        let reply = waiting.tidegate.admin_get("/readyz").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        assert!(waiting.tidegate.runs(), "it must wait for the request");
        let link = &waiting.world.site("eu-west").unwrap().link;
        link.set(Mode::Up).await.unwrap();
        let (session, reply) = waiting.answer.await.unwrap();
        let reply = reply.unwrap();
        assert_eq!((reply.status, reply.text()), (StatusCode::OK, "unhurried"));
        let status = waiting.tidegate.ended().await;
        assert_eq!(status.code(), Some(0), "h2 {h2}");
        drop((idle, session));
        // The request that was finished last is in the log.
        assert_eq!(waiting.tidegate.access_log().len(), 2);
    }
}

#[tokio::test]
async fn told_twice_it_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut waiting = Waiting::new(false).await;
        waiting.told_to_end().await;
        assert!(waiting.tidegate.runs(), "it must wait for the request");
        waiting.tidegate.signal(signal);
        waiting.tidegate.ended().await;
        assert!(waiting.answer.await.unwrap().1.is_err());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_start_that_fails() {
    let world = world().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let yaml = Config::of(&world).yaml();
    let yaml = yaml.replacen("127.0.0.1:0", &address.to_string(), 1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.yaml");
    std::fs::write(&path, yaml).unwrap();
    let run = move || crate::harness::tidegate([std::ffi::OsStr::new("run"), path.as_os_str()]);
    let run = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(run.code, 1, "{}", run.stderr);
    let told = run.stderr.contains("http") && run.stderr.contains(&address.to_string());
    assert!(told, "{}", run.stderr);
}
