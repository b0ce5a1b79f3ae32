//! Upgraded connections: WebSocket by `Upgrade` over HTTP/1.1 (RFC 6455) and by extended CONNECT
//! over HTTP/2 (RFC 8441). Upstreams are asked over HTTP/1.1; either kind of client is bridged.

use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::{Buf, BytesMut};
use fastrand::Rng;
use http::StatusCode;
use tidegate_core::Termination;
use tidegate_http1::{Known, encode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use crate::answer::{Answer, AnswerHead};
use crate::conn::Conn;
use crate::context::Context;
use crate::exchange::Exchange;
use crate::finish::Finish;
use crate::forward::{Sink, interim_fields};
use crate::h1::SharedConn;
use crate::head::{RequestHead, ResponseHead};

/// Bytes moved at a time, each way.
const COPY: usize = 16 * 1024;

/// One side of a tunnel.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// Adds what asks an HTTP/1.1 upstream to switch. An HTTP/2 client has sent no
/// `Sec-WebSocket-Key`; it gets one, whose answer nobody but us sees.
pub(crate) fn write_upgrade(head: &RequestHead, protocol: &str, rng: &mut Rng, out: &mut BytesMut) {
    encode::field(out, b"connection", b"upgrade");
    encode::field(out, b"upgrade", protocol.as_bytes());
    if matches!(head, RequestHead::H2(_)) && protocol.eq_ignore_ascii_case("websocket") {
        encode::field(out, b"sec-websocket-key", &websocket_key(rng));
    }
}

/// 16 random bytes in base64, as RFC 6455 section 4.1 wants them.
fn websocket_key(rng: &mut Rng) -> [u8; 24] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut key = [b'='; 24];
    for digit in &mut key[..21] {
        *digit = ALPHABET[rng.usize(..64)];
    }
    // 128 bits are 21 digits and two bits more.
    key[21] = ALPHABET[rng.usize(..4) * 16];
    key
}

/// Takes the connection out of an exchange that has switched protocols.
pub(crate) fn upstream_side(exchange: Exchange, status: StatusCode) -> (Exchange, Option<Box<dyn Duplex>>) {
    match exchange {
        Exchange::H1(mut exchange) if status == StatusCode::SWITCHING_PROTOCOLS => {
            let tunnel = exchange.take_conn().map(|conn| Box::new(Side(conn)) as Box<dyn Duplex>);
            (Exchange::H1(exchange), tunnel)
        }
        exchange => (exchange, None),
    }
}

/// Writes `101 Switching Protocols` for an HTTP/1.1 client.
pub(crate) fn write_switching(answer: &Answer, out: &mut BytesMut) {
    encode::status_line(out, StatusCode::SWITCHING_PROTOCOLS, None);
    if let AnswerHead::Upstream(head) = &answer.head {
        interim_fields(head, out);
        encode::field(out, b"connection", b"upgrade");
        if let ResponseHead::H1(head) = head
            && let Some(protocol) = head.fields.get(Known::Upgrade)
        {
            encode::field(out, b"upgrade", protocol);
        }
    }
    out.add(b"x-request-id", answer.words.request_id.as_bytes());
    encode::end(out);
}

/// Relays bytes both ways until both sides have ended, one breaks, or the process stops waiting.
pub(crate) async fn run(
    _context: &Context,
    mut client: impl Duplex,
    mut upstream: Box<dyn Duplex>,
    finish: &mut Finish,
) {
    match copy_bidirectional_with_sizes(&mut client, &mut upstream, COPY, COPY).await {
        Ok((up, down)) => finish.tunnelled(up, down),
        Err(_) => finish.broke(Termination::Tunnelled),
    }
}

/// An upstream's connection as a plain stream, what was read ahead first.
struct Side(Conn);

/// A client's connection as a plain stream, what was read ahead first.
pub(crate) struct H1Side(pub(crate) SharedConn);

impl AsyncRead for Side {
    fn poll_read(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        poll_read(&mut self.get_mut().0, cx, buf)
    }
}

impl AsyncWrite for Side {
    fn poll_write(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().0.io_mut()).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_shutdown(cx)
    }
}

impl AsyncRead for H1Side {
    fn poll_read(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        poll_read(&mut self.0.borrow_mut(), cx, buf)
    }
}

impl AsyncWrite for H1Side {
    fn poll_write(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.0.borrow_mut().io_mut()).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_shutdown(cx)
    }
}

fn poll_read(conn: &mut Conn, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    if conn.rbuf.is_empty() {
        ready!(Pin::new(conn.io_mut()).poll_read(cx, buf))?;
        return Poll::Ready(Ok(()));
    }
    let ready = conn.rbuf.len().min(buf.remaining());
    buf.put_slice(&conn.rbuf[..ready]);
    conn.rbuf.advance(ready);
    Poll::Ready(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_key_is_base64_of_16_bytes() {
        let key = websocket_key(&mut Rng::with_seed(7));
        assert!(key.ends_with(b"=="));
        assert!(key[..22].iter().all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(digit)));
        assert!(b"AQgw".contains(&key[21]), "the last digit carries two bits");
    }
}
