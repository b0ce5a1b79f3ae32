//! Probes by the gRPC health protocol.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tidegate_core::Health;
use tidegate_core::plan::{Probe, ProbeKind, UpstreamProtocol};

use crate::server::{Answer, Script, Server};
use crate::support::{Scene, Spec, patient, until};
use crate::tls::{authority, settings};

const H2: http::Version = http::Version::HTTP_2;
const CHECK: &str = "/grpc.health.v1.Health/Check";

fn probe(service: &str) -> Probe {
    let kind = ProbeKind::Grpc {
        service: service.into(),
        host: Some("probe.test".into()),
    };
    Probe { kind, ..patient() }
}

/// A message, then the status in trailers.
fn message(bytes: &'static [u8]) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::from(bytes).with_trailers(async { Some(Ok(trailers)) });
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body.boxed()).unwrap()
}

/// The status among the headers, and nothing else.
fn status(code: &'static str) -> Answer {
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", code)
        .header("grpc-message", "as asked");
    response.body(Full::default().boxed()).unwrap()
}

/// As servers do: it knows itself and two services, one of which does not serve.
fn health(request: &Request<Bytes>) -> Answer {
    let headers = request.headers();
    let right = request.method() == Method::POST
        && request.uri().path() == CHECK
        && request
            .uri()
            .authority()
            .is_some_and(|host| host == "probe.test")
        && headers["te"] == "trailers"
        && headers["content-type"] == "application/grpc"
        && headers["grpc-timeout"] == "10000m";
    match &**request.body() {
        _ if !right => status("12"),
        b"\0\0\0\0\0" => message(b"\0\0\0\0\x02\x08\x01"),
        b"\0\0\0\0\x06\x0a\x04shop" => message(b"\0\0\0\0\x02\x08\x01"),
        b"\0\0\0\0\x06\x0a\x04idle" => message(b"\0\0\0\0\x02\x08\x02"),
        _ => status("5"),
    }
}

fn spec(server: &Server, service: &str) -> Spec {
    Spec::new(&[&server.address], probe(service))
}

#[tokio::test]
async fn what_a_server_says_of_a_service_counts() {
    let server = Server::of(None, H2, |request| health(&request)).await;
    for service in ["", "shop"] {
        let scene = Scene::start(&spec(&server, service));
        scene.becomes(&server.address, Health::Healthy).await;
    }
    for (service, problem) in [
        ("idle", "the server says NOT_SERVING of `idle`"),
        (
            "none",
            "the server does not know the service `none` (NOT_FOUND)",
        ),
    ] {
        let (health, found) = Scene::start(&spec(&server, service)).endpoint_news().await;
        assert_eq!(health, Health::Unhealthy);
        assert!(found.ends_with(problem), "{found}");
    }
}

#[tokio::test]
async fn connections_stay_between_calls() {
    let server = Server::of(None, H2, |request| health(&request)).await;
    let scene = Scene::start(&spec(&server, "shop"));
    until(|| server.requests() >= 12, || "checks go on".into()).await;
    assert!(server.connections() <= 2, "{}", server.connections());
    scene.assert_no_failure();
}

#[tokio::test]
async fn h2_is_agreed_on_whatever_requests_speak() {
    let (root, acceptor) = authority("root", "h2");
    let server = Server::of(Some(acceptor), H2, |request| health(&request)).await;
    for protocol in [UpstreamProtocol::Auto, UpstreamProtocol::Http1] {
        let mut spec = spec(&server, "");
        spec.connection.tls = Some(settings(&root, Some("probe.test")));
        spec.connection.protocol = protocol;
        let scene = Scene::start(&spec);
        scene.becomes(&server.address, Health::Healthy).await;
    }
    let (root, acceptor) = authority("root", "http/1.1");
    let server = Server::with(Some(acceptor), http::Version::HTTP_11).await;
    let mut spec = spec(&server, "");
    spec.connection.tls = Some(settings(&root, Some("probe.test")));
    let (_, found) = Scene::start(&spec).endpoint_news().await;
    assert!(found.contains("TLS failed: "), "{found}");
}

#[tokio::test]
async fn who_does_not_speak_the_protocol_is_told_so() {
    async fn check(server: Server, problem: &str) {
        let (health, found) = Scene::start(&spec(&server, "shop")).endpoint_news().await;
        assert_eq!(health, Health::Unhealthy);
        assert!(found.ends_with(problem), "{found}");
    }
    let no_such = "the server has no `grpc.health.v1.Health` (UNIMPLEMENTED)";
    check(Server::of(None, H2, |_| status("12")).await, no_such).await;
    let down = "status 14 (UNAVAILABLE): `as asked`";
    check(Server::of(None, H2, |_| status("14")).await, down).await;
    let plain = "no valid answer: it has no `grpc-status`; is this a gRPC server?";
    let page = |_| Response::new(Full::from("<html>").boxed());
    check(Server::of(None, H2, page).await, plain).await;
    let missing = |_| {
        let response = Response::builder().status(404);
        response.body(Full::default().boxed()).unwrap()
    };
    check(
        Server::of(None, H2, missing).await,
        "answered with status 404",
    )
    .await;
    let long = |_| Response::new(Full::from(vec![0; 200_000]).boxed());
    check(
        Server::of(None, H2, long).await,
        "no valid answer: it does not end",
    )
    .await;
}

#[tokio::test]
async fn a_server_of_http1_is_no_grpc_server() {
    let endpoint = Script::start("HTTP/1.1 400 Bad Request\r\n\r\n", true).await;
    let spec = Spec::new(&[&endpoint.address], probe(""));
    let (health, found) = Scene::start(&spec).endpoint_news().await;
    assert_eq!(health, Health::Unhealthy);
    assert!(found.contains("no valid answer: "), "{found}");
}
