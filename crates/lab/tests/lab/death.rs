//! Regions that die within a request: what had arrived by then, to the byte, and how it ended.

use std::io::ErrorKind;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::Full;
use tidegate_lab::client::{Fault, Outcome};
use tidegate_lab::{
    Client, ClientSpec, Cut, Death, Ending, Leave, Protocol, Region, RequestSpec, content,
    wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

async fn dying(death: Death) -> Region {
    let region = region("eu").await;
    region.change(|behaviour| behaviour.death = Some(death));
    region
}

/// Everything that came over HTTP/1.1 until the end, and the end: an error's kind, or none for FIN.
async fn last_words(region: Region, request: &[u8], how: Cut) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = TcpStream::connect(region.addr()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut got = Vec::new();
    if how == Cut::BlackHole {
        let arrived = || async { region.snapshot().in_flight == 1 };
        wait_until("arrival", PATIENCE, arrived).await.unwrap();
        // Silent until its end, which is the test's.
        drop(region);
        let _ = patiently(stream.read_to_end(&mut got)).await;
        return (got, None);
    }
    let ended = patiently(stream.read_to_end(&mut got)).await;
    (got, ended.err().map(|error| error.kind()))
}

fn expected_end(how: Cut) -> Option<ErrorKind> {
    (how == Cut::Reset).then_some(ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn an_answer_ends_behind_the_byte() {
    for how in [Cut::Reset, Cut::Fin] {
        for after in [0, 1, 20_000, 65_536, 99_999] {
            let region = dying(Death::InAnswer { after, how }).await;
            let request = b"GET /bytes/100000 HTTP/1.1\r\nhost: a\r\n\r\n";
            let (got, end) = last_words(region, request, how).await;
            let head = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            assert!(got.starts_with(b"HTTP/1.1 200"), "{how:?} {after}");
            let len = usize::try_from(after).unwrap();
            assert_eq!(
                got[head..],
                content::bytes(content::SEED, 0, len),
                "{how:?}"
            );
            assert_eq!(end, expected_end(how), "{how:?} {after}");
        }
    }
}

#[tokio::test]
async fn a_silent_answer_stops_behind_the_byte() {
    let how = Cut::BlackHole;
    let region = dying(Death::InAnswer { after: 70_000, how }).await;
    let mut stream = TcpStream::connect(region.addr()).await.unwrap();
    let request = b"GET /bytes/100000 HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let last = content::bytes(content::SEED, 69_900, 100);
    let got = read_until(&mut stream, &last).await;
    assert!(got.ends_with(&last));
    let mut rest = Vec::new();
    drop(region);
    let _ = patiently(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn nothing_comes_where_the_head_is_the_end() {
    for how in [Cut::Reset, Cut::Fin, Cut::BlackHole] {
        let region = dying(Death::AtHead(Ending::Cut(how))).await;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let (got, end) = last_words(region, request, how).await;
        assert!(got.is_empty(), "{how:?}");
        assert_eq!(end, expected_end(how), "{how:?}");
    }
}

#[tokio::test]
async fn an_upload_is_read_to_the_byte() {
    for how in [Cut::Reset, Cut::BlackHole] {
        let after = 50_000;
        let ending = Ending::Cut(how);
        let region = dying(Death::InUpload { after, how: ending }).await;
        let head = b"PUT /sha256 HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";
        let upload = content::bytes(1, 0, 50_000);
        let (got, _) = last_words(region, &[head, &upload[..]].concat(), how).await;
        assert!(got.is_empty(), "{how:?}");
    }
    let whole = Death::InUpload {
        after: 100,
        how: Ending::Status(StatusCode::SERVICE_UNAVAILABLE),
    };
    let region = dying(whole).await;
    for bytes in [50, 100, 100_000] {
        let request = Request::put("http://a/sha256").body(Full::new(content::bytes(1, 0, bytes)));
        let answer = ask_h2(region.addr(), request.unwrap()).await;
        assert_eq!((answer.status, answer.body.len()), (503, 0), "{bytes}");
    }
}

#[tokio::test]
async fn health_checks_and_whole_answers_are_spared() {
    let death = Death::InAnswer {
        after: 1_000,
        how: Cut::Reset,
    };
    let region = dying(death).await;
    assert_eq!(get_path(region.addr(), "/healthz").await.status, 200);
    for bytes in [0, 1, 999, 1_000] {
        let answer = get_path(region.addr(), &format!("/bytes/{bytes}")).await;
        assert_eq!(answer.body, content::bytes(content::SEED, 0, bytes));
    }
    region.change(|behaviour| behaviour.death = Some(Death::AtHead(Ending::Cut(Cut::Reset))));
    assert_eq!(get_path(region.addr(), "/healthz").await.status, 200);
}

#[tokio::test]
async fn calls_end_with_a_code() {
    for (ending, among_fields) in [
        (Ending::GrpcTrailers(14), false),
        (Ending::GrpcTrailersOnly(14), true),
    ] {
        let region = dying(Death::AtHead(ending)).await;
        let request = Request::post("http://a/grpc/unary")
            .body(Full::from("x"))
            .unwrap();
        let answer = ask_h2(region.addr(), request).await;
        let place = if among_fields {
            &answer.headers
        } else {
            &answer.trailers
        };
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(place["grpc-status"], "14", "{answer:?}");
    }
}

/// One request of the client to a region that dies; how it ended.
async fn outcome(region: &Region, protocol: Protocol, request: RequestSpec) -> Outcome {
    let spec = ClientSpec {
        protocol,
        requests: Some(1),
        mix: vec![request],
        ..ClientSpec::new(region.addr(), "lab.test")
    };
    let report = patiently(Client::start(spec).unwrap().finish()).await;
    report.check_balance().unwrap();
    *report.outcomes.keys().next().unwrap()
}

#[tokio::test]
async fn both_versions_die() {
    let within = |how| Death::InAnswer {
        after: 200_000,
        how,
    };
    let content = || RequestSpec::content(1_000_000);
    for protocol in [Protocol::H1, Protocol::H2] {
        for how in [Cut::Reset, Cut::Fin] {
            let region = dying(within(how)).await;
            let ended = outcome(&region, protocol, content()).await;
            assert_eq!(
                ended,
                Outcome::Transport(Fault::Body),
                "{protocol:?} {how:?}"
            );
            let region = dying(Death::AtHead(Ending::Cut(how))).await;
            let ended = outcome(&region, protocol, content()).await;
            assert!(
                matches!(ended, Outcome::Transport(_)),
                "{protocol:?} {ended:?}"
            );
        }
        // All that was written has arrived, or the client would wait for it forever.
        let region = dying(within(Cut::BlackHole)).await;
        let request = content().leaving(Leave::Receiving(200_000));
        assert_eq!(outcome(&region, protocol, request).await, Outcome::Left);
    }
}

#[tokio::test]
async fn a_client_goes_away_when_it_is_told_to() {
    let region = region("eu").await;
    let hang = Duration::from_secs(3600);
    for protocol in [Protocol::H1, Protocol::H2] {
        let cases = [
            RequestSpec::content(10_000_000).leaving(Leave::Receiving(1)),
            RequestSpec::digest(50_000_000).leaving(Leave::Sending(100_000)),
            RequestSpec::get("/slow/600000").leaving(Leave::Waiting(Duration::ZERO)),
        ];
        for case in cases {
            let told = format!("{protocol:?} {:?}", case.leave);
            assert_eq!(
                outcome(&region, protocol, case).await,
                Outcome::Left,
                "{told}"
            );
            let gone = || async { region.snapshot().in_flight == 0 };
            wait_until(&told, PATIENCE, gone).await.unwrap();
        }
        for stays in [
            RequestSpec::content(1_000).leaving(Leave::Receiving(1_001)),
            RequestSpec::digest(1_000).leaving(Leave::Sending(1_001)),
            RequestSpec::get("/").leaving(Leave::Waiting(hang)),
        ] {
            let told = format!("{protocol:?} {:?}", stays.leave);
            assert_eq!(
                outcome(&region, protocol, stays).await,
                Outcome::Ok,
                "{told}"
            );
        }
    }
}

#[tokio::test]
async fn a_problem_is_remembered_by_its_type() {
    let head = "HTTP/1.1 504 x\r\ncontent-type: application/problem+json\r\n";
    let body = r#"{"type":"urn:x:late","status":504}"#;
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let script = tidegate_lab::Action::answer(answer);
    let upstream = tidegate_lab::RawUpstream::start(vec![script])
        .await
        .unwrap();
    let spec = ClientSpec {
        requests: Some(1),
        ..ClientSpec::new(upstream.addr(), "lab.test")
    };
    let report = patiently(Client::start(spec).unwrap().finish()).await;
    let incident = &report.incidents[0];
    assert_eq!(incident.outcome, Outcome::WrongStatus(504));
    assert_eq!(incident.problem.as_deref(), Some("urn:x:late"));
}
