//! The client's books: what is right, what is wrong and how, and that nothing is missing.

use std::time::Duration;

use http::StatusCode;
use tidegate_lab::client::{Fault, Framing, Outcome, SpecError, WrongBody};
use tidegate_lab::{
    Action, Behaviour, Client, ClientSpec, Expect, Latency, Link, LinkSpec, Mode, Pace, Protocol,
    RawUpstream, RequestSpec, Snapshot, content, wait_until,
};

use crate::support::{PATIENCE, patiently, region};

const MS: Duration = Duration::from_millis(1);

fn spec(target: std::net::SocketAddr, mix: Vec<RequestSpec>) -> ClientSpec {
    ClientSpec {
        requests: Some(20),
        mix,
        ..ClientSpec::new(target, "lab.test")
    }
}

async fn run(spec: ClientSpec) -> Snapshot {
    let report = patiently(Client::start(spec).unwrap().finish()).await;
    report.check_balance().unwrap();
    assert_eq!(report.in_flight, 0);
    report
}

/// Runs 20 requests that must all end the same way.
async fn check(spec: ClientSpec, expected: Outcome) {
    let report = run(spec).await;
    assert_eq!(
        report.outcomes.get(&expected),
        Some(&20),
        "{expected:?}: {:?}",
        report.outcomes
    );
}

#[tokio::test]
async fn right_answers_are_counted_on_both_versions() {
    let region = region("eu").await;
    let mut chunked = RequestSpec::echo(70_000);
    chunked.framing = Framing::Chunked;
    let mix = vec![
        RequestSpec::content(100_000),
        RequestSpec::echo(10_000),
        RequestSpec::digest(10_000),
        chunked,
        RequestSpec::get("/"),
    ];
    for protocol in [Protocol::H1, Protocol::H2] {
        let mut spec = spec(region.addr(), mix.clone());
        spec.protocol = protocol;
        spec.requests = Some(100);
        let report = run(spec).await;
        assert_eq!(
            (report.ok(), report.sent),
            (100, 100),
            "{protocol:?} {:?}",
            report.outcomes
        );
        assert_eq!(report.regions["eu"], 100);
        assert_eq!(report.latency.len(), 100);
        assert!(report.connections <= 8, "{}", report.connections);
    }
    let seen = region.snapshot();
    assert_eq!(
        (seen.requests_total(), seen.ids, seen.duplicates),
        (200, 200, 0)
    );
}

#[tokio::test]
async fn connections_are_kept() {
    let region = region("eu").await;
    let mut one = spec(region.addr(), vec![RequestSpec::get("/")]);
    one.concurrency = 1;
    assert_eq!(run(one).await.connections, 1);
    assert_eq!(region.snapshot().connections, 1);
}

#[tokio::test]
async fn wrong_statuses_are_counted_by_code() {
    let region = region("eu").await;
    check(
        spec(region.addr(), vec![RequestSpec::get("/status/503")]),
        Outcome::WrongStatus(503),
    )
    .await;
    let wanted = RequestSpec {
        status: 404,
        ..RequestSpec::get("/status/404")
    };
    check(spec(region.addr(), vec![wanted]), Outcome::Ok).await;
}

#[tokio::test]
async fn wrong_bodies_are_caught() {
    let region = region("eu").await;
    let body = |path: &str, expect| {
        vec![RequestSpec {
            expect,
            ..RequestSpec::get(path)
        }]
    };
    let content = |bytes| Expect::Content {
        seed: content::SEED,
        bytes,
    };
    let hash = Expect::Sha256 {
        hex: content::sha256_hex(1, 50),
        bytes: 50,
    };
    let cases = [
        (body("/bytes/50", content(51)), WrongBody::Short),
        (body("/bytes/50", content(49)), WrongBody::Long),
        (
            body("/bytes/50", Expect::Content { seed: 1, bytes: 50 }),
            WrongBody::Differs,
        ),
        (body("/bytes/50", hash), WrongBody::Differs),
        (body("/bytes/50", Expect::Length(40)), WrongBody::Long),
    ];
    for (mix, expected) in cases {
        check(spec(region.addr(), mix), Outcome::WrongBody(expected)).await;
    }
}

#[tokio::test]
async fn a_spliced_body_is_caught_at_the_byte() {
    let mut body = content::bytes(content::SEED, 0, 600).to_vec();
    body.extend(content::bytes(7, 600, 400));
    let answer = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
        &body[..],
    ]
    .concat();
    let upstream = RawUpstream::start(vec![Action::answer(answer)])
        .await
        .unwrap();
    let report = run(spec(upstream.addr(), vec![RequestSpec::content(1000)])).await;
    assert_eq!(report.wrong_bodies(), 20);
    let at = report.incidents[0].wrong_at.unwrap();
    let expected = 600
        + (600..1000)
            .zip(content::bytes(7, 600, 400))
            .position(|(at, byte)| content::bytes(content::SEED, at, 1)[0] != byte)
            .unwrap() as u64;
    assert_eq!(at, expected);
}

#[tokio::test]
async fn broken_transport_is_sorted() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
    let cases = [
        (vec![Action::Reset], Fault::Reset),
        (vec![Action::Close], Fault::Closed),
        (
            vec![Action::send("nonsense\r\n\r\n"), Action::Close],
            Fault::Protocol,
        ),
        (vec![Action::send(head), Action::Close], Fault::Body),
    ];
    for (script, expected) in cases {
        let script = [vec![Action::ReadHead], script].concat();
        let upstream = RawUpstream::start(vec![script]).await.unwrap();
        let spec = spec(upstream.addr(), vec![RequestSpec::get("/")]);
        check(spec, Outcome::Transport(expected)).await;
    }
}

#[tokio::test]
async fn a_closed_port_is_a_connect_fault() {
    let region = region("eu").await;
    let link = Link::start(region.addr(), LinkSpec::default())
        .await
        .unwrap();
    link.set(Mode::Refuse).await.unwrap();
    let fault = Outcome::Transport(Fault::Connect);
    check(spec(link.addr(), vec![RequestSpec::get("/")]), fault).await;
}

#[tokio::test]
async fn a_failed_request_is_never_sent_again() {
    let upstream = RawUpstream::start(vec![vec![Action::ReadHead, Action::Reset]])
        .await
        .unwrap();
    let report = run(spec(upstream.addr(), vec![RequestSpec::get("/")])).await;
    assert_eq!(
        (report.sent, report.failed(), upstream.connections()),
        (20, 20, 20)
    );
}

#[tokio::test]
async fn h2_connections_die_and_are_replaced() {
    let region = region("eu").await;
    let link = Link::start(region.addr(), LinkSpec::default())
        .await
        .unwrap();
    let mix = vec![RequestSpec::get("/")];
    let mut endless = ClientSpec {
        requests: None,
        ..spec(link.addr(), mix)
    };
    endless.protocol = Protocol::H2;
    endless.pace = Pace::Open { per_second: 500.0 };
    let client = Client::start(endless).unwrap();
    wait_until("first answers", PATIENCE, || async {
        client.snapshot().ok() > 10
    })
    .await
    .unwrap();
    link.set(Mode::Reset).await.unwrap();
    wait_until("failures", PATIENCE, || async {
        client.snapshot().failed() > 10
    })
    .await
    .unwrap();
    link.set(Mode::Up).await.unwrap();
    let before = client.snapshot();
    wait_until("recovery", PATIENCE, || async {
        client.snapshot().since(&before).ok() > 10
    })
    .await
    .unwrap();
    let report = client.stop().await;
    report.check_balance().unwrap();
    assert_eq!(report.in_flight, 0);
    let broken = report.count(|outcome| matches!(outcome, Outcome::Transport(_)));
    assert_eq!(broken, report.failed(), "{:?}", report.outcomes);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let upstream = RawUpstream::start(vec![]).await.unwrap();
    let mut silent = spec(upstream.addr(), vec![RequestSpec::get("/")]);
    silent.timeout = 30 * MS;
    check(silent, Outcome::TimedOut).await;
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
    let script = vec![Action::ReadHead, Action::send(half), Action::Stall];
    let upstream = RawUpstream::start(vec![script]).await.unwrap();
    let mut halfway = spec(upstream.addr(), vec![RequestSpec::get("/")]);
    halfway.timeout = 30 * MS;
    check(halfway, Outcome::TimedOut).await;
}

#[tokio::test]
async fn latency_counts_from_the_intended_time() {
    let region = region("eu").await;
    region.set(Behaviour {
        latency: Latency::Fixed(50 * MS),
        ..Behaviour::default()
    });
    let mut slow = spec(region.addr(), vec![RequestSpec::get("/")]);
    slow.concurrency = 1;
    slow.pace = Pace::Open { per_second: 200.0 };
    slow.slow_after = 400 * MS;
    let report = run(slow).await;
    // One worker, 50 ms each, meant 5 ms apart: the 20th ends 1000 ms after the start, meant for 95 ms.
    assert!(report.latency.max() >= 890_000, "{}", report.latency.max());
    assert!(
        report
            .incidents
            .iter()
            .all(|incident| incident.outcome == Outcome::Ok)
    );
    assert!(report.incidents.len() >= 9, "{}", report.incidents.len());
}

#[tokio::test]
async fn a_snapshot_balances_while_requests_run() {
    let region = region("eu").await;
    region.change(|behaviour| behaviour.latency = Latency::Fixed(20 * MS));
    let mix = vec![RequestSpec::content(1000), RequestSpec::get("/status/500")];
    let client = Client::start(ClientSpec {
        requests: None,
        ..spec(region.addr(), mix)
    })
    .unwrap();
    wait_until("both outcomes while in flight", PATIENCE, || async {
        let now = client.snapshot();
        now.check_balance().unwrap();
        now.ok() > 5 && now.failed() > 5 && now.in_flight > 0
    })
    .await
    .unwrap();
    let report = client.stop().await;
    report.check_balance().unwrap();
    let seconds: u64 = report
        .seconds
        .iter()
        .map(|second| second.ok + second.failed)
        .sum();
    assert_eq!((report.in_flight, seconds), (0, report.sent));
    let json = serde_json::to_value(report.summary()).unwrap();
    assert_eq!(json["ok"], report.ok());
    assert_eq!(json["wrong_status"], report.failed());
}

#[tokio::test]
async fn errors_made_up_by_the_region_are_all_seen() {
    let region = region("eu").await;
    region.set(Behaviour {
        error_rate: 0.5,
        error_status: StatusCode::BAD_GATEWAY,
        ..Behaviour::default()
    });
    let mut spec = spec(region.addr(), vec![RequestSpec::content(10)]);
    spec.requests = Some(200);
    let report = run(spec).await;
    let errors = report.outcomes[&Outcome::WrongStatus(502)];
    assert_eq!((errors + report.ok(), report.outcomes.len()), (200, 2));
    assert_eq!(region.snapshot().requests_total(), 200);
}

#[tokio::test]
async fn an_impossible_specification_is_refused() {
    let region = region("eu").await;
    let refused = Client::start(spec(region.addr(), Vec::new())).err();
    assert_eq!(refused, Some(SpecError::Mix));
}

#[tokio::test]
async fn dropping_a_client_closes_its_connections() {
    let region = region("eu").await;
    region.change(|behaviour| behaviour.latency = Latency::Fixed(PATIENCE));
    let client = Client::start(spec(region.addr(), vec![RequestSpec::get("/")])).unwrap();
    wait_until("eight in flight", PATIENCE, || async {
        region.snapshot().in_flight == 8
    })
    .await
    .unwrap();
    drop(client);
    wait_until("all gone", PATIENCE, || async {
        region.snapshot().connections_open == 0
    })
    .await
    .unwrap();
}
