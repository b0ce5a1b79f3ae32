//! What clients may cost: time for a head, connections, bytes, fields, streams. Limits are short
//! here, and what is waited for is the close, never the clock.

use std::time::Duration;

use http::Request;
use tidegate_lab::Action;

use crate::harness::{Ask, Down, H1, H2, HOST, Setup, answering, patiently, raw, until, world};

const SOON: Duration = Duration::from_millis(500);
const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// A head that trickles in is answered 408; a client that says nothing is just let go.
#[tokio::test]
async fn a_head_must_come_in_time() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.limits().header_timeout = SOON;
    let rig = setup.start();
    for slow in [
        "GET",
        "GET / HTTP/1.1\r\nhost: a.te",
        "GET / HTTP/1.1\r\nhost: a.test\r\n",
    ] {
        let mut client = H1::connect(rig.addr()).await;
        client.send(slow).await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (408, "client_timeout"),
            "{slow:?}"
        );
        assert_eq!(answer.header("connection"), "close");
        assert!(client.is_ended().await);
    }
    // Nothing, or only the beginning of what could be HTTP/2's preface: nobody to answer.
    for silent in ["", "P", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut client = H1::connect(rig.addr()).await;
        client.send(silent).await;
        assert!(client.is_ended().await, "{silent:?}");
    }
    assert_eq!(world.site("eu").unwrap().link.stats().connections, 0);
}

/// One byte at a time does not buy more time.
#[tokio::test]
async fn trickling_does_not_extend_the_limit() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.limits().header_timeout = SOON;
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    client.send("GET / HTTP/1.1\r\n").await;
    let trickle = async {
        loop {
            client.send("x: y\r\n").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            if rig.running().connections() == 0 {
                break;
            }
        }
    };
    patiently("the end of a slow head", trickle).await;
    assert_eq!(rig.log(1).await[0]["reason"], "client_timeout");
}

/// Between requests a connection may idle for so long; a request resets that.
#[tokio::test]
async fn idle_connections_are_closed() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.limits().idle_timeout = SOON;
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    for _ in 0..2 {
        assert_eq!(client.ask_raw(GET).await.status, 200);
    }
    assert!(client.is_ended().await, "closed without a word");
    let mut client = H2::connect(rig.addr()).await;
    assert_eq!(client.ask(&Ask::get("/")).await.status, 200);
    client.ended().await.unwrap();
    until("no connection", || rig.running().connections() == 0).await;
}

/// A request under way is not idle, however long it takes.
#[tokio::test]
async fn a_request_under_way_is_not_idle() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.limits().idle_timeout = SOON;
    let rig = setup.start();
    let ask = Ask::get("/slow/1000");
    let (h1, h2) = tokio::join!(
        ask.send(Down::H1, rig.addr()),
        ask.send(Down::H2, rig.addr())
    );
    assert_eq!((h1.status, h2.status), (200, 200));
}

/// A full listener lets the next client wait, and takes it when a place is free.
#[tokio::test]
async fn the_next_client_waits_for_a_place() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.limits().connections = 2;
    let rig = setup.start();
    let mut first = H1::connect(rig.addr()).await;
    let mut second = H1::connect(rig.addr()).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask_raw(GET).await.status, 200);
    }
    // The kernel completes the connect; nobody reads the request yet.
    let mut third = H1::connect(rig.addr()).await;
    third.send(GET).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask_raw(GET).await.status, 200);
    }
    assert_eq!(rig.running().connections(), 2);
    assert_eq!(
        world.site("eu").unwrap().region.snapshot().requests_total(),
        4
    );
    drop(first);
    assert_eq!(third.answer().await.status, 200);
    assert!(rig.running().connections() <= 2);
}

#[tokio::test]
async fn heads_are_bounded() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.limits().header_bytes = 2048;
    setup.limits().header_fields = 10;
    let rig = setup.start();
    let field = |size: usize| format!("x-big: {}\r\n", "y".repeat(size));
    let many = "x: y\r\n".repeat(10);
    let cases = [
        (format!("/{}", "p".repeat(100)), String::new(), 200, ""),
        ("/".to_owned(), field(2100), 431, "head_too_large"),
        ("/".to_owned(), field(100_000), 431, "head_too_large"),
        ("/".to_owned(), many, 431, "fields_too_many"),
    ];
    for (path, fields, status, reason) in cases {
        let mut client = H1::connect(rig.addr()).await;
        client
            .send(format!(
                "GET {path} HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n"
            ))
            .await;
        let answer = client.answer().await;
        let what = format!("{} {} {}", path.len(), fields.len(), answer.text());
        assert_eq!(answer.status, status, "{what}");
        assert!(
            answer.status == 200 || answer.detail().contains(reason),
            "{what}"
        );
    }
}

/// A target has a limit of its own, and a status of its own.
#[tokio::test]
async fn targets_are_bounded() {
    let world = world(&["eu"]).await;
    let rig = Setup::world(&world).start();
    for (length, status) in [(8000, 200), (9000, 414)] {
        let target = format!("/{}", "p".repeat(length));
        let answer = Ask::get(&target).send(Down::H1, rig.addr()).await;
        assert_eq!(answer.status, status, "{length}");
    }
}

#[tokio::test]
async fn http_2_heads_are_bounded() {
    let world = world(&["eu"]).await;
    let rig = Setup::world(&world).start();
    let mut client = H2::connect(rig.addr()).await;
    let fits = client
        .ask(&Ask::get("/").field("x-big", "y".repeat(10_000)))
        .await;
    assert_eq!(fits.status, 200);
    let big = client
        .ask(&Ask::get("/").field("x-big", "y".repeat(100_000)))
        .await;
    assert!(big.status == 431 || big.status == 0, "{big:?}");
    assert_eq!(
        world.site("eu").unwrap().region.snapshot().requests_total(),
        1
    );
}

/// Too large a body is refused at once if it says so, else as soon as it shows.
#[tokio::test]
async fn bodies_are_bounded() {
    for down in [Down::H1, Down::H2] {
        let world = world(&["eu"]).await;
        let mut setup = Setup::world(&world);
        setup.upstream().body.max_bytes = Some(10_000);
        let rig = setup.start();
        let fits = Ask::post("/sha256", vec![7; 10_000]);
        for ask in [fits.clone(), fits.chunked()] {
            assert_eq!(ask.send(down, rig.addr()).await.status, 200);
        }
        let requests = || world.site("eu").unwrap().region.snapshot().requests_total();
        let before = requests();
        let large = Ask::post("/sha256", vec![7; 10_001]);
        let answer = large.send(down, rig.addr()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (413, "body_too_large"),
            "{down:?}"
        );
        assert_eq!(
            requests(),
            before,
            "an announced length is judged before anybody is asked"
        );
        let answer = large.chunked().send(down, rig.addr()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (413, "body_too_large"),
            "{down:?}"
        );
        rig.until_idle().await;
    }
}

/// One connection may have so many requests under way.
#[tokio::test]
async fn http_2_streams_are_bounded() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.limits().h2_streams = 3;
    let rig = setup.start();
    let mut client = H2::connect(rig.addr()).await;
    until("the server's settings", || {
        client.send.current_max_send_streams() == 3
    })
    .await;
    let request = || {
        Request::get(format!("http://{HOST}/slow/600000"))
            .body(())
            .unwrap()
    };
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(client.open(request(), true).await);
    }
    let site = world.site("eu").unwrap();
    let arrived = |count| site.region.snapshot().requests_total() == count;
    until("three requests", || arrived(3)).await;
    // A fourth waits in the client's own library for one of them to end.
    let fourth = client.send.send_request(request(), true).unwrap();
    open.pop().unwrap().upload.send_reset(h2::Reason::CANCEL);
    until("the fourth request", || arrived(4)).await;
    assert!(rig.in_flight() <= 3);
    drop(fourth);
}

/// A client that only opens and cancels is told to calm down, and gone.
#[tokio::test]
async fn opening_and_cancelling_is_no_use() {
    let world = world(&["eu"]).await;
    let rig = Setup::world(&world).start();
    let mut client = H2::connect(rig.addr()).await;
    let storm = async {
        loop {
            let Ok(mut ready) = client.send.clone().ready().await else {
                return;
            };
            let request = Request::get(format!("http://{HOST}/slow/600000"))
                .body(())
                .unwrap();
            let Ok((_, mut stream)) = ready.send_request(request, true) else {
                return;
            };
            tokio::task::yield_now().await;
            stream.send_reset(h2::Reason::CANCEL);
        }
    };
    patiently("the end of a storm", storm).await;
    // Its last word may be lost to a client that goes on sending.
    let ended = client.ended().await.unwrap_err().reason();
    assert!(
        matches!(ended, None | Some(h2::Reason::ENHANCE_YOUR_CALM)),
        "{ended:?}"
    );
    rig.until_idle().await;
}

/// An upload that stands still ends, and is the client's fault; an answer that does, the service's.
#[tokio::test]
async fn bodies_that_stand_still_are_ended() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.route().idle_timeout = SOON;
    let rig = setup.start();
    let mut client = H1::connect(rig.addr()).await;
    client
        .send("POST /sha256 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nhello")
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (408, "client_timeout")
    );
    assert!(client.is_ended().await);

    let part = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let upstream = raw(vec![vec![
        Action::ReadHead,
        Action::send(part),
        Action::Stall,
    ]])
    .await;
    let mut setup = Setup::to(upstream.addr());
    setup.route().idle_timeout = SOON;
    let rig = setup.start();
    for down in [Down::H1, Down::H2] {
        let answer = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.is_whole()),
            (200, "hello", false)
        );
    }
    for line in rig.log(2).await {
        assert_eq!(line["reason"], "idle_timeout", "{line}");
    }
    assert_eq!(
        rig.metric(r#"tidegate_requests_lost_total{why="idle_timeout"}"#),
        2
    );
}

/// A stream may go on for longer than any limit, as long as it moves.
#[tokio::test]
async fn a_body_that_moves_is_never_idle() {
    let world = world(&["eu"]).await;
    let mut setup = Setup::world(&world);
    setup.route().idle_timeout = Duration::from_secs(1);
    setup.route().timeout = Duration::from_secs(1);
    let rig = setup.start();
    // 15 pieces, 100 ms apart.
    let ask = Ask::get("/slow-body/15360/100");
    let (h1, h2) = tokio::join!(
        ask.send(Down::H1, rig.addr()),
        ask.send(Down::H2, rig.addr())
    );
    for answer in [h1, h2] {
        assert!(answer.status == 200 && answer.is_whole() && answer.body.len() == 15_360);
    }
}

/// No route, no upstream, an honest 404.
#[tokio::test]
async fn what_no_route_takes_is_not_found() {
    let upstream = raw(vec![answering("")]).await;
    let mut setup = Setup::to(upstream.addr());
    setup.route().matches.host = Some("other.test".into());
    let rig = setup.start();
    for down in [Down::H1, Down::H2] {
        let answer = Ask::get("/").send(down, rig.addr()).await;
        assert_eq!((answer.status, answer.reason().as_str()), (404, "no_route"));
    }
    assert_eq!(upstream.connections(), 0);
}
