//! Reports of load: heard where steering asks for them, whole or not at all, and never passed on.

use std::time::Instant;

use http::{HeaderMap, Response};
use tidegate_core::plan::Policy;
use tidegate_lab::RawUpstream;

use crate::harness::{Answer, Ask, Down, Rig, Setup, answering, h2_upstream, raw, until};

const BOTH: [Down; 2] = [Down::H1, Down::H2];
const FIELDS: [&str; 2] = ["endpoint-load-metrics", "endpoint-load-metrics-bin"];
/// Half of a processor, as a protocol buffer.
const HALF: &str = "CQAAAAAAAOA/";

async fn reporting(fields: &str, policy: Policy, down: Down) -> (RawUpstream, Rig, Answer) {
    let answer = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nok");
    let upstream = raw(vec![answering(answer)]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.upstream().steering.policy = policy;
    let rig = setup.start();
    let answer = Ask::get("/").send(down, rig.addr()).await;
    (upstream, rig, answer)
}

fn utilization(rig: &Rig) -> Option<f32> {
    rig.board.region("shop", "eu").utilization(Instant::now())
}

fn check_stripped(answer: &Answer) {
    assert_eq!(answer.text(), "ok");
    for name in FIELDS {
        assert!(!answer.headers.contains_key(name), "{answer:?}");
        assert!(!answer.trailers.contains_key(name), "{answer:?}");
    }
}

#[tokio::test]
async fn a_region_is_as_loaded_as_it_says() {
    for fields in [
        "endpoint-load-metrics: TEXT cpu_utilization=0.5, rps_fractional=9\r\n",
        "Endpoint-Load-Metrics: JSON {\"cpu_utilization\":0.5}\r\n",
        &format!("endpoint-load-metrics: BIN {HALF}\r\n"),
        &format!("endpoint-load-metrics-bin: {HALF}\r\n"),
        &format!("endpoint-load-metrics-bin: {HALF}\r\nendpoint-load-metrics: nonsense\r\n"),
        "endpoint-load-metrics: TEXT application_utilization=0.5,cpu_utilization=0.9\r\n",
    ] {
        for down in BOTH {
            let (_upstream, rig, answer) = reporting(fields, Policy::LeastLoad, down).await;
            assert_eq!(utilization(&rig), Some(0.5), "{fields}");
            check_stripped(&answer);
        }
    }
}

#[tokio::test]
async fn who_does_not_steer_by_load_does_not_listen() {
    let fields = format!("endpoint-load-metrics-bin: {HALF}\r\n");
    let (_upstream, rig, answer) = reporting(&fields, Policy::priority(), Down::H1).await;
    assert_eq!(utilization(&rig), None);
    check_stripped(&answer);
    assert_eq!(rig.total("tidegate_load_reports_malformed_total"), 0);
}

#[tokio::test]
async fn what_is_no_report_is_counted_and_nothing_else() {
    for hostile in [
        "TEXT cpu_utilization=0.5,",
        "TEXT cpu_utilization=-1",
        "JSON {",
        "BIN !!!!",
        "XML <a/>",
        "",
    ] {
        let fields = format!("endpoint-load-metrics: {hostile}\r\n");
        let (_upstream, rig, answer) = reporting(&fields, Policy::LeastLoad, Down::H1).await;
        assert_eq!(utilization(&rig), None, "{hostile}");
        check_stripped(&answer);
        let series = r#"tidegate_load_reports_malformed_total{upstream="shop"}"#;
        assert_eq!(rig.metric(series), 1, "{hostile}");
    }
}

/// As services of gRPC report.
#[tokio::test]
async fn trailers_are_heard_and_lose_it_too() {
    let upstream = h2_upstream(|_request, mut respond| async move {
        let head = Response::new(());
        let mut stream = respond.send_response(head, false).unwrap();
        stream.send_data("ok".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert(FIELDS[1], HALF.parse().unwrap());
        trailers.insert("x-sum", "1".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    })
    .await;
    for down in BOTH {
        let mut setup = Setup::to(upstream);
        setup.h2_up(true);
        setup.upstream().steering.policy = Policy::LeastLoad;
        let rig = setup.start();
        let answer = Ask::get("/").field("te", "trailers");
        let answer = answer.send(down, rig.addr()).await;
        check_stripped(&answer);
        assert_eq!(answer.trailers["x-sum"], "1", "{down:?}");
        until("the report", || utilization(&rig) == Some(0.5)).await;
    }
}

/// Who reports more gets less.
#[tokio::test]
async fn the_less_loaded_region_serves() {
    let reports = |load: &str| {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nendpoint-load-metrics: TEXT cpu_utilization={load}\r\n\
             x-load: {load}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        raw(vec![answering(answer)])
    };
    let (busy, idle) = (reports("0.9").await, reports("0.1").await);
    let mut setup = Setup::new([("eu", busy.addr()), ("us", idle.addr())]);
    setup.upstream().steering.policy = Policy::LeastLoad;
    let rig = setup.start();
    let heard = |region: &str| {
        let cell = rig.board.region("shop", region);
        cell.utilization(Instant::now()).is_some()
    };
    while !heard("eu") || !heard("us") {
        assert_eq!(Ask::get("/").send(Down::H1, rig.addr()).await.status, 200);
    }
    for _ in 0..20 {
        let answer = Ask::get("/").send(Down::H1, rig.addr()).await;
        assert_eq!(answer.header("x-load"), "0.1");
    }
}
