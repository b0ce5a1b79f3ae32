//! What single endpoints can be like, and what is found.

use tidegate_core::Health;
use tidegate_core::plan::{Probe, UpstreamProtocol};
use tidegate_telemetry::labels::{Label, ProbeResult};

use crate::server::{Script, Server, refusing};
use crate::support::{Scene, Spec, http_probe, impatient, tcp_probe};

/// The endpoint is found out, for this reason, and counted so.
async fn check(address: &str, probe: Probe, result: ProbeResult, evidence: &str) {
    let mut scene = Scene::start(&Spec::new(&[address], probe));
    if result == ProbeResult::Success {
        scene.becomes(address, Health::Healthy).await;
    } else {
        let (health, found) = scene.endpoint_news().await;
        assert_eq!(health, Health::Unhealthy);
        assert!(
            found.contains(evidence),
            "{found:?} should contain {evidence:?}"
        );
    }
    let label = format!("result=\"{}\"", result.word());
    assert!(
        scene.metrics.render(None).contains(&label),
        "{label} is counted"
    );
}

#[tokio::test]
async fn an_endpoint_that_works_is_healthy() {
    let server = Server::start().await;
    check(&server.address, http_probe(), ProbeResult::Success, "").await;
    check(&server.address, tcp_probe(), ProbeResult::Success, "").await;
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // The name may stand for ::1 first, where nobody listens.
    let server = Server::start().await;
    let address = server.address.replace("127.0.0.1", "localhost");
    check(&address, http_probe(), ProbeResult::Success, "").await;
}

#[tokio::test]
async fn an_unexpected_status_is_a_failure() {
    let server = Server::start().await;
    for status in [301, 404, 500, 503] {
        server.answer_with(status);
        let evidence = format!("answered with status {status}");
        check(
            &server.address,
            http_probe(),
            ProbeResult::Status,
            &evidence,
        )
        .await;
    }
}

#[tokio::test]
async fn a_refusal_is_a_failure() {
    let (_socket, address) = refusing();
    for probe in [http_probe(), tcp_probe()] {
        check(
            &address,
            probe,
            ProbeResult::Connect,
            "cannot connect: Connection refused",
        )
        .await;
    }
}

#[tokio::test]
async fn silence_is_a_failure() {
    let silent = Script::start("", false).await;
    let slow = Script::start("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nslow", false).await;
    for endpoint in [silent, slow] {
        let evidence = "no complete answer within 60ms";
        check(
            &endpoint.address,
            impatient(http_probe()),
            ProbeResult::Timeout,
            evidence,
        )
        .await;
    }
}

#[tokio::test]
async fn nonsense_is_a_failure() {
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let answers = [
        "",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nends",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        &huge,
    ];
    for answer in answers {
        let endpoint = Script::start(answer, true).await;
        check(
            &endpoint.address,
            http_probe(),
            ProbeResult::Protocol,
            "no valid answer: ",
        )
        .await;
    }
}

#[tokio::test]
async fn an_endless_answer_is_read_only_so_far() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(200_000));
    let endpoint = Script::start(endless, false).await;
    check(&endpoint.address, http_probe(), ProbeResult::Success, "").await;
}

#[tokio::test]
async fn a_name_without_an_address_is_a_failure() {
    // Longer than a label may be, so that no resolver has to be asked.
    let address = format!("{}.invalid:80", "x".repeat(64));
    check(
        &address,
        http_probe(),
        ProbeResult::Resolve,
        "cannot resolve the name: ",
    )
    .await;
}

#[tokio::test]
async fn http2_by_prior_knowledge() {
    let server = Server::with(None, http::Version::HTTP_2).await;
    let mut spec = Spec::new(&[&server.address], http_probe());
    spec.connection.protocol = UpstreamProtocol::Http2;
    let mut scene = Scene::start(&spec);
    scene.becomes(&server.address, Health::Healthy).await;
    server.answer_with(503);
    assert_eq!(scene.endpoint_news().await.0, Health::Unhealthy);
}

#[tokio::test]
async fn http1_is_not_taken_for_http2() {
    let server = Server::start().await;
    let mut spec = Spec::new(&[&server.address], http_probe());
    spec.connection.protocol = UpstreamProtocol::Http2;
    let (health, evidence) = Scene::start(&spec).endpoint_news().await;
    assert_eq!(health, Health::Unhealthy);
    assert!(evidence.contains("no valid answer: "), "{evidence}");
}
