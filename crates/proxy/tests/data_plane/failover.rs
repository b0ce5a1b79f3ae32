//! A region fails: what may be moved is answered elsewhere, what may not is never done twice, and
//! the books say what happened.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::Value;
use tidegate_core::plan::UnknownOutcome;
use tidegate_lab::{Action, Mode, World, content};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Answer, Ask, Down, H1, Rig, Setup, answering, nowhere};
use crate::harness::{raw, until, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];
/// What is kept of a body for another attempt.
const REPLAY: usize = 64 * 1024;

/// What goes wrong in the first region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refuse,
    Reset,
    BlackHole,
    Status503,
}

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The second region's answer.
    Rescued,
    /// A problem of ours, with this status and reason.
    Lost(u16, &'static str),
    /// The first region's own error.
    Passed,
    /// The same, or a reset: a server that answers without reading a body to its end closes with
    /// bytes unread, and the reset that follows may overtake its answer.
    PassedOrReset,
}

async fn break_first(world: &World, fault: Fault) {
    let first = world.site("eu").unwrap();
    let mode = match fault {
        Fault::Refuse => Mode::Refuse,
        // The request gets through, the answer does not.
        Fault::Reset => Mode::Truncate { after: 0 },
        Fault::BlackHole => Mode::BlackHole,
        Fault::Status503 => Mode::Up,
    };
    first.link.set(mode).await.unwrap();
    if fault == Fault::Status503 {
        first.region.change(|behaviour| {
            behaviour.error_rate = 1.0;
            behaviour.error_status = http::StatusCode::SERVICE_UNAVAILABLE;
        });
    }
}

fn setup(world: &World, fault: Fault) -> Setup {
    let mut setup = Setup::world(world);
    setup.upstream().body.replay_bytes = REPLAY as u64;
    setup.route().idempotency_key = true;
    // Only a black hole is waited for, and a healthy region must never take so long.
    let patience = Duration::from_secs(1);
    setup.retry().per_try = (fault == Fault::BlackHole).then_some(patience);
    if fault == Fault::BlackHole {
        // What may not be made again waits for as long as its route says.
        setup.route().timeout = 3 * patience;
    }
    setup.retry().on_unknown_outcome = UnknownOutcome::Fail;
    setup.retry().attempts = 2;
    setup
}

/// What each request must come to, by the rules of RFC 9110 section 9.2.2: a refused connection
/// moves anything; whatever was sent moves only if doing it twice is doing it once, its body is
/// still there, and, for a key, not to another region.
fn expected(fault: Fault, method: &Method, body: usize) -> Expected {
    let twice = *method == Method::GET || *method == Method::PUT;
    match fault {
        Fault::Refuse => Expected::Rescued,
        _ if twice && body <= REPLAY => Expected::Rescued,
        Fault::Status503 if body > REPLAY => Expected::PassedOrReset,
        Fault::Status503 => Expected::Passed,
        Fault::Reset => Expected::Lost(502, "upstream_reset"),
        Fault::BlackHole => Expected::Lost(504, "upstream_timeout"),
    }
}

fn assert_outcome(answer: &Answer, expected: Expected, what: &str) {
    let region = answer.header("x-lab-region");
    match expected {
        Expected::Rescued => assert_eq!((answer.status, region), (200, "us"), "{what} {answer:?}"),
        Expected::PassedOrReset if answer.status == 502 => {
            assert_eq!(answer.reason(), "upstream_reset", "{what}");
        }
        Expected::Passed | Expected::PassedOrReset => {
            assert_eq!((answer.status, region), (503, "eu"), "{what} {answer:?}")
        }
        Expected::Lost(status, reason) => {
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (status, reason),
                "{what}"
            );
        }
    }
    assert!(answer.is_whole(), "{what}");
}

/// The whole table: fault x method x key x body x protocol, all at the same time.
async fn check_fault(fault: Fault) {
    let methods = [
        (Method::GET, false),
        (Method::PUT, false),
        (Method::POST, false),
        (Method::POST, true),
    ];
    for down in BOTH {
        let world = world(&["eu", "us"]).await;
        let rig = setup(&world, fault).start();
        break_first(&world, fault).await;
        let mut cases = Vec::new();
        for (method, keyed) in methods.clone() {
            for size in [0, 10_000, REPLAY + 100_000] {
                let case = Case {
                    fault,
                    down,
                    method: method.clone(),
                    keyed,
                    size,
                };
                cases.push(case);
            }
        }
        join_all(cases.iter().map(|case| case.check(&rig, &world))).await;
        rig.until_idle().await;
        assert_books(&rig, cases.len()).await;
    }
}

/// One request of the table.
#[derive(Debug)]
struct Case {
    fault: Fault,
    down: Down,
    method: Method,
    keyed: bool,
    size: usize,
}

impl Case {
    async fn check(&self, rig: &Rig, world: &World) {
        let id = format!("{}-{}-{}", self.method, self.keyed, self.size);
        let mut ask = Ask::new(self.method.clone(), "/sha256").field("x-lab-id", id.as_str());
        ask.body = content::bytes(content::SEED, 0, self.size);
        if self.keyed {
            ask = ask.field("idempotency-key", id.as_str());
        }
        let answer = ask.send(self.down, rig.addr()).await;
        let expected = expected(self.fault, &self.method, self.size);
        assert_outcome(&answer, expected, &format!("{self:?}"));
        if answer.status == 200 {
            let hash = content::sha256_hex(content::SEED, self.size as u64);
            assert_eq!(answer.json()["sha256"], hash, "{self:?}");
        }
        if self.method == Method::POST && !self.keyed {
            assert!(world.times_seen(&id) <= 1, "done twice: {self:?}");
        }
        if self.keyed && self.fault != Fault::Refuse {
            let elsewhere = world.site("us").unwrap().region.times_seen(&id);
            assert_eq!(
                elsewhere, 0,
                "another region does not know the key: {self:?}"
            );
        }
    }
}

/// The access log, the counters and the endpoints' books tell one story.
async fn assert_books(rig: &Rig, requests: usize) {
    let log = rig.log(requests).await;
    let count = |what: &dyn Fn(&Value) -> bool| log.iter().filter(|line| what(line)).count() as u64;
    let attempts = |line: &Value| line["attempts"].as_array().unwrap().len() as u64;
    let lost =
        count(&|line| !["completed", "tunnelled"].contains(&line["reason"].as_str().unwrap()));
    assert_eq!(rig.total("tidegate_requests_lost_total"), lost);
    let rescued = count(&|line| line["rescued"] == true);
    assert_eq!(rig.total("tidegate_requests_rescued_total"), rescued);
    assert_eq!(
        rescued,
        count(&|line| line["reason"] == "completed" && attempts(line) > 1)
    );
    assert_eq!(
        rig.total("tidegate_request_terminations_total"),
        log.len() as u64
    );
    assert_eq!(rig.total("tidegate_requests_total"), log.len() as u64);
    let made: u64 = log.iter().map(attempts).sum();
    assert_eq!(rig.total("tidegate_attempts_total"), made);
    assert_eq!(rig.total("tidegate_retries_total"), made - log.len() as u64);
    assert!(made <= 2 * log.len() as u64, "attempts beyond the policy");
}

#[tokio::test]
async fn refused() {
    check_fault(Fault::Refuse).await;
}

#[tokio::test]
async fn reset() {
    check_fault(Fault::Reset).await;
}

#[tokio::test]
async fn black_hole() {
    check_fault(Fault::BlackHole).await;
}

#[tokio::test]
async fn status_503() {
    check_fault(Fault::Status503).await;
}

/// Nothing of a body is read before an upstream is connected, so its size does not matter.
#[tokio::test]
async fn a_failed_connect_moves_any_body() {
    const BIG: usize = 4 * 1024 * 1024;
    for down in BOTH {
        let world = world(&["eu", "us"]).await;
        let mut setup = setup(&world, Fault::Refuse);
        setup.upstream().body.replay_bytes = 0;
        let rig = setup.start();
        break_first(&world, Fault::Refuse).await;
        let ask = Ask::post("/sha256", content::bytes(content::SEED, 0, BIG)).chunked();
        let receipt = ask.send(down, rig.addr()).await.json();
        assert_eq!(
            receipt["sha256"],
            content::sha256_hex(content::SEED, BIG as u64)
        );
    }
}

/// An unanswered POST may have been done: the problem says that nobody knows.
#[tokio::test]
async fn an_unknown_outcome_is_called_so() {
    for (fault, method, unknown) in [
        (Fault::BlackHole, Method::POST, true),
        (Fault::Reset, Method::POST, true),
        (Fault::BlackHole, Method::PUT, false),
    ] {
        let world = world(&["eu"]).await;
        let rig = setup(&world, fault).start();
        break_first(&world, fault).await;
        let mut ask = Ask::new(method, "/");
        ask.body = "x".into();
        let answer = ask.send(Down::H1, rig.addr()).await;
        let kind = answer.json()["type"].as_str().unwrap().to_owned();
        assert_eq!(
            kind.ends_with(":outcome-unknown"),
            unknown,
            "{fault:?} {kind}"
        );
    }
}

/// Every region fails: attempts end with the policy, and with the regions.
#[tokio::test]
async fn attempts_are_bounded_by_the_policy() {
    for (attempts, expected) in [(1, 1), (2, 2), (3, 3), (4, 4), (16, 4)] {
        let mut addresses = Vec::new();
        for region in ["a", "b", "c", "d"] {
            addresses.push((region, nowhere().await));
        }
        let mut setup = Setup::new(addresses);
        setup.retry().attempts = attempts;
        let rig = setup.start();
        let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "connect_failed")
        );
        assert!(
            answer.detail().contains("cannot connect"),
            "{}",
            answer.detail()
        );
        let log = rig.log(1).await;
        let made = log[0]["attempts"].as_array().unwrap().len();
        if attempts < 16 {
            assert_eq!(made, expected, "{log:?}");
        }
        assert!(made <= usize::from(attempts) && made >= expected, "{log:?}");
    }
}

/// The deadline ends a request whatever attempts are left.
#[tokio::test]
async fn attempts_are_bounded_by_the_deadline() {
    let world = world(&["a", "b", "c", "d"]).await;
    for site in world.sites() {
        site.link.set(Mode::BlackHole).await.unwrap();
    }
    let mut setup = Setup::world(&world);
    setup.retry().attempts = 16;
    setup.retry().per_try = Some(Duration::from_millis(100));
    setup.route().timeout = Duration::from_millis(150);
    let rig = setup.start();
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (504, "deadline_exceeded")
    );
    let log = rig.log(1).await;
    assert!(log[0]["attempts"].as_array().unwrap().len() <= 2, "{log:?}");
}

/// Without a budget there is no other attempt, beyond nothing at all.
#[tokio::test]
async fn attempts_are_bounded_by_the_budget() {
    let world = world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world);
    (setup.retry().budget, setup.retry().cross_region_budget) = (0.0, 0.0);
    let rig = setup.start();
    break_first(&world, Fault::Refuse).await;
    let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "budget_exhausted")
    );
    assert_eq!(
        rig.metric(r#"tidegate_retry_refused_total{why="budget"}"#),
        1
    );

    // With one, a storm of failures moves its share of the requests and the reserve, not more.
    let world = crate::harness::world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world);
    (setup.retry().budget, setup.retry().cross_region_budget) = (0.0, 0.1);
    let rig = setup.start();
    break_first(&world, Fault::Refuse).await;
    let mut client = H1::connect(rig.addr()).await;
    let requests = 300;
    let mut moved = 0;
    for _ in 0..requests {
        moved += u64::from(client.ask(&Ask::get("/")).await.status == 200);
    }
    let reserve = u64::from(tidegate_core::budget::RESERVE);
    assert!(
        moved >= reserve,
        "the reserve alone moves {reserve}, but {moved} were moved"
    );
    assert_eq!(moved, rig.total("tidegate_retries_total"));
    if rig.metric(r#"tidegate_retry_refused_total{why="budget"}"#) + moved != requests {
        panic!("every request was moved or refused for the budget");
    }
    // Deposits and withdrawals expire alike after ten seconds; a slow machine may see two windows.
    assert!(moved <= 2 * (reserve + requests / 10), "{moved}");
}

/// An idle connection that its upstream has closed in the meantime: a GET is not lost on it.
#[tokio::test]
async fn a_stale_connection_loses_nothing() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    // The upstream closes as the second request arrives: nobody could have seen it coming.
    let closing = vec![
        Action::ReadHead,
        Action::send(ok),
        Action::ReadHead,
        Action::Close,
    ];
    for down in BOTH {
        let upstream = raw(vec![closing.clone(), answering(ok)]).await;
        let rig = Setup::to(upstream.addr()).one_thread().start();
        for round in 0..2 {
            let answer = Ask::get("/").send(down, rig.addr()).await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "ok"),
                "{round}"
            );
        }
        let log = &rig.log(2).await[1];
        assert_eq!(log["attempts"].as_array().unwrap().len(), 2, "{log}");
        assert_eq!(log["attempts"][0]["reused"], true, "{log}");
        assert_eq!(log["attempts"][1]["reused"], false, "{log}");
    }
}

/// An upstream that closes every connection after its first answer, without a word, and counts.
async fn closing_upstream() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, closed) = (
        listener.local_addr().unwrap(),
        Arc::new(AtomicUsize::new(0)),
    );
    let count = closed.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\nx") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
            drop(stream);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (addr, closed)
}

/// A connection that is known to be closed is not even tried, least of all by a POST.
#[tokio::test]
async fn a_closed_idle_connection_is_left_alone() {
    let (addr, closed) = closing_upstream().await;
    let rig = Setup::to(addr).one_thread().start();
    for round in 1..=3 {
        let answer = Ask::post("/", "x").send(Down::H1, rig.addr()).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        until("the upstream's close", || {
            closed.load(Ordering::SeqCst) == round
        })
        .await;
    }
    for line in rig.log(3).await {
        assert_eq!(line["attempts"].as_array().unwrap().len(), 1, "{line}");
    }
}
