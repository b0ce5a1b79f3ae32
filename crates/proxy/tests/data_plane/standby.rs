//! Warm standby: what fails over finds a connection to the region that is next in line, over TLS, and
//! the reserve follows whoever is next.

use std::time::Duration;

use serde_json::Value;
use tidegate_core::Health;
use tidegate_core::plan::{
    CircuitBreaker, ColdStart, Limits, Standby, Starter, UpstreamProtocol, UpstreamTls,
};
use tidegate_lab::{Alpn, Authority, Link, LinkSpec, Mode, Region, RegionSpec};

use crate::harness::{Ask, Down, HOST, Rig, Setup, until};

/// Regions that speak TLS, each behind its own link, in the order of preference.
struct Shore {
    sites: Vec<(Region, Link)>,
    trust: UpstreamTls,
}

const NAMES: [&str; 3] = ["eu", "us", "ap"];

impl Shore {
    async fn new(regions: usize) -> Self {
        let authority = Authority::new("standby").unwrap();
        let leaf = authority.issue(&[HOST]).unwrap();
        let mut sites = Vec::new();
        for name in &NAMES[..regions] {
            let spec = RegionSpec {
                tls: Some(leaf.server_config(Alpn::Both).unwrap()),
                ..RegionSpec::new(name)
            };
            let region = Region::start(spec).await.unwrap();
            let link = Link::start(region.addr(), LinkSpec::default());
            sites.push((region, link.await.unwrap()));
        }
        let trust = UpstreamTls {
            server_name: Some(HOST.into()),
            roots: Some(authority.pem().into()),
            client_identity: None,
            insecure_skip_verify: false,
        };
        Self { sites, trust }
    }

    fn setup(&self, protocol: UpstreamProtocol, warm_standby: u32) -> Setup {
        let places = NAMES.iter().zip(&self.sites);
        let mut setup = Setup::new(places.map(|(name, (_, link))| (*name, link.addr())));
        let connection = &mut setup.upstream().connection;
        connection.protocol = protocol;
        connection.tls = Some(self.trust.clone());
        connection.warm_standby = warm_standby;
        setup
    }

    /// Connections that the region has seen, and those that are open.
    fn connections(&self, at: usize) -> (u64, u64) {
        let snapshot = self.sites[at].0.snapshot();
        (snapshot.connections, snapshot.connections_open)
    }

    async fn until_open(&self, at: usize, count: u64) {
        let what = format!("{count} connections to {}", NAMES[at]);
        until(&what, || self.connections(at).1 == count).await;
    }

    async fn set(&self, at: usize, mode: Mode) {
        self.sites[at].1.set(mode).await.unwrap();
    }
}

/// So many idle connections to the region, as the proxy sees it: the handshakes are done.
async fn until_idle(rig: &Rig, region: &str, count: u64) {
    let series =
        format!("tidegate_upstream_idle_connections{{upstream=\"shop\",region=\"{region}\"}}");
    until(&series, || rig.metric(&series) == count).await;
}

/// The region that answers a request.
async fn served_by(rig: &Rig) -> String {
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    answer.json()["region"].as_str().unwrap().to_owned()
}

fn attempts(log: &Value) -> Vec<(&str, bool)> {
    let attempts = log["attempts"].as_array().unwrap().iter();
    attempts
        .map(|attempt| {
            let region = attempt["region"].as_str().unwrap();
            (region, attempt["reused"].as_bool().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn the_first_request_that_fails_over_shakes_no_hands() {
    for (protocol, warm) in [
        (UpstreamProtocol::Http1, 2),
        (UpstreamProtocol::Http2, 1),
        (UpstreamProtocol::Auto, 1),
    ] {
        let shore = Shore::new(2).await;
        let rig = shore.setup(protocol, 2).one_thread().start();
        until_idle(&rig, "us", warm).await;
        assert_eq!(served_by(&rig).await, "eu");
        shore.set(0, Mode::Refuse).await;
        let before = shore.connections(1).0;
        assert_eq!(before, warm, "{protocol:?}");
        assert_eq!(served_by(&rig).await, "us");
        let log = &rig.log(2).await[1];
        assert_eq!(*attempts(log).last().unwrap(), ("us", true), "{log}");
        if protocol != UpstreamProtocol::Http1 {
            // What must not be sent twice takes no idle HTTP/1.1 connection, but any stream.
            let answer = Ask::post("/echo", "x").send(Down::H1, rig.addr()).await;
            assert_eq!((answer.status, answer.body.as_ref()), (200, &b"x"[..]));
            let log = &rig.log(3).await[2];
            assert_eq!(*attempts(log).last().unwrap(), ("us", true), "{log}");
            assert_eq!(shore.connections(1).0, before, "not one more handshake");
        }
    }
}

/// Whichever worker a client comes to, it finds what one of them keeps.
#[tokio::test]
async fn one_reserve_is_there_for_all_workers() {
    let shore = Shore::new(2).await;
    let mut setup = shore.setup(UpstreamProtocol::Http1, 3);
    setup.threads = 4;
    let rig = setup.start();
    until_idle(&rig, "us", 3).await;
    shore.set(0, Mode::Refuse).await;
    for nth in 0..12 {
        assert_eq!(served_by(&rig).await, "us");
        let log = &rig.log(nth + 1).await[nth];
        assert_eq!(*attempts(log).last().unwrap(), ("us", true), "{log}");
    }
}

/// Whichever endpoint balancing picks, there is a connection if there are as many as endpoints.
#[tokio::test]
async fn the_reserve_is_spread_over_the_endpoints() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let shore = Shore::new(3).await;
        let [eu, us, other] = [0, 1, 2].map(|at| shore.sites[at].1.addr());
        let mut setup = Setup::new([("eu", eu), ("us", us), ("us", other)]);
        setup.upstream().connection = shore.setup(protocol, 2).upstream().connection.clone();
        let rig = setup.start();
        until_idle(&rig, "us", 2).await;
        assert_eq!((shore.connections(1).1, shore.connections(2).1), (1, 1));
    }
}

#[tokio::test]
async fn what_breaks_is_replaced() {
    let shore = Shore::new(2).await;
    for (protocol, warm) in [(UpstreamProtocol::Http1, 2), (UpstreamProtocol::Http2, 1)] {
        let rig = shore.setup(protocol, 2).start();
        shore.until_open(1, warm).await;
        let before = shore.connections(1).0;
        shore.set(1, Mode::Reset).await;
        shore.until_open(1, 0).await;
        shore.set(1, Mode::Up).await;
        shore.until_open(1, warm).await;
        assert!(shore.connections(1).0 >= before + warm);
        drop(rig);
        shore.until_open(1, 0).await;
    }
}

#[tokio::test]
async fn what_will_have_idled_too_long_is_replaced_before() {
    let shore = Shore::new(2).await;
    let mut setup = shore.setup(UpstreamProtocol::Http1, 1);
    setup.upstream().connection.idle_timeout = Duration::from_millis(1500);
    let rig = setup.start();
    until_idle(&rig, "us", 1).await;
    let us = r#"tidegate_upstream_idle_connections{upstream="shop",region="us"}"#;
    until("its replacement", || {
        assert!(rig.metric(us) >= 1, "there is always one");
        shore.connections(1).0 >= 3
    })
    .await;
}

#[tokio::test]
async fn the_reserve_is_where_requests_would_go_next() {
    let shore = Shore::new(3).await;
    let rig = shore.setup(UpstreamProtocol::Http1, 1).start();
    shore.until_open(1, 1).await;
    assert_eq!((shore.connections(0).0, shore.connections(2).0), (0, 0));
    // The first is gone: the second is the first now.
    rig.board.region("shop", "eu").set_health(Health::Unhealthy);
    shore.until_open(2, 1).await;
    // It is back, and the second is drained: the third stays the reserve.
    rig.board.region("shop", "eu").set_health(Health::Healthy);
    rig.board.region("shop", "us").set_draining(true);
    shore.set(2, Mode::Reset).await;
    shore.until_open(2, 0).await;
    shore.set(2, Mode::Up).await;
    shore.until_open(2, 1).await;
    assert_eq!(shore.connections(0).0, 0, "who serves needs no reserve");
}

/// A region that stands by serves nothing and is not even the next in line, and still finds its
/// connections open when it is needed; a cold one only once it is known to be well.
#[tokio::test]
async fn those_that_stand_by_are_kept_warm_besides() {
    let shore = Shore::new(3).await;
    let cold = ColdStart {
        below: 0.5,
        by: Starter::Command(["true".into()].into()),
        timeout: Duration::from_secs(60),
    };
    for (standby, healthy_only) in [(Standby::Warm, false), (Standby::Cold(cold.into()), true)] {
        let mut setup = shore.setup(UpstreamProtocol::Http1, 2);
        setup.upstream().regions[2].standby = standby;
        let rig = setup.start();
        shore.until_open(1, 2).await;
        if healthy_only {
            assert_eq!(shore.connections(2).1, 0);
            rig.board.region("shop", "ap").set_health(Health::Healthy);
        }
        shore.until_open(2, 2).await;
        assert_eq!(served_by(&rig).await, "eu");
        rig.board.region("shop", "ap").set_draining(true);
        shore.set(2, Mode::Reset).await;
        shore.until_open(2, 0).await;
        shore.set(2, Mode::Up).await;
        rig.board.region("shop", "ap").set_draining(false);
        shore.until_open(2, 2).await;
        drop(rig);
        shore.until_open(2, 0).await;
    }
}

#[tokio::test]
async fn a_reserve_is_within_the_bounds_and_follows_a_reload() {
    let shore = Shore::new(2).await;
    let bounded = |max| {
        let mut setup = shore.setup(UpstreamProtocol::Http1, 3);
        setup.upstream().circuit_breaker = CircuitBreaker {
            region: Limits {
                max_connections: Some(max),
                ..Limits::default()
            },
            ..CircuitBreaker::default()
        };
        setup
    };
    let rig = bounded(1).start();
    shore.until_open(1, 1).await;
    let full = r#"tidegate_upstream_connections{upstream="shop",region="us"}"#;
    assert_eq!(rig.metric(full), 1);
    rig.plan.activate(bounded(2).into_plan(), &rig.board);
    shore.until_open(1, 2).await;
    assert_eq!(rig.metric(full), 2);
}

#[tokio::test]
async fn it_harms_nobodys_health_and_ends_with_the_process() {
    let shore = Shore::new(2).await;
    shore.set(1, Mode::Refuse).await;
    let rig = shore.setup(UpstreamProtocol::Http1, 1).start();
    let opened = r#"tidegate_upstream_connections{upstream="shop",region="us"}"#;
    assert_eq!(served_by(&rig).await, "eu");
    shore.set(1, Mode::Up).await;
    until("a connection", || rig.metric(opened) == 1).await;
    let us = rig.board.region("shop", "us").tally();
    assert_eq!(us.errors.iter().sum::<u64>() + us.attempts(), 0);
    assert!(rig.shutdown().await.finished);
    shore.until_open(1, 0).await;
}
