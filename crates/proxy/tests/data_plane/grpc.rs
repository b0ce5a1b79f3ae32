//! Calls of gRPC: one that ends with a code and no message is tried again where that is allowed, a
//! stream whose message went through never is, and what cannot be served is told in gRPC's own words.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use tidegate_core::route::PathMatch;
use tokio::sync::Notify;

use crate::harness::{
    Answer, Ask, Down, H1, H2, HOST, Rig, Setup, h2_upstream, nowhere, patiently,
};

/// One empty message.
pub(crate) const MESSAGE: &[u8] = b"\0\0\0\0\0";
const UNAVAILABLE: u8 = 14;

/// How a server deals with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// With this code in its only head.
    Only(u8),
    /// With a head, then trailers with this code.
    Trailers(u8),
    /// With a head, a message, then trailers with this code.
    Message(u8),
    /// With a head and a message, and then no more.
    Begins,
    /// With a head, then a reset.
    Breaks,
    /// With a head and a message; when it is told so, with a reset.
    BreaksLate,
    /// With a reset instead of a head.
    Resets,
    /// Not at all.
    Waits,
    /// With a head at once, whatever is still to come of the request, then trailers with this code.
    AtOnce(u8),
    /// With a head; when it is told so, with a message and the code 0.
    WhenTold,
}

/// A server of gRPC, and the heads of the calls that it got.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) tell: Arc<Notify>,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Server {
    pub(crate) async fn start(serves: Serves) -> Self {
        let (tell, seen) = (Arc::new(Notify::new()), Arc::default());
        let (told, sees): (_, Arc<Mutex<Vec<HeaderMap>>>) = (tell.clone(), Arc::clone(&seen));
        let addr = h2_upstream(move |request, respond| {
            sees.lock().unwrap().push(request.headers().clone());
            serve(serves, request, respond, told.clone())
        });
        let addr = addr.await;
        Self { addr, tell, seen }
    }

    pub(crate) fn seen(&self) -> Vec<HeaderMap> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    serves: Serves,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    told: Arc<Notify>,
) {
    if !matches!(serves, Serves::AtOnce(_)) {
        read(request.into_body()).await;
    }
    let mut head = Response::builder().header("content-type", "application/grpc");
    match serves {
        Serves::Only(code) => {
            head = head.header("grpc-status", u16::from(code));
            head = head.header("grpc-message", "as%20asked");
        }
        Serves::Resets => return respond.send_reset(Reason::INTERNAL_ERROR),
        Serves::Waits => return std::future::pending().await,
        _ => {}
    }
    let only = matches!(serves, Serves::Only(_));
    let stream = respond.send_response(head.body(()).unwrap(), only);
    finish(serves, stream.unwrap(), &told).await;
}

async fn finish(serves: Serves, mut stream: SendStream<Bytes>, told: &Notify) {
    // Whoever is gone is not told.
    let _gone = match serves {
        Serves::Only(_) | Serves::Resets | Serves::Waits => Ok(()),
        Serves::Trailers(code) | Serves::AtOnce(code) => stream.send_trailers(trailers(code)),
        Serves::Message(code) => stream
            .send_data(MESSAGE.into(), false)
            .and_then(|()| stream.send_trailers(trailers(code))),
        Serves::Begins => {
            stream.send_data(MESSAGE.into(), false).unwrap();
            std::future::pending().await
        }
        Serves::Breaks => {
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Serves::BreaksLate => {
            stream.send_data(MESSAGE.into(), false).unwrap();
            told.notified().await;
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Serves::WhenTold => {
            told.notified().await;
            stream.send_data(MESSAGE.into(), false).unwrap();
            stream.send_trailers(trailers(0))
        }
    };
}

fn trailers(code: u8) -> HeaderMap {
    let status = HeaderName::from_static("grpc-status");
    HeaderMap::from_iter([(status, HeaderValue::from(u16::from(code)))])
}

async fn read(mut body: RecvStream) {
    while let Some(Ok(data)) = body.data().await {
        let _gone = body.flow_control().release_capacity(data.len());
    }
}

/// A unary call.
pub(crate) fn call() -> Ask {
    Ask::post("/svc/Call", MESSAGE)
        .field("content-type", "application/grpc")
        .field("te", "trailers")
}

/// Regions `eu` and `us` that speak HTTP/2, and a route that is as idempotent as said.
pub(crate) fn setup(eu: &Server, us: &Server, idempotent: bool) -> Setup {
    let mut setup = Setup::new([("eu", eu.addr), ("us", us.addr)]);
    setup.h2_up(true);
    setup.retry().on.grpc = Box::new([8, UNAVAILABLE]);
    setup.route().idempotent = idempotent;
    setup
}

/// The code that a client of gRPC sees.
pub(crate) fn code(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{answer:?}");
    let status = answer.trailers.get("grpc-status");
    match status.or_else(|| answer.headers.get("grpc-status")) {
        Some(code) => code.to_str().unwrap(),
        None => "none",
    }
}

/// Errors that are held against a region.
fn errors(rig: &Rig, region: &str) -> u64 {
    rig.board.region("shop", region).tally().errors.iter().sum()
}

/// What the first region serves; whether twice is once; the code that the client gets, and whether
/// it is the second region's.
async fn check(serves: Serves, idempotent: bool, expected: &str, moved: bool) -> (Rig, Answer) {
    let eu = Server::start(serves).await;
    let us = Server::start(Serves::Message(0)).await;
    let rig = setup(&eu, &us, idempotent).start();
    let answer = call().send(Down::H2, rig.addr()).await;
    let what = format!("{serves:?} {idempotent} {answer:?}");
    assert_eq!(code(&answer), expected, "{what}");
    assert_eq!(
        (eu.seen().len(), us.seen().len()),
        (1, usize::from(moved)),
        "{what}"
    );
    assert!(answer.is_whole(), "{what}");
    (rig, answer)
}

#[tokio::test]
async fn a_code_without_a_message_is_retried_where_twice_is_once() {
    for serves in [Serves::Only(UNAVAILABLE), Serves::Trailers(UNAVAILABLE)] {
        let (rig, answer) = check(serves, true, "0", true).await;
        assert_eq!(answer.body, MESSAGE);
        let log = rig.log(1).await;
        assert_eq!(log[0]["rescued"], true, "{}", log[0]);
        assert_eq!(errors(&rig, "eu"), 1);
        assert_eq!(errors(&rig, "us"), 0);
    }
}

#[tokio::test]
async fn where_twice_is_not_once_the_code_is_passed_on_as_it_came() {
    let (rig, answer) = check(Serves::Only(UNAVAILABLE), false, "14", false).await;
    assert_eq!(answer.header("grpc-message"), "as%20asked");
    assert_eq!(rig.log(1).await[0]["reason"], "status_passed");
    assert_eq!(errors(&rig, "eu"), 1);
    let (rig, answer) = check(Serves::Trailers(UNAVAILABLE), false, "14", false).await;
    assert!(answer.headers.get("grpc-status").is_none());
    assert_eq!(rig.log(1).await[0]["reason"], "status_passed");
}

#[tokio::test]
async fn codes_that_are_not_listed_are_answers() {
    for (not_listed, blamed) in [(5, 0), (4, 0), (13, 1)] {
        let expected = not_listed.to_string();
        for serves in [Serves::Only(not_listed), Serves::Trailers(not_listed)] {
            let (rig, _) = check(serves, true, &expected, false).await;
            assert_eq!(rig.log(1).await[0]["reason"], "completed");
            assert_eq!(errors(&rig, "eu"), blamed, "{not_listed}");
        }
    }
}

#[tokio::test]
async fn after_a_message_nothing_is_replayed() {
    let (_rig, answer) = check(Serves::Message(UNAVAILABLE), true, "14", false).await;
    assert_eq!(answer.body, MESSAGE);
}

#[tokio::test]
async fn a_call_whose_region_dies_after_the_head_is_rescued() {
    let (_rig, answer) = check(Serves::Breaks, true, "0", true).await;
    assert_eq!(answer.body, MESSAGE);
}

/// Whether twice is once; the code that the client of a stream gets which breaks off after its first
/// message, and whether it is asked not to make it again.
async fn check_broken(idempotent: bool, expected: &str, pushback: Option<&str>) {
    let server = Server::start(Serves::BreaksLate).await;
    let rig = setup(&server, &server, idempotent).start();
    let mut client = H2::connect(rig.addr()).await;
    let sending = client.open(head(), true).await;
    let answer = patiently("a head", sending.response).await.unwrap();
    let mut body = answer.into_body();
    let message = patiently("a message", body.data()).await.unwrap().unwrap();
    assert_eq!(message, MESSAGE);
    server.tell.notify_one();
    assert!(patiently("the end", body.data()).await.is_none());
    let end = patiently("trailers", body.trailers()).await.unwrap();
    let end = end.unwrap();
    let field = |name| end.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(field("grpc-status"), Some(expected));
    assert_eq!(field("grpc-retry-pushback-ms"), pushback);
    let told = field("grpc-message").unwrap();
    assert!(told.starts_with("upstream_truncated: "), "{told}");
    let line = &rig.log(1).await[0];
    assert_eq!(line["reason"], "upstream_truncated");
    assert_eq!(line["attempts"][0]["outcome"], "truncated", "{line}");
    assert_eq!(server.seen().len(), 1);
}

/// To a client of gRPC a reset stream is a fault of the protocol, and no status to act on.
#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_a_status() {
    check_broken(true, "14", None).await;
    check_broken(false, "2", Some("-1")).await;
}

/// A server that says so is not asked again on its behalf.
#[tokio::test]
async fn a_server_may_forbid_retries() {
    let eu = h2_upstream(|request, mut respond| async move {
        read(request.into_body()).await;
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "14")
            .header("grpc-retry-pushback-ms", "-1");
        respond.send_response(head.body(()).unwrap(), true).unwrap();
    });
    let us = Server::start(Serves::Message(0)).await;
    let mut setup = setup(&us, &us, true);
    setup.upstream().regions[0].endpoints[0].address = eu.await.to_string().into();
    let rig = setup.start();
    let answer = call().send(Down::H2, rig.addr()).await;
    assert_eq!((code(&answer), us.seen().len()), ("14", 0));
    assert_eq!(errors(&rig, "eu"), 1);
}

/// A client that streams may be waiting for the head: with its request under way nothing is held,
/// and so the trailers that follow come too late for another try.
#[tokio::test]
async fn nothing_is_held_before_the_client_has_sent_all() {
    let eu = Server::start(Serves::AtOnce(UNAVAILABLE)).await;
    let us = Server::start(Serves::Message(0)).await;
    let rig = setup(&eu, &us, true).start();
    let mut client = H2::connect(rig.addr()).await;
    let sending = client.open(head(), false).await;
    let upload = sending.upload;
    let answer = patiently("a head", sending.response).await.unwrap();
    let mut body = answer.into_body();
    assert!(patiently("the end", body.data()).await.is_none());
    let trailers = patiently("trailers", body.trailers()).await.unwrap();
    assert_eq!(trailers.unwrap()["grpc-status"], "14");
    assert_eq!(us.seen().len(), 0);
    drop(upload);
    rig.until_idle().await;
}

fn head() -> Request<()> {
    Request::post(format!("http://{HOST}/svc/Call"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// The server sends its message only once the client has seen the head.
#[tokio::test]
async fn a_head_is_not_held_for_ever() {
    let server = Server::start(Serves::WhenTold).await;
    let rig = setup(&server, &server, true).start();
    let mut client = H2::connect(rig.addr()).await;
    let sending = client.open(head(), true).await;
    let answer = patiently("a head", sending.response).await.unwrap();
    server.tell.notify_one();
    let mut body = answer.into_body();
    let message = patiently("a message", body.data()).await.unwrap().unwrap();
    assert_eq!(message, MESSAGE);
    let trailers = patiently("trailers", body.trailers()).await.unwrap();
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
}

/// What a client of gRPC gets for a reason of ours; it is told over both protocols, and the
/// connection stays.
async fn check_told(rig: &Rig, ask: &Ask, expected: &str, reason: &str, pushback: &str) {
    let (mut h1, mut h2) = (H1::connect(rig.addr()).await, H2::connect(rig.addr()).await);
    for _ in 0..2 {
        for answer in [h1.ask(ask).await, h2.ask(ask).await] {
            assert_eq!(code(&answer), expected, "{answer:?}");
            assert_eq!(answer.header("content-type"), "application/grpc");
            assert!(
                answer.header("grpc-message").starts_with(reason),
                "{answer:?}"
            );
            assert_eq!(
                answer.header("grpc-retry-pushback-ms"),
                pushback,
                "{answer:?}"
            );
            assert_eq!(answer.header("x-request-id").len(), 32);
            assert_eq!((answer.body.len(), answer.is_whole()), (0, true));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_told_in_grpcs_words() {
    // Over HTTP/1.1 a body that nobody reads would cost the connection.
    let empty = |ask: Ask| Ask {
        body: Bytes::new(),
        ..ask
    };
    let mut setup = Setup::to(nowhere().await);
    setup.route().matches.path = Some(PathMatch::Prefix("/svc".into()));
    let rig = setup.start();
    check_told(&rig, &empty(call()), "14", "connect_failed: ", "1000").await;
    let mut elsewhere = empty(call());
    elsewhere.path = "/other/Call".to_owned();
    check_told(&rig, &elsewhere, "12", "no_route: ", "").await;
    // What is no call gets a problem document.
    for ask in [
        Ask::post("/svc", ""),
        Ask::get("/svc").field("content-type", "application/grpc"),
    ] {
        let answer = ask.send(Down::H2, rig.addr()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "connect_failed")
        );
        assert_eq!(answer.header("retry-after"), "1");
    }
    let log = rig.log(10).await;
    assert_eq!(
        (&log[0]["status"], &log[0]["reason"]),
        (&200.into(), &"connect_failed".into())
    );
}

/// Nobody knows whether the call was done: its client must not make it anew by itself.
#[tokio::test]
async fn an_unknown_outcome_is_never_unavailable() {
    let eu = Server::start(Serves::Resets).await;
    let rig = setup(&eu, &eu, false).start();
    let answer = call().send(Down::H2, rig.addr()).await;
    assert_eq!(code(&answer), "2");
    assert_eq!(answer.header("grpc-retry-pushback-ms"), "-1");
    assert_eq!(eu.seen().len(), 1);
    // The same of an answer that broke while its first message was waited for.
    let eu = Server::start(Serves::Breaks).await;
    let rig = setup(&eu, &eu, false).start();
    assert_eq!(code(&call().send(Down::H2, rig.addr()).await), "2");
    // Of a request that is no call the problem's type says so, and nothing asks to try again.
    let answer = Ask::new(Method::POST, "/").send(Down::H2, rig.addr()).await;
    assert_eq!(
        answer.json()["type"],
        "urn:tidegate:problem:outcome-unknown"
    );
    assert_eq!(answer.header("retry-after"), "");
}
