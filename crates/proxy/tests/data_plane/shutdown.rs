//! The end: nothing new, nothing lost, nobody waited for who does nothing.

use std::time::Duration;

use http::Request;
use tidegate_lab::{Action, RawUpstream};
use tidegate_proxy::Drained;
use tokio::net::TcpStream;

use crate::harness::{Answer, Ask, Down, End, H1, H2, HOST, Rig, Setup, answering, patiently, raw};
use crate::harness::{until, world};

const ALL_DONE: Drained = Drained {
    finished: true,
    cut: 0,
};

/// An upstream that answers when the client's second byte has come: the test holds the reins.
async fn waiting() -> RawUpstream {
    raw(vec![vec![
        Action::ReadHead,
        Action::ReadBytes(2),
        Action::send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone"),
        Action::Stall,
    ]])
    .await
}

/// Waits until connecting is refused: the shutdown has begun.
async fn until_closed(addr: std::net::SocketAddr) {
    patiently("a closed port", async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Starts the shutdown, then lets the request that is under way finish.
async fn shut_down_under<T>(rig: Rig, finish: impl Future<Output = T>) -> (Drained, T) {
    let addr = rig.addr();
    let finishing = async {
        until_closed(addr).await;
        finish.await
    };
    patiently("the shutdown", async {
        tokio::join!(rig.shutdown(), finishing)
    })
    .await
}

#[tokio::test]
async fn an_http_1_request_in_flight_finishes() {
    let upstream = waiting().await;
    let rig = Setup::to(upstream.addr()).start();
    let mut client = H1::connect(rig.addr()).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\n1")
        .await;
    until("the request's arrival", || upstream.connections() == 1).await;
    let (drained, (answer, ended)) = shut_down_under(rig, async {
        client.send("2").await;
        (client.answer().await, client.is_ended().await)
    })
    .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    assert_eq!((answer.header("connection"), ended), ("close", true));
    assert_eq!(drained, ALL_DONE);
}

#[tokio::test]
async fn an_http_2_request_in_flight_finishes() {
    let upstream = waiting().await;
    let rig = Setup::to(upstream.addr()).start();
    let mut client = H2::connect(rig.addr()).await;
    let request = Request::post(format!("http://{HOST}/"))
        .header("content-length", 2)
        .body(())
        .unwrap();
    let mut sending = client.open(request, false).await;
    sending.upload.send_data("1".into(), false).unwrap();
    until("the request's arrival", || upstream.connections() == 1).await;
    let (drained, (answer, ended)): (_, (Answer, _)) = shut_down_under(rig, async {
        sending.upload.send_data("2".into(), true).unwrap();
        (sending.answer().await, client.ended().await)
    })
    .await;
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.end),
        (200, "done", End::Whole)
    );
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(drained, ALL_DONE);
}

/// Idle connections, new ones and half a head keep nobody waiting.
#[tokio::test]
async fn idle_connections_close_at_once() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.listeners[0].limits.header_timeout = Duration::from_secs(2);
    let rig = setup.start();
    let mut idle = H1::connect(rig.addr()).await;
    assert_eq!(idle.ask(&Ask::get("/")).await.status, 200);
    let mut silent = H1::connect(rig.addr()).await;
    let mut idle_h2 = H2::connect(rig.addr()).await;
    assert_eq!(idle_h2.ask(&Ask::get("/")).await.status, 200);
    let mut half = H1::connect(rig.addr()).await;
    half.send("GET / HT").await;
    until("four connections", || rig.running().connections() == 4).await;
    let drained = patiently("the shutdown", rig.shutdown()).await;
    assert_eq!(drained, ALL_DONE);
    assert!(idle.is_ended().await && silent.is_ended().await);
    half.rest().await;
    idle_h2.ended().await.unwrap();
}

/// A stream of a body goes on to its end.
#[tokio::test]
async fn a_body_in_flight_finishes() {
    for down in [Down::H1, Down::H2] {
        let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        let upstream = raw(vec![vec![
            Action::ReadHead,
            Action::send(chunk),
            Action::ReadBytes(1),
            Action::send("6\r\n whole\r\n0\r\n\r\n"),
            Action::Stall,
        ]])
        .await;
        let rig = Setup::to(upstream.addr()).start();
        let mut h1 = H1::connect(rig.addr()).await;
        let mut h2 = H2::connect(rig.addr()).await;
        let text = if down == Down::H1 {
            h1.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\n")
                .await;
            until("the request's arrival", || upstream.connections() == 1).await;
            let done = shut_down_under(rig, async {
                h1.send("x").await;
                h1.answer().await.text()
            });
            let (drained, text) = done.await;
            assert_eq!(drained, ALL_DONE);
            text
        } else {
            let request = Request::post(format!("http://{HOST}/")).body(()).unwrap();
            let mut sending = h2.open(request, false).await;
            until("the request's arrival", || upstream.connections() == 1).await;
            let done = shut_down_under(rig, async {
                sending.upload.send_data("x".into(), true).unwrap();
                sending.answer().await.text()
            });
            let (drained, text) = done.await;
            assert_eq!(drained, ALL_DONE);
            text
        };
        assert_eq!(text, "half whole", "{down:?}");
    }
}

/// What is left at the time limit is cut, counted, and written down.
#[tokio::test]
async fn what_does_not_end_is_cut() {
    let upstream = raw(vec![answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
    )])
    .await;
    let rig = Setup::to(upstream.addr()).start();
    let mut h1 = H1::connect(rig.addr()).await;
    h1.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    h1.head().await;
    let mut h2 = H2::connect(rig.addr()).await;
    let request = Request::get(format!("http://{HOST}/")).body(()).unwrap();
    let answer = patiently("a head", h2.open(request, true).await.response)
        .await
        .unwrap();
    let books = rig.books();
    let drained = rig.into_running().shutdown(Duration::from_millis(50)).await;
    assert_eq!(
        drained,
        Drained {
            finished: false,
            cut: 2
        }
    );
    let (rest, _) = h1.rest().await;
    assert_eq!(rest, "half", "cut before the announced length");
    let mut body = answer.into_body();
    let broke = patiently("a break", async {
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                other => return other.is_none_or(|data| data.is_err()),
            }
        }
    });
    assert!(broke.await);
    for line in books.log(2).await {
        assert_eq!(line["status"], 200, "{line}");
        assert_ne!(line["reason"], "completed", "{line}");
    }
}

/// After the end nothing is left: no port, no connection to an upstream.
#[tokio::test]
async fn nothing_is_left_behind() {
    let world = world(&["eu"]).await;
    for h2_up in [false, true] {
        let mut setup = Setup::world(&world);
        setup.h2_up(h2_up);
        let rig = setup.start();
        for down in [Down::H1, Down::H2] {
            assert_eq!(Ask::get("/").send(down, rig.addr()).await.status, 200);
        }
        let addr = rig.addr();
        assert_eq!(rig.shutdown().await, ALL_DONE);
        assert!(TcpStream::connect(addr).await.is_err());
        let link = &world.site("eu").unwrap().link;
        until("no upstream connection", || link.stats().open == 0).await;
    }
}
