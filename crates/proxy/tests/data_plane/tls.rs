//! TLS on both sides: which certificate, which protocol, who is let in, and what a reload touches.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use tempfile::TempDir;
use tidegate_core::plan::{UpstreamProtocol, UpstreamTls};
use tidegate_lab::{Alpn, Authority, Link, LinkSpec, Region, RegionSpec, World};

use crate::harness::{
    Answer, Ask, Down, H1, H2, HOST, Rig, Setup, certificate, patiently, tls, world,
};

/// An authority and a place for what it issues.
struct Office {
    authority: Authority,
    directory: TempDir,
}

impl Office {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // No two bear the same name.
        let authority = Authority::new(&directory.path().display().to_string()).unwrap();
        Self {
            authority,
            directory,
        }
    }

    fn issue(&self, stem: &str, names: &[&str]) -> tidegate_core::settings::CertificateFiles {
        certificate(&self.authority, self.directory.path(), stem, names)
    }

    fn client(&self, alpn: Alpn) -> Arc<ClientConfig> {
        self.authority.client_config(alpn).unwrap()
    }

    /// The authority's own certificate as a file.
    fn file(&self) -> PathBuf {
        let path = self.directory.path().join("authority.pem");
        std::fs::write(&path, self.authority.pem()).unwrap();
        path
    }

    /// What an upstream must show to be believed.
    fn trust(&self) -> UpstreamTls {
        UpstreamTls {
            server_name: Some(HOST.into()),
            roots: Some(self.authority.pem().into()),
            client_identity: None,
            insecure_skip_verify: false,
        }
    }
}

fn edge(world: &World, office: &Office, names: &[(&str, &[&str])]) -> Rig {
    let mut setup = Setup::world(world);
    setup.tls(
        names
            .iter()
            .map(|(stem, names)| office.issue(stem, names))
            .collect(),
    );
    setup.start()
}

/// The certificate that a client gets who asks for `name`.
async fn shown(rig: &Rig, office: &Office, name: &str) -> Option<Vec<u8>> {
    let stream = tls(rig.tls_addr(), office.client(Alpn::Both), name)
        .await
        .ok()?;
    Some(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

#[tokio::test]
async fn the_name_chooses_the_certificate() {
    let (office, world) = (Office::new(), world(&["eu"]).await);
    let rig = edge(
        &world,
        &office,
        &[("a", &["a.test"]), ("b", &["b.test", "*.c.test"])],
    );
    let (a, b) = (
        shown(&rig, &office, "a.test").await,
        shown(&rig, &office, "b.test").await,
    );
    assert!(a.is_some() && b.is_some() && a != b);
    assert_eq!(shown(&rig, &office, "x.c.test").await, b);
    // A stranger gets the first, which its library then refuses.
    assert_eq!(shown(&rig, &office, "d.test").await, None);
    assert_eq!(shown(&rig, &office, "x.y.c.test").await, None);
}

/// What ALPN agrees on is what is spoken; without ALPN the first bytes tell.
#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let (office, world) = (Office::new(), world(&["eu"]).await);
    let rig = edge(&world, &office, &[("a", &["a.test"])]);
    let cases = [
        (Alpn::H1, Some("http/1.1"), Down::H1),
        (Alpn::H2, Some("h2"), Down::H2),
        (Alpn::Both, Some("h2"), Down::H2),
        (Alpn::Absent, None, Down::H1),
        (Alpn::Absent, None, Down::H2),
    ];
    for (index, (offer, agreed, down)) in cases.into_iter().enumerate() {
        let stream = tls(rig.tls_addr(), office.client(offer), HOST)
            .await
            .unwrap();
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            agreed.map(str::as_bytes),
            "{offer:?}"
        );
        let answer: Answer = match down {
            Down::H1 => H1::over(stream).ask(&Ask::get("/")).await,
            Down::H2 => H2::over(stream).await.ask(&Ask::get("/")).await,
        };
        assert_eq!(
            answer.json()["headers"]["x-forwarded-proto"],
            "https",
            "{offer:?}"
        );
        let log = &rig.log(index + 1).await[index];
        assert_eq!(log["tls"]["sni"], HOST);
        assert_eq!(log["tls"]["alpn"], serde_json::json!(agreed), "{log}");
    }
}

/// New handshakes get the new certificate; who is connected notices nothing; a bad file changes
/// nothing.
#[tokio::test]
async fn a_reload_is_for_new_handshakes() {
    let (office, world) = (Office::new(), world(&["eu"]).await);
    let rig = edge(&world, &office, &[("a", &["a.test"])]);
    let before = shown(&rig, &office, HOST).await;
    let stream = tls(rig.tls_addr(), office.client(Alpn::H1), HOST)
        .await
        .unwrap();
    let mut h1 = H1::over(stream);
    let stream = tls(rig.tls_addr(), office.client(Alpn::H2), HOST)
        .await
        .unwrap();
    let mut h2 = H2::over(stream).await;
    assert_eq!(h1.ask(&Ask::get("/")).await.status, 200);

    let key = office.directory.path().join("a.key");
    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, "not a key").unwrap();
    let error = rig
        .running()
        .certificates()
        .reload()
        .unwrap_err()
        .to_string();
    assert!(error.contains("a.key"), "{error}");
    assert_eq!(shown(&rig, &office, HOST).await, before);
    std::fs::write(&key, good).unwrap();

    office.issue("a", &["a.test"]);
    rig.running().certificates().reload().unwrap();
    let after = shown(&rig, &office, HOST).await;
    assert!(after.is_some() && after != before);
    assert_eq!(h1.ask(&Ask::get("/")).await.status, 200);
    assert_eq!(h2.ask(&Ask::get("/")).await.status, 200);
}

/// Only clients of the right authority are let in.
#[tokio::test]
async fn strangers_are_not_let_in() {
    let (office, world) = (Office::new(), world(&["eu"]).await);
    let (members, strangers) = (Office::new(), Office::new());
    let mut setup = Setup::world(&world);
    setup.tls(vec![office.issue("a", &["a.test"])]).client_ca = Some(members.file());
    let rig = setup.start();
    let shows = |from: &Office| {
        let leaf = from.authority.issue(&["client.test"]).unwrap();
        office.authority.client_config_as(&leaf, Alpn::H1).unwrap()
    };
    let member = tls(rig.tls_addr(), shows(&members), HOST).await.unwrap();
    assert_eq!(H1::over(member).ask(&Ask::get("/")).await.status, 200);
    for config in [shows(&strangers), office.client(Alpn::H1)] {
        // TLS 1.3 tells a client so only after its own side of the handshake is done.
        if let Ok(stream) = tls(rig.tls_addr(), config, HOST).await {
            let mut client = H1::over(stream);
            client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
            let (rest, _) = client.rest().await;
            assert_eq!(rest, "", "not one byte for a stranger");
        }
    }
    let refused =
        r#"tidegate_tls_handshake_failures_total{listener="https",why="client_certificate"}"#;
    crate::harness::until("both refusals", || rig.metric(refused) == 2).await;
    assert_eq!(
        world.site("eu").unwrap().region.snapshot().requests_total(),
        1
    );
}

/// A region that speaks TLS with this ALPN.
async fn secure_region(office: &Office, alpn: Alpn, names: &[&str]) -> Region {
    let leaf = office.authority.issue(names).unwrap();
    let tls = Some(leaf.server_config(alpn).unwrap());
    Region::start(RegionSpec {
        tls,
        ..RegionSpec::new("eu")
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn upstreams_are_spoken_to_in_what_alpn_chose() {
    let office = Office::new();
    let cases = [
        (Alpn::Both, UpstreamProtocol::Auto, "HTTP/2.0"),
        (Alpn::Both, UpstreamProtocol::Http1, "HTTP/1.1"),
        (Alpn::Both, UpstreamProtocol::Http2, "HTTP/2.0"),
        (Alpn::H1, UpstreamProtocol::Auto, "HTTP/1.1"),
        (Alpn::H2, UpstreamProtocol::Auto, "HTTP/2.0"),
        (Alpn::Absent, UpstreamProtocol::Auto, "HTTP/1.1"),
    ];
    for (alpn, protocol, expected) in cases {
        let region = secure_region(&office, alpn, &[HOST]).await;
        let mut setup = Setup::to(region.addr());
        setup.upstream().connection.protocol = protocol;
        setup.upstream().connection.tls = Some(office.trust());
        let rig = setup.start();
        for down in [Down::H1, Down::H2] {
            let answer = Ask::get("/").send(down, rig.addr()).await;
            assert_eq!(
                answer.status,
                200,
                "{alpn:?} {protocol:?} {}",
                answer.text()
            );
            assert_eq!(
                answer.json()["version"],
                expected,
                "{alpn:?} {protocol:?} {down:?}"
            );
            let body = tidegate_lab::content::bytes(1, 0, 200_000);
            let echo = Ask::post("/echo", body.clone())
                .send(down, rig.addr())
                .await;
            assert_eq!(echo.body, body, "{alpn:?} {protocol:?} {down:?}");
        }
    }
}

/// An upstream that cannot be believed gets nothing, and the answer says what is wrong with it.
#[tokio::test]
async fn a_bad_certificate_is_a_failed_connect_that_says_why() {
    let (office, other) = (Office::new(), Office::new());
    let right = secure_region(&office, Alpn::Both, &[HOST]).await;
    let misnamed = secure_region(&office, Alpn::Both, &["b.test"]).await;
    let plain = Region::start(RegionSpec::new("eu")).await.unwrap();
    let cases = [
        (
            right.addr(),
            other.trust(),
            UpstreamProtocol::Auto,
            "UnknownIssuer",
        ),
        (
            misnamed.addr(),
            office.trust(),
            UpstreamProtocol::Auto,
            "a.test",
        ),
        (plain.addr(), office.trust(), UpstreamProtocol::Auto, "TLS"),
    ];
    for (addr, tls, protocol, said) in cases {
        let mut setup = Setup::to(addr);
        setup.retry().attempts = 1;
        setup.upstream().connection.protocol = protocol;
        setup.upstream().connection.tls = Some(tls);
        let rig = setup.start();
        for down in [Down::H1, Down::H2] {
            let answer = Ask::post("/", "secret").send(down, rig.addr()).await;
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (503, "connect_failed")
            );
            let detail = answer.detail();
            assert!(
                detail.contains(said) && detail.contains(&addr.to_string()),
                "{detail}"
            );
        }
    }
    for region in [right, misnamed, plain] {
        assert_eq!(region.snapshot().requests_total(), 0);
    }
}

/// And the next region is tried, since nothing was sent.
#[tokio::test]
async fn a_bad_certificate_is_another_regions_chance() {
    let (office, other) = (Office::new(), Office::new());
    let bad = secure_region(&other, Alpn::Both, &[HOST]).await;
    let good = secure_region(&office, Alpn::Both, &[HOST]).await;
    let mut setup = Setup::new([("eu", bad.addr()), ("us", good.addr())]);
    setup.upstream().connection.protocol = UpstreamProtocol::Auto;
    setup.upstream().connection.tls = Some(office.trust());
    let rig = setup.start();
    let answer = Ask::post("/", "x").send(Down::H1, rig.addr()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        (
            bad.snapshot().requests_total(),
            good.snapshot().requests_total()
        ),
        (0, 1)
    );
    rig.log(1).await;
    assert_eq!(
        rig.metric(r#"tidegate_requests_rescued_total{from="eu",to="us",why="connect"}"#),
        1
    );
}

/// A handshake that hangs is a connect that hangs: the next region answers.
#[tokio::test]
async fn a_hanging_handshake_is_a_connect_timeout() {
    let office = Office::new();
    let region = secure_region(&office, Alpn::Both, &[HOST]).await;
    let good = secure_region(&office, Alpn::Both, &[HOST]).await;
    let link = Link::start(region.addr(), LinkSpec::default())
        .await
        .unwrap();
    link.set(tidegate_lab::Mode::BlackHole).await.unwrap();
    let mut setup = Setup::new([("eu", link.addr()), ("us", good.addr())]);
    setup.upstream().connection.tls = Some(office.trust());
    setup.upstream().connection.connect_timeout = std::time::Duration::from_millis(100);
    let rig = setup.start();
    let answer = patiently("an answer", Ask::post("/", "x").send(Down::H1, rig.addr())).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        rig.log(1).await[0]["attempts"][0]["outcome"],
        "connect_timeout"
    );
}
