//! WebSocket in every combination: by `Upgrade` (RFC 6455) or extended CONNECT (RFC 8441), on
//! either side.

use std::future::poll_fn;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2::{RecvStream, SendStream};
use http::Request;
use tidegate_lab::{Action, World};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{ADDED, H1, H2, HOST, Rig, Setup, golden, one_head, patiently, raw};
use crate::harness::{received, until, world};

fn rig(world: &World, h2_up: bool) -> Rig {
    let mut setup = Setup::world(world);
    setup.h2_up(h2_up);
    setup.start()
}

/// A WebSocket over HTTP/1.1; the library checks the proof of the handshake.
async fn upgraded(rig: &Rig) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(rig.addr()).await.unwrap();
    let opened = client_async(format!("ws://{HOST}/ws"), stream);
    let (socket, answer) = patiently("an upgrade", opened).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert!(answer.headers().contains_key("x-request-id"));
    socket
}

/// A tunnel over HTTP/2.
async fn connected(client: &mut H2, path: &str) -> (SendStream<Bytes>, RecvStream) {
    until("extended CONNECT", || {
        client.send.is_extended_connect_protocol_enabled()
    })
    .await;
    let mut request = Request::connect(format!("http://{HOST}{path}"))
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static("websocket"));
    let headers = request.headers_mut();
    headers.insert("sec-websocket-version", "13".parse().unwrap());
    let sending = client.open(request, false).await;
    let answer = patiently("an answer", sending.response).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("sec-websocket-accept"));
    (sending.upload, answer.into_body())
}

/// A text message as a client must send it: masked, here with zeros (RFC 6455 section 5.2).
fn frame(text: &str) -> Bytes {
    let length = u8::try_from(text.len()).unwrap();
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame.into()
}

#[tokio::test]
async fn messages_come_back_over_http_1() {
    let world = world(&["eu"]).await;
    for h2_up in [false, true] {
        let rig = rig(&world, h2_up);
        let mut socket = upgraded(&rig).await;
        for text in ["hello".to_owned(), "x".repeat(300_000), String::new()] {
            patiently("a message", async {
                socket.send(Message::text(&text)).await.unwrap();
                let back = socket.next().await.unwrap().unwrap();
                assert_eq!(back.to_text().unwrap(), text);
            })
            .await;
        }
        assert_eq!(rig.in_flight(), 1);
        patiently("the end", socket.close(None)).await.unwrap();
        while let Some(Ok(_)) = patiently("the end", socket.next()).await {}
        drop(socket);
        rig.until_idle().await;
        let log = &rig.log(1).await[0];
        assert_eq!(log["reason"], "tunnelled", "{log}");
        // What the client got, whatever the upstream's protocol calls it.
        assert_eq!(log["status"], 101, "{log}");
        assert!(log["bytes_in"].as_u64().unwrap() > 300_000, "{log}");
        assert!(log["bytes_out"].as_u64().unwrap() > 300_000, "{log}");
    }
}

#[tokio::test]
async fn messages_come_back_over_http_2() {
    let world = world(&["eu"]).await;
    for h2_up in [false, true] {
        let rig = rig(&world, h2_up);
        let mut client = H2::connect(rig.addr()).await;
        let (mut upload, mut download) = connected(&mut client, "/ws").await;
        upload.send_data(frame("hello"), false).unwrap();
        let mut got = Vec::new();
        while got.len() < 7 {
            let data = patiently("an echo", download.data())
                .await
                .unwrap()
                .unwrap();
            got.extend_from_slice(&data);
        }
        assert_eq!(got, b"\x81\x05hello");
        // The client ends, and so does everything behind it.
        upload.send_reset(h2::Reason::CANCEL);
        rig.until_idle().await;
        let log = &rig.log(1).await[0];
        assert_eq!(log["reason"], "tunnelled", "{log}");
        assert_eq!(log["status"], 200, "{log}");
    }
}

/// What an HTTP/1.1 upstream is asked on behalf of an HTTP/2 client.
#[tokio::test]
async fn a_bridged_request_is_an_upgrade_with_a_key_of_its_own() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\nfirst";
    let upstream = raw(vec![vec![
        Action::ReadHead,
        Action::send(switching),
        Action::Stall,
    ]])
    .await;
    let rig = Setup::to(upstream.addr()).start();
    let mut client = H2::connect(rig.addr()).await;
    let (_upload, mut download) = connected(&mut client, "/chat").await;
    // What the upstream sent right behind its head is part of the tunnel.
    assert_eq!(
        patiently("a byte", download.data()).await.unwrap().unwrap(),
        "first"
    );
    let seen = received(&upstream, 0, one_head).await;
    let (before, key) = seen.split_once("sec-websocket-key: ").unwrap();
    let added = ADDED.replace("via: 1.1", "via: 2");
    let expected = format!(
        "GET /chat HTTP/1.1\r\nhost: a.test\r\nsec-websocket-version: 13\r\n{added}\
         connection: upgrade\r\nupgrade: websocket\r\n"
    );
    assert_eq!(before, expected);
    assert_eq!(
        key.len(),
        24 + 4,
        "16 bytes in base64 and the end of the head"
    );
}

/// What the client sent right behind its head is part of the tunnel, too.
#[tokio::test]
async fn nothing_is_lost_around_the_switch() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\nwelcome";
    let upstream = raw(vec![vec![
        Action::ReadHead,
        Action::send(switching),
        Action::ReadBytes(5),
        Action::send("bye"),
        Action::Close,
    ]])
    .await;
    let rig = Setup::to(upstream.addr()).start();
    let mut client = H1::connect(rig.addr()).await;
    let head =
        "GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\n";
    client.send(format!("{head}early")).await;
    let (got, ended) = client.rest().await;
    let expected = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        sec-websocket-accept: x\r\nupgrade: websocket\r\nx-request-id: <id>\r\n\r\nwelcomebye";
    assert_eq!(
        (golden(got.as_bytes()).as_str(), ended.as_str()),
        (expected, "closed")
    );
    let seen = golden(&upstream.received(0).unwrap());
    assert!(
        seen.ends_with("connection: upgrade\r\nupgrade: websocket\r\n\r\nearly"),
        "{seen}"
    );
}

/// A piece of a body is one frame: peers take many tiny frames for an attack.
#[tokio::test]
async fn a_piece_is_one_frame() {
    let upstream = crate::harness::h2_upstream(|request, mut respond| async move {
        let mut body = request.into_body();
        let mut answer = respond
            .send_response(http::Response::new(()), false)
            .unwrap();
        while let Some(Ok(data)) = body.data().await {
            let said = format!("{:05}", data.len());
            let _closed = answer.send_data(said.into(), false);
        }
        poll_fn(|cx| answer.poll_reset(cx)).await.ok();
    });
    let mut setup = Setup::to(upstream.await);
    setup.h2_up(true);
    let rig = setup.start();
    let mut client = H2::connect(rig.addr()).await;
    let request = Request::post(format!("http://{HOST}/")).body(()).unwrap();
    let sending = client.open(request, false).await;
    let answer = patiently("an answer", sending.response).await.unwrap();
    let plain = (sending.upload, answer.into_body());
    for (mut upload, mut download) in [plain, connected(&mut client, "/").await] {
        for _ in 0..3 {
            upload
                .send_data(Bytes::from_static(&[7; 37]), false)
                .unwrap();
            let data = patiently("a count", download.data())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(data, "00037");
        }
    }
}
