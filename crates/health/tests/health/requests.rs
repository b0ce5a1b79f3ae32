//! What probes by HTTP may ask, where, and what they may expect.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use rcgen::{CertificateParams, KeyPair};
use tidegate_core::Health;
use tidegate_core::plan::{
    ClientIdentity, HttpProbe, Probe, ProbeKind, ProbeTls, UpstreamProtocol, UpstreamTls,
};
use tidegate_telemetry::labels::{Label, ProbeResult};

use crate::server::{Answer, Server, refusing};
use crate::support::{Scene, Spec, http_probe, patient, tcp_probe, until};
use crate::tls::{authority, settings, wanting_clients};

const BOTH: [(http::Version, UpstreamProtocol); 2] = [
    (http::Version::HTTP_11, UpstreamProtocol::Http1),
    (http::Version::HTTP_2, UpstreamProtocol::Http2),
];

fn probe_of(http: HttpProbe) -> Probe {
    Probe {
        kind: ProbeKind::Http(http),
        ..tcp_probe()
    }
}

/// 200 and a body for the one request that is right, whose kind a header tells.
fn only(request: &Request<Bytes>) -> Answer {
    let headers = request.headers();
    let right = request.method() == Method::POST
        && request.uri().path_and_query().unwrap() == "/deep?check=1"
        && headers["x-probe"] == "deep"
        && headers["content-length"] == "8"
        && request.body() == "{\"a\": 1}";
    let body = Full::from(if right { "state: fine" } else { "wrong" }).boxed();
    let response = Response::builder().header(CONTENT_TYPE, "text/plain");
    response.header("x-state", "fine").body(body).unwrap()
}

fn deep() -> HttpProbe {
    HttpProbe {
        method: Method::POST,
        path: "/deep?check=1".into(),
        headers: [(HeaderName::from_static("x-probe"), "deep".into())].into(),
        body: Some("{\"a\": 1}".into()),
        expect_body: Some("fine".into()),
        ..HttpProbe::default()
    }
}

/// What `http` finds of a server of each version: nothing wrong, or this.
async fn check(http: HttpProbe, problem: Option<&str>) {
    for (version, protocol) in BOTH {
        let server = Server::of(None, version, |request| only(&request)).await;
        let mut spec = Spec::new(&[&server.address], probe_of(http.clone()));
        spec.connection.protocol = protocol;
        let mut scene = Scene::start(&spec);
        let Some(problem) = problem else {
            scene.becomes(&server.address, Health::Healthy).await;
            continue;
        };
        let (health, found) = scene.endpoint_news().await;
        assert_eq!(health, Health::Unhealthy);
        assert!(found.ends_with(problem), "{found}, not {problem}");
        let label = format!("result=\"{}\"", ProbeResult::Content.word());
        assert!(scene.metrics.render(None).contains(&label));
    }
}

#[tokio::test]
async fn requests_are_sent_as_configured_and_answers_held_to_what_is_expected() {
    check(deep(), None).await;
    let expecting = |fields: &[(&'static str, &str)]| HttpProbe {
        expect_headers: fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), (*value).into()))
            .collect(),
        ..deep()
    };
    check(
        expecting(&[("x-state", "fine"), ("content-type", "text/plain")]),
        None,
    )
    .await;
    check(
        expecting(&[("x-state", "fine"), ("content-type", "text/html")]),
        Some("the answer is not as expected: its field `content-type` is `text/plain`, not `text/html`"),
    )
    .await;
    check(
        expecting(&[("x-none", "1")]),
        Some("it has no field `x-none`"),
    )
    .await;
    let other = HttpProbe {
        expect_body: Some("ready".into()),
        ..deep()
    };
    let problem = "its body does not contain `ready`: `state: fine`";
    check(other, Some(problem)).await;
    let bodiless = HttpProbe {
        body: None,
        ..deep()
    };
    check(bodiless, Some("its body does not contain `fine`: `wrong`")).await;
}

#[tokio::test]
async fn the_answer_to_head_has_no_body_to_wait_for() {
    for (version, protocol) in BOTH {
        let server = Server::of(None, version, |request| {
            assert_eq!(request.method(), Method::HEAD);
            let response = Response::builder().header("content-length", "500");
            response.body(Full::default().boxed()).unwrap()
        })
        .await;
        let head = HttpProbe {
            method: Method::HEAD,
            ..HttpProbe::default()
        };
        let probe = Probe {
            kind: ProbeKind::Http(head),
            ..patient()
        };
        let mut spec = Spec::new(&[&server.address], probe);
        spec.connection.protocol = protocol;
        let scene = Scene::start(&spec);
        until(|| server.requests() >= 12, || "checks go on".into()).await;
        assert!(server.connections() <= 2, "{}", server.connections());
        scene.assert_no_failure();
    }
}

#[tokio::test]
async fn a_probe_may_have_a_port_of_its_own() {
    let server = Server::start().await;
    let (_socket, endpoint) = refusing();
    let port = server.address.rsplit_once(':').unwrap().1.parse().ok();
    for probe in [http_probe(), tcp_probe()] {
        let probe = Probe { port, ..probe };
        let scene = Scene::start(&Spec::new(&[&endpoint], probe));
        scene.becomes(&endpoint, Health::Healthy).await;
        scene.assert_no_failure();
    }
}

fn with_tls(tls: ProbeTls) -> Probe {
    Probe {
        tls: Some(tls),
        ..http_probe()
    }
}

#[tokio::test]
async fn a_probe_may_secure_its_connection_in_its_own_way() {
    for (alpn, (version, protocol)) in ["http/1.1", "h2"].into_iter().zip(BOTH) {
        let (root, acceptor) = authority("root", alpn);
        let (other, _) = authority("other", alpn);
        let server = Server::with(Some(acceptor), version).await;
        let check = async |roots: &str, name, upstream, problem: Option<&str>| {
            let tls = ProbeTls::On(settings(roots, name));
            let mut spec = Spec::new(&[&server.address], with_tls(tls));
            spec.connection.protocol = protocol;
            spec.connection.tls = upstream;
            let mut scene = Scene::start(&spec);
            match problem {
                None => scene.becomes(&server.address, Health::Healthy).await,
                Some(problem) => {
                    let (_, found) = scene.endpoint_news().await;
                    assert!(found.contains(problem), "{found}");
                }
            }
        };
        let name = Some("probe.test");
        check(&root, name, None, None).await;
        let upstreams = || Some(settings(&other, Some("users.test")));
        check(&root, name, upstreams(), None).await;
        check(&root, Some("users.test"), None, Some("not valid for name")).await;
        check(&other, name, None, Some("UnknownIssuer")).await;
    }
}

#[tokio::test]
async fn a_probe_may_be_in_the_clear() {
    let server = Server::start().await;
    let (root, _) = authority("root", "http/1.1");
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Auto] {
        let mut spec = Spec::new(&[&server.address], with_tls(ProbeTls::Off));
        spec.connection.protocol = protocol;
        spec.connection.tls = Some(settings(&root, None));
        let scene = Scene::start(&spec);
        scene.becomes(&server.address, Health::Healthy).await;
    }
}

#[tokio::test]
async fn a_probe_may_show_a_certificate() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["probe.client".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (root, acceptor) = wanting_clients(certificate.der());
    let server = Server::with(Some(acceptor), http::Version::HTTP_11).await;
    let shown = UpstreamTls {
        client_identity: Some(ClientIdentity {
            chain: certificate.pem().into(),
            key: key.serialize_pem().into(),
        }),
        ..settings(&root, Some("probe.test"))
    };
    let spec = |tls| Spec::new(&[&server.address], with_tls(ProbeTls::On(tls)));
    let scene = Scene::start(&spec(shown));
    scene.becomes(&server.address, Health::Healthy).await;
    let mut scene = Scene::start(&spec(settings(&root, Some("probe.test"))));
    let (health, found) = scene.endpoint_news().await;
    assert_eq!(health, Health::Unhealthy, "{found}");
}
