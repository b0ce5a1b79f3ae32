//! One stream of an HTTP/2 client: its request in, its answer out.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Response, StatusCode, header};
use tidegate_core::Termination;

use super::body::{RecvBody, SendBody};
use super::duplex::H2Duplex;
use super::server::Open;
use super::validate::validate;
use crate::answer::{Answer, interim_h2};
use crate::body::{Piece, Upload};
use crate::context::Context;
use crate::download::Download;
use crate::head::{RequestHead, ResponseHead, is_bodiless};
use crate::pipeline::{self, Client, Request};
use crate::tunnel::Tunnel;
use crate::{problem, tunnel};

/// Serves one request of an HTTP/2 client and whatever its tunnel carries afterwards.
pub(super) async fn serve(
    context: Rc<Context>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    open: Open,
) {
    let (parts, stream) = request.into_parts();
    let method = parts.method.clone();
    let mut client = H2Client {
        respond,
        gone: false,
    };
    let mut body = Some(RecvBody::new(stream));
    let mut answer = match validate(&parts) {
        Err(malformed) => {
            let (reason, said) = (malformed.reason(), malformed.to_string());
            problem::refused(&context, StatusCode::BAD_REQUEST, reason, &said)
        }
        Ok(()) => {
            let upgrade = parts.extensions.get::<h2::ext::Protocol>().is_some();
            let upload = if upgrade { None } else { body.take() };
            let request = request_of(parts, upload);
            pipeline::serve(&context, request, &mut client).await
        }
    };
    if client.gone {
        open.cancelled();
    }
    match (answer.tunnel.take(), body) {
        (Some(upstream), Some(body)) => {
            switch(&context, client, body, upstream, &mut answer).await;
        }
        _ => respond_with(&mut client, &mut answer, &method, &open).await,
    }
    answer.finish.end();
}

fn request_of(parts: http::request::Parts, body: Option<RecvBody>) -> Request {
    let body = body.filter(|body| !body.is_ended());
    let has_body = body.is_some();
    let upload = body.map_or(Upload::Empty, Upload::H2);
    Request {
        head: RequestHead::H2(Box::new(parts)),
        upload,
        has_body,
    }
}

async fn respond_with(client: &mut H2Client, answer: &mut Answer, method: &Method, open: &Open) {
    let end = answer.body.is_ended() || is_bodiless(method, answer.status);
    let Ok(stream) = client.respond.send_response(answer.h2_head(), end) else {
        open.cancelled();
        return answer.finish.broke(Termination::ClientGone);
    };
    if end {
        return;
    }
    let mut send = SendBody::new(stream);
    let relayed = poll_fn(|cx| poll_relay(cx, answer, &mut send)).await;
    answer.moved(send.taken());
    if let Err(termination) = relayed {
        if termination == Termination::ClientGone {
            open.cancelled();
        }
        send.reset(match termination {
            Termination::DrainedHome | Termination::DeadlineExceeded => Reason::CANCEL,
            _ => Reason::INTERNAL_ERROR,
        });
        answer.finish.broke(termination);
    }
}

/// Moves pieces from the upstream to the client until the last has found room.
fn poll_relay(
    cx: &mut TaskContext<'_>,
    answer: &mut Answer,
    send: &mut SendBody,
) -> Poll<Result<(), Termination>> {
    loop {
        let before = send.taken();
        let room = send.poll_ready(cx);
        if send.taken() != before {
            answer.body.moved();
        }
        match room {
            Poll::Pending => {
                return answer.body.poll_stalled(cx).map(Err);
            }
            Poll::Ready(_) if send.is_ended() => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(room)) if room > 0 => {}
            Poll::Ready(_) => return Poll::Ready(Err(Termination::ClientGone)),
        }
        let piece = match answer.poll_piece(cx) {
            Poll::Ready(piece) => piece.transpose()?,
            Poll::Pending => {
                ready!(send.poll_reset(cx)).ok();
                return Poll::Ready(Err(Termination::ClientGone));
            }
        };
        if pass_on(piece, &answer.body, send).is_err() {
            return Poll::Ready(Err(Termination::ClientGone));
        }
    }
}

/// Sends a piece, with the end at once if it is known to be the last.
fn pass_on(piece: Option<Piece>, body: &Download, send: &mut SendBody) -> Result<(), h2::Error> {
    match piece {
        Some(piece) => send.send(piece, body.is_ended()),
        None => send.finish(),
    }
}

/// Answers an extended CONNECT with 200 (RFC 8441 section 5) and relays bytes both ways.
async fn switch(
    context: &Context,
    mut client: H2Client,
    body: RecvBody,
    upstream: Tunnel,
    answer: &mut Answer,
) {
    answer.finish.switched(StatusCode::OK);
    match client.respond.send_response(switching_head(answer), false) {
        Ok(stream) => {
            let duplex = H2Duplex::new(body, SendBody::new(stream));
            tunnel::run(context, duplex, upstream, &mut answer.finish).await;
        }
        Err(_) => answer.finish.broke(Termination::ClientGone),
    }
}

fn switching_head(answer: &Answer) -> Response<()> {
    let mut head = answer.h2_head();
    *head.status_mut() = StatusCode::OK;
    // What proves to an HTTP/1.1 client that its key was read has no place here.
    head.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
    head.headers_mut().remove(header::CONTENT_LENGTH);
    head
}

/// The client as the pipeline sees it while it waits for an upstream.
struct H2Client {
    respond: SendResponse<Bytes>,
    gone: bool,
}

impl Client for H2Client {
    fn interim(&mut self, head: &ResponseHead) {
        // A client that cannot be written to shows as gone.
        let _sent = self.respond.send_informational(interim_h2(head));
    }

    fn send_continue(&mut self) {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::CONTINUE;
        let _sent = self.respond.send_informational(head);
    }

    /// Done: the connection's task writes.
    fn poll_flush(&mut self, _cx: &mut TaskContext<'_>) {}

    fn poll_gone(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        ready!(self.respond.poll_reset(cx)).ok();
        self.gone = true;
        Poll::Ready(())
    }
}
