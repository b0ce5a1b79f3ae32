//! The WebSocket echo, reached both ways.

use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::*;

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    let big = Message::binary(tidegate_lab::content::bytes(1, 0, 200_000));
    for message in [Message::text("hello"), big] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        assert!(message.is_close());
    }
}

#[tokio::test]
async fn by_upgrade() {
    let region = region("eu").await;
    let url = format!("ws://{}/ws", region.addr());
    let (socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["x-lab-region"], "eu");
    converse(socket).await;
}

#[tokio::test]
async fn by_extended_connect() {
    let region = region("eu").await;
    let stream = TokioIo::new(TcpStream::connect(region.addr()).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    // The server's permission (RFC 8441, section 3) arrives with its first SETTINGS, ahead of any answer.
    let first = Request::get("http://a/").body(empty()).unwrap();
    read(sender.send_request(first).await.unwrap()).await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://a/ws")
        .extension(Protocol::from_static("websocket"));
    let response = sender
        .send_request(request.body(empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    converse(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await).await;
    connection.abort();
}

#[tokio::test]
async fn a_handshake_without_a_key_is_refused() {
    let region = region("eu").await;
    let request = get("/ws")
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    let answer = ask(region.addr(), request.body(empty()).unwrap()).await;
    assert_eq!(answer.status, 400);
}
