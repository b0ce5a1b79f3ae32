//! The books of requests: every attempt that began is counted once with its outcome, every request
//! once with its end, and the access log, line by line, adds up to what the metrics say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::future::join_all;
use http::Request;
use serde_json::Value;
use tidegate_core::{Health, Standing};
use tidegate_lab::{Action, Mode};

use crate::harness::{Ask, Down, H2, HOST, Rig, Setup, nowhere, raw, until, world};

const BOTH: [Down; 2] = [Down::H1, Down::H2];
const WELL: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\nonly this";

/// What the log's lines say, in the names of metrics.
fn tallied(lines: &[Value]) -> BTreeMap<String, u64> {
    let mut tally = BTreeMap::new();
    let mut add = |series: String| *tally.entry(series).or_default() += 1;
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    for line in lines {
        let reason = word(&line["reason"]);
        add(format!(
            "tidegate_request_terminations_total{{reason=\"{reason}\"}}"
        ));
        let attempts = line["attempts"].as_array().unwrap();
        for attempt in attempts {
            let (region, outcome) = (word(&attempt["region"]), word(&attempt["outcome"]));
            add(format!(
                "tidegate_attempts_total{{upstream=\"shop\",region=\"{region}\",outcome=\"{outcome}\"}}"
            ));
        }
        if line["rescued"] == true {
            let why = word(&attempts[0]["outcome"]);
            let from = word(&attempts[0]["region"]);
            let answered = |attempt: &&Value| attempt["outcome"] == "answered";
            let to = attempts.iter().rev().find(answered);
            let to = word(&to.unwrap_or_else(|| panic!("{line}"))["region"]);
            add(format!(
                "tidegate_requests_rescued_total{{from=\"{from}\",to=\"{to}\",why=\"{why}\"}}"
            ));
        }
    }
    tally
}

/// Waits for `count` lines, and compares them with the metrics, zeros included.
async fn audited(rig: &Rig, count: usize) -> Vec<Value> {
    let lines = rig.log(count).await;
    let tally = tallied(&lines);
    for (series, expected) in &tally {
        assert_eq!(rig.metric(series), *expected, "{series}\n{lines:#?}");
    }
    for metric in [
        "tidegate_request_terminations_total",
        "tidegate_attempts_total",
        "tidegate_requests_rescued_total",
    ] {
        let logged = tally
            .iter()
            .filter(|(series, _)| series.starts_with(metric));
        let logged: u64 = logged.map(|(_, count)| count).sum();
        assert_eq!(rig.total(metric), logged, "{metric}\n{lines:#?}");
    }
    let rescued = rig.total("tidegate_rescue_added_seconds_count");
    assert_eq!(rescued, rig.total("tidegate_requests_rescued_total"));
    rig.until_idle().await;
    lines
}

/// What both calls of a `region` say is the same.
fn two(first: SocketAddr, second: SocketAddr) -> Setup {
    Setup::new([("eu", first), ("us", second)])
}

/// The line of a request whose first endpoint was dead and whose second was not: which of two comes
/// first is drawn.
async fn saved_within_its_region(down: Down) -> Value {
    let well = raw(vec![Action::answer(WELL)]).await;
    let places = [("eu", nowhere().await), ("eu", well.addr())];
    for _ in 0..64 {
        let rig = Setup::new(places).one_thread().start();
        assert_eq!(Ask::get("/").send(down, rig.addr()).await.status, 200);
        let line = audited(&rig, 1).await.remove(0);
        if line["attempts"][0]["outcome"] != "answered" {
            return line;
        }
    }
    panic!("the dead endpoint is never drawn");
}

#[tokio::test]
async fn a_rescue_is_counted_within_its_region_too() {
    for down in BOTH {
        let saved = saved_within_its_region(down).await;
        assert_eq!(saved["rescued"], true, "{saved}");
        let failed = &saved["attempts"][0];
        assert_eq!(failed["outcome"], "connect", "{saved}");
        assert_eq!(failed["phase"], "connecting", "{saved}");
        assert!(failed["detail"].is_string(), "{saved}");
        assert!(saved["why_not"].is_null(), "{saved}");
    }
}

/// The line of a request whose first region plays `script`, with its reason.
async fn line_of(script: Vec<Action>, ask: Ask, reason: &str) -> Value {
    let ill = raw(vec![script]).await;
    let well = raw(vec![Action::answer(WELL)]).await;
    let rig = two(ill.addr(), well.addr()).start();
    ask.send(Down::H2, rig.addr()).await;
    let line = audited(&rig, 1).await.remove(0);
    assert_eq!(line["reason"], reason, "{line}");
    line
}

#[tokio::test]
async fn a_line_says_why_its_request_was_not_saved() {
    let reset = vec![Action::ReadHead, Action::Reset];
    let line = line_of(reset, Ask::post("/", "x"), "upstream_reset").await;
    assert_eq!(line["why_not"], "not_idempotent", "{line}");
    assert_eq!(line["attempts"][0]["phase"], "sent", "{line}");
    let line = line_of(
        Action::answer(SHORT),
        Ask::post("/", "x"),
        "upstream_truncated",
    )
    .await;
    assert!(line["why_not"].is_string(), "{line}");
    let attempt = &line["attempts"][0];
    assert_eq!(attempt["outcome"], "truncated", "{line}");
    assert_eq!(attempt["phase"], "body_under_way", "{line}");
}

/// A stream that is given up takes all of its request's task with it, at whatever await it stands.
#[tokio::test]
async fn what_a_client_gives_up_is_counted_with_all_its_attempts() {
    let silent = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
    let other = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
    let rig = two(silent.addr(), other.addr()).start();
    let mut client = H2::connect(rig.addr()).await;
    let request = Request::get(format!("http://{HOST}/")).body(()).unwrap();
    let mut sending = client.open(request, true).await;
    let cell = rig.board.region("shop", "eu");
    until("the request to wait", || cell.tally().waiting() == 1).await;
    cell.set_standing(Standing {
        suspected: true,
        ..Standing::full(Health::Healthy)
    });
    until("a hedge", || rig.in_flight() == 2).await;
    sending.upload.send_reset(h2::Reason::CANCEL);
    let line = audited(&rig, 1).await.remove(0);
    assert_eq!(line["reason"], "client_gone", "{line}");
    assert_eq!(line["attempts"].as_array().unwrap().len(), 2, "{line}");
    assert_eq!(line["attempts"][1]["hedge"], "silent", "{line}");
    let lost = "tidegate_hedges_total{upstream=\"shop\",why=\"silent\",result=\"lost\"}";
    assert_eq!(rig.metric(lost), 1);
    assert_eq!(rig.total("tidegate_hedges_total"), 1);
}

/// A hedge that is answered first saves its request from a region that says nothing.
#[tokio::test]
async fn a_hedge_that_wins_is_a_rescue() {
    let silent = raw(vec![vec![Action::ReadHead, Action::Stall]]).await;
    let well = raw(vec![Action::answer(WELL)]).await;
    let rig = two(silent.addr(), well.addr()).start();
    let addr = rig.addr();
    let asked = tokio::spawn(async move { Ask::get("/").send(Down::H2, addr).await });
    let cell = rig.board.region("shop", "eu");
    until("the request to wait", || cell.tally().waiting() == 1).await;
    cell.set_standing(Standing {
        suspected: true,
        ..Standing::full(Health::Healthy)
    });
    assert_eq!(asked.await.unwrap().status, 200);
    let line = audited(&rig, 1).await.remove(0);
    assert_eq!(line["attempts"][0]["outcome"], "hedged", "{line}");
    assert_eq!(line["attempts"][1]["hedge"], "silent", "{line}");
    assert_eq!(line["rescued"], true, "{line}");
    let won = "tidegate_hedges_total{upstream=\"shop\",why=\"silent\",result=\"won\"}";
    assert_eq!(rig.metric(won), 1);
    assert_eq!(rig.total("tidegate_hedges_total"), 1);
}

/// An answer that broke and was continued is one request, rescued, with both parts on its line.
#[tokio::test]
async fn an_answer_that_was_continued_shows_its_parts() {
    const LENGTH: u64 = 300_000;
    for down in BOTH {
        let world = world(&["eu", "us"]).await;
        let rig = Setup::world(&world).start();
        let link = &world.site("eu").unwrap().link;
        link.set(Mode::Truncate { after: 150_000 }).await.unwrap();
        let answer = Ask::get(&format!("/bytes/{LENGTH}"))
            .send(down, rig.addr())
            .await;
        assert_eq!(answer.body.len() as u64, LENGTH);
        let line = audited(&rig, 1).await.remove(0);
        assert_eq!(line["rescued"], true, "{line}");
        assert_eq!(line["resumes"], 1, "{line}");
        let [broke, rest] = [0, 1].map(|nth| &line["attempts"][nth]);
        assert_eq!(broke["outcome"], "truncated", "{line}");
        assert_eq!(broke["phase"], "body_under_way", "{line}");
        assert_eq!(rest["resume"], true, "{line}");
        assert_eq!(rest["status"], 206, "{line}");
        let parts = [broke, rest].map(|attempt| attempt["bytes"].as_u64().unwrap());
        assert_eq!(parts.iter().sum::<u64>(), LENGTH, "{line}");
        assert!(parts[0] > 0, "{line}");
        let series = "tidegate_resumes_total{from=\"eu\",to=\"us\",result=\"resumed\"}";
        assert_eq!(rig.metric(series), 1);
        assert_eq!(rig.total("tidegate_resumes_total"), 1);
    }
}

/// A code of gRPC that `retry.on` lists is an outcome of its own.
#[tokio::test]
async fn a_call_that_fails_tells_its_code() {
    let world = world(&["eu", "us"]).await;
    let mut setup = Setup::world(&world);
    setup.h2_up(true);
    setup.retry().on.grpc = [14].into();
    setup.route().idempotent = true;
    let rig = setup.start();
    Ask::post("/grpc/status/14", "")
        .field("content-type", "application/grpc")
        .field("te", "trailers")
        .send(Down::H2, rig.addr())
        .await;
    let line = audited(&rig, 1).await.remove(0);
    let attempts = line["attempts"].as_array().unwrap();
    assert!(attempts.len() > 1, "{line}");
    for attempt in attempts {
        assert_eq!(attempt["outcome"], "grpc_status", "{line}");
        assert_eq!(attempt["grpc"], 14, "{line}");
    }
    assert_eq!(line["reason"], "status_passed", "{line}");
    assert!(line["why_not"].is_string(), "{line}");
}

/// Everything at once, from both protocols; some leave before they are answered.
#[tokio::test]
async fn after_a_storm_the_books_agree() {
    const ROUNDS: usize = 12;
    let mut scripts = Vec::new();
    for _ in 0..ROUNDS {
        scripts.push(vec![Action::ReadHead, Action::Reset]);
        scripts.push(Action::answer(WELL));
        scripts.push(Action::answer(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nno",
        ));
        scripts.push(Action::answer(
            "HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno",
        ));
        scripts.push(Action::answer("nonsense\r\n\r\n"));
        scripts.push(Action::answer(SHORT));
    }
    let ill = raw(scripts).await;
    let well = raw(vec![Action::answer(WELL)]).await;
    let mut setup = two(ill.addr(), well.addr());
    setup.retry().on.statuses = [503].into();
    let rig = setup.start();
    let asks = (0..ROUNDS * 6).map(|nth| {
        let ask = match nth % 3 {
            0 => Ask::post("/", "x"),
            _ => Ask::get("/"),
        };
        let (down, addr) = (BOTH[nth % 2], rig.addr());
        async move {
            ask.send(down, addr).await;
        }
    });
    join_all(asks).await;
    let lines = audited(&rig, ROUNDS * 6).await;
    let has = |name: &str, value: &str| lines.iter().any(|line| line[name] == *value);
    assert!(has("reason", "upstream_reset") && has("reason", "completed"));
    assert!(lines.iter().any(|line| line["rescued"] == true));
    for line in &lines {
        let lost = !["completed", "client_gone"].contains(&line["reason"].as_str().unwrap());
        assert_eq!(line["why_not"].is_string(), lost, "{line}");
    }
}
