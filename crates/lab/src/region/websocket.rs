//! `/ws`: a WebSocket that returns every message, by HTTP/1.1 upgrade (RFC 6455) or extended CONNECT (RFC 8441).

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::answer::{Body, status};
use crate::tasks::Tasks;

const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Accepts the handshake and leaves a task that echoes; 400 or 426 when it is none.
pub(super) fn accept(mut request: Request<Incoming>, tasks: &Tasks) -> Response<Body> {
    let response = if request.method() == Method::CONNECT {
        connect(&request)
    } else {
        upgrade(&request)
    };
    if matches!(
        response.status(),
        StatusCode::OK | StatusCode::SWITCHING_PROTOCOLS
    ) {
        tasks.spawn(echo(hyper::upgrade::on(&mut request)));
    }
    response
}

fn connect(request: &Request<Incoming>) -> Response<Body> {
    let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
    status(if protocol == Some("websocket") {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    })
}

fn upgrade(request: &Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    let wanted = headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !wanted {
        return status(StatusCode::UPGRADE_REQUIRED);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let accept = key.map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = accept.and_then(|accept| HeaderValue::try_from(accept).ok()) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn echo(upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let stream = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
    // Pings and the closing handshake are answered by the library while it is read.
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}
