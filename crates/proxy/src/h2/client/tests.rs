//! Exchanges with real HTTP/2 peers over streams in memory, and with peers that break the rules.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tidegate_http1::Framing;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::body::Upload;
use crate::wheel::Wheel;

/// Runs `test` where connections can live, beside a swept wheel. A test that hangs fails.
async fn with_wheel<F: Future>(test: impl FnOnce(Wheel) -> F) -> F::Output {
    with_wheel_for(Duration::from_secs(30), test).await
}

async fn with_wheel_for<F: Future>(limit: Duration, test: impl FnOnce(Wheel) -> F) -> F::Output {
    let wheel = Wheel::new(now());
    let local = LocalSet::new();
    let sweeper = wheel.run();
    local.spawn_local(sweeper);
    let bounded = tokio::time::timeout(limit, local.run_until(test(wheel)));
    bounded.await.expect("the test ends in time")
}

async fn channel(wheel: &Wheel, io: DuplexStream) -> Channel {
    open(wheel, Stream::Memory(io), None, None).await.unwrap()
}

fn handle(channel: &Channel) -> Handle {
    match channel.reserve() {
        Reserved::Handle(handle) => handle,
        Reserved::Full => panic!("the connection is full"),
        Reserved::Gone => panic!("the connection is gone"),
    }
}

fn request(method: Method) -> Request<()> {
    Request::builder()
        .method(method)
        .uri("http://a.b/x")
        .body(())
        .unwrap()
}

fn get(channel: &Channel) -> Exchange {
    Exchange::start(handle(channel), request(Method::GET), true).unwrap()
}

async fn head(exchange: &mut Exchange) -> Result<StatusCode, ExchangeError> {
    match poll_fn(|cx| exchange.poll_head(cx)).await? {
        HeadEvent::Final(head) | HeadEvent::Interim(head) => Ok(head.status()),
    }
}

/// The rest of an answer: how many bytes, whether all are the filler, and its trailers.
async fn rest(exchange: &mut Exchange) -> Result<(usize, bool, Option<HeaderMap>), ExchangeError> {
    let (mut size, mut pure, mut trailers) = (0, true, None);
    while let Some(piece) = poll_fn(|cx| exchange.poll_body(cx)).await {
        match piece? {
            Piece::Data(data) => {
                size += data.len();
                pure &= data.iter().all(|byte| *byte == FILLER);
            }
            Piece::Trailers(map) => trailers = Some(*map),
        }
    }
    Ok((size, pure, trailers))
}

const FILLER: u8 = 0x5a;
const BIG: usize = 8 * 1024 * 1024;
const CHUNK: usize = 100_000;

/// An HTTP/2 server that gives each request to `serve`.
fn serve<F, S>(io: DuplexStream, serve: S)
where
    S: Fn(Request<RecvBody>, h2::server::SendResponse<Bytes>) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    spawn_local(async move {
        let mut connection = h2::server::handshake(io).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            spawn_local(serve(request.map(RecvBody::new), respond));
        }
    });
}

async fn send_filler(body: &mut SendBody, size: usize) {
    for at in (0..size).step_by(CHUNK) {
        let room = poll_fn(|cx| body.poll_ready(cx)).await.unwrap();
        assert!(room > 0, "the stream is open");
        let piece = Bytes::from(vec![FILLER; CHUNK.min(size - at)]);
        body.send(Piece::Data(piece), false).unwrap();
    }
    let _room = poll_fn(|cx| body.poll_ready(cx)).await.unwrap();
}

#[tokio::test]
async fn big_bodies_flow_both_ways_at_once_with_trailers() {
    with_wheel(|wheel| async move {
        let (near, far) = tokio::io::duplex(64 * 1024);
        serve(far, |request, mut respond| async move {
            let mut body = request.into_body();
            let mut back = SendBody::new(respond.send_response(Response::new(()), false).unwrap());
            while let Some(piece) = poll_fn(|cx| body.poll_piece(cx)).await {
                assert!(poll_fn(|cx| back.poll_ready(cx)).await.unwrap() > 0);
                back.send(piece.unwrap(), false).unwrap();
            }
        });
        let channel = channel(&wheel, near).await;
        let mut exchange = Exchange::start(handle(&channel), request(Method::POST), false).unwrap();
        let mut body = replay(&wheel).await;
        let mut uploaded = false;
        let status = poll_fn(|cx| {
            uploaded |= exchange.poll_upload(cx, &mut body)?.is_ready();
            exchange.poll_head(cx)
        })
        .await;
        assert!(matches!(status, Ok(HeadEvent::Final(_))));
        let (mut size, mut trailers) = (0, None);
        while let Some(piece) = poll_fn(|cx| {
            uploaded = uploaded || exchange.poll_upload(cx, &mut body)?.is_ready();
            exchange.poll_body(cx)
        })
        .await
        {
            match piece.unwrap() {
                Piece::Data(data) => size += data.len(),
                Piece::Trailers(map) => trailers = Some(*map),
            }
        }
        assert_eq!((size, uploaded), (BIG, true));
        assert_eq!(trailers.unwrap()["x-sum"], "8");
        assert!(exchange.is_ended());
    })
    .await;
}

/// A big request body with trailers, as it comes from an HTTP/2 client.
async fn replay(wheel: &Wheel) -> ReplayBody {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (give, take) = tokio::sync::oneshot::channel();
    let give = Rc::new(std::cell::Cell::new(Some(give)));
    serve(far, move |request, respond| {
        let give = give.take();
        async move {
            let _unwanted = give.unwrap().send((request.into_body(), respond)).ok();
        }
    });
    let channel = channel(wheel, near).await;
    let (_response, stream) = handle(&channel)
        .send
        .send_request(request(Method::POST), false)
        .unwrap();
    spawn_local(async move {
        let _kept = (channel, _response);
        let mut body = SendBody::new(stream);
        send_filler(&mut body, BIG).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("8"));
        body.send(Piece::Trailers(Box::new(trailers)), true)
            .unwrap();
        std::future::pending::<()>().await;
    });
    let (body, respond) = take.await.unwrap();
    // The stream must stay open for as long as the body is read.
    std::mem::forget(respond);
    let totals = crate::body::Totals::new(tidegate_telemetry::metrics::Metrics::new()).unwrap();
    let ledger = crate::body::Ledger::new(totals, wheel.clone());
    let caps = crate::body::Caps {
        memory: 1024,
        spool: 0,
    };
    ReplayBody::new(Upload::H2(body), Framing::Chunked, caps, u64::MAX, &ledger)
}

#[tokio::test]
async fn a_reader_that_stops_stops_its_peer() {
    with_wheel(|wheel| async move {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let sent = Rc::new(std::cell::Cell::new(0));
        let count = sent.clone();
        serve(far, move |_request, mut respond| {
            let count = count.clone();
            async move {
                let stream = respond.send_response(Response::new(()), false).unwrap();
                let mut body = SendBody::new(stream);
                poll_fn(|cx| {
                    while let Poll::Ready(room) = body.poll_ready(cx) {
                        if !room.is_ok_and(|room| room > 0) {
                            return Poll::Ready(());
                        }
                        body.send(Piece::Data(vec![FILLER; CHUNK].into()), false)
                            .unwrap();
                    }
                    count.set(body.taken());
                    Poll::Pending
                })
                .await;
            }
        });
        let channel = channel(&wheel, near).await;
        let mut exchange = get(&channel);
        assert_eq!(head(&mut exchange).await.unwrap(), StatusCode::OK);
        // Nothing is read. The peer fills the window and then waits.
        while sent.get() < u64::from(STREAM_WINDOW) {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(sent.get(), u64::from(STREAM_WINDOW));
        // Reading on makes room.
        let mut read = 0;
        while read < 2 * BIG {
            match poll_fn(|cx| exchange.poll_body(cx)).await {
                Some(Ok(Piece::Data(data))) => read += data.len(),
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn interim_heads_come_before_the_final_one() {
    with_wheel(|wheel| async move {
        let (near, far) = tokio::io::duplex(64 * 1024);
        serve(far, |_request, mut respond| async move {
            for status in [100, 103] {
                let head = Response::builder().status(status).body(()).unwrap();
                respond.send_informational(head).unwrap();
            }
            let head = Response::builder().status(204).body(()).unwrap();
            let _stream = respond.send_response(head, true).unwrap();
        });
        let channel = channel(&wheel, near).await;
        let mut exchange = get(&channel);
        let mut seen = Vec::new();
        while exchange.phase() == Phase::Sent {
            seen.push(head(&mut exchange).await.unwrap().as_u16());
        }
        assert_eq!(seen, [100, 103, 204]);
        assert!(exchange.is_ended());
        assert_eq!(rest(&mut exchange).await.unwrap(), (0, true, None));
    })
    .await;
}

#[tokio::test]
async fn an_early_answer_ends_the_upload_and_is_read_whole() {
    with_wheel(|wheel| async move {
        let (near, far) = tokio::io::duplex(64 * 1024);
        serve(far, |_request, mut respond| async move {
            let head = Response::builder().status(413).body(()).unwrap();
            let mut body = SendBody::new(respond.send_response(head, false).unwrap());
            send_filler(&mut body, 1000).await;
            body.finish().unwrap();
            // Dropping the request's body unread resets the stream with NO_ERROR.
        });
        let channel = channel(&wheel, near).await;
        let mut exchange = Exchange::start(handle(&channel), request(Method::POST), false).unwrap();
        let mut body = replay(&wheel).await;
        poll_fn(|cx| exchange.poll_upload(cx, &mut body))
            .await
            .unwrap();
        assert_eq!(
            head(&mut exchange).await.unwrap(),
            StatusCode::PAYLOAD_TOO_LARGE
        );
        assert_eq!(rest(&mut exchange).await.unwrap(), (1000, true, None));
    })
    .await;
}

#[tokio::test]
async fn a_dropped_exchange_cancels_its_stream() {
    with_wheel(|wheel| async move {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = Rc::new(std::cell::Cell::new(Some(tell)));
        serve(far, move |_request, mut respond| {
            let tell = tell.clone();
            async move {
                let reset = poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
                tell.take().unwrap().send(reset).unwrap();
            }
        });
        let channel = channel(&wheel, near).await;
        let mut exchange = get(&channel);
        assert!(poll_fn(|cx| Poll::Ready(exchange.poll_head(cx).is_pending())).await);
        assert_eq!(channel.in_use(), 1);
        drop(exchange);
        assert_eq!(told.await.unwrap(), Reason::CANCEL);
        assert_eq!(channel.in_use(), 0);
    })
    .await;
}

/// A frame by hand (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

fn go_away(last: u32, reason: u32) -> Vec<u8> {
    frame(
        GOAWAY,
        0,
        0,
        &[last.to_be_bytes(), reason.to_be_bytes()].concat(),
    )
}

fn reset(reason: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, 1, &reason.to_be_bytes())
}

/// A peer that answers the first request with these frames and then ends the connection.
fn misbehave(mut io: DuplexStream, frames: Vec<u8>) {
    spawn_local(async move {
        io.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        let mut seen = Vec::new();
        // A HEADERS frame on stream 1, with END_STREAM and END_HEADERS.
        while !seen.windows(6).any(|window| window == [1, 5, 0, 0, 0, 1]) {
            io.read_buf(&mut seen).await.unwrap();
        }
        io.write_all(&frames).await.unwrap();
    });
}

#[tokio::test]
async fn only_what_the_peer_refused_counts_as_not_processed() {
    let check = async |what: &str, frames: Vec<u8>, expected: Failure| {
        with_wheel(|wheel| async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            misbehave(far, frames);
            let channel = channel(&wheel, near).await;
            let mut exchange = get(&channel);
            match head(&mut exchange).await {
                Err(ExchangeError::Upstream { failure, phase, .. }) => {
                    assert_eq!((failure, phase), (expected, Phase::Sent), "{what}");
                }
                other => panic!("{what}: {other:?}"),
            }
        })
        .await;
    };
    check("REFUSED_STREAM", reset(7), Failure::Refused).await;
    check("CANCEL", reset(8), Failure::Reset).await;
    check("INTERNAL_ERROR", reset(2), Failure::Reset).await;
    check("GOAWAY before it", go_away(0, 0), Failure::Refused).await;
    check(
        "GOAWAY before it, for a reason",
        go_away(0, 11),
        Failure::Refused,
    )
    .await;
    check(
        "GOAWAY that includes it, then the end",
        go_away(1, 0),
        Failure::Reset,
    )
    .await;
    check("the end", Vec::new(), Failure::Reset).await;
    check(
        "content before the head",
        frame(DATA, 0, 1, b"x"),
        Failure::BadResponse,
    )
    .await;
    check(
        "a frame of the wrong size",
        frame(RST_STREAM, 0, 1, b"x"),
        Failure::BadResponse,
    )
    .await;
}

#[tokio::test]
async fn a_connection_that_says_goaway_takes_no_more_streams() {
    with_wheel(|wheel| async move {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let channel = channel(&wheel, near).await;
        let kept = handle(&channel);
        far.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        far.write_all(&go_away(0, 0)).await.unwrap();
        while !channel.is_gone() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(channel.reserve(), Reserved::Gone));
        // Reserved before, used after: nothing was sent.
        match Exchange::start(kept, request(Method::POST), true) {
            Err(ExchangeError::Upstream { failure, phase, .. }) => {
                assert_eq!((failure, phase), (Failure::Refused, Phase::NothingSent));
            }
            other => panic!(
                "{:?}",
                other.map(|_| "started").map_err(|error| error.to_string())
            ),
        }
    })
    .await;
}

#[tokio::test]
async fn the_peers_limit_of_streams_is_kept() {
    with_wheel(|wheel| async move {
        let (near, far) = tokio::io::duplex(64 * 1024);
        spawn_local(async move {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(2).enable_connect_protocol();
            let mut connection = builder.handshake::<_, Bytes>(far).await.unwrap();
            let mut held = Vec::new();
            while let Some(Ok(stream)) = connection.accept().await {
                held.push(stream);
            }
        });
        let channel = channel(&wheel, near).await;
        let first = handle(&channel);
        first.settled().await;
        assert!(first.takes_extended_connect(), "the peer's settings are in");
        let second = handle(&channel);
        assert!(matches!(channel.reserve(), Reserved::Full));
        drop(second);
        assert!(matches!(channel.reserve(), Reserved::Handle(_)));
    })
    .await;
}

/// Reads what comes and never answers anything but SETTINGS.
fn play_dead(mut io: DuplexStream) {
    spawn_local(async move {
        io.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        let mut sink = vec![0; 4096];
        while io.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    });
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_found_out() {
    with_wheel(|wheel| async move {
        let (near, far) = tokio::io::duplex(64 * 1024);
        play_dead(far);
        let channel = channel(&wheel, near).await;
        let mut exchange = get(&channel);
        let error = head(&mut exchange).await.unwrap_err();
        assert!(matches!(
            error,
            ExchangeError::Upstream {
                failure: Failure::Reset,
                ..
            }
        ));
        assert!(matches!(channel.reserve(), Reserved::Gone));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_peer_that_answers_pings_is_left_alone_and_pinged_rarely() {
    let hour = Duration::from_secs(3600);
    with_wheel_for(2 * hour, |wheel| async move {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (far, pings) = count_pings(far);
        serve(far, |_request, respond| async move {
            let _held = respond;
            std::future::pending::<()>().await;
        });
        let channel = channel(&wheel, near).await;
        let mut exchange = get(&channel);
        assert!(
            tokio::time::timeout(hour, head(&mut exchange))
                .await
                .is_err(),
            "still open"
        );
        let pings = pings.get();
        assert!(
            (12..=16).contains(&pings),
            "one in five minutes, not one in ten seconds: {pings}"
        );
    })
    .await;
}

/// Counts the PING frames that arrive at `far`.
fn count_pings(mut far: DuplexStream) -> (DuplexStream, Rc<std::cell::Cell<usize>>) {
    let (inner, mut outer) = tokio::io::duplex(64 * 1024);
    let count = Rc::new(std::cell::Cell::new(0));
    let counted = count.clone();
    spawn_local(async move {
        let (mut up, mut down) = (vec![0; 4096], vec![0; 4096]);
        loop {
            tokio::select! {
                read = far.read(&mut up) => {
                    let read = read.unwrap();
                    if read == 0 { return }
                    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
                    counted.set(counted.get() + up[..read].windows(9).filter(|at| *at == ping).count());
                    outer.write_all(&up[..read]).await.unwrap();
                }
                read = outer.read(&mut down) => {
                    let read = read.unwrap();
                    if read == 0 { return }
                    far.write_all(&down[..read]).await.unwrap();
                }
            }
        }
    });
    (inner, count)
}

#[tokio::test]
async fn tunnels_carry_bytes_both_ways() {
    with_wheel(|wheel| async move {
        let (near, far) = tokio::io::duplex(64 * 1024);
        serve(far, |request, mut respond| async move {
            let stream = respond.send_response(Response::new(()), false).unwrap();
            let mut duplex = H2Duplex::new(request.into_body(), SendBody::new(stream));
            let mut word = [0; 4];
            duplex.read_exact(&mut word).await.unwrap();
            duplex.write_all(b"pong").await.unwrap();
            duplex.shutdown().await.unwrap();
            assert_eq!(&word, b"ping");
        });
        let channel = channel(&wheel, near).await;
        let mut exchange = Exchange::start(handle(&channel), request(Method::POST), false).unwrap();
        assert_eq!(head(&mut exchange).await.unwrap(), StatusCode::OK);
        let mut duplex = exchange.take_duplex().unwrap();
        assert_eq!(channel.in_use(), 1, "the tunnel keeps its stream counted");
        duplex.write_all(b"ping").await.unwrap();
        let mut answer = String::new();
        duplex.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "pong");
        drop(duplex);
        assert_eq!(channel.in_use(), 0);
    })
    .await;
}
