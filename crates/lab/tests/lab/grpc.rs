//! Answers whose status stands in trailers.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{Full, StreamBody};

use crate::support::*;

fn call(path: &str) -> http::request::Builder {
    Request::post(format!("http://a{path}")).header("te", "trailers")
}

#[tokio::test]
async fn unary_returns_message_status_and_request_trailers() {
    let region = region("eu").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "abc".parse().unwrap());
    let frames = [
        Frame::data(Bytes::from_static(b"\0\0\0\0\x02hi")),
        Frame::trailers(trailers),
    ];
    let frames = frames.map(Ok::<_, std::convert::Infallible>);
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let answer = ask_h2(region.addr(), call("/grpc/unary").body(body).unwrap()).await;
    assert_eq!(&answer.body[..], b"\0\0\0\0\x02hi");
    assert_eq!(answer.header("content-type"), "application/grpc");
    assert_eq!(answer.trailers["grpc-status"], "0");
    assert_eq!(answer.trailers["x-checksum"], "abc");
    assert!(!answer.headers.contains_key("grpc-status"));
}

#[tokio::test]
async fn a_stream_has_its_messages() {
    let region = region("eu").await;
    let request = call("/grpc/stream/5").body(empty()).unwrap();
    let answer = ask_h2(region.addr(), request).await;
    assert_eq!(answer.body.len(), 5 * 37);
    assert!(
        answer
            .body
            .chunks(37)
            .all(|message| message.starts_with(&[0, 0, 0, 0, 32]))
    );
    assert_eq!(answer.trailers["grpc-status"], "0");
}

#[tokio::test]
async fn trailers_only_has_no_body() {
    let region = region("eu").await;
    let request = call("/grpc/status/14").body(empty()).unwrap();
    let answer = ask_h2(region.addr(), request).await;
    assert_eq!(answer.header("grpc-status"), "14");
    assert!(answer.body.is_empty() && answer.trailers.is_empty());
}

#[tokio::test]
async fn trailers_work_over_h1_too() {
    let region = region("eu").await;
    let request = Request::post("/grpc/unary")
        .header("host", "a")
        .header("te", "trailers");
    let answer = ask(region.addr(), request.body(Full::from("m")).unwrap()).await;
    assert_eq!(answer.trailers["grpc-status"], "0");
}
