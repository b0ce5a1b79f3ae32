//! Connections that stay between checks: when they do, when they must not, and that nobody is
//! misjudged by them.

use std::time::Duration;

use tidegate_core::Health;
use tidegate_core::plan::{Probe, UpstreamProtocol};
use tidegate_lab::{Action, RawUpstream};

use crate::server::Server;
use crate::support::{Scene, Spec, patient, tcp_probe, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// As fast as checks get, one at a time.
fn hasty() -> Probe {
    Probe {
        interval: Duration::from_millis(10),
        ..patient()
    }
}

/// One endpoint that plays `scripts`, and its prober.
async fn scene(scripts: Vec<Vec<Action>>, probe: Probe) -> (RawUpstream, Scene) {
    let raw = RawUpstream::start(scripts).await.unwrap();
    let spec = Spec::new(&[&raw.addr().to_string()], probe);
    (raw, Scene::start(&spec))
}

/// Requests that came by each connection.
fn requests(raw: &RawUpstream) -> Vec<usize> {
    let heads = |index| {
        let bytes = raw.received(index).unwrap_or_default();
        bytes
            .windows(4)
            .filter(|window| window == b"\r\n\r\n")
            .count()
    };
    (0..raw.connections()).map(heads).collect()
}

/// `enough` must stay true: the next connection may come before this looks again.
async fn until_requests(raw: &RawUpstream, enough: impl Fn(&[usize]) -> bool) -> Vec<usize> {
    until(|| enough(&requests(raw)), || format!("{:?}", requests(raw))).await;
    requests(raw)
}

/// These answers, each to a request of its own, and then silence.
fn answers(answers: &[&str]) -> Vec<Action> {
    let each = answers.iter().flat_map(Action::answer);
    each.chain([Action::Stall]).collect()
}

#[tokio::test]
async fn many_checks_share_a_connection_and_some_connect_anew() {
    let (raw, scene) = scene(vec![answers(&[OK; 40])], hasty()).await;
    // When the second connection comes is drawn.
    let seen = until_requests(&raw, |seen| seen.len() >= 5).await;
    assert_eq!(seen[1..4], [32; 3], "{seen:?}");
    assert!((1..=32).contains(&seen[0]), "{seen:?}");
    scene.assert_no_failure();
    let all_but_the_last = || (0..4).all(|index| raw.peer_ended(index));
    until(all_but_the_last, || "the others are closed".into()).await;
}

#[tokio::test]
async fn answers_that_end_let_the_connection_stay() {
    for answer in [
        OK,
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (raw, scene) = scene(vec![answers(&[answer; 40])], hasty()).await;
        let shared = |seen: &[usize]| seen.iter().any(|requests| *requests > 4);
        until_requests(&raw, shared).await;
        scene.assert_no_failure();
    }
}

/// Every check connects, and succeeds.
async fn check_alone(answer: &str) {
    let (raw, scene) = scene(vec![answers(&[answer])], hasty()).await;
    let seen = until_requests(&raw, |seen| seen.len() >= 5).await;
    assert_eq!(seen[..4], [1; 4], "{answer:.80}");
    scene.assert_no_failure();
}

#[tokio::test]
async fn a_connection_that_is_to_end_is_not_used_again() {
    for head in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\n",
        "HTTP/1.1 200 OK\r\nconnection: x, Close\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n",
    ] {
        check_alone(&format!("{head}content-length: 2\r\n\r\nok")).await;
    }
}

#[tokio::test]
async fn bytes_behind_the_answer_end_the_connection() {
    check_alone(&format!("{OK}x")).await;
    check_alone(&format!("{OK}{OK}")).await;
    check_alone("HTTP/1.1 204 No Content\r\n\r\nbody").await;
}

#[tokio::test]
async fn bytes_that_come_later_end_it_too() {
    let mut script = Action::answer(OK);
    script.extend([
        Action::Pause(Duration::from_millis(1)),
        Action::send("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"),
        Action::Stall,
    ]);
    let (raw, scene) = scene(vec![script], patient()).await;
    let seen = until_requests(&raw, |seen| seen.len() >= 5).await;
    assert_eq!(seen[..4], [1; 4]);
    scene.assert_no_failure();
}

#[tokio::test]
async fn a_body_without_end_is_let_go() {
    let mebibytes = "x".repeat(4 << 20);
    for framing in [
        "",
        "content-length: 999999999999\r\n",
        "transfer-encoding: chunked\r\n",
    ] {
        let chunk = if framing.starts_with('t') {
            "fffffff\r\n"
        } else {
            ""
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n{chunk}{mebibytes}");
        check_alone(&answer).await;
    }
    // Or is it 64 KB long, and ends?
    let long = "x".repeat(100_000);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{long}");
    check_alone(&answer).await;
}

#[tokio::test]
async fn a_head_without_end_is_a_failure() {
    let field = format!("x: {}\r\n", "y".repeat(1_000));
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    for answer in [
        format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(4 << 20)),
        format!("HTTP/1.1 200 OK\r\n{}", field.repeat(1_000)),
        interim.repeat(10_000),
    ] {
        // Nothing of it takes the ten seconds that a check has.
        let (_raw, mut scene) = scene(vec![answers(&[&answer])], hasty()).await;
        let (health, evidence) = scene.endpoint_news().await;
        assert_eq!(health, Health::Unhealthy);
        assert!(evidence.contains("no valid answer: "), "{evidence}");
    }
}

#[tokio::test]
async fn a_failure_on_a_kept_connection_is_asked_about_on_a_new_one() {
    let refusal = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no";
    let unanswered = |end: Action| {
        let asked_again = [Action::ReadHead, end];
        Action::answer(OK).into_iter().chain(asked_again).collect()
    };
    let endings: [Vec<Action>; 7] = [
        // Found closed before anything is sent.
        [Action::answer(OK), vec![Action::Close]].concat(),
        // The request and its end cross.
        unanswered(Action::Close),
        unanswered(Action::Reset),
        // Whoever holds the old connection is on its way out.
        answers(&[OK, refusal]),
        answers(&[OK, "nonsense\r\n\r\n"]),
        [
            answers(&[OK])[..2].to_vec(),
            Action::answer(half),
            vec![Action::Close],
        ]
        .concat(),
        // The network has forgotten it; noticed after half the time.
        answers(&[OK]),
    ];
    for script in endings {
        let probe = Probe {
            timeout: Duration::from_secs(2),
            ..hasty()
        };
        let (raw, scene) = scene(vec![script.clone()], probe).await;
        let seen = until_requests(&raw, |seen| seen.len() >= 4).await;
        assert!(seen[..3].iter().all(|requests| *requests <= 2), "{seen:?}");
        scene.assert_no_failure();
        scene
            .becomes(&raw.addr().to_string(), Health::Healthy)
            .await;
    }
}

#[tokio::test]
async fn what_comes_late_on_a_kept_connection_still_counts() {
    // Later than half the time: a new connection is tried then, which cannot be answered in time.
    let slow = [
        Action::ReadHead,
        Action::Pause(Duration::from_millis(1_300)),
        Action::send(OK),
    ];
    let probe = Probe {
        timeout: Duration::from_secs(2),
        ..hasty()
    };
    let (raw, scene) = scene(vec![vec![slow; 40].concat()], probe).await;
    until_requests(&raw, |seen| seen.iter().any(|requests| *requests >= 3)).await;
    scene.assert_no_failure();
}

#[tokio::test]
async fn only_what_a_new_connection_says_is_a_failure() {
    let (raw, mut scene) = scene(vec![answers(&[OK; 40])], hasty()).await;
    let address = raw.addr().to_string();
    scene.becomes(&address, Health::Healthy).await;
    // Ends the connections, and nobody listens any more.
    drop(raw);
    let (health, evidence) = loop {
        let (health, evidence) = scene.endpoint_news().await;
        if health == Health::Unhealthy {
            break (health, evidence);
        }
    };
    assert_eq!(health, Health::Unhealthy);
    assert!(
        evidence.contains("cannot connect: Connection refused"),
        "{evidence}"
    );
}

#[tokio::test]
async fn who_is_not_well_is_asked_on_new_connections() {
    let refusal = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let (raw, scene) = scene(vec![answers(&[refusal; 40])], hasty()).await;
    let seen = until_requests(&raw, |seen| seen.len() >= 5).await;
    assert_eq!(seen[..4], [1; 4]);
    scene
        .becomes(&raw.addr().to_string(), Health::Unhealthy)
        .await;
}

#[tokio::test]
async fn a_tcp_probe_always_connects() {
    let probe = Probe {
        interval: Duration::from_millis(10),
        ..tcp_probe()
    };
    let (raw, scene) = scene(vec![vec![Action::Stall]], probe).await;
    until(|| raw.connections() >= 5, || "a connection each".into()).await;
    until(|| raw.peer_ended(3), || "and closed".into()).await;
    scene.assert_no_failure();
}

#[tokio::test]
async fn http2_connections_stay_too() {
    let server = Server::with(None, http::Version::HTTP_2).await;
    let mut spec = Spec::new(&[&server.address], patient());
    spec.connection.protocol = UpstreamProtocol::Http2;
    let scene = Scene::start(&spec);
    until(
        || server.requests() >= 12,
        || format!("{} checks", server.requests()),
    )
    .await;
    assert!(server.connections() <= 2, "{}", server.connections());
    scene.assert_no_failure();
}

#[tokio::test]
async fn a_plan_keeps_the_connections_of_who_stays_and_closes_the_others() {
    let scripts = || vec![answers(&[OK; 40])];
    let (stays, goes) = (
        RawUpstream::start(scripts()).await.unwrap(),
        RawUpstream::start(scripts()).await.unwrap(),
    );
    let [staying, going] = [&stays, &goes].map(|raw| raw.addr().to_string());
    let scene = Scene::start(&Spec::new(&[&staying, &going], patient()));
    until_requests(&goes, |seen| seen.first().is_some_and(|first| *first >= 1)).await;
    let before = until_requests(&stays, |seen| seen.first().is_some_and(|first| *first >= 1)).await;
    scene.change(&Spec::new(&[&staying], patient()));
    until(
        || (0..goes.connections()).all(|index| goes.peer_ended(index)),
        || "closed with the endpoint".into(),
    )
    .await;
    let last = before.len() - 1;
    until_requests(&stays, |seen| {
        seen[last] > before[last] || seen.len() > last + 1
    })
    .await;
    // At most the one in so many that connects anyway.
    assert!(stays.connections() <= before.len() + 1);
    scene.assert_no_failure();
}
