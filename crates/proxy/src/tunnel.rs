//! Upgraded connections: WebSocket by `Upgrade` over HTTP/1.1 (RFC 6455) and by extended CONNECT
//! over HTTP/2 (RFC 8441). Upstreams are asked in the protocol that they speak; any kind of client
//! is bridged to any kind of upstream.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, BytesMut};
use fastrand::Rng;
use http::StatusCode;
use sha1::{Digest, Sha1};
use tidegate_core::Termination;
use tidegate_http1::{Known, encode};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes,
};

use crate::answer::{Answer, AnswerHead};
use crate::clock::now;
use crate::conn::Conn;
use crate::context::Context;
use crate::deadline::Ends;
use crate::exchange::Exchange;
use crate::finish::Finish;
use crate::forward::{Sink, interim_fields};
use crate::frames::{Frames, GOING_AWAY};
use crate::h1::SharedConn;
use crate::head::{RequestHead, ResponseHead};
use crate::homing::Homing;
use crate::wheel::{Timer, within};

/// Bytes moved at a time, each way.
const COPY: usize = 16 * 1024;
/// A tunnel in which nothing has moved for so long is ended.
const IDLE: Duration = Duration::from_secs(3600);
/// A client that was told to go has so long.
const FAREWELL: Duration = Duration::from_secs(2);

/// One side of a tunnel.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// An upstream's side of a tunnel.
pub(crate) struct Tunnel {
    pub(crate) upstream: Box<dyn Duplex>,
    /// When it is to be ended, if it runs in another region than it should.
    pub(crate) homing: Option<Box<Homing>>,
    /// When it must be over whether it moves or not.
    pub(crate) ends: Option<Ends>,
    /// Whether it carries a WebSocket.
    pub(crate) websocket: bool,
}

/// Adds what asks an HTTP/1.1 upstream to switch. An HTTP/2 client has sent no
/// `Sec-WebSocket-Key`; it gets one, whose answer nobody but us sees.
pub(crate) fn write_upgrade(head: &RequestHead, protocol: &str, rng: &mut Rng, out: &mut BytesMut) {
    encode::field(out, b"connection", b"upgrade");
    encode::field(out, b"upgrade", protocol.as_bytes());
    if matches!(head, RequestHead::H2(_)) && protocol.eq_ignore_ascii_case("websocket") {
        encode::field(out, b"sec-websocket-key", websocket_key(rng).as_bytes());
    }
}

/// 16 random bytes in base64, as RFC 6455 section 4.1 wants them.
fn websocket_key(rng: &mut Rng) -> String {
    BASE64_STANDARD.encode(rng.u128(..).to_ne_bytes())
}

/// Takes the connection out of an exchange that has switched protocols. `upgrade`: that was asked.
#[inline]
pub(crate) fn upstream_side(
    exchange: Exchange,
    status: StatusCode,
    upgrade: bool,
) -> (Exchange, Option<Box<dyn Duplex>>) {
    match exchange {
        Exchange::H1(mut exchange) if status == StatusCode::SWITCHING_PROTOCOLS => {
            let tunnel = exchange
                .take_conn()
                .map(|conn| Box::new(Side(conn)) as Box<dyn Duplex>);
            (Exchange::H1(exchange), tunnel)
        }
        Exchange::H2(mut exchange) if upgrade && status == StatusCode::OK => {
            let tunnel = exchange
                .take_duplex()
                .map(|stream| Box::new(stream) as Box<dyn Duplex>);
            (Exchange::H2(exchange), tunnel)
        }
        exchange => (exchange, None),
    }
}

/// What an HTTP/1.1 client needs to hear when its upstream has answered over HTTP/2.
#[derive(Debug)]
pub(crate) struct Switch {
    protocol: Box<str>,
    accept: Option<Box<str>>,
}

impl Switch {
    /// The words for a client that has asked with this head.
    pub(crate) fn of(head: &RequestHead) -> Option<Self> {
        let protocol = head.upgrade()?;
        let key = head.field_named(&http::header::SEC_WEBSOCKET_KEY);
        Some(Self {
            protocol: protocol.into(),
            accept: key.map(websocket_accept),
        })
    }
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
fn websocket_accept(key: &str) -> Box<str> {
    let mut proof = Sha1::new();
    proof.update(key.as_bytes());
    proof.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(proof.finalize()).into()
}

/// Writes `101 Switching Protocols` for an HTTP/1.1 client.
pub(crate) fn write_switching(answer: &Answer, switch: Option<&Switch>, out: &mut BytesMut) {
    encode::status_line(out, StatusCode::SWITCHING_PROTOCOLS, None);
    encode::field(out, b"connection", b"upgrade");
    if let AnswerHead::Upstream(head) = &answer.head {
        interim_fields(head, out);
        match (head, switch) {
            (ResponseHead::H1(head), _) => {
                if let Some(protocol) = head.fields.get(Known::Upgrade) {
                    encode::field(out, b"upgrade", protocol);
                }
            }
            (ResponseHead::H2(_), Some(switch)) => switch.write(out),
            (ResponseHead::H2(_), None) => {}
        }
    }
    out.add(b"x-request-id", answer.words.request_id.as_bytes());
    if let Some(cookie) = &answer.words.set_cookie {
        out.add(b"set-cookie", cookie.as_bytes());
    }
    encode::end(out);
}

impl Switch {
    fn write(&self, out: &mut BytesMut) {
        encode::field(out, b"upgrade", self.protocol.as_bytes());
        if let Some(accept) = &self.accept {
            encode::field(out, b"sec-websocket-accept", accept.as_bytes());
        }
    }
}

/// Relays bytes both ways until both sides have ended, one breaks, or nothing has moved for long.
pub(crate) async fn run(
    context: &Context,
    client: impl Duplex,
    tunnel: Tunnel,
    finish: &mut Finish,
) {
    let Tunnel {
        mut upstream,
        mut homing,
        ends,
        websocket,
    } = tunnel;
    let may_be_cut = homing.is_some() || ends.is_some();
    let frames = (websocket && may_be_cut).then(Frames::default);
    let meter = Meter {
        frames: RefCell::new(frames),
        ..Meter::default()
    };
    let mut client = Metered {
        io: client,
        meter: &meter,
    };
    // A side that breaks ends a tunnel as well as one that ends it in order; what was due after
    // that, nobody but the two knows.
    let mut copy = Box::pin(copy_bidirectional_with_sizes(
        &mut client,
        &mut upstream,
        COPY,
        COPY,
    ));
    let mut watch = Watch::new(context.worker.wheel.timer(), ends);
    let mut heard = 0;
    let ended = poll_fn(|cx| {
        let copied = copy.as_mut().poll(cx).map(|_ended| Termination::Tunnelled);
        if std::mem::replace(&mut heard, meter.written.get()) != meter.written.get() {
            finish.heard(now());
        }
        let ended = match copied {
            Poll::Pending => watch.poll_over(cx, meter.total()),
            ended => ended,
        };
        match &mut homing {
            Some(homing) if ended.is_pending() => {
                homing.poll_due(cx).map(|()| Termination::DrainedHome)
            }
            _ => ended,
        }
    })
    .await;
    drop(copy);
    if ended != Termination::Tunnelled && meter.may_close() {
        drop(upstream);
        let timer = watch.timer;
        let _gone = within(&timer, now() + FAREWELL, part(&mut client)).await;
    }
    finish.tunnelled(ended, meter.read.get(), meter.written.get());
}

/// Tells a WebSocket's client that we go, and waits until it has gone.
async fn part(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    client.write_all(&GOING_AWAY).await?;
    client.shutdown().await?;
    let mut rest = [0; 512];
    while client.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Notices that nothing moves: without a bound, a side that never closes would keep both. And that
/// the time of a tunnel that has one is over.
struct Watch {
    timer: Timer,
    seen: u64,
    look: Instant,
    ends: Option<Instant>,
}

impl Watch {
    fn new(timer: Timer, ends: Option<Ends>) -> Self {
        let watch = Self {
            timer,
            seen: 0,
            look: now() + IDLE,
            ends: ends.map(|ends| ends.at),
        };
        watch.arm();
        watch
    }

    fn arm(&self) {
        self.timer
            .set(self.ends.map_or(self.look, |ends| ends.min(self.look)));
    }

    /// Ready, with the reason, when nothing has moved for one to two times the limit, or the time is
    /// over.
    fn poll_over(&mut self, cx: &mut TaskContext<'_>, total: u64) -> Poll<Termination> {
        while self.timer.poll_expired(cx).is_ready() {
            let at = now();
            if self.ends.is_some_and(|ends| ends <= at) {
                return Poll::Ready(Termination::DeadlineExceeded);
            }
            if std::mem::replace(&mut self.seen, total) == total {
                return Poll::Ready(Termination::Tunnelled);
            }
            self.look = at + IDLE;
            self.arm();
        }
        Poll::Pending
    }
}

/// Bytes that came from the client and went to it.
#[derive(Default)]
struct Meter {
    read: Cell<u64>,
    written: Cell<u64>,
    /// The frames that went to the client, if a Close may have to follow them.
    frames: RefCell<Option<Frames>>,
}

impl Meter {
    fn total(&self) -> u64 {
        self.read.get() + self.written.get()
    }

    /// Whether the client could understand a Close now.
    fn may_close(&self) -> bool {
        self.frames
            .borrow()
            .as_ref()
            .is_some_and(Frames::may_follow)
    }
}

/// Counts what passes, so that it is known however a tunnel ends.
struct Metered<'a, T> {
    io: T,
    meter: &'a Meter,
}

impl<T: Duplex> AsyncRead for Metered<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        self.meter.read.set(self.meter.read.get() + read);
        Poll::Ready(Ok(()))
    }
}

impl<T: Duplex> AsyncWrite for Metered<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = ready!(Pin::new(&mut self.io).poll_write(cx, data))?;
        self.meter
            .written
            .set(self.meter.written.get() + wrote as u64);
        if let Some(frames) = &mut *self.meter.frames.borrow_mut() {
            frames.pass(&data[..wrote]);
        }
        Poll::Ready(Ok(wrote))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// An upstream's connection as a plain stream, what was read ahead first.
struct Side(Box<Conn>);

/// A client's connection as a plain stream, what was read ahead first.
pub(crate) struct H1Side(pub(crate) SharedConn);

impl AsyncRead for Side {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_read(&mut self.get_mut().0, cx, buf)
    }
}

impl AsyncWrite for Side {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
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
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_read(&mut self.0.borrow_mut(), cx, buf)
    }
}

impl AsyncWrite for H1Side {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.borrow_mut().io_mut()).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_shutdown(cx)
    }
}

fn poll_read(
    conn: &mut Conn,
    cx: &mut TaskContext<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
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
    use tokio::task::LocalSet;

    use super::*;
    use crate::wheel::Wheel;

    #[test]
    fn keys_and_proofs_are_those_of_rfc_6455() {
        let key = websocket_key(&mut Rng::with_seed(7));
        assert_eq!(BASE64_STANDARD.decode(key).unwrap().len(), 16);
        // The example of section 1.3.
        assert_eq!(
            &*websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// Why and when a tunnel ends that moves for 90 minutes.
    async fn watched(bound: Option<Duration>) -> (Termination, Duration) {
        let watching = async {
            let wheel = Wheel::new(now());
            tokio::task::spawn_local(wheel.run());
            let began = now();
            let ends = bound.map(|bound| Ends {
                at: began + bound,
                grpc: false,
            });
            let mut watch = Watch::new(wheel.timer(), ends);
            let moved = || (now() - began).min(90 * MINUTE).as_secs();
            let why = poll_fn(|cx| watch.poll_over(cx, moved())).await;
            (why, now() - began)
        };
        LocalSet::new().run_until(watching).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_stands_still_is_noticed() {
        for bound in [None, Some(600 * MINUTE)] {
            let (why, ended) = watched(bound).await;
            assert_eq!(why, Termination::Tunnelled);
            let still = ended - 90 * MINUTE;
            assert!(still >= IDLE && still < 2 * IDLE, "{ended:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_with_its_time() {
        for bound in [30 * MINUTE, 70 * MINUTE] {
            let (why, ended) = watched(Some(bound)).await;
            assert_eq!(why, Termination::DeadlineExceeded);
            assert!(ended >= bound && ended < bound + MINUTE, "{ended:?}");
        }
    }
}
